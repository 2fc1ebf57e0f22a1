/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/libvgpu/objects.h"

#include <stdlib.h>
#include <string.h>

#include "common/flag.h"
#include "cuda/legacy_launch.h"

#define SLAB_OBJECTS 64u
#define SLABS        1024u

/*
 * Of each index: its generation, and whether there is an object. A flag, as it is read without the
 * lock too; what an object is made of is written before.
 */
#define SLOT(generation, live) ((generation) << 1 | (live))
#define SLOT_GENERATION(slot)  ((slot) >> 1)
#define SLOT_IS_LIVE(slot)     ((slot)&1u)

struct table {
    const uint32_t most;
    const size_t object_bytes;
    uint32_t *slots;
    uint8_t *slabs[SLABS]; /* SLAB_OBJECTS objects each */
    uint32_t *free;        /* indices that were used before */
    uint32_t free_count;
    uint32_t used; /* flag: indices below this were used at least once */
};

static struct table tables[CUDA_KINDS] = {
    [CUDA_KIND_CONTEXT] = {CUDA_MAX_CONTEXTS, sizeof(struct context_object)},
    [CUDA_KIND_MODULE] = {CUDA_MAX_MODULES, sizeof(struct module_object)},
    [CUDA_KIND_FUNCTION] = {CUDA_MAX_FUNCTIONS, sizeof(struct function_object)},
    [CUDA_KIND_STREAM] = {CUDA_MAX_STREAMS, sizeof(struct stream_object)},
    [CUDA_KIND_EVENT] = {CUDA_MAX_EVENTS, sizeof(struct event_object)},
    [CUDA_KIND_LINK] = {CUDA_MAX_LINKS, sizeof(struct link_object)},
    [CUDA_KIND_GRAPH] = {CUDA_MAX_GRAPHS, sizeof(struct object)},
    [CUDA_KIND_MEMORY] = {CUDA_MAX_MEMORYS, sizeof(struct memory_object)},
    [CUDA_KIND_POOL] = {CUDA_MAX_POOLS, sizeof(struct pool_object)},
};

_Static_assert(CUDA_MAX_EVENTS <= SLABS * SLAB_OBJECTS && CUDA_MAX_MEMORYS <= SLABS * SLAB_OBJECTS,
               "the largest tables have slabs enough");

static uint32_t contexts_ended;

static bool is_live(const struct table *table, uint32_t index)
{
    return SLOT_IS_LIVE(vgpu_flag_get(&table->slots[index]));
}

static void set_live(struct table *table, uint32_t index, uint32_t live)
{
    vgpu_flag_set(&table->slots[index], SLOT(SLOT_GENERATION(table->slots[index]), live));
}

static void *object_in(const struct table *table, uint32_t index)
{
    return table->slabs[index / SLAB_OBJECTS] + (index % SLAB_OBJECTS) * table->object_bytes;
}

static bool make_room(struct table *table, uint32_t index)
{
    uint8_t **slab = &table->slabs[index / SLAB_OBJECTS];

    if (!table->slots)
        table->slots = calloc(table->most, sizeof(*table->slots));
    if (!table->free)
        table->free = calloc(table->most, sizeof(*table->free));
    if (!*slab)
        *slab = calloc(SLAB_OBJECTS, table->object_bytes);
    return table->slots && table->free && *slab;
}

void *object_new(enum cuda_kind kind, uint32_t context)
{
    struct table *table = &tables[kind];
    struct object *object;
    uint32_t index;

    if (table->free_count == 0 && table->used == table->most)
        return NULL;
    index = table->free_count > 0 ? table->free[table->free_count - 1] : table->used;
    if (!make_room(table, index))
        return NULL;
    object = object_in(table, index);
    memset(object, 0, table->object_bytes);
    object->handle = VGPU_HANDLE(kind, SLOT_GENERATION(table->slots[index]), index);
    object->context = context;
    if (table->free_count > 0)
        table->free_count--;
    else
        vgpu_flag_set(&table->used, table->used + 1);
    set_live(table, index, 1);
    return object;
}

void *object_at(enum cuda_kind kind, uint32_t handle)
{
    const struct table *table = &tables[kind];
    uint32_t index = VGPU_HANDLE_INDEX(handle);

    if (VGPU_HANDLE_KIND(handle) != (uint32_t)kind || index >= vgpu_flag_get(&table->used) ||
        vgpu_flag_get(&table->slots[index]) != SLOT(VGPU_HANDLE_GENERATION(handle), 1u))
        return NULL;
    return object_in(table, index);
}

void *object_find(enum cuda_kind kind, const void *value)
{
    if ((uintptr_t)value > UINT32_MAX)
        return NULL;
    return object_at(kind, (uint32_t)(uintptr_t)value);
}

static void release(enum cuda_kind kind, void *object)
{
    if (kind == CUDA_KIND_MODULE) {
        struct module_object *module = object;

        while (module->globals) {
            struct module_global *global = module->globals;

            module->globals = global->next;
            free(global);
        }
    } else if (kind == CUDA_KIND_FUNCTION) {
        struct function_object *function = object;

        legacy_launch_forget(object_handle(function));
        free(function->name);
        free(function->params);
        function->name = NULL;
        function->params = NULL;
    } else if (kind == CUDA_KIND_LINK) {
        struct link_object *link = object;

        free(link->image);
        link->image = NULL;
    }
}

uint32_t objects_contexts_ended(void)
{
    return vgpu_flag_get(&contexts_ended);
}

static void end_life(enum cuda_kind kind, uint32_t index)
{
    set_live(&tables[kind], index, 0);
    if (kind == CUDA_KIND_CONTEXT)
        vgpu_flag_set(&contexts_ended, contexts_ended + 1);
}

static void drop_index(enum cuda_kind kind, uint32_t index)
{
    struct table *table = &tables[kind];

    release(kind, object_in(table, index));
    end_life(kind, index);
    vgpu_flag_set(&table->slots[index],
                  SLOT((SLOT_GENERATION(table->slots[index]) + 1) & 0xfffu, 0u));
    table->free[table->free_count++] = index;
}

void object_drop(enum cuda_kind kind, uint32_t handle)
{
    if (object_at(kind, handle))
        drop_index(kind, VGPU_HANDLE_INDEX(handle));
}

void object_suspend(enum cuda_kind kind, uint32_t handle)
{
    end_life(kind, VGPU_HANDLE_INDEX(handle));
}

void object_revive(enum cuda_kind kind, uint32_t handle)
{
    set_live(&tables[kind], VGPU_HANDLE_INDEX(handle), 1);
}

void objects_suspend_all(enum cuda_kind kind)
{
    for (uint32_t i = 0; i < tables[kind].used; i++)
        end_life(kind, i);
}

void objects_drop_context(uint32_t context)
{
    for (int kind = CUDA_KIND_MODULE; kind < CUDA_KINDS; kind++) {
        struct table *table = &tables[kind];

        for (uint32_t i = 0; i < table->used; i++) {
            const struct object *object = object_in(table, i);

            if (is_live(table, i) && object->context == context)
                drop_index((enum cuda_kind)kind, i);
        }
    }
}

void objects_drop_module(uint32_t module)
{
    struct table *table = &tables[CUDA_KIND_FUNCTION];

    for (uint32_t i = 0; i < table->used; i++) {
        const struct function_object *function = object_in(table, i);

        if (is_live(table, i) && function->module == module)
            drop_index(CUDA_KIND_FUNCTION, i);
    }
}

struct function_object *object_function(uint32_t module, const char *name)
{
    const struct table *table = &tables[CUDA_KIND_FUNCTION];

    for (uint32_t i = 0; i < table->used; i++) {
        struct function_object *function = object_in(table, i);

        if (is_live(table, i) && function->module == module && function->name &&
            strcmp(function->name, name) == 0)
            return function;
    }
    return NULL;
}

void objects_reset(void)
{
    for (int kind = 1; kind < CUDA_KINDS; kind++)
        for (uint32_t i = 0; i < tables[kind].used; i++)
            if (is_live(&tables[kind], i))
                drop_index((enum cuda_kind)kind, i);
}
