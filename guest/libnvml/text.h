/* SPDX-License-Identifier: Apache-2.0 */
/* Texts as NVML hands them out. Used by system.c and device.c. */
#ifndef VGPU_LIBNVML_TEXT_H
#define VGPU_LIBNVML_TEXT_H

#include <string.h>

#include "cuda/nvml_abi.h"

static inline nvmlReturn_t text_give(const char *text, char *ret, unsigned length)
{
    if (strlen(text) >= length)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    strcpy(ret, text);
    return NVML_SUCCESS;
}

#endif
