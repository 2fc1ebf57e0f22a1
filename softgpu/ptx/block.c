/* SPDX-License-Identifier: Apache-2.0 */
/* A block: its warps take turns in one OS thread, and meet at barriers. */
#include "softgpu/ptx/exec.h"

#include <stdlib.h>
#include <string.h>

static void place_threads(struct warp *w)
{
    const uint32_t *block = w->grid->launch.block;

    for (unsigned lane = 0; lane < LANES; lane++) {
        uint32_t thread = w->index * LANES + lane;

        w->tid[0][lane] = thread % block[0];
        w->tid[1][lane] = thread / block[0] % block[1];
        w->tid[2][lane] = thread / block[0] / block[1];
    }
}

struct block *block_new(const struct grid *grid)
{
    struct block *block = calloc(1, sizeof(*block));
    size_t local = (size_t)grid->stack_bytes * LANES;

    if (!block)
        return NULL;
    block->grid = grid;
    block->n_warps = grid->n_warps;
    block->warps = aligned_alloc(64, grid->n_warps * sizeof(*block->warps));
    block->shared = aligned_alloc(64, ((size_t)grid->shared_bytes + 127) & ~(size_t)63);
    block->local = local ? calloc(grid->n_warps, local) : NULL;
    if (!block->warps || !block->shared || (local && !block->local)) {
        free(block->warps);
        block->warps = NULL;
        block_free(block);
        return NULL;
    }
    memset(block->shared, 0, grid->shared_bytes);
    memset(block->warps, 0, grid->n_warps * sizeof(*block->warps));
    for (uint32_t i = 0; i < grid->n_warps; i++) {
        struct warp *w = &block->warps[i];

        w->block = block;
        w->grid = grid;
        w->table = grid->table;
        w->index = i;
        w->local = block->local ? block->local + local * i : NULL;
        w->event = EVENT_DONE;
        place_threads(w);
    }
    return block;
}

/* Its warps hold no frames: it is done or abandoned. */
void block_free(struct block *block)
{
    if (!block)
        return;
    free(block->warps);
    free(block->shared);
    free(block->local);
    free(block);
}

bool block_start(struct block *block, struct worker *worker, const uint32_t id[3])
{
    memcpy(block->id, id, sizeof(block->id));
    memset(block->barriers, 0, sizeof(block->barriers));
    memset(&block->fault, 0, sizeof(block->fault));
    for (uint32_t i = 0; i < block->n_warps; i++) {
        struct warp *w = &block->warps[i];
        uint32_t left = block->grid->block_threads - i * LANES;

        w->worker = worker;
        w->live = left >= LANES ? FULL_MASK : (UINT32_C(1) << left) - 1;
        w->event = EVENT_YIELD;
        w->frames = NULL;
    }
    for (uint32_t i = 0; i < block->n_warps; i++)
        if (!warp_start(&block->warps[i]))
            return false;
    return true;
}

void block_abandon(struct block *block)
{
    for (uint32_t i = 0; i < block->n_warps; i++)
        frame_free_all(&block->warps[i]);
}

static bool barrier_complete(const struct block *block, uint32_t id)
{
    const struct barrier *barrier = &block->barriers[id];

    if (barrier->expected)
        return barrier->arrived >= barrier->expected;
    for (uint32_t i = 0; i < block->n_warps; i++)
        if (block->warps[i].live & ~block->warps[i].arrived[id])
            return false;
    return true;
}

/* The result of bar.red for the lanes of a split. */
static void write_reduction(const struct split *split, const struct barrier *barrier)
{
    const struct op *op = split->at;
    unsigned kind = op->x & 7;
    uint32_t *d;

    if (kind < BAR_POPC || op->d == REF_NONE)
        return;
    d = (uint32_t *)(split->frame->registers + op->d);
    if (kind == BAR_POPC) {
        for (unsigned i = 0; i < LANES; i++)
            d[i] = split->mask >> i & 1 ? barrier->popc : d[i];
    } else {
        bool value = kind == BAR_AND ? barrier->all : barrier->any;

        *d = value ? *d | split->mask : *d & ~split->mask;
    }
}

static void barrier_open(struct block *block, uint32_t id)
{
    for (uint32_t i = 0; i < block->n_warps; i++) {
        struct warp *w = &block->warps[i];

        w->arrived[id] = 0;
        for (uint32_t k = 0; k < w->n_splits; k++) {
            struct split *split = &w->splits[k];

            if (split->state != SPLIT_BARRIER || split->barrier != id)
                continue;
            write_reduction(split, &block->barriers[id]);
            split->state = SPLIT_READY;
            split->at++;
        }
        warp_merge(w);
        if (w->event == EVENT_WAIT)
            w->event = EVENT_YIELD;
    }
    block->barriers[id].used = false;
}

/* Opens the barriers at which all have arrived. */
static bool open_barriers(struct block *block)
{
    bool opened = false;

    for (uint32_t id = 0; id < N_BARRIERS; id++) {
        if (block->barriers[id].used && barrier_complete(block, id)) {
            barrier_open(block, id);
            opened = true;
        }
    }
    return opened;
}

static void deadlock(struct block *block)
{
    for (uint32_t i = 0; i < block->n_warps; i++) {
        struct warp *w = &block->warps[i];

        for (uint32_t k = 0; k < w->n_splits; k++) {
            if (w->splits[k].state != SPLIT_BARRIER)
                continue;
            w->frame = w->splits[k].frame;
            fault_raise(w, w->splits[k].at, w->splits[k].mask, PTX_FAULT_BARRIER, 0, 0,
                        "threads wait at barrier %u for others that never come",
                        w->splits[k].barrier);
            return;
        }
    }
}

/*
 * Runs each warp for a quantum, and again as long as all end at barriers. Returns BLOCK_RUNNING
 * when quanta were used up. Adds to *instructions.
 */
enum block_state block_run(struct block *block, uint64_t *instructions)
{
    bool yielded = false;

    while (!yielded) {
        bool ran = false;
        uint32_t done = 0;

        for (uint32_t i = 0; i < block->n_warps; i++) {
            struct warp *w = &block->warps[i];

            if (w->event == EVENT_YIELD) {
                ran = true;
                yielded |= warp_run(w) == EVENT_YIELD;
                *instructions += w->instructions;
                w->instructions = 0;
            }
            if (w->event == EVENT_FAULT)
                return BLOCK_FAULT;
            done += w->event == EVENT_DONE;
        }
        if (done == block->n_warps)
            return BLOCK_DONE;
        if (!open_barriers(block) && !ran) {
            deadlock(block);
            return BLOCK_FAULT;
        }
    }
    return BLOCK_RUNNING;
}
