/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libvgpu: which calls are answered from what the worker tells, and which have to ask. The test
 * plays the worker's part on the fake host's page.
 */
#include "guest/libvgpu/test_host.h"

#include "common/clock.h"
#include "guest/libvgpu/session.h"
#include "ring/pages.h"

static struct fake_host *fake;
static uint32_t stream_answer;

/* Stream queries are answered as the test says. */
static bool answer_queries(struct fake_host *host, const struct vgpu_record *record)
{
    if (record->op != CUDA_OP_STREAM_QUERY)
        return false;
    fake_reply(host, record->seq, (int32_t)page_load_u32(&stream_answer));
    return true;
}

static void open_host(struct fake_host *host)
{
    CUcontext context;

    fake = host;
    page_store_u32(&stream_answer, CUDA_ERROR_NOT_READY);
    begin(host, &context);
}

/* All records so far were taken; returns the last one's number. */
static uint64_t last_record(void)
{
    uint64_t last = session_sender()->last_seq;

    while (page_load_u64(&fake->page->notice.issued) < last)
        sched_yield();
    return last;
}

static void tell_settled(uint64_t seq)
{
    struct vgpu_channel_notice *notice = &fake->page->notice;

    page_store_u64(&notice->told, notice->told + 1);
    page_store_u64(&notice->settled, seq);
}

static void tell_event(CUevent event, uint64_t seq)
{
    struct vgpu_channel_notice *notice = &fake->page->notice;

    page_store_u64(&notice->told, notice->told + 1);
    page_store_u64(&fake->page->events[VGPU_HANDLE_INDEX((uintptr_t)event)], seq);
}

static uint64_t sent(void)
{
    return session_sender()->last_seq;
}

static void test_snapshot_settled_answers_waits_and_queries(void **state)
{
    struct fake_host host = {.on_record = answer_queries};
    CUstream stream;
    uint64_t before;

    open_host(&host);
    assert_ok(cuStreamCreate(&stream, 0));
    tell_settled(last_record());
    before = sent();
    assert_ok(cuCtxSynchronize());
    assert_ok(cuStreamSynchronize(stream));
    assert_ok(cuStreamSynchronize(NULL));
    assert_ok(cuStreamQuery(stream));
    assert_ok(cuStreamQuery(CU_STREAM_PER_THREAD));
    assert_int_equal(sent(), before);
    end(&host);
}

static void test_snapshot_one_record_more_is_asked_for(void **state)
{
    struct fake_host host = {.on_record = answer_queries};
    CUfunction function;
    uint64_t launched;

    open_host(&host);
    function = load_function();
    assert_ok(launch(function, 1, 1));
    launched = last_record();
    tell_settled(launched - 1);
    assert_ok(cuCtxSynchronize());
    assert_ok(cuStreamSynchronize(NULL));
    assert_int_equal(cuStreamQuery(NULL), CUDA_ERROR_NOT_READY);
    assert_int_equal(sent(), launched + 3);
    /* What only asked leaves nothing behind. */
    tell_settled(launched);
    assert_ok(cuCtxSynchronize());
    assert_ok(cuStreamQuery(NULL));
    assert_int_equal(sent(), launched + 3);
    end(&host);
}

/* A worker that tells nothing, or a device that does not bring it. */
static void test_snapshot_of_nothing_is_not_believed(void **state)
{
    struct fake_host host = {0};
    CUevent event;
    uint64_t before;

    open_host(&host);
    assert_ok(cuEventCreate(&event, 0));
    assert_ok(cuEventRecord(event, NULL));
    before = last_record();
    if (fake_mirrored) {
        tell_settled(before);
        tell_event(event, before);
    }
    assert_ok(cuEventQuery(event));
    assert_ok(cuEventSynchronize(event));
    assert_ok(cuStreamQuery(NULL));
    assert_ok(cuCtxSynchronize());
    assert_int_equal(sent(), before + 4);
    end(&host);
}

/* One event recorded by two threads, beside one that makes and ends others. */

static CUevent shared;
static uint32_t shared_handle;         /* the same, for the worker */
static uint64_t last_record_of_shared; /* the highest number of a record of it */

static bool note_records(struct fake_host *host, const struct vgpu_record *record)
{
    const struct cuda_op_event_record *op = (const void *)record;

    if (record->op == CUDA_OP_EVENT_RECORD && op->event == page_load_u32(&shared_handle))
        page_store_u64(&last_record_of_shared, record->seq);
    return false;
}

static void *record_shared(void *argument)
{
    assert_ok(cuCtxSetCurrent(argument));
    for (int i = 0; i < 500; i++) {
        assert_ok(cuEventRecord(shared, NULL));
        assert_int_equal(cuEventQuery(shared), CUDA_ERROR_NOT_READY);
    }
    return NULL;
}

static void *make_others(void *argument)
{
    CUevent event;

    assert_ok(cuCtxSetCurrent(argument));
    for (int i = 0; i < 500; i++) {
        assert_ok(cuEventCreate(&event, 0));
        assert_ok(cuEventRecord(event, NULL));
        assert_ok(cuEventDestroy(event));
    }
    return NULL;
}

static void test_snapshot_last_of_two_threads_records_counts(void **state)
{
    struct fake_host host = {.on_record = note_records};
    pthread_t threads[3];
    CUcontext context;
    uint64_t last;

    open_host(&host);
    assert_ok(cuCtxGetCurrent(&context));
    assert_ok(cuEventCreate(&shared, 0));
    page_store_u32(&shared_handle, (uint32_t)(uintptr_t)shared);
    assert_ok(cuEventRecord(shared, NULL));
    tell_settled(1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(
            pthread_create(&threads[i], NULL, i < 2 ? record_shared : make_others, context), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    last_record();
    last = page_load_u64(&last_record_of_shared);
    assert_true(last > 1000);
    tell_event(shared, last - 1);
    assert_int_equal(cuEventQuery(shared), CUDA_ERROR_NOT_READY);
    tell_event(shared, last);
    assert_ok(cuEventQuery(shared));
    end(&host);
}

static void test_snapshot_event_word(void **state)
{
    struct fake_host host = {0};
    CUevent event, other;
    uint64_t record;

    open_host(&host);
    assert_ok(cuEventCreate(&event, 0));
    assert_ok(cuEventCreate(&other, 0));
    tell_settled(last_record());
    assert_ok(cuEventRecord(event, NULL));
    record = last_record();
    assert_ok(cuEventRecord(other, NULL));
    tell_event(event, record - 1);
    tell_event(other, record);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(cuEventQuery(event), CUDA_ERROR_NOT_READY);
        assert_int_equal(cuEventQuery(other), CUDA_ERROR_NOT_READY);
    }
    tell_event(event, record);
    assert_ok(cuEventQuery(event));
    assert_ok(cuEventSynchronize(event));
    assert_int_equal(cuEventQuery(other), CUDA_ERROR_NOT_READY);
    assert_int_equal(sent(), record + 1);
    /* A wait for the other has to ask. */
    assert_ok(cuEventSynchronize(other));
    assert_int_equal(sent(), record + 2);
    end(&host);
}

static void test_snapshot_event_recorded_anew(void **state)
{
    struct fake_host host = {0};
    CUevent event;
    uint64_t first;

    open_host(&host);
    assert_ok(cuEventCreate(&event, 0));
    tell_settled(last_record());
    assert_ok(cuEventRecord(event, NULL));
    first = last_record();
    tell_event(event, first);
    assert_ok(cuEventQuery(event));
    assert_ok(cuEventRecord(event, NULL));
    assert_int_equal(cuEventQuery(event), CUDA_ERROR_NOT_READY);
    tell_event(event, first + 1);
    assert_ok(cuEventQuery(event));
    assert_int_equal(sent(), first + 1);
    end(&host);
}

/* The word is still the one of the event that had the index before. */
static void test_snapshot_event_index_is_used_again(void **state)
{
    struct fake_host host = {0};
    CUevent event, next;
    uint64_t before;

    open_host(&host);
    assert_ok(cuEventCreate(&event, 0));
    assert_ok(cuEventRecord(event, NULL));
    before = last_record();
    tell_settled(before);
    tell_event(event, before);
    assert_ok(cuEventDestroy_v2(event));
    assert_ok(cuEventCreate(&next, 0));
    assert_int_equal(VGPU_HANDLE_INDEX((uintptr_t)next), VGPU_HANDLE_INDEX((uintptr_t)event));
    before = last_record();
    /* Never recorded: the worker knows better than a word. */
    assert_ok(cuEventQuery(next));
    assert_int_equal(sent(), before + 1);
    assert_ok(cuEventRecord(next, NULL));
    assert_int_equal(cuEventQuery(next), CUDA_ERROR_NOT_READY);
    assert_int_equal(cuEventQuery(event), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(sent(), before + 2);
    end(&host);
}

static void test_snapshot_last_event_word_and_one_more(void **state)
{
    struct fake_host host = {0};
    CUevent events[VGPU_EVENT_WORDS + 1];
    uint64_t before;

    open_host(&host);
    for (size_t i = 0; i <= VGPU_EVENT_WORDS; i++)
        assert_ok(cuEventCreate(&events[i], 0));
    tell_settled(last_record());
    assert_ok(cuEventRecord(events[VGPU_EVENT_WORDS - 1], NULL));
    assert_ok(cuEventRecord(events[VGPU_EVENT_WORDS], NULL));
    before = last_record();
    assert_int_equal(cuEventQuery(events[VGPU_EVENT_WORDS - 1]), CUDA_ERROR_NOT_READY);
    tell_event(events[VGPU_EVENT_WORDS - 1], before - 1);
    assert_ok(cuEventQuery(events[VGPU_EVENT_WORDS - 1]));
    assert_int_equal(sent(), before);
    assert_ok(cuEventQuery(events[VGPU_EVENT_WORDS]));
    assert_int_equal(sent(), before + 1);
    tell_settled(before);
    assert_ok(cuEventQuery(events[VGPU_EVENT_WORDS]));
    assert_int_equal(sent(), before + 1);
    end(&host);
}

static void test_snapshot_error_is_asked_for(void **state)
{
    struct fake_host host = {.on_record = answer_queries};
    CUevent event;
    uint64_t before;

    open_host(&host);
    assert_ok(cuEventCreate(&event, 0));
    assert_ok(cuEventRecord(event, NULL));
    before = last_record();
    page_store_u32(&host.page->notice.unheard, VGPU_UNHEARD_ERROR);
    tell_event(event, before);
    tell_settled(before);
    page_store_u32(&stream_answer, CUDA_ERROR_LAUNCH_FAILED);
    assert_int_equal(cuStreamQuery(NULL), CUDA_ERROR_LAUNCH_FAILED);
    assert_ok(cuEventQuery(event));
    assert_ok(cuCtxSynchronize());
    assert_int_equal(sent(), before + 3);
    /* Nor is it an answer that the event is not done. */
    assert_ok(cuEventRecord(event, NULL));
    assert_ok(cuEventQuery(event));
    assert_int_equal(sent(), before + 5);
    end(&host);
}

/* What kernels print comes with the answer of a call that waits. */
static void test_snapshot_print_is_waited_for(void **state)
{
    struct fake_host host = {.on_record = answer_queries};
    CUevent event;
    uint64_t before;

    open_host(&host);
    assert_ok(cuEventCreate(&event, 0));
    assert_ok(cuEventRecord(event, NULL));
    before = last_record();
    page_store_u32(&host.page->notice.unheard, VGPU_UNHEARD_PRINT);
    tell_event(event, before);
    tell_settled(before);
    assert_ok(cuStreamQuery(NULL));
    assert_ok(cuEventQuery(event));
    assert_int_equal(sent(), before);
    assert_ok(cuCtxSynchronize());
    assert_ok(cuStreamSynchronize(NULL));
    assert_ok(cuEventSynchronize(event));
    assert_int_equal(sent(), before + 3);
    end(&host);
}

static bool poison_query(struct fake_host *host, const struct vgpu_record *record)
{
    if (record->op != CUDA_OP_EVENT_QUERY)
        return false;
    fake_reply(host, record->seq, CUDA_ERROR_ILLEGAL_ADDRESS);
    return true;
}

static void test_snapshot_of_a_broken_context_is_no_success(void **state)
{
    struct fake_host host = {.on_record = poison_query};
    CUevent event;
    uint64_t before;

    open_host(&host);
    assert_ok(cuEventCreate(&event, 0));
    assert_ok(cuEventRecord(event, NULL));
    before = last_record();
    page_store_u32(&host.page->notice.poisoned, CUDA_ERROR_ILLEGAL_ADDRESS);
    tell_event(event, before);
    tell_settled(before);
    assert_int_equal(cuEventQuery(event), CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_int_equal(sent(), before + 1);
    assert_int_equal(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_int_equal(cuStreamQuery(NULL), CUDA_ERROR_ILLEGAL_ADDRESS);
    end(&host);
}

static bool fail_copy(struct fake_host *host, const struct vgpu_record *record)
{
    if (record->op != CUDA_OP_COPY)
        return false;
    if (record->flags & VGPU_RECORD_WAIT)
        fake_reply(host, record->seq, CUDA_ERROR_LAUNCH_TIMEOUT);
    return true;
}

/* The answer to a posted upload lies in the ring: what it says belongs to the next success. */
static void test_snapshot_takes_what_lies_in_the_ring(void **state)
{
    struct fake_host host = {.on_record = fail_copy};
    static uint8_t bytes[64 << 10];
    CUdeviceptr pointer;
    uint64_t before;

    open_host(&host);
    assert_ok(cuMemAlloc_v2(&pointer, sizeof(bytes)));
    assert_ok(cuMemcpyHtoDAsync_v2(pointer, bytes, sizeof(bytes), NULL));
    before = sent();
    /* The record may have been answered just now. */
    while (page_load_u32(&host.page->completion.producer.head) == session_sender()->dispatched)
        sched_yield();
    tell_settled(before);
    assert_int_equal(cuCtxSynchronize(), CUDA_ERROR_LAUNCH_TIMEOUT);
    assert_ok(cuCtxSynchronize());
    assert_int_equal(sent(), before);
    end(&host);
}

static unsigned polls(CUstream stream, uint64_t ns)
{
    uint64_t end_ns = vgpu_clock_ns() + ns;
    unsigned count = 0;

    do {
        assert_int_equal(cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
        count++;
    } while (vgpu_clock_ns() < end_ns);
    return count;
}

static void test_snapshot_a_stream_is_not_asked_about_each_time(void **state)
{
    struct fake_host host = {.on_record = answer_queries};
    CUfunction function;
    uint64_t before;
    unsigned polled;

    open_host(&host);
    function = load_function();
    tell_settled(last_record());
    assert_ok(launch(function, 1, 1));
    before = last_record();
    polled = polls(NULL, 20 * VGPU_NS_PER_MS);
    /* Alone some 130 of thousands: one in each 200 us, more for the first two milliseconds, and
     * again whenever this thread did not run for a while. */
    assert_in_range(sent() - before, 2, polled / 8);
    /* Told that it is done, at once. */
    tell_settled(before);
    before = sent();
    assert_ok(cuStreamQuery(NULL));
    assert_int_equal(sent(), before);
    end(&host);
}

/* Whatever is told or answered may have a bearing on the stream. */
static void test_snapshot_news_make_it_ask(void **state)
{
    struct fake_host host = {.on_record = answer_queries};
    CUfunction function;
    CUdeviceptr pointer;
    CUevent event;
    uint64_t before;

    open_host(&host);
    function = load_function();
    assert_ok(cuEventCreate(&event, 0));
    tell_settled(last_record());
    assert_ok(launch(function, 1, 1));
    assert_ok(cuEventRecord(event, NULL));
    for (int i = 0; i < 20; i++) {
        polls(NULL, 2 * VGPU_NS_PER_MS);
        before = sent();
        if (i % 2)
            tell_event(event, before);
        else
            assert_ok(cuMemAlloc_v2(&pointer, 4));
        page_store_u32(&stream_answer, CUDA_SUCCESS);
        assert_ok(cuStreamQuery(NULL));
        assert_int_equal(sent(), before + 1 + (i % 2 == 0));
        page_store_u32(&stream_answer, CUDA_ERROR_NOT_READY);
    }
    end(&host);
}

/* Two streams that a thread polls in turn, and the same stream of two contexts, are kept apart. */
static void test_snapshot_streams_are_kept_apart(void **state)
{
    struct fake_host host = {.on_record = answer_queries};
    CUfunction function;
    CUcontext second;
    uint64_t before;

    open_host(&host);
    function = load_function();
    tell_settled(last_record());
    assert_ok(launch(function, 1, 1));
    polls(NULL, 2 * VGPU_NS_PER_MS);
    assert_ok(cuCtxCreate_v2(&second, 0, 0));
    before = last_record();
    assert_int_equal(cuStreamQuery(NULL), CUDA_ERROR_NOT_READY);
    assert_int_equal(sent(), before + 1);
    end(&host);
}

static void test_snapshot_past_2_to_the_32(void **state)
{
    struct fake_host host = {0};
    const uint64_t start = (1ull << 32) - 3;
    CUevent event;
    uint64_t record;

    open_host(&host);
    assert_ok(cuEventCreate(&event, 0));
    last_record();
    session_sender()->last_seq = start;
    pthread_mutex_lock(&host.lock);
    host.seen_count = start;
    pthread_mutex_unlock(&host.lock);
    tell_settled(start);
    for (int i = 0; i < 6; i++) {
        assert_ok(cuEventRecord(event, NULL));
        record = last_record();
        assert_int_equal(record, start + 1 + (unsigned)i);
        assert_int_equal(cuEventQuery(event), CUDA_ERROR_NOT_READY);
        tell_event(event, record);
        assert_ok(cuEventQuery(event));
        tell_settled(record);
        assert_ok(cuCtxSynchronize());
        assert_int_equal(sent(), record);
    }
    end(&host);
}

/* A worker that copies, and then tells. */
static bool record_after_copy(struct fake_host *host, const struct vgpu_record *record)
{
    const struct cuda_op_event_record *op = (const void *)record;

    if (record->op == CUDA_OP_EVENT_RECORD)
        page_store_u64(&host->page->events[VGPU_HANDLE_INDEX(op->event)], record->seq);
    return false;
}

/* What a copy brought to page-locked memory is there when its event is. */
static void test_snapshot_data_comes_before_the_event(void **state)
{
    struct fake_host host = {.on_record = record_after_copy};
    CUdeviceptr pointer;
    CUevent event;
    uint32_t *area;
    void *memory;
    uint64_t before;

    open_host(&host);
    assert_ok(cuMemAllocHost_v2(&memory, 4096));
    area = memory;
    assert_ok(cuMemAlloc_v2(&pointer, 4096));
    assert_ok(cuEventCreate(&event, 0));
    tell_settled(last_record());
    for (uint32_t i = 1; i <= 1000; i++) {
        CUresult result;

        assert_ok(cuMemsetD32Async(pointer, i, 1024, NULL));
        assert_ok(cuMemcpyDtoHAsync_v2(area, pointer, 4096, NULL));
        assert_ok(cuEventRecord(event, NULL));
        before = sent();
        while ((result = cuEventQuery(event)) == CUDA_ERROR_NOT_READY)
            sched_yield();
        assert_ok(result);
        assert_int_equal(sent(), before);
        fake_settle(&host);
        assert_int_equal(area[0], i);
        assert_int_equal(area[1023], i);
    }
    end(&host);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest both[] = {
        cmocka_unit_test(test_snapshot_of_nothing_is_not_believed),
    };
    const struct CMUnitTest local[] = {
        cmocka_unit_test(test_snapshot_settled_answers_waits_and_queries),
        cmocka_unit_test(test_snapshot_one_record_more_is_asked_for),
        cmocka_unit_test(test_snapshot_event_word),
        cmocka_unit_test(test_snapshot_last_of_two_threads_records_counts),
        cmocka_unit_test(test_snapshot_event_recorded_anew),
        cmocka_unit_test(test_snapshot_event_index_is_used_again),
        cmocka_unit_test(test_snapshot_error_is_asked_for),
        cmocka_unit_test(test_snapshot_print_is_waited_for),
        cmocka_unit_test(test_snapshot_of_a_broken_context_is_no_success),
        cmocka_unit_test(test_snapshot_takes_what_lies_in_the_ring),
        cmocka_unit_test(test_snapshot_a_stream_is_not_asked_about_each_time),
        cmocka_unit_test(test_snapshot_news_make_it_ask),
        cmocka_unit_test(test_snapshot_streams_are_kept_apart),
        cmocka_unit_test(test_snapshot_past_2_to_the_32),
        cmocka_unit_test(test_snapshot_data_comes_before_the_event),
        /* Leaves large indices behind, which are used first. */
        cmocka_unit_test(test_snapshot_last_event_word_and_one_more),
    };

    return run_both(argc, argv, both, VGPU_ARRAY_SIZE(both), local, VGPU_ARRAY_SIZE(local));
}
