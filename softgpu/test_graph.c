/* SPDX-License-Identifier: Apache-2.0 */
/* Graphs: making, asking, instantiating, launching. */
#include "softgpu/testing.h"

static CUgraph graph_new(void)
{
    CUgraph graph;

    assert_ok(cu.cuGraphCreate(&graph, 0));
    return graph;
}

static CUgraphNode add_store(CUgraph graph, const CUgraphNode *after, size_t count,
                             CUfunction function, CUdeviceptr cell, uint32_t value)
{
    void *args[] = {&cell, &value};
    const CUDA_KERNEL_NODE_PARAMS params = {.func = function,
                                            .gridDimX = 1,
                                            .gridDimY = 1,
                                            .gridDimZ = 1,
                                            .blockDimX = 1,
                                            .blockDimY = 1,
                                            .blockDimZ = 1,
                                            .kernelParams = args};
    CUgraphNode node;

    assert_ok(cu.cuGraphAddKernelNode(&node, graph, after, count, &params));
    return node;
}

static CUgraphNode add_copy(CUgraph graph, const CUgraphNode *after, size_t count, CUdeviceptr to,
                            CUdeviceptr from, size_t bytes)
{
    const CUDA_MEMCPY3D copy = {.srcMemoryType = CU_MEMORYTYPE_DEVICE,
                                .srcDevice = from,
                                .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                                .dstDevice = to,
                                .WidthInBytes = bytes,
                                .Height = 1,
                                .Depth = 1};
    CUgraphNode node;

    assert_ok(cu.cuGraphAddMemcpyNode(&node, graph, after, count, &copy, testing_context));
    return node;
}

static CUgraphNode add_fill(CUgraph graph, CUdeviceptr at, uint32_t value, size_t count)
{
    const CUDA_MEMSET_NODE_PARAMS fill = {
        .dst = at, .value = value, .elementSize = 4, .width = count, .height = 1};
    CUgraphNode node;

    assert_ok(cu.cuGraphAddMemsetNode(&node, graph, NULL, 0, &fill, testing_context));
    return node;
}

static void run(CUgraph graph)
{
    CUgraphExec exec;

    assert_ok(cu.cuGraphInstantiateWithFlags(&exec, graph, 0));
    assert_ok(cu.cuGraphLaunch(exec, NULL));
    assert_ok(cu.cuGraphExecDestroy(exec));
    assert_ok(cu.cuCtxSynchronize());
}

static uint32_t word(CUdeviceptr at)
{
    uint32_t value;

    assert_ok(cu.cuMemcpyDtoH(&value, at, 4));
    return value;
}

static void test_graph_runs_nodes_in_order(void **state)
{
    CUfunction store = testing_function("store");
    CUdeviceptr memory = testing_alloc(64);
    CUgraph graph = graph_new();
    CUgraphNode fill = add_fill(graph, memory, 9, 16), kernel;

    (void)state;
    kernel = add_store(graph, &fill, 1, store, memory, 5);
    add_copy(graph, &kernel, 1, memory + 8, memory, 4);
    run(graph);
    assert_int_equal(word(memory), 5);
    assert_int_equal(word(memory + 4), 9);
    assert_int_equal(word(memory + 8), 5);
    assert_ok(cu.cuGraphDestroy(graph));
}

/* The executable graph is a copy: what happens to the graph behind it does not matter. */
static void test_graph_exec_outlives_graph(void **state)
{
    CUdeviceptr memory = testing_alloc(4);
    CUgraph graph = graph_new();
    CUgraphExec exec;

    (void)state;
    add_fill(graph, memory, 3, 1);
    assert_ok(cu.cuGraphInstantiateWithFlags(&exec, graph, 0));
    assert_ok(cu.cuGraphDestroy(graph));
    assert_ok(cu.cuGraphLaunch(exec, NULL));
    assert_int_equal(word(memory), 3);
    assert_ok(cu.cuMemsetD32(memory, 0, 1));
    assert_ok(cu.cuGraphLaunch(exec, NULL));
    assert_int_equal(word(memory), 3);
    assert_ok(cu.cuGraphExecDestroy(exec));
    assert_int_equal(cu.cuGraphLaunch(exec, NULL), CUDA_ERROR_INVALID_VALUE);
}

static void test_graph_child_runs_inside(void **state)
{
    CUfunction store = testing_function("store");
    CUdeviceptr memory = testing_alloc(8);
    CUgraph graph = graph_new(), child = graph_new(), owned;
    CUgraphNode first = add_store(graph, NULL, 0, store, memory, 1), inner, node;

    (void)state;
    inner = add_store(child, NULL, 0, store, memory, 2);
    assert_ok(cu.cuGraphAddChildGraphNode(&node, graph, &first, 1, child));
    assert_ok(cu.cuGraphDestroy(child));
    add_copy(graph, &node, 1, memory + 4, memory, 4);
    run(graph);
    assert_int_equal(word(memory + 4), 2);
    assert_ok(cu.cuGraphChildGraphNodeGetGraph(node, &owned));
    assert_int_equal(cu.cuGraphDestroy(owned), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuGraphNodeFindInClone(&node, inner, owned));
    assert_ok(cu.cuGraphDestroy(graph));
}

static void count_up(void *count)
{
    ++*(int *)count;
}

static void test_graph_host_and_event_nodes(void **state)
{
    CUdeviceptr memory = testing_alloc(4);
    CUgraph graph = graph_new();
    CUgraphNode fill = add_fill(graph, memory, 1, 1), host, record;
    CUstream stream;
    CUevent event;
    int count = 0;
    const CUDA_HOST_NODE_PARAMS call = {count_up, &count};

    (void)state;
    assert_ok(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    assert_ok(cu.cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
    assert_ok(cu.cuGraphAddHostNode(&host, graph, &fill, 1, &call));
    assert_ok(cu.cuGraphAddEventRecordNode(&record, graph, &host, 1, event));
    run(graph);
    assert_ok(cu.cuEventSynchronize(event));
    assert_int_equal(count, 1);
    assert_ok(cu.cuStreamDestroy(stream));
    assert_ok(cu.cuGraphDestroy(graph));
}

static void test_graph_lists_nodes_and_edges(void **state)
{
    CUgraph graph = graph_new();
    CUgraphNode a, b, got[4], from[2], to[2];
    CUgraphNodeType type;
    size_t count;

    (void)state;
    assert_ok(cu.cuGraphAddEmptyNode(&a, graph, NULL, 0));
    assert_ok(cu.cuGraphAddEmptyNode(&b, graph, &a, 1));
    assert_ok(cu.cuGraphGetNodes(graph, NULL, &count));
    assert_int_equal(count, 2);
    count = 4;
    assert_ok(cu.cuGraphGetNodes(graph, got, &count));
    assert_int_equal(count, 2);
    assert_null(got[2]);
    count = 4;
    assert_ok(cu.cuGraphGetRootNodes(graph, got, &count));
    assert_int_equal(count, 1);
    assert_ptr_equal(got[0], a);
    count = 2;
    assert_ok(cu.cuGraphGetEdges(graph, from, to, NULL, &count));
    assert_int_equal(count, 1);
    assert_ptr_equal(from[0], a);
    assert_ptr_equal(to[0], b);
    count = 1;
    assert_ok(cu.cuGraphNodeGetDependencies(b, got, NULL, &count));
    assert_ptr_equal(got[0], a);
    assert_ok(cu.cuGraphNodeGetType(a, &type));
    assert_int_equal(type, CU_GRAPH_NODE_TYPE_EMPTY);
    assert_ok(cu.cuGraphRemoveDependencies(graph, &a, &b, NULL, 1));
    assert_ok(cu.cuGraphGetRootNodes(graph, NULL, &count));
    assert_int_equal(count, 2);
    assert_ok(cu.cuGraphDestroyNode(a));
    assert_int_equal(cu.cuGraphNodeGetType(a, &type), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuGraphDestroy(graph));
}

static void test_graph_bad_arguments(void **state)
{
    CUfunction noarg = testing_function("noarg");
    CUgraph graph = graph_new();
    CUDA_KERNEL_NODE_PARAMS kernel = {.func = noarg, .gridDimX = 1, .gridDimY = 1, .gridDimZ = 1};
    CUDA_MEMSET_NODE_PARAMS fill = {.dst = 2, .elementSize = 3, .width = 1, .height = 1};
    CUgraphExec exec;
    CUgraphNode node;

    (void)state;
    assert_int_equal(cu.cuGraphCreate(NULL, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuGraphCreate(&graph, 1), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuGraphAddKernelNode(&node, graph, NULL, 0, &kernel),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuGraphAddMemsetNode(&node, graph, NULL, 0, &fill, testing_context),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuGraphInstantiateWithFlags(&exec, graph, 64), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuGraphDestroy(graph));
    assert_int_equal(cu.cuGraphDestroy(graph), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuGraphInstantiateWithFlags(&exec, graph, 0), CUDA_ERROR_INVALID_VALUE);
}

static void test_graph_kernel_params_are_copied(void **state)
{
    CUfunction store = testing_function("store");
    CUdeviceptr memory = testing_alloc(4);
    CUgraph graph = graph_new();
    CUgraphNode node = add_store(graph, NULL, 0, store, memory, 41);
    CUDA_KERNEL_NODE_PARAMS params;

    (void)state;
    assert_ok(cu.cuGraphKernelNodeGetParams(node, &params));
    assert_ptr_equal(params.func, store);
    assert_int_equal(*(uint32_t *)params.kernelParams[1], 41);
    *(uint32_t *)params.kernelParams[1] = 42;
    assert_ok(cu.cuGraphKernelNodeSetParams(node, &params));
    run(graph);
    assert_int_equal(word(memory), 42);
    assert_ok(cu.cuGraphDestroy(graph));
}

/* A capture takes as many nodes as a graph can have, and is invalid with one more. */
static void test_graph_capture_is_limited(void **state)
{
    CUdeviceptr cell = testing_alloc(4);
    CUstream stream;
    CUgraph graph;

    (void)state;
    assert_ok(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    for (unsigned more = 0; more < 2; more++) {
        assert_ok(cu.cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
        for (unsigned i = 0; i < 16384; i++)
            assert_ok(cu.cuMemsetD32Async(cell, i, 1, stream));
        if (more)
            assert_int_equal(cu.cuMemsetD32Async(cell, 0, 1, stream), CUDA_ERROR_OUT_OF_MEMORY);
        assert_int_equal(cu.cuStreamEndCapture(stream, &graph),
                         more ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : CUDA_SUCCESS);
        if (!more)
            assert_ok(cu.cuGraphDestroy(graph));
    }
    assert_ok(cu.cuStreamDestroy(stream));
    assert_ok(cu.cuMemFree(cell));
}

/* What a destroyed stream or context captured is gone, and nothing stays forbidden. */
static void test_graph_capture_ends_with_its_stream(void **state)
{
    CUstream first, second;
    CUcontext context;
    CUevent event;
    CUgraph graph;

    (void)state;
    assert_ok(cu.cuStreamCreate(&first, CU_STREAM_NON_BLOCKING));
    assert_ok(cu.cuStreamCreate(&second, CU_STREAM_NON_BLOCKING));
    assert_ok(cu.cuEventCreate(&event, 0));
    assert_ok(cu.cuStreamBeginCapture(first, CU_STREAM_CAPTURE_MODE_GLOBAL));
    assert_ok(cu.cuEventRecord(event, first));
    assert_ok(cu.cuStreamWaitEvent(second, event, 0));
    assert_ok(cu.cuStreamDestroy(second)); /* cannot be joined any more */
    assert_int_equal(cu.cuStreamEndCapture(first, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    assert_ok(cu.cuStreamBeginCapture(first, CU_STREAM_CAPTURE_MODE_GLOBAL));
    assert_ok(cu.cuStreamDestroy(first));
    assert_ok(cu.cuCtxSynchronize());
    assert_ok(cu.cuCtxCreate_v2(&context, 0, 0));
    assert_ok(cu.cuStreamCreate(&first, CU_STREAM_NON_BLOCKING));
    assert_ok(cu.cuStreamBeginCapture(first, CU_STREAM_CAPTURE_MODE_GLOBAL));
    assert_ok(cu.cuCtxDestroy(context));
    assert_ok(cu.cuCtxSynchronize());
    assert_ok(cu.cuEventDestroy(event));
}

static void test_graph_capture_refuses_pools(void **state)
{
    CUdeviceptr memory, before;
    CUstream stream;
    CUgraph graph;

    (void)state;
    assert_ok(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    assert_ok(cu.cuMemAllocAsync(&before, 64, stream));
    for (unsigned call = 0; call < 2; call++) {
        assert_ok(cu.cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
        assert_int_equal(call ? cu.cuMemFreeAsync(before, stream)
                              : cu.cuMemAllocAsync(&memory, 64, stream),
                         CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
        assert_int_equal(cu.cuStreamEndCapture(stream, &graph),
                         CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    }
    assert_ok(cu.cuMemFreeAsync(before, stream));
    assert_ok(cu.cuStreamSynchronize(stream));
    assert_ok(cu.cuStreamDestroy(stream));
}

/* What may wait for the device, or ask it, is forbidden while a capture says so. */
static void test_graph_capture_forbids(void **state)
{
    CUstream stream, other;
    CUdeviceptr managed = 0;
    CUevent event;
    CUgraph graph;
    void *host = NULL;

    (void)state;
    assert_ok(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    assert_ok(cu.cuStreamCreate(&other, CU_STREAM_NON_BLOCKING));
    assert_ok(cu.cuEventCreate(&event, 0));
    for (unsigned call = 0; call < 10; call++) {
        bool relaxed = call >= 5;
        CUresult result;

        assert_ok(cu.cuStreamBeginCapture(stream, relaxed ? CU_STREAM_CAPTURE_MODE_RELAXED
                                                          : CU_STREAM_CAPTURE_MODE_GLOBAL));
        switch (call % 5) {
        case 0:
            result = cu.cuEventQuery(event);
            break;
        case 1:
            result = cu.cuStreamQuery(other);
            break;
        case 2:
            result = cu.cuMemHostAlloc(&host, 64, 0);
            break;
        case 3:
            result = cu.cuMemFreeHost(relaxed ? host : NULL);
            break;
        default:
            result = cu.cuMemAllocManaged(&managed, 64, CU_MEM_ATTACH_GLOBAL);
        }
        assert_int_equal(result, relaxed ? CUDA_SUCCESS : CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
        assert_int_equal(cu.cuStreamEndCapture(stream, &graph),
                         relaxed ? CUDA_SUCCESS : CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
        if (relaxed)
            assert_ok(cu.cuGraphDestroy(graph));
    }
    assert_ok(cu.cuMemFree(managed));
    assert_ok(cu.cuEventDestroy(event));
    assert_ok(cu.cuStreamDestroy(other));
    assert_ok(cu.cuStreamDestroy(stream));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_graph_runs_nodes_in_order, testing_open,
                                        testing_close),
        cmocka_unit_test_setup_teardown(test_graph_exec_outlives_graph, testing_open,
                                        testing_close),
        cmocka_unit_test_setup_teardown(test_graph_child_runs_inside, testing_open, testing_close),
        cmocka_unit_test_setup_teardown(test_graph_host_and_event_nodes, testing_open,
                                        testing_close),
        cmocka_unit_test_setup_teardown(test_graph_lists_nodes_and_edges, testing_open,
                                        testing_close),
        cmocka_unit_test_setup_teardown(test_graph_bad_arguments, testing_open, testing_close),
        cmocka_unit_test_setup_teardown(test_graph_kernel_params_are_copied, testing_open,
                                        testing_close),
        cmocka_unit_test_setup_teardown(test_graph_capture_is_limited, testing_open, testing_close),
        cmocka_unit_test_setup_teardown(test_graph_capture_ends_with_its_stream, testing_open,
                                        testing_close),
        cmocka_unit_test_setup_teardown(test_graph_capture_refuses_pools, testing_open,
                                        testing_close),
        cmocka_unit_test_setup_teardown(test_graph_capture_forbids, testing_open, testing_close),
    };

    testing_load(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
