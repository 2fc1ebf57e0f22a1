/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/top_latency.h"

#include <stdio.h>

#include "common/cleanup.h"

/*
 * Quantiles of several kinds of jobs cannot be added up: a VM's are those of the kind that it had
 * most of, among those that it had lately. n_kinds cells from first on; NULL: there is none.
 */
static const struct metric_cell *most_counted(const struct metric_row *row, unsigned first,
                                              unsigned last)
{
    const struct metric_cell *found = NULL;

    for (unsigned i = first; i <= last; i++) {
        const struct metric_cell *cell = &row->cells[i];

        if (cell->known && cell->lately && (!found || cell->value > found->value))
            found = cell;
    }
    return found;
}

static json_t *quantiles(const struct metric_cell *cell)
{
    json_t *list = json_array();

    for (unsigned i = 0; cell && i < METRIC_QUANTILES; i++)
        json_array_append_new(list, json_integer((json_int_t)(cell->quantiles[i] & INT64_MAX)));
    return list;
}

json_t *top_latency(const struct metrics_snapshot *snapshot)
{
    json_t *latency = json_object();

    for (size_t i = 0; i < snapshot->n_rows[METRIC_VM]; i++) {
        const struct metric_row *row = &snapshot->rows[METRIC_VM][i];
        char key[16];

        snprintf(key, sizeof(key), "%u", row->id);
        json_object_set_new(
            latency, key,
            json_pack("{s:o, s:o}", "wait",
                      quantiles(most_counted(row, CELL_VM_JOB_WAIT, CELL_VM_JOB_WAIT_LAST)), "run",
                      quantiles(most_counted(row, CELL_VM_JOB_RUN, CELL_VM_JOB_RUN_LAST))));
    }
    return latency;
}

static int ask(void *context, json_t *args, json_t **ret_page, struct vgpu_err *err)
{
    _cleanup_json_ json_t *taken = args;

    return client_call(context, "metrics", taken, ret_page, err);
}

int top_latency_ask(struct client *client, json_t **ret_latency, struct vgpu_err *err)
{
    struct metrics_snapshot snapshot = {.begun = false};
    int rc = metrics_collect(&snapshot, ask, client, err);

    if (rc == 0) {
        *ret_latency = top_latency(&snapshot);
        rc = *ret_latency ? 0 : vgpu_err_set(err, ENOMEM, "out of memory");
    }
    metrics_snapshot_release(&snapshot);
    return rc;
}
