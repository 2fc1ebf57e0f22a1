/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the guest's handles stand for: a table for each kind, indexed by the handle's index, which
 * the guest chose. A slot is free, reserved (an object is being made beside the consumer) or live.
 */
#ifndef VGPU_WORKER_HANDLES_H
#define VGPU_WORKER_HANDLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vgpu/cuda.h>

struct handle_slot {
    void *object; /* NULL in a slot that is reserved */
    uint16_t generation;
    bool taken;
};

struct handle_table {
    struct handle_slot *slots;
    uint32_t count; /* slots that exist; grows up to the kind's maximum */
};

/* True if kind and index are right and the slot is free. */
bool handle_is_free(const struct handle_table *tables, unsigned kind, uint32_t handle);

/* Takes a free slot; object NULL reserves it. Returns 0 or -ENOMEM. */
int handle_put(struct handle_table *tables, uint32_t handle, void *object);

/* The live object, or NULL for any other handle. */
static inline void *handle_get(const struct handle_table *tables, unsigned kind, uint32_t handle)
{
    uint32_t index = VGPU_HANDLE_INDEX(handle);
    const struct handle_slot *slot;

    /* No table has more slots than its kind's maximum. */
    if (VGPU_HANDLE_KIND(handle) != kind || index >= tables[kind].count)
        return NULL;
    slot = &tables[kind].slots[index];
    if (!slot->taken || slot->generation != VGPU_HANDLE_GENERATION(handle))
        return NULL;
    return slot->object;
}

/* Frees the slot. */
void handle_drop(struct handle_table *tables, uint32_t handle);

/* The object in each live slot of a kind: start with *index 0 until it answers NULL. */
void *handle_next(const struct handle_table *tables, unsigned kind, uint32_t *index);

void handles_free(struct handle_table *tables);

#endif
