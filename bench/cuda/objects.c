/* SPDX-License-Identifier: Apache-2.0 */
/* Memory, modules, streams, events: made and given back. */
#include "bench/cuda/bench.h"
#include "guest/client/workload_ptx.h"

static void memory(struct bench *bench)
{
    CUdeviceptr address;

    bench_must(bench->cu.cuMemAlloc(&address, 1 << 20), "alloc");
    bench_must(bench->cu.cuMemFree(address), "free");
}

static void page_locked_memory(struct bench *bench)
{
    void *host;

    bench_must(bench->cu.cuMemHostAlloc(&host, 1 << 20, 0), "page-locked memory");
    bench_must(bench->cu.cuMemFreeHost(host), "page-locked memory");
}

static void module(struct bench *bench)
{
    CUmodule loaded;
    CUfunction function;

    bench_must(bench->cu.cuModuleLoadData(&loaded, workload_ptx_matmul), "module");
    bench_must(bench->cu.cuModuleGetFunction(&function, loaded, "matmul"), "function");
    bench_must(bench->cu.cuModuleUnload(loaded), "module");
}

static void stream(struct bench *bench)
{
    CUstream made;

    bench_must(bench->cu.cuStreamCreate(&made, CU_STREAM_NON_BLOCKING), "stream");
    bench_must(bench->cu.cuStreamDestroy(made), "stream");
}

static void event(struct bench *bench)
{
    CUevent made;

    bench_must(bench->cu.cuEventCreate(&made, CU_EVENT_DISABLE_TIMING), "event");
    bench_must(bench->cu.cuEventDestroy(made), "event");
}

void bench_objects(struct bench *bench)
{
    bench_repeat(bench, "alloc and free, 1 MiB", bench->samples, memory, NULL);
    bench_repeat(bench, "page-locked alloc and free, 1 MiB", bench->samples, page_locked_memory,
                 NULL);
    bench_repeat(bench, "module load, PTX", bench->quick ? 5 : 20, module, NULL);
    bench_repeat(bench, "stream create and destroy", bench->samples, stream, bench_synchronize);
    bench_repeat(bench, "event create and destroy", bench->samples, event, bench_synchronize);
}
