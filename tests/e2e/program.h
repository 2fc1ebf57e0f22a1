/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the end-to-end tests' programs begin: connected to a VM's socket, with the primary context,
 * and ended by the first call that fails.
 */
#ifndef VGPU_TESTS_E2E_PROGRAM_H
#define VGPU_TESTS_E2E_PROGRAM_H

#include <stdio.h>
#include <stdlib.h>

#include "cuda/cuda_api.h"
#include "guest/libvgpu/vgpu.h"

static inline void must(CUresult result, const char *what)
{
    const char *text = "?";

    if (result == CUDA_SUCCESS)
        return;
    cuGetErrorString(result, &text);
    fprintf(stderr, "%s: %s (%d)\n", what, text, (int)result);
    exit(1);
}

static inline void program_connect(const char *path)
{
    struct vgpu_failure failure;

    if (vgpu_connect(path, NULL, &failure) != VGPU_OK) {
        fprintf(stderr, "connect: %s\n", failure.text);
        exit(1);
    }
    must(cuInit(0), "cuInit");
}

static inline void program_enter_context(void)
{
    CUcontext context;

    must(cuDevicePrimaryCtxRetain(&context, 0), "retain");
    must(cuCtxSetCurrent(context), "set current");
}

static inline void program_start(const char *path)
{
    program_connect(path);
    program_enter_context();
}

#endif
