/* SPDX-License-Identifier: Apache-2.0 */
#include "metrics/page.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAGES_MAX 8192 /* of one scrape: a mediator that never ends is not read for ever */
#define TRIES_MAX 3

static const char *const members[METRIC_SCOPES] = {"global", "gpus", "pools", "vms"};

void metrics_snapshot_release(struct metrics_snapshot *snapshot)
{
    for (int scope = 0; scope < METRIC_SCOPES; scope++)
        free(snapshot->rows[scope]);
    memset(snapshot, 0, sizeof(*snapshot));
}

static int no_page(struct vgpu_err *err, const char *what)
{
    return vgpu_err_set(err, EPROTO, "the mediator's metrics are not understood: %s", what);
}

/* The cell of that name; -1: none. */
static int find_cell(enum metric_scope scope, const char *column)
{
    size_t name_size = strcspn(column, "/");
    const char *value = column[name_size] ? column + name_size + 1 : "";

    for (size_t i = 0; i < metrics_count; i++) {
        const struct metric *metric = &metrics_table[i];

        if (metric->scope != scope || strlen(metric->name) != name_size ||
            memcmp(metric->name, column, name_size) != 0)
            continue;
        for (unsigned n = 0; n < metric->n_values; n++) {
            const char *word = "";
            size_t size = metrics_word(metric->values, n, &word);

            if (size == strlen(value) && memcmp(word, value, size) == 0)
                return (int)(metric->cell + n);
        }
    }
    return -1;
}

static int take_columns(struct metrics_snapshot *snapshot, const json_t *columns,
                        struct vgpu_err *err)
{
    for (int scope = 0; scope < METRIC_SCOPES; scope++) {
        const json_t *names = json_object_get(columns, members[scope]), *name;
        size_t i;

        if (!json_is_array(names) || json_array_size(names) > METRICS_COLUMNS)
            return no_page(err, "columns");
        json_array_foreach (names, i, name) {
            if (!json_is_string(name))
                return no_page(err, "a column's name");
            snapshot->cells[scope][i] =
                find_cell((enum metric_scope)scope, json_string_value(name));
        }
        snapshot->n_columns[scope] = json_array_size(names);
    }
    return 0;
}

static bool take_number(const json_t *value, uint64_t *ret)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *ret = (uint64_t)json_integer_value(value);
    return true;
}

/* Null, a number, or a summary: count, sum, and quantiles if there are any. */
static bool take_cell(struct metric_cell *cell, const json_t *value)
{
    size_t parts = json_array_size(value);

    if (json_is_null(value))
        return true;
    cell->known = true;
    if (!json_is_array(value))
        return take_number(value, &cell->value);
    if (parts != 2 && parts != 2 + METRIC_QUANTILES)
        return false;
    if (!take_number(json_array_get(value, 0), &cell->value) ||
        !take_number(json_array_get(value, 1), &cell->sum))
        return false;
    cell->lately = parts > 2;
    for (size_t i = 0; i + 2 < parts; i++)
        if (!take_number(json_array_get(value, i + 2), &cell->quantiles[i]))
            return false;
    return true;
}

static bool take_text(const json_t *value, char ret[METRIC_TEXT_BYTES])
{
    const char *text = json_string_value(value);

    if (!text || strlen(text) >= METRIC_TEXT_BYTES)
        return false;
    strcpy(ret, text);
    return true;
}

/* What names the row. Returns how many elements that took; 0: it is none. */
static size_t take_head(enum metric_scope scope, const json_t *from, struct metric_row *row)
{
    uint64_t id = 0;

    if (scope == METRIC_GLOBAL || scope == METRIC_POOL)
        return take_text(json_array_get(from, 0), row->texts[0]) ? 1 : 0;
    if (!take_number(json_array_get(from, 0), &id) || id > UINT32_MAX)
        return 0;
    row->id = (uint32_t)id;
    if (scope == METRIC_GPU)
        return 1;
    return take_text(json_array_get(from, 1), row->texts[0]) &&
                   take_text(json_array_get(from, 2), row->texts[1])
               ? 3
               : 0;
}

static struct metric_row *new_row(struct metrics_snapshot *snapshot, enum metric_scope scope)
{
    size_t room = snapshot->room[scope] ? 2 * snapshot->room[scope] : 16;
    struct metric_row *rows = snapshot->rows[scope];

    if (snapshot->n_rows[scope] == snapshot->room[scope]) {
        rows = realloc(rows, room * sizeof(*rows));
        if (!rows)
            return NULL;
        snapshot->rows[scope] = rows;
        snapshot->room[scope] = room;
    }
    return memset(&rows[snapshot->n_rows[scope]++], 0, sizeof(*rows));
}

static int take_row(struct metrics_snapshot *snapshot, enum metric_scope scope, const json_t *from,
                    struct vgpu_err *err)
{
    struct metric_row *row;
    size_t head, columns = snapshot->n_columns[scope];

    if (snapshot->n_rows[scope] >= (scope == METRIC_GLOBAL ? 1 : METRICS_ROWS_MAX))
        return no_page(err, "too many rows");
    row = new_row(snapshot, scope);
    if (!row)
        return vgpu_err_set(err, ENOMEM, "out of memory");
    head = take_head(scope, from, row);
    if (head == 0 || json_array_size(from) != head + columns)
        return no_page(err, "a row");
    for (size_t i = 0; i < columns; i++) {
        int cell = snapshot->cells[scope][i];

        if (cell >= 0 && !take_cell(&row->cells[cell], json_array_get(from, head + i)))
            return no_page(err, "a cell");
    }
    return 0;
}

static int take_rows(struct metrics_snapshot *snapshot, const json_t *page, struct vgpu_err *err)
{
    int rc = 0;

    for (int scope = 0; scope < METRIC_SCOPES && rc == 0; scope++) {
        const json_t *rows = json_object_get(page, members[scope]), *row;
        size_t i;

        if (rows && !json_is_array(rows))
            return no_page(err, members[scope]);
        json_array_foreach (rows, i, row) {
            rc = take_row(snapshot, (enum metric_scope)scope, row, err);
            if (rc < 0)
                break;
        }
    }
    return rc;
}

static int take_start(struct metrics_snapshot *snapshot, const json_t *page, struct vgpu_err *err)
{
    char boot[METRIC_TEXT_BYTES];
    int rc;

    if (json_integer_value(json_object_get(page, "format")) != METRICS_FORMAT)
        return no_page(err, "format");
    if (!take_text(json_object_get(page, "boot"), boot))
        return no_page(err, "boot");
    if (snapshot->begun && strcmp(boot, snapshot->boot) != 0)
        return vgpu_err_set(err, ESTALE, "the mediator was started anew meanwhile");
    if (snapshot->begun)
        return 0;
    rc = take_columns(snapshot, json_object_get(page, "columns"), err);
    strcpy(snapshot->boot, boot);
    snapshot->begun = true;
    return rc;
}

int metrics_take_page(struct metrics_snapshot *snapshot, const json_t *page, uint32_t *ret_next,
                      struct vgpu_err *err)
{
    const json_t *next = json_object_get(page, "next_vm");
    uint64_t next_vm = 0;
    int rc = take_start(snapshot, page, err);

    if (rc == 0)
        rc = take_rows(snapshot, page, err);
    if (rc < 0)
        return rc;
    if (!json_is_null(next) && (!take_number(next, &next_vm) || next_vm > UINT32_MAX))
        return no_page(err, "next_vm");
    *ret_next = (uint32_t)next_vm;
    return 0;
}

static int collect_once(struct metrics_snapshot *snapshot, metrics_ask_fn *ask, void *context,
                        struct vgpu_err *err)
{
    uint32_t after = 0;
    int rc = 0;

    for (unsigned pages = 0; rc == 0 && (after || pages == 0); pages++) {
        json_t *page = NULL;
        uint32_t next = 0;

        if (pages == PAGES_MAX)
            return no_page(err, "there is no end to its pages");
        rc = ask(context,
                 json_pack("{s:I, s:i}", "after_vm", (json_int_t)after, "limit", METRICS_LIMIT_MAX),
                 &page, err);
        if (rc == 0)
            rc = metrics_take_page(snapshot, page, &next, err);
        json_decref(page);
        if (rc == 0 && next && next <= after)
            return no_page(err, "its pages go backwards");
        after = next;
    }
    return rc;
}

int metrics_collect(struct metrics_snapshot *snapshot, metrics_ask_fn *ask, void *context,
                    struct vgpu_err *err)
{
    int rc = -ESTALE;

    for (unsigned tries = 0; rc == -ESTALE && tries < TRIES_MAX; tries++) {
        metrics_snapshot_release(snapshot);
        rc = collect_once(snapshot, ask, context, err);
    }
    if (rc < 0)
        metrics_snapshot_release(snapshot);
    return rc;
}

int metrics_down(struct metrics_snapshot *snapshot)
{
    struct metric_row *row;

    metrics_snapshot_release(snapshot);
    row = new_row(snapshot, METRIC_GLOBAL);
    if (!row)
        return -ENOMEM;
    metric_set(row, CELL_GLOBAL_UP, 0);
    return 0;
}
