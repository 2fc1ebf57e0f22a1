/* SPDX-License-Identifier: Apache-2.0 */
#include "store/audit.h"

#include "store/json.h"

static int insert(struct store_call *call, const char *object, const char *key, const json_t *from,
                  const json_t *to, struct vgpu_err *err)
{
    _cleanup_free_ char *from_text = from ? json_dumps(from, STORE_JSON_FLAGS) : NULL;
    _cleanup_free_ char *to_text = to ? json_dumps(to, STORE_JSON_FLAGS) : NULL;

    if ((from && !from_text) || (to && !to_text))
        return database_no_memory(err);
    return database_run(call->store->db, err,
                        "INSERT INTO audit_log (time, who, command, object, object_key, before,"
                        " after) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                        "issssss", call->now, call->who, call->command, object, key, from_text,
                        to_text);
}

static int make_room(struct store *store, struct vgpu_err *err)
{
    return database_run(store->db, err,
                        "DELETE FROM audit_log WHERE seq <= (SELECT max(seq) FROM audit_log) - ?1",
                        "i", (int64_t)STORE_AUDIT_ROWS_MAX);
}

int audit_record(struct store_call *call, const char *object, const char *key, json_t *from,
                 json_t *to, struct vgpu_err *err)
{
    json_t *change =
        json_pack("{s:s, s:s, s:O?, s:O?}", "object", object, "key", key, "from", from, "to", to);
    int rc;

    if (!change || json_array_append_new(call->changes, change) < 0)
        return database_no_memory(err);
    rc = insert(call, object, key, from, to, err);
    if (rc < 0)
        return rc;
    return make_room(call->store, err);
}
