/* SPDX-License-Identifier: Apache-2.0 */
/* Lowers integer and logic instructions, and those that choose between integer and float. */
#include "softgpu/ptx/lower.h"

/* Opcode families of opcodes.def in the order u16 u32 u64 s16 s32 s64. */
static unsigned by_sign(struct parser *p, unsigned first, enum type type)
{
    enum rclass class = type_class(type);

    if (!type_is_integer(type) || class < C_16 || class > C_64 || type_bits(type) == 8) {
        parse_unsupported(p);
        class = C_32;
    }
    return first + (unsigned)(class - C_16) + (type_is_signed(type) ? 3 : 0);
}

static unsigned by_class(struct parser *p, unsigned first, enum type type)
{
    enum rclass class = type_class(type);

    if (class < C_16 || class > C_64 || type_bits(type) == 8) {
        parse_unsupported(p);
        class = C_32;
    }
    return first + (unsigned)(class - C_16);
}

/* Families in the order u16 s16 u32 s32 u64 s64. */
static unsigned by_pair(struct parser *p, unsigned first, enum type type)
{
    return first + 2 * (by_class(p, 0, type)) + (type_is_signed(type) ? 1 : 0);
}

static void emit_addx(struct parser *p, enum type type, uint32_t d, uint32_t a, uint32_t b,
                      unsigned x)
{
    if (type_class(type) != C_32 && type_class(type) != C_64)
        parse_unsupported(p);
    lower_emit(p, type_class(type) == C_64 ? OPC_addx_64 : OPC_addx_32, d, a, b, REF_NONE)->x =
        (uint8_t)x;
}

void lower_add(struct parser *p)
{
    enum type type = lower_type(p, 0, 1);
    bool sub = p->inst.mnemonic == MN_sub;

    lower_operands(p, 3, 3);
    if (!type_is_integer(type)) {
        lower_float_binary(p, sub ? FOP_SUB : FOP_ADD, type);
    } else if (lower_take(p, M_CC)) {
        emit_addx(p, type, lower_def(p, 0, type), lower_use(p, 1, type), lower_use(p, 2, type),
                  ADDX_OUT | (sub ? ADDX_SUB : 0));
    } else if (lower_take(p, M_SAT)) {
        if (type != T_S32)
            parse_unsupported(p);
        lower_emit(p, sub ? OPC_subsat_s32 : OPC_addsat_s32, lower_def(p, 0, type),
                   lower_use(p, 1, type), lower_use(p, 2, type), REF_NONE);
    } else {
        uint32_t a = lower_use(p, 1, type);
        uint32_t b = lower_use(p, 2, type);

        lower_emit(p, by_class(p, sub ? OPC_sub_16 : OPC_add_16, type), lower_def(p, 0, type), a, b,
                   REF_NONE);
    }
}

void lower_carry(struct parser *p)
{
    enum type type = lower_type(p, 0, 1);
    unsigned x = ADDX_IN | (p->inst.mnemonic == MN_subc ? ADDX_SUB : 0);

    lower_operands(p, 3, 3);
    if (lower_take(p, M_CC))
        x |= ADDX_OUT;
    emit_addx(p, type, lower_def(p, 0, type), lower_use(p, 1, type), lower_use(p, 2, type), x);
}

static enum type wide_type(enum type type)
{
    return type == T_U16 || type == T_S16 ? T_B32 : T_B64;
}

/* Families in the order u16 s16 u32 s32. */
static unsigned by_wide(struct parser *p, unsigned first, enum type type)
{
    if (type != T_U16 && type != T_S16 && type != T_U32 && type != T_S32) {
        parse_unsupported(p);
        return first;
    }
    return first + (type_class(type) == C_32 ? 2 : 0) + (type_is_signed(type) ? 1 : 0);
}

void lower_mul(struct parser *p)
{
    enum type type = lower_type(p, 0, 1);
    uint32_t a, b;

    lower_operands(p, 3, 3);
    if (!type_is_integer(type)) {
        lower_float_binary(p, FOP_MUL, type);
        return;
    }
    a = lower_use(p, 1, type);
    b = lower_use(p, 2, type);
    if (lower_take(p, M_WIDE))
        lower_emit(p, by_wide(p, OPC_mulwide_u16, type), lower_def(p, 0, wide_type(type)), a, b,
                   REF_NONE);
    else if (lower_take(p, M_HI))
        lower_emit(p, by_pair(p, OPC_mulhi_u16, type), lower_def(p, 0, type), a, b, REF_NONE);
    else if (lower_take(p, M_LO))
        lower_emit(p, by_class(p, OPC_mul_16, type), lower_def(p, 0, type), a, b, REF_NONE);
    else
        lower_wrong(p, "one of .lo .hi .wide is missing");
}

/* mad.hi, and mad with carries: the product to a temporary, then the sum. */
static void lower_mad_steps(struct parser *p, enum type type, bool high, bool in)
{
    uint32_t product = lower_temp(p, type_class(type));
    uint32_t a = lower_use(p, 1, type);
    uint32_t b = lower_use(p, 2, type);
    uint32_t c = lower_use(p, 3, type);
    bool out = lower_take(p, M_CC);

    if (high)
        lower_emit(p, by_pair(p, OPC_mulhi_u16, type), product, a, b, REF_NONE);
    else
        lower_emit(p, by_class(p, OPC_mul_16, type), product, a, b, REF_NONE);
    if (in || out) {
        emit_addx(p, type, lower_def(p, 0, type), product, c,
                  (in ? ADDX_IN : 0) | (out ? ADDX_OUT : 0));
    } else if (lower_take(p, M_SAT)) {
        if (type != T_S32)
            parse_unsupported(p);
        lower_emit(p, OPC_addsat_s32, lower_def(p, 0, type), product, c, REF_NONE);
    } else {
        lower_emit(p, by_class(p, OPC_add_16, type), lower_def(p, 0, type), product, c, REF_NONE);
    }
}

void lower_mad(struct parser *p)
{
    enum type type = lower_type(p, 0, 1);
    bool in = p->inst.mnemonic == MN_madc;

    if (!type_is_integer(type)) {
        lower_fma(p);
        return;
    }
    lower_operands(p, 4, 4);
    if (lower_take(p, M_WIDE)) {
        uint32_t a = lower_use(p, 1, type);
        uint32_t b = lower_use(p, 2, type);

        lower_emit(p, by_wide(p, OPC_madwide_u16, type), lower_def(p, 0, wide_type(type)), a, b,
                   lower_use(p, 3, wide_type(type)));
    } else if (lower_take(p, M_HI)) {
        lower_mad_steps(p, type, true, in);
    } else if (!lower_take(p, M_LO)) {
        lower_wrong(p, "one of .lo .hi .wide is missing");
    } else if (in || lower_has(p, M_CC)) {
        lower_mad_steps(p, type, false, in);
    } else {
        uint32_t a = lower_use(p, 1, type);
        uint32_t b = lower_use(p, 2, type);

        lower_emit(p, by_class(p, OPC_mad_16, type), lower_def(p, 0, type), a, b,
                   lower_use(p, 3, type));
    }
}

void lower_mul24(struct parser *p)
{
    enum type type = lower_type(p, 0, 1);
    bool mad = p->inst.mnemonic == MN_mad24;
    unsigned code = OPC_mul24lo_u32;
    uint32_t product, a, b;

    if (type != T_U32 && type != T_S32)
        parse_unsupported(p);
    lower_operands(p, mad ? 4 : 3, mad ? 4 : 3);
    if (lower_take(p, M_HI))
        code = OPC_mul24hi_u32;
    else
        lower_take(p, M_LO);
    a = lower_use(p, 1, type);
    b = lower_use(p, 2, type);
    product = mad ? lower_temp(p, C_32) : lower_def(p, 0, type);
    lower_emit(p, code + (type == T_S32), product, a, b, REF_NONE);
    if (mad) {
        bool sat = lower_take(p, M_SAT);

        if (sat && (type != T_S32 || code != OPC_mul24hi_u32))
            parse_unsupported(p);
        lower_emit(p, sat ? OPC_addsat_s32 : OPC_add_32, lower_def(p, 0, type), product,
                   lower_use(p, 3, type), REF_NONE);
    }
}

void lower_div(struct parser *p)
{
    enum type type = lower_type(p, 0, 1);
    bool rem = p->inst.mnemonic == MN_rem;

    lower_operands(p, 3, 3);
    if (!type_is_integer(type) && !rem) {
        lower_float_binary(p, FOP_DIV, type);
    } else {
        uint32_t a = lower_use(p, 1, type);
        uint32_t b = lower_use(p, 2, type);

        lower_emit(p, by_sign(p, rem ? OPC_rem_u16 : OPC_div_u16, type), lower_def(p, 0, type), a,
                   b, REF_NONE);
    }
}

void lower_unary(struct parser *p)
{
    enum type type = lower_type(p, 0, 1);
    bool neg = p->inst.mnemonic == MN_neg;

    lower_operands(p, 2, 2);
    if (!type_is_integer(type)) {
        lower_float_unary(p, neg ? FOP_NEG : FOP_ABS, type);
    } else {
        uint32_t a = lower_use(p, 1, type);

        lower_emit(p, by_class(p, neg ? OPC_neg_16 : OPC_abs_16, type), lower_def(p, 0, type), a,
                   REF_NONE, REF_NONE);
    }
}

void lower_minmax(struct parser *p)
{
    enum type type = lower_type(p, 0, 1);
    bool min = p->inst.mnemonic == MN_min;

    if (!type_is_integer(type)) {
        lower_float_binary(p, min ? FOP_MIN : FOP_MAX, type);
    } else {
        uint32_t a = lower_use(p, 1, type);
        uint32_t b = lower_use(p, 2, type);

        lower_operands(p, 3, 3);
        lower_emit(p, by_sign(p, min ? OPC_min_u16 : OPC_max_u16, type), lower_def(p, 0, type), a,
                   b, REF_NONE);
        if (lower_take(p, M_RELU)) {
            uint32_t d = lower_def(p, 0, type);

            if (type != T_S32)
                parse_unsupported(p);
            lower_emit(p, OPC_max_s32, d, d, lower_constant(p, C_32, 0), REF_NONE);
        }
    }
}

void lower_sad(struct parser *p)
{
    enum type type = lower_type(p, 0, 1);
    uint32_t a, b, c;

    lower_operands(p, 4, 4);
    a = lower_use(p, 1, type);
    b = lower_use(p, 2, type);
    c = lower_use(p, 3, type);
    lower_emit(p, by_pair(p, OPC_sad_u16, type), lower_def(p, 0, type), a, b, c);
}

static void lower_bfind(struct parser *p, enum type type)
{
    static const struct {
        uint8_t type;
        uint16_t code;
    } codes[] = {{T_U32, OPC_bfind_u32},
                 {T_S32, OPC_bfind_s32},
                 {T_U64, OPC_bfind_u64},
                 {T_S64, OPC_bfind_s64}};
    bool amount = lower_take(p, M_SHIFTAMT);
    uint32_t a = lower_use(p, 1, type);

    for (unsigned i = 0; i < 4; i++) {
        if (codes[i].type != type)
            continue;
        lower_emit(p, codes[i].code, lower_def(p, 0, T_U32), a, REF_NONE, REF_NONE)->x = amount;
        return;
    }
    parse_unsupported(p);
}

static void lower_bfe(struct parser *p, enum type type)
{
    static const struct {
        uint8_t type;
        uint16_t code;
    } codes[] = {
        {T_U32, OPC_bfe_u32}, {T_U64, OPC_bfe_u64}, {T_S32, OPC_bfe_s32}, {T_S64, OPC_bfe_s64}};
    uint32_t a = lower_use(p, 1, type);
    uint32_t b = lower_use(p, 2, T_U32);
    uint32_t c = lower_use(p, 3, T_U32);

    for (unsigned i = 0; i < 4; i++) {
        if (codes[i].type != type)
            continue;
        lower_emit(p, codes[i].code, lower_def(p, 0, type), a, b, c);
        return;
    }
    parse_unsupported(p);
}

static void lower_bfi(struct parser *p, enum type type)
{
    uint32_t a = lower_use(p, 1, type);
    uint32_t b = lower_use(p, 2, type);
    uint32_t c = lower_use(p, 3, T_U32);
    uint32_t s = lower_use(p, 4, T_U32);

    if (type != T_B32 && type != T_B64)
        parse_unsupported(p);
    lower_emit(p, type == T_B32 ? OPC_bfi_32 : OPC_bfi_64, lower_def(p, 0, type), a, b, c)->s = s;
}

static void lower_extend(struct parser *p, enum type type)
{
    bool mask = p->inst.mnemonic == MN_bmsk;
    unsigned x = type_is_signed(type) ? EXT_SIGNED : 0;
    uint32_t a = lower_use(p, 1, type);
    uint32_t b = lower_use(p, 2, T_U32);

    if (lower_take(p, M_WRAP))
        x |= EXT_WRAP;
    else if (!lower_take(p, M_CLAMP))
        lower_wrong(p, "one of .clamp .wrap is missing");
    lower_emit(p, mask ? OPC_bmsk : OPC_szext, lower_def(p, 0, type), a, b, REF_NONE)->x =
        (uint8_t)x;
}

void lower_bits(struct parser *p)
{
    enum type type = lower_type(p, 0, 1);
    bool wide = type == T_B64;
    uint32_t a;

    switch (p->inst.mnemonic) {
    case MN_bfe:
        lower_operands(p, 4, 4);
        lower_bfe(p, type);
        return;
    case MN_bfi:
        lower_operands(p, 5, 5);
        lower_bfi(p, type);
        return;
    case MN_bfind:
        lower_operands(p, 2, 2);
        lower_bfind(p, type);
        return;
    case MN_szext:
    case MN_bmsk:
        lower_operands(p, 3, 3);
        lower_extend(p, type);
        return;
    case MN_fns:
        lower_operands(p, 4, 4);
        a = lower_use(p, 1, T_B32);
        lower_emit(p, OPC_fns, lower_def(p, 0, T_B32), a, lower_use(p, 2, T_B32),
                   lower_use(p, 3, T_S32));
        return;
    default:
        break;
    }
    lower_operands(p, 2, 2);
    if (type != T_B32 && type != T_B64)
        parse_unsupported(p);
    a = lower_use(p, 1, type);
    if (p->inst.mnemonic == MN_brev)
        lower_emit(p, wide ? OPC_brev_64 : OPC_brev_32, lower_def(p, 0, type), a, REF_NONE,
                   REF_NONE);
    else if (p->inst.mnemonic == MN_clz)
        lower_emit(p, wide ? OPC_clz_64 : OPC_clz_32, lower_def(p, 0, T_U32), a, REF_NONE,
                   REF_NONE);
    else
        lower_emit(p, wide ? OPC_popc_64 : OPC_popc_32, lower_def(p, 0, T_U32), a, REF_NONE,
                   REF_NONE);
}

void lower_prmt(struct parser *p)
{
    static const struct {
        uint8_t modifier, mode;
    } modes[] = {{M_F4E, PRMT_F4E}, {M_B4E, PRMT_B4E}, {M_RC8, PRMT_RC8},
                 {M_ECL, PRMT_ECL}, {M_ECR, PRMT_ECR}, {M_RC16, PRMT_RC16}};
    uint8_t x = PRMT_PLAIN;
    uint32_t a, b;

    if (lower_type(p, 0, 1) != T_B32)
        parse_unsupported(p);
    lower_operands(p, 4, 4);
    for (unsigned i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
        if (lower_take(p, (enum modifier)modes[i].modifier))
            x = modes[i].mode;
    a = lower_use(p, 1, T_B32);
    b = lower_use(p, 2, T_B32);
    lower_emit(p, OPC_prmt, lower_def(p, 0, T_B32), a, b, lower_use(p, 3, T_B32))->x = x;
}

static void lower_funnel(struct parser *p)
{
    bool left = lower_take(p, M_L);
    bool right = !left && lower_take(p, M_R);
    bool wrap = lower_take(p, M_WRAP);
    uint32_t a, b, c;

    if (lower_type(p, 0, 1) != T_B32 || (!left && !right) || (!wrap && !lower_take(p, M_CLAMP)))
        parse_unsupported(p);
    lower_operands(p, 4, 4);
    a = lower_use(p, 1, T_B32);
    b = lower_use(p, 2, T_B32);
    c = lower_use(p, 3, T_U32);
    if (left && wrap && a == b)
        lower_emit(p, OPC_rotate_32, lower_def(p, 0, T_B32), a, c, REF_NONE);
    else
        lower_emit(p,
                   left ? (wrap ? OPC_shfl_wrap : OPC_shfl_clamp)
                        : (wrap ? OPC_shfr_wrap : OPC_shfr_clamp),
                   lower_def(p, 0, T_B32), a, b, c);
}

void lower_shift(struct parser *p)
{
    enum type type;
    uint32_t a;

    if (p->inst.mnemonic == MN_shf) {
        lower_funnel(p);
        return;
    }
    type = lower_type(p, 0, 1);
    lower_operands(p, 3, 3);
    a = lower_use(p, 1, type);
    if (p->inst.mnemonic == MN_shl)
        lower_emit(p, by_class(p, OPC_shl_16, type), lower_def(p, 0, type), a,
                   lower_use(p, 2, T_U32), REF_NONE);
    else
        lower_emit(p, by_sign(p, OPC_shr_u16, type), lower_def(p, 0, type), a,
                   lower_use(p, 2, T_U32), REF_NONE);
}

void lower_lop3(struct parser *p)
{
    uint32_t a, b, c;

    if (lower_type(p, 0, 1) != T_B32)
        parse_unsupported(p);
    lower_operands(p, 5, 5);
    if (p->status != PTX_OK)
        return;
    if (p->inst.operands[4].kind != O_INT || p->inst.operands[4].value > 255 ||
        lower_has(p, M_AND) || lower_has(p, M_OR)) {
        parse_unsupported(p);
        return;
    }
    a = lower_use(p, 1, T_B32);
    b = lower_use(p, 2, T_B32);
    c = lower_use(p, 3, T_B32);
    if (p->inst.operands[4].value == 0x96)
        lower_emit(p, OPC_xor3, lower_def(p, 0, T_B32), a, b, c);
    else
        lower_emit(p, OPC_lop3, lower_def(p, 0, T_B32), a, b, c)->x =
            (uint8_t)p->inst.operands[4].value;
}

void lower_dp(struct parser *p)
{
    enum type first = lower_type(p, 0, 2);
    enum type second = lower_type(p, 1, 2);
    bool dp2 = p->inst.mnemonic == MN_dp2a;
    unsigned x = (first == T_S32 ? DP_SIGNED_A : 0) | (second == T_S32 ? DP_SIGNED_B : 0);
    uint32_t a, b, c;

    if ((first != T_S32 && first != T_U32) || (second != T_S32 && second != T_U32))
        parse_unsupported(p);
    if (dp2 && lower_take(p, M_HI))
        x |= DP_HIGH;
    else if (dp2 && !lower_take(p, M_LO))
        lower_wrong(p, "one of .lo .hi is missing");
    lower_operands(p, 4, 4);
    a = lower_use(p, 1, T_B32);
    b = lower_use(p, 2, T_B32);
    c = lower_use(p, 3, T_B32);
    lower_emit(p, dp2 ? OPC_dp2a : OPC_dp4a, lower_def(p, 0, T_B32), a, b, c)->x = (uint8_t)x;
}

void lower_logic(struct parser *p)
{
    static const struct {
        uint16_t code;
        uint8_t pred;
    } codes[N_MNEMONICS] = {[MN_and] = {OPC_and_16, PRED_AND},
                            [MN_or] = {OPC_or_16, PRED_OR},
                            [MN_xor] = {OPC_xor_16, PRED_XOR},
                            [MN_not] = {OPC_not_16, PRED_NOT}};
    enum type type = lower_type(p, 0, 1);
    bool one = p->inst.mnemonic == MN_not;
    uint32_t a, b = REF_NONE;

    lower_operands(p, one ? 2 : 3, one ? 2 : 3);
    a = lower_use(p, 1, type);
    if (!one)
        b = lower_use(p, 2, type);
    if (type == T_PRED)
        lower_emit(p, OPC_pred_logic, lower_def(p, 0, type), a, b, REF_NONE)->x =
            codes[p->inst.mnemonic].pred;
    else
        lower_emit(p, by_class(p, codes[p->inst.mnemonic].code, type), lower_def(p, 0, type), a, b,
                   REF_NONE);
}

static unsigned selp_code(struct parser *p, enum type type)
{
    return by_class(p, OPC_selp_16, type);
}

void lower_cnot(struct parser *p)
{
    enum type type = lower_type(p, 0, 1);
    uint32_t zero = lower_temp(p, C_PRED);
    enum rclass class = type_class(type);
    uint32_t a;

    lower_operands(p, 2, 2);
    a = lower_use(p, 1, type);
    lower_compare(p, 0, type, false, zero, REF_NONE, a, lower_constant(p, class, 0), REF_NONE, 0);
    lower_emit(p, selp_code(p, type), lower_def(p, 0, type), lower_constant(p, class, 1),
               lower_constant(p, class, 0), zero);
}

int lower_comparison(struct parser *p)
{
    enum modifier modifier = lower_take_range(p, M_EQ, M_NAN_CMP);

    switch (modifier) {
    case M_NONE:
        if (lower_take(p, M_LO))
            return 2;
        if (lower_take(p, M_HI))
            return 4;
        lower_wrong(p, "a comparison is missing");
        return 0;
    case M_LS:
        return 3;
    case M_HS:
        return 5;
    case M_EQ:
    case M_NE:
    case M_LT:
    case M_LE:
    case M_GT:
    case M_GE:
        return (int)(modifier - M_EQ);
    default:
        return (int)(modifier - M_EQU) + 6;
    }
}

void lower_compare(struct parser *p, int comparison, enum type type, bool ftz, uint32_t d,
                   uint32_t q, uint32_t a, uint32_t b, uint32_t c, uint8_t x)
{
    struct op *op;
    unsigned code;

    if (type == T_F32 || type == T_F64) {
        code = (type == T_F64 ? OPC_eq_f64
                : ftz         ? OPC_eq_f32_ftz
                              : OPC_eq_f32) +
               (unsigned)comparison;
    } else if (!type_is_integer(type)) {
        code = OPC_setp_half;
    } else {
        if (comparison > 5)
            parse_unsupported(p);
        code = OPC_eq_u16 + 6 * by_pair(p, 0, type) + (unsigned)comparison;
    }
    op = lower_emit(p, code, d, a, b, c);
    op->e = q;
    op->x = x;
    if (code == OPC_setp_half) {
        char kind = type_kind(type);

        op->imm = (uint64_t)comparison << 8 | (ftz ? FLAG_FTZ : 0) |
                  (kind == 'g' || kind == 'i' ? FLAG_BF16 : 0) |
                  (kind == 'h' || kind == 'i' ? FLAG_PACKED : 0);
        if (kind == 'p' || kind == 'x')
            parse_unsupported(p);
    }
}

/* The .and .or .xor of set and setp, with the predicate at operand i. */
static uint8_t lower_combine(struct parser *p, unsigned i, uint32_t *ret_c)
{
    uint8_t x = lower_take(p, M_AND) ? 1 : lower_take(p, M_OR) ? 2 : lower_take(p, M_XOR) ? 3 : 0;
    bool inverted;

    *ret_c = REF_NONE;
    lower_operands(p, x ? i + 1 : i, x ? i + 1 : i);
    if (x) {
        *ret_c = lower_use_pred(p, i, &inverted);
        if (inverted)
            x |= SETP_INVERT_C;
    }
    return x;
}

void lower_setp(struct parser *p)
{
    enum type type = lower_type(p, 0, 1);
    bool ftz = lower_take(p, M_FTZ);
    int comparison = lower_comparison(p);
    const struct operand *pair = &p->inst.operands[0];
    uint32_t q = REF_NONE;
    uint32_t a, b, c;
    uint8_t x = lower_combine(p, 3, &c);

    a = lower_use(p, 1, type);
    b = lower_use(p, 2, type);
    if (pair->has_pair) {
        q = pair->pair;
        if (p->body->classes.at[q] != C_PRED)
            lower_wrong(p, "register of the wrong type");
    }
    lower_compare(p, comparison, type, ftz, lower_def(p, 0, T_PRED), q, a, b, c, x);
}

void lower_set(struct parser *p)
{
    enum type to = lower_type(p, 0, 2);
    enum type type = lower_type(p, 1, 2);
    bool ftz = lower_take(p, M_FTZ);
    int comparison = lower_comparison(p);
    uint32_t result = lower_temp(p, C_PRED);
    uint64_t one = to == T_F32 ? 0x3f800000u : to == T_F16 ? 0x3c00u : UINT32_MAX;
    uint32_t a, b, c;
    uint8_t x = lower_combine(p, 3, &c);

    if (type_kind(type) == 'h' || type_kind(type) == 'i' ||
        (to != T_U32 && to != T_S32 && to != T_F32 && to != T_F16))
        parse_unsupported(p);
    a = lower_use(p, 1, type);
    b = lower_use(p, 2, type);
    lower_compare(p, comparison, type, ftz, result, REF_NONE, a, b, c, x);
    lower_emit(p, selp_code(p, to), lower_def(p, 0, to), lower_constant(p, type_class(to), one),
               lower_constant(p, type_class(to), 0), result);
}

void lower_selp(struct parser *p)
{
    enum type type = lower_type(p, 0, 1);
    bool inverted;
    uint32_t a, b, c;

    lower_operands(p, 4, 4);
    a = lower_use(p, 1, type);
    b = lower_use(p, 2, type);
    c = lower_use_pred(p, 3, &inverted);
    if (inverted)
        lower_emit(p, selp_code(p, type), lower_def(p, 0, type), b, a, c);
    else
        lower_emit(p, selp_code(p, type), lower_def(p, 0, type), a, b, c);
}

void lower_slct(struct parser *p)
{
    enum type type = lower_type(p, 0, 2);
    enum type by = lower_type(p, 1, 2);
    bool ftz = lower_take(p, M_FTZ);
    uint32_t result = lower_temp(p, C_PRED);
    uint32_t a, b;

    if (by != T_S32 && by != T_F32)
        parse_unsupported(p);
    lower_operands(p, 4, 4);
    lower_compare(p, 5, by, ftz, result, REF_NONE, lower_use(p, 3, by), lower_constant(p, C_32, 0),
                  REF_NONE, 0);
    a = lower_use(p, 1, type);
    b = lower_use(p, 2, type);
    lower_emit(p, selp_code(p, type), lower_def(p, 0, type), a, b, result);
}
