/* SPDX-License-Identifier: Apache-2.0 */
/* What a VM is told of its GPUs and of itself, by a raw guest: MONITOR of <vgpu/wire.h>. */
#include <string.h>

#include "common/cleanup.h"
#include "mediator/test_support.h"

#define MIB (UINT64_C(1) << 20)

/* The mediator may still be asking what its GPUs are. */
static struct vgpu_monitor ask(struct guest *guest, uint32_t gpu, uint32_t first)
{
    union message message;

    AWAIT(({
        struct vgpu_msg_monitor monitor = {
            .head = {sizeof(monitor), VGPU_MSG_MONITOR, 0, ++guest->tag, 0},
            .gpu = gpu,
            .first = first};

        guest_send(guest, &monitor, sizeof(monitor));
        assert_true(guest_receive(guest, &message, NULL) > 0);
        if (message.head.type == VGPU_MSG_REFUSED)
            assert_int_equal(message.refused.status, VGPU_STARTING);
        assert_int_equal(message.head.tag, guest->tag);
        message.head.type == VGPU_MSG_MONITORED;
    }));
    assert_int_equal(message.head.size_bytes, sizeof(message.monitored));
    return message.monitored.monitor;
}

/* Has its worker report that. */
static void reports(struct guest_channel *channel, uint64_t memory_bytes, uint64_t process)
{
    channel->orders->memory_bytes = memory_bytes;
    channel->orders->process = process;
    channel_order(channel, FAKE_OBEY, 0, 0);
}

static void test_facts_are_told(void **state)
{
    struct guest guest = guest_hello(*state, 1);
    struct vgpu_monitor m = ask(&guest, 0, 0);

    assert_int_equal(m.gpus, 1);
    assert_int_equal(m.gpu, 0);
    assert_int_equal(m.known, VGPU_MONITOR_KNOWN);
    assert_int_equal(m.cuda_version, 13000);
    assert_int_equal(m.compute_major, 9);
    assert_int_equal(m.compute_minor, 0);
    assert_int_equal(m.max_sm_mhz, 1000);
    assert_int_equal(m.max_memory_mhz, 2000);
    assert_int_equal(m.ecc_mode, 1);
    assert_int_equal(m.memory_total_bytes, UINT64_C(1) << 34);
    assert_string_equal(m.uuid, "GPU-00000000-0000-0000-0000-000000000000");
    assert_string_equal(m.name, "Test GPU");
    assert_string_equal(m.driver, "1.0");
    assert_string_equal(m.pci, "00000000:00:00.0");
    assert_int_equal(m.processes, 0);
    assert_int_equal(m.memory_used_bytes, 0);
    assert_int_equal(m.memory_quota_bytes, 0);
    assert_int_equal(workers(*state), 0); /* no worker was started for this */
    guest_close(&guest);
}

static void test_gpu_beyond_the_last_is_empty(void **state)
{
    struct guest guest = guest_hello(*state, 1);
    struct vgpu_monitor want = {.gpus = 1, .gpu = 1};
    struct vgpu_monitor m = ask(&guest, 1, 0);

    assert_memory_equal(&m, &want, sizeof(m));
    want.gpu = UINT32_MAX;
    m = ask(&guest, UINT32_MAX, 0);
    assert_memory_equal(&m, &want, sizeof(m));
    guest_close(&guest);
}

static void test_unknown_facts_are_said_to_be(void **state)
{
    struct guest guest = guest_hello(*state, 1);
    struct vgpu_monitor m;

    json_decref(admin_ok(*state, "\"assign-gpu\", \"args\": {\"gpu_id\": 1, \"pool\": \"A\"}"));
    m = ask(&guest, 1, 0);
    assert_int_equal(m.gpus, 2);
    assert_int_equal(m.known, VGPU_MONITOR_KNOWN & ~(VGPU_MONITOR_CLOCKS | VGPU_MONITOR_ECC));
    assert_string_equal(m.uuid, "GPU-00000000-0000-0000-0000-000000000001");
    guest_close(&guest);
}

static void test_vm_without_gpu_is_told_so(void **state)
{
    struct guest guest = guest_hello(*state, 1);

    json_decref(admin_ok(*state, "\"unassign-gpu\", \"args\": {\"gpu_id\": 0, \"pool\": \"A\"}"));
    assert_int_equal(ask(&guest, 0, 0).gpus, 0);
    guest_close(&guest);
}

static void test_only_its_own_use_is_told(void **state)
{
    struct guest guest = guest_hello(*state, 1), other = guest_hello(*state, 2);
    struct guest_channel mine, theirs;
    struct vgpu_monitor before, after;

    guest_open(&guest, &mine);
    guest_open(&other, &theirs);
    reports(&mine, 3 * MIB, 77);
    AWAIT(ask(&guest, 0, 0).memory_used_bytes == 3 * MIB);
    before = ask(&guest, 0, 0);
    assert_int_equal(before.processes, 1);
    assert_int_equal(before.process[0].pid, 77);
    assert_int_equal(before.process[0].memory_bytes, 3 * MIB);

    reports(&theirs, 5 * MIB, 78);
    channel_order(&theirs, FAKE_OBEY, 50, 1000);
    AWAIT(ask(&other, 0, 0).memory_used_bytes == 5 * MIB);
    AWAIT(channel_done(&theirs) == 50 && ask(&other, 0, 0).busy_ns >= 50 * UINT64_C(1000000));
    assert_true(ask(&other, 0, 0).busy_window_ns > 0);
    after = ask(&guest, 0, 0);
    assert_memory_equal(&before, &after, sizeof(before));
    channel_forget(&mine);
    channel_forget(&theirs);
    guest_close(&guest);
    guest_close(&other);
}

static void test_processes_that_said_nothing_are_not_listed(void **state)
{
    struct guest guest = guest_hello(*state, 1);
    struct guest_channel silent, liar;

    guest_open(&guest, &silent);
    guest_open(&guest, &liar);
    reports(&silent, MIB, 0);
    reports(&liar, MIB, (uint64_t)INT32_MAX + 1);
    AWAIT(ask(&guest, 0, 0).memory_used_bytes == 2 * MIB);
    assert_int_equal(ask(&guest, 0, 0).processes, 0);
    channel_forget(&silent);
    channel_forget(&liar);
    guest_close(&guest);
}

/* Workers are not believed beyond their own VM: a sum stays a sum. */
static void test_memory_does_not_wrap(void **state)
{
    struct guest guest = guest_hello(*state, 1);
    struct guest_channel one, two;

    guest_open(&guest, &one);
    guest_open(&guest, &two);
    reports(&one, UINT64_MAX, 1);
    reports(&two, MIB, 2);
    AWAIT(ask(&guest, 0, 0).processes == 2);
    assert_true(ask(&guest, 0, 0).memory_used_bytes == UINT64_MAX);
    channel_forget(&one);
    channel_forget(&two);
    guest_close(&guest);
}

static unsigned listed(const struct vgpu_monitor *m)
{
    unsigned n = 0;

    while (n < VGPU_MONITOR_PROCESSES && m->process[n].pid)
        n++;
    return n;
}

static void test_more_processes_than_fit_come_in_parts(void **state)
{
    struct guest guest = guest_hello(*state, 1);
    struct guest_channel channels[VGPU_MONITOR_PROCESSES + 1];
    struct vgpu_monitor m;

    for (unsigned i = 0; i <= VGPU_MONITOR_PROCESSES; i++) {
        guest_open(&guest, &channels[i]);
        reports(&channels[i], MIB, 100 + i);
    }
    AWAIT(ask(&guest, 0, 0).processes == VGPU_MONITOR_PROCESSES + 1);
    m = ask(&guest, 0, 0);
    assert_int_equal(listed(&m), VGPU_MONITOR_PROCESSES);
    m = ask(&guest, 0, VGPU_MONITOR_PROCESSES);
    assert_int_equal(m.processes, VGPU_MONITOR_PROCESSES + 1);
    assert_int_equal(m.first, VGPU_MONITOR_PROCESSES);
    assert_int_equal(listed(&m), 1);
    m = ask(&guest, 0, VGPU_MONITOR_PROCESSES + 1);
    assert_int_equal(listed(&m), 0);
    m = ask(&guest, 0, UINT32_MAX);
    assert_int_equal(listed(&m), 0);
    for (unsigned i = 0; i <= VGPU_MONITOR_PROCESSES; i++)
        channel_forget(&channels[i]);
    guest_close(&guest);
}

static void test_ended_process_is_gone(void **state)
{
    struct guest guest = guest_hello(*state, 1), second = guest_hello(*state, 1);
    struct guest_channel channel;

    guest_open(&second, &channel);
    reports(&channel, MIB, 9);
    AWAIT(ask(&guest, 0, 0).processes == 1);
    channel_forget(&channel);
    guest_close(&second);
    AWAIT(ask(&guest, 0, 0).processes == 0);
    assert_int_equal(ask(&guest, 0, 0).memory_used_bytes, 0);
    guest_close(&guest);
}

static void test_relay_may_ask_too(void **state)
{
    struct guest guest = guest_hello_over(*state, 1, VGPU_CARRIER_RELAY);

    assert_int_equal(ask(&guest, 0, 0).known, VGPU_MONITOR_KNOWN);
    guest_close(&guest);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, host_setup_2, host_teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CASE(test_facts_are_told),
        CASE(test_gpu_beyond_the_last_is_empty),
        CASE(test_unknown_facts_are_said_to_be),
        CASE(test_vm_without_gpu_is_told_so),
        CASE(test_only_its_own_use_is_told),
        CASE(test_processes_that_said_nothing_are_not_listed),
        CASE(test_memory_does_not_wrap),
        CASE(test_more_processes_than_fit_come_in_parts),
        CASE(test_ended_process_is_gone),
        CASE(test_relay_may_ask_too),
    };

    support_init(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
