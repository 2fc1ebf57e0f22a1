/* SPDX-License-Identifier: Apache-2.0 */
/* The address space of a device; see arena.h. Free extents are kept sorted by address. */
#include "softgpu/arena.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/overflow.h"

#define RESERVE_FACTOR 4
#define PAGE_BYTES     UINT64_C(4096)

struct extent {
    uint64_t base, size_bytes;
};

struct arena {
    uint64_t base, size_bytes;
    uint64_t distance; /* from a device address to its byte, modulo 2^64 */
    uint64_t cursor;   /* where the search for a gap begins */
    struct extent *gaps;
    size_t n_gaps, size_gaps;
    size_t n_blocks; /* taken and not given back; there are at most that many gaps and one more */
};

static void *map(uint64_t size_bytes, int protection)
{
    void *p =
        mmap(NULL, size_bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED)
        return NULL;
    madvise(p, size_bytes, MADV_DONTDUMP);
    return p;
}

struct arena *arena_new(uint64_t memory_bytes)
{
    uint64_t size = memory_bytes * RESERVE_FACTOR;
    struct arena *arena = calloc(1, sizeof(*arena));
    void *addresses = map(size, PROT_NONE);
    void *bytes = map(size, PROT_READ | PROT_WRITE);

    if (arena)
        arena->gaps = malloc(sizeof(*arena->gaps));
    if (!arena || !arena->gaps || !addresses || !bytes) {
        if (addresses)
            munmap(addresses, size);
        if (bytes)
            munmap(bytes, size);
        if (arena)
            free(arena->gaps);
        free(arena);
        return NULL;
    }
    arena->base = arena->cursor = (uintptr_t)addresses;
    arena->size_bytes = size;
    arena->distance = (uintptr_t)bytes - arena->base;
    arena->n_gaps = arena->size_gaps = 1;
    arena->gaps[0] = (struct extent){arena->base, size};
    return arena;
}

bool arena_holds(const struct arena *arena, uint64_t address)
{
    return address - arena->base < arena->size_bytes;
}

uint64_t arena_span(uint64_t size_bytes)
{
    return (size_bytes + ARENA_ALIGN_BYTES - 1) & ~(uint64_t)(ARENA_ALIGN_BYTES - 1);
}

/* Index of the first gap that ends behind address. */
static size_t gap_at(const struct arena *arena, uint64_t address)
{
    size_t low = 0, high = arena->n_gaps;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (arena->gaps[middle].base + arena->gaps[middle].size_bytes <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Room for the gaps that there may be once one more block is taken: giving back never fails. */
static bool make_room(struct arena *arena)
{
    struct extent *gaps;

    if (arena->n_blocks + 2 <= arena->size_gaps)
        return true;
    gaps = realloc(arena->gaps, 2 * arena->size_gaps * sizeof(*gaps));
    if (!gaps)
        return false;
    arena->gaps = gaps;
    arena->size_gaps *= 2;
    return true;
}

/* Cuts [base, base + size) out of gap `index`, which holds it. */
static void cut(struct arena *arena, size_t index, uint64_t base, uint64_t size)
{
    struct extent *gap = &arena->gaps[index];
    struct extent tail = {base + size, gap->base + gap->size_bytes - (base + size)};

    gap->size_bytes = base - gap->base;
    if (gap->size_bytes == 0 && tail.size_bytes == 0) {
        arena->n_gaps--;
        memmove(gap, gap + 1, (arena->n_gaps - index) * sizeof(*gap));
    } else if (gap->size_bytes == 0) {
        *gap = tail;
    } else if (tail.size_bytes > 0) {
        memmove(gap + 2, gap + 1, (arena->n_gaps - index - 1) * sizeof(*gap));
        gap[1] = tail;
        arena->n_gaps++;
    }
}

static bool take_from(struct arena *arena, size_t first, size_t last, uint64_t floor, uint64_t size,
                      uint64_t align, uint64_t *ret_base)
{
    for (size_t i = first; i < last; i++) {
        const struct extent *gap = &arena->gaps[i];
        uint64_t start = gap->base > floor ? gap->base : floor;
        uint64_t base = (start + align - 1) & ~(align - 1);

        if (!vgpu_range_within(base - gap->base, size, gap->size_bytes))
            continue;
        cut(arena, i, base, size);
        *ret_base = base;
        return true;
    }
    return false;
}

bool arena_take(struct arena *arena, uint64_t size_bytes, uint64_t align, uint64_t *ret_base,
                void **ret_host)
{
    uint64_t size, base;
    size_t first = gap_at(arena, arena->cursor);

    if (align < ARENA_ALIGN_BYTES)
        align = ARENA_ALIGN_BYTES;
    if (align > ARENA_MAX_ALIGN || size_bytes == 0 ||
        !vgpu_add_u64(size_bytes, ARENA_ALIGN_BYTES - 1 + ARENA_GAP_BYTES, &size) ||
        !make_room(arena))
        return false;
    size = arena_span(size_bytes) + ARENA_GAP_BYTES;
    if (!take_from(arena, first, arena->n_gaps, arena->cursor, size, align, &base) &&
        !take_from(arena, 0, arena->n_gaps, 0, size, align, &base))
        return false;
    arena->n_blocks++;
    arena->cursor = base + size;
    *ret_base = base;
    *ret_host = (void *)(uintptr_t)(base + arena->distance);
    return true;
}

/* Joins [base, base + size) with the gaps beside it. Returns the index of the gap it is in. */
static size_t join(struct arena *arena, uint64_t base, uint64_t size)
{
    size_t index = gap_at(arena, base);
    struct extent *gap = &arena->gaps[index];
    bool before = index > 0 && gap[-1].base + gap[-1].size_bytes == base;
    bool behind = index < arena->n_gaps && gap->base == base + size;

    if (before && behind) {
        gap[-1].size_bytes += size + gap->size_bytes;
        arena->n_gaps--;
        memmove(gap, gap + 1, (arena->n_gaps - index) * sizeof(*gap));
        return index - 1;
    }
    if (before) {
        gap[-1].size_bytes += size;
        return index - 1;
    }
    if (behind) {
        *gap = (struct extent){base, size + gap->size_bytes};
        return index;
    }
    memmove(gap + 1, gap, (arena->n_gaps - index) * sizeof(*gap));
    *gap = (struct extent){base, size};
    arena->n_gaps++;
    return index;
}

void arena_give(struct arena *arena, uint64_t base, uint64_t size_bytes)
{
    uint64_t size = arena_span(size_bytes) + ARENA_GAP_BYTES;
    uint64_t first = base & ~(PAGE_BYTES - 1);
    uint64_t last = (base + size + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
    const struct extent *gap = &arena->gaps[join(arena, base, size)];

    arena->n_blocks--;
    /* Pages that hold nothing else now go back to the system. */
    if (first < gap->base)
        first += PAGE_BYTES;
    if (last > gap->base + gap->size_bytes)
        last -= PAGE_BYTES;
    if (first < last)
        madvise((void *)(uintptr_t)(first + arena->distance), last - first, MADV_DONTNEED);
}
