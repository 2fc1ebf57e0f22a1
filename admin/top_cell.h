/* SPDX-License-Identifier: Apache-2.0 */
/* The columns of top's sections, and how a value of the model becomes the text of a cell. */
#ifndef VGPU_ADMIN_TOP_CELL_H
#define VGPU_ADMIN_TOP_CELL_H

#include "admin/table.h"
#include "admin/top_view.h"

#define TOP_COLUMNS_MAX 20

enum top_kind {
    TOP_TEXT,
    TOP_STATE,   /* a word of colour_of_state() */
    TOP_NUMBER,  /* as it is */
    TOP_RATE,    /* a number a second */
    TOP_TIME,    /* ns */
    TOP_MEMORY,  /* bytes, and of how many */
    TOP_PERCENT, /* a bar of 0-100 */
    TOP_SHARE,   /* a bar of 0-1, with a mark at what is due */
    TOP_FAULTS,  /* a number that should be 0 */
    TOP_HOLDER,  /* a VM's id, and its name */
};

struct top_column {
    const char *title;
    const char *key, *other; /* members of a row; other: the second where there are two */
    enum top_kind kind;
    unsigned least, most;          /* columns that it takes; more than least if its rows need it */
    unsigned char ranks[TOP_SETS]; /* where there is little room, the least goes first */
    const char *help;
};

/* title NULL ends it. */
extern const struct top_column *const top_columns[TOP_SECTIONS];

/* The cell in at most width columns, not padded; its colour. */
enum colour top_cell(const struct top_column *column, const json_t *row, size_t width, bool ascii,
                     char text[TABLE_CELL_BYTES]);

static inline bool top_column_is_text(const struct top_column *column)
{
    return column->kind == TOP_TEXT || column->kind == TOP_STATE;
}

/* Bars and texts begin at the left. */
static inline bool top_column_is_right(const struct top_column *column)
{
    return !top_column_is_text(column) && column->kind != TOP_HOLDER && column->kind != TOP_SHARE &&
           column->kind != TOP_PERCENT;
}

#endif
