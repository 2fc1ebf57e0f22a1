/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flood seconds|batches N PATH [STEPS]: keeps the GPU wanted without a break, for tests of shares:
 * kernels are posted ahead, and the queue is never empty until the time is over or the batches of
 * 16 are done. Prints how many kernels have run. PATH is a VM's socket, or the device in a guest;
 * STEPS of each thread make a kernel longer or shorter.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/e2e/program.h"

#define AHEAD  64 /* kernels posted and not known to be done */
#define BATCH  16 /* kernels to an event */
#define BLOCKS 8
#define STEPS  "16000" /* of a thread: about 2 ms on softgpu; a guest can be slow to post more */

static const char spin[] = ".version 7.0\n.target sm_70\n.address_size 64\n"
                           ".visible .entry spin(.param .u32 steps)\n{\n"
                           ".reg .b32 %n, %i;\n.reg .pred %on;\n"
                           "ld.param.u32 %n, [steps];\nmov.u32 %i, 0;\n"
                           "again:\nadd.u32 %i, %i, 1;\nsetp.lt.u32 %on, %i, %n;\n"
                           "@%on bra again;\nret;\n}\n";

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void post(CUfunction kernel, CUevent event, unsigned steps)
{
    void *arguments[] = {&steps};

    for (unsigned i = 0; i < BATCH; i++)
        must(cuLaunchKernel(kernel, BLOCKS, 1, 1, 32, 1, 1, 0, NULL, arguments, NULL), "launch");
    must(cuEventRecord(event, NULL), "record");
}

int main(int argc, char **argv)
{
    CUevent events[AHEAD / BATCH];
    CUmodule module;
    CUfunction kernel;
    unsigned long batches = 0, most = ULONG_MAX;
    unsigned steps;
    double end;

    if (argc != 4 && argc != 5) {
        fprintf(stderr, "usage: flood seconds|batches N PATH [STEPS]\n");
        return 2;
    }
    steps = (unsigned)strtoul(argc == 5 ? argv[4] : STEPS, NULL, 10);
    program_start(argv[3]);
    must(cuModuleLoadData(&module, spin), "load");
    must(cuModuleGetFunction(&kernel, module, "spin"), "function");
    for (unsigned i = 0; i < AHEAD / BATCH; i++)
        must(cuEventCreate(&events[i], 0), "event");
    end = now() + 3600;
    if (strcmp(argv[1], "seconds") == 0)
        end = now() + atof(argv[2]);
    else
        most = strtoul(argv[2], NULL, 10);
    for (; now() < end && batches < most; batches++) {
        CUevent event = events[batches % (AHEAD / BATCH)];

        if (batches >= AHEAD / BATCH)
            must(cuEventSynchronize(event), "synchronize");
        post(kernel, event, steps);
    }
    must(cuCtxSynchronize(), "the end");
    printf("%lu kernels\n", batches * BATCH);
    return 0;
}
