/* SPDX-License-Identifier: Apache-2.0 */
/* Pools: their settings, the VMs assigned to them, what they still take. */
#include <string.h>

#include "agent/object.h"
#include "agent/resource.h"
#include "store/store.h"

static const struct object_member pool_members[] = {
    {"policy", "\"wfq\""}, {"description", "\"\""}, {"weight_hundredths", "0"},
    {"slice_us", "0"},     {"grace_us", "0"},       {"max_wait_ms", "0"},
    {"urgency_us", "0"},   {"max_vms", "0"},        {NULL},
};

void pool_list(struct call *call)
{
    json_t *result;

    if (call_ask(call, "list-pools", NULL, &result))
        call_reply_result(call, 200, result, NULL);
}

/* False: the reply says why. *ret_pool is the caller's; NULL: there is none of this name. */
static bool find(struct call *call, json_t **ret_pool)
{
    json_t *result, *name;

    if (!call_ask(call, "list-pools", NULL, &result))
        return false;
    name = json_string(call_pool(call));
    *ret_pool = json_incref(call_find(json_object_get(result, "pools"), "pool", name));
    json_decref(name);
    json_decref(result);
    return true;
}

static json_t *find_present(struct call *call)
{
    json_t *pool = NULL;

    if (find(call, &pool) && !pool)
        reply_problem(&call->reply, 404, "not-found", "there is no pool '%.64s'", call_pool(call));
    return pool;
}

void pool_get(struct call *call)
{
    json_t *pool = find_present(call);

    if (!pool)
        return;
    reply_json(&call->reply, 200, json_incref(pool));
    reply_set_revision(&call->reply, pool);
    json_decref(pool);
}

/* Brings it to what the body asks for. */
static void import(struct call *call, bool whole, bool is_there)
{
    json_t *pool = object_of(pool_members, call->request.body, whole);

    json_object_set_new(pool, "pool", json_string(call_pool(call)));
    object_import(call, "pools", pool, is_there, "pool");
}

void pool_put(struct call *call)
{
    json_t *pool = NULL;

    if (object_check_body(call, pool_members) && find(call, &pool) && call_may_write(call, pool))
        import(call, true, pool != NULL);
    json_decref(pool);
}

void pool_patch(struct call *call)
{
    json_t *pool = object_check_body(call, pool_members) ? find_present(call) : NULL;

    if (pool && call_wants_match(call))
        import(call, false, true);
    json_decref(pool);
}

void pool_delete(struct call *call)
{
    json_t *pool = find_present(call);

    if (!pool)
        return;
    if (call_wants_match(call))
        call_change_reply(call, "remove-pool", json_pack("{s:s}", "pool", call_pool(call)), true,
                          NULL);
    json_decref(pool);
}

void pool_assign_vms(struct call *call)
{
    static const char *const known[] = {"vms", "register", "priority", NULL};
    json_t *args;

    if (!call_body_members(call, known) ||
        (json_is_true(json_object_get(call->request.body, "register")) &&
         !call_needs_role(call, ROLE_ADMIN)))
        return;
    args = json_copy(call->request.body);
    json_object_set_new(args, "pool", json_string(call_pool(call)));
    call_change_reply(call, "assign-vms", args, false, NULL);
}

/* NULL: the reply says why. */
static json_t *capacity(struct call *call, const char *pool)
{
    int64_t memory_bytes = 0;
    struct vgpu_err err;
    json_t *args, *result;

    if (request_query_integer(&call->request, "memory_bytes", 1, STORE_MEMORY_MAX, &memory_bytes,
                              &err) < 0) {
        reply_problem(&call->reply, 400, "invalid", "%s", err.text);
        return NULL;
    }
    args = json_pack("{s:s?}", "pool", pool);
    if (memory_bytes)
        json_object_set_new(args, "memory_bytes", json_integer(memory_bytes));
    return call_ask(call, "capacity", args, &result) ? result : NULL;
}

void capacity_get(struct call *call)
{
    json_t *result = capacity(call, NULL);

    if (result)
        call_reply_result(call, 200, result, NULL);
}

void pool_capacity(struct call *call)
{
    json_t *result = capacity(call, call_pool(call));

    if (!result)
        return;
    reply_json(&call->reply, 200, json_incref(json_array_get(json_object_get(result, "pools"), 0)));
    json_decref(result);
}
