/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/live.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/agent.h"
#include "agent/resource.h"
#include "agent/stream.h"
#include "common/clock.h"
#include "common/log.h"
#include "store/json.h"

#define STATUS_S      5    /* for an answer to status */
#define WAIT_MS       1000 /* that events waits in the mediator; we end no sooner */
#define EVENTS_S      5    /* for its answer: more than WAIT_MS */
#define EVENTS_LIMIT  256
#define APART_NS      (200 * VGPU_NS_PER_MS) /* samples, however much happens */
#define RETRY_NS      (200 * VGPU_NS_PER_MS)
#define UNKNOWN_NS    (30 * VGPU_NS_PER_S) /* after a mediator that has no events */
#define HEADING_BYTES 96

struct live_text *live_text_use(struct live_text *text)
{
    text->users++;
    return text;
}

void live_text_drop(struct live_text *text)
{
    if (text && --text->users == 0)
        free(text);
}

/* One server-sent event. Not yet used by anybody; NULL: out of memory. */
static struct live_text *text_new(const char *event, const char *id, const char *data)
{
    char heading[HEADING_BYTES];
    size_t before, after = strlen(data);
    struct live_text *text;

    snprintf(heading, sizeof(heading), "event: %s\n%s%s%sdata: ", event, id ? "id: " : "",
             id ? id : "", id ? "\n" : "");
    before = strlen(heading);
    text = malloc(sizeof(*text) + before + after + 2);
    if (!text)
        return NULL;
    text->users = 1;
    text->size = before + after + 2;
    memcpy(text->data, heading, before);
    memcpy(text->data + before, data, after);
    memcpy(text->data + before + after, "\n\n", 2);
    return text;
}

void live_init(struct live *live, struct agent *agent)
{
    pthread_condattr_t monotonic;

    memset(live, 0, sizeof(*live));
    live->agent = agent;
    pthread_mutex_init(&live->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&live->wake, &monotonic);
    pthread_cond_init(&live->ended, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

/* Under the lock. */
static void set_up(struct live *live, bool up, const char *why)
{
    char quoted[VGPU_ERR_TEXT_BYTES];

    if (live->up == up)
        return;
    live->up = up;
    if (up)
        vgpu_log(VGPU_LOG_INFO, "mediator-up", "socket=%s", live->agent->settings->admin_socket);
    else
        vgpu_log(VGPU_LOG_WARN, "mediator-down", "reason=%s",
                 vgpu_log_quote(quoted, sizeof(quoted), why));
    streams_wake(live);
}

/* Under the lock. True if the state is another than the last. */
static bool state_changed(struct live *live, json_t *status)
{
    json_t *mediator = json_object_get(status, "mediator");
    json_t *uptime = json_incref(json_object_get(mediator, "uptime_s"));
    char *shown;
    bool same;

    json_object_set_new(mediator, "uptime_s", json_null());
    shown = json_dumps(status, STORE_JSON_FLAGS);
    if (uptime)
        json_object_set_new(mediator, "uptime_s", uptime);
    same = shown && live->shown && strcmp(shown, live->shown) == 0;
    free(live->shown);
    live->shown = shown;
    return !same;
}

/* Under the lock. */
static void publish_state(struct live *live, const json_t *status)
{
    char *data = json_dumps(status, STORE_JSON_FLAGS);
    struct live_text *text = data ? text_new("state", NULL, data) : NULL;

    free(data);
    if (!text)
        return;
    live_text_drop(live->state);
    live->state = text;
    live->state_seq++;
    streams_wake(live);
}

static void take_status(struct live *live, json_t *status)
{
    pthread_mutex_lock(&live->lock);
    set_up(live, true, NULL);
    json_decref(live->status);
    live->status = status;
    history_add(&live->history, time(NULL) / HISTORY_STEP_S * HISTORY_STEP_S, status);
    if (live->n_state_streams == 0) {
        free(live->shown);
        live->shown = NULL;
    } else if (state_changed(live, status) || live->wanted) {
        publish_state(live, status);
        live->wanted = false;
    }
    pthread_mutex_unlock(&live->lock);
}

static void sample(struct live *live, struct backend *backend)
{
    json_t *request = json_pack("{s:s}", "command", "status"), *status;
    struct backend_error error;

    if (backend_ask(backend, request, &status, &error) == 0) {
        take_status(live, status);
    } else if (error.down) {
        pthread_mutex_lock(&live->lock);
        set_up(live, false, error.text);
        pthread_mutex_unlock(&live->lock);
    }
    json_decref(request);
}

static struct timespec time_of(uint64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / VGPU_NS_PER_S),
                             .tv_nsec = (long)(ns % VGPU_NS_PER_S)};
}

/* Under the lock: until the time, or, where `may_hurry`, until the state is wanted; or the end. */
static void wait_until(struct live *live, uint64_t until_ns, bool may_hurry)
{
    const struct timespec until = time_of(until_ns);

    while (!live->stopping && !(may_hurry && (live->wanted || live->hurried)) &&
           pthread_cond_timedwait(&live->wake, &live->lock, &until) != ETIMEDOUT)
        continue;
}

/* Under the lock. */
static void pause_for(struct live *live, uint64_t pause_ns)
{
    const struct timespec until = time_of(vgpu_clock_ns() + pause_ns);

    while (!live->stopping &&
           pthread_cond_timedwait(&live->ended, &live->lock, &until) != ETIMEDOUT)
        continue;
}

/* Under the lock, which is open while the mediator is asked. */
static void sample_unlocked(struct live *live, struct backend *backend)
{
    live->hurried = false;
    pthread_mutex_unlock(&live->lock);
    sample(live, backend);
    pthread_mutex_lock(&live->lock);
}

/* Each second where somebody looks or the mediator is away, else as often as the history wants. */
static void *sampling_thread(void *context)
{
    struct live *live = context;
    uint64_t now_ns, sampled_ns = 0;
    struct backend backend;

    backend_init(&backend, live->agent->settings->admin_socket, STATUS_S);
    pthread_mutex_lock(&live->lock);
    while (!live->stopping) {
        now_ns = vgpu_clock_ns();
        if (live->n_state_streams > 0 || !live->up ||
            now_ns - sampled_ns >= HISTORY_STEP_S * VGPU_NS_PER_S) {
            sample_unlocked(live, &backend);
            sampled_ns = now_ns;
        }
        if (live->n_state_streams == 0)
            live->wanted = live->hurried = false;
        streams_tick(live);
        wait_until(live, now_ns + APART_NS, false);
        wait_until(live, now_ns + VGPU_NS_PER_S, true);
    }
    pthread_mutex_unlock(&live->lock);
    backend_release(&backend);
    return NULL;
}

/* Where in `events` we are. */
struct follower {
    struct live *live;
    struct backend backend;
    char boot[LIVE_ID_BYTES / 2];
    json_int_t next; /* -1: from now on */
};

/* Under the lock. */
static void add_event(struct live *live, const char *id, struct live_text *text)
{
    struct live_event *event = &live->events[++live->event_seq % LIVE_EVENTS_KEPT];

    live_text_drop(event->text);
    event->text = text;
    snprintf(event->id, sizeof(event->id), "%s", id);
}

static void add_gap(struct live *live)
{
    struct live_text *text = text_new("gap", NULL, "{}");

    if (text)
        add_event(live, "", text);
}

static void add_each(struct follower *follower, const json_t *events)
{
    char id[LIVE_ID_BYTES];
    const json_t *event;
    size_t i;

    json_array_foreach (events, i, event) {
        char *data = json_dumps(event, STORE_JSON_FLAGS);
        struct live_text *text;

        snprintf(id, sizeof(id), "%s:%" JSON_INTEGER_FORMAT, follower->boot,
                 json_integer_value(json_object_get(event, "seq")));
        text = data ? text_new("event", id, data) : NULL;
        if (text)
            add_event(follower->live, id, text);
        free(data);
    }
}

static void take_events(struct follower *follower, const json_t *result)
{
    const json_t *events = json_object_get(result, "events");
    const char *boot = json_string_value(json_object_get(result, "boot"));
    json_int_t first = json_integer_value(json_object_get(result, "first"));
    struct live *live = follower->live;
    bool again = follower->next >= 0 && boot && strcmp(boot, follower->boot) != 0;

    pthread_mutex_lock(&live->lock);
    set_up(live, true, NULL);
    if (boot)
        snprintf(follower->boot, sizeof(follower->boot), "%s", boot);
    if (again || (follower->next >= 0 && first > follower->next + 1))
        add_gap(live);
    if (again) {
        follower->next = 0; /* what it has noted since it began */
    } else {
        add_each(follower, events);
        live->hurried = live->n_state_streams > 0 && json_array_size(events) > 0;
        pthread_cond_signal(&live->wake);
        follower->next = json_integer_value(json_object_get(result, "next"));
    }
    streams_wake(live);
    pthread_mutex_unlock(&live->lock);
}

/* What events answers, or how long to wait until it is asked again. */
static uint64_t follow(struct follower *follower)
{
    json_t *args = json_pack("{s:i, s:i}", "limit", EVENTS_LIMIT, "wait_ms", WAIT_MS);
    struct backend_error error;
    uint64_t pause_ns = 0;
    json_t *request, *result;

    if (follower->next >= 0)
        json_object_set_new(args, "after", json_integer(follower->next));
    else
        json_object_set_new(args, "wait_ms", json_integer(0));
    request = json_pack("{s:s, s:o}", "command", "events", "args", args);
    if (backend_ask(&follower->backend, request, &result, &error) == 0) {
        take_events(follower, result);
        json_decref(result);
    } else {
        pause_ns = error.down ? RETRY_NS : UNKNOWN_NS;
        pthread_mutex_lock(&follower->live->lock);
        if (error.down)
            set_up(follower->live, false, error.text);
        pthread_mutex_unlock(&follower->live->lock);
    }
    json_decref(request);
    return pause_ns;
}

static void *following_thread(void *context)
{
    struct live *live = context;
    struct follower follower = {.live = live, .next = -1};

    backend_init(&follower.backend, live->agent->settings->admin_socket, EVENTS_S);
    pthread_mutex_lock(&live->lock);
    while (!live->stopping) {
        uint64_t pause_ns;

        pthread_mutex_unlock(&live->lock);
        pause_ns = follow(&follower);
        pthread_mutex_lock(&live->lock);
        if (pause_ns > 0)
            pause_for(live, pause_ns);
    }
    pthread_mutex_unlock(&live->lock);
    backend_release(&follower.backend);
    return NULL;
}

int live_start(struct live *live, struct vgpu_err *err)
{
    void *(*const bodies[])(void *) = {sampling_thread, following_thread};

    for (unsigned i = 0; i < 2; i++) {
        int rc = pthread_create(&live->threads[i], NULL, bodies[i], live);

        if (rc)
            return vgpu_err_set(err, rc, "cannot start a thread: %s", strerror(rc));
        live->n_threads++;
    }
    return 0;
}

void live_stop(struct live *live)
{
    pthread_mutex_lock(&live->lock);
    live->stopping = true;
    pthread_cond_broadcast(&live->wake);
    pthread_cond_broadcast(&live->ended);
    streams_wake(live);
    pthread_mutex_unlock(&live->lock);
    for (unsigned i = 0; i < live->n_threads; i++)
        pthread_join(live->threads[i], NULL);
    live->n_threads = 0;
}

void live_release(struct live *live)
{
    for (unsigned i = 0; i < LIVE_EVENTS_KEPT; i++)
        live_text_drop(live->events[i].text);
    live_text_drop(live->state);
    free(live->shown);
    json_decref(live->status);
    history_release(&live->history);
    pthread_cond_destroy(&live->wake);
    pthread_cond_destroy(&live->ended);
    pthread_mutex_destroy(&live->lock);
}

bool live_is_up(struct live *live)
{
    bool up;

    pthread_mutex_lock(&live->lock);
    up = live->up;
    pthread_mutex_unlock(&live->lock);
    return up;
}

json_t *live_last_status(struct live *live)
{
    json_t *status;

    pthread_mutex_lock(&live->lock);
    status = json_deep_copy(live->status);
    pthread_mutex_unlock(&live->lock);
    return status;
}

void history_get(struct call *call)
{
    int64_t minutes = 60, step = 30, vm_id = 0;
    struct live *live = &call->agent->live;
    struct vgpu_err err;
    size_t size = 0;
    char *text;

    if (request_query_integer(&call->request, "minutes", 1, 60, &minutes, &err) < 0 ||
        request_query_integer(&call->request, "step", HISTORY_STEP_S, 600, &step, &err) < 0 ||
        request_query_integer(&call->request, "vm_id", 1, INT32_MAX, &vm_id, &err) < 0) {
        reply_problem(&call->reply, 400, "invalid", "%s", err.text);
        return;
    }
    if (step % HISTORY_STEP_S) {
        reply_problem(&call->reply, 400, "invalid", "step must be a multiple of %d",
                      HISTORY_STEP_S);
        return;
    }
    pthread_mutex_lock(&live->lock);
    text = history_text(&live->history, time(NULL), (unsigned)minutes, (unsigned)step,
                        (uint32_t)vm_id, &size);
    pthread_mutex_unlock(&live->lock);
    reply_text(&call->reply, 200, "application/json", text, size);
}
