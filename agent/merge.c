/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/merge.h"

/* Recursion is bounded by REQUEST_JSON_DEPTH, as patches come from request_set_body(). */
json_t *merge_patch(const json_t *target, json_t *patch)
{
    json_t *result, *value, *merged;
    const char *key;

    if (!json_is_object(patch))
        return json_deep_copy(patch);
    result = json_is_object(target) ? json_deep_copy(target) : json_object();
    json_object_foreach (patch, key, value) {
        if (json_is_null(value)) {
            json_object_del(result, key);
            continue;
        }
        merged = merge_patch(json_object_get(result, key), value);
        if (json_object_set_new(result, key, merged) < 0) {
            json_decref(result);
            return NULL;
        }
    }
    return result;
}
