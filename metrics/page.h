/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages of metrics, as the mediator's command `metrics` answers with them (docs/spec/metrics.md):
 * written by the mediator row by row, read by vgpu-admin and vgpu-agent into one snapshot.
 *
 * A page begins with what there is but once, and names its columns, so that reader and writer need
 * not have the same table: a reader leaves out what it does not know.
 */
#ifndef VGPU_METRICS_PAGE_H
#define VGPU_METRICS_PAGE_H

#include <jansson.h>

#include "common/err.h"
#include "metrics/table.h"
#include "metrics/text.h"

#define METRICS_FORMAT    1
#define METRICS_LIMIT_MAX 256 /* VMs of one page */
#define METRICS_ROWS_MAX  8192
#define METRICS_COLUMNS   512 /* the most of a scope that are read */

/* Writing: begin, rows of GLOBAL, GPU and POOL on the first page, VM rows, end. */
struct metrics_writer {
    struct metrics_text *text;
    int scope; /* of the last row; -1: none */
};

/* first: the page has columns and is followed by rows of all scopes. */
void metrics_begin_page(struct metrics_writer *writer, struct metrics_text *text, const char *boot,
                        bool first);
/* In the order of scopes. */
void metrics_add_row(struct metrics_writer *writer, enum metric_scope scope,
                     const struct metric_row *row);
/* next_vm: where the next page goes on (its after_vm); 0: this was the last. */
void metrics_end_page(struct metrics_writer *writer, uint32_t next_vm);

/* Reading. Zero-initialised: nothing was read. */
struct metrics_snapshot {
    struct metric_row *rows[METRIC_SCOPES];
    size_t n_rows[METRIC_SCOPES], room[METRIC_SCOPES];
    char boot[METRIC_TEXT_BYTES];
    bool begun; /* the first page was read */
    /* By column of a row: the cell; -1: one that is not known here. */
    int cells[METRIC_SCOPES][METRICS_COLUMNS];
    size_t n_columns[METRIC_SCOPES];
};

void metrics_snapshot_release(struct metrics_snapshot *snapshot);

/*
 * Reads one page. *ret_next: the next page's after_vm, or 0. -EPROTO: it is not one; -ESTALE: it is
 * another mediator's than the first; -ENOMEM. The snapshot is then of no use any more.
 */
int metrics_take_page(struct metrics_snapshot *snapshot, const json_t *page, uint32_t *ret_next,
                      struct vgpu_err *err);

/*
 * All pages, by a function that executes the command `metrics`; where the mediator is another one
 * by then, from the start. 0 or -errno with the cause.
 */
typedef int metrics_ask_fn(void *context, json_t *args, json_t **ret_page, struct vgpu_err *err);
int metrics_collect(struct metrics_snapshot *snapshot, metrics_ask_fn *ask, void *context,
                    struct vgpu_err *err);

/* What there is to say while no mediator answers: that it does not. 0 or -ENOMEM. */
int metrics_down(struct metrics_snapshot *snapshot);

#endif
