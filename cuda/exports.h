/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The exported names of a library that implements the driver API (softgpu, libvgpu), and how
 * cuGetProcAddress looks them up. The table is generated; the functions below it are the library's
 * own, save the last.
 */
#ifndef VGPU_CUDA_EXPORTS_H
#define VGPU_CUDA_EXPORTS_H

#include <stdbool.h>

#include "cuda/cuda_abi.h"

struct cuda_export {
    const char *base; /* the name that cuGetProcAddress is asked for */
    int version;      /* CUDA version from which `function` is the answer */
    void *function;
    int twin_version; /* the same for the per-thread default stream; 0 if there is no twin */
    void *twin;
};

/* Sorted by base name, then by version. */
extern const struct cuda_export cuda_exports[];
extern const size_t cuda_exports_count;

/* Between the two, this thread's default stream is CU_STREAM_PER_THREAD. Calls do not nest. */
void cuda_per_thread_enter(void);
void cuda_per_thread_leave(void);

/* A managed allocation; advice: CUDA_MANAGED_*. */
struct cuda_managed {
    uint64_t start, bytes;
    unsigned advice;
};

#define CUDA_MANAGED_READ_MOSTLY      0x1u
#define CUDA_MANAGED_PREFERRED_HOST   0x2u
#define CUDA_MANAGED_ACCESSED_BY_HOST 0x4u

/* The managed allocation that holds ptr; false if there is none. */
bool cuda_managed_find(CUdeviceptr ptr, struct cuda_managed *ret);

/* Notes advice on the managed allocation at start, if it is still there. */
void cuda_managed_advise(uint64_t start, unsigned set, unsigned clear);

/* Answers CUDA_ERROR_NOT_SUPPORTED and tells the administrator or user once for each name. */
CUresult cuda_unsupported(const char *name);

/*
 * As cuGetProcAddress_v2: the newest function of that base name which `version` allows. flags:
 * CUdriverProcAddress_flags. Not found: *ret_function is NULL and, as driver 580 does, the answer
 * is CUDA_SUCCESS with *ret_status saying why, or CUDA_ERROR_NOT_FOUND where ret_status is NULL.
 * CUDA_ERROR_INVALID_VALUE for bad arguments.
 */
CUresult cuda_exports_find(const char *symbol, void **ret_function, int version, uint64_t flags,
                           CUdriverProcAddressQueryResult *ret_status);

#endif
