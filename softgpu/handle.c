/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table behind handle.h. Value of a handle: generation << 28 | index << 4 | kind; a slot's
 * generation grows when it is freed, so that no value is ever given twice.
 */
#include "softgpu/handle.h"

#include <stdint.h>
#include <stdlib.h>

#define KIND_BITS  4
#define INDEX_BITS 24
#define INDEX_NONE UINT32_MAX

struct slot {
    void *object; /* NULL: free */
    uint64_t generation;
    uint32_t next_free;
    uint8_t kind;
};

static struct slot *slots;
static uint32_t n_slots;
static uint32_t first_free = INDEX_NONE;

static int grow(void)
{
    uint32_t wanted = n_slots ? n_slots * 2 : 64;
    struct slot *grown;

    if (wanted > HANDLE_MAX)
        return -1;
    grown = realloc(slots, wanted * sizeof(*slots));
    if (!grown)
        return -1;
    slots = grown;
    for (uint32_t i = wanted; i-- > n_slots;) {
        slots[i] = (struct slot){.generation = 1, .next_free = first_free};
        first_free = i;
    }
    n_slots = wanted;
    return 0;
}

void *handle_new(enum handle_kind kind, void *object)
{
    struct slot *slot;
    uint32_t index;

    if (first_free == INDEX_NONE && grow() < 0)
        return NULL;
    index = first_free;
    slot = &slots[index];
    first_free = slot->next_free;
    slot->object = object;
    slot->kind = (uint8_t)kind;
    return (void *)(uintptr_t)(slot->generation << (INDEX_BITS + KIND_BITS) |
                               (uint64_t)index << KIND_BITS | (uint64_t)kind);
}

static struct slot *live_slot(const void *handle)
{
    uint64_t value = (uintptr_t)handle;
    uint64_t index = value >> KIND_BITS & ((1u << INDEX_BITS) - 1);
    struct slot *slot = index < n_slots ? &slots[index] : NULL;

    if (!slot || !slot->object || slot->generation != value >> (INDEX_BITS + KIND_BITS) ||
        slot->kind != (value & ((1u << KIND_BITS) - 1)))
        return NULL;
    return slot;
}

void *handle_get(enum handle_kind kind, const void *handle)
{
    struct slot *slot = live_slot(handle);

    return slot && slot->kind == kind ? slot->object : NULL;
}

void handle_free(const void *handle)
{
    struct slot *slot = live_slot(handle);

    if (!slot)
        return;
    slot->object = NULL;
    slot->generation++;
    slot->next_free = first_free;
    first_free = (uint32_t)(slot - slots);
}
