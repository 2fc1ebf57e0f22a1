/* SPDX-License-Identifier: Apache-2.0 */
/* Plain tables on a terminal: aligned columns, fitted to a width. */
#ifndef VGPU_ADMIN_TABLE_H
#define VGPU_ADMIN_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#define TABLE_COLUMNS_MAX 13
#define TABLE_CELL_BYTES  96
#define TABLE_WIDTH       100
#define TABLE_FIT_BYTES   (2 * TABLE_CELL_BYTES) /* a cell in at most its own columns, or padded */

struct table_column {
    const char *title;
    bool right;  /* aligned; for numbers */
    bool shrink; /* may be cut where the table is too wide */
    bool state;  /* a word that colour_of_state() knows */
};

struct table {
    const struct table_column *columns;
    size_t n_columns, n_cells, room;
    size_t widths[TABLE_COLUMNS_MAX];
    char (*cells)[TABLE_CELL_BYTES];
};

void table_init(struct table *table, const struct table_column *columns, size_t n_columns);
void table_release(struct table *table);

/*
 * The next cell, row by row, as printf() has it. Control characters are shown as '?': names and
 * texts come from outside. False: out of memory.
 */
bool table_add(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The next cell from JSON: texts and numbers, ids of an array joined by commas, "-" for null. */
bool table_add_json(struct table *table, const json_t *value);

/* Makes control characters visible, as in cells. */
void table_clean(char *text);

/* Prints titles and at most max_rows rows, each within width columns where shrinking can do it. */
void table_print(struct table *table, size_t width, size_t max_rows);

/* Prints a row for each item of the array, whole; add puts its cells in, or is out of memory. */
void table_print_rows(const json_t *rows, const struct table_column *columns, size_t n_columns,
                      bool (*add)(struct table *table, const json_t *row));

/* Prints a row for each object of the array, whole: its members of those keys, one a column. */
void table_print_objects(const json_t *rows, const struct table_column *columns,
                         const char *const *keys, size_t n_columns);

/* Writes value as table_add_json() would. */
void table_format_json(const json_t *value, char *text, size_t size);

/* Columns of a terminal that the text takes. */
size_t table_columns(const char *text);

/*
 * The text in exactly width columns, aligned; what is too long is cut and ends in "…". For a cell,
 * size is TABLE_FIT_BYTES.
 */
void table_fit(const char *text, size_t width, bool right, char *out, size_t size);

#endif
