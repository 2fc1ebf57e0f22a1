/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The address space of a device. Device addresses are reserved without access, so that a host
 * program that follows one faults as it would with a GPU; the bytes lie in a mapping of the
 * library's own, at a constant distance, and take memory when they are first touched. Each
 * allocation is followed by at least ARENA_GAP_BYTES that belong to nobody, and what is freed is
 * given out again as late as possible. Functions need gpu.lock.
 */
#ifndef SOFTGPU_ARENA_H
#define SOFTGPU_ARENA_H

#include <stdbool.h>
#include <stdint.h>

#define ARENA_ALIGN_BYTES 512
#define ARENA_GAP_BYTES   512
#define ARENA_MAX_ALIGN   (UINT64_C(1) << 20)

struct arena;

/* An arena for a device with that much memory; NULL if the address space is not to be had. */
struct arena *arena_new(uint64_t memory_bytes);

/*
 * Takes size_bytes at a multiple of align (a power of two up to ARENA_MAX_ALIGN). False: no gap
 * is large enough. The bytes are zero or what was freed there before.
 */
bool arena_take(struct arena *arena, uint64_t size_bytes, uint64_t align, uint64_t *ret_base,
                void **ret_host);

/* Gives back what arena_take gave, with the same size_bytes. */
void arena_give(struct arena *arena, uint64_t base, uint64_t size_bytes);

/* True if address is one of the arena's, allocated or not. */
bool arena_holds(const struct arena *arena, uint64_t address);

/* What size_bytes take of the device's memory. */
uint64_t arena_span(uint64_t size_bytes);

#endif
