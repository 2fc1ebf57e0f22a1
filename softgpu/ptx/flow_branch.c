/* SPDX-License-Identifier: Apache-2.0 */
/* Handlers of what ends blocks: branches, joins, exits; and of guards. */
#include "softgpu/ptx/exec.h"
#include "softgpu/ptx/handlers.h"

/* Counts the block's instructions for the lanes that ran it. */
static inline void account(struct warp *w, const struct op *op)
{
    w->instructions += (uint64_t)op->n * count_lanes(w->mask);
    w->budget -= (int32_t)op->n + 1;
}

static inline const struct op *go_on(struct warp *w, const struct op *next)
{
    if (__builtin_expect(w->n_splits > 1 || w->budget <= 0, 0))
        return warp_reschedule(w, next);
    return next;
}

static inline const struct op *target(const struct warp *w, const struct op *op)
{
    return w->frame->function->code + op->ext;
}

FLOW_HANDLER(guard)
{
    uint32_t mask = w->mask;
    uint32_t run = mask & (op->x ? ~pred(w, op->a) : pred(w, op->a));
    const struct op *next;

    if (!run)
        return op + 2;
    w->mask = run;
    next = w->table[op[1].code](w, op + 1);
    w->mask = mask;
    return next;
}

FLOW_HANDLER(bra)
{
    uint32_t taken = w->mask & (op->x ? ~pred(w, op->a) : pred(w, op->a));

    account(w, op);
    if (taken == w->mask)
        return go_on(w, target(w, op));
    if (taken)
        warp_split(w, taken, target(w, op));
    return go_on(w, op + 1);
}

FLOW_HANDLER(jmp)
{
    account(w, op);
    return go_on(w, target(w, op));
}

FLOW_HANDLER(join)
{
    account(w, op);
    return go_on(w, op + 1);
}

FLOW_HANDLER(brx)
{
    const uint32_t *index = reg(w, op->a);
    const uint32_t *targets = &w->frame->function->more.at[op->ext];
    const struct op *code = w->frame->function->code;

    account(w, op);
    for (;;) {
        uint32_t first = index[__builtin_ctz(w->mask)];
        uint32_t same = 0;

        for (unsigned i = 0; i < LANES; i++)
            same |= (uint32_t)(index[i] == first) << i;
        same &= w->mask;
        if (first >= op->imm)
            return fault_raise(w, op, same, PTX_FAULT_PC, 0, 0,
                               "brx.idx with index %u of %llu targets", first,
                               (unsigned long long)op->imm);
        if (same == w->mask)
            return go_on(w, code + targets[first]);
        warp_split(w, same, code + targets[first]);
    }
}

FLOW_HANDLER(exit)
{
    uint32_t lanes = w->mask;
    struct frame *frame = w->frame;

    account(w, op);
    w->live &= ~lanes;
    while (frame) {
        struct frame *parent = frame->parent;

        frame_leave(w, frame, lanes);
        frame = parent;
    }
    warp_remove(w, w->current);
    return warp_next(w);
}

FLOW_HANDLER(trap)
{
    return fault_raise(w, op, w->mask, PTX_FAULT_TRAP, 0, 0, "%s", op->x ? "brkpt" : "trap");
}

FLOW_HANDLER(nop)
{
    return op + 1;
}

FLOW_HANDLER(fence)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    w->spins = true;
    return op + 1;
}

/* nanosleep: gives up the rest of the quantum, at the end of the block. */
FLOW_HANDLER(yield)
{
    w->budget = 0;
    w->spins = true;
    return op + 1;
}
