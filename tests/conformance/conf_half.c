/* SPDX-License-Identifier: Apache-2.0 */
/* The 16-bit floating formats, alone and in pairs. */
#include <math.h>
#include <stdio.h>

#include "common/cleanup.h"
#include "tests/conformance/scalar.h"

typedef const struct scalar_case *test_t;

#define HEADER_90 ".version 7.8\n.target sm_90\n.address_size 64\n"

enum operation { ADD, SUB, MUL, FMA, NEG, ABS, MIN, MAX };
enum flags { FTZ = 1, SAT = 2, BF16 = 4 };

static double value_of(uint64_t bits, int flags)
{
    double value = flags & BF16 ? bf16_value((uint16_t)bits) : f16_value((uint16_t)bits);

    if (flags & FTZ && fabs(value) < 0x1p-14)
        return copysign(0, value);
    return value;
}

static uint16_t bits_of(__float128 value, int flags)
{
    uint16_t bits = flags & BF16 ? bf16_round(value, RN) : f16_round(value, RN);

    if (flags & FTZ && (bits & 0x7c00) == 0)
        bits &= 0x8000;
    if (flags & SAT) {
        double rounded = f16_value(bits);

        bits = isnan(rounded) || rounded <= 0 ? 0 : rounded > 1 ? 0x3c00 : bits;
    }
    return bits;
}

/* Every operand and intermediate is exact in 113 bits. Signs of zero follow IEEE through double,
 * where a zero sum can only come from an exact one. */
static __float128 compute(int operation, double a, double b, double c)
{
    __float128 product;

    switch (operation) {
    case ADD:
        return a + b;
    case SUB:
        return a - b;
    case MUL:
        return (__float128)a * b;
    default:
        product = (__float128)a * b;
        return product + c;
    }
}

static uint16_t min_max(int operation, uint16_t a, uint16_t b, int flags)
{
    double x = value_of(a, flags), y = value_of(b, flags);
    bool first;

    if (isnan(x) || isnan(y))
        return isnan(x) && isnan(y) ? 0x7fff : isnan(x) ? b : a;
    first = x < y || (x == y && signbit(x));
    return first != (operation == MAX) ? a : b;
}

static uint16_t one(int operation, int flags, uint64_t a, uint64_t b, uint64_t c)
{
    switch (operation) {
    case NEG:
        return (uint16_t)(a ^ 0x8000);
    case ABS:
        return (uint16_t)(a & 0x7fff);
    case MIN:
    case MAX:
        return min_max(operation, (uint16_t)a, (uint16_t)b, flags);
    default:
        return bits_of(
            compute(operation, value_of(a, flags), value_of(b, flags), value_of(c, flags)), flags);
    }
}

/* p0: operation; p1: flags. */
static uint64_t reference(test_t t, uint64_t a, uint64_t b, uint64_t c)
{
    return one(t->p0, t->p1, a & 0xffff, b & 0xffff, c & 0xffff);
}

static uint64_t reference_pair(test_t t, uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t low = reference(t, a, b, c);

    return low | reference(t, a >> 16, b >> 16, c >> 16) << 16;
}

/* A zero has any sign after .sat; a result that rounds up to the smallest normal may be flushed. */
static bool accepts(test_t t, uint64_t got, uint64_t want, uint64_t a, uint64_t b)
{
    if (t->p1 & SAT && want == 0)
        return got == 0x8000;
    return t->kind == KIND_F16 && t->p1 & FTZ && (want & 0x7fff) == 0x0400 &&
           got == (want & 0x8000);
}

#define F16(n, text, o, f, ...)                                                                    \
    {                                                                                              \
        .name = n, .body = text ";\n", .kind = KIND_F16, .operands = "hhh",                        \
        .reference = reference, .p0 = o, .p1 = f, .accepts = accepts, __VA_ARGS__                  \
    }
#define PAIR(n, text, o, f, ...)                                                                   \
    {                                                                                              \
        .name = n, .body = text ";\n", .kind = KIND_F16X2, .operands = "HHH",                      \
        .reference = reference_pair, .p0 = o, .p1 = f, __VA_ARGS__                                 \
    }
#define BF(n, text, o, ...)                                                                        \
    {                                                                                              \
        .name = n, .body = text ";\n", .kind = KIND_BF16, .operands = "bbb",                       \
        .reference = reference, .p0 = o, .p1 = BF16, __VA_ARGS__                                   \
    }
#define SM_80 .header = CONF_HEADER_80, .compute = 80
#define SM_90 .header = HEADER_90, .compute = 90

static const struct scalar_case cases[] = {
    F16("add.f16", "add.f16 %hd, %ha, %hb", ADD, 0),
    F16("add.rn.ftz.f16", "add.rn.ftz.f16 %hd, %ha, %hb", ADD, FTZ),
    F16("add.sat.f16", "add.sat.f16 %hd, %ha, %hb", ADD, SAT),
    F16("sub.f16", "sub.f16 %hd, %ha, %hb", SUB, 0),
    F16("mul.f16", "mul.f16 %hd, %ha, %hb", MUL, 0),
    F16("mul.ftz.f16", "mul.ftz.f16 %hd, %ha, %hb", MUL, FTZ),
    F16("fma.rn.f16", "fma.rn.f16 %hd, %ha, %hb, %hc", FMA, 0),
    F16("fma.rn.ftz.f16", "fma.rn.ftz.f16 %hd, %ha, %hb, %hc", FMA, FTZ),
    F16("fma.rn.sat.f16", "fma.rn.sat.f16 %hd, %ha, %hb, %hc", FMA, SAT),
    F16("neg.f16", "neg.f16 %hd, %ha", NEG, 0),
    F16("abs.f16", "abs.f16 %hd, %ha", ABS, 0),
    F16("min.f16", "min.f16 %hd, %ha, %hb", MIN, 0, SM_80),
    F16("max.f16", "max.f16 %hd, %ha, %hb", MAX, 0, SM_80),
    PAIR("add.f16x2", "add.f16x2 %d, %a, %b", ADD, 0),
    PAIR("sub.f16x2", "sub.f16x2 %d, %a, %b", SUB, 0),
    PAIR("mul.f16x2", "mul.f16x2 %d, %a, %b", MUL, 0),
    PAIR("fma.rn.f16x2", "fma.rn.f16x2 %d, %a, %b, %c", FMA, 0),
    PAIR("neg.f16x2", "neg.f16x2 %d, %a", NEG, 0),
    PAIR("max.f16x2", "max.f16x2 %d, %a, %b", MAX, 0, SM_80),
    BF("fma.rn.bf16", "fma.rn.bf16 %hd, %ha, %hb, %hc", FMA, SM_80),
    BF("neg.bf16", "neg.bf16 %hd, %ha", NEG, SM_80),
    BF("abs.bf16", "abs.bf16 %hd, %ha", ABS, SM_80),
    BF("min.bf16", "min.bf16 %hd, %ha, %hb", MIN, SM_80),
    BF("max.bf16", "max.bf16 %hd, %ha, %hb", MAX, SM_80),
    BF("add.bf16", "add.bf16 %hd, %ha, %hb", ADD, SM_90),
    BF("sub.bf16", "sub.bf16 %hd, %ha, %hb", SUB, SM_90),
    BF("mul.bf16", "mul.bf16 %hd, %ha, %hb", MUL, SM_90),
};

void conf_half_cases(conf_visit visit, void *context)
{
    scalar_visit("half", cases, VGPU_ARRAY_SIZE(cases), visit, context);
}
