/* SPDX-License-Identifier: Apache-2.0 */
/* libvgpu: waiting, order, callbacks, staging, credit, and how a channel ends, on a fake host. */
#include "guest/libvgpu/test_host.h"

#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cuda/exports.h"
#include "guest/libvgpu/guest.h"
#include "ring/pages.h"

#define THREADS 8

/* Records that the test holds back. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t seqs[2048];
    unsigned count;
    uint16_t op;
} held = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void hold_op(uint16_t op)
{
    held.op = op;
    held.count = 0;
}

static bool hold_record(struct fake_host *host, const struct vgpu_record *record)
{
    if (record->op != held.op)
        return false;
    pthread_mutex_lock(&held.lock);
    held.seqs[held.count++] = record->seq;
    pthread_cond_broadcast(&held.changed);
    pthread_mutex_unlock(&held.lock);
    return true;
}

static void await_held(unsigned count)
{
    pthread_mutex_lock(&held.lock);
    while (held.count < count)
        pthread_cond_wait(&held.changed, &held.lock);
    pthread_mutex_unlock(&held.lock);
}

struct syncer {
    pthread_t thread;
    CUcontext context;
    CUresult result;
    struct fake_host *host;
};

static void *sync_main(void *argument)
{
    struct syncer *self = argument;

    assert_ok(cuCtxSetCurrent(self->context));
    self->result = cuCtxSynchronize();
    return NULL;
}

static void start_syncers(struct syncer *syncers, unsigned count, CUcontext context)
{
    for (unsigned i = 0; i < count; i++) {
        syncers[i] = (struct syncer){.context = context, .result = CUDA_ERROR_UNKNOWN};
        assert_int_equal(pthread_create(&syncers[i].thread, NULL, sync_main, &syncers[i]), 0);
    }
}

static void test_wait_answers_in_reverse_reach_their_threads(void **state)
{
    struct fake_host host = {.on_record = hold_record};
    struct syncer syncers[THREADS];
    CUcontext context;
    unsigned errors = 0;

    hold_op(CUDA_OP_CONTEXT_SYNC);
    begin(&host, &context);
    start_syncers(syncers, THREADS, context);
    await_held(THREADS);
    for (unsigned i = THREADS; i-- > 0;)
        fake_reply(&host, held.seqs[i], i == 3 ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS);
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(syncers[i].thread, NULL);
        errors += syncers[i].result != CUDA_SUCCESS;
    }
    assert_int_equal(errors, 1);
    end(&host);
}

/* One thread waits for an event that another will record: its submission gets through. */
static void test_wait_does_not_stop_another_submission(void **state)
{
    struct fake_host host = {.on_record = hold_record};
    struct syncer syncer;
    CUcontext context;
    CUevent event;

    hold_op(CUDA_OP_CONTEXT_SYNC);
    begin(&host, &context);
    start_syncers(&syncer, 1, context);
    await_held(1);
    assert_ok(cuEventCreate(&event, 0));
    assert_ok(cuEventRecord(event, NULL));
    assert_ok(cuEventSynchronize(event));
    fake_reply(&host, held.seqs[0], CUDA_SUCCESS);
    pthread_join(syncer.thread, NULL);
    assert_ok(syncer.result);
    end(&host);
}

static void test_process_is_told(void **state)
{
    struct fake_host host = {0};
    CUcontext context;

    begin(&host, &context);
    fake_await_op(&host, CUDA_OP_PROCESS, 1);
    end(&host);
}

static void test_thread_end_is_told_and_its_number_used_again(void **state)
{
    struct fake_host host = {0};
    struct syncer syncer;
    CUcontext context;
    uint32_t first;

    begin(&host, &context);
    start_syncers(&syncer, 1, context);
    pthread_join(syncer.thread, NULL);
    fake_await_op(&host, CUDA_OP_THREAD_EXIT, 1);
    first = fake_last_thread(&host);
    start_syncers(&syncer, 1, context);
    pthread_join(syncer.thread, NULL);
    fake_await_op(&host, CUDA_OP_THREAD_EXIT, 2);
    assert_int_equal(fake_last_thread(&host), first);
    end(&host);
}

static pthread_mutex_t told_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t told_changed = PTHREAD_COND_INITIALIZER;
static char order[16];
static CUresult inside;

static void note_order(const char *what)
{
    pthread_mutex_lock(&told_lock);
    strcat(order, what);
    pthread_cond_signal(&told_changed);
    pthread_mutex_unlock(&told_lock);
}

static void note_a(void *data)
{
    inside = cuCtxSynchronize();
    note_order("a");
}

static void note_b(CUstream stream, CUresult status, void *data)
{
    note_order(status == CUDA_SUCCESS ? "b" : "e");
}

static bool call_back(struct fake_host *host, const struct vgpu_record *record)
{
    const struct cuda_op_host_function *op = (const void *)record;
    struct vgpu_completion completion = {.size_bytes = sizeof(completion),
                                         .kind = VGPU_COMPLETION_CALLBACK};

    if (record->op != CUDA_OP_HOST_FUNCTION)
        return false;
    completion.seq = op->token;
    fake_complete(host, &completion);
    return true;
}

static void test_callback_runs_in_order_without_anyone_waiting(void **state)
{
    struct fake_host host = {.on_record = call_back};
    CUcontext context;

    order[0] = '\0';
    begin(&host, &context);
    assert_ok(cuLaunchHostFunc(NULL, note_a, NULL));
    assert_ok(cuStreamAddCallback(NULL, note_b, NULL, 0));
    pthread_mutex_lock(&told_lock);
    while (strlen(order) < 2)
        pthread_cond_wait(&told_changed, &told_lock);
    pthread_mutex_unlock(&told_lock);
    assert_string_equal(order, "ab");
    fake_await_op(&host, CUDA_OP_HOST_FUNCTION_DONE, 2);
    assert_int_equal(inside, CUDA_ERROR_NOT_PERMITTED);
    assert_int_equal(cuLaunchHostFunc(NULL, NULL, NULL), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuStreamAddCallback(NULL, note_b, NULL, 1), CUDA_ERROR_INVALID_VALUE);
    end(&host);
}

static void test_gone_ends_waits_and_later_calls(void **state)
{
    struct fake_host host = {.on_record = hold_record};
    struct vgpu_failure failure;
    struct syncer syncers[3];
    CUcontext context;
    CUdeviceptr pointer;

    hold_op(CUDA_OP_CONTEXT_SYNC);
    begin(&host, &context);
    start_syncers(syncers, 3, context);
    await_held(3);
    fake_gone(&host, VGPU_KILLED, "killed by the test");
    for (int i = 0; i < 3; i++) {
        pthread_join(syncers[i].thread, NULL);
        assert_int_equal(syncers[i].result, CUDA_ERROR_DEVICE_UNAVAILABLE);
    }
    assert_int_equal(cuMemAlloc_v2(&pointer, 4), CUDA_ERROR_DEVICE_UNAVAILABLE);
    assert_int_equal(vgpu_channel_status(), VGPU_KILLED);
    vgpu_last_error(&failure);
    assert_string_equal(failure.text, "killed by the test");
    end(&host);
}

static bool hold_callback(struct fake_host *host, const struct vgpu_record *record)
{
    return record->op == CUDA_OP_HOST_FUNCTION;
}

static CUresult told = CUDA_SUCCESS;

static void tell_status(CUstream stream, CUresult status, void *data)
{
    pthread_mutex_lock(&told_lock);
    told = status;
    pthread_cond_signal(&told_changed);
    pthread_mutex_unlock(&told_lock);
}

static void test_gone_is_told_to_callbacks(void **state)
{
    struct fake_host host = {.on_record = hold_callback};
    CUcontext context;

    begin(&host, &context);
    assert_ok(cuStreamAddCallback(NULL, tell_status, NULL, 0));
    fake_await_op(&host, CUDA_OP_HOST_FUNCTION, 1);
    fake_gone(&host, VGPU_KILLED, "killed by the test");
    pthread_mutex_lock(&told_lock);
    while (told == CUDA_SUCCESS)
        pthread_cond_wait(&told_changed, &told_lock);
    pthread_mutex_unlock(&told_lock);
    assert_int_equal(told, CUDA_ERROR_DEVICE_UNAVAILABLE);
    end(&host);
}

static void test_resume_after_the_mediator_came_back(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUdeviceptr pointer;

    begin(&host, &context);
    fake_host_vanish(&host);
    /* The ring and the worker are still there. */
    assert_ok(cuMemAlloc_v2(&pointer, 4));
    fake_host_return(&host);
    pthread_mutex_lock(&host.lock);
    while (host.resumes == 0)
        pthread_cond_wait(&host.changed, &host.lock);
    pthread_mutex_unlock(&host.lock);
    assert_ok(cuMemFree_v2(pointer));
    end(&host);
    assert_int_equal(host.closes, 1);
}

static void test_refusal_is_told(void **state)
{
    struct fake_host host = {.refuse_status = VGPU_QUARANTINED};
    struct vgpu_failure failure;

    fake_host_start(&host);
    assert_int_equal(vgpu_connect(host.path, NULL, &failure), VGPU_QUARANTINED);
    assert_false(failure.retryable);
    assert_string_equal(failure.text, "refused by the test");
    host.refuse_status = VGPU_BUSY;
    assert_int_equal(vgpu_connect(host.path, NULL, &failure), VGPU_BUSY);
    assert_true(failure.retryable);
    assert_int_equal(failure.retry_ns, 5);
    fake_host_stop(&host);
}

static void test_fork_child_is_not_initialised(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUdeviceptr pointer;
    int status;
    pid_t child;

    begin(&host, &context);
    child = fork();
    if (child == 0) {
        bool good = cuInit(0) == CUDA_ERROR_NOT_INITIALIZED &&
                    cuMemAlloc_v2(&pointer, 4) == CUDA_ERROR_NOT_INITIALIZED &&
                    cuCtxSynchronize() == CUDA_ERROR_NOT_INITIALIZED &&
                    vgpu_connect(host.path, NULL, NULL) == VGPU_GONE;

        vgpu_disconnect();
        _exit(good ? 0 : 1);
    }
    assert_true(waitpid(child, &status, 0) == child);
    assert_int_equal(status, 0);
    assert_ok(cuMemAlloc_v2(&pointer, 4));
    assert_int_equal(host.closes, 0);
    end(&host);
}

struct launcher {
    pthread_t thread;
    CUcontext context;
    CUfunction function;
};

static void *launch_main(void *argument)
{
    struct launcher *self = argument;

    assert_ok(cuCtxSetCurrent(self->context));
    for (int i = 0; i < 10; i++)
        assert_ok(launch(self->function, 1, 1));
    return NULL;
}

static void test_credit_is_waited_for_by_jobs_alone(void **state)
{
    struct fake_host host = {.credit = 3};
    struct launcher launcher;
    CUevent event;

    begin(&host, &launcher.context);
    launcher.function = load_function();
    assert_int_equal(pthread_create(&launcher.thread, NULL, launch_main, &launcher), 0);
    fake_await_op(&host, CUDA_OP_LAUNCH, 3);
    /* What is no job goes on. */
    assert_ok(cuEventCreate(&event, 0));
    assert_ok(cuEventSynchronize(event));
    assert_int_equal(fake_count_op(&host, CUDA_OP_LAUNCH), 3);
    page_store_u64(&host.page->notice.credit, 10);
    pthread_join(launcher.thread, NULL);
    fake_await_op(&host, CUDA_OP_LAUNCH, 10);
    end(&host);
}

static void test_credit_is_not_waited_for_by_explicit_jobs(void **state)
{
    struct fake_host host = {.credit = 1};
    int32_t one = 1, sum;

    begin(&host, NULL);
    for (int i = 0; i < 3; i++)
        assert_int_equal(vgpu_job_vector_add(&one, &one, &sum, 1, NULL), VGPU_OK);
    end(&host);
}

static bool refuse_job(struct fake_host *host, const struct vgpu_record *record)
{
    struct vgpu_completion completion = {
        .size_bytes = sizeof(completion),
        .kind = VGPU_COMPLETION_REPLY,
        .status = VGPU_BUSY,
        .seq = record->seq,
        .result = CUDA_ERROR_SYSTEM_NOT_READY,
        .wait_ns = 77,
    };

    if (record->op != CUDA_OP_JOB_VECTOR_ADD)
        return false;
    assert_true(record->flags & VGPU_RECORD_EXPLICIT);
    fake_complete(host, &completion);
    return true;
}

static void test_explicit_job_over_a_limit_is_busy(void **state)
{
    struct fake_host host = {.on_record = refuse_job};
    struct vgpu_failure failure;
    int32_t one = 1, sum;

    begin(&host, NULL);
    assert_int_equal(vgpu_job_vector_add(&one, &one, &sum, 1, &failure), VGPU_BUSY);
    assert_true(failure.retryable);
    assert_int_equal(failure.retry_ns, 77);
    end(&host);
}

static void fill_bytes(uint8_t *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        data[i] = (uint8_t)(i * 31 + i / 251);
}

/* Much more than the data area holds, in both directions, rings that wrap often. */
static void test_staging_pipelines_through_a_small_area(void **state)
{
    struct fake_host host = {.data_bytes = 64 << 10, .sub_granules = 64, .comp_granules = 64};
    static uint8_t data[3000001], back[3000001];
    CUcontext context;
    CUdeviceptr pointer;

    fill_bytes(data, sizeof(data));
    begin(&host, &context);
    assert_ok(cuMemAlloc_v2(&pointer, sizeof(data)));
    assert_ok(cuMemcpyHtoD_v2(pointer, data, sizeof(data)));
    assert_ok(cuMemcpyDtoH_v2(back, pointer, sizeof(back)));
    assert_memory_equal(data, back, sizeof(data));
    end(&host);
}

static void test_staging_strided_copies(void **state)
{
    struct fake_host host = {.data_bytes = 64 << 10};
    static uint8_t data[64 * 1000], back[64 * 1000];
    CUcontext context;
    CUdeviceptr pointer;
    CUDA_MEMCPY3D up = {
        .srcMemoryType = CU_MEMORYTYPE_HOST,
        .srcHost = data,
        .srcPitch = 1000,
        .srcHeight = 8,
        .srcXInBytes = 10,
        .srcY = 1,
        .dstMemoryType = CU_MEMORYTYPE_DEVICE,
        .dstPitch = 1024,
        .dstHeight = 8,
        .WidthInBytes = 900,
        .Height = 7,
        .Depth = 8,
    };
    CUDA_MEMCPY3D down = {
        .srcMemoryType = CU_MEMORYTYPE_UNIFIED,
        .srcPitch = 1024,
        .srcHeight = 8,
        .dstMemoryType = CU_MEMORYTYPE_HOST,
        .dstHost = back,
        .dstPitch = 1000,
        .dstHeight = 8,
        .dstXInBytes = 10,
        .dstY = 1,
        .WidthInBytes = 900,
        .Height = 7,
        .Depth = 8,
    };

    fill_bytes(data, sizeof(data));
    begin(&host, &context);
    assert_ok(cuMemAlloc_v2(&pointer, 64 * 1024));
    up.dstDevice = down.srcDevice = pointer;
    assert_ok(cuMemcpy3D_v2(&up));
    assert_ok(cuMemcpy3D_v2(&down));
    for (int z = 0; z < 8; z++)
        for (int y = 0; y < 8; y++)
            for (int x = 0; x < 1000; x++) {
                int i = (z * 8 + y) * 1000 + x;
                bool inside_box = y >= 1 && x >= 10 && x < 910;

                assert_int_equal(back[i], inside_box ? data[i] : 0);
            }
    up.srcPitch = 909;
    assert_int_equal(cuMemcpy3D_v2(&up), CUDA_ERROR_INVALID_VALUE);
    up.srcPitch = 1000;
    up.Depth = 9;
    assert_int_equal(cuMemcpy3D_v2(&up), CUDA_ERROR_INVALID_VALUE);
    end(&host);
}

static void test_copy_direction_is_inferred(void **state)
{
    struct fake_host host = {0};
    uint32_t value = 5, back = 0;
    CUcontext context;
    CUdeviceptr pointer;
    uint32_t *pinned;

    begin(&host, &context);
    assert_ok(cuMemAlloc_v2(&pointer, 8));
    assert_ok(cuMemHostAlloc((void **)&pinned, 4, 0));
    assert_ok(cuMemcpy(pointer, (CUdeviceptr)(uintptr_t)&value, 4));
    assert_ok(cuMemcpy(pointer + 4, pointer, 4));
    assert_ok(cuMemcpy((CUdeviceptr)(uintptr_t)pinned, pointer + 4, 4));
    assert_ok(cuMemcpy((CUdeviceptr)(uintptr_t)&back, (CUdeviceptr)(uintptr_t)pinned, 4));
    assert_int_equal(back, 5);
    assert_ok(cuMemcpy(pointer, pointer, 0));
    end(&host);
}

/* What fits into a record needs neither the data area nor an answer; one byte more does. */
static void test_small_uploads_travel_in_the_record(void **state)
{
    struct fake_host host = {0};
    uint8_t data[1009], back[1009];
    CUcontext context;
    CUdeviceptr pointer;

    fill_bytes(data, sizeof(data));
    begin(&host, &context);
    assert_ok(cuMemAlloc_v2(&pointer, sizeof(data)));
    assert_ok(cuMemcpyHtoD_v2(pointer + 1, data, 1008));
    data[3]++; /* it was read */
    assert_ok(cuMemcpyDtoH_v2(back, pointer + 1, 1008));
    data[3]--;
    assert_memory_equal(data, back, 1008);
    assert_int_equal(fake_count_op(&host, CUDA_OP_UPLOAD), 1);
    assert_ok(cuMemcpyHtoD_v2(pointer, data, 1009));
    assert_ok(cuMemcpyDtoH_v2(back, pointer, 1009));
    assert_memory_equal(data, back, 1009);
    assert_int_equal(fake_count_op(&host, CUDA_OP_UPLOAD), 1);
    end(&host);
}

/* Large copies of odd places and sizes, with as many threads as there are processors for. */
static void test_staging_of_large_copies(void **state)
{
    const size_t room = 7u << 20;
    struct fake_host host = {.data_bytes = 32u << 20};
    _cleanup_free_ uint8_t *data = malloc(room);
    _cleanup_free_ uint8_t *back = calloc(1, room + 1);
    CUcontext context;
    CUdeviceptr pointer;

    fill_bytes(data, room);
    begin(&host, &context);
    assert_ok(cuMemAlloc_v2(&pointer, room));
    for (size_t i = 0; i < 8; i++) {
        size_t skip = i * 13 + i % 3;
        size_t bytes = room - skip - i * 700001;

        memset(back, 0, room + 1);
        assert_ok(cuMemcpyHtoD_v2(pointer + i, data + skip, bytes));
        assert_ok(cuMemcpyDtoH_v2(back + skip, pointer + i, bytes));
        assert_memory_equal(data + skip, back + skip, bytes);
        assert_int_equal(back[skip + bytes], 0);
    }
    end(&host);
}

/* Several threads, each with more to copy than the staging holds: none waits for ever. */
static void *copy_much(void *argument)
{
    CUdeviceptr pointer = *(CUdeviceptr *)argument;
    static const size_t bytes = 300001;
    _cleanup_free_ uint8_t *data = malloc(bytes);
    _cleanup_free_ uint8_t *back = malloc(bytes);
    CUcontext context;

    if (cuDevicePrimaryCtxRetain(&context, 0) || cuCtxSetCurrent(context))
        return NULL;
    for (size_t round = 0; round < 4; round++) {
        fill_bytes(data, bytes);
        data[0] = (uint8_t)(pointer >> 16) + (uint8_t)round;
        if (cuMemcpyHtoD_v2(pointer, data, bytes) || cuMemcpyDtoH_v2(back, pointer, bytes) ||
            memcmp(data, back, bytes) != 0)
            return NULL;
    }
    return argument;
}

static void test_staging_shared_by_threads(void **state)
{
    struct fake_host host = {.data_bytes = 64 << 10};
    pthread_t threads[6];
    CUdeviceptr pointers[6];
    CUcontext context;

    begin(&host, NULL);
    assert_ok(cuDevicePrimaryCtxRetain(&context, 0));
    assert_ok(cuCtxSetCurrent(context));
    for (size_t i = 0; i < 6; i++) {
        assert_ok(cuMemAlloc_v2(&pointers[i], 300001));
        assert_int_equal(pthread_create(&threads[i], NULL, copy_much, &pointers[i]), 0);
    }
    for (size_t i = 0; i < 6; i++) {
        void *ended;

        pthread_join(threads[i], &ended);
        assert_ptr_equal(ended, &pointers[i]);
    }
    end(&host);
}

static bool fail_upload(struct fake_host *host, const struct vgpu_record *record)
{
    if (record->op != CUDA_OP_COPY)
        return false;
    fake_reply(host, record->seq, CUDA_ERROR_ILLEGAL_ADDRESS);
    return true;
}

static void test_late_error_of_an_upload_is_told_once(void **state)
{
    struct fake_host host = {.on_record = fail_upload};
    CUcontext context;
    CUdeviceptr pointer;
    uint8_t bytes[4096] = {0};

    begin(&host, &context);
    assert_ok(cuMemAlloc_v2(&pointer, sizeof(bytes)));
    assert_ok(cuMemcpyHtoD_v2(pointer, bytes, sizeof(bytes)));
    assert_int_equal(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_ok(cuCtxSynchronize());
    end(&host);
}

static void test_poison_is_told_at_once(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUdeviceptr pointer;

    begin(&host, &context);
    page_store_u32(&host.page->notice.poisoned, CUDA_ERROR_ILLEGAL_ADDRESS);
    fake_settle(&host);
    assert_int_equal(cuMemAlloc_v2(&pointer, 4), CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_ok(cuCtxDestroy_v2(context));
    end(&host);
}

static bool print_first(struct fake_host *host, const struct vgpu_record *record)
{
    struct {
        struct vgpu_completion head;
        char text[8];
    } print = {.head = {.size_bytes = sizeof(print), .kind = VGPU_COMPLETION_PRINT},
               .text = "hello\n"};

    if (record->op == CUDA_OP_CONTEXT_SYNC)
        fake_complete(host, &print.head);
    return false;
}

/* The text, and only then the word that the context is broken. */
static bool assert_first(struct fake_host *host, const struct vgpu_record *record)
{
    struct {
        struct vgpu_completion head;
        char text[8];
    } print = {.head = {.size_bytes = sizeof(print), .kind = VGPU_COMPLETION_PRINT_ERROR},
               .text = "failed\n"};

    if (record->op != CUDA_OP_LAUNCH)
        return false;
    fake_complete(host, &print.head);
    page_store_u32(&host->page->notice.poisoned, CUDA_ERROR_ASSERT);
    return true;
}

static void test_assertion_is_on_standard_error_when_it_is_known(void **state)
{
    struct fake_host host = {.on_record = assert_first};
    char text[16] = "";
    CUcontext context;
    CUfunction function;
    int saved, pipes[2];

    begin(&host, &context);
    function = load_function();
    assert_int_equal(pipe(pipes), 0);
    saved = dup(STDERR_FILENO);
    dup2(pipes[1], STDERR_FILENO);
    assert_ok(launch(function, 1, 1));
    fake_await_op(&host, CUDA_OP_LAUNCH, 1);
    while (cuCtxSynchronize() != CUDA_ERROR_ASSERT)
        continue;
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(pipes[1]);
    assert_int_equal(read(pipes[0], text, sizeof(text)), 7);
    assert_memory_equal(text, "failed\n", 7);
    close(pipes[0]);
    end(&host);
}

static void test_print_reaches_standard_output(void **state)
{
    struct fake_host host = {.on_record = print_first};
    char text[16] = "";
    CUcontext context;
    int saved, pipes[2];

    begin(&host, &context);
    assert_int_equal(pipe(pipes), 0);
    fflush(stdout);
    saved = dup(STDOUT_FILENO);
    dup2(pipes[1], STDOUT_FILENO);
    assert_ok(cuCtxSynchronize());
    dup2(saved, STDOUT_FILENO);
    assert_int_equal(read(pipes[0], text, sizeof(text)), 6);
    assert_string_equal(text, "hello\n");
    close(saved);
    close(pipes[0]);
    close(pipes[1]);
    end(&host);
}

static bool malformed(struct fake_host *host, const struct vgpu_record *record)
{
    if (record->op != CUDA_OP_CONTEXT_SYNC)
        return false;
    /* A head index far beyond the ring, and a kick for a guest that sleeps. */
    page_store_u32(&host->page->completion.producer.head, 0x40000000);
    fake_kick(host);
    return true;
}

static void test_hostile_worker_ends_the_channel(void **state)
{
    struct fake_host host = {.on_record = malformed};
    struct vgpu_failure failure;
    CUcontext context;

    begin(&host, &context);
    assert_int_equal(cuCtxSynchronize(), CUDA_ERROR_UNKNOWN);
    vgpu_last_error(&failure);
    /* Whoever reads the ring finds it: the library, or the device. */
    assert_int_equal(failure.status, fake_mirrored ? VGPU_BAD_RECORD : VGPU_INTERNAL);
    end(&host);
}

static bool tell_written_first(struct fake_host *host, const struct vgpu_record *record)
{
    struct vgpu_completion written = {.size_bytes = sizeof(written),
                                      .kind = VGPU_COMPLETION_WRITTEN};

    if (record->op == CUDA_OP_CONTEXT_SYNC)
        fake_complete(host, &written);
    return false;
}

static void test_written_means_nothing_where_memory_is_shared(void **state)
{
    struct fake_host host = {.on_record = tell_written_first};
    CUcontext context;

    begin(&host, &context);
    assert_ok(cuCtxSynchronize());
    end(&host);
}

/* What the worker has told of its stages is scaled by its samples; a mirror has none of it. */
static void test_stages_are_a_line_of_json(void **state)
{
    struct fake_host host = {0};
    char text[STAGES_TEXT_BYTES];
    CUcontext context;
    size_t length;

    begin(&host, &context);
    for (unsigned i = 0; i < 2 * STAGES_SAMPLE; i++)
        assert_ok(cuCtxSynchronize());
    assert_true(guest_sender()->stages.timed >= 2);
    assert_true(guest_sender()->stages.records > 2 * STAGES_SAMPLE);
    host.page->stages = (struct vgpu_channel_stages){.records = 100,
                                                     .granules = 200,
                                                     .ring_granule_ns = 5000,
                                                     .samples = 4,
                                                     .check_ns = 90,
                                                     .marks = 50,
                                                     .marks_timed = 5,
                                                     .mark_ns = 4000,
                                                     .sleep_ns = 12345};
    length = stages_text(guest_sender(), text);
    assert_int_equal(length, strlen(text));
    assert_int_equal(text[length - 1], '\n');
    assert_non_null(strstr(text, "\"room\": 0.0, "));
    if (!fake_mirrored) {
        assert_non_null(strstr(text, "\"ring\": 25.0, "));
        assert_non_null(strstr(text, "\"check\": 22.5, "));
        assert_non_null(strstr(text, "\"mark\": 400.0, "));
        assert_non_null(strstr(text, "\"sleep\": 123.5}"));
    } else {
        assert_non_null(strstr(text, "\"sleep\": 0.0}"));
    }
    end(&host);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest both[] = {
        cmocka_unit_test(test_wait_answers_in_reverse_reach_their_threads),
        cmocka_unit_test(test_wait_does_not_stop_another_submission),
        cmocka_unit_test(test_process_is_told),
        cmocka_unit_test(test_thread_end_is_told_and_its_number_used_again),
        cmocka_unit_test(test_callback_runs_in_order_without_anyone_waiting),
        cmocka_unit_test(test_gone_ends_waits_and_later_calls),
        cmocka_unit_test(test_gone_is_told_to_callbacks),
        cmocka_unit_test(test_refusal_is_told),
        cmocka_unit_test(test_fork_child_is_not_initialised),
        cmocka_unit_test(test_credit_is_waited_for_by_jobs_alone),
        cmocka_unit_test(test_credit_is_not_waited_for_by_explicit_jobs),
        cmocka_unit_test(test_explicit_job_over_a_limit_is_busy),
        cmocka_unit_test(test_staging_pipelines_through_a_small_area),
        cmocka_unit_test(test_staging_strided_copies),
        cmocka_unit_test(test_small_uploads_travel_in_the_record),
        cmocka_unit_test(test_staging_of_large_copies),
        cmocka_unit_test(test_staging_shared_by_threads),
        cmocka_unit_test(test_copy_direction_is_inferred),
        cmocka_unit_test(test_late_error_of_an_upload_is_told_once),
        cmocka_unit_test(test_poison_is_told_at_once),
        cmocka_unit_test(test_assertion_is_on_standard_error_when_it_is_known),
        cmocka_unit_test(test_print_reaches_standard_output),
        cmocka_unit_test(test_hostile_worker_ends_the_channel),
        cmocka_unit_test(test_stages_are_a_line_of_json),
    };
    const struct CMUnitTest local[] = {
        cmocka_unit_test(test_resume_after_the_mediator_came_back),
        cmocka_unit_test(test_written_means_nothing_where_memory_is_shared),
    };

    return run_both(argc, argv, both, VGPU_ARRAY_SIZE(both), local, VGPU_ARRAY_SIZE(local));
}
