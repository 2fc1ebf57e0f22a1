/* SPDX-License-Identifier: Apache-2.0 */
/* Reads instructions: guard, opcode with its words, operands. Hands each to the lowering. */
#include "softgpu/ptx/parse.h"

#include <string.h>

#define ADDRESS_KINDS (1u << NAME_LOCAL | 1u << NAME_KPARAM | 1u << NAME_SYMBOL)
#define LABEL_KINDS   (1u << NAME_LABEL | 1u << NAME_PENDING)

static bool syntax(struct parser *p, const char *what)
{
    return parse_error(p, PTX_SYNTAX, p->token.line, "%s before '%.*s'", what,
                       (int)(p->token.length < 60 ? p->token.length : 60), p->token.text);
}

/* %r12 of a range declared as %r<100>. */
static const struct name *find_in_range(struct parser *p, const char *text, uint32_t length,
                                        uint32_t *ret_reg)
{
    uint32_t digits = 0;
    uint64_t number = 0;
    const struct name *name;

    while (digits < length && text[length - 1 - digits] >= '0' && text[length - 1 - digits] <= '9')
        digits++;
    for (uint32_t take = digits > 7 ? 7 : digits; take > 0; take--) {
        if (take > 1 && text[length - take] == '0')
            continue;
        name = scope_find(&p->scope, text, length - take, 1u << NAME_REG_RANGE);
        if (!name)
            continue;
        number = 0;
        for (uint32_t i = length - take; i < length; i++)
            number = number * 10 + (uint64_t)(text[i] - '0');
        if (number < name->b) {
            *ret_reg = name->a + (uint32_t)number;
            return name;
        }
    }
    return NULL;
}

static bool find_register(struct parser *p, const char *text, uint32_t length, uint32_t *ret)
{
    const struct name *name = scope_find(&p->scope, text, length, 1u << NAME_REG);

    if (name) {
        *ret = name->a;
        return true;
    }
    return find_in_range(p, text, length, ret);
}

bool parse_label_reference(struct parser *p, const char *text, uint32_t length, uint32_t *ret)
{
    const struct name *name = scope_find(&p->scope, text, length, LABEL_KINDS);

    if (name && (name->kind == NAME_LABEL || name->depth == p->scope.depth)) {
        *ret = name->a;
        return true;
    }
    *ret = lower_new_label(p);
    if (*ret == UINT32_MAX || !scope_add(&p->scope, text, length, NAME_PENDING, *ret, 0))
        return parse_no_memory(p);
    return true;
}

/* The address of a named variable: operand kind, and value or symbol. */
static void address_of(const struct name *name, struct operand *ret)
{
    switch (name->kind) {
    case NAME_LOCAL:
        ret->kind = O_LOCAL;
        ret->value = name->a;
        break;
    case NAME_KPARAM:
        ret->kind = O_KPARAM;
        ret->value = name->a;
        break;
    default:
        ret->kind = O_SYMBOL;
        ret->symbol = name->a;
        ret->value = 0;
    }
}

static bool parse_sreg(struct parser *p, struct operand *ret)
{
    struct token name = p->token;
    const char *suffix = "x";
    uint32_t suffix_length = sreg_is_vector(name.text, name.length) ? 1 : 0;
    bool wide;

    parse_next(p);
    if (p->token.kind == TOK_DOT) {
        suffix = p->token.text;
        suffix_length = p->token.length;
        parse_next(p);
    }
    ret->kind = O_SREG;
    ret->value = sreg_find(name.text, name.length, suffix, suffix_length, &wide);
    ret->n_parts = wide;
    if (ret->value == SREG_NONE)
        return parse_error(p, PTX_SYNTAX, name.line, "'%.*s' is not declared",
                           (int)(name.length < 60 ? name.length : 60), name.text);
    return true;
}

/* A name: label of a bra, register, address, special register, or WARP_SZ. */
static bool parse_name_operand(struct parser *p, struct operand *ret)
{
    struct token token = p->token;
    const struct name *name;

    if (token.length == 1 && token.text[0] == '_') {
        ret->kind = O_SINK;
        parse_next(p);
        return true;
    }
    if (p->inst.mnemonic == MN_bra) {
        ret->kind = O_LABEL;
        parse_next(p);
        return parse_label_reference(p, token.text, token.length, &ret->reg);
    }
    if (find_register(p, token.text, token.length, &ret->reg)) {
        ret->kind = O_REG;
        parse_next(p);
        return p->token.kind == TOK_DOT ? syntax(p, "expected no register component") : true;
    }
    name = scope_find(&p->scope, token.text, token.length, ADDRESS_KINDS);
    if (name) {
        parse_next(p);
        address_of(name, ret);
        if (parse_is(p, '+') || parse_is(p, '-')) {
            uint64_t addend;

            if (!parse_constant(p, &addend))
                return false;
            ret->value += addend;
        }
        return true;
    }
    if (token.length == 7 && !memcmp(token.text, "WARP_SZ", 7)) {
        ret->kind = O_INT;
        ret->value = PTX_WARP_LANES;
        parse_next(p);
        return true;
    }
    if (token.text[0] == '%')
        return parse_sreg(p, ret);
    name =
        scope_find(&p->scope, token.text, token.length, 1u << NAME_TARGETS | 1u << NAME_PROTOTYPE);
    if (name) {
        ret->kind = name->kind == NAME_TARGETS ? O_TARGETS : O_PROTOTYPE;
        ret->reg = name->a;
        parse_next(p);
        return true;
    }
    return parse_error(p, PTX_SYNTAX, token.line, "'%.*s' is not declared",
                       (int)(token.length < 100 ? token.length : 100), token.text);
}

static bool parse_number_operand(struct parser *p, struct operand *ret)
{
    bool negative = false;
    bool inverted = false;

    if (parse_take(p, '-'))
        negative = true;
    else if (parse_take(p, '~'))
        inverted = true;
    else if (parse_take(p, '!'))
        return syntax(p, "expected a number");
    switch (p->token.kind) {
    case TOK_INT:
        ret->kind = O_INT;
        ret->value = negative ? 0 - p->token.value : p->token.value;
        if (inverted)
            ret->value = ~ret->value;
        break;
    case TOK_F32:
        ret->kind = O_F32;
        ret->value = p->token.value ^ (negative ? UINT64_C(1) << 31 : 0);
        break;
    case TOK_F64:
        ret->kind = O_F64;
        ret->value = p->token.value ^ (negative ? UINT64_C(1) << 63 : 0);
        break;
    default:
        return syntax(p, "expected an operand");
    }
    parse_next(p);
    return true;
}

static bool parse_address(struct parser *p, struct operand *ret)
{
    struct operand base = {0};

    if (p->token.kind == TOK_NAME) {
        if (!parse_name_operand(p, &base))
            return false;
        if (base.kind != O_REG && base.kind != O_SYMBOL && base.kind != O_LOCAL &&
            base.kind != O_KPARAM)
            return syntax(p, "expected an address");
    } else if (!parse_number_operand(p, &base)) {
        return false;
    }
    if (parse_is(p, '+') || parse_is(p, '-')) {
        bool minus = parse_is(p, '-');
        uint64_t addend;

        if (!minus)
            parse_next(p);
        if (!parse_constant(p, &addend))
            return false;
        base.value += addend;
    }
    *ret = base;
    ret->base_kind = base.kind;
    ret->kind = O_ADDRESS;
    return parse_expect(p, ']');
}

static bool parse_vector(struct parser *p, struct operand *ret)
{
    ret->kind = O_VECTOR;
    do {
        struct operand part = {0};

        if (ret->n_parts == VECTOR_MAX)
            return syntax(p, "vector is too long");
        if (!(p->token.kind == TOK_NAME ? parse_name_operand(p, &part)
                                        : parse_number_operand(p, &part)))
            return false;
        if (part.kind != O_REG && part.kind != O_SINK && part.kind != O_INT && part.kind != O_F32 &&
            part.kind != O_F64)
            return syntax(p, "expected registers or numbers in a vector");
        ret->parts[ret->n_parts++] =
            (struct part){.kind = part.kind, .reg = part.reg, .value = part.value};
    } while (parse_take(p, ','));
    return parse_expect(p, '}');
}

bool parse_operand(struct parser *p, struct operand *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (parse_take(p, '['))
        return parse_address(p, ret);
    if (parse_take(p, '{'))
        return parse_vector(p, ret);
    if (parse_take(p, '!')) {
        ret->inverted = true;
        if (p->token.kind != TOK_NAME)
            return syntax(p, "expected a predicate");
    }
    if (p->token.kind != TOK_NAME)
        return parse_number_operand(p, ret);
    if (!parse_name_operand(p, ret))
        return false;
    if (ret->inverted && ret->kind != O_REG)
        return syntax(p, "expected a predicate");
    if (parse_take(p, '|')) {
        struct operand second = {0};

        if (p->token.kind != TOK_NAME || !parse_name_operand(p, &second) ||
            (second.kind != O_REG && second.kind != O_SINK) ||
            (ret->kind != O_REG && ret->kind != O_SINK))
            return syntax(p, "expected a second destination");
        ret->has_pair = second.kind == O_REG;
        ret->pair = second.reg;
    }
    return true;
}

/* The words after the opcode, sorted into types and the rest. */
static bool parse_words(struct parser *p)
{
    struct inst *inst = &p->inst;

    while (p->token.kind == TOK_DOT) {
        unsigned number;
        enum word_kind kind = words_find(p->words, p->token.text, p->token.length, false, &number);

        inst->text_bytes = (uint32_t)(p->token.text + p->token.length - inst->text);
        parse_next(p);
        if (kind == W_TYPE && inst->n_types < 4) {
            inst->types[inst->n_types++] = (uint8_t)number;
            if (type_kind((enum type)number) == 'x')
                kind = W_NONE;
        } else if (kind == W_MODIFIER && inst->n_modifiers < MODIFIERS_MAX) {
            inst->modifiers[inst->n_modifiers++] = (uint8_t)number;
        } else {
            kind = W_NONE;
        }
        if (kind == W_NONE) {
            while (p->token.kind == TOK_DOT) {
                inst->text_bytes = (uint32_t)(p->token.text + p->token.length - inst->text);
                parse_next(p);
            }
            return parse_unsupported(p);
        }
    }
    return true;
}

/* (a, b, c): parameters of a call, as registers, numbers or places in the frame. */
static bool parse_call_list(struct parser *p, bool rets)
{
    while (!parse_is(p, ')')) {
        struct operand operand;
        struct part part;

        if (!parse_operand(p, &operand))
            return false;
        if (operand.kind != O_REG && operand.kind != O_LOCAL && operand.kind != O_INT &&
            operand.kind != O_F32 && operand.kind != O_F64 && operand.kind != O_SINK)
            return syntax(p, "bad parameter of a call");
        part = (struct part){.kind = operand.kind, .reg = operand.reg, .value = operand.value};
        if ((rets ? p->body->rets.n : p->body->args.n) >= PTX_MAX_PARAMS)
            return parse_error(p, PTX_TOO_LARGE, p->token.line, "more than %d parameters",
                               PTX_MAX_PARAMS);
        if (!(rets ? array_push(&p->body->rets, part) : array_push(&p->body->args, part)))
            return parse_no_memory(p);
        if (!parse_take(p, ','))
            break;
    }
    return parse_expect(p, ')');
}

/* call [(rets),] target [, (args) [, prototype]] */
static bool parse_call_operands(struct parser *p)
{
    struct inst *inst = &p->inst;

    p->body->rets.n = p->body->args.n = 0;
    if (parse_take(p, '(') && (!parse_call_list(p, true) || !parse_expect(p, ',')))
        return false;
    if (!parse_operand(p, &inst->operands[inst->n_operands++]))
        return false;
    if (!parse_take(p, ','))
        return true;
    if (parse_take(p, '(')) {
        if (!parse_call_list(p, false))
            return false;
        if (!parse_take(p, ','))
            return true;
    }
    return parse_operand(p, &inst->operands[inst->n_operands++]);
}

static bool parse_operands(struct parser *p)
{
    struct inst *inst = &p->inst;

    if (inst->mnemonic == MN_call)
        return parse_call_operands(p);
    if (parse_is(p, ';'))
        return true;
    do {
        if (inst->n_operands == OPERANDS_MAX)
            return parse_unsupported(p);
        if (!parse_operand(p, &inst->operands[inst->n_operands++]))
            return false;
    } while (parse_take(p, ','));
    return true;
}

static bool parse_instruction_guarded(struct parser *p, const struct token *opcode, uint32_t guard,
                                      bool inverted)
{
    struct inst *inst = &p->inst;
    unsigned number;

    memset(inst, 0, offsetof(struct inst, operands));
    inst->n_operands = 0;
    inst->line = opcode->line;
    inst->text = opcode->text;
    inst->text_bytes = opcode->length;
    if (words_find(p->words, opcode->text, opcode->length, true, &number) != W_MNEMONIC) {
        while (p->token.kind == TOK_DOT) {
            inst->text_bytes = (uint32_t)(p->token.text + p->token.length - inst->text);
            parse_next(p);
        }
        return parse_unsupported(p);
    }
    inst->mnemonic = (enum mnemonic)number;
    if (p->program->n_instructions++ >= PTX_MAX_INSTRUCTIONS)
        return parse_error(p, PTX_TOO_LARGE, inst->line, "more than %u instructions",
                           PTX_MAX_INSTRUCTIONS);
    p->body->line = inst->line;
    return parse_words(p) && parse_operands(p) && parse_expect(p, ';') &&
           lower_instruction(p, guard, inverted);
}

bool parse_instruction(struct parser *p, const struct token *opcode)
{
    return parse_instruction_guarded(p, opcode, REF_NONE, false);
}

/* @p and @!p */
bool parse_guarded(struct parser *p)
{
    struct token opcode;
    uint32_t guard;
    bool inverted;

    parse_next(p);
    inverted = parse_take(p, '!');
    if (p->token.kind != TOK_NAME || !find_register(p, p->token.text, p->token.length, &guard) ||
        p->body->classes.at[guard] != C_PRED)
        return syntax(p, "expected a predicate");
    parse_next(p);
    opcode = p->token;
    if (opcode.kind != TOK_NAME)
        return syntax(p, "expected an instruction");
    parse_next(p);
    return parse_instruction_guarded(p, &opcode, guard, inverted);
}
