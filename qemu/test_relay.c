/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The relay between a guest and a worker that use ring/ on memory of their own: what
 * arrives, what is refused, when it sleeps and whom it wakes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "test_rig.h"

static Rig *attached(const RigOptions *options)
{
    Rig *rig = rig_new(options);
    const char *why = NULL;

    assert_int_equal(vgpu_relay_core_attach(rig->core, rig_directory(rig), &why),
                     VGPU_OK);
    assert_null(why);
    return rig;
}

static Rig *small(void)
{
    return attached(&(RigOptions){0});
}

static VGPUTurn turn(Rig *rig)
{
    return vgpu_relay_core_turn(rig->core);
}

static void assert_sleeps(Rig *rig)
{
    assert_int_equal(turn(rig), VGPU_TURN_SLEEP);
}

static void assert_broken(Rig *rig, const char *part)
{
    assert_int_equal(turn(rig), VGPU_TURN_BROKEN);
    assert_non_null(rig->core->why);
    if (!strstr(rig->core->why, part)) {
        fail_msg("\"%s\" does not say \"%s\"", rig->core->why, part);
    }
    rig_free(rig);
}

/* An entry of a size, whose words say which it is. */
static void fill(void *entry, uint32_t size, uint64_t seq)
{
    memset(entry, (int)(seq * 37 + 5), size);
    *(struct vgpu_completion *)entry = (struct vgpu_completion){
        .size_bytes = size,
        .kind = VGPU_COMPLETION_REPLY,
        .seq = seq,
    };
}

static void assert_entry(const uint8_t *entry, size_t size, uint64_t seq)
{
    _Alignas(8) uint8_t expected[VGPU_RECORD_MAX_BYTES];

    fill(expected, (uint32_t)size, seq);
    assert_memory_equal(entry, expected, size);
}

static bool push(struct ring_producer *producer, uint32_t size, uint64_t seq)
{
    void *entry;

    if (ring_reserve(producer, size, &entry) < 0) {
        return false;
    }
    fill(entry, size, seq);
    ring_publish(producer);
    return true;
}

static bool pop(struct ring_consumer *consumer, uint64_t seq)
{
    uint8_t buffer[VGPU_RECORD_MAX_BYTES];
    size_t size;
    bool kick;
    int status = ring_consume(consumer, buffer, sizeof(buffer), &size, &kick);

    assert_true(status >= 0);
    if (status == 1) {
        assert_entry(buffer, size, seq);
    }
    return status == 1;
}

/* Rings
 * ----------------------------------------------------------------------------------- */

/* Pushes and pops at random on all four ends, with turns between: everything once, in
 * order. */
static void run_model(uint32_t sub, uint32_t comp, uint32_t start)
{
    Rig *rig = attached(
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
            pushed += push(&rig->submit, size / 8 > sub_max ? sub_max * 8 : size, pushed);
            break;
        case 2:
            popped += pop(&rig->take, popped);
            break;
        case 3:
            if (answered < popped) {
                answered += push(&rig->answer, size / 8 > comp_max ? comp_max * 8 : size,
                                 answered);
            }
            break;
        case 4:
            seen += pop(&rig->complete, seen);
            break;
        default:
            assert_true(turn(rig) <= VGPU_TURN_AGAIN);
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
    Rig *rig = attached(&(RigOptions){.sub_granules = VGPU_RING_MAX_GRANULES});
    uint64_t pushed = 0, popped = 0;
    unsigned turns = 1;

    while (push(&rig->submit, VGPU_RECORD_MAX_BYTES, pushed)) {
        pushed++;
    }
    assert_int_equal(pushed, 256);
    while (turn(rig) == VGPU_TURN_AGAIN) {
        turns++;
        /* Never a part of what the guest published at once. */
        assert_true(rig->host_page->submission.producer.head == 0 ||
                    rig->host_page->submission.producer.head == VGPU_RING_MAX_GRANULES);
    }
    assert_true(turns >= 5);
    while (pop(&rig->take, popped)) {
        popped++;
    }
    assert_int_equal(popped, 256);
    rig_free(rig);
}

static void test_relay_full_ring_is_no_nonsense(void **state)
{
    Rig *rig = small();

    rig->page->submission.producer.head = 64;
    assert_sleeps(rig);
    assert_int_equal(rig->host_page->submission.producer.head, 64);
    rig_free(rig);
}

static void test_relay_guest_head_beyond_the_ring(void **state)
{
    Rig *rig = small();

    rig->page->submission.producer.head = 65;
    assert_broken(rig, "guest's submission ring");
}

static void test_relay_guest_head_beyond_what_the_worker_freed(void **state)
{
    Rig *rig = small();

    assert_true(push(&rig->submit, 64, 0));
    assert_sleeps(rig);
    rig->page->submission.producer.head = 65;
    assert_broken(rig, "guest's submission ring");
}

static void test_relay_guest_head_backwards(void **state)
{
    Rig *rig = small();

    assert_true(push(&rig->submit, 64, 0));
    assert_sleeps(rig);
    rig->page->submission.producer.head = 0;
    assert_broken(rig, "guest's submission ring");
}

static void test_relay_guest_tail_beyond_completions(void **state)
{
    Rig *rig = small();

    assert_true(push(&rig->answer, 64, 0));
    assert_sleeps(rig);
    rig->page->completion.consumer.tail = 2;
    assert_broken(rig, "guest's completion ring");
}

static void test_relay_guest_tail_backwards(void **state)
{
    Rig *rig = small();

    assert_true(push(&rig->answer, 64, 0));
    assert_sleeps(rig);
    assert_true(pop(&rig->complete, 0));
    assert_sleeps(rig);
    rig->page->completion.consumer.tail = 0;
    assert_broken(rig, "guest's completion ring");
}

static void test_relay_worker_tail_beyond_records(void **state)
{
    Rig *rig = small();

    rig->host_page->submission.consumer.tail = 1;
    assert_broken(rig, "worker's submission ring");
}

static void test_relay_worker_tail_backwards(void **state)
{
    Rig *rig = small();

    assert_true(push(&rig->submit, 64, 0));
    assert_sleeps(rig);
    assert_true(pop(&rig->take, 0));
    assert_sleeps(rig);
    rig->host_page->submission.consumer.tail = 0;
    assert_broken(rig, "worker's submission ring");
}

static void test_relay_worker_head_beyond_the_ring(void **state)
{
    Rig *rig = small();

    rig->host_page->completion.producer.head = 65;
    assert_broken(rig, "wrong index");
}

static void test_relay_worker_head_beyond_what_the_guest_read(void **state)
{
    Rig *rig = small();

    assert_true(push(&rig->answer, 64, 0));
    assert_sleeps(rig);
    rig->host_page->completion.producer.head = 65;
    assert_broken(rig, "wrong index");
}

static void test_relay_worker_head_backwards(void **state)
{
    Rig *rig = small();

    assert_true(push(&rig->answer, 64, 0));
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
        Rig *rig = attached(&(RigOptions){.start = wrong[i].start});
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
    Rig *rig = attached(&(RigOptions){.comp_granules = VGPU_RING_MAX_GRANULES});
    struct vgpu_completion *pad = (void *)(rig->host + rig->geometry.comp_offset);

    pad->size_bytes = VGPU_RING_MAX_GRANULES * 64;
    rig->host_page->completion.producer.head = VGPU_RING_MAX_GRANULES;
    assert_sleeps(rig);
    assert_int_equal(rig->page->completion.producer.head, VGPU_RING_MAX_GRANULES);
    rig_free(rig);
}

/* Transfers
 * ------------------------------------------------------------------------------- */

static void transfer(Rig *rig, uint64_t offset, uint64_t row_bytes, uint64_t pitch,
                     uint32_t rows)
{
    rig->transfers->transfer[rig->transfers->head % VGPU_TRANSFERS] =
        (struct vgpu_transfer){
            .offset = offset,
            .row_bytes = row_bytes,
            .pitch_bytes = pitch,
            .rows = rows,
        };
    rig->transfers->head++;
}

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
    Rig *rig = small();

    pattern(rig->data, 65536);
    transfer(rig, 4000, 200, 0, 1);
    transfer(rig, 9000, 100, 5000, 7);
    assert_true(push(&rig->submit, 64, 0));
    assert_sleeps(rig);
    assert_true(pop(&rig->take, 0));
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
    Rig *rig = small();

    pattern(rig->data, 65536);
    transfer(rig, 0, 65536, UINT64_MAX, 1);
    transfer(rig, 65535, 1, 0, 1);
    transfer(rig, 0, 1, 1, 65536);
    while (turn(rig) == VGPU_TURN_AGAIN) {
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
        Rig *rig = small();

        rig->transfers->transfer[0] = wrong[i];
        rig->transfers->head = 1;
        assert_broken(rig, "transfer");
    }
}

static void test_relay_transfers_fill_their_page(void **state)
{
    Rig *rig = small();

    for (unsigned i = 0; i < 2 * VGPU_TRANSFERS; i++) {
        transfer(rig, i * 8, 8, 0, 1);
        if (i % VGPU_TRANSFERS == VGPU_TRANSFERS - 1) {
            assert_sleeps(rig);
        }
    }
    assert_int_equal(rig->transfers->tail, 2 * VGPU_TRANSFERS);
    rig_free(rig);
}

static void test_relay_one_transfer_too_many(void **state)
{
    Rig *rig = small();

    rig->transfers->head = VGPU_TRANSFERS + 1;
    assert_broken(rig, "transfers");
}

static void test_relay_page_that_is_not_there_reads_as_zeros(void **state)
{
    Rig *rig = attached(&(RigOptions){.sparse = true});

    rig_populate(rig, 4096, 4096);
    memset(rig->data, 0x11,
           3 * 4096); /* what the device must not see, but for the middle */
    memset(rig->host_data, 0x22, 3 * 4096);
    transfer(rig, 0, 3 * 4096, 0, 1);
    assert_sleeps(rig);
    for (unsigned i = 0; i < 3 * 4096; i++) {
        assert_int_equal(rig->host_data[i], i / 4096 == 1 ? 0x11 : 0);
    }
    rig_free(rig);
}

static void test_relay_sees_pages_that_were_added(void **state)
{
    Rig *rig = attached(&(RigOptions){.sparse = true});

    transfer(rig, 0, 64, 0, 1);
    assert_sleeps(rig);
    rig_populate(rig, 0, 4096);
    memset(rig->data, 0x33, 64);
    transfer(rig, 0, 64, 0, 1);
    assert_sleeps(rig);
    assert_memory_equal(rig->host_data, rig->data, 64);
    rig_free(rig);
}

static void test_relay_more_tables_than_are_remembered(void **state)
{
    uint64_t bytes = (VGPU_RELAY_TABLES + 2ull) << 21;
    Rig *rig = attached(&(RigOptions){.data_bytes = bytes});

    for (uint64_t at = 0; at < bytes; at += 1 << 20) {
        rig->data[at] = (uint8_t)(at >> 20 | 0x80);
    }
    for (unsigned round = 0; round < 2; round++) {
        transfer(rig, 0, 1, 1 << 20, (uint32_t)(bytes >> 20));
        assert_sleeps(rig);
    }
    for (uint64_t at = 0; at < bytes; at += 1 << 20) {
        assert_int_equal(rig->host_data[at], (uint8_t)(at >> 20 | 0x80));
    }
    rig_free(rig);
}

static void test_relay_addresses_that_are_no_pages(void **state)
{
    Rig *rig = attached(&(RigOptions){.sparse = true});

    *rig_entry(rig, rig->geometry.data_offset / 4096) = RIG_BASE + 8;
    transfer(rig, 0, 8, 0, 1);
    assert_broken(rig, "multiple of 4096");
}

static void test_relay_addresses_that_are_no_memory(void **state)
{
    Rig *rig = attached(&(RigOptions){.sparse = true});

    *rig_entry(rig, rig->geometry.data_offset / 4096) = 0xfffffffffffff000ull;
    transfer(rig, 0, 8, 0, 1);
    assert_broken(rig, "cannot be read");
}

/* What the worker wrote
 * --------------------------------------------------------------------- */

static void written(Rig *rig, const struct vgpu_written *what)
{
    void *entry;

    assert_int_equal(ring_reserve(&rig->answer, 80, &entry), 0);
    *(struct vgpu_completion *)entry =
        (struct vgpu_completion){.size_bytes = 80, .kind = VGPU_COMPLETION_WRITTEN};
    memcpy((uint8_t *)entry + 40, what, sizeof(*what));
    ring_publish(&rig->answer);
}

static void test_relay_written_slices_come_back(void **state)
{
    Rig *rig = small();
    const struct vgpu_written what = {.offset = 100,
                                      .row_bytes = 300,
                                      .pitch_bytes = 1000,
                                      .slice_pitch_bytes = 9000,
                                      .rows = 5,
                                      .slices = 6};

    pattern(rig->host_data, 65536);
    written(rig, &what);
    assert_true(push(&rig->answer, 64, 9));
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
        Rig *rig = small();

        written(rig, &wrong[i]);
        assert_broken(rig, "worker told of a copy");
    }
}

static void test_relay_written_to_a_page_that_is_not_there(void **state)
{
    Rig *rig = attached(&(RigOptions){.sparse = true});

    rig_populate(rig, 0, 4096);
    written(rig, &(struct vgpu_written){.row_bytes = 4097, .rows = 1, .slices = 1});
    assert_broken(rig, "not there");
}

/* A turn's bounds
 * --------------------------------------------------------------------------- */

#define MUCH (3u << 20)

static void test_relay_upload_takes_several_turns(void **state)
{
    Rig *rig = attached(&(RigOptions){.data_bytes = 4u << 20});
    uint64_t before = 0;
    unsigned turns = 0;

    pattern(rig->data, MUCH + 8);
    transfer(rig, 8, MUCH, 0, 1);
    assert_true(push(&rig->submit, 64, 0));
    while (turn(rig) == VGPU_TURN_AGAIN) {
        assert_true(rig->counters[VGPU_COUNT_UPLOAD_BYTES] - before <= VGPU_TURN_BYTES);
        before = rig->counters[VGPU_COUNT_UPLOAD_BYTES];
        assert_int_equal(rig->host_page->submission.producer.head, 0);
        assert_true(++turns < 20);
    }
    assert_true(turns >= 3);
    assert_true(pop(&rig->take, 0));
    assert_memory_equal(rig->host_data + 8, rig->data + 8, MUCH);
    rig_free(rig);
}

static void test_relay_download_holds_back_what_is_behind_it(void **state)
{
    Rig *rig = attached(&(RigOptions){.data_bytes = 4u << 20});
    uint64_t before = 0;
    unsigned turns = 0;

    pattern(rig->host_data, MUCH + 4097);
    assert_true(push(&rig->answer, 64, 0));
    written(rig, &(struct vgpu_written){.offset = 1,
                                        .row_bytes = MUCH / 2 + 4096,
                                        .pitch_bytes = MUCH / 2 + 4096,
                                        .rows = 2,
                                        .slices = 1});
    assert_true(push(&rig->answer, 64, 1));
    rig->host_page->notice.issued = 7;
    while (turn(rig) == VGPU_TURN_AGAIN) {
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
    assert_memory_equal(rig->data + 1, rig->host_data + 1, MUCH + 8192);
    rig_free(rig);
}

static void test_relay_narrow_rows_are_bounded_as_well(void **state)
{
    Rig *rig = attached(&(RigOptions){.data_bytes = 4u << 20});

    transfer(rig, 0, 1, 64, 65536);
    assert_int_equal(turn(rig), VGPU_TURN_AGAIN);
    assert_true(rig->counters[VGPU_COUNT_UPLOAD_BYTES] <=
                VGPU_TURN_BYTES / VGPU_TURN_PIECE_BYTES);
    rig_free(rig);
}

static void test_relay_uploads_do_not_hold_up_completions(void **state)
{
    Rig *rig = attached(&(RigOptions){.data_bytes = 4u << 20});

    transfer(rig, 0, MUCH, 0, 1);
    assert_true(push(&rig->answer, 64, 5));
    assert_int_equal(turn(rig), VGPU_TURN_AGAIN);
    assert_true(pop(&rig->complete, 5));
    rig_free(rig);
}

/* Sleep and wake-ups
 * ------------------------------------------------------------------------ */

static void test_relay_sleeping_says_so_to_both(void **state)
{
    Rig *rig = attached(&(RigOptions){.data_bytes = 4u << 20});

    assert_sleeps(rig);
    assert_int_equal(rig->page->submission.consumer.parked, 1);
    assert_int_equal(rig->host_page->completion.consumer.parked, 1);
    transfer(rig, 0, MUCH, 0, 1);
    assert_int_equal(turn(rig), VGPU_TURN_AGAIN);
    assert_int_equal(rig->page->submission.consumer.parked, 0);
    assert_int_equal(rig->host_page->completion.consumer.parked, 0);
    rig_free(rig);
}

static void test_relay_rung_once_needs_no_more_ringing(void **state)
{
    Rig *rig = small();

    assert_sleeps(rig);
    vgpu_relay_core_wake(rig->core);
    assert_int_equal(rig->page->submission.consumer.parked, 0);
    assert_int_equal(rig->host_page->completion.consumer.parked, 0);
    assert_true(push(&rig->submit, 64, 3));
    assert_sleeps(rig);
    assert_true(pop(&rig->take, 3));
    assert_int_equal(rig->page->submission.consumer.parked, 1);
    rig_free(rig);
}

/* A page that is no memory any more: the turn that follows says so. */
static void test_relay_rung_without_memory(void **state)
{
    Rig *rig = small();

    assert_sleeps(rig);
    rig->forbidden = rig_page_address(rig, 0);
    vgpu_relay_core_wake(rig->core);
    assert_int_equal(turn(rig), VGPU_TURN_BROKEN);
    assert_non_null(rig->core->why);
    rig_free(rig);
}

static void publish_when_parked(Rig *rig, uint64_t addr, uint32_t value)
{
    if (addr == RIG_ADDRESS(rig, submission.consumer.parked) && value) {
        assert_true(push(rig->context, 64, 0));
    }
}

static void test_relay_looks_again_for_records(void **state)
{
    Rig *rig = small();

    rig->context = &rig->submit;
    rig->stored = publish_when_parked;
    assert_int_equal(turn(rig), VGPU_TURN_AGAIN);
    rig->stored = NULL;
    assert_sleeps(rig);
    assert_true(pop(&rig->take, 0));
    rig_free(rig);
}

static void test_relay_looks_again_for_completions(void **state)
{
    Rig *rig = small();

    rig->context = &rig->answer;
    rig->stored = publish_when_parked;
    assert_int_equal(turn(rig), VGPU_TURN_AGAIN);
    rig->stored = NULL;
    assert_sleeps(rig);
    assert_true(pop(&rig->complete, 0));
    rig_free(rig);
}

static void transfer_when_parked(Rig *rig, uint64_t addr, uint32_t value)
{
    if (addr == RIG_ADDRESS(rig, submission.consumer.parked) && value) {
        transfer(rig, 0, 8, 0, 1);
    }
}

static void test_relay_looks_again_for_transfers(void **state)
{
    Rig *rig = small();

    rig->stored = transfer_when_parked;
    assert_int_equal(turn(rig), VGPU_TURN_AGAIN);
    rig_free(rig);
}

static void test_relay_interrupts_only_a_guest_that_sleeps(void **state)
{
    Rig *rig = small();

    assert_true(push(&rig->answer, 64, 0));
    assert_sleeps(rig);
    assert_int_equal(rig->interrupts, 0);
    rig->page->completion.consumer.parked = 1;
    assert_sleeps(rig);
    assert_int_equal(rig->interrupts, 0); /* nothing new */
    assert_true(push(&rig->answer, 64, 1));
    assert_sleeps(rig);
    assert_int_equal(rig->interrupts, 1);
    rig_free(rig);
}

static void test_relay_room_does_not_interrupt_who_waits_for_completions(void **state)
{
    Rig *rig = small();

    rig->page->completion.consumer.parked = 1;
    assert_true(push(&rig->submit, 64, 0));
    assert_sleeps(rig);
    assert_true(pop(&rig->take, 0));
    rig->host_page->notice.issued = 1;
    assert_sleeps(rig);
    assert_int_equal(rig->interrupts, 0);
    assert_int_equal(rig->page->submission.consumer.tail, 1);
    rig_free(rig);
}

static void test_relay_guest_that_waits_for_room_is_told(void **state)
{
    Rig *rig = small();

    assert_true(push(&rig->submit, 64, 0));
    assert_sleeps(rig);
    ring_producer_want_kick(&rig->submit);
    assert_sleeps(rig);
    assert_int_equal(rig->host_page->submission.producer.waiting, 1);
    assert_true(pop(&rig->take, 0));
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
    Rig *rig = small();

    assert_true(push(&rig->submit, 64, 0));
    assert_sleeps(rig);
    assert_int_equal(rig->kicks, 0);
    assert_true(pop(&rig->take, 0));
    assert_true(ring_consumer_arm(&rig->take));
    assert_true(push(&rig->submit, 64, 1));
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
        Rig *rig = attached(&(RigOptions){.comp_granules = sizes[i]});
        uint32_t most = (uint32_t)ring_entry_max(sizes[i]);
        uint8_t buffer[VGPU_RECORD_MAX_BYTES];
        size_t size;
        bool kick = false;
        uint64_t sent = 0;

        while (push(&rig->answer, most, sent)) {
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
    Rig *rig = attached(&(RigOptions){.comp_granules = 1024});

    for (uint64_t i = 0; i < 256; i++) {
        assert_true(push(&rig->answer, 128, i));
    }
    assert_sleeps(rig);
    assert_int_equal(rig->page->completion.producer.waiting, 0);
    rig_free(rig);
}

/* The notice, and the end
 * ------------------------------------------------------------------- */

static void test_relay_notice_is_mirrored(void **state)
{
    Rig *rig = small();

    rig->host_page->notice = (struct vgpu_channel_notice){
        .issued = 1ull << 40, .credit = 5, .poisoned = 700, .state = VGPU_CHANNEL_READY};
    assert_sleeps(rig);
    assert_memory_equal(&rig->page->notice, &rig->host_page->notice, 24);
    rig_free(rig);
}

static void test_relay_notice_with_a_wrong_state(void **state)
{
    Rig *rig = small();

    rig->host_page->notice.state = VGPU_CHANNEL_ENDED + 1;
    assert_broken(rig, "notice");
}

static void test_relay_gone_brings_the_last_completions(void **state)
{
    Rig *rig = attached(&(RigOptions){.data_bytes = 4u << 20});
    VGPUTurn last;

    assert_true(push(&rig->answer, 64, 0));
    written(rig, &(struct vgpu_written){.row_bytes = MUCH, .rows = 1, .slices = 1});
    assert_true(push(&rig->answer, 64, 1));
    vgpu_relay_core_gone(rig->core);
    while ((last = turn(rig)) == VGPU_TURN_AGAIN) {
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
    Rig *rig = small();

    rig->host_page->completion.producer.head = 4000;
    vgpu_relay_core_gone(rig->core);
    assert_int_equal(turn(rig), VGPU_TURN_ENDED);
    assert_int_equal(rig->page->notice.state, VGPU_CHANNEL_ENDED);
    assert_int_equal(rig->interrupts, 1);
    rig_free(rig);
}

static void test_relay_memory_that_goes_away(void **state)
{
    Rig *rig = small();

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
    Rig *rig = small();

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
