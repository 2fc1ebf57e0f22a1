/* SPDX-License-Identifier: Apache-2.0 */
/* Lowers mov, with packing and unpacking of vectors, special registers, and addresses. */
#include "softgpu/ptx/lower.h"

static void mov_sreg(struct parser *p, enum type type)
{
    const struct operand *operand = &p->inst.operands[1];
    enum rclass natural = operand->n_parts ? C_64 : C_32;
    enum rclass class = type_class(type);
    uint32_t d = lower_def(p, 0, type);
    uint32_t value = class == natural ? d : lower_temp(p, natural);
    unsigned code = 0;

    lower_emit(p, OPC_sreg, value, REF_NONE, REF_NONE, REF_NONE)->imm =
        operand->value | (uint64_t)(natural == C_64) << 32;
    if (class == natural)
        return;
    if (class == C_64)
        code = OPC_zext_32_64;
    else if (class == C_32)
        code = OPC_trunc_64_32;
    else if (class == C_16)
        code = natural == C_32 ? OPC_trunc_32_16 : OPC_trunc_64_16;
    else
        lower_wrong(p, "register of the wrong type");
    lower_emit(p, code, d, value, REF_NONE, REF_NONE);
}

/* The reference of a vector's part, of bits / n bits. */
static uint32_t part_use(struct parser *p, const struct part *part, enum rclass class)
{
    if (part->kind == O_REG) {
        if (p->body->classes.at[part->reg] != class)
            lower_wrong(p, "register of the wrong type in a vector");
        return part->reg;
    }
    if (part->kind == O_SINK || class == C_128)
        lower_wrong(p, "bad vector");
    return lower_constant(p, class, part->value);
}

static void mov_pack(struct parser *p, enum type type)
{
    const struct operand *vector = &p->inst.operands[1];
    unsigned bits = type_bits(type) / vector->n_parts;
    enum rclass class = bits == 64 ? C_64 : bits == 32 ? C_32 : C_16;
    uint32_t d = lower_def(p, 0, type);
    uint32_t parts[4] = {REF_NONE, REF_NONE, REF_NONE, REF_NONE};
    unsigned code = 0;
    struct op *op;

    if (vector->n_parts != 2 && vector->n_parts != 4) {
        parse_unsupported(p);
        return;
    }
    for (unsigned i = 0; i < vector->n_parts; i++)
        parts[i] = part_use(p, &vector->parts[i], class);
    if (vector->n_parts == 2)
        code = bits == 16 ? OPC_pack_16_32 : bits == 32 ? OPC_pack_32_64 : OPC_pack_64_128;
    else
        code = bits == 16 ? OPC_pack_16_64 : OPC_pack_8_32;
    if (bits < 8 || (bits == 8 && vector->n_parts == 2) || (bits == 32 && vector->n_parts == 4))
        parse_unsupported(p);
    op = lower_emit(p, code, d, parts[0], parts[1], parts[2]);
    op->s = parts[3];
}

static void mov_unpack(struct parser *p, enum type type)
{
    const struct operand *vector = &p->inst.operands[0];
    unsigned bits = type_bits(type) / vector->n_parts;
    enum rclass class = bits == 64 ? C_64 : bits == 32 ? C_32 : C_16;
    uint32_t a = lower_use(p, 1, type);

    if ((vector->n_parts != 2 && vector->n_parts != 4) || bits < 8 ||
        (bits == 8 && vector->n_parts == 2) || (bits == 32 && vector->n_parts == 4)) {
        parse_unsupported(p);
        return;
    }
    for (unsigned i = 0; i < vector->n_parts; i++) {
        const struct part *part = &vector->parts[i];
        unsigned code;

        if (part->kind == O_SINK)
            continue;
        if (part->kind != O_REG || p->body->classes.at[part->reg] != class) {
            lower_wrong(p, "register of the wrong type in a vector");
            return;
        }
        if (bits == 64)
            code = OPC_part_128_64;
        else if (bits == 32)
            code = i ? OPC_high_64_32 : OPC_trunc_64_32;
        else if (bits == 8)
            code = OPC_part_32_8;
        else if (vector->n_parts == 2)
            code = i ? OPC_high_32_16 : OPC_trunc_32_16;
        else
            code = OPC_part_64_16;
        lower_emit(p, code, part->reg, a, REF_NONE, REF_NONE)->x =
            (uint8_t)(bits == 64 ? i : i * bits);
    }
}

void lower_mov(struct parser *p)
{
    enum type type = lower_type(p, 0, 1);
    enum rclass class = type_class(type);
    uint32_t a;

    if (!lower_operands(p, 2, 2) || type_bits(type) == 8) {
        parse_unsupported(p);
        return;
    }
    if (p->inst.operands[1].kind == O_SREG) {
        mov_sreg(p, type);
        return;
    }
    if (p->inst.operands[0].kind == O_VECTOR) {
        mov_unpack(p, type);
        return;
    }
    if (p->inst.operands[1].kind == O_VECTOR) {
        mov_pack(p, type);
        return;
    }
    a = lower_use(p, 1, type);
    if (class == C_PRED)
        lower_emit(p, OPC_pred_logic, lower_def(p, 0, type), a, REF_NONE, REF_NONE)->x = PRED_MOV;
    else if (class == C_128)
        lower_emit(p, OPC_mov_128, lower_def(p, 0, type), a, REF_NONE, REF_NONE);
    else
        lower_emit(p, OPC_mov_16 + (unsigned)(class - C_16), lower_def(p, 0, type), a, REF_NONE,
                   REF_NONE);
}

static const struct {
    uint8_t modifier;
    uint64_t base;
} windows[] = {
    {M_SHARED, PTX_SHARED_BASE},
    {M_SHARED_CTA, PTX_SHARED_BASE},
    {M_LOCAL, PTX_LOCAL_BASE},
    {M_PARAM, PTX_PARAM_BASE},
    {M_PARAM_ENTRY, PTX_PARAM_BASE},
    {M_GLOBAL, 0},
    {M_CONST, 0},
};

/* Consumes a state space; *ret_base is the generic address of its address 0. */
static enum modifier take_window(struct parser *p, uint64_t *ret_base)
{
    for (unsigned i = 0; i < sizeof(windows) / sizeof(windows[0]); i++) {
        if (lower_take(p, (enum modifier)windows[i].modifier)) {
            *ret_base = windows[i].base;
            return (enum modifier)windows[i].modifier;
        }
    }
    parse_unsupported(p);
    return M_GLOBAL;
}

void lower_cvta(struct parser *p)
{
    enum type type = lower_type(p, 0, 1);
    bool to = lower_take(p, M_TO);
    uint64_t base = 0;
    uint32_t a, d;

    take_window(p, &base);
    if (type != T_U64)
        parse_unsupported(p);
    lower_operands(p, 2, 2);
    a = lower_use(p, 1, type);
    d = lower_def(p, 0, type);
    if (base == 0)
        lower_emit(p, OPC_mov_64, d, a, REF_NONE, REF_NONE);
    else
        lower_emit(p, to ? OPC_sub_64 : OPC_add_64, d, a, lower_constant(p, C_64, base), REF_NONE);
}

void lower_isspacep(struct parser *p)
{
    uint64_t base = 0;
    enum modifier space = take_window(p, &base);
    unsigned code;
    uint32_t a;

    lower_operands(p, 2, 2);
    a = lower_use(p, 1, T_B64);
    switch (space) {
    case M_SHARED:
    case M_SHARED_CTA:
        code = OPC_isshared;
        break;
    case M_LOCAL:
        code = OPC_islocal;
        break;
    case M_PARAM:
    case M_PARAM_ENTRY:
        code = OPC_isparam;
        break;
    case M_CONST:
        code = OPC_isconst;
        break;
    default:
        code = OPC_isglobal;
    }
    lower_emit(p, code, lower_def(p, 0, T_PRED), a, a, REF_NONE);
}
