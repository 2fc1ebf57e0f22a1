/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a file that cuModuleLoad or cuLinkAddFile names. */
#ifndef VGPU_CUDA_IMAGE_FILE_H
#define VGPU_CUDA_IMAGE_FILE_H

#include <stddef.h>

#include "cuda/cuda_abi.h"

/* *ret_data is the caller's to free, and has a NUL behind its *ret_bytes. */
CUresult image_file_read(const char *path, void **ret_data, size_t *ret_bytes);

#endif
