/* SPDX-License-Identifier: GPL-2.0-or-later OR Apache-2.0 */
/*
 * Single words of the pages that two processes share (notice, lease, report): each is loaded once
 * or stored once, and what was written before a store is seen by whoever loads it.
 */
#ifndef VGPU_RING_PAGES_H
#define VGPU_RING_PAGES_H

#include <stdint.h>

/* Acquire: pairs with the release of the other side's store. */
static inline uint32_t page_load_u32(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline uint64_t page_load_u64(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/* Release: pairs with the acquire of the other side's load. */
static inline void page_store_u32(uint32_t *word, uint32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

static inline void page_store_u64(uint64_t *word, uint64_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/* Full fence between a store to one page and a load from another; the peer has its twin. */
static inline void page_fence(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

#endif
