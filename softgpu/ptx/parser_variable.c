/* SPDX-License-Identifier: Apache-2.0 */
/* Reads .global, .const and .shared variables with their initialisers. */
#include "softgpu/ptx/parse.h"
#include "common/overflow.h"

#include <stdio.h>
#include <string.h>

#define ALIGN_MAX 4096

bool parse_alignment(struct parser *p, uint64_t *ret)
{
    uint64_t align;

    if (!parse_u64(p, &align))
        return false;
    if (align == 0 || align > ALIGN_MAX || (align & (align - 1)))
        return parse_error(p, PTX_SYNTAX, p->token.line, "bad .align");
    *ret = align;
    return true;
}

bool parse_dimensions(struct parser *p, struct dimensions *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->total = 1;
    while (parse_take(p, '[')) {
        if (ret->n == DIMENSIONS_MAX)
            return parse_error(p, PTX_TOO_LARGE, p->token.line, "more than %d dimensions",
                               DIMENSIONS_MAX);
        if (parse_is(p, ']') && ret->n == 0)
            ret->open = true;
        else if (!parse_u64(p, &ret->count[ret->n]))
            return false;
        else if (!vgpu_mul_u64(ret->total, ret->count[ret->n], &ret->total) ||
                 ret->total > PTX_MAX_VARIABLE_BYTES)
            return parse_error(p, PTX_TOO_LARGE, p->token.line, "array is too large");
        ret->n++;
        if (!parse_expect(p, ']'))
            return false;
    }
    return true;
}

/* [+-~]* number; the value as it stands in 64 bits. */
bool parse_constant(struct parser *p, uint64_t *ret)
{
    bool negative = false;
    bool inverted = false;

    if (parse_take(p, '-'))
        negative = true;
    else if (parse_take(p, '~'))
        inverted = true;
    else
        parse_take(p, '+');
    if (!parse_u64(p, ret))
        return false;
    if (negative)
        *ret = 0 - *ret;
    if (inverted)
        *ret = ~*ret;
    return true;
}

struct init {
    struct variable *variable;
    const struct dimensions *dimensions;
    enum type type;
    uint32_t element_bytes;
};

static bool init_room(struct parser *p, struct variable *variable, uint64_t end)
{
    uint64_t wanted = variable->init_bytes ? variable->init_bytes : 64;
    uint8_t *grown;

    if (end <= variable->init_bytes)
        return true;
    while (wanted < end)
        wanted *= 2;
    p->program->init_bytes += wanted - variable->init_bytes;
    if (p->program->init_bytes > PTX_MAX_INIT_BYTES)
        return parse_error(p, PTX_TOO_LARGE, p->token.line, "more than %u bytes of initialisers",
                           PTX_MAX_INIT_BYTES);
    grown = realloc(variable->init, wanted);
    if (!grown)
        return parse_no_memory(p);
    memset(grown + variable->init_bytes, 0, wanted - variable->init_bytes);
    variable->init = grown;
    variable->init_bytes = wanted;
    return true;
}

/* A float token as the bits of a value of this type. */
static bool float_bits(enum type type, const struct token *token, uint64_t *ret)
{
    double wide;
    float narrow;
    uint32_t bits = (uint32_t)token->value;

    if (type != T_F32 && type != T_F64) {
        *ret = token->value;
        return type == (token->kind == TOK_F32 ? T_B32 : T_B64);
    }
    if (token->kind == TOK_F64) {
        memcpy(&wide, &token->value, sizeof(wide));
        narrow = (float)wide;
    } else {
        memcpy(&narrow, &bits, sizeof(narrow));
        wide = (double)narrow;
    }
    if (type == T_F32 && token->kind == TOK_F32) {
        *ret = bits;
    } else if (type == T_F32) {
        memcpy(&bits, &narrow, sizeof(bits));
        *ret = bits;
    } else if (token->kind == TOK_F64) {
        *ret = token->value;
    } else {
        memcpy(ret, &wide, sizeof(*ret));
    }
    return true;
}

/* symbol, generic(symbol), 0xff00(symbol), each with an optional + number. */
static bool init_symbol(struct parser *p, struct init *init, uint64_t offset, uint64_t mask)
{
    struct reloc reloc = {.offset = offset, .size_bytes = (uint8_t)init->element_bytes};
    const struct name *name;
    bool generic =
        p->token.kind == TOK_NAME && p->token.length == 7 && !memcmp(p->token.text, "generic", 7);
    bool nested = false;
    uint64_t addend = 0;

    if (generic) {
        parse_next(p);
        if (!parse_expect(p, '('))
            return false;
        nested = true;
    }
    name = p->token.kind == TOK_NAME
               ? scope_find(&p->scope, p->token.text, p->token.length, 1u << NAME_SYMBOL)
               : NULL;
    if (!name)
        return parse_error(p, PTX_SYNTAX, p->token.line, "unknown symbol in an initialiser");
    reloc.symbol = name->a;
    p->program->symbols.at[name->a].referenced = true;
    if (p->program->symbols.at[name->a].kind == SYM_FUNCTION)
        p->program->functions.at[p->program->symbols.at[name->a].index]->address_taken = true;
    parse_next(p);
    if (nested && !parse_expect(p, ')'))
        return false;
    if ((parse_is(p, '+') || parse_is(p, '-')) && !parse_constant(p, &addend))
        return false;
    reloc.addend = (int64_t)addend;
    if (mask) {
        reloc.shift = (uint8_t)__builtin_ctzll(mask);
        if (mask >> reloc.shift != 0xff || init->element_bytes != 1)
            return parse_error(p, PTX_SYNTAX, p->token.line, "bad mask in an initialiser");
    } else if (init->element_bytes != 8 && init->element_bytes != 4) {
        return parse_error(p, PTX_SYNTAX, p->token.line, "an address needs 32 or 64 bits");
    }
    if (!array_push(&init->variable->relocs, reloc))
        return parse_no_memory(p);
    return true;
}

static bool init_element(struct parser *p, struct init *init, uint64_t index)
{
    uint64_t offset = index * init->element_bytes;
    bool negative;
    uint64_t value = 0;

    if ((!init->dimensions->open && index >= init->dimensions->total) ||
        offset >= PTX_MAX_VARIABLE_BYTES)
        return parse_error(p, PTX_SYNTAX, p->token.line, "too many initialisers");
    if (!init_room(p, init->variable, offset + init->element_bytes))
        return false;
    if (p->token.kind == TOK_NAME)
        return init_symbol(p, init, offset, 0);
    negative = parse_is(p, '-') && (parse_next(p), true);
    if (p->token.kind == TOK_F32 || p->token.kind == TOK_F64) {
        if (!float_bits(init->type, &p->token, &value))
            return parse_error(p, PTX_SYNTAX, p->token.line, "float initialiser of an integer");
        if (negative)
            value ^= UINT64_C(1) << (init->element_bytes * 8 - 1);
        parse_next(p);
    } else {
        if (!parse_constant(p, &value))
            return false;
        if (parse_take(p, '('))
            return init_symbol(p, init, offset, value) && parse_expect(p, ')');
        if (negative)
            value = 0 - value;
        if (init->type == T_F32 || init->type == T_F64) {
            double wide = (double)(int64_t)value;
            float narrow = (float)wide;

            memcpy(&value, &wide, sizeof(value));
            if (init->type == T_F32) {
                value = 0;
                memcpy(&value, &narrow, sizeof(narrow));
            }
        }
    }
    memcpy(init->variable->init + offset, &value,
           init->element_bytes < 8 ? init->element_bytes : 8);
    return true;
}

/* Elements of dimension `level` from element `first`; returns in *ret_end the first not reached. */
static bool init_list(struct parser *p, struct init *init, uint32_t level, uint64_t first,
                      uint64_t *ret_end)
{
    uint64_t stride = 1;
    uint64_t at = first;

    if (level > init->dimensions->n && level > 1)
        return parse_error(p, PTX_SYNTAX, p->token.line, "initialiser is nested too deeply");
    for (uint32_t i = level; i < init->dimensions->n; i++)
        stride *= init->dimensions->count[i];
    while (!parse_is(p, '}')) {
        uint64_t end = at + 1;

        if (parse_take(p, '{')) {
            if (!init_list(p, init, level + 1, at, &end))
                return false;
            end = at + stride;
        } else if (!init_element(p, init, at)) {
            return false;
        }
        at = end;
        if (!parse_take(p, ','))
            break;
    }
    *ret_end = at;
    return parse_expect(p, '}');
}

static bool parse_initialiser(struct parser *p, struct init *init, uint64_t *ret_count)
{
    init->variable->has_init = true;
    if (parse_take(p, '{'))
        return init_list(p, init, 1, 0, ret_count);
    *ret_count = 1;
    return init_element(p, init, 0);
}

struct declaration {
    enum space space;
    enum linkage linkage;
    uint64_t align;
    uint32_t vector;
    bool managed;
    enum type type;
};

/* The variable of a symbol: the one declared before, or a new one. NULL on error. */
static struct variable *variable_of(struct parser *p, uint32_t symbol,
                                    const struct declaration *declaration)
{
    struct ptx_program *program = p->program;
    struct variable fresh = {.symbol = symbol, .space = declaration->space};
    struct variable *variable;

    if (program->symbols.at[symbol].index == UINT32_MAX) {
        if (program->variables.n >= PTX_MAX_VARIABLES) {
            parse_error(p, PTX_TOO_LARGE, p->token.line, "more than %u variables",
                        PTX_MAX_VARIABLES);
            return NULL;
        }
        if (!array_push(&program->variables, fresh)) {
            parse_no_memory(p);
            return NULL;
        }
        program->symbols.at[symbol].index = program->variables.n - 1;
    }
    variable = &program->variables.at[program->symbols.at[symbol].index];
    if (variable->space != declaration->space ||
        (variable->has_init && declaration->linkage != LINK_EXTERN)) {
        parse_error(p, PTX_SYNTAX, p->token.line, "variable is declared twice");
        return NULL;
    }
    return variable;
}

static bool parse_one_variable(struct parser *p, const struct declaration *declaration)
{
    const char *text = p->token.text;
    uint32_t length = p->token.length;
    uint32_t element = type_bits(declaration->type) / 8 * declaration->vector;
    struct dimensions dimensions;
    struct variable *variable;
    struct init init;
    uint64_t count = 0;
    uint32_t symbol;

    if (p->token.kind != TOK_NAME)
        return parse_error(p, PTX_SYNTAX, p->token.line, "expected a name");
    parse_next(p);
    if (!parse_dimensions(p, &dimensions) ||
        !symbol_declare(p, text, length, SYM_VARIABLE, declaration->linkage, &symbol))
        return false;
    variable = variable_of(p, symbol, declaration);
    if (!variable)
        return false;
    if (declaration->vector > 1 && dimensions.n < DIMENSIONS_MAX) {
        dimensions.count[dimensions.n++] = declaration->vector;
        dimensions.total *= declaration->vector;
    }
    init = (struct init){.variable = variable,
                         .dimensions = &dimensions,
                         .type = declaration->type,
                         .element_bytes = type_bits(declaration->type) / 8};
    if (parse_take(p, '=') && !parse_initialiser(p, &init, &count))
        return false;
    if (dimensions.open)
        dimensions.total = count;
    if (!vgpu_mul_u64(dimensions.total, init.element_bytes, &variable->size_bytes) ||
        variable->size_bytes > PTX_MAX_VARIABLE_BYTES)
        return parse_error(p, PTX_TOO_LARGE, p->token.line, "variable is too large");
    variable->align_bytes = declaration->align ? declaration->align : element;
    variable->managed = declaration->managed;
    variable->dynamic = declaration->space == SP_SHARED && declaration->linkage == LINK_EXTERN;
    if (declaration->space == SP_SHARED && variable->has_init)
        return parse_error(p, PTX_SYNTAX, p->token.line, "shared variables have no initialiser");
    if (variable->size_bytes == 0 && declaration->linkage != LINK_EXTERN)
        variable->size_bytes = 1;
    return true;
}

bool parse_module_variable(struct parser *p, enum space space, enum linkage linkage)
{
    struct declaration d = {.space = space, .linkage = linkage, .vector = 1};

    for (;;) {
        if (parse_take_dot(p, "align")) {
            if (!parse_alignment(p, &d.align))
                return false;
        } else if (parse_take_dot(p, "v2")) {
            d.vector = 2;
        } else if (parse_take_dot(p, "v4")) {
            d.vector = 4;
        } else if (parse_take_dot(p, "attribute")) {
            if (!parse_expect(p, '('))
                return false;
            if (!parse_take_dot(p, "managed"))
                return parse_error(p, PTX_UNSUPPORTED, p->token.line,
                                   ".attribute(.%.*s): not supported by softgpu",
                                   (int)(p->token.length < 40 ? p->token.length : 40),
                                   p->token.text);
            d.managed = true;
            if (!parse_expect(p, ')'))
                return false;
        } else if (parse_is_dot(p, "texref") || parse_is_dot(p, "samplerref") ||
                   parse_is_dot(p, "surfref")) {
            return parse_error(p, PTX_UNSUPPORTED, p->token.line, ".%.*s: not supported by softgpu",
                               (int)p->token.length, p->token.text);
        } else {
            break;
        }
    }
    if (!parse_type(p, &d.type))
        return false;
    if (d.type == T_PRED)
        return parse_error(p, PTX_SYNTAX, p->token.line, "predicates are not variables");
    do {
        if (!parse_one_variable(p, &d))
            return false;
    } while (parse_take(p, ','));
    return parse_expect(p, ';');
}
