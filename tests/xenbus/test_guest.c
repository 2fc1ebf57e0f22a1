/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest without the PCI device, from its keys in xenstore to the sums of a kernel. vgpu-xenbus is
 * in this process; mediator, launcher, worker and driver are real; xenstore is in memory, and Xen's
 * devices are doubles.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "carrier/fake_xen.h"
#include "common/cleanup.h"
#include "cuda/cuda_ops.h"
#include "ring/pages.h"
#include "ring/ring.h"
#include "xenbus/fake_store.h"
#include "xenbus/server.h"
#include "xenbus/toolstack.h"

/* The tests of the mediator have a union of this name too, which is of no use here. */
#define message support_message
#include "mediator/test_support.h"
#undef message

#define DOMID        5u
#define CONTROL_PORT 9u
#define COUNT        64u
#define BACK         "/local/domain/0/backend/vgpu/5/0/"
#define FRONT        "/local/domain/5/device/vgpu/0/"

struct setting {
    struct host host;
    struct store store;
    struct fake_xen xen;
    struct grant_ops ops;
    struct backend backend;
    struct server server;
    const char *options[7];
    struct vgpu_xen_control *control;
    uint32_t tag;
};

struct guest_slot {
    uint32_t slot, port;
    struct vgpu_channel_geometry geometry;
    uint8_t *memory;
    struct ring_producer submission;
    struct ring_consumer completion;
    uint64_t seq;
};

static struct fake_xen *the_xen;

static int bind_at_once(int events, uint32_t domid, uint32_t port, uint32_t *ret_port)
{
    *ret_port = fake_xen_bind(the_xen, 0, port);
    return 0;
}

static void turn(struct setting *setting)
{
    assert_int_equal(server_turn(&setting->server, 0), 0);
    fake_xen_turn(&setting->xen, 1);
}

#define UNTIL(setting, check)                                                                      \
    do {                                                                                           \
        uint64_t until_ = now_ms() + TIMEOUT_MS;                                                   \
        while (!(check)) {                                                                         \
            if (now_ms() > until_)                                                                 \
                fail_msg("never: %s", #check);                                                     \
            turn(setting);                                                                         \
        }                                                                                          \
    } while (0)

static const char *value(const struct setting *setting, const char *path)
{
    const struct fake_node *node = fake_store_node(&setting->store, path);

    return node ? node->value : "";
}

static void guest_says(struct setting *setting, const char *key, uint32_t number)
{
    char path[STORE_PATH_BYTES], text[16];

    snprintf(path, sizeof(path), "%s%s", FRONT, key);
    snprintf(text, sizeof(text), "%u", number);
    fake_store_ops.write(&setting->store, path, text);
}

static void start_backend(struct setting *setting)
{
    struct vgpu_err err;

    assert_int_equal(server_init(&setting->server, &setting->backend, &err), 0);
}

static int set_up(void **state)
{
    struct setting *setting = calloc(1, sizeof(*setting));
    struct vgpu_err err;

    fake_store_init(&setting->store);
    fake_xen_init(&setting->xen);
    the_xen = &setting->xen;
    setting->options[0] = "--driver";
    setting->options[1] = getenv("VGPU_DRIVER");
    setting->options[2] = "--grant-device";
    setting->options[3] = setting->xen.memory_path;
    setting->options[4] = "--event-device";
    setting->options[5] = setting->xen.events;
    support_launcher_options(setting->options);
    host_start(&setting->host, 1);
    setting->ops = grant_ops;
    setting->ops.bind = bind_at_once;
    setting->backend = (struct backend){
        .store = &setting->store,
        .store_ops = &fake_store_ops,
        .grants = &setting->ops,
        .memory = grant_ops.open_memory(setting->xen.memory_path),
        .events = grant_ops.open_events(setting->xen.events, 0),
        .run_dir = setting->host.run,
    };
    fake_xen_turn(&setting->xen, 0); /* the connection of events */
    start_backend(setting);
    assert_int_equal(toolstack_attach(&setting->backend, DOMID, 0, "1", &err), 0);
    *state = setting;
    return 0;
}

static int tear_down(void **state)
{
    struct setting *setting = *state;

    server_release(&setting->server);
    close(setting->backend.memory);
    close(setting->backend.events);
    host_stop(&setting->host);
    fake_xen_release(&setting->xen);
    fake_store_release(&setting->store);
    free(setting);
    return 0;
}

/* The guest's driver */

static uint32_t link_state(const struct setting *setting)
{
    return page_load_u32(&setting->control->status) & VGPU_STATUS_STATE;
}

static void connect_guest(struct setting *setting)
{
    uint32_t first;

    UNTIL(setting, strcmp(value(setting, BACK "state"), "2") == 0);
    setting->control =
        (struct vgpu_xen_control *)(void *)fake_xen_pages(&setting->xen, VGPU_XEN_PAGES, &first);
    setting->control->magic = VGPU_GRANT_MAGIC;
    setting->control->version = VGPU_GRANT_VERSION;
    guest_says(setting, "ring-ref", fake_xen_directory(&setting->xen, first, VGPU_XEN_PAGES));
    guest_says(setting, "event-channel", CONTROL_PORT);
    guest_says(setting, "state", 3);
    UNTIL(setting, strcmp(value(setting, BACK "state"), "4") == 0);
    guest_says(setting, "state", 4);
    UNTIL(setting, link_state(setting) == VGPU_DEVICE_READY);
}

static uint8_t *command_bytes(const struct setting *setting, uint32_t slot)
{
    return (uint8_t *)setting->control + 4096 + (size_t)slot * 1024;
}

static struct vgpu_device_command *command(const struct setting *setting, uint32_t slot)
{
    return (struct vgpu_device_command *)(void *)command_bytes(setting, slot);
}

static void ring_doorbell(struct setting *setting, uint32_t slot, uint32_t tag)
{
    page_store_u32(&setting->control->doorbell[slot], tag);
    fake_xen_send(&setting->xen, CONTROL_PORT);
}

/* Gives a command and waits for its answer. */
static uint32_t give(struct setting *setting, uint32_t slot,
                     const struct vgpu_device_command *wanted)
{
    struct vgpu_device_command *to = command(setting, slot);
    uint32_t tag = ++setting->tag;

    memcpy(to, wanted, offsetof(struct vgpu_device_command, done));
    to->tag = tag;
    ring_doorbell(setting, slot, tag);
    UNTIL(setting, page_load_u32(&to->done) == tag);
    return to->status;
}

static struct vgpu_device_command good_command(void)
{
    return (struct vgpu_device_command){.op = VGPU_COMMAND_OPEN,
                                        .sub_granules = 64,
                                        .comp_granules = 64,
                                        .data_bytes = 65536,
                                        .flags = VGPU_OPEN_GRANT,
                                        .process = "guest"};
}

static void attach(struct setting *setting, struct guest_slot *at)
{
    struct vgpu_device_command ask = {.op = VGPU_COMMAND_ATTACH};
    struct vgpu_channel_page *page;
    uint32_t first, n = (uint32_t)(at->geometry.total_bytes / 4096);

    at->port = 100 + at->slot;
    at->memory = fake_xen_pages(&setting->xen, n, &first);
    page = (struct vgpu_channel_page *)(void *)at->memory;
    page->magic = VGPU_MAGIC;
    page->layout = VGPU_LAYOUT_VERSION;
    page->geometry = at->geometry;
    ask.directory = VGPU_GRANT_ATTACH(fake_xen_directory(&setting->xen, first, n), at->port);
    assert_int_equal(give(setting, at->slot, &ask), VGPU_OK);
    ring_producer_init(&at->submission, &page->submission, at->memory + at->geometry.sub_offset,
                       at->geometry.sub_granules, 0);
    ring_consumer_init(&at->completion, &page->completion, at->memory + at->geometry.comp_offset,
                       at->geometry.comp_granules, 0);
}

static void open_slot(struct setting *setting, uint32_t slot, struct guest_slot *at)
{
    struct vgpu_device_command ask = good_command();

    *at = (struct guest_slot){.slot = slot};
    assert_int_equal(give(setting, slot, &ask), VGPU_OK);
    assert_int_equal(command(setting, slot)->backend_domid, 0);
    at->geometry = command(setting, slot)->geometry;
    assert_int_equal(at->geometry.data_bytes, 65536);
    attach(setting, at);
}

static void run_job(struct setting *setting, struct guest_slot *at)
{
    struct {
        struct cuda_op_job_vector_add op;
        uint32_t a[COUNT], b[COUNT];
    } record = {.op = {.head = {.size_bytes = sizeof(record),
                                .op = CUDA_OP_JOB_VECTOR_ADD,
                                .flags = VGPU_RECORD_WAIT,
                                .seq = ++at->seq,
                                .thread = 1},
                       .count = COUNT,
                       .a = {offsetof(__typeof__(record), a), sizeof(record.a), VGPU_BLOB_INLINE},
                       .b = {offsetof(__typeof__(record), b), sizeof(record.b), VGPU_BLOB_INLINE}}};
    _Alignas(8) uint8_t entry[VGPU_RECORD_MAX_BYTES];
    const struct cuda_re_job_vector_add *answer = (const void *)entry;
    uint32_t sums[COUNT];
    size_t size;
    void *to;
    bool kick;

    for (uint32_t i = 0; i < COUNT; i++) {
        record.a[i] = i;
        record.b[i] = 7 * i;
    }
    assert_int_equal(ring_reserve(&at->submission, sizeof(record), &to), 0);
    memcpy(to, &record, sizeof(record));
    if (ring_publish(&at->submission))
        fake_xen_send(&setting->xen, at->port);
    UNTIL(setting, ring_consume(&at->completion, entry, sizeof(entry), &size, &kick) == 1);
    assert_int_equal(answer->head.seq, at->seq);
    assert_int_equal(answer->head.status, VGPU_OK);
    memcpy(sums, entry + answer->sum.offset, sizeof(sums));
    for (uint32_t i = 0; i < COUNT; i++)
        assert_int_equal(sums[i], 8 * i);
}

static uint32_t close_slot(struct setting *setting, uint32_t slot)
{
    const struct vgpu_device_command ask = {.op = VGPU_COMMAND_CLOSE};

    return give(setting, slot, &ask);
}

/* Tests */

static void test_guest_runs_jobs(void **state)
{
    struct setting *setting = *state;
    struct guest_slot first, second;

    connect_guest(setting);
    assert_int_equal(setting->control->vm_id, 1);
    assert_string_equal(setting->control->pool, "A");
    assert_int_equal(setting->control->max_data, VGPU_GRANT_MAX_DATA_BYTES / 4096);
    open_slot(setting, 0, &first);
    open_slot(setting, VGPU_SLOTS - 1, &second);
    for (int i = 0; i < 5; i++) {
        run_job(setting, &first);
        run_job(setting, &second);
    }
    assert_int_equal(close_slot(setting, 0), VGPU_OK);
    run_job(setting, &second);
    assert_int_equal(close_slot(setting, VGPU_SLOTS - 1), VGPU_OK);
    assert_int_equal(workers(&setting->host), 0);
}

static void test_guest_asks_about_its_gpus(void **state)
{
    struct setting *setting = *state;
    struct vgpu_monitor_command *ask;

    connect_guest(setting);
    ask = (struct vgpu_monitor_command *)(void *)command_bytes(setting, VGPU_MONITOR_SLOT);
    ask->op = VGPU_COMMAND_MONITOR;
    ask->tag = 5;
    ring_doorbell(setting, VGPU_MONITOR_SLOT, 5);
    UNTIL(setting, page_load_u32(&ask->done) == 5);
    assert_int_equal(ask->status, VGPU_OK);
    assert_int_equal(ask->monitor.gpus, 1);
}

static void test_slot_is_used_in_order(void **state)
{
    struct setting *setting = *state;
    struct vgpu_device_command open = good_command(), attach_it = {.op = VGPU_COMMAND_ATTACH};
    struct guest_slot slot;

    connect_guest(setting);
    assert_int_equal(give(setting, 0, &attach_it), VGPU_GONE);
    open_slot(setting, 0, &slot);
    assert_int_equal(give(setting, 0, &open), VGPU_BAD_MESSAGE);
    assert_int_equal(give(setting, 0, &attach_it), VGPU_GONE);
    run_job(setting, &slot);
    assert_int_equal(close_slot(setting, 0), VGPU_OK);
    assert_int_equal(close_slot(setting, 0), VGPU_OK);
}

static void test_pages_that_were_not_granted_refuse_the_channel(void **state)
{
    struct setting *setting = *state;
    struct vgpu_device_command ask = good_command();

    connect_guest(setting);
    assert_int_equal(give(setting, 0, &ask), VGPU_OK);
    ask = (struct vgpu_device_command){.op = VGPU_COMMAND_ATTACH,
                                       .directory = VGPU_GRANT_ATTACH(FAKE_XEN_PAGES, 50u)};
    assert_int_not_equal(give(setting, 0, &ask), VGPU_OK);
    assert_int_equal(workers(&setting->host), 0);
    ask = good_command();
    assert_int_equal(give(setting, 0, &ask), VGPU_OK); /* the slot is free again */
}

static void test_channels_outlive_the_mediator(void **state)
{
    struct setting *setting = *state;
    struct guest_slot slot;

    connect_guest(setting);
    open_slot(setting, 2, &slot);
    run_job(setting, &slot);
    host_kill(&setting->host.mediator, SIGKILL);
    UNTIL(setting, link_state(setting) == VGPU_DEVICE_DISCONNECTED);
    host_start_mediator(&setting->host, NULL);
    UNTIL(setting, link_state(setting) == VGPU_DEVICE_READY);
    run_job(setting, &slot);
    assert_int_equal(page_load_u32(&command(setting, 2)->gone), 0);
    assert_int_equal(close_slot(setting, 2), VGPU_OK);
}

static void test_dead_worker_is_told(void **state)
{
    struct setting *setting = *state;
    struct vgpu_channel_page *page;
    struct guest_slot slot;

    connect_guest(setting);
    open_slot(setting, 1, &slot);
    page = (struct vgpu_channel_page *)(void *)slot.memory;
    page_store_u32(&page->submission.producer.head, 0x80000000u);
    fake_xen_send(&setting->xen, slot.port);
    UNTIL(setting, page_load_u32(&command(setting, 1)->gone) == 1);
    assert_int_equal(command(setting, 1)->gone_status, VGPU_BAD_RECORD);
    assert_int_equal(close_slot(setting, 1), VGPU_OK);
    open_slot(setting, 1, &slot);
    assert_int_equal(command(setting, 1)->gone, 0);
}

static void test_closing_ends_channels_first(void **state)
{
    struct setting *setting = *state;
    struct guest_slot slot;

    connect_guest(setting);
    open_slot(setting, 1, &slot);
    guest_says(setting, "state", 5);
    UNTIL(setting, strcmp(value(setting, BACK "state"), "6") == 0);
    assert_int_equal(workers(&setting->host), 0);
    assert_null(fake_xen_bound(&setting->xen, slot.port));
}

static void test_end_of_domain_leaves_nothing(void **state)
{
    struct setting *setting = *state;
    struct guest_slot slot;

    connect_guest(setting);
    open_slot(setting, 1, &slot);
    setting->store.dead = DOMID;
    fake_store_fire(&setting->store, "@releaseDomain");
    UNTIL(setting, setting->server.n_devices == 0);
    AWAIT(workers(&setting->host) == 0);
    fake_xen_turn(&setting->xen, 0);
    assert_null(fake_store_node(&setting->store, BACK "state"));
}

static void test_backend_comes_back(void **state)
{
    struct setting *setting = *state;
    struct guest_slot slot;

    connect_guest(setting);
    open_slot(setting, 1, &slot);
    server_release(&setting->server);
    fake_xen_turn(&setting->xen, 0);
    start_backend(setting);
    UNTIL(setting, page_load_u32(&command(setting, 1)->gone) == 1);
    UNTIL(setting, link_state(setting) == VGPU_DEVICE_READY);
    AWAIT(workers(&setting->host) == 0);
    assert_int_equal(close_slot(setting, 1), VGPU_OK);
    open_slot(setting, 1, &slot);
    run_job(setting, &slot);
}

/* Its end takes as long as the mediator has patience: it does not run, so it cannot end itself. */
static pid_t open_and_freeze(struct setting *setting, struct guest_slot *slot)
{
    pid_t worker;

    connect_guest(setting);
    open_slot(setting, 1, slot);
    worker = host_worker(&setting->host);
    assert_int_equal(kill(worker, SIGSTOP), 0);
    return worker;
}

static bool is_dead(pid_t pid)
{
    return kill(pid, 0) < 0 && errno == ESRCH;
}

static void restart_backend(struct setting *setting)
{
    server_release(&setting->server);
    fake_xen_turn(&setting->xen, 0);
    start_backend(setting);
}

static void test_gone_comes_when_the_worker_is_dead(void **state)
{
    struct setting *setting = *state;
    struct guest_slot slot;
    pid_t worker = open_and_freeze(setting, &slot);

    restart_backend(setting);
    UNTIL(setting, page_load_u32(&command(setting, 1)->gone) == 1);
    assert_true(is_dead(worker));
    assert_int_equal(workers(&setting->host), 0);
}

static void test_gone_waits_for_orphans(void **state)
{
    struct setting *setting = *state;
    struct guest_slot slot;
    pid_t worker;

    connect_guest(setting);
    open_slot(setting, 1, &slot);
    worker = host_worker(&setting->host);
    host_kill(&setting->host.mediator, SIGKILL);
    restart_backend(setting);
    host_start_mediator(&setting->host, NULL);
    UNTIL(setting, page_load_u32(&command(setting, 1)->gone) == 1);
    assert_true(is_dead(worker));
}

static void test_commands_to_what_is_lost_wait(void **state)
{
    struct vgpu_device_command open = good_command(), close = {.op = VGPU_COMMAND_CLOSE};
    struct setting *setting = *state;
    struct guest_slot slot;
    pid_t worker = open_and_freeze(setting, &slot);

    restart_backend(setting);
    UNTIL(setting, strcmp(value(setting, BACK "state"), "4") == 0 &&
                       fake_xen_bound(&setting->xen, CONTROL_PORT));
    assert_int_equal(give(setting, 2, &open), VGPU_STARTING);
    assert_false(is_dead(worker));
    assert_int_equal(give(setting, 1, &close), VGPU_OK);
    assert_true(is_dead(worker));
}

static void test_attach_that_was_taken_is_answered(void **state)
{
    struct vgpu_device_command attach_it = {.op = VGPU_COMMAND_ATTACH, .tag = 77};
    struct setting *setting = *state;
    struct guest_slot slot;
    pid_t worker = open_and_freeze(setting, &slot);

    memcpy(command(setting, 1), &attach_it, offsetof(struct vgpu_device_command, done));
    page_store_u32(&setting->control->doorbell[1], attach_it.tag);
    restart_backend(setting);
    UNTIL(setting, page_load_u32(&command(setting, 1)->done) == attach_it.tag);
    assert_int_equal(command(setting, 1)->status, VGPU_GONE);
    assert_true(is_dead(worker));
}

static void test_restart_while_closing_waits_too(void **state)
{
    struct setting *setting = *state;
    struct guest_slot slot;
    pid_t worker = open_and_freeze(setting, &slot);

    guest_says(setting, "state", 5);
    UNTIL(setting, strcmp(value(setting, BACK "state"), "5") == 0);
    restart_backend(setting);
    UNTIL(setting, strcmp(value(setting, BACK "state"), "6") == 0);
    assert_true(is_dead(worker));
}

static void test_lost_connection_tells_gone_when_dead(void **state)
{
    struct setting *setting = *state;
    struct guest_slot slot;
    pid_t worker = open_and_freeze(setting, &slot);

    shutdown(setting->server.devices->link.sock, SHUT_RDWR);
    UNTIL(setting, page_load_u32(&command(setting, 1)->gone) == 1);
    assert_true(is_dead(worker));
}

static void test_another_vm_gets_no_pages_of_the_one_before(void **state)
{
    struct setting *setting = *state;
    struct guest_slot slot;
    pid_t worker = open_and_freeze(setting, &slot);

    json_decref(admin_ok(&setting->host,
                         "\"register-vm\", \"args\": {\"pool\": \"A\", \"vm_id\": 9, "
                         "\"name\": \"other\"}"));
    fake_store_ops.write(&setting->store, BACK "vm", "other");
    UNTIL(setting, page_load_u32(&command(setting, 1)->gone) == 1);
    assert_true(is_dead(worker));
    UNTIL(setting, setting->control->vm_id == 9);
}

static void test_vm_that_is_removed_meanwhile(void **state)
{
    struct setting *setting = *state;
    struct guest_slot slot;
    pid_t worker = open_and_freeze(setting, &slot);

    server_release(&setting->server);
    fake_xen_turn(&setting->xen, 0);
    json_decref(admin_ok(&setting->host, "\"remove-vm\", \"args\": {\"vm_id\": 1}"));
    start_backend(setting);
    UNTIL(setting, page_load_u32(&command(setting, 1)->gone) == 1);
    assert_true(is_dead(worker));
}

static void test_unknown_vm_is_told_and_asked_again(void **state)
{
    struct setting *setting = *state;

    fake_store_ops.write(&setting->store, BACK "vm", "later");
    UNTIL(setting, strcmp(value(setting, BACK "error"), "") != 0);
    assert_string_equal(value(setting, BACK "state"), "2");
    json_decref(admin_ok(&setting->host,
                         "\"register-vm\", \"args\": {\"pool\": \"A\", \"vm_id\": 9, "
                         "\"name\": \"later\"}"));
    UNTIL(setting, setting->server.devices->vm_id == 9);
    connect_guest(setting);
    assert_int_equal(setting->control->vm_id, 9);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_guest_runs_jobs),
        TEST(test_guest_asks_about_its_gpus),
        TEST(test_slot_is_used_in_order),
        TEST(test_pages_that_were_not_granted_refuse_the_channel),
        TEST(test_channels_outlive_the_mediator),
        TEST(test_dead_worker_is_told),
        TEST(test_closing_ends_channels_first),
        TEST(test_end_of_domain_leaves_nothing),
        TEST(test_backend_comes_back),
        TEST(test_gone_comes_when_the_worker_is_dead),
        TEST(test_gone_waits_for_orphans),
        TEST(test_commands_to_what_is_lost_wait),
        TEST(test_attach_that_was_taken_is_answered),
        TEST(test_restart_while_closing_waits_too),
        TEST(test_lost_connection_tells_gone_when_dead),
        TEST(test_another_vm_gets_no_pages_of_the_one_before),
        TEST(test_vm_that_is_removed_meanwhile),
        TEST(test_unknown_vm_is_told_and_asked_again),
    };

    support_init(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
