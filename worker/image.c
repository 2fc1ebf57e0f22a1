/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/image.h"

#include <ctype.h>
#include <string.h>

#include "common/overflow.h"
#include "worker/limits.h"

/* What no sum of sizes is let grow beyond: a pebibyte. */
#define ENOUGH_BYTES (UINT64_C(1) << 50)

static uint64_t add_up(uint64_t a, uint64_t b)
{
    return a >= ENOUGH_BYTES || b >= ENOUGH_BYTES - a ? ENOUGH_BYTES : a + b;
}

static uint64_t times(uint64_t a, uint64_t b)
{
    uint64_t product;

    return vgpu_mul_u64(a, b, &product) && product < ENOUGH_BYTES ? product : ENOUGH_BYTES;
}

/* A walk over PTX text; comments are blanks. */
struct text {
    const char *at, *end;
};

static bool skip_comment(struct text *text)
{
    const char *close = NULL;

    if (text->end - text->at < 2 || text->at[0] != '/')
        return false;
    if (text->at[1] == '/')
        close = memchr(text->at, '\n', (size_t)(text->end - text->at));
    else if (text->at[1] == '*')
        close = memmem(text->at + 2, (size_t)(text->end - text->at - 2), "*/", 2);
    else
        return false;
    text->at = close ? close + (text->at[1] == '/' ? 1 : 2) : text->end;
    return true;
}

static void skip_blanks(struct text *text)
{
    while (text->at < text->end && (isspace((unsigned char)*text->at) || skip_comment(text)))
        if (text->at < text->end && isspace((unsigned char)*text->at))
            text->at++;
}

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '$' || c == '%';
}

/* The word at the place, from a dot on if it starts with one. */
static size_t word_bytes(const struct text *text)
{
    const char *at = text->at;

    if (at < text->end && *at == '.')
        at++;
    while (at < text->end && is_word(*at))
        at++;
    return (size_t)(at - text->at);
}

/* ".f32" is 4, ".v2" says twice; others say nothing of the size. */
static void take_type(const struct text *text, size_t bytes, uint64_t *width, uint64_t *lanes)
{
    unsigned bits = 0;

    if (bytes == 3 && text->at[1] == 'v' && isdigit((unsigned char)text->at[2])) {
        *lanes = (uint64_t)(text->at[2] - '0');
        return;
    }
    if (bytes < 3 || bytes > 5 || !strchr("busf", text->at[1]))
        return;
    for (size_t i = 2; i < bytes; i++) {
        if (!isdigit((unsigned char)text->at[i]))
            return;
        bits = bits * 10 + (unsigned)(text->at[i] - '0');
    }
    *width = bits / 8;
}

static uint64_t take_number(struct text *text)
{
    uint64_t value = 0, base = 10;

    if (text->at < text->end && *text->at == '0') {
        base = 8;
        if (++text->at < text->end && (*text->at == 'x' || *text->at == 'X')) {
            base = 16;
            text->at++;
        }
    }
    for (; text->at < text->end && isxdigit((unsigned char)*text->at); text->at++) {
        int c = tolower((unsigned char)*text->at);
        uint64_t digit = (uint64_t)(isdigit(c) ? c - '0' : c - 'a' + 10);

        if (digit >= base)
            break;
        value = add_up(times(value, base), digit);
    }
    return value;
}

/* From "[" on: the product of all dimensions. One that is not said counts as one. */
static uint64_t take_dimensions(struct text *text)
{
    uint64_t count = 1;

    while (text->at < text->end && *text->at == '[') {
        uint64_t n;

        text->at++;
        skip_blanks(text);
        n = text->at < text->end && isdigit((unsigned char)*text->at) ? take_number(text) : 1;
        count = times(count, n);
        while (text->at < text->end && *text->at != ']' && *text->at != ';')
            text->at++;
        if (text->at < text->end && *text->at == ']')
            text->at++;
        skip_blanks(text);
    }
    return count;
}

static void skip_value(struct text *text)
{
    int depth = 0;

    for (; text->at < text->end && *text->at != ';'; text->at++) {
        depth += *text->at == '{';
        depth -= *text->at == '}';
        if (*text->at == ',' && depth <= 0)
            return;
    }
}

/* Behind ".global" or ".const": what the declaration takes, up to its semicolon. */
static uint64_t take_declaration(struct text *text)
{
    uint64_t width = 1, lanes = 1, sum = 0;

    for (;;) {
        size_t bytes;

        skip_blanks(text);
        bytes = word_bytes(text);
        if (bytes == 0)
            return sum;
        if (*text->at == '.') {
            take_type(text, bytes, &width, &lanes);
            text->at += bytes;
            if (bytes == 6 && memcmp(text->at - 6, ".align", 6) == 0) {
                skip_blanks(text);
                take_number(text);
            }
            continue;
        }
        text->at += bytes;
        skip_blanks(text);
        sum = add_up(sum, times(times(width, lanes), take_dimensions(text)));
        skip_value(text);
        if (text->at >= text->end || *text->at != ',')
            return sum;
        text->at++;
    }
}

/* All declarations in that state space. "ld.global" is none: its dot is behind a word. */
static uint64_t declared_in(const char *image, size_t size, const char *space)
{
    const char *end = image + size, *at = image;
    size_t bytes = strlen(space);
    uint64_t sum = 0;

    while ((at = memmem(at, (size_t)(end - at), space, bytes))) {
        struct text text = {at + bytes, end};
        bool whole = (at == image || !is_word(at[-1])) && (text.at == end || !is_word(*text.at));

        if (whole)
            sum = add_up(sum, take_declaration(&text));
        at = text.at;
    }
    return sum;
}

uint64_t image_ptx_variables(const char *image, size_t size)
{
    size = strnlen(image, size);
    return add_up(declared_in(image, size, ".global"), declared_in(image, size, ".const"));
}

static uint64_t number(const uint8_t *bytes, unsigned size)
{
    uint64_t value = 0;

    memcpy(&value, bytes, size);
    return value;
}

#define ELF_SECTION_BYTES 64u
#define ELF_STRINGS       3u
#define ELF_NOBITS        8u
#define ELF_ALLOC         2u

/* Shared and local memory are no part of the module's. */
static bool is_elsewhere(const uint8_t *elf, size_t size, const uint8_t *names,
                         const uint8_t *section)
{
    uint64_t offset = number(names + 24, 8), room = number(names + 32, 8);
    uint64_t name = number(section, 4);
    const char *text;

    if (number(names + 4, 4) != ELF_STRINGS || name >= room || offset + room > size)
        return false;
    text = (const char *)elf + offset + name;
    return strnlen(text, room - name) >= 9 &&
           (memcmp(text, ".nv.share", 9) == 0 || memcmp(text, ".nv.local", 9) == 0);
}

static uint64_t elf_bytes(const uint8_t *elf, size_t size)
{
    uint64_t count = number(elf + 60, 2), sum = 0;
    const uint8_t *sections = elf + number(elf + 40, 8);
    const uint8_t *names = sections + number(elf + 62, 2) * ELF_SECTION_BYTES;

    for (uint64_t i = 0; i < count; i++) {
        const uint8_t *section = sections + i * ELF_SECTION_BYTES;

        if ((number(section + 8, 8) & ELF_ALLOC) && !is_elsewhere(elf, size, names, section))
            sum = add_up(sum, number(section + 32, 8));
    }
    /* An image whose sections say nothing has its code all the same. */
    return sum > 0 ? sum : size;
}

#define FATBIN_PTX    1u
#define FATBIN_ELF    2u
#define FATBIN_PACKED 0xa000u /* flags: one compression or the other */

/* Of the entries one is used, which depends on the device: the largest. */
static uint64_t fatbin_bytes(const uint8_t *fatbin)
{
    const uint8_t *at = fatbin + number(fatbin + 6, 2), *end = at + number(fatbin + 8, 8);
    uint64_t most = 0;

    while (at < end) {
        uint64_t head = number(at + 4, 4), payload = number(at + 8, 8), bytes = payload;
        const uint8_t *body = at + head;

        if (number(at + 40, 8) & FATBIN_PACKED)
            bytes = number(at + 56, 8);
        else if (image_check(body, payload) == IMAGE_ELF)
            bytes = elf_bytes(body, payload);
        else
            bytes = add_up(payload, image_ptx_variables((const char *)body, payload));
        if (bytes > most)
            most = bytes;
        at += head + payload;
    }
    return most;
}

uint64_t image_device_bytes(const void *image, size_t size, enum image_kind kind)
{
    uint64_t bytes = size, rounded;

    if (kind == IMAGE_ELF)
        bytes = elf_bytes(image, size);
    else if (kind == IMAGE_FATBIN)
        bytes = fatbin_bytes(image);
    else
        bytes = add_up(size, image_ptx_variables(image, size));
    if (bytes >= ENOUGH_BYTES || !vgpu_align_u64(bytes, VGPU_ALLOCATION_GRAIN, &rounded))
        return ENOUGH_BYTES;
    return rounded;
}
