/* SPDX-License-Identifier: Apache-2.0 */
/* Single calls, and launches in bursts and floods. */
#include "bench/cuda/bench.h"

#include "common/clock.h"

/* A burst fits the smallest ring that a channel is given by default. */
#define BURST 64u

static CUevent event;

static void launch_default(struct bench *bench)
{
    bench_launch_nothing(bench, NULL);
}

static void launch_and_synchronize(struct bench *bench)
{
    bench_launch_nothing(bench, NULL);
    bench_synchronize(bench);
}

static void record_and_query(struct bench *bench)
{
    CUresult result;

    bench_must(bench->cu.cuEventRecord(event, NULL), "record");
    result = bench->cu.cuEventQuery(event);
    if (result != CUDA_ERROR_NOT_READY)
        bench_must(result, "query");
}

static void query_done(struct bench *bench)
{
    bench_must(bench->cu.cuEventQuery(event), "query");
}

static void memory_info(struct bench *bench)
{
    size_t free_bytes, total_bytes;

    bench_must(bench->cu.cuMemGetInfo(&free_bytes, &total_bytes), "memory info");
}

static void bursts(struct bench *bench)
{
    for (unsigned i = 0; i < bench->samples; i++) {
        uint64_t began = vgpu_clock_ns();

        for (unsigned n = 0; n < BURST; n++)
            bench_launch_nothing(bench, NULL);
        bench->times[i] = vgpu_clock_ns() - began;
        bench_synchronize(bench);
    }
    bench_report(bench, "issue of a launch, bursts of 64", bench->samples, BURST, 0);
}

void bench_latency(struct bench *bench)
{
    unsigned many = bench->samples * 20;

    bench_must(bench->cu.cuEventCreate(&event, CU_EVENT_DISABLE_TIMING), "event");
    bench_repeat(bench, "null launch", many, launch_default, bench_synchronize);
    bench_repeat(bench, "launch and synchronise", many, launch_and_synchronize, NULL);
    bursts(bench);
    bench_repeat(bench, "idle synchronise", many, bench_synchronize, NULL);
    bench_repeat(bench, "event record and query", many, record_and_query, bench_synchronize);
    bench_repeat(bench, "query of an event that is done", many, query_done, NULL);
    bench_repeat(bench, "memory info", bench->samples, memory_info, NULL);
    bench_must(bench->cu.cuEventDestroy(event), "event");
}

static void flood(struct bench *bench, const char *name, unsigned streams, unsigned launches,
                  unsigned samples)
{
    CUstream to[8] = {NULL};

    for (unsigned i = 0; i < streams; i++)
        bench_must(bench->cu.cuStreamCreate(&to[i], CU_STREAM_NON_BLOCKING), "stream");
    for (unsigned i = 0; i < samples; i++) {
        uint64_t began = vgpu_clock_ns();

        for (unsigned n = 0; n < launches; n++)
            bench_launch_nothing(bench, to[n % streams]);
        bench_synchronize(bench);
        bench->times[i] = vgpu_clock_ns() - began;
    }
    for (unsigned i = 0; i < streams; i++)
        bench_must(bench->cu.cuStreamDestroy(to[i]), "stream");
    bench_report(bench, name, samples, launches, 0);
}

void bench_floods(struct bench *bench)
{
    unsigned launches = bench->quick ? 2000 : 20000;

    flood(bench, "launch in a flood, 1 stream", 1, launches, 5);
    flood(bench, "launch in a flood, 2 streams", 2, launches, 5);
    flood(bench, "launch in a flood, 4 streams", 4, launches, 5);
    flood(bench, "launch in a flood, 8 streams", 8, launches, 5);
    flood(bench, "launch, 200,000 back to back", 1, bench->quick ? 20000 : 200000, 3);
}
