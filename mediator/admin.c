/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/admin.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/listen.h"
#include "common/log.h"
#include "mediator/capacity.h"
#include "mediator/mediator.h"
#include "mediator/reload.h"
#include "mediator/status.h"
#include "mediator/stream.h"
#include "metrics/page.h"
#include "store/json.h"
#include "store/store.h"

/* Status waits for a fresh sample of the GPUs no longer than this. */
#define SAMPLE_WAIT_NS (200 * VGPU_NS_PER_MS)
#define SAMPLE_AGE_NS  (500 * VGPU_NS_PER_MS)

/* So many rows are made between two looks at everything else: about half a millisecond's work. */
#define STATUS_PART_VMS 16

#define NUMBER_TEXT(number) #number
#define NUMBER(number)      NUMBER_TEXT(number)

struct admin_client {
    struct admin_client *next;
    struct admin *admin;
    struct stream stream;
    uid_t uid;
    char who[64];       /* the peer */
    char on_behalf[64]; /* "agent:NAME" for the request in work; "": the peer asks for itself */
    json_t *id;         /* of the request in work; NULL: none */
    uint32_t reset_gpu; /* the one that is being reset for it */
    struct loop_timer sample_wait, status_part;
    uint32_t status_after; /* the last VM whose row was sent */
    struct event_waiter events;
    uint64_t events_after; /* what it waits for events with */
    unsigned events_limit;
    bool dry_run; /* of the request in work, where it is the mediator's own */
};

static void client_end(struct admin_client *client)
{
    struct admin *admin = client->admin;
    struct admin_client **at = &admin->clients;

    while (*at != client)
        at = &(*at)->next;
    *at = client->next;
    admin->n_clients--;
    helper_forget(&admin->mediator->store, client);
    helper_forget(&admin->mediator->nvml, client);
    reset_forget(admin->mediator, client);
    loop_timer_clear(admin->mediator->loop, &client->sample_wait);
    loop_timer_clear(admin->mediator->loop, &client->status_part);
    events_forget(&admin->mediator->events, &client->events);
    stream_release(&client->stream);
    json_decref(client->id);
    free(client);
}

/* The request in work is answered; the next line may come. */
static void replied(struct admin_client *client)
{
    json_decref(client->id);
    client->id = NULL;
    stream_hold(&client->stream, false);
}

/* Sends a reply, which this takes, to the request in work. */
static void reply(struct admin_client *client, json_t *line)
{
    if (!line || json_object_set(line, "id", client->id ? client->id : json_null()) < 0 ||
        stream_send(&client->stream, line) == -EMSGSIZE)
        stream_finish(&client->stream);
    json_decref(line);
    replied(client);
}

static json_t *error_line(int code, const char *text)
{
    struct vgpu_err err = {.code = code};

    snprintf(err.text, sizeof(err.text), "%s", text);
    return json_pack("{s:b, s:o}", "ok", 0, "error", store_error_json(&err));
}

static void reply_error(struct admin_client *client, int code, const char *text)
{
    reply(client, error_line(code, text));
}

/* What the helper said, without what is for the mediator only. */
static void pass_on(struct admin_client *client, json_t *answer)
{
    json_t *line = json_object();
    json_t *ok = json_object_get(answer, "ok");
    const char *key = json_is_true(ok) ? "result" : "error";

    if (line && json_object_set(line, "ok", json_is_true(ok) ? json_true() : json_false()) == 0 &&
        json_object_set(line, key, json_object_get(answer, key)) == 0)
        reply(client, line);
    else {
        json_decref(line);
        reply_error(client, EPROTO, "the store's answer is not understood");
    }
}

static void store_answered(void *context, json_t *answer)
{
    struct admin_client *client = context;

    if (answer) {
        pass_on(client, answer);
        return;
    }
    mediator_note_store(client->admin->mediator, "vgpu-store does not answer");
    reply_error(client, ETIMEDOUT, "the store helper does not answer; try again");
}

/* What the store knows of a VM, and what is so at this moment. */
static void vm_shown(void *context, json_t *answer)
{
    const struct admin_client *client = context;
    json_t *result = json_object_get(answer, "result");
    const json_t *vm_id = json_object_get(json_object_get(result, "vm"), "vm_id");
    json_t *live;

    if (json_is_integer(vm_id)) {
        live = status_vm_live(client->admin->mediator, (uint32_t)json_integer_value(vm_id));
        json_object_set_new(result, "live", live ? live : json_null());
    }
    store_answered(context, answer);
}

static const char *author(const struct admin_client *client)
{
    return client->on_behalf[0] ? client->on_behalf : client->who;
}

/* That errors were accepted changes no configuration; the audit log has it all the same. */
static void record_accepted(const struct admin_client *client, uint32_t gpu_id)
{
    struct helper *store = &client->admin->mediator->store;
    json_t *request = json_pack("{s:s, s:s, s:{s:I, s:s, s:s}}", "command", "record-deed", "who",
                                author(client), "args", "gpu_id", (json_int_t)gpu_id, "command",
                                "resume-gpu", "outcome", "its errors so far are accepted");

    if (helper_ask(store, request, NULL, NULL) < 0)
        vgpu_log(VGPU_LOG_ERROR, "accepted-not-recorded", "gpu=%" PRIu32, gpu_id);
}

/* What the GPU's counters say now is accepted, whether it was drained or not. */
static void resumed(void *context, json_t *answer)
{
    const struct admin_client *client = context;
    const json_t *result = json_object_get(answer, "result");
    const json_t *gpu_id = json_object_get(json_object_get(result, "gpu"), "gpu_id");

    if (json_is_integer(gpu_id) && !json_object_get(result, "dry_run") &&
        checkup_resumed(client->admin->mediator, (uint32_t)json_integer_value(gpu_id)))
        record_accepted(client, (uint32_t)json_integer_value(gpu_id));
    store_answered(context, answer);
}

/* What the pools have, and what of it is well at this moment. */
static void capacity_shown(void *context, json_t *answer)
{
    const struct admin_client *client = context;

    capacity_fill(client->admin->mediator, json_object_get(answer, "result"));
    store_answered(context, answer);
}

/* Who hears the store's answer to a command of its own. */
static helper_reply_fn *answer_to(const char *command)
{
    if (strcmp(command, "show-vm") == 0)
        return vm_shown;
    if (strcmp(command, "resume-gpu") == 0)
        return resumed;
    return strcmp(command, "capacity") == 0 ? capacity_shown : store_answered;
}

static void ask_store(struct admin_client *client, json_t *request, helper_reply_fn *answered)
{
    if (json_object_set_new(request, "who", json_string(author(client))) < 0 ||
        helper_ask(&client->admin->mediator->store, json_incref(request), answered, client) < 0)
        reply_error(client, EAGAIN, "the store helper is down; try again");
}

static void reloaded(void *context, json_t *answer)
{
    struct admin_client *client = context;
    const json_t *snapshot = json_object_get(answer, "result");
    struct vgpu_err err;
    json_t *result;

    if (!json_is_object(snapshot))
        store_answered(context, answer);
    else if (reload_take(client->admin->mediator, snapshot, client->dry_run ? NULL : author(client),
                         &result, &err) < 0)
        reply_error(client, err.code, err.text);
    else
        reply(client, json_pack("{s:b, s:o}", "ok", 1, "result", result));
}

static void reload_config(struct admin_client *client, const json_t *args)
{
    json_t *request = json_pack("{s:s}", "command", "snapshot");

    if (request)
        ask_store(client, request, reloaded);
    else
        reply_error(client, ENOMEM, "out of memory");
    json_decref(request);
}

static void scanned(void *context, json_t *answer)
{
    struct admin_client *client = context;
    json_t *request = scan_record(answer, client->dry_run);

    if (!answer)
        reply_error(client, ETIMEDOUT, "the NVML helper does not answer; try again");
    else if (request)
        ask_store(client, request, store_answered);
    else
        pass_on(client, answer);
    json_decref(request);
}

static void scan_gpus(struct admin_client *client, const json_t *args)
{
    struct mediator *mediator = client->admin->mediator;

    if (!mediator->has_nvml)
        reply_error(client, EAGAIN, "there is no NVML helper (--nvml)");
    else if (scan_ask(mediator, scanned, client) < 0)
        reply_error(client, EAGAIN, "the NVML helper is down; try again");
}

/* Status, in parts: a host has thousands of VMs, and the loop is not to wait for all their rows. */

static void send_part(struct admin_client *client, const char *text, size_t size)
{
    if (stream_send_part(&client->stream, text, size) == -EMSGSIZE)
        stream_finish(&client->stream);
}

/* The text of an object or array without its last `less` characters. */
static void send_open(struct admin_client *client, const json_t *json, size_t skip, size_t less)
{
    _cleanup_free_ char *text = json_dumps(json, JSON_COMPACT);

    if (text)
        send_part(client, text + skip, strlen(text) - skip - less);
    else
        stream_finish(&client->stream);
}

static void send_status_part(void *context)
{
    struct admin_client *client = context;
    struct mediator *mediator = client->admin->mediator;
    _cleanup_json_ json_t *rows = status_vms(mediator, client->status_after, STATUS_PART_VMS);
    size_t n = json_array_size(rows);

    if (n == 0) {
        send_part(client, "]}}\n", 4);
        replied(client);
        return;
    }
    if (client->status_after > 0)
        send_part(client, ",", 1);
    send_open(client, rows, 1, 1);
    client->status_after =
        (uint32_t)json_integer_value(json_object_get(json_array_get(rows, n - 1), "vm_id"));
    loop_timer_set(mediator->loop, &client->status_part, loop_now(mediator->loop));
}

static void send_status(struct admin_client *client)
{
    struct mediator *mediator = client->admin->mediator;
    _cleanup_json_ json_t *line =
        json_pack("{s:O, s:b, s:o}", "id", client->id, "ok", 1, "result", status_head(mediator));

    if (!line) {
        reply_error(client, ENOMEM, "out of memory");
        return;
    }
    /* "result" comes last: jansson keeps the order. */
    send_open(client, line, 0, 2);
    send_part(client, ",\"vms\":[", 8);
    client->status_after = 0;
    send_status_part(client);
}

static void sampled(void *context, json_t *answer)
{
    struct admin_client *client = context;

    loop_timer_clear(client->admin->mediator->loop, &client->sample_wait);
    send_status(client);
}

/* NVML calls can hang: what was known last is shown then. */
static void sample_late(void *context)
{
    struct admin_client *client = context;

    helper_forget(&client->admin->mediator->nvml, client);
    send_status(client);
}

static void show_status(struct admin_client *client, const json_t *args)
{
    struct mediator *mediator = client->admin->mediator;
    uint64_t now_ns = loop_now(mediator->loop);

    if (!mediator->has_nvml || now_ns - mediator->sampled_ns < SAMPLE_AGE_NS ||
        mediator->nvml.n_pending > 0 ||
        helper_ask(&mediator->nvml, json_pack("{s:s}", "command", "sample"), sampled, client) < 0)
        send_status(client);
    else
        loop_timer_set(mediator->loop, &client->sample_wait, now_ns + SAMPLE_WAIT_NS);
}

/* events */

static void send_events(void *context)
{
    struct admin_client *client = context;
    const struct events *events = &client->admin->mediator->events;
    json_t *list = events_list(events, client->events_after, client->events_limit);

    if (list)
        reply(client, json_pack("{s:b, s:o}", "ok", 1, "result", list));
    else
        reply_error(client, ENOMEM, "out of memory");
}

/* An argument that may be left out; *value keeps its default then. */
static bool take_count(const json_t *args, const char *key, json_int_t least, json_int_t most,
                       json_int_t *value)
{
    const json_t *arg = json_object_get(args, key);

    if (!arg || json_is_null(arg))
        return true;
    *value = json_integer_value(arg);
    return json_is_integer(arg) && *value >= least && *value <= most;
}

static bool only_events_args(const json_t *args)
{
    size_t n = json_object_size(args);

    return n == (json_object_get(args, "after") != NULL) +
                    (size_t)(json_object_get(args, "limit") != NULL) +
                    (size_t)(json_object_get(args, "wait_ms") != NULL);
}

static void show_events(struct admin_client *client, const json_t *args)
{
    struct events *events = &client->admin->mediator->events;
    json_int_t after = (json_int_t)events->last, limit = EVENTS_LIMIT_MAX, wait_ms = 0;

    if (!only_events_args(args) || !take_count(args, "after", 0, INT64_MAX, &after) ||
        !take_count(args, "limit", 1, EVENTS_LIMIT_MAX, &limit) ||
        !take_count(args, "wait_ms", 0, EVENTS_WAIT_MAX_MS, &wait_ms)) {
        reply_error(client, EINVAL,
                    "events takes after (0 or more), limit (1 to " NUMBER(
                        EVENTS_LIMIT_MAX) ") and "
                                          "wait_ms (0 to " NUMBER(
                                              EVENTS_WAIT_MAX_MS) "), all whole numbers");
        return;
    }
    client->events_after = (uint64_t)after;
    client->events_limit = (unsigned)limit;
    if (wait_ms == 0 || client->events_after != events->last ||
        events_wait(events, &client->events, (uint64_t)wait_ms * VGPU_NS_PER_MS) < 0)
        send_events(client);
}

/* Written as it goes: a page is large, and the loop waits for it. */
static void send_metrics(struct admin_client *client, uint32_t after_vm, unsigned limit)
{
    _cleanup_free_ char *id = json_dumps(client->id, JSON_COMPACT | JSON_ENCODE_ANY);
    struct metrics_text text = {.data = NULL};
    int rc;

    text_add(&text, "{\"id\":");
    text_add(&text, id ? id : "null");
    text_add(&text, ",\"ok\":true,\"result\":");
    metrics_page(client->admin->mediator, after_vm, limit, &text);
    text_add(&text, "}\n");
    rc = text.failed ? -ENOMEM : stream_send_part(&client->stream, text.data, text.used);
    text_release(&text);
    if (rc == -ENOMEM) {
        reply_error(client, ENOMEM, "out of memory");
        return;
    }
    if (rc == -EMSGSIZE)
        stream_finish(&client->stream);
    replied(client);
}

static void show_metrics(struct admin_client *client, const json_t *args)
{
    json_int_t after_vm = 0, limit = METRICS_LIMIT_MAX;
    size_t n = (json_object_get(args, "after_vm") != NULL) +
               (size_t)(json_object_get(args, "limit") != NULL);

    if (json_object_size(args) == n && take_count(args, "after_vm", 0, UINT32_MAX, &after_vm) &&
        take_count(args, "limit", 1, METRICS_LIMIT_MAX, &limit))
        send_metrics(client, (uint32_t)after_vm, (unsigned)limit);
    else
        reply_error(client, EINVAL,
                    "metrics takes after_vm (0 or more) and limit (1 to " NUMBER(
                        METRICS_LIMIT_MAX) "), both whole numbers");
}

/* No configuration has changed. */
static void reply_reset(struct admin_client *client, bool dry_run)
{
    json_t *result = json_pack("{s:I, s:b, s:[]}", "gpu_id", (json_int_t)client->reset_gpu,
                               "changed", 1, "changes");

    if (dry_run)
        json_object_set_new(result, "dry_run", json_true());
    reply(client, json_pack("{s:b, s:o}", "ok", 1, "result", result));
}

static void was_reset(void *context, const struct vgpu_err *err)
{
    struct admin_client *client = context;

    if (err)
        reply_error(client, err->code, err->text);
    else
        reply_reset(client, false);
}

static void reset_gpu(struct admin_client *client, const json_t *args)
{
    struct mediator *mediator = client->admin->mediator;
    json_int_t gpu_id = -1;
    struct vgpu_err err;
    int rc;

    if (json_object_size(args) != 1 || !json_object_get(args, "gpu_id") ||
        !take_count(args, "gpu_id", 0, MEDIATOR_GPUS_MAX - 1, &gpu_id) || gpu_id < 0) {
        reply_error(client, EINVAL, "reset-gpu takes gpu_id, and nothing else");
        return;
    }
    client->reset_gpu = (uint32_t)gpu_id;
    rc = client->dry_run
             ? reset_check(mediator, client->reset_gpu, &err)
             : reset_start(mediator, client->reset_gpu, author(client), was_reset, client, &err);
    if (rc < 0)
        reply_error(client, err.code, err.text);
    else if (client->dry_run)
        reply_reset(client, true);
    else
        vgpu_log(VGPU_LOG_INFO, "gpu-reset-asked", "gpu=%d who=\"%s\"", (int)gpu_id,
                 author(client));
}

static void show_health(struct admin_client *client, const json_t *args)
{
    json_t *health = checkup_json(client->admin->mediator);

    if (health)
        reply(client, json_pack("{s:b, s:o}", "ok", 1, "result", health));
    else
        reply_error(client, ENOMEM, "out of memory");
}

/* What the mediator does itself; all else is the store's. */
struct own_command {
    const char *name;
    void (*run)(struct admin_client *client, const json_t *args);
    bool takes_args, changes;
    const char *instead; /* it is the mediator's alone: what an administrator is to use */
};

static const struct own_command own_commands[] = {
    {"events", show_events, true},
    {"health", show_health},
    {"metrics", show_metrics, true},
    {"record-deed", .instead = "reset-gpu"},
    {"record-fault", .instead = "quarantine"},
    {"record-gpus", .instead = "scan-gpus"},
    {"reload-config", reload_config, .changes = true},
    {"reset-gpu", reset_gpu, .takes_args = true, .changes = true},
    {"scan-gpus", scan_gpus, .changes = true},
    {"status", show_status},
};

static const struct own_command *find_own(const char *name)
{
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(own_commands); i++)
        if (strcmp(own_commands[i].name, name) == 0)
            return &own_commands[i];
    return NULL;
}

static void run_own(struct admin_client *client, const struct own_command *command,
                    const json_t *request)
{
    const json_t *args = json_object_get(request, "args");
    char text[160];

    client->dry_run = json_is_true(json_object_get(request, "dry_run"));
    if (command->instead) {
        snprintf(text, sizeof(text), "%s is for the mediator; use %s", command->name,
                 command->instead);
        reply_error(client, EOPNOTSUPP, text);
    } else if (!command->takes_args && json_object_size(args) > 0) {
        snprintf(text, sizeof(text), "%s takes no arguments", command->name);
        reply_error(client, EINVAL, text);
    } else if (client->dry_run && !command->changes) {
        snprintf(text, sizeof(text), "%s changes nothing: it takes no dry_run", command->name);
        reply_error(client, EINVAL, text);
    } else if (json_object_get(request, "if_revision")) {
        snprintf(text, sizeof(text), "%s takes no if_revision", command->name);
        reply_error(client, EINVAL, text);
    } else {
        command->run(client, args);
    }
}

static void execute(struct admin_client *client, json_t *request)
{
    const char *name = json_string_value(json_object_get(request, "command"));
    const struct own_command *own = name ? find_own(name) : NULL;

    if (!name)
        reply_error(client, EINVAL, "the request has no command");
    else if (own)
        run_own(client, own, request);
    else
        ask_store(client, request, answer_to(name));
}

static bool name_ok(const char *name)
{
    size_t length = name ? strspn(name, "abcdefghijklmnopqrstuvwxyz"
                                        "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
                         : 0;

    return length > 0 && length <= ADMIN_ON_BEHALF_BYTES && name[length] == '\0';
}

/* Whom the agent asks for: it alone is believed. False: the request was answered. */
static bool take_on_behalf(struct admin_client *client, json_t *request)
{
    const struct mediator_settings *settings = client->admin->mediator->settings;
    const json_t *on_behalf = json_object_get(request, "on_behalf");

    client->on_behalf[0] = '\0';
    if (!on_behalf)
        return true;
    if (!settings->has_agent_uid || client->uid != settings->agent_uid) {
        reply_error(client, EPERM, "on_behalf is for the agent's user alone (--agent-uid)");
        return false;
    }
    if (!name_ok(json_string_value(on_behalf))) {
        reply_error(client, EINVAL, "on_behalf is not 1 to 32 of a-z, A-Z, 0-9, '.', '_', '-'");
        return false;
    }
    snprintf(client->on_behalf, sizeof(client->on_behalf), "agent:%s",
             json_string_value(on_behalf));
    json_object_del(request, "on_behalf");
    return true;
}

static bool id_ok(const json_t *id)
{
    return json_is_integer(id) || json_is_string(id);
}

static void take_line(void *context, char *text)
{
    struct admin_client *client = context;
    json_t *request = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    json_t *id = json_object_get(request, "id");

    stream_hold(&client->stream, true);
    if (!json_is_object(request)) {
        reply_error(client, EINVAL, "the line is not a JSON object");
    } else if (!id_ok(id)) {
        reply_error(client, EINVAL, "the request's id is not an integer or a string");
    } else {
        client->id = json_incref(id);
        if (take_on_behalf(client, request))
            execute(client, request);
    }
    json_decref(request);
}

static void stream_ended(void *context, int error)
{
    struct admin_client *client = context;

    if (error != -E2BIG || client->stream.ending) {
        client_end(client);
        return;
    }
    reply_error(client, E2BIG, "the line is too long");
    stream_finish(&client->stream);
}

/* Takes sock over. */
static int client_new(struct admin *admin, int sock)
{
    struct admin_client *client = calloc(1, sizeof(*client));
    struct ucred who = {0};
    socklen_t size = sizeof(who);

    if (!client) {
        close(sock);
        return -ENOMEM;
    }
    getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &who, &size);
    client->uid = who.uid;
    snprintf(client->who, sizeof(client->who), "uid=%d pid=%d", (int)who.uid, (int)who.pid);
    if (stream_init(&client->stream, admin->mediator->loop, sock, ADMIN_REQUEST_BYTES,
                    ADMIN_REPLY_BYTES, take_line, stream_ended, client) < 0) {
        free(client);
        return -ENOMEM;
    }
    client->admin = admin;
    client->sample_wait = (struct loop_timer){.fire = sample_late, .context = client};
    client->status_part = (struct loop_timer){.fire = send_status_part, .context = client};
    client->events = (struct event_waiter){.ready = send_events, .context = client};
    client->next = admin->clients;
    admin->clients = client;
    admin->n_clients++;
    return 0;
}

static void turn_away(int sock)
{
    json_t *line = error_line(EAGAIN, "too many administrators are connected; try again");
    char *text = NULL;

    json_object_set_new(line, "id", json_null());
    text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    if (text) {
        send(sock, text, strlen(text), MSG_NOSIGNAL | MSG_MORE);
        send(sock, "\n", 1, MSG_NOSIGNAL);
    }
    free(text);
    json_decref(line);
}

static void ready(void *context, uint32_t events)
{
    struct admin *admin = context;
    _cleanup_close_ int sock = accept4(admin->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (sock < 0)
        return;
    if (admin->n_clients >= ADMIN_CLIENTS_MAX)
        turn_away(sock);
    else
        client_new(admin, vgpu_steal_fd(&sock));
}

int admin_init(struct admin *admin, struct mediator *mediator, struct vgpu_err *err)
{
    int rc;

    admin->mediator = mediator;
    if (snprintf(admin->path, sizeof(admin->path), "%s/admin.sock", mediator->settings->run_dir) >=
        (int)sizeof(admin->path))
        return vgpu_err_set(err, ENAMETOOLONG, "--run-dir is too long for a socket path");
    rc = vgpu_listen(admin->path, SOCK_STREAM, 0660, &admin->listener, err);
    if (rc < 0)
        return rc;
    rc = loop_watch_add(mediator->loop, &admin->watch, admin->listener, EPOLLIN, ready, admin);
    return rc < 0 ? vgpu_err_set(err, -rc, "cannot watch a socket: %s", strerror(-rc)) : 0;
}

void admin_release(struct admin *admin)
{
    if (admin->listener < 0)
        return;
    while (admin->clients)
        client_end(admin->clients);
    loop_watch_remove(admin->mediator->loop, &admin->watch);
    vgpu_close(&admin->listener);
    unlink(admin->path);
}
