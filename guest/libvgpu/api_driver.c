/* SPDX-License-Identifier: Apache-2.0 */
/* The driver API: the library itself, error texts, the table of functions, and explicit jobs. */
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/status.h"
#include "cuda/cuda_api.h"
#include "cuda/cuda_send.h"
#include "cuda/exports.h"
#include "guest/libvgpu/guest.h"
#include "guest/libvgpu/vgpu.h"

CUresult cuInit(unsigned int Flags)
{
    CUresult result;

    if (Flags != 0)
        return CUDA_ERROR_INVALID_VALUE;
    result = guest_prepare();
    if (result == CUDA_SUCCESS)
        guest_set_initialised();
    return result;
}

/* Works without cuInit; without a host it is this library's own version. */
CUresult cuDriverGetVersion(int *driverVersion)
{
    if (!driverVersion)
        return CUDA_ERROR_INVALID_VALUE;
    *driverVersion = CUDA_ABI_VERSION;
    if (guest_prepare() == CUDA_SUCCESS && guest_device()->driver_version < CUDA_ABI_VERSION)
        *driverVersion = guest_device()->driver_version;
    return CUDA_SUCCESS;
}

struct result_row {
    CUresult result;
    const char *name;
    const char *text;
};

static const struct result_row *result_find(CUresult result)
{
    static const struct result_row rows[] = {
#define RESULT_ROW(name, value, text) {name, #name, text},
        CUDA_RESULTS(RESULT_ROW)
#undef RESULT_ROW
    };

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(rows); i++)
        if (rows[i].result == result)
            return &rows[i];
    return NULL;
}

CUresult cuGetErrorString(CUresult error, const char **pStr)
{
    const struct result_row *row = result_find(error);

    if (!pStr)
        return CUDA_ERROR_INVALID_VALUE;
    *pStr = row ? row->text : NULL;
    return row ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGetErrorName(CUresult error, const char **pStr)
{
    const struct result_row *row = result_find(error);

    if (!pStr)
        return CUDA_ERROR_INVALID_VALUE;
    *pStr = row ? row->name : NULL;
    return row ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
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

CUresult cuProfilerStart(void)
{
    return guest_enter_context(NULL);
}

CUresult cuProfilerStop(void)
{
    return guest_enter_context(NULL);
}

static enum vgpu_status job_failed(struct vgpu_failure *failure, uint32_t status, uint64_t retry_ns,
                                   const char *text)
{
    struct vgpu_failure told = {
        .status = status,
        .retryable = vgpu_status_retryable(status),
        .retry_ns = retry_ns,
    };

    snprintf(told.text, sizeof(told.text), "%s", text);
    if (failure)
        *failure = told;
    return (enum vgpu_status)status;
}

/* A job whose channel ended meanwhile is told with the reason of that. */
static enum vgpu_status job_gone(struct vgpu_failure *failure)
{
    struct vgpu_failure last;

    vgpu_last_error(&last);
    return job_failed(failure, last.status, 0, last.text);
}

static enum vgpu_status job_refused(const struct guest_thread *thread, CUresult result,
                                    struct vgpu_failure *failure)
{
    uint32_t status = thread->ticket.status;
    const char *name = NULL;

    if (vgpu_channel_status() != VGPU_OK)
        return job_gone(failure);
    /* A refusal says in wait_ns when to come again. */
    if (status != VGPU_OK && status != VGPU_FAILED)
        return job_failed(failure, status,
                          vgpu_status_retryable(status) ? thread->ticket.wait_ns : 0,
                          vgpu_status_text(status));
    cuGetErrorString(result, &name);
    return job_failed(failure, VGPU_FAILED, 0, name ? name : "an unknown error of the driver");
}

enum vgpu_status vgpu_job_vector_add(const int32_t *a, const int32_t *b, int32_t *sum,
                                     uint32_t count, struct vgpu_failure *failure)
{
    const struct cuda_args_job_vector_add args = {
        .count = count,
        .a = a,
        .a_bytes = count * 4,
        .b = b,
        .b_bytes = count * 4,
    };
    struct guest_thread *thread = NULL;
    struct cuda_out_job_vector_add out;
    CUresult result;

    if (count < 1 || count > VGPU_VECTOR_ADD_COUNT)
        return job_failed(failure, VGPU_LIMIT, 0, "a vector-add takes 1 to 1024 elements");
    result = guest_enter(&thread);
    if (!thread)
        return vgpu_channel_status() != VGPU_OK
                   ? job_gone(failure)
                   : job_failed(failure, VGPU_GONE, 0, "there is no connection to the host");
    result = cuda_send_job_vector_add(guest_sender(), VGPU_RECORD_EXPLICIT, &args, &out);
    if (result != CUDA_SUCCESS)
        return job_refused(thread, result, failure);
    if (out.sum_bytes != count * 4)
        return job_failed(failure, VGPU_INTERNAL, 0, "the answer has the wrong length");
    memcpy(sum, out.sum, out.sum_bytes);
    return VGPU_OK;
}
