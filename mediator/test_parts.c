/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of the mediator by themselves: tables of moves, accounts, configuration, requests. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>
#include <vgpu/launch.h>

#include "mediator/accounts.h"
#include "mediator/config.h"
#include "mediator/request.h"
#include "mediator/vm.h"

static void test_channel_moves_end(void **state)
{
    for (int s = 0; s < CHANNEL_N_STATES; s++) {
        enum channel_state next = channel_next(s, CHANNEL_EV_EXITED);

        /* A worker that is dead is dead in every state. */
        assert_int_equal(next, s == CHANNEL_ENDED ? CHANNEL_N_STATES : CHANNEL_ENDED);
        for (int e = 0; e < CHANNEL_N_EVENTS; e++)
            if (s == CHANNEL_ENDED)
                assert_int_equal(channel_next(s, e), CHANNEL_N_STATES);
    }
}

static void test_channel_can_be_killed_once(void **state)
{
    for (int s = 0; s < CHANNEL_KILLING; s++)
        assert_int_equal(channel_next(s, CHANNEL_EV_KILL), CHANNEL_KILLING);
    assert_int_equal(channel_next(CHANNEL_KILLING, CHANNEL_EV_KILL), CHANNEL_N_STATES);
}

static void test_channel_opens_once(void **state)
{
    for (int s = 0; s < CHANNEL_N_STATES; s++)
        assert_int_equal(channel_next(s, CHANNEL_EV_READY),
                         s == CHANNEL_LOADING ? CHANNEL_OPEN : CHANNEL_N_STATES);
    assert_int_equal(channel_next(CHANNEL_SPAWNING, CHANNEL_EV_STOP), CHANNEL_KILLING);
}

static void test_channel_is_granted_once(void **state)
{
    for (int s = 0; s < CHANNEL_N_STATES; s++)
        assert_int_equal(channel_next(s, CHANNEL_EV_GRANTED),
                         s == CHANNEL_PROMISED ? CHANNEL_SPAWNING : CHANNEL_N_STATES);
    assert_int_equal(channel_next(CHANNEL_PROMISED, CHANNEL_EV_STOP), CHANNEL_KILLING);
}

/* Adopts a channel with objects of those sizes and a lease page of that layout. */
static int adopt(uint64_t lease_bytes, uint64_t report_bytes, uint32_t layout)
{
    const struct vgpu_lease_page lease = {.magic = VGPU_MAGIC, .layout = layout};
    const struct vgpu_launch_entry entry = {.channel = 7};
    struct channel *channel = NULL;
    struct vgpu_err err = {0};
    int fds[VGPU_CHANNEL_FDS], rc;

    for (int i = 0; i < VGPU_CHANNEL_FDS; i++)
        fds[i] = memfd_create("page", MFD_CLOEXEC);
    assert_int_equal(pwrite(fds[VGPU_FD_LEASE], &lease, sizeof(lease), 0), sizeof(lease));
    assert_int_equal(ftruncate(fds[VGPU_FD_LEASE], (off_t)lease_bytes), 0);
    assert_int_equal(ftruncate(fds[VGPU_FD_REPORT], (off_t)report_bytes), 0);
    rc = channel_adopt(&entry, fds, &channel, &err);
    if (rc == 0)
        channel_free(channel);
    return rc;
}

static void test_channel_of_another_version_is_not_adopted(void **state)
{
    assert_int_equal(adopt(VGPU_LEASE_BYTES, VGPU_REPORT_BYTES, VGPU_LEASE_LAYOUT), 0);
    assert_int_equal(adopt(VGPU_LEASE_BYTES, VGPU_LEASE_BYTES, VGPU_LEASE_LAYOUT), -EPROTO);
    assert_int_equal(adopt(VGPU_LEASE_BYTES, VGPU_REPORT_BYTES + 1, VGPU_LEASE_LAYOUT), -EPROTO);
    assert_int_equal(adopt(1, VGPU_REPORT_BYTES, VGPU_LEASE_LAYOUT), -EPROTO);
    assert_int_equal(adopt(VGPU_LEASE_BYTES, VGPU_REPORT_BYTES, VGPU_LEASE_LAYOUT - 1), -EPROTO);
}

static void test_vm_moves(void **state)
{
    assert_int_equal(vm_next(VM_SERVING, VM_EV_QUARANTINE), VM_QUARANTINED);
    assert_int_equal(vm_next(VM_QUARANTINED, VM_EV_CLEAR), VM_SERVING);
    assert_int_equal(vm_next(VM_QUARANTINED, VM_EV_REMOVE), VM_REMOVED);
    for (int e = 0; e < VM_N_EVENTS; e++)
        assert_int_equal(vm_next(VM_REMOVED, e), VM_N_STATES);
}

static int make_page(void)
{
    int fd = memfd_create("accounts", MFD_CLOEXEC);

    assert_int_equal(ftruncate(fd, VGPU_ACCOUNTS_BYTES), 0);
    return fd;
}

static void test_accounts_survive_another_mapping(void **state)
{
    struct accounts accounts = {NULL}, again = {NULL};
    struct accounts_record record = {.jobs_done = 7}, read;
    int fd = make_page();

    assert_int_equal(accounts_init(&accounts, fd, NULL), 0);
    for (uint64_t i = 1; i <= 3; i++) {
        record.jobs_done = i;
        accounts_save(accounts_slot(&accounts, 5, 2), &record);
    }
    accounts_release(&accounts);
    assert_int_equal(accounts_init(&again, fd, NULL), 0);
    accounts_load(accounts_slot(&again, 5, 2), &read);
    assert_int_equal(read.jobs_done, 3);
    accounts_load(accounts_slot(&again, 5, 3), &read);
    assert_int_equal(read.jobs_done, 0);
    accounts_release(&again);
    close(fd);
}

static void test_accounts_half_written_record_does_not_count(void **state)
{
    struct accounts accounts = {NULL};
    struct accounts_record record = {.jobs_done = 7}, read;
    struct accounts_slot *slot;
    int fd = make_page();

    accounts_init(&accounts, fd, NULL);
    slot = accounts_slot(&accounts, 1, 0);
    accounts_save(slot, &record);
    /* What a mediator leaves that dies while it writes. */
    memset(&slot->records[(slot->current & 1) ^ 1], 0xff, sizeof(record));
    accounts_load(slot, &read);
    assert_int_equal(read.jobs_done, 7);
    accounts_release(&accounts);
    close(fd);
}

static void test_accounts_are_limited_and_reused(void **state)
{
    struct accounts accounts = {NULL};
    int fd = make_page();

    accounts_init(&accounts, fd, NULL);
    for (uint32_t i = 1; i <= accounts.max; i++)
        assert_non_null(accounts_slot(&accounts, i, 0));
    assert_null(accounts_slot(&accounts, accounts.max + 1, 0));
    accounts_forget(&accounts, 17);
    assert_non_null(accounts_slot(&accounts, accounts.max + 1, 0));
    accounts_release(&accounts);
    close(fd);
}

static void test_accounts_of_another_layout_are_emptied(void **state)
{
    struct accounts accounts = {NULL};
    struct accounts_record record = {.jobs_done = 7}, read;
    int fd = make_page();

    accounts_init(&accounts, fd, NULL);
    accounts_save(accounts_slot(&accounts, 1, 0), &record);
    accounts.page->layout = ACCOUNTS_LAYOUT + 1;
    accounts_init(&accounts, fd, NULL);
    accounts_load(accounts_slot(&accounts, 1, 0), &read);
    assert_int_equal(read.jobs_done, 0);
    accounts_release(&accounts);
    close(fd);
}

static const char good_snapshot[] =
    "{\"gpus\": [{\"gpu_id\": 3, \"uuid\": \"GPU-3\", \"model\": \"m\", \"state\": \"present\","
    "  \"memory_bytes\": 10}],"
    " \"pools\": [{\"pool\": \"A\", \"policy\": \"strict\", \"weight_hundredths\": 250,"
    "  \"slice_us\": 5000, \"grace_us\": 2000, \"max_wait_ms\": 700, \"urgency_us\": 300}],"
    " \"pool_gpus\": [{\"pool\": \"A\", \"gpu_id\": 3}],"
    " \"vms\": [{\"vm_id\": 1, \"uuid\": null, \"name\": \"n\", \"pool\": \"A\","
    "  \"priority\": \"high\", \"weight\": 12.5, \"rate_per_s\": 10, \"burst\": 20,"
    "  \"depth\": 30, \"bytes_in_flight\": 1099511627776, \"job_timeout_ms\": 86400000,"
    "  \"memory_bytes\": 17592186044416, \"process_memory_bytes\": 1048576,"
    "  \"fault_threshold\": 7, \"fault_window_s\": 60, \"faults\": 2, \"faults_total\": 9,"
    "  \"last_fault\": 1700000000, \"quarantine_reason\": \"why\","
    "  \"quarantine_time\": 1700000001, \"quarantined\": true}]}";

static int parse(const char *text, struct config **ret)
{
    json_t *json = json_loads(text, 0, NULL);
    int rc;

    assert_non_null(json);
    rc = config_parse(json, ret, NULL);
    json_decref(json);
    return rc;
}

static void test_config_takes_snapshot(void **state)
{
    struct config *config;

    assert_int_equal(parse(good_snapshot, &config), 0);
    assert_true(config_gpu(config, 3)->present);
    assert_int_equal(config_pool(config, "A")->gpus, 1 << 3);
    assert_true(config_pool(config, "A")->strict);
    assert_int_equal(config_vm(config, 1)->priority, 2);
    assert_int_equal(config_vm(config, 1)->weight_hundredths, 1250);
    assert_true(config_vm(config, 1)->quarantined);
    assert_null(config_vm(config, 2));
    config_free(config);
}

static void test_config_takes_limits(void **state)
{
    const struct config_vm *vm;
    struct config *config;

    assert_int_equal(parse(good_snapshot, &config), 0);
    vm = config_vm(config, 1);
    assert_int_equal(vm->rate_per_s, 10);
    assert_int_equal(vm->burst, 20);
    assert_int_equal(vm->depth, 30);
    assert_int_equal(vm->bytes_in_flight, UINT64_C(1) << 40);
    assert_int_equal(vm->job_timeout_ms, 86400000);
    assert_int_equal(vm->memory_bytes, UINT64_C(1) << 44);
    assert_int_equal(vm->process_memory_bytes, 1 << 20);
    assert_int_equal(vm->fault_threshold, 7);
    assert_int_equal(vm->fault_window_s, 60);
    assert_int_equal(vm->faults, 2);
    assert_int_equal(vm->faults_total, 9);
    assert_int_equal(vm->last_fault, 1700000000);
    assert_int_equal(vm->quarantine_time, 1700000001);
    assert_string_equal(vm->quarantine_reason, "why");
    config_free(config);
}

static void test_config_takes_the_scheduling_of_pools(void **state)
{
    const struct config_pool *pool;
    struct config *config;

    assert_int_equal(parse(good_snapshot, &config), 0);
    pool = config_pool(config, "A");
    assert_int_equal(pool->weight_hundredths, 250);
    assert_int_equal(pool->slice_us, 5000);
    assert_int_equal(pool->grace_us, 2000);
    assert_int_equal(pool->max_wait_ms, 700);
    assert_int_equal(pool->urgency_us, 300);
    config_free(config);
}

static void test_config_without_settings_has_the_defaults(void **state)
{
    struct config *config;

    assert_int_equal(parse("{\"gpus\": [], \"pools\": [{\"pool\": \"A\"}], \"pool_gpus\": [],"
                           " \"vms\": [{\"vm_id\": 1, \"pool\": \"A\", \"priority\": \"low\","
                           " \"weight\": 1, \"depth\": null, \"quarantine_reason\": null}]}",
                           &config),
                     0);
    assert_int_equal(config_pool(config, "A")->slice_us, 0);
    assert_int_equal(config_vm(config, 1)->depth, 0);
    assert_int_equal(config_vm(config, 1)->memory_bytes, 0);
    assert_int_equal(config_vm(config, 1)->last_fault, 0);
    assert_false(config_vm(config, 1)->quarantined);
    assert_string_equal(config_vm(config, 1)->quarantine_reason, "");
    config_free(config);
}

/* The good snapshot with one text replaced must not be taken. */
static void refuses(const char *from, const char *to)
{
    const char *at = strstr(good_snapshot, from);
    struct config *config;
    char text[2048];

    assert_non_null(at);
    snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - good_snapshot), good_snapshot, to,
             at + strlen(from));
    assert_int_equal(parse(text, &config), -EPROTO);
}

static void test_config_refuses_nonsense(void **state)
{
    refuses("\"gpu_id\": 3, \"uuid\"", "\"gpu_id\": 64, \"uuid\"");
    refuses("\"vm_id\": 1", "\"vm_id\": 0");
    refuses("\"high\"", "\"highest\"");
    refuses("12.5", "100.1");
    refuses("12.5", "0.9");
    refuses("\"pool\": \"A\", \"gpu_id\"", "\"pool\": \"B\", \"gpu_id\"");
    refuses("\"pool\": \"A\",  \"priority\"", "\"pool\": \"B\",  \"priority\"");
    refuses("\"slice_us\": 5000", "\"slice_us\": -1");
    refuses("\"slice_us\": 5000", "\"slice_us\": 4294967296");
    refuses("\"burst\": 20", "\"burst\": 0");
    refuses("\"depth\": 30", "\"depth\": \"30\"");
    refuses("\"memory_bytes\": 17592186044416", "\"memory_bytes\": -1");
    refuses("\"why\"", "7");
    refuses("\"GPU-3\"", "\"GPU-0123456789012345678901234567890123456789012345678901234567890\"");
}

/* Deltas */

#define HOST                                                                                       \
    "\"gpus\": [{\"gpu_id\": 3, \"uuid\": \"GPU-3\", \"model\": \"m\", \"state\": \"present\","    \
    "  \"memory_bytes\": 10}],"                                                                    \
    " \"pools\": [{\"pool\": \"A\", \"policy\": \"strict\", \"weight_hundredths\": 250,"           \
    "  \"slice_us\": 5000, \"grace_us\": 2000, \"max_wait_ms\": 700, \"urgency_us\": 300}],"       \
    " \"pool_gpus\": [{\"pool\": \"A\", \"gpu_id\": 3}]"

static int change(const struct config *old, const char *host, const char *vms, const char *gone,
                  struct config **ret)
{
    char text[2048];
    json_t *json;
    int rc;

    snprintf(text, sizeof(text), "{%s, \"vms\": [%s], \"vms_gone\": [%s]}", host, vms, gone);
    json = json_loads(text, 0, NULL);
    assert_non_null(json);
    rc = config_change(old, json, ret, NULL);
    json_decref(json);
    return rc;
}

#define VM(id, pool, weight)                                                                       \
    "{\"vm_id\": " #id ", \"pool\": \"" pool "\", \"priority\": \"low\", \"weight\": " #weight "}"

static void test_config_delta_changes_what_it_names(void **state)
{
    struct config *config, *added, *changed, *gone;

    assert_int_equal(parse(good_snapshot, &config), 0);
    assert_int_equal(change(config, HOST, VM(7, "A", 5) ", " VM(3, "A", 6), "", &added), 0);
    assert_false(added->host_changed);
    assert_int_equal(added->n_vms, 3);
    for (unsigned i = 1; i < added->n_vms; i++)
        assert_true(added->vms[i - 1].id < added->vms[i].id);
    assert_true(config_vm(added, 7)->changed && config_vm(added, 3)->changed);
    assert_false(config_vm(added, 1)->changed);
    assert_string_equal(config_vm(added, 1)->quarantine_reason, "why");
    assert_int_equal(change(added, HOST, VM(3, "A", 8), "", &changed), 0);
    assert_int_equal(changed->n_vms, 3);
    assert_int_equal(config_vm(changed, 3)->weight_hundredths, 800);
    assert_false(config_vm(changed, 7)->changed);
    assert_int_equal(change(changed, HOST, "", "1", &gone), 0);
    assert_null(config_vm(gone, 1));
    assert_int_equal(gone->n_vms, 2);
    config_free(config);
    config_free(added);
    config_free(changed);
    config_free(gone);
}

static void test_config_delta_sees_other_hosts(void **state)
{
    struct config *config, *other;

    assert_int_equal(parse(good_snapshot, &config), 0);
    assert_int_equal(change(config,
                            "\"gpus\": [], \"pools\": [{\"pool\": \"A\"}], \"pool_gpus\": []", "",
                            "", &other),
                     0);
    assert_true(other->host_changed);
    assert_int_equal(config_pool(other, "A")->gpus, 0);
    config_free(other);
    config_free(config);
}

static void test_config_delta_refuses_nonsense(void **state)
{
    struct config *config, *other;

    assert_int_equal(parse(good_snapshot, &config), 0);
    assert_int_equal(change(config, HOST, VM(2, "B", 5), "", &other), -EPROTO);
    assert_int_equal(change(config, HOST, VM(0, "A", 5), "", &other), -EPROTO);
    assert_int_equal(change(config, HOST, "", "2", &other), -EPROTO);
    assert_int_equal(
        change(config, "\"gpus\": [], \"pools\": [], \"pool_gpus\": []", "", "", &other),
        -EPROTO); /* VM 1 has no pool any more */
    config_free(config);
}

static void test_config_mark_tells_what_differs(void **state)
{
    struct config *config, *same, *more, *again;

    assert_int_equal(parse(good_snapshot, &config), 0);
    assert_int_equal(parse(good_snapshot, &same), 0);
    assert_int_equal(change(config, HOST, VM(7, "A", 5), "", &more), 0);
    assert_int_equal(change(config, HOST, VM(7, "A", 6), "", &again), 0);
    assert_false(config_mark(config, same));
    assert_false(same->host_changed || same->vms[0].changed);
    same->vms[0].faults_total = 9; /* history */
    assert_false(config_mark(config, same));
    assert_true(config_mark(more, again));
    assert_false(again->host_changed || again->vms[0].changed);
    assert_true(again->vms[1].changed);
    assert_true(config_mark(more, same)); /* VM 7 is gone */
    assert_false(same->vms[0].changed);
    same->gpus[0].present = !same->gpus[0].present;
    assert_true(config_mark(config, same));
    assert_true(same->host_changed);
    config_free(config);
    config_free(same);
    config_free(more);
    config_free(again);
}

static void test_config_delta_takes_as_many_vms_as_there_can_be(void **state)
{
    struct config *config, *full, *other;
    json_t *json, *vms;

    assert_int_equal(parse(good_snapshot, &config), 0);
    json = json_loads("{" HOST ", \"vms\": [], \"vms_gone\": []}", 0, NULL);
    vms = json_object_get(json, "vms");
    for (int id = 2; id <= CONFIG_VMS_MAX; id++)
        json_array_append_new(vms, json_pack("{s:i, s:s, s:s, s:f}", "vm_id", id, "pool", "A",
                                             "priority", "low", "weight", 1.0));
    assert_int_equal(config_change(config, json, &full, NULL), 0);
    assert_int_equal(full->n_vms, CONFIG_VMS_MAX);
    assert_int_equal(change(full, HOST, VM(4097, "A", 5), "", &other), -EPROTO);
    assert_int_equal(change(full, HOST, VM(4096, "A", 5), "", &other), 0);
    json_decref(json);
    config_free(config);
    config_free(full);
    config_free(other);
}

static void test_request_needs_all_bytes(void **state)
{
    struct vgpu_msg_open open = {.head = {sizeof(open), VGPU_MSG_OPEN, 0, 4, 0}};
    union request request;
    uint32_t tag;

    for (size_t size = 0; size < sizeof(open); size++)
        assert_int_equal(request_parse(&open, size, &request, &tag, NULL), 0);
    assert_int_equal(request_parse(&open, sizeof(open), &request, &tag, NULL), sizeof(open));
    assert_int_equal(tag, 4);
}

static void test_request_checks_the_head_early(void **state)
{
    struct vgpu_msg head = {VGPU_MSG_MAX_BYTES + 1, VGPU_MSG_OPEN, 0, 4, 0};
    union request request;
    uint32_t tag;

    assert_int_equal(request_parse(&head, sizeof(head), &request, &tag, NULL), -EPROTO);
    assert_int_equal(tag, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_channel_moves_end),
        cmocka_unit_test(test_channel_can_be_killed_once),
        cmocka_unit_test(test_channel_opens_once),
        cmocka_unit_test(test_channel_is_granted_once),
        cmocka_unit_test(test_channel_of_another_version_is_not_adopted),
        cmocka_unit_test(test_vm_moves),
        cmocka_unit_test(test_accounts_survive_another_mapping),
        cmocka_unit_test(test_accounts_half_written_record_does_not_count),
        cmocka_unit_test(test_accounts_are_limited_and_reused),
        cmocka_unit_test(test_accounts_of_another_layout_are_emptied),
        cmocka_unit_test(test_config_takes_snapshot),
        cmocka_unit_test(test_config_takes_limits),
        cmocka_unit_test(test_config_takes_the_scheduling_of_pools),
        cmocka_unit_test(test_config_without_settings_has_the_defaults),
        cmocka_unit_test(test_config_delta_changes_what_it_names),
        cmocka_unit_test(test_config_delta_sees_other_hosts),
        cmocka_unit_test(test_config_delta_refuses_nonsense),
        cmocka_unit_test(test_config_mark_tells_what_differs),
        cmocka_unit_test(test_config_delta_takes_as_many_vms_as_there_can_be),
        cmocka_unit_test(test_config_refuses_nonsense),
        cmocka_unit_test(test_request_needs_all_bytes),
        cmocka_unit_test(test_request_checks_the_head_early),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
