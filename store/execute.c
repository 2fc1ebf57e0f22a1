/* SPDX-License-Identifier: Apache-2.0 */
/* The table of the store's commands, and their execution: one transaction each. */
#include <stdio.h>
#include <string.h>

#include "store/args.h"
#include "store/audit.h"
#include "store/capacity.h"
#include "store/database.h"
#include "store/export.h"
#include "store/gpu.h"
#include "store/gpu_deed.h"
#include "store/gpu_drain.h"
#include "store/import.h"
#include "store/pool.h"
#include "store/pool_gpu.h"
#include "store/revision.h"
#include "store/text.h"
#include "store/threshold_row.h"
#include "store/vm.h"
#include "store/vm_assign.h"
#include "store/vm_fault.h"

static int command_snapshot(struct store_call *call, struct vgpu_err *err)
{
    json_t *snapshot = NULL;
    int rc = store_snapshot(call->store, &snapshot, err);

    if (rc < 0)
        return rc;
    rc = json_object_update(call->result, snapshot);
    json_decref(snapshot);
    return rc < 0 ? database_no_memory(err) : 0;
}

static const struct command {
    const char *name;
    bool writes;
    int (*execute)(struct store_call *call, struct vgpu_err *err);
    enum revision_object changes; /* which must be there already */
} commands[] = {
    {"assign-gpu", true, pool_gpu_command_assign, REVISION_GPU},
    {"assign-vms", true, vm_assign_command},
    {"capacity", false, capacity_command},
    {"clear-faults", true, vm_fault_command_clear, REVISION_VM},
    {"create-pool", true, pool_command_create},
    {"drain-gpu", true, gpu_drain_command_drain, REVISION_GPU},
    {"export", false, export_command},
    {"import", true, import_command, REVISION_CONFIG},
    {"list-audit", false, audit_command_list},
    {"list-gpus", false, gpu_command_list},
    {"list-pools", false, pool_command_list},
    {"list-thresholds", false, threshold_command_list},
    {"list-vms", false, vm_command_list},
    {"quarantine", true, vm_fault_command_quarantine, REVISION_VM},
    {"record-deed", true, gpu_deed_command_record},
    {"record-fault", true, vm_fault_command_record},
    {"record-gpus", true, gpu_command_record},
    {"register-vm", true, vm_command_register},
    {"remove-pool", true, pool_command_remove, REVISION_POOL},
    {"remove-vm", true, vm_command_remove, REVISION_VM},
    {"resume-gpu", true, gpu_drain_command_resume, REVISION_GPU},
    {"set-bytes", true, vm_command_set, REVISION_VM},
    {"set-depth", true, vm_command_set, REVISION_VM},
    {"set-faults", true, vm_command_set, REVISION_VM},
    {"set-max-vms", true, pool_command_set, REVISION_POOL},
    {"set-memory", true, vm_command_set, REVISION_VM},
    {"set-policy", true, pool_command_set_policy, REVISION_POOL},
    {"set-pool", true, vm_command_set_pool, REVISION_VM},
    {"set-pool-weight", true, pool_command_set, REVISION_POOL},
    {"set-priority", true, vm_command_set_priority, REVISION_VM},
    {"set-rate", true, vm_command_set, REVISION_VM},
    {"set-slice", true, pool_command_set, REVISION_POOL},
    {"set-threshold", true, threshold_command_set, REVISION_THRESHOLD},
    {"set-timeout", true, vm_command_set, REVISION_VM},
    {"set-weight", true, vm_command_set_weight, REVISION_VM},
    {"show-vm", false, vm_fault_command_show},
    {"snapshot", false, command_snapshot},
    {"unassign-gpu", true, pool_gpu_command_unassign, REVISION_GPU},
    {"unquarantine", true, vm_fault_command_unquarantine, REVISION_VM},
};

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

bool store_has_command(const char *command)
{
    return find_command(command) != NULL;
}

const char *store_command_at(size_t i, bool *ret_writes)
{
    if (i >= VGPU_ARRAY_SIZE(commands))
        return NULL;
    *ret_writes = commands[i].writes;
    return commands[i].name;
}

/* What a request may have beside its command and arguments. */
struct terms {
    int64_t if_revision; /* 0: any */
    bool dry_run;
};

static int read_terms(const json_t *request, const struct command *command, struct terms *terms,
                      struct vgpu_err *err)
{
    int rc = args_integer(request, "if_revision", false, 1, INT64_MAX, &terms->if_revision, err);

    if (rc == 0)
        rc = args_flag(request, "dry_run", &terms->dry_run, err);
    if (rc == 0 && !command->writes && (terms->if_revision || terms->dry_run))
        return vgpu_err_set(err, EINVAL, "%s changes nothing: it takes no %s", command->name,
                            terms->dry_run ? "dry_run" : "if_revision");
    return rc;
}

/* A dry run does it all and takes it back. */
static int run(struct store_call *call, const struct command *command, const struct terms *terms,
               struct vgpu_err *err)
{
    sqlite3 *db = call->store->db;
    int rc = database_run(db, err, command->writes ? "BEGIN IMMEDIATE" : "BEGIN", "");

    if (rc < 0)
        return rc;
    if (terms->if_revision)
        rc = revision_check(call, command->changes, terms->if_revision, err);
    if (rc == 0)
        rc = command->execute(call, err);
    if (rc == 0)
        rc = database_run(db, err, terms->dry_run ? "ROLLBACK" : "COMMIT", "");
    if (rc < 0 && !sqlite3_get_autocommit(db))
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

static int make_reply(struct store_call *call, bool writes, bool dry_run, json_t **ret_reply,
                      struct vgpu_err *err)
{
    bool changed = json_array_size(call->changes) > 0;
    json_t *reply;

    if (writes && (json_object_set_new(call->result, "changed", json_boolean(changed)) < 0 ||
                   json_object_set(call->result, "changes", call->changes) < 0))
        return database_no_memory(err);
    if (dry_run && json_object_set_new(call->result, "dry_run", json_true()) < 0)
        return database_no_memory(err);
    reply = json_pack("{s:O, s:b}", "result", call->result, "changed",
                      changed && !call->is_history && !dry_run);
    if (!reply)
        return database_no_memory(err);
    *ret_reply = reply;
    return 0;
}

int store_execute(struct store *store, const json_t *request, const char *who, json_t **ret_reply,
                  struct vgpu_err *err)
{
    const char *name = json_string_value(json_object_get(request, "command"));
    const json_t *args = json_object_get(request, "args");
    _cleanup_json_ json_t *empty = json_object();
    _cleanup_json_ json_t *result = json_object();
    _cleanup_json_ json_t *changes = json_array();
    char author[STORE_WHO_BYTES + 1], shown[TEXT_SHOWN_BYTES];
    const struct command *command;
    struct terms terms = {.if_revision = 0};
    struct store_call call = {.store = store,
                              .command = name,
                              .who = author,
                              .args = args ? args : empty,
                              .result = result,
                              .changes = changes};
    int rc;

    if (!empty || !result || !changes)
        return database_no_memory(err);
    if (!name)
        return vgpu_err_set(err, EINVAL, "the request has no command");
    command = find_command(name);
    if (!command)
        return vgpu_err_set(err, EOPNOTSUPP, "there is no command %s", text_show(shown, name));
    if (!json_is_object(call.args))
        return vgpu_err_set(err, EINVAL, "'args' is not an object");
    snprintf(author, sizeof(author), "%s", who);
    call.now = store->now_s();
    if ((rc = read_terms(request, command, &terms, err)) < 0 ||
        (rc = run(&call, command, &terms, err)) < 0)
        return rc;
    return make_reply(&call, command->writes, terms.dry_run, ret_reply, err);
}
