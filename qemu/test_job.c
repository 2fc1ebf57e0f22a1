/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The job window's record and answer, against a worker that uses ring/ and the layout
 * that the generator made of cuda.spec; and a channel's memory, which must be what the
 * mediator said.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "cuda/cuda_ops.h"
#include "job_ring.h"
#include "test_rig.h"

#define SAME(ours, theirs, field)                                                        \
    _Static_assert(offsetof(struct ours, field) == offsetof(struct theirs, field),       \
                   #field " lies where cuda.spec has it")

_Static_assert(VGPU_JOB_OP == CUDA_OP_JOB_VECTOR_ADD, "the op is cuda.spec's");
_Static_assert(sizeof(struct vgpu_job_record) == sizeof(struct cuda_op_job_vector_add),
               "size");
_Static_assert(sizeof(struct vgpu_job_reply) == sizeof(struct cuda_re_job_vector_add),
               "size");
SAME(vgpu_job_record, cuda_op_job_vector_add, count);
SAME(vgpu_job_record, cuda_op_job_vector_add, a);
SAME(vgpu_job_record, cuda_op_job_vector_add, b);
SAME(vgpu_job_reply, cuda_re_job_vector_add, sum);

typedef struct Window {
    Rig *rig;
    VGPUJobRing ring;
    uint32_t a[VGPU_JOB_ELEMENTS], b[VGPU_JOB_ELEMENTS];
} Window;

static Window *window_new(uint32_t granules)
{
    Window *window = calloc(1, sizeof(*window));

    assert_non_null(window);
    window->rig = rig_new(
        &(RigOptions){.sub_granules = granules, .comp_granules = VGPU_JOB_GRANULES});
    vgpu_job_ring_init(&window->ring, window->rig->channel);
    for (uint32_t i = 0; i < VGPU_JOB_ELEMENTS; i++) {
        window->a[i] = i * 3;
        window->b[i] = UINT32_MAX - i;
    }
    return window;
}

static void window_free(Window *window)
{
    rig_free(window->rig);
    free(window);
}

static int submit(Window *window, uint32_t count)
{
    bool kick;

    return vgpu_job_ring_submit(&window->ring, count, window->a, window->b, &kick);
}

static VGPUJobTake take(Window *window, VGPUJobAnswer *ret)
{
    bool kick;

    return vgpu_job_ring_take(&window->ring, ret, &kick);
}

/* The worker's side of one job: takes the record and returns its sequence number. */
static uint64_t take_record(Window *window, uint32_t count)
{
    _Alignas(8) uint8_t bytes[VGPU_RECORD_MAX_BYTES];
    const struct cuda_op_job_vector_add *op = (void *)bytes;
    size_t size;
    bool kick;

    assert_int_equal(ring_consume(&window->rig->take, bytes, sizeof(bytes), &size, &kick),
                     1);
    assert_int_equal(op->head.op, CUDA_OP_JOB_VECTOR_ADD);
    assert_int_equal(op->head.flags, VGPU_RECORD_WAIT | VGPU_RECORD_EXPLICIT);
    assert_int_equal(op->head.thread, 1);
    assert_int_equal(op->count, count);
    assert_int_equal(op->a.size_bytes, count * 4);
    assert_int_equal(op->b.size_bytes, count * 4);
    assert_int_equal(op->a.offset % 8 + op->b.offset % 8, 0);
    assert_true(op->b.offset + op->b.size_bytes <= size);
    assert_memory_equal(bytes + op->a.offset, window->a, count * 4);
    assert_memory_equal(bytes + op->b.offset, window->b, count * 4);
    return op->head.seq;
}

static void answer(Window *window, const struct vgpu_completion *head,
                   const struct vgpu_blob *sum, uint32_t size)
{
    struct cuda_re_job_vector_add reply = {.head = *head};
    void *entry;

    if (sum) {
        reply.sum = *sum;
    }
    assert_int_equal(ring_reserve(&window->rig->answer, size, &entry), 0);
    memset(entry, 0x55, size);
    memcpy(entry, &reply, size < sizeof(reply) ? size : sizeof(reply));
    ((struct vgpu_completion *)entry)->size_bytes = size;
    ring_publish(&window->rig->answer);
}

static struct vgpu_completion reply_to(uint64_t seq, uint16_t status)
{
    return (struct vgpu_completion){.kind = VGPU_COMPLETION_REPLY,
                                    .status = status,
                                    .seq = seq,
                                    .wait_ns = 7,
                                    .run_ns = 9};
}

static void test_job_goes_out_and_comes_back(void **state)
{
    Window *window = window_new(VGPU_JOB_GRANULES);

    for (uint32_t count = 1; count <= VGPU_JOB_ELEMENTS; count += 51) {
        const struct vgpu_blob sum = {.offset = 56, .size_bytes = count * 4};
        struct vgpu_completion head;
        VGPUJobAnswer got;

        assert_int_equal(submit(window, count), 0);
        assert_int_equal(take(window, &got), VGPU_JOB_SLEEP);
        assert_int_not_equal(window->rig->host_page->completion.consumer.parked, 0);
        head = reply_to(take_record(window, count), VGPU_OK);
        assert_int_equal(head.seq, count / 51 + 1);
        answer(window, &head, &sum, 56 + (count * 4 + 7) / 8 * 8);
        assert_int_equal(take(window, &got), VGPU_JOB_ANSWER);
        assert_int_equal(got.status, VGPU_OK);
        assert_int_equal(got.wait_ns, 7);
        assert_int_equal(got.run_ns, 9);
        for (uint32_t i = 0; i < VGPU_JOB_ELEMENTS; i++) {
            assert_int_equal(got.sum[i], i < count ? 0x55555555 : 0);
        }
    }
    window_free(window);
}

static void test_job_refusal_has_no_sum(void **state)
{
    Window *window = window_new(VGPU_JOB_GRANULES);
    struct vgpu_completion head = reply_to(1, VGPU_BUSY);
    VGPUJobAnswer got;

    assert_int_equal(submit(window, 4), 0);
    answer(window, &head, NULL, sizeof(head));
    assert_int_equal(take(window, &got), VGPU_JOB_ANSWER);
    assert_int_equal(got.status, VGPU_BUSY);
    assert_int_equal(got.sum[0], 0);
    window_free(window);
}

static void test_job_error_of_the_driver_is_a_failure(void **state)
{
    Window *window = window_new(VGPU_JOB_GRANULES);
    struct vgpu_completion head = reply_to(1, VGPU_OK);
    VGPUJobAnswer got;

    head.result = 700;
    assert_int_equal(submit(window, 4), 0);
    answer(window, &head, NULL, sizeof(head));
    assert_int_equal(take(window, &got), VGPU_JOB_ANSWER);
    assert_int_equal(got.status, VGPU_FAILED);
    assert_int_equal(got.result, 700);
    window_free(window);
}

static void test_job_skips_what_is_no_answer(void **state)
{
    Window *window = window_new(VGPU_JOB_GRANULES);
    struct vgpu_completion old = reply_to(0, VGPU_OK), print = reply_to(1, VGPU_OK);
    struct vgpu_completion head = reply_to(1, VGPU_TIMEOUT);
    VGPUJobAnswer got;

    print.kind = VGPU_COMPLETION_PRINT;
    assert_int_equal(submit(window, 4), 0);
    answer(window, &old, NULL, sizeof(head));
    answer(window, &print, NULL, sizeof(head));
    answer(window, &head, NULL, sizeof(head));
    assert_int_equal(take(window, &got), VGPU_JOB_ANSWER);
    assert_int_equal(got.status, VGPU_TIMEOUT);
    window_free(window);
}

static void test_job_look_is_bounded(void **state)
{
    Window *window = window_new(VGPU_JOB_GRANULES);
    struct vgpu_completion old = reply_to(0, VGPU_OK);
    VGPUJobAnswer got;

    assert_int_equal(submit(window, 4), 0);
    for (unsigned i = 0; i < 65; i++) {
        answer(window, &old, NULL, sizeof(old));
    }
    assert_int_equal(take(window, &got), VGPU_JOB_AGAIN);
    assert_int_equal(take(window, &got), VGPU_JOB_SLEEP);
    window_free(window);
}

static void test_job_answers_that_are_nonsense(void **state)
{
    static const struct {
        struct vgpu_blob sum;
        uint32_t size;
        uint16_t status;
    } wrong[] = {
        {{.offset = 56, .size_bytes = 16}, 40, VGPU_OK},             /* no sum */
        {{.offset = 56, .size_bytes = 16}, 64, VGPU_OK},             /* half of it */
        {{.offset = 64, .size_bytes = 16}, 72, VGPU_OK},             /* beyond the end */
        {{.offset = UINT64_MAX - 3, .size_bytes = 16}, 72, VGPU_OK}, /* overflows */
        {{.offset = 48, .size_bytes = 16}, 72, VGPU_OK},             /* in the head */
        {{.offset = 56, .size_bytes = 12}, 72, VGPU_OK},             /* too few */
        {{.offset = 56, .size_bytes = 20}, 80, VGPU_OK},             /* too many */
        {{.offset = 56, .size_bytes = 16, .place = 1}, 72, VGPU_OK}, /* elsewhere */
        {{.offset = 56, .size_bytes = 16}, 72, VGPU_STATUS_COUNT}, /* an unknown status */
    };

    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        Window *window = window_new(VGPU_JOB_GRANULES);
        struct vgpu_completion head = reply_to(1, wrong[i].status);
        VGPUJobAnswer got;

        assert_int_equal(submit(window, 4), 0);
        answer(window, &head, &wrong[i].sum, wrong[i].size);
        assert_int_equal(take(window, &got), VGPU_JOB_NONSENSE);
        window_free(window);
    }
}

static void test_job_index_that_is_nonsense(void **state)
{
    Window *window = window_new(VGPU_JOB_GRANULES);
    VGPUJobAnswer got;
    int status = 0;

    window->rig->host_page->completion.producer.head = VGPU_JOB_GRANULES + 1;
    assert_int_equal(take(window, &got), VGPU_JOB_NONSENSE);
    window->rig->host_page->submission.consumer.tail = UINT32_MAX / 2;
    /* It is looked at when the room that was seen is used up. */
    for (uint32_t i = 0; i <= VGPU_JOB_GRANULES && status == 0; i++) {
        status = submit(window, 1);
    }
    assert_int_equal(status, -EPROTO);
    window_free(window);
}

static void test_job_ring_that_is_too_small(void **state)
{
    Window *window = window_new(64);

    assert_true(submit(window, VGPU_JOB_ELEMENTS) < 0);
    window_free(window);
}

/* A channel's memory
 * ------------------------------------------------------------------------ */

static const char *refusal(const struct vgpu_channel_geometry *said,
                           const struct vgpu_channel_geometry *made, bool sealed)
{
    const int fds[3] = {rig_memory(made, 0, sealed), eventfd(0, EFD_CLOEXEC),
                        eventfd(0, EFD_CLOEXEC)};
    const char *why = NULL;
    VGPUChannel *channel = vgpu_channel_new(said, fds, &why);

    assert_true(!channel == !!why);
    vgpu_channel_free(channel);
    assert_int_equal(close(fds[0]), -1); /* taken in any case */
    assert_int_equal(close(fds[1]), -1);
    assert_int_equal(close(fds[2]), -1);
    return why ? why : "";
}

static void test_channel_geometries_that_are_wrong(void **state)
{
    struct vgpu_channel_geometry good, g;

    rig_geometry(&good, 64, 64, 65536);
    assert_string_equal(refusal(&good, &good, true), "");
#define WRONG(change, part)                                                              \
    do {                                                                                 \
        g = good;                                                                        \
        change;                                                                          \
        assert_non_null(strstr(refusal(&g, &good, true), part));                         \
    } while (0)
    WRONG(g.sub_granules = 0, "ring");
    WRONG(g.sub_granules = 1, "ring");
    WRONG(g.sub_granules = 63, "ring");
    WRONG(g.comp_granules = 2 * VGPU_RING_MAX_GRANULES, "ring");
    WRONG(g.total_bytes = UINT64_MAX & ~4095ull, "size");
    WRONG(g.total_bytes += 8, "size");
    WRONG(g.total_bytes += 4096, "smaller");
    WRONG(g.sub_offset = 4032, "submission");
    WRONG(g.sub_offset += 8, "submission");
    WRONG(g.sub_offset = UINT64_MAX & ~63ull, "submission");
    WRONG(g.comp_offset = g.sub_offset, "completion");
    WRONG(g.comp_offset = g.total_bytes, "completion");
    WRONG(g.comp_offset += 4, "completion");
    WRONG(g.data_offset -= 4096, "data");
    WRONG(g.data_offset += 4096, "data");
    WRONG(g.data_bytes += 4096, "data");
    WRONG(g.data_bytes = UINT64_MAX & ~4095ull, "data");
    WRONG(g.data_bytes -= 4096, "another geometry");
#undef WRONG
}

static void test_channel_memory_that_could_shrink(void **state)
{
    struct vgpu_channel_geometry good;

    rig_geometry(&good, 64, 64, 65536);
    assert_non_null(strstr(refusal(&good, &good, false), "sealed"));
}

static void test_channel_kick_never_blocks(void **state)
{
    Rig *rig = rig_new(&(RigOptions){0});
    uint64_t most = UINT64_MAX - 1, one = 1;

    assert_int_equal(write(rig->submit_kick, &most, sizeof(most)), sizeof(most));
    vgpu_channel_kick(rig->channel);
    assert_false(vgpu_channel_take_kick(rig->channel));
    assert_int_equal(write(rig->completion_kick, &one, sizeof(one)), sizeof(one));
    assert_true(vgpu_channel_take_kick(rig->channel));
    assert_false(vgpu_channel_take_kick(rig->channel));
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_job_goes_out_and_comes_back),
        cmocka_unit_test(test_job_refusal_has_no_sum),
        cmocka_unit_test(test_job_error_of_the_driver_is_a_failure),
        cmocka_unit_test(test_job_skips_what_is_no_answer),
        cmocka_unit_test(test_job_look_is_bounded),
        cmocka_unit_test(test_job_answers_that_are_nonsense),
        cmocka_unit_test(test_job_index_that_is_nonsense),
        cmocka_unit_test(test_job_ring_that_is_too_small),
        cmocka_unit_test(test_channel_geometries_that_are_wrong),
        cmocka_unit_test(test_channel_memory_that_could_shrink),
        cmocka_unit_test(test_channel_kick_never_blocks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
