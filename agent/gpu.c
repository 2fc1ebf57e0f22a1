/* SPDX-License-Identifier: Apache-2.0 */
/* GPUs: what was scanned, which pools they serve, drain and reset. */
#include <string.h>

#include "agent/plan.h"
#include "agent/resource.h"

void gpu_list(struct call *call)
{
    json_t *result;

    if (call_ask(call, "list-gpus", NULL, &result))
        call_reply_result(call, 200, result, NULL);
}

/* The GPU of the path as it is; the caller's. NULL: the reply says why. */
static json_t *find(struct call *call)
{
    json_t *result, *gpu = NULL, *id;
    int64_t gpu_id;

    if (!call_gpu_id(call, &gpu_id) || !call_ask(call, "list-gpus", NULL, &result))
        return NULL;
    id = json_integer(gpu_id);
    gpu = json_incref(call_find(json_object_get(result, "gpus"), "gpu_id", id));
    json_decref(id);
    json_decref(result);
    if (!gpu)
        reply_problem(&call->reply, 404, "not-found", "there is no GPU %lld", (long long)gpu_id);
    return gpu;
}

void gpu_get(struct call *call)
{
    json_t *gpu = find(call);

    if (!gpu)
        return;
    reply_json(&call->reply, 200, json_incref(gpu));
    reply_set_revision(&call->reply, gpu);
    json_decref(gpu);
}

static bool has(const json_t *names, const json_t *name)
{
    const json_t *element;
    size_t i;

    json_array_foreach (names, i, element) {
        if (json_equal(element, name))
            return true;
    }
    return false;
}

/* A command for each name that `these` has and `others` has not. */
static void add_each(json_t *commands, const char *command, const json_t *gpu, const json_t *these,
                     const json_t *others)
{
    json_t *name;
    size_t i;

    json_array_foreach (these, i, name) {
        if (!has(others, name))
            plan_add(
                commands, command,
                json_pack("{s:O, s:O}", "gpu_id", json_object_get(gpu, "gpu_id"), "pool", name));
    }
}

static bool names_only(struct call *call)
{
    const json_t *name;
    size_t i;

    json_array_foreach (call->request.body, i, name) {
        if (!json_is_string(name))
            break;
    }
    if (json_is_array(call->request.body) && i == json_array_size(call->request.body))
        return true;
    reply_problem(&call->reply, 400, "invalid", "the body is not a list of names of pools");
    return false;
}

void gpu_put_pools(struct call *call)
{
    const json_t *now, *wanted = call->request.body;
    json_t *commands, *gpu;

    if (!names_only(call) || !(gpu = find(call)))
        return;
    if (call_wants_match(call)) {
        now = json_object_get(gpu, "pools");
        commands = json_array();
        add_each(commands, "unassign-gpu", gpu, now, wanted);
        add_each(commands, "assign-gpu", gpu, wanted, now);
        call_batch_reply(call, 200, json_pack("{s:O}", "gpu_id", json_object_get(gpu, "gpu_id")),
                         commands, "gpu", gpu);
    }
    json_decref(gpu);
}

void gpu_drain(struct call *call)
{
    static const char *const known[] = {"reason", NULL};
    int64_t gpu_id;

    if (call_gpu_id(call, &gpu_id) && call_body_members(call, known))
        call_change_reply(call, "drain-gpu",
                          json_pack("{s:I, s:O?}", "gpu_id", (json_int_t)gpu_id, "reason",
                                    json_object_get(call->request.body, "reason")),
                          true, "gpu");
}

void gpu_resume(struct call *call)
{
    int64_t gpu_id;

    if (call_gpu_id(call, &gpu_id))
        call_change_reply(call, "resume-gpu", json_pack("{s:I}", "gpu_id", (json_int_t)gpu_id),
                          true, "gpu");
}

void gpu_reset(struct call *call)
{
    static const char *const known[] = {"uuid", NULL};
    json_t *gpu = call_body_members(call, known) ? find(call) : NULL;

    if (!gpu)
        return;
    if (json_equal(json_object_get(gpu, "uuid"), json_object_get(call->request.body, "uuid")))
        call_change_reply(call, "reset-gpu",
                          json_pack("{s:O}", "gpu_id", json_object_get(gpu, "gpu_id")), false,
                          NULL);
    else
        reply_problem(&call->reply, 409, "exists", "uuid is not that of GPU %lld",
                      (long long)json_integer_value(json_object_get(gpu, "gpu_id")));
    json_decref(gpu);
}

void gpu_scan(struct call *call)
{
    call_change_reply(call, "scan-gpus", NULL, false, NULL);
}
