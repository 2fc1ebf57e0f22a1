/* SPDX-License-Identifier: Apache-2.0 */
/* The tokens of PTX; see lexer.h. */
#include "softgpu/ptx/lexer.h"

#include <stdlib.h>
#include <string.h>

#define NUMBER_BYTES_MAX 64

void lexer_init(struct lexer *lexer, const char *text, uint64_t size_bytes)
{
    lexer->at = text;
    lexer->end = text + size_bytes;
    lexer->line = 1;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_' || c == '$';
}

static char peek(const struct lexer *lexer, uint32_t offset)
{
    return lexer->end - lexer->at > (long)offset ? lexer->at[offset] : '\0';
}

/* Skips blanks and comments; an unclosed comment ends the text. */
static void skip_blank(struct lexer *lexer)
{
    while (lexer->at < lexer->end) {
        char c = *lexer->at;

        if (c == '\n') {
            lexer->line++;
            lexer->at++;
        } else if (c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v') {
            lexer->at++;
        } else if (c == '/' && peek(lexer, 1) == '/') {
            while (lexer->at < lexer->end && *lexer->at != '\n')
                lexer->at++;
        } else if (c == '/' && peek(lexer, 1) == '*') {
            lexer->at += 2;
            while (lexer->at < lexer->end && !(*lexer->at == '*' && peek(lexer, 1) == '/'))
                lexer->line += *lexer->at++ == '\n';
            lexer->at = lexer->at < lexer->end ? lexer->at + 2 : lexer->end;
        } else {
            return;
        }
    }
}

static int digit_value(char c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return 99;
}

/* Digits of a base from text[from]; false if there are none, others follow, or it overflows. */
static bool parse_digits(const char *text, uint32_t from, uint32_t length, unsigned base,
                         uint64_t *ret)
{
    uint64_t value = 0;

    if (length > from && text[length - 1] == 'U')
        length--;
    if (from >= length)
        return false;
    for (uint32_t i = from; i < length; i++) {
        unsigned digit = (unsigned)digit_value(text[i]);

        if (digit >= base || __builtin_mul_overflow(value, (uint64_t)base, &value) ||
            __builtin_add_overflow(value, (uint64_t)digit, &value))
            return false;
    }
    *ret = value;
    return true;
}

static void float_token(struct token *token)
{
    char text[NUMBER_BYTES_MAX];
    char *end;
    double value;

    token->kind = TOK_BAD;
    if (token->length >= sizeof(text))
        return;
    memcpy(text, token->text, token->length);
    text[token->length] = '\0';
    value = strtod(text, &end);
    if (*end)
        return;
    token->kind = TOK_F64;
    memcpy(&token->value, &value, sizeof(value));
}

static void number_token(struct lexer *lexer, struct token *token)
{
    const char *text = lexer->at;
    bool real = false;
    bool prefixed = text[0] == '0' && strchr("xXfFdDbB", peek(lexer, 1)) && peek(lexer, 1);
    uint32_t n = 0;
    bool good;

    while (is_word(peek(lexer, n)) ||
           (!prefixed &&
            (peek(lexer, n) == '.' || (n && (peek(lexer, n) == '+' || peek(lexer, n) == '-') &&
                                       (text[n - 1] == 'e' || text[n - 1] == 'E'))))) {
        real |= !prefixed && (text[n] == '.' || text[n] == 'e' || text[n] == 'E');
        n++;
    }
    token->text = text;
    token->length = n;
    lexer->at += n;
    if (real) {
        float_token(token);
        return;
    }
    token->kind = TOK_INT;
    if (!prefixed) {
        good = parse_digits(text, 0, n, text[0] == '0' ? 8 : 10, &token->value);
    } else if (text[1] == 'x' || text[1] == 'X') {
        good = parse_digits(text, 2, n, 16, &token->value);
    } else if (text[1] == 'b' || text[1] == 'B') {
        good = parse_digits(text, 2, n, 2, &token->value);
    } else {
        bool single = text[1] == 'f' || text[1] == 'F';

        token->kind = single ? TOK_F32 : TOK_F64;
        good = n == (single ? 10 : 18) && parse_digits(text, 2, n, 16, &token->value);
    }
    if (!good)
        token->kind = TOK_BAD;
}

static void string_token(struct lexer *lexer, struct token *token)
{
    const char *start = ++lexer->at;

    token->kind = TOK_BAD;
    while (lexer->at < lexer->end && *lexer->at != '"' && *lexer->at != '\n')
        lexer->at += *lexer->at == '\\' && lexer->end - lexer->at > 1 ? 2 : 1;
    token->text = start;
    token->length = (uint32_t)(lexer->at - start);
    if (lexer->at < lexer->end && *lexer->at == '"') {
        token->kind = TOK_STRING;
        lexer->at++;
    }
}

static void dot_token(struct lexer *lexer, struct token *token)
{
    uint32_t n = 1;

    while (is_word(peek(lexer, n)) ||
           (peek(lexer, n) == ':' && peek(lexer, n + 1) == ':' && is_word(peek(lexer, n + 2))))
        n += peek(lexer, n) == ':' ? 2 : 1;
    token->kind = TOK_DOT;
    token->text = lexer->at + 1;
    token->length = n - 1;
    lexer->at += n;
}

void lexer_next(struct lexer *lexer, struct token *ret)
{
    char c;

    skip_blank(lexer);
    ret->line = lexer->line;
    ret->value = 0;
    ret->text = lexer->at;
    ret->length = 1;
    c = peek(lexer, 0);
    if (lexer->at >= lexer->end || c == '\0') {
        ret->kind = TOK_END;
        ret->length = 0;
    } else if (is_digit(c)) {
        number_token(lexer, ret);
    } else if (is_word(c) || (c == '%' && is_word(peek(lexer, 1)))) {
        uint32_t n = 1;

        while (is_word(peek(lexer, n)))
            n++;
        ret->kind = TOK_NAME;
        ret->length = n;
        lexer->at += n;
    } else if (c == '.' && is_word(peek(lexer, 1))) {
        dot_token(lexer, ret);
    } else if (c == '"') {
        string_token(lexer, ret);
    } else {
        ret->kind = strchr("{}()[]<>,;:=+-*/!~@|&^%?", c) ? TOK_PUNCT : TOK_BAD;
        lexer->at++;
    }
}
