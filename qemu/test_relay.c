/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The relay between a guest and a worker that use ring/ on memory of their own:
 * attaching, what goes over the rings, the notice, and the end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "test_relay_steps.h"

/* Rings
 * ----------------------------------------------------------------------------------- */

/* Pushes and pops at random on all four ends, with turns between: everything once, in
 * order. */
static void run_model(uint32_t sub, uint32_t comp, uint32_t start)
{
    Rig *rig = relay_attached(
        &(RigOptions){.sub_granules = sub, .comp_granules = comp, .start = start});
    uint32_t sub_max = (uint32_t)ring_entry_max(sub) / 8,
             comp_max = (uint32_t)ring_entry_max(comp) / 8;
    uint64_t pushed = 0, popped = 0, answered = 0, seen = 0;
    unsigned random = start + sub;

    while (seen < 2000) {
        uint32_t size;

        random = random * 1103515245u + 12345u;
        size = 40 + random / 65536 % 97 * 8;
        switch (random >> 24 & 7) {
        case 0:
        case 1:
            pushed +=
                relay_push(&rig->submit, size / 8 > sub_max ? sub_max * 8 : size, pushed);
            break;
        case 2:
            popped += relay_pop(&rig->take, popped);
            break;
        case 3:
            if (answered < popped) {
                answered += relay_push(
                    &rig->answer, size / 8 > comp_max ? comp_max * 8 : size, answered);
            }
            break;
        case 4:
            seen += relay_pop(&rig->complete, seen);
            break;
        default:
            assert_true(relay_turn(rig) <= VGPU_TURN_AGAIN);
        }
    }
    assert_true(seen <= answered && answered <= popped && popped <= pushed);
    rig_free(rig);
}

static void test_relay_model(void **state)
{
    run_model(64, 64, 0);
    run_model(1024, 256, 0);
}

static void test_relay_model_indices_wrap(void **state)
{
    run_model(64, 32, UINT32_MAX - 200);
    run_model(8, 8, UINT32_MAX - 3);
}

static void test_relay_model_two_granules(void **state)
{
    run_model(2, 2, 0);
    run_model(2, 4, UINT32_MAX);
}

static void test_relay_largest_ring_takes_several_turns(void **state)
{
    Rig *rig = relay_attached(&(RigOptions){.sub_granules = VGPU_RING_MAX_GRANULES});
    uint64_t pushed = 0, popped = 0;
    unsigned turns = 1;

    while (relay_push(&rig->submit, VGPU_RECORD_MAX_BYTES, pushed)) {
        pushed++;
    }
    assert_int_equal(pushed, 256);
    while (relay_turn(rig) == VGPU_TURN_AGAIN) {
        turns++;
        /* Never a part of what the guest published at once. */
        assert_true(rig->host_page->submission.producer.head == 0 ||
                    rig->host_page->submission.producer.head == VGPU_RING_MAX_GRANULES);
    }
    assert_true(turns >= 5);
    while (relay_pop(&rig->take, popped)) {
        popped++;
    }
    assert_int_equal(popped, 256);
    rig_free(rig);
}

static void test_relay_full_ring_is_no_nonsense(void **state)
{
    Rig *rig = relay_small();

    rig->page->submission.producer.head = 64;
    assert_sleeps(rig);
    assert_int_equal(rig->host_page->submission.producer.head, 64);
    rig_free(rig);
}

static void test_relay_guest_head_beyond_the_ring(void **state)
{
    Rig *rig = relay_small();

    rig->page->submission.producer.head = 65;
    assert_broken(rig, "guest's submission ring");
}

static void test_relay_guest_head_beyond_what_the_worker_freed(void **state)
{
    Rig *rig = relay_small();

    assert_true(relay_push(&rig->submit, 64, 0));
    assert_sleeps(rig);
    rig->page->submission.producer.head = 65;
    assert_broken(rig, "guest's submission ring");
}

static void test_relay_guest_head_backwards(void **state)
{
    Rig *rig = relay_small();

    assert_true(relay_push(&rig->submit, 64, 0));
    assert_sleeps(rig);
    rig->page->submission.producer.head = 0;
    assert_broken(rig, "guest's submission ring");
}

static void test_relay_guest_tail_beyond_completions(void **state)
{
    Rig *rig = relay_small();

    assert_true(relay_push(&rig->answer, 64, 0));
    assert_sleeps(rig);
    rig->page->completion.consumer.tail = 2;
    assert_broken(rig, "guest's completion ring");
}

static void test_relay_guest_tail_backwards(void **state)
{
    Rig *rig = relay_small();

    assert_true(relay_push(&rig->answer, 64, 0));
    assert_sleeps(rig);
    assert_true(relay_pop(&rig->complete, 0));
    assert_sleeps(rig);
    rig->page->completion.consumer.tail = 0;
    assert_broken(rig, "guest's completion ring");
}

static void test_relay_worker_tail_beyond_records(void **state)
{
    Rig *rig = relay_small();

    rig->host_page->submission.consumer.tail = 1;
    assert_broken(rig, "worker's submission ring");
}

static void test_relay_worker_tail_backwards(void **state)
{
    Rig *rig = relay_small();

    assert_true(relay_push(&rig->submit, 64, 0));
    assert_sleeps(rig);
    assert_true(relay_pop(&rig->take, 0));
    assert_sleeps(rig);
    rig->host_page->submission.consumer.tail = 0;
    assert_broken(rig, "worker's submission ring");
}

static void test_relay_worker_head_beyond_the_ring(void **state)
{
    Rig *rig = relay_small();

    rig->host_page->completion.producer.head = 65;
    assert_broken(rig, "wrong index");
}

static void test_relay_worker_head_beyond_what_the_guest_read(void **state)
{
    Rig *rig = relay_small();

    assert_true(relay_push(&rig->answer, 64, 0));
    assert_sleeps(rig);
    rig->host_page->completion.producer.head = 65;
    assert_broken(rig, "wrong index");
}

static void test_relay_worker_head_backwards(void **state)
{
    Rig *rig = relay_small();

    assert_true(relay_push(&rig->answer, 64, 0));
    assert_sleeps(rig);
    rig->host_page->completion.producer.head = 0;
    assert_broken(rig, "wrong index");
}

static void test_relay_worker_entries_that_are_none(void **state)
{
    static const struct {
        uint32_t size;
        uint16_t kind;
        uint32_t start, head;
    } wrong[] = {
        {0, VGPU_COMPLETION_REPLY, 0, 1},  /* no head */
        {7, VGPU_COMPLETION_REPLY, 0, 1},  /* half a head */
        {32, VGPU_COMPLETION_REPLY, 0, 1}, /* half a completion */
        {44, VGPU_COMPLETION_REPLY, 0, 1}, /* no multiple of 8 */
        {72, VGPU_COMPLETION_REPLY, 0, 1}, /* beyond the head */
        {UINT32_MAX - 7, VGPU_COMPLETION_REPLY, 0, 64},
        {33 * 64, VGPU_COMPLETION_REPLY, 0, 64}, /* over half of the ring */
        {128, VGPU_COMPLETION_REPLY, 63, 2},     /* beyond the ring's end */
        {64, VGPU_COMPLETION_PAD, 0, 64},    /* a pad that does not end with the ring */
        {72, VGPU_COMPLETION_WRITTEN, 0, 2}, /* too little of what was written */
        {88, VGPU_COMPLETION_WRITTEN, 0, 2}, /* too much */
    };

    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        Rig *rig = relay_attached(&(RigOptions){.start = wrong[i].start});
        struct vgpu_completion *entry = (void *)(rig->host + rig->geometry.comp_offset +
                                                 (uint64_t)wrong[i].start * 64);

        entry->size_bytes = wrong[i].size;
        entry->kind = wrong[i].kind;
        rig->host_page->completion.producer.head = wrong[i].start + wrong[i].head;
        assert_broken(rig, "worker");
    }
}

static void test_relay_pads_of_the_largest_ring_pass(void **state)
{
    Rig *rig = relay_attached(&(RigOptions){.comp_granules = VGPU_RING_MAX_GRANULES});
    struct vgpu_completion *pad = (void *)(rig->host + rig->geometry.comp_offset);

    pad->size_bytes = VGPU_RING_MAX_GRANULES * 64;
    rig->host_page->completion.producer.head = VGPU_RING_MAX_GRANULES;
    assert_sleeps(rig);
    assert_int_equal(rig->page->completion.producer.head, VGPU_RING_MAX_GRANULES);
    rig_free(rig);
}

/* The notice, and the end
 * ------------------------------------------------------------------- */

static void test_relay_notice_is_mirrored(void **state)
{
    Rig *rig = relay_small();

    rig->host_page->notice = (struct vgpu_channel_notice){
        .issued = 1ull << 40, .credit = 5, .poisoned = 700, .state = VGPU_CHANNEL_READY};
    assert_sleeps(rig);
    assert_memory_equal(&rig->page->notice, &rig->host_page->notice, 24);
    rig_free(rig);
}

static void test_relay_notice_with_a_wrong_state(void **state)
{
    Rig *rig = relay_small();

    rig->host_page->notice.state = VGPU_CHANNEL_ENDED + 1;
    assert_broken(rig, "notice");
}

static void test_relay_gone_brings_the_last_completions(void **state)
{
    Rig *rig = relay_attached(&(RigOptions){.data_bytes = 4u << 20});
    VGPUTurn last;

    assert_true(relay_push(&rig->answer, 64, 0));
    relay_written(
        rig, &(struct vgpu_written){.row_bytes = RELAY_MUCH, .rows = 1, .slices = 1});
    assert_true(relay_push(&rig->answer, 64, 1));
    vgpu_relay_core_gone(rig->core);
    while ((last = relay_turn(rig)) == VGPU_TURN_AGAIN) {
        assert_int_equal(rig->page->notice.state, VGPU_CHANNEL_STARTING);
    }
    assert_int_equal(last, VGPU_TURN_ENDED);
    assert_int_equal(rig->page->notice.state, VGPU_CHANNEL_ENDED);
    assert_int_equal(rig->page->completion.producer.head, 4);
    assert_true(rig->interrupts > 0);
    rig_free(rig);
}

static void test_relay_gone_with_nonsense_left_behind(void **state)
{
    Rig *rig = relay_small();

    rig->host_page->completion.producer.head = 4000;
    vgpu_relay_core_gone(rig->core);
    assert_int_equal(relay_turn(rig), VGPU_TURN_ENDED);
    assert_int_equal(rig->page->notice.state, VGPU_CHANNEL_ENDED);
    assert_int_equal(rig->interrupts, 1);
    rig_free(rig);
}

static void test_relay_memory_that_goes_away(void **state)
{
    Rig *rig = relay_small();

    rig->forbidden = rig_page_address(rig, 0);
    assert_broken(rig, "cannot be");
}

/* Attach
 * ------------------------------------------------------------------------------------ */

static void assert_refused(Rig *rig, uint64_t directory, uint32_t status,
                           const char *part)
{
    const char *why = NULL;

    assert_int_equal(vgpu_relay_core_attach(rig->core, directory, &why), status);
    assert_non_null(why);
    assert_non_null(strstr(why, part));
}

static void test_relay_attach_writes_the_guests_page(void **state)
{
    Rig *rig = rig_new(&(RigOptions){0});
    const char *why = NULL;

    rig->host_page->notice.credit = 77;
    assert_int_equal(vgpu_relay_core_attach(rig->core, rig_directory(rig), &why),
                     VGPU_OK);
    assert_int_equal(rig->page->magic, VGPU_MAGIC);
    assert_int_equal(rig->page->layout, VGPU_LAYOUT_VERSION);
    assert_int_equal(rig->page->flags, VGPU_CHANNEL_MIRRORED);
    assert_memory_equal(&rig->page->geometry, &rig->geometry, sizeof(rig->geometry));
    assert_int_equal(rig->page->notice.credit, 77);
    rig_free(rig);
}

static void test_relay_attach_needs_page_rings_and_transfers(void **state)
{
    Rig *rig = rig_new(&(RigOptions){.sub_granules = 128, .comp_granules = 128});
    const uint64_t needed[] = {0, 1, 2, 3, 4, rig->geometry.total_bytes / 4096};

    for (unsigned i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
        uint64_t kept = *rig_entry(rig, needed[i]);

        *rig_entry(rig, needed[i]) = 0;
        assert_refused(rig, rig_directory(rig), VGPU_BAD_MESSAGE, "not there");
        *rig_entry(rig, needed[i]) = kept;
    }
    rig_free(rig);
}

static void test_relay_attach_refuses_directories_that_are_none(void **state)
{
    Rig *rig = rig_new(&(RigOptions){0});

    assert_refused(rig, 0, VGPU_BAD_MESSAGE, "multiple of 4096");
    assert_refused(rig, rig_directory(rig) + 8, VGPU_BAD_MESSAGE, "multiple of 4096");
    assert_refused(rig, 0xfffffffffffff000ull, VGPU_BAD_MESSAGE, "cannot be read");
    rig_free(rig);
}

static void test_relay_attach_once(void **state)
{
    Rig *rig = relay_small();

    assert_refused(rig, rig_directory(rig), VGPU_BAD_MESSAGE, "already");
    rig_free(rig);
}

static void test_relay_attach_needs_a_host_that_mirrors(void **state)
{
    Rig *rig = rig_new(&(RigOptions){.unmirrored = true});

    assert_refused(rig, rig_directory(rig), VGPU_VERSION, "does not know");
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_relay_model),
        cmocka_unit_test(test_relay_model_indices_wrap),
        cmocka_unit_test(test_relay_model_two_granules),
        cmocka_unit_test(test_relay_largest_ring_takes_several_turns),
        cmocka_unit_test(test_relay_full_ring_is_no_nonsense),
        cmocka_unit_test(test_relay_guest_head_beyond_the_ring),
        cmocka_unit_test(test_relay_guest_head_beyond_what_the_worker_freed),
        cmocka_unit_test(test_relay_guest_head_backwards),
        cmocka_unit_test(test_relay_guest_tail_beyond_completions),
        cmocka_unit_test(test_relay_guest_tail_backwards),
        cmocka_unit_test(test_relay_worker_tail_beyond_records),
        cmocka_unit_test(test_relay_worker_tail_backwards),
        cmocka_unit_test(test_relay_worker_head_beyond_the_ring),
        cmocka_unit_test(test_relay_worker_head_beyond_what_the_guest_read),
        cmocka_unit_test(test_relay_worker_head_backwards),
        cmocka_unit_test(test_relay_worker_entries_that_are_none),
        cmocka_unit_test(test_relay_pads_of_the_largest_ring_pass),
        cmocka_unit_test(test_relay_notice_is_mirrored),
        cmocka_unit_test(test_relay_notice_with_a_wrong_state),
        cmocka_unit_test(test_relay_gone_brings_the_last_completions),
        cmocka_unit_test(test_relay_gone_with_nonsense_left_behind),
        cmocka_unit_test(test_relay_memory_that_goes_away),
        cmocka_unit_test(test_relay_attach_writes_the_guests_page),
        cmocka_unit_test(test_relay_attach_needs_page_rings_and_transfers),
        cmocka_unit_test(test_relay_attach_refuses_directories_that_are_none),
        cmocka_unit_test(test_relay_attach_once),
        cmocka_unit_test(test_relay_attach_needs_a_host_that_mirrors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
