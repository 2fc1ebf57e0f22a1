/* SPDX-License-Identifier: Apache-2.0 */
/* GPUs: what was scanned, which pools they serve, drain and reset. */
#include <string.h>

#include "agent/object.h"
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
    json_t *gpu = names_only(call) ? find(call) : NULL;

    if (gpu && call_wants_match(call))
        object_import(call, "gpus",
                      json_pack("{s:O, s:O}", "uuid", json_object_get(gpu, "uuid"), "pools",
                                call->request.body),
                      true, "gpu");
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
