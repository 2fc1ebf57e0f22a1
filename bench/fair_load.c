/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fair_load DRIVER: a program that loads a GPU as bench/fairness.py tells it to, through any
 * library with the CUDA driver API. Orders come as lines on standard input, and each is answered by
 * one line of JSON; a CUDA error is in the answer, not in the exit status. Times are
 * CLOCK_MONOTONIC in ns.
 *
 *   calibrate US           -> {"loops": N}: how many rounds the spinning kernel takes for that time
 *   busy LOOPS DEPTH START STOP LOG   keeps DEPTH kernels queued
 *   light LOOPS GAP_US START STOP LOG one kernel at a time, GAP_US (half to one and a half) between
 *                          -> {"jobs": N, "submitted": N, "error": E}
 *   endless                -> {"error": E} once a kernel that never ends is launched
 *   fault | hog            -> {"error": E}: an illegal address; memory until there is no more
 *   hammer START STOP      -> {"jobs": N, "error": E}: launches without ever waiting
 *
 * LOG gets two 64-bit numbers a kernel: when its end was seen, and for how long it was under way.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "cuda/cuda_driver.h"

#define DEPTH_MAX       256u
#define HOG_BYTES       (UINT64_C(64) << 20)
#define WARM_UP_NS      (200 * VGPU_NS_PER_MS)
#define CALIBRATION_MIN UINT64_C(64)
#define LOOK_NS         50000

/* One thread: the time is that of a chain of dependent operations, so clocks alone change it. */
static const char kernels[] =
    ".version 6.4\n.target sm_70\n.address_size 64\n"
    ".visible .entry spin(.param .u64 rounds, .param .u64 out)\n{\n"
    ".reg .pred %p;\n.reg .b32 %r<3>;\n.reg .b64 %d<4>;\n"
    "ld.param.u64 %d1, [rounds];\nmov.u32 %r1, 1;\n"
    "AGAIN:\nmad.lo.u32 %r1, %r1, 1664525, 1013904223;\nxor.b32 %r1, %r1, 4711;\n"
    "sub.u64 %d1, %d1, 1;\nsetp.ne.u64 %p, %d1, 0;\n@%p bra AGAIN;\n"
    "ld.param.u64 %d2, [out];\ncvta.to.global.u64 %d2, %d2;\nst.global.u32 [%d2], %r1;\nret;\n}\n"
    ".visible .entry endless(.param .u64 flag)\n{\n"
    ".reg .pred %p;\n.reg .b32 %r<2>;\n.reg .b64 %d<2>;\n"
    "ld.param.u64 %d1, [flag];\ncvta.to.global.u64 %d1, %d1;\n"
    "AGAIN:\nld.volatile.global.u32 %r1, [%d1];\nsetp.ne.u32 %p, %r1, 77;\n@%p bra "
    "AGAIN;\nret;\n}\n"
    ".visible .entry fault()\n{\n.reg .b64 %d<2>;\nmov.u64 %d1, 4096;\nst.global.u32 [%d1], 1;\n"
    "ret;\n}\n";

struct load {
    struct cuda_driver cu;
    CUfunction spin, endless, fault;
    CUdeviceptr memory;
    CUstream stream;
    CUevent events[DEPTH_MAX];
    uint64_t submitted_ns[DEPTH_MAX];
    FILE *log;
    uint64_t jobs, submitted;
};

static CUresult launch_spin(struct load *load, uint64_t loops)
{
    CUdeviceptr memory = load->memory;
    void *params[] = {&loops, &memory};

    return load->cu.cuLaunchKernel(load->spin, 1, 1, 1, 1, 1, 1, 0, load->stream, params, NULL);
}

static CUresult prepare(struct load *load)
{
    struct cuda_driver *cu = &load->cu;
    CUcontext context;
    CUmodule module;
    CUdevice device;
    CUresult rc;

    if ((rc = cu->cuInit(0)) || (rc = cu->cuDeviceGet(&device, 0)) ||
        (rc = cu->cuDevicePrimaryCtxRetain(&context, device)) ||
        (rc = cu->cuCtxSetCurrent(context)) || (rc = cu->cuModuleLoadData(&module, kernels)) ||
        (rc = cu->cuModuleGetFunction(&load->spin, module, "spin")) ||
        (rc = cu->cuModuleGetFunction(&load->endless, module, "endless")) ||
        (rc = cu->cuModuleGetFunction(&load->fault, module, "fault")) ||
        (rc = cu->cuMemAlloc(&load->memory, 4096)) ||
        (rc = cu->cuMemsetD8(load->memory, 0, 4096)) ||
        (rc = cu->cuStreamCreate(&load->stream, CU_STREAM_NON_BLOCKING)))
        return rc;
    for (unsigned i = 0; i < DEPTH_MAX && rc == CUDA_SUCCESS; i++)
        rc = cu->cuEventCreate(&load->events[i], CU_EVENT_DISABLE_TIMING | CU_EVENT_BLOCKING_SYNC);
    return rc;
}

static void wait_until(uint64_t at_ns)
{
    const struct timespec at = {.tv_sec = (time_t)(at_ns / VGPU_NS_PER_S),
                                .tv_nsec = (long)(at_ns % VGPU_NS_PER_S)};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL))
        ;
}

static CUresult submit(struct load *load, uint64_t loops)
{
    unsigned slot = load->submitted % DEPTH_MAX;
    CUresult rc = launch_spin(load, loops);

    if (rc == CUDA_SUCCESS)
        rc = load->cu.cuEventRecord(load->events[slot], load->stream);
    if (rc != CUDA_SUCCESS)
        return rc;
    load->submitted_ns[slot] = vgpu_clock_ns();
    load->submitted++;
    return rc;
}

/*
 * Looked for, not waited for: a wait takes its place behind all that was submitted, so that one for
 * the first of many queued kernels would end when the last of them has been handed to the GPU.
 */
static CUresult wait_for(struct load *load, CUevent event)
{
    CUresult rc = load->cu.cuEventQuery(event);

    while (rc == CUDA_ERROR_NOT_READY) {
        nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
        rc = load->cu.cuEventQuery(event);
    }
    return rc;
}

static CUresult complete(struct load *load)
{
    unsigned slot = load->jobs % DEPTH_MAX;
    CUresult rc = wait_for(load, load->events[slot]);
    uint64_t entry[2];

    if (rc != CUDA_SUCCESS)
        return rc;
    entry[0] = vgpu_clock_ns();
    entry[1] = entry[0] - load->submitted_ns[slot];
    load->jobs++;
    if (load->log)
        fwrite(entry, sizeof(entry), 1, load->log);
    return rc;
}

static CUresult busy(struct load *load, uint64_t loops, uint64_t depth, uint64_t stop_ns)
{
    CUresult rc = CUDA_SUCCESS;

    while (rc == CUDA_SUCCESS && vgpu_clock_ns() < stop_ns) {
        if (load->submitted - load->jobs < depth)
            rc = submit(load, loops);
        else
            rc = complete(load);
    }
    while (rc == CUDA_SUCCESS && load->jobs < load->submitted)
        rc = complete(load);
    return rc;
}

static CUresult light(struct load *load, uint64_t loops, uint64_t gap_us, uint64_t stop_ns)
{
    CUresult rc = CUDA_SUCCESS;

    while (rc == CUDA_SUCCESS && vgpu_clock_ns() < stop_ns) {
        if ((rc = submit(load, loops)) == CUDA_SUCCESS)
            rc = complete(load);
        wait_until(vgpu_clock_ns() + gap_us * 500 + (uint64_t)random() % (gap_us * 1000 + 1));
    }
    return rc;
}

static void order_work(struct load *load, const char *line)
{
    uint64_t loops, depth, start_ns, stop_ns;
    char word[16], path[256];
    CUresult rc;

    if (sscanf(line, "%15s %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %255s", word, &loops,
               &depth, &start_ns, &stop_ns, path) != 6 ||
        depth == 0 || (strcmp(word, "busy") == 0 && depth > DEPTH_MAX)) {
        puts("{\"error\": \"not understood\"}");
        return;
    }
    load->jobs = load->submitted = 0;
    load->log = fopen(path, "wbe");
    wait_until(start_ns);
    rc = strcmp(word, "busy") == 0 ? busy(load, loops, depth, stop_ns)
                                   : light(load, loops, depth, stop_ns);
    if (load->log)
        fclose(load->log);
    load->log = NULL;
    printf("{\"jobs\": %" PRIu64 ", \"submitted\": %" PRIu64 ", \"error\": %d}\n", load->jobs,
           load->submitted, (int)rc);
}

/* A second attempt with what the first one gave: kernels of nearly the length that is asked for. */
static void order_calibrate(struct load *load, const char *line)
{
    uint64_t us = 0, loops = CALIBRATION_MIN, took_ns = 0, until_ns = vgpu_clock_ns() + WARM_UP_NS;
    CUresult rc = CUDA_SUCCESS;

    if (sscanf(line, "calibrate %" SCNu64, &us) != 1 || us == 0) {
        puts("{\"error\": \"not understood\"}");
        return;
    }
    while (rc == CUDA_SUCCESS && (vgpu_clock_ns() < until_ns || took_ns < us * 4000)) {
        uint64_t began_ns = vgpu_clock_ns();

        if (took_ns && took_ns < us * 4000)
            loops *= 2;
        for (unsigned i = 0; i < 8 && rc == CUDA_SUCCESS; i++)
            rc = launch_spin(load, loops);
        if (rc == CUDA_SUCCESS)
            rc = load->cu.cuStreamSynchronize(load->stream);
        took_ns = vgpu_clock_ns() - began_ns;
    }
    printf("{\"loops\": %" PRIu64 ", \"error\": %d}\n",
           (uint64_t)((double)loops * 8 * (double)us * 1000 / (double)(took_ns ? took_ns : 1)),
           (int)rc);
}

static void order_endless(struct load *load)
{
    CUdeviceptr memory = load->memory;
    void *params[] = {&memory};
    CUresult rc =
        load->cu.cuLaunchKernel(load->endless, 1, 1, 1, 1, 1, 1, 0, load->stream, params, NULL);

    if (rc == CUDA_SUCCESS && load->cu.cuStreamQuery(load->stream) != CUDA_ERROR_NOT_READY)
        rc = CUDA_ERROR_UNKNOWN;
    printf("{\"error\": %d}\n", (int)rc);
}

static void order_fault(struct load *load)
{
    CUresult rc =
        load->cu.cuLaunchKernel(load->fault, 1, 1, 1, 1, 1, 1, 0, load->stream, NULL, NULL);

    if (rc == CUDA_SUCCESS)
        rc = load->cu.cuStreamSynchronize(load->stream);
    printf("{\"error\": %d}\n", (int)rc);
}

static void order_hog(struct load *load)
{
    CUdeviceptr memory;
    CUresult rc;

    do
        rc = load->cu.cuMemAlloc(&memory, HOG_BYTES);
    while (rc == CUDA_SUCCESS);
    printf("{\"error\": %d}\n", (int)rc);
}

static void order_hammer(struct load *load, const char *line)
{
    uint64_t start_ns = 0, stop_ns = 0, jobs = 0;
    CUresult rc = CUDA_SUCCESS;

    sscanf(line, "hammer %" SCNu64 " %" SCNu64, &start_ns, &stop_ns);
    wait_until(start_ns);
    while (rc == CUDA_SUCCESS && vgpu_clock_ns() < stop_ns) {
        rc = launch_spin(load, 1);
        jobs += rc == CUDA_SUCCESS;
    }
    if (rc == CUDA_SUCCESS)
        rc = load->cu.cuStreamSynchronize(load->stream);
    printf("{\"jobs\": %" PRIu64 ", \"error\": %d}\n", jobs, (int)rc);
}

static void order(struct load *load, const char *line)
{
    if (strncmp(line, "calibrate ", 10) == 0)
        order_calibrate(load, line);
    else if (strncmp(line, "busy ", 5) == 0 || strncmp(line, "light ", 6) == 0)
        order_work(load, line);
    else if (strcmp(line, "endless\n") == 0)
        order_endless(load);
    else if (strcmp(line, "fault\n") == 0)
        order_fault(load);
    else if (strcmp(line, "hog\n") == 0)
        order_hog(load);
    else if (strncmp(line, "hammer ", 7) == 0)
        order_hammer(load, line);
    else
        puts("{\"error\": \"not understood\"}");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static struct load load;
    struct vgpu_err err;
    char line[512];
    CUresult rc;

    if (argc != 2) {
        fputs("usage: fair_load DRIVER\n", stderr);
        return 2;
    }
    if (cuda_driver_load(&load.cu, argv[1], &err) < 0) {
        fprintf(stderr, "fair_load: %s\n", err.text);
        return 1;
    }
    rc = prepare(&load);
    printf("{\"error\": %d}\n", (int)rc);
    fflush(stdout);
    if (rc != CUDA_SUCCESS)
        return 1;
    while (fgets(line, sizeof(line), stdin))
        order(&load, line);
    return 0;
}
