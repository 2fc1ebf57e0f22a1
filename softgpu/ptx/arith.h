/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PTX's arithmetic where C's differs, as inline functions of one lane that compilers vectorise.
 * Included by exec_*.c, which are compiled once per instruction set.
 */
#ifndef SOFTGPU_PTX_ARITH_H
#define SOFTGPU_PTX_ARITH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "softgpu/ptx/codes.h"

typedef uint8_t u8;
typedef int8_t s8;
typedef uint16_t u16;
typedef int16_t s16;
typedef uint32_t u32;
typedef int32_t s32;
typedef uint64_t u64;
typedef int64_t s64;
typedef float f32;
typedef double f64;

static inline u32 bits32(f32 a)
{
    u32 bits;

    memcpy(&bits, &a, sizeof(bits));
    return bits;
}

static inline f32 float32(u32 bits)
{
    f32 a;

    memcpy(&a, &bits, sizeof(a));
    return a;
}

static inline u64 bits64(f64 a)
{
    u64 bits;

    memcpy(&bits, &a, sizeof(bits));
    return bits;
}

static inline f64 float64(u64 bits)
{
    f64 a;

    memcpy(&a, &bits, sizeof(a));
    return a;
}

/* --- integers --- */

static inline s32 sext24(s32 a)
{
    return (s32)((u32)a << 8) >> 8;
}

static inline s32 clamp_s32(s64 a)
{
    return a > INT32_MAX ? INT32_MAX : a < INT32_MIN ? INT32_MIN : (s32)a;
}

/* Division by zero gives all ones, and the dividend as remainder; the most negative number by -1
 * gives itself, and 0. */
#define DIV_U(a, b, ones) ((b) ? (a) / (b) : (ones))
#define REM_U(a, b)       ((b) ? (a) % (b) : (a))
#define DIV_S(a, b)       ((b) == 0 ? -1 : (b) == -1 ? (s64)(0 - (u64)(a)) : (a) / (b))
#define REM_S(a, b)       ((b) == 0 ? (a) : (b) == -1 ? 0 : (a) % (b))

static inline u32 low_mask32(u32 length)
{
    return length > 31 ? UINT32_MAX : (UINT32_C(1) << length) - 1;
}

static inline u64 low_mask64(u32 length)
{
    return length > 63 ? UINT64_MAX : (UINT64_C(1) << length) - 1;
}

static inline u32 bfe32(u32 a, u32 b, u32 c)
{
    u32 at = b & 255;

    return at > 31 ? 0 : a >> (at & 31) & low_mask32(c & 255);
}

static inline u64 bfe64(u64 a, u32 b, u32 c)
{
    u32 at = b & 255;

    return at > 63 ? 0 : a >> (at & 63) & low_mask64(c & 255);
}

/* The sign bit is the field's highest, or the operand's where the field reaches past it. */
static inline s32 bfe_s32(s32 a, u32 b, u32 c)
{
    u32 at = b & 255, length = c & 255;
    u32 top = at + length > 32 ? 31 : at + length - 1;
    u32 keep = length ? low_mask32(length) : 0;
    u32 sign = length && ((u32)a >> (top & 31) & 1) ? UINT32_MAX : 0;
    u32 field = at > 31 ? sign : (u32)(a >> (at & 31));

    return (s32)((field & keep) | (sign & ~keep));
}

static inline s64 bfe_s64(s64 a, u32 b, u32 c)
{
    u32 at = b & 255, length = c & 255;
    u32 top = at + length > 64 ? 63 : at + length - 1;
    u64 keep = length ? low_mask64(length) : 0;
    u64 sign = length && ((u64)a >> (top & 63) & 1) ? UINT64_MAX : 0;
    u64 field = at > 63 ? sign : (u64)(a >> (at & 63));

    return (s64)((field & keep) | (sign & ~keep));
}

static inline u32 bfi32(u32 a, u32 b, u32 c, u32 s)
{
    u32 at = c & 255;
    u32 mask = at > 31 ? 0 : low_mask32(s & 255) << (at & 31);

    return (b & ~mask) | (at > 31 ? 0 : a << (at & 31) & mask);
}

static inline u64 bfi64(u64 a, u64 b, u32 c, u32 s)
{
    u32 at = c & 255;
    u64 mask = at > 63 ? 0 : low_mask64(s & 255) << (at & 63);

    return (b & ~mask) | (at > 63 ? 0 : a << (at & 63) & mask);
}

static inline u32 bfind32(u32 a, unsigned amount)
{
    u32 at = a ? 31 - (u32)__builtin_clz(a) : UINT32_MAX;

    return amount && a ? 31 - at : at;
}

static inline u32 bfind64(u64 a, unsigned amount)
{
    u32 at = a ? 63 - (u32)__builtin_clzl(a) : UINT32_MAX;

    return amount && a ? 63 - at : at;
}

static inline u32 brev32(u32 a)
{
    a = (a >> 1 & 0x55555555u) | (a & 0x55555555u) << 1;
    a = (a >> 2 & 0x33333333u) | (a & 0x33333333u) << 2;
    a = (a >> 4 & 0x0f0f0f0fu) | (a & 0x0f0f0f0fu) << 4;
    return __builtin_bswap32(a);
}

static inline u32 popc32(u32 a)
{
    a = a - (a >> 1 & 0x55555555u);
    a = (a & 0x33333333u) + (a >> 2 & 0x33333333u);
    a = (a + (a >> 4)) & 0x0f0f0f0fu;
    return a * 0x01010101u >> 24;
}

/* Position of the offset-th set bit of mask, counted from base, upwards or downwards. */
static inline u32 fns32(u32 mask, u32 base, s32 offset)
{
    s32 step = offset < 0 ? -1 : 1;
    s32 left = offset < 0 ? -offset : offset;
    s32 at = (s32)base;

    if (base > 31)
        return UINT32_MAX;
    if (offset == 0)
        return mask >> base & 1 ? base : UINT32_MAX;
    for (; at >= 0 && at < 32; at += step)
        if ((mask >> at & 1) && --left == 0)
            return (u32)at;
    return UINT32_MAX;
}

static inline u32 byte_of(u64 both, u32 selector)
{
    u32 byte = (u32)(both >> ((selector & 7) * 8)) & 255;

    return selector & 8 ? (byte & 128 ? 255 : 0) : byte;
}

static inline u32 prmt32(u32 a, u32 b, u32 c, unsigned mode)
{
    static const u16 selectors[7][4] = {
        [PRMT_F4E] = {0x3210, 0x4321, 0x5432, 0x6543},
        [PRMT_B4E] = {0x5670, 0x6701, 0x7012, 0x0123},
        [PRMT_RC8] = {0x0000, 0x1111, 0x2222, 0x3333},
        [PRMT_ECL] = {0x3210, 0x3211, 0x3222, 0x3333},
        [PRMT_ECR] = {0x0000, 0x1110, 0x2210, 0x3210},
        [PRMT_RC16] = {0x1010, 0x3232, 0x1010, 0x3232},
    };
    u64 both = (u64)b << 32 | a;
    u32 selector = mode == PRMT_PLAIN ? c : selectors[mode][c & 3];

    return byte_of(both, selector) | byte_of(both, selector >> 4) << 8 |
           byte_of(both, selector >> 8) << 16 | byte_of(both, selector >> 12) << 24;
}

static inline u32 lop3_32(u32 a, u32 b, u32 c, unsigned lut)
{
    u32 result = 0;

    result |= ~a & ~b & ~c & -(lut & 1);
    result |= ~a & ~b & c & -(lut >> 1 & 1);
    result |= ~a & b & ~c & -(lut >> 2 & 1);
    result |= ~a & b & c & -(lut >> 3 & 1);
    result |= a & ~b & ~c & -(lut >> 4 & 1);
    result |= a & ~b & c & -(lut >> 5 & 1);
    result |= a & b & ~c & -(lut >> 6 & 1);
    result |= a & b & c & -(lut >> 7 & 1);
    return result;
}

static inline u32 dp4a32(u32 a, u32 b, u32 c, unsigned x)
{
    for (unsigned i = 0; i < 32; i += 8) {
        s32 p = x & DP_SIGNED_A ? (s8)(a >> i) : (u8)(a >> i);
        s32 q = x & DP_SIGNED_B ? (s8)(b >> i) : (u8)(b >> i);

        c += (u32)(p * q);
    }
    return c;
}

static inline u32 dp2a32(u32 a, u32 b, u32 c, unsigned x)
{
    for (unsigned i = 0; i < 2; i++) {
        u32 half = a >> (16 * i);
        u32 byte = b >> (8 * i + (x & DP_HIGH ? 16 : 0));
        s64 p = x & DP_SIGNED_A ? (s16)half : (u16)half;
        s64 q = x & DP_SIGNED_B ? (s8)byte : (u8)byte;

        c += (u32)(p * q);
    }
    return c;
}

static inline u32 szext32(u32 a, u32 b, unsigned x)
{
    u32 length = x & EXT_WRAP ? b & 31 : b;
    u32 sign;

    if (length > 31)
        return a;
    if (length == 0)
        return 0;
    sign = x & EXT_SIGNED && a >> (length - 1) & 1 ? UINT32_MAX << length : 0;
    return (a & low_mask32(length)) | sign;
}

static inline u32 bmsk32(u32 a, u32 b, unsigned x)
{
    if (x & EXT_WRAP) {
        a &= 31;
        b &= 31;
    }
    return a > 31 || b == 0 ? 0 : low_mask32(b) << a;
}

/* --- floats --- */

#define F_ADD(a, b) ((a) + (b))
#define F_SUB(a, b) ((a) - (b))
#define F_MUL(a, b) ((a) * (b))
#define F_DIV(a, b) ((a) / (b))
#define F_RCP(a)    (1.0f / (a))

#define CANON_NAN 0x7fffffffu

/* NaN results of f32 are the canonical NaN. */
static inline f32 canon(f32 a)
{
    return float32(a != a ? CANON_NAN : bits32(a));
}

/* Invalid operations give the default NaN of the GPU in f64; NaN operands keep their payload. */
static inline f64 canon64(f64 a)
{
    return a;
}

/* Subnormals become zeros of the same sign. */
static inline f32 flush(f32 a)
{
    u32 bits = bits32(a);

    return float32(bits & 0x7f800000u ? bits : bits & 0x80000000u);
}

/* To [0.0, 1.0]; NaN gives +0, and -0 stays. */
static inline f32 sat(f32 a)
{
    f32 low = a >= 0.0f ? a : 0.0f;

    return low < 1.0f ? low : 1.0f;
}

static inline f32 neg_f32(f32 a)
{
    return float32(bits32(a) ^ 0x80000000u);
}

static inline f32 abs_f32(f32 a)
{
    return float32(bits32(a) & 0x7fffffffu);
}

/* As integers that order like the floats, so that -0 is less than +0. */
static inline s32 order32(f32 a)
{
    s32 bits = (s32)bits32(a);

    return bits ^ (bits >> 31 & INT32_MAX);
}

static inline f32 minnan_f32(f32 a, f32 b)
{
    f32 r = order32(a) < order32(b) ? a : b;

    return __builtin_isunordered(a, b) ? float32(CANON_NAN) : r;
}

static inline f32 maxnan_f32(f32 a, f32 b)
{
    f32 r = order32(a) > order32(b) ? a : b;

    return __builtin_isunordered(a, b) ? float32(CANON_NAN) : r;
}

/* The other operand where one is NaN. */
static inline f32 min_f32(f32 a, f32 b)
{
    f32 r = order32(a) < order32(b) ? a : b;

    r = b != b ? a : r;
    return a != a ? b : r;
}

static inline f32 max_f32(f32 a, f32 b)
{
    f32 r = order32(a) > order32(b) ? a : b;

    r = b != b ? a : r;
    return a != a ? b : r;
}

/* .xorsign.abs: of the magnitudes, with the product's sign. */
static inline f32 xor_sign(f32 r, f32 a, f32 b)
{
    return float32((bits32(r) & 0x7fffffffu) | ((bits32(a) ^ bits32(b)) & 0x80000000u));
}

static inline f32 minxor_f32(f32 a, f32 b)
{
    return xor_sign(min_f32(abs_f32(a), abs_f32(b)), a, b);
}

static inline f32 maxxor_f32(f32 a, f32 b)
{
    return xor_sign(max_f32(abs_f32(a), abs_f32(b)), a, b);
}

static inline f32 minnanxor_f32(f32 a, f32 b)
{
    return xor_sign(minnan_f32(abs_f32(a), abs_f32(b)), a, b);
}

static inline f32 maxnanxor_f32(f32 a, f32 b)
{
    return xor_sign(maxnan_f32(abs_f32(a), abs_f32(b)), a, b);
}

static inline s64 order64(f64 a)
{
    s64 bits = (s64)bits64(a);

    return bits ^ (bits >> 63 & INT64_MAX);
}

static inline f64 min_f64(f64 a, f64 b)
{
    f64 r = order64(a) < order64(b) ? a : b;

    r = b != b ? a : r;
    return a != a ? b : r;
}

static inline f64 max_f64(f64 a, f64 b)
{
    f64 r = order64(a) > order64(b) ? a : b;

    r = b != b ? a : r;
    return a != a ? b : r;
}

/* div.approx and div.full: exact, save that div.approx gives 0 for huge divisors; both may. */
static inline f32 div_approx(f32 a, f32 b)
{
    return a / b;
}

static inline f32 rsqrt_approx(f32 a)
{
    return (f32)(1.0 / sqrt((f64)a));
}

static inline f32 lg2_approx(f32 a)
{
    return log2f(a);
}

/* rcp.approx.ftz.f64 and rsqrt.approx.ftz.f64: the upper 32 bits count. */
static inline f64 flush64(f64 a)
{
    u64 bits = bits64(a);

    return float64(bits & 0x7ff0000000000000ul ? bits : bits & 1ul << 63);
}

static inline f64 rcp_approx64(f64 a)
{
    return flush64(float64(bits64(1.0 / flush64(a)) & ~0xfffffffful));
}

static inline f64 rsqrt_approx64(f64 a)
{
    return flush64(float64(bits64(1.0 / sqrt(flush64(a))) & ~0xfffffffful));
}

static inline f64 widen(f32 a)
{
    return (f64)a;
}

/* Toward zero, to the nearest end of the range; NaN gives 0. */
static inline s32 f64_to_s32(f64 a)
{
    f64 high = a < 2147483647.0 ? a : 2147483647.0;
    f64 both = high > -2147483648.0 ? high : -2147483648.0;

    return (s32)(a != a ? 0.0 : both);
}

static inline u32 f64_to_u32(f64 a)
{
    f64 low = a > 0.0 ? a : 0.0;
    f64 both = low < 4294967295.0 ? low : 4294967295.0;

    return (u32)(s64)both;
}

#endif
