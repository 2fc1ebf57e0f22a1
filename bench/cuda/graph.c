/* SPDX-License-Identifier: Apache-2.0 */
/* A graph of 100 launches in a row, replayed. */
#include "bench/cuda/bench.h"

#define NODES 100

static CUgraphExec exec;

static void replay(struct bench *bench)
{
    bench_must(bench->cu.cuGraphLaunch(exec, NULL), "graph launch");
    bench_synchronize(bench);
}

static CUgraph make_graph(struct bench *bench)
{
    CUDA_KERNEL_NODE_PARAMS params = {.func = bench->nothing,
                                      .gridDimX = 1,
                                      .gridDimY = 1,
                                      .gridDimZ = 1,
                                      .blockDimX = 1,
                                      .blockDimY = 1,
                                      .blockDimZ = 1};
    CUgraphNode last = NULL;
    CUgraph graph;

    bench_must(bench->cu.cuGraphCreate(&graph, 0), "graph");
    for (int i = 0; i < NODES; i++)
        bench_must(
            bench->cu.cuGraphAddKernelNode(&last, graph, i ? &last : NULL, i ? 1 : 0, &params),
            "graph node");
    return graph;
}

void bench_graph(struct bench *bench)
{
    CUgraph graph = make_graph(bench);

    bench_must(bench->cu.cuGraphInstantiateWithFlags(&exec, graph, 0), "graph");
    replay(bench);
    bench_repeat(bench, "graph of 100 nodes, replay and synchronise", bench->samples, replay, NULL);
    bench_must(bench->cu.cuGraphExecDestroy(exec), "graph");
    bench_must(bench->cu.cuGraphDestroy(graph), "graph");
}
