/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Approximations: within the error that the PTX ISA documents, and exact where it lists results
 * (zeros, infinities, NaN).
 */
#include <math.h>
#include <string.h>

#include "common/cleanup.h"
#include "tests/conformance/scalar.h"

typedef const struct scalar_case *test_t;

#define HEADER_75 ".version 7.0\n.target sm_75\n.address_size 64\n"

enum function { RCP, SQRT, RSQRT, SIN, COS, LG2, EX2, TANH, DIV };
enum flags { FTZ = 1 };

static double exact(int function, double a, double b)
{
    switch (function) {
    case RCP:
        return 1 / a;
    case SQRT:
        return sqrt(a);
    case RSQRT: /* of -0: -inf */
        return 1 / sqrt(a);
    case SIN:
        return sin(a);
    case COS:
        return cos(a);
    case LG2:
        return a == 0 ? -(double)INFINITY : log2(a);
    case EX2:
        return exp2(a);
    case TANH:
        return tanh(a);
    default:
        return a / b;
    }
}

static double input(const struct scalar_case *test, uint64_t bits)
{
    float value = f32_of(bits);

    if (test->p1 & FTZ && fpclassify(value) == FP_SUBNORMAL)
        return (double)copysignf(0, value);
    return (double)value;
}

static uint64_t reference_f32(test_t t, uint64_t a, uint64_t b, uint64_t c)
{
    return f32_bits((float)exact(t->p0, input(t, a), input(t, b)));
}

/* The documented bound: relative unless said otherwise. */
static double allowed(const struct scalar_case *test, double a, double want)
{
    switch (test->p0) {
    case RCP: /* 1 ulp from the correctly rounded result */
        return 1.5 * 0x1p-23 * fabs(want);
    case SQRT:
        return 0x1p-23 * fabs(want);
    case RSQRT:
        return exp2(-22.9) * fabs(want);
    case SIN:
    case COS: /* absolute, in [-2 pi, 2 pi] */
        return exp2(-20.5);
    case LG2: /* absolute between 0.5 and 2 */
        return a > 0.5 && a < 2 ? 0x1p-22 : 0x1p-22 * fabs(want);
    case TANH:
        return 0x1p-11 * fabs(want);
    default: /* 2 ulp from the correctly rounded result */
        return 2.5 * 0x1p-23 * fabs(want);
    }
}

/* A subnormal result may be flushed where .ftz is given, and is accurate to its last place. */
static bool accepts_f32(test_t t, uint64_t got_bits, uint64_t want_bits, uint64_t a, uint64_t b)
{
    double got = (double)f32_of(got_bits), x = input(t, a);
    double want = exact(t->p0, x, input(t, b));

    if (isnan(want) || isinf((double)f32_of(want_bits)) || isnan(got))
        return false;
    if (fabs(want) < 0x1p-126 && t->p1 & FTZ)
        return got == 0;
    return fabs(got - want) <= allowed(t, x, want) + (fabs(want) < 0x1p-125 ? 0x1p-149 : 0);
}

/* p2: 1 for the bfloat16 forms. */
static double half_input(const struct scalar_case *test, uint64_t bits)
{
    double value = test->p2 ? bf16_value((uint16_t)bits) : f16_value((uint16_t)bits);

    if (test->p2 && test->p0 == EX2 && fabs(value) < 0x1p-126)
        return copysign(0, value);
    return value;
}

static uint64_t reference_half(test_t t, uint64_t a, uint64_t b, uint64_t c)
{
    __float128 value = exact(t->p0, half_input(t, a), 0);

    return t->p2 ? bf16_round(value, RN) : f16_round(value, RN);
}

static bool accepts_half(test_t t, uint64_t got_bits, uint64_t want_bits, uint64_t a, uint64_t b)
{
    double got = t->p2 ? bf16_value((uint16_t)got_bits) : f16_value((uint16_t)got_bits);
    double want = exact(t->p0, half_input(t, a), 0), bound;

    if (!isfinite(got) || !isfinite(want))
        return false;
    if (t->p0 == TANH)
        bound = t->p2 ? 0x1p-8 : exp2(-10.987);
    else
        bound = (t->p2 ? 0x1p-7 : exp2(-9.9)) * fabs(want) + (t->p2 ? 0x1p-133 : 0x1p-24);
    if (t->p2 && t->p0 == EX2 && fabs(want) < 0x1p-126 && got == 0)
        return true;
    return fabs(got - want) <= bound;
}

/* Only the leading bits are promised. */
static uint64_t reference_rcp_f64(test_t t, uint64_t a, uint64_t b, uint64_t c)
{
    return f64_bits(t->p0 == RCP ? 1 / f64_of(a) : 1 / sqrt(fabs(f64_of(a))));
}

static bool accepts_f64(test_t t, uint64_t got, uint64_t want, uint64_t a, uint64_t b)
{
    return fabs(f64_of(got) - f64_of(want)) <= 0x1p-19 * fabs(f64_of(want));
}

#define F(n, text, ops, function, flags, ...)                                                      \
    {                                                                                              \
        .name = n, .body = text ";\n", .kind = KIND_F32, .operands = ops,                          \
        .reference = reference_f32, .accepts = accepts_f32, .p0 = function, .p1 = flags,           \
        __VA_ARGS__                                                                                \
    }
#define H(n, text, k, ops, function, bf, ...)                                                      \
    {                                                                                              \
        .name = n, .body = text ";\n", .kind = k, .operands = ops, .reference = reference_half,    \
        .accepts = accepts_half, .p0 = function, .p2 = bf, __VA_ARGS__                             \
    }
#define ONE(function) function " %fd, %fa"

static const struct scalar_case cases[] = {
    F("rcp.approx.f32", ONE("rcp.approx.f32"), "f", RCP, 0),
    F("rcp.approx.ftz.f32", ONE("rcp.approx.ftz.f32"), "f", RCP, FTZ),
    F("sqrt.approx.f32", ONE("sqrt.approx.f32"), "f", SQRT, 0),
    F("sqrt.approx.ftz.f32", ONE("sqrt.approx.ftz.f32"), "f", SQRT, FTZ),
    F("rsqrt.approx.f32", ONE("rsqrt.approx.f32"), "f", RSQRT, 0),
    F("rsqrt.approx.ftz.f32", ONE("rsqrt.approx.ftz.f32"), "f", RSQRT, FTZ),
    F("sin.approx.f32", ONE("sin.approx.f32"), "r", SIN, 0),
    F("cos.approx.f32", ONE("cos.approx.f32"), "r", COS, 0),
    F("sin.approx.ftz.f32", ONE("sin.approx.ftz.f32"), "r", SIN, FTZ),
    F("lg2.approx.f32", ONE("lg2.approx.f32"), "f", LG2, 0),
    F("lg2.approx.ftz.f32", ONE("lg2.approx.ftz.f32"), "f", LG2, FTZ),
    F("ex2.approx.f32", ONE("ex2.approx.f32"), "f", EX2, 0),
    F("ex2.approx.ftz.f32", ONE("ex2.approx.ftz.f32"), "f", EX2, FTZ),
    F("tanh.approx.f32", ONE("tanh.approx.f32"), "f", TANH, 0, .header = HEADER_75, .compute = 75),
    F("div.approx.f32", "div.approx.f32 %fd, %fa, %fb", "FF", DIV, 0),
    F("div.full.f32", "div.full.f32 %fd, %fa, %fb", "FF", DIV, 0),
    H("ex2.approx.f16", "ex2.approx.f16 %hd, %ha", KIND_F16, "h", EX2, 0, .header = HEADER_75,
      .compute = 75),
    H("tanh.approx.f16", "tanh.approx.f16 %hd, %ha", KIND_F16, "h", TANH, 0, .header = HEADER_75,
      .compute = 75),
    H("ex2.approx.ftz.bf16", "ex2.approx.ftz.bf16 %hd, %ha", KIND_BF16, "b", EX2, 1,
      .header = ".version 7.8\n.target sm_90\n.address_size 64\n", .compute = 90),
    H("tanh.approx.bf16", "tanh.approx.bf16 %hd, %ha", KIND_BF16, "b", TANH, 1,
      .header = ".version 7.8\n.target sm_90\n.address_size 64\n", .compute = 90),
    {.name = "rcp.approx.ftz.f64",
     .body = "rcp.approx.ftz.f64 %dd, %da;\n",
     .kind = KIND_F64,
     .operands = "D",
     .reference = reference_rcp_f64,
     .accepts = accepts_f64,
     .p0 = RCP},
    {.name = "rsqrt.approx.ftz.f64",
     .body = "abs.f64 %da, %da;\nrsqrt.approx.ftz.f64 %dd, %da;\n",
     .kind = KIND_F64,
     .operands = "D",
     .reference = reference_rcp_f64,
     .accepts = accepts_f64,
     .p0 = RSQRT},
};

void conf_approx_cases(conf_visit visit, void *context)
{
    scalar_visit("approx", cases, VGPU_ARRAY_SIZE(cases), visit, context);
}
