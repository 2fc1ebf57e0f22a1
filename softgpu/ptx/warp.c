/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which lanes of a diverged warp run. The rule: deepest call first, then the lowest position in
 * the order that flow.c made, so that lanes wait where paths join. Lanes at one position of one
 * frame become one split again. So that no lane starves (spin locks between lanes), now and then
 * the split that has waited longest keeps running for a whole quantum.
 */
#include "softgpu/ptx/exec.h"

#include <string.h>

/* Quanta between forced turns where nothing looks like spinning. */
#define FORCE_PERIOD 16

void warp_enter(struct warp *w, struct frame *frame)
{
    w->frame = frame;
    w->free = ~frame->live;
    w->base[0] = frame->registers;
    w->base[1] = frame->function->constants;
}

/* Makes a split the current one; returns where it is. */
static const struct op *load(struct warp *w, uint32_t index)
{
    struct split *split = &w->splits[index];

    w->current = index;
    w->mask = split->mask;
    split->ran = w->clock;
    warp_enter(w, split->frame);
    return split->at;
}

void warp_remove(struct warp *w, uint32_t split)
{
    w->n_splits--;
    if (split != w->n_splits)
        w->splits[split] = w->splits[w->n_splits];
    if (w->current == w->n_splits)
        w->current = split;
}

/* Joins ready splits that are at the same place. */
void warp_merge(struct warp *w)
{
    for (uint32_t i = 0; i < w->n_splits; i++) {
        struct split *split = &w->splits[i];

        if (split->state != SPLIT_READY)
            continue;
        for (uint32_t k = w->n_splits; k-- > i + 1;) {
            const struct split *other = &w->splits[k];

            if (other->state != SPLIT_READY || other->at != split->at ||
                other->frame != split->frame)
                continue;
            split->mask |= other->mask;
            if (w->current == k)
                w->current = i;
            warp_remove(w, k);
        }
    }
}

void warp_split(struct warp *w, uint32_t lanes, const struct op *at)
{
    w->splits[w->n_splits++] = (struct split){
        .mask = lanes, .state = SPLIT_READY, .frame = w->frame, .at = at, .ran = w->clock};
    w->mask &= ~lanes;
}

static bool comes_before(const struct split *a, const struct split *b)
{
    if (a->frame->depth != b->frame->depth)
        return a->frame->depth > b->frame->depth;
    return (uintptr_t)a->at < (uintptr_t)b->at;
}

/* The ready split whose turn it is, or -1. */
static int pick(const struct warp *w)
{
    int best = -1;

    for (uint32_t i = 0; i < w->n_splits; i++)
        if (w->splits[i].state == SPLIT_READY &&
            (best < 0 || comes_before(&w->splits[i], &w->splits[best])))
            best = (int)i;
    return best;
}

static int pick_longest_waiting(const struct warp *w)
{
    int best = -1;

    for (uint32_t i = 0; i < w->n_splits; i++)
        if (w->splits[i].state == SPLIT_READY &&
            (best < 0 || w->splits[i].ran < w->splits[best].ran))
            best = (int)i;
    return best;
}

const struct op *warp_reschedule(struct warp *w, const struct op *next)
{
    struct split *split = &w->splits[w->current];
    int best;

    split->at = next;
    split->mask = w->mask;
    split->frame = w->frame;
    if (w->n_splits > 1)
        warp_merge(w);
    if (w->budget <= 0) {
        w->event = EVENT_YIELD;
        return NULL;
    }
    if (w->n_splits == 1 || w->forced)
        return load(w, w->current);
    best = pick(w);
    return load(w, (uint32_t)best);
}

/* --- .sync instructions --- */

static bool waits_alike(const struct split *a, const struct split *b)
{
    if (b->state != SPLIT_SYNC)
        return false;
    if (a->at->code == OPC_barwarp)
        return b->at->code == OPC_barwarp && b->member == a->member;
    return b->at == a->at;
}

static void swap_bytes(void *a, void *b, size_t size)
{
    uint8_t spare[16];

    memcpy(spare, a, size);
    memcpy(a, b, size);
    memcpy(b, spare, size);
}

/* Exchanges the columns of these lanes, in one register, between two frames of a function. */
static void swap_register(struct frame *a, struct frame *b, uint32_t ref, uint32_t lanes)
{
    const uint32_t *class_at = a->function->class_at;
    unsigned class = 0;

    if (ref >= class_at[C_PRED]) {
        uint32_t *p = (uint32_t *)(a->registers + ref);
        uint32_t *q = (uint32_t *)(b->registers + ref);
        uint32_t differ = (*p ^ *q) & lanes;

        *p ^= differ;
        *q ^= differ;
        return;
    }
    for (class = C_16; class < C_128 && ref < class_at[class]; class ++)
        ;
    for (; lanes; lanes &= lanes - 1) {
        size_t size = class_bytes[class] / LANES;
        size_t at = ref + size * (size_t)__builtin_ctz(lanes);

        swap_bytes(a->registers + at, b->registers + at, size);
    }
}

static void swap_operands(const struct op *op, struct frame *a, struct frame *b, uint32_t lanes)
{
    const uint32_t refs[] = {op->d, op->e, op->a, op->b, op->c, op->s};

    for (unsigned i = 0; i < 6; i++) {
        bool again = refs[i] == REF_NONE || (refs[i] & 1);

        for (unsigned k = 0; k < i; k++)
            again |= refs[k] == refs[i];
        if (!again)
            swap_register(a, b, refs[i], lanes);
    }
}

/* Runs the instruction once for splits in different calls of a function: their operands are
 * brought into one frame and back. */
static void run_across_frames(struct warp *w, uint32_t first, uint32_t lanes)
{
    struct split *leader = &w->splits[first];
    const struct op *op = leader->at;

    warp_enter(w, leader->frame);
    for (uint32_t i = 0; i < w->n_splits; i++)
        if (waits_alike(leader, &w->splits[i]) && w->splits[i].frame != leader->frame)
            swap_operands(op, leader->frame, w->splits[i].frame, w->splits[i].mask);
    w->mask = lanes;
    w->table[op->code](w, op);
    for (uint32_t i = w->n_splits; i-- > 0;)
        if (waits_alike(leader, &w->splits[i]) && w->splits[i].frame != leader->frame)
            swap_operands(op, leader->frame, w->splits[i].frame, w->splits[i].mask);
}

/* If all that split i waits for are there, they go on. */
static bool complete_sync(struct warp *w, uint32_t i)
{
    struct split *split = &w->splits[i];
    struct split leader = *split;
    uint32_t lanes = 0;
    bool one_frame = true;

    for (uint32_t k = 0; k < w->n_splits; k++) {
        if (!waits_alike(split, &w->splits[k]))
            continue;
        lanes |= w->splits[k].mask;
        one_frame &= w->splits[k].frame == split->frame;
    }
    if (split->member & w->live & ~lanes)
        return false;
    if (!one_frame && split->at->code != OPC_barwarp)
        run_across_frames(w, i, lanes);
    for (uint32_t k = 0; k < w->n_splits; k++) {
        if (!waits_alike(&leader, &w->splits[k]))
            continue;
        w->splits[k].state = SPLIT_READY;
        if (!one_frame || leader.at->code == OPC_barwarp)
            w->splits[k].at++;
    }
    warp_merge(w);
    return true;
}

static bool complete_any_sync(struct warp *w)
{
    for (uint32_t i = 0; i < w->n_splits; i++)
        if (w->splits[i].state == SPLIT_SYNC && complete_sync(w, i))
            return true;
    return false;
}

const struct op *warp_wait_sync(struct warp *w, const struct op *op, uint32_t member)
{
    struct split *split = &w->splits[w->current];

    split->state = SPLIT_SYNC;
    split->member = member;
    split->at = op;
    split->mask = w->mask;
    split->frame = w->frame;
    complete_sync(w, w->current);
    return warp_next(w);
}

static const struct op *no_split_ready(struct warp *w)
{
    for (uint32_t i = 0; i < w->n_splits; i++) {
        if (w->splits[i].state == SPLIT_BARRIER) {
            w->event = EVENT_WAIT;
            return NULL;
        }
    }
    load(w, 0);
    return fault_raise(w, w->splits[0].at, w->mask, PTX_FAULT_BARRIER, 0, 0,
                       "lanes %#x wait for lanes %#x that never come", w->mask,
                       w->splits[0].member & ~w->mask);
}

const struct op *warp_next(struct warp *w)
{
    int best;

    w->forced = false;
    if (w->n_splits == 0) {
        w->event = EVENT_DONE;
        return NULL;
    }
    best = pick(w);
    while (best < 0) {
        if (!complete_any_sync(w))
            return no_split_ready(w);
        best = pick(w);
    }
    return load(w, (uint32_t)best);
}

/* Where the warp goes on at the begin of a quantum. */
static const struct op *begin_quantum(struct warp *w)
{
    int oldest;

    w->forced = false;
    if (w->n_splits > 1 && (w->spins || w->quanta % FORCE_PERIOD == 0)) {
        oldest = pick_longest_waiting(w);
        w->spins = false;
        if (oldest >= 0) {
            w->forced = true;
            return load(w, (uint32_t)oldest);
        }
    }
    w->spins = false;
    return warp_next(w);
}

enum warp_event warp_run(struct warp *w)
{
    const handler *table = w->table;
    const struct op *op;

    w->event = EVENT_NONE;
    w->budget = QUANTUM;
    w->clock++;
    w->quanta++;
    op = begin_quantum(w);
    while (op)
        op = table[op->code](w, op);
    return (enum warp_event)w->event;
}

/* Begins the entry. The warp's lanes and thread numbers are set. False: out of memory. */
bool warp_start(struct warp *w)
{
    const struct ptx_function *function = w->grid->function;
    struct frame *frame;

    w->frames = NULL;
    w->frames_bytes = 0;
    w->n_splits = 0;
    w->current = 0;
    w->cc = 0;
    w->spins = false;
    w->quanta = 0;
    w->clock = 0;
    w->instructions = 0;
    memset(w->arrived, 0, sizeof(w->arrived));
    frame = frame_new(w, function, NULL, NULL, w->live, 0);
    if (!frame)
        return false;
    warp_enter(w, frame);
    w->mask = w->live;
    warp_split(w, w->live, function->code);
    return true;
}
