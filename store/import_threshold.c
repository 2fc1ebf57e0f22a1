/* SPDX-License-Identifier: Apache-2.0 */
#include "store/import_threshold.h"

#include <string.h>

#include "store/args.h"
#include "store/audit.h"
#include "store/export.h"

static int find(struct store *store, const char *name, json_t **ret_row, struct vgpu_err *err)
{
    _cleanup_statement_ sqlite3_stmt *row = NULL;
    int rc =
        statement_open(store->db, &row, err,
                       "SELECT name, value, action FROM thresholds WHERE name = ?1", "s", name);

    if (rc == 0)
        rc = statement_step(row, err);
    if (rc <= 0)
        return rc;
    *ret_row = statement_json(row);
    return *ret_row ? 0 : database_no_memory(err);
}

static int write_row(struct store *store, const json_t *wanted, struct vgpu_err *err)
{
    const json_t *value = json_object_get(wanted, "value");
    _cleanup_statement_ sqlite3_stmt *row = NULL;
    int rc = statement_open(store->db, &row, err,
                            "INSERT OR REPLACE INTO thresholds (name, action, value)"
                            " VALUES (?1, ?2, ?3)",
                            "ssn", json_string_value(json_object_get(wanted, "name")),
                            json_string_value(json_object_get(wanted, "action")));

    if (rc == 0 && json_is_number(value) &&
        sqlite3_bind_double(row, 3, json_number_value(value)) != SQLITE_OK)
        rc = database_error(store->db, "write a threshold", err);
    return rc < 0 ? rc : statement_step(row, err);
}

int import_threshold(struct import *import, const json_t *given, struct vgpu_err *err)
{
    struct store_call *call = import->call;
    _cleanup_json_ json_t *old = NULL;
    _cleanup_json_ json_t *wanted = NULL;
    const char *name = NULL;
    int rc;

    if ((rc = args_text(given, "name", true, &name, err)) < 0 ||
        (rc = find(call->store, name, &old, err)) < 0 ||
        (rc = import_wanted(&intent_thresholds, given, old,
                            json_pack("{s:s, s:n}", "name", name, "value"), &wanted, err)) < 0)
        return rc;
    if (!json_object_get(wanted, "action"))
        return vgpu_err_set(err, EINVAL, "it is new, and has no action");
    if (old && json_equal(old, wanted))
        return 0;
    rc = write_row(call->store, wanted, err);
    return rc < 0 ? rc : audit_record(call, "threshold", name, old, wanted, err);
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
    struct store_call *call = import->call;
    _cleanup_json_ json_t *rows = NULL;
    json_t *row;
    size_t i;
    int rc = export_list_thresholds(call->store, &rows, err);

    if (rc < 0)
        return rc;
    json_array_foreach (rows, i, row) {
        const char *name = json_string_value(json_object_get(row, "name"));

        if (is_named(named, json_object_get(row, "name")))
            continue;
        if ((rc = database_run(call->store->db, err, "DELETE FROM thresholds WHERE name = ?1", "s",
                               name)) < 0 ||
            (rc = audit_record(call, "threshold", name, row, NULL, err)) < 0)
            return rc;
    }
    return 0;
}
