/* SPDX-License-Identifier: Apache-2.0 */
#include "store/vm_fault.h"

#include <string.h>

#include "store/args.h"
#include "store/text.h"
#include "store/vm.h"

struct fault {
    int64_t vm_id, time;
    const char *kind, *text;
    const char *reason; /* of the quarantine; NULL: none is asked for */
    const char *ref;    /* of the fault, for whoever is not sure of having told; NULL: none */
};

static int64_t id_of(const json_t *vm)
{
    return json_integer_value(json_object_get(vm, "vm_id"));
}

static int check_kind(const char *kind, struct vgpu_err *err)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
    char shown[TEXT_SHOWN_BYTES];

    if (kind[0] == '\0' || kind[strspn(kind, plain)] || strlen(kind) > STORE_FAULT_KIND_BYTES)
        return vgpu_err_set(err, EINVAL, "the kind %s is not 1 to %d of a-z, 0-9 and '-'",
                            text_show(shown, kind), STORE_FAULT_KIND_BYTES);
    return 0;
}

static int read_fault(const struct store_call *call, struct fault *fault, struct vgpu_err *err)
{
    static const char *const known[] = {"vm_id",      "time",   "kind", "text",
                                        "quarantine", "reason", "ref",  NULL};
    bool quarantine = false;
    int rc;

    *fault = (struct fault){.time = call->now};
    if ((rc = args_known(call->args, known, err)) < 0 ||
        (rc = args_integer(call->args, "vm_id", true, STORE_VM_ID_MIN, STORE_VM_ID_MAX,
                           &fault->vm_id, err)) < 0 ||
        (rc = args_integer(call->args, "time", false, 0, INT64_MAX, &fault->time, err)) < 0 ||
        (rc = args_text(call->args, "kind", true, &fault->kind, err)) < 0 ||
        (rc = args_text(call->args, "text", true, &fault->text, err)) < 0 ||
        (rc = args_flag(call->args, "quarantine", &quarantine, err)) < 0 ||
        (rc = args_text(call->args, "reason", false, &fault->reason, err)) < 0 ||
        (rc = args_text(call->args, "ref", false, &fault->ref, err)) < 0 ||
        (rc = check_kind(fault->kind, err)) < 0 ||
        (fault->ref && (rc = text_check("the ref", fault->ref, STORE_FAULT_REF_BYTES, err)) < 0))
        return rc;
    /* A clock that was set back must not make a fault that never ages. */
    if (fault->time > call->now)
        fault->time = call->now;
    if (!quarantine)
        fault->reason = NULL;
    else if (!fault->reason)
        fault->reason = fault->text;
    return 0;
}

/* One more, and the oldest of its VM gone where they are too many. */
static int insert(struct store_call *call, const struct fault *fault, struct vgpu_err *err)
{
    char text[STORE_REASON_BYTES + 1];
    sqlite3 *db = call->store->db;
    int rc;

    text_clean(fault->text, text, sizeof(text));
    rc = database_run(db, err,
                      "INSERT INTO vm_faults (vm_id, time, kind, text, ref)"
                      " VALUES (?1, ?2, ?3, ?4, ?5)",
                      "iisss", fault->vm_id, fault->time, fault->kind, text, fault->ref);
    if (rc == 0)
        rc =
            database_run(db, err, "UPDATE vms SET faults_total = faults_total + 1 WHERE vm_id = ?1",
                         "i", fault->vm_id);
    if (rc < 0)
        return rc;
    return database_run(db, err,
                        "DELETE FROM vm_faults WHERE vm_id = ?1 AND fault_id <="
                        " (SELECT fault_id FROM vm_faults WHERE vm_id = ?1 ORDER BY fault_id DESC"
                        "  LIMIT 1 OFFSET"
                        "  (SELECT max(?2, fault_threshold) FROM vms WHERE vm_id = ?1))",
                        "ii", fault->vm_id, (int64_t)STORE_FAULTS_KEPT_MIN);
}

static int set_quarantine(struct store_call *call, int64_t vm_id, const char *reason,
                          struct vgpu_err *err)
{
    return database_run(call->store->db, err,
                        "UPDATE vms SET quarantine_reason = ?2, quarantine_time = ?3,"
                        " quarantined_by = ?4, updated = ?3, revision = revision + 1"
                        " WHERE vm_id = ?1",
                        "isis", vm_id, reason, call->now, call->who);
}

static int give_changed(struct store_call *call, json_t *old, struct vgpu_err *err)
{
    _cleanup_json_ json_t *new = NULL;
    int rc = vm_find(call->store, id_of(old), &new, err);

    return rc < 0 ? rc : vm_give(call, new, old, new, err);
}

/* 1: the fault of that ref was recorded before. */
static int was_recorded(struct store_call *call, const struct fault *fault, struct vgpu_err *err)
{
    int64_t n = 0;
    int rc;

    if (!fault->ref)
        return 0;
    rc = database_integer(call->store->db, &n, err,
                          "SELECT count(*) FROM vm_faults WHERE vm_id = ?1 AND ref = ?2", "is",
                          fault->vm_id, fault->ref);
    return rc < 0 ? rc : n > 0;
}

/* A VM that is in quarantine stays there for its first reason. */
int vm_fault_command_record(struct store_call *call, struct vgpu_err *err)
{
    _cleanup_json_ json_t *old = NULL;
    char reason[STORE_REASON_BYTES + 1];
    struct fault fault;
    int rc = read_fault(call, &fault, err);

    if (rc < 0 || (rc = vm_find(call->store, fault.vm_id, &old, err)) < 0)
        return rc;
    if (rc == 0)
        return vgpu_err_set(err, ENOENT, "VM %lld does not exist", (long long)fault.vm_id);
    rc = was_recorded(call, &fault, err);
    if (rc != 0)
        return rc < 0 ? rc : give_changed(call, old, err);
    if ((rc = insert(call, &fault, err)) < 0)
        return rc;
    call->is_history = !fault.reason || json_is_true(json_object_get(old, "quarantined"));
    if (!call->is_history) {
        text_clean(fault.reason, reason, sizeof(reason));
        if ((rc = set_quarantine(call, fault.vm_id, reason, err)) < 0)
            return rc;
    }
    return give_changed(call, old, err);
}

int vm_fault_command_quarantine(struct store_call *call, struct vgpu_err *err)
{
    static const char *const known[] = {"vm", "vm_id", "uuid", "name", "reason", NULL};
    _cleanup_json_ json_t *old = NULL;
    const char *reason = NULL, *now;
    int rc;

    if ((rc = args_known(call->args, known, err)) < 0 ||
        (rc = args_text(call->args, "reason", true, &reason, err)) < 0 ||
        (rc = text_check("the reason", reason, STORE_REASON_BYTES, err)) < 0 ||
        (rc = vm_resolve(call, &old, err)) < 0)
        return rc;
    now = json_string_value(json_object_get(old, "quarantine_reason"));
    if ((!now || strcmp(now, reason) != 0) &&
        (rc = set_quarantine(call, id_of(old), reason, err)) < 0)
        return rc;
    return give_changed(call, old, err);
}

/* The faults so far are forgiven, or the next one would bring it back at once. */
int vm_fault_command_unquarantine(struct store_call *call, struct vgpu_err *err)
{
    _cleanup_json_ json_t *old = NULL;
    int rc;

    if ((rc = args_known(call->args, vm_naming, err)) < 0 ||
        (rc = vm_resolve(call, &old, err)) < 0 ||
        (rc = database_run(call->store->db, err,
                           "UPDATE vms SET quarantine_reason = NULL, quarantine_time = NULL,"
                           " quarantined_by = NULL, faults_from = coalesce((SELECT max(fault_id)"
                           " FROM vm_faults f WHERE f.vm_id = ?1), 0), updated = ?2,"
                           " revision = revision + 1"
                           " WHERE vm_id = ?1 AND quarantine_reason IS NOT NULL",
                           "ii", id_of(old), call->now)) < 0)
        return rc;
    return give_changed(call, old, err);
}

/* The counters and the history; quarantine is another matter. */
int vm_fault_command_clear(struct store_call *call, struct vgpu_err *err)
{
    _cleanup_json_ json_t *old = NULL;
    sqlite3 *db = call->store->db;
    int rc;

    if ((rc = args_known(call->args, vm_naming, err)) < 0 ||
        (rc = vm_resolve(call, &old, err)) < 0 ||
        (rc = database_run(db, err, "DELETE FROM vm_faults WHERE vm_id = ?1", "i", id_of(old))) <
            0 ||
        (rc = database_run(db, err,
                           "UPDATE vms SET faults_total = 0, faults_from = 0, updated = ?2,"
                           " revision = revision + 1"
                           " WHERE vm_id = ?1 AND faults_total > 0",
                           "ii", id_of(old), call->now)) < 0)
        return rc;
    return give_changed(call, old, err);
}

static int list(struct store *store, int64_t vm_id, json_t **ret_faults, struct vgpu_err *err)
{
    _cleanup_statement_ sqlite3_stmt *row = NULL;
    _cleanup_json_ json_t *faults = json_array();
    int rc = statement_open(store->db, &row, err,
                            "SELECT time, kind, text FROM vm_faults WHERE vm_id = ?1"
                            " ORDER BY fault_id DESC LIMIT ?2",
                            "ii", vm_id, (int64_t)STORE_FAULTS_KEPT_MIN);

    if (rc < 0)
        return rc;
    while ((rc = statement_step(row, err)) > 0)
        if (json_array_append_new(faults, statement_json(row)) < 0)
            return database_no_memory(err);
    if (rc < 0)
        return rc;
    *ret_faults = vgpu_steal_ptr(&faults);
    return 0;
}

int vm_fault_command_show(struct store_call *call, struct vgpu_err *err)
{
    _cleanup_json_ json_t *vm = NULL;
    json_t *faults = NULL;
    int rc;

    if ((rc = args_known(call->args, vm_naming, err)) < 0 ||
        (rc = vm_resolve(call, &vm, err)) < 0 ||
        (rc = list(call->store, id_of(vm), &faults, err)) < 0)
        return rc;
    /* "live" is for the mediator to fill. */
    if (json_object_set(call->result, "vm", vm) < 0 ||
        json_object_set_new(call->result, "last_faults", faults) < 0 ||
        json_object_set_new(call->result, "live", json_null()) < 0)
        return database_no_memory(err);
    return 0;
}
