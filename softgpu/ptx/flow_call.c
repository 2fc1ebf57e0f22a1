/* SPDX-License-Identifier: Apache-2.0 */
/* Handlers of calls and returns. Parameters are copied within each lane's local memory. */
#include "softgpu/ptx/exec.h"
#include "softgpu/ptx/handlers.h"

static const struct op *stack_overflow(struct warp *w, const struct op *op)
{
    return fault_raise(w, op, w->mask, PTX_FAULT_STACK, 0, 0, "more than %u bytes of stack",
                       w->grid->stack_bytes);
}

/* What the caller says of where results and arguments lie. */
static const uint32_t *places_of(const struct warp *w, const struct op *op)
{
    return &w->frame->function->more.at[op->ext + 2];
}

static bool in_stack(const struct warp *w, uint64_t at, uint32_t bytes)
{
    return at <= w->grid->stack_bytes && bytes <= w->grid->stack_bytes - at;
}

static bool pass_arguments(struct warp *w, const struct op *op, const struct frame *callee)
{
    const struct signature *signature = &callee->function->signature;
    const uint32_t *places = places_of(w, op) + signature->rets.n;

    for (uint32_t i = 0; i < signature->params.n; i++) {
        const struct param *param = &signature->params.at[i];
        uint64_t from = (uint64_t)w->frame->local_base + places[i];
        uint64_t to = (uint64_t)callee->local_base + param->offset;

        if (!in_stack(w, from, param->size_bytes) || !in_stack(w, to, param->size_bytes))
            return false;
        frame_copy(w, w->mask, (uint32_t)to, (uint32_t)from, param->size_bytes);
    }
    return true;
}

const struct op *flow_call(struct warp *w, const struct op *op, const struct ptx_function *function)
{
    uint32_t own = w->frame->function->local_bytes;
    uint64_t base = (uint64_t)w->frame->local_base + (own > CALL_BYTES_MIN ? own : CALL_BYTES_MIN);
    struct frame *frame;

    if (!in_stack(w, base, function->local_bytes) || w->frames_bytes > WARP_FRAMES_BYTES_MAX)
        return stack_overflow(w, op);
    frame = frame_new(w, function, w->frame, op, w->mask, (uint32_t)base);
    if (!frame)
        return fault_raise(w, op, w->mask, PTX_FAULT_NO_MEMORY, 0, 0, "no memory for a call");
    if (!pass_arguments(w, op, frame))
        return stack_overflow(w, op);
    w->splits[w->current].frame = frame;
    warp_enter(w, frame);
    return function->code;
}

FLOW_HANDLER(call)
{
    const struct ptx_function *function = w->grid->program->functions.at[op->imm];

    if (function->defined)
        return flow_call(w, op, function);
    if (function->builtin == BUILTIN_VPRINTF)
        return builtin_vprintf(w, op, places_of(w, op));
    return builtin_assertfail(w, op, places_of(w, op));
}

/* The lanes with the first lane's target call it; the others do the instruction again. */
FLOW_HANDLER(callind)
{
    const struct ptx_program *program = w->grid->program;
    const uint64_t *targets = reg(w, op->a);
    uint64_t address = targets[__builtin_ctz(w->mask)];
    uint64_t index = (address - PTX_CODE_BASE) / CODE_BYTES_EACH;
    const struct ptx_function *function;
    uint32_t same = 0;

    for (unsigned i = 0; i < LANES; i++)
        same |= (uint32_t)(targets[i] == address) << i;
    if (address < PTX_CODE_BASE || address % CODE_BYTES_EACH || index >= program->functions.n)
        return fault_raise(w, op, w->mask & same, PTX_FAULT_PC, address, 0,
                           "call of %#llx, which is not a function", (unsigned long long)address);
    function = program->functions.at[index];
    if (!function->defined || function->is_entry || function->signature_hash != op->imm)
        return fault_raise(w, op, w->mask & same, PTX_FAULT_PC, address, 0,
                           "call of '%.100s', which has other parameters",
                           program->symbols.at[function->symbol].name);
    if (w->mask & ~same)
        warp_split(w, w->mask & ~same, op);
    w->splits[w->current].mask = w->mask;
    return flow_call(w, op, function);
}

FLOW_HANDLER(ret)
{
    struct frame *frame = w->frame;
    struct frame *parent = frame->parent;
    const struct op *call = frame->call;
    const struct signature *signature = &frame->function->signature;
    const uint32_t *places = &parent->function->more.at[call->ext + 2];

    w->instructions += (uint64_t)op->n * (unsigned)__builtin_popcount(w->mask);
    w->budget -= (int32_t)op->n + 1;
    for (uint32_t i = 0; i < signature->rets.n; i++) {
        const struct param *ret = &signature->rets.at[i];
        uint64_t to = (uint64_t)parent->local_base + places[i];

        if (!in_stack(w, to, ret->size_bytes))
            return stack_overflow(w, op);
        frame_copy(w, w->mask, (uint32_t)to, frame->local_base + ret->offset, ret->size_bytes);
    }
    frame_leave(w, frame, w->mask);
    warp_enter(w, parent);
    if (w->n_splits > 1 || w->budget <= 0)
        return warp_reschedule(w, call + 1);
    w->splits[w->current].frame = parent;
    return call + 1;
}
