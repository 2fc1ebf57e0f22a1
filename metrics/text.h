/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A text that grows, for what is written often and must be quick: pages of metrics, Prometheus'
 * text, JSON. After a failed allocation nothing more is added, and `failed` says so.
 */
#ifndef VGPU_METRICS_TEXT_H
#define VGPU_METRICS_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct metrics_text {
    char *data; /* with a NUL at `used`, once something was added */
    size_t used, size;
    bool failed;
};

void text_release(struct metrics_text *text);
/* The same as text_add_bytes(), where there is no room for it yet. */
void text_add_slowly(struct metrics_text *text, const char *bytes, size_t size);

/* Here, as a hundred thousand lines are made of little pieces whose sizes are known. */
static inline void text_add_bytes(struct metrics_text *text, const char *bytes, size_t size)
{
    if (size >= text->size - text->used) {
        text_add_slowly(text, bytes, size);
        return;
    }
    memcpy(text->data + text->used, bytes, size);
    text->used += size;
    text->data[text->used] = '\0';
}

static inline void text_add(struct metrics_text *text, const char *string)
{
    text_add_bytes(text, string, strlen(string));
}

void text_add_number(struct metrics_text *text, uint64_t number);
/* The number with so many of its digits behind the point, without trailing zeros: exact. */
void text_add_decimal(struct metrics_text *text, uint64_t number, unsigned digits);
/* In quotes, as JSON and Prometheus have it; control characters become spaces. */
void text_add_quoted(struct metrics_text *text, const char *string);

#endif
