/* SPDX-License-Identifier: Apache-2.0 */
/* See graph_table.h. A handle: generation << 32 | index << 8 | a mark and the kind. */
#include "cuda/graph_table.h"

#include <stdint.h>
#include <stdlib.h>

#define FIRST_SLOTS 256u
#define MARK        0xc0u
#define NOTHING     UINT32_MAX

struct slot {
    void *object;
    uint32_t generation, next_free;
    uint8_t kind;
};

static struct slot *slots;
static uint32_t slot_count;
static uint32_t first_free = NOTHING;

static int grow(void)
{
    uint32_t count = slot_count ? slot_count * 2 : FIRST_SLOTS;
    struct slot *grown;

    if (count > GRAPH_MAX_HANDLES)
        return -1;
    grown = realloc(slots, count * sizeof(*grown));
    if (!grown)
        return -1;
    for (uint32_t i = count; i-- > slot_count;) {
        grown[i] = (struct slot){.generation = 1, .next_free = first_free};
        first_free = i;
    }
    slots = grown;
    slot_count = count;
    return 0;
}

void *graph_table_add(enum graph_kind kind, void *object)
{
    uint32_t index = first_free;
    struct slot *slot;

    if (index == NOTHING) {
        if (grow() < 0)
            return NULL;
        index = first_free;
    }
    slot = &slots[index];
    first_free = slot->next_free;
    slot->object = object;
    slot->kind = (uint8_t)kind;
    return (void *)(uintptr_t)((uint64_t)slot->generation << 32 | (uint64_t)index << 8 | MARK |
                               (uint64_t)kind);
}

static struct slot *find(const void *handle)
{
    uint64_t value = (uintptr_t)handle;
    uint32_t index = (uint32_t)value >> 8;
    struct slot *slot = index < slot_count ? &slots[index] : NULL;

    if (!slot || !slot->object || slot->generation != value >> 32 ||
        (value & 0xff) != (MARK | (uint64_t)slot->kind))
        return NULL;
    return slot;
}

void *graph_table_get(enum graph_kind kind, const void *handle)
{
    const struct slot *slot = find(handle);

    return slot && slot->kind == kind ? slot->object : NULL;
}

void graph_table_drop(const void *handle)
{
    struct slot *slot = find(handle);

    if (!slot)
        return;
    slot->object = NULL;
    slot->generation++;
    slot->next_free = first_free;
    first_free = (uint32_t)(slot - slots);
}
