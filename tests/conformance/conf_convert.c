/* SPDX-License-Identifier: Apache-2.0 */
/* cvt between all pairs of types, with every rounding mode, saturation and flushing. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "tests/conformance/scalar.h"

typedef const struct scalar_case *test_t;

enum type { S8, U8, S16, U16, S32, U32, S64, U64, F16, F32, F64 };
enum flags { FTZ = 1, SAT = 2 };

/* An 8-bit value is read from and left in a 32-bit register. */
static const struct {
    const char *name, *operands, *source, *target;
    enum scalar_kind kind;
    unsigned int bits;
    bool is_signed;
} types[] = {
    [S8] = {"s8", "i", "%a", "%d", KIND_B32, 8, true},
    [U8] = {"u8", "i", "%a", "%d", KIND_B32, 8, false},
    [S16] = {"s16", "i", "%ha", "%hd", KIND_B16, 16, true},
    [U16] = {"u16", "i", "%ha", "%hd", KIND_B16, 16, false},
    [S32] = {"s32", "i", "%a", "%d", KIND_B32, 32, true},
    [U32] = {"u32", "i", "%a", "%d", KIND_B32, 32, false},
    [S64] = {"s64", "i", "%A", "%D", KIND_B64, 64, true},
    [U64] = {"u64", "i", "%A", "%D", KIND_B64, 64, false},
    [F16] = {"f16", "h", "%ha", "%hd", KIND_F16, 16, true},
    [F32] = {"f32", "f", "%fa", "%fd", KIND_F32, 32, true},
    [F64] = {"f64", "d", "%da", "%dd", KIND_F64, 64, true},
};

static __int128 integer_value(int type, uint64_t bits)
{
    unsigned int shift = 64 - types[type].bits;

    return types[type].is_signed ? (__int128)((int64_t)(bits << shift) >> shift)
                                 : (__int128)(bits << shift >> shift);
}

static __int128 type_min(int type)
{
    return types[type].is_signed ? -((__int128)1 << (types[type].bits - 1)) : 0;
}

static __int128 type_max(int type)
{
    return ((__int128)1 << (types[type].bits - types[type].is_signed)) - 1;
}

static __int128 clamped(int type, __int128 value)
{
    return value < type_min(type)   ? type_min(type)
           : value > type_max(type) ? type_max(type)
                                    : value;
}

/* As the target register holds it: 8-bit results are extended to the register's 32 bits. */
static uint64_t integer_bits(int type, __int128 value)
{
    unsigned int width = types[type].bits == 8 ? 32 : types[type].bits, shift = 64 - width;
    uint64_t extended = (uint64_t)integer_value(type, (uint64_t)value);

    return extended << shift >> shift;
}

static double float_value(int type, uint64_t bits, int flags)
{
    float single;

    switch (type) {
    case F16:
        return f16_value((uint16_t)bits);
    case F64:
        return f64_of(bits);
    default:
        single = f32_of(bits);
        if (flags & FTZ && fpclassify(single) == FP_SUBNORMAL)
            single = copysignf(0, single);
        return (double)single;
    }
}

/* Rounds to the format; flushes, saturates. */
static uint64_t float_bits(int type, __float128 value, enum rounding mode, int flags)
{
    volatile float single;
    volatile double number;

    if (flags & SAT)
        value = isnan((double)value) || value <= 0 ? 0 : value > 1 ? 1 : value;
    if (type == F16)
        return f16_round(value, mode);
    host_rounding(mode);
    if (type == F64) {
        number = (double)value;
        host_rounding(RN);
        return f64_bits(number);
    }
    single = (float)value;
    host_rounding(RN);
    if (flags & FTZ && fpclassify(single) == FP_SUBNORMAL)
        single = copysignf(0, single);
    return f32_bits(single);
}

/* p0: from; p1: to; p2: rounding, flags above it. */
static uint64_t integer_to_integer(test_t t, uint64_t a, uint64_t b, uint64_t c)
{
    __int128 value = integer_value(t->p0, a);

    return integer_bits(t->p1, t->p2 >> 2 & SAT ? clamped(t->p1, value) : value);
}

/* 64-bit integers are exact in the host's rounding of __float128, which has 113 bits. */
static uint64_t integer_to_float(test_t t, uint64_t a, uint64_t b, uint64_t c)
{
    return float_bits(t->p1, (__float128)integer_value(t->p0, a), (enum rounding)(t->p2 & 3),
                      t->p2 >> 2);
}

static double to_integral(double value, enum rounding mode)
{
    switch (mode) {
    case RN:
        return nearbyint(value);
    case RZ:
        return trunc(value);
    case RM:
        return floor(value);
    default:
        return ceil(value);
    }
}

/* Out of range: the nearest value of the type. NaN: see PTX ISA, cvt. */
static uint64_t float_to_integer(test_t t, uint64_t a, uint64_t b, uint64_t c)
{
    double value = float_value(t->p0, a, t->p2 >> 2);
    bool wide = t->p0 == F64 || t->p1 == S64 || t->p1 == U64;

    if (isnan(value))
        return wide ? UINT64_C(1) << (types[t->p1].bits - 1) : 0;
    value = to_integral(value, (enum rounding)(t->p2 & 3));
    if (value >= 0x1p64)
        return integer_bits(t->p1, type_max(t->p1));
    if (value <= -0x1p64)
        return integer_bits(t->p1, type_min(t->p1));
    return integer_bits(t->p1, clamped(t->p1, (__int128)value));
}

static uint64_t float_to_float(test_t t, uint64_t a, uint64_t b, uint64_t c)
{
    return float_bits(t->p1, (__float128)float_value(t->p0, a, t->p2 >> 2),
                      (enum rounding)(t->p2 & 3), t->p2 >> 2);
}

static uint64_t float_to_integral(test_t t, uint64_t a, uint64_t b, uint64_t c)
{
    double value = float_value(t->p0, a, t->p2 >> 2);
    double integral = to_integral(value, (enum rounding)(t->p2 & 3));

    return float_bits(t->p1, (__float128)copysign(integral, value), RN, t->p2 >> 2);
}

/* Narrow results of a NaN in 64 bits are not asked for; -0 may lose its sign in .sat. */
static bool accepts(test_t t, uint64_t got, uint64_t want, uint64_t a, uint64_t b)
{
    int flags = t->p2 >> 2;

    if (t->p1 < F16)
        return types[t->p1].bits < 32 && isnan(float_value(t->p0, a, 0));
    if (flags & SAT && want == 0)
        return got == UINT64_C(1) << (types[t->p1].bits - 1);
    return t->p1 == F32 && flags & FTZ && (want & 0x7fffffff) == 0x00800000 &&
           got == (want & 0x80000000);
}

typedef uint64_t (*reference_t)(test_t t, uint64_t a, uint64_t b, uint64_t c);

static void add(struct scalar_list *list, const char *rounding, int from, int to, int mode,
                int flags, reference_t reference)
{
    char name[48];
    struct scalar_case *added;

    snprintf(name, sizeof(name), "cvt%s%s%s%s.%s.%s", *rounding ? "." : "", rounding,
             flags & FTZ ? ".ftz" : "", flags & SAT ? ".sat" : "", types[to].name,
             types[from].name);
    added = scalar_add(list, name, "%s %s, %s;\n", name, types[to].target, types[from].source);
    added->kind = types[to].kind;
    added->operands = types[from].operands;
    added->reference = reference;
    if (from >= F16)
        added->accepts = accepts;
    added->p0 = from;
    added->p1 = to;
    added->p2 = mode | flags << 2;
}

static void generate_integers(struct scalar_list *list, int from)
{
    for (int to = S8; to <= U64; to++) {
        if (to == from)
            continue;
        add(list, "", from, to, 0, 0, integer_to_integer);
        /* .sat is not legal where it could change nothing. */
        if (type_min(from) < type_min(to) || type_max(from) > type_max(to))
            add(list, "", from, to, 0, SAT, integer_to_integer);
    }
    for (int to = F16; to <= F64; to++)
        for (int mode = RN; mode <= RP; mode++)
            add(list, rounding_names[mode], from, to, mode, 0, integer_to_float);
}

static void generate_floats(struct scalar_list *list, int from)
{
    for (int mode = RN; mode <= RP; mode++) {
        for (int to = S8; to <= U64; to++)
            add(list, rounding_integer[mode], from, to, mode, 0, float_to_integer);
        add(list, rounding_integer[mode], from, from, mode, 0, float_to_integral);
    }
    for (int to = from + 1; to <= F64; to++)
        add(list, "", from, to, RN, 0, float_to_float);
}

static struct scalar_list generated;

static void generate(void)
{
    if (generated.count)
        return;
    for (int from = S8; from <= U64; from++)
        generate_integers(&generated, from);
    for (int from = F16; from <= F64; from++)
        generate_floats(&generated, from);
    for (int mode = RN; mode <= RP; mode++) {
        const char *rounding = rounding_names[mode];

        add(&generated, rounding, F64, F32, mode, 0, float_to_float);
        add(&generated, rounding, F64, F32, mode, FTZ, float_to_float);
        /* f16 takes every rounding only as a result of f32 and f64. */
        add(&generated, rounding, F32, F16, mode, 0, float_to_float);
        add(&generated, rounding, F64, F16, mode, 0, float_to_float);
    }
    add(&generated, "rni", F32, F32, RN, FTZ, float_to_integral);
    add(&generated, "rzi", F32, S32, RZ, FTZ, float_to_integer);
    add(&generated, "rmi", F32, S32, RM, FTZ, float_to_integer);
    add(&generated, "", F32, F32, RN, SAT, float_to_float);
    add(&generated, "", F64, F64, RN, SAT, float_to_float);
    add(&generated, "", F32, F64, RN, FTZ, float_to_float);
    add(&generated, "rn", F64, F32, RN, SAT, float_to_float);
}

static uint64_t bf16_from_f32(test_t t, uint64_t a, uint64_t b, uint64_t c)
{
    return bf16_round((__float128)f32_of(a), (enum rounding)t->p0);
}

/* The first operand goes to the upper half. */
static uint64_t pair_from_f32(test_t t, uint64_t a, uint64_t b, uint64_t c)
{
    return (uint64_t)f16_round((__float128)f32_of(a), RN) << 16 |
           f16_round((__float128)f32_of(b), RN);
}

/* Signed 8-bit saturation of a and b over the upper half of c, shifted up. */
static uint64_t pack_s8(test_t t, uint64_t a, uint64_t b, uint64_t c)
{
    return (uint32_t)c << 16 | (uint32_t)(uint8_t)clamped(S8, (int32_t)a) << 8 |
           (uint8_t)clamped(S8, (int32_t)b);
}

static uint64_t pack_u16(test_t t, uint64_t a, uint64_t b, uint64_t c)
{
    return (uint32_t)(uint16_t)clamped(U16, (int32_t)a) << 16 | (uint16_t)clamped(U16, (int32_t)b);
}

static const struct scalar_case cases[] = {
    {.name = "cvt.rn.bf16.f32",
     .body = "cvt.rn.bf16.f32 %hd, %fa;\n",
     .kind = KIND_BF16,
     .operands = "f",
     .reference = bf16_from_f32,
     .header = CONF_HEADER_80,
     .compute = 80},
    {.name = "cvt.rz.bf16.f32",
     .body = "cvt.rz.bf16.f32 %hd, %fa;\n",
     .kind = KIND_BF16,
     .operands = "f",
     .reference = bf16_from_f32,
     .header = CONF_HEADER_80,
     .compute = 80,
     .p0 = RZ},
    {.name = "cvt.rn.f16x2.f32",
     .body = "cvt.rn.f16x2.f32 %d, %fa, %fb;\n",
     .kind = KIND_F16X2,
     .operands = "ff",
     .reference = pair_from_f32,
     .header = CONF_HEADER_80,
     .compute = 80},
    {.name = "cvt.pack.sat.s8.s32.b32",
     .body = "cvt.pack.sat.s8.s32.b32 %d, %a, %b, %c;\n",
     .kind = KIND_B32,
     .operands = "iii",
     .reference = pack_s8,
     .header = ".version 7.0\n.target sm_72\n.address_size 64\n"},
    {.name = "cvt.pack.sat.u16.s32",
     .body = "cvt.pack.sat.u16.s32 %d, %a, %b;\n",
     .kind = KIND_B32,
     .operands = "ii",
     .reference = pack_u16,
     .header = ".version 7.0\n.target sm_72\n.address_size 64\n"},
};

void conf_convert_cases(conf_visit visit, void *context)
{
    generate();
    scalar_visit("convert", generated.cases, generated.count, visit, context);
    scalar_visit("convert", cases, VGPU_ARRAY_SIZE(cases), visit, context);
}
