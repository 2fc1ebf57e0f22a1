/* SPDX-License-Identifier: Apache-2.0 */
/* Checked arithmetic: each returns false, and leaves *ret alone, if the result does not fit. */
#ifndef VGPU_COMMON_OVERFLOW_H
#define VGPU_COMMON_OVERFLOW_H

#include <stdbool.h>
#include <stdint.h>

static inline bool vgpu_add_u64(uint64_t a, uint64_t b, uint64_t *ret)
{
    uint64_t sum;

    if (__builtin_add_overflow(a, b, &sum))
        return false;
    *ret = sum;
    return true;
}

static inline bool vgpu_mul_u64(uint64_t a, uint64_t b, uint64_t *ret)
{
    uint64_t product;

    if (__builtin_mul_overflow(a, b, &product))
        return false;
    *ret = product;
    return true;
}

/* Rounds up to a multiple of align, a power of two. */
static inline bool vgpu_align_u64(uint64_t value, uint64_t align, uint64_t *ret)
{
    uint64_t sum;

    if (!vgpu_add_u64(value, align - 1, &sum))
        return false;
    *ret = sum & ~(align - 1);
    return true;
}

/* True if [offset, offset + length) lies within [0, size). */
static inline bool vgpu_range_within(uint64_t offset, uint64_t length, uint64_t size)
{
    return offset <= size && length <= size - offset;
}

#endif
