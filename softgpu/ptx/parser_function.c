/* SPDX-License-Identifier: Apache-2.0 */
/* Reads .entry and .func: signature, directives, and what surrounds the body. */
#include "softgpu/ptx/parse.h"
#include "common/overflow.h"

#include <string.h>

static bool parse_param_type(struct parser *p, struct param *param, uint64_t *align,
                             enum type *type)
{
    *align = 0;
    *type = T_NONE;
    for (;;) {
        if (parse_take_dot(p, "align")) {
            if (!parse_alignment(p, align))
                return false;
        } else if (parse_take_dot(p, "ptr")) {
            uint64_t ignored;

            if (parse_is_dot(p, "global") || parse_is_dot(p, "const") ||
                parse_is_dot(p, "shared") || parse_is_dot(p, "local") || parse_is_dot(p, "param"))
                parse_next(p);
            if (parse_take_dot(p, "align") && !parse_alignment(p, &ignored))
                return false;
        } else if (*type == T_NONE) {
            if (!parse_type(p, type))
                return false;
        } else {
            param->type = (uint8_t)*type;
            return true;
        }
    }
}

/* One parameter. With names, it becomes known in the current scope by parse_declare_params. */
static bool parse_param(struct parser *p, struct param *param, struct token *name)
{
    struct dimensions dimensions;
    uint64_t align, size;
    enum type type;

    memset(param, 0, sizeof(*param));
    if (parse_take_dot(p, "reg"))
        param->is_reg = 1;
    else if (!parse_take_dot(p, "param"))
        return parse_error(p, PTX_SYNTAX, p->token.line, "expected .param or .reg");
    if (!parse_param_type(p, param, &align, &type))
        return false;
    if (type == T_PRED)
        return parse_error(p, PTX_UNSUPPORTED, p->token.line,
                           "predicate parameter: not supported by softgpu");
    if (p->token.kind != TOK_NAME)
        return parse_error(p, PTX_SYNTAX, p->token.line, "expected the name of a parameter");
    *name = p->token;
    parse_next(p);
    if (!parse_dimensions(p, &dimensions))
        return false;
    size = dimensions.open ? 0 : dimensions.total;
    if (!vgpu_mul_u64(size, type_bits(type) / 8, &size) || size > PTX_MAX_PARAM_BYTES)
        return parse_error(p, PTX_TOO_LARGE, p->token.line, "parameter of more than %u bytes",
                           PTX_MAX_PARAM_BYTES);
    param->size_bytes = (uint32_t)size;
    param->align_bytes = (uint32_t)(align ? align : type_bits(type) / 8);
    return true;
}

/* Gives the next parameter its offset; the return values of a function come first in its frame. */
static void place_param(struct signature *signature, struct param *param)
{
    uint64_t at = signature->end_bytes;

    vgpu_align_u64(at, param->align_bytes, &at);
    param->offset = (uint32_t)at;
    at += param->size_bytes;
    signature->end_bytes = at < UINT32_MAX / 2 ? (uint32_t)at : UINT32_MAX / 2;
}

uint64_t parse_signature_hash(const struct signature *signature)
{
    uint64_t hash = signature->rets.n * 1000003u + signature->params.n;

    for (uint32_t i = 0; i < signature->rets.n; i++)
        hash = (hash ^ signature->rets.at[i].size_bytes) * UINT64_C(0x100000001b3);
    for (uint32_t i = 0; i < signature->params.n; i++)
        hash = (hash ^ signature->params.at[i].size_bytes ^
                (uint64_t)signature->params.at[i].align_bytes << 32) *
               UINT64_C(0x100000001b3);
    return hash;
}

static bool name_param(struct parser *p, const struct token *name, const struct param *param,
                       bool is_entry)
{
    struct name *added;

    if (param->is_reg) {
        added = scope_add(&p->scope, name->text, name->length, NAME_REG, param->reg, 0);
    } else {
        added = scope_add(&p->scope, name->text, name->length, is_entry ? NAME_KPARAM : NAME_LOCAL,
                          param->offset, param->size_bytes);
    }
    return added || parse_no_memory(p);
}

bool parse_signature_list(struct parser *p, struct signature *signature, bool rets, bool names)
{
    if (!parse_expect(p, '('))
        return false;
    while (!parse_is(p, ')')) {
        struct param param;
        struct token name = {0};

        if (!parse_param(p, &param, &name))
            return false;
        if (signature->rets.n + signature->params.n >= PTX_MAX_PARAMS)
            return parse_error(p, PTX_TOO_LARGE, p->token.line, "more than %d parameters",
                               PTX_MAX_PARAMS);
        if (names && param.is_reg)
            param.reg = lower_register(p, (enum type)param.type);
        place_param(signature, &param);
        if (signature->end_bytes > PTX_MAX_PARAM_BYTES)
            return parse_error(p, PTX_TOO_LARGE, p->token.line, "more than %u bytes of parameters",
                               PTX_MAX_PARAM_BYTES);
        if (!(rets ? array_push(&signature->rets, param) : array_push(&signature->params, param)))
            return parse_no_memory(p);
        if (names && !name_param(p, &name, &param, p->body->function->is_entry))
            return false;
        if (!parse_take(p, ','))
            break;
    }
    return parse_expect(p, ')');
}

static bool parse_triple(struct parser *p, uint32_t ret[3])
{
    for (int i = 0; i < 3; i++) {
        uint64_t value;

        if (!parse_u64(p, &value))
            return false;
        if (value == 0 || value > UINT32_MAX)
            return parse_error(p, PTX_SYNTAX, p->token.line, "bad number of threads");
        ret[i] = (uint32_t)value;
        if (!parse_take(p, ','))
            break;
    }
    return true;
}

static bool parse_limits(struct parser *p, struct ptx_function *function)
{
    uint32_t threads[3] = {1, 1, 1};
    bool required = parse_is_dot(p, "reqntid");
    uint64_t product;

    parse_next(p);
    if (!parse_triple(p, threads))
        return false;
    if (!vgpu_mul_u64((uint64_t)threads[0] * threads[1], threads[2], &product) ||
        product > PTX_MAX_BLOCK_THREADS)
        return parse_error(p, PTX_SYNTAX, p->token.line, "more than %d threads in a block",
                           PTX_MAX_BLOCK_THREADS);
    function->max_threads = (uint32_t)product;
    if (required)
        memcpy(function->required_block, threads, sizeof(threads));
    return true;
}

/* What may stand between the parameters and the body. */
static bool parse_function_directives(struct parser *p, struct ptx_function *function)
{
    uint64_t ignored;

    while (p->token.kind == TOK_DOT) {
        if (parse_is_dot(p, "maxntid") || parse_is_dot(p, "reqntid")) {
            if (!parse_limits(p, function))
                return false;
        } else if (parse_take_dot(p, "minnctapersm") || parse_take_dot(p, "maxnctapersm") ||
                   parse_take_dot(p, "maxnreg") || parse_take_dot(p, "maxclusterrank")) {
            if (!parse_u64(p, &ignored))
                return false;
        } else if (parse_take_dot(p, "pragma")) {
            while (!parse_is(p, ';') && p->token.kind == TOK_STRING)
                parse_next(p);
            if (!parse_expect(p, ';'))
                return false;
        } else if (!parse_take_dot(p, "noreturn") && !parse_take_dot(p, "FORCE_INLINE")) {
            return parse_error(p, PTX_UNSUPPORTED, p->token.line, ".%.*s: not supported by softgpu",
                               (int)(p->token.length < 40 ? p->token.length : 40), p->token.text);
        }
    }
    return true;
}

static enum builtin builtin_of(const char *name)
{
    if (!strcmp(name, "vprintf"))
        return BUILTIN_VPRINTF;
    if (!strcmp(name, "__assertfail"))
        return BUILTIN_ASSERTFAIL;
    return BUILTIN_NONE;
}

/* The function of a symbol: declared before, or new. NULL on error. */
static struct ptx_function *function_of(struct parser *p, uint32_t symbol, bool is_entry)
{
    struct ptx_program *program = p->program;
    struct ptx_function *function;

    if (program->symbols.at[symbol].index != UINT32_MAX) {
        function = program->functions.at[program->symbols.at[symbol].index];
        if (function->is_entry != is_entry) {
            parse_error(p, PTX_SYNTAX, p->token.line, "function is declared as another kind");
            return NULL;
        }
        return function;
    }
    if (program->functions.n >= PTX_MAX_FUNCTIONS) {
        parse_error(p, PTX_TOO_LARGE, p->token.line, "more than %d functions", PTX_MAX_FUNCTIONS);
        return NULL;
    }
    function = calloc(1, sizeof(*function));
    if (!function || !array_push(&program->functions, function)) {
        free(function);
        parse_no_memory(p);
        return NULL;
    }
    function->program = program;
    function->symbol = symbol;
    function->is_entry = is_entry;
    function->max_threads = PTX_MAX_BLOCK_THREADS;
    function->builtin = builtin_of(program->symbols.at[symbol].name);
    program->symbols.at[symbol].index = program->functions.n - 1;
    return function;
}

static void signature_release(struct signature *signature)
{
    free(signature->rets.at);
    free(signature->params.at);
    memset(signature, 0, sizeof(*signature));
}

static void body_release(struct body *body)
{
    free(body->ops.at);
    free(body->classes.at);
    free(body->labels.at);
    free(body->targets.at);
    free(body->target_labels.at);
    for (uint32_t i = 0; i < body->prototypes.n; i++)
        signature_release(&body->prototypes.at[i]);
    free(body->prototypes.at);
    free(body->constants.at);
    free(body->constant_classes.at);
    free(body->constant_slots);
    free(body->rets.at);
    free(body->args.at);
}

/* Takes over the signature just read, or checks it against the one known. */
static bool settle_signature(struct parser *p, struct ptx_function *function,
                             struct signature *fresh, bool known)
{
    uint64_t hash = parse_signature_hash(fresh);

    if (known && function->signature_hash != hash)
        return parse_error(p, PTX_SYNTAX, p->token.line, "parameters differ from the declaration");
    signature_release(&function->signature);
    function->signature = *fresh;
    memset(fresh, 0, sizeof(*fresh));
    function->signature_hash = hash;
    for (uint32_t i = 0; i < function->signature.params.n; i++) {
        const struct param *param = &function->signature.params.at[i];

        function->params_bytes = param->offset + param->size_bytes;
    }
    return true;
}

static bool labels_defined(struct parser *p)
{
    for (uint32_t i = p->scope.names.n; i > 0; i--) {
        const struct name *name = &p->scope.names.at[i - 1];

        if (name->depth != p->scope.depth)
            break;
        if (name->kind == NAME_PENDING)
            return parse_error(p, PTX_SYNTAX, p->token.line, "label '%.*s' is not defined",
                               (int)(name->length < 100 ? name->length : 100), name->text);
    }
    return true;
}

static bool parse_definition(struct parser *p, struct ptx_function *function)
{
    struct body *body = p->body;
    uint64_t frame = 0;

    if (function->defined)
        return parse_error(p, PTX_SYNTAX, p->token.line, "function is defined twice");
    if (p->program->symbols.at[function->symbol].linkage == LINK_EXTERN)
        p->program->symbols.at[function->symbol].linkage = LINK_VISIBLE;
    function->defined = true;
    if (!function->is_entry)
        frame = function->signature.end_bytes;
    body->local_now = body->local_bytes = frame;
    return lower_function_begin(p) && parse_body(p) && labels_defined(p) && lower_function_end(p);
}

/* Finds the name behind the return values, without moving, and declares it in the outer scope. */
static bool declare_function_name(struct parser *p, enum linkage linkage, uint32_t *ret_symbol)
{
    struct lexer lexer = p->lexer;
    struct token token = p->token;
    struct token name;
    bool good;

    if (parse_is(p, '('))
        while (p->token.kind != TOK_END && !parse_take(p, ')'))
            parse_next(p);
    name = p->token;
    if (name.kind != TOK_NAME)
        return parse_error(p, PTX_SYNTAX, name.line, "expected the name of a function");
    good = symbol_declare(p, name.text, name.length, SYM_FUNCTION, linkage, ret_symbol);
    p->lexer = lexer;
    p->token = token;
    return good;
}

static bool parse_function_in_scope(struct parser *p, struct ptx_function *function, bool known,
                                    struct signature *fresh)
{
    p->body->function = function;
    if (parse_is(p, '(') && !parse_signature_list(p, fresh, true, true))
        return false;
    parse_next(p); /* the name */
    if (parse_is(p, '(') && !parse_signature_list(p, fresh, false, true))
        return false;
    if (!settle_signature(p, function, fresh, known) || !parse_function_directives(p, function))
        return false;
    if (parse_take(p, ';'))
        return true;
    return parse_expect(p, '{') && parse_definition(p, function);
}

bool parse_function(struct parser *p, bool is_entry, enum linkage linkage)
{
    struct body body = {.line = p->token.line};
    struct signature fresh = {0};
    struct ptx_function *function;
    uint32_t symbol;
    bool known, good;

    parse_take_dot(p, "noreturn");
    if (!declare_function_name(p, linkage, &symbol))
        return false;
    known = p->program->symbols.at[symbol].index != UINT32_MAX;
    function = function_of(p, symbol, is_entry);
    if (!function)
        return false;
    p->body = &body;
    good = parse_enter(p) && parse_function_in_scope(p, function, known, &fresh) && parse_leave(p);
    signature_release(&fresh);
    body_release(&body);
    p->body = NULL;
    return good;
}
