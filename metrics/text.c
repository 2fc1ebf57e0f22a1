/* SPDX-License-Identifier: Apache-2.0 */
#include "metrics/text.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_BYTES  4096u
#define DIGITS_BYTES 24u

void text_release(struct metrics_text *text)
{
    free(text->data);
    *text = (struct metrics_text){0};
}

static bool make_room(struct metrics_text *text, size_t size)
{
    size_t wanted = text->size ? text->size : FIRST_BYTES;
    char *data;

    if (text->failed || size > SIZE_MAX / 4 - text->used)
        return false;
    if (text->used + size < text->size)
        return true;
    while (wanted <= text->used + size)
        wanted *= 2;
    data = realloc(text->data, wanted);
    text->failed = !data;
    if (!data)
        return false;
    text->data = data;
    text->size = wanted;
    return true;
}

void text_add_slowly(struct metrics_text *text, const char *bytes, size_t size)
{
    if (!make_room(text, size)) {
        text->failed = true;
        text->size = text->used; /* what is smaller shall not be added either */
        return;
    }
    text_add_bytes(text, bytes, size);
}

/* Writes the digits to the end of the buffer, at least so many. Returns the first's place. */
static unsigned put_digits(char buffer[DIGITS_BYTES], uint64_t number, unsigned least)
{
    unsigned at = DIGITS_BYTES;

    do {
        buffer[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0 || DIGITS_BYTES - at < least);
    return at;
}

void text_add_number(struct metrics_text *text, uint64_t number)
{
    char buffer[DIGITS_BYTES];
    unsigned at = put_digits(buffer, number, 1);

    text_add_bytes(text, buffer + at, DIGITS_BYTES - at);
}

void text_add_decimal(struct metrics_text *text, uint64_t number, unsigned digits)
{
    char buffer[DIGITS_BYTES];
    unsigned at = put_digits(buffer, number, digits + 1), end = DIGITS_BYTES;

    text_add_bytes(text, buffer + at, DIGITS_BYTES - digits - at);
    at = DIGITS_BYTES - digits;
    while (end > at && buffer[end - 1] == '0')
        end--;
    if (end == at)
        return;
    text_add_bytes(text, ".", 1);
    text_add_bytes(text, buffer + at, end - at);
}

void text_add_quoted(struct metrics_text *text, const char *string)
{
    text_add_bytes(text, "\"", 1);
    for (; *string; string++) {
        char c = (unsigned char)*string < 0x20 || *string == 0x7f ? ' ' : *string;

        if (c == '"' || c == '\\')
            text_add_bytes(text, "\\", 1);
        text_add_bytes(text, &c, 1);
    }
    text_add_bytes(text, "\"", 1);
}
