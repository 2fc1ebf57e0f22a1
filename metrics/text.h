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

struct metrics_text {
    char *data; /* with a NUL at `used`, once something was added */
    size_t used, size;
    bool failed;
};

void text_release(struct metrics_text *text);
void text_add_bytes(struct metrics_text *text, const char *bytes, size_t size);
void text_add(struct metrics_text *text, const char *string);
void text_add_number(struct metrics_text *text, uint64_t number);
/* The number with so many of its digits behind the point, without trailing zeros: exact. */
void text_add_decimal(struct metrics_text *text, uint64_t number, unsigned digits);
/* In quotes, as JSON and Prometheus have it; control characters become spaces. */
void text_add_quoted(struct metrics_text *text, const char *string);

#endif
