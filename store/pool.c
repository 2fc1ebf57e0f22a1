/* SPDX-License-Identifier: Apache-2.0 */
#include "store/pool.h"

#include <stdio.h>
#include <string.h>

#include "store/args.h"
#include "store/audit.h"
#include "store/pool_gpu.h"
#include "store/setting.h"
#include "store/text.h"

#define COLUMNS                                                                                    \
    "pool, policy, description, weight_hundredths, slice_us, grace_us, max_wait_ms, urgency_us,"   \
    " max_vms, revision, created, updated"

const char *const pool_policies[] = {"wfq", "strict", NULL};

int pool_check(const struct pool_row *row, struct vgpu_err *err)
{
    int rc = text_check("the name of the pool", row->pool, STORE_NAME_BYTES, err);

    if (rc < 0 || row->description[0] == '\0')
        return rc;
    return text_check("the description", row->description, STORE_DESCRIPTION_BYTES, err);
}

int pool_insert(struct store *store, const struct pool_row *row, struct vgpu_err *err)
{
    return database_run(store->db, err,
                        "INSERT INTO pools (pool, policy, description, created, updated)"
                        " VALUES (?1, ?2, ?3, ?4, ?5)",
                        "sssii", row->pool, row->policy, row->description, row->created,
                        row->updated);
}

int pool_find(struct store *store, const char *pool, json_t **ret_pool, struct vgpu_err *err)
{
    _cleanup_statement_ sqlite3_stmt *row = NULL;
    int rc = statement_open(store->db, &row, err, "SELECT " COLUMNS " FROM pools WHERE pool = ?1",
                            "s", pool);

    if (rc == 0)
        rc = statement_step(row, err);
    if (rc <= 0)
        return rc;
    *ret_pool = statement_json(row);
    return *ret_pool ? 1 : database_no_memory(err);
}

/* A name as one would type it in a shell: quoted only where that is needed. */
static const char *as_typed(char shown[TEXT_SHOWN_BYTES], const char *pool)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";

    return pool[strspn(pool, plain)] ? text_show(shown, pool) : pool;
}

static int not_found(struct store *store, const char *pool, struct vgpu_err *err)
{
    _cleanup_statement_ sqlite3_stmt *row = NULL;
    struct text_list have = {.used = 0};
    char shown[TEXT_SHOWN_BYTES], typed[TEXT_SHOWN_BYTES];
    int rc = statement_open(store->db, &row, err, "SELECT pool FROM pools ORDER BY pool", "");

    if (rc < 0)
        return rc;
    while ((rc = statement_step(row, err)) > 0)
        text_list_add(&have, statement_text(row, 0));
    if (rc < 0)
        return rc;
    return vgpu_err_set(
        err, ENOENT,
        "pool %s does not exist (have: %s); create it with: vgpu-admin create-pool --pool=%s",
        text_show(shown, pool), text_list_end(&have), as_typed(typed, pool));
}

int pool_load(struct store *store, const char *pool, json_t **ret_pool, struct vgpu_err *err)
{
    int rc = pool_find(store, pool, ret_pool, err);

    if (rc < 0)
        return rc;
    return rc ? 0 : not_found(store, pool, err);
}

int pool_exists(struct store *store, const char *pool, struct vgpu_err *err)
{
    _cleanup_json_ json_t *row = NULL;

    return pool_load(store, pool, &row, err);
}

int pool_check_most(struct store *store, const char *pool, struct vgpu_err *err)
{
    char shown[TEXT_SHOWN_BYTES];
    int64_t most = 0, count = 0;
    int rc = database_integer(store->db, &most, err, "SELECT max_vms FROM pools WHERE pool = ?1",
                              "s", pool);

    if (rc == 0)
        rc = database_integer(store->db, &count, err, "SELECT count(*) FROM vms WHERE pool = ?1",
                              "s", pool);
    if (rc < 0 || most == 0 || count <= most)
        return rc;
    return vgpu_err_set(err, ENOSPC,
                        "pool %s would have %lld VMs, and takes %lld at most; see: vgpu-admin"
                        " set-max-vms",
                        text_show(shown, pool), (long long)count, (long long)most);
}

int pool_list(struct store *store, bool with_members, json_t **ret_pools, struct vgpu_err *err)
{
    _cleanup_statement_ sqlite3_stmt *row = NULL;
    _cleanup_json_ json_t *pools = json_array();
    int rc =
        statement_open(store->db, &row, err, "SELECT " COLUMNS " FROM pools ORDER BY pool", "");

    if (rc < 0)
        return rc;
    while ((rc = statement_step(row, err)) > 0) {
        json_t *pool = statement_json(row);

        if (!pool || json_array_append_new(pools, pool) < 0)
            return database_no_memory(err);
        if (with_members && (rc = pool_gpu_add_members(store, pool, err)) < 0)
            return rc;
    }
    if (rc < 0)
        return rc;
    *ret_pools = vgpu_steal_ptr(&pools);
    return 0;
}

static int check_room(struct store *store, struct vgpu_err *err)
{
    int64_t count;
    int rc = database_integer(store->db, &count, err, "SELECT count(*) FROM pools", "");

    if (rc < 0)
        return rc;
    if (count >= STORE_POOLS_MAX)
        return vgpu_err_set(err, ENOSPC, "there are %lld pools already, the most that are allowed",
                            (long long)count);
    return 0;
}

int pool_command_create(struct store_call *call, struct vgpu_err *err)
{
    static const char *const known[] = {"pool", "policy", "description", NULL};
    _cleanup_json_ json_t *old = NULL;
    _cleanup_json_ json_t *new = NULL;
    char shown[TEXT_SHOWN_BYTES];
    struct pool_row row = {
        .policy = pool_policies[0], .description = "", .created = call->now, .updated = call->now};
    int rc;

    if ((rc = args_known(call->args, known, err)) < 0 ||
        (rc = args_text(call->args, "pool", true, &row.pool, err)) < 0 ||
        (rc = args_word(call->args, "policy", false, pool_policies, &row.policy, err)) < 0 ||
        (rc = args_text(call->args, "description", false, &row.description, err)) < 0 ||
        (rc = pool_check(&row, err)) < 0 || (rc = pool_find(call->store, row.pool, &old, err)) < 0)
        return rc;
    if (rc > 0)
        return vgpu_err_set(err, EEXIST, "pool %s exists already", text_show(shown, row.pool));
    if ((rc = check_room(call->store, err)) < 0 || (rc = pool_insert(call->store, &row, err)) < 0 ||
        (rc = pool_load(call->store, row.pool, &new, err)) < 0)
        return rc;
    if (json_object_set(call->result, "pool", new) < 0)
        return database_no_memory(err);
    return audit_record(call, "pool", row.pool, NULL, new, err);
}

static int check_unused(struct store *store, const char *pool, struct vgpu_err *err)
{
    char shown[TEXT_SHOWN_BYTES];
    int64_t count;
    int rc = database_integer(store->db, &count, err, "SELECT count(*) FROM vms WHERE pool = ?1",
                              "s", pool);

    if (rc < 0)
        return rc;
    if (count > 0)
        return vgpu_err_set(err, EBUSY,
                            "pool %s still has %lld VM%s; move them with set-pool or remove them "
                            "with remove-vm first",
                            text_show(shown, pool), (long long)count, count == 1 ? "" : "s");
    return 0;
}

int pool_remove(struct store_call *call, const char *pool, struct vgpu_err *err)
{
    _cleanup_json_ json_t *old = NULL;
    int rc;

    if ((rc = pool_load(call->store, pool, &old, err)) < 0 ||
        (rc = check_unused(call->store, pool, err)) < 0 ||
        (rc = pool_gpu_remove_pool(call, pool, err)) < 0 ||
        (rc = database_run(call->store->db, err, "DELETE FROM pools WHERE pool = ?1", "s", pool)) <
            0)
        return rc;
    return audit_record(call, "pool", pool, old, NULL, err);
}

int pool_command_remove(struct store_call *call, struct vgpu_err *err)
{
    static const char *const known[] = {"pool", NULL};
    _cleanup_json_ json_t *old = NULL;
    const char *pool = NULL;
    int rc;

    if ((rc = args_known(call->args, known, err)) < 0 ||
        (rc = args_text(call->args, "pool", true, &pool, err)) < 0 ||
        (rc = pool_load(call->store, pool, &old, err)) < 0 ||
        (rc = pool_remove(call, pool, err)) < 0)
        return rc;
    return json_object_set(call->result, "pool", old) < 0 ? database_no_memory(err) : 0;
}

int pool_command_list(struct store_call *call, struct vgpu_err *err)
{
    static const char *const known[] = {NULL};
    json_t *pools = NULL;
    int rc = args_known(call->args, known, err);

    if (rc == 0)
        rc = pool_list(call->store, true, &pools, err);
    if (rc < 0)
        return rc;
    return json_object_set_new(call->result, "pools", pools) < 0 ? database_no_memory(err) : 0;
}

/* Puts the pool as it is now into the result, and the change, if it is one, into the audit log. */
static int give_changed(struct store_call *call, const char *pool, json_t *old,
                        struct vgpu_err *err)
{
    _cleanup_json_ json_t *new = NULL;
    int rc = pool_load(call->store, pool, &new, err);

    if (rc < 0)
        return rc;
    if (json_object_set(call->result, "pool", new) < 0)
        return database_no_memory(err);
    return json_equal(old, new) ? 0 : audit_record(call, "pool", pool, old, new, err);
}

int pool_command_set_policy(struct store_call *call, struct vgpu_err *err)
{
    static const char *const known[] = {"pool", "policy", NULL};
    _cleanup_json_ json_t *old = NULL;
    const char *pool = NULL, *policy = NULL;
    int rc;

    if ((rc = args_known(call->args, known, err)) < 0 ||
        (rc = args_text(call->args, "pool", true, &pool, err)) < 0 ||
        (rc = args_word(call->args, "policy", true, pool_policies, &policy, err)) < 0 ||
        (rc = pool_load(call->store, pool, &old, err)) < 0 ||
        (rc = database_run(call->store->db, err,
                           "UPDATE pools SET policy = ?2, updated = ?3, revision = revision + 1"
                           " WHERE pool = ?1 AND policy <> ?2",
                           "ssi", pool, policy, call->now)) < 0)
        return rc;
    return give_changed(call, pool, old, err);
}

int pool_command_set(struct store_call *call, struct vgpu_err *err)
{
    static const char *const naming[] = {"pool", NULL};
    const struct setting_command *command =
        setting_command_find(pool_setting_commands, call->command);
    char changes[SETTING_SQL_BYTES], sql[SETTING_SQL_BYTES + 96];
    _cleanup_json_ json_t *old = NULL;
    const char *pool = NULL;
    int rc;

    if ((rc = args_text(call->args, "pool", true, &pool, err)) < 0 ||
        (rc = pool_load(call->store, pool, &old, err)) < 0 ||
        (rc = setting_read(pool_settings, command, naming, call->args, old, changes, err)) < 0)
        return rc;
    if (changes[0]) {
        snprintf(sql, sizeof(sql),
                 "UPDATE pools SET %s, updated = ?2, revision = revision + 1 WHERE pool = ?1",
                 changes);
        rc = database_run(call->store->db, err, sql, "si", pool, call->now);
        if (rc == 0)
            rc = pool_check_most(call->store, pool, err);
    }
    return rc < 0 ? rc : give_changed(call, pool, old, err);
}
