/* SPDX-License-Identifier: Apache-2.0 */
/* Names and texts of results, and the calls that need neither device nor context. */
#include <stdio.h>

#include "cuda/exports.h"
#include "softgpu/gpu.h"
#include "softgpu/thread.h"

#define MAX_REPORTED 512 /* more names than cuda.spec lists */

struct text {
    CUresult value;
    const char *name, *text;
};

static const struct text texts[] = {
#define RESULT_TEXT(name, value, text) {name, #name, text},
    CUDA_RESULTS(RESULT_TEXT)
#undef RESULT_TEXT
};

static const struct text *find(CUresult error)
{
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(texts); i++) {
        if (texts[i].value == error)
            return &texts[i];
    }
    return NULL;
}

CUresult cuGetErrorString(CUresult error, const char **pStr)
{
    const struct text *text = find(error);

    if (!pStr)
        return CUDA_ERROR_INVALID_VALUE;
    *pStr = text ? text->text : NULL;
    return text ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGetErrorName(CUresult error, const char **pStr)
{
    const struct text *text = find(error);

    if (!pStr)
        return CUDA_ERROR_INVALID_VALUE;
    *pStr = text ? text->name : NULL;
    return text ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuDriverGetVersion(int *driverVersion)
{
    if (!driverVersion)
        return CUDA_ERROR_INVALID_VALUE;
    *driverVersion = SOFTGPU_CUDA_VERSION;
    return CUDA_SUCCESS;
}

CUresult cuGetProcAddress_v2(const char *symbol, void **pfn, int cudaVersion, cuuint64_t flags,
                             CUdriverProcAddressQueryResult *symbolStatus)
{
    return cuda_exports_find(symbol, pfn, cudaVersion, flags, symbolStatus);
}

CUresult cuGetProcAddress(const char *symbol, void **pfn, int cudaVersion, cuuint64_t flags)
{
    return cuda_exports_find(symbol, pfn, cudaVersion, flags, NULL);
}

CUresult cuda_unsupported(const char *name)
{
    static const char *reported[MAX_REPORTED];
    static size_t n_reported;
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    bool known = false;

    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < n_reported && !known; i++)
        known = reported[i] == name;
    if (!known && n_reported < MAX_REPORTED)
        reported[n_reported++] = name;
    else
        known = true;
    pthread_mutex_unlock(&lock);
    if (!known)
        fprintf(stderr, "softgpu: %s is not supported\n", name);
    return CUDA_ERROR_NOT_SUPPORTED;
}

CUresult cuProfilerStart(void)
{
    _scope_ struct scope scope = scope_context();

    return scope.result;
}

CUresult cuProfilerStop(void)
{
    _scope_ struct scope scope = scope_context();

    return scope.result;
}
