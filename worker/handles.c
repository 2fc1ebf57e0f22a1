/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/handles.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/border.h"
#include "cuda/cuda_ops.h"

#define FIRST_SLOTS 64u

static bool names_kind(unsigned kind, uint32_t handle)
{
    return VGPU_HANDLE_KIND(handle) == kind && kind < CUDA_KINDS &&
           VGPU_HANDLE_INDEX(handle) < cuda_kind_rows[kind].most;
}

bool handle_is_free(const struct handle_table *tables, unsigned kind, uint32_t handle)
{
    uint32_t index = VGPU_HANDLE_INDEX(handle);

    if (!names_kind(kind, handle))
        return false;
    return index >= tables[kind].count || !tables[kind].slots[index].taken;
}

static int grow(struct handle_table *table, uint32_t index, uint32_t most)
{
    uint32_t count = table->count ? table->count : FIRST_SLOTS;
    struct handle_slot *slots;

    while (count <= index)
        count *= 2;
    if (count > most)
        count = most;
    slots = realloc(table->slots, count * sizeof(*slots));
    if (!slots)
        return -ENOMEM;
    memset(slots + table->count, 0, (count - table->count) * sizeof(*slots));
    table->slots = slots;
    table->count = count;
    return 0;
}

int handle_put(struct handle_table *tables, uint32_t handle, void *object)
{
    unsigned kind = VGPU_HANDLE_KIND(handle);
    uint32_t index = VGPU_HANDLE_INDEX(handle);
    struct handle_table *table = &tables[kind];

    if (index >= table->count && grow(table, index, cuda_kind_rows[kind].most) < 0)
        return -ENOMEM;
    table->slots[index] = (struct handle_slot){
        .object = object, .generation = (uint16_t)VGPU_HANDLE_GENERATION(handle), .taken = true};
    return 0;
}

void handle_drop(struct handle_table *tables, uint32_t handle)
{
    struct handle_table *table = &tables[VGPU_HANDLE_KIND(handle)];
    struct handle_slot *slot = &table->slots[VGPU_HANDLE_INDEX(handle)];

    slot->object = NULL;
    slot->taken = false;
}

void *handle_next(const struct handle_table *tables, unsigned kind, uint32_t *index)
{
    while (*index < tables[kind].count) {
        const struct handle_slot *slot = &tables[kind].slots[(*index)++];

        if (slot->taken && slot->object)
            return slot->object;
    }
    return NULL;
}

void handles_free(struct handle_table *tables)
{
    for (unsigned kind = 0; kind < CUDA_KINDS; kind++)
        free(tables[kind].slots);
}
