/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a new process takes from cuInit to its first kernel's end: start DRIVER prints the time
 * after each step, in microseconds from the first, as one line of JSON. bench/start.py runs it. The
 * driver is any library with the CUDA driver API; loading it is not counted, as a program is linked
 * to it.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "cuda/cuda_driver.h"

static const char add_one[] = ".version 6.4\n.target sm_75\n.address_size 64\n"
                              ".visible .entry add_one(.param .u64 p)\n{\n"
                              ".reg .b64 %rd<3>;\n.reg .b32 %r<3>;\n"
                              "ld.param.u64 %rd1, [p];\ncvta.to.global.u64 %rd2, %rd1;\n"
                              "ld.global.u32 %r1, [%rd2];\nadd.u32 %r2, %r1, 1;\n"
                              "st.global.u32 [%rd2], %r2;\nret;\n}\n";

static uint64_t started_ns;
static const char *separator = "{";

static void step(const char *name, CUresult result)
{
    if (result != CUDA_SUCCESS) {
        fprintf(stderr, "start: %s failed with error %d\n", name, (int)result);
        exit(1);
    }
    printf("%s\"%s\": %.1f", separator, name, (double)(vgpu_clock_ns() - started_ns) / 1e3);
    separator = ", ";
}

static void first_kernel(const struct cuda_driver *cu)
{
    const uint32_t before = 41;
    uint32_t after = 0;
    CUdeviceptr memory;
    CUfunction function;
    CUmodule module;
    void *params[] = {&memory};

    step("module", cu->cuModuleLoadData(&module, add_one));
    step("function", cu->cuModuleGetFunction(&function, module, "add_one"));
    step("alloc", cu->cuMemAlloc(&memory, sizeof(before)));
    step("upload", cu->cuMemcpyHtoD(memory, &before, sizeof(before)));
    step("launch", cu->cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
    step("kernel", cu->cuCtxSynchronize());
    step("download", cu->cuMemcpyDtoH(&after, memory, sizeof(after)));
    if (after != before + 1) {
        fprintf(stderr, "start: the kernel computed %u\n", after);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    struct cuda_driver cu;
    struct vgpu_err err;
    CUcontext context;
    CUdevice device;

    if (argc != 2) {
        fputs("usage: start DRIVER\n", stderr);
        return 2;
    }
    if (cuda_driver_load(&cu, argv[1], &err) < 0) {
        fprintf(stderr, "start: %s\n", err.text);
        return 1;
    }
    started_ns = vgpu_clock_ns();
    step("init", cu.cuInit(0));
    step("device", cu.cuDeviceGet(&device, 0));
    step("retain", cu.cuDevicePrimaryCtxRetain(&context, device));
    step("current", cu.cuCtxSetCurrent(context));
    first_kernel(&cu);
    puts("}");
    return 0;
}
