/* SPDX-License-Identifier: Apache-2.0 */
/*
 * path_jobs PATH [COUNTERS [DIVISOR]]: what a job costs on the way, by kind. PATH is a VM's socket
 * or the device in a guest; COUNTERS the device's counters/ in sysfs, or - for none; DIVISOR makes
 * it so many times fewer jobs. One line a kind: name, jobs, time of a job in ns, sleeps of this
 * process per thousand jobs, then each counter per thousand jobs. bench/path.py runs it on each
 * carrier, and bench/xen.py, which finds the kinds in a hypervisor's trace by mark().
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "common/clock.h"
#include "cuda/cuda_api.h"
#include "guest/libvgpu/vgpu.h"

#define SMALL  (4u << 10)
#define LARGE  (1u << 20)
#define COUNTS 8
#define MARK   0x76670000u
#define FEWEST 100u /* jobs of the kinds of which there are least */

static const char *const counter_names[COUNTS] = {"doorbells",    "turns",          "ring_bytes",
                                                  "upload_bytes", "download_bytes", "worker_kicks",
                                                  "worker_wakes", "interrupts"};

static const char nothing[] = ".version 7.0\n.target sm_70\n.address_size 64\n"
                              ".visible .entry nothing()\n{\nret;\n}\n";

static unsigned divisor = 1;

static struct {
    CUfunction function;
    CUstream stream;
    CUdeviceptr device;
    uint8_t *pageable, *pinned;
} at;

static void must(CUresult result, const char *what)
{
    if (result == CUDA_SUCCESS)
        return;
    fprintf(stderr, "%s: CUDA error %d\n", what, (int)result);
    exit(1);
}

static void launch(void)
{
    must(cuLaunchKernel(at.function, 1, 1, 1, 1, 1, 1, 0, at.stream, NULL, NULL), "launch");
}

static void synchronize(void)
{
    must(cuStreamSynchronize(at.stream), "synchronize");
}

static void launch_and_wait(unsigned i)
{
    launch();
    synchronize();
}

static void launch_in_a_hundred(unsigned i)
{
    launch();
    if (i % 100 == 99)
        synchronize();
}

static void query(unsigned i)
{
    must(cuStreamQuery(at.stream), "query");
}

static void up_small(unsigned i)
{
    must(cuMemcpyHtoD_v2(at.device, at.pageable, SMALL), "up");
}

static void down_small(unsigned i)
{
    must(cuMemcpyDtoH_v2(at.pageable, at.device, SMALL), "down");
}

static void up_large(unsigned i)
{
    must(cuMemcpyHtoDAsync_v2(at.device, at.pinned, LARGE, at.stream), "up");
    synchronize();
}

static void down_large(unsigned i)
{
    must(cuMemcpyDtoHAsync_v2(at.pinned, at.device, LARGE, at.stream), "down");
    synchronize();
}

static uint64_t read_counter(const char *folder, const char *name)
{
    char path[256], text[32] = "";
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "re");
    if (!file || !fgets(text, sizeof(text), file)) {
        fprintf(stderr, "cannot read %s\n", path);
        exit(1);
    }
    fclose(file);
    return strtoull(text, NULL, 10);
}

static void read_counters(const char *folder, uint64_t values[COUNTS])
{
    for (int i = 0; folder && i < COUNTS; i++)
        values[i] = read_counter(folder, counter_names[i]);
}

static uint64_t sleeps(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)usage.ru_nvcsw;
}

/*
 * CPUID of a leaf that means nothing to a processor. A hypervisor has an exit for it, outside of
 * the time that is measured, and notes the leaf in its trace: 2 i begins kind i, 2 i + 1 ends it.
 */
static void mark(unsigned number)
{
#ifdef __x86_64__
    uint32_t eax = MARK + number, ebx, ecx = 0, edx;

    __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
#endif
}

static void measure(const char *name, void (*job)(unsigned), unsigned jobs, const char *folder)
{
    static unsigned kind;
    uint64_t before[COUNTS] = {0}, after[COUNTS] = {0};
    uint64_t began, took, slept;

    jobs /= divisor;
    for (unsigned i = 0; i < 100 / divisor; i++)
        job(i);
    synchronize();
    read_counters(folder, before);
    mark(2 * kind);
    slept = sleeps();
    began = vgpu_clock_ns();
    for (unsigned i = 0; i < jobs; i++)
        job(i);
    synchronize();
    took = vgpu_clock_ns() - began;
    slept = sleeps() - slept;
    mark(2 * kind++ + 1);
    printf("%s %u %" PRIu64 " %" PRIu64, name, jobs, took / jobs, slept * 1000 / jobs);
    read_counters(folder, after);
    for (int i = 0; folder && i < COUNTS; i++)
        printf(" %" PRIu64, (after[i] - before[i]) * 1000 / jobs);
    putchar('\n');
    fflush(stdout);
}

int main(int argc, char **argv)
{
    const char *folder = argc > 2 && strcmp(argv[2], "-") != 0 ? argv[2] : NULL;
    struct vgpu_failure failure;
    CUcontext context;
    CUmodule module;
    void *pinned;

    if (argc == 4)
        divisor = (unsigned)atoi(argv[3]);
    if (argc < 2 || argc > 4 || divisor == 0 || divisor > FEWEST) {
        fputs("usage: path_jobs PATH [COUNTERS [DIVISOR]]\n", stderr);
        return 2;
    }
    if (vgpu_connect(argv[1], NULL, &failure) != VGPU_OK) {
        fprintf(stderr, "cannot connect: %s\n", failure.text);
        return 1;
    }
    must(cuInit(0), "cuInit");
    must(cuCtxCreate_v2(&context, 0, 0), "context");
    must(cuModuleLoadData(&module, nothing), "module");
    must(cuModuleGetFunction(&at.function, module, "nothing"), "function");
    must(cuStreamCreate(&at.stream, CU_STREAM_NON_BLOCKING), "stream");
    must(cuMemAlloc_v2(&at.device, LARGE), "memory");
    must(cuMemHostAlloc(&pinned, LARGE, 0), "page-locked memory");
    at.pinned = pinned;
    at.pageable = calloc(1, LARGE);
    measure("launch_and_wait", launch_and_wait, 1000, folder);
    measure("launch_in_a_hundred", launch_in_a_hundred, 5000, folder);
    measure("query", query, 1000, folder);
    measure("up_4k_pageable", up_small, 1000, folder);
    measure("down_4k_pageable", down_small, 1000, folder);
    measure("up_1m_pinned", up_large, 100, folder);
    measure("down_1m_pinned", down_large, 100, folder);
    vgpu_disconnect();
    return 0;
}
