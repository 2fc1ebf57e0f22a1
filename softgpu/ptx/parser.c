/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a PTX text at module level, and the token helpers that all of the parser uses. */
#include "softgpu/ptx/parse.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define UNSUPPORTED_TEXT_MAX 60

static void log_line(struct ptx_log *log, const char *text)
{
    size_t length = strlen(text);
    size_t room = log && log->size_bytes > log->used_bytes ? log->size_bytes - log->used_bytes : 0;

    if (room < 2)
        return;
    if (length > room - 1)
        length = room - 1;
    memcpy(log->text + log->used_bytes, text, length);
    log->used_bytes += length;
    log->text[log->used_bytes] = '\0';
}

bool parse_error(struct parser *p, enum ptx_status status, uint32_t line, const char *format, ...)
{
    char text[512];
    int used;
    va_list args;

    if (p->status != PTX_OK)
        return false;
    p->status = status;
    used = snprintf(text, sizeof(text), "%.200s: line %u: ", p->source_name, line);
    va_start(args, format);
    vsnprintf(text + used, sizeof(text) - (size_t)used, format, args);
    va_end(args);
    used = (int)strlen(text);
    for (int i = 0; i < used; i++)
        if ((unsigned char)text[i] < ' ')
            text[i] = ' ';
    text[used < 510 ? used : 510] = '\n';
    text[used < 510 ? used + 1 : 511] = '\0';
    log_line(p->log, text);
    return false;
}

bool parse_unsupported(struct parser *p)
{
    const struct inst *inst = &p->inst;
    uint32_t length = inst->text_bytes;

    if (length > UNSUPPORTED_TEXT_MAX)
        length = UNSUPPORTED_TEXT_MAX;
    return parse_error(p, PTX_UNSUPPORTED, inst->line, "%.*s: not supported by softgpu",
                       (int)length, inst->text);
}

bool parse_no_memory(struct parser *p)
{
    return parse_error(p, PTX_NO_MEMORY, p->token.line, "out of memory");
}

void parse_next(struct parser *p)
{
    lexer_next(&p->lexer, &p->token);
}

bool parse_is(const struct parser *p, char punct)
{
    return p->token.kind == TOK_PUNCT && p->token.text[0] == punct;
}

bool parse_take(struct parser *p, char punct)
{
    if (!parse_is(p, punct))
        return false;
    parse_next(p);
    return true;
}

bool parse_expect(struct parser *p, char punct)
{
    if (parse_take(p, punct))
        return true;
    return parse_error(p, PTX_SYNTAX, p->token.line, "expected '%c' before '%.*s'", punct,
                       (int)(p->token.length < 40 ? p->token.length : 40), p->token.text);
}

bool parse_is_dot(const struct parser *p, const char *word)
{
    return p->token.kind == TOK_DOT && p->token.length == strlen(word) &&
           !memcmp(p->token.text, word, p->token.length);
}

bool parse_take_dot(struct parser *p, const char *word)
{
    if (!parse_is_dot(p, word))
        return false;
    parse_next(p);
    return true;
}

bool parse_u64(struct parser *p, uint64_t *ret)
{
    if (p->token.kind != TOK_INT)
        return parse_error(p, PTX_SYNTAX, p->token.line, "expected a number");
    *ret = p->token.value;
    parse_next(p);
    return true;
}

bool parse_type(struct parser *p, enum type *ret)
{
    unsigned number;

    if (p->token.kind != TOK_DOT ||
        words_find(p->words, p->token.text, p->token.length, false, &number) != W_TYPE)
        return parse_error(p, PTX_SYNTAX, p->token.line, "expected a type before '%.*s'",
                           (int)(p->token.length < 40 ? p->token.length : 40), p->token.text);
    if (type_kind((enum type)number) == 'x')
        return parse_error(p, PTX_UNSUPPORTED, p->token.line, ".%s: not supported by softgpu",
                           type_name((enum type)number));
    *ret = (enum type)number;
    parse_next(p);
    return true;
}

/* .loc, .file and friends end with their line. */
bool parse_skip_line(struct parser *p)
{
    uint32_t line = p->token.line;

    while (p->token.kind != TOK_END && p->token.line == line)
        parse_next(p);
    return true;
}

static bool parse_version(struct parser *p)
{
    /* The lexer reads "7.8" as a decimal number. */
    double version;

    parse_next(p);
    if (p->token.kind == TOK_F64) {
        memcpy(&version, &p->token.value, sizeof(version));
        p->version = version > 0 && version < 100 ? (uint32_t)(version * 10 + 0.5) : 0;
    }
    if (p->token.kind != TOK_F64 || p->version < 10 || p->version > 999)
        return parse_error(p, PTX_SYNTAX, p->token.line, "bad .version");
    parse_next(p);
    if (p->program->ptx_version < p->version)
        p->program->ptx_version = p->version;
    return true;
}

static bool parse_target(struct parser *p)
{
    parse_next(p);
    do {
        const struct token *token = &p->token;

        if (token->kind != TOK_NAME)
            return parse_error(p, PTX_SYNTAX, token->line, "bad .target");
        if (token->length > 3 && !memcmp(token->text, "sm_", 3)) {
            p->target = 0;
            for (uint32_t i = 3; i < token->length && i < 6; i++)
                if (token->text[i] >= '0' && token->text[i] <= '9')
                    p->target = p->target * 10 + (uint32_t)(token->text[i] - '0');
        } else if (!(token->length == 5 && !memcmp(token->text, "debug", 5))) {
            return parse_error(p, PTX_UNSUPPORTED, token->line,
                               ".target %.*s: not supported by softgpu",
                               (int)(token->length < 40 ? token->length : 40), token->text);
        }
        parse_next(p);
    } while (parse_take(p, ','));
    if (p->program->target_sm < p->target)
        p->program->target_sm = p->target;
    return true;
}

static bool parse_address_size(struct parser *p)
{
    uint64_t bits = 0;

    parse_next(p);
    if (!parse_u64(p, &bits))
        return false;
    if (bits != 64)
        return parse_error(p, PTX_UNSUPPORTED, p->token.line,
                           ".address_size other than 64: not supported by softgpu");
    return true;
}

/* Skips { ... } with what is nested in it. */
static bool skip_braces(struct parser *p)
{
    uint32_t depth = 0;

    while (!parse_is(p, '{')) {
        if (p->token.kind == TOK_END || parse_is(p, ';'))
            return parse_error(p, PTX_SYNTAX, p->token.line, "expected '{'");
        parse_next(p);
    }
    do {
        if (p->token.kind == TOK_END)
            return parse_error(p, PTX_SYNTAX, p->token.line, "'{' is not closed");
        depth += parse_is(p, '{');
        depth -= parse_is(p, '}');
        parse_next(p);
    } while (depth);
    return true;
}

static bool skip_statement(struct parser *p)
{
    while (!parse_is(p, ';')) {
        if (p->token.kind == TOK_END)
            return parse_error(p, PTX_SYNTAX, p->token.line, "expected ';'");
        parse_next(p);
    }
    parse_next(p);
    return true;
}

static bool parse_alias(struct parser *p)
{
    uint32_t symbols[2];

    parse_next(p);
    for (int i = 0; i < 2; i++) {
        const struct name *name;

        if (p->token.kind != TOK_NAME)
            return parse_error(p, PTX_SYNTAX, p->token.line, "expected a name in .alias");
        name = scope_find(&p->scope, p->token.text, p->token.length, 1u << NAME_SYMBOL);
        if (!name || p->program->symbols.at[name->a].kind != SYM_FUNCTION)
            return parse_error(p, PTX_SYNTAX, p->token.line, ".alias of an unknown function");
        symbols[i] = name->a;
        parse_next(p);
        if (i == 0 && !parse_expect(p, ','))
            return false;
    }
    p->program->symbols.at[symbols[0]].alias_of = symbols[1];
    return parse_expect(p, ';');
}

static enum linkage take_linkage(struct parser *p)
{
    if (parse_take_dot(p, "visible"))
        return LINK_VISIBLE;
    if (parse_take_dot(p, "weak"))
        return LINK_WEAK;
    if (parse_take_dot(p, "common"))
        return LINK_COMMON;
    if (parse_take_dot(p, "extern"))
        return LINK_EXTERN;
    return LINK_LOCAL;
}

static bool parse_directive(struct parser *p)
{
    enum linkage linkage;

    if (parse_is_dot(p, "version"))
        return parse_version(p);
    if (parse_is_dot(p, "target"))
        return parse_target(p);
    if (parse_is_dot(p, "address_size"))
        return parse_address_size(p);
    if (parse_is_dot(p, "file") || parse_is_dot(p, "loc"))
        return parse_skip_line(p);
    if (parse_is_dot(p, "section"))
        return skip_braces(p);
    if (parse_is_dot(p, "pragma"))
        return skip_statement(p);
    if (parse_is_dot(p, "alias"))
        return parse_alias(p);
    linkage = take_linkage(p);
    if (parse_take_dot(p, "entry"))
        return parse_function(p, true, linkage);
    if (parse_take_dot(p, "func"))
        return parse_function(p, false, linkage);
    if (parse_take_dot(p, "global"))
        return parse_module_variable(p, SP_GLOBAL, linkage);
    if (parse_take_dot(p, "const"))
        return parse_module_variable(p, SP_CONST, linkage);
    if (parse_take_dot(p, "shared"))
        return parse_module_variable(p, SP_SHARED, linkage);
    return parse_error(p, p->token.kind == TOK_DOT ? PTX_UNSUPPORTED : PTX_SYNTAX, p->token.line,
                       "'%s%.*s': not supported by softgpu at module level",
                       p->token.kind == TOK_DOT ? "." : "",
                       (int)(p->token.length < 40 ? p->token.length : 40), p->token.text);
}

enum ptx_status parse_source(struct ptx_program *program, const struct words *words,
                             const struct ptx_source *source, uint32_t index, struct ptx_log *log)
{
    struct parser p = {
        .program = program,
        .log = log,
        .words = words,
        .source = index,
        .source_name = program->source_names[index],
    };

    if (!scope_init(&p.scope, source->size_bytes))
        return PTX_NO_MEMORY;
    lexer_init(&p.lexer, source->text, source->size_bytes);
    parse_next(&p);
    if (!parse_is_dot(&p, "version"))
        parse_error(&p, PTX_SYNTAX, p.token.line, "the text does not begin with .version");
    while (p.status == PTX_OK && p.token.kind != TOK_END)
        parse_directive(&p);
    scope_release(&p.scope);
    return p.status;
}
