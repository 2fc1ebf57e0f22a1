/* SPDX-License-Identifier: Apache-2.0 */
#include "store/capacity.h"

#include <stdio.h>
#include <string.h>

#include "store/args.h"
#include "store/pool.h"
#include "store/text.h"

/*
 * A GPU is usable where it is present and not drained. CAST, as sums of what a scan said can be
 * larger than an integer. A VM is promised the quota that it has.
 */
#define GPUS_OF(pool) "FROM pool_gpus JOIN gpus USING (gpu_id) WHERE pool_gpus.pool = " pool
#define USABLE        " AND state = 'present' AND drained = 0"
#define COLUMNS                                                                                    \
    "p.pool AS pool, max_vms, (SELECT count(*) FROM vms v WHERE v.pool = p.pool) AS vms,"          \
    " (SELECT count(*) " GPUS_OF(                                                                  \
        "p.pool") ") AS gpus,"                                                                     \
                  " (SELECT count(*) " GPUS_OF(                                                    \
                      "p.pool") " AND state = 'present') AS gpus_present,"                         \
                                " (SELECT count(*) " GPUS_OF("p.pool") USABLE                      \
        ") AS gpus_usable,"                                                                        \
        " (SELECT CAST(total(memory_bytes) AS INTEGER) " GPUS_OF("p.pool") USABLE                  \
        ") AS memory_bytes,"                                                                       \
        " (SELECT coalesce(max(memory_bytes), 0) " GPUS_OF("p.pool") USABLE                        \
        ")"                                                                                        \
        "  AS memory_largest_bytes,"                                                               \
        " (SELECT CAST(total(memory_bytes) AS INTEGER) FROM vms v WHERE v.pool = p.pool)"          \
        "  AS memory_promised_bytes,"                                                              \
        " (SELECT count(*) FROM vms v WHERE v.pool = p.pool AND memory_bytes = 0)"                 \
        "  AS vms_without_quota"

static int64_t number(const json_t *pool, const char *key)
{
    return json_integer_value(json_object_get(pool, key));
}

/* Why the pool takes no more VM with that quota (0: none); false if it takes one. */
static bool refusal(const json_t *pool, int64_t vms_of_all, int64_t quota_bytes, char *text,
                    size_t size)
{
    int64_t most = number(pool, "max_vms"), vms = number(pool, "vms");
    int64_t rest = number(pool, "memory_bytes") - number(pool, "memory_promised_bytes");

    if (vms_of_all >= STORE_VMS_MAX)
        snprintf(text, size, "there are %lld VMs already, the most that are allowed",
                 (long long)vms_of_all);
    else if (most != 0 && vms >= most)
        snprintf(text, size, "it has %lld VMs and takes %lld at most", (long long)vms,
                 (long long)most);
    else if (number(pool, "gpus") == 0)
        snprintf(text, size, "no GPU serves it");
    else if (number(pool, "gpus_present") == 0)
        snprintf(text, size, "all its GPUs are missing");
    else if (number(pool, "gpus_usable") == 0)
        snprintf(text, size, "all its GPUs are missing or drained");
    else if (quota_bytes > number(pool, "memory_largest_bytes"))
        snprintf(text, size, "no GPU of it has that much memory: the largest has %lld bytes",
                 (long long)number(pool, "memory_largest_bytes"));
    else if (quota_bytes > (rest > 0 ? rest : 0))
        snprintf(text, size, "of its memory only %lld bytes are not promised to others",
                 (long long)(rest > 0 ? rest : 0));
    else
        return false;
    return true;
}

static int add_pool(json_t *pools, json_t *pool, int64_t vms_of_all, int64_t quota_bytes,
                    struct vgpu_err *err)
{
    char text[160];
    bool refused;

    if (json_array_append_new(pools, pool) < 0)
        return database_no_memory(err);
    refused = refusal(pool, vms_of_all, quota_bytes, text, sizeof(text));
    /* What is healthy, only a mediator knows. */
    if (json_object_set_new(pool, "gpus_healthy", json_null()) < 0 ||
        json_object_set_new(pool, "admits", json_boolean(!refused)) < 0 ||
        json_object_set_new(pool, "reason", refused ? json_string(text) : json_null()) < 0)
        return database_no_memory(err);
    return 0;
}

int capacity_command(struct store_call *call, struct vgpu_err *err)
{
    static const char *const known[] = {"pool", "memory_bytes", NULL};
    _cleanup_statement_ sqlite3_stmt *row = NULL;
    json_t *pools = json_array();
    const char *pool = NULL;
    int64_t quota = 0, vms = 0;
    int rc;

    if (json_object_set_new(call->result, "pools", pools) < 0)
        return database_no_memory(err);
    if ((rc = args_known(call->args, known, err)) < 0 ||
        (rc = args_text(call->args, "pool", false, &pool, err)) < 0 ||
        (rc = args_integer(call->args, "memory_bytes", false, 0, STORE_MEMORY_MAX, &quota, err)) <
            0 ||
        (pool && (rc = pool_exists(call->store, pool, err)) < 0) ||
        (rc = database_integer(call->store->db, &vms, err, "SELECT count(*) FROM vms", "")) < 0 ||
        (rc = statement_open(call->store->db, &row, err,
                             "SELECT " COLUMNS " FROM pools p WHERE ?1 IS NULL OR p.pool = ?1"
                             " ORDER BY p.pool",
                             "s", pool)) < 0)
        return rc;
    while ((rc = statement_step(row, err)) > 0)
        if ((rc = add_pool(pools, statement_json(row), vms, quota, err)) < 0)
            return rc;
    return rc;
}
