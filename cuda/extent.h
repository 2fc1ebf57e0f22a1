/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many bytes a strided copy or fill spans. All saturate at UINT64_MAX, which lies in no
 * allocation, so that a hostile size is refused by the range check behind it.
 */
#ifndef VGPU_CUDA_EXTENT_H
#define VGPU_CUDA_EXTENT_H

#include <stdint.h>

static inline uint64_t cuda_saturated_mul(uint64_t a, uint64_t b)
{
    uint64_t product;

    return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

static inline uint64_t cuda_saturated_add(uint64_t a, uint64_t b)
{
    uint64_t sum;

    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

/* depth slices of slice_rows rows of pitch bytes, of which width x height are touched; all > 0. */
static inline uint64_t cuda_extent_3d(uint64_t pitch, uint64_t slice_rows, uint64_t width,
                                      uint64_t height, uint64_t depth)
{
    uint64_t rows = cuda_saturated_add(cuda_saturated_mul(slice_rows, depth - 1), height - 1);

    if ((height > 1 || depth > 1) && pitch < width)
        return UINT64_MAX;
    if (depth > 1 && slice_rows < height)
        return UINT64_MAX;
    return cuda_saturated_add(cuda_saturated_mul(pitch, rows), width);
}

/* height rows of pitch bytes with width elements touched in each; all > 0. */
static inline uint64_t cuda_extent_2d(uint64_t pitch, uint64_t width, uint64_t element_bytes,
                                      uint64_t height)
{
    return cuda_extent_3d(pitch, height, cuda_saturated_mul(width, element_bytes), height, 1);
}

#endif
