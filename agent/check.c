/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/check.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "agent/route.h"
#include "common/cleanup.h"

bool headers_take(struct headers *headers, const char *name, const char *value)
{
    const struct {
        const char *name, **value;
    } known[] = {
        {"Host", &headers->host},
        {"Origin", &headers->origin},
        {"Authorization", &headers->authorization},
        {"If-Match", &headers->if_match},
        {"If-None-Match", &headers->if_none_match},
        {"Content-Type", &headers->content_type},
        {"Content-Length", &headers->content_length},
        {"Transfer-Encoding", &headers->transfer_encoding},
        {"Last-Event-ID", &headers->last_event_id},
        {"Sec-Fetch-Site", &headers->fetch_site},
    };

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(known); i++) {
        if (strcasecmp(known[i].name, name) != 0)
            continue;
        headers->doubled = headers->doubled || *known[i].value;
        *known[i].value = value ? value : "";
        return true;
    }
    return false;
}

static bool check_site(struct call *call, const struct listener *listener,
                       const struct headers *headers)
{
    if (!listener->local && !headers->host) {
        reply_problem(&call->reply, 400, "invalid", "the request has no Host");
    } else if (!listener->local && !host_allowed(&listener->names, headers->host)) {
        reply_problem(&call->reply, 421, "bad-host",
                      "this agent is not known under that name (--allow-host)");
    } else if (headers->origin && !host_origin_allowed(headers->host, headers->origin)) {
        reply_problem(&call->reply, 403, "bad-origin", "the request comes from another site");
    } else if (headers->fetch_site && strcmp(headers->fetch_site, "same-origin") != 0 &&
               strcmp(headers->fetch_site, "none") != 0 && route_is_api(&call->request)) {
        reply_problem(&call->reply, 403, "bad-origin", "the request comes from another site");
    } else {
        return true;
    }
    return false;
}

static bool refuse_rate(struct call *call, unsigned wait_s)
{
    reply_problem(&call->reply, 429, "rate-limited", "too many requests");
    call->reply.retry_after_s = wait_s;
    return false;
}

static bool check_token(struct call *call, const char *peer, const struct headers *headers)
{
    struct agent *agent = call->agent;
    unsigned wait_s = 1;

    if (call->route->role == ROLE_NONE)
        return true;
    if (!auth_check(&agent->auth, headers->authorization, &call->who)) {
        if (!guard_refused(&agent->guard, peer, &wait_s))
            return refuse_rate(call, wait_s);
        reply_problem(&call->reply, 401, "unauthorized", "%s",
                      headers->authorization ? "the token is not known"
                                             : "send Authorization: Bearer TOKEN");
        return false;
    }
    if (!guard_token(&agent->guard, call->who.name, &wait_s))
        return refuse_rate(call, wait_s);
    return call_needs_role(call, call->route->role);
}

static bool invalid(struct call *call, const struct vgpu_err *err)
{
    reply_problem(&call->reply, 400, "invalid", "%s", err->text);
    return false;
}

static bool check_parameters(struct call *call, const struct headers *headers)
{
    struct request *request = &call->request;
    struct vgpu_err err;
    bool flag;

    if (request_query_known(request, call->route->query, &err) < 0 ||
        request_query_flag(request, "dry_run", &flag, &err) < 0)
        return invalid(call, &err);
    if (request->method == REQUEST_GET)
        return true;
    if (request_set_if_match(request, headers->if_match, &err) < 0 ||
        request_set_if_none_match(request, headers->if_none_match, &err) < 0)
        return invalid(call, &err);
    return true;
}

static bool check_length(struct call *call, const struct headers *headers, size_t *ret_bytes)
{
    const struct route *route = call->route;
    int64_t length = 0;

    if (headers->transfer_encoding ||
        (headers->content_length &&
         !request_decimal(headers->content_length, 0, INT64_MAX, &length))) {
        reply_problem(&call->reply, 400, "invalid", "a body needs a Content-Length");
    } else if (route->body == ROUTE_NO_BODY && length > 0) {
        reply_problem(&call->reply, 400, "invalid", "this takes no body");
    } else if (route->body != ROUTE_NO_BODY && length == 0) {
        reply_problem(&call->reply, 400, "invalid", "the body is missing");
    } else if (length > (int64_t)route->body_bytes) {
        reply_problem(&call->reply, 413, "too-large", "the body is longer than %zu bytes",
                      route->body_bytes);
    } else {
        *ret_bytes = (size_t)length;
        return true;
    }
    return false;
}

static bool check_type(struct call *call, const struct headers *headers)
{
    const char *wanted = call->route->body == ROUTE_MERGE_PATCH ? "application/merge-patch+json"
                                                                : "application/json";

    if (call->route->body == ROUTE_NO_BODY || request_type_is(headers->content_type, wanted))
        return true;
    reply_problem(&call->reply, 415, "media-type", "the body must be %s", wanted);
    return false;
}

static void give_file(struct call *call, const struct headers *headers)
{
    const struct file *file = NULL;

    if (call->request.method == REQUEST_GET)
        file = files_find(&call->agent->files, &call->request);
    if (!file) {
        reply_problem(&call->reply, 404, "not-found", "there is nothing here");
        return;
    }
    if (file_is_known(file, headers->if_none_match))
        call->reply = (struct reply){.status = 304};
    else
        call->reply = (struct reply){
            .status = 200, .type = file->type, .body = file->data, .size = file->size};
    call->reply.body_static = true;
    call->reply.cache_control = "no-cache";
    strcpy(call->reply.tag, file->tag);
}

static bool check_route(struct call *call)
{
    const char *allow = NULL;

    call->route = route_find(&call->request, &allow);
    if (call->route)
        return true;
    if (allow)
        reply_problem(&call->reply, 405, "method", "this takes %s", allow);
    else
        reply_problem(&call->reply, 404, "not-found", "there is nothing here");
    call->reply.allow = allow;
    return false;
}

static bool check_target(struct call *call, const char *method, const char *target)
{
    struct vgpu_err err;
    int rc;

    call->request.method = request_method_of(method);
    rc = request_set_target(&call->request, target, &err);
    if (rc < 0)
        reply_problem(&call->reply, rc == -E2BIG ? 414 : 400, "invalid", "%s", err.text);
    return rc == 0;
}

void check_request(struct call *call, const struct listener *listener, const char *peer,
                   const char *method, const char *target, const struct headers *headers,
                   size_t *ret_body_bytes)
{
    unsigned wait_s = 1;

    *ret_body_bytes = 0;
    if (headers->doubled) {
        reply_problem(&call->reply, 400, "invalid", "a header is there twice");
        return;
    }
    if (!check_target(call, method, target) || !check_site(call, listener, headers))
        return;
    if (!guard_address(&call->agent->guard, peer, &wait_s)) {
        refuse_rate(call, wait_s);
        return;
    }
    if (!route_is_api(&call->request)) {
        give_file(call, headers);
        return;
    }
    if (check_route(call) && check_token(call, peer, headers) && check_parameters(call, headers) &&
        check_length(call, headers, ret_body_bytes))
        check_type(call, headers);
}

void check_body(struct call *call, const char *body, size_t size)
{
    struct vgpu_err err;

    if (request_set_body(&call->request, body, size, &err) < 0)
        invalid(call, &err);
}
