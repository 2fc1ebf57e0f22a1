/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/call.h"

#include <stdio.h>
#include <string.h>

#include "agent/route.h"
#include "common/cleanup.h"
#include "store/store.h"

static const char *path_text(const struct call *call)
{
    return call->request.segments[ROUTE_API_SEGMENTS + 1];
}

static bool path_id(struct call *call, const char *what, int64_t min, int64_t max, int64_t *ret)
{
    if (request_decimal(path_text(call), min, max, ret))
        return true;
    reply_problem(&call->reply, 404, "not-found", "there is no %s '%.64s'", what, path_text(call));
    return false;
}

bool call_gpu_id(struct call *call, int64_t *ret)
{
    return path_id(call, "GPU", 0, STORE_GPUS_MAX - 1, ret);
}

bool call_vm_id(struct call *call, int64_t *ret)
{
    return path_id(call, "VM", STORE_VM_ID_MIN, STORE_VM_ID_MAX, ret);
}

const char *call_pool(const struct call *call)
{
    return path_text(call);
}

/* Of a configuration of one object nobody asked which: "vms[0]: ..." is what the store says. */
static const char *without_place(const char *text)
{
    static const char place[] = "[0]: ";
    size_t list = strspn(text, "abcdefghijklmnopqrstuvwxyz");

    return list > 0 && strncmp(text + list, place, sizeof(place) - 1) == 0
               ? text + list + sizeof(place) - 1
               : text;
}

static bool ask(struct call *call, json_t *request, bool one, json_t **ret_result)
{
    struct backend_error error;

    if (backend_ask(call->backend, request, ret_result, &error) == 0)
        return true;
    reply_failure(&call->reply, error.code, one ? without_place(error.text) : error.text);
    return false;
}

static json_t *request_of(const char *command, json_t *args)
{
    return json_pack("{s:s, s:o}", "command", command, "args", args ? args : json_object());
}

bool call_ask(struct call *call, const char *command, json_t *args, json_t **ret_result)
{
    json_t *request = request_of(command, args);
    bool ok = ask(call, request, false, ret_result);

    json_decref(request);
    return ok;
}

/* False: the tag is none that this object can have. */
static bool add_revision(struct call *call, json_t *request)
{
    int64_t revision;

    if (call->request.if_match != REQUEST_MATCH_TAG)
        return true;
    if (request_decimal(call->request.tag, 1, INT64_MAX, &revision))
        return json_object_set_new(request, "if_revision", json_integer(revision)) == 0;
    reply_problem(&call->reply, 412, "conflict", "\"%s\" is no revision", call->request.tag);
    return false;
}

static bool change(struct call *call, const char *command, json_t *args, bool guarded, bool one,
                   json_t **ret_result)
{
    json_t *request = request_of(command, args);
    bool dry_run = false;
    bool ok;

    request_query_flag(&call->request, "dry_run", &dry_run, NULL);
    json_object_set_new(request, "on_behalf", json_string(call->who.name));
    if (dry_run)
        json_object_set_new(request, "dry_run", json_true());
    ok = (!guarded || add_revision(call, request)) && ask(call, request, one, ret_result);
    json_decref(request);
    return ok;
}

bool call_change(struct call *call, const char *command, json_t *args, bool guarded,
                 json_t **ret_result)
{
    return change(call, command, args, guarded, false, ret_result);
}

bool call_change_one(struct call *call, const char *command, json_t *args, bool guarded,
                     json_t **ret_result)
{
    return change(call, command, args, guarded, true, ret_result);
}

void call_reply_result(struct call *call, unsigned status, json_t *result, const char *object)
{
    json_t *shown = json_incref(json_object_get(result, object ? object : ""));

    reply_json(&call->reply, status, result);
    reply_set_revision(&call->reply, shown);
    json_decref(shown);
}

void call_change_reply(struct call *call, const char *command, json_t *args, bool guarded,
                       const char *object)
{
    json_t *result;

    if (call_change(call, command, args, guarded, &result))
        call_reply_result(call, 200, result, object);
}

bool call_may_write(struct call *call, const json_t *object)
{
    if (object && call->request.must_be_new) {
        reply_problem(&call->reply, 412, "conflict", "it exists already");
        return false;
    }
    if (!object && call->request.if_match != REQUEST_MATCH_NONE) {
        reply_problem(&call->reply, 412, "conflict", "it does not exist");
        return false;
    }
    return !object || call->request.must_be_new || call_wants_match(call);
}

bool call_wants_match(struct call *call)
{
    if (call->request.if_match != REQUEST_MATCH_NONE)
        return true;
    reply_problem(&call->reply, 428, "precondition-required",
                  "it exists: send If-Match with its ETag, or * for any");
    return false;
}

bool call_needs_role(struct call *call, enum role role)
{
    if (call->who.role >= role)
        return true;
    reply_problem(&call->reply, 403, "forbidden", "this needs the role %s; the token has %s",
                  role_name(role), role_name(call->who.role));
    return false;
}

bool call_body_members(struct call *call, const char *const *known)
{
    const char *key;
    json_t *value;

    if (!json_is_object(call->request.body)) {
        reply_problem(&call->reply, 400, "invalid", "the body is not a JSON object");
        return false;
    }
    json_object_foreach (call->request.body, key, value) {
        const char *const *at = known;

        while (*at && strcmp(*at, key) != 0)
            at++;
        if (!*at) {
            reply_problem(&call->reply, 400, "invalid", "'%.64s' cannot be set here", key);
            return false;
        }
    }
    return true;
}

json_t *call_find(const json_t *list, const char *key, const json_t *value)
{
    json_t *element;
    size_t i;

    json_array_foreach (list, i, element) {
        if (json_equal(json_object_get(element, key), value))
            return element;
    }
    return NULL;
}
