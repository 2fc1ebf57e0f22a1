/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The picture that `vgpu-admin top` shows: lines of text in styles. top_view.c draws on it;
 * top_screen.c copies it to a terminal, top.c prints it. Text on it is UTF-8 without control
 * characters.
 */
#ifndef VGPU_ADMIN_TOP_CANVAS_H
#define VGPU_ADMIN_TOP_CANVAS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "admin/colour.h"

#define TOP_WIDTH_MAX  400 /* columns; a wider terminal stays empty there */
#define TOP_HEIGHT_MAX 1200
#define TOP_LINE_BYTES (4 * TOP_WIDTH_MAX + 1)
#define TOP_SPANS_MAX  64

struct top_style {
    enum colour colour;
    bool bold, reverse;
};

struct top_span {
    size_t start, end; /* in text */
    struct top_style style;
};

struct top_line {
    char text[TOP_LINE_BYTES];
    size_t used, n_spans;
    struct top_span spans[TOP_SPANS_MAX];
};

struct top_canvas {
    struct top_line *lines;
    size_t n_lines, most; /* most: lines that there may be */
    bool ascii;           /* other characters become '?' */
};

/* -ENOMEM or 0; most is at most TOP_HEIGHT_MAX. */
int top_canvas_init(struct top_canvas *canvas, size_t most, bool ascii);
void top_canvas_release(struct top_canvas *canvas);

/* Another line at the end; NULL where there is no room. */
struct top_line *top_canvas_line(struct top_canvas *canvas);

/* More text at the end of the line (nothing if it is NULL); what does not fit is cut. */
void top_canvas_put(struct top_canvas *canvas, struct top_line *line, struct top_style style,
                    const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Without trailing spaces, coloured where vgpu-admin prints colours. */
void top_canvas_print(const struct top_canvas *canvas, FILE *file);

#endif
