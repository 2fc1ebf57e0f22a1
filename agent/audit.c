/* SPDX-License-Identifier: Apache-2.0 */
/* Who changed what; and the configuration as one document. */
#include <string.h>

#include "agent/resource.h"

#define LIMIT_DEFAULT 100
#define LIMIT_MAX     1000

void audit_list(struct call *call)
{
    int64_t after = -1, before = 0, limit = LIMIT_DEFAULT;
    struct vgpu_err err;
    json_t *args, *result;

    if (request_query_integer(&call->request, "after", 0, INT64_MAX, &after, &err) < 0 ||
        request_query_integer(&call->request, "before", 1, INT64_MAX, &before, &err) < 0 ||
        request_query_integer(&call->request, "limit", 1, LIMIT_MAX, &limit, &err) < 0) {
        reply_problem(&call->reply, 400, "invalid", "%s", err.text);
        return;
    }
    args = json_pack("{s:I, s:s?, s:s?}", "limit", (json_int_t)limit, "object",
                     request_query(&call->request, "object"), "key",
                     request_query(&call->request, "key"));
    if (after >= 0)
        json_object_set_new(args, "after", json_integer(after));
    if (before)
        json_object_set_new(args, "before", json_integer(before));
    if (call_ask(call, "list-audit", args, &result))
        call_reply_result(call, 200, result, NULL);
}

void config_get(struct call *call)
{
    json_t *result;

    if (call_ask(call, "export", NULL, &result))
        call_reply_result(call, 200, result, NULL);
}

void config_put(struct call *call)
{
    struct vgpu_err err;
    bool prune = false;

    if (request_query_flag(&call->request, "prune", &prune, &err) < 0) {
        reply_problem(&call->reply, 400, "invalid", "%s", err.text);
        return;
    }
    call_change_reply(call, "import",
                      json_pack("{s:O, s:b}", "config", call->request.body, "prune", prune), false,
                      NULL);
}
