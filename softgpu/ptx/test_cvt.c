/* SPDX-License-Identifier: Apache-2.0 */
/* Conversions: saturation, NaN, rounding to integers, half types, packing. */
#include "softgpu/ptx/test_kit.h"

#include <math.h>
#include <string.h>

static uint64_t one(struct kit *kit, const char *d, const char *a, const char *text, uint64_t value)
{
    struct kit_ops ops = {d, a, "", "", "", text};
    uint64_t got;

    kit_map(kit, &ops, &value, 1, &got);
    return got;
}

static uint64_t f32(float a)
{
    uint32_t bits;

    memcpy(&bits, &a, sizeof(bits));
    return bits;
}

static uint64_t f64(double a)
{
    uint64_t bits;

    memcpy(&bits, &a, sizeof(bits));
    return bits;
}

static void test_cvt_float_to_integer_saturates(void **state)
{
    assert_int_equal(one(*state, "s32", "f32", "cvt.rzi.s32.f32 %d, %a;", f32(3e9f)), 0x7fffffff);
    assert_int_equal(one(*state, "s32", "f32", "cvt.rzi.s32.f32 %d, %a;", f32(-3e9f)), 0x80000000);
    assert_int_equal(one(*state, "u32", "f32", "cvt.rzi.u32.f32 %d, %a;", f32(-1.0f)), 0);
    assert_int_equal(one(*state, "u32", "f32", "cvt.rzi.u32.f32 %d, %a;", f32(5e9f)), 0xffffffff);
    assert_int_equal(one(*state, "u64", "f64", "cvt.rzi.u64.f64 %d, %a;", f64(1e30)), UINT64_MAX);
    assert_int_equal(one(*state, "s64", "f64", "cvt.rzi.s64.f64 %d, %a;", f64(-1e30)), 1ul << 63);
    assert_int_equal(one(*state, "u32", "f32", "cvt.rzi.s8.f32 %d, %a;", f32(300.0f)), 127);
}

static void test_cvt_nan_to_integer(void **state)
{
    assert_int_equal(one(*state, "s32", "f32", "cvt.rzi.s32.f32 %d, %a;", 0x7fc00000), 0);
    assert_int_equal(one(*state, "s64", "f32", "cvt.rzi.s64.f32 %d, %a;", 0x7fc00000), 1ul << 63);
    assert_int_equal(one(*state, "s32", "f64", "cvt.rzi.s32.f64 %d, %a;", 0x7ff8000000000000),
                     0x80000000);
}

static void test_cvt_rounds_to_integer(void **state)
{
    static const struct {
        const char *text;
        float from;
        int to;
    } cases[] = {{"cvt.rni.s32.f32 %d, %a;", 2.5f, 2},   {"cvt.rni.s32.f32 %d, %a;", 3.5f, 4},
                 {"cvt.rmi.s32.f32 %d, %a;", -1.5f, -2}, {"cvt.rpi.s32.f32 %d, %a;", -1.5f, -1},
                 {"cvt.rzi.s32.f32 %d, %a;", -1.9f, -1}, {"cvt.rni.s32.f32 %d, %a;", -0.5f, 0}};

    for (unsigned i = 0; i < 6; i++)
        assert_int_equal((int32_t)one(*state, "s32", "f32", cases[i].text, f32(cases[i].from)),
                         cases[i].to);
    assert_int_equal(one(*state, "f32", "f32", "cvt.rmi.f32.f32 %d, %a;", f32(-1.5f)), f32(-2.0f));
    assert_int_equal(one(*state, "f64", "f64", "cvt.rpi.f64.f64 %d, %a;", f64(1.25)), f64(2.0));
}

static void test_cvt_integer_to_float_modes(void **state)
{
    assert_int_equal(one(*state, "f32", "u32", "cvt.rn.f32.u32 %d, %a;", 16777217),
                     f32(16777216.0f));
    assert_int_equal(one(*state, "f32", "u32", "cvt.rp.f32.u32 %d, %a;", 16777217),
                     f32(16777218.0f));
    assert_int_equal(one(*state, "f32", "s32", "cvt.rz.f32.s32 %d, %a;", (uint32_t)-16777217),
                     f32(-16777216.0f));
    assert_int_equal(one(*state, "f32", "u64", "cvt.rn.f32.u64 %d, %a;", UINT64_MAX),
                     f32(18446744073709551616.0f));
    assert_int_equal(one(*state, "f64", "s64", "cvt.rm.f64.s64 %d, %a;", (1ul << 53) + 1),
                     f64(9007199254740992.0));
    assert_int_equal(one(*state, "b16", "u64", "cvt.rn.f16.u64 %d, %a;", 2049), 0x6800);
    assert_int_equal(one(*state, "b16", "s32", "cvt.rn.f16.s32 %d, %a;", 100000), 0x7c00);
}

static void test_cvt_between_floats(void **state)
{
    assert_int_equal(one(*state, "f32", "f64", "cvt.rn.f32.f64 %d, %a;", f64(1e300)), 0x7f800000);
    assert_int_equal(one(*state, "f32", "f64", "cvt.rz.f32.f64 %d, %a;", f64(1e300)), 0x7f7fffff);
    assert_int_equal(one(*state, "f32", "f64", "cvt.rn.f32.f64 %d, %a;", 0x7ff8000000000000),
                     0x7fffffff);
    assert_int_equal(one(*state, "f32", "f64", "cvt.rn.ftz.f32.f64 %d, %a;", f64(0x1p-130)), 0);
    assert_int_equal(one(*state, "f64", "f32", "cvt.f64.f32 %d, %a;", 1), f64(0x1p-149));
    assert_int_equal(one(*state, "f32", "f32", "cvt.sat.f32.f32 %d, %a;", f32(7.0f)), f32(1.0f));
    assert_int_equal(one(*state, "f32", "f32", "cvt.sat.f32.f32 %d, %a;", 0x80000000), 0x80000000);
    assert_int_equal(one(*state, "f32", "f32", "cvt.sat.f32.f32 %d, %a;", 0x7fc00000), 0);
}

static void test_cvt_half(void **state)
{
    assert_int_equal(one(*state, "b16", "f32", "cvt.rn.f16.f32 %d, %a;", f32(1.0f)), 0x3c00);
    assert_int_equal(one(*state, "b16", "f32", "cvt.rn.f16.f32 %d, %a;", f32(65520.0f)), 0x7c00);
    assert_int_equal(one(*state, "b16", "f32", "cvt.rz.f16.f32 %d, %a;", f32(65520.0f)), 0x7bff);
    assert_int_equal(one(*state, "b16", "f32", "cvt.rn.f16.f32 %d, %a;", f32(0x1p-24f)), 0x0001);
    assert_int_equal(one(*state, "b16", "f32", "cvt.rn.f16.f32 %d, %a;", f32(0x1p-25f)), 0x0000);
    assert_int_equal(one(*state, "b16", "f32", "cvt.rn.f16.f32 %d, %a;", 0xffc00000), 0x7fff);
    assert_int_equal(one(*state, "f32", "b16", "cvt.f32.f16 %d, %a;", 0x0001), f32(0x1p-24f));
    assert_int_equal(one(*state, "f32", "b16", "cvt.f32.f16 %d, %a;", 0xfc00), 0xff800000);
    assert_int_equal(one(*state, "b16", "f32", "cvt.rn.bf16.f32 %d, %a;", 0x3f808000), 0x3f80);
    assert_int_equal(one(*state, "b16", "f32", "cvt.rn.bf16.f32 %d, %a;", 0x3f818000), 0x3f82);
    assert_int_equal(one(*state, "b16", "f32", "cvt.rn.relu.bf16.f32 %d, %a;", f32(-2.0f)), 0);
    assert_int_equal(one(*state, "s32", "b16", "cvt.rzi.s32.f16 %d, %a;", 0xc480), (uint32_t)-4);
}

/* Every f16 survives the way through f32 and back. */
static void test_cvt_half_all_values(void **state)
{
    struct kit_ops ops = {"b16", "b16", "", "", "", "cvt.f32.f16 %f0, %a; cvt.rn.f16.f32 %d, %f0;"};
    static uint64_t rows[65536], got[65536];

    for (unsigned i = 0; i < 65536; i++)
        rows[i] = i;
    kit_map(*state, &ops, rows, 65536, got);
    for (unsigned i = 0; i < 65536; i++)
        assert_int_equal(got[i], (i & 0x7fff) > 0x7c00 ? 0x7fff : i);
}

static void test_cvt_packs(void **state)
{
    struct kit_ops ops = {"b32", "f32", "f32", "", "", "cvt.rn.f16x2.f32 %d, %a, %b;"};
    uint64_t row[3] = {f32(1.0f), f32(2.0f), 0}, got;

    kit_map(*state, &ops, row, 1, &got);
    assert_int_equal(got, 0x3c004000);
    ops =
        (struct kit_ops){"b32", "s32", "s32", "b32", "", "cvt.pack.sat.u8.s32.b32 %d, %a, %b, %c;"};
    row[0] = 300;
    row[1] = (uint32_t)-5;
    row[2] = 0x1234;
    kit_map(*state, &ops, row, 1, &got);
    assert_int_equal(got, 0x1234ff00);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cvt_float_to_integer_saturates),
        cmocka_unit_test(test_cvt_nan_to_integer),
        cmocka_unit_test(test_cvt_rounds_to_integer),
        cmocka_unit_test(test_cvt_integer_to_float_modes),
        cmocka_unit_test(test_cvt_between_floats),
        cmocka_unit_test(test_cvt_half),
        cmocka_unit_test(test_cvt_half_all_values),
        cmocka_unit_test(test_cvt_packs),
    };

    return cmocka_run_group_tests(tests, kit_setup, kit_teardown);
}
