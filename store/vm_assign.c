/* SPDX-License-Identifier: Apache-2.0 */
#include "store/vm_assign.h"

#include <stdio.h>
#include <string.h>

#include "store/args.h"
#include "store/audit.h"
#include "store/pool.h"
#include "store/text.h"
#include "store/vm.h"
#include "store/vm_set.h"

/* What is asked for, and what it takes. */
struct assignment {
    const char *pool;
    bool registers;       /* those that are not there */
    const char *priority; /* of those, or NULL */
    struct vm_set vms;
    size_t n_new;
};

static int read_args(struct store_call *call, struct assignment *assignment, struct vgpu_err *err)
{
    static const char *const known[] = {"vms", "pool", "register", "priority", NULL};
    const char *vms = NULL;
    int rc;

    if ((rc = args_known(call->args, known, err)) < 0 ||
        (rc = args_text(call->args, "vms", true, &vms, err)) < 0 ||
        (rc = args_text(call->args, "pool", true, &assignment->pool, err)) < 0 ||
        (rc = args_flag(call->args, "register", &assignment->registers, err)) < 0 ||
        (rc = args_word(call->args, "priority", false, vm_priorities, &assignment->priority, err)) <
            0)
        return rc;
    if (assignment->priority && !assignment->registers)
        return vgpu_err_set(err, EINVAL,
                            "a priority is for VMs that are registered: it needs 'register'");
    rc = vm_set_parse(vms, &assignment->vms, err);
    if (rc < 0) {
        vgpu_err_prefix(err, "vms");
        return rc;
    }
    return pool_exists(call->store, assignment->pool, err);
}

/* Counts what is to be done; -ENOENT if there are VMs to be registered first. */
static int survey(struct store_call *call, struct assignment *assignment, struct vgpu_err *err)
{
    struct text_list missing = {.used = 0};

    for (size_t i = 0; i < assignment->vms.n; i++) {
        _cleanup_json_ json_t *vm = NULL;
        char number[16];
        int rc = vm_find(call->store, assignment->vms.ids[i], &vm, err);

        if (rc < 0)
            return rc;
        snprintf(number, sizeof(number), "%d", (int)assignment->vms.ids[i]);
        if (!vm)
            text_list_add(&missing, number);
    }
    assignment->n_new = missing.items;
    if (missing.items == 0 || assignment->registers)
        return 0;
    return vgpu_err_set(err, ENOENT,
                        "%zu of these %zu VMs are not registered: %s; nothing is changed. See:"
                        " vgpu-admin register-vm",
                        missing.items, assignment->vms.n, text_list_end(&missing));
}

static int add(struct store_call *call, int64_t vm_id, const struct assignment *assignment,
               struct vgpu_err *err)
{
    struct vm_row row = VM_ROW_NEW(vm_id, assignment->pool, call->now);

    if (assignment->priority)
        row.priority = assignment->priority;
    return vm_insert(call->store, &row, err);
}

static int move(struct store_call *call, int64_t vm_id, json_t *old,
                const struct assignment *assignment, struct vgpu_err *err)
{
    _cleanup_json_ json_t *new = NULL;
    char key[24];
    int rc;

    if (old)
        rc = database_run(call->store->db, err,
                          "UPDATE vms SET pool = ?2, updated = ?3, revision = revision + 1"
                          " WHERE vm_id = ?1",
                          "isi", vm_id, assignment->pool, call->now);
    else
        rc = add(call, vm_id, assignment, err);
    if (rc < 0 || (rc = vm_find(call->store, vm_id, &new, err)) < 0)
        return rc;
    snprintf(key, sizeof(key), "%lld", (long long)vm_id);
    return audit_record(call, "vm", key, old, new, err);
}

/* Moves the VM, or registers it, unless it is where it is to be. */
static int assign(struct store_call *call, int64_t vm_id, const struct assignment *assignment,
                  struct vgpu_err *err)
{
    _cleanup_json_ json_t *old = NULL;
    int rc = vm_find(call->store, vm_id, &old, err);

    if (rc < 0 ||
        (old && strcmp(json_string_value(json_object_get(old, "pool")), assignment->pool) == 0))
        return rc < 0 ? rc : 0;
    return move(call, vm_id, old, assignment, err);
}

static int give(struct store_call *call, const struct assignment *assignment, struct vgpu_err *err)
{
    json_t *vms = json_array();

    if (json_object_set_new(call->result, "pool", json_string(assignment->pool)) < 0 ||
        json_object_set_new(call->result, "vms", vms) < 0)
        return database_no_memory(err);
    for (size_t i = 0; i < assignment->vms.n; i++)
        if (json_array_append_new(vms, json_integer(assignment->vms.ids[i])) < 0)
            return database_no_memory(err);
    return 0;
}

int vm_assign_command(struct store_call *call, struct vgpu_err *err)
{
    struct assignment assignment = {.pool = NULL};
    int rc;

    call->brief = true;
    if ((rc = read_args(call, &assignment, err)) < 0 || (rc = survey(call, &assignment, err)) < 0 ||
        (rc = vm_check_room(call->store, assignment.n_new, err)) < 0)
        return rc;
    for (size_t i = 0; i < assignment.vms.n; i++)
        if ((rc = assign(call, assignment.vms.ids[i], &assignment, err)) < 0)
            return rc;
    rc = pool_check_most(call->store, assignment.pool, err);
    return rc < 0 ? rc : give(call, &assignment, err);
}
