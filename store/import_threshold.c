/* SPDX-License-Identifier: Apache-2.0 */
#include "store/import_threshold.h"

#include "store/threshold_row.h"

int import_threshold(struct import *import, const json_t *given, struct vgpu_err *err)
{
    _cleanup_json_ json_t *checked = json_object();
    int rc =
        checked ? intent_take(&intent_thresholds, given, checked, err) : database_no_memory(err);

    return rc < 0 ? rc : threshold_set(import->call, checked, NULL, err);
}

static bool is_named(const json_t *named, const json_t *name)
{
    const json_t *item;
    size_t i;

    json_array_foreach (named, i, item)
        if (json_equal(json_object_get(item, "name"), name))
            return true;
    return false;
}

int import_threshold_prune(struct import *import, const json_t *named, struct vgpu_err *err)
{
    _cleanup_json_ json_t *rules = NULL;
    const json_t *rule;
    size_t i;
    int rc = threshold_list(import->call->store, &rules, err);

    json_array_foreach (rules, i, rule) {
        _cleanup_json_ json_t *usual = NULL;

        if (is_named(named, json_object_get(rule, "name")))
            continue;
        usual = json_pack("{s:O, s:O, s:O}", "name", json_object_get(rule, "name"), "value",
                          json_object_get(rule, "default_value"), "action",
                          json_object_get(rule, "default_action"));
        if (!usual)
            return database_no_memory(err);
        if ((rc = threshold_set(import->call, usual, NULL, err)) < 0)
            return rc;
    }
    return rc;
}
