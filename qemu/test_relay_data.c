/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The relay and the data area: what transfers bring before their records, what the worker
 * wrote, and how much of either one turn takes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "test_relay_steps.h"

/* Transfers
 * ------------------------------------------------------------------------------- */

static void pattern(uint8_t *data, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i++) {
        data[i] = (uint8_t)(i * 31 + i / 4096 + 1);
    }
}

/* True if byte `at` belongs to one of the rows. */
static bool inside(uint64_t at, uint64_t offset, uint64_t row_bytes, uint64_t pitch,
                   uint32_t rows)
{
    return at >= offset && (at - offset) / pitch < rows &&
           (at - offset) % pitch < row_bytes;
}

static void test_relay_transfer_is_there_before_its_record(void **state)
{
    Rig *rig = relay_small();

    pattern(rig->data, 65536);
    relay_transfer(rig, 4000, 200, 0, 1);
    relay_transfer(rig, 9000, 100, 5000, 7);
    assert_true(relay_push(&rig->submit, 64, 0));
    assert_sleeps(rig);
    assert_true(relay_pop(&rig->take, 0));
    for (uint64_t i = 0; i < 65536; i++) {
        bool moved = inside(i, 4000, 200, 1 << 20, 1) || inside(i, 9000, 100, 5000, 7);

        assert_int_equal(rig->host_data[i], moved ? rig->data[i] : 0);
    }
    assert_int_equal(rig->transfers->tail, 2);
    assert_int_equal(rig->counters[VGPU_COUNT_UPLOAD_BYTES], 200 + 700);
    rig_free(rig);
}

static void test_relay_transfer_up_to_the_end(void **state)
{
    Rig *rig = relay_small();

    pattern(rig->data, 65536);
    relay_transfer(rig, 0, 65536, UINT64_MAX, 1);
    relay_transfer(rig, 65535, 1, 0, 1);
    relay_transfer(rig, 0, 1, 1, 65536);
    while (relay_turn(rig) == VGPU_TURN_AGAIN) {
    }
    assert_int_equal(rig->transfers->tail, 3);
    assert_memory_equal(rig->host_data, rig->data, 65536);
    rig_free(rig);
}

static void test_relay_transfers_that_are_none(void **state)
{
    static const struct vgpu_transfer wrong[] = {
        {.offset = 0, .row_bytes = 65537, .rows = 1},
        {.offset = 65536, .row_bytes = 1, .rows = 1},
        {.offset = 1, .row_bytes = 65536, .rows = 1},
        {.offset = UINT64_MAX, .row_bytes = 1, .rows = 1},
        {.offset = 1, .row_bytes = UINT64_MAX, .rows = 1},
        {.offset = 0, .row_bytes = 0, .rows = 1},
        {.offset = 0, .row_bytes = 1, .rows = 0},
        {.offset = 0, .row_bytes = 1, .pitch_bytes = 65536, .rows = 2},
        {.offset = 0, .row_bytes = 1, .pitch_bytes = 1ull << 63, .rows = 3},
        {.offset = 0, .row_bytes = 1, .pitch_bytes = UINT64_MAX, .rows = UINT32_MAX},
        {.offset = 0, .row_bytes = 1, .pitch_bytes = 0, .rows = UINT32_MAX},
        {.offset = 0, .row_bytes = 8, .pitch_bytes = 7, .rows = 2},
        {.offset = 0, .row_bytes = 1, .rows = 1, .reserved = 1},
    };

    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        Rig *rig = relay_small();

        rig->transfers->transfer[0] = wrong[i];
        rig->transfers->head = 1;
        assert_broken(rig, "transfer");
    }
}

static void test_relay_transfers_fill_their_page(void **state)
{
    Rig *rig = relay_small();

    for (unsigned i = 0; i < 2 * VGPU_TRANSFERS; i++) {
        relay_transfer(rig, i * 8, 8, 0, 1);
        if (i % VGPU_TRANSFERS == VGPU_TRANSFERS - 1) {
            assert_sleeps(rig);
        }
    }
    assert_int_equal(rig->transfers->tail, 2 * VGPU_TRANSFERS);
    rig_free(rig);
}

static void test_relay_one_transfer_too_many(void **state)
{
    Rig *rig = relay_small();

    rig->transfers->head = VGPU_TRANSFERS + 1;
    assert_broken(rig, "transfers");
}

static void test_relay_page_that_is_not_there_reads_as_zeros(void **state)
{
    Rig *rig = relay_attached(&(RigOptions){.sparse = true});

    rig_populate(rig, 4096, 4096);
    memset(rig->data, 0x11,
           3 * 4096); /* what the device must not see, but for the middle */
    memset(rig->host_data, 0x22, 3 * 4096);
    relay_transfer(rig, 0, 3 * 4096, 0, 1);
    assert_sleeps(rig);
    for (unsigned i = 0; i < 3 * 4096; i++) {
        assert_int_equal(rig->host_data[i], i / 4096 == 1 ? 0x11 : 0);
    }
    rig_free(rig);
}

static void test_relay_sees_pages_that_were_added(void **state)
{
    Rig *rig = relay_attached(&(RigOptions){.sparse = true});

    relay_transfer(rig, 0, 64, 0, 1);
    assert_sleeps(rig);
    rig_populate(rig, 0, 4096);
    memset(rig->data, 0x33, 64);
    relay_transfer(rig, 0, 64, 0, 1);
    assert_sleeps(rig);
    assert_memory_equal(rig->host_data, rig->data, 64);
    rig_free(rig);
}

static void test_relay_more_tables_than_are_remembered(void **state)
{
    uint64_t bytes = (VGPU_RELAY_TABLES + 2ull) << 21;
    Rig *rig = relay_attached(&(RigOptions){.data_bytes = bytes});

    for (uint64_t at = 0; at < bytes; at += 1 << 20) {
        rig->data[at] = (uint8_t)(at >> 20 | 0x80);
    }
    for (unsigned round = 0; round < 2; round++) {
        relay_transfer(rig, 0, 1, 1 << 20, (uint32_t)(bytes >> 20));
        assert_sleeps(rig);
    }
    for (uint64_t at = 0; at < bytes; at += 1 << 20) {
        assert_int_equal(rig->host_data[at], (uint8_t)(at >> 20 | 0x80));
    }
    rig_free(rig);
}

static void test_relay_addresses_that_are_no_pages(void **state)
{
    Rig *rig = relay_attached(&(RigOptions){.sparse = true});

    *rig_entry(rig, rig->geometry.data_offset / 4096) = RIG_BASE + 8;
    relay_transfer(rig, 0, 8, 0, 1);
    assert_broken(rig, "multiple of 4096");
}

static void test_relay_addresses_that_are_no_memory(void **state)
{
    Rig *rig = relay_attached(&(RigOptions){.sparse = true});

    *rig_entry(rig, rig->geometry.data_offset / 4096) = 0xfffffffffffff000ull;
    relay_transfer(rig, 0, 8, 0, 1);
    assert_broken(rig, "cannot be read");
}

/* What the worker wrote
 * --------------------------------------------------------------------- */

static void test_relay_written_slices_come_back(void **state)
{
    Rig *rig = relay_small();
    const struct vgpu_written what = {.offset = 100,
                                      .row_bytes = 300,
                                      .pitch_bytes = 1000,
                                      .slice_pitch_bytes = 9000,
                                      .rows = 5,
                                      .slices = 6};

    pattern(rig->host_data, 65536);
    relay_written(rig, &what);
    assert_true(relay_push(&rig->answer, 64, 9));
    assert_sleeps(rig);
    for (uint64_t i = 0; i < 65536; i++) {
        uint64_t slice = i < 100 ? 0 : (i - 100) / 9000;
        bool moved = slice < 6 && inside(i, 100 + slice * 9000, 300, 1000, 5);

        assert_int_equal(rig->data[i], moved ? rig->host_data[i] : 0);
    }
    assert_int_equal(rig->counters[VGPU_COUNT_DOWNLOAD_BYTES], 300 * 30);
    /* The entry stays in the ring, for the library to skip. */
    assert_int_equal(rig->page->completion.producer.head, 2 + 1);
    rig_free(rig);
}

static void test_relay_written_beyond_the_data_area(void **state)
{
    static const struct vgpu_written wrong[] = {
        {.row_bytes = 65537, .rows = 1, .slices = 1},
        {.offset = 65536, .row_bytes = 1, .rows = 1, .slices = 1},
        {.offset = UINT64_MAX, .row_bytes = 2, .rows = 1, .slices = 1},
        {.row_bytes = 0, .rows = 1, .slices = 1},
        {.row_bytes = 1, .rows = 0, .slices = 1},
        {.row_bytes = 1, .rows = 1, .slices = 0},
        {.row_bytes = 1, .pitch_bytes = 65536, .rows = 2, .slices = 1},
        {.row_bytes = 1, .slice_pitch_bytes = 65536, .rows = 1, .slices = 2},
        {.row_bytes = 1, .slice_pitch_bytes = 0, .rows = 1, .slices = UINT32_MAX},
        {.row_bytes = 1, .pitch_bytes = 1ull << 33, .rows = UINT32_MAX, .slices = 1},
        {.row_bytes = 1,
         .slice_pitch_bytes = 1ull << 33,
         .rows = 1,
         .slices = UINT32_MAX},
    };

    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        Rig *rig = relay_small();

        relay_written(rig, &wrong[i]);
        assert_broken(rig, "worker told of a copy");
    }
}

static void test_relay_written_to_a_page_that_is_not_there(void **state)
{
    Rig *rig = relay_attached(&(RigOptions){.sparse = true});

    rig_populate(rig, 0, 4096);
    relay_written(rig, &(struct vgpu_written){.row_bytes = 4097, .rows = 1, .slices = 1});
    assert_broken(rig, "not there");
}

/* A turn's bounds
 * --------------------------------------------------------------------------- */

static void test_relay_upload_takes_several_turns(void **state)
{
    Rig *rig = relay_attached(&(RigOptions){.data_bytes = 4u << 20});
    uint64_t before = 0;
    unsigned turns = 0;

    pattern(rig->data, RELAY_MUCH + 8);
    relay_transfer(rig, 8, RELAY_MUCH, 0, 1);
    assert_true(relay_push(&rig->submit, 64, 0));
    while (relay_turn(rig) == VGPU_TURN_AGAIN) {
        assert_true(rig->counters[VGPU_COUNT_UPLOAD_BYTES] - before <= VGPU_TURN_BYTES);
        before = rig->counters[VGPU_COUNT_UPLOAD_BYTES];
        assert_int_equal(rig->host_page->submission.producer.head, 0);
        assert_true(++turns < 20);
    }
    assert_true(turns >= 3);
    assert_true(relay_pop(&rig->take, 0));
    assert_memory_equal(rig->host_data + 8, rig->data + 8, RELAY_MUCH);
    rig_free(rig);
}

static void test_relay_download_holds_back_what_is_behind_it(void **state)
{
    Rig *rig = relay_attached(&(RigOptions){.data_bytes = 4u << 20});
    uint64_t before = 0;
    unsigned turns = 0;

    pattern(rig->host_data, RELAY_MUCH + 4097);
    assert_true(relay_push(&rig->answer, 64, 0));
    relay_written(rig, &(struct vgpu_written){.offset = 1,
                                              .row_bytes = RELAY_MUCH / 2 + 4096,
                                              .pitch_bytes = RELAY_MUCH / 2 + 4096,
                                              .rows = 2,
                                              .slices = 1});
    assert_true(relay_push(&rig->answer, 64, 1));
    rig->host_page->notice.issued = 7;
    while (relay_turn(rig) == VGPU_TURN_AGAIN) {
        assert_true(rig->counters[VGPU_COUNT_DOWNLOAD_BYTES] - before <= VGPU_TURN_BYTES);
        before = rig->counters[VGPU_COUNT_DOWNLOAD_BYTES];
        assert_int_equal(rig->page->completion.producer.head, 1);
        assert_int_equal(rig->page->notice.issued, 0);
        /* The worker may change the entry now: it was taken, and checked, already. */
        memset(rig->host + rig->geometry.comp_offset + 64, 0xff, 128);
        assert_true(++turns < 20);
    }
    assert_true(turns >= 3);
    assert_int_equal(rig->page->completion.producer.head, 4);
    assert_int_equal(rig->page->notice.issued, 7);
    assert_memory_equal(rig->data + 1, rig->host_data + 1, RELAY_MUCH + 8192);
    rig_free(rig);
}

static void test_relay_narrow_rows_are_bounded_as_well(void **state)
{
    Rig *rig = relay_attached(&(RigOptions){.data_bytes = 4u << 20});

    relay_transfer(rig, 0, 1, 64, 65536);
    assert_int_equal(relay_turn(rig), VGPU_TURN_AGAIN);
    assert_true(rig->counters[VGPU_COUNT_UPLOAD_BYTES] <=
                VGPU_TURN_BYTES / VGPU_TURN_PIECE_BYTES);
    rig_free(rig);
}

static void test_relay_uploads_do_not_hold_up_completions(void **state)
{
    Rig *rig = relay_attached(&(RigOptions){.data_bytes = 4u << 20});

    relay_transfer(rig, 0, RELAY_MUCH, 0, 1);
    assert_true(relay_push(&rig->answer, 64, 5));
    assert_int_equal(relay_turn(rig), VGPU_TURN_AGAIN);
    assert_true(relay_pop(&rig->complete, 5));
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_relay_transfer_is_there_before_its_record),
        cmocka_unit_test(test_relay_transfer_up_to_the_end),
        cmocka_unit_test(test_relay_transfers_that_are_none),
        cmocka_unit_test(test_relay_transfers_fill_their_page),
        cmocka_unit_test(test_relay_one_transfer_too_many),
        cmocka_unit_test(test_relay_page_that_is_not_there_reads_as_zeros),
        cmocka_unit_test(test_relay_sees_pages_that_were_added),
        cmocka_unit_test(test_relay_more_tables_than_are_remembered),
        cmocka_unit_test(test_relay_addresses_that_are_no_pages),
        cmocka_unit_test(test_relay_addresses_that_are_no_memory),
        cmocka_unit_test(test_relay_written_slices_come_back),
        cmocka_unit_test(test_relay_written_beyond_the_data_area),
        cmocka_unit_test(test_relay_written_to_a_page_that_is_not_there),
        cmocka_unit_test(test_relay_upload_takes_several_turns),
        cmocka_unit_test(test_relay_download_holds_back_what_is_behind_it),
        cmocka_unit_test(test_relay_narrow_rows_are_bounded_as_well),
        cmocka_unit_test(test_relay_uploads_do_not_hold_up_completions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
