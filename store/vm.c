/* SPDX-License-Identifier: Apache-2.0 */
#include "store/vm.h"

#include <stdio.h>
#include <string.h>

#include "store/args.h"
#include "store/audit.h"
#include "store/pool.h"
#include "store/setting.h"
#include "store/text.h"

#define TEXT_OF(number) #number
#define AS_TEXT(number) TEXT_OF(number)
#define DEFAULT_WINDOW  AS_TEXT(STORE_FAULT_WINDOW_DEFAULT_S)
#define KEY_BYTES       24

/*
 * A fault counts while it is younger than the VM's window (?2: now) and was not forgiven. The last
 * fault is shown as long as it is kept.
 */
#define COLUMNS                                                                                    \
    "vms.vm_id AS vm_id, uuid, name, pool, priority, weight_hundredths / 100.0 AS weight, "        \
    "rate_per_s, burst,"                                                                           \
    " depth, bytes_in_flight, job_timeout_ms, memory_bytes, process_memory_bytes,"                 \
    " fault_threshold, fault_window_s,"                                                            \
    " (SELECT count(*) FROM vm_faults f WHERE f.vm_id = vms.vm_id AND f.fault_id > faults_from"    \
    "  AND f.time > ?2 - CASE fault_window_s WHEN 0 THEN " DEFAULT_WINDOW                          \
    "                    ELSE fault_window_s END) AS faults,"                                      \
    " faults_total, last.time AS last_fault, last.kind AS last_fault_kind,"                        \
    " last.text AS last_fault_text, quarantine_reason IS NOT NULL AS quarantined,"                 \
    " quarantine_reason, quarantine_time, quarantined_by, revision, created, updated"
#define FROM                                                                                       \
    " FROM vms LEFT JOIN vm_faults last ON last.fault_id ="                                        \
    " (SELECT max(fault_id) FROM vm_faults f WHERE f.vm_id = vms.vm_id) "

const char *const vm_naming[] = {"vm", "vm_id", "uuid", "name", NULL};
const char *const vm_priorities[] = {"low", "medium", "high", NULL};

int64_t vm_weight_hundredths(double weight)
{
    return (int64_t)(weight * 100.0 + 0.5);
}

int vm_insert(struct store *store, const struct vm_row *row, struct vgpu_err *err)
{
    return database_run(store->db, err,
                        "INSERT INTO vms (vm_id, uuid, name, pool, priority, weight_hundredths,"
                        " created, updated) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                        "issssiii", row->vm_id, row->uuid, row->name, row->pool, row->priority,
                        row->weight_hundredths, row->created, row->updated);
}

static json_t *row_json(sqlite3_stmt *row)
{
    return statement_flag(statement_json(row), "quarantined");
}

int vm_find(struct store *store, int64_t vm_id, json_t **ret_vm, struct vgpu_err *err)
{
    _cleanup_statement_ sqlite3_stmt *row = NULL;
    int rc = statement_open(store->db, &row, err, "SELECT " COLUMNS FROM "WHERE vms.vm_id = ?1",
                            "ii", vm_id, store->now_s());

    if (rc == 0)
        rc = statement_step(row, err);
    if (rc <= 0)
        return rc;
    *ret_vm = row_json(row);
    return *ret_vm ? 1 : database_no_memory(err);
}

int vm_list(struct store *store, const char *pool, json_t **ret_vms, struct vgpu_err *err)
{
    _cleanup_statement_ sqlite3_stmt *row = NULL;
    _cleanup_json_ json_t *vms = json_array();
    int rc = statement_open(store->db, &row, err,
                            "SELECT " COLUMNS FROM "WHERE ?1 IS NULL OR pool = ?1"
                            " ORDER BY vms.vm_id",
                            "si", pool, store->now_s());

    if (rc < 0)
        return rc;
    while ((rc = statement_step(row, err)) > 0)
        if (json_array_append_new(vms, row_json(row)) < 0)
            return database_no_memory(err);
    if (rc < 0)
        return rc;
    *ret_vms = vgpu_steal_ptr(&vms);
    return 0;
}

/* What names a VM in a request; what is not asked for is NULL or -1. */
struct selector {
    int64_t vm_id;
    const char *uuid;
    const char *name;
    char uuid_lower[STORE_UUID_BYTES + 1];
    const char *shown; /* as the administrator wrote it */
    char number[KEY_BYTES];
};

/* "vm": an id, a UUID or a name. */
static int read_any(const json_t *args, struct selector *selector, struct vgpu_err *err)
{
    const char *text = NULL;
    int rc;

    if (json_is_integer(json_object_get(args, "vm"))) {
        rc =
            args_integer(args, "vm", true, STORE_VM_ID_MIN, STORE_VM_ID_MAX, &selector->vm_id, err);
        snprintf(selector->number, sizeof(selector->number), "%lld", (long long)selector->vm_id);
        selector->shown = selector->number;
        return rc;
    }
    if ((rc = args_text(args, "vm", true, &text, err)) < 0)
        return rc;
    selector->shown = text;
    selector->name = text;
    if (!text_decimal(text, &selector->vm_id))
        selector->vm_id = -1;
    if (text_uuid(text, selector->uuid_lower, NULL) == 0)
        selector->uuid = selector->uuid_lower;
    return 0;
}

static bool is_given(const json_t *args, const char *key)
{
    const json_t *value = json_object_get(args, key);

    return value && !json_is_null(value);
}

static int read_selector(const json_t *args, struct selector *ret, struct vgpu_err *err)
{
    int given = 0, rc;

    *ret = (struct selector){.vm_id = -1};
    for (size_t i = 0; vm_naming[i]; i++)
        given += is_given(args, vm_naming[i]);
    if (given != 1)
        return vgpu_err_set(err, EINVAL, "%s: name it by exactly one of vm, vm_id, uuid, name",
                            given ? "the VM is named more than once" : "which VM is missing");
    if (is_given(args, "vm"))
        return read_any(args, ret, err);
    if ((rc = args_text(args, "uuid", false, &ret->uuid, err)) < 0 ||
        (rc = args_text(args, "name", false, &ret->name, err)) < 0 ||
        (rc = args_integer(args, "vm_id", false, STORE_VM_ID_MIN, STORE_VM_ID_MAX, &ret->vm_id,
                           err)) < 0)
        return rc;
    if (ret->uuid) {
        ret->shown = ret->uuid;
        if ((rc = text_uuid(ret->uuid, ret->uuid_lower, err)) < 0)
            return rc;
        ret->uuid = ret->uuid_lower;
    } else if (ret->name) {
        ret->shown = ret->name;
    } else {
        snprintf(ret->number, sizeof(ret->number), "%lld", (long long)ret->vm_id);
        ret->shown = ret->number;
    }
    return 0;
}

static void describe(sqlite3_stmt *row, char *text, size_t size)
{
    const char *uuid = statement_text(row, 1);
    const char *name = statement_text(row, 2);
    char shown[TEXT_SHOWN_BYTES] = "";

    if (name)
        text_show(shown, name);
    snprintf(text, size, "%lld (%s%s%s)", (long long)sqlite3_column_int64(row, 0),
             name ? shown : "no name", uuid ? ", " : "", uuid ? uuid : "");
}

int vm_resolve(struct store_call *call, json_t **ret_vm, struct vgpu_err *err)
{
    _cleanup_statement_ sqlite3_stmt *row = NULL;
    _cleanup_json_ json_t *vm = NULL;
    struct text_list candidates = {.used = 0};
    char text[TEXT_SHOWN_BYTES + STORE_UUID_BYTES + 32], shown[TEXT_SHOWN_BYTES];
    struct selector by;
    int rc = read_selector(call->args, &by, err);

    if (rc < 0)
        return rc;
    rc = statement_open(call->store->db, &row, err,
                        "SELECT " COLUMNS FROM
                        "WHERE vms.vm_id = ?1 OR uuid = ?3 OR name = ?4 ORDER BY vms.vm_id",
                        "iiss", by.vm_id, call->now, by.uuid, by.name);
    if (rc < 0)
        return rc;
    while ((rc = statement_step(row, err)) > 0) {
        describe(row, text, sizeof(text));
        text_list_add(&candidates, text);
        if (!vm && !(vm = row_json(row)))
            return database_no_memory(err);
    }
    if (rc < 0)
        return rc;
    text_show(shown, by.shown);
    if (candidates.items > 1)
        return vgpu_err_set(err, ENOTUNIQ, "%s fits %zu VMs: %s; choose one with --vm-id", shown,
                            candidates.items, text_list_end(&candidates));
    if (!vm)
        return vgpu_err_set(err, ENOENT, "VM %s does not exist; see: vgpu-admin list-vms", shown);
    *ret_vm = vgpu_steal_ptr(&vm);
    return 0;
}

static json_int_t revision_of(const json_t *vm)
{
    return json_integer_value(json_object_get(vm, "revision"));
}

int vm_give(struct store_call *call, json_t *vm, json_t *old, json_t *new, struct vgpu_err *err)
{
    char key[KEY_BYTES];

    if (json_object_set(call->result, "vm", vm) < 0)
        return database_no_memory(err);
    if (old && new && !call->is_history && revision_of(old) == revision_of(new))
        return 0;
    snprintf(key, sizeof(key), "%lld", (long long)json_integer_value(json_object_get(vm, "vm_id")));
    return audit_record(call, "vm", key, old, new, err);
}

int vm_check_room(struct store *store, size_t more, struct vgpu_err *err)
{
    int64_t count;
    int rc = database_integer(store->db, &count, err, "SELECT count(*) FROM vms", "");

    if (rc < 0 || count + (int64_t)more <= STORE_VMS_MAX)
        return rc;
    return vgpu_err_set(err, ENOSPC, "there are %lld VMs already, and %d are allowed",
                        (long long)count, STORE_VMS_MAX);
}

/* -EEXIST if the id or the UUID is taken. */
static int check_free(struct store *store, const struct vm_row *vm, struct vgpu_err *err)
{
    _cleanup_json_ json_t *same = NULL;
    int64_t owner;
    int rc = vm_find(store, vm->vm_id, &same, err);

    if (rc > 0)
        return vgpu_err_set(err, EEXIST,
                            "VM %lld exists already, in pool '%s'; change it with "
                            "set-pool, set-priority, set-weight and the like",
                            (long long)vm->vm_id, json_string_value(json_object_get(same, "pool")));
    if (rc == 0 && vm->uuid)
        rc = database_integer(store->db, &owner, err, "SELECT vm_id FROM vms WHERE uuid = ?1", "s",
                              vm->uuid);
    if (rc < 0 || !vm->uuid || owner == 0)
        return rc;
    return vgpu_err_set(err, EEXIST, "the UUID %s belongs to VM %lld already", vm->uuid,
                        (long long)owner);
}

static int read_weight(const json_t *args, bool required, int64_t *ret_hundredths,
                       struct vgpu_err *err)
{
    double weight = STORE_WEIGHT_DEFAULT;
    int rc =
        args_number(args, "weight", required, STORE_WEIGHT_MIN, STORE_WEIGHT_MAX, &weight, err);

    if (rc == 0)
        *ret_hundredths = vm_weight_hundredths(weight);
    return rc;
}

static int read_new(const json_t *args, struct vm_row *row, char uuid[STORE_UUID_BYTES + 1],
                    struct vgpu_err *err)
{
    static const char *const known[] = {"pool", "priority", "vm_id", "uuid",
                                        "name", "weight",   NULL};
    int rc;

    if ((rc = args_known(args, known, err)) < 0 ||
        (rc = args_integer(args, "vm_id", true, STORE_VM_ID_MIN, STORE_VM_ID_MAX, &row->vm_id,
                           err)) < 0 ||
        (rc = args_text(args, "pool", true, &row->pool, err)) < 0 ||
        (rc = args_word(args, "priority", false, vm_priorities, &row->priority, err)) < 0 ||
        (rc = args_text(args, "uuid", false, &row->uuid, err)) < 0 ||
        (rc = args_text(args, "name", false, &row->name, err)) < 0 ||
        (rc = read_weight(args, false, &row->weight_hundredths, err)) < 0)
        return rc;
    if (row->name && (rc = text_check("the name", row->name, STORE_NAME_BYTES, err)) < 0)
        return rc;
    if (!row->uuid)
        return 0;
    rc = text_uuid(row->uuid, uuid, err);
    row->uuid = uuid;
    return rc;
}

int vm_command_register(struct store_call *call, struct vgpu_err *err)
{
    struct vm_row row = VM_ROW_NEW(0, NULL, call->now);
    _cleanup_json_ json_t *vm = NULL;
    char uuid[STORE_UUID_BYTES + 1];
    int rc;

    if ((rc = read_new(call->args, &row, uuid, err)) < 0 ||
        (rc = pool_exists(call->store, row.pool, err)) < 0 ||
        (rc = check_free(call->store, &row, err)) < 0 ||
        (rc = vm_check_room(call->store, 1, err)) < 0 ||
        (rc = vm_insert(call->store, &row, err)) < 0 ||
        (rc = pool_check_most(call->store, row.pool, err)) < 0 ||
        (rc = vm_find(call->store, row.vm_id, &vm, err)) < 0)
        return rc;
    return vm_give(call, vm, NULL, vm, err);
}

int vm_remove(struct store_call *call, json_t *vm, struct vgpu_err *err)
{
    int64_t vm_id = json_integer_value(json_object_get(vm, "vm_id"));
    char key[KEY_BYTES];
    int rc = database_run(call->store->db, err, "DELETE FROM vms WHERE vm_id = ?1", "i", vm_id);

    if (rc < 0)
        return rc;
    snprintf(key, sizeof(key), "%lld", (long long)vm_id);
    return audit_record(call, "vm", key, vm, NULL, err);
}

int vm_command_remove(struct store_call *call, struct vgpu_err *err)
{
    _cleanup_json_ json_t *vm = NULL;
    int rc;

    if ((rc = args_known(call->args, vm_naming, err)) < 0 ||
        (rc = vm_resolve(call, &vm, err)) < 0 || (rc = vm_remove(call, vm, err)) < 0)
        return rc;
    return json_object_set(call->result, "vm", vm) < 0 ? database_no_memory(err) : 0;
}

int vm_command_list(struct store_call *call, struct vgpu_err *err)
{
    static const char *const known[] = {"pool", NULL};
    const char *pool = NULL;
    json_t *vms = NULL;
    int rc;

    if ((rc = args_known(call->args, known, err)) < 0 ||
        (rc = args_text(call->args, "pool", false, &pool, err)) < 0 ||
        (pool && (rc = pool_exists(call->store, pool, err)) < 0) ||
        (rc = vm_list(call->store, pool, &vms, err)) < 0)
        return rc;
    return json_object_set_new(call->result, "vms", vms) < 0 ? database_no_memory(err) : 0;
}

/*
 * Sets one column of the VM that is named to the value (?2; types says text or integer), unless it
 * has that already.
 */
static int set_column(struct store_call *call, const char *sql, const char *text, int64_t integer,
                      struct vgpu_err *err)
{
    _cleanup_json_ json_t *old = NULL;
    _cleanup_json_ json_t *new = NULL;
    int64_t vm_id;
    int rc = vm_resolve(call, &old, err);

    if (rc < 0)
        return rc;
    vm_id = json_integer_value(json_object_get(old, "vm_id"));
    rc = text ? database_run(call->store->db, err, sql, "isi", vm_id, text, call->now)
              : database_run(call->store->db, err, sql, "iii", vm_id, integer, call->now);
    if (rc < 0 || (rc = vm_find(call->store, vm_id, &new, err)) < 0)
        return rc;
    return vm_give(call, new, old, new, err);
}

int vm_command_set_priority(struct store_call *call, struct vgpu_err *err)
{
    static const char *const known[] = {"vm", "vm_id", "uuid", "name", "priority", NULL};
    const char *priority = NULL;
    int rc;

    if ((rc = args_known(call->args, known, err)) < 0 ||
        (rc = args_word(call->args, "priority", true, vm_priorities, &priority, err)) < 0)
        return rc;
    return set_column(call,
                      "UPDATE vms SET priority = ?2, updated = ?3, revision = revision + 1"
                      " WHERE vm_id = ?1 AND priority <> ?2",
                      priority, 0, err);
}

int vm_command_set_weight(struct store_call *call, struct vgpu_err *err)
{
    static const char *const known[] = {"vm", "vm_id", "uuid", "name", "weight", NULL};
    int64_t hundredths = 0;
    int rc;

    if ((rc = args_known(call->args, known, err)) < 0 ||
        (rc = read_weight(call->args, true, &hundredths, err)) < 0)
        return rc;
    return set_column(call,
                      "UPDATE vms SET weight_hundredths = ?2, updated = ?3, revision = revision + 1"
                      " WHERE vm_id = ?1 AND weight_hundredths <> ?2",
                      NULL, hundredths, err);
}

int vm_command_set_pool(struct store_call *call, struct vgpu_err *err)
{
    static const char *const known[] = {"vm", "vm_id", "uuid", "name", "pool", NULL};
    const char *pool = NULL;
    int rc;

    if ((rc = args_known(call->args, known, err)) < 0 ||
        (rc = args_text(call->args, "pool", true, &pool, err)) < 0 ||
        (rc = pool_exists(call->store, pool, err)) < 0)
        return rc;
    rc = set_column(call,
                    "UPDATE vms SET pool = ?2, updated = ?3, revision = revision + 1"
                    " WHERE vm_id = ?1 AND pool <> ?2",
                    pool, 0, err);
    return rc < 0 ? rc : pool_check_most(call->store, pool, err);
}

int vm_command_set(struct store_call *call, struct vgpu_err *err)
{
    const struct setting_command *command =
        setting_command_find(vm_setting_commands, call->command);
    char changes[SETTING_SQL_BYTES], sql[SETTING_SQL_BYTES + 96];
    _cleanup_json_ json_t *old = NULL;
    _cleanup_json_ json_t *new = NULL;
    int64_t vm_id;
    int rc = vm_resolve(call, &old, err);

    if (rc < 0 ||
        (rc = setting_read(vm_settings, command, vm_naming, call->args, old, changes, err)) < 0)
        return rc;
    if (!changes[0])
        return vm_give(call, old, old, old, err);
    vm_id = json_integer_value(json_object_get(old, "vm_id"));
    snprintf(sql, sizeof(sql),
             "UPDATE vms SET %s, updated = ?2, revision = revision + 1 WHERE vm_id = ?1", changes);
    if ((rc = database_run(call->store->db, err, sql, "ii", vm_id, call->now)) < 0 ||
        (rc = vm_find(call->store, vm_id, &new, err)) < 0)
        return rc;
    return vm_give(call, new, old, new, err);
}
