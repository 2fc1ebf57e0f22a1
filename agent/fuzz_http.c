/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Feeds the checks of a request what a client sends: a method, a target, header lines, an empty
 * line, a body. No mediator, no sockets; whatever comes, the request is refused with a problem or
 * taken apart.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/check.h"
#include "agent/object.h"
#include "agent/route.h"

#define LINES_MAX 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct agent agent;
static struct listener listener;

static void prepare(void)
{
    static bool done;

    if (done)
        return;
    done = true;
    agent.auth.path = "/nonexistent";
    pthread_mutex_init(&agent.auth.lock, NULL);
    guard_init(&agent.guard, 100000);
    host_names_add(&listener.names, "localhost");
}

/* The next line, ended by a NUL, or NULL. */
static char *next_line(char **at)
{
    char *line = *at, *end = line ? strchr(line, '\n') : NULL;

    if (end)
        *end++ = '\0';
    *at = end;
    return line;
}

static void take_headers(struct headers *headers, char **at)
{
    char *line;

    for (int i = 0; i < LINES_MAX && (line = next_line(at)) && *line; i++) {
        char *value = strchr(line, ':');

        if (value)
            *value++ = '\0';
        headers_take(headers, line, value);
    }
}

static void take_body(struct call *call, const char *body)
{
    static const struct object_member members[] = {{"name", "null"}, {"a", NULL}, {NULL}};
    json_t *object;

    check_body(call, body, strlen(body));
    object = object_of(members, call->request.body, true);
    if (!object)
        abort();
    json_decref(object);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = calloc(1, size + 1), *at = text, *method, *target;
    struct call call = {.agent = &agent};
    struct headers headers = {.host = NULL};
    const char *allow = NULL;
    size_t wanted = 0;

    prepare();
    memcpy(text, data, size);
    method = next_line(&at);
    target = next_line(&at);
    take_headers(&headers, &at);
    check_request(&call, &listener, "fuzz", method, target ? target : "", &headers, &wanted);
    if (!call.reply.status && !call.route)
        abort();
    if (call.request.n_segments > 0)
        route_find(&call.request, &allow);
    request_set_if_match(&call.request, headers.if_match, NULL);
    if (!call.request.body)
        take_body(&call, at ? at : "");
    request_release(&call.request);
    reply_release(&call.reply);
    free(text);
    return 0;
}
