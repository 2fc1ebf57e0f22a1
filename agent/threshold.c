/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Thresholds of health. They have no revision in the store: their tag is made of what they say, and
 * compared here, so that two administrators at the same instant may still overwrite each other.
 */
#include <stdio.h>
#include <string.h>

#include "agent/call.h"
#include "agent/resource.h"

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

static void tag_of(const json_t *threshold, char *tag, size_t size)
{
    snprintf(tag, size, "%.10g-%s", json_number_value(json_object_get(threshold, "value")),
             json_string_value(json_object_get(threshold, "action")));
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
    tag_of(threshold, call->reply.tag, sizeof(call->reply.tag));
    json_decref(threshold);
}

/* What the body leaves out, or has as null, is the default. */
static json_t *wanted(const struct call *call, const json_t *threshold, const char *member,
                      const char *preset)
{
    json_t *given = json_object_get(call->request.body, member);

    return given && !json_is_null(given) ? given : json_object_get(threshold, preset);
}

static void set(struct call *call, const json_t *threshold)
{
    json_t *result, *shown;

    if (!call_change(call, "set-threshold",
                     json_pack("{s:s, s:O, s:O}", "name", name_of(call), "value",
                               wanted(call, threshold, "value", "default_value"), "action",
                               wanted(call, threshold, "action", "default_action")),
                     false, &result))
        return;
    shown = json_incref(json_object_get(result, "threshold"));
    reply_json(&call->reply, 200, result);
    if (shown)
        tag_of(shown, call->reply.tag, sizeof(call->reply.tag));
    json_decref(shown);
}

void threshold_put(struct call *call)
{
    static const char *const known[] = {"value", "action", NULL};
    char tag[REQUEST_TAG_BYTES];
    json_t *threshold;

    if (!call_body_members(call, known) || !(threshold = find(call)))
        return;
    tag_of(threshold, tag, sizeof(tag));
    if (call_wants_match(call)) {
        if (call->request.if_match == REQUEST_MATCH_TAG && strcmp(call->request.tag, tag) != 0)
            reply_problem(&call->reply, 412, "conflict", "it is \"%s\" by now", tag);
        else
            set(call, threshold);
    }
    json_decref(threshold);
}
