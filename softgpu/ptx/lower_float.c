/* SPDX-License-Identifier: Apache-2.0 */
/* Lowers float instructions: f32, f64, and the half types. */
#include "softgpu/ptx/lower.h"

static enum rounding take_rounding(struct parser *p)
{
    enum modifier modifier = lower_take_range(p, M_RN, M_RP);

    return modifier == M_NONE ? ROUND_N : (enum rounding)(modifier - M_RN);
}

static unsigned take_flags(struct parser *p)
{
    unsigned flags = lower_take(p, M_FTZ) ? FLAG_FTZ : 0;

    return flags | (lower_take(p, M_SAT) ? FLAG_SAT : 0);
}

static bool is_half(enum type type)
{
    char kind = type_kind(type);

    return kind == 'g' || kind == 'h' || kind == 'i' || type == T_F16;
}

static void emit_half(struct parser *p, enum fop fop, enum type type, unsigned n)
{
    char kind = type_kind(type);
    unsigned flags = take_flags(p);
    uint32_t refs[3] = {REF_NONE, REF_NONE, REF_NONE};
    struct op *op;

    lower_take(p, M_RN);
    lower_take(p, M_APPROX);
    flags |= lower_take(p, M_RELU) ? FLAG_RELU : 0;
    flags |= lower_take(p, M_NAN_) ? FLAG_NAN : 0;
    flags |= lower_take(p, M_XORSIGN) ? FLAG_XORS : 0;
    if (flags & FLAG_XORS)
        lower_take(p, M_ABS);
    flags |= kind == 'g' || kind == 'i' ? FLAG_BF16 : 0;
    flags |= kind == 'h' || kind == 'i' ? FLAG_PACKED : 0;
    for (unsigned i = 0; i < n; i++)
        refs[i] = lower_use(p, i + 1, type);
    op = lower_emit(p, OPC_half, lower_def(p, 0, type), refs[0], refs[1], refs[2]);
    op->x = (uint8_t)fop;
    op->imm = flags;
}

/* One of the four variants of an F32 family, or the rounded form. */
static void emit_f32(struct parser *p, unsigned base, enum fop fop, enum rounding rounding,
                     unsigned n)
{
    unsigned flags = take_flags(p);
    uint32_t refs[3] = {REF_NONE, REF_NONE, REF_NONE};
    struct op *op;

    for (unsigned i = 0; i < n; i++)
        refs[i] = lower_use(p, i + 1, T_F32);
    op = lower_emit(p, rounding == ROUND_N ? base + flags : OPC_round_f32, lower_def(p, 0, T_F32),
                    refs[0], refs[1], refs[2]);
    if (rounding != ROUND_N) {
        op->x = (uint8_t)(fop | (unsigned)rounding << 4);
        op->imm = flags;
    }
}

static void emit_f64(struct parser *p, unsigned base, enum fop fop, enum rounding rounding,
                     unsigned n)
{
    uint32_t refs[3] = {REF_NONE, REF_NONE, REF_NONE};
    struct op *op;

    for (unsigned i = 0; i < n; i++)
        refs[i] = lower_use(p, i + 1, T_F64);
    op = lower_emit(p, rounding == ROUND_N ? base : OPC_round_f64, lower_def(p, 0, T_F64), refs[0],
                    refs[1], refs[2]);
    if (rounding != ROUND_N)
        op->x = (uint8_t)(fop | (unsigned)rounding << 4);
}

static void emit_minmax_f32(struct parser *p, enum fop fop)
{
    unsigned base = fop == FOP_MIN ? OPC_min_f32 : OPC_max_f32;
    bool nan = lower_take(p, M_NAN_);
    bool xors = lower_take(p, M_XORSIGN);

    if (xors && !lower_take(p, M_ABS))
        parse_unsupported(p);
    if (nan && xors)
        base = fop == FOP_MIN ? OPC_minnanxor_f32 : OPC_maxnanxor_f32;
    else if (nan)
        base = fop == FOP_MIN ? OPC_minnan_f32 : OPC_maxnan_f32;
    else if (xors)
        base = fop == FOP_MIN ? OPC_minxor_f32 : OPC_maxxor_f32;
    emit_f32(p, base, fop, ROUND_N, 2);
}

void lower_float_binary(struct parser *p, enum fop fop, enum type type)
{
    static const uint16_t f32[] = {
        [FOP_ADD] = OPC_add_f32, [FOP_SUB] = OPC_sub_f32, [FOP_MUL] = OPC_mul_f32,
        [FOP_DIV] = OPC_div_f32, [FOP_MIN] = OPC_min_f32, [FOP_MAX] = OPC_max_f32};
    static const uint16_t f64[] = {
        [FOP_ADD] = OPC_add_f64, [FOP_SUB] = OPC_sub_f64, [FOP_MUL] = OPC_mul_f64,
        [FOP_DIV] = OPC_div_f64, [FOP_MIN] = OPC_min_f64, [FOP_MAX] = OPC_max_f64};

    lower_operands(p, 3, 3);
    if (is_half(type) && fop != FOP_DIV) {
        emit_half(p, fop, type, 2);
    } else if (type == T_F64) {
        emit_f64(p, f64[fop], fop, take_rounding(p), 2);
    } else if (type != T_F32) {
        parse_unsupported(p);
    } else if (fop == FOP_MIN || fop == FOP_MAX) {
        emit_minmax_f32(p, fop);
    } else if (fop == FOP_DIV && (lower_take(p, M_APPROX) || lower_take(p, M_FULL))) {
        emit_f32(p, OPC_divapprox_f32, fop, ROUND_N, 2);
    } else {
        emit_f32(p, f32[fop], fop, take_rounding(p), 2);
    }
}

void lower_float_unary(struct parser *p, enum fop fop, enum type type)
{
    if (is_half(type)) {
        emit_half(p, fop, type, 1);
    } else if (type == T_F32) {
        emit_f32(p, fop == FOP_NEG ? OPC_neg_f32 : OPC_abs_f32, fop, ROUND_N, 1);
    } else if (type == T_F64) {
        emit_f64(p, fop == FOP_NEG ? OPC_neg_f64 : OPC_abs_f64, fop, ROUND_N, 1);
    } else {
        parse_unsupported(p);
    }
}

void lower_fma(struct parser *p)
{
    enum type type = lower_type(p, 0, 1);

    lower_operands(p, 4, 4);
    if (is_half(type))
        emit_half(p, FOP_FMA, type, 3);
    else if (type == T_F32)
        emit_f32(p, OPC_fma_f32, FOP_FMA, take_rounding(p), 3);
    else if (type == T_F64)
        emit_f64(p, OPC_fma_f64, FOP_FMA, take_rounding(p), 3);
    else
        parse_unsupported(p);
}

static void lower_root_f64(struct parser *p)
{
    bool rcp = p->inst.mnemonic == MN_rcp;

    if (lower_take(p, M_APPROX)) {
        if (p->inst.mnemonic == MN_sqrt)
            parse_unsupported(p);
        lower_take(p, M_FTZ);
        emit_f64(p, rcp ? OPC_rcpapprox_f64 : OPC_rsqrtapprox_f64, FOP_RCP, ROUND_N, 1);
    } else if (p->inst.mnemonic == MN_rsqrt) {
        parse_unsupported(p);
    } else {
        emit_f64(p, rcp ? OPC_rcp_f64 : OPC_sqrt_f64, rcp ? FOP_RCP : FOP_SQRT, take_rounding(p),
                 1);
    }
}

void lower_root(struct parser *p)
{
    enum type type = lower_type(p, 0, 1);
    enum mnemonic mnemonic = p->inst.mnemonic;

    lower_operands(p, 2, 2);
    if (type == T_F64) {
        lower_root_f64(p);
    } else if (type != T_F32) {
        parse_unsupported(p);
    } else if (lower_take(p, M_APPROX) || mnemonic == MN_rsqrt) {
        emit_f32(p,
                 mnemonic == MN_rcp    ? OPC_rcp_f32
                 : mnemonic == MN_sqrt ? OPC_sqrt_f32
                                       : OPC_rsqrt_f32,
                 FOP_RCP, ROUND_N, 1);
    } else {
        emit_f32(p, mnemonic == MN_rcp ? OPC_rcp_f32 : OPC_sqrt_f32,
                 mnemonic == MN_rcp ? FOP_RCP : FOP_SQRT, take_rounding(p), 1);
    }
}

void lower_approx(struct parser *p)
{
    static const uint16_t codes[N_MNEMONICS] = {[MN_sin] = OPC_sin_f32,
                                                [MN_cos] = OPC_cos_f32,
                                                [MN_ex2] = OPC_ex2_f32,
                                                [MN_lg2] = OPC_lg2_f32,
                                                [MN_tanh] = OPC_tanh_f32};
    enum type type = lower_type(p, 0, 1);

    lower_operands(p, 2, 2);
    if (is_half(type) && (p->inst.mnemonic == MN_ex2 || p->inst.mnemonic == MN_tanh)) {
        emit_half(p, p->inst.mnemonic == MN_ex2 ? FOP_EX2 : FOP_TANH, type, 1);
        return;
    }
    if (type != T_F32 || !lower_take(p, M_APPROX))
        parse_unsupported(p);
    emit_f32(p, codes[p->inst.mnemonic], FOP_EX2, ROUND_N, 1);
}

void lower_testp(struct parser *p)
{
    enum type type = lower_type(p, 0, 1);
    enum modifier modifier = lower_take_range(p, M_FINITE, M_SUBNORMAL);
    uint32_t a;

    lower_operands(p, 2, 2);
    if ((type != T_F32 && type != T_F64) || modifier == M_NONE)
        parse_unsupported(p);
    a = lower_use(p, 1, type);
    lower_emit(p, OPC_testp, lower_def(p, 0, T_PRED), a, REF_NONE, REF_NONE)->x =
        (uint8_t)((unsigned)(modifier - M_FINITE) | (type == T_F64 ? TESTP_WIDE : 0));
}

void lower_copysign(struct parser *p)
{
    enum type type = lower_type(p, 0, 1);
    uint32_t a, b;

    lower_operands(p, 3, 3);
    if (type != T_F32 && type != T_F64)
        parse_unsupported(p);
    a = lower_use(p, 1, type);
    b = lower_use(p, 2, type);
    lower_emit(p, type == T_F64 ? OPC_copysign_64 : OPC_copysign_32, lower_def(p, 0, type), a, b,
               REF_NONE);
}
