/* SPDX-License-Identifier: Apache-2.0 */
/* The core of the lowering: operands, constants, guards, labels; see lower.h. */
#include "softgpu/ptx/lower.h"

#include <string.h>

static const struct {
    void (*lower)(struct parser *p);
    bool flow;
} table[N_MNEMONICS] = {
    {NULL, false},
#define MNEMONIC(name, lower, flow) {lower, flow},
#include "softgpu/ptx/mnemonics.def"
#undef MNEMONIC
};

void lower_wrong(struct parser *p, const char *what)
{
    uint32_t length = p->inst.text_bytes < 60 ? p->inst.text_bytes : 60;

    parse_error(p, PTX_SYNTAX, p->inst.line, "%.*s: %s", (int)length, p->inst.text, what);
}

bool lower_has(const struct parser *p, enum modifier modifier)
{
    return memchr(p->inst.modifiers, (int)modifier, p->inst.n_modifiers);
}

bool lower_take(struct parser *p, enum modifier modifier)
{
    return lower_take_range(p, modifier, modifier) != M_NONE;
}

enum modifier lower_take_range(struct parser *p, enum modifier from, enum modifier to)
{
    for (unsigned i = 0; i < p->inst.n_modifiers; i++) {
        enum modifier found = (enum modifier)p->inst.modifiers[i];

        if (found >= from && found <= to && found != M_NONE) {
            p->inst.modifiers[i] = M_NONE;
            return found;
        }
    }
    return M_NONE;
}

enum type lower_type(struct parser *p, unsigned i, unsigned n)
{
    if (p->inst.n_types == n)
        return (enum type)p->inst.types[i];
    if (p->inst.n_types > n)
        parse_unsupported(p);
    else
        lower_wrong(p, "a type is missing");
    return T_B32;
}

bool lower_operands(struct parser *p, unsigned min, unsigned max)
{
    if (p->inst.n_operands >= min && p->inst.n_operands <= max)
        return true;
    lower_wrong(p, "wrong number of operands");
    return false;
}

uint32_t lower_register(struct parser *p, enum type type)
{
    uint8_t class = (uint8_t)type_class(type);

    if (!array_push(&p->body->classes, class)) {
        parse_no_memory(p);
        return UINT32_MAX;
    }
    return p->body->classes.n - 1;
}

uint32_t lower_temp(struct parser *p, enum rclass class)
{
    static const uint8_t types[N_CLASSES] = {
        [C_PRED] = T_PRED, [C_16] = T_B16, [C_32] = T_B32, [C_64] = T_B64, [C_128] = T_B128};
    uint32_t reg = lower_register(p, (enum type)types[class]);

    return reg == UINT32_MAX ? 0 : reg;
}

static bool grow_constant_slots(struct body *body)
{
    uint32_t size = body->constant_mask ? (body->constant_mask + 1) * 2 : 64;
    uint32_t *slots = calloc(size, sizeof(*slots));

    if (!slots)
        return false;
    for (uint32_t i = 0; i < body->constants.n; i++) {
        uint64_t hash =
            (body->constants.at[i] + body->constant_classes.at[i]) * UINT64_C(0x9e3779b97f4a7c15);
        uint32_t at = (uint32_t)(hash >> 32);

        while (slots[at & (size - 1)])
            at++;
        slots[at & (size - 1)] = i + 1;
    }
    free(body->constant_slots);
    body->constant_slots = slots;
    body->constant_mask = size - 1;
    return true;
}

/* Most probes for a constant that is there already: chosen values cannot make this slow. */
#define CONSTANT_PROBES 64

uint32_t lower_constant(struct parser *p, enum rclass class, uint64_t value)
{
    struct body *body = p->body;
    uint64_t hash;
    uint32_t at, probes = 0;

    if (class == C_PRED)
        value = value ? UINT32_MAX : 0;
    else if (class < C_64)
        value &= (UINT64_C(1) << (class == C_16 ? 16 : 32)) - 1;
    if (body->constants.n * 2 >= body->constant_mask && !grow_constant_slots(body)) {
        parse_no_memory(p);
        return 0;
    }
    hash = (value + class) * UINT64_C(0x9e3779b97f4a7c15);
    at = (uint32_t)(hash >> 32);
    for (; body->constant_slots[at & body->constant_mask] && probes < CONSTANT_PROBES; at++) {
        uint32_t i = body->constant_slots[at & body->constant_mask] - 1;

        probes++;
        if (body->constants.at[i] == value && body->constant_classes.at[i] == class)
            return REF_CONST | i;
    }
    if (!array_push(&body->constants, value) ||
        !array_push(&body->constant_classes, (uint8_t) class)) {
        parse_no_memory(p);
        return 0;
    }
    if (probes < CONSTANT_PROBES)
        body->constant_slots[at & body->constant_mask] = body->constants.n;
    return REF_CONST | (body->constants.n - 1);
}

struct op *lower_emit(struct parser *p, unsigned code, uint32_t d, uint32_t a, uint32_t b,
                      uint32_t c)
{
    static struct op spare;
    struct op op = {.code = (uint16_t)code,
                    .d = d,
                    .e = REF_NONE,
                    .a = a,
                    .b = b,
                    .c = c,
                    .s = REF_NONE,
                    .ext = UINT32_MAX,
                    .line = p->inst.line};

    if (!array_push(&p->body->ops, op)) {
        parse_no_memory(p);
        return &spare;
    }
    return &p->body->ops.at[p->body->ops.n - 1];
}

uint32_t lower_more(struct parser *p, uint32_t value)
{
    if (!array_push(&p->body->function->more, value)) {
        parse_no_memory(p);
        return 0;
    }
    return p->body->function->more.n - 1;
}

/* A float or integer literal as the bits of this type. */
static uint64_t literal_bits(struct parser *p, unsigned kind, uint64_t value, enum type type)
{
    char form = type_kind(type);
    uint32_t bits = (uint32_t)value;
    double wide;
    float narrow;

    if (kind == O_INT) {
        if (type == T_F32 || type == T_F64)
            lower_wrong(p, "integer where a float is expected");
        return value;
    }
    if (form != 'f' && form != 'b')
        lower_wrong(p, "float where an integer is expected");
    if (kind == O_F32) {
        memcpy(&narrow, &bits, sizeof(narrow));
        wide = (double)narrow;
        if (type_bits(type) == 64)
            memcpy(&value, &wide, sizeof(value));
        return value;
    }
    if (type_bits(type) == 32) {
        memcpy(&wide, &value, sizeof(wide));
        narrow = (float)wide;
        memcpy(&bits, &narrow, sizeof(bits));
        return bits;
    }
    return value;
}

static uint32_t use_any(struct parser *p, unsigned i, enum type type, bool wider,
                        enum rclass *ret_class)
{
    enum rclass class = type_class(type);
    const struct operand *operand = &p->inst.operands[i];
    uint64_t offset;
    uint32_t ref;

    *ret_class = class;
    if (i >= p->inst.n_operands) {
        lower_wrong(p, "an operand is missing");
        return 0;
    }
    switch (operand->kind) {
    case O_REG:
        *ret_class = (enum rclass)p->body->classes.at[operand->reg];
        if (operand->inverted || operand->has_pair ||
            (wider ? *ret_class < class || (class == C_PRED && *ret_class != C_PRED)
                   : *ret_class != class))
            lower_wrong(p, "register of the wrong type");
        return operand->reg;
    case O_INT:
    case O_F32:
    case O_F64:
        if (class == C_128)
            break;
        return lower_constant(p, class, literal_bits(p, operand->kind, operand->value, type));
    case O_SYMBOL:
    case O_LOCAL:
    case O_KPARAM:
        if (class != C_64 && class != C_32)
            break;
        ref = lower_address(p, operand, &offset);
        if (offset) {
            uint32_t sum = lower_temp(p, C_64);

            lower_emit(p, OPC_add_64, sum, ref, lower_constant(p, C_64, offset), REF_NONE);
            ref = sum;
        }
        if (class == C_32) {
            uint32_t low = lower_temp(p, C_32);

            lower_emit(p, OPC_trunc_64_32, low, ref, REF_NONE, REF_NONE);
            ref = low;
        }
        return ref;
    default:
        break;
    }
    lower_wrong(p, "bad operand");
    return 0;
}

uint32_t lower_use(struct parser *p, unsigned i, enum type type)
{
    enum rclass class;

    return use_any(p, i, type, false, &class);
}

uint32_t lower_use_wide(struct parser *p, unsigned i, enum type type, enum rclass *ret_class)
{
    return use_any(p, i, type, true, ret_class);
}

uint32_t lower_use_pred(struct parser *p, unsigned i, bool *ret_inverted)
{
    struct operand *operand = &p->inst.operands[i];

    *ret_inverted = false;
    if (i < p->inst.n_operands && operand->inverted) {
        *ret_inverted = true;
        operand->inverted = false;
    }
    return lower_use(p, i, T_PRED);
}

uint32_t lower_def_wide(struct parser *p, unsigned i, enum type type, enum rclass *ret_class)
{
    const struct operand *operand = &p->inst.operands[i];
    enum rclass class = type_class(type);

    *ret_class = class;
    if (i >= p->inst.n_operands) {
        lower_wrong(p, "an operand is missing");
        return 0;
    }
    if (operand->kind == O_SINK)
        return lower_temp(p, class);
    if (operand->kind != O_REG || operand->inverted) {
        lower_wrong(p, "the destination is not a register");
        return 0;
    }
    *ret_class = (enum rclass)p->body->classes.at[operand->reg];
    if (*ret_class < class || (class == C_PRED && *ret_class != C_PRED))
        lower_wrong(p, "register of the wrong type");
    return operand->reg;
}

uint32_t lower_def(struct parser *p, unsigned i, enum type type)
{
    enum rclass class;
    uint32_t reg = lower_def_wide(p, i, type, &class);

    if (class != type_class(type))
        lower_wrong(p, "register of the wrong type");
    return reg;
}

uint32_t lower_new_label(struct parser *p)
{
    struct label_place place = {UINT32_MAX, UINT32_MAX};

    if (!array_push(&p->body->labels, place)) {
        parse_no_memory(p);
        return UINT32_MAX;
    }
    return p->body->labels.n - 1;
}

bool lower_label(struct parser *p, uint32_t label)
{
    p->body->labels.at[label].op = p->body->ops.n;
    return true;
}

struct op *lower_branch(struct parser *p, uint32_t pred, bool inverted, uint32_t label)
{
    struct op *op =
        lower_emit(p, pred == REF_NONE ? OPC_jmp : OPC_bra, REF_NONE, pred, REF_NONE, REF_NONE);

    op->x = inverted;
    op->ext = label;
    op->flags |= OPF_TERM;
    return op;
}

/* Puts a guard in front of each op from index first on. */
static bool guard_ops(struct parser *p, uint32_t first, uint32_t guard, bool inverted)
{
    struct body *body = p->body;
    uint32_t n = body->ops.n - first;

    for (uint32_t i = 0; i < n; i++)
        lower_emit(p, OPC_guard, REF_NONE, guard, REF_NONE, REF_NONE);
    if (p->status != PTX_OK)
        return false;
    for (uint32_t i = n; i-- > 0;) {
        struct op op = body->ops.at[first + i];

        op.flags |= OPF_COND;
        body->ops.at[first + 2 * i + 1] = op;
        body->ops.at[first + 2 * i] = (struct op){.code = OPC_guard,
                                                  .x = inverted,
                                                  .d = REF_NONE,
                                                  .e = REF_NONE,
                                                  .a = guard,
                                                  .b = REF_NONE,
                                                  .c = REF_NONE,
                                                  .s = REF_NONE,
                                                  .ext = UINT32_MAX,
                                                  .line = op.line};
    }
    return true;
}

bool lower_instruction(struct parser *p, uint32_t guard, bool guard_inverted)
{
    struct body *body = p->body;
    uint32_t first = body->ops.n;
    bool around = guard != REF_NONE && table[p->inst.mnemonic].flow;
    uint32_t skip = UINT32_MAX;

    if (p->inst.mnemonic == MN_bra) {
        struct op *op;

        lower_take(p, M_UNI);
        if (lower_operands(p, 1, 1) && p->inst.operands[0].kind != O_LABEL)
            lower_wrong(p, "expected a label");
        op = lower_branch(p, guard, guard_inverted, p->inst.operands[0].reg);
        op->n = 1;
    } else {
        if (around) {
            skip = lower_new_label(p);
            if (skip == UINT32_MAX)
                return false;
            lower_branch(p, guard, !guard_inverted, skip);
        }
        table[p->inst.mnemonic].lower(p);
        if (body->ops.n > first)
            body->ops.at[body->ops.n - 1].n = 1;
        if (around)
            lower_label(p, skip);
    }
    for (unsigned i = 0; i < p->inst.n_modifiers; i++)
        if (p->inst.modifiers[i] != M_NONE)
            parse_unsupported(p);
    if (p->status != PTX_OK)
        return false;
    if (guard != REF_NONE && !around && p->inst.mnemonic != MN_bra)
        return guard_ops(p, first, guard, guard_inverted);
    return true;
}

bool lower_function_begin(struct parser *p)
{
    p->inst.line = p->token.line;
    lower_load_params(p);
    return p->status == PTX_OK;
}

bool lower_function_end(struct parser *p)
{
    struct ptx_function *function = p->body->function;

    p->inst.line = p->token.line;
    if (!function->is_entry)
        lower_store_rets(p);
    lower_emit(p, function->is_entry ? OPC_exit : OPC_ret, REF_NONE, REF_NONE, REF_NONE, REF_NONE)
        ->flags |= OPF_TERM;
    function->local_bytes = (uint32_t)((p->body->local_bytes + 15) & ~UINT64_C(15));
    return p->status == PTX_OK && flow_order(p) && registers_assign(p);
}
