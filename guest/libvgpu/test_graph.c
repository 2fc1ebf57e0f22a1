/* SPDX-License-Identifier: Apache-2.0 */
/* libvgpu: how graphs are cut, replayed and changed, against a fake host. */
#include "guest/libvgpu/test_host.h"

#define BYTES 256

struct fixture {
    struct fake_host host;
    CUcontext context;
    CUdeviceptr memory;
    CUgraph graph;
    CUgraphNode last;
};

static unsigned calls; /* of host functions; the library's thread writes it */

static void count_call(void *data)
{
    __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
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

static void open_fixture(struct fixture *f)
{
    *f = (struct fixture){.host = {.on_record = call_back}};
    begin(&f->host, &f->context);
    assert_ok(cuMemAlloc_v2(&f->memory, BYTES));
    assert_ok(cuGraphCreate(&f->graph, 0));
}

static void close_fixture(struct fixture *f)
{
    assert_ok(cuGraphDestroy(f->graph));
    end(&f->host);
}

static CUDA_MEMSET_NODE_PARAMS fill_of(CUdeviceptr at, unsigned value)
{
    return (CUDA_MEMSET_NODE_PARAMS){
        .dst = at, .value = value, .elementSize = 1, .width = BYTES, .height = 1};
}

static void add_fill(struct fixture *f, unsigned value)
{
    const CUDA_MEMSET_NODE_PARAMS params = fill_of(f->memory, value);
    CUgraphNode before = f->last;

    assert_ok(
        cuGraphAddMemsetNode(&f->last, f->graph, &before, before ? 1 : 0, &params, f->context));
}

static void add_host(struct fixture *f)
{
    const CUDA_HOST_NODE_PARAMS params = {.fn = count_call};
    CUgraphNode before = f->last;

    assert_ok(cuGraphAddHostNode(&f->last, f->graph, &before, before ? 1 : 0, &params));
}

static void add_upload(struct fixture *f, const void *host, size_t bytes)
{
    const CUDA_MEMCPY3D copy = {.srcMemoryType = CU_MEMORYTYPE_HOST,
                                .srcHost = host,
                                .srcPitch = bytes,
                                .srcHeight = 1,
                                .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                                .dstDevice = f->memory,
                                .dstPitch = bytes,
                                .dstHeight = 1,
                                .WidthInBytes = bytes,
                                .Height = 1,
                                .Depth = 1};
    CUgraphNode before = f->last;

    assert_ok(cuGraphAddMemcpyNode(&f->last, f->graph, &before, before ? 1 : 0, &copy, f->context));
}

static CUgraphExec instantiate(struct fixture *f)
{
    CUgraphExec exec;

    assert_ok(cuGraphInstantiateWithFlags(&exec, f->graph, 0));
    return exec;
}

static void test_graph_replay_is_one_record(void **state)
{
    struct fixture f;
    CUgraphExec exec;

    open_fixture(&f);
    for (unsigned i = 0; i < 100; i++)
        add_fill(&f, i);
    exec = instantiate(&f);
    for (unsigned i = 0; i < 5; i++)
        assert_ok(cuGraphLaunch(exec, NULL));
    assert_ok(cuCtxSynchronize());
    assert_int_equal(fake_count_op(&f.host, CUDA_OP_GRAPH_CREATE), 1);
    assert_int_equal(fake_count_op(&f.host, CUDA_OP_GRAPH_LAUNCH), 5);
    assert_int_equal(fake_count_op(&f.host, CUDA_OP_FILL), 0);
    assert_ok(cuGraphExecDestroy(exec));
    assert_ok(cuCtxSynchronize());
    assert_int_equal(fake_count_op(&f.host, CUDA_OP_GRAPH_DESTROY), 1);
    close_fixture(&f);
}

static void test_graph_host_node_cuts_it(void **state)
{
    struct fixture f;
    CUgraphExec exec;

    open_fixture(&f);
    add_fill(&f, 1);
    add_host(&f);
    add_fill(&f, 2);
    exec = instantiate(&f);
    assert_int_equal(fake_count_op(&f.host, CUDA_OP_GRAPH_CREATE), 2);
    calls = 0;
    assert_ok(cuGraphLaunch(exec, NULL));
    assert_ok(cuGraphLaunch(exec, NULL));
    fake_await_op(&f.host, CUDA_OP_HOST_FUNCTION_DONE, 2);
    assert_int_equal(__atomic_load_n(&calls, __ATOMIC_SEQ_CST), 2);
    assert_int_equal(fake_count_op(&f.host, CUDA_OP_GRAPH_LAUNCH), 4);
    assert_int_equal(fake_count_op(&f.host, CUDA_OP_HOST_FUNCTION), 2);
    assert_ok(cuGraphExecDestroy(exec));
    assert_ok(cuCtxSynchronize());
    assert_int_equal(fake_count_op(&f.host, CUDA_OP_GRAPH_DESTROY), 2);
    close_fixture(&f);
}

/* What a copy of a graph reads is what its memory holds at each launch. */
static void upload_twice(void *host)
{
    struct fixture f;
    CUgraphExec exec;

    open_fixture(&f);
    if (!host)
        assert_ok(cuMemHostAlloc(&host, BYTES, 0));
    add_upload(&f, host, BYTES);
    exec = instantiate(&f);
    for (uint8_t value = 1; value <= 2; value++) {
        memset(host, value, BYTES);
        assert_ok(cuGraphLaunch(exec, NULL));
        assert_ok(cuCtxSynchronize());
        fake_settle(&f.host);
        for (unsigned i = 0; i < BYTES; i++)
            assert_int_equal(*fake_device(&f.host, f.memory + i), value);
        fake_settle(&f.host); /* what was read here lies before what the host writes next */
    }
    assert_ok(cuGraphExecDestroy(exec));
    close_fixture(&f);
}

static void test_graph_copies_page_locked_memory(void **state)
{
    upload_twice(NULL);
}

static void test_graph_copies_ordinary_memory(void **state)
{
    uint8_t host[BYTES];

    upload_twice(host);
}

static void test_graph_change_is_one_record(void **state)
{
    struct fixture f;
    CUDA_MEMSET_NODE_PARAMS params;
    CUgraphExec exec;

    open_fixture(&f);
    add_fill(&f, 1);
    add_fill(&f, 2);
    exec = instantiate(&f);
    params = fill_of(f.memory, 3);
    assert_ok(cuGraphExecMemsetNodeSetParams(exec, f.last, &params, f.context));
    assert_ok(cuGraphLaunch(exec, NULL));
    assert_ok(cuCtxSynchronize());
    assert_int_equal(fake_count_op(&f.host, CUDA_OP_GRAPH_SET_NODE), 1);
    assert_int_equal(fake_count_op(&f.host, CUDA_OP_GRAPH_CREATE), 1);
    close_fixture(&f);
}

/* An executable graph of the same shape takes all nodes of another; others are refused whole. */
static void test_graph_update_takes_the_same_shape(void **state)
{
    CUgraphExecUpdateResultInfo info;
    struct fixture f;
    CUgraph first;
    CUgraphExec exec;

    open_fixture(&f);
    add_fill(&f, 1);
    exec = instantiate(&f);
    first = f.graph;
    f.last = NULL;
    assert_ok(cuGraphCreate(&f.graph, 0));
    add_fill(&f, 2);
    assert_ok(cuGraphExecUpdate_v2(exec, f.graph, &info));
    assert_ok(cuCtxSynchronize());
    assert_int_equal(fake_count_op(&f.host, CUDA_OP_GRAPH_SET_NODE), 1);
    add_host(&f);
    assert_int_equal(cuGraphExecUpdate_v2(exec, f.graph, &info),
                     CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
    assert_int_equal(fake_count_op(&f.host, CUDA_OP_GRAPH_SET_NODE), 1);
    assert_ok(cuGraphDestroy(first));
    close_fixture(&f);
}

/* The worker's part of a graph goes with its context; a launch after that is refused here. */
static void test_graph_ends_with_its_context(void **state)
{
    struct fixture f;
    CUcontext other;
    CUgraphExec exec;
    unsigned launches;

    open_fixture(&f);
    add_fill(&f, 1);
    exec = instantiate(&f);
    assert_ok(cuGraphLaunch(exec, NULL));
    assert_ok(cuCtxDestroy_v2(f.context));
    assert_ok(cuCtxCreate_v2(&other, 0, 0));
    launches = fake_count_op(&f.host, CUDA_OP_GRAPH_LAUNCH);
    assert_int_not_equal(cuGraphLaunch(exec, NULL), CUDA_SUCCESS);
    assert_ok(cuCtxSynchronize());
    assert_int_equal(fake_count_op(&f.host, CUDA_OP_GRAPH_LAUNCH), launches);
    close_fixture(&f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest both[] = {
        cmocka_unit_test(test_graph_replay_is_one_record),
        cmocka_unit_test(test_graph_host_node_cuts_it),
        cmocka_unit_test(test_graph_copies_page_locked_memory),
        cmocka_unit_test(test_graph_copies_ordinary_memory),
        cmocka_unit_test(test_graph_change_is_one_record),
        cmocka_unit_test(test_graph_update_takes_the_same_shape),
        cmocka_unit_test(test_graph_ends_with_its_context),
    };

    return run_both(argc, argv, both, VGPU_ARRAY_SIZE(both), NULL, 0);
}
