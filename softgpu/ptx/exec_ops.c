/* SPDX-License-Identifier: Apache-2.0 */
/* The handlers that opcodes.def gives as expressions: one loop over lanes each. */
#include "softgpu/ptx/exec_isa.h"

#define BODY(td, loads, expr)                                                                      \
    td *d = reg(w, op->d);                                                                         \
                                                                                                   \
    if (__builtin_expect(writes_all(w), 1)) {                                                      \
        IVDEP for (unsigned i = 0; i < LANES; i++)                                                 \
        {                                                                                          \
            loads;                                                                                 \
            d[i] = (td)(expr);                                                                     \
        }                                                                                          \
    } else {                                                                                       \
        td t[LANES];                                                                               \
                                                                                                   \
        IVDEP for (unsigned i = 0; i < LANES; i++)                                                 \
        {                                                                                          \
            loads;                                                                                 \
            t[i] = (td)(expr);                                                                     \
        }                                                                                          \
        BLEND(td, d, t);                                                                           \
    }                                                                                              \
    return op + 1;

#define LOAD(v) __typeof__(*p##v) v = p##v[i]

#define OP1(name, td, ta, expr)                                                                    \
    HANDLER(name)                                                                                  \
    {                                                                                              \
        const ta *pa = reg(w, op->a);                                                              \
        BODY(td, LOAD(a), expr)                                                                    \
    }
#define OP2(name, td, ta, tb, expr)                                                                \
    HANDLER(name)                                                                                  \
    {                                                                                              \
        const ta *pa = reg(w, op->a);                                                              \
        const tb *pb = reg(w, op->b);                                                              \
        BODY(td, LOAD(a); LOAD(b), expr)                                                           \
    }
#define OP3(name, td, ta, tb, tc, expr)                                                            \
    HANDLER(name)                                                                                  \
    {                                                                                              \
        const ta *pa = reg(w, op->a);                                                              \
        const tb *pb = reg(w, op->b);                                                              \
        const tc *pc = reg(w, op->c);                                                              \
        BODY(td, LOAD(a); LOAD(b); LOAD(c), expr)                                                  \
    }
#define OP4(name, td, ta, tb, tc, ts, expr)                                                        \
    HANDLER(name)                                                                                  \
    {                                                                                              \
        const ta *pa = reg(w, op->a);                                                              \
        const tb *pb = reg(w, op->b);                                                              \
        const tc *pc = reg(w, op->c);                                                              \
        const ts *ps = reg(w, op->s);                                                              \
        BODY(td, LOAD(a); LOAD(b); LOAD(c); LOAD(s), expr)                                         \
    }

/* Ends a comparison: the combination with predicate c, and the second destination. */
static const struct op *compared(struct warp *w, const struct op *op, u32 result)
{
    u32 inverse = ~result;

    if (__builtin_expect(op->x, 0)) {
        u32 c = pred(w, op->c) ^ (op->x & SETP_INVERT_C ? FULL_MASK : 0);
        unsigned logic = op->x & SETP_LOGIC;

        result = logic == 1 ? result & c : logic == 2 ? result | c : result ^ c;
        inverse = logic == 1 ? inverse & c : logic == 2 ? inverse | c : inverse ^ c;
    }
    set_pred(w, op->d, result);
    if (op->e != REF_NONE)
        set_pred(w, op->e, inverse);
    return op + 1;
}

#define SETP(name, t, expr)                                                                        \
    HANDLER(name)                                                                                  \
    {                                                                                              \
        const t *pa = reg(w, op->a);                                                               \
        const t *pb = reg(w, op->b);                                                               \
        u32 result = 0;                                                                            \
                                                                                                   \
        for (unsigned i = 0; i < LANES; i++) {                                                     \
            t a = pa[i], b = pb[i];                                                                \
                                                                                                   \
            (void)a;                                                                               \
            (void)b;                                                                               \
            result |= (expr) ? UINT32_C(1) << i : 0;                                               \
        }                                                                                          \
        return compared(w, op, result);                                                            \
    }
#define SELP(name, t)                                                                              \
    HANDLER(name)                                                                                  \
    {                                                                                              \
        const t *pa = reg(w, op->a);                                                               \
        const t *pb = reg(w, op->b);                                                               \
        u32 c = pred(w, op->c);                                                                    \
        BODY(t, LOAD(a); LOAD(b), c >> i & 1 ? a : b)                                              \
    }
#include "softgpu/ptx/opcodes.def"
