/* SPDX-License-Identifier: Apache-2.0 */
/* Integer instructions against C. */
#include "softgpu/ptx/test_kit.h"

#include <string.h>

#define N 160

static const uint64_t edges[] = {0,
                                 1,
                                 2,
                                 31,
                                 32,
                                 33,
                                 63,
                                 64,
                                 0x7f,
                                 0x80,
                                 0xff,
                                 0x7fff,
                                 0x8000,
                                 0xffff,
                                 0x7fffffff,
                                 0x80000000,
                                 0xffffffff,
                                 0x7fffffffffffffff,
                                 0x8000000000000000,
                                 0xffffffffffffffff,
                                 0x123456789abcdef0,
                                 0xfedcba9876543210};

static uint64_t seed = 88172645463325252u;

static uint64_t any(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % 3 ? seed : edges[seed / 3 % (sizeof(edges) / sizeof(edges[0]))];
}

/* Runs code over random rows with edges among them, and compares with `want` in C. */
#define CHECK(kit, td, d_type, ta, a_type, tb, b_type, tc, c_type, text, want)                     \
    do {                                                                                           \
        struct kit_ops ops_ = {d_type, a_type, b_type, c_type, "", text};                          \
        uint64_t rows_[N * 3], got_[N];                                                            \
                                                                                                   \
        for (unsigned i_ = 0; i_ < N * 3; i_++)                                                    \
            rows_[i_] = any();                                                                     \
        memset(got_, 0, sizeof(got_));                                                             \
        {                                                                                          \
            unsigned width_ = (c_type)[0] ? 3 : (b_type)[0] ? 2 : 1;                               \
                                                                                                   \
            kit_map(kit, &ops_, rows_, N, got_);                                                   \
            for (unsigned i_ = 0; i_ < N; i_++) {                                                  \
                ta a = (ta)rows_[i_ * width_];                                                     \
                tb b = (tb)rows_[i_ * width_ + (width_ > 1)];                                      \
                tc c = (tc)rows_[i_ * width_ + (width_ > 2) * 2];                                  \
                td want_ = (td)(want);                                                             \
                                                                                                   \
                (void)b;                                                                           \
                (void)c;                                                                           \
                if ((td)got_[i_] != want_)                                                         \
                    fail_msg("%s: a %#llx b %#llx c %#llx: got %#llx, not %#llx", text,            \
                             (unsigned long long)a, (unsigned long long)b, (unsigned long long)c,  \
                             (unsigned long long)got_[i_], (unsigned long long)want_);             \
            }                                                                                      \
        }                                                                                          \
    } while (0)

#define U32_2(text, want)                                                                          \
    CHECK(*state, uint32_t, "u32", uint32_t, "u32", uint32_t, "u32", uint32_t, "", text, want)
#define S32_2(text, want)                                                                          \
    CHECK(*state, int32_t, "s32", int32_t, "s32", int32_t, "s32", uint32_t, "", text, want)
#define U64_2(text, want)                                                                          \
    CHECK(*state, uint64_t, "u64", uint64_t, "u64", uint64_t, "u64", uint64_t, "", text, want)
#define S64_2(text, want)                                                                          \
    CHECK(*state, int64_t, "s64", int64_t, "s64", int64_t, "s64", uint64_t, "", text, want)
#define U32_3(text, want)                                                                          \
    CHECK(*state, uint32_t, "u32", uint32_t, "u32", uint32_t, "u32", uint32_t, "u32", text, want)

static void test_int_add_sub_wrap(void **state)
{
    U32_2("add.u32 %d, %a, %b;", a + b);
    S32_2("sub.s32 %d, %a, %b;", (uint32_t)a - (uint32_t)b);
    U64_2("add.s64 %d, %a, %b;", a + b);
    U64_2("sub.u64 %d, %a, %b;", a - b);
    CHECK(*state, uint16_t, "u16", uint16_t, "u16", uint16_t, "u16", int, "", "add.u16 %d, %a, %b;",
          a + b);
}

static void test_int_mul_lo_hi_wide(void **state)
{
    U32_2("mul.lo.u32 %d, %a, %b;", a * b);
    U32_2("mul.hi.u32 %d, %a, %b;", (uint64_t)a * b >> 32);
    S32_2("mul.hi.s32 %d, %a, %b;", (int64_t)a * b >> 32);
    U64_2("mul.lo.u64 %d, %a, %b;", a * b);
    U64_2("mul.hi.u64 %d, %a, %b;", (unsigned __int128)a * b >> 64);
    S64_2("mul.hi.s64 %d, %a, %b;", (__int128)a * b >> 64);
    CHECK(*state, uint64_t, "u64", uint32_t, "u32", uint32_t, "u32", int, "",
          "mul.wide.u32 %d, %a, %b;", (uint64_t)a *b);
    CHECK(*state, int64_t, "s64", int32_t, "s32", int32_t, "s32", int, "",
          "mul.wide.s32 %d, %a, %b;", (int64_t)a *b);
    CHECK(*state, int32_t, "s32", int16_t, "s16", int16_t, "s16", int, "",
          "mul.wide.s16 %d, %a, %b;", (int32_t)a *b);
    CHECK(*state, uint16_t, "u16", uint16_t, "u16", uint16_t, "u16", int, "",
          "mul.hi.u16 %d, %a, %b;", (uint32_t)a *b >> 16);
}

static void test_int_mad(void **state)
{
    U32_3("mad.lo.u32 %d, %a, %b, %c;", a * b + c);
    U32_3("mad.hi.u32 %d, %a, %b, %c;", ((uint64_t)a * b >> 32) + c);
    CHECK(*state, int64_t, "s64", int32_t, "s32", int32_t, "s32", int64_t, "s64",
          "mad.wide.s32 %d, %a, %b, %c;", (uint64_t)((int64_t)a * b) + (uint64_t)c);
    U32_3("mul24.lo.u32 %d, %a, %b; add.u32 %d, %d, %c;", (a & 0xffffff) * (b & 0xffffff) + c);
    U32_3("mad24.hi.u32 %d, %a, %b, %c;", ((uint64_t)(a & 0xffffff) * (b & 0xffffff) >> 16) + c);
}

static void test_int_div_rem(void **state)
{
    U32_2("div.u32 %d, %a, %b;", b ? a / b : UINT32_MAX);
    S32_2("div.s32 %d, %a, %b;", b == 0 ? -1 : (int64_t)a / b);
    S32_2("rem.s32 %d, %a, %b;", b == 0 ? a : (int64_t)a % b);
    U64_2("div.u64 %d, %a, %b;", b ? a / b : UINT64_MAX);
    S64_2("div.s64 %d, %a, %b;", b == 0 ? -1 : (__int128)a / b);
    S64_2("rem.s64 %d, %a, %b;", b == 0 ? a : (__int128)a % b);
    U64_2("rem.u64 %d, %a, %b;", b ? a % b : a);
}

static void test_int_carry_chain(void **state)
{
    /* A 128-bit sum and difference in 32-bit steps: the carry out of the top tells. */
    CHECK(*state, uint64_t, "u64", uint64_t, "u64", uint64_t, "u64", uint64_t, "u64",
          "mov.b64 {%w0,%w1}, %a; mov.b64 {%w2,%w3}, %b; mov.b64 {%w4,%w5}, %c;\n"
          "add.cc.u32 %w6, %w0, %w2; addc.cc.u32 %w7, %w1, %w3; addc.u32 %w0, %w4, %w5;\n"
          "mov.b64 %d, {%w7,%w0};",
          ((uint64_t)((a + b) >> 32)) | (uint64_t)((uint32_t)c + (uint32_t)(c >> 32) +
                                                   (uint32_t)(((unsigned __int128)a + b) >> 64))
                                            << 32);
    CHECK(*state, uint64_t, "u64", uint64_t, "u64", uint64_t, "u64", uint64_t, "",
          "mov.b64 {%w0,%w1}, %a; mov.b64 {%w2,%w3}, %b;\n"
          "sub.cc.u32 %w6, %w0, %w2; subc.cc.u32 %w7, %w1, %w3; subc.u32 %w0, 0, 0;\n"
          "mov.b64 %d, {%w7,%w0};",
          ((a - b) >> 32) | (a < b ? 0xffffffff00000000u : 0));
    CHECK(*state, uint64_t, "u64", uint64_t, "u64", uint64_t, "u64", uint64_t, "",
          "add.cc.u64 %l0, %a, %b; addc.u64 %d, 0, 0;", (a + b) < a);
    U32_3("mad.lo.cc.u32 %w0, %a, %b, %c; madc.hi.u32 %d, %a, %b, 0;", ((uint64_t)a * b + c) >> 32);
}

static void test_int_shift_beyond_width(void **state)
{
    U32_2("shl.b32 %d, %a, %b;", b > 31 ? 0 : a << b);
    U32_2("shr.u32 %d, %a, %b;", b > 31 ? 0 : a >> b);
    S32_2("shr.s32 %d, %a, %b;", a >> ((uint32_t)b > 31 ? 31 : b));
    CHECK(*state, uint64_t, "u64", uint64_t, "u64", uint32_t, "u32", int, "", "shl.b64 %d, %a, %b;",
          b > 63 ? 0 : a << b);
    CHECK(*state, int64_t, "s64", int64_t, "s64", uint32_t, "u32", int, "", "shr.s64 %d, %a, %b;",
          a >> (b > 63 ? 63 : b));
    CHECK(*state, uint16_t, "u16", uint16_t, "u16", uint32_t, "u32", int, "", "shl.b16 %d, %a, %b;",
          b > 15 ? 0 : a << b);
}

static void test_int_funnel_shift(void **state)
{
    U32_3("shf.l.wrap.b32 %d, %a, %b, %c;", (uint32_t)(((uint64_t)b << 32 | a) << (c & 31) >> 32));
    U32_3("shf.r.clamp.b32 %d, %a, %b, %c;",
          (uint32_t)(((uint64_t)b << 32 | a) >> (c > 32 ? 32 : c)));
    U32_3("shf.l.clamp.b32 %d, %a, %b, %c;",
          c >= 32 ? a : (uint32_t)(((uint64_t)b << 32 | a) << c >> 32));
    U32_2("shf.l.wrap.b32 %d, %a, %a, %b;", a << (b & 31) | a >> (-b & 31));
}

static uint32_t ref_bfe(uint32_t a, uint32_t pos, uint32_t len, bool is_signed)
{
    uint32_t d = 0;
    uint32_t sign = 0;

    pos &= 255;
    len &= 255;
    if (is_signed && len)
        sign = a >> (pos + len - 1 > 31 ? 31 : pos + len - 1) & 1;
    for (uint32_t i = 0; i < 32; i++)
        d |= (i < len && pos + i < 32 ? a >> (pos + i) & 1 : sign) << i;
    return d;
}

static uint32_t ref_bfi(uint32_t a, uint32_t b, uint32_t pos, uint32_t len)
{
    pos &= 255;
    len &= 255;
    for (uint32_t i = 0; i < len && pos + i < 32; i++)
        b = (b & ~(1u << (pos + i))) | (a >> i & 1) << (pos + i);
    return b;
}

static void test_int_bit_fields(void **state)
{
    U32_3("bfe.u32 %d, %a, %b, %c;", ref_bfe(a, b, c, false));
    U32_3("bfe.s32 %d, %a, %b, %c;", ref_bfe(a, b, c, true));
    U32_3("and.b32 %w0, %c, 63; and.b32 %w1, %b, 63; bfe.s32 %d, %a, %w1, %w0;",
          ref_bfe(a, b & 63, c & 63, true));
    U32_3("and.b32 %w0, %c, 63; shr.u32 %w1, %c, 27; bfi.b32 %d, %a, %b, %w0, %w1;",
          ref_bfi(a, b, c & 63, c >> 27));
}

static void test_int_count_bits(void **state)
{
    CHECK(*state, uint32_t, "u32", uint32_t, "u32", int, "", int, "", "clz.b32 %d, %a;",
          a ? __builtin_clz(a) : 32);
    CHECK(*state, uint32_t, "u32", uint64_t, "u64", int, "", int, "", "clz.b64 %d, %a;",
          a ? __builtin_clzll(a) : 64);
    CHECK(*state, uint32_t, "u32", uint64_t, "u64", int, "", int, "", "popc.b64 %d, %a;",
          __builtin_popcountll(a));
    CHECK(*state, uint32_t, "u32", uint32_t, "u32", int, "", int, "", "bfind.u32 %d, %a;",
          a ? 31 - __builtin_clz(a) : -1);
    CHECK(*state, uint32_t, "u32", int32_t, "s32", int, "", int, "", "bfind.shiftamt.s32 %d, %a;",
          (a < 0 ? ~a : a) ? __builtin_clz((unsigned)(a < 0 ? ~a : a)) : -1);
    CHECK(*state, uint32_t, "u32", uint32_t, "u32", int, "", int, "",
          "brev.b32 %d, %a; brev.b32 %d, %d;", a);
    CHECK(*state, uint64_t, "u64", uint64_t, "u64", int, "", int, "",
          "brev.b64 %d, %a; clz.b64 %w0, %d; cvt.u64.u32 %d, %w0;", a ? __builtin_ctzll(a) : 64);
}

static uint32_t ref_prmt(uint32_t a, uint32_t b, uint32_t s)
{
    uint32_t d = 0;

    for (int i = 0; i < 4; i++) {
        uint32_t k = s >> (4 * i) & 15;
        uint32_t byte = (uint32_t)(((uint64_t)b << 32 | a) >> (8 * (k & 7))) & 255;

        d |= (k & 8 ? (byte & 128 ? 255u : 0) : byte) << (8 * i);
    }
    return d;
}

static void test_int_prmt_modes(void **state)
{
    static const uint16_t f4e[] = {0x3210, 0x4321, 0x5432, 0x6543};
    static const uint16_t b4e[] = {0x5670, 0x6701, 0x7012, 0x0123};
    static const uint16_t rc8[] = {0x0000, 0x1111, 0x2222, 0x3333};
    static const uint16_t ecl[] = {0x3210, 0x3211, 0x3222, 0x3333};
    static const uint16_t ecr[] = {0x0000, 0x1110, 0x2210, 0x3210};
    static const uint16_t rc16[] = {0x1010, 0x3232, 0x1010, 0x3232};

    U32_3("prmt.b32 %d, %a, %b, %c;", ref_prmt(a, b, c));
    U32_3("prmt.b32.f4e %d, %a, %b, %c;", ref_prmt(a, b, f4e[c & 3]));
    U32_3("prmt.b32.b4e %d, %a, %b, %c;", ref_prmt(a, b, b4e[c & 3]));
    U32_3("prmt.b32.rc8 %d, %a, %b, %c;", ref_prmt(a, b, rc8[c & 3]));
    U32_3("prmt.b32.ecl %d, %a, %b, %c;", ref_prmt(a, b, ecl[c & 3]));
    U32_3("prmt.b32.ecr %d, %a, %b, %c;", ref_prmt(a, b, ecr[c & 3]));
    U32_3("prmt.b32.rc16 %d, %a, %b, %c;", ref_prmt(a, b, rc16[c & 3]));
}

static uint32_t ref_lop3(uint32_t a, uint32_t b, uint32_t c, unsigned lut)
{
    uint32_t d = 0;

    for (int i = 0; i < 32; i++)
        d |= (lut >> ((a >> i & 1) * 4 + (b >> i & 1) * 2 + (c >> i & 1)) & 1) << i;
    return d;
}

static void test_int_lop3_tables(void **state)
{
    U32_3("lop3.b32 %d, %a, %b, %c, 0x96;", a ^ b ^ c);
    U32_3("lop3.b32 %d, %a, %b, %c, 0xe8;", ref_lop3(a, b, c, 0xe8));
    U32_3("lop3.b32 %d, %a, %b, %c, 0x1b;", ref_lop3(a, b, c, 0x1b));
    U32_3("lop3.b32 %d, %a, %b, %c, 0x80;", a & b & c);
}

static void test_int_dot_products(void **state)
{
#define BYTE(v, i) ((int8_t)((v) >> (8 * (i))))
    U32_3("dp4a.s32.s32 %d, %a, %b, %c;",
          (uint32_t)(BYTE(a, 0) * BYTE(b, 0) + BYTE(a, 1) * BYTE(b, 1) + BYTE(a, 2) * BYTE(b, 2) +
                     BYTE(a, 3) * BYTE(b, 3)) +
              c);
    U32_3("dp2a.hi.s32.u32 %d, %a, %b, %c;",
          (uint32_t)((int16_t)a * (int)(uint8_t)(b >> 16) +
                     (int16_t)(a >> 16) * (int)(uint8_t)(b >> 24)) +
              c);
}

static void test_int_min_max_abs_sad(void **state)
{
    S32_2("min.s32 %d, %a, %b;", a < b ? a : b);
    U64_2("max.u64 %d, %a, %b;", a > b ? a : b);
    S64_2("min.s64 %d, %a, %b;", a < b ? a : b);
    CHECK(*state, int32_t, "s32", int32_t, "s32", int, "", int, "", "abs.s32 %d, %a;",
          a < 0 ? 0 - (uint32_t)a : (uint32_t)a);
    CHECK(*state, int64_t, "s64", int64_t, "s64", int, "", int, "", "neg.s64 %d, %a;",
          0 - (uint64_t)a);
    U32_3("sad.s32 %d, %a, %b, %c;",
          c + (uint32_t)((int64_t)(int32_t)a > (int32_t)b ? (int64_t)(int32_t)a - (int32_t)b
                                                          : (int64_t)(int32_t)b - (int32_t)a));
    S32_2("add.sat.s32 %d, %a, %b;", (int64_t)a + b > INT32_MAX   ? INT32_MAX
                                     : (int64_t)a + b < INT32_MIN ? INT32_MIN
                                                                  : (int64_t)a + b);
}

static void test_int_compare_and_select(void **state)
{
    U32_2("setp.lt.u32 %p, %a, %b; selp.u32 %d, 7, 9, %p;", a < b ? 7 : 9);
    S32_2("setp.ge.s32 %p|%q, %a, %b; selp.s32 %d, 1, 0, %q;", !(a >= b));
    S32_2("setp.eq.s32 %q, %a, 0; setp.gt.and.s32 %p, %a, %b, !%q; selp.s32 %d, 1, 0, %p;",
          a > b && a != 0);
    S32_2("set.le.u32.s32 %d, %a, %b;", a <= b ? -1 : 0);
    S32_2("slct.s32.s32 %d, 5, 6, %a;", a >= 0 ? 5 : 6);
    CHECK(*state, uint32_t, "u32", uint32_t, "u32", int, "", int, "", "cnot.b32 %d, %a;", !a);
    U32_2("setp.lo.u32 %p, %a, %b; selp.u32 %d, 1, 0, %p;", a < b);
    U32_2("setp.hs.u32 %p, %a, %b; not.pred %p, %p; selp.u32 %d, 1, 0, %p;", a < b);
}

static void test_int_pack_unpack(void **state)
{
    CHECK(*state, uint64_t, "b64", uint64_t, "b64", int, "", int, "",
          "mov.b64 {%h0,%h1,%h2,%h3}, %a; mov.b64 %d, {%h3,%h2,%h1,%h0};",
          (a << 48) | (a >> 48) | (a << 16 & 0xffff00000000) | (a >> 16 & 0xffff0000));
    CHECK(*state, uint32_t, "b32", uint32_t, "b32", int, "", int, "",
          "mov.b32 {%h0,%h1}, %a; mov.b32 %d, {%h1,%h0};", a << 16 | a >> 16);
    CHECK(*state, uint32_t, "b32", uint64_t, "b64", int, "", int, "", "mov.b64 {_,%d}, %a;",
          a >> 32);
}

static void test_int_extend(void **state)
{
    CHECK(*state, int64_t, "s64", int32_t, "s32", int, "", int, "", "cvt.s64.s32 %d, %a;", a);
    CHECK(*state, uint64_t, "u64", uint32_t, "u32", int, "", int, "", "cvt.u64.u32 %d, %a;", a);
    CHECK(*state, int32_t, "s32", uint32_t, "b32", int, "", int, "", "cvt.s32.s8 %d, %a;",
          (int8_t)a);
    CHECK(*state, uint32_t, "u32", uint32_t, "b32", int, "", int, "", "cvt.u32.u16 %d, %a;",
          (uint16_t)a);
    CHECK(*state, int32_t, "s32", int64_t, "s64", int, "", int, "", "cvt.sat.s32.s64 %d, %a;",
          a > INT32_MAX   ? INT32_MAX
          : a < INT32_MIN ? INT32_MIN
                          : a);
    CHECK(*state, uint32_t, "u32", int32_t, "s32", int, "", int, "", "cvt.sat.u8.s32 %d, %a;",
          a > 255 ? 255
          : a < 0 ? 0
                  : a);
    CHECK(*state, uint32_t, "u32", uint32_t, "u32", uint32_t, "u32", int, "",
          "szext.clamp.s32 %d, %a, %b;",
          b > 31   ? a
          : b == 0 ? 0
                   : ref_bfe(a, 0, b, true));
    CHECK(*state, uint32_t, "u32", uint32_t, "u32", uint32_t, "u32", int, "",
          "bmsk.clamp.b32 %d, %a, %b;", a > 31 ? 0 : ref_bfi(UINT32_MAX, 0, a, b > 32 ? 32 : b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_int_add_sub_wrap),
        cmocka_unit_test(test_int_mul_lo_hi_wide),
        cmocka_unit_test(test_int_mad),
        cmocka_unit_test(test_int_div_rem),
        cmocka_unit_test(test_int_carry_chain),
        cmocka_unit_test(test_int_shift_beyond_width),
        cmocka_unit_test(test_int_funnel_shift),
        cmocka_unit_test(test_int_bit_fields),
        cmocka_unit_test(test_int_count_bits),
        cmocka_unit_test(test_int_prmt_modes),
        cmocka_unit_test(test_int_lop3_tables),
        cmocka_unit_test(test_int_dot_products),
        cmocka_unit_test(test_int_min_max_abs_sad),
        cmocka_unit_test(test_int_compare_and_select),
        cmocka_unit_test(test_int_pack_unpack),
        cmocka_unit_test(test_int_extend),
    };

    return cmocka_run_group_tests(tests, kit_setup, kit_teardown);
}
