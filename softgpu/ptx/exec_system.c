/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses of variables, and special registers. */
#include "softgpu/ptx/exec_isa.h"
#include "softgpu/ptx/sreg.h"

#include <time.h>

static void broadcast64(struct warp *w, u32 ref, u64 value)
{
    u64 *d = reg(w, ref);

    for (unsigned i = 0; i < LANES; i++)
        d[i] = w->mask >> i & 1 ? value : d[i];
}

HANDLER(addr_variable)
{
    u64 base = op->x ? PTX_CODE_BASE + (u64)op->ext * CODE_BYTES_EACH
                     : w->grid->launch.variable_addresses[op->ext];

    broadcast64(w, op->d, base + op->imm);
    return op + 1;
}

HANDLER(addr_shared)
{
    broadcast64(w, op->d, w->grid->shared_offsets[op->ext] + op->imm);
    return op + 1;
}

HANDLER(addr_local)
{
    broadcast64(w, op->d, w->frame->local_base + op->imm);
    return op + 1;
}

/* Whether an address lies in one of the program's constant variables. */
HANDLER(isconst)
{
    const struct ptx_program *program = w->grid->program;
    const u64 *a = reg(w, op->a);
    u32 result = 0;

    for (u32 k = 0; k < program->placed.n; k++) {
        const struct variable *variable = &program->variables.at[program->placed.at[k]];
        u64 base = w->grid->launch.variable_addresses[k];

        if (variable->space != SP_CONST)
            continue;
        for (unsigned i = 0; i < LANES; i++)
            result |= (u32)(a[i] - base < variable->size_bytes) << i;
    }
    set_pred(w, op->d, result);
    return op + 1;
}

static u64 clock_of(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (u64)now.tv_sec * 1000000000u + (u64)now.tv_nsec;
}

static u32 lane_mask(unsigned sreg, unsigned lane)
{
    u32 bit = UINT32_C(1) << lane;

    switch (sreg) {
    case SREG_LANEMASK_EQ:
        return bit;
    case SREG_LANEMASK_LE:
        return bit | (bit - 1);
    case SREG_LANEMASK_LT:
        return bit - 1;
    case SREG_LANEMASK_GE:
        return ~(bit - 1);
    default:
        return ~(bit | (bit - 1));
    }
}

/* Those that are the same for all lanes. A clock ticks once per nanosecond. */
static u64 uniform_sreg(const struct warp *w, unsigned sreg)
{
    const struct grid *grid = w->grid;

    if (sreg >= SREG_NTID_X && sreg <= SREG_NTID_Z)
        return grid->launch.block[sreg - SREG_NTID_X];
    if (sreg >= SREG_CTAID_X && sreg <= SREG_CTAID_Z)
        return w->block->id[sreg - SREG_CTAID_X];
    if (sreg >= SREG_NCTAID_X && sreg <= SREG_NCTAID_Z)
        return grid->launch.grid[sreg - SREG_NCTAID_X];
    switch (sreg) {
    case SREG_WARPID:
        return w->index;
    case SREG_NWARPID:
        return MAX_WARPS;
    case SREG_SMID:
        return w->worker->index;
    case SREG_NSMID:
        return grid->n_processors;
    case SREG_GRIDID:
        return grid->launch.grid_id;
    case SREG_CLOCK:
    case SREG_CLOCK64:
        return clock_of(CLOCK_MONOTONIC);
    case SREG_CLOCK_HI:
        return clock_of(CLOCK_MONOTONIC) >> 32;
    case SREG_GLOBALTIMER:
    case SREG_GLOBALTIMER_LO:
        return clock_of(CLOCK_REALTIME);
    case SREG_GLOBALTIMER_HI:
        return clock_of(CLOCK_REALTIME) >> 32;
    case SREG_DYNAMIC_SMEM_SIZE:
        return grid->launch.dynamic_shared_bytes;
    case SREG_TOTAL_SMEM_SIZE:
    case SREG_AGGR_SMEM_SIZE:
        return grid->shared_bytes;
    case SREG_NOWHERE:
        return PTX_MAX_SHARED_BYTES;
    case SREG_ONE:
        return 1;
    case SREG_ENVREG + 1:
        return grid->launch.grid_workspace >> 32;
    case SREG_ENVREG + 2:
        return grid->launch.grid_workspace;
    default:
        return 0;
    }
}

HANDLER(sreg)
{
    unsigned sreg = (unsigned)op->imm;
    u32 column[LANES];
    u32 *d = reg(w, op->d);

    if (op->imm >> 32) {
        broadcast64(w, op->d, uniform_sreg(w, sreg));
        return op + 1;
    }
    if (sreg >= SREG_TID_X && sreg <= SREG_TID_Z) {
        BLEND(u32, d, w->tid[sreg - SREG_TID_X]);
        return op + 1;
    }
    if (sreg == SREG_LANEID || (sreg >= SREG_LANEMASK_EQ && sreg <= SREG_LANEMASK_GT)) {
        for (unsigned i = 0; i < LANES; i++)
            column[i] = sreg == SREG_LANEID ? i : lane_mask(sreg, i);
    } else {
        u32 value = (u32)uniform_sreg(w, sreg);

        for (unsigned i = 0; i < LANES; i++)
            column[i] = value;
    }
    BLEND(u32, d, column);
    return op + 1;
}
