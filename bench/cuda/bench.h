/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda_bench: what calls of a CUDA driver cost. One program measures any library of the driver API
 * that it is given by path: NVIDIA's, softgpu, or the guest's libcuda.so.1, so that
 * bench/compare.py compares like with like. main.c opens the driver and prints; the others measure.
 */
#ifndef VGPU_BENCH_CUDA_H
#define VGPU_BENCH_CUDA_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cuda/cuda_driver.h"

#define BENCH_MAX_BYTES   (UINT64_C(1) << 30)
#define BENCH_MAX_SAMPLES 100000u

struct bench {
    struct cuda_driver cu;
    CUcontext context;
    CUmodule module;
    CUfunction nothing, stencil, add, product;
    CUdeviceptr device; /* max_bytes, at least BENCH_WORK_BYTES */
    uint64_t max_bytes; /* of a copy */
    unsigned samples;
    bool quick;       /* sizes for a driver on the CPU */
    const char *only; /* NULL: all; else the one group to measure */
    uint64_t *times;  /* room for BENCH_MAX_SAMPLES */
    json_t *rows;
};

/* Prints what failed and exits: a figure after a failed call would mean nothing. */
void bench_must(CUresult result, const char *what);

/*
 * Reports a figure: times[0 .. count), in ns, each of `per` repetitions. bytes: of a copy, else 0.
 * Sorts times.
 */
void bench_report(struct bench *bench, const char *name, unsigned count, unsigned per,
                  uint64_t bytes);

/* A call is repeated count times, each timed alone; `after`, if any, is not timed. */
void bench_repeat(struct bench *bench, const char *name, unsigned count,
                  void (*call)(struct bench *bench), void (*after)(struct bench *bench));

void bench_launch_nothing(struct bench *bench, CUstream stream);
void bench_synchronize(struct bench *bench);
void bench_fill_random(void *data, uint64_t bytes, uint64_t seed);

/* The groups. */
void bench_latency(struct bench *bench);
void bench_floods(struct bench *bench);
void bench_graph(struct bench *bench);
void bench_copies(struct bench *bench);
void bench_objects(struct bench *bench);
void bench_products(struct bench *bench);
void bench_stencil(struct bench *bench);
void bench_decode(struct bench *bench);

extern const char bench_ptx[];

#endif
