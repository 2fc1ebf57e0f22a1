/* SPDX-License-Identifier: Apache-2.0 */
/* Streams and events: order, waiting, timing, callbacks, bad handles. */
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "tests/conformance/conf.h"

/* k: out[0] = 31 * out[0] + in[0], so that the order of launches shows. */
static const char append_ptx[] = CONF_HEADER
    ".visible .entry k(.param .u64 p_out, .param .u32 digit)\n{\n.reg .b64 %o;\n.reg .b32 %r<4>;\n"
    "ld.param.u64 %o, [p_out];\ncvta.to.global.u64 %o, %o;\nld.param.u32 %r0, [digit];\n"
    "ld.global.u32 %r1, [%o];\nmad.lo.u32 %r1, %r1, 31, %r0;\nst.global.u32 [%o], %r1;\nret;\n}\n"
    /* Waits for some microseconds on the device's clock before it appends. */
    ".visible .entry slow(.param .u64 p_out, .param .u32 digit)\n{\n.reg .b64 %o, %a, %b;\n"
    ".reg .b32 %r<4>;\n.reg .pred %p;\nld.param.u64 %o, [p_out];\ncvta.to.global.u64 %o, %o;\n"
    "ld.param.u32 %r0, [digit];\nmov.u64 %a, %globaltimer;\n"
    "spin:\nmov.u64 %b, %globaltimer;\nsub.u64 %b, %b, %a;\nsetp.lt.u64 %p, %b, 30000000;\n"
    "@%p bra spin;\nld.global.u32 %r1, [%o];\nmad.lo.u32 %r1, %r1, 31, %r0;\n"
    "st.global.u32 [%o], %r1;\nret;\n}\n"
    /* Waits until somebody writes to the gate, or for 20 seconds: nobody will. */
    ".visible .entry gated(.param .u64 p_gate)\n{\n.reg .b64 %g, %a, %b;\n"
    ".reg .b32 %r;\n.reg .pred %p;\nld.param.u64 %g, [p_gate];\n"
    "cvta.to.global.u64 %g, %g;\nmov.u64 %a, %globaltimer;\n"
    "spin:\nld.volatile.global.u32 %r, [%g];\nsetp.ne.u32 %p, %r, 0;\n@%p bra open;\n"
    "mov.u64 %b, %globaltimer;\nsub.u64 %b, %b, %a;\nsetp.lt.u64 %p, %b, 20000000000;\n"
    "@%p bra spin;\nopen:\nret;\n}\n";

#define SLOW_MS 30.0f

struct appender {
    CUmodule module;
    CUfunction append, slow;
    CUdeviceptr cell;
};

static enum conf_result open_appender(struct conf *conf, struct appender *a)
{
    CONF_TRY(conf_load(conf, append_ptx, &a->module));
    CONF_CALL(conf, cuModuleGetFunction(&a->append, a->module, "k"));
    CONF_CALL(conf, cuModuleGetFunction(&a->slow, a->module, "slow"));
    CONF_CALL(conf, cuMemAlloc(&a->cell, 4));
    CONF_CALL(conf, cuMemsetD32(a->cell, 0, 1));
    CONF_CALL(conf, cuCtxSynchronize());
    return CONF_PASS;
}

static enum conf_result close_appender(struct conf *conf, struct appender *a)
{
    CONF_CALL(conf, cuMemFree(a->cell));
    CONF_CALL(conf, cuModuleUnload(a->module));
    return CONF_PASS;
}

static enum conf_result launch(struct conf *conf, struct appender *a, CUfunction function,
                               uint32_t digit, CUstream stream)
{
    void *args[] = {&a->cell, &digit};

    CONF_CALL(conf, cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, args, NULL));
    return CONF_PASS;
}

/* A kernel that runs until its gate is opened, from a stream of its own. */
struct gate {
    CUfunction function;
    CUdeviceptr cell;
    CUstream opener;
};

static enum conf_result close_gate(struct conf *conf, struct appender *a, struct gate *gate)
{
    CONF_CALL(conf, cuModuleGetFunction(&gate->function, a->module, "gated"));
    CONF_CALL(conf, cuMemAlloc(&gate->cell, 4));
    CONF_CALL(conf, cuMemsetD32(gate->cell, 0, 1));
    CONF_CALL(conf, cuStreamCreate(&gate->opener, CU_STREAM_NON_BLOCKING));
    CONF_CALL(conf, cuCtxSynchronize());
    return CONF_PASS;
}

static enum conf_result launch_gated(struct conf *conf, struct gate *gate, CUstream stream)
{
    void *args[] = {&gate->cell};

    CONF_CALL(conf, cuLaunchKernel(gate->function, 1, 1, 1, 1, 1, 1, 0, stream, args, NULL));
    return CONF_PASS;
}

static enum conf_result open_gate(struct conf *conf, struct gate *gate)
{
    CONF_CALL(conf, cuMemsetD32Async(gate->cell, 1, 1, gate->opener));
    return CONF_PASS;
}

static enum conf_result drop_gate(struct conf *conf, struct gate *gate)
{
    CONF_CALL(conf, cuStreamDestroy(gate->opener));
    CONF_CALL(conf, cuMemFree(gate->cell));
    return CONF_PASS;
}

/* Work of one stream runs in the order in which it was given. */
static enum conf_result order(struct conf *conf)
{
    struct appender a;
    CUstream stream;
    uint32_t want = 0, got = 0;

    CONF_TRY(open_appender(conf, &a));
    CONF_CALL(conf, cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    for (uint32_t i = 1; i <= 50; i++) {
        CONF_TRY(launch(conf, &a, i == 1 ? a.slow : a.append, i, stream));
        want = want * 31 + i;
    }
    CONF_CALL(conf, cuMemcpyDtoHAsync(&got, a.cell, 4, stream));
    CONF_CALL(conf, cuStreamSynchronize(stream));
    CONF_TRUE(conf, got == want);
    CONF_CALL(conf, cuStreamQuery(stream));
    CONF_CALL(conf, cuStreamDestroy(stream));
    return close_appender(conf, &a);
}

/* One stream waits for an event of another. */
static enum conf_result wait_event(struct conf *conf)
{
    struct appender a;
    CUstream first, second;
    CUevent event;
    uint32_t got = 0;

    CONF_TRY(open_appender(conf, &a));
    CONF_CALL(conf, cuStreamCreate(&first, CU_STREAM_NON_BLOCKING));
    CONF_CALL(conf, cuStreamCreate(&second, CU_STREAM_NON_BLOCKING));
    CONF_CALL(conf, cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
    CONF_TRY(launch(conf, &a, a.slow, 1, first));
    CONF_CALL(conf, cuEventRecord(event, first));
    CONF_CALL(conf, cuStreamWaitEvent(second, event, 0));
    CONF_TRY(launch(conf, &a, a.append, 2, second));
    CONF_CALL(conf, cuStreamSynchronize(second));
    CONF_CALL(conf, cuMemcpyDtoH(&got, a.cell, 4));
    CONF_TRUE(conf, got == 33);
    CONF_CALL(conf, cuEventDestroy(event));
    CONF_CALL(conf, cuStreamDestroy(first));
    CONF_CALL(conf, cuStreamDestroy(second));
    return close_appender(conf, &a);
}

/* The legacy default stream waits for blocking streams, and they for it. */
static enum conf_result default_stream(struct conf *conf)
{
    struct appender a;
    CUstream stream;
    uint32_t got = 0;

    CONF_TRY(open_appender(conf, &a));
    CONF_CALL(conf, cuStreamCreate(&stream, CU_STREAM_DEFAULT));
    CONF_TRY(launch(conf, &a, a.slow, 1, stream));
    CONF_TRY(launch(conf, &a, a.append, 2, NULL));
    CONF_TRY(launch(conf, &a, a.append, 3, stream));
    CONF_CALL(conf, cuMemcpyDtoH(&got, a.cell, 4));
    CONF_TRUE(conf, got == (31 + 2) * 31 + 3);
    CONF_CALL(conf, cuStreamDestroy(stream));
    return close_appender(conf, &a);
}

static enum conf_result event_timing(struct conf *conf)
{
    struct appender a;
    struct gate gate;
    CUevent start, end, untimed;
    float ms = -1;

    CONF_TRY(open_appender(conf, &a));
    CONF_TRY(close_gate(conf, &a, &gate));
    CONF_CALL(conf, cuEventCreate(&start, CU_EVENT_DEFAULT));
    CONF_CALL(conf, cuEventCreate(&end, CU_EVENT_DEFAULT));
    CONF_CALL(conf, cuEventCreate(&untimed, CU_EVENT_DISABLE_TIMING));
    CONF_EXPECT(conf, cuEventElapsedTime(&ms, start, end), CUDA_ERROR_INVALID_HANDLE);
    CONF_CALL(conf, cuEventRecord(start, NULL));
    CONF_TRY(launch(conf, &a, a.slow, 1, NULL));
    CONF_TRY(launch_gated(conf, &gate, NULL));
    CONF_CALL(conf, cuEventRecord(end, NULL));
    CONF_EXPECT(conf, cuEventQuery(end), CUDA_ERROR_NOT_READY);
    CONF_EXPECT(conf, cuStreamQuery(NULL), CUDA_ERROR_NOT_READY);
    CONF_TRY(open_gate(conf, &gate));
    CONF_CALL(conf, cuEventSynchronize(end));
    CONF_CALL(conf, cuEventQuery(end));
    CONF_CALL(conf, cuEventElapsedTime(&ms, start, end));
    CONF_TRUE(conf, ms >= 0.9f * SLOW_MS && ms < 15000);
    CONF_CALL(conf, cuEventRecord(untimed, NULL));
    CONF_CALL(conf, cuCtxSynchronize());
    CONF_EXPECT(conf, cuEventElapsedTime(&ms, start, untimed), CUDA_ERROR_INVALID_HANDLE);
    CONF_CALL(conf, cuEventDestroy(start));
    CONF_CALL(conf, cuEventDestroy(end));
    CONF_CALL(conf, cuEventDestroy(untimed));
    CONF_TRY(drop_gate(conf, &gate));
    return close_appender(conf, &a);
}

/* An event is done though its stream goes on; recorded anew, it is not. */
static enum conf_result event_in_front(struct conf *conf)
{
    struct appender a;
    struct gate gate;
    CUstream stream;
    CUevent event;
    CUresult result;

    CONF_TRY(open_appender(conf, &a));
    CONF_TRY(close_gate(conf, &a, &gate));
    CONF_CALL(conf, cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    CONF_CALL(conf, cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
    CONF_CALL(conf, cuEventQuery(event));
    CONF_TRY(launch(conf, &a, a.append, 1, stream));
    CONF_CALL(conf, cuEventRecord(event, stream));
    CONF_TRY(launch_gated(conf, &gate, stream));
    while ((result = conf->cu->cuEventQuery(event)) == CUDA_ERROR_NOT_READY)
        ;
    CONF_TRUE(conf, result == CUDA_SUCCESS);
    CONF_EXPECT(conf, cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
    CONF_CALL(conf, cuEventRecord(event, stream));
    for (int i = 0; i < 100; i++) {
        CONF_EXPECT(conf, cuEventQuery(event), CUDA_ERROR_NOT_READY);
        CONF_EXPECT(conf, cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
        CONF_CALL(conf, cuStreamQuery(gate.opener));
    }
    CONF_TRY(open_gate(conf, &gate));
    while ((result = conf->cu->cuStreamQuery(stream)) == CUDA_ERROR_NOT_READY)
        ;
    CONF_TRUE(conf, result == CUDA_SUCCESS);
    CONF_CALL(conf, cuEventQuery(event));
    CONF_CALL(conf, cuEventDestroy(event));
    CONF_CALL(conf, cuStreamDestroy(stream));
    CONF_TRY(drop_gate(conf, &gate));
    return close_appender(conf, &a);
}

#define POLL_ROUNDS 200

/* A program that polls comes to an end, and finds what was copied before. */
static enum conf_result polling(struct conf *conf)
{
    struct appender a;
    uint32_t *seen, want = 0;
    CUstream stream;
    CUevent event;
    void *memory;

    CONF_TRY(open_appender(conf, &a));
    CONF_CALL(conf, cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    CONF_CALL(conf, cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
    CONF_CALL(conf, cuMemHostAlloc(&memory, 4, 0));
    seen = memory;
    for (uint32_t i = 0; i < POLL_ROUNDS; i++) {
        CUresult result;

        CONF_TRY(launch(conf, &a, a.append, i, stream));
        CONF_CALL(conf, cuMemcpyDtoHAsync(seen, a.cell, 4, stream));
        CONF_CALL(conf, cuEventRecord(event, stream));
        want = want * 31 + i;
        do
            result = i % 2 ? conf->cu->cuEventQuery(event) : conf->cu->cuStreamQuery(stream);
        while (result == CUDA_ERROR_NOT_READY);
        CONF_TRUE(conf, result == CUDA_SUCCESS);
        CONF_TRUE(conf, *(volatile uint32_t *)seen == want);
    }
    CONF_CALL(conf, cuMemFreeHost(memory));
    CONF_CALL(conf, cuEventDestroy(event));
    CONF_CALL(conf, cuStreamDestroy(stream));
    return close_appender(conf, &a);
}

/* Who knows that something is done is not told of what came before it that it is not. */
static enum conf_result known(struct conf *conf)
{
    struct appender a;
    CUstream first, second;
    CUevent before, after;

    CONF_TRY(open_appender(conf, &a));
    CONF_CALL(conf, cuStreamCreate(&first, CU_STREAM_NON_BLOCKING));
    CONF_CALL(conf, cuStreamCreate(&second, CU_STREAM_NON_BLOCKING));
    CONF_CALL(conf, cuEventCreate(&before, CU_EVENT_DISABLE_TIMING));
    CONF_CALL(conf, cuEventCreate(&after, CU_EVENT_DISABLE_TIMING));
    for (uint32_t i = 0; i < POLL_ROUNDS; i++) {
        CUresult result = CUDA_SUCCESS;

        CONF_TRY(launch(conf, &a, a.append, i, first));
        CONF_CALL(conf, cuEventRecord(before, first));
        CONF_CALL(conf, cuStreamWaitEvent(second, before, 0));
        CONF_TRY(launch(conf, &a, a.append, i, second));
        CONF_CALL(conf, cuEventRecord(after, second));
        if (i % 3 == 0)
            CONF_CALL(conf, cuEventSynchronize(after));
        if (i % 3 == 1)
            CONF_CALL(conf, cuStreamSynchronize(second));
        while (i % 3 == 2 && (result = conf->cu->cuEventQuery(after)) == CUDA_ERROR_NOT_READY)
            ;
        CONF_TRUE(conf, result == CUDA_SUCCESS);
        CONF_CALL(conf, cuEventQuery(before));
        CONF_CALL(conf, cuStreamQuery(first));
        CONF_CALL(conf, cuEventQuery(after));
        CONF_CALL(conf, cuStreamQuery(second));
    }
    CONF_CALL(conf, cuEventDestroy(before));
    CONF_CALL(conf, cuEventDestroy(after));
    CONF_CALL(conf, cuStreamDestroy(first));
    CONF_CALL(conf, cuStreamDestroy(second));
    return close_appender(conf, &a);
}

struct host_notes {
    uint32_t cell[2]; /* what the device had written before and after the host function */
    uint32_t seen;
    unsigned int calls;
};

static void note(void *data)
{
    struct host_notes *notes = data;

    notes->seen = notes->cell[0];
    notes->calls++;
}

static void note_stream(CUstream stream, CUresult status, void *data)
{
    if (status == CUDA_SUCCESS)
        note(data);
}

/* A host function runs after what came before it on its stream, and before what comes after. */
static enum conf_result host_functions(struct conf *conf)
{
    struct host_notes notes = {.cell = {0xffff, 0xffff}};
    struct appender a;
    CUstream stream;

    CONF_TRY(open_appender(conf, &a));
    CONF_CALL(conf, cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    CONF_TRY(launch(conf, &a, a.slow, 9, stream));
    CONF_CALL(conf, cuMemcpyDtoHAsync(&notes.cell[0], a.cell, 4, stream));
    CONF_CALL(conf, cuLaunchHostFunc(stream, note, &notes));
    CONF_TRY(launch(conf, &a, a.append, 1, stream));
    CONF_CALL(conf, cuStreamAddCallback(stream, note_stream, &notes, 0));
    CONF_CALL(conf, cuMemcpyDtoHAsync(&notes.cell[1], a.cell, 4, stream));
    CONF_CALL(conf, cuStreamSynchronize(stream));
    CONF_TRUE(conf, notes.calls == 2);
    CONF_TRUE(conf, notes.seen == 9);
    CONF_TRUE(conf, notes.cell[1] == 9 * 31 + 1);
    CONF_CALL(conf, cuStreamDestroy(stream));
    return close_appender(conf, &a);
}

static enum conf_result stream_queries(struct conf *conf)
{
    int least, greatest, priority;
    unsigned int flags;
    CUcontext context, current;
    CUstream stream;

    CONF_CALL(conf, cuCtxGetStreamPriorityRange(&least, &greatest));
    CONF_TRUE(conf, greatest <= least);
    CONF_CALL(conf, cuStreamCreateWithPriority(&stream, CU_STREAM_NON_BLOCKING, greatest));
    CONF_CALL(conf, cuStreamGetPriority(stream, &priority));
    CONF_TRUE(conf, priority == greatest);
    CONF_CALL(conf, cuStreamGetFlags(stream, &flags));
    CONF_TRUE(conf, flags == CU_STREAM_NON_BLOCKING);
    CONF_CALL(conf, cuStreamGetCtx(stream, &context));
    CONF_CALL(conf, cuCtxGetCurrent(&current));
    CONF_TRUE(conf, context == current);
    CONF_CALL(conf, cuStreamDestroy(stream));
    CONF_EXPECT(conf, cuStreamCreate(&stream, 0x100), CUDA_ERROR_INVALID_VALUE);
    CONF_EXPECT(conf, cuStreamCreate(NULL, 0), CUDA_ERROR_INVALID_VALUE);
    return CONF_PASS;
}

static enum conf_result launch_ex(struct conf *conf)
{
    struct appender a;
    uint32_t digit = 6, got = 0;
    CUlaunchConfig config = {.gridDimX = 1,
                             .gridDimY = 1,
                             .gridDimZ = 1,
                             .blockDimX = 1,
                             .blockDimY = 1,
                             .blockDimZ = 1};
    void *args[] = {NULL, &digit};

    CONF_TRY(open_appender(conf, &a));
    args[0] = &a.cell;
    CONF_CALL(conf, cuLaunchKernelEx(&config, a.append, args, NULL));
    CONF_CALL(conf, cuMemcpyDtoH(&got, a.cell, 4));
    CONF_TRUE(conf, got == 6);
    return close_appender(conf, &a);
}

struct recorder {
    struct conf *conf;
    CUcontext context;
    CUevent event;
    enum conf_result result;
};

static enum conf_result record(struct recorder *r)
{
    CONF_CALL(r->conf, cuCtxSetCurrent(r->context));
    CONF_CALL(r->conf, cuEventRecord(r->event, NULL));
    CONF_CALL(r->conf, cuEventSynchronize(r->event));
    return CONF_PASS;
}

static void *record_thread(void *data)
{
    struct recorder *r = data;

    r->result = record(r);
    return NULL;
}

/* Handles belong to the process: another thread uses context and event after setting it current. */
static enum conf_result threads(struct conf *conf)
{
    struct recorder r = {.conf = conf, .result = CONF_FAIL};
    CUcontext current = NULL;
    pthread_t thread;

    CONF_CALL(conf, cuCtxGetCurrent(&r.context));
    CONF_CALL(conf, cuEventCreate(&r.event, 0));
    CONF_TRUE(conf, pthread_create(&thread, NULL, record_thread, &r) == 0);
    pthread_join(thread, NULL);
    CONF_TRY(r.result);
    CONF_CALL(conf, cuEventSynchronize(r.event));
    CONF_CALL(conf, cuEventDestroy(r.event));
    CONF_CALL(conf, cuCtxGetCurrent(&current));
    CONF_TRUE(conf, current == r.context);
    return CONF_PASS;
}

static const struct conf_case cases[] = {
    {"order within a stream", order, false},
    {"wait for an event", wait_event, false},
    {"legacy default stream", default_stream, false},
    {"event timing", event_timing, false},
    {"an event in front", event_in_front, false},
    {"polling", polling, false},
    {"what is known", known, false},
    {"host functions", host_functions, false},
    {"stream queries", stream_queries, false},
    {"cuLaunchKernelEx", launch_ex, false},
    {"two threads", threads, false},
};

void conf_stream_cases(conf_visit visit, void *context)
{
    conf_visit_cases("stream", cases, VGPU_ARRAY_SIZE(cases), visit, context);
}
