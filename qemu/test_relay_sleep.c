/* SPDX-License-Identifier: GPL-2.0-or-later */
/* When the relay sleeps, and whom it wakes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "test_relay_steps.h"

/* Sleep and wake-ups
 * ------------------------------------------------------------------------ */

static void test_relay_sleeping_says_so_to_both(void **state)
{
    Rig *rig = relay_attached(&(RigOptions){.data_bytes = 4u << 20});

    assert_sleeps(rig);
    assert_int_equal(rig->page->submission.consumer.parked, 1);
    assert_int_equal(rig->host_page->completion.consumer.parked, 1);
    relay_transfer(rig, 0, RELAY_MUCH, 0, 1);
    assert_int_equal(relay_turn(rig), VGPU_TURN_AGAIN);
    assert_int_equal(rig->page->submission.consumer.parked, 0);
    assert_int_equal(rig->host_page->completion.consumer.parked, 0);
    rig_free(rig);
}

static void test_relay_rung_once_needs_no_more_ringing(void **state)
{
    Rig *rig = relay_small();

    assert_sleeps(rig);
    vgpu_relay_core_wake(rig->core);
    assert_int_equal(rig->page->submission.consumer.parked, 0);
    assert_int_equal(rig->host_page->completion.consumer.parked, 0);
    assert_true(relay_push(&rig->submit, 64, 3));
    assert_sleeps(rig);
    assert_true(relay_pop(&rig->take, 3));
    assert_int_equal(rig->page->submission.consumer.parked, 1);
    rig_free(rig);
}

/* A page that is no memory any more: the turn that follows says so. */
static void test_relay_rung_without_memory(void **state)
{
    Rig *rig = relay_small();

    assert_sleeps(rig);
    rig->forbidden = rig_page_address(rig, 0);
    vgpu_relay_core_wake(rig->core);
    assert_int_equal(relay_turn(rig), VGPU_TURN_BROKEN);
    assert_non_null(rig->core->why);
    rig_free(rig);
}

static void publish_when_parked(Rig *rig, uint64_t addr, uint32_t value)
{
    if (addr == RIG_ADDRESS(rig, submission.consumer.parked) && value) {
        assert_true(relay_push(rig->context, 64, 0));
    }
}

static void test_relay_looks_again_for_records(void **state)
{
    Rig *rig = relay_small();

    rig->context = &rig->submit;
    rig->stored = publish_when_parked;
    assert_int_equal(relay_turn(rig), VGPU_TURN_AGAIN);
    rig->stored = NULL;
    assert_sleeps(rig);
    assert_true(relay_pop(&rig->take, 0));
    rig_free(rig);
}

static void test_relay_looks_again_for_completions(void **state)
{
    Rig *rig = relay_small();

    rig->context = &rig->answer;
    rig->stored = publish_when_parked;
    assert_int_equal(relay_turn(rig), VGPU_TURN_AGAIN);
    rig->stored = NULL;
    assert_sleeps(rig);
    assert_true(relay_pop(&rig->complete, 0));
    rig_free(rig);
}

static void transfer_when_parked(Rig *rig, uint64_t addr, uint32_t value)
{
    if (addr == RIG_ADDRESS(rig, submission.consumer.parked) && value) {
        relay_transfer(rig, 0, 8, 0, 1);
    }
}

static void test_relay_looks_again_for_transfers(void **state)
{
    Rig *rig = relay_small();

    rig->stored = transfer_when_parked;
    assert_int_equal(relay_turn(rig), VGPU_TURN_AGAIN);
    rig_free(rig);
}

static void test_relay_interrupts_only_a_guest_that_sleeps(void **state)
{
    Rig *rig = relay_small();

    assert_true(relay_push(&rig->answer, 64, 0));
    assert_sleeps(rig);
    assert_int_equal(rig->interrupts, 0);
    rig->page->completion.consumer.parked = 1;
    assert_sleeps(rig);
    assert_int_equal(rig->interrupts, 0); /* nothing new */
    assert_true(relay_push(&rig->answer, 64, 1));
    assert_sleeps(rig);
    assert_int_equal(rig->interrupts, 1);
    rig_free(rig);
}

static void test_relay_room_does_not_interrupt_who_waits_for_completions(void **state)
{
    Rig *rig = relay_small();

    rig->page->completion.consumer.parked = 1;
    assert_true(relay_push(&rig->submit, 64, 0));
    assert_sleeps(rig);
    assert_true(relay_pop(&rig->take, 0));
    rig->host_page->notice.issued = 1;
    assert_sleeps(rig);
    assert_int_equal(rig->interrupts, 0);
    assert_int_equal(rig->page->submission.consumer.tail, 1);
    rig_free(rig);
}

static void test_relay_guest_that_waits_for_room_is_told(void **state)
{
    Rig *rig = relay_small();

    assert_true(relay_push(&rig->submit, 64, 0));
    assert_sleeps(rig);
    ring_producer_want_kick(&rig->submit);
    assert_sleeps(rig);
    assert_int_equal(rig->host_page->submission.producer.waiting, 1);
    assert_true(relay_pop(&rig->take, 0));
    assert_int_equal(rig->interrupts, 0);
    assert_sleeps(rig);
    assert_int_equal(rig->interrupts, 1);
    rig->host_page->notice.credit = 12;
    assert_sleeps(rig);
    assert_int_equal(rig->interrupts, 2);
    ring_producer_disarm(&rig->submit);
    assert_sleeps(rig);
    assert_int_equal(rig->host_page->submission.producer.waiting, 0);
    rig_free(rig);
}

static void test_relay_kicks_only_a_worker_that_sleeps(void **state)
{
    Rig *rig = relay_small();

    assert_true(relay_push(&rig->submit, 64, 0));
    assert_sleeps(rig);
    assert_int_equal(rig->kicks, 0);
    assert_true(relay_pop(&rig->take, 0));
    assert_true(ring_consumer_arm(&rig->take));
    assert_true(relay_push(&rig->submit, 64, 1));
    assert_sleeps(rig);
    assert_int_equal(rig->kicks, 1);
    assert_sleeps(rig);
    assert_int_equal(rig->kicks, 1);
    rig_free(rig);
}

/* The worker fills the ring and sleeps; nobody tells the device, but the guest rings in
 * time. */
static void test_relay_worker_that_waits_for_room_is_told(void **state)
{
    static const uint32_t sizes[] = {2, 4, 64, 1024};

    for (unsigned i = 0; i < 4; i++) {
        Rig *rig = relay_attached(&(RigOptions){.comp_granules = sizes[i]});
        uint32_t most = (uint32_t)ring_entry_max(sizes[i]);
        uint8_t buffer[VGPU_RECORD_MAX_BYTES];
        size_t size;
        bool kick = false;
        uint64_t sent = 0;

        while (relay_push(&rig->answer, most, sent)) {
            sent++;
        }
        assert_sleeps(rig);
        assert_true(ring_producer_arm(&rig->answer, most));
        assert_int_equal(
            ring_consume(&rig->complete, buffer, sizeof(buffer), &size, &kick), 1);
        assert_true(kick); /* this is the guest's doorbell */
        assert_sleeps(rig);
        assert_int_equal(rig->kicks, 1);
        rig_free(rig);
    }
}

static void test_relay_guest_reads_without_doorbells_while_there_is_room(void **state)
{
    Rig *rig = relay_attached(&(RigOptions){.comp_granules = 1024});

    for (uint64_t i = 0; i < 256; i++) {
        assert_true(relay_push(&rig->answer, 128, i));
    }
    assert_sleeps(rig);
    assert_int_equal(rig->page->completion.producer.waiting, 0);
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_relay_sleeping_says_so_to_both),
        cmocka_unit_test(test_relay_looks_again_for_records),
        cmocka_unit_test(test_relay_looks_again_for_completions),
        cmocka_unit_test(test_relay_looks_again_for_transfers),
        cmocka_unit_test(test_relay_interrupts_only_a_guest_that_sleeps),
        cmocka_unit_test(test_relay_rung_once_needs_no_more_ringing),
        cmocka_unit_test(test_relay_rung_without_memory),
        cmocka_unit_test(test_relay_room_does_not_interrupt_who_waits_for_completions),
        cmocka_unit_test(test_relay_guest_that_waits_for_room_is_told),
        cmocka_unit_test(test_relay_kicks_only_a_worker_that_sleeps),
        cmocka_unit_test(test_relay_worker_that_waits_for_room_is_told),
        cmocka_unit_test(test_relay_guest_reads_without_doorbells_while_there_is_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
