/* SPDX-License-Identifier: Apache-2.0 */
#include "store/vm_identity.h"

#include "store/args.h"
#include "store/text.h"
#include "store/vm.h"

static int check_name(const char *name, struct vgpu_err *err)
{
    return name ? text_check("the name", name, STORE_NAME_BYTES, err) : 0;
}

/* -EEXIST if another VM has that UUID. */
static int check_uuid(struct store *store, int64_t vm_id, const char *uuid, struct vgpu_err *err)
{
    int64_t owner = 0;
    int rc = database_integer(store->db, &owner, err,
                              "SELECT vm_id FROM vms WHERE uuid = ?1 AND vm_id <> ?2", "si", uuid,
                              vm_id);

    if (rc < 0 || owner == 0)
        return rc;
    return vgpu_err_set(err, EEXIST, "the UUID %s belongs to VM %lld already", uuid,
                        (long long)owner);
}

static int update(struct store_call *call, json_t *old, const char *name, const char *uuid,
                  struct vgpu_err *err)
{
    int64_t vm_id = json_integer_value(json_object_get(old, "vm_id"));
    _cleanup_json_ json_t *new = NULL;
    int rc;

    if ((uuid && (rc = check_uuid(call->store, vm_id, uuid, err)) < 0) ||
        (rc = database_run(call->store->db, err,
                           "UPDATE vms SET name = ?2, uuid = ?3, updated = ?4,"
                           " revision = revision + 1 WHERE vm_id = ?1"
                           " AND (name IS NOT ?2 OR uuid IS NOT ?3)",
                           "issi", vm_id, name, uuid, call->now)) < 0 ||
        (rc = vm_find(call->store, vm_id, &new, err)) < 0)
        return rc;
    return vm_give(call, new, old, new, err);
}

int vm_identity_command(struct store_call *call, struct vgpu_err *err)
{
    static const char *const known[] = {"vm",       "vm_id",    "uuid", "name",
                                        "new_name", "new_uuid", NULL};
    const char *name = NULL, *given = NULL, *uuid = NULL;
    char lower[STORE_UUID_BYTES + 1];
    _cleanup_json_ json_t *old = NULL;
    int rc;

    if ((rc = args_known(call->args, known, err)) < 0 ||
        (rc = args_text(call->args, "new_name", false, &name, err)) < 0 ||
        (rc = args_text(call->args, "new_uuid", false, &given, err)) < 0 ||
        (rc = check_name(name, err)) < 0 || (given && (rc = text_uuid(given, lower, err)) < 0) ||
        (rc = vm_resolve(call, &old, err)) < 0)
        return rc;
    uuid = given ? lower : NULL;
    return update(call, old, name, uuid, err);
}
