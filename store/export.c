/* SPDX-License-Identifier: Apache-2.0 */
#include "store/export.h"

#include <string.h>

#include "store/args.h"
#include "store/gpu.h"
#include "store/intent.h"
#include "store/pool.h"
#include "store/threshold_row.h"
#include "store/vm.h"

/*
 * A GPU of which nothing is wanted is for the next scan to find, wherever this is imported; a
 * threshold that nobody changed is what the program there says.
 */
static bool is_wanted(const struct intent *intent, const json_t *row)
{
    if (intent == &intent_thresholds)
        return json_is_false(json_object_get(row, "is_default"));
    return intent != &intent_gpus || json_array_size(json_object_get(row, "pools")) > 0 ||
           json_is_true(json_object_get(row, "drained"));
}

/*
 * Where a row that a text names comes in the list: by that, wherever the next export is made.
 * VMs are in the order of their ids already.
 */
static size_t place_of(const struct intent *intent, const json_t *list, const json_t *row)
{
    const char *key = intent->members[0].name;
    const char *name = json_string_value(json_object_get(row, key));
    size_t place = json_array_size(list);

    while (name && place > 0 &&
           strcmp(json_string_value(json_object_get(json_array_get(list, place - 1), key)), name) >
               0)
        place--;
    return place;
}

/* Puts the rows, which this takes, into the result. */
static int add(struct store_call *call, const struct intent *intent, json_t *rows,
               struct vgpu_err *err)
{
    _cleanup_json_ json_t *taken = rows;
    json_t *list = json_array();
    const json_t *row;
    size_t i;

    if (json_object_set_new(call->result, intent->list, list) < 0)
        return database_no_memory(err);
    json_array_foreach (taken, i, row)
        if (is_wanted(intent, row) &&
            json_array_insert_new(list, place_of(intent, list, row), intent_pick(intent, row)) < 0)
            return database_no_memory(err);
    return 0;
}

int export_command(struct store_call *call, struct vgpu_err *err)
{
    static const char *const known[] = {NULL};
    json_t *rows = NULL;
    int rc;

    if (json_object_set_new(call->result, "format", json_integer(INTENT_FORMAT)) < 0)
        return database_no_memory(err);
    if ((rc = args_known(call->args, known, err)) < 0 ||
        (rc = pool_list(call->store, false, &rows, err)) < 0 ||
        (rc = add(call, &intent_pools, rows, err)) < 0 ||
        (rc = vm_list(call->store, NULL, &rows, err)) < 0 ||
        (rc = add(call, &intent_vms, rows, err)) < 0 ||
        (rc = gpu_list(call->store, true, &rows, err)) < 0 ||
        (rc = add(call, &intent_gpus, rows, err)) < 0 ||
        (rc = threshold_list(call->store, &rows, err)) < 0)
        return rc;
    return add(call, &intent_thresholds, rows, err);
}
