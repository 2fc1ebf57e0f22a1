/* SPDX-License-Identifier: Apache-2.0 */
/* Handlers of predicates, carries, and 128-bit moves. */
#include "softgpu/ptx/exec_isa.h"

HANDLER(pred_logic)
{
    u32 a = pred(w, op->a);
    u32 b = op->b == REF_NONE ? 0 : pred(w, op->b);

    switch (op->x) {
    case PRED_MOV:
        break;
    case PRED_NOT:
        a = ~a;
        break;
    case PRED_AND:
        a &= b;
        break;
    case PRED_OR:
        a |= b;
        break;
    default:
        a ^= b;
    }
    set_pred(w, op->d, a);
    return op + 1;
}

/* add.cc, addc, sub.cc, subc: for a difference, the flag is the borrow. */
#define ADDX(name, t)                                                                              \
    HANDLER(name)                                                                                  \
    {                                                                                              \
        const t *pa = reg(w, op->a);                                                               \
        const t *pb = reg(w, op->b);                                                               \
        t *d = reg(w, op->d);                                                                      \
        u32 in = op->x & ADDX_IN ? w->cc : 0;                                                      \
        u32 out = 0;                                                                               \
        t r[LANES];                                                                                \
                                                                                                   \
        for (unsigned i = 0; i < LANES; i++) {                                                     \
            t a = pa[i], b = pb[i], c = in >> i & 1;                                               \
            t first = op->x & ADDX_SUB ? a - b : a + b;                                            \
            bool over = op->x & ADDX_SUB ? a < b : first < a;                                      \
                                                                                                   \
            r[i] = op->x & ADDX_SUB ? first - c : first + c;                                       \
            over |= op->x & ADDX_SUB ? first < c : r[i] < c;                                       \
            out |= (u32)over << i;                                                                 \
        }                                                                                          \
        BLEND(t, d, r);                                                                            \
        if (op->x & ADDX_OUT)                                                                      \
            w->cc = (w->cc & ~w->mask) | (out & w->mask);                                          \
        return op + 1;                                                                             \
    }

ADDX(addx_32, u32)
ADDX(addx_64, u64)

struct wide {
    u64 low, high;
};

HANDLER(mov_128)
{
    const struct wide *a = reg(w, op->a);
    struct wide *d = reg(w, op->d);

    for (unsigned i = 0; i < LANES; i++)
        if (w->mask >> i & 1)
            d[i] = a[i];
    return op + 1;
}

HANDLER(pack_64_128)
{
    const u64 *a = reg(w, op->a);
    const u64 *b = reg(w, op->b);
    struct wide *d = reg(w, op->d);

    for (unsigned i = 0; i < LANES; i++)
        if (w->mask >> i & 1)
            d[i] = (struct wide){a[i], b[i]};
    return op + 1;
}

HANDLER(part_128_64)
{
    const struct wide *a = reg(w, op->a);
    u64 *d = reg(w, op->d);

    for (unsigned i = 0; i < LANES; i++)
        if (w->mask >> i & 1)
            d[i] = op->x ? a[i].high : a[i].low;
    return op + 1;
}
