/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three programs as users write them, from data in ordinary memory to results in ordinary memory:
 * a chain of matrix products, a stencil, and a loop of many small kernels with one small download a
 * round, shaped like the decoding of a language model.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/cuda/bench.h"
#include "common/clock.h"

struct buffers {
    CUdeviceptr a, b, c;
    float *host;
    uint64_t bytes;
};

static void make(struct bench *bench, struct buffers *buffers, uint64_t floats)
{
    buffers->bytes = floats * sizeof(float);
    buffers->host = malloc(buffers->bytes);
    if (!buffers->host) {
        fprintf(stderr, "cuda_bench: out of memory\n");
        exit(1);
    }
    for (uint64_t i = 0; i < floats; i++)
        buffers->host[i] = (float)(i % 251) / 2510.0f;
    bench_must(bench->cu.cuMemAlloc(&buffers->a, buffers->bytes), "memory");
    bench_must(bench->cu.cuMemAlloc(&buffers->b, buffers->bytes), "memory");
    bench_must(bench->cu.cuMemAlloc(&buffers->c, buffers->bytes), "memory");
    bench_must(bench->cu.cuMemsetD8(buffers->c, 0, buffers->bytes), "memset");
}

static void drop(struct bench *bench, struct buffers *buffers)
{
    bench_must(bench->cu.cuMemFree(buffers->a), "free");
    bench_must(bench->cu.cuMemFree(buffers->b), "free");
    bench_must(bench->cu.cuMemFree(buffers->c), "free");
    free(buffers->host);
}

static void launch(struct bench *bench, CUfunction function, unsigned x, unsigned y,
                   unsigned block_x, unsigned block_y, void **params)
{
    bench_must(
        bench->cu.cuLaunchKernel(function, x, y, 1, block_x, block_y, 1, 0, NULL, params, NULL),
        "launch");
}

static void products(struct bench *bench, const struct buffers *at, unsigned size, unsigned steps)
{
    CUdeviceptr from = at->a, to = at->c;

    bench_must(bench->cu.cuMemcpyHtoD(at->a, at->host, at->bytes), "upload");
    bench_must(bench->cu.cuMemcpyHtoD(at->b, at->host, at->bytes), "upload");
    for (unsigned i = 0; i < steps; i++) {
        CUdeviceptr factor = at->b, next = from;
        void *params[] = {&from, &factor, &to, &size, &size, &size};

        launch(bench, bench->product, size / 16, size / 16, 16, 16, params);
        from = to;
        to = next;
    }
    bench_must(bench->cu.cuMemcpyDtoH(at->host, from, at->bytes), "download");
}

static void stencil(struct bench *bench, const struct buffers *at, unsigned size, unsigned steps)
{
    CUdeviceptr from = at->a, to = at->b;

    bench_must(bench->cu.cuMemcpyHtoD(at->a, at->host, at->bytes), "upload");
    bench_must(bench->cu.cuMemcpyDtoD(at->b, at->a, at->bytes), "copy");
    for (unsigned i = 0; i < steps; i++) {
        CUdeviceptr next = from;
        void *params[] = {&to, &from, &size};

        launch(bench, bench->stencil, size / 32, size / 8, 32, 8, params);
        from = to;
        to = next;
    }
    bench_must(bench->cu.cuMemcpyDtoH(at->host, from, at->bytes), "download");
}

/* 12 layers of 12 kernels a token; the token that comes back goes in again. */
static void decode(struct bench *bench, const struct buffers *at, unsigned size, unsigned tokens)
{
    CUdeviceptr y = at->c, x = at->a;
    void *params[] = {&y, &x, &size};
    float token = 1.0f;

    bench_must(bench->cu.cuMemcpyHtoD(at->a, at->host, at->bytes), "upload");
    for (unsigned i = 0; i < tokens; i++) {
        bench_must(bench->cu.cuMemcpyHtoD(at->c, &token, sizeof(token)), "upload");
        for (unsigned kernel = 0; kernel < 144; kernel++)
            launch(bench, bench->add, (size + 255) / 256, 1, 256, 1, params);
        bench_must(bench->cu.cuMemcpyDtoH(&token, at->c, sizeof(token)), "download");
    }
}

static void time_program(struct bench *bench, const char *name,
                         void (*program)(struct bench *, const struct buffers *, unsigned,
                                         unsigned),
                         uint64_t floats, unsigned size, unsigned steps)
{
    struct buffers buffers;
    unsigned samples = bench->quick ? 3 : 7;

    make(bench, &buffers, floats);
    program(bench, &buffers, size, steps); /* warm */
    for (unsigned i = 0; i < samples; i++) {
        uint64_t began = vgpu_clock_ns();

        program(bench, &buffers, size, steps);
        bench->times[i] = vgpu_clock_ns() - began;
    }
    bench_report(bench, name, samples, 1, 0);
    drop(bench, &buffers);
}

void bench_products(struct bench *bench)
{
    unsigned side = bench->quick ? 64 : 2048;

    time_program(bench, "program: chain of matrix products", products, (uint64_t)side * side, side,
                 bench->quick ? 4 : 64);
}

void bench_stencil(struct bench *bench)
{
    unsigned grid = bench->quick ? 128 : 4096;

    time_program(bench, "program: stencil", stencil, (uint64_t)grid * grid, grid,
                 bench->quick ? 8 : 1000);
}

void bench_decode(struct bench *bench)
{
    time_program(bench, "program: decode, many small kernels", decode, 65536,
                 bench->quick ? 1024 : 65536, bench->quick ? 3 : 100);
}
