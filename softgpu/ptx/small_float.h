/* SPDX-License-Identifier: Apache-2.0 */
/*
 * f16 and bf16 as bit patterns: widened to double exactly, computed there, and rounded once.
 * Where a double cannot hold a sum exactly it is rounded to odd, so that the second rounding is
 * right (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums", 2008).
 */
#ifndef SOFTGPU_PTX_SMALL_FLOAT_H
#define SOFTGPU_PTX_SMALL_FLOAT_H

#include "softgpu/ptx/arith.h"

#define SMALL_NAN 0x7fffu

static inline f64 half_to_f64(u32 bits)
{
    u32 sign = (bits & 0x8000u) << 16;
    u32 exponent = bits >> 10 & 31;
    u32 mantissa = bits & 1023;
    f64 value;

    if (exponent == 31)
        return (f64)float32(sign | 0x7f800000u | mantissa << 13);
    value =
        exponent ? (f64)float32((exponent + 112) << 23 | mantissa << 13) : (f64)mantissa * 0x1p-24;
    return sign ? -value : value;
}

static inline f64 bfloat_to_f64(u32 bits)
{
    return (f64)float32(bits << 16);
}

static inline f64 small_to_f64(u32 bits, bool bf16)
{
    return bf16 ? bfloat_to_f64(bits) : half_to_f64(bits);
}

/* Rounds to a format of `digits` explicit bits and smallest normal exponent emin. */
static inline u32 round_small(f64 a, unsigned digits, s64 emin, u32 infinity,
                              enum rounding rounding)
{
    u64 bits = bits64(a);
    u32 sign = bits >> 63 ? 0x8000u : 0;
    s64 exponent = (s64)(bits >> 52 & 2047) - 1023;
    u64 mantissa = (bits & 0xffffffffffffful) | (exponent > -1023 ? 1ul << 52 : 0);
    s64 shift = 52 - digits;
    u64 quotient, rest, middle;
    u32 result;

    if (exponent == 1024)
        return mantissa & 0xffffffffffffful ? SMALL_NAN : sign | infinity;
    if (exponent < emin)
        shift += emin - exponent;
    if (shift > 60)
        shift = 60;
    quotient = mantissa >> shift;
    rest = mantissa & ((1ul << shift) - 1);
    middle = 1ul << (shift - 1);
    if (rounding == ROUND_N)
        quotient += rest > middle || (rest == middle && (quotient & 1));
    else if (rounding != ROUND_Z)
        quotient += rest && (rounding == ROUND_M) == (sign != 0);
    if (exponent < emin) {
        result = (u32)quotient;
    } else if (exponent - emin > 300) {
        result = infinity;
    } else {
        result = (u32)(((u64)(exponent - emin) << digits) + quotient);
    }
    if (result >= infinity)
        result =
            rounding == ROUND_N || (rounding == ROUND_M && sign) || (rounding == ROUND_P && !sign)
                ? infinity
                : infinity - 1;
    return sign | result;
}

static inline u32 f64_to_small(f64 a, bool bf16, enum rounding rounding)
{
    return bf16 ? round_small(a, 7, -126, 0x7f80u, rounding)
                : round_small(a, 10, -14, 0x7c00u, rounding);
}

/* a + b rounded to odd. */
static inline f64 add_odd(f64 a, f64 b)
{
    f64 sum = a + b;
    f64 part = sum - a;
    f64 error = (a - (sum - part)) + (b - part);
    u64 bits = bits64(sum);

    if (!(error != 0.0) || isinf(sum) || isnan(error) || (bits & 1))
        return sum;
    return float64((error > 0.0) == (sum > 0.0) ? bits + 1 : bits - 1);
}

/* An integer as a double, rounded to odd. */
static inline f64 s64_to_odd(u64 magnitude, bool negative)
{
    unsigned excess = magnitude >> 53 ? 11 - (unsigned)__builtin_clzl(magnitude) : 0;
    u64 kept = magnitude >> excess;
    f64 value;

    if (excess && (magnitude & ((1ul << excess) - 1)))
        kept |= 1;
    value = ldexp((f64)kept, (int)excess);
    return negative ? -value : value;
}

static inline u32 flush_small(u32 bits, bool bf16)
{
    return bits & (bf16 ? 0x7f80u : 0x7c00u) ? bits : bits & 0x8000u;
}

#endif
