/* SPDX-License-Identifier: Apache-2.0 */
/* The table of the store's commands, and their execution: one transaction each. */
#include <stdio.h>
#include <string.h>

#include "store/audit.h"
#include "store/database.h"
#include "store/gpu.h"
#include "store/gpu_drain.h"
#include "store/pool.h"
#include "store/pool_gpu.h"
#include "store/text.h"
#include "store/threshold_row.h"
#include "store/vm.h"
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
} commands[] = {
    {"assign-gpu", true, pool_gpu_command_assign},
    {"clear-faults", true, vm_fault_command_clear},
    {"create-pool", true, pool_command_create},
    {"drain-gpu", true, gpu_drain_command_drain},
    {"list-gpus", false, gpu_command_list},
    {"list-pools", false, pool_command_list},
    {"list-thresholds", false, threshold_command_list},
    {"list-vms", false, vm_command_list},
    {"quarantine", true, vm_fault_command_quarantine},
    {"record-fault", true, vm_fault_command_record},
    {"record-gpus", true, gpu_command_record},
    {"register-vm", true, vm_command_register},
    {"remove-pool", true, pool_command_remove},
    {"remove-vm", true, vm_command_remove},
    {"resume-gpu", true, gpu_drain_command_resume},
    {"set-bytes", true, vm_command_set},
    {"set-depth", true, vm_command_set},
    {"set-faults", true, vm_command_set},
    {"set-max-vms", true, pool_command_set},
    {"set-memory", true, vm_command_set},
    {"set-policy", true, pool_command_set_policy},
    {"set-pool", true, vm_command_set_pool},
    {"set-pool-weight", true, pool_command_set},
    {"set-priority", true, vm_command_set_priority},
    {"set-rate", true, vm_command_set},
    {"set-slice", true, pool_command_set},
    {"set-threshold", true, threshold_command_set},
    {"set-timeout", true, vm_command_set},
    {"set-weight", true, vm_command_set_weight},
    {"show-vm", false, vm_fault_command_show},
    {"snapshot", false, command_snapshot},
    {"unassign-gpu", true, pool_gpu_command_unassign},
    {"unquarantine", true, vm_fault_command_unquarantine},
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

static int run(struct store_call *call, const struct command *command, struct vgpu_err *err)
{
    sqlite3 *db = call->store->db;
    int rc = database_run(db, err, command->writes ? "BEGIN IMMEDIATE" : "BEGIN", "");

    if (rc < 0)
        return rc;
    rc = command->execute(call, err);
    if (rc == 0)
        rc = database_run(db, err, "COMMIT", "");
    if (rc < 0 && !sqlite3_get_autocommit(db))
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

static int make_reply(struct store_call *call, bool writes, json_t **ret_reply,
                      struct vgpu_err *err)
{
    bool changed = json_array_size(call->changes) > 0;
    json_t *reply;

    if (writes && (json_object_set_new(call->result, "changed", json_boolean(changed)) < 0 ||
                   json_object_set(call->result, "changes", call->changes) < 0))
        return database_no_memory(err);
    reply =
        json_pack("{s:O, s:b}", "result", call->result, "changed", changed && !call->is_history);
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
    if ((rc = run(&call, command, err)) < 0)
        return rc;
    return make_reply(&call, command->writes, ret_reply, err);
}
