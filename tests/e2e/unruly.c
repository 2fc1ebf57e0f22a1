/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unruly MODE PATH [N]: a guest program that keeps to its limits badly, or measures who suffers
 * from such a one. Prints what a test compares. PATH is a VM's socket.
 *   endless         a kernel that never ends; prints the result of waiting for it
 *   illegal         a kernel that writes where nothing is; prints the same
 *   post N          kernels of no length posted as fast as they are taken for N ms; prints how many
 *                   and the processor time that this took, in ms
 *   hammer N        N explicit jobs without waiting after a refusal; prints done, busy, quarantined
 *   steady N        short kernels one after another for N ms; prints how many, and the longest in
 * ms last            runs a kernel each time that a line comes in; prints its result
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/e2e/program.h"

static const char kernels[] =
    ".version 7.0\n.target sm_70\n.address_size 64\n"
    ".visible .entry spin(.param .u32 steps)\n{\n"
    ".reg .b32 %n, %i;\n.reg .pred %on;\n"
    "ld.param.u32 %n, [steps];\nmov.u32 %i, 0;\n"
    "again:\nadd.u32 %i, %i, 1;\nsetp.lt.u32 %on, %i, %n;\n@%on bra again;\nret;\n}\n"
    ".visible .entry endless()\n{\n.reg .b32 %i;\nmov.u32 %i, 0;\n"
    "again:\nadd.u32 %i, %i, 1;\nbra again;\n}\n"
    ".visible .entry illegal()\n{\n.reg .b64 %a;\n.reg .b32 %v;\nmov.u64 %a, 64;\n"
    "mov.u32 %v, 1;\nst.global.u32 [%a], %v;\nret;\n}\n";

static double clock_ms(clockid_t clock)
{
    struct timespec time;

    clock_gettime(clock, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

static CUfunction function_of(const char *name)
{
    CUmodule module;
    CUfunction function;

    program_enter_context();
    must(cuModuleLoadData(&module, kernels), "load");
    must(cuModuleGetFunction(&function, module, name), "function");
    return function;
}

static CUresult launch(CUfunction function, unsigned steps)
{
    void *arguments[] = {&steps};

    return cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, NULL, arguments, NULL);
}

static int run_one(const char *name)
{
    CUfunction function = function_of(name);

    must(cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL), "launch");
    printf("result %d\n", (int)cuCtxSynchronize());
    return 0;
}

static int post(double ms)
{
    CUfunction function = function_of("spin");
    double end = clock_ms(CLOCK_MONOTONIC) + ms, cpu = clock_ms(CLOCK_PROCESS_CPUTIME_ID);
    unsigned long jobs = 0;

    for (; clock_ms(CLOCK_MONOTONIC) < end; jobs++)
        must(launch(function, 1), "launch");
    cpu = clock_ms(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    must(cuCtxSynchronize(), "the end");
    printf("%lu %.0f\n", jobs, cpu);
    return 0;
}

static int hammer(unsigned long n)
{
    unsigned long done = 0, busy = 0, quarantined = 0;
    struct vgpu_failure failure;
    const int32_t a[1] = {1}, b[1] = {2};
    int32_t sum[1];

    for (; n > 0; n--) {
        enum vgpu_status status = vgpu_job_vector_add(a, b, sum, 1, &failure);

        done += status == VGPU_OK;
        busy += status == VGPU_BUSY;
        quarantined += status == VGPU_QUARANTINED;
    }
    printf("%lu %lu %lu\n", done, busy, quarantined);
    return 0;
}

static int steady(double ms)
{
    CUfunction function = function_of("spin");
    double end, longest = 0;
    unsigned long jobs = 0;

    must(launch(function, 1), "launch");
    must(cuCtxSynchronize(), "synchronize");
    for (end = clock_ms(CLOCK_MONOTONIC) + ms; clock_ms(CLOCK_MONOTONIC) < end; jobs++) {
        double before = clock_ms(CLOCK_MONOTONIC), took;

        must(launch(function, 2000), "launch");
        must(cuCtxSynchronize(), "synchronize");
        took = clock_ms(CLOCK_MONOTONIC) - before;
        longest = took > longest ? took : longest;
    }
    printf("%lu %.1f\n", jobs, longest);
    return 0;
}

static int one_a_line(void)
{
    CUfunction function = function_of("spin");
    char line[16];

    while (fgets(line, sizeof(line), stdin)) {
        CUresult result = launch(function, 1);
        CUresult waited = cuCtxSynchronize();

        printf("%d\n", (int)(result != CUDA_SUCCESS ? result : waited));
        fflush(stdout);
    }
    return 0;
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    unsigned long n = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;

    if (argc < 3) {
        fprintf(stderr, "usage: unruly endless|illegal|post|hammer|steady|last PATH [N]\n");
        return 2;
    }
    program_connect(argv[2]);
    if (strcmp(mode, "post") == 0)
        return post((double)n);
    if (strcmp(mode, "hammer") == 0)
        return hammer(n);
    if (strcmp(mode, "steady") == 0)
        return steady((double)n);
    if (strcmp(mode, "last") == 0)
        return one_a_line();
    return run_one(mode);
}
