/* SPDX-License-Identifier: Apache-2.0 */
/* Streams, events, host functions: what runs after what. A host function that waits at a gate
 * holds a stream for as long as a test wants, so nothing depends on time. */
#include "softgpu/testing.h"

#include <pthread.h>
#include <semaphore.h>

#define N 200

/* A stream stops at a gate until it is opened. */
struct gate {
    sem_t reached, open;
};

static void gate_wait(void *arg)
{
    struct gate *gate = arg;

    sem_post(&gate->reached);
    sem_wait(&gate->open);
}

static void gate_close(struct gate *gate, CUstream stream)
{
    sem_init(&gate->reached, 0, 0);
    sem_init(&gate->open, 0, 0);
    assert_ok(cu.cuLaunchHostFunc(stream, gate_wait, gate));
}

static void gate_open(struct gate *gate)
{
    sem_post(&gate->open);
}

static CUstream stream_new(unsigned flags)
{
    CUstream stream;

    assert_ok(cu.cuStreamCreate(&stream, flags));
    return stream;
}

static CUevent event_new(unsigned flags)
{
    CUevent event;

    assert_ok(cu.cuEventCreate(&event, flags));
    return event;
}

static void test_stream_flags_are_checked(void **state)
{
    CUstream stream;
    unsigned flags;

    (void)state;
    assert_int_equal(cu.cuStreamCreate(&stream, 2), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuStreamCreate(NULL, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuStreamDestroy(NULL), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cu.cuStreamDestroy(CU_STREAM_LEGACY), CUDA_ERROR_INVALID_HANDLE);
    assert_ok(cu.cuStreamGetFlags(stream_new(CU_STREAM_NON_BLOCKING), &flags));
    assert_int_equal(flags, CU_STREAM_NON_BLOCKING);
}

static void test_stream_priorities_are_clamped(void **state)
{
    int least, greatest, priority;
    CUstream stream;

    (void)state;
    assert_ok(cu.cuCtxGetStreamPriorityRange(&least, &greatest));
    assert_true(greatest < least);
    assert_ok(cu.cuStreamCreateWithPriority(&stream, 0, greatest - 1));
    assert_ok(cu.cuStreamGetPriority(stream, &priority));
    assert_int_equal(priority, greatest);
    assert_ok(cu.cuStreamCreateWithPriority(&stream, 0, least + 1));
    assert_ok(cu.cuStreamGetPriority(stream, &priority));
    assert_int_equal(priority, least);
}

static void test_stream_default_streams_have_handles(void **state)
{
    unsigned long long legacy, named, own, other;
    CUcontext context;

    (void)state;
    assert_ok(cu.cuStreamGetId(NULL, &legacy));
    assert_ok(cu.cuStreamGetId(CU_STREAM_LEGACY, &named));
    assert_ok(cu.cuStreamGetId(CU_STREAM_PER_THREAD, &own));
    assert_ok(cu.cuStreamGetId(stream_new(0), &other));
    assert_int_equal(legacy, named);
    assert_int_not_equal(legacy, own);
    assert_int_not_equal(legacy, other);
    assert_ok(cu.cuStreamGetCtx(NULL, &context));
    assert_ptr_equal(context, testing_context);
}

struct order {
    pthread_mutex_t lock;
    int n;
    int seen[N];
};

struct step {
    struct order *order;
    int number;
};

static void step_run(void *arg)
{
    struct step *step = arg;

    pthread_mutex_lock(&step->order->lock);
    step->order->seen[step->order->n++] = step->number;
    pthread_mutex_unlock(&step->order->lock);
}

static void test_stream_runs_in_order(void **state)
{
    struct order order = {.lock = PTHREAD_MUTEX_INITIALIZER};
    CUstream stream = stream_new(CU_STREAM_NON_BLOCKING);
    struct step steps[N];

    (void)state;
    for (int i = 0; i < N; i++) {
        steps[i] = (struct step){&order, i};
        assert_ok(cu.cuLaunchHostFunc(stream, step_run, &steps[i]));
    }
    assert_ok(cu.cuStreamSynchronize(stream));
    assert_int_equal(order.n, N);
    for (int i = 0; i < N; i++)
        assert_int_equal(order.seen[i], i);
}

static void test_stream_query_tells_pending_work(void **state)
{
    CUstream stream = stream_new(CU_STREAM_NON_BLOCKING);
    struct gate gate;

    (void)state;
    assert_ok(cu.cuStreamQuery(stream));
    gate_close(&gate, stream);
    assert_int_equal(cu.cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
    gate_open(&gate);
    assert_ok(cu.cuStreamSynchronize(stream));
    assert_ok(cu.cuStreamQuery(stream));
}

static void test_stream_non_blocking_passes_the_default_stream(void **state)
{
    CUstream stream = stream_new(CU_STREAM_NON_BLOCKING);
    CUdeviceptr p = testing_alloc(64);
    struct gate gate;

    (void)state;
    gate_close(&gate, stream);
    assert_ok(cu.cuMemsetD8Async(p, 1, 64, NULL));
    assert_ok(cu.cuStreamSynchronize(NULL)); /* would not return if it waited for the gate */
    gate_open(&gate);
    assert_ok(cu.cuCtxSynchronize());
}

static void test_stream_default_waits_for_blocking_streams(void **state)
{
    CUstream stream = stream_new(CU_STREAM_DEFAULT);
    CUdeviceptr p = testing_alloc(64);
    CUevent event = event_new(0);
    struct gate gate;

    (void)state;
    gate_close(&gate, stream);
    assert_ok(cu.cuMemsetD8Async(p, 1, 64, NULL));
    assert_ok(cu.cuEventRecord(event, NULL));
    sem_wait(&gate.reached);
    assert_int_equal(cu.cuEventQuery(event), CUDA_ERROR_NOT_READY);
    assert_int_equal(cu.cuStreamQuery(NULL), CUDA_ERROR_NOT_READY);
    gate_open(&gate);
    assert_ok(cu.cuEventSynchronize(event));
    assert_ok(cu.cuStreamQuery(stream));
}

static void test_stream_blocking_streams_wait_for_default(void **state)
{
    CUstream stream = stream_new(CU_STREAM_DEFAULT);
    CUevent event = event_new(0);
    struct gate gate;

    (void)state;
    gate_close(&gate, NULL);
    assert_ok(cu.cuEventRecord(event, stream));
    sem_wait(&gate.reached);
    assert_int_equal(cu.cuEventQuery(event), CUDA_ERROR_NOT_READY);
    gate_open(&gate);
    assert_ok(cu.cuStreamSynchronize(stream));
    assert_ok(cu.cuEventQuery(event));
}

static void test_stream_two_blocking_streams_are_independent(void **state)
{
    CUstream held = stream_new(CU_STREAM_DEFAULT), free_stream = stream_new(CU_STREAM_DEFAULT);
    CUdeviceptr p = testing_alloc(64);
    struct gate gate;

    (void)state;
    gate_close(&gate, held);
    assert_ok(cu.cuMemsetD8Async(p, 1, 64, free_stream));
    assert_ok(cu.cuStreamSynchronize(free_stream));
    gate_open(&gate);
    assert_ok(cu.cuCtxSynchronize());
}

static void test_stream_waits_for_an_event_of_another(void **state)
{
    CUstream first = stream_new(CU_STREAM_NON_BLOCKING);
    CUstream second = stream_new(CU_STREAM_NON_BLOCKING);
    CUevent event = event_new(CU_EVENT_DISABLE_TIMING), after = event_new(0);
    struct gate gate;

    (void)state;
    gate_close(&gate, first);
    assert_ok(cu.cuEventRecord(event, first));
    assert_ok(cu.cuStreamWaitEvent(second, event, 0));
    assert_ok(cu.cuEventRecord(after, second));
    assert_ok(cu.cuEventDestroy(event)); /* what waits for it is not affected */
    sem_wait(&gate.reached);
    assert_int_equal(cu.cuEventQuery(after), CUDA_ERROR_NOT_READY);
    gate_open(&gate);
    assert_ok(cu.cuEventSynchronize(after));
    assert_ok(cu.cuStreamQuery(first));
}

static void test_stream_wait_takes_the_event_as_it_is_then(void **state)
{
    CUstream held = stream_new(CU_STREAM_NON_BLOCKING);
    CUstream waiting = stream_new(CU_STREAM_NON_BLOCKING);
    CUevent event = event_new(0);
    struct gate gate;

    (void)state;
    assert_ok(cu.cuStreamWaitEvent(waiting, event, 0)); /* never recorded: no wait */
    assert_ok(cu.cuEventRecord(event, waiting));
    assert_ok(cu.cuStreamWaitEvent(waiting, event, 0));
    gate_close(&gate, held);
    assert_ok(cu.cuEventRecord(event, held)); /* later than the wait: not waited for */
    assert_ok(cu.cuStreamSynchronize(waiting));
    assert_int_equal(cu.cuEventQuery(event), CUDA_ERROR_NOT_READY);
    gate_open(&gate);
    assert_ok(cu.cuEventSynchronize(event));
}

static void test_stream_event_flags_are_checked(void **state)
{
    CUevent event;

    (void)state;
    assert_int_equal(cu.cuEventCreate(&event, 8), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuEventCreate(&event, CU_EVENT_INTERPROCESS), CUDA_ERROR_INVALID_VALUE);
    event = event_new(0);
    assert_int_equal(cu.cuStreamWaitEvent(NULL, event, 2), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuEventRecordWithFlags(event, NULL, 2), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuEventRecordWithFlags(event, NULL, CU_EVENT_RECORD_EXTERNAL),
                     CUDA_ERROR_ILLEGAL_STATE);
}

static void test_stream_elapsed_time_is_real(void **state)
{
    CUstream stream = stream_new(CU_STREAM_NON_BLOCKING);
    CUevent start = event_new(0), end = event_new(0), plain = event_new(CU_EVENT_DISABLE_TIMING);
    struct gate gate;
    float ms = -1;

    (void)state;
    assert_int_equal(cu.cuEventElapsedTime(&ms, start, end), CUDA_ERROR_INVALID_HANDLE);
    assert_ok(cu.cuEventRecord(start, stream));
    gate_close(&gate, stream);
    assert_ok(cu.cuEventRecord(end, stream));
    assert_int_equal(cu.cuEventElapsedTime(&ms, start, end), CUDA_ERROR_NOT_READY);
    gate_open(&gate);
    assert_ok(cu.cuEventSynchronize(end));
    assert_ok(cu.cuEventElapsedTime(&ms, start, end));
    assert_true(ms >= 0 && ms < 60000);
    assert_ok(cu.cuEventElapsedTime(&ms, end, start));
    assert_true(ms <= 0);
    assert_ok(cu.cuEventRecord(plain, stream));
    assert_ok(cu.cuEventSynchronize(plain));
    assert_int_equal(cu.cuEventElapsedTime(&ms, start, plain), CUDA_ERROR_INVALID_HANDLE);
}

static void test_stream_event_of_another_context_is_refused(void **state)
{
    CUevent event = event_new(0);
    CUcontext other;

    (void)state;
    assert_ok(cu.cuCtxCreate_v2(&other, 0, 0));
    assert_int_equal(cu.cuEventRecord(event, NULL), CUDA_ERROR_INVALID_HANDLE);
    assert_ok(cu.cuStreamWaitEvent(NULL, event, 0));
    assert_ok(cu.cuCtxDestroy(other));
}

static void call_inside(void *arg)
{
    CUresult *results = arg;
    CUdeviceptr p;
    int count;

    results[0] = cu.cuMemAlloc(&p, 4);
    results[1] = cu.cuDeviceGetCount(&count);
}

static void test_stream_host_functions_may_not_call(void **state)
{
    CUresult results[2] = {CUDA_SUCCESS, CUDA_SUCCESS};
    CUdeviceptr p;

    (void)state;
    assert_int_equal(cu.cuLaunchHostFunc(NULL, NULL, NULL), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuLaunchHostFunc(NULL, call_inside, results));
    assert_ok(cu.cuCtxSynchronize());
    assert_int_equal(results[0], CUDA_ERROR_NOT_PERMITTED);
    assert_int_equal(results[1], CUDA_ERROR_NOT_PERMITTED);
    assert_ok(cu.cuMemAlloc(&p, 4));
}

static void remember_status(CUstream stream, CUresult status, void *arg)
{
    void **seen = arg;

    seen[0] = stream;
    seen[1] = (void *)(uintptr_t)(status + 1);
}

static void test_stream_callbacks_get_stream_and_status(void **state)
{
    CUstream stream = stream_new(0);
    void *seen[2] = {NULL, NULL};

    (void)state;
    assert_int_equal(cu.cuStreamAddCallback(stream, remember_status, seen, 1),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuStreamAddCallback(stream, NULL, seen, 0), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuStreamAddCallback(stream, remember_status, seen, 0));
    assert_ok(cu.cuStreamSynchronize(stream));
    assert_ptr_equal(seen[0], stream);
    assert_ptr_equal(seen[1], (void *)(uintptr_t)(CUDA_SUCCESS + 1));
}

static void test_stream_destroyed_finishes_its_work(void **state)
{
    struct order order = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct step step = {&order, 1};
    CUstream stream = stream_new(CU_STREAM_NON_BLOCKING);
    struct gate gate;

    (void)state;
    gate_close(&gate, stream);
    assert_ok(cu.cuLaunchHostFunc(stream, step_run, &step));
    assert_ok(cu.cuStreamDestroy(stream));
    gate_open(&gate);
    assert_ok(cu.cuCtxSynchronize());
    assert_int_equal(order.n, 1);
}

static void *synchronise(void *arg)
{
    static CUresult result;

    result = cu.cuCtxSetCurrent(testing_context);
    if (result == CUDA_SUCCESS)
        result = cu.cuEventSynchronize(arg);
    return &result;
}

/* One thread waits for an event while another submits what lets it happen. */
static void test_stream_submission_passes_a_waiting_thread(void **state)
{
    CUstream first = stream_new(CU_STREAM_NON_BLOCKING);
    CUevent event = event_new(0);
    CUdeviceptr p = testing_alloc(64);
    struct gate gate;
    pthread_t thread;
    void *result;

    (void)state;
    gate_close(&gate, first);
    assert_ok(cu.cuEventRecord(event, first));
    pthread_create(&thread, NULL, synchronise, event);
    sem_wait(&gate.reached);
    assert_ok(cu.cuMemsetD8Async(p, 0, 64, stream_new(CU_STREAM_NON_BLOCKING)));
    gate_open(&gate);
    pthread_join(thread, &result);
    assert_ok(*(CUresult *)result);
}

struct worker {
    CUdeviceptr memory;
    bool failed;
};

static void *per_thread_work(void *arg)
{
    struct worker *worker = arg;
    unsigned char out[64];
    CUresult result = cu.cuCtxSetCurrent(testing_context);

    for (int i = 0; i < N && result == CUDA_SUCCESS; i++) {
        result = cu.cuMemsetD8Async(worker->memory, (unsigned char)i, 64, CU_STREAM_PER_THREAD);
        if (result == CUDA_SUCCESS)
            result = cu.cuMemcpyDtoHAsync(out, worker->memory, sizeof(out), CU_STREAM_PER_THREAD);
        if (result == CUDA_SUCCESS)
            result = cu.cuStreamSynchronize(CU_STREAM_PER_THREAD);
        worker->failed |= out[0] != (unsigned char)i || out[63] != (unsigned char)i;
    }
    worker->failed |= result != CUDA_SUCCESS;
    return NULL;
}

static void test_stream_per_thread_streams_do_not_mix(void **state)
{
    struct worker workers[8] = {0};
    pthread_t threads[8];

    (void)state;
    for (int i = 0; i < 8; i++) {
        workers[i].memory = testing_alloc(64);
        pthread_create(&threads[i], NULL, per_thread_work, &workers[i]);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        assert_false(workers[i].failed);
    }
}

static void test_stream_more_gates_than_executors_drain(void **state)
{
    enum { STREAMS = 80 };
    struct gate gates[STREAMS];
    CUstream streams[STREAMS];

    (void)state;
    testing_softgpu_only(); /* NVIDIA's driver runs host functions one after another */
    for (int i = 0; i < STREAMS; i++) {
        streams[i] = stream_new(CU_STREAM_NON_BLOCKING);
        gate_close(&gates[i], streams[i]);
    }
    for (int i = 0; i < STREAMS; i++)
        gate_open(&gates[i]);
    assert_ok(cu.cuCtxSynchronize());
    for (int i = 0; i < STREAMS; i++)
        assert_ok(cu.cuStreamDestroy(streams[i]));
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_stream_##name, testing_open, testing_close)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(flags_are_checked),
        TEST(priorities_are_clamped),
        TEST(default_streams_have_handles),
        TEST(runs_in_order),
        TEST(query_tells_pending_work),
        TEST(non_blocking_passes_the_default_stream),
        TEST(default_waits_for_blocking_streams),
        TEST(blocking_streams_wait_for_default),
        TEST(two_blocking_streams_are_independent),
        TEST(waits_for_an_event_of_another),
        TEST(wait_takes_the_event_as_it_is_then),
        TEST(event_flags_are_checked),
        TEST(elapsed_time_is_real),
        TEST(event_of_another_context_is_refused),
        TEST(host_functions_may_not_call),
        TEST(callbacks_get_stream_and_status),
        TEST(destroyed_finishes_its_work),
        TEST(submission_passes_a_waiting_thread),
        TEST(per_thread_streams_do_not_mix),
        TEST(more_gates_than_executors_drain),
    };

    testing_load(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
