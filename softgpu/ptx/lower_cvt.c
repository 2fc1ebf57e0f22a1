/* SPDX-License-Identifier: Apache-2.0 */
/* Lowers cvt: integer to integer as extensions, common float forms by loops of their own, the rest
 * by the general handler. */
#include "softgpu/ptx/lower.h"

/* Sign- or zero-extends the low 8 bits within a class. */
static uint32_t low_byte(struct parser *p, uint32_t ref, enum rclass class, bool is_signed)
{
    uint32_t d = lower_temp(p, class);

    lower_emit(p, (is_signed ? OPC_sext8_16 : OPC_zext8_16) + (unsigned)(class - C_16), d, ref,
               REF_NONE, REF_NONE);
    return d;
}

/* From one class to another, extending by sign or not. */
static uint32_t resize(struct parser *p, uint32_t ref, enum rclass from, enum rclass to,
                       bool is_signed)
{
    static const uint16_t codes[3][3][2] = {
        {{0, 0}, {OPC_zext_16_32, OPC_sext_16_32}, {OPC_zext_16_64, OPC_sext_16_64}},
        {{OPC_trunc_32_16, OPC_trunc_32_16}, {0, 0}, {OPC_zext_32_64, OPC_sext_32_64}},
        {{OPC_trunc_64_16, OPC_trunc_64_16}, {OPC_trunc_64_32, OPC_trunc_64_32}, {0, 0}},
    };
    uint32_t d;

    if (from == to || from < C_16 || to < C_16 || from > C_64 || to > C_64)
        return ref;
    d = lower_temp(p, to);
    lower_emit(p, codes[from - C_16][to - C_16][is_signed], d, ref, REF_NONE, REF_NONE);
    return d;
}

/* Puts value in d: by the last op of those from `first` on, which made it, or by a move. */
static void settle(struct parser *p, uint32_t first, uint32_t d, uint32_t value, enum rclass class)
{
    struct body *body = p->body;

    if (body->ops.n > first)
        body->ops.at[body->ops.n - 1].d = d;
    else
        lower_emit(p, OPC_mov_16 + (unsigned)(class - C_16), d, value, REF_NONE, REF_NONE);
}

static void integer_to_integer(struct parser *p, enum type to, enum type from)
{
    enum rclass source, target;
    uint32_t d = lower_def_wide(p, 0, to, &target);
    uint32_t value = lower_use_wide(p, 1, from, &source);
    uint32_t first = p->body->ops.n;

    if (source > C_64 || target > C_64 || source < C_16 || target < C_16) {
        parse_unsupported(p);
        return;
    }
    value = resize(p, value, source, type_class(from), false);
    if (type_bits(from) == 8)
        value = low_byte(p, value, C_16, type_is_signed(from));
    value = resize(p, value, type_class(from), type_class(to), type_is_signed(from));
    if (type_bits(to) == 8 && type_bits(from) != 8)
        value = low_byte(p, value, C_16, type_is_signed(to));
    else if (type_bits(to) == 8 && type_is_signed(from) != type_is_signed(to))
        value = low_byte(p, value, C_16, type_is_signed(to));
    value = resize(p, value, type_class(to), target, type_is_signed(to));
    settle(p, first, d, value, target);
}

static const struct {
    uint8_t to, from;
    uint8_t integer_round; /* the modifier that it stands for: M_RN or M_RZI, or none */
    uint16_t code;
} loops[] = {
    {T_F32, T_S32, M_RN, OPC_cvt_f32_s32},   {T_F32, T_U32, M_RN, OPC_cvt_f32_u32},
    {T_F32, T_S64, M_RN, OPC_cvt_f32_s64},   {T_F32, T_U64, M_RN, OPC_cvt_f32_u64},
    {T_F64, T_S32, M_RN, OPC_cvt_f64_s32},   {T_F64, T_U32, M_RN, OPC_cvt_f64_u32},
    {T_F64, T_S64, M_RN, OPC_cvt_f64_s64},   {T_F64, T_U64, M_RN, OPC_cvt_f64_u64},
    {T_F64, T_F32, M_NONE, OPC_cvt_f64_f32}, {T_F32, T_F64, M_RN, OPC_cvt_f32_f64},
    {T_S32, T_F32, M_RZI, OPC_cvt_s32_f32},  {T_U32, T_F32, M_RZI, OPC_cvt_u32_f32},
    {T_F32, T_F32, M_RNI, OPC_rint_f32},     {T_F32, T_F32, M_RZI, OPC_trunc_f32},
    {T_F32, T_F32, M_RMI, OPC_floor_f32},    {T_F32, T_F32, M_RPI, OPC_ceil_f32},
};

static bool by_loop(struct parser *p, enum type to, enum type from, enum modifier rounding,
                    unsigned flags)
{
    const struct operand *operands = p->inst.operands;
    uint32_t a;

    if (operands[0].kind != O_REG || operands[1].kind != O_REG ||
        p->body->classes.at[operands[0].reg] != type_class(to) ||
        p->body->classes.at[operands[1].reg] != type_class(from))
        return false;
    for (unsigned i = 0; i < sizeof(loops) / sizeof(loops[0]); i++) {
        if (loops[i].to != to || loops[i].from != from || loops[i].integer_round != rounding)
            continue;
        if (flags & ~(to == T_F32 && from == T_F32 ? FLAG_FTZ | FLAG_SAT : 0u))
            return false;
        a = lower_use(p, 1, from);
        lower_emit(p, loops[i].code + flags, lower_def(p, 0, to), a, REF_NONE, REF_NONE);
        return true;
    }
    return false;
}

static struct op *emit_cvt(struct parser *p, enum type to, enum type from, uint32_t d,
                           enum rclass target, uint32_t a, enum rclass source,
                           enum modifier rounding, unsigned flags)
{
    struct op *op = lower_emit(p, OPC_cvt, d, a, REF_NONE, REF_NONE);
    uint64_t mode = CVT_NONE;

    if (rounding >= M_RN && rounding <= M_RP)
        mode = (uint64_t)(rounding - M_RN) + CVT_RN;
    else if (rounding >= M_RNI && rounding <= M_RPI)
        mode = (uint64_t)(rounding - M_RNI) + CVT_RNI;
    op->imm = (uint64_t)from | (uint64_t)to << 8 | (uint64_t)source << 16 | (uint64_t)target << 20 |
              mode << 24 | (uint64_t)flags << 32;
    return op;
}

/* cvt.rn.f16x2.f32 d, a, b: a becomes the high half. */
static void pack_halves(struct parser *p, enum type to, enum type from, enum modifier rounding,
                        unsigned flags)
{
    enum type half = to == T_F16X2 ? T_F16 : T_BF16;
    uint32_t low = lower_temp(p, C_16);
    uint32_t high = lower_temp(p, C_16);

    if (from != T_F32)
        parse_unsupported(p);
    lower_operands(p, 3, 3);
    emit_cvt(p, half, from, high, C_16, lower_use(p, 1, from), C_32, rounding, flags);
    emit_cvt(p, half, from, low, C_16, lower_use(p, 2, from), C_32, rounding, flags);
    lower_emit(p, OPC_pack_16_32, lower_def(p, 0, to), low, high, REF_NONE);
}

/* One integer clamped to a narrow type, as its bits in 32. */
static uint32_t clamped_bits(struct parser *p, unsigned i, enum type to, enum type from)
{
    uint32_t clamped = lower_temp(p, C_32);
    uint32_t bits = lower_temp(p, C_32);
    uint64_t mask = (UINT64_C(1) << type_bits(to)) - 1;

    emit_cvt(p, to, from, clamped, C_32, lower_use(p, i, from), C_32, M_NONE, FLAG_SAT);
    lower_emit(p, OPC_and_32, bits, clamped, lower_constant(p, C_32, mask), REF_NONE);
    return bits;
}

/* cvt.pack.sat.to.from{.b32} d, a, b{, c}: c, a, b from the top, as far as there is room. */
static void lower_pack(struct parser *p)
{
    bool third = p->inst.n_types == 3;
    enum type to = (enum type)p->inst.types[0];
    enum type from = (enum type)p->inst.types[1];
    unsigned bits = type_bits(to);
    uint32_t a, b, high, pair, above;

    if (p->inst.n_types < 2 || !lower_take(p, M_SAT) || from != T_S32 ||
        (third ? (to != T_U8 && to != T_S8) || p->inst.types[2] != T_B32
               : to != T_U16 && to != T_S16)) {
        parse_unsupported(p);
        return;
    }
    lower_operands(p, third ? 4 : 3, third ? 4 : 3);
    a = clamped_bits(p, 1, to, from);
    b = clamped_bits(p, 2, to, from);
    high = lower_temp(p, C_32);
    lower_emit(p, OPC_shl_32, high, a, lower_constant(p, C_32, bits), REF_NONE);
    if (!third) {
        lower_emit(p, OPC_or_32, lower_def(p, 0, T_B32), high, b, REF_NONE);
        return;
    }
    pair = lower_temp(p, C_32);
    above = lower_temp(p, C_32);
    lower_emit(p, OPC_or_32, pair, high, b, REF_NONE);
    lower_emit(p, OPC_shl_32, above, lower_use(p, 3, T_B32), lower_constant(p, C_32, 2 * bits),
               REF_NONE);
    lower_emit(p, OPC_or_32, lower_def(p, 0, T_B32), pair, above, REF_NONE);
}

void lower_cvt(struct parser *p)
{
    bool packs = lower_take(p, M_PACK);
    enum modifier rounding = lower_take_range(p, M_RN, M_RPI);
    enum type to = packs ? T_B32 : lower_type(p, 0, 2);
    enum type from = packs ? T_B32 : lower_type(p, 1, 2);
    unsigned flags = packs ? 0
                           : (lower_take(p, M_FTZ) ? FLAG_FTZ : 0) |
                                 (lower_take(p, M_SAT) ? FLAG_SAT : 0) |
                                 (lower_take(p, M_RELU) ? FLAG_RELU : 0);
    enum rclass source, target;
    uint32_t d, a;

    if (packs) {
        lower_pack(p);
        return;
    }
    if (rounding == M_RNA || to == T_PRED || from == T_PRED || from == T_F16X2 ||
        from == T_BF16X2 || to == T_B128 || from == T_B128) {
        parse_unsupported(p);
        return;
    }
    if (to == T_F16X2 || to == T_BF16X2) {
        pack_halves(p, to, from, rounding, flags);
        return;
    }
    if (!lower_operands(p, 2, 2))
        return;
    if (type_is_integer(to) && type_is_integer(from) && !(flags & FLAG_SAT)) {
        integer_to_integer(p, to, from);
        return;
    }
    if (by_loop(p, to, from, rounding, flags))
        return;
    d = lower_def_wide(p, 0, to, &target);
    a = lower_use_wide(p, 1, from, &source);
    if (target > C_64 || source > C_64)
        parse_unsupported(p);
    emit_cvt(p, to, from, d, target, a, source, rounding, flags);
}
