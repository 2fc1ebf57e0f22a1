/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a module image is, which the driver API does not say: an ELF file (cubin), a fatbin, or
 * PTX up to its NUL. Nothing beyond `most` bytes is read.
 */
#ifndef VGPU_CUDA_IMAGE_MEASURE_H
#define VGPU_CUDA_IMAGE_MEASURE_H

#include <stddef.h>
#include <stdint.h>

#include "cuda/cuda_abi.h"

#define IMAGE_MAX_BYTES (256u << 20) /* as cuda.spec bounds it */

/*
 * The image's bytes; for PTX with its NUL, if that lies within most. A fatbin's wrapper is followed
 * to the fatbin itself, so *ret_data may differ from image. CUDA_ERROR_INVALID_IMAGE if it is none
 * of the three, or longer than most.
 */
CUresult image_measure(const void *image, size_t most, const void **ret_data, size_t *ret_bytes);

#endif
