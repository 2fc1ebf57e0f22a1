/* SPDX-License-Identifier: Apache-2.0 */
/* Float handlers that need more than an expression: directed rounding, half types, testp. */
#include "softgpu/ptx/exec_isa.h"
#include "softgpu/ptx/small_float.h"

#include <fenv.h>

static const int fe_modes[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};

/* One step of arithmetic: the compiler cannot move it across a change of rounding. */
static __attribute__((noinline)) void compute_f32(unsigned fop, f32 *t, const f32 *a, const f32 *b,
                                                  const f32 *c)
{
    for (unsigned i = 0; i < LANES; i++) {
        switch (fop) {
        case FOP_ADD:
            t[i] = a[i] + b[i];
            break;
        case FOP_SUB:
            t[i] = a[i] - b[i];
            break;
        case FOP_MUL:
            t[i] = a[i] * b[i];
            break;
        case FOP_FMA:
            t[i] = fmaf(a[i], b[i], c[i]);
            break;
        case FOP_DIV:
            t[i] = a[i] / b[i];
            break;
        case FOP_RCP:
            t[i] = 1.0f / a[i];
            break;
        default:
            t[i] = sqrtf(a[i]);
        }
    }
}

static __attribute__((noinline)) void compute_f64(unsigned fop, f64 *t, const f64 *a, const f64 *b,
                                                  const f64 *c)
{
    for (unsigned i = 0; i < LANES; i++) {
        switch (fop) {
        case FOP_ADD:
            t[i] = a[i] + b[i];
            break;
        case FOP_SUB:
            t[i] = a[i] - b[i];
            break;
        case FOP_MUL:
            t[i] = a[i] * b[i];
            break;
        case FOP_FMA:
            t[i] = fma(a[i], b[i], c[i]);
            break;
        case FOP_DIV:
            t[i] = a[i] / b[i];
            break;
        case FOP_RCP:
            t[i] = 1.0 / a[i];
            break;
        default:
            t[i] = sqrt(a[i]);
        }
    }
}

/* A copy of an operand, flushed if asked; zeros where there is none. */
static void fetch_f32(const struct warp *w, u32 ref, bool ftz, f32 *to)
{
    const f32 *from;

    memset(to, 0, LANES * sizeof(*to));
    if (ref == REF_NONE)
        return;
    from = reg(w, ref);
    for (unsigned i = 0; i < LANES; i++)
        to[i] = ftz ? flush(from[i]) : from[i];
}

HANDLER(round_f32)
{
    bool ftz = op->imm & FLAG_FTZ;
    f32 a[LANES], b[LANES], c[LANES], t[LANES];
    f32 *d = reg(w, op->d);

    fetch_f32(w, op->a, ftz, a);
    fetch_f32(w, op->b, ftz, b);
    fetch_f32(w, op->c, ftz, c);
    fesetround(fe_modes[op->x >> 4 & 3]);
    compute_f32(op->x & 15, t, a, b, c);
    fesetround(FE_TONEAREST);
    for (unsigned i = 0; i < LANES; i++) {
        f32 r = op->imm & FLAG_SAT ? sat(t[i]) : canon(t[i]);

        t[i] = ftz ? flush(r) : r;
    }
    BLEND(f32, d, t);
    return op + 1;
}

HANDLER(round_f64)
{
    static const f64 zeros[LANES];
    const f64 *a = reg(w, op->a);
    const f64 *b = op->b == REF_NONE ? zeros : reg(w, op->b);
    const f64 *c = op->c == REF_NONE ? zeros : reg(w, op->c);
    f64 t[LANES];
    f64 *d = reg(w, op->d);

    fesetround(fe_modes[op->x >> 4 & 3]);
    compute_f64(op->x & 15, t, a, b, c);
    fesetround(FE_TONEAREST);
    for (unsigned i = 0; i < LANES; i++)
        t[i] = canon64(t[i]);
    BLEND(f64, d, t);
    return op + 1;
}

/* --- f16, bf16 --- */

/* min and max on bit patterns: NaN gives way to a number, -0 is below +0. */
static u32 half_minmax(bool max, u32 a, u32 b, unsigned flags)
{
    bool bf16 = flags & FLAG_BF16;
    u32 infinity = bf16 ? 0x7f80u : 0x7c00u;
    u32 sign = flags & FLAG_XORS ? (a ^ b) & 0x8000u : 0;
    bool nan_a, nan_b;
    s32 x, y;
    u32 r;

    if (flags & FLAG_XORS) {
        a &= 0x7fff;
        b &= 0x7fff;
    }
    nan_a = (a & 0x7fff) > infinity;
    nan_b = (b & 0x7fff) > infinity;
    x = a & 0x8000u ? ~(s32)(a & 0x7fff) : (s32)a;
    y = b & 0x8000u ? ~(s32)(b & 0x7fff) : (s32)b;
    if (nan_a || nan_b) {
        if ((flags & FLAG_NAN) || (nan_a && nan_b))
            return SMALL_NAN;
        r = nan_a ? b : a;
    } else {
        r = (x < y) == max ? b : a;
    }
    return flags & FLAG_XORS ? (r & 0x7fff) | sign : r;
}

static u32 half_finish(f64 r, unsigned flags)
{
    bool bf16 = flags & FLAG_BF16;
    u32 bits;

    if (flags & FLAG_SAT)
        r = r >= 0.0 ? (r < 1.0 ? r : 1.0) : 0.0;
    if ((flags & FLAG_RELU) && r <= 0.0)
        r = 0.0;
    bits = f64_to_small(r, bf16, ROUND_N);
    return flags & FLAG_FTZ ? flush_small(bits, bf16) : bits;
}

static u32 half_lane(unsigned fop, u32 a, u32 b, u32 c, unsigned flags)
{
    bool bf16 = flags & FLAG_BF16;
    f64 x, y, z;

    if (flags & FLAG_FTZ) {
        a = flush_small(a, bf16);
        b = flush_small(b, bf16);
        c = flush_small(c, bf16);
    }
    if (fop == FOP_NEG)
        return a ^ 0x8000u;
    if (fop == FOP_ABS)
        return a & 0x7fffu;
    if (fop == FOP_MIN || fop == FOP_MAX)
        return half_minmax(fop == FOP_MAX, a, b, flags);
    x = small_to_f64(a, bf16);
    y = small_to_f64(b, bf16);
    z = small_to_f64(c, bf16);
    switch (fop) {
    case FOP_ADD:
        return half_finish(add_odd(x, y), flags);
    case FOP_SUB:
        return half_finish(add_odd(x, -y), flags);
    case FOP_MUL:
        return half_finish(x * y, flags);
    case FOP_FMA:
        return half_finish(add_odd(x * y, z), flags);
    case FOP_EX2:
        return half_finish((f64)exp2f((f32)x), flags);
    case FOP_TANH:
        return half_finish((f64)tanhf((f32)x), flags);
    default:
        return a;
    }
}

static u32 half_operand(const struct warp *w, u32 ref, unsigned i, bool packed)
{
    if (ref == REF_NONE)
        return 0;
    return packed ? ((const u32 *)reg(w, ref))[i] : ((const u16 *)reg(w, ref))[i];
}

HANDLER(half)
{
    bool packed = op->imm & FLAG_PACKED;
    void *d = reg(w, op->d);

    for (unsigned i = 0; i < LANES; i++) {
        u32 a = half_operand(w, op->a, i, packed);
        u32 b = half_operand(w, op->b, i, packed);
        u32 c = half_operand(w, op->c, i, packed);
        u32 low, high;

        if (!(w->mask >> i & 1))
            continue;
        low = half_lane(op->x, a & 0xffff, b & 0xffff, c & 0xffff, (unsigned)op->imm);
        if (!packed) {
            ((u16 *)d)[i] = (u16)low;
            continue;
        }
        high = half_lane(op->x, a >> 16, b >> 16, c >> 16, (unsigned)op->imm);
        ((u32 *)d)[i] = low | high << 16;
    }
    return op + 1;
}

static bool compare_f64(unsigned comparison, f64 a, f64 b)
{
    bool less = a<b, equal = a == b, greater = a> b;
    bool unordered = !less && !equal && !greater;

    switch (comparison) {
    case 0:
        return equal;
    case 1:
        return less || greater;
    case 2:
        return less;
    case 3:
        return less || equal;
    case 4:
        return greater;
    case 5:
        return greater || equal;
    case 6:
        return equal || unordered;
    case 7:
        return !equal;
    case 8:
        return less || unordered;
    case 9:
        return !greater;
    case 10:
        return greater || unordered;
    case 11:
        return !less;
    case 12:
        return !unordered;
    default:
        return unordered;
    }
}

static u32 combine(unsigned x, u32 result, u32 c)
{
    switch (x & SETP_LOGIC) {
    case 1:
        return result & c;
    case 2:
        return result | c;
    case 3:
        return result ^ c;
    default:
        return result;
    }
}

HANDLER(setp_half)
{
    bool bf16 = op->imm & FLAG_BF16;
    bool packed = op->imm & FLAG_PACKED;
    bool ftz = op->imm & FLAG_FTZ;
    unsigned comparison = (unsigned)(op->imm >> 8);
    u32 low = 0, high = 0, c = 0;

    for (unsigned i = 0; i < LANES; i++) {
        u32 a = half_operand(w, op->a, i, packed);
        u32 b = half_operand(w, op->b, i, packed);

        for (unsigned k = 0; k < (packed ? 2 : 1); k++) {
            u32 p = a >> (16 * k) & 0xffff, q = b >> (16 * k) & 0xffff;
            bool r;

            p = ftz ? flush_small(p, bf16) : p;
            q = ftz ? flush_small(q, bf16) : q;
            r = compare_f64(comparison, small_to_f64(p, bf16), small_to_f64(q, bf16));
            if (k)
                high |= (u32)r << i;
            else
                low |= (u32)r << i;
        }
    }
    if (!packed)
        high = ~low;
    if (op->x)
        c = pred(w, op->c) ^ (op->x & SETP_INVERT_C ? FULL_MASK : 0);
    set_pred(w, op->d, combine(op->x, low, c));
    if (op->e != REF_NONE)
        set_pred(w, op->e, combine(op->x, high, c));
    return op + 1;
}

HANDLER(testp)
{
    bool wide = op->x & TESTP_WIDE;
    u32 result = 0;

    for (unsigned i = 0; i < LANES; i++) {
        u64 bits =
            wide ? ((const u64 *)reg(w, op->a))[i] : (u64)((const u32 *)reg(w, op->a))[i] << 32;
        u64 mantissa = bits & (wide ? 0xffffffffffffful : 0x7fffff00000000ul);
        u64 exponent = bits >> (wide ? 52 : 55) & (wide ? 2047 : 255);
        bool top = exponent == (wide ? 2047u : 255u);
        bool answer = false;

        switch (op->x & 7) {
        case TESTP_FINITE:
            answer = !top;
            break;
        case TESTP_INFINITE:
            answer = top && !mantissa;
            break;
        case TESTP_NUMBER:
            answer = !(top && mantissa);
            break;
        case TESTP_NAN:
            answer = top && mantissa;
            break;
        case TESTP_NORMAL:
            answer = !top && (exponent || !mantissa); /* zeros count as normal */
            break;
        default:
            answer = !exponent && mantissa;
        }
        result |= (u32)answer << i;
    }
    set_pred(w, op->d, result);
    return op + 1;
}
