/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.def as C has it: a table, and a number for each cell of a row.
 *
 * A row is what is known of the mediator, or of one GPU, pool or VM; it has a cell for each metric
 * of its scope, or one for each value of the metric's label. The mediator fills rows, and writes
 * them into pages (metrics/page.h); whoever renders reads them from there.
 */
#ifndef VGPU_METRICS_TABLE_H
#define VGPU_METRICS_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum metric_scope { METRIC_GLOBAL, METRIC_GPU, METRIC_POOL, METRIC_VM, METRIC_SCOPES };
enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_SUMMARY, METRIC_INFO };

struct metric {
    enum metric_scope scope;
    enum metric_type type;
    unsigned digits;
    const char *name, *label;
    unsigned n_values; /* of the label, and so of cells */
    const char *values, *help;
    unsigned cell; /* its first */
};

extern const struct metric metrics_table[];
extern const size_t metrics_count;

/* The cells of each scope: CELL_VM_REFUSED is the first of that metric. */
#define CELLS_GLOBAL(id, n)
#define CELLS_GPU(id, n)
#define CELLS_POOL(id, n)
#define CELLS_VM(id, n)
#define METRIC(scope, id, type, digits, name, label, n, values, help) CELLS_##scope(id, n)

#undef CELLS_GLOBAL
#define CELLS_GLOBAL(id, n) CELL_GLOBAL_##id, CELL_GLOBAL_##id##_LAST = CELL_GLOBAL_##id + (n)-1,
enum {
#include "metrics/metrics.def"
    CELLS_OF_GLOBAL
};
#undef CELLS_GLOBAL
#define CELLS_GLOBAL(id, n)

#undef CELLS_GPU
#define CELLS_GPU(id, n) CELL_GPU_##id, CELL_GPU_##id##_LAST = CELL_GPU_##id + (n)-1,
enum {
#include "metrics/metrics.def"
    CELLS_OF_GPU
};
#undef CELLS_GPU
#define CELLS_GPU(id, n)

#undef CELLS_POOL
#define CELLS_POOL(id, n) CELL_POOL_##id, CELL_POOL_##id##_LAST = CELL_POOL_##id + (n)-1,
enum {
#include "metrics/metrics.def"
    CELLS_OF_POOL
};
#undef CELLS_POOL
#define CELLS_POOL(id, n)

#undef CELLS_VM
#define CELLS_VM(id, n) CELL_VM_##id, CELL_VM_##id##_LAST = CELL_VM_##id + (n)-1,
enum {
#include "metrics/metrics.def"
    CELLS_OF_VM
};
#undef CELLS_VM
#undef CELLS_POOL
#undef CELLS_GPU
#undef CELLS_GLOBAL
#undef METRIC

#define METRIC_CELLS_MAX ((unsigned)CELLS_OF_VM)
_Static_assert(METRIC_CELLS_MAX >= (unsigned)CELLS_OF_GPU &&
                   METRIC_CELLS_MAX >= (unsigned)CELLS_OF_GLOBAL &&
                   METRIC_CELLS_MAX >= (unsigned)CELLS_OF_POOL,
               "a VM has most cells");

#define METRIC_QUANTILES 3 /* 0.5, 0.95, 0.99 */
extern const char *const metric_quantiles[METRIC_QUANTILES];

/* What is not known is left out of what is rendered. */
struct metric_cell {
    bool known;
    bool lately;    /* a summary has quantiles: something was counted lately */
    uint64_t value; /* a summary's count */
    uint64_t sum, quantiles[METRIC_QUANTILES];
};

#define METRIC_TEXT_BYTES 65

struct metric_row {
    uint32_t id; /* of a GPU or VM */
    /* A pool's name; a VM's pool and priority; the mediator's version. */
    char texts[2][METRIC_TEXT_BYTES];
    struct metric_cell cells[METRIC_CELLS_MAX];
};

unsigned metrics_cells(enum metric_scope scope);

/* The n-th word of a list of words: its size, and where it begins. 0: there are not so many. */
size_t metrics_word(const char *words, unsigned n, const char **ret);

/* Sets a cell. */
static inline void metric_set(struct metric_row *row, unsigned cell, uint64_t value)
{
    row->cells[cell].known = true;
    row->cells[cell].value = value;
}

#endif
