/* SPDX-License-Identifier: Apache-2.0 */
#include "store/import_row.h"

#include <stdio.h>
#include <string.h>

#include "store/args.h"
#include "store/audit.h"
#include "store/pool.h"
#include "store/text.h"
#include "store/vm.h"

#define SQL_BYTES 1024
#define KEY_BYTES 24

int import_place(const struct intent *intent, size_t i, int rc, struct vgpu_err *err)
{
    vgpu_err_prefix(err, "%s[%zu]", intent->list, i);
    return rc;
}

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

int import_wanted(const struct intent *intent, const json_t *given, const json_t *old,
                  json_t *fresh, json_t **ret_wanted, struct vgpu_err *err)
{
    _cleanup_json_ json_t *base = fresh;
    _cleanup_json_ json_t *wanted = old ? intent_pick(intent, old) : json_deep_copy(base);
    int rc;

    for (const struct setting *s = old ? NULL : intent->settings; s && s->name; s++)
        json_object_set_new(wanted, s->name, json_integer(0));
    if (!wanted)
        return database_no_memory(err);
    rc = intent_take(intent, given, wanted, err);
    if (rc == 0)
        *ret_wanted = vgpu_steal_ptr(&wanted);
    return rc;
}

/* True if the row is as wanted already. */
static bool is_so(const struct intent *intent, const json_t *old, const json_t *wanted)
{
    _cleanup_json_ json_t *now = old ? intent_pick(intent, old) : NULL;

    return now && json_equal(now, wanted);
}

/* ", a = 1, b = 2" with what is wanted of the settings. */
static void write_settings(const struct setting *settings, const json_t *wanted,
                           char sql[SQL_BYTES])
{
    size_t used = 0;

    sql[0] = '\0';
    for (; settings->name; settings++)
        used += (size_t)snprintf(
            sql + used, SQL_BYTES - used, ", %s = %lld", settings->name,
            (long long)json_integer_value(json_object_get(wanted, settings->name)));
}

static int write_pool(struct store_call *call, const json_t *wanted, bool is_new,
                      struct vgpu_err *err)
{
    const struct pool_row row = {.pool = text_of(wanted, "pool"),
                                 .policy = text_of(wanted, "policy"),
                                 .description = text_of(wanted, "description"),
                                 .created = call->now,
                                 .updated = call->now};
    char settings[SQL_BYTES], sql[2 * SQL_BYTES];
    int rc = is_new ? pool_insert(call->store, &row, err) : 0;

    if (rc < 0)
        return rc;
    write_settings(pool_settings, wanted, settings);
    snprintf(sql, sizeof(sql),
             "UPDATE pools SET policy = ?2, description = ?3, updated = ?4,"
             " revision = revision + ?5%s WHERE pool = ?1",
             settings);
    return database_run(call->store->db, err, sql, "sssii", row.pool, row.policy, row.description,
                        call->now, (int64_t)!is_new);
}

static int check_there(const struct import *import, const json_t *old, struct vgpu_err *err)
{
    if (import->there == IMPORT_OLD && !old)
        return vgpu_err_set(err, ENOENT, "it does not exist");
    if (import->there == IMPORT_NEW && old)
        return vgpu_err_set(err, EEXIST, "it exists already");
    return 0;
}

int import_pool(struct import *import, const json_t *given, struct vgpu_err *err)
{
    struct store_call *call = import->call;
    _cleanup_json_ json_t *old = NULL;
    _cleanup_json_ json_t *wanted = NULL;
    _cleanup_json_ json_t *new = NULL;
    const char *pool = NULL;
    int rc;

    if ((rc = args_text(given, "pool", true, &pool, err)) < 0 ||
        (rc = pool_find(call->store, pool, &old, err)) < 0 ||
        (rc = check_there(import, old, err)) < 0 ||
        (rc = import_wanted(&intent_pools, given, old,
                            json_pack("{s:s, s:s, s:s}", "pool", pool, "policy", pool_policies[0],
                                      "description", ""),
                            &wanted, err)) < 0)
        return rc;
    if (is_so(&intent_pools, old, wanted))
        return 0;
    if ((rc = write_pool(call, wanted, !old, err)) < 0 ||
        (rc = pool_load(call->store, pool, &new, err)) < 0)
        return rc;
    return audit_record(call, "pool", pool, old, new, err);
}

static int find_vm(struct import *import, const json_t *given, int64_t *ret_vm_id,
                   char key[KEY_BYTES], json_t **ret_old, struct vgpu_err *err)
{
    int rc = args_integer(given, "vm_id", true, STORE_VM_ID_MIN, STORE_VM_ID_MAX, ret_vm_id, err);

    if (rc < 0)
        return rc;
    snprintf(key, KEY_BYTES, "%lld", (long long)*ret_vm_id);
    *ret_old = json_incref(json_object_get(import->freed, key));
    return *ret_old ? 0 : vm_find(import->call->store, *ret_vm_id, ret_old, err);
}

int import_vm_free_uuid(struct import *import, const json_t *given, struct vgpu_err *err)
{
    _cleanup_json_ json_t *old = NULL;
    _cleanup_json_ json_t *wanted = json_object();
    char key[KEY_BYTES];
    int64_t vm_id = 0;
    int rc;

    if ((rc = find_vm(import, given, &vm_id, key, &old, err)) < 0 ||
        (rc = intent_take(&intent_vms, given, wanted, err)) < 0)
        return rc;
    if (!old || !json_object_get(wanted, "uuid") ||
        json_equal(json_object_get(wanted, "uuid"), json_object_get(old, "uuid")))
        return 0;
    if (json_object_set(import->freed, key, old) < 0)
        return database_no_memory(err);
    return database_run(import->call->store->db, err, "UPDATE vms SET uuid = NULL WHERE vm_id = ?1",
                        "i", vm_id);
}

static int check_vm(struct store_call *call, int64_t vm_id, const json_t *wanted,
                    struct vgpu_err *err)
{
    const char *uuid = text_of(wanted, "uuid"), *pool = text_of(wanted, "pool");
    int64_t rate = json_integer_value(json_object_get(wanted, "rate_per_s"));
    int64_t burst = json_integer_value(json_object_get(wanted, "burst"));
    int64_t owner = 0;
    int rc;

    if (!pool)
        return vgpu_err_set(err, EINVAL, "it is new, and has no pool");
    if ((rate == 0) != (burst == 0))
        return vgpu_err_set(err, EINVAL, "rate_per_s is %lld and burst %lld; both are 0 or none",
                            (long long)rate, (long long)burst);
    if ((rc = pool_exists(call->store, pool, err)) < 0 || !uuid)
        return rc;
    rc = database_integer(call->store->db, &owner, err,
                          "SELECT vm_id FROM vms WHERE uuid = ?1 AND vm_id <> ?2", "si", uuid,
                          vm_id);
    if (rc < 0 || owner == 0)
        return rc;
    return vgpu_err_set(err, EEXIST, "the UUID %s belongs to VM %lld", uuid, (long long)owner);
}

/* As quarantine and unquarantine do it, but for the revision. */
static int write_quarantine(struct store_call *call, int64_t vm_id, const char *reason,
                            struct vgpu_err *err)
{
    if (reason)
        return database_run(call->store->db, err,
                            "UPDATE vms SET quarantine_reason = ?2, quarantine_time = ?3,"
                            " quarantined_by = ?4 WHERE vm_id = ?1 AND"
                            " (quarantine_reason IS NULL OR quarantine_reason <> ?2)",
                            "isis", vm_id, reason, call->now, call->who);
    return database_run(call->store->db, err,
                        "UPDATE vms SET quarantine_reason = NULL, quarantine_time = NULL,"
                        " quarantined_by = NULL, faults_from = coalesce((SELECT max(fault_id)"
                        " FROM vm_faults f WHERE f.vm_id = ?1), 0)"
                        " WHERE vm_id = ?1 AND quarantine_reason IS NOT NULL",
                        "i", vm_id);
}

static int write_vm(struct store_call *call, int64_t vm_id, const json_t *wanted, bool is_new,
                    struct vgpu_err *err)
{
    struct vm_row row = VM_ROW_NEW(vm_id, text_of(wanted, "pool"), call->now);
    char settings[SQL_BYTES], sql[2 * SQL_BYTES];
    double weight = json_number_value(json_object_get(wanted, "weight"));
    int rc = is_new ? vm_insert(call->store, &row, err) : 0;

    if (rc < 0)
        return rc;
    write_settings(vm_settings, wanted, settings);
    snprintf(sql, sizeof(sql),
             "UPDATE vms SET uuid = ?2, name = ?3, pool = ?4, priority = ?5,"
             " weight_hundredths = ?6, updated = ?7, revision = revision + ?8%s WHERE vm_id = ?1",
             settings);
    rc = database_run(call->store->db, err, sql, "issssiii", vm_id, text_of(wanted, "uuid"),
                      text_of(wanted, "name"), row.pool, text_of(wanted, "priority"),
                      vm_weight_hundredths(weight), call->now, (int64_t)!is_new);
    return rc < 0 ? rc : write_quarantine(call, vm_id, text_of(wanted, "quarantine_reason"), err);
}

/* A rate brings its burst, as set-rate has it. */
static void complete_burst(const json_t *given, json_t *wanted)
{
    json_t *rate = json_object_get(given, "rate_per_s");

    if (rate && !json_object_get(given, "burst"))
        json_object_set(wanted, "burst", rate);
}

int import_vm(struct import *import, const json_t *given, struct vgpu_err *err)
{
    struct store_call *call = import->call;
    _cleanup_json_ json_t *old = NULL;
    _cleanup_json_ json_t *wanted = NULL;
    _cleanup_json_ json_t *new = NULL;
    char key[KEY_BYTES];
    int64_t vm_id = 0;
    int rc;

    if ((rc = find_vm(import, given, &vm_id, key, &old, err)) < 0 ||
        (rc = check_there(import, old, err)) < 0 ||
        (rc = import_wanted(&intent_vms, given, old,
                            json_pack("{s:I, s:n, s:n, s:s, s:f, s:n}", "vm_id", (json_int_t)vm_id,
                                      "uuid", "name", "priority", "medium", "weight",
                                      STORE_WEIGHT_DEFAULT, "quarantine_reason"),
                            &wanted, err)) < 0)
        return rc;
    complete_burst(given, wanted);
    if (is_so(&intent_vms, old, wanted))
        return 0;
    if ((rc = check_vm(call, vm_id, wanted, err)) < 0 ||
        (rc = write_vm(call, vm_id, wanted, !old, err)) < 0 ||
        (rc = vm_find(call->store, vm_id, &new, err)) < 0)
        return rc;
    return audit_record(call, "vm", key, old, new, err);
}
