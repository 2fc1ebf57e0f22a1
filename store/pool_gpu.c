/* SPDX-License-Identifier: Apache-2.0 */
#include "store/pool_gpu.h"

#include <stdio.h>
#include <string.h>

#include "store/args.h"
#include "store/audit.h"
#include "store/gpu.h"
#include "store/pool.h"
#include "store/text.h"

int pool_gpu_list(struct store *store, json_t **ret_rows, struct vgpu_err *err)
{
    _cleanup_statement_ sqlite3_stmt *row = NULL;
    _cleanup_json_ json_t *rows = json_array();
    int rc = statement_open(store->db, &row, err,
                            "SELECT pool, gpu_id FROM pool_gpus ORDER BY pool, gpu_id", "");

    if (rc < 0)
        return rc;
    while ((rc = statement_step(row, err)) > 0) {
        json_t *pair = json_pack("{s:s, s:I}", "pool", statement_text(row, 0), "gpu_id",
                                 (json_int_t)sqlite3_column_int64(row, 1));

        if (json_array_append_new(rows, pair) < 0)
            return database_no_memory(err);
    }
    if (rc < 0)
        return rc;
    *ret_rows = vgpu_steal_ptr(&rows);
    return 0;
}

/* Sets object[key] to the array of what the rows have in their one column. */
static int add_array(json_t *object, const char *key, sqlite3_stmt *row, struct vgpu_err *err)
{
    json_t *array = json_array();
    int rc;

    if (json_object_set_new(object, key, array) < 0)
        return database_no_memory(err);
    while ((rc = statement_step(row, err)) > 0) {
        json_t *item = sqlite3_column_type(row, 0) == SQLITE_INTEGER
                           ? json_integer(sqlite3_column_int64(row, 0))
                           : json_string(statement_text(row, 0));

        if (json_array_append_new(array, item) < 0)
            return database_no_memory(err);
    }
    return rc;
}

int pool_gpu_add_members(struct store *store, json_t *pool, struct vgpu_err *err)
{
    const char *name = json_string_value(json_object_get(pool, "pool"));
    _cleanup_statement_ sqlite3_stmt *gpus = NULL;
    _cleanup_statement_ sqlite3_stmt *vms = NULL;
    int rc;

    if ((rc = statement_open(store->db, &gpus, err,
                             "SELECT gpu_id FROM pool_gpus WHERE pool = ?1 ORDER BY gpu_id", "s",
                             name)) < 0 ||
        (rc = add_array(pool, "gpus", gpus, err)) < 0 ||
        (rc = statement_open(store->db, &vms, err,
                             "SELECT vm_id FROM vms WHERE pool = ?1 ORDER BY vm_id", "s", name)) <
            0)
        return rc;
    return add_array(pool, "vms", vms, err);
}

int pool_gpu_add_pools(struct store *store, json_t *gpu, struct vgpu_err *err)
{
    _cleanup_statement_ sqlite3_stmt *row = NULL;
    int rc = statement_open(store->db, &row, err,
                            "SELECT pool FROM pool_gpus WHERE gpu_id = ?1 ORDER BY pool", "i",
                            (int64_t)json_integer_value(json_object_get(gpu, "gpu_id")));

    if (rc < 0)
        return rc;
    return add_array(gpu, "pools", row, err);
}

static int exists(struct store *store, const char *pool, int64_t gpu_id, int64_t *ret_exists,
                  struct vgpu_err *err)
{
    return database_integer(store->db, ret_exists, err,
                            "SELECT count(*) FROM pool_gpus WHERE pool = ?1 AND gpu_id = ?2", "si",
                            pool, gpu_id);
}

static int record(struct store_call *call, const char *pool, int64_t gpu_id, bool assigned,
                  struct vgpu_err *err)
{
    _cleanup_json_ json_t *pair =
        json_pack("{s:s, s:I}", "pool", pool, "gpu_id", (json_int_t)gpu_id);
    char key[STORE_NAME_BYTES + 32];

    if (!pair)
        return database_no_memory(err);
    snprintf(key, sizeof(key), "%s/%lld", pool, (long long)gpu_id);
    return audit_record(call, "pool-gpu", key, assigned ? NULL : pair, assigned ? pair : NULL, err);
}

/* Who serves whom is a property of both. */
static int raise_revisions(struct store_call *call, const char *pool, int64_t gpu_id,
                           struct vgpu_err *err)
{
    int rc = database_run(call->store->db, err,
                          "UPDATE pools SET revision = revision + 1, updated = ?2 WHERE pool = ?1",
                          "si", pool, call->now);

    if (rc < 0)
        return rc;
    return database_run(call->store->db, err,
                        "UPDATE gpus SET revision = revision + 1 WHERE gpu_id = ?1", "i", gpu_id);
}

/* Writes that a pair is there now, or no longer, to the log, and raises the revisions. */
static int note_pair(struct store_call *call, const char *pool, int64_t gpu_id, bool assigned,
                     struct vgpu_err *err)
{
    int rc = raise_revisions(call, pool, gpu_id, err);

    return rc < 0 ? rc : record(call, pool, gpu_id, assigned, err);
}

int pool_gpu_remove(struct store_call *call, const char *pool, int64_t gpu_id, struct vgpu_err *err)
{
    int rc =
        database_run(call->store->db, err, "DELETE FROM pool_gpus WHERE pool = ?1 AND gpu_id = ?2",
                     "si", pool, gpu_id);

    return rc < 0 ? rc : note_pair(call, pool, gpu_id, false, err);
}

int pool_gpu_add(struct store_call *call, const char *pool, int64_t gpu_id, struct vgpu_err *err)
{
    int rc =
        database_run(call->store->db, err, "INSERT INTO pool_gpus (pool, gpu_id) VALUES (?1, ?2)",
                     "si", pool, gpu_id);

    return rc < 0 ? rc : note_pair(call, pool, gpu_id, true, err);
}

/* Removes the pairs of this pool (or of any, if it is NULL) and this GPU (or any, if negative). */
static int remove_pairs(struct store_call *call, const char *pool, int64_t gpu_id,
                        struct vgpu_err *err)
{
    _cleanup_json_ json_t *pairs = NULL;
    const json_t *pair;
    size_t i;
    int rc = pool_gpu_list(call->store, &pairs, err);

    if (rc < 0)
        return rc;
    json_array_foreach (pairs, i, pair) {
        const char *its_pool = json_string_value(json_object_get(pair, "pool"));
        int64_t its_gpu = json_integer_value(json_object_get(pair, "gpu_id"));

        if ((pool && strcmp(pool, its_pool) != 0) || (gpu_id >= 0 && gpu_id != its_gpu))
            continue;
        if ((rc = pool_gpu_remove(call, its_pool, its_gpu, err)) < 0)
            return rc;
    }
    return 0;
}

int pool_gpu_remove_pool(struct store_call *call, const char *pool, struct vgpu_err *err)
{
    return remove_pairs(call, pool, -1, err);
}

/* The GPU with its pools becomes the result. */
static int give_gpu(struct store_call *call, int64_t gpu_id, struct vgpu_err *err)
{
    json_t *gpu = NULL;
    int rc = gpu_load(call->store, gpu_id, &gpu, err);

    if (rc < 0)
        return rc;
    if (json_object_set_new(call->result, "gpu", gpu) < 0)
        return database_no_memory(err);
    return pool_gpu_add_pools(call->store, gpu, err);
}

static int read_args(struct store_call *call, bool pool_required, int64_t *ret_gpu_id,
                     const char **ret_pool, struct vgpu_err *err)
{
    static const char *const known[] = {"gpu_id", "pool", NULL};
    _cleanup_json_ json_t *gpu = NULL;
    int rc;

    if ((rc = args_known(call->args, known, err)) < 0 ||
        (rc = args_integer(call->args, "gpu_id", true, 0, STORE_GPUS_MAX - 1, ret_gpu_id, err)) <
            0 ||
        (rc = args_text(call->args, "pool", pool_required, ret_pool, err)) < 0 ||
        (rc = gpu_load(call->store, *ret_gpu_id, &gpu, err)) < 0)
        return rc;
    return *ret_pool ? pool_exists(call->store, *ret_pool, err) : 0;
}

int pool_gpu_command_assign(struct store_call *call, struct vgpu_err *err)
{
    const char *pool = NULL;
    int64_t gpu_id = 0, there = 0;
    int rc;

    if ((rc = read_args(call, true, &gpu_id, &pool, err)) < 0 ||
        (rc = gpu_check_usable(call->store, gpu_id, err)) < 0 ||
        (rc = exists(call->store, pool, gpu_id, &there, err)) < 0)
        return rc;
    if (!there && (rc = pool_gpu_add(call, pool, gpu_id, err)) < 0)
        return rc;
    return give_gpu(call, gpu_id, err);
}

int pool_gpu_command_unassign(struct store_call *call, struct vgpu_err *err)
{
    const char *pool = NULL;
    int64_t gpu_id = 0;
    int rc;

    if ((rc = read_args(call, false, &gpu_id, &pool, err)) < 0 ||
        (rc = remove_pairs(call, pool, gpu_id, err)) < 0)
        return rc;
    return give_gpu(call, gpu_id, err);
}
