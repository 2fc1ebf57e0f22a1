/* SPDX-License-Identifier: Apache-2.0 */
/* Thresholds of health. */
#include "agent/call.h"
#include "agent/object.h"
#include "agent/resource.h"

static const struct object_member threshold_members[] = {{"value"}, {"action"}, {NULL}};

void threshold_list(struct call *call)
{
    json_t *result;

    if (call_ask(call, "list-thresholds", NULL, &result))
        call_reply_result(call, 200, result, NULL);
}

static const char *name_of(const struct call *call)
{
    return call->request.segments[3];
}

/* The caller's; NULL: the reply says why. */
static json_t *find(struct call *call)
{
    json_t *result, *name, *threshold;

    if (!call_ask(call, "list-thresholds", NULL, &result))
        return NULL;
    name = json_string(name_of(call));
    threshold = json_incref(call_find(json_object_get(result, "thresholds"), "name", name));
    json_decref(name);
    json_decref(result);
    if (!threshold)
        reply_problem(&call->reply, 404, "not-found", "there is no threshold '%.64s'",
                      name_of(call));
    return threshold;
}

void threshold_get(struct call *call)
{
    json_t *threshold = find(call);

    if (!threshold)
        return;
    reply_json(&call->reply, 200, json_incref(threshold));
    reply_set_revision(&call->reply, threshold);
    json_decref(threshold);
}

/* What the body leaves out, or has as null, is the default. */
static json_t *wanted(const struct call *call, const json_t *threshold, const char *member,
                      const char *preset)
{
    json_t *given = json_object_get(call->request.body, member);

    return given && !json_is_null(given) ? given : json_object_get(threshold, preset);
}

void threshold_put(struct call *call)
{
    json_t *threshold = object_check_body(call, threshold_members) ? find(call) : NULL;

    if (threshold && call_wants_match(call))
        call_change_reply(call, "set-threshold",
                          json_pack("{s:s, s:O, s:O}", "name", name_of(call), "value",
                                    wanted(call, threshold, "value", "default_value"), "action",
                                    wanted(call, threshold, "action", "default_action")),
                          true, "threshold");
    json_decref(threshold);
}
