/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the exec_*.c that are compiled once per instruction set: PTX_ISA is a suffix given by the
 * build. Handlers take the warp and an op and return the next op, or NULL after an event.
 *
 * Where all lanes count or the others' registers are free, loops run over all 32 lanes; otherwise
 * into a scratch column and then by mask into the register.
 */
#ifndef SOFTGPU_PTX_EXEC_ISA_H
#define SOFTGPU_PTX_EXEC_ISA_H

#include "softgpu/ptx/exec.h"
#include "softgpu/ptx/arith.h"

#ifndef PTX_ISA
#define PTX_ISA base
#endif

#define ISA_JOIN2(name, isa) op_##name##_##isa
#define ISA_JOIN(name, isa)  ISA_JOIN2(name, isa)
#define HANDLER_NAME(name)   ISA_JOIN(name, PTX_ISA)
#define HANDLER(name)        const struct op *HANDLER_NAME(name)(struct warp * w, const struct op *op)

/* Lanes are independent: a result may lie in an operand's register, at the same lane. Clang has
 * no such hint that it would not also complain about where it does not vectorise. */
#ifdef __clang__
#define IVDEP
#else
#define IVDEP _Pragma("GCC ivdep")
#endif

/* Declares all handlers of this instruction set. */
#define OP1(name, td, ta, expr)             HANDLER(name);
#define OP2(name, td, ta, tb, expr)         HANDLER(name);
#define OP3(name, td, ta, tb, tc, expr)     HANDLER(name);
#define OP4(name, td, ta, tb, tc, ts, expr) HANDLER(name);
#define SETP(name, t, expr)                 HANDLER(name);
#define SELP(name, t)                       HANDLER(name);
#define HAND(name)                          HANDLER(name);
#include "softgpu/ptx/opcodes.def"

/* All lanes of the register may be written. */
static inline bool writes_all(const struct warp *w)
{
    return (w->mask | w->free) == FULL_MASK;
}

#define BLEND(t, d, from)                                                                          \
    do {                                                                                           \
        u32 mask_ = w->mask;                                                                       \
        IVDEP for (unsigned i = 0; i < LANES; i++)(d)[i] = mask_ >> i & 1 ? (from)[i] : (d)[i];    \
    } while (0)

#endif
