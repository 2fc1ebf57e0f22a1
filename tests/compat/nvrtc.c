/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nvrtc DRIVER NVRTC: a plain program of the driver API. Compiles a kernel with NVRTC, loads it as
 * a module and as a library, launches it on two streams with an event between them, and compares
 * what comes back. Both libraries are loaded by name, as programs without NVIDIA's headers do.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/cuda_driver.h"

#define COUNT 100000u

static const char source[] =
    "extern \"C\" __global__ void scale(float *y, const float *x, float a, unsigned n)\n"
    "{\n"
    "    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;\n"
    "    if (i < n)\n"
    "        y[i] = a * x[i] + y[i];\n"
    "}\n";

typedef void *program_t;

static struct cuda_driver cu;

static void must(int result, const char *what)
{
    if (result == 0)
        return;
    fprintf(stderr, "%s: error %d\n", what, result);
    exit(1);
}

static void *symbol(void *library, const char *name)
{
    void *found = dlsym(library, name);

    if (!found) {
        fprintf(stderr, "no %s\n", name);
        exit(1);
    }
    return found;
}

/* PTX of the source, for the device's architecture at most. */
static char *compile(const char *path, int major, int minor)
{
    void *nvrtc = dlopen(path, RTLD_NOW);
    int (*create)(program_t *, const char *, const char *, int, const char *const *,
                  const char *const *);
    int (*build)(program_t, int, const char *const *);
    int (*size)(program_t, size_t *);
    int (*get)(program_t, char *);
    char architecture[40];
    const char *options[] = {architecture};
    program_t program;
    size_t bytes;
    char *ptx;

    if (!nvrtc) {
        fprintf(stderr, "no NVRTC: %s\n", dlerror());
        exit(77);
    }
    *(void **)&create = symbol(nvrtc, "nvrtcCreateProgram");
    *(void **)&build = symbol(nvrtc, "nvrtcCompileProgram");
    *(void **)&size = symbol(nvrtc, "nvrtcGetPTXSize");
    *(void **)&get = symbol(nvrtc, "nvrtcGetPTX");
    snprintf(architecture, sizeof(architecture), "--gpu-architecture=compute_%d%d", major, minor);
    must(create(&program, source, "scale.cu", 0, NULL, NULL), "nvrtcCreateProgram");
    must(build(program, 1, options), "nvrtcCompileProgram");
    must(size(program, &bytes), "nvrtcGetPTXSize");
    ptx = malloc(bytes);
    must(!ptx || get(program, ptx), "nvrtcGetPTX");
    return ptx;
}

static void launch(CUfunction function, CUdeviceptr y, CUdeviceptr x, float a, CUstream stream)
{
    unsigned n = COUNT;
    void *params[] = {&y, &x, &a, &n};

    must(
        (int)cu.cuLaunchKernel(function, (n + 255) / 256, 1, 1, 256, 1, 1, 0, stream, params, NULL),
        "cuLaunchKernel");
}

static void check(const float *y, float factor)
{
    for (unsigned i = 0; i < COUNT; i++) {
        if (y[i] != factor * (float)i) {
            fprintf(stderr, "element %u is %g, not %g\n", i, (double)y[i],
                    (double)(factor * (float)i));
            exit(1);
        }
    }
}

static void run(CUfunction function)
{
    static float x[COUNT], y[COUNT];
    size_t bytes = sizeof(x);
    CUdeviceptr device_x, device_y;
    CUstream streams[2];
    CUevent event;

    for (unsigned i = 0; i < COUNT; i++)
        x[i] = (float)i;
    must((int)cu.cuMemAlloc(&device_x, bytes), "cuMemAlloc");
    must((int)cu.cuMemAlloc(&device_y, bytes), "cuMemAlloc");
    must((int)cu.cuMemcpyHtoD(device_x, x, bytes), "cuMemcpyHtoD");
    must((int)cu.cuMemsetD8(device_y, 0, bytes), "cuMemsetD8");
    must((int)cu.cuEventCreate(&event, CU_EVENT_DISABLE_TIMING), "cuEventCreate");
    for (int i = 0; i < 2; i++)
        must((int)cu.cuStreamCreate(&streams[i], CU_STREAM_DEFAULT), "cuStreamCreate");
    launch(function, device_y, device_x, 2.0f, streams[0]);
    must((int)cu.cuEventRecord(event, streams[0]), "cuEventRecord");
    must((int)cu.cuStreamWaitEvent(streams[1], event, 0), "cuStreamWaitEvent");
    launch(function, device_y, device_x, 3.0f, streams[1]);
    must((int)cu.cuStreamSynchronize(streams[1]), "cuStreamSynchronize");
    must((int)cu.cuMemcpyDtoH(y, device_y, bytes), "cuMemcpyDtoH");
    check(y, 5.0f);
    for (int i = 0; i < 2; i++)
        must((int)cu.cuStreamDestroy(streams[i]), "cuStreamDestroy");
    must((int)cu.cuEventDestroy(event), "cuEventDestroy");
    must((int)cu.cuMemFree(device_x), "cuMemFree");
    must((int)cu.cuMemFree(device_y), "cuMemFree");
}

int main(int argc, char **argv)
{
    struct vgpu_err err = {0};
    CUcontext context;
    CUmodule module;
    CUfunction function;
    int major, minor;
    char *ptx;

    if (argc != 3) {
        fprintf(stderr, "usage: nvrtc DRIVER NVRTC\n");
        return 2;
    }
    if (cuda_driver_load(&cu, argv[1], &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    must((int)cu.cuInit(0), "cuInit");
    must((int)cu.cuDevicePrimaryCtxRetain(&context, 0), "context");
    must((int)cu.cuCtxSetCurrent(context), "context");
    must((int)cu.cuDeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 0),
         "attribute");
    must((int)cu.cuDeviceGetAttribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 0),
         "attribute");
    ptx = compile(argv[2], major, minor);
    must((int)cu.cuModuleLoadData(&module, ptx), "cuModuleLoadData");
    must((int)cu.cuModuleGetFunction(&function, module, "scale"), "cuModuleGetFunction");
    run(function);
    must((int)cu.cuModuleUnload(module), "cuModuleUnload");
    free(ptx);
    puts("all right");
    return 0;
}
