/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Channels by grants from end to end, without Xen: this plays the guest and its QEMU on the VM's
 * socket, vgpu-xenbus on xenbus.sock, and Xen (carrier/fake_xen.h). Mediator, launcher, worker and
 * driver are real, but for the double of Xen's devices.
 */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <vgpu/domain.h>
#include <vgpu/grant.h>

#include <cmocka.h>

#include "carrier/fake_xen.h"
#include "common/cleanup.h"
#include "cuda/cuda_ops.h"
#include "mediator/test_support.h"
#include "ring/pages.h"
#include "ring/ring.h"

#define DOMID   5u
#define BACKEND 3u
#define PORT    17u
#define COUNT   64u

#define BASE_UID      70000u
#define BASE_UID_TEXT "70000"

struct setting {
    struct host host;
    struct fake_xen xen;
    const char *options[9];
    int xenbus;
};

struct grant_channel {
    uint32_t number, port, n_pages, first;
    uint8_t token[VGPU_TOKEN_BYTES];
    struct vgpu_channel_geometry geometry;
    uint8_t *memory;
    struct ring_producer submission;
    struct ring_consumer completion;
    uint64_t seq;
};

/* vgpu-xenbus */

static int xenbus_connect(const struct host *host)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s/xenbus.sock", host->run);
    AWAIT(connect(sock, (struct sockaddr *)&address, sizeof(address)) == 0);
    return sock;
}

static void xenbus_hello(struct setting *setting)
{
    const struct vgpu_domain_hello hello = {
        .head = {sizeof(hello), VGPU_DOMAIN_HELLO},
        .magic = VGPU_MAGIC,
        .version_major = VGPU_VERSION_MAJOR,
        .backend_domid = BACKEND,
    };
    struct vgpu_domain_hello welcome;

    vgpu_close(&setting->xenbus);
    setting->xenbus = xenbus_connect(&setting->host);
    assert_int_equal(send(setting->xenbus, &hello, sizeof(hello), 0), sizeof(hello));
    assert_int_equal(recv(setting->xenbus, &welcome, sizeof(welcome), 0), sizeof(welcome));
    assert_int_equal(welcome.head.type, VGPU_DOMAIN_WELCOME);
    assert_int_equal(welcome.backend_domid, BACKEND);
}

/* vm NULL: the domain is gone. */
static struct vgpu_domain_is xenbus_set(struct setting *setting, uint32_t domid, const char *vm)
{
    struct vgpu_domain_set set = {
        .head = {sizeof(set), VGPU_DOMAIN_SET}, .domid = domid, .gone = !vm};
    struct vgpu_domain_is is;

    snprintf(set.vm, sizeof(set.vm), "%s", vm ? vm : "");
    assert_int_equal(send(setting->xenbus, &set, sizeof(set), 0), sizeof(set));
    assert_int_equal(recv(setting->xenbus, &is, sizeof(is), 0), sizeof(is));
    assert_int_equal(is.head.type, VGPU_DOMAIN_IS);
    assert_int_equal(is.domid, domid);
    assert_int_equal(is.status == VGPU_OK, is.text[0] == '\0');
    return is;
}

static void xenbus_listed(struct setting *setting)
{
    const struct vgpu_domain listed = {sizeof(listed), VGPU_DOMAIN_LISTED};

    assert_int_equal(send(setting->xenbus, &listed, sizeof(listed), 0), sizeof(listed));
}

static int set_up_as(void **state, const char *base_uid)
{
    struct setting *setting = calloc(1, sizeof(*setting));

    setting->xenbus = -1;
    fake_xen_init(&setting->xen);
    setting->options[0] = "--driver";
    setting->options[1] = getenv("VGPU_DRIVER");
    setting->options[2] = "--grant-device";
    setting->options[3] = setting->xen.memory_path;
    setting->options[4] = "--event-device";
    setting->options[5] = setting->xen.events;
    setting->options[6] = base_uid ? "--base-uid" : NULL;
    setting->options[7] = base_uid;
    support_launcher_options(setting->options);
    host_start(&setting->host, 2);
    xenbus_hello(setting);
    assert_int_equal(xenbus_set(setting, DOMID, "1").vm_id, 1);
    xenbus_listed(setting);
    *state = setting;
    return 0;
}

static int set_up(void **state)
{
    return set_up_as(state, NULL);
}

static const char *worker_path;

/* Workers get users of their own, for which the test has to be root. */
static int set_up_users(void **state)
{
    struct stat status;

    *state = NULL;
    if (geteuid() != 0 || stat(worker_path, &status) < 0 || !(status.st_mode & S_IXOTH))
        return 0;
    return set_up_as(state, BASE_UID_TEXT);
}

static int tear_down(void **state)
{
    struct setting *setting = *state;

    if (!setting)
        return 0;

    vgpu_close(&setting->xenbus);
    host_stop(&setting->host);
    fake_xen_release(&setting->xen);
    free(setting);
    return 0;
}

/* The guest and its QEMU */

/* The next message for the guest, while Xen does its part. */
static void expect(struct setting *setting, struct guest *guest, uint16_t type,
                   union message *message)
{
    uint64_t until = now_ms() + TIMEOUT_MS;
    struct pollfd sock = {.fd = guest->sock, .events = POLLIN};

    while (poll(&sock, 1, 0) == 0) {
        assert_true(now_ms() < until);
        fake_xen_turn(&setting->xen, 2);
    }
    guest_expect(guest, type, message);
}

static struct vgpu_msg_open grant_open(struct guest *guest)
{
    struct vgpu_msg_open open = good_open(guest);

    open.head.flags = VGPU_MSG_OPEN_GRANT;
    open.data_bytes = 65536;
    return open;
}

static void write_page(const struct grant_channel *channel)
{
    struct vgpu_channel_page *page = (struct vgpu_channel_page *)(void *)channel->memory;

    page->magic = VGPU_MAGIC;
    page->layout = VGPU_LAYOUT_VERSION;
    page->geometry = channel->geometry;
}

static void promised(struct setting *setting, struct guest *guest, struct grant_channel *channel)
{
    struct vgpu_msg_open open = grant_open(guest);
    union message message;

    guest_send(guest, &open, sizeof(open));
    expect(setting, guest, VGPU_MSG_PROMISED, &message);
    assert_int_equal(message.head.tag, open.head.tag);
    assert_int_equal(message.promised.backend_domid, BACKEND);
    *channel = (struct grant_channel){.number = message.promised.channel,
                                      .port = PORT + setting->xen.n_conns,
                                      .geometry = message.promised.geometry};
    memcpy(channel->token, message.promised.token, sizeof(channel->token));
    assert_int_equal(channel->geometry.data_bytes, 65536);
    channel->n_pages = (uint32_t)(channel->geometry.total_bytes / 4096);
    channel->memory = fake_xen_pages(&setting->xen, channel->n_pages, &channel->first);
    write_page(channel);
}

static struct vgpu_msg_grant good_grant(struct setting *setting, struct guest *guest,
                                        const struct grant_channel *channel)
{
    return (struct vgpu_msg_grant){
        .head = {sizeof(struct vgpu_msg_grant), VGPU_MSG_GRANT, 0, ++guest->tag, 0},
        .channel = channel->number,
        .directory = fake_xen_directory(&setting->xen, channel->first, channel->n_pages),
        .event_port = channel->port,
        .pages = channel->n_pages,
    };
}

static void open_channel(struct setting *setting, struct guest *guest,
                         struct grant_channel *channel)
{
    struct vgpu_msg_grant grant;
    union message message;

    promised(setting, guest, channel);
    grant = good_grant(setting, guest, channel);
    guest_send(guest, &grant, sizeof(grant));
    expect(setting, guest, VGPU_MSG_GRANTED, &message);
    assert_int_equal(message.head.tag, grant.head.tag);
    assert_int_equal(message.channel.channel, channel->number);
}

static void start_rings(struct grant_channel *channel)
{
    struct vgpu_channel_page *page = (struct vgpu_channel_page *)(void *)channel->memory;
    const struct vgpu_channel_geometry *g = &channel->geometry;

    ring_producer_init(&channel->submission, &page->submission, channel->memory + g->sub_offset,
                       g->sub_granules, 0);
    ring_consumer_init(&channel->completion, &page->completion, channel->memory + g->comp_offset,
                       g->comp_granules, 0);
}

static void publish_job(struct setting *setting, struct grant_channel *channel)
{
    struct {
        struct cuda_op_job_vector_add op;
        uint32_t a[COUNT], b[COUNT];
    } record = {.op = {.head = {.size_bytes = sizeof(record),
                                .op = CUDA_OP_JOB_VECTOR_ADD,
                                .flags = VGPU_RECORD_WAIT,
                                .seq = ++channel->seq,
                                .thread = 1},
                       .count = COUNT,
                       .a = {offsetof(__typeof__(record), a), sizeof(record.a), VGPU_BLOB_INLINE},
                       .b = {offsetof(__typeof__(record), b), sizeof(record.b), VGPU_BLOB_INLINE}}};
    void *entry;

    for (uint32_t i = 0; i < COUNT; i++) {
        record.a[i] = i;
        record.b[i] = 1000 * i;
    }
    assert_int_equal(ring_reserve(&channel->submission, sizeof(record), &entry), 0);
    memcpy(entry, &record, sizeof(record));
    if (ring_publish(&channel->submission))
        fake_xen_send(&setting->xen, channel->port);
}

/* Submits a vector addition and sleeps until an event says that there is something. */
static void run_job(struct setting *setting, struct grant_channel *channel)
{
    _Alignas(8) uint8_t entry[VGPU_RECORD_MAX_BYTES];
    const struct cuda_re_job_vector_add *answer = (const void *)entry;
    uint64_t until = now_ms() + TIMEOUT_MS;
    uint32_t sums[COUNT];
    size_t size;
    bool kick;

    publish_job(setting, channel);
    while (ring_consume(&channel->completion, entry, sizeof(entry), &size, &kick) == 0) {
        uint32_t heard = fake_xen_bound(&setting->xen, channel->port)->notified;

        if (!ring_consumer_arm(&channel->completion))
            continue;
        while (fake_xen_bound(&setting->xen, channel->port)->notified == heard) {
            assert_true(now_ms() < until);
            fake_xen_turn(&setting->xen, 10);
        }
    }
    ring_consumer_disarm(&channel->completion);
    assert_int_equal(answer->head.seq, channel->seq);
    assert_int_equal(answer->head.status, VGPU_OK);
    assert_int_equal(answer->head.result, 0);
    memcpy(sums, entry + answer->sum.offset, sizeof(sums));
    for (uint32_t i = 0; i < COUNT; i++)
        assert_int_equal(sums[i], 1001 * i);
}

static void close_channel(struct setting *setting, struct guest *guest,
                          const struct grant_channel *channel)
{
    struct vgpu_msg_channel close = {.head = {sizeof(close), VGPU_MSG_CLOSE, 0, ++guest->tag, 0},
                                     .channel = channel->number};
    union message message;

    guest_send(guest, &close, sizeof(close));
    expect(setting, guest, VGPU_MSG_CLOSED, &message);
    assert_int_equal(message.head.tag, close.head.tag);
}

static void expect_gone(struct setting *setting, struct guest *guest,
                        const struct grant_channel *channel)
{
    union message message;

    expect(setting, guest, VGPU_MSG_GONE, &message);
    assert_int_equal(message.gone.channel, channel->number);
}

/* A GRANT that is changed by `change` is refused, and the channel is gone with that. */
#define REFUSES(change)                                                                            \
    do {                                                                                           \
        struct vgpu_msg_grant grant;                                                               \
        union message message;                                                                     \
        promised(setting, &guest, &channel);                                                       \
        grant = good_grant(setting, &guest, &channel);                                             \
        change;                                                                                    \
        guest_send(&guest, &grant, sizeof(grant));                                                 \
        expect(setting, &guest, VGPU_MSG_REFUSED, &message);                                       \
        assert_int_equal(message.head.tag, grant.head.tag);                                        \
        assert_int_equal(workers(&setting->host), 0);                                              \
        guest_send(&guest, &grant, sizeof(grant));                                                 \
        guest_expect_refused(&guest, grant.head.tag, VGPU_GONE, &message);                         \
    } while (0)

/* Tests */

static void test_grant_runs_jobs_by_events(void **state)
{
    struct setting *setting = *state;
    struct guest guest = guest_hello_over(&setting->host, 1, VGPU_CARRIER_RELAY);
    struct grant_channel channel;

    open_channel(setting, &guest, &channel);
    assert_int_equal(fake_xen_bound(&setting->xen, channel.port)->domid, DOMID);
    start_rings(&channel);
    for (int i = 0; i < 20; i++)
        run_job(setting, &channel);
    close_channel(setting, &guest, &channel);
    fake_xen_turn(&setting->xen, 10);
    assert_null(fake_xen_bound(&setting->xen, channel.port));
    assert_int_equal(workers(&setting->host), 0);
    guest_close(&guest);
}

/* Nothing is left of what it took to open the device of grants: no right, and no descriptor. */
static void expect_bare(pid_t pid)
{
    static const char *const lines[] = {
        "CapInh:\t0000000000000000",        "CapPrm:\t0000000000000000",
        "CapEff:\t0000000000000000",        "CapAmb:\t0000000000000000",
        "Uid:\t70001\t70001\t70001\t70001", "Gid:\t70001\t70001\t70001\t70001"};
    char path[64], text[4096] = "", target[128];
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    file = fopen(path, "re");
    assert_non_null(file);
    assert_true(fread(text, 1, sizeof(text) - 1, file) > 0);
    fclose(file);
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(lines); i++)
        if (!strstr(text, lines[i]))
            fail_msg("not so: %s", lines[i]);
    for (int fd = 0; fd < 64; fd++) {
        ssize_t n;

        snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, fd);
        n = readlink(path, target, sizeof(target) - 1);
        target[n > 0 ? n : 0] = '\0';
        assert_null(strstr(target, "memfd:guest"));
    }
}

static void skip_unless_users(const struct setting *setting)
{
    if (setting)
        return;
    print_message("skipped: not root, or other users cannot run the worker\n");
    skip();
}

static void test_worker_of_its_own_user_maps(void **state)
{
    struct setting *setting = *state;
    struct grant_channel channel;
    struct guest guest;

    skip_unless_users(setting);
    guest = guest_hello_over(&setting->host, 1, VGPU_CARRIER_RELAY);
    open_channel(setting, &guest, &channel);
    start_rings(&channel);
    run_job(setting, &channel);
    expect_bare(host_worker(&setting->host));
    guest_close(&guest);
}

static void await_spare(struct setting *setting)
{
    const char *extra[] = {"--spares", "1", NULL};
    json_t *status;
    json_int_t ready = 0;

    host_kill(&setting->host.mediator, SIGKILL);
    host_start_mediator(&setting->host, extra);
    xenbus_hello(setting);
    xenbus_set(setting, DOMID, "1");
    do {
        pause_ms(5);
        status = admin_ok(&setting->host, "\"status\"");
        ready = json_integer_value(
            json_object_get(json_array_get(json_object_get(status, "gpus"), 0), "spares"));
        json_decref(status);
    } while (ready == 0);
}

static void test_spare_of_another_user_maps(void **state)
{
    struct setting *setting = *state;
    struct grant_channel channel;
    struct guest guest;
    pid_t spare;

    skip_unless_users(setting);
    await_spare(setting);
    spare = host_worker(&setting->host);
    guest = guest_hello_over(&setting->host, 1, VGPU_CARRIER_RELAY);
    open_channel(setting, &guest, &channel);
    start_rings(&channel);
    run_job(setting, &channel);
    expect_bare(spare);
    guest_close(&guest);
}

static void test_grant_starts_on_a_spare(void **state)
{
    struct setting *setting = *state;
    struct grant_channel channel;
    struct guest guest;
    json_t *status;

    await_spare(setting);
    guest = guest_hello_over(&setting->host, 1, VGPU_CARRIER_RELAY);
    open_channel(setting, &guest, &channel);
    start_rings(&channel);
    run_job(setting, &channel);
    status = admin_ok(&setting->host, "\"status\"");
    assert_int_equal(json_integer_value(json_object_get(
                         json_array_get(json_object_get(status, "gpus"), 0), "warm_starts")),
                     1);
    json_decref(status);
    guest_close(&guest);
}

static void test_grant_needs_a_known_domain(void **state)
{
    struct setting *setting = *state;
    struct guest guest = guest_hello_over(&setting->host, 2, VGPU_CARRIER_RELAY);
    struct vgpu_msg_open open = grant_open(&guest);
    union message message;

    guest_send(&guest, &open, sizeof(open));
    guest_expect_refused(&guest, open.head.tag, VGPU_NOT_CONFIGURED, &message);
    guest_close(&guest);
}

static void test_grant_refuses_other_numbers_than_promised(void **state)
{
    struct setting *setting = *state;
    struct guest guest = guest_hello_over(&setting->host, 1, VGPU_CARRIER_RELAY);
    struct grant_channel channel;

    REFUSES(grant.pages++);
    REFUSES(grant.pages--);
    REFUSES(grant.directory = 0);
    REFUSES(grant.event_port = 0);
    guest_close(&guest);
}

/* The reason is in the guest's answer, and in an event. */
static void expect_reason(struct setting *setting, struct guest *guest,
                          const struct vgpu_msg_grant *grant, uint32_t status, const char *text)
{
    json_t *events, *list, *event, *told;
    union message message;
    size_t i;
    bool found = false;

    guest_send(guest, grant, sizeof(*grant));
    expect(setting, guest, VGPU_MSG_REFUSED, &message);
    assert_int_equal(message.refused.status, status);
    if (!strstr(message.refused.text, text))
        fail_msg("the guest was told: %s", message.refused.text);
    events = admin_ok(&setting->host, "\"events\", \"args\": {\"after\": 0}");
    list = json_object_get(events, "events");
    json_array_foreach (list, i, event) {
        told = json_object_get(event, "text");
        if (strcmp(json_string_value(json_object_get(event, "kind")), "channel-refused") == 0)
            found = found || strstr(json_string_value(told), text);
    }
    json_decref(events);
    assert_true(found);
}

static void test_refused_grant_has_its_reason(void **state)
{
    struct setting *setting = *state;
    struct guest guest = guest_hello_over(&setting->host, 1, VGPU_CARRIER_RELAY);
    struct grant_channel channel;
    struct vgpu_msg_grant grant;

    promised(setting, &guest, &channel); /* no page of any guest */
    grant = good_grant(setting, &guest, &channel);
    grant.directory = FAKE_XEN_PAGES;
    expect_reason(setting, &guest, &grant, VGPU_BAD_MESSAGE, "Xen refuses: a reference is wrong");
    promised(setting, &guest, &channel); /* a page that is no directory */
    grant = good_grant(setting, &guest, &channel);
    grant.directory = channel.first;
    expect_reason(setting, &guest, &grant, VGPU_BAD_MESSAGE, "directory of pages is wrong: magic");
    promised(setting, &guest, &channel); /* revoked, as a page behind the last is */
    grant = good_grant(setting, &guest, &channel);
    ((struct vgpu_grant_table *)(void *)(setting->xen.pages + ((size_t)grant.directory + 1) * 4096))
        ->ref[0] = FAKE_XEN_PAGES + 1;
    expect_reason(setting, &guest, &grant, VGPU_BAD_MESSAGE, "pages of domain 5: Xen refuses");
    guest_close(&guest);
}

static void test_missing_device_is_the_reason(void **state)
{
    struct setting *setting = *state;
    struct grant_channel channel;
    struct vgpu_msg_grant grant;
    struct guest guest = guest_hello_over(&setting->host, 1, VGPU_CARRIER_RELAY);

    assert_int_equal(unlink(setting->xen.memory_path), 0);
    promised(setting, &guest, &channel);
    grant = good_grant(setting, &guest, &channel);
    expect_reason(setting, &guest, &grant, VGPU_INTERNAL, "cannot open the grant device");
    guest_close(&guest);
}

static void test_grant_refuses_what_cannot_be_mapped(void **state)
{
    struct setting *setting = *state;
    struct guest guest = guest_hello_over(&setting->host, 1, VGPU_CARRIER_RELAY);
    struct grant_channel channel;

    REFUSES(grant.directory = FAKE_XEN_PAGES);
    REFUSES(grant.directory = channel.first);
    guest_close(&guest);
}

static void restart_with(struct setting *setting, const char *option, const char *value)
{
    const char *extra[] = {option, value, NULL};

    host_kill(&setting->host.mediator, SIGKILL);
    host_start_mediator(&setting->host, extra);
    xenbus_hello(setting);
    xenbus_set(setting, DOMID, "1");
}

static void test_grant_size_is_bounded(void **state)
{
    struct setting *setting = *state;
    struct vgpu_msg_open open;
    union message message;
    struct guest guest;

    restart_with(setting, "--grant-pages", "131072");
    guest = guest_hello_over(&setting->host, 1, VGPU_CARRIER_RELAY);
    open = grant_open(&guest);
    open.data_bytes = VGPU_GRANT_MAX_DATA_BYTES;
    guest_send(&guest, &open, sizeof(open));
    guest_expect(&guest, VGPU_MSG_PROMISED, &message);
    open.data_bytes += 4096;
    guest_send(&guest, &open, sizeof(open));
    guest_expect_refused(&guest, open.head.tag, VGPU_LIMIT, &message);
    open.data_bytes = 0;
    guest_send(&guest, &open, sizeof(open));
    guest_expect(&guest, VGPU_MSG_PROMISED, &message);
    assert_int_equal(message.promised.geometry.data_bytes, VGPU_GRANT_DEFAULT_DATA_BYTES);
    guest_close(&guest);
}

/* A page of a channel, 64 granules twice, 65536 bytes: 19 pages, a table, a directory. */
static void test_granted_pages_of_a_vm_are_bounded(void **state)
{
    struct setting *setting = *state;
    struct grant_channel channels[2];
    struct vgpu_msg_open open;
    union message message;
    struct guest guest;

    restart_with(setting, "--grant-pages", "42");
    guest = guest_hello_over(&setting->host, 1, VGPU_CARRIER_GRANT);
    promised(setting, &guest, &channels[0]);
    assert_int_equal(channels[0].n_pages, 19);
    promised(setting, &guest, &channels[1]);
    open = grant_open(&guest);
    guest_send(&guest, &open, sizeof(open));
    guest_expect_refused(&guest, open.head.tag, VGPU_LIMIT, &message);
    assert_non_null(strstr(message.refused.text, "21 granted pages"));
    close_channel(setting, &guest, &channels[0]);
    open.data_bytes += 4096;
    guest_send(&guest, &open, sizeof(open));
    guest_expect_refused(&guest, open.head.tag, VGPU_LIMIT, &message);
    promised(setting, &guest, &channels[0]);
    guest_close(&guest);
}

/* Those that ask for no size get less and less, until there is none; another VM has its own. */
static void test_granted_pages_are_shared_among_channels(void **state)
{
    struct setting *setting = *state;
    struct guest guest = guest_hello_over(&setting->host, 1, VGPU_CARRIER_GRANT);
    struct vgpu_msg_open open = grant_open(&guest);
    uint64_t bytes = 0, last = VGPU_GRANT_DEFAULT_DATA_BYTES;
    union message message;
    unsigned n = 0;

    open.data_bytes = 0;
    for (;; n++) {
        guest_send(&guest, &open, sizeof(open));
        assert_true(guest_receive(&guest, &message, NULL) > 0);
        if (message.head.type == VGPU_MSG_REFUSED)
            break;
        assert_int_equal(message.head.type, VGPU_MSG_PROMISED);
        assert_true(message.promised.geometry.data_bytes <= last);
        last = message.promised.geometry.data_bytes;
        bytes += message.promised.geometry.total_bytes;
    }
    assert_int_equal(message.refused.status, VGPU_LIMIT);
    assert_true(n >= 8);
    assert_int_equal(last, 1 << 20);
    assert_true(bytes <= UINT64_C(16384) * 4096);
    assert_int_equal(xenbus_set(setting, DOMID + 1, "2").vm_id, 2);
    guest_close(&guest);
    guest = guest_hello_over(&setting->host, 2, VGPU_CARRIER_GRANT);
    guest_send(&guest, &open, sizeof(open));
    guest_expect(&guest, VGPU_MSG_PROMISED, &message);
    assert_int_equal(message.promised.geometry.data_bytes, VGPU_GRANT_DEFAULT_DATA_BYTES);
    guest_close(&guest);
}

static void test_grant_is_no_part_of_the_local_carrier(void **state)
{
    struct setting *setting = *state;
    struct guest guest = guest_hello(&setting->host, 1);
    struct vgpu_msg_open open = grant_open(&guest);
    union message message;

    guest_send(&guest, &open, sizeof(open));
    guest_expect_refused(&guest, open.head.tag, VGPU_BAD_MESSAGE, &message);
    guest_expect_end(&guest);
    guest_close(&guest);
}

static void test_grant_carrier_has_nothing_else(void **state)
{
    struct setting *setting = *state;
    struct guest guest = guest_hello_over(&setting->host, 1, VGPU_CARRIER_GRANT);
    struct vgpu_msg_open open = good_open(&guest);
    union message message;

    guest_send(&guest, &open, sizeof(open));
    guest_expect_refused(&guest, open.head.tag, VGPU_BAD_MESSAGE, &message);
    guest_expect_end(&guest);
    guest_close(&guest);
}

static void test_promise_can_be_closed(void **state)
{
    struct setting *setting = *state;
    struct guest guest = guest_hello_over(&setting->host, 1, VGPU_CARRIER_GRANT);
    struct grant_channel channel;

    promised(setting, &guest, &channel);
    close_channel(setting, &guest, &channel);
    for (unsigned i = 0; i < 2 * VGPU_VM_MAX_CHANNELS; i++) { /* none is counted any more */
        promised(setting, &guest, &channel);
        close_channel(setting, &guest, &channel);
    }
    guest_close(&guest);
}

static void test_promise_does_not_last(void **state)
{
    struct setting *setting = *state;
    struct grant_channel channel;
    struct guest guest;
    union message message;

    restart_with(setting, "--ready-ms", "50");
    guest = guest_hello_over(&setting->host, 1, VGPU_CARRIER_GRANT);
    promised(setting, &guest, &channel);
    expect(setting, &guest, VGPU_MSG_GONE, &message);
    assert_int_equal(message.gone.status, VGPU_TIMEOUT);
    guest_close(&guest);
}

static void test_grant_that_waits_can_be_closed(void **state)
{
    struct setting *setting = *state;
    struct guest guest = guest_hello_over(&setting->host, 1, VGPU_CARRIER_RELAY);
    struct vgpu_msg_channel close = {.head = {sizeof(close), VGPU_MSG_CLOSE, 0, 100, 0}};
    struct grant_channel channel;
    struct vgpu_msg_grant grant;
    union message message;

    setting->xen.refuses_binds = true;
    promised(setting, &guest, &channel);
    grant = good_grant(setting, &guest, &channel);
    close.channel = channel.number;
    guest_send(&guest, &grant, sizeof(grant));
    guest_send(&guest, &close, sizeof(close));
    expect(setting, &guest, VGPU_MSG_REFUSED, &message);
    assert_int_equal(message.head.tag, grant.head.tag);
    expect(setting, &guest, VGPU_MSG_CLOSED, &message);
    assert_int_equal(message.head.tag, close.head.tag);
    assert_int_equal(workers(&setting->host), 0);
    guest_close(&guest);
}

static void test_end_of_domain_ends_its_channels(void **state)
{
    struct setting *setting = *state;
    struct guest guest = guest_hello_over(&setting->host, 1, VGPU_CARRIER_RELAY);
    struct grant_channel open, waits;

    open_channel(setting, &guest, &open);
    promised(setting, &guest, &waits);
    assert_int_equal(xenbus_set(setting, DOMID, NULL).status, VGPU_OK);
    expect_gone(setting, &guest, &waits);
    expect_gone(setting, &guest, &open);
    assert_int_equal(workers(&setting->host), 0);
    guest_close(&guest);
}

static void restart(struct setting *setting)
{
    host_kill(&setting->host.mediator, SIGKILL);
    host_start_mediator(&setting->host, NULL);
    xenbus_hello(setting);
}

static void resume(struct setting *setting, struct guest *guest,
                   const struct grant_channel *channel)
{
    struct vgpu_msg_resume resume = {.head = {sizeof(resume), VGPU_MSG_RESUME, 0, 90, 0},
                                     .channel = channel->number};
    union message message;

    guest_close(guest);
    *guest = guest_hello_over(&setting->host, 1, VGPU_CARRIER_RELAY);
    memcpy(resume.token, channel->token, sizeof(resume.token));
    guest_send(guest, &resume, sizeof(resume));
    expect(setting, guest, VGPU_MSG_RESUMED, &message);
}

static void test_channel_outlives_the_mediator(void **state)
{
    struct setting *setting = *state;
    struct guest guest = guest_hello_over(&setting->host, 1, VGPU_CARRIER_RELAY);
    struct grant_channel channel;

    open_channel(setting, &guest, &channel);
    start_rings(&channel);
    run_job(setting, &channel);
    restart(setting);
    resume(setting, &guest, &channel);
    xenbus_set(setting, DOMID, "1");
    xenbus_listed(setting);
    run_job(setting, &channel);
    close_channel(setting, &guest, &channel);
    guest_close(&guest);
}

static void test_channel_of_an_unlisted_domain_ends(void **state)
{
    struct setting *setting = *state;
    struct guest guest = guest_hello_over(&setting->host, 1, VGPU_CARRIER_RELAY);
    struct grant_channel channel;

    open_channel(setting, &guest, &channel);
    restart(setting);
    resume(setting, &guest, &channel);
    xenbus_set(setting, DOMID + 1, "1"); /* the guest was started anew meanwhile */
    xenbus_listed(setting);
    expect_gone(setting, &guest, &channel);
    guest_close(&guest);
}

static void drain(struct guest *guest, uint32_t tag)
{
    struct vgpu_msg_channel message = {.head = {sizeof(message), VGPU_MSG_DRAIN, 0, tag, 0}};

    guest_send(guest, &message, sizeof(message));
}

static void test_drain_is_answered_when_nothing_is_left(void **state)
{
    struct setting *setting = *state;
    struct guest guest = guest_hello_over(&setting->host, 1, VGPU_CARRIER_GRANT);
    struct grant_channel channel;
    union message message;

    drain(&guest, 50); /* nothing was there */
    expect(setting, &guest, VGPU_MSG_DRAINED, &message);
    assert_int_equal(message.head.tag, 50);
    open_channel(setting, &guest, &channel);
    drain(&guest, 51); /* its own are not meant */
    expect(setting, &guest, VGPU_MSG_DRAINED, &message);
    start_rings(&channel);
    run_job(setting, &channel);
    guest_close(&guest);
    guest = guest_hello_over(&setting->host, 1, VGPU_CARRIER_GRANT);
    drain(&guest, 52);
    expect(setting, &guest, VGPU_MSG_DRAINED, &message);
    assert_int_equal(workers(&setting->host), 0);
    guest_close(&guest);
}

static void test_drain_is_not_for_others(void **state)
{
    struct setting *setting = *state;
    struct guest guest = guest_hello_over(&setting->host, 1, VGPU_CARRIER_RELAY);
    union message message;

    drain(&guest, 50);
    guest_expect_refused(&guest, 50, VGPU_BAD_MESSAGE, &message);
    guest_close(&guest);
}

/* -1: it is null. */
static json_int_t shown_domid(const struct setting *setting, uint32_t vm_id)
{
    json_t *status = admin_ok(&setting->host, "\"status\"");
    json_t *shown = admin_ok(&setting->host, "\"show-vm\", \"args\": {\"vm_id\": %u}", vm_id);
    json_t *vm = json_array_get(json_object_get(status, "vms"), vm_id - 1);
    json_t *domid = json_object_get(vm, "domid");
    json_int_t value = json_is_null(domid) ? -1 : json_integer_value(domid);

    assert_non_null(domid);
    assert_true(json_equal(domid, json_object_get(json_object_get(shown, "live"), "domid")));
    json_decref(status);
    json_decref(shown);
    return value;
}

static void test_domain_is_shown(void **state)
{
    struct setting *setting = *state;

    assert_int_equal(shown_domid(setting, 1), DOMID);
    assert_int_equal(shown_domid(setting, 2), -1);
    assert_int_equal(xenbus_set(setting, DOMID, NULL).status, VGPU_OK);
    assert_int_equal(shown_domid(setting, 1), -1);
}

static void test_domain_is_one_vm(void **state)
{
    struct setting *setting = *state;

    assert_int_equal(xenbus_set(setting, 6, "1").status, VGPU_LIMIT);
    assert_int_equal(xenbus_set(setting, DOMID, "1").vm_id, 1);
    assert_int_equal(xenbus_set(setting, DOMID, "2").vm_id, 2); /* another VM from now on */
    assert_int_equal(xenbus_set(setting, 6, "1").vm_id, 1);
    assert_int_equal(xenbus_set(setting, 7, "none").status, VGPU_NOT_CONFIGURED);
    assert_int_equal(xenbus_set(setting, 0, "1").status, VGPU_LIMIT);
    assert_int_equal(xenbus_set(setting, VGPU_DOMAIN_FIRST_RESERVED, "1").status, VGPU_LIMIT);
    assert_int_equal(xenbus_set(setting, 8, NULL).status, VGPU_OK);
}

/* One change to a good message, at which the mediator hangs up. */
static void hangs_up(struct setting *setting, const void *message, size_t size)
{
    uint8_t byte;

    xenbus_hello(setting);
    assert_int_equal(send(setting->xenbus, message, size, 0), (ssize_t)size);
    assert_int_equal(recv(setting->xenbus, &byte, 1, 0), 0);
}

static void test_xenbus_nonsense_ends_its_connection(void **state)
{
    struct setting *setting = *state;
    struct vgpu_domain_set set = {.head = {sizeof(set), VGPU_DOMAIN_SET}, .domid = 9, .vm = "1"};
    struct vgpu_domain_hello hello = {.head = {sizeof(hello), VGPU_DOMAIN_HELLO},
                                      .magic = VGPU_MAGIC,
                                      .version_major = VGPU_VERSION_MAJOR};
    struct vgpu_domain listed = {sizeof(listed), VGPU_DOMAIN_LISTED};

    hangs_up(setting, &hello, sizeof(hello)); /* once is enough */
    hangs_up(setting, &set, sizeof(set) - 1);
    set.gone = 1;
    hangs_up(setting, &set, sizeof(set));
    set.gone = 2;
    hangs_up(setting, &set, sizeof(set));
    set.gone = 0;
    memset(set.vm, 'a', sizeof(set.vm));
    hangs_up(setting, &set, sizeof(set));
    listed.type = VGPU_DOMAIN_IS;
    hangs_up(setting, &listed, sizeof(listed));
    xenbus_hello(setting);
    assert_int_equal(xenbus_set(setting, DOMID, "1").vm_id, 1);
}

/* Anybody may knock, and hears nothing: who it is decides, not who may open the socket. */
static void test_stranger_names_no_domains(void **state)
{
    struct setting *setting = *state;
    char byte;
    int sock;

    if (geteuid() != 0) {
        print_message("only root can be somebody else\n");
        skip();
    }
    assert_int_equal(chmod(setting->host.dir, 0755), 0);
    assert_int_equal(setegid(54321), 0);
    assert_int_equal(seteuid(54321), 0);
    sock = xenbus_connect(&setting->host);
    assert_int_equal(seteuid(0), 0);
    assert_int_equal(setegid(0), 0);
    assert_int_equal(recv(sock, &byte, sizeof(byte), 0), 0);
    close(sock);
    assert_int_equal(xenbus_set(setting, DOMID, "1").vm_id, 1);
}

static void test_flood_of_events_harms_nobody(void **state)
{
    struct setting *setting = *state;
    struct guest guest = guest_hello_over(&setting->host, 1, VGPU_CARRIER_RELAY);
    struct grant_channel channel;

    open_channel(setting, &guest, &channel);
    start_rings(&channel);
    for (int i = 0; i < 2000; i++) {
        fake_xen_send(&setting->xen, channel.port);
        fake_xen_turn(&setting->xen, 0);
    }
    run_job(setting, &channel);
    guest_close(&guest);
}

static void test_nonsense_in_the_page_ends_the_channel(void **state)
{
    struct setting *setting = *state;
    struct guest guest = guest_hello_over(&setting->host, 1, VGPU_CARRIER_RELAY);
    struct vgpu_channel_page *page;
    struct grant_channel channel;

    open_channel(setting, &guest, &channel);
    page = (struct vgpu_channel_page *)(void *)channel.memory;
    memset(&page->geometry, 0xff, sizeof(page->geometry)); /* nobody goes by it */
    page->flags = UINT32_MAX;
    start_rings(&channel);
    run_job(setting, &channel);
    page_store_u32(&page->submission.producer.head, 0x80000000u);
    fake_xen_send(&setting->xen, channel.port);
    expect_gone(setting, &guest, &channel);
    assert_int_equal(page_load_u32(&page->notice.state), VGPU_CHANNEL_ENDED);
    guest_close(&guest);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_grant_runs_jobs_by_events),
        TEST(test_grant_starts_on_a_spare),
        cmocka_unit_test_setup_teardown(test_worker_of_its_own_user_maps, set_up_users, tear_down),
        cmocka_unit_test_setup_teardown(test_spare_of_another_user_maps, set_up_users, tear_down),
        TEST(test_grant_needs_a_known_domain),
        TEST(test_grant_refuses_other_numbers_than_promised),
        TEST(test_refused_grant_has_its_reason),
        TEST(test_missing_device_is_the_reason),
        TEST(test_grant_refuses_what_cannot_be_mapped),
        TEST(test_grant_size_is_bounded),
        TEST(test_granted_pages_of_a_vm_are_bounded),
        TEST(test_granted_pages_are_shared_among_channels),
        TEST(test_grant_is_no_part_of_the_local_carrier),
        TEST(test_grant_carrier_has_nothing_else),
        TEST(test_promise_can_be_closed),
        TEST(test_promise_does_not_last),
        TEST(test_grant_that_waits_can_be_closed),
        TEST(test_end_of_domain_ends_its_channels),
        TEST(test_channel_outlives_the_mediator),
        TEST(test_channel_of_an_unlisted_domain_ends),
        TEST(test_drain_is_answered_when_nothing_is_left),
        TEST(test_drain_is_not_for_others),
        TEST(test_domain_is_shown),
        TEST(test_domain_is_one_vm),
        TEST(test_xenbus_nonsense_ends_its_connection),
        TEST(test_stranger_names_no_domains),
        TEST(test_flood_of_events_harms_nobody),
        TEST(test_nonsense_in_the_page_ends_the_channel),
    };

    support_init(argc, argv);
    worker_path = argv[2];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
