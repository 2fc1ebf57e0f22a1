/* SPDX-License-Identifier: Apache-2.0 */
/* Declares symbols of functions and variables while a text is read. */
#include "softgpu/ptx/parse.h"

#include <string.h>

static bool symbol_add(struct parser *p, const char *text, uint32_t length, enum symbol_kind kind,
                       enum linkage linkage, uint32_t *ret)
{
    struct symbol symbol = {
        .kind = kind,
        .linkage = linkage,
        .source = p->source,
        .line = p->token.line,
        .index = UINT32_MAX,
        .resolved = UINT32_MAX,
        .alias_of = UINT32_MAX,
    };

    if (length > PTX_MAX_NAME_BYTES)
        return parse_error(p, PTX_TOO_LARGE, p->token.line, "name of more than %d bytes",
                           PTX_MAX_NAME_BYTES);
    symbol.name = strndup(text, length);
    if (!symbol.name)
        return parse_no_memory(p);
    if (!array_push(&p->program->symbols, symbol)) {
        free(symbol.name);
        return parse_no_memory(p);
    }
    *ret = p->program->symbols.n - 1;
    if (!scope_add(&p->scope, text, length, NAME_SYMBOL, *ret, 0))
        return parse_no_memory(p);
    return true;
}

bool symbol_declare(struct parser *p, const char *text, uint32_t length, enum symbol_kind kind,
                    enum linkage linkage, uint32_t *ret)
{
    const struct name *name = scope_find(&p->scope, text, length, 1u << NAME_SYMBOL);
    struct symbol *symbol;

    if (!name || name->depth != p->scope.depth)
        return symbol_add(p, text, length, kind, linkage, ret);
    symbol = &p->program->symbols.at[name->a];
    if (symbol->kind != kind)
        return parse_error(p, PTX_SYNTAX, p->token.line, "'%.*s' is declared twice",
                           (int)(length < 100 ? length : 100), text);
    if (linkage != LINK_EXTERN && (symbol->linkage == LINK_EXTERN || symbol->linkage == LINK_LOCAL))
        symbol->linkage = linkage;
    *ret = name->a;
    return true;
}
