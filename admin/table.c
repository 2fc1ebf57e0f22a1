/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/table.h"

#include <assert.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "admin/colour.h"

#define GAP          2
#define SHRUNK_WIDTH 6 /* no column is cut below this */

void table_init(struct table *table, const struct table_column *columns, size_t n_columns)
{
    assert(n_columns <= TABLE_COLUMNS_MAX);
    *table = (struct table){.columns = columns, .n_columns = n_columns};
}

void table_release(struct table *table)
{
    free(table->cells);
    table->cells = NULL;
}

/* Length in bytes of the UTF-8 character at text, and the columns it takes. */
static size_t character(const char *text, size_t *ret_columns)
{
    const unsigned char *at = (const unsigned char *)text;
    size_t length = at[0] < 0xc0 ? 1 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    wchar_t point = length == 1 ? at[0] : at[0] & (0x7f >> length);
    int columns;

    for (size_t i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            length = i;
            break;
        }
        point = point << 6 | (at[i] & 0x3f);
    }
    columns = wcwidth(point);
    /* A locale that does not know the character says -1. */
    *ret_columns = columns < 0 ? 1 : (size_t)columns;
    return length;
}

size_t table_columns(const char *text)
{
    size_t total = 0, columns;

    while (*text) {
        text += character(text, &columns);
        total += columns;
    }
    return total;
}

/* Makes control characters (C0 and C1) visible, and drops a character that was cut. */
void table_clean(char *text)
{
    size_t columns;

    for (char *at = text; *at; at += character(at, &columns)) {
        unsigned char first = (unsigned char)at[0], second = first ? (unsigned char)at[1] : 0;

        if (first < 0x20 || first == 0x7f)
            at[0] = '?';
        else if (first == 0xc2 && second >= 0x80 && second < 0xa0)
            at[0] = at[1] = '?';
        else if (first >= 0x80 && (first < 0xc2 || (second & 0xc0) != 0x80))
            at[0] = '?';
    }
}

static char *next_cell(struct table *table)
{
    if (table->n_cells == table->room) {
        size_t room = table->room ? table->room * 2 : TABLE_COLUMNS_MAX * 8;
        void *cells = realloc(table->cells, room * sizeof(table->cells[0]));

        if (!cells)
            return NULL;
        table->cells = cells;
        table->room = room;
    }
    return table->cells[table->n_cells++];
}

bool table_add(struct table *table, const char *format, ...)
{
    char *cell = next_cell(table);
    va_list args;

    if (!cell)
        return false;
    va_start(args, format);
    vsnprintf(cell, TABLE_CELL_BYTES, format, args);
    va_end(args);
    table_clean(cell);
    return true;
}

static void format_array(const json_t *array, char *text, size_t size)
{
    const json_t *item;
    size_t i, used = 0;

    snprintf(text, size, "-");
    json_array_foreach (array, i, item) {
        char word[TABLE_CELL_BYTES];
        int added;

        table_format_json(item, word, sizeof(word));
        added = snprintf(text + used, size - used, "%s%s", i ? "," : "", word);
        if (added < 0 || (size_t)added >= size - used)
            return;
        used += (size_t)added;
    }
}

void table_format_json(const json_t *value, char *text, size_t size)
{
    switch (value ? json_typeof(value) : JSON_NULL) {
    case JSON_STRING:
        snprintf(text, size, "%s", json_string_value(value));
        break;
    case JSON_INTEGER:
        snprintf(text, size, "%lld", (long long)json_integer_value(value));
        break;
    case JSON_REAL:
        snprintf(text, size, "%.6g", json_real_value(value));
        break;
    case JSON_ARRAY:
        format_array(value, text, size);
        break;
    default:
        snprintf(text, size, "-");
    }
}

bool table_add_json(struct table *table, const json_t *value)
{
    char text[TABLE_CELL_BYTES];

    table_format_json(value, text, sizeof(text));
    return table_add(table, "%s", text);
}

static size_t total_width(const struct table *table)
{
    size_t total = 0;

    for (size_t i = 0; i < table->n_columns; i++)
        total += table->widths[i] + (i ? GAP : 0);
    return total;
}

/* Takes columns off the widest of those that may shrink, until all fits. */
static void fit(struct table *table, size_t width)
{
    while (total_width(table) > width) {
        size_t widest = table->n_columns;

        for (size_t i = 0; i < table->n_columns; i++)
            if (table->columns[i].shrink && table->widths[i] > SHRUNK_WIDTH &&
                (widest == table->n_columns || table->widths[i] > table->widths[widest]))
                widest = i;
        if (widest == table->n_columns)
            return;
        table->widths[widest]--;
    }
}

void table_fit(const char *text, size_t width, bool right, char *out, size_t size)
{
    size_t taken = table_columns(text), used = 0, at = 0, columns;

    if (taken <= width) {
        int pad = (int)(width - taken);

        snprintf(out, size, "%*s%s%*s", right ? pad : 0, "", text, right ? 0 : pad, "");
        return;
    }
    while (*text && width > 0) {
        size_t length = character(text, &columns);

        if (used + columns > width - 1 || at + length + sizeof("…") > size)
            break;
        memcpy(out + at, text, length);
        at += length;
        text += length;
        used += columns;
    }
    /* A wide character may leave a column free before the mark. */
    snprintf(out + at, size - at, "%s%*s", width ? "…" : "", width ? (int)(width - 1 - used) : 0,
             "");
}

static void print_cell(const char *text, const struct table_column *column, size_t width, bool last,
                       enum colour colour)
{
    char fitted[TABLE_FIT_BYTES];
    size_t size;

    table_fit(text, width, column->right, fitted, sizeof(fitted));
    size = strlen(fitted);
    while (last && size > 0 && fitted[size - 1] == ' ')
        fitted[--size] = '\0';
    colour_begin(stdout, colour);
    fputs(fitted, stdout);
    colour_end(stdout, colour);
}

static void measure(struct table *table)
{
    for (size_t i = 0; i < table->n_columns; i++)
        table->widths[i] = table_columns(table->columns[i].title);
    for (size_t i = 0; i < table->n_cells; i++) {
        size_t columns = table_columns(table->cells[i]);

        if (columns > table->widths[i % table->n_columns])
            table->widths[i % table->n_columns] = columns;
    }
}

void table_print(struct table *table, size_t width, size_t max_rows)
{
    size_t rows = table->n_cells / table->n_columns;

    measure(table);
    fit(table, width);
    for (size_t row = 0; row <= rows && row <= max_rows; row++) {
        for (size_t i = 0; i < table->n_columns; i++) {
            const struct table_column *column = &table->columns[i];
            const char *text = row ? table->cells[(row - 1) * table->n_columns + i] : column->title;
            enum colour colour = !row            ? COLOUR_TITLE
                                 : column->state ? colour_of_state(text)
                                                 : COLOUR_PLAIN;

            printf("%*s", i ? GAP : 0, "");
            print_cell(text, column, table->widths[i], i + 1 == table->n_columns, colour);
        }
        putchar('\n');
    }
    if (rows > max_rows)
        printf("… and %zu more\n", rows - max_rows);
}

void table_print_rows(const json_t *rows, const struct table_column *columns, size_t n_columns,
                      bool (*add)(struct table *table, const json_t *row))
{
    struct table table;
    const json_t *row;
    size_t i;

    table_init(&table, columns, n_columns);
    json_array_foreach (rows, i, row)
        if (!add(&table, row))
            break;
    table_print(&table, SIZE_MAX, SIZE_MAX);
    table_release(&table);
}

void table_print_objects(const json_t *rows, const struct table_column *columns,
                         const char *const *keys, size_t n_columns)
{
    struct table table;
    const json_t *row;
    size_t i;

    table_init(&table, columns, n_columns);
    json_array_foreach (rows, i, row)
        for (size_t k = 0; k < n_columns; k++)
            if (!table_add_json(&table, json_object_get(row, keys[k])))
                break;
    table_print(&table, SIZE_MAX, SIZE_MAX);
    table_release(&table);
}
