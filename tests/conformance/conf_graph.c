/* SPDX-License-Identifier: Apache-2.0 */
/* Graphs: nodes of each kind, order, replays, updates; capture. */
#include <string.h>

#include "common/cleanup.h"
#include "tests/conformance/conf.h"

#define WORDS 1024
#define CHAIN 100

/* k: out[0] = 31 * out[0] + digit, so that order shows; s: out[i] = out[i] * 2 + i in one block. */
static const char graph_ptx[] = CONF_HEADER
    ".visible .entry k(.param .u64 p_out, .param .u32 digit)\n{\n.reg .b64 %o;\n.reg .b32 %r<4>;\n"
    "ld.param.u64 %o, [p_out];\ncvta.to.global.u64 %o, %o;\nld.param.u32 %r0, [digit];\n"
    "ld.global.u32 %r1, [%o];\nmad.lo.u32 %r1, %r1, 31, %r0;\nst.global.u32 [%o], %r1;\nret;\n}\n"
    ".visible .entry s(.param .u64 p_out)\n{\n.reg .b64 %o;\n.reg .b32 %r<4>;\n"
    "ld.param.u64 %o, [p_out];\ncvta.to.global.u64 %o, %o;\nmov.u32 %r0, %tid.x;\n"
    "mad.wide.u32 %o, %r0, 4, %o;\nld.global.u32 %r1, [%o];\nmad.lo.u32 %r1, %r1, 2, %r0;\n"
    "st.global.u32 [%o], %r1;\nret;\n}\n";

struct fixture {
    CUmodule module;
    CUfunction append, spread;
    CUdeviceptr memory; /* WORDS */
    CUgraph graph;
    CUcontext context;
    CUstream stream;
};

static enum conf_result open_fixture(struct conf *conf, struct fixture *f)
{
    CONF_TRY(conf_load(conf, graph_ptx, &f->module));
    CONF_CALL(conf, cuModuleGetFunction(&f->append, f->module, "k"));
    CONF_CALL(conf, cuModuleGetFunction(&f->spread, f->module, "s"));
    CONF_CALL(conf, cuMemAlloc(&f->memory, 4 * WORDS));
    CONF_CALL(conf, cuMemsetD32(f->memory, 0, WORDS));
    CONF_CALL(conf, cuCtxGetCurrent(&f->context));
    CONF_CALL(conf, cuGraphCreate(&f->graph, 0));
    CONF_CALL(conf, cuStreamCreate(&f->stream, CU_STREAM_NON_BLOCKING));
    CONF_CALL(conf, cuCtxSynchronize());
    return CONF_PASS;
}

static enum conf_result close_fixture(struct conf *conf, struct fixture *f)
{
    CONF_CALL(conf, cuStreamDestroy(f->stream));
    CONF_CALL(conf, cuGraphDestroy(f->graph));
    CONF_CALL(conf, cuMemFree(f->memory));
    CONF_CALL(conf, cuModuleUnload(f->module));
    return CONF_PASS;
}

static CUDA_KERNEL_NODE_PARAMS kernel(CUfunction function, unsigned threads, void **args)
{
    return (CUDA_KERNEL_NODE_PARAMS){.func = function,
                                     .gridDimX = 1,
                                     .gridDimY = 1,
                                     .gridDimZ = 1,
                                     .blockDimX = threads,
                                     .blockDimY = 1,
                                     .blockDimZ = 1,
                                     .kernelParams = args};
}

/* A node that appends a digit, behind *node if that is not NULL; *node is then the new one. */
static enum conf_result add_append(struct conf *conf, struct fixture *f, uint32_t digit,
                                   CUgraphNode *node)
{
    void *args[] = {&f->memory, &digit};
    CUDA_KERNEL_NODE_PARAMS params = kernel(f->append, 1, args);
    CUgraphNode before = *node;

    CONF_CALL(conf, cuGraphAddKernelNode(node, f->graph, &before, before ? 1 : 0, &params));
    return CONF_PASS;
}

static enum conf_result add_fill(struct conf *conf, struct fixture *f, CUdeviceptr at,
                                 uint32_t value, size_t count, CUgraphNode *node)
{
    const CUDA_MEMSET_NODE_PARAMS params = {
        .dst = at, .value = value, .elementSize = 4, .width = count, .height = 1};
    CUgraphNode before = *node;

    CONF_CALL(conf,
              cuGraphAddMemsetNode(node, f->graph, &before, before ? 1 : 0, &params, f->context));
    return CONF_PASS;
}

static enum conf_result add_copy(struct conf *conf, struct fixture *f, const CUDA_MEMCPY3D *copy,
                                 CUgraphNode *node)
{
    CUgraphNode before = *node;

    CONF_CALL(conf,
              cuGraphAddMemcpyNode(node, f->graph, &before, before ? 1 : 0, copy, f->context));
    return CONF_PASS;
}

static CUDA_MEMCPY3D copy_of(CUdeviceptr to, CUdeviceptr from, size_t bytes)
{
    return (CUDA_MEMCPY3D){.srcMemoryType = CU_MEMORYTYPE_DEVICE,
                           .srcDevice = from,
                           .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                           .dstDevice = to,
                           .srcPitch = bytes,
                           .dstPitch = bytes,
                           .srcHeight = 1,
                           .dstHeight = 1,
                           .WidthInBytes = bytes,
                           .Height = 1,
                           .Depth = 1};
}

/* Launches some times, and reads the first words. */
static enum conf_result run(struct conf *conf, struct fixture *f, unsigned times, uint32_t *words,
                            size_t count)
{
    CUgraphExec exec;

    CONF_CALL(conf, cuGraphInstantiateWithFlags(&exec, f->graph, 0));
    for (unsigned i = 0; i < times; i++)
        CONF_CALL(conf, cuGraphLaunch(exec, f->stream));
    CONF_CALL(conf, cuStreamSynchronize(f->stream));
    CONF_CALL(conf, cuGraphExecDestroy(exec));
    CONF_CALL(conf, cuMemcpyDtoH(words, f->memory, 4 * count));
    return CONF_PASS;
}

/* A hundred kernels in a row, replayed. */
static enum conf_result chain(struct conf *conf)
{
    struct fixture f;
    CUgraphNode node = NULL;
    uint32_t want = 0, got;

    CONF_TRY(open_fixture(conf, &f));
    for (uint32_t i = 0; i < CHAIN; i++)
        CONF_TRY(add_append(conf, &f, i, &node));
    CONF_TRY(run(conf, &f, 3, &got, 1));
    for (uint32_t i = 0; i < 3 * CHAIN; i++)
        want = want * 31 + i % CHAIN;
    CONF_TRUE(conf, got == want);
    return close_fixture(conf, &f);
}

/* Fill, kernel, copies within the device: each sees what the one before did. */
static enum conf_result device_nodes(struct conf *conf)
{
    struct fixture f;
    CUgraphNode node = NULL;
    CUDA_MEMCPY3D copy;
    CUDA_KERNEL_NODE_PARAMS params;
    void *args[] = {&f.memory};
    static uint32_t got[WORDS];

    CONF_TRY(open_fixture(conf, &f));
    params = kernel(f.spread, 256, args);
    CONF_TRY(add_fill(conf, &f, f.memory, 5, WORDS, &node));
    CONF_CALL(conf, cuGraphAddKernelNode(&node, f.graph, &node, 1, &params));
    copy = copy_of(f.memory + 1024, f.memory, 1024);
    CONF_TRY(add_copy(conf, &f, &copy, &node));
    CONF_CALL(conf, cuGraphAddEmptyNode(&node, f.graph, &node, 1));
    /* A rectangle of 3 by 4 words, from rows of 64 bytes to rows of 16. */
    copy = copy_of(f.memory + 2048, f.memory + 4, 12);
    copy.srcPitch = 64;
    copy.dstPitch = 16;
    copy.Height = copy.srcHeight = copy.dstHeight = 4;
    CONF_TRY(add_copy(conf, &f, &copy, &node));
    CONF_TRY(run(conf, &f, 1, got, WORDS));
    for (uint32_t i = 0; i < 256; i++)
        CONF_TRUE(conf, got[i] == 10 + i && got[256 + i] == 10 + i);
    for (uint32_t row = 0; row < 4; row++)
        for (uint32_t i = 0; i < 4; i++)
            CONF_TRUE(conf, got[512 + row * 4 + i] == (i < 3 ? got[row * 16 + 1 + i] : 5));
    return close_fixture(conf, &f);
}

struct host_state {
    uint32_t *word;
    unsigned calls;
    uint32_t seen[8];
};

static void on_host(void *data)
{
    struct host_state *state = data;

    if (state->calls < 8)
        state->seen[state->calls] = *state->word;
    state->calls++;
    *state->word += 100;
}

/* Down to page-locked memory, a host function that changes it, up again, a kernel. */
static enum conf_result host_nodes(struct conf *conf)
{
    struct fixture f;
    CUgraphNode node = NULL;
    struct host_state state = {0};
    CUDA_MEMCPY3D copy;
    CUDA_HOST_NODE_PARAMS call = {on_host, &state};
    void *host;
    uint32_t got;

    CONF_TRY(open_fixture(conf, &f));
    CONF_CALL(conf, cuMemHostAlloc(&host, 4, 0));
    state.word = host;
    CONF_TRY(add_append(conf, &f, 1, &node));
    copy = copy_of(0, f.memory, 4);
    copy.dstMemoryType = CU_MEMORYTYPE_HOST;
    copy.dstHost = host;
    CONF_TRY(add_copy(conf, &f, &copy, &node));
    CONF_CALL(conf, cuGraphAddHostNode(&node, f.graph, &node, 1, &call));
    copy = copy_of(f.memory, 0, 4);
    copy.srcMemoryType = CU_MEMORYTYPE_HOST;
    copy.srcHost = host;
    CONF_TRY(add_copy(conf, &f, &copy, &node));
    CONF_TRY(add_append(conf, &f, 2, &node));
    CONF_TRY(run(conf, &f, 2, &got, 1));
    CONF_TRUE(conf, state.calls == 2);
    CONF_TRUE(conf, state.seen[0] == 1 && state.seen[1] == (101 * 31 + 2) * 31 + 1);
    CONF_TRUE(conf, got == (state.seen[1] + 100) * 31 + 2);
    CONF_CALL(conf, cuMemFreeHost(host));
    return close_fixture(conf, &f);
}

/* A graph records an event that another stream waits for, and waits for one itself. */
static enum conf_result event_nodes(struct conf *conf)
{
    struct fixture f;
    CUgraphNode node = NULL;
    CUevent before, behind;
    CUstream other;
    CUgraphExec exec;
    uint32_t got, digit = 3;
    void *args[] = {&f.memory, &digit};

    CONF_TRY(open_fixture(conf, &f));
    CONF_CALL(conf, cuStreamCreate(&other, CU_STREAM_NON_BLOCKING));
    CONF_CALL(conf, cuEventCreate(&before, CU_EVENT_DISABLE_TIMING));
    CONF_CALL(conf, cuEventCreate(&behind, CU_EVENT_DISABLE_TIMING));
    CONF_CALL(conf, cuGraphAddEventWaitNode(&node, f.graph, NULL, 0, before));
    CONF_TRY(add_append(conf, &f, 2, &node));
    CONF_CALL(conf, cuGraphAddEventRecordNode(&node, f.graph, &node, 1, behind));
    CONF_CALL(conf, cuGraphInstantiateWithFlags(&exec, f.graph, 0));
    CONF_CALL(conf, cuMemsetD32Async(f.memory, 1, 1, other));
    CONF_CALL(conf, cuEventRecord(before, other));
    CONF_CALL(conf, cuGraphLaunch(exec, f.stream));
    CONF_CALL(conf, cuStreamWaitEvent(other, behind, 0));
    CONF_CALL(conf, cuLaunchKernel(f.append, 1, 1, 1, 1, 1, 1, 0, other, args, NULL));
    CONF_CALL(conf, cuStreamSynchronize(other));
    CONF_CALL(conf, cuMemcpyDtoH(&got, f.memory, 4));
    CONF_TRUE(conf, got == (31 + 2) * 31 + 3);
    CONF_CALL(conf, cuGraphExecDestroy(exec));
    CONF_CALL(conf, cuEventDestroy(before));
    CONF_CALL(conf, cuEventDestroy(behind));
    CONF_CALL(conf, cuStreamDestroy(other));
    return close_fixture(conf, &f);
}

/* A graph within a graph, and what is copied when it is added. */
static enum conf_result child_graph(struct conf *conf)
{
    struct fixture f;
    CUgraph child, outer;
    CUgraphNode node = NULL;
    uint32_t got;

    CONF_TRY(open_fixture(conf, &f));
    CONF_CALL(conf, cuGraphCreate(&child, 0));
    outer = f.graph;
    f.graph = child;
    CONF_TRY(add_append(conf, &f, 2, &node));
    CONF_TRY(add_append(conf, &f, 3, &node));
    f.graph = outer;
    node = NULL;
    CONF_TRY(add_append(conf, &f, 1, &node));
    CONF_CALL(conf, cuGraphAddChildGraphNode(&node, outer, &node, 1, child));
    CONF_CALL(conf, cuGraphDestroy(child));
    CONF_TRY(add_append(conf, &f, 4, &node));
    CONF_TRY(run(conf, &f, 1, &got, 1));
    CONF_TRUE(conf, got == ((31 + 2) * 31 + 3) * 31 + 4);
    return close_fixture(conf, &f);
}

/* New parameters for an executable graph hold from the next launch on. */
static enum conf_result update_nodes(struct conf *conf)
{
    struct fixture f;
    CUgraphNode fill = NULL, node, host = NULL;
    CUgraphExec exec;
    uint32_t got, digit = 7;
    void *args[] = {&f.memory, &digit};
    CUDA_KERNEL_NODE_PARAMS params;
    CUDA_MEMSET_NODE_PARAMS set = {.value = 9, .elementSize = 4, .width = 1, .height = 1};
    unsigned int enabled = 2;

    CONF_TRY(open_fixture(conf, &f));
    set.dst = f.memory;
    params = kernel(f.append, 1, args);
    CONF_TRY(add_fill(conf, &f, f.memory, 1, 1, &fill));
    node = fill;
    CONF_TRY(add_append(conf, &f, 2, &node));
    CONF_CALL(conf, cuGraphAddEmptyNode(&host, f.graph, NULL, 0));
    CONF_CALL(conf, cuGraphInstantiateWithFlags(&exec, f.graph, 0));
    CONF_CALL(conf, cuGraphLaunch(exec, f.stream));
    CONF_CALL(conf, cuGraphExecKernelNodeSetParams(exec, node, &params));
    CONF_CALL(conf, cuStreamSynchronize(f.stream));
    CONF_CALL(conf, cuMemcpyDtoH(&got, f.memory, 4));
    CONF_TRUE(conf, got == 33);
    CONF_CALL(conf, cuGraphExecMemsetNodeSetParams(exec, fill, &set, f.context));
    CONF_CALL(conf, cuGraphLaunch(exec, f.stream));
    CONF_CALL(conf, cuStreamSynchronize(f.stream));
    CONF_CALL(conf, cuMemcpyDtoH(&got, f.memory, 4));
    CONF_TRUE(conf, got == 9 * 31 + 7);
    CONF_CALL(conf, cuGraphNodeSetEnabled(exec, fill, 0));
    CONF_CALL(conf, cuGraphNodeGetEnabled(exec, fill, &enabled));
    CONF_TRUE(conf, enabled == 0);
    CONF_CALL(conf, cuGraphLaunch(exec, f.stream));
    CONF_CALL(conf, cuStreamSynchronize(f.stream));
    CONF_CALL(conf, cuMemcpyDtoH(&got, f.memory, 4));
    CONF_TRUE(conf, got == (9 * 31 + 7) * 31 + 7);
    CONF_EXPECT(conf, cuGraphNodeSetEnabled(exec, host, 0), CUDA_ERROR_INVALID_VALUE);
    CONF_CALL(conf, cuGraphExecDestroy(exec));
    return close_fixture(conf, &f);
}

/* An executable graph takes over the parameters of another graph of the same form. */
static enum conf_result update_whole(struct conf *conf)
{
    struct fixture f;
    CUgraphNode node = NULL;
    CUgraph first, second;
    CUgraphExec exec;
    CUgraphExecUpdateResultInfo info;
    uint32_t got;

    CONF_TRY(open_fixture(conf, &f));
    first = f.graph;
    CONF_TRY(add_append(conf, &f, 1, &node));
    CONF_TRY(add_append(conf, &f, 2, &node));
    CONF_CALL(conf, cuGraphInstantiateWithFlags(&exec, first, 0));
    CONF_CALL(conf, cuGraphCreate(&second, 0));
    f.graph = second;
    node = NULL;
    CONF_TRY(add_append(conf, &f, 3, &node));
    CONF_TRY(add_append(conf, &f, 4, &node));
    CONF_CALL(conf, cuGraphExecUpdate(exec, second, &info));
    CONF_TRUE(conf, info.result == CU_GRAPH_EXEC_UPDATE_SUCCESS);
    CONF_CALL(conf, cuGraphLaunch(exec, f.stream));
    CONF_CALL(conf, cuStreamSynchronize(f.stream));
    CONF_CALL(conf, cuMemcpyDtoH(&got, f.memory, 4));
    CONF_TRUE(conf, got == 3 * 31 + 4);
    CONF_TRY(add_append(conf, &f, 5, &node));
    CONF_EXPECT(conf, cuGraphExecUpdate(exec, second, &info), CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
    CONF_TRUE(conf, info.result == CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED);
    CONF_CALL(conf, cuGraphExecDestroy(exec));
    CONF_CALL(conf, cuGraphDestroy(second));
    f.graph = first;
    return close_fixture(conf, &f);
}

static enum conf_result cycle(struct conf *conf)
{
    struct fixture f;
    CUgraphNode first = NULL, second;
    CUgraphExec exec;

    CONF_TRY(open_fixture(conf, &f));
    CONF_TRY(add_append(conf, &f, 1, &first));
    second = first;
    CONF_TRY(add_append(conf, &f, 2, &second));
    if (conf->cu->cuGraphAddDependencies(f.graph, &second, &first, NULL, 1) == CUDA_SUCCESS)
        CONF_EXPECT(conf, cuGraphInstantiateWithFlags(&exec, f.graph, 0), CUDA_ERROR_INVALID_VALUE);
    return close_fixture(conf, &f);
}

static enum conf_result append(struct conf *conf, struct fixture *f, uint32_t digit,
                               CUstream stream)
{
    void *args[] = {&f->memory, &digit};

    CONF_CALL(conf, cuLaunchKernel(f->append, 1, 1, 1, 1, 1, 1, 0, stream, args, NULL));
    return CONF_PASS;
}

/* What is captured does not run; its graph does, as often as it is launched. */
static enum conf_result capture_stream(struct conf *conf)
{
    struct fixture f;
    CUstreamCaptureStatus status;
    CUgraph made = NULL;
    size_t count = 0;
    uint32_t got, want = 0;

    CONF_TRY(open_fixture(conf, &f));
    CONF_CALL(conf, cuStreamBeginCapture(f.stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
    CONF_CALL(conf, cuStreamIsCapturing(f.stream, &status));
    CONF_TRUE(conf, status == CU_STREAM_CAPTURE_STATUS_ACTIVE);
    CONF_EXPECT(conf, cuStreamBeginCapture(f.stream, CU_STREAM_CAPTURE_MODE_GLOBAL),
                CUDA_ERROR_ILLEGAL_STATE);
    CONF_CALL(conf, cuMemsetD32Async(f.memory, 1, 4, f.stream));
    CONF_TRY(append(conf, &f, 2, f.stream));
    CONF_CALL(conf, cuMemcpyDtoDAsync(f.memory + 4, f.memory, 4, f.stream));
    CONF_CALL(conf, cuStreamEndCapture(f.stream, &made));
    CONF_CALL(conf, cuStreamIsCapturing(f.stream, &status));
    CONF_TRUE(conf, status == CU_STREAM_CAPTURE_STATUS_NONE);
    CONF_CALL(conf, cuGraphGetNodes(made, NULL, &count));
    CONF_TRUE(conf, count == 3);
    CONF_CALL(conf, cuMemcpyDtoH(&got, f.memory, 4));
    CONF_TRUE(conf, got == 0);
    CONF_CALL(conf, cuGraphDestroy(f.graph));
    f.graph = made;
    CONF_TRY(run(conf, &f, 2, &got, 1));
    CONF_CALL(conf, cuMemcpyDtoH(&want, f.memory + 4, 4));
    CONF_TRUE(conf, got == 33 && want == 33);
    return close_fixture(conf, &f);
}

/* Another stream joins by an event, and is joined back by one. */
static enum conf_result capture_fork(struct conf *conf)
{
    struct fixture f;
    CUstream other;
    CUevent fork, joined;
    CUgraph made = NULL;
    uint32_t got;

    CONF_TRY(open_fixture(conf, &f));
    CONF_CALL(conf, cuStreamCreate(&other, CU_STREAM_NON_BLOCKING));
    CONF_CALL(conf, cuEventCreate(&fork, CU_EVENT_DISABLE_TIMING));
    CONF_CALL(conf, cuEventCreate(&joined, CU_EVENT_DISABLE_TIMING));
    CONF_CALL(conf, cuStreamBeginCapture(f.stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    CONF_TRY(append(conf, &f, 1, f.stream));
    CONF_CALL(conf, cuEventRecord(fork, f.stream));
    CONF_CALL(conf, cuStreamWaitEvent(other, fork, 0));
    CONF_TRY(append(conf, &f, 2, other));
    CONF_CALL(conf, cuEventRecord(joined, other));
    CONF_CALL(conf, cuStreamWaitEvent(f.stream, joined, 0));
    CONF_TRY(append(conf, &f, 3, f.stream));
    CONF_CALL(conf, cuStreamEndCapture(f.stream, &made));
    CONF_CALL(conf, cuGraphDestroy(f.graph));
    f.graph = made;
    CONF_TRY(run(conf, &f, 1, &got, 1));
    CONF_TRUE(conf, got == (31 + 2) * 31 + 3);
    CONF_CALL(conf, cuEventDestroy(fork));
    CONF_CALL(conf, cuEventDestroy(joined));
    CONF_CALL(conf, cuStreamDestroy(other));
    return close_fixture(conf, &f);
}

static enum conf_result expect_status(struct conf *conf, CUstream first, CUstream second,
                                      CUstreamCaptureStatus expected)
{
    const CUstream streams[] = {first, second};

    for (int i = 0; i < 2; i++) {
        CUstreamCaptureStatus status = (CUstreamCaptureStatus)-1;

        CONF_CALL(conf, cuStreamIsCapturing(streams[i], &status));
        CONF_TRUE(conf, status == expected);
    }
    return CONF_PASS;
}

/* A stream that joined a capture, and whether it was joined back or not. */
static enum conf_result end_joined(struct conf *conf, struct fixture *f, CUstream other,
                                   CUstreamCaptureMode mode, bool back)
{
    CUgraph made = f->graph;
    CUevent event;

    CONF_CALL(conf, cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
    CONF_CALL(conf, cuStreamBeginCapture(f->stream, mode));
    CONF_TRY(append(conf, f, 1, f->stream));
    CONF_CALL(conf, cuEventRecord(event, f->stream));
    CONF_CALL(conf, cuStreamWaitEvent(other, event, 0));
    CONF_TRY(append(conf, f, 2, other));
    if (back) {
        CONF_CALL(conf, cuEventRecord(event, other));
        CONF_CALL(conf, cuStreamWaitEvent(f->stream, event, 0));
    }
    CONF_EXPECT(conf, cuStreamEndCapture(other, &made), CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
    CONF_TRUE(conf, !made);
    CONF_TRY(expect_status(conf, f->stream, other, CU_STREAM_CAPTURE_STATUS_INVALIDATED));
    CONF_EXPECT(conf, cuMemsetD32Async(f->memory, 1, 1, f->stream),
                CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    CONF_EXPECT(conf, cuMemsetD32Async(f->memory, 1, 1, other),
                CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    made = f->graph;
    CONF_EXPECT(conf, cuStreamEndCapture(other, &made), CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
    CONF_TRUE(conf, !made);
    made = f->graph;
    CONF_EXPECT(conf, cuStreamEndCapture(f->stream, &made), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    CONF_TRUE(conf, !made);
    CONF_TRY(expect_status(conf, f->stream, other, CU_STREAM_CAPTURE_STATUS_NONE));
    CONF_CALL(conf, cuMemsetD32Async(f->memory, 1, 1, f->stream));
    CONF_CALL(conf, cuMemsetD32Async(f->memory, 1, 1, other));
    CONF_EXPECT(conf, cuStreamEndCapture(f->stream, &made), CUDA_ERROR_ILLEGAL_STATE);
    CONF_CALL(conf, cuEventDestroy(event));
    return CONF_PASS;
}

/* Only the stream that began a capture ends it; an attempt by another spoils it. */
static enum conf_result capture_unmatched(struct conf *conf)
{
    struct fixture f;
    CUstream other;

    CONF_TRY(open_fixture(conf, &f));
    CONF_CALL(conf, cuStreamCreate(&other, CU_STREAM_NON_BLOCKING));
    for (int mode = CU_STREAM_CAPTURE_MODE_GLOBAL; mode <= CU_STREAM_CAPTURE_MODE_RELAXED; mode++) {
        CONF_TRY(end_joined(conf, &f, other, (CUstreamCaptureMode)mode, false));
        CONF_TRY(end_joined(conf, &f, other, (CUstreamCaptureMode)mode, true));
    }
    CONF_CALL(conf, cuStreamDestroy(other));
    return close_fixture(conf, &f);
}

/* A stream that was not joined back, and a call that cannot be captured. */
static enum conf_result capture_refusals(struct conf *conf)
{
    struct fixture f;
    CUstream other;
    CUevent fork;
    CUgraph made = NULL;
    CUdeviceptr memory;
    CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;

    CONF_TRY(open_fixture(conf, &f));
    CONF_CALL(conf, cuStreamCreate(&other, CU_STREAM_NON_BLOCKING));
    CONF_CALL(conf, cuEventCreate(&fork, CU_EVENT_DISABLE_TIMING));
    CONF_EXPECT(conf, cuStreamBeginCapture(NULL, mode), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    CONF_EXPECT(conf, cuStreamEndCapture(f.stream, &made), CUDA_ERROR_ILLEGAL_STATE);
    CONF_CALL(conf, cuStreamBeginCapture(f.stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
    CONF_TRY(append(conf, &f, 1, f.stream));
    CONF_CALL(conf, cuEventRecord(fork, f.stream));
    CONF_CALL(conf, cuStreamWaitEvent(other, fork, 0));
    CONF_TRY(append(conf, &f, 2, other));
    CONF_EXPECT(conf, cuStreamEndCapture(f.stream, &made), CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
    CONF_CALL(conf, cuStreamBeginCapture(f.stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
    CONF_EXPECT(conf, cuStreamSynchronize(f.stream), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    CONF_EXPECT(conf, cuMemsetD32Async(f.memory, 1, 4, f.stream),
                CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    CONF_EXPECT(conf, cuStreamEndCapture(f.stream, &made), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    CONF_CALL(conf, cuStreamBeginCapture(f.stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
    CONF_CALL(conf, cuThreadExchangeStreamCaptureMode(&mode));
    CONF_TRUE(conf, mode == CU_STREAM_CAPTURE_MODE_GLOBAL);
    CONF_CALL(conf, cuMemAlloc(&memory, 4));
    CONF_CALL(conf, cuThreadExchangeStreamCaptureMode(&mode));
    CONF_CALL(conf, cuStreamEndCapture(f.stream, &made));
    CONF_CALL(conf, cuMemFree(memory));
    CONF_CALL(conf, cuGraphDestroy(made));
    CONF_CALL(conf, cuEventDestroy(fork));
    CONF_CALL(conf, cuStreamDestroy(other));
    return close_fixture(conf, &f);
}

/* A stream that captures may be destroyed: nothing is forbidden afterwards. */
static enum conf_result destroy_capturing(struct conf *conf)
{
    CUdeviceptr memory;
    CUstream stream;
    CUgraph graph;

    CONF_CALL(conf, cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    CONF_CALL(conf, cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
    if (conf->cu->cuStreamDestroy(stream) != CUDA_SUCCESS) {
        conf->cu->cuStreamEndCapture(stream, &graph);
        CONF_CALL(conf, cuStreamDestroy(stream));
    }
    CONF_CALL(conf, cuMemAlloc(&memory, 64));
    CONF_CALL(conf, cuMemFree(memory));
    CONF_CALL(conf, cuCtxSynchronize());
    return CONF_PASS;
}

/* A pool's allocation becomes a node, or is refused and the capture with it: it is never made. */
static enum conf_result pool_in_capture(struct conf *conf)
{
    CUdeviceptr memory = 0;
    CUstream stream;
    CUgraph graph;
    CUresult result;

    CONF_CALL(conf, cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    CONF_CALL(conf, cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    result = conf->cu->cuMemAllocAsync(&memory, 64, stream);
    if (result == CUDA_SUCCESS) {
        CONF_CALL(conf, cuMemFreeAsync(memory, stream));
        CONF_CALL(conf, cuStreamEndCapture(stream, &graph));
        CONF_CALL(conf, cuGraphDestroy(graph));
    } else {
        CONF_TRUE(conf, result == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
        CONF_EXPECT(conf, cuStreamEndCapture(stream, &graph),
                    CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    }
    CONF_CALL(conf, cuStreamDestroy(stream));
    return CONF_PASS;
}

static const struct conf_case cases[] = {
    {"destroy a stream in capture", destroy_capturing, false},
    {"pool in a capture", pool_in_capture, false},
    {"a chain, replayed", chain, false},
    {"device nodes", device_nodes, false},
    {"host nodes", host_nodes, false},
    {"event nodes", event_nodes, false},
    {"child graphs", child_graph, false},
    {"updates of nodes", update_nodes, false},
    {"update of a whole", update_whole, false},
    {"a cycle", cycle, false},
    {"capture", capture_stream, false},
    {"capture of two streams", capture_fork, false},
    {"capture ended by a stream that joined it", capture_unmatched, false},
    {"what capture refuses", capture_refusals, false},
};

void conf_graph_cases(conf_visit visit, void *context)
{
    conf_visit_cases("graph", cases, VGPU_ARRAY_SIZE(cases), visit, context);
}
