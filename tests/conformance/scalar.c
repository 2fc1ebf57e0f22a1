/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/conformance/scalar.h"

#include <fenv.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"

#define THREADS    1024
#define BLOCK      256
#define TEXT_BYTES 4096
#define SEED       UINT64_C(0x5eed)

const char *const rounding_names[4] = {"rn", "rz", "rm", "rp"};
const char *const rounding_integer[4] = {"rni", "rzi", "rmi", "rpi"};

static const char prologue[] =
    ".visible .entry k(.param .u64 p_out, .param .u64 p_in)\n{\n"
    ".reg .b64 %A, %B, %C, %D, %P, %X, %Y, %out, %in;\n"
    ".reg .b32 %a, %b, %c, %d, %ahi, %bhi, %chi, %x, %y, %gid, %t0, %t1;\n"
    ".reg .b16 %ha, %hb, %hc, %hd, %hx, %hy;\n"
    ".reg .f32 %fa, %fb, %fc, %fd, %fx;\n.reg .f64 %da, %db, %dc, %dd, %dx;\n"
    ".reg .pred %pd, %p, %q;\n"
    "ld.param.u64 %out, [p_out];\nld.param.u64 %in, [p_in];\n"
    "cvta.to.global.u64 %out, %out;\ncvta.to.global.u64 %in, %in;\n"
    "mov.u32 %gid, %tid.x;\nmov.u32 %t0, %ctaid.x;\nmov.u32 %t1, %ntid.x;\n"
    "mad.lo.u32 %gid, %t0, %t1, %gid;\n"
    "mad.wide.u32 %in, %gid, 24, %in;\nmad.wide.u32 %out, %gid, 24, %out;\n"
    "ld.global.u64 %A, [%in];\nld.global.u64 %B, [%in+8];\nld.global.u64 %C, [%in+16];\n"
    "add.u64 %P, %out, 8;\n"
    "mov.b64 {%a, %ahi}, %A;\nmov.b64 {%b, %bhi}, %B;\nmov.b64 {%c, %chi}, %C;\n"
    "mov.b32 {%ha, %hx}, %a;\nmov.b32 {%hb, %hx}, %b;\nmov.b32 {%hc, %hx}, %c;\n"
    "mov.b32 %fa, %a;\nmov.b32 %fb, %b;\nmov.b32 %fc, %c;\n"
    "mov.b64 %da, %A;\nmov.b64 %db, %B;\nmov.b64 %dc, %C;\n"
    "mov.u64 %D, 0xbadbadbad;\n";

/* By enum scalar_kind: moves the result to %D. */
static const char *const epilogues[] = {
    [KIND_B16] = "cvt.u64.u16 %D, %hd;\n",
    [KIND_B32] = "cvt.u64.u32 %D, %d;\n",
    [KIND_B64] = "",
    [KIND_F16] = "cvt.u64.u16 %D, %hd;\n",
    [KIND_BF16] = "cvt.u64.u16 %D, %hd;\n",
    [KIND_F16X2] = "cvt.u64.u32 %D, %d;\n",
    [KIND_F32] = "mov.b32 %d, %fd;\ncvt.u64.u32 %D, %d;\n",
    [KIND_F64] = "mov.b64 %D, %dd;\n",
    [KIND_PRED] = "selp.u64 %D, 1, 0, %pd;\n",
};

static const uint64_t integers[] = {
    0,
    1,
    2,
    3,
    5,
    7,
    8,
    15,
    16,
    31,
    32,
    33,
    63,
    64,
    100,
    127,
    128,
    255,
    256,
    0x7fff,
    0x8000,
    0xffff,
    0x10000,
    0x7fffff,
    0x800000,
    0xffffff,
    0x7fffffff,
    0x80000000,
    0x80000001,
    0xfffffffe,
    0xffffffff,
    0x100000000,
    0x7fffffff7fffffff,
    0x7fffffffffffffff,
    0x8000000000000000,
    0x8000000080000000,
    0xffffffff00000000,
    0xfffffffffffffffe,
    0xffffffffffffffff,
    0x0123456789abcdef,
    0xfedcba9876543210,
    0xaaaaaaaa55555555,
};

static const uint32_t floats[] = {
    0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x00400000, 0x007fffff, 0x807fffff, 0x00800000,
    0x80800000, 0x00800001, 0x3f800000, 0xbf800000, 0x3f800001, 0x3f7fffff, 0x3f000000, 0xbf000000,
    0x3fc00000, 0xbfc00000, 0x40000000, 0x40490fdb, 0x42ff0000, 0x43000000, 0x437f0000, 0x43800000,
    0x46fffe00, 0x47000000, 0x477fe000, 0x477ff000, 0x47800000, 0x4effffff, 0x4f000000, 0xcf000000,
    0x4f800000, 0x5effffff, 0x5f000000, 0xdf000000, 0x5f800000, 0x33800000, 0x33000000, 0x38800000,
    0x387fc000, 0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc00000, 0x7f800001,
    0x0d800000, 0x71800000, 0x19999999, 0x4b000001, 0x4affffff, 0xcb000001,
};

static const uint64_t doubles[] = {
    0x0000000000000000, 0x8000000000000000, 0x0000000000000001, 0x8000000000000001,
    0x000fffffffffffff, 0x0010000000000000, 0x8010000000000000, 0x3ff0000000000000,
    0xbff0000000000000, 0x3ff0000000000001, 0x3fefffffffffffff, 0x3fe0000000000000,
    0xbfe0000000000000, 0x3ff8000000000000, 0xbff8000000000000, 0x4000000000000000,
    0x400921fb54442d18, 0x405fc00000000000, 0x4060000000000000, 0x40efffe000000000,
    0x40f0000000000000, 0x41dfffffffc00000, 0x41e0000000000000, 0xc1e0000000000000,
    0xc1e0000000200000, 0x41efffffffe00000, 0x41f0000000000000, 0x43dfffffffffffff,
    0x43e0000000000000, 0xc3e0000000000000, 0x43efffffffffffff, 0x43f0000000000000,
    0x47efffffe0000000, 0x47effffff0000000, 0x47f0000000000000, 0x3810000000000000,
    0x380fffffffffffff, 0x36a0000000000000, 0x3690000000000000, 0x3690000000000001,
    0x7fefffffffffffff, 0xffefffffffffffff, 0x7ff0000000000000, 0xfff0000000000000,
    0x7ff8000000000000, 0xfff8000000000000, 0x7ff0000000000001, 0x4330000000000001,
    0x432fffffffffffff, 0x3cb0000000000000,
};

static const uint16_t halves[] = {
    0x0000, 0x8000, 0x0001, 0x8001, 0x0200, 0x03ff, 0x0400, 0x8400, 0x3c00, 0xbc00, 0x3c01,
    0x3bff, 0x3800, 0xb800, 0x3e00, 0x4000, 0x4248, 0x5bf8, 0x5c00, 0x63f8, 0x6400, 0x7800,
    0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x7e00, 0xfe00, 0x7c01, 0x1400, 0x3555, 0x1001,
};

#define PICK(array, random) (array)[(random) % VGPU_ARRAY_SIZE(array)]

static uint64_t any_integer(uint64_t *state)
{
    uint64_t r = conf_random(state), value = PICK(integers, r >> 8), other = conf_random(state);

    switch (r % 4) {
    case 0:
        return value;
    case 1: /* interesting low half, random high half */
        return (value & 0xffffffff) | other << 32;
    case 2: /* few bits */
        return other >> (r >> 8) % 64;
    default:
        return other;
    }
}

/* No part of it is 0 or -1, so that it divides anything without overflow. */
static uint64_t divisor(uint64_t *state)
{
    uint64_t value = any_integer(state);

    for (unsigned int shift = 0; shift < 64; shift += 16) {
        uint64_t part = value >> shift & 0xffff;

        if (part == 0 || part == 0xffff)
            value ^= UINT64_C(0x1235) << shift;
    }
    return value;
}

/* Floats of all exponents, but often near each other, where rounding and cancellation matter. */
static uint64_t any_float(uint64_t *state)
{
    uint64_t r = conf_random(state), bits = conf_random(state);

    switch (r % 4) {
    case 0:
        return PICK(floats, r >> 8);
    case 1:
        return bits & 0xffffffff;
    case 2:
        return (bits & 0x807fffff) | (uint64_t)(120 + (r >> 8) % 16) << 23;
    default: /* small integers and halves */
        return f32_bits((float)((int64_t)(bits % 2000) - 1000) / 2);
    }
}

static uint64_t any_double(uint64_t *state)
{
    uint64_t r = conf_random(state), bits = conf_random(state);

    switch (r % 4) {
    case 0:
        return PICK(doubles, r >> 8);
    case 1:
        return bits;
    case 2:
        return (bits & UINT64_C(0x800fffffffffffff)) | (1015 + (r >> 8) % 16) << 52;
    default:
        return f64_bits((double)((int64_t)(bits % 200000) - 100000) / 2);
    }
}

static uint64_t any_half(uint64_t *state)
{
    uint64_t r = conf_random(state);

    return r % 2 ? PICK(halves, r >> 8) : r >> 16 & 0xffff;
}

static uint64_t operand(char kind, uint64_t *state)
{
    uint64_t r = conf_random(state);

    switch (kind) {
    case 'n':
        return divisor(state);
    case 's': /* counts as they are, as well as beyond 8 bits */
        return r % 8 ? r >> 8 & 0xff : r >> 8;
    case 'f':
        return any_float(state);
    case 'd':
        return any_double(state);
    case 'h':
        return any_half(state);
    case 'b':
        return any_float(state) >> 16;
    case 'H':
        return any_half(state) << 16 | any_half(state);
    case 'F':
        return (r & 0x807fffff) | (117 + (r >> 40) % 20) << 23;
    case 'D':
        return (r & UINT64_C(0x800fffffffffffff)) | (1013 + (r >> 54) % 20) << 52;
    case 'r':
        return f32_bits((float)(((double)(r >> 11) * 0x1p-53 - 0.5) * 4 * 3.14159265));
    default:
        return any_integer(state);
    }
}

static bool is_nan_of(enum scalar_kind kind, uint64_t bits)
{
    switch (kind) {
    case KIND_F16:
        return (bits & 0x7fff) > 0x7c00;
    case KIND_BF16:
        return (bits & 0x7fff) > 0x7f80;
    case KIND_F32:
        return (bits & 0x7fffffff) > 0x7f800000;
    case KIND_F64:
        return (bits & INT64_MAX) > UINT64_C(0x7ff0000000000000);
    default:
        return false;
    }
}

static bool same(enum scalar_kind kind, uint64_t got, uint64_t want)
{
    if (kind == KIND_F16X2)
        return same(KIND_F16, got & 0xffff, want & 0xffff) && same(KIND_F16, got >> 16, want >> 16);
    return got == want || (is_nan_of(kind, got) && is_nan_of(kind, want));
}

static enum conf_result compare(struct conf *conf, const struct scalar_case *test,
                                const uint64_t (*in)[3], const uint64_t (*out)[3])
{
    for (unsigned int i = 0; i < THREADS; i++) {
        uint64_t want = test->reference(test, in[i][0], in[i][1], in[i][2]), got = out[i][0];

        if (same(test->kind, got, want) ||
            (test->accepts && test->accepts(test, got, want, in[i][0], in[i][1])))
            continue;
        return conf_fail(conf,
                         "a=%#" PRIx64 " b=%#" PRIx64 " c=%#" PRIx64 ": got %#" PRIx64
                         ", expected %#" PRIx64,
                         in[i][0], in[i][1], in[i][2], got, want);
    }
    return CONF_PASS;
}

enum conf_result scalar_run(struct conf *conf, const void *data)
{
    const struct scalar_case *test = data;
    static uint64_t in[THREADS][3], out[THREADS][3];
    char ptx[TEXT_BYTES];
    uint64_t state = SEED;
    struct conf_launch launch = {.ptx = ptx,
                                 .grid = {THREADS / BLOCK},
                                 .block = {BLOCK},
                                 .in = in,
                                 .in_bytes = sizeof(in),
                                 .out = out,
                                 .out_bytes = sizeof(out)};

    if (test->compute > conf->compute_major * 10 + conf->compute_minor)
        return conf_skip(conf, "needs compute capability %d.%d", test->compute / 10,
                         test->compute % 10);
    for (unsigned int i = 0; i < THREADS; i++)
        for (unsigned int k = 0; k < 3; k++)
            in[i][k] = operand(k < strlen(test->operands) ? test->operands[k] : 'i', &state);
    snprintf(ptx, sizeof(ptx), "%s%s%s\n%sst.global.u64 [%%out], %%D;\nret;\n}\n",
             test->header ? test->header : CONF_HEADER, prologue, test->body,
             epilogues[test->kind]);
    CONF_TRY(conf_launch(conf, &launch));
    return compare(conf, test, (const uint64_t(*)[3])in, (const uint64_t(*)[3])out);
}

void scalar_visit(const char *group, const struct scalar_case *cases, size_t count,
                  conf_visit visit, void *context)
{
    for (size_t i = 0; i < count; i++)
        visit(context, group, cases[i].name, scalar_run, &cases[i], false);
}

struct scalar_case *scalar_add(struct scalar_list *list, const char *name, const char *format, ...)
{
    size_t i = list->count;
    va_list args;

    if (i == SCALAR_MAX_GENERATED)
        return &list->cases[i - 1];
    list->count++;
    snprintf(list->names[i], sizeof(list->names[i]), "%s", name);
    va_start(args, format);
    vsnprintf(list->bodies[i], sizeof(list->bodies[i]), format, args);
    va_end(args);
    list->cases[i] = (struct scalar_case){.name = list->names[i], .body = list->bodies[i]};
    return &list->cases[i];
}

void host_rounding(enum rounding mode)
{
    static const int modes[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};

    fesetround(modes[mode]);
}

/* A format of 16 bits with `fraction` fraction bits and IEEE's encodings. */
static double small_value(uint16_t bits, int fraction)
{
    int exponent_bits = 15 - fraction, bias = (1 << (exponent_bits - 1)) - 1;
    int exponent = (bits & 0x7fff) >> fraction, mantissa = bits & ((1 << fraction) - 1);
    double value;

    if (exponent == (1 << exponent_bits) - 1)
        value = mantissa ? (double)NAN : (double)INFINITY;
    else if (exponent == 0)
        value = ldexp(mantissa, 1 - bias - fraction);
    else
        value = ldexp(mantissa + (1 << fraction), exponent - bias - fraction);
    return bits & 0x8000 ? -value : value;
}

/* Whether a magnitude between two neighbours goes up; twice its distance from the lower, in steps
 * of the last place, is compared with one step. */
static bool rounds_up(int against_half, bool inexact, bool odd, bool negative, enum rounding mode)
{
    switch (mode) {
    case RN:
        return against_half > 0 || (against_half == 0 && odd);
    case RZ:
        return false;
    case RM:
        return inexact && negative;
    default:
        return inexact && !negative;
    }
}

static uint16_t small_round(__float128 value, int fraction, enum rounding mode)
{
    int exponent_bits = 15 - fraction, bias = (1 << (exponent_bits - 1)) - 1;
    uint16_t infinity = (uint16_t)(((1 << exponent_bits) - 1) << fraction);
    bool negative = signbit((double)value);
    __float128 magnitude = negative ? -value : value;
    int exponent = 1 - bias;
    uint32_t mantissa, bits;
    __float128 rest;

    if (isnan((double)value))
        return infinity | 1;
    if (isinf((double)value) && magnitude > (__float128)1e300)
        return (uint16_t)(infinity | negative << 15);
    /* Scale so that the last place of the format is 1. */
    for (__float128 limit = (__float128)ldexp(2, exponent); magnitude >= limit && exponent <= bias;
         limit *= 2)
        exponent++;
    magnitude *= (__float128)ldexp(1, fraction - exponent);
    if (exponent > bias)
        mantissa = UINT32_C(2) << fraction; /* beyond the largest number */
    else
        mantissa = (uint32_t)magnitude;
    rest = 2 * (magnitude - mantissa);
    if (exponent > bias)
        rest = 2;
    if (rounds_up(rest > 1 ? 1 : rest < 1 ? -1 : 0, rest > 0, mantissa & 1, negative, mode))
        mantissa++;
    /* A carry out of the fraction runs into the exponent, as it should. */
    bits = exponent > bias ? infinity : mantissa + ((uint32_t)(exponent + bias - 1) << fraction);
    if (bits >= infinity) {
        bool to_infinity = mode == RN || (mode == RM && negative) || (mode == RP && !negative);

        bits = to_infinity ? infinity : infinity - 1U;
    }
    return (uint16_t)(bits | (uint32_t)negative << 15);
}

double f16_value(uint16_t bits)
{
    return small_value(bits, 10);
}

double bf16_value(uint16_t bits)
{
    return small_value(bits, 7);
}

uint16_t f16_round(__float128 value, enum rounding mode)
{
    return small_round(value, 10, mode);
}

uint16_t bf16_round(__float128 value, enum rounding mode)
{
    return small_round(value, 7, mode);
}
