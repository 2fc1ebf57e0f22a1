/* SPDX-License-Identifier: Apache-2.0 */
/* Splits PTX text of explicit length into tokens; never reads past the end. Used by the parser. */
#ifndef SOFTGPU_PTX_LEXER_H
#define SOFTGPU_PTX_LEXER_H

#include <stdbool.h>
#include <stdint.h>

enum token_kind {
    TOK_END,
    TOK_NAME, /* identifier, may start with % $ _ */
    TOK_DOT,  /* .word or .word::word; text is without the dot */
    TOK_INT,  /* value */
    TOK_F32,  /* value: bits of a float, from 0f... */
    TOK_F64,  /* value: bits of a double, from 0d... or decimal */
    TOK_STRING,
    TOK_PUNCT, /* text[0] */
    TOK_BAD,   /* a character or number that is not PTX */
};

struct token {
    enum token_kind kind;
    uint32_t line;
    const char *text;
    uint32_t length;
    uint64_t value;
};

struct lexer {
    const char *at, *end;
    uint32_t line;
};

void lexer_init(struct lexer *lexer, const char *text, uint64_t size_bytes);
void lexer_next(struct lexer *lexer, struct token *ret);

#endif
