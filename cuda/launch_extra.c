/* SPDX-License-Identifier: Apache-2.0 */
#include "cuda/launch_extra.h"

#define MAX_ENTRIES 2 /* each is a name and a value */

CUresult launch_extra_read(void *const *extra, const void **ret_buffer, size_t *ret_bytes)
{
    const void *buffer = NULL;
    const size_t *bytes = NULL;

    for (int i = 0; extra[2 * i] != CU_LAUNCH_PARAM_END; i++) {
        void *name = extra[2 * i];

        if (i == MAX_ENTRIES)
            return CUDA_ERROR_INVALID_VALUE;
        if (name == CU_LAUNCH_PARAM_BUFFER_POINTER)
            buffer = extra[2 * i + 1];
        else if (name == CU_LAUNCH_PARAM_BUFFER_SIZE)
            bytes = extra[2 * i + 1];
        else
            return CUDA_ERROR_INVALID_VALUE;
    }
    if (!buffer != !bytes || (bytes && *bytes > VGPU_LAUNCH_PARAM_BYTES))
        return CUDA_ERROR_INVALID_VALUE;
    *ret_buffer = buffer;
    *ret_bytes = bytes ? *bytes : 0;
    return CUDA_SUCCESS;
}
