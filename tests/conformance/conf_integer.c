/* SPDX-License-Identifier: Apache-2.0 */
/* Integer instructions: arithmetic with carries, wide, shifts, bit fields, bytes, dot products. */
#include "common/cleanup.h"
#include "tests/conformance/scalar.h"

typedef const struct scalar_case *test_t;

#define REFERENCE(name) static uint64_t name(test_t t, uint64_t a, uint64_t b, uint64_t c)
/* A reference that is one expression of 32-bit (w), 64-bit (l) or 16-bit (h) result. */
#define EXPRESSION_W(name, ...)                                                                    \
    REFERENCE(name)                                                                                \
    {                                                                                              \
        uint32_t x = (uint32_t)a, y = (uint32_t)b, z = (uint32_t)c;                                \
        int32_t sx = (int32_t)x, sy = (int32_t)y, sz = (int32_t)z;                                 \
                                                                                                   \
        (void)sx, (void)sy, (void)sz, (void)z;                                                     \
        return (uint32_t)(__VA_ARGS__);                                                            \
    }
#define EXPRESSION_L(name, ...)                                                                    \
    REFERENCE(name)                                                                                \
    {                                                                                              \
        int64_t sa = (int64_t)a, sb = (int64_t)b;                                                  \
                                                                                                   \
        (void)sa, (void)sb;                                                                        \
        return (uint64_t)(__VA_ARGS__);                                                            \
    }
#define EXPRESSION_H(name, ...)                                                                    \
    REFERENCE(name)                                                                                \
    {                                                                                              \
        uint16_t x = (uint16_t)a, y = (uint16_t)b, z = (uint16_t)c;                                \
        int16_t sx = (int16_t)x, sy = (int16_t)y;                                                  \
                                                                                                   \
        (void)sx, (void)sy, (void)z;                                                               \
        return (uint16_t)(__VA_ARGS__);                                                            \
    }

static int32_t saturate(int64_t value)
{
    return (int32_t)(value > INT32_MAX ? INT32_MAX : value < INT32_MIN ? INT32_MIN : value);
}

/* The low 24 bits, with sign. */
static int64_t low24(int32_t value)
{
    return (int32_t)((uint32_t)value << 8) >> 8;
}

EXPRESSION_W(add32, x + y)
EXPRESSION_W(sub32, x - y)
EXPRESSION_W(add_sat, saturate((int64_t)sx + sy))
EXPRESSION_W(sub_sat, saturate((int64_t)sx - sy))
EXPRESSION_W(mul_lo32, x *y)
EXPRESSION_W(mul_hi_s32, (int64_t)sx *sy >> 32)
EXPRESSION_W(mul_hi_u32, (uint64_t)x *y >> 32)
EXPRESSION_W(mad_lo32, x *y + z)
EXPRESSION_W(mad_hi_s32, ((int64_t)sx * sy >> 32) + sz)
EXPRESSION_W(mad_hi_u32, ((uint64_t)x * y >> 32) + z)
EXPRESSION_W(mad_hi_sat, saturate(((int64_t)sx * sy >> 32) + sz))
EXPRESSION_W(mul24_lo_s, low24(sx) * low24(sy))
EXPRESSION_W(mul24_lo_u, (uint64_t)(x & 0xffffff) * (y & 0xffffff))
EXPRESSION_W(mul24_hi_s, low24(sx) * low24(sy) >> 16)
EXPRESSION_W(mul24_hi_u, (uint64_t)(x & 0xffffff) * (y & 0xffffff) >> 16)
EXPRESSION_W(mad24_lo_s, low24(sx) * low24(sy) + sz)
EXPRESSION_W(mad24_hi_u, ((uint64_t)(x & 0xffffff) * (y & 0xffffff) >> 16) + z)
EXPRESSION_W(sad_s32, (sx < sy ? y - x : x - y) + z)
EXPRESSION_W(sad_u32, (x < y ? y - x : x - y) + z)
EXPRESSION_W(div_s32, sx / sy)
EXPRESSION_W(div_u32, x / y)
EXPRESSION_W(rem_s32, sx % sy)
EXPRESSION_W(rem_u32, x % y)
EXPRESSION_W(abs_s32, sx < 0 ? 0 - x : x)
EXPRESSION_W(neg_s32, 0 - x)
EXPRESSION_W(min_s32, sx < sy ? sx : sy)
EXPRESSION_W(max_s32, sx > sy ? sx : sy)
EXPRESSION_W(min_u32, x < y ? x : y)
EXPRESSION_W(max_u32, x > y ? x : y)
EXPRESSION_W(popc32, __builtin_popcount(x))
EXPRESSION_W(popc64, __builtin_popcountll(a))
EXPRESSION_W(clz32, x ? __builtin_clz(x) : 32)
EXPRESSION_W(clz64, a ? __builtin_clzll(a) : 64)
EXPRESSION_W(and32, x &y)
EXPRESSION_W(or32, x | y)
EXPRESSION_W(xor32, x ^ y)
EXPRESSION_W(not32, ~x)
EXPRESSION_W(cnot32, x == 0)
EXPRESSION_W(shl32, y > 31 ? 0 : x << y)
EXPRESSION_W(shr_u32, y > 31 ? 0 : x >> y)
EXPRESSION_W(shr_s32, sx >> (y > 31 ? 31 : y))
EXPRESSION_W(slct32, sz >= 0 ? x : y)

EXPRESSION_L(add64, a + b)
EXPRESSION_L(sub64, a - b)
EXPRESSION_L(mul_lo64, a *b)
EXPRESSION_L(mul_hi_s64, (__int128)sa *sb >> 64)
EXPRESSION_L(mul_hi_u64, (unsigned __int128)a *b >> 64)
EXPRESSION_L(mad_lo64, a *b + c)
EXPRESSION_L(mul_wide_s32, (int64_t)(int32_t)a *(int32_t)b)
EXPRESSION_L(mul_wide_u32, (uint64_t)(uint32_t)a *(uint32_t)b)
EXPRESSION_L(mad_wide_s32, (uint64_t)((int64_t)(int32_t)a *(int32_t)b) + c)
EXPRESSION_L(mad_wide_u32, (uint64_t)(uint32_t)a *(uint32_t)b + c)
EXPRESSION_L(div_s64, sa / sb)
EXPRESSION_L(div_u64, a / b)
EXPRESSION_L(rem_s64, sa % sb)
EXPRESSION_L(rem_u64, a % b)
EXPRESSION_L(abs_s64, sa < 0 ? 0 - a : a)
EXPRESSION_L(neg_s64, 0 - a)
EXPRESSION_L(min_s64, sa < sb ? sa : sb)
EXPRESSION_L(max_s64, sa > sb ? sa : sb)
EXPRESSION_L(min_u64, a < b ? a : b)
EXPRESSION_L(max_u64, a > b ? a : b)
EXPRESSION_L(and64, a &b)
EXPRESSION_L(or64, a | b)
EXPRESSION_L(xor64, a ^ b)
EXPRESSION_L(not64, ~a)
EXPRESSION_L(cnot64, a == 0)
EXPRESSION_L(shl64, (uint32_t)b > 63 ? 0 : a << b)
EXPRESSION_L(shr_u64, (uint32_t)b > 63 ? 0 : a >> b)
EXPRESSION_L(shr_s64, sa >> ((uint32_t)b > 63 ? 63 : b))
EXPRESSION_L(slct64, (int32_t)c >= 0 ? a : b)
EXPRESSION_L(move64, a)

EXPRESSION_H(add16, x + y)
EXPRESSION_H(sub16, x - y)
EXPRESSION_H(mul_lo16, (uint32_t)x *y)
EXPRESSION_H(mul_hi_s16, (int32_t)sx *sy >> 16)
EXPRESSION_H(mul_hi_u16, (uint32_t)x *y >> 16)
EXPRESSION_H(mad_lo16, (uint32_t)x *y + z)
EXPRESSION_H(div_s16, sx / sy)
EXPRESSION_H(rem_u16, x % y)
EXPRESSION_H(min_s16, sx < sy ? sx : sy)
EXPRESSION_H(max_u16, x > y ? x : y)
EXPRESSION_H(neg_s16, 0 - x)
EXPRESSION_H(abs_s16, sx < 0 ? 0 - x : x)
EXPRESSION_H(xor16, x ^ y)
EXPRESSION_H(not16, ~x)
EXPRESSION_H(shl16, y > 15 ? 0 : x << y)
EXPRESSION_H(shr_u16, y > 15 ? 0 : x >> y)
EXPRESSION_H(shr_s16, sx >> (y > 15 ? 15 : y))
EXPRESSION_W(mul_wide_s16, (int32_t)(int16_t)a *(int16_t)b)
EXPRESSION_W(mul_wide_u16, (uint32_t)(uint16_t)a *(uint16_t)b)

REFERENCE(brev32)
{
    uint32_t r = 0;

    for (unsigned int i = 0; i < 32; i++)
        r |= (uint32_t)(a >> i & 1) << (31 - i);
    return r;
}

REFERENCE(brev64)
{
    uint64_t r = 0;

    for (unsigned int i = 0; i < 64; i++)
        r |= (a >> i & 1) << (63 - i);
    return r;
}

/* p0: bits; p1: signed; p2: shift amount. The most significant bit that is not a sign bit. */
REFERENCE(bfind)
{
    unsigned int bits = (unsigned int)t->p0;
    uint64_t mask = bits == 64 ? UINT64_MAX : UINT32_MAX;
    uint64_t value = a & mask;

    if (t->p1 && value >> (bits - 1))
        value = ~value & mask;
    for (int i = (int)bits - 1; i >= 0; i--)
        if (value >> i & 1)
            return (uint32_t)(t->p2 ? (int)bits - 1 - i : i);
    return UINT32_MAX;
}

/* Position and length are defined from 0 to 255 only; beyond, an H200 differs in 64 bits. */
#define BYTE_SIZED "and.b32 %b, %b, 255;\nand.b32 %c, %c, 255;\n"

/* p0: bits; p1: signed. */
REFERENCE(bfe)
{
    unsigned int msb = (unsigned int)t->p0 - 1, position = b & 0xff, length = c & 0xff;
    unsigned int last = position + length - 1 < msb ? position + length - 1 : msb;
    uint64_t sign = t->p1 && length ? a >> last & 1 : 0, r = 0;

    for (unsigned int i = 0; i <= msb; i++)
        r |= (i < length && position + i <= msb ? a >> (position + i) & 1 : sign) << i;
    return r;
}

/* Inserts into b from the low bits of a: the position is c, the length its high half. */
REFERENCE(bfi)
{
    unsigned int msb = (unsigned int)t->p0 - 1, position = c & 0xff, length = c >> 32 & 0xff;
    uint64_t r = t->p0 == 64 ? b : (uint32_t)b;

    for (unsigned int i = 0; i < length && position + i <= msb; i++) {
        r &= ~(UINT64_C(1) << (position + i));
        r |= (a >> i & 1) << (position + i);
    }
    return r;
}

/* p0: 0 left, 1 right; p1: 0 clamp, 1 wrap. */
REFERENCE(funnel)
{
    uint64_t both = (b & UINT32_MAX) << 32 | (a & UINT32_MAX);
    unsigned int by = (unsigned int)(t->p1 ? c & 31 : (uint32_t)c > 32 ? 32 : (uint32_t)c);

    return (uint32_t)(t->p0 ? both >> by : both << by >> 32);
}

/* p0: the immediate table. */
REFERENCE(lop3)
{
    uint32_t r = 0;

    for (unsigned int i = 0; i < 32; i++) {
        unsigned int row = (unsigned int)((a >> i & 1) << 2 | (b >> i & 1) << 1 | (c >> i & 1));

        r |= (uint32_t)(t->p0 >> row & 1) << i;
    }
    return r;
}

enum { PRMT_PLAIN, PRMT_F4E, PRMT_B4E, PRMT_RC8, PRMT_ECL, PRMT_ECR, PRMT_RC16 };

/* Which of the eight source bytes byte k takes in one of prmt's named modes. */
static unsigned int prmt_source(int mode, unsigned int select, unsigned int k)
{
    switch (mode) {
    case PRMT_F4E:
        return select + k;
    case PRMT_B4E:
        return (select - k) & 7;
    case PRMT_RC8:
        return select;
    case PRMT_ECL:
        return k > select ? k : select;
    case PRMT_ECR:
        return k < select ? k : select;
    default:
        return (select & 1) * 2 + (k & 1);
    }
}

/* p0: mode. */
REFERENCE(prmt)
{
    uint64_t both = (b & UINT32_MAX) << 32 | (a & UINT32_MAX);
    uint32_t r = 0;

    for (unsigned int k = 0; k < 4; k++) {
        unsigned int nibble = (unsigned int)(c >> 4 * k & 15);
        unsigned int source =
            t->p0 == PRMT_PLAIN ? nibble & 7 : prmt_source(t->p0, (unsigned int)(c & 3), k);
        uint32_t byte = (uint32_t)(both >> 8 * source & 0xff);

        if (t->p0 == PRMT_PLAIN && nibble & 8)
            byte = byte & 0x80 ? 0xff : 0;
        r |= byte << 8 * k;
    }
    return r;
}

/* p0, p1: whether a and b are signed. */
REFERENCE(dp4a)
{
    uint32_t sum = (uint32_t)c;

    for (unsigned int i = 0; i < 32; i += 8) {
        int32_t x = t->p0 ? (int8_t)(a >> i) : (uint8_t)(a >> i);
        int32_t y = t->p1 ? (int8_t)(b >> i) : (uint8_t)(b >> i);

        sum += (uint32_t)(x * y);
    }
    return sum;
}

/* p2: 1 for the high two bytes of b. */
REFERENCE(dp2a)
{
    uint32_t sum = (uint32_t)c;

    for (unsigned int i = 0; i < 2; i++) {
        unsigned int at = 8 * (i + 2 * (unsigned int)t->p2);
        int32_t x = t->p0 ? (int16_t)(a >> 16 * i) : (uint16_t)(a >> 16 * i);
        int32_t y = t->p1 ? (int8_t)(b >> at) : (uint8_t)(b >> at);

        sum += (uint32_t)(x * y);
    }
    return sum;
}

/* The base is b's low five bits, the offset c's low byte with sign. */
REFERENCE(fns)
{
    int position = (int)(b & 31), offset = (int8_t)c, count, step = offset > 0 ? 1 : -1;

    if (offset == 0)
        return a >> position & 1 ? (uint32_t)position : UINT32_MAX;
    count = offset > 0 ? offset - 1 : -offset - 1;
    for (; position >= 0 && position < 32; position += step)
        if (a >> position & 1 && count-- == 0)
            return (uint32_t)position;
    return UINT32_MAX;
}

/* Carries: what the chain leaves, and whether a carry or borrow was left over. */
REFERENCE(carry_out)
{
    return (a & UINT32_MAX) + (b & UINT32_MAX);
}

REFERENCE(borrow_out)
{
    return (a & UINT32_MAX) < (b & UINT32_MAX) ? UINT64_MAX : 0;
}

REFERENCE(carry_chain_128)
{
    unsigned __int128 sum = ((unsigned __int128)a << 64 | b) + ((unsigned __int128)b << 64 | c);

    return (uint64_t)(sum >> 64);
}

REFERENCE(madc_128)
{
    return (uint64_t)(((unsigned __int128)a * b + c) >> 64);
}

REFERENCE(mad_carry)
{
    return (uint64_t)(uint32_t)a * (uint32_t)b + c;
}

#define W(n, text, ops, ref, ...)                                                                  \
    {                                                                                              \
        .name = n, .body = text ";\n", .kind = KIND_B32, .operands = ops, .reference = ref,        \
        __VA_ARGS__                                                                                \
    }
#define L(n, text, ops, ref, ...)                                                                  \
    {                                                                                              \
        .name = n, .body = text ";\n", .kind = KIND_B64, .operands = ops, .reference = ref,        \
        __VA_ARGS__                                                                                \
    }
#define H(n, text, ops, ref, ...)                                                                  \
    {                                                                                              \
        .name = n, .body = text ";\n", .kind = KIND_B16, .operands = ops, .reference = ref,        \
        __VA_ARGS__                                                                                \
    }

static const struct scalar_case cases[] = {
    W("add.s32", "add.s32 %d, %a, %b", "ii", add32),
    W("sub.u32", "sub.u32 %d, %a, %b", "ii", sub32),
    W("add.sat.s32", "add.sat.s32 %d, %a, %b", "ii", add_sat),
    W("sub.sat.s32", "sub.sat.s32 %d, %a, %b", "ii", sub_sat),
    W("mul.lo.s32", "mul.lo.s32 %d, %a, %b", "ii", mul_lo32),
    W("mul.lo.u32", "mul.lo.u32 %d, %a, %b", "ii", mul_lo32),
    W("mul.hi.s32", "mul.hi.s32 %d, %a, %b", "ii", mul_hi_s32),
    W("mul.hi.u32", "mul.hi.u32 %d, %a, %b", "ii", mul_hi_u32),
    W("mad.lo.s32", "mad.lo.s32 %d, %a, %b, %c", "iii", mad_lo32),
    W("mad.hi.s32", "mad.hi.s32 %d, %a, %b, %c", "iii", mad_hi_s32),
    W("mad.hi.u32", "mad.hi.u32 %d, %a, %b, %c", "iii", mad_hi_u32),
    W("mad.hi.sat.s32", "mad.hi.sat.s32 %d, %a, %b, %c", "iii", mad_hi_sat),
    W("mul24.lo.s32", "mul24.lo.s32 %d, %a, %b", "ii", mul24_lo_s),
    W("mul24.lo.u32", "mul24.lo.u32 %d, %a, %b", "ii", mul24_lo_u),
    W("mul24.hi.s32", "mul24.hi.s32 %d, %a, %b", "ii", mul24_hi_s),
    W("mul24.hi.u32", "mul24.hi.u32 %d, %a, %b", "ii", mul24_hi_u),
    W("mad24.lo.s32", "mad24.lo.s32 %d, %a, %b, %c", "iii", mad24_lo_s),
    W("mad24.hi.u32", "mad24.hi.u32 %d, %a, %b, %c", "iii", mad24_hi_u),
    W("sad.s32", "sad.s32 %d, %a, %b, %c", "iii", sad_s32),
    W("sad.u32", "sad.u32 %d, %a, %b, %c", "iii", sad_u32),
    W("div.s32", "div.s32 %d, %a, %b", "in", div_s32),
    W("div.u32", "div.u32 %d, %a, %b", "in", div_u32),
    W("rem.s32", "rem.s32 %d, %a, %b", "in", rem_s32),
    W("rem.u32", "rem.u32 %d, %a, %b", "in", rem_u32),
    W("abs.s32", "abs.s32 %d, %a", "i", abs_s32),
    W("neg.s32", "neg.s32 %d, %a", "i", neg_s32),
    W("min.s32", "min.s32 %d, %a, %b", "ii", min_s32),
    W("max.s32", "max.s32 %d, %a, %b", "ii", max_s32),
    W("min.u32", "min.u32 %d, %a, %b", "ii", min_u32),
    W("max.u32", "max.u32 %d, %a, %b", "ii", max_u32),
    W("popc.b32", "popc.b32 %d, %a", "i", popc32),
    W("popc.b64", "popc.b64 %d, %A", "i", popc64),
    W("clz.b32", "clz.b32 %d, %a", "i", clz32),
    W("clz.b64", "clz.b64 %d, %A", "i", clz64),
    W("bfind.u32", "bfind.u32 %d, %a", "i", bfind, .p0 = 32),
    W("bfind.s32", "bfind.s32 %d, %a", "i", bfind, .p0 = 32, .p1 = 1),
    W("bfind.u64", "bfind.u64 %d, %A", "i", bfind, .p0 = 64),
    W("bfind.s64", "bfind.s64 %d, %A", "i", bfind, .p0 = 64, .p1 = 1),
    W("bfind.shiftamt.u32", "bfind.shiftamt.u32 %d, %a", "i", bfind, .p0 = 32, .p2 = 1),
    W("bfind.shiftamt.s64", "bfind.shiftamt.s64 %d, %A", "i", bfind, .p0 = 64, .p1 = 1, .p2 = 1),
    W("brev.b32", "brev.b32 %d, %a", "i", brev32),
    W("bfe.u32", "bfe.u32 %d, %a, %b, %c", "iss", bfe, .p0 = 32),
    W("bfe.s32", "bfe.s32 %d, %a, %b, %c", "iss", bfe, .p0 = 32, .p1 = 1),
    W("bfi.b32", "bfi.b32 %d, %a, %b, %c, %chi", "iii", bfi, .p0 = 32),
    W("fns.b32", "and.b32 %x, %b, 31;\ncvt.s32.s8 %y, %c;\nfns.b32 %d, %a, %x, %y", "iis", fns),
    W("and.b32", "and.b32 %d, %a, %b", "ii", and32),
    W("or.b32", "or.b32 %d, %a, %b", "ii", or32),
    W("xor.b32", "xor.b32 %d, %a, %b", "ii", xor32),
    W("not.b32", "not.b32 %d, %a", "i", not32),
    W("cnot.b32", "cnot.b32 %d, %a", "i", cnot32),
    W("shl.b32", "shl.b32 %d, %a, %b", "is", shl32),
    W("shr.u32", "shr.u32 %d, %a, %b", "is", shr_u32),
    W("shr.s32", "shr.s32 %d, %a, %b", "is", shr_s32),
    W("shf.l.clamp", "shf.l.clamp.b32 %d, %a, %b, %c", "iis", funnel),
    W("shf.r.clamp", "shf.r.clamp.b32 %d, %a, %b, %c", "iis", funnel, .p0 = 1),
    W("shf.l.wrap", "shf.l.wrap.b32 %d, %a, %b, %c", "iis", funnel, .p1 = 1),
    W("shf.r.wrap", "shf.r.wrap.b32 %d, %a, %b, %c", "iis", funnel, .p0 = 1, .p1 = 1),
    W("lop3 and-or", "lop3.b32 %d, %a, %b, %c, 0xea", "iii", lop3, .p0 = 0xea),
    W("lop3 majority", "lop3.b32 %d, %a, %b, %c, 0xe8", "iii", lop3, .p0 = 0xe8),
    W("lop3 select", "lop3.b32 %d, %a, %b, %c, 0xca", "iii", lop3, .p0 = 0xca),
    W("lop3 odd table", "lop3.b32 %d, %a, %b, %c, 0x1d", "iii", lop3, .p0 = 0x1d),
    W("prmt", "prmt.b32 %d, %a, %b, %c", "iii", prmt, .p0 = PRMT_PLAIN),
    W("prmt.f4e", "prmt.b32.f4e %d, %a, %b, %c", "iii", prmt, .p0 = PRMT_F4E),
    W("prmt.b4e", "prmt.b32.b4e %d, %a, %b, %c", "iii", prmt, .p0 = PRMT_B4E),
    W("prmt.rc8", "prmt.b32.rc8 %d, %a, %b, %c", "iii", prmt, .p0 = PRMT_RC8),
    W("prmt.ecl", "prmt.b32.ecl %d, %a, %b, %c", "iii", prmt, .p0 = PRMT_ECL),
    W("prmt.ecr", "prmt.b32.ecr %d, %a, %b, %c", "iii", prmt, .p0 = PRMT_ECR),
    W("prmt.rc16", "prmt.b32.rc16 %d, %a, %b, %c", "iii", prmt, .p0 = PRMT_RC16),
    W("dp4a.u32.u32", "dp4a.u32.u32 %d, %a, %b, %c", "iii", dp4a),
    W("dp4a.s32.s32", "dp4a.s32.s32 %d, %a, %b, %c", "iii", dp4a, .p0 = 1, .p1 = 1),
    W("dp4a.s32.u32", "dp4a.s32.u32 %d, %a, %b, %c", "iii", dp4a, .p0 = 1),
    W("dp4a.u32.s32", "dp4a.u32.s32 %d, %a, %b, %c", "iii", dp4a, .p1 = 1),
    W("dp2a.lo.s32.s32", "dp2a.lo.s32.s32 %d, %a, %b, %c", "iii", dp2a, .p0 = 1, .p1 = 1),
    W("dp2a.hi.u32.s32", "dp2a.hi.u32.s32 %d, %a, %b, %c", "iii", dp2a, .p1 = 1, .p2 = 1),
    W("slct.u32.s32", "slct.u32.s32 %d, %a, %b, %c", "iii", slct32),
    W("mul.wide.s16", "mul.wide.s16 %d, %ha, %hb", "ii", mul_wide_s16),
    W("mul.wide.u16", "mul.wide.u16 %d, %ha, %hb", "ii", mul_wide_u16),
    L("add.s64", "add.s64 %D, %A, %B", "ii", add64),
    L("sub.u64", "sub.u64 %D, %A, %B", "ii", sub64),
    L("mul.lo.u64", "mul.lo.u64 %D, %A, %B", "ii", mul_lo64),
    L("mul.hi.s64", "mul.hi.s64 %D, %A, %B", "ii", mul_hi_s64),
    L("mul.hi.u64", "mul.hi.u64 %D, %A, %B", "ii", mul_hi_u64),
    L("mad.lo.s64", "mad.lo.s64 %D, %A, %B, %C", "iii", mad_lo64),
    L("mul.wide.s32", "mul.wide.s32 %D, %a, %b", "ii", mul_wide_s32),
    L("mul.wide.u32", "mul.wide.u32 %D, %a, %b", "ii", mul_wide_u32),
    L("mad.wide.s32", "mad.wide.s32 %D, %a, %b, %C", "iii", mad_wide_s32),
    L("mad.wide.u32", "mad.wide.u32 %D, %a, %b, %C", "iii", mad_wide_u32),
    L("div.s64", "div.s64 %D, %A, %B", "in", div_s64),
    L("div.u64", "div.u64 %D, %A, %B", "in", div_u64),
    L("rem.s64", "rem.s64 %D, %A, %B", "in", rem_s64),
    L("rem.u64", "rem.u64 %D, %A, %B", "in", rem_u64),
    L("abs.s64", "abs.s64 %D, %A", "i", abs_s64),
    L("neg.s64", "neg.s64 %D, %A", "i", neg_s64),
    L("min.s64", "min.s64 %D, %A, %B", "ii", min_s64),
    L("max.s64", "max.s64 %D, %A, %B", "ii", max_s64),
    L("min.u64", "min.u64 %D, %A, %B", "ii", min_u64),
    L("max.u64", "max.u64 %D, %A, %B", "ii", max_u64),
    L("brev.b64", "brev.b64 %D, %A", "i", brev64),
    L("bfe.u64", BYTE_SIZED "bfe.u64 %D, %A, %b, %c", "iss", bfe, .p0 = 64),
    L("bfe.s64", BYTE_SIZED "bfe.s64 %D, %A, %b, %c", "iss", bfe, .p0 = 64, .p1 = 1),
    L("bfi.b64", BYTE_SIZED "and.b32 %chi, %chi, 255;\nbfi.b64 %D, %A, %B, %c, %chi", "iii", bfi,
      .p0 = 64),
    L("and.b64", "and.b64 %D, %A, %B", "ii", and64),
    L("or.b64", "or.b64 %D, %A, %B", "ii", or64),
    L("xor.b64", "xor.b64 %D, %A, %B", "ii", xor64),
    L("not.b64", "not.b64 %D, %A", "i", not64),
    L("cnot.b64", "cnot.b64 %D, %A", "i", cnot64),
    L("shl.b64", "shl.b64 %D, %A, %b", "is", shl64),
    L("shr.u64", "shr.u64 %D, %A, %b", "is", shr_u64),
    L("shr.s64", "shr.s64 %D, %A, %b", "is", shr_s64),
    L("slct.s64.s32", "slct.s64.s32 %D, %A, %B, %c", "iii", slct64),
    L("mov pack and unpack",
      "mov.b64 {%x, %y}, %A;\nmov.b32 {%hx, %hy}, %x;\nmov.b32 %x, {%hx, %hy};\n"
      "mov.b64 %D, {%x, %y}",
      "i", move64),
    L("add.cc, addc", "add.cc.u32 %x, %a, %b;\naddc.u32 %y, 0, 0;\nmov.b64 %D, {%x, %y}", "ii",
      carry_out),
    L("add.cc, addc 64", "add.cc.u32 %x, %a, %b;\naddc.u32 %y, %ahi, %bhi;\nmov.b64 %D, {%x, %y}",
      "ii", add64),
    L("sub.cc, subc 64", "sub.cc.u32 %x, %a, %b;\nsubc.u32 %y, %ahi, %bhi;\nmov.b64 %D, {%x, %y}",
      "ii", sub64),
    L("sub.cc borrow", "sub.cc.u32 %x, %a, %b;\nsubc.u32 %y, 0, 0;\nmov.b64 %D, {%y, %y}", "ii",
      borrow_out),
    L("addc.cc chain of 128 bits",
      "add.cc.u32 %x, %b, %c;\naddc.cc.u32 %x, %bhi, %chi;\naddc.cc.u32 %x, %a, %b;\n"
      "addc.u32 %y, %ahi, %bhi;\nmov.b64 %D, {%x, %y}",
      "iii", carry_chain_128),
    L("add.cc.u64, addc.u64", "add.cc.u64 %X, %B, %C;\naddc.u64 %D, %A, %B", "iii",
      carry_chain_128),
    L("mad.lo.cc, madc.hi",
      "mad.lo.cc.u32 %x, %a, %b, %c;\nmadc.hi.u32 %y, %a, %b, %chi;\nmov.b64 %D, {%x, %y}", "iii",
      mad_carry),
    L("mad.lo.cc.u64, madc.hi.u64", "mad.lo.cc.u64 %X, %A, %B, %C;\nmadc.hi.u64 %D, %A, %B, 0",
      "iii", madc_128),
    H("add.s16", "add.s16 %hd, %ha, %hb", "ii", add16),
    H("sub.u16", "sub.u16 %hd, %ha, %hb", "ii", sub16),
    H("mul.lo.s16", "mul.lo.s16 %hd, %ha, %hb", "ii", mul_lo16),
    H("mul.hi.s16", "mul.hi.s16 %hd, %ha, %hb", "ii", mul_hi_s16),
    H("mul.hi.u16", "mul.hi.u16 %hd, %ha, %hb", "ii", mul_hi_u16),
    H("mad.lo.u16", "mad.lo.u16 %hd, %ha, %hb, %hc", "iii", mad_lo16),
    H("div.s16", "div.s16 %hd, %ha, %hb", "in", div_s16),
    H("rem.u16", "rem.u16 %hd, %ha, %hb", "in", rem_u16),
    H("min.s16", "min.s16 %hd, %ha, %hb", "ii", min_s16),
    H("max.u16", "max.u16 %hd, %ha, %hb", "ii", max_u16),
    H("neg.s16", "neg.s16 %hd, %ha", "i", neg_s16),
    H("abs.s16", "abs.s16 %hd, %ha", "i", abs_s16),
    H("xor.b16", "xor.b16 %hd, %ha, %hb", "ii", xor16),
    H("not.b16", "not.b16 %hd, %ha", "i", not16),
    H("shl.b16", "and.b32 %b, %b, 0xffff;\nshl.b16 %hd, %ha, %b", "is", shl16),
    H("shr.u16", "and.b32 %b, %b, 0xffff;\nshr.u16 %hd, %ha, %b", "is", shr_u16),
    H("shr.s16", "and.b32 %b, %b, 0xffff;\nshr.s16 %hd, %ha, %b", "is", shr_s16),
};

void conf_integer_cases(conf_visit visit, void *context)
{
    scalar_visit("integer", cases, VGPU_ARRAY_SIZE(cases), visit, context);
}
