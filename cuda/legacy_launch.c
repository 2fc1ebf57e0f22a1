/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver API: launches as they were before cuLaunchKernel, part of every library that
 * implements it. Block shape, dynamic shared memory and parameters are set for a function one by
 * one, and are kept here until they are set again or the function ends; the launch itself is
 * cuLaunchKernel's, which proves what cannot be told here.
 *
 * The lock is never held while another function of the driver API is called: legacy_launch_forget
 * is called with the library's own lock held.
 */
#include "cuda/legacy_launch.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/cuda_api.h"

#define BUCKETS 256u

/* What was set for one function. */
struct legacy_launch {
    struct legacy_launch *next; /* of its bucket */
    CUfunction function;
    unsigned block[3]; /* block[0] is 0 as long as none is set */
    unsigned shared_bytes;
    unsigned param_bytes;
    uint8_t params[LEGACY_PARAM_BYTES];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct legacy_launch *buckets[BUCKETS];

/* Handles differ in their low bits (indices) or, as pointers would, in those above them. */
static struct legacy_launch **bucket_of(CUfunction function)
{
    uintptr_t value = (uintptr_t)function;

    return &buckets[(value ^ value >> 8 ^ value >> 16) % BUCKETS];
}

/* The link to the function's state, or to the end of its bucket. Needs the lock. */
static struct legacy_launch **find(CUfunction function)
{
    struct legacy_launch **link = bucket_of(function);

    while (*link && (*link)->function != function)
        link = &(*link)->next;
    return link;
}

void legacy_launch_forget(CUfunction function)
{
    struct legacy_launch **link, *state;

    pthread_mutex_lock(&lock);
    link = find(function);
    state = *link;
    if (state)
        *link = state->next;
    pthread_mutex_unlock(&lock);
    free(state);
}

/* Is there for the function, all zero if it is new. */
static CUresult make(CUfunction function)
{
    struct legacy_launch **link;
    bool there;

    pthread_mutex_lock(&lock);
    link = find(function);
    if (!*link) {
        *link = calloc(1, sizeof(**link));
        if (*link)
            (*link)->function = function;
    }
    there = *link;
    pthread_mutex_unlock(&lock);
    return there ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult check_function(CUfunction function)
{
    CUmodule module;

    return cuFuncGetModule(&module, function);
}

/* The function's state, made if there is none; with CUDA_SUCCESS, the lock is held. */
static CUresult begin(CUfunction function, struct legacy_launch **ret)
{
    CUresult result = check_function(function);

    if (result == CUDA_SUCCESS)
        result = make(function);
    if (result != CUDA_SUCCESS)
        return result;
    /* Another thread may have ended it just before it had a state to be forgotten. */
    result = check_function(function);
    if (result == CUDA_ERROR_INVALID_HANDLE)
        legacy_launch_forget(function);
    if (result != CUDA_SUCCESS)
        return result;
    pthread_mutex_lock(&lock);
    *ret = *find(function);
    if (*ret)
        return CUDA_SUCCESS;
    pthread_mutex_unlock(&lock);
    return CUDA_ERROR_INVALID_HANDLE;
}

static void end(void)
{
    pthread_mutex_unlock(&lock);
}

/* Against the current device's limits; a function may have a lower one, which the launch tells. */
static CUresult check_block(const int size[3])
{
    unsigned long long threads = 1;
    CUdevice device;
    CUresult result = cuCtxGetDevice(&device);
    int most;

    for (int i = 0; i < 3 && result == CUDA_SUCCESS; i++) {
        result = cuDeviceGetAttribute(
            &most, (CUdevice_attribute)(CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X + i), device);
        if (result == CUDA_SUCCESS && (size[i] <= 0 || size[i] > most))
            return CUDA_ERROR_INVALID_VALUE;
        threads *= (unsigned)size[i];
    }
    if (result == CUDA_SUCCESS)
        result = cuDeviceGetAttribute(&most, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, device);
    if (result == CUDA_SUCCESS && threads > (unsigned)most)
        return CUDA_ERROR_INVALID_VALUE;
    return result;
}

CUresult cuFuncSetBlockShape(CUfunction hfunc, int x, int y, int z)
{
    const int size[3] = {x, y, z};
    struct legacy_launch *state;
    CUresult result = check_function(hfunc);

    if (result == CUDA_SUCCESS)
        result = check_block(size);
    if (result == CUDA_SUCCESS)
        result = begin(hfunc, &state);
    if (result != CUDA_SUCCESS)
        return result;
    for (int i = 0; i < 3; i++)
        state->block[i] = (unsigned)size[i];
    end();
    return CUDA_SUCCESS;
}

CUresult cuFuncSetSharedSize(CUfunction hfunc, unsigned int bytes)
{
    struct legacy_launch *state;
    CUresult result = begin(hfunc, &state);

    if (result != CUDA_SUCCESS)
        return result;
    state->shared_bytes = bytes;
    end();
    return CUDA_SUCCESS;
}

CUresult cuParamSetSize(CUfunction hfunc, unsigned int numbytes)
{
    struct legacy_launch *state;
    CUresult result = begin(hfunc, &state);

    if (result != CUDA_SUCCESS)
        return result;
    if (numbytes <= LEGACY_PARAM_BYTES)
        state->param_bytes = numbytes;
    else
        result = CUDA_ERROR_INVALID_VALUE;
    end();
    return result;
}

static CUresult set_param(CUfunction function, int offset, const void *data, unsigned bytes)
{
    struct legacy_launch *state;
    CUresult result = begin(function, &state);

    if (result != CUDA_SUCCESS)
        return result;
    if (offset < 0 || (unsigned)offset > LEGACY_PARAM_BYTES ||
        bytes > LEGACY_PARAM_BYTES - (unsigned)offset || !data)
        result = CUDA_ERROR_INVALID_VALUE;
    else
        memcpy(state->params + offset, data, bytes);
    end();
    return result;
}

CUresult cuParamSeti(CUfunction hfunc, int offset, unsigned int value)
{
    return set_param(hfunc, offset, &value, sizeof(value));
}

CUresult cuParamSetf(CUfunction hfunc, int offset, float value)
{
    return set_param(hfunc, offset, &value, sizeof(value));
}

CUresult cuParamSetv(CUfunction hfunc, int offset, void *ptr, unsigned int numbytes)
{
    return set_param(hfunc, offset, ptr, numbytes);
}

/* What is set for the function, zero if nothing is. */
static CUresult copy_state(CUfunction function, struct legacy_launch *ret)
{
    const struct legacy_launch *state;
    CUresult result = check_function(function);

    if (result != CUDA_SUCCESS)
        return result;
    pthread_mutex_lock(&lock);
    state = *find(function);
    if (state)
        *ret = *state;
    else
        memset(ret, 0, sizeof(*ret));
    pthread_mutex_unlock(&lock);
    return CUDA_SUCCESS;
}

static CUresult launch(CUfunction function, int width, int height, CUstream stream)
{
    struct legacy_launch state;
    size_t bytes;
    void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, state.params, CU_LAUNCH_PARAM_BUFFER_SIZE,
                     &bytes, CU_LAUNCH_PARAM_END};
    CUresult result = copy_state(function, &state);

    if (result != CUDA_SUCCESS)
        return result;
    if (state.block[0] == 0 || width <= 0 || height <= 0)
        return CUDA_ERROR_INVALID_VALUE;
    bytes = state.param_bytes;
    /* Without a size there are no parameters; a function that has some is told so. */
    return cuLaunchKernel(function, (unsigned)width, (unsigned)height, 1, state.block[0],
                          state.block[1], state.block[2], state.shared_bytes, stream, NULL,
                          bytes > 0 ? extra : NULL);
}

CUresult cuLaunch(CUfunction f)
{
    return launch(f, 1, 1, NULL);
}

CUresult cuLaunchGrid(CUfunction f, int grid_width, int grid_height)
{
    return launch(f, grid_width, grid_height, NULL);
}

CUresult cuLaunchGridAsync(CUfunction f, int grid_width, int grid_height, CUstream hStream)
{
    return launch(f, grid_width, grid_height, hStream);
}
