/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda_bench [--samples N] [--max-size BYTES] [--quick] [--only GROUP] DRIVER: measures a driver
 * and prints JSON. Groups: latency, floods, graph, copies, objects, products, stencil, decode.
 */
#include "bench/cuda/bench.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "guest/client/workload_ptx.h"

#define DEFAULT_SAMPLES 200u

static const struct {
    const char *name;
    void (*run)(struct bench *bench);
} groups[] = {
    {"latency", bench_latency}, {"floods", bench_floods},   {"graph", bench_graph},
    {"copies", bench_copies},   {"objects", bench_objects}, {"products", bench_products},
    {"stencil", bench_stencil}, {"decode", bench_decode},
};

void bench_must(CUresult result, const char *what)
{
    if (result == CUDA_SUCCESS)
        return;
    fprintf(stderr, "cuda_bench: %s: CUDA error %d\n", what, (int)result);
    exit(1);
}

static int compare_times(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

    return (left > right) - (left < right);
}

static double quantile_us(const uint64_t *sorted, unsigned count, unsigned percent, unsigned per)
{
    return (double)sorted[(uint64_t)(count - 1) * percent / 100] / per / 1e3;
}

void bench_report(struct bench *bench, const char *name, unsigned count, unsigned per,
                  uint64_t bytes)
{
    json_t *row;

    qsort(bench->times, count, sizeof(*bench->times), compare_times);
    row = json_pack("{s:s, s:I, s:i, s:f, s:f, s:f, s:f}", "name", name, "bytes", (json_int_t)bytes,
                    "samples", (int)count, "p10_us", quantile_us(bench->times, count, 10, per),
                    "p50_us", quantile_us(bench->times, count, 50, per), "p90_us",
                    quantile_us(bench->times, count, 90, per), "p99_us",
                    quantile_us(bench->times, count, 99, per));
    json_array_append_new(bench->rows, row);
}

void bench_repeat(struct bench *bench, const char *name, unsigned count,
                  void (*call)(struct bench *bench), void (*after)(struct bench *bench))
{
    if (count > BENCH_MAX_SAMPLES)
        count = BENCH_MAX_SAMPLES;
    for (unsigned i = 0; i < count; i++) {
        uint64_t began = vgpu_clock_ns();

        call(bench);
        bench->times[i] = vgpu_clock_ns() - began;
        if (after)
            after(bench);
    }
    bench_report(bench, name, count, 1, 0);
}

void bench_launch_nothing(struct bench *bench, CUstream stream)
{
    bench_must(bench->cu.cuLaunchKernel(bench->nothing, 1, 1, 1, 1, 1, 1, 0, stream, NULL, NULL),
               "launch");
}

void bench_synchronize(struct bench *bench)
{
    bench_must(bench->cu.cuCtxSynchronize(), "synchronize");
}

void bench_fill_random(void *data, uint64_t bytes, uint64_t seed)
{
    uint64_t state = seed | 1;
    uint8_t *to = data;

    /* xorshift64 (Marsaglia 2003). */
    for (uint64_t i = 0; i < bytes; i += sizeof(state)) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        memcpy(to + i, &state, bytes - i < sizeof(state) ? bytes - i : sizeof(state));
    }
}

static void get_function(struct bench *bench, CUfunction *ret, const char *name)
{
    bench_must(bench->cu.cuModuleGetFunction(ret, bench->module, name), name);
}

static void prepare(struct bench *bench)
{
    CUmodule product;

    bench_must(bench->cu.cuInit(0), "cuInit");
    bench_must(bench->cu.cuDevicePrimaryCtxRetain(&bench->context, 0), "context");
    bench_must(bench->cu.cuCtxSetCurrent(bench->context), "context");
    bench_must(bench->cu.cuModuleLoadData(&bench->module, bench_ptx), "module");
    get_function(bench, &bench->nothing, "nothing");
    get_function(bench, &bench->stencil, "stencil");
    get_function(bench, &bench->add, "add");
    bench_must(bench->cu.cuModuleLoadData(&product, workload_ptx_matmul), "module");
    bench_must(bench->cu.cuModuleGetFunction(&bench->product, product, "matmul"), "matmul");
    bench_must(bench->cu.cuMemAlloc(&bench->device, bench->max_bytes), "memory");
    bench_must(bench->cu.cuMemsetD8(bench->device, 0, bench->max_bytes), "memset");
    for (int i = 0; i < 100; i++)
        bench_launch_nothing(bench, NULL);
    bench_synchronize(bench);
}

static uint64_t number(const char *text, uint64_t least, uint64_t most, const char *option)
{
    char *end;
    unsigned long long value = strtoull(text, &end, 0);

    if (*text < '0' || *text > '9' || *end || value < least || value > most) {
        fprintf(stderr, "cuda_bench: %s takes a number from %llu to %llu, not '%s'\n", option,
                (unsigned long long)least, (unsigned long long)most, text);
        exit(2);
    }
    return value;
}

static const char *parse(struct bench *bench, int argc, char **argv)
{
    static const struct option options[] = {{"samples", required_argument, NULL, 's'},
                                            {"max-size", required_argument, NULL, 'm'},
                                            {"only", required_argument, NULL, 'o'},
                                            {"quick", no_argument, NULL, 'q'},
                                            {NULL, 0, NULL, 0}};
    int key;

    while ((key = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (key == 's')
            bench->samples = (unsigned)number(optarg, 1, BENCH_MAX_SAMPLES, "--samples");
        else if (key == 'm')
            bench->max_bytes = number(optarg, 1 << 20, BENCH_MAX_BYTES, "--max-size");
        else if (key == 'o')
            bench->only = optarg;
        else if (key == 'q')
            bench->quick = true;
        else
            exit(2);
    }
    if (optind + 1 != argc) {
        fprintf(stderr, "usage: cuda_bench [--samples N] [--max-size BYTES] [--quick] "
                        "[--only GROUP] DRIVER\n");
        exit(2);
    }
    return argv[optind];
}

static bool run_groups(struct bench *bench)
{
    bool any = false;

    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
        if (bench->only && strcmp(bench->only, groups[i].name) != 0)
            continue;
        groups[i].run(bench);
        any = true;
    }
    return any;
}

int main(int argc, char **argv)
{
    struct bench bench = {.samples = DEFAULT_SAMPLES, .max_bytes = 64 << 20};
    const char *path = parse(&bench, argc, argv);
    struct vgpu_err err = {0};
    json_t *all;

    if (cuda_driver_load(&bench.cu, path, &err) < 0) {
        fprintf(stderr, "cuda_bench: %s\n", err.text);
        return 1;
    }
    bench.rows = json_array();
    bench.times = calloc(BENCH_MAX_SAMPLES, sizeof(*bench.times));
    if (!bench.rows || !bench.times) {
        fprintf(stderr, "cuda_bench: out of memory\n");
        return 1;
    }
    prepare(&bench);
    if (!run_groups(&bench)) {
        fprintf(stderr, "cuda_bench: no group is called '%s'\n", bench.only);
        return 2;
    }
    all = json_pack("{s:s, s:o}", "driver", path, "results", bench.rows);
    json_dumpf(all, stdout, JSON_INDENT(1));
    putchar('\n');
    json_decref(all);
    free(bench.times);
    return 0;
}
