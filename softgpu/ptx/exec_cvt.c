/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The general conversion: widen to a 64-bit integer or a double, both exact; round and clamp to
 * the destination's format; write with the destination register's width.
 */
#include "softgpu/ptx/exec_isa.h"
#include "softgpu/ptx/small_float.h"

#include <fenv.h>

struct cvt {
    enum type from, to;
    unsigned source, target; /* classes */
    enum cvt_rounding rounding;
    unsigned flags;
};

static bool is_float(enum type type)
{
    return type == T_F16 || type == T_BF16 || type == T_F32 || type == T_F64;
}

static bool is_signed(enum type type)
{
    return type == T_S8 || type == T_S16 || type == T_S32 || type == T_S64;
}

static unsigned bits_of(enum type type)
{
    switch (type) {
    case T_B8:
    case T_U8:
    case T_S8:
        return 8;
    case T_B16:
    case T_U16:
    case T_S16:
    case T_F16:
    case T_BF16:
        return 16;
    case T_B64:
    case T_U64:
    case T_S64:
    case T_F64:
        return 64;
    default:
        return 32;
    }
}

static u64 raw_lane(const void *source, unsigned class, unsigned i)
{
    switch (class) {
    case C_16:
        return ((const u16 *)source)[i];
    case C_32:
        return ((const u32 *)source)[i];
    default:
        return ((const u64 *)source)[i];
    }
}

static u64 extend(u64 raw, enum type type)
{
    unsigned shift = 64 - bits_of(type);

    return is_signed(type) ? (u64)((s64)(raw << shift) >> shift) : raw << shift >> shift;
}

static f64 float_value(u64 raw, const struct cvt *cvt)
{
    f32 single;

    switch (cvt->from) {
    case T_F16:
        return half_to_f64((u32)raw & 0xffff);
    case T_BF16:
        return bfloat_to_f64((u32)raw & 0xffff);
    case T_F32:
        single = float32((u32)raw);
        return (f64)(cvt->flags & FLAG_FTZ ? flush(single) : single);
    default:
        return float64(raw);
    }
}

static u64 clamp_integer(u64 value, bool from_signed, enum type to)
{
    unsigned bits = bits_of(to);
    u64 high = is_signed(to) ? (1ul << (bits - 1)) - 1 : UINT64_MAX >> (64 - bits);
    s64 low = is_signed(to) ? (s64)(UINT64_MAX << (bits - 1)) : 0;

    if (from_signed && (s64)value < 0)
        return (s64)value < low ? (u64)low : value;
    return value > high ? high : value;
}

/* NaN gives 0, or the integer with only the highest bit set where f64 or 64 bits are involved. */
static u64 float_to_integer(f64 a, const struct cvt *cvt)
{
    unsigned bits = bits_of(cvt->to);
    f64 limit = ldexp(1.0, (int)bits - (is_signed(cvt->to) ? 1 : 0));

    if (a != a)
        return cvt->from == T_F64 || bits == 64 ? 1ul << (bits - 1) : 0;
    switch (cvt->rounding) {
    case CVT_RNI:
        a = rint(a);
        break;
    case CVT_RMI:
        a = floor(a);
        break;
    case CVT_RPI:
        a = ceil(a);
        break;
    default:
        a = trunc(a);
    }
    if (is_signed(cvt->to)) {
        if (a >= limit)
            return (1ul << (bits - 1)) - 1;
        if (a < -limit)
            return UINT64_MAX << (bits - 1);
        return (u64)(s64)a;
    }
    if (a >= limit)
        return UINT64_MAX >> (64 - bits);
    return a <= 0.0 ? 0 : (u64)a;
}

static enum rounding mode_of(const struct cvt *cvt)
{
    return cvt->rounding <= CVT_RP ? (enum rounding)cvt->rounding : ROUND_N;
}

static void set_rounding(enum rounding rounding)
{
    static const int modes[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};

    fesetround(modes[rounding]);
}

/* Kept apart so that the conversion happens under the rounding mode that is set. */
static __attribute__((noinline)) f32 narrow_f64(f64 a)
{
    return (f32)a;
}

static __attribute__((noinline)) f32 integer_to_f32(u64 a, bool negative_possible)
{
    return negative_possible ? (f32)(s64)a : (f32)a;
}

static __attribute__((noinline)) f64 integer_to_f64(u64 a, bool negative_possible)
{
    return negative_possible ? (f64)(s64)a : (f64)a;
}

static f64 clamp_float(f64 a, unsigned flags)
{
    if (flags & FLAG_SAT)
        a = a >= 0.0 ? (a < 1.0 ? a : 1.0) : 0.0;
    if ((flags & FLAG_RELU) && a <= 0.0)
        a = 0.0;
    return a;
}

static f64 round_to_integer(f64 a, enum cvt_rounding rounding)
{
    switch (rounding) {
    case CVT_RNI:
        return rint(a);
    case CVT_RZI:
        return trunc(a);
    case CVT_RMI:
        return floor(a);
    case CVT_RPI:
        return ceil(a);
    default:
        return a;
    }
}

static u64 float_to_float(f64 a, const struct cvt *cvt)
{
    f32 single;

    a = clamp_float(round_to_integer(a, cvt->rounding), cvt->flags);
    switch (cvt->to) {
    case T_F16:
    case T_BF16:
        return f64_to_small(a, cvt->to == T_BF16, mode_of(cvt));
    case T_F32:
        set_rounding(mode_of(cvt));
        single = canon(narrow_f64(a));
        set_rounding(ROUND_N);
        return bits32(cvt->flags & FLAG_FTZ ? flush(single) : single);
    default:
        return bits64(a);
    }
}

static u64 integer_to_float(u64 a, const struct cvt *cvt)
{
    bool negative = is_signed(cvt->from) && (s64)a < 0;
    u64 result;

    if (cvt->to == T_F16 || cvt->to == T_BF16) {
        f64 odd = clamp_float(s64_to_odd(negative ? 0 - a : a, negative), cvt->flags);

        return f64_to_small(odd, cvt->to == T_BF16, mode_of(cvt));
    }
    set_rounding(mode_of(cvt));
    if (cvt->to == T_F32)
        result = bits32(integer_to_f32(a, is_signed(cvt->from)));
    else
        result = bits64(integer_to_f64(a, is_signed(cvt->from)));
    set_rounding(ROUND_N);
    if (cvt->flags & FLAG_SAT)
        result = cvt->to == T_F32 ? bits32(sat(float32((u32)result)))
                                  : bits64(clamp_float(float64(result), FLAG_SAT));
    return result;
}

static u64 convert(u64 raw, const struct cvt *cvt)
{
    if (is_float(cvt->from)) {
        f64 value = float_value(raw, cvt);

        return is_float(cvt->to) ? float_to_float(value, cvt)
                                 : extend(float_to_integer(value, cvt), cvt->to);
    }
    raw = extend(raw, cvt->from);
    if (is_float(cvt->to))
        return integer_to_float(raw, cvt);
    if (cvt->flags & FLAG_SAT)
        raw = clamp_integer(raw, is_signed(cvt->from), cvt->to);
    return extend(raw, cvt->to);
}

HANDLER(cvt)
{
    struct cvt cvt = {
        .from = (enum type)(op->imm & 255),
        .to = (enum type)(op->imm >> 8 & 255),
        .source = (unsigned)(op->imm >> 16 & 15),
        .target = (unsigned)(op->imm >> 20 & 15),
        .rounding = (enum cvt_rounding)(op->imm >> 24 & 15),
        .flags = (unsigned)(op->imm >> 32),
    };
    const void *a = reg(w, op->a);
    void *d = reg(w, op->d);

    for (unsigned i = 0; i < LANES; i++) {
        u64 result;

        if (!(w->mask >> i & 1))
            continue;
        result = convert(raw_lane(a, cvt.source, i), &cvt);
        if (cvt.target == C_16)
            ((u16 *)d)[i] = (u16)result;
        else if (cvt.target == C_32)
            ((u32 *)d)[i] = (u32)result;
        else
            ((u64 *)d)[i] = result;
    }
    return op + 1;
}
