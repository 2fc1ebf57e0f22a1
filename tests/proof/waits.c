/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Patterns that deadlock where a call that waits holds up others: each ends, or misses its
 * deadline. A gate is a host function that waits until a thread of the program opens it; CUDA lets
 * host functions block on other threads as long as they make no CUDA calls.
 */
#include <string.h>

#include "tests/proof/proof.h"

#define DEADLINE_S 30
#define WORDS      16

struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool entered, open;
};

struct fixture {
    struct proof *proof;
    CUmodule module;
    CUfunction step;
    CUdeviceptr words;      /* WORDS, all 0 */
    CUstream first, second; /* non-blocking */
    CUevent event;
    struct gate gate;
};

static void open_fixture(struct fixture *f, struct proof *proof)
{
    memset(f, 0, sizeof(*f));
    f->proof = proof;
    pthread_mutex_init(&f->gate.lock, NULL);
    pthread_cond_init(&f->gate.changed, NULL);
    f->step = proof_step_kernel(proof, &f->module);
    OK(proof, cuMemAlloc(&f->words, WORDS * 4));
    OK(proof, cuMemsetD32(f->words, 0, WORDS));
    OK(proof, cuStreamCreate(&f->first, CU_STREAM_NON_BLOCKING));
    OK(proof, cuStreamCreate(&f->second, CU_STREAM_NON_BLOCKING));
    OK(proof, cuEventCreate(&f->event, CU_EVENT_DISABLE_TIMING));
    OK(proof, cuCtxSynchronize());
}

static void close_fixture(struct fixture *f)
{
    struct proof *proof = f->proof;

    OK(proof, cuCtxSynchronize());
    OK(proof, cuEventDestroy(f->event));
    OK(proof, cuStreamDestroy(f->second));
    OK(proof, cuStreamDestroy(f->first));
    OK(proof, cuMemFree(f->words));
    OK(proof, cuModuleUnload(f->module));
}

static void wait_at(void *argument)
{
    struct gate *gate = argument;

    pthread_mutex_lock(&gate->lock);
    gate->entered = true;
    pthread_cond_broadcast(&gate->changed);
    while (!gate->open)
        pthread_cond_wait(&gate->changed, &gate->lock);
    pthread_mutex_unlock(&gate->lock);
}

static void open_gate(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    gate->open = true;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
}

static void close_gate(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    gate->open = gate->entered = false;
    pthread_mutex_unlock(&gate->lock);
}

static void await_entered(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    while (!gate->entered)
        pthread_cond_wait(&gate->changed, &gate->lock);
    pthread_mutex_unlock(&gate->lock);
}

/* words[to] = 31 * words[to] + words[from] + digit */
static void step(struct fixture *f, uint32_t to, uint32_t from, uint32_t digit, CUstream stream)
{
    void *args[] = {&f->words, &to, &from, &digit};

    OK(f->proof, cuLaunchKernel(f->step, 1, 1, 1, 1, 1, 1, 0, stream, args, NULL));
}

/* Read by a stream that is held up by nothing; call it when the word has been computed. */
static uint32_t word(struct fixture *f, uint32_t index)
{
    uint32_t value = 0xdead;

    OK(f->proof, cuMemcpyDtoHAsync(&value, f->words + index * 4, 4, f->second));
    OK(f->proof, cuStreamSynchronize(f->second));
    return value;
}

/* A thread that makes one call, and notes that it has come back. */
struct waiter {
    struct fixture *fixture;
    void (*call)(struct fixture *f);
    pthread_t thread;
    uint32_t about, done;
};

static void *waiter_run(void *argument)
{
    struct waiter *waiter = argument;
    struct fixture *f = waiter->fixture;

    OK(f->proof, cuCtxSetCurrent(f->proof->context));
    __atomic_store_n(&waiter->about, 1, __ATOMIC_RELEASE);
    waiter->call(f);
    __atomic_store_n(&waiter->done, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void waiter_start(struct waiter *waiter, struct fixture *f, void (*call)(struct fixture *))
{
    *waiter = (struct waiter){.fixture = f, .call = call};
    CHECK(pthread_create(&waiter->thread, NULL, waiter_run, waiter) == 0);
    while (!__atomic_load_n(&waiter->about, __ATOMIC_ACQUIRE))
        sched_yield();
}

static bool waiter_done(struct waiter *waiter)
{
    return __atomic_load_n(&waiter->done, __ATOMIC_ACQUIRE);
}

static void wait_event(struct fixture *f)
{
    OK(f->proof, cuEventSynchronize(f->event));
}

static void wait_first(struct fixture *f)
{
    OK(f->proof, cuStreamSynchronize(f->first));
}

static void wait_context(struct fixture *f)
{
    OK(f->proof, cuCtxSynchronize());
}

/* Work of the second stream: posted, waited for in each way, read back. */
static void work_in_second(struct fixture *f, unsigned times, uint32_t *model)
{
    CUevent event;

    OK(f->proof, cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
    for (unsigned i = 0; i < times; i++) {
        step(f, 1, 1, i, f->second);
        *model = *model * 32 + i;
        OK(f->proof, cuEventRecord(event, f->second));
        if (i % 3 == 0)
            OK(f->proof, cuEventSynchronize(event));
        else if (i % 3 == 1)
            OK(f->proof, cuStreamSynchronize(f->second));
        CHECK(i % 3 == 2 || word(f, 1) == *model);
    }
    CHECK(word(f, 1) == *model);
    OK(f->proof, cuEventDestroy(event));
}

/*
 * Thread A waits for an event whose record stands behind a gate. B goes on meanwhile, launches,
 * copies, waits for its own, and then lets the record happen.
 */
static void event_of_another_thread(struct proof *proof)
{
    struct fixture f;
    struct waiter a;
    uint32_t model = 0;

    open_fixture(&f, proof);
    for (unsigned round = 0; round < 20; round++) {
        close_gate(&f.gate);
        OK(proof, cuLaunchHostFunc(f.first, wait_at, &f.gate));
        step(&f, 0, 0, round, f.first);
        OK(proof, cuEventRecord(f.event, f.first));
        waiter_start(&a, &f, wait_event);
        work_in_second(&f, 12, &model);
        CHECK(!waiter_done(&a));
        CHECK(proof->cu->cuEventQuery(f.event) == CUDA_ERROR_NOT_READY);
        open_gate(&f.gate);
        pthread_join(a.thread, NULL);
        OK(proof, cuEventQuery(f.event));
    }
    close_fixture(&f);
}

/* A's stream waits for an event; only after A waits for that stream does B record and work. */
static void record_behind_a_wait(struct proof *proof)
{
    struct fixture f;
    struct waiter a;
    uint32_t from = 0, to = 0;

    open_fixture(&f, proof);
    for (uint32_t round = 0; round < 50; round++) {
        close_gate(&f.gate);
        OK(proof, cuLaunchHostFunc(f.second, wait_at, &f.gate));
        step(&f, 2, 2, round, f.second);
        from = from * 32 + round;
        to = to * 31 + from + 1;
        OK(proof, cuEventRecord(f.event, f.second));
        OK(proof, cuStreamWaitEvent(f.first, f.event, 0));
        step(&f, 3, 2, 1, f.first);
        waiter_start(&a, &f, wait_first);
        step(&f, 4, 4, 5, f.second); /* behind the record: not waited for */
        open_gate(&f.gate);
        pthread_join(a.thread, NULL);
    }
    CHECK(word(&f, 3) == to);
    close_fixture(&f);
}

static void finish_second_then_open(struct fixture *f)
{
    uint32_t model = 0;

    work_in_second(f, 9, &model);
    open_gate(&f->gate);
}

static void host_function_waits_for_stream(struct proof *proof)
{
    struct fixture f;
    struct waiter b;

    for (unsigned round = 0; round < 10; round++) {
        open_fixture(&f, proof);
        OK(proof, cuLaunchHostFunc(f.first, wait_at, &f.gate));
        step(&f, 0, 0, 7, f.first);
        waiter_start(&b, &f, finish_second_then_open);
        OK(proof, cuStreamSynchronize(f.first));
        pthread_join(b.thread, NULL);
        CHECK(word(&f, 0) == 7);
        close_fixture(&f);
    }
}

struct polled {
    uint32_t *word; /* page-locked */
    uint32_t want;
};

static void poll_word(void *argument)
{
    struct polled *polled = argument;

    while (__atomic_load_n(polled->word, __ATOMIC_ACQUIRE) != polled->want)
        sched_yield();
}

/* The host function sees with its own eyes what another stream's copy brings. */
static void host_function_polls_memory(struct proof *proof)
{
    struct fixture f;
    void *memory;
    struct polled polled;

    open_fixture(&f, proof);
    OK(proof, cuMemHostAlloc(&memory, 4096, 0));
    polled.word = memory;
    *polled.word = 0;
    for (uint32_t round = 1; round <= 20; round++) {
        polled.want = 1000 + round;
        OK(proof, cuLaunchHostFunc(f.first, poll_word, &polled));
        step(&f, 0, 0, round, f.first);
        OK(proof, cuMemsetD32Async(f.words + 4, polled.want, 1, f.second));
        OK(proof, cuMemcpyDtoHAsync(memory, f.words + 4, 4, f.second));
        OK(proof, cuStreamSynchronize(f.first));
    }
    OK(proof, cuMemFreeHost(memory));
    close_fixture(&f);
}

/* The host function takes a lock that the program holds while it waits for another stream. */
static void take_lock(void *argument)
{
    pthread_mutex_t *lock = argument;

    pthread_mutex_lock(lock);
    pthread_mutex_unlock(lock);
}

static void host_function_takes_a_lock(struct proof *proof)
{
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    struct fixture f;
    uint32_t model = 0;

    open_fixture(&f, proof);
    for (unsigned round = 0; round < 20; round++) {
        pthread_mutex_lock(&lock);
        OK(proof, cuLaunchHostFunc(f.first, take_lock, &lock));
        step(&f, 0, 0, 1, f.first);
        work_in_second(&f, 6, &model);
        CHECK(proof->cu->cuStreamQuery(f.first) == CUDA_ERROR_NOT_READY);
        pthread_mutex_unlock(&lock);
        OK(proof, cuStreamSynchronize(f.first));
    }
    close_fixture(&f);
}

/* Every call that waits, in a thread each, beside each other; the gate holds them all. */
static void blocking_calls_beside(struct proof *proof)
{
    static void (*const calls[])(struct fixture *) = {wait_event, wait_first, wait_context,
                                                      wait_first, wait_event};
    struct waiter waiters[VGPU_ARRAY_SIZE(calls)];
    struct fixture f;
    uint32_t model = 0;

    open_fixture(&f, proof);
    for (unsigned round = 0; round < 10; round++) {
        close_gate(&f.gate);
        OK(proof, cuLaunchHostFunc(f.first, wait_at, &f.gate));
        step(&f, 0, 0, 1, f.first);
        OK(proof, cuEventRecord(f.event, f.first));
        for (size_t i = 0; i < VGPU_ARRAY_SIZE(calls); i++)
            waiter_start(&waiters[i], &f, calls[i]);
        work_in_second(&f, 12, &model);
        for (size_t i = 0; i < VGPU_ARRAY_SIZE(calls); i++)
            CHECK(!waiter_done(&waiters[i]));
        open_gate(&f.gate);
        for (size_t i = 0; i < VGPU_ARRAY_SIZE(calls); i++)
            pthread_join(waiters[i].thread, NULL);
    }
    close_fixture(&f);
}

static void allocate_and_free(struct fixture *f)
{
    for (unsigned i = 0; i < 40; i++) {
        CUdeviceptr memory;

        OK(f->proof, cuMemAlloc(&memory, 4096u << i % 8));
        OK(f->proof, cuMemFree(memory));
    }
}

static void load_and_unload(struct fixture *f)
{
    for (unsigned i = 0; i < 10; i++) {
        CUmodule module;

        proof_step_kernel(f->proof, &module);
        OK(f->proof, cuModuleUnload(module));
    }
}

static void make_and_destroy(struct fixture *f)
{
    for (unsigned i = 0; i < 40; i++) {
        CUstream stream;
        CUevent event;

        OK(f->proof, cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
        OK(f->proof, cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
        step(f, 4, 4, i, stream);
        OK(f->proof, cuEventRecord(event, stream));
        OK(f->proof, cuStreamDestroy(stream)); /* its work goes on */
        OK(f->proof, cuEventSynchronize(event));
        OK(f->proof, cuEventDestroy(event));
    }
}

static void pin_and_unpin(struct fixture *f)
{
    for (unsigned i = 0; i < 20; i++) {
        void *memory;

        OK(f->proof, cuMemHostAlloc(&memory, 4096u << i % 6, 0));
        OK(f->proof, cuMemFreeHost(memory));
    }
}

static void launch_and_wait(struct fixture *f)
{
    for (unsigned i = 0; i < 200; i++) {
        step(f, 5, 5, i, f->second);
        OK(f->proof, cuStreamSynchronize(f->second));
    }
}

/* Calls that wait inside the driver, while others submit and wait: nothing is gated here. */
static void freeing_beside(struct proof *proof)
{
    static void (*const calls[])(struct fixture *) = {
        allocate_and_free, load_and_unload, make_and_destroy, pin_and_unpin, launch_and_wait};
    struct waiter waiters[VGPU_ARRAY_SIZE(calls)];
    struct fixture f;
    uint32_t model = 0;

    open_fixture(&f, proof);
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(calls); i++)
        waiter_start(&waiters[i], &f, calls[i]);
    for (unsigned i = 0; i < 500; i++) {
        step(&f, 0, 0, i, f.first);
        model = model * 32 + i;
    }
    OK(proof, cuStreamSynchronize(f.first));
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(calls); i++)
        pthread_join(waiters[i].thread, NULL);
    CHECK(word(&f, 0) == model);
    close_fixture(&f);
}

/* A free waits for a stream that is behind the gate, which another thread opens after more work. */
static void free_behind_a_gate(struct proof *proof)
{
    struct fixture f;
    struct waiter a;

    open_fixture(&f, proof);
    for (unsigned round = 0; round < 10; round++) {
        close_gate(&f.gate);
        OK(proof, cuLaunchHostFunc(f.first, wait_at, &f.gate));
        step(&f, 0, 0, 1, f.first);
        await_entered(&f.gate);
        waiter_start(&a, &f, allocate_and_free);
        open_gate(&f.gate);
        pthread_join(a.thread, NULL);
    }
    close_fixture(&f);
}

/* A synchronous copy that must wait for the gate, and a thread that does not. */
static void copy_from_gated(struct fixture *f)
{
    uint32_t value = 0;

    OK(f->proof, cuMemcpyDtoHAsync(&value, f->words, 4, f->first));
    OK(f->proof, cuStreamSynchronize(f->first));
    CHECK(value != 0);
}

static void copies_behind_a_gate(struct proof *proof)
{
    struct fixture f;
    struct waiter a;

    open_fixture(&f, proof);
    for (unsigned round = 0; round < 10; round++) {
        close_gate(&f.gate);
        OK(proof, cuLaunchHostFunc(f.first, wait_at, &f.gate));
        step(&f, 0, 0, 1, f.first);
        waiter_start(&a, &f, copy_from_gated);
        /* Launches only: whether a copy gets past one that waits in the driver is the driver's. */
        for (unsigned i = 0; i < 20; i++)
            step(&f, 1, 1, i, f.second);
        OK(proof, cuStreamSynchronize(f.second));
        CHECK(!waiter_done(&a));
        open_gate(&f.gate);
        pthread_join(a.thread, NULL);
    }
    close_fixture(&f);
}

/* Each kind of work that a stream takes; words 0 to 5 show what has been done. */
static void post_each_kind(struct fixture *f)
{
    uint32_t small = 101, *pinned;
    void *memory;

    OK(f->proof, cuMemHostAlloc(&memory, 4096, 0));
    pinned = memory;
    *pinned = 102;
    OK(f->proof, cuMemcpyHtoDAsync(f->words, &small, 4, f->first));
    small = 0; /* it was the program's again when the call had returned */
    OK(f->proof, cuMemcpyHtoDAsync(f->words + 4, pinned, 4, f->first));
    OK(f->proof, cuMemsetD32Async(f->words + 8, 103, 1, f->first));
    OK(f->proof, cuMemcpyDtoDAsync(f->words + 12, f->words, 4, f->first));
    step(f, 4, 0, 3, f->first);
    OK(f->proof, cuMemcpyDtoHAsync(pinned + 1, f->words + 16, 4, f->first));
    OK(f->proof, cuMemcpyHtoDAsync(f->words + 20, pinned + 1, 4, f->first));
    OK(f->proof, cuEventRecord(f->event, f->first));
    OK(f->proof, cuEventSynchronize(f->event));
    CHECK(pinned[1] == 104);
    OK(f->proof, cuMemFreeHost(memory));
}

/* Nothing of what stands behind a gate is done before it opens, whatever kind of work it is. */
static void each_kind_behind_a_gate(struct proof *proof)
{
    static const uint32_t want[] = {101, 102, 103, 101, 104, 104};
    struct fixture f;
    struct waiter a;

    for (unsigned round = 0; round < 10; round++) {
        uint64_t until;

        open_fixture(&f, proof);
        OK(proof, cuLaunchHostFunc(f.first, wait_at, &f.gate));
        waiter_start(&a, &f, post_each_kind);
        /* No call says that all of it has been posted; a wrong one would be done by then. */
        for (until = proof_now_ns() + 20u * 1000 * 1000; proof_now_ns() < until;)
            for (uint32_t i = 0; i < 6; i++)
                CHECK(word(&f, i) == 0);
        CHECK(!waiter_done(&a));
        open_gate(&f.gate);
        pthread_join(a.thread, NULL);
        for (uint32_t i = 0; i < 6; i++)
            CHECK(word(&f, i) == want[i]);
        close_fixture(&f);
    }
}

#define FLOOD 30000 /* more than rings and credit hold, ours or a driver's */

struct flood {
    struct fixture *fixture;
    uint32_t issued, model;
};

static void *flood_first(void *argument)
{
    struct flood *flood = argument;
    struct fixture *f = flood->fixture;

    OK(f->proof, cuCtxSetCurrent(f->proof->context));
    for (uint32_t i = 0; i < FLOOD; i++) {
        step(f, 0, 0, i, f->first);
        flood->model = flood->model * 32 + i;
        __atomic_store_n(&flood->issued, i + 1, __ATOMIC_RELEASE);
    }
    return NULL;
}

/* Behind a gate everything fills up and the thread that posts is made to wait; nothing is lost. */
static void full_ring_behind_a_gate(struct proof *proof)
{
    struct fixture f;
    struct flood flood = {.fixture = &f};
    pthread_t thread;
    uint32_t last = 0;
    uint64_t moved = proof_now_ns();

    open_fixture(&f, proof);
    OK(proof, cuLaunchHostFunc(f.first, wait_at, &f.gate));
    CHECK(pthread_create(&thread, NULL, flood_first, &flood) == 0);
    /* Full is what no longer moves: no call says so. */
    while (last < FLOOD && proof_now_ns() - moved < 300u * 1000 * 1000) {
        uint32_t issued = __atomic_load_n(&flood.issued, __ATOMIC_ACQUIRE);

        if (issued != last) {
            last = issued;
            moved = proof_now_ns();
        }
        sched_yield();
    }
    printf("  %u of %u launches were taken behind the gate\n", last, FLOOD);
    open_gate(&f.gate);
    pthread_join(thread, NULL);
    OK(proof, cuStreamSynchronize(f.first));
    CHECK(word(&f, 0) == flood.model);
    close_fixture(&f);
}

/* One thread keeps the ring full, others wait again and again. */
static void full_ring_and_waits(struct proof *proof)
{
    static void (*const calls[])(struct fixture *) = {launch_and_wait, make_and_destroy,
                                                      allocate_and_free};
    struct waiter waiters[VGPU_ARRAY_SIZE(calls)];
    struct fixture f;
    struct flood flood = {.fixture = &f};
    pthread_t thread;

    open_fixture(&f, proof);
    CHECK(pthread_create(&thread, NULL, flood_first, &flood) == 0);
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(calls); i++)
        waiter_start(&waiters[i], &f, calls[i]);
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(calls); i++)
        pthread_join(waiters[i].thread, NULL);
    pthread_join(thread, NULL);
    OK(proof, cuStreamSynchronize(f.first));
    CHECK(word(&f, 0) == flood.model);
    close_fixture(&f);
}

/* The legacy stream does not wait for non-blocking streams, and they not for it. */
static void default_stream_beside_a_gate(struct proof *proof)
{
    struct fixture f;

    open_fixture(&f, proof);
    OK(proof, cuLaunchHostFunc(f.first, wait_at, &f.gate));
    step(&f, 0, 0, 1, f.first);
    for (unsigned i = 0; i < 10; i++) {
        step(&f, 1, 1, i, NULL);
        OK(proof, cuStreamSynchronize(NULL));
    }
    CHECK(word(&f, 1) != 0);
    CHECK(proof->cu->cuStreamQuery(f.first) == CUDA_ERROR_NOT_READY);
    open_gate(&f.gate);
    OK(proof, cuStreamSynchronize(f.first));
    CHECK(word(&f, 0) == 1);
    close_fixture(&f);
}

/* It waits for blocking streams, they for it, and non-blocking ones go on beside both. */
static void default_stream_behind_a_gate(struct proof *proof)
{
    struct fixture f;
    CUstream blocking, later;
    uint32_t model = 0;

    open_fixture(&f, proof);
    OK(proof, cuStreamCreate(&blocking, CU_STREAM_DEFAULT));
    OK(proof, cuStreamCreate(&later, CU_STREAM_DEFAULT));
    OK(proof, cuLaunchHostFunc(blocking, wait_at, &f.gate));
    step(&f, 0, 0, 1, blocking);
    step(&f, 0, 0, 2, NULL);
    step(&f, 0, 0, 3, later);
    step(&f, 0, 0, 4, NULL);
    work_in_second(&f, 10, &model);
    CHECK(proof->cu->cuStreamQuery(NULL) == CUDA_ERROR_NOT_READY);
    CHECK(proof->cu->cuStreamQuery(later) == CUDA_ERROR_NOT_READY);
    CHECK(word(&f, 0) == 0);
    open_gate(&f.gate);
    OK(proof, cuStreamSynchronize(NULL));
    CHECK(word(&f, 0) == (((1u * 32) + 2) * 32 + 3) * 32 + 4);
    OK(proof, cuStreamDestroy(blocking));
    OK(proof, cuStreamDestroy(later));
    close_fixture(&f);
}

static void own_default_stream(struct fixture *f)
{
    uint32_t got = 0;

    for (unsigned i = 0; i < 10; i++) {
        step(f, 1, 1, i, CU_STREAM_PER_THREAD);
        OK(f->proof, cuStreamSynchronize(CU_STREAM_PER_THREAD));
    }
    OK(f->proof, cuMemcpyDtoHAsync(&got, f->words + 4, 4, CU_STREAM_PER_THREAD));
    OK(f->proof, cuStreamSynchronize(CU_STREAM_PER_THREAD));
    CHECK(got != 0);
}

/* A thread's own default stream is not that of another thread. */
static void default_streams_of_two_threads(struct proof *proof)
{
    struct fixture f;
    struct waiter b;

    open_fixture(&f, proof);
    OK(proof, cuLaunchHostFunc(CU_STREAM_PER_THREAD, wait_at, &f.gate));
    step(&f, 0, 0, 9, CU_STREAM_PER_THREAD);
    waiter_start(&b, &f, own_default_stream);
    pthread_join(b.thread, NULL);
    CHECK(proof->cu->cuStreamQuery(CU_STREAM_PER_THREAD) == CUDA_ERROR_NOT_READY);
    open_gate(&f.gate);
    OK(proof, cuStreamSynchronize(CU_STREAM_PER_THREAD));
    CHECK(word(&f, 0) == 9);
    close_fixture(&f);
}

static void leave_work_behind(struct fixture *f)
{
    OK(f->proof, cuLaunchHostFunc(CU_STREAM_PER_THREAD, wait_at, &f->gate));
    step(f, 0, 0, 11, CU_STREAM_PER_THREAD);
}

/* What a thread has posted to its default stream is done after the thread has ended. */
static void thread_ends_with_work(struct proof *proof)
{
    struct fixture f;
    struct waiter b;

    for (unsigned round = 0; round < 5; round++) {
        open_fixture(&f, proof);
        waiter_start(&b, &f, leave_work_behind);
        pthread_join(b.thread, NULL);
        open_gate(&f.gate);
        OK(proof, cuCtxSynchronize());
        CHECK(word(&f, 0) == 11);
        close_fixture(&f);
    }
}

/* Eight streams, each waits for the one before; every other has a host function. */
static void chain_of_streams(struct proof *proof)
{
    enum { LINKS = 8 };
    CUstream streams[LINKS];
    CUevent events[LINKS];
    struct fixture f;
    struct waiter waiter;
    uint32_t model = 0, work = 0;

    open_fixture(&f, proof);
    for (int i = 0; i < LINKS; i++) {
        OK(proof, cuStreamCreate(&streams[i], CU_STREAM_NON_BLOCKING));
        OK(proof, cuEventCreate(&events[i], CU_EVENT_DISABLE_TIMING));
    }
    for (unsigned round = 0; round < 10; round++) {
        close_gate(&f.gate);
        for (uint32_t i = 0; i < LINKS; i++) {
            if (i > 0)
                OK(proof, cuStreamWaitEvent(streams[i], events[i - 1], 0));
            if (i % 2 == 0)
                OK(proof, cuLaunchHostFunc(streams[i], wait_at, &f.gate));
            step(&f, 0, 0, i + round, streams[i]);
            model = model * 32 + i + round;
            OK(proof, cuEventRecord(events[i], streams[i]));
        }
        waiter_start(&waiter, &f, wait_context);
        work_in_second(&f, 6, &work);
        CHECK(proof->cu->cuEventQuery(events[0]) == CUDA_ERROR_NOT_READY);
        open_gate(&f.gate);
        OK(proof, cuEventSynchronize(events[LINKS - 1]));
        pthread_join(waiter.thread, NULL);
        CHECK(word(&f, 0) == model);
        OK(proof, cuStreamWaitEvent(streams[0], events[LINKS - 1], 0));
    }
    for (int i = 0; i < LINKS; i++) {
        OK(proof, cuStreamDestroy(streams[i]));
        OK(proof, cuEventDestroy(events[i]));
    }
    close_fixture(&f);
}

/* A wait is for the last record before it: none is none, and a later one does not count. */
static void event_recorded_again(struct proof *proof)
{
    struct fixture f;

    open_fixture(&f, proof);
    OK(proof, cuStreamWaitEvent(f.second, f.event, 0));
    OK(proof, cuEventSynchronize(f.event));
    step(&f, 1, 1, 1, f.second);
    CHECK(word(&f, 1) == 1);
    OK(proof, cuEventRecord(f.event, f.first));
    OK(proof, cuStreamWaitEvent(f.second, f.event, 0));
    OK(proof, cuLaunchHostFunc(f.first, wait_at, &f.gate));
    OK(proof, cuEventRecord(f.event, f.first));
    step(&f, 1, 1, 2, f.second);
    CHECK(word(&f, 1) == 32 + 2);
    CHECK(proof->cu->cuEventQuery(f.event) == CUDA_ERROR_NOT_READY);
    open_gate(&f.gate);
    OK(proof, cuEventSynchronize(f.event));
    close_fixture(&f);
}

/* The gate's stream and event are destroyed while they are pending. */
static void destroyed_while_pending(struct proof *proof)
{
    struct fixture f;
    CUstream stream;
    CUevent event;
    uint32_t model = 0;

    open_fixture(&f, proof);
    OK(proof, cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    OK(proof, cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
    OK(proof, cuLaunchHostFunc(stream, wait_at, &f.gate));
    step(&f, 0, 0, 5, stream);
    OK(proof, cuEventRecord(event, stream));
    OK(proof, cuStreamWaitEvent(f.first, event, 0));
    step(&f, 0, 0, 6, f.first);
    OK(proof, cuEventDestroy(event));
    OK(proof, cuStreamDestroy(stream));
    work_in_second(&f, 6, &model);
    open_gate(&f.gate);
    OK(proof, cuStreamSynchronize(f.first));
    CHECK(word(&f, 0) == 5 * 32 + 6);
    close_fixture(&f);
}

static void add_step(struct fixture *f, CUgraph graph, CUgraphNode *node, uint32_t digit)
{
    uint32_t to = 0, from = 0;
    void *args[] = {&f->words, &to, &from, &digit};
    CUgraphNode before = *node;
    CUDA_KERNEL_NODE_PARAMS params = {.func = f->step,
                                      .gridDimX = 1,
                                      .gridDimY = 1,
                                      .gridDimZ = 1,
                                      .blockDimX = 1,
                                      .blockDimY = 1,
                                      .blockDimZ = 1,
                                      .kernelParams = args};

    OK(f->proof, cuGraphAddKernelNode(node, graph, &before, before ? 1 : 0, &params));
}

/* Kernel, gate, kernel: launched twice at once; other streams go on while it stands. */
static void graph_with_a_gate(struct proof *proof)
{
    struct fixture f;
    CUDA_HOST_NODE_PARAMS host = {.fn = wait_at};
    CUgraph graph;
    CUgraphNode node = NULL, before;
    CUgraphExec exec;
    uint32_t model = 0, work = 0;

    open_fixture(&f, proof);
    host.userData = &f.gate;
    OK(proof, cuGraphCreate(&graph, 0));
    add_step(&f, graph, &node, 3);
    before = node;
    OK(proof, cuGraphAddHostNode(&node, graph, &before, 1, &host));
    add_step(&f, graph, &node, 4);
    OK(proof, cuGraphInstantiateWithFlags(&exec, graph, 0));
    for (unsigned round = 0; round < 10; round++) {
        close_gate(&f.gate);
        OK(proof, cuGraphLaunch(exec, f.first));
        OK(proof, cuGraphLaunch(exec, f.first));
        await_entered(&f.gate);
        model = model * 32 + 3;
        CHECK(word(&f, 0) == model);
        work_in_second(&f, 6, &work);
        CHECK(proof->cu->cuStreamQuery(f.first) == CUDA_ERROR_NOT_READY);
        open_gate(&f.gate);
        OK(proof, cuStreamSynchronize(f.first));
        model = ((model * 32 + 4) * 32 + 3) * 32 + 4;
        CHECK(word(&f, 0) == model);
    }
    OK(proof, cuGraphExecDestroy(exec));
    OK(proof, cuGraphDestroy(graph));
    close_fixture(&f);
}

/* The same by capture, across two streams that join by events. */
static void captured_gate(struct proof *proof)
{
    struct fixture f;
    CUstream branch;
    CUevent fork, join;
    CUgraph graph;
    CUgraphExec exec;
    uint32_t work = 0;

    open_fixture(&f, proof);
    OK(proof, cuStreamCreate(&branch, CU_STREAM_NON_BLOCKING));
    OK(proof, cuEventCreate(&fork, CU_EVENT_DISABLE_TIMING));
    OK(proof, cuEventCreate(&join, CU_EVENT_DISABLE_TIMING));
    OK(proof, cuStreamBeginCapture(f.first, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    step(&f, 0, 0, 1, f.first);
    OK(proof, cuEventRecord(fork, f.first));
    OK(proof, cuStreamWaitEvent(branch, fork, 0));
    OK(proof, cuLaunchHostFunc(branch, wait_at, &f.gate));
    step(&f, 2, 2, 2, branch);
    OK(proof, cuEventRecord(join, branch));
    step(&f, 0, 0, 3, f.first);
    OK(proof, cuStreamWaitEvent(f.first, join, 0));
    step(&f, 0, 2, 4, f.first);
    OK(proof, cuStreamEndCapture(f.first, &graph));
    OK(proof, cuGraphInstantiateWithFlags(&exec, graph, 0));
    OK(proof, cuGraphLaunch(exec, f.first));
    work_in_second(&f, 6, &work);
    CHECK(proof->cu->cuStreamQuery(f.first) == CUDA_ERROR_NOT_READY);
    open_gate(&f.gate);
    OK(proof, cuStreamSynchronize(f.first));
    CHECK(word(&f, 0) == (1u * 32 + 3) * 31 + 2 + 4);
    OK(proof, cuGraphExecDestroy(exec));
    OK(proof, cuGraphDestroy(graph));
    OK(proof, cuEventDestroy(fork));
    OK(proof, cuEventDestroy(join));
    OK(proof, cuStreamDestroy(branch));
    close_fixture(&f);
}

/* One context's thread waits behind a gate, another context's thread works. */
static void two_contexts(struct proof *proof)
{
    struct fixture gated;
    struct fixture free_one;
    struct waiter a;
    CUcontext other;
    uint32_t model = 0;

    open_fixture(&gated, proof);
    OK(proof, cuCtxCreate_v2(&other, 0, 0));
    OK(proof, cuCtxSetCurrent(other));
    open_fixture(&free_one, proof);
    OK(proof, cuCtxSetCurrent(proof->context));
    OK(proof, cuLaunchHostFunc(gated.first, wait_at, &gated.gate));
    step(&gated, 0, 0, 1, gated.first);
    waiter_start(&a, &gated, wait_context);
    OK(proof, cuCtxSetCurrent(other));
    work_in_second(&free_one, 12, &model);
    OK(proof, cuStreamSynchronize(free_one.first));
    CHECK(!waiter_done(&a));
    open_gate(&gated.gate);
    pthread_join(a.thread, NULL);
    close_fixture(&free_one);
    OK(proof, cuCtxDestroy(other));
    OK(proof, cuCtxSetCurrent(proof->context));
    close_fixture(&gated);
}

const struct proof_part proof_wait_parts[] = {
    {"waits.event_of_another_thread", event_of_another_thread, DEADLINE_S},
    {"waits.record_behind_a_wait", record_behind_a_wait, DEADLINE_S},
    {"waits.host_function_waits_for_stream", host_function_waits_for_stream, DEADLINE_S},
    {"waits.host_function_polls_memory", host_function_polls_memory, DEADLINE_S},
    {"waits.host_function_takes_a_lock", host_function_takes_a_lock, DEADLINE_S},
    {"waits.blocking_calls_beside", blocking_calls_beside, DEADLINE_S},
    {"waits.freeing_beside", freeing_beside, DEADLINE_S},
    {"waits.free_behind_a_gate", free_behind_a_gate, DEADLINE_S},
    {"waits.copies_behind_a_gate", copies_behind_a_gate, DEADLINE_S},
    {"waits.each_kind_behind_a_gate", each_kind_behind_a_gate, DEADLINE_S},
    {"waits.full_ring_behind_a_gate", full_ring_behind_a_gate, DEADLINE_S},
    {"waits.full_ring_and_waits", full_ring_and_waits, DEADLINE_S},
    {"waits.default_stream_beside_a_gate", default_stream_beside_a_gate, DEADLINE_S},
    {"waits.default_stream_behind_a_gate", default_stream_behind_a_gate, DEADLINE_S},
    {"waits.default_streams_of_two_threads", default_streams_of_two_threads, DEADLINE_S},
    {"waits.thread_ends_with_work", thread_ends_with_work, DEADLINE_S},
    {"waits.chain_of_streams", chain_of_streams, DEADLINE_S},
    {"waits.event_recorded_again", event_recorded_again, DEADLINE_S},
    {"waits.destroyed_while_pending", destroyed_while_pending, DEADLINE_S},
    {"waits.graph_with_a_gate", graph_with_a_gate, DEADLINE_S},
    {"waits.captured_gate", captured_gate, DEADLINE_S},
    {"waits.two_contexts", two_contexts, DEADLINE_S},
    {0},
};
