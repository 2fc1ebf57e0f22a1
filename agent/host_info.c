/* SPDX-License-Identifier: Apache-2.0 */
/* The host as a whole: /host, /status, /health, /capacity, /healthz, and the document itself. */
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/openapi_document.h"
#include "agent/resource.h"
#include "common/clock.h"

static void pass(struct call *call, const char *command)
{
    json_t *result;

    if (call_ask(call, command, NULL, &result))
        call_reply_result(call, 200, result, NULL);
}

void status_get(struct call *call)
{
    pass(call, "status");
}

void health_get(struct call *call)
{
    pass(call, "health");
}

static json_t *count_gpus(const json_t *status)
{
    int present = 0, missing = 0, unhealthy = 0;
    const json_t *gpu;
    size_t i;

    json_array_foreach (json_object_get(status, "gpus"), i, gpu) {
        const char *state = json_string_value(json_object_get(gpu, "state"));

        missing += state && strcmp(state, "missing") == 0;
        unhealthy += state && strcmp(state, "unhealthy") == 0;
        present += !state || strcmp(state, "missing") != 0;
    }
    return json_pack("{s:i, s:i, s:i}", "present", present, "missing", missing, "unhealthy",
                     unhealthy);
}

/* Also while the mediator is down: from what was known last. */
void host_get(struct call *call)
{
    const struct agent *agent = call->agent;
    json_t *status = NULL, *mediator;
    struct utsname names = {.nodename = ""};
    bool up = call_ask(call, "status", NULL, &status);

    uname(&names);
    if (!up) {
        reply_release(&call->reply);
        status = live_last_status(&call->agent->live);
    }
    mediator = up ? json_object_get(status, "mediator") : json_null();
    reply_json(&call->reply, 200,
               json_pack("{s:s, s:{s:s, s:i, s:f}, s:O, s:b, s:o, s:i, s:i, s:{s:s, s:s}}",
                         "hostname", names.nodename, "agent", "version", VGPU_PROGRAM_VERSION,
                         "pid", (int)getpid(), "uptime_s",
                         (double)(vgpu_clock_ns() - agent->started_ns) / (double)VGPU_NS_PER_S,
                         "mediator", mediator, "mediator_up", up, "gpus", count_gpus(status),
                         "pools", (int)json_array_size(json_object_get(status, "pools")), "vms",
                         (int)json_array_size(json_object_get(status, "vms")), "you", "name",
                         call->who.name, "role", role_name(call->who.role)));
    json_decref(status);
}

void healthz_get(struct call *call)
{
    if (live_is_up(&call->agent->live))
        reply_json(&call->reply, 200, json_pack("{s:s}", "status", "ok"));
    else
        reply_problem(&call->reply, 503, "unavailable", "no mediator answers");
}

void openapi_get(struct call *call)
{
    reply_text(&call->reply, 200, "application/json", (char *)(uintptr_t)openapi_document,
               sizeof(openapi_document) - 1);
    call->reply.body_static = true;
}
