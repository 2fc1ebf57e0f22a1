/* SPDX-License-Identifier: Apache-2.0 */
#include "store/audit.h"

#include "store/json.h"

/* The object as text, without the members that the other has alike. */
static char *dump(json_t *object, const json_t *other)
{
    _cleanup_json_ json_t *rest = json_copy(object);
    const json_t *value;
    const char *key;
    void *next;

    if (!rest)
        return NULL;
    json_object_foreach_safe (rest, next, key, value)
        if (other && json_equal(json_object_get(other, key), value))
            json_object_del(rest, key);
    return json_dumps(rest, STORE_JSON_FLAGS);
}

static int insert(struct store_call *call, const char *object, const char *key, json_t *from,
                  json_t *to, struct vgpu_err *err)
{
    _cleanup_free_ char *from_text = from ? dump(from, to) : NULL;
    _cleanup_free_ char *to_text = to ? dump(to, from) : NULL;

    if ((from && !from_text) || (to && !to_text))
        return database_no_memory(err);
    return database_run(call->store->db, err,
                        "INSERT INTO audit_log (time, who, command, object, object_key, before,"
                        " after) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                        "issssss", call->now, call->who, call->command, object, key, from_text,
                        to_text);
}

/* Faults come from guests: they make room for each other, before they crowd out administrators. */
static int make_room(struct store *store, struct vgpu_err *err)
{
    int rc = database_run(store->db, err,
                          "DELETE FROM audit_log WHERE command = 'record-fault' AND seq <="
                          " (SELECT seq FROM audit_log WHERE command = 'record-fault'"
                          "  ORDER BY seq DESC LIMIT 1 OFFSET ?1)",
                          "i", (int64_t)STORE_AUDIT_FAULT_ROWS_MAX);

    if (rc < 0)
        return rc;
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
