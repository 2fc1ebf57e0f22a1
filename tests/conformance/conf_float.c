/* SPDX-License-Identifier: Apache-2.0 */
/* Single and double precision: rounding modes, denormals, saturation, NaN, min and max. */
#include <fenv.h>
#include <math.h>
#include <stdio.h>

#include "common/cleanup.h"
#include "tests/conformance/scalar.h"

typedef const struct scalar_case *test_t;

enum operation { ADD, SUB, MUL, FMA, DIV, SQRT, RCP };
enum flags { FTZ = 1, SAT = 2 };

static const struct {
    const char *name;
    unsigned int operands;
    bool takes_sat;
} operations[] = {
    [ADD] = {"add", 2, true},  [SUB] = {"sub", 2, true},  [MUL] = {"mul", 2, true},
    [FMA] = {"fma", 3, true},  [DIV] = {"div", 2, false}, [SQRT] = {"sqrt", 1, false},
    [RCP] = {"rcp", 1, false},
};

static bool is_subnormal(float value)
{
    return fpclassify(value) == FP_SUBNORMAL;
}

static float flushed(float value, int flags)
{
    return flags & FTZ && is_subnormal(value) ? copysignf(0, value) : value;
}

/* volatile: the compiler may not move the operation out of the rounding mode. */
static float compute_f32(int operation, enum rounding mode, float a, float b, float c)
{
    volatile float x = a, y = b, z = c, one = 1, r;

    host_rounding(mode);
    switch (operation) {
    case ADD:
        r = x + y;
        break;
    case SUB:
        r = x - y;
        break;
    case MUL:
        r = x * y;
        break;
    case FMA:
        r = fmaf(x, y, z);
        break;
    case DIV:
        r = x / y;
        break;
    case SQRT:
        r = sqrtf(x);
        break;
    default:
        r = one / x;
    }
    host_rounding(RN);
    return r;
}

static double compute_f64(int operation, enum rounding mode, double a, double b, double c)
{
    volatile double x = a, y = b, z = c, one = 1, r;

    host_rounding(mode);
    switch (operation) {
    case ADD:
        r = x + y;
        break;
    case SUB:
        r = x - y;
        break;
    case MUL:
        r = x * y;
        break;
    case FMA:
        r = fma(x, y, z);
        break;
    case DIV:
        r = x / y;
        break;
    case SQRT:
        r = sqrt(x);
        break;
    default:
        r = one / x;
    }
    host_rounding(RN);
    return r;
}

/* p0: operation; p1: rounding; p2: flags. */
static uint64_t reference_f32(test_t t, uint64_t a, uint64_t b, uint64_t c)
{
    float r = compute_f32(t->p0, (enum rounding)t->p1, flushed(f32_of(a), t->p2),
                          flushed(f32_of(b), t->p2), flushed(f32_of(c), t->p2));

    r = flushed(r, t->p2);
    if (t->p2 & SAT)
        r = isnan(r) || r < 0 ? 0 : r > 1 ? 1 : r;
    return f32_bits(r);
}

static uint64_t reference_f64(test_t t, uint64_t a, uint64_t b, uint64_t c)
{
    return f64_bits(compute_f64(t->p0, (enum rounding)t->p1, f64_of(a), f64_of(b), f64_of(c)));
}

/* A zero has any sign after .sat; a result that rounds up to the smallest normal may be flushed. */
static bool accepts_f32(test_t t, uint64_t got, uint64_t want, uint64_t a, uint64_t b)
{
    if (t->p2 & SAT && f32_of(want) == 0)
        return f32_of(got) == 0;
    return t->p2 & FTZ && (want & 0x7fffffff) == 0x00800000 && got == (want & 0x80000000);
}

static void add_f32(struct scalar_list *list, int operation, enum rounding mode, int flags)
{
    static const char *const operand_text[] = {"", "%fa", "%fa, %fb", "%fa, %fb, %fc"};
    unsigned int operands = operations[operation].operands;
    char name[48];
    struct scalar_case *added;

    snprintf(name, sizeof(name), "%s.%s%s%s.f32", operations[operation].name, rounding_names[mode],
             flags & FTZ ? ".ftz" : "", flags & SAT ? ".sat" : "");
    added = scalar_add(list, name, "%s %%fd, %s;\n", name, operand_text[operands]);
    added->kind = KIND_F32;
    added->operands = "fff";
    added->reference = reference_f32;
    added->accepts = accepts_f32;
    added->p0 = operation;
    added->p1 = (int)mode;
    added->p2 = flags;
}

static void add_f64(struct scalar_list *list, int operation, enum rounding mode)
{
    static const char *const operand_text[] = {"", "%da", "%da, %db", "%da, %db, %dc"};
    unsigned int operands = operations[operation].operands;
    char name[48];
    struct scalar_case *added;

    snprintf(name, sizeof(name), "%s.%s.f64", operations[operation].name, rounding_names[mode]);
    added = scalar_add(list, name, "%s %%dd, %s;\n", name, operand_text[operands]);
    added->kind = KIND_F64;
    added->operands = "ddd";
    added->reference = reference_f64;
    added->p0 = operation;
    added->p1 = (int)mode;
}

#define REFERENCE(name) static uint64_t name(test_t t, uint64_t a, uint64_t b, uint64_t c)

/* PTX orders -0 below +0, and a number wins over a NaN. p0: maximum; p1: a NaN wins. */
REFERENCE(min_max_f32)
{
    float x = f32_of(a), y = f32_of(b);
    bool first;

    if (isnan(x) || isnan(y))
        return t->p1 || (isnan(x) && isnan(y)) ? f32_bits(NAN)
               : isnan(x)                      ? b & UINT32_MAX
                                               : a & UINT32_MAX;
    first = x < y || (x == y && signbit(x));
    return (first != (t->p0 == 1) ? a : b) & UINT32_MAX;
}

REFERENCE(min_max_f64)
{
    double x = f64_of(a), y = f64_of(b);
    bool first;

    if (isnan(x) || isnan(y))
        return isnan(x) && isnan(y) ? f64_bits((double)NAN) : isnan(x) ? b : a;
    first = x < y || (x == y && signbit(x));
    return first != (t->p0 == 1) ? a : b;
}

REFERENCE(abs_f32)
{
    return a & 0x7fffffff;
}

REFERENCE(neg_f32)
{
    return (a & UINT32_MAX) ^ 0x80000000;
}

REFERENCE(abs_ftz_f32)
{
    return f32_bits(fabsf(flushed(f32_of(a), FTZ)));
}

REFERENCE(abs_f64)
{
    return a & INT64_MAX;
}

REFERENCE(neg_f64)
{
    return a ^ UINT64_C(0x8000000000000000);
}

REFERENCE(copysign_f32)
{
    return (a & 0x80000000) | (b & 0x7fffffff);
}

REFERENCE(copysign_f64)
{
    return (a & ~(uint64_t)INT64_MAX) | (b & INT64_MAX);
}

REFERENCE(slct_f32)
{
    return (f32_of(c) >= 0 ? a : b) & UINT32_MAX;
}

enum { FINITE, INFINITE, NUMBER, NOT_A_NUMBER, NORMAL, SUBNORMAL };

static bool has_property(int property, int class)
{
    switch (property) {
    case FINITE:
        return class != FP_NAN && class != FP_INFINITE;
    case INFINITE:
        return class == FP_INFINITE;
    case NUMBER:
        return class != FP_NAN;
    case NOT_A_NUMBER:
        return class == FP_NAN;
    case NORMAL: /* which 0 counts as */
        return class == FP_NORMAL || class == FP_ZERO;
    default:
        return class == FP_SUBNORMAL;
    }
}

REFERENCE(testp_f32)
{
    return has_property(t->p0, fpclassify(f32_of(a)));
}

REFERENCE(testp_f64)
{
    return has_property(t->p0, fpclassify(f64_of(a)));
}

#define F(n, text, ops, ref, ...)                                                                  \
    {                                                                                              \
        .name = n, .body = text ";\n", .kind = KIND_F32, .operands = ops, .reference = ref,        \
        __VA_ARGS__                                                                                \
    }
#define D(n, text, ops, ref, ...)                                                                  \
    {                                                                                              \
        .name = n, .body = text ";\n", .kind = KIND_F64, .operands = ops, .reference = ref,        \
        __VA_ARGS__                                                                                \
    }
#define P(n, text, ops, ref, ...)                                                                  \
    {                                                                                              \
        .name = n, .body = text ";\n", .kind = KIND_PRED, .operands = ops, .reference = ref,       \
        __VA_ARGS__                                                                                \
    }

static const struct scalar_case cases[] = {
    F("min.f32", "min.f32 %fd, %fa, %fb", "ff", min_max_f32),
    F("max.f32", "max.f32 %fd, %fa, %fb", "ff", min_max_f32, .p0 = 1),
    F("min.NaN.f32", "min.NaN.f32 %fd, %fa, %fb", "ff", min_max_f32, .p1 = 1,
      .header = CONF_HEADER_80, .compute = 80),
    F("max.NaN.f32", "max.NaN.f32 %fd, %fa, %fb", "ff", min_max_f32, .p0 = 1, .p1 = 1,
      .header = CONF_HEADER_80, .compute = 80),
    D("min.f64", "min.f64 %dd, %da, %db", "dd", min_max_f64),
    D("max.f64", "max.f64 %dd, %da, %db", "dd", min_max_f64, .p0 = 1),
    F("abs.f32", "abs.f32 %fd, %fa", "f", abs_f32),
    F("neg.f32", "neg.f32 %fd, %fa", "f", neg_f32),
    F("abs.ftz.f32", "abs.ftz.f32 %fd, %fa", "f", abs_ftz_f32),
    D("abs.f64", "abs.f64 %dd, %da", "d", abs_f64),
    D("neg.f64", "neg.f64 %dd, %da", "d", neg_f64),
    F("copysign.f32", "copysign.f32 %fd, %fa, %fb", "ff", copysign_f32),
    D("copysign.f64", "copysign.f64 %dd, %da, %db", "dd", copysign_f64),
    F("slct.f32.f32", "slct.f32.f32 %fd, %fa, %fb, %fc", "fff", slct_f32),
    P("testp.finite.f32", "testp.finite.f32 %pd, %fa", "f", testp_f32, .p0 = FINITE),
    P("testp.infinite.f32", "testp.infinite.f32 %pd, %fa", "f", testp_f32, .p0 = INFINITE),
    P("testp.number.f32", "testp.number.f32 %pd, %fa", "f", testp_f32, .p0 = NUMBER),
    P("testp.notanumber.f32", "testp.notanumber.f32 %pd, %fa", "f", testp_f32, .p0 = NOT_A_NUMBER),
    P("testp.normal.f32", "testp.normal.f32 %pd, %fa", "f", testp_f32, .p0 = NORMAL),
    P("testp.subnormal.f32", "testp.subnormal.f32 %pd, %fa", "f", testp_f32, .p0 = SUBNORMAL),
    P("testp.finite.f64", "testp.finite.f64 %pd, %da", "d", testp_f64, .p0 = FINITE),
    P("testp.notanumber.f64", "testp.notanumber.f64 %pd, %da", "d", testp_f64, .p0 = NOT_A_NUMBER),
};

static struct scalar_list generated;

static void generate(void)
{
    if (generated.count)
        return;
    for (int operation = ADD; operation <= RCP; operation++)
        for (int mode = RN; mode <= RP; mode++) {
            add_f32(&generated, operation, (enum rounding)mode, 0);
            add_f32(&generated, operation, (enum rounding)mode, FTZ);
            add_f64(&generated, operation, (enum rounding)mode);
            if (!operations[operation].takes_sat)
                continue;
            add_f32(&generated, operation, (enum rounding)mode, SAT);
            add_f32(&generated, operation, (enum rounding)mode, FTZ | SAT);
        }
}

void conf_float_cases(conf_visit visit, void *context)
{
    generate();
    scalar_visit("float", generated.cases, generated.count, visit, context);
    scalar_visit("float", cases, VGPU_ARRAY_SIZE(cases), visit, context);
}
