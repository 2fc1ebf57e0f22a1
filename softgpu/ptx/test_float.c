/* SPDX-License-Identifier: Apache-2.0 */
/* Float instructions: rounding, NaN, subnormals, saturation, approximations, half types. */
#include "softgpu/ptx/test_kit.h"

#include <fenv.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define N 192

static uint32_t bits32(float a)
{
    uint32_t bits;

    memcpy(&bits, &a, sizeof(bits));
    return bits;
}

static float float32(uint64_t bits)
{
    uint32_t low = (uint32_t)bits;
    float a;

    memcpy(&a, &low, sizeof(a));
    return a;
}

static uint64_t bits64(double a)
{
    uint64_t bits;

    memcpy(&bits, &a, sizeof(bits));
    return bits;
}

static double float64(uint64_t bits)
{
    double a;

    memcpy(&a, &bits, sizeof(a));
    return a;
}

static uint64_t seed = 12345;

static uint64_t any(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* Floats of all magnitudes, with zeros, subnormals, infinities and NaN among them. */
static uint64_t any_f32(void)
{
    static const uint32_t edges[] = {0,          0x80000000, 1,          0x807fffff, 0x00800000,
                                     0x3f800000, 0xbf800000, 0x7f7fffff, 0x7f800000, 0xff800000,
                                     0x7fc00001, 0x3f7fffff, 0x4b800001};

    if (any() % 3 == 0)
        return edges[any() % 13];
    return any() % 2 ? (uint32_t)any() : (uint32_t)(any() & 0x8fffffff) | 0x3c000000;
}

static uint64_t any_f64(void)
{
    static const uint64_t edges[] = {0,
                                     1ul << 63,
                                     1,
                                     0x000fffffffffffff,
                                     0x3ff0000000000000,
                                     0x7fefffffffffffff,
                                     0x7ff0000000000000,
                                     0x4330000000000001};

    if (any() % 3 == 0)
        return edges[any() % 8];
    return (any() & 0x80ffffffffffffff) | 0x3f00000000000000;
}

static void map3(struct kit *kit, const char *type, const char *text, uint64_t (*make)(void),
                 uint64_t *rows, uint64_t *got)
{
    struct kit_ops ops = {type, type, type, type, "", text};

    for (unsigned i = 0; i < N * 3; i++)
        rows[i] = make();
    kit_map(kit, &ops, rows, N, got);
}

static uint64_t want32(float r)
{
    return r != r ? 0x7fffffff : bits32(r);
}

/* Each operation under each rounding against the same in C under that rounding. */
static void test_float_rounding_modes_f32(void **state)
{
    static const struct {
        const char *name;
        int mode;
    } modes[] = {
        {"rn", FE_TONEAREST}, {"rz", FE_TOWARDZERO}, {"rm", FE_DOWNWARD}, {"rp", FE_UPWARD}};
    static const char *const forms[][2] = {
        {"add", "f32 %d, %a, %b;"}, {"mul", "f32 %d, %a, %b;"}, {"fma", "f32 %d, %a, %b, %c;"},
        {"div", "f32 %d, %a, %b;"}, {"sqrt", "f32 %d, %a;"},    {"rcp", "f32 %d, %a;"}};
    uint64_t rows[N * 3], got[N];

    for (unsigned m = 0; m < 4; m++) {
        for (unsigned f = 0; f < 6; f++) {
            char text[64];

            snprintf(text, sizeof(text), "%s.%s.%s", forms[f][0], modes[m].name, forms[f][1]);
            map3(*state, "f32", text, any_f32, rows, got);
            for (unsigned i = 0; i < N; i++) {
                volatile float a = float32(rows[3 * i]), b = float32(rows[3 * i + 1]);
                volatile float c = float32(rows[3 * i + 2]), r;

                fesetround(modes[m].mode);
                r = f == 0   ? a + b
                    : f == 1 ? a * b
                    : f == 2 ? fmaf(a, b, c)
                    : f == 3 ? a / b
                    : f == 4 ? sqrtf(a)
                             : 1.0f / a;
                fesetround(FE_TONEAREST);
                if (got[i] != want32(r))
                    fail_msg("%s of %a %a %a: got %#llx, not %#llx", text, (double)a, (double)b,
                             (double)c, (unsigned long long)got[i], (unsigned long long)want32(r));
            }
        }
    }
}

static void test_float_rounding_modes_f64(void **state)
{
    static const struct {
        const char *name;
        int mode;
    } modes[] = {
        {"rn", FE_TONEAREST}, {"rz", FE_TOWARDZERO}, {"rm", FE_DOWNWARD}, {"rp", FE_UPWARD}};
    static const char *const forms[][2] = {{"sub", "f64 %d, %a, %b;"},
                                           {"mul", "f64 %d, %a, %b;"},
                                           {"fma", "f64 %d, %a, %b, %c;"},
                                           {"div", "f64 %d, %a, %b;"}};
    uint64_t rows[N * 3], got[N];

    for (unsigned m = 0; m < 4; m++) {
        for (unsigned f = 0; f < 4; f++) {
            char text[64];

            snprintf(text, sizeof(text), "%s.%s.%s", forms[f][0], modes[m].name, forms[f][1]);
            map3(*state, "f64", text, any_f64, rows, got);
            for (unsigned i = 0; i < N; i++) {
                volatile double a = float64(rows[3 * i]), b = float64(rows[3 * i + 1]);
                volatile double c = float64(rows[3 * i + 2]), r;

                fesetround(modes[m].mode);
                r = f == 0 ? a - b : f == 1 ? a * b : f == 2 ? fma(a, b, c) : a / b;
                fesetround(FE_TONEAREST);
                if (r == r)
                    assert_int_equal(got[i], bits64(r));
                else
                    assert_true(isnan(float64(got[i])));
            }
        }
    }
}

/* One operation on one row. */
static uint64_t one(struct kit *kit, const char *d, const char *type, const char *text, uint64_t a,
                    uint64_t b, uint64_t c)
{
    struct kit_ops ops = {d, type, type, type, "", text};
    uint64_t row[3] = {a, b, c}, got;

    kit_map(kit, &ops, row, 1, &got);
    return got;
}

static void test_float_nan_is_canonical(void **state)
{
    assert_int_equal(one(*state, "f32", "f32", "add.f32 %d, %a, %b;", 0xffc12345, 0, 0),
                     0x7fffffff);
    assert_int_equal(one(*state, "f32", "f32", "sub.f32 %d, %a, %b;", 0x7f800000, 0x7f800000, 0),
                     0x7fffffff);
    assert_int_equal(one(*state, "f32", "f32", "sqrt.rn.f32 %d, %a;", 0xbf800000, 0, 0),
                     0x7fffffff);
    assert_int_equal(one(*state, "f32", "f32", "fma.rn.f32 %d, %a, %b, %c;", 0, 0x7f800000, 0),
                     0x7fffffff);
}

static void test_float_ftz_flushes_both_ways(void **state)
{
    assert_int_equal(
        one(*state, "f32", "f32", "add.ftz.f32 %d, %a, %b;", 0x80000001, 0x80000000, 0),
        0x80000000);
    assert_int_equal(
        one(*state, "f32", "f32", "mul.ftz.f32 %d, %a, %b;", 0x00800000, 0x3f000000, 0), 0);
    assert_int_equal(one(*state, "f32", "f32", "mul.f32 %d, %a, %b;", 0x00800000, 0x3f000000, 0),
                     0x00400000);
    assert_int_equal(one(*state, "f32", "f32", "mul.ftz.f32 %d, %a, %b;", 1, 0x7f000000, 0), 0);
    assert_int_equal(one(*state, "pred", "f32", "setp.eq.ftz.f32 %d, %a, %b;", 1, 0, 0), 1);
    assert_int_equal(one(*state, "pred", "f32", "setp.eq.f32 %d, %a, %b;", 1, 0, 0), 0);
}

static void test_float_sat_clamps(void **state)
{
    assert_int_equal(
        one(*state, "f32", "f32", "add.sat.f32 %d, %a, %b;", bits32(0.75f), bits32(0.5f), 0),
        bits32(1.0f));
    assert_int_equal(
        one(*state, "f32", "f32", "mul.sat.f32 %d, %a, %b;", bits32(-3.0f), bits32(0.5f), 0), 0);
    assert_int_equal(one(*state, "f32", "f32", "add.sat.f32 %d, %a, %b;", 0x7fc00000, 0, 0), 0);
    assert_int_equal(one(*state, "f32", "f32", "fma.rn.sat.f32 %d, %a, %b, %c;", bits32(0.5f),
                         bits32(0.5f), bits32(0.25f)),
                     bits32(0.5f));
}

static void test_float_min_max(void **state)
{
    const uint64_t nan = 0x7fc00000, one_ = bits32(1.0f), two = bits32(-2.0f);

    assert_int_equal(one(*state, "f32", "f32", "min.f32 %d, %a, %b;", nan, one_, 0), one_);
    assert_int_equal(one(*state, "f32", "f32", "max.f32 %d, %a, %b;", one_, nan, 0), one_);
    assert_int_equal(one(*state, "f32", "f32", "min.f32 %d, %a, %b;", nan, nan, 0), 0x7fffffff);
    assert_int_equal(one(*state, "f32", "f32", "min.NaN.f32 %d, %a, %b;", nan, one_, 0),
                     0x7fffffff);
    assert_int_equal(one(*state, "f32", "f32", "min.f32 %d, %a, %b;", 0, 0x80000000, 0),
                     0x80000000);
    assert_int_equal(one(*state, "f32", "f32", "max.f32 %d, %a, %b;", 0x80000000, 0, 0), 0);
    assert_int_equal(one(*state, "f32", "f32", "max.xorsign.abs.f32 %d, %a, %b;", one_, two, 0),
                     two);
    assert_int_equal(
        one(*state, "f64", "f64", "min.f64 %d, %a, %b;", 0x7ff8000000000000, bits64(3.0), 0),
        bits64(3.0));
}

static void test_float_compare_unordered(void **state)
{
    static const struct {
        const char *name;
        int less, equal, greater, unordered;
    } cases[] = {{"eq", 0, 1, 0, 0},  {"ne", 1, 0, 1, 0},  {"lt", 1, 0, 0, 0},  {"le", 1, 1, 0, 0},
                 {"gt", 0, 0, 1, 0},  {"ge", 0, 1, 1, 0},  {"equ", 0, 1, 0, 1}, {"neu", 1, 0, 1, 1},
                 {"ltu", 1, 0, 0, 1}, {"leu", 1, 1, 0, 1}, {"gtu", 0, 0, 1, 1}, {"geu", 0, 1, 1, 1},
                 {"num", 1, 1, 1, 0}, {"nan", 0, 0, 0, 1}};
    const uint64_t rows[] = {bits32(1.0f), bits32(2.0f), bits32(2.0f), bits32(2.0f),
                             bits32(3.0f), bits32(2.0f), 0x7fc00000,   bits32(2.0f)};

    for (unsigned i = 0; i < 14; i++) {
        char text[64];
        struct kit_ops ops = {"pred", "f32", "f32", "", "", text};
        uint64_t got[4];

        snprintf(text, sizeof(text), "setp.%s.f32 %%d, %%a, %%b;", cases[i].name);
        kit_map(*state, &ops, rows, 4, got);
        assert_int_equal(got[0], cases[i].less);
        assert_int_equal(got[1], cases[i].equal);
        assert_int_equal(got[2], cases[i].greater);
        assert_int_equal(got[3], cases[i].unordered);
    }
}

/* The largest relative or absolute error over a range, against double. */
static double worst(struct kit *kit, const char *text, double (*reference)(double), double from,
                    double to, bool relative)
{
    struct kit_ops ops = {"f32", "f32", "", "", "", text};
    uint64_t rows[N], got[N];
    double largest = 0;

    for (unsigned i = 0; i < N; i++)
        rows[i] = bits32((float)(from + (to - from) * i / N));
    kit_map(kit, &ops, rows, N, got);
    for (unsigned i = 0; i < N; i++) {
        double want = reference((double)float32(rows[i]));
        double error = fabs((double)float32(got[i]) - want);

        if (relative)
            error /= fabs(want);
        largest = error > largest ? error : largest;
    }
    return largest;
}

static double rsqrt(double a)
{
    return 1.0 / sqrt(a);
}

static void test_float_approximations_within_documented_error(void **state)
{
    assert_true(worst(*state, "sin.approx.f32 %d, %a;", sin, -3.14, 3.14, false) < 0x1p-20);
    assert_true(worst(*state, "cos.approx.ftz.f32 %d, %a;", cos, -3.14, 3.14, false) < 0x1p-20);
    assert_true(worst(*state, "ex2.approx.f32 %d, %a;", exp2, -20, 20, true) < 0x1p-22);
    assert_true(worst(*state, "lg2.approx.f32 %d, %a;", log2, 2, 1000, false) < 0x1p-18);
    assert_true(worst(*state, "rsqrt.approx.f32 %d, %a;", rsqrt, 0.01, 100, true) < 0x1p-22);
    assert_true(worst(*state, "sqrt.approx.f32 %d, %a;", sqrt, 0.01, 100, true) < 0x1p-22);
    assert_true(worst(*state, "tanh.approx.f32 %d, %a;", tanh, -4.01, 4, true) < 0x1p-10);
}

static void test_float_approximate_f64(void **state)
{
    uint64_t got = one(*state, "f64", "f64", "rcp.approx.ftz.f64 %d, %a;", bits64(3.0), 0, 0);

    assert_int_equal(got & 0xffffffff, 0);
    assert_true(fabs(float64(got) * 3.0 - 1.0) < 0x1p-19);
    got = one(*state, "f64", "f64", "rsqrt.approx.ftz.f64 %d, %a;", bits64(16.0), 0, 0);
    assert_int_equal(got, bits64(0.25));
}

static void test_float_testp_copysign(void **state)
{
    assert_int_equal(one(*state, "pred", "f32", "testp.subnormal.f32 %d, %a;", 1, 0, 0), 1);
    assert_int_equal(one(*state, "pred", "f32", "testp.infinite.f32 %d, %a;", 0xff800000, 0, 0), 1);
    assert_int_equal(one(*state, "pred", "f32", "testp.number.f32 %d, %a;", 0x7fc00000, 0, 0), 0);
    assert_int_equal(
        one(*state, "pred", "f64", "testp.notanumber.f64 %d, %a;", 0x7ff0000000000001, 0, 0), 1);
    assert_int_equal(one(*state, "pred", "f64", "testp.normal.f64 %d, %a;", bits64(2.5), 0, 0), 1);
    assert_int_equal(
        one(*state, "f32", "f32", "copysign.f32 %d, %a, %b;", bits32(-1.0f), bits32(5.0f), 0),
        bits32(-5.0f));
}

static void test_float_half_arithmetic(void **state)
{
    /* 1 + 2^-11 is halfway: to even; with a little more, fma rounds up. */
    assert_int_equal(one(*state, "b16", "b16", "add.f16 %d, %a, %b;", 0x3c00, 0x1000, 0), 0x3c00);
    assert_int_equal(one(*state, "b16", "b16", "add.f16 %d, %a, %b;", 0x3c01, 0x1000, 0), 0x3c02);
    assert_int_equal(
        one(*state, "b16", "b16", "fma.rn.f16 %d, %a, %b, %c;", 0x1001, 0x3c00, 0x3c00), 0x3c01);
    assert_int_equal(one(*state, "b16", "b16", "mul.f16 %d, %a, %b;", 0x7bff, 0x4000, 0), 0x7c00);
    assert_int_equal(one(*state, "b16", "b16", "mul.f16 %d, %a, %b;", 0x0001, 0x3800, 0), 0);
    assert_int_equal(one(*state, "b16", "b16", "sub.f16 %d, %a, %b;", 0x7c00, 0x7c00, 0), 0x7fff);
    assert_int_equal(one(*state, "b16", "b16", "neg.f16 %d, %a;", 0x3c00, 0, 0), 0xbc00);
    assert_int_equal(one(*state, "b32", "b32", "add.f16x2 %d, %a, %b;", 0x3c004000, 0x3c003c00, 0),
                     0x40004200);
    assert_int_equal(
        one(*state, "b32", "b32", "fma.rn.relu.f16x2 %d, %a, %b, %c;", 0xbc003c00, 0x3c003c00, 0),
        0x00003c00);
    assert_int_equal(
        one(*state, "b16", "b16", "fma.rn.bf16 %d, %a, %b, %c;", 0x3f80, 0x4000, 0x3f80), 0x4040);
    assert_int_equal(one(*state, "b32", "b32", "max.bf16x2 %d, %a, %b;", 0x3f80c000, 0x4000bf80, 0),
                     0x4000bf80);
    assert_int_equal(one(*state, "b16", "b16", "min.f16 %d, %a, %b;", 0x7e00, 0x3c00, 0), 0x3c00);
}

/* A midpoint of bf16 with something far below it: rounding twice would go wrong. */
static void test_float_half_rounds_once(void **state)
{
    /* 1.5 * 1.0078125 = 1.51171875, a midpoint, plus 2^-100. */
    assert_int_equal(
        one(*state, "b16", "b16", "fma.rn.bf16 %d, %a, %b, %c;", 0x3fc0, 0x3f81, 0x0d80), 0x3fc2);
}

static void test_float_half_compare(void **state)
{
    assert_int_equal(one(*state, "pred", "b16", "setp.lt.f16 %d, %a, %b;", 0x3c00, 0x4000, 0), 1);
    assert_int_equal(
        one(*state, "pred", "b32", "setp.gt.f16x2 %d|%q, %a, %b;", 0x40003c00, 0x3c004000, 0), 0);
    assert_int_equal(
        one(*state, "pred", "b32", "setp.gt.f16x2 %q|%d, %a, %b;", 0x40003c00, 0x3c004000, 0), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_float_rounding_modes_f32),
        cmocka_unit_test(test_float_rounding_modes_f64),
        cmocka_unit_test(test_float_nan_is_canonical),
        cmocka_unit_test(test_float_ftz_flushes_both_ways),
        cmocka_unit_test(test_float_sat_clamps),
        cmocka_unit_test(test_float_min_max),
        cmocka_unit_test(test_float_compare_unordered),
        cmocka_unit_test(test_float_approximations_within_documented_error),
        cmocka_unit_test(test_float_approximate_f64),
        cmocka_unit_test(test_float_testp_copysign),
        cmocka_unit_test(test_float_half_arithmetic),
        cmocka_unit_test(test_float_half_rounds_once),
        cmocka_unit_test(test_float_half_compare),
    };

    return cmocka_run_group_tests(tests, kit_setup, kit_teardown);
}
