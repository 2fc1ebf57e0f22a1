/* SPDX-License-Identifier: Apache-2.0 */
/* A word that threads share without a lock: what was written before it was raised is seen with it.
 */
#ifndef VGPU_COMMON_FLAG_H
#define VGPU_COMMON_FLAG_H

#include <stdbool.h>
#include <stdint.h>

/* Release: pairs with the acquire in vgpu_flag_get. */
static inline void vgpu_flag_set(uint32_t *flag, uint32_t value)
{
    __atomic_store_n(flag, value, __ATOMIC_RELEASE);
}

/* Acquire: pairs with the release in vgpu_flag_set. */
static inline uint32_t vgpu_flag_get(const uint32_t *flag)
{
    return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

/*
 * Raises *word to value, unless it is there or above: of several that do so at once the highest
 * counts. Release: pairs with the acquire of whoever loads it.
 */
static inline void vgpu_raise_u64(uint64_t *word, uint64_t value)
{
    uint64_t seen = __atomic_load_n(word, __ATOMIC_RELAXED);

    while (seen < value && !__atomic_compare_exchange_n(word, &seen, value, false, __ATOMIC_RELEASE,
                                                        __ATOMIC_RELAXED))
        ;
}

#endif
