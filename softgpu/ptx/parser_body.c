/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the statements of a function: declarations, labels, nested scopes, instructions. */
#include "softgpu/ptx/parse.h"
#include "common/overflow.h"

#include <string.h>

bool parse_enter(struct parser *p)
{
    if (p->scope.depth >= PTX_MAX_NESTING)
        return parse_error(p, PTX_TOO_LARGE, p->token.line, "more than %d nested scopes",
                           PTX_MAX_NESTING);
    p->scope.depth++;
    return true;
}

/* A label used in a scope that ended without defining it: look for it outside. */
static bool promote_label(struct parser *p, const struct name *pending)
{
    uint32_t kinds = 1u << NAME_LABEL | 1u << NAME_PENDING;
    const struct name *outer = scope_find(&p->scope, pending->text, pending->length, kinds);

    if (outer && (outer->kind == NAME_LABEL || outer->depth == p->scope.depth)) {
        p->body->labels.at[pending->a].alias = outer->a;
        return true;
    }
    return scope_add(&p->scope, pending->text, pending->length, NAME_PENDING, pending->a, 0) ||
           parse_no_memory(p);
}

bool parse_leave(struct parser *p)
{
    ARRAY(struct name) pending = {0};
    struct scope *scope = &p->scope;
    bool good = true;
    uint32_t kept = scope->names.n;

    while (kept && scope->names.at[kept - 1].depth == scope->depth)
        kept--;
    for (uint32_t i = scope->names.n; i > kept; i--) {
        const struct name *name = &scope->names.at[i - 1];

        scope->buckets[name->bucket] = name->next;
        if (name->kind == NAME_PENDING)
            good = good && (array_push(&pending, *name) || parse_no_memory(p));
    }
    scope->names.n = kept;
    scope->depth--;
    for (uint32_t i = 0; good && i < pending.n; i++)
        good = promote_label(p, &pending.at[i]);
    free(pending.at);
    return good;
}

bool parse_frame_variable(struct parser *p, uint64_t size, uint64_t align, uint32_t *ret_offset)
{
    struct body *body = p->body;
    uint64_t at;

    if (!vgpu_align_u64(body->local_now, align, &at) || at + size > PTX_MAX_LOCAL_BYTES)
        return parse_error(p, PTX_TOO_LARGE, p->token.line, "more than %u bytes of local memory",
                           PTX_MAX_LOCAL_BYTES);
    *ret_offset = (uint32_t)at;
    body->local_now = at + size;
    if (body->local_bytes < body->local_now)
        body->local_bytes = body->local_now;
    return true;
}

/* Counts declared registers, of the function and of the program. */
static bool count_registers(struct parser *p, uint64_t count)
{
    struct body *body = p->body;

    if (count > PTX_MAX_REGISTERS || body->declared_registers + count > PTX_MAX_REGISTERS)
        return parse_error(p, PTX_TOO_LARGE, p->token.line, "more than %u registers",
                           PTX_MAX_REGISTERS);
    body->declared_registers += (uint32_t)count;
    p->program->n_registers += count;
    if (p->program->n_registers > PTX_MAX_PROGRAM_REGISTERS)
        return parse_error(p, PTX_TOO_LARGE, p->token.line, "more than %u registers in all",
                           PTX_MAX_PROGRAM_REGISTERS);
    return true;
}

/* name<count>, or a single one where count is 0. */
static bool declare(struct parser *p, const struct token *name, enum type type, uint64_t count)
{
    uint32_t first = p->body->classes.n;
    struct name *added;

    if (!count_registers(p, count ? count : 1))
        return false;
    for (uint64_t i = 0; i < (count ? count : 1); i++)
        if (lower_register(p, type) == UINT32_MAX)
            return false;
    added = scope_add(&p->scope, name->text, name->length, count ? NAME_REG_RANGE : NAME_REG, first,
                      (uint32_t)count);
    return added || parse_no_memory(p);
}

bool parse_declare_registers(struct parser *p)
{
    enum type type;

    if (parse_is_dot(p, "v2") || parse_is_dot(p, "v4"))
        return parse_error(p, PTX_UNSUPPORTED, p->token.line,
                           ".reg .%.*s: not supported by softgpu", (int)p->token.length,
                           p->token.text);
    if (!parse_type(p, &type))
        return false;
    do {
        struct token name = p->token;
        uint64_t count = 0;

        if (name.kind != TOK_NAME)
            return parse_error(p, PTX_SYNTAX, name.line, "expected the name of a register");
        parse_next(p);
        if (parse_take(p, '<') && (!parse_u64(p, &count) || !parse_expect(p, '>')))
            return false;
        if (!declare(p, &name, type, count))
            return false;
    } while (parse_take(p, ','));
    return parse_expect(p, ';');
}

/* .local and .param variables: places in the frame. */
static bool parse_frame_variables(struct parser *p)
{
    uint64_t align = 0;
    uint32_t vector = 1;
    enum type type;

    if (parse_take_dot(p, "align") && !parse_alignment(p, &align))
        return false;
    if (parse_take_dot(p, "v2"))
        vector = 2;
    else if (parse_take_dot(p, "v4"))
        vector = 4;
    if (!parse_type(p, &type))
        return false;
    do {
        struct token name = p->token;
        struct dimensions dimensions;
        uint64_t size;
        uint32_t offset;

        if (name.kind != TOK_NAME || type == T_PRED)
            return parse_error(p, PTX_SYNTAX, name.line, "expected the name of a variable");
        parse_next(p);
        if (!parse_dimensions(p, &dimensions))
            return false;
        size = dimensions.open ? 0 : dimensions.total * (type_bits(type) / 8) * vector;
        if (!parse_frame_variable(p, size, align ? align : type_bits(type) / 8 * vector, &offset))
            return false;
        if (!scope_add(&p->scope, name.text, name.length, NAME_LOCAL, offset, (uint32_t)size))
            return parse_no_memory(p);
    } while (parse_take(p, ','));
    return parse_expect(p, ';');
}

static bool parse_branch_targets(struct parser *p, const struct token *name)
{
    struct targets targets = {.first = p->body->target_labels.n};

    do {
        uint32_t label;

        if (p->token.kind != TOK_NAME)
            return parse_error(p, PTX_SYNTAX, p->token.line, "expected a label");
        if (!parse_label_reference(p, p->token.text, p->token.length, &label))
            return false;
        if (!array_push(&p->body->target_labels, label))
            return parse_no_memory(p);
        targets.n++;
        parse_next(p);
    } while (parse_take(p, ','));
    if (!array_push(&p->body->targets, targets) ||
        !scope_add(&p->scope, name->text, name->length, NAME_TARGETS, p->body->targets.n - 1, 0))
        return parse_no_memory(p);
    return parse_expect(p, ';');
}

static bool parse_prototype(struct parser *p, const struct token *name)
{
    struct signature signature = {0};
    bool good;

    good = (!parse_is(p, '(') || parse_signature_list(p, &signature, true, false));
    if (good && p->token.kind == TOK_NAME)
        parse_next(p);
    good = good && (!parse_is(p, '(') || parse_signature_list(p, &signature, false, false));
    parse_take_dot(p, "noreturn");
    if (!good || !array_push(&p->body->prototypes, signature)) {
        free(signature.rets.at);
        free(signature.params.at);
        return good ? parse_no_memory(p) : false;
    }
    if (!scope_add(&p->scope, name->text, name->length, NAME_PROTOTYPE, p->body->prototypes.n - 1,
                   0))
        return parse_no_memory(p);
    return parse_expect(p, ';');
}

/* .calltargets only narrows an indirect call: the call's own check at run time is as strict. */
static bool parse_call_targets(struct parser *p, const struct token *name)
{
    const struct name *target = NULL;
    struct signature copy = {0};

    do {
        if (p->token.kind != TOK_NAME)
            return parse_error(p, PTX_SYNTAX, p->token.line, "expected a function");
        target = scope_find(&p->scope, p->token.text, p->token.length, 1u << NAME_SYMBOL);
        if (!target || p->program->symbols.at[target->a].kind != SYM_FUNCTION)
            return parse_error(p, PTX_SYNTAX, p->token.line, "unknown function");
        parse_next(p);
    } while (parse_take(p, ','));
    if (target) {
        const struct signature *known =
            &p->program->functions.at[p->program->symbols.at[target->a].index]->signature;

        for (uint32_t i = 0; i < known->rets.n; i++)
            if (!array_push(&copy.rets, known->rets.at[i]))
                return parse_no_memory(p);
        for (uint32_t i = 0; i < known->params.n; i++)
            if (!array_push(&copy.params, known->params.at[i]))
                return parse_no_memory(p);
    }
    if (!array_push(&p->body->prototypes, copy) ||
        !scope_add(&p->scope, name->text, name->length, NAME_PROTOTYPE, p->body->prototypes.n - 1,
                   0))
        return parse_no_memory(p);
    return parse_expect(p, ';');
}

static bool define_label(struct parser *p, const struct token *token)
{
    uint32_t kinds = 1u << NAME_LABEL | 1u << NAME_PENDING;
    struct name *name = scope_find(&p->scope, token->text, token->length, kinds);
    uint32_t label;

    if (name && name->depth == p->scope.depth) {
        if (name->kind == NAME_LABEL)
            return parse_error(p, PTX_SYNTAX, token->line, "label '%.*s' is defined twice",
                               (int)(token->length < 100 ? token->length : 100), token->text);
        name->kind = NAME_LABEL;
        return lower_label(p, name->a);
    }
    label = lower_new_label(p);
    if (label == UINT32_MAX ||
        !scope_add(&p->scope, token->text, token->length, NAME_LABEL, label, 0))
        return parse_no_memory(p);
    return lower_label(p, label);
}

static bool parse_named_statement(struct parser *p)
{
    struct token name = p->token;

    parse_next(p);
    if (!parse_take(p, ':'))
        return parse_instruction(p, &name);
    if (parse_take_dot(p, "branchtargets"))
        return parse_branch_targets(p, &name);
    if (parse_take_dot(p, "callprototype"))
        return parse_prototype(p, &name);
    if (parse_take_dot(p, "calltargets"))
        return parse_call_targets(p, &name);
    return define_label(p, &name);
}

static bool parse_dot_statement(struct parser *p)
{
    enum linkage linkage = LINK_LOCAL;

    if (parse_is_dot(p, "loc") || parse_is_dot(p, "file"))
        return parse_skip_line(p);
    if (parse_take_dot(p, "reg"))
        return parse_declare_registers(p);
    if (parse_take_dot(p, "local") || parse_take_dot(p, "param"))
        return parse_frame_variables(p);
    if (parse_take_dot(p, "pragma")) {
        while (p->token.kind == TOK_STRING || parse_is(p, ','))
            parse_next(p);
        return parse_expect(p, ';');
    }
    if (parse_take_dot(p, "extern"))
        linkage = LINK_EXTERN;
    if (parse_take_dot(p, "shared"))
        return parse_module_variable(p, SP_SHARED, linkage);
    if (parse_take_dot(p, "global"))
        return parse_module_variable(p, SP_GLOBAL, linkage);
    if (parse_take_dot(p, "const"))
        return parse_module_variable(p, SP_CONST, linkage);
    return parse_error(p, PTX_UNSUPPORTED, p->token.line, ".%.*s: not supported by softgpu",
                       (int)(p->token.length < 40 ? p->token.length : 40), p->token.text);
}

bool parse_body(struct parser *p)
{
    struct body *body = p->body;
    uint64_t local_at[PTX_MAX_NESTING + 1];
    uint32_t level = 0;

    for (;;) {
        if (p->status != PTX_OK)
            return false;
        if (parse_take(p, '{')) {
            if (!parse_enter(p))
                return false;
            local_at[level++] = body->local_now;
        } else if (parse_take(p, '}')) {
            if (level == 0)
                return true;
            body->local_now = local_at[--level];
            if (!parse_leave(p))
                return false;
        } else if (parse_is(p, '@')) {
            if (!parse_guarded(p))
                return false;
        } else if (p->token.kind == TOK_NAME) {
            if (!parse_named_statement(p))
                return false;
        } else if (p->token.kind == TOK_DOT) {
            if (!parse_dot_statement(p))
                return false;
        } else if (!parse_take(p, ';')) {
            return parse_error(p, PTX_SYNTAX, p->token.line,
                               p->token.kind == TOK_END ? "'{' is not closed" : "unexpected '%.*s'",
                               (int)(p->token.length < 40 ? p->token.length : 40), p->token.text);
        }
    }
}
