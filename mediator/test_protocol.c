/* SPDX-License-Identifier: Apache-2.0 */
/* The protocol on a VM's socket, by a raw guest: every message, wrong ones, limits. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fdpass.h"
#include "mediator/test_support.h"

static void test_hello_is_welcomed(void **state)
{
    struct guest guest = guest_connect(*state, 1);
    struct vgpu_msg_hello hello = good_hello(&guest);
    union message message;

    guest_send(&guest, &hello, sizeof(hello));
    guest_expect(&guest, VGPU_MSG_WELCOME, &message);
    assert_int_equal(message.head.size_bytes, sizeof(message.welcome));
    assert_int_equal(message.head.tag, hello.head.tag);
    assert_int_equal(message.welcome.magic, VGPU_MAGIC);
    assert_int_equal(message.welcome.version_major, VGPU_VERSION_MAJOR);
    assert_int_equal(message.welcome.features, VGPU_FEATURES_KNOWN);
    assert_int_equal(message.welcome.vm_id, 1);
    assert_int_equal(message.welcome.priority, 1);
    assert_int_equal(message.welcome.weight_hundredths, 5000);
    assert_int_equal(message.welcome.max_channels, VGPU_VM_MAX_CHANNELS);
    assert_string_equal(message.welcome.pool, "A");
    guest_close(&guest);
}

static void test_hello_in_pieces_is_welcomed(void **state)
{
    struct guest guest = guest_connect(*state, 1);
    struct vgpu_msg_hello hello = good_hello(&guest);
    union message message;

    for (size_t i = 0; i < sizeof(hello); i++)
        guest_send(&guest, (const uint8_t *)&hello + i, 1);
    guest_expect(&guest, VGPU_MSG_WELCOME, &message);
    guest_close(&guest);
}

static void test_hello_from_the_future_is_refused(void **state)
{
    struct guest guest = guest_connect(*state, 1);
    struct vgpu_msg_hello hello = good_hello(&guest);
    union message message;

    hello.version_major = VGPU_VERSION_MAJOR + 1;
    guest_send(&guest, &hello, sizeof(hello));
    guest_expect_refused(&guest, hello.head.tag, VGPU_VERSION, &message);
    guest_expect_end(&guest);
    guest_close(&guest);
}

static void test_hello_of_a_later_minor_is_welcomed(void **state)
{
    struct guest guest = guest_connect(*state, 1);
    struct vgpu_msg_hello hello = good_hello(&guest);
    union message message;

    hello.version_minor = 99;
    guest_send(&guest, &hello, sizeof(hello));
    guest_expect(&guest, VGPU_MSG_WELCOME, &message);
    guest_close(&guest);
}

/* Sends bytes on a connection of its own and expects BAD_MESSAGE and the end. */
static void expect_bad(struct host *host, bool greeted, const void *data, size_t size)
{
    struct guest guest = greeted ? guest_hello(host, 1) : guest_connect(host, 1);
    union message message;

    guest_send(&guest, data, size);
    guest_expect(&guest, VGPU_MSG_REFUSED, &message);
    assert_int_equal(message.refused.status, VGPU_BAD_MESSAGE);
    guest_expect_end(&guest);
    guest_close(&guest);
}

static void test_wrong_sizes_are_refused(void **state)
{
    static const struct {
        uint16_t type;
        uint32_t size;
    } all[] = {{VGPU_MSG_HELLO, sizeof(struct vgpu_msg_hello)},
               {VGPU_MSG_OPEN, sizeof(struct vgpu_msg_open)},
               {VGPU_MSG_CLOSE, sizeof(struct vgpu_msg_channel)},
               {VGPU_MSG_RESUME, sizeof(struct vgpu_msg_resume)},
               {VGPU_MSG_MONITOR, sizeof(struct vgpu_msg_monitor)}};

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(all); i++) {
        union message message = {.head = {all[i].size + 1, all[i].type, 0, 7, 0}};

        expect_bad(*state, i > 0, &message, sizeof(message.head));
        message.head.size_bytes = all[i].size - 1;
        expect_bad(*state, i > 0, &message, sizeof(message.head));
        message.head.size_bytes = 0;
        expect_bad(*state, i > 0, &message, sizeof(message.head));
        message.head.size_bytes = UINT32_MAX;
        expect_bad(*state, i > 0, &message, sizeof(message.head));
    }
}

static void test_mediator_messages_are_refused(void **state)
{
    for (uint16_t type = 0; type < 20; type++) {
        union message message = {.head = {sizeof(message.head), type, 0, 7, 0}};

        if (type != VGPU_MSG_HELLO && type != VGPU_MSG_OPEN && type != VGPU_MSG_CLOSE &&
            type != VGPU_MSG_RESUME && type != VGPU_MSG_MONITOR)
            expect_bad(*state, true, &message, sizeof(message.head));
    }
}

static void test_reserved_fields_are_checked(void **state)
{
    struct guest guest = {.tag = 0};
    struct vgpu_msg_open open = good_open(&guest);
    struct vgpu_msg_hello hello = good_hello(&guest);
    struct vgpu_msg_channel close_one = {{sizeof(close_one), VGPU_MSG_CLOSE, 0, 1, 0}, 1, 1};

    open.head.flags = VGPU_MSG_OPEN_WINDOW; /* of a connection that has none */
    expect_bad(*state, true, &open, sizeof(open));
    open.head.flags = 2;
    expect_bad(*state, true, &open, sizeof(open));
    open.head.flags = 0;
    open.head.reserved = 1;
    expect_bad(*state, true, &open, sizeof(open));
    open.head.reserved = 0;
    open.head.tag = 0;
    expect_bad(*state, true, &open, sizeof(open));
    hello.window_mib = 1;
    expect_bad(*state, false, &hello, sizeof(hello));
    close_one.head.flags = VGPU_MSG_OPEN_WINDOW;
    expect_bad(*state, true, &close_one, sizeof(close_one));
    close_one.head.flags = 0;
    expect_bad(*state, true, &close_one, sizeof(close_one));
}

static void test_unterminated_names_are_refused(void **state)
{
    struct guest guest = {.tag = 0};
    struct vgpu_msg_open open = good_open(&guest);
    struct vgpu_msg_hello hello = good_hello(&guest);

    memset(open.process, 'a', sizeof(open.process));
    expect_bad(*state, true, &open, sizeof(open));
    memset(hello.claimed_pool, 'a', sizeof(hello.claimed_pool));
    expect_bad(*state, false, &hello, sizeof(hello));
}

static void test_hello_comes_first_and_once(void **state)
{
    struct guest guest = {.tag = 0};
    struct vgpu_msg_open open = good_open(&guest);
    struct vgpu_msg_hello hello = good_hello(&guest);

    expect_bad(*state, false, &open, sizeof(open));
    expect_bad(*state, true, &hello, sizeof(hello));
}

static void test_descriptors_are_refused(void **state)
{
    struct guest guest = guest_hello(*state, 1);
    struct vgpu_msg_open open = good_open(&guest);
    union message message;
    int fd = guest.sock;

    assert_int_equal(vgpu_fdpass_send(guest.sock, &open, sizeof(open), &fd, 1), sizeof(open));
    guest_expect(&guest, VGPU_MSG_REFUSED, &message);
    assert_int_equal(message.refused.status, VGPU_BAD_MESSAGE);
    guest_expect_end(&guest);
    guest_close(&guest);
}

static void test_silent_guest_is_dropped(void **state)
{
    static const char *const quick[] = {"--handshake-ms", "50", NULL};
    struct host *host = *state;
    union message message;
    struct guest guest;

    host_kill(&host->mediator, SIGTERM);
    host_start_mediator(host, quick);
    guest = guest_connect(host, 1);
    guest_expect_refused(&guest, 0, VGPU_TIMEOUT, &message);
    guest_expect_end(&guest);
    guest_close(&guest);
}

static void test_open_gives_sealed_memory(void **state)
{
    struct guest guest = guest_hello(*state, 1);
    struct guest_channel channel;
    struct vgpu_channel_page *page;
    struct stat status;
    int seals;

    guest_open(&guest, &channel);
    assert_int_equal(channel.geometry.sub_granules, 64);
    assert_int_equal(channel.geometry.comp_granules, 32);
    assert_int_equal(channel.geometry.data_bytes, 8192);
    assert_int_equal(fstat(channel.fds[0], &status), 0);
    assert_int_equal(status.st_size, channel.geometry.total_bytes);
    seals = fcntl(channel.fds[0], F_GET_SEALS);
    assert_int_equal(seals, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, channel.fds[0], 0);
    assert_int_equal(page->magic, VGPU_MAGIC);
    assert_int_equal(page->layout, VGPU_LAYOUT_VERSION);
    assert_memory_equal(&page->geometry, &channel.geometry, sizeof(page->geometry));
    munmap(page, 4096);
    channel_forget(&channel);
    guest_close(&guest);
}

static void test_open_defaults_are_filled_in(void **state)
{
    struct guest guest = guest_hello(*state, 1);
    struct vgpu_msg_open open = good_open(&guest);
    struct guest_channel channel;
    union message message;
    int fds[3];

    open.sub_granules = open.comp_granules = 0;
    open.data_bytes = 0;
    guest_send(&guest, &open, sizeof(open));
    guest_receive(&guest, &message, fds);
    assert_int_equal(message.head.type, VGPU_MSG_OPENED);
    guest_take_opened(&message, fds, &channel);
    assert_true(channel.geometry.sub_granules >= 64 && channel.geometry.data_bytes >= 1 << 20);
    channel_forget(&channel);
    guest_close(&guest);
}

/* The data area of a channel that asks for `data_bytes`. */
static uint64_t opened_data_bytes(struct host *host, uint32_t carrier, uint64_t data_bytes)
{
    struct guest guest = guest_hello_over(host, 1, carrier);
    struct vgpu_msg_open open = good_open(&guest);
    struct guest_channel channel;
    union message message;
    uint64_t bytes;
    int fds[3];

    open.data_bytes = data_bytes;
    guest_send(&guest, &open, sizeof(open));
    guest_receive(&guest, &message, fds);
    assert_int_equal(message.head.type, VGPU_MSG_OPENED);
    guest_take_opened(&message, fds, &channel);
    bytes = channel.geometry.data_bytes;
    channel_forget(&channel);
    guest_close(&guest);
    return bytes;
}

static void test_open_default_data_area_is_large(void **state)
{
    assert_int_equal(opened_data_bytes(*state, VGPU_CARRIER_LOCAL, 0), UINT64_C(4096) << 20);
}

/* What is mirrored is there twice, so less of it is given to those that do not ask. */
static void test_open_default_data_area_of_a_mirrored_channel(void **state)
{
    assert_int_equal(opened_data_bytes(*state, VGPU_CARRIER_RELAY, 0), UINT64_C(256) << 20);
}

/* The default is no limit: those that ask get more, up to --max-data-mib. */
static void test_open_mirrored_data_area_may_be_larger(void **state)
{
    const uint64_t above = (UINT64_C(256) << 20) + 4096, most = UINT64_C(16384) << 20;

    assert_int_equal(opened_data_bytes(*state, VGPU_CARRIER_RELAY, above), above);
    assert_int_equal(opened_data_bytes(*state, VGPU_CARRIER_RELAY, most), most);
    assert_int_equal(opened_data_bytes(*state, VGPU_CARRIER_LOCAL, most), most);
}

static void test_open_default_data_area_is_within_the_limit(void **state)
{
    const char *const options[] = {"--max-data-mib", "64", NULL};
    struct host *host = *state;

    host_kill(&host->mediator, SIGKILL);
    host_start_mediator(host, options);
    assert_int_equal(opened_data_bytes(host, VGPU_CARRIER_LOCAL, 0), UINT64_C(64) << 20);
    assert_int_equal(opened_data_bytes(host, VGPU_CARRIER_RELAY, 0), UINT64_C(64) << 20);
}

/* The request is refused, and the connection goes on. */
static void refuses_open(struct guest *guest, struct vgpu_msg_open open, uint32_t status)
{
    union message message;

    open.head.tag = ++guest->tag;
    guest_send(guest, &open, sizeof(open));
    guest_expect_refused(guest, guest->tag, status, &message);
}

static void test_open_over_limits_is_refused(void **state)
{
    struct guest guest = guest_hello(*state, 1);
    const struct vgpu_msg_open good = good_open(&guest);
    struct guest_channel channel;
    struct vgpu_msg_open open = good;

    open.sub_granules = VGPU_RING_MAX_GRANULES * 2;
    refuses_open(&guest, open, VGPU_LIMIT);
    open.sub_granules = 1;
    refuses_open(&guest, open, VGPU_LIMIT);
    open = good;
    open.comp_granules = 48;
    refuses_open(&guest, open, VGPU_LIMIT);
    open = good;
    open.data_bytes = 4097;
    refuses_open(&guest, open, VGPU_LIMIT);
    open.data_bytes = (16384ull << 20) + 4096; /* --max-data-mib */
    refuses_open(&guest, open, VGPU_LIMIT);
    open.data_bytes = UINT64_MAX - 4095;
    refuses_open(&guest, open, VGPU_LIMIT);
    guest_open(&guest, &channel);
    channel_forget(&channel);
    guest_close(&guest);
}

static void test_channels_are_limited(void **state)
{
    struct guest guest = guest_hello(*state, 1), other = guest_hello(*state, 1);
    struct guest_channel channel;

    for (unsigned i = 0; i < VGPU_VM_MAX_CHANNELS; i++) {
        guest_open(i % 2 ? &guest : &other, &channel);
        channel_forget(&channel);
    }
    refuses_open(&guest, good_open(&guest), VGPU_LIMIT);
    guest_close(&guest);
    guest_close(&other);
}

static void test_connections_are_limited(void **state)
{
    struct guest guests[VGPU_VM_MAX_CONNECTIONS], more;
    union message message;

    for (unsigned i = 0; i < VGPU_VM_MAX_CONNECTIONS; i++)
        guests[i] = guest_hello(*state, 1);
    more = guest_connect(*state, 1);
    guest_expect_refused(&more, 0, VGPU_LIMIT, &message);
    guest_expect_end(&more);
    guest_close(&more);
    for (unsigned i = 0; i < VGPU_VM_MAX_CONNECTIONS; i++)
        guest_close(&guests[i]);
    /* There is room again, once the mediator has seen an end. */
    AWAIT(({
        struct vgpu_msg_hello hello;

        more = guest_connect(*state, 1);
        hello = good_hello(&more);
        send(more.sock, &hello, sizeof(hello), MSG_NOSIGNAL);
        guest_receive(&more, &message, NULL);
        guest_close(&more);
        message.head.type == VGPU_MSG_WELCOME;
    }));
}

static void test_relay_channels_are_mirrored(void **state)
{
    struct guest guest = guest_hello_over(*state, 1, VGPU_CARRIER_RELAY);
    struct guest_channel channel;

    guest_open(&guest, &channel);
    assert_int_equal(channel_flags(&channel), VGPU_CHANNEL_MIRRORED);
    channel_forget(&channel);
    guest_close(&guest);
}

static void test_local_channels_are_not_mirrored(void **state)
{
    struct guest guest = guest_hello(*state, 1);
    struct guest_channel channel;

    guest_open(&guest, &channel);
    assert_int_equal(channel_flags(&channel), 0);
    channel_forget(&channel);
    guest_close(&guest);
}

static void test_relay_resumes_after_a_restart(void **state)
{
    struct host *host = *state;
    struct guest guest = guest_hello_over(host, 1, VGPU_CARRIER_RELAY);
    struct vgpu_msg_resume resume = {{sizeof(resume), VGPU_MSG_RESUME, 0, 6, 0}, 0, 0, {0}};
    struct guest_channel channel;
    union message message;

    guest_open(&guest, &channel);
    host_kill(&host->mediator, SIGKILL);
    guest_close(&guest);
    host_start_mediator(host, NULL);
    guest = guest_hello_over(host, 1, VGPU_CARRIER_RELAY);
    resume.channel = channel.number;
    memcpy(resume.token, channel.token, sizeof(resume.token));
    guest_send(&guest, &resume, sizeof(resume));
    guest_expect(&guest, VGPU_MSG_RESUMED, &message);
    assert_int_equal(channel_flags(&channel), VGPU_CHANNEL_MIRRORED);
    channel_forget(&channel);
    guest_close(&guest);
}

static void test_relay_with_tiny_completion_ring_is_refused(void **state)
{
    struct guest guest = guest_hello_over(*state, 1, VGPU_CARRIER_RELAY);
    struct vgpu_msg_open open = good_open(&guest);

    open.comp_granules = VGPU_MIRRORED_MIN_GRANULES / 2;
    refuses_open(&guest, open, VGPU_LIMIT);
    guest_close(&guest);
}

static void test_relay_channels_are_limited(void **state)
{
    struct guest guest = guest_hello_over(*state, 1, VGPU_CARRIER_RELAY);
    struct guest_channel channel;

    for (unsigned i = 0; i < VGPU_VM_MAX_CHANNELS; i++) {
        guest_open(&guest, &channel);
        channel_forget(&channel);
    }
    refuses_open(&guest, good_open(&guest), VGPU_LIMIT);
    guest_close(&guest);
}

/* A connection over `first` lives: one over `second` is refused, and the first goes on. */
static void expect_alone(struct host *host, uint32_t first, uint32_t second)
{
    struct guest guest = guest_hello_over(host, 1, first);
    struct guest other = guest_connect(host, 1);
    struct vgpu_msg_hello hello = good_hello(&other);
    struct pollfd ends = {.events = POLLIN};
    struct guest_channel channel;
    union message message;

    hello.carrier = second;
    guest_send(&other, &hello, sizeof(hello));
    guest_expect_refused(&other, hello.head.tag, VGPU_LIMIT, &message);
    guest_expect_end(&other);
    /* The reason stays readable: the mediator does not close before the peer does. */
    ends.fd = other.sock;
    assert_int_equal(poll(&ends, 1, 0), 1);
    assert_false(ends.revents & POLLHUP);
    guest_open(&guest, &channel);
    channel_forget(&channel);
    guest_close(&other);
    guest_close(&guest);
}

static void test_relay_is_alone(void **state)
{
    expect_alone(*state, VGPU_CARRIER_RELAY, VGPU_CARRIER_RELAY);
    expect_alone(*state, VGPU_CARRIER_RELAY, VGPU_CARRIER_LOCAL);
    expect_alone(*state, VGPU_CARRIER_LOCAL, VGPU_CARRIER_RELAY);
    expect_alone(*state, VGPU_CARRIER_RELAY, VGPU_CARRIER_GRANT);
}

/* A device whose connection died comes back before the mediator has seen the end. */
static void test_relay_comes_back_at_once(void **state)
{
    struct guest_channel channel;

    for (int i = 0; i < 50; i++) {
        struct guest guest = guest_hello_over(*state, 1, VGPU_CARRIER_RELAY);

        if (i % 10 == 0) {
            guest_open(&guest, &channel);
            channel_forget(&channel);
        }
        guest_close(&guest);
    }
    AWAIT(vm_number(*state, 1, "channels") == 0);
    AWAIT(vm_number(*state, 1, "connections") == 0);
}

/* Mediator's word to a guest of user 54321. */
static void stranger(struct host *host, const char *const *options, union message *message)
{
    struct guest guest;
    struct vgpu_msg_hello hello;

    host_kill(&host->mediator, SIGTERM);
    host_start_mediator(host, options);
    assert_int_equal(chmod(host->dir, 0755), 0);
    AWAIT(vm_number(host, 1, "channels") == 0);
    assert_int_equal(seteuid(54321), 0);
    guest = guest_connect(host, 1);
    assert_int_equal(seteuid(0), 0);
    hello = good_hello(&guest);
    send(guest.sock, &hello, sizeof(hello), MSG_NOSIGNAL);
    assert_true(guest_receive(&guest, message, NULL) > 0);
    guest_close(&guest);
}

static void test_strangers_are_refused(void **state)
{
    static const char *const nobody[] = {"--guest-uid", "54320,54322", NULL};
    static const char *const them[] = {"--guest-uid", "7,54321", NULL};
    union message message;

    if (geteuid() != 0) {
        print_message("only root can be somebody else\n");
        skip();
    }
    stranger(*state, NULL, &message);
    assert_int_equal(message.head.type, VGPU_MSG_REFUSED);
    assert_int_equal(message.refused.status, VGPU_NOT_CONFIGURED);
    assert_int_equal(message.head.tag, 0);
    stranger(*state, nobody, &message);
    assert_int_equal(message.head.type, VGPU_MSG_REFUSED);
    stranger(*state, them, &message);
    assert_int_equal(message.head.type, VGPU_MSG_WELCOME);
}

static void test_relay_is_told_of_changes(void **state)
{
    struct guest guest = guest_hello_over(*state, 1, VGPU_CARRIER_RELAY);
    union message message;

    json_decref(admin_ok(*state, "\"set-priority\", \"args\": {\"vm_id\": 1, "
                                 "\"priority\": \"high\"}"));
    guest_expect(&guest, VGPU_MSG_STATE, &message);
    assert_int_equal(message.state.priority, 2);
    json_decref(admin_ok(*state, "\"create-pool\", \"args\": {\"pool\": \"B\"}"));
    json_decref(admin_ok(*state, "\"set-pool\", \"args\": {\"vm_id\": 1, \"pool\": \"B\"}"));
    guest_expect(&guest, VGPU_MSG_STATE, &message);
    assert_string_equal(message.state.pool, "B");
    guest_close(&guest);
}

static void test_close_is_confirmed(void **state)
{
    struct guest guest = guest_hello(*state, 1);
    struct vgpu_msg_channel request = {{sizeof(request), VGPU_MSG_CLOSE, 0, 99, 0}, 0, 0};
    struct guest_channel channel;
    union message message;

    guest_open(&guest, &channel);
    request.channel = channel.number;
    guest_send(&guest, &request, sizeof(request));
    guest_expect(&guest, VGPU_MSG_CLOSED, &message);
    assert_int_equal(message.head.tag, 99);
    assert_int_equal(message.channel.channel, channel.number);
    assert_int_equal(workers(*state), 0);
    guest_send(&guest, &request, sizeof(request));
    guest_expect_refused(&guest, 99, VGPU_GONE, &message);
    channel_forget(&channel);
    guest_close(&guest);
}

static void test_close_of_another_connection_is_refused(void **state)
{
    struct guest guest = guest_hello(*state, 1), thief = guest_hello(*state, 1);
    struct vgpu_msg_channel request = {{sizeof(request), VGPU_MSG_CLOSE, 0, 5, 0}, 0, 0};
    struct vgpu_msg_resume resume = {{sizeof(resume), VGPU_MSG_RESUME, 0, 6, 0}, 0, 0, {0}};
    struct guest_channel channel;
    union message message;

    guest_open(&guest, &channel);
    request.channel = resume.channel = channel.number;
    guest_send(&thief, &request, sizeof(request));
    guest_expect_refused(&thief, 5, VGPU_GONE, &message);
    memcpy(resume.token, channel.token, sizeof(resume.token));
    guest_send(&thief, &resume, sizeof(resume));
    guest_expect_refused(&thief, 6, VGPU_GONE, &message);
    channel_order(&channel, FAKE_OBEY, 3, 10);
    AWAIT(channel_done(&channel) == 3);
    channel_forget(&channel);
    guest_close(&guest);
    guest_close(&thief);
}

static void test_disconnect_ends_workers(void **state)
{
    struct guest guest = guest_hello(*state, 1);
    struct guest_channel channel;

    guest_open(&guest, &channel);
    assert_int_equal(workers(*state), 1);
    guest_close(&guest);
    AWAIT(workers(*state) == 0);
    channel_forget(&channel);
}

static void test_disconnect_kills_deaf_worker(void **state)
{
    struct guest guest = guest_hello(*state, 1);
    struct guest_channel channel;

    guest_open(&guest, &channel);
    channel_order(&channel, FAKE_DEAF, 0, 0);
    guest_close(&guest);
    AWAIT(workers(*state) == 0);
    channel_forget(&channel);
}

static void test_disconnect_during_open(void **state)
{
    for (int i = 0; i < 5; i++) {
        struct guest guest = guest_hello(*state, 1);
        struct vgpu_msg_open open = good_open(&guest);

        guest_send(&guest, &open, sizeof(open));
        guest_close(&guest);
    }
    AWAIT(vm_number(*state, 1, "channels") == 0);
}

/* The pid of the only worker: the launcher's only child. */
static pid_t worker_pid(const struct host *host)
{
    char path[64], text[64] = "";
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)host->launcher,
             (int)host->launcher);
    file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof(text), file));
    fclose(file);
    return (pid_t)atoi(text);
}

static void test_killed_worker_is_told(void **state)
{
    struct guest guest = guest_hello(*state, 1);
    struct guest_channel channel, next;
    union message message;

    guest_open(&guest, &channel);
    kill(worker_pid(*state), SIGKILL);
    guest_expect(&guest, VGPU_MSG_GONE, &message);
    assert_int_equal(message.head.size_bytes, sizeof(message.gone));
    assert_int_equal(message.head.tag, 0);
    assert_int_equal(message.gone.channel, channel.number);
    assert_int_equal(message.gone.status, VGPU_KILLED);
    assert_string_equal(message.gone.text, "the worker was killed by signal 9");
    guest_open(&guest, &next); /* and a new one can be had */
    channel_forget(&channel);
    channel_forget(&next);
    guest_close(&guest);
}

static void test_worker_reason_is_told(void **state)
{
    struct guest guest = guest_hello(*state, 1);
    struct guest_channel channel;
    union message message;

    guest_open(&guest, &channel);
    channel_order(&channel, FAKE_ABORT, 0, 0);
    guest_expect(&guest, VGPU_MSG_GONE, &message);
    assert_int_equal(message.gone.status, VGPU_BAD_RECORD);
    assert_string_equal(message.gone.text, "record 7?is bad");
    channel_forget(&channel);
    guest_close(&guest);
}

/* Opens with a launcher whose workers start as `how` says, and a mediator with these options. */
static void open_fails(void **state, const char *how, const char *const *options, uint32_t status,
                       const char *text)
{
    struct host *host = *state;
    union message message;
    struct guest guest;
    struct vgpu_msg_open open;

    host_kill(&host->mediator, SIGTERM);
    host_kill(&host->launcher, SIGTERM);
    host_start_launcher(host, how);
    host_start_mediator(host, options);
    guest = guest_hello(host, 1);
    open = good_open(&guest);
    guest_send(&guest, &open, sizeof(open));
    guest_expect_refused(&guest, open.head.tag, status, &message);
    assert_non_null(strstr(message.refused.text, text));
    assert_int_equal(workers(host), 0);
    guest_close(&guest);
}

static void test_open_without_driver_is_refused(void **state)
{
    open_fails(state, "FAKE_START=refuse", NULL, VGPU_DRIVER, "no driver here");
}

static void test_open_with_crashing_worker_is_refused(void **state)
{
    open_fails(state, "FAKE_START=crash", NULL, VGPU_KILLED, "signal 11");
}

static void test_open_with_slow_worker_is_refused(void **state)
{
    static const char *const quick[] = {"--ready-ms", "200", NULL};

    open_fails(state, "FAKE_START=sleep", quick, VGPU_DRIVER, "in time");
}

static void test_open_without_gpu_is_refused(void **state)
{
    struct guest guest;
    union message message;
    struct vgpu_msg_open open;

    json_decref(admin_ok(*state, "\"create-pool\", \"args\": {\"pool\": \"B\"}"));
    json_decref(admin_ok(*state, "\"register-vm\", \"args\": {\"pool\": \"B\", \"vm_id\": 9}"));
    guest = guest_hello(*state, 9);
    open = good_open(&guest);
    guest_send(&guest, &open, sizeof(open));
    guest_expect_refused(&guest, open.head.tag, VGPU_NO_GPU, &message);
    assert_non_null(strstr(message.refused.text, "'B'"));
    guest_close(&guest);
}

static void test_guest_that_does_not_read_is_dropped(void **state)
{
    struct guest guest = guest_hello(*state, 1);
    struct vgpu_msg_channel request = {{sizeof(request), VGPU_MSG_CLOSE, 0, 5, 0}, 7, 0};
    ssize_t sent;

    do
        sent = send(guest.sock, &request, sizeof(request), MSG_NOSIGNAL);
    while (sent > 0);
    assert_true(errno == EPIPE || errno == ECONNRESET);
    guest_close(&guest);
    guest = guest_hello(*state, 1); /* others are served */
    guest_close(&guest);
}

static void test_launcher_death_is_told(void **state)
{
    struct host *host = *state;
    struct guest guest = guest_hello(host, 1);
    struct guest_channel channel;
    union message message;

    guest_open(&guest, &channel);
    channel_forget(&channel);
    host_kill(&host->launcher, SIGKILL);
    guest_expect(&guest, VGPU_MSG_GONE, &message);
    assert_int_equal(message.gone.status, VGPU_KILLED);
    refuses_open(&guest, good_open(&guest), VGPU_STARTING);
    host_start_launcher(host, NULL);
    AWAIT(({
        struct vgpu_msg_open open = good_open(&guest);
        int fds[3];

        guest_send(&guest, &open, sizeof(open));
        guest_receive(&guest, &message, fds);
        message.head.type == VGPU_MSG_OPENED;
    }));
    guest_close(&guest);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, host_setup_1, host_teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CASE(test_hello_is_welcomed),
        CASE(test_hello_in_pieces_is_welcomed),
        CASE(test_hello_from_the_future_is_refused),
        CASE(test_hello_of_a_later_minor_is_welcomed),
        CASE(test_wrong_sizes_are_refused),
        CASE(test_mediator_messages_are_refused),
        CASE(test_reserved_fields_are_checked),
        CASE(test_unterminated_names_are_refused),
        CASE(test_hello_comes_first_and_once),
        CASE(test_descriptors_are_refused),
        CASE(test_silent_guest_is_dropped),
        CASE(test_open_gives_sealed_memory),
        CASE(test_open_defaults_are_filled_in),
        CASE(test_open_default_data_area_is_large),
        CASE(test_open_default_data_area_of_a_mirrored_channel),
        CASE(test_open_mirrored_data_area_may_be_larger),
        CASE(test_open_default_data_area_is_within_the_limit),
        CASE(test_open_over_limits_is_refused),
        CASE(test_channels_are_limited),
        CASE(test_connections_are_limited),
        CASE(test_close_is_confirmed),
        CASE(test_close_of_another_connection_is_refused),
        CASE(test_disconnect_ends_workers),
        CASE(test_disconnect_kills_deaf_worker),
        CASE(test_disconnect_during_open),
        CASE(test_killed_worker_is_told),
        CASE(test_worker_reason_is_told),
        CASE(test_open_without_driver_is_refused),
        CASE(test_open_with_crashing_worker_is_refused),
        CASE(test_open_with_slow_worker_is_refused),
        CASE(test_open_without_gpu_is_refused),
        CASE(test_guest_that_does_not_read_is_dropped),
        CASE(test_launcher_death_is_told),
        CASE(test_relay_channels_are_mirrored),
        CASE(test_local_channels_are_not_mirrored),
        CASE(test_relay_resumes_after_a_restart),
        CASE(test_relay_with_tiny_completion_ring_is_refused),
        CASE(test_relay_channels_are_limited),
        CASE(test_relay_is_alone),
        CASE(test_relay_comes_back_at_once),
        CASE(test_strangers_are_refused),
        CASE(test_relay_is_told_of_changes),
    };

    support_init(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
