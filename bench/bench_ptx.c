/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Speed of the PTX engine: thread-instructions per second and core on arithmetic kernels, with the
 * time that a native loop of the same arithmetic takes for comparison. Usage: bench_ptx [threads]
 */
#include "softgpu/ptx/ptx.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BASE   UINT64_C(0x100000000)
#define LANES  (64u * 256u)
#define ROUNDS 4096u

static uint32_t *memory;

static const char source[] =
    ".version 7.0\n.target sm_75\n.address_size 64\n"
    ".visible .entry integer(.param .u64 out, .param .u32 rounds)\n{\n"
    ".reg .u64 %l<4>;\n.reg .u32 %r<12>;\n.reg .pred %p;\n"
    "mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x;\n"
    "mad.lo.u32 %r1, %r2, %r3, %r1; mov.u32 %r4, %r1; mov.u32 %r5, 12345;\n"
    "ld.param.u32 %r6, [rounds];\n"
    "loop:\n"
    "mad.lo.u32 %r4, %r4, 1664525, %r5; xor.b32 %r7, %r4, %r5; shr.u32 %r8, %r7, 13;\n"
    "add.u32 %r5, %r5, %r8; shl.b32 %r9, %r5, 3; xor.b32 %r4, %r4, %r9;\n"
    "and.b32 %r10, %r4, 255; add.u32 %r5, %r5, %r10;\n"
    "sub.u32 %r6, %r6, 1; setp.ne.u32 %p, %r6, 0; @%p bra loop;\n"
    "ld.param.u64 %l1, [out]; mul.wide.u32 %l2, %r1, 4; add.u64 %l1, %l1, %l2;\n"
    "st.global.u32 [%l1], %r5; ret;\n}\n"
    ".visible .entry single(.param .u64 out, .param .u32 rounds)\n{\n"
    ".reg .u64 %l<4>;\n.reg .u32 %r<12>;\n.reg .f32 %f<8>;\n.reg .pred %p;\n"
    "mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x;\n"
    "mad.lo.u32 %r1, %r2, %r3, %r1; cvt.rn.f32.u32 %f1, %r1; mov.f32 %f2, 0f3F000000;\n"
    "ld.param.u32 %r6, [rounds];\n"
    "loop:\n"
    "fma.rn.f32 %f1, %f1, %f2, 0f3DCCCCCD; mul.f32 %f3, %f1, %f1; add.f32 %f4, %f3, %f2;\n"
    "sub.f32 %f5, %f4, %f1; fma.rn.f32 %f2, %f5, 0f3A83126F, 0f3F000000; min.f32 %f1, %f1, %f4;\n"
    "fma.rn.f32 %f1, %f2, %f5, %f1; mul.f32 %f1, %f1, 0f3F666666;\n"
    "sub.u32 %r6, %r6, 1; setp.ne.u32 %p, %r6, 0; @%p bra loop;\n"
    "ld.param.u64 %l1, [out]; mul.wide.u32 %l2, %r1, 4; add.u64 %l1, %l1, %l2;\n"
    "st.global.f32 [%l1], %f1; ret;\n}\n";

static bool find(void *ctx, uint64_t address, struct ptx_range *ret)
{
    if (address < BASE || address >= BASE + LANES * 4)
        return false;
    *ret = (struct ptx_range){.base = BASE, .size_bytes = LANES * 4, .host = memory};
    return true;
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* The loops of the kernels, for one thread. */
static uint32_t native_integer(uint32_t lane)
{
    uint32_t r4 = lane, r5 = 12345;

    for (uint32_t i = ROUNDS; i; i--) {
        r4 = r4 * 1664525u + r5;
        r5 += (r4 ^ r5) >> 13;
        r4 ^= r5 << 3;
        r5 += r4 & 255;
    }
    return r5;
}

static float native_single(uint32_t lane)
{
    float f1 = (float)lane, f2 = 0.5f;

    for (uint32_t i = ROUNDS; i; i--) {
        float f3, f4, f5;

        f1 = __builtin_fmaf(f1, f2, 0.1f);
        f3 = f1 * f1;
        f4 = f3 + f2;
        f5 = f4 - f1;
        f2 = __builtin_fmaf(f5, 0.001f, 0.5f);
        f1 = f1 < f4 ? f1 : f4;
        f1 = __builtin_fmaf(f2, f5, f1);
        f1 *= 0.9f;
    }
    return f1;
}

static double native_seconds(bool integer)
{
    /* Fewer lanes, scaled: the loops are serial. */
    double begin = now();
    volatile uint32_t sink;
    volatile float fsink;

    for (uint32_t lane = 0; lane < LANES / 64; lane++) {
        if (integer)
            sink = native_integer(lane);
        else
            fsink = native_single(lane);
    }
    (void)sink;
    (void)fsink;
    return (now() - begin) * 64;
}

static int measure(struct ptx_pool *pool, unsigned threads, const struct ptx_program *program,
                   const char *name)
{
    struct {
        uint64_t out;
        uint32_t rounds;
    } params = {BASE, ROUNDS};
    struct ptx_launch launch = {
        .program = program,
        .function = ptx_program_find_entry(program, name),
        .grid = {LANES / 256, 1, 1},
        .block = {256, 1, 1},
        .params = &params,
        .params_bytes = sizeof(params),
        .memory = {.find = find},
    };
    struct ptx_fault fault;
    double best = 1e9, native = native_seconds(!strcmp(name, "integer"));
    uint64_t n = 0;

    for (int i = 0; i < 3; i++) {
        double begin = now();

        if (ptx_run(pool, &launch, &fault, &n) != PTX_FAULT_NONE) {
            fprintf(stderr, "bench_ptx: %s\n", fault.text);
            return 1;
        }
        if (now() - begin < best)
            best = now() - begin;
    }
    printf("%-8s %6.0f million thread-instructions/s per core (%u threads), %.2f times the time "
           "of one native thread\n",
           name, (double)n / best / threads / 1e6, threads, best / native);
    return 0;
}

int main(int argc, char **argv)
{
    struct ptx_source text = {.name = "bench", .text = source, .size_bytes = sizeof(source) - 1};
    unsigned threads = argc > 1 ? (unsigned)atoi(argv[1]) : 1;
    char log_text[500] = "";
    struct ptx_log log = {.text = log_text, .size_bytes = sizeof(log_text)};
    struct ptx_program *program;
    struct ptx_pool *pool = ptx_pool_new(threads);
    int failed;

    memory = calloc(LANES, 4);
    if (!pool || !memory || ptx_program_new(&text, 1, &log, &program) != PTX_OK) {
        fprintf(stderr, "bench_ptx: %s\n", log_text);
        return 1;
    }
    failed = measure(pool, threads, program, "integer") + measure(pool, threads, program, "single");
    ptx_program_free(program);
    ptx_pool_free(pool);
    free(memory);
    return failed != 0;
}
