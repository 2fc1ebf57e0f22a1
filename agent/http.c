/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/http.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/check.h"
#include "agent/route.h"
#include "agent/stream.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"

#define POOL_BYTES (24 * 1024) /* of a connection: its headers, and what is being sent */
/* A body that is refused is still taken, so that its sender reads why; a longer one is not. */
#define DISCARD_BYTES (4 * 1024 * 1024)
#define SILENT_S      60  /* nothing moves on the connection */
#define SEND_S        120 /* for an answer to be taken */
#define STREAM_TYPE   "text/event-stream"
#define PRIORITIES    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

/* Sent with each answer. The panel's scripts and styles are its own files, nothing inline. */
static const char *const always[][2] = {
    {"Content-Security-Policy",
     "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
     "font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; "
     "form-action 'none'; frame-ancestors 'none'"},
    {"X-Content-Type-Options", "nosniff"},
    {"X-Frame-Options", "DENY"},
    {"Referrer-Policy", "no-referrer"},
    {"Cross-Origin-Opener-Policy", "same-origin"},
    {"Cross-Origin-Resource-Policy", "same-origin"},
    {"Permissions-Policy", "camera=(), geolocation=(), microphone=()"},
};

/* One request, from its first line to the end of its answer. */
struct exchange {
    struct work_item item; /* first: the worker gets this */
    struct call call;
    struct http *http;
    struct MHD_Connection *mhd;
    struct connection *connection;
    char *target; /* as sent */
    bool begun, submitted;
    bool discards; /* its body, as the reply is there already */
    char *body;
    size_t used, wanted;
};

static void *target_seen(void *context, const char *target, struct MHD_Connection *mhd)
{
    struct exchange *exchange = calloc(1, sizeof(*exchange));

    if (!exchange)
        return NULL;
    exchange->http = context;
    exchange->mhd = mhd;
    exchange->call.agent = exchange->http->agent;
    exchange->target = strdup(target);
    return exchange;
}

static void completed(void *context, struct MHD_Connection *mhd, void **state,
                      enum MHD_RequestTerminationCode code)
{
    struct exchange *exchange = *state;

    if (!exchange)
        return;
    if (exchange->connection)
        connections_enter(&exchange->http->connections, exchange->connection, CONNECTION_RECEIVING,
                          vgpu_clock_ns());
    request_release(&exchange->call.request);
    reply_release(&exchange->call.reply);
    free(exchange->target);
    free(exchange->body);
    free(exchange);
    *state = NULL;
}

static void connection_notified(void *context, struct MHD_Connection *mhd, void **state,
                                enum MHD_ConnectionNotificationCode code)
{
    struct http *http = context;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    char peer[CONNECTION_PEER_BYTES];

    if (code == MHD_CONNECTION_NOTIFY_STARTED && info) {
        listener_peer(&http->listener, info->connect_fd, peer, sizeof(peer));
        *state = connections_add(&http->connections, info->connect_fd, peer, vgpu_clock_ns());
    } else if (code == MHD_CONNECTION_NOTIFY_CLOSED && *state) {
        connections_remove(&http->connections, *state);
        *state = NULL;
    }
}

static void add_headers(struct MHD_Response *response, const struct reply *reply)
{
    char text[REQUEST_TAG_BYTES + 2];

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(always); i++)
        MHD_add_response_header(response, always[i][0], always[i][1]);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL,
                            reply->cache_control ? reply->cache_control : "no-store");
    if (reply->type)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, reply->type);
    if (reply->allow)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, reply->allow);
    if (reply->tag[0]) {
        snprintf(text, sizeof(text), "\"%s\"", reply->tag);
        MHD_add_response_header(response, MHD_HTTP_HEADER_ETAG, text);
    }
    if (reply->retry_after_s) {
        snprintf(text, sizeof(text), "%u", reply->retry_after_s);
        MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, text);
    }
    if (reply->status == 401)
        MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE,
                                "Bearer realm=\"vgpu-agent\"");
}

/* Of each request, with --verbose; the query is left out. */
static void log_request(const struct exchange *exchange, unsigned status)
{
    char quoted[256], path[128];

    snprintf(path, sizeof(path), "%.*s", (int)strcspn(exchange->target, "?"), exchange->target);
    vgpu_log(VGPU_LOG_DEBUG, "request", "status=%u token=%s peer=%s path=%s", status,
             exchange->call.who.name[0] ? exchange->call.who.name : "-", exchange->connection->peer,
             vgpu_log_quote(quoted, sizeof(quoted), path));
}

static enum MHD_Result queue(struct exchange *exchange, unsigned status,
                             struct MHD_Response *response, enum connection_phase phase)
{
    enum MHD_Result done;

    if (!response)
        return MHD_NO;
    log_request(exchange, status);
    connections_enter(&exchange->http->connections, exchange->connection, phase, vgpu_clock_ns());
    done = MHD_queue_response(exchange->mhd, status, response);
    MHD_destroy_response(response);
    return done;
}

static enum MHD_Result send_reply(struct exchange *exchange)
{
    struct reply *reply = &exchange->call.reply;
    struct MHD_Response *response = MHD_create_response_from_buffer(
        reply->size, reply->body,
        reply->body_static ? MHD_RESPMEM_PERSISTENT : MHD_RESPMEM_MUST_FREE);

    if (!response)
        return MHD_NO;
    if (!reply->body_static)
        reply->body = NULL;
    add_headers(response, reply);
    return queue(exchange, reply->status, response, CONNECTION_SENDING);
}

static enum MHD_Result send_stream(struct exchange *exchange, const char *last_id)
{
    const struct reply heading = {.type = STREAM_TYPE};
    struct call *call = &exchange->call;
    struct MHD_Response *response;
    struct vgpu_err err;
    bool states = true;

    if (request_query_flag(&call->request, "states", &states, &err) < 0) {
        reply_problem(&call->reply, 400, "invalid", "%s", err.text);
        return send_reply(exchange);
    }
    response = stream_open(&call->agent->live, exchange->mhd, &call->who, states, last_id);
    if (!response) {
        reply_problem(&call->reply, 503, "unavailable", "there are %d streams already",
                      LIVE_STREAMS_MAX);
        return send_reply(exchange);
    }
    add_headers(response, &heading);
    return queue(exchange, 200, response, CONNECTION_STREAMING);
}

static enum MHD_Result header_seen(void *context, enum MHD_ValueKind kind, const char *name,
                                   const char *value)
{
    headers_take(context, name, value);
    return MHD_YES;
}

static bool worth_discarding(const struct headers *headers)
{
    int64_t length;

    return headers->content_length &&
           request_decimal(headers->content_length, 1, DISCARD_BYTES, &length);
}

static enum MHD_Result begin(struct exchange *exchange, const char *method)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(exchange->mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct call *call = &exchange->call;
    struct headers headers = {.host = NULL};

    exchange->begun = true;
    exchange->connection = info ? info->socket_context : NULL;
    if (!exchange->connection || !exchange->target)
        return MHD_NO;
    MHD_get_connection_values(exchange->mhd, MHD_HEADER_KIND, header_seen, &headers);
    check_request(call, &exchange->http->listener, exchange->connection->peer, method,
                  exchange->target, &headers, &exchange->wanted);
    if (!call->reply.status && call->route->kind == ROUTE_DIRECT)
        call->route->handle(call);
    if (call->reply.status) {
        exchange->discards = worth_discarding(&headers);
        return exchange->discards ? MHD_YES : send_reply(exchange);
    }
    if (call->route->kind == ROUTE_STREAM)
        return send_stream(exchange, headers.last_event_id);
    return MHD_YES;
}

/* More than was announced never comes; the buffer grows with what has come. */
static enum MHD_Result take(struct exchange *exchange, const char *data, size_t size)
{
    char *body;

    if (size > exchange->wanted - exchange->used)
        return MHD_NO;
    body = realloc(exchange->body, exchange->used + size);
    if (!body)
        return MHD_NO;
    memcpy(body + exchange->used, data, size);
    exchange->body = body;
    exchange->used += size;
    return MHD_YES;
}

static void execute(struct work_item *item, struct backend *backend)
{
    struct exchange *exchange = (struct exchange *)item;
    struct call *call = &exchange->call;

    call->backend = backend;
    call->route->handle(call);
    if (!call->reply.status)
        reply_problem(&call->reply, 500, "failed", "out of memory");
    MHD_resume_connection(exchange->mhd);
}

/* The connection sleeps until the worker has the reply. */
static enum MHD_Result submit(struct exchange *exchange)
{
    exchange->submitted = true;
    exchange->item.run = execute;
    connections_enter(&exchange->http->connections, exchange->connection, CONNECTION_WORKING,
                      vgpu_clock_ns());
    MHD_suspend_connection(exchange->mhd);
    if (!work_submit(&exchange->call.agent->work, &exchange->item)) {
        reply_problem(&exchange->call.reply, 503, "unavailable", "too many requests are waiting");
        MHD_resume_connection(exchange->mhd);
    }
    return MHD_YES;
}

static enum MHD_Result handle(void *context, struct MHD_Connection *mhd, const char *url,
                              const char *method, const char *version, const char *data,
                              size_t *size, void **state)
{
    struct exchange *exchange = *state;
    enum MHD_Result taken;

    if (!exchange)
        return MHD_NO;
    if (!exchange->begun)
        return begin(exchange, method);
    if (*size > 0) {
        taken = exchange->discards ? MHD_YES : take(exchange, data, *size);
        *size = 0;
        return taken;
    }
    if (!exchange->submitted && !exchange->call.reply.status &&
        exchange->call.route->body != ROUTE_NO_BODY)
        check_body(&exchange->call, exchange->body ? exchange->body : "", exchange->used);
    if (exchange->call.reply.status)
        return send_reply(exchange);
    return submit(exchange);
}

static struct MHD_Daemon *start_daemon(struct http *http, const char *certificate, const char *key)
{
    struct MHD_OptionItem tls[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)certificate},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)key},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)PRIORITIES},
        {MHD_OPTION_END, 0, NULL},
    };
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC |
                     (http->listener.tls ? MHD_USE_TLS : 0);

    return MHD_start_daemon(
        flags, 0, NULL, NULL, handle, http, MHD_OPTION_LISTEN_SOCKET, http->listener.fd,
        MHD_OPTION_CONNECTION_LIMIT, http->agent->settings->max_connections,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)POOL_BYTES, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)SILENT_S, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_URI_LOG_CALLBACK,
        target_seen, http, MHD_OPTION_NOTIFY_COMPLETED, completed, http,
        MHD_OPTION_NOTIFY_CONNECTION, connection_notified, http, MHD_OPTION_ARRAY,
        http->listener.tls ? tls : &tls[VGPU_ARRAY_SIZE(tls) - 1], MHD_OPTION_END);
}

int http_start(struct http *http, struct agent *agent, const struct listener *listener,
               const char *certificate, const char *key, struct vgpu_err *err)
{
    *http = (struct http){.agent = agent, .listener = *listener};
    http->listener.tls = certificate != NULL;
    connections_init(&http->connections, agent->settings->max_connections,
                     agent->settings->receive_s, SEND_S);
    http->daemon = start_daemon(http, certificate, key);
    if (!http->daemon) {
        connections_release(&http->connections);
        return vgpu_err_set(err, EIO, "cannot serve %s%s", listener->name,
                            certificate ? ": is the certificate of that key?" : "");
    }
    vgpu_log(VGPU_LOG_INFO, "listen", "on=%s tls=%d", listener->name, certificate != NULL);
    return 0;
}

void http_stop(struct http *http)
{
    MHD_stop_daemon(http->daemon); /* closes the listener */
    connections_release(&http->connections);
    if (http->listener.local)
        unlink(http->listener.name);
}

void http_sweep(struct http *http)
{
    connections_sweep(&http->connections, vgpu_clock_ns());
}
