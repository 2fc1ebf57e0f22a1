/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/top_canvas.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "admin/table.h"

int top_canvas_init(struct top_canvas *canvas, size_t most, bool ascii)
{
    *canvas =
        (struct top_canvas){.most = most < TOP_HEIGHT_MAX ? most : TOP_HEIGHT_MAX, .ascii = ascii};
    canvas->lines = calloc(canvas->most + 1, sizeof(canvas->lines[0]));
    return canvas->lines ? 0 : -ENOMEM;
}

void top_canvas_release(struct top_canvas *canvas)
{
    free(canvas->lines);
    canvas->lines = NULL;
}

struct top_line *top_canvas_line(struct top_canvas *canvas)
{
    return canvas->n_lines < canvas->most ? &canvas->lines[canvas->n_lines++] : NULL;
}

/* A character of several bytes becomes one '?' for each column that it takes. */
static void make_ascii(char *text)
{
    char *to = text;

    for (const char *from = text; *from;) {
        unsigned char first = (unsigned char)*from;
        char one[5] = {0};
        size_t length = 0;

        if (first < 0x80) {
            *to++ = *from++;
            continue;
        }
        do
            one[length++] = *from++;
        while (length < 4 && ((unsigned char)*from & 0xc0) == 0x80);
        for (size_t columns = table_columns(one); columns > 0 && to < from; columns--)
            *to++ = '?';
    }
    *to = '\0';
}

void top_canvas_put(struct top_canvas *canvas, struct top_line *line, struct top_style style,
                    const char *format, ...)
{
    char text[TOP_LINE_BYTES];
    size_t room, size;
    va_list args;

    if (!line || line->n_spans == TOP_SPANS_MAX)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    table_clean(text);
    if (canvas->ascii)
        make_ascii(text);
    size = strlen(text);
    room = sizeof(line->text) - 1 - line->used;
    if (size > room)
        size = room;
    memcpy(line->text + line->used, text, size);
    line->spans[line->n_spans++] =
        (struct top_span){.start = line->used, .end = line->used + size, .style = style};
    line->used += size;
    line->text[line->used] = '\0';
}

static void print_line(const struct top_line *line, FILE *file)
{
    size_t end = line->used;

    while (end > 0 && line->text[end - 1] == ' ')
        end--;
    for (size_t i = 0; i < line->n_spans; i++) {
        const struct top_span *span = &line->spans[i];
        enum colour colour = span->style.colour == COLOUR_PLAIN && span->style.bold
                                 ? COLOUR_TITLE
                                 : span->style.colour;
        size_t stop = span->end < end ? span->end : end;

        if (span->start >= stop)
            continue;
        colour_begin(file, colour);
        fwrite(line->text + span->start, 1, stop - span->start, file);
        colour_end(file, colour);
    }
    putc('\n', file);
}

void top_canvas_print(const struct top_canvas *canvas, FILE *file)
{
    for (size_t i = 0; i < canvas->n_lines; i++)
        print_line(&canvas->lines[i], file);
}
