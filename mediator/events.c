/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/events.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "common/clock.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "mediator/mediator.h"

/* Of each VM; guests can connect and fail as often as they like. */
#define GUEST_BURST       16
#define GUEST_INTERVAL_NS VGPU_NS_PER_S
/* More members than that of one change are not named. */
#define SHOWN_MEMBERS_MAX 4
/* Nor, one by one, more changes of one request: it may move a thousand VMs. */
#define CHANGES_TOLD_MAX 32

struct event_kept {
    enum event_kind kind;
    enum event_severity severity;
    uint32_t vm_id, gpu_id;
    struct timespec time;
    char pool[CONFIG_NAME_BYTES]; /* empty: none */
    char text[EVENT_TEXT_BYTES];
};

const char *event_kind_name(enum event_kind kind)
{
    static const char *const names[EVENT_N_KINDS] = {
        [EVENT_CONFIG_CHANGED] = "config-changed",   [EVENT_VM_CONNECTED] = "vm-connected",
        [EVENT_VM_DISCONNECTED] = "vm-disconnected", [EVENT_VM_QUARANTINED] = "vm-quarantined",
        [EVENT_VM_RELEASED] = "vm-released",         [EVENT_FAULT] = "fault",
        [EVENT_GPU_MISSING] = "gpu-missing",         [EVENT_GPU_RETURNED] = "gpu-returned",
        [EVENT_GPU_HEALTH] = "gpu-health",           [EVENT_GPU_DRAINED] = "gpu-drained",
        [EVENT_GPU_RESUMED] = "gpu-resumed",         [EVENT_MEDIATOR_STARTED] = "mediator-started",
        [EVENT_HELPER_LOST] = "helper-lost",         [EVENT_HELPER_BACK] = "helper-back",
        [EVENT_NOT_STORED] = "not-stored",           [EVENT_CHANNEL_REFUSED] = "channel-refused",
    };

    return names[kind];
}

/* Whoever is told may wait again at once, for what comes next, and may be gone. */
static void wake(void *context)
{
    struct events *events = context;

    events->waking = events->waiters;
    events->waiters = NULL;
    while (events->waking) {
        struct event_waiter *waiter = events->waking;

        events->waking = waiter->next;
        loop_timer_clear(events->loop, &waiter->late);
        waiter->ready(waiter->context);
    }
}

int events_init(struct events *events, struct loop *loop)
{
    uint64_t boot = 0;

    *events = (struct events){.loop = loop, .wake = {.fire = wake, .context = events}};
    events->kept = calloc(EVENTS_KEPT, sizeof(*events->kept));
    if (!events->kept)
        return -ENOMEM;
    if (getrandom(&boot, sizeof(boot), 0) != sizeof(boot))
        boot = loop_now(loop);
    snprintf(events->boot, sizeof(events->boot), "%016" PRIx64, boot);
    return 0;
}

void events_release(struct events *events)
{
    if (!events->loop)
        return;
    loop_timer_clear(events->loop, &events->wake);
    free(events->kept);
    events->kept = NULL;
}

static bool is_utf8(const char *text)
{
    json_t *string = json_string(text);

    json_decref(string);
    return string != NULL;
}

/* A copy that JSON takes: cut between characters, and without what is no UTF-8. */
static void keep_text(char *buffer, size_t size, const char *text)
{
    size_t length = (size_t)snprintf(buffer, size, "%s", text);

    for (int i = 0; length >= size && i < 3 && !is_utf8(buffer); i++)
        buffer[size - 2 - (size_t)i] = '\0';
    if (is_utf8(buffer))
        return;
    for (char *c = buffer; *c; c++)
        if (*c & 0x80)
            *c = '?';
}

void events_add(struct mediator *mediator, const struct event *event)
{
    struct events *events = &mediator->events;
    struct event_kept *kept;

    if (!events->kept)
        return;
    kept = &events->kept[++events->last % EVENTS_KEPT];
    kept->kind = event->kind;
    kept->severity = event->severity;
    kept->vm_id = event->vm_id;
    kept->gpu_id = event->gpu_id;
    keep_text(kept->pool, sizeof(kept->pool), event->pool ? event->pool : "");
    keep_text(kept->text, sizeof(kept->text), event->text);
    clock_gettime(CLOCK_REALTIME, &kept->time);
    /* Not from here: whoever is told may end, in the middle of what its asker does. */
    if (events->waiters)
        loop_timer_set(events->loop, &events->wake, loop_now(events->loop));
}

void events_add_guest(struct vm *vm, enum event_kind kind, enum event_severity severity,
                      const char *text)
{
    struct event event = {.kind = kind,
                          .severity = severity,
                          .vm_id = vm->config.id,
                          .gpu_id = EVENT_NO_GPU,
                          .pool = vm->config.pool,
                          .text = text};
    char longer[EVENT_TEXT_BYTES];
    uint32_t held_back = 0;

    if (!vgpu_log_allowed(&vm->event_limit, loop_now(vm->mediator->loop), GUEST_BURST,
                          GUEST_INTERVAL_NS, &held_back))
        return;
    if (held_back) {
        snprintf(longer, sizeof(longer),
                 "%.200s (%" PRIu32 " events of this VM before it were not"
                 " kept)",
                 text, held_back);
        event.text = longer;
    }
    events_add(vm->mediator, &event);
}

/* What the store's answers say */

struct line {
    char text[EVENT_TEXT_BYTES];
    size_t used;
};

static void append(struct line *line, const char *text)
{
    size_t room = sizeof(line->text) - line->used, length = strlen(text);

    if (length >= room)
        length = room - 1;
    memcpy(line->text + line->used, text, length);
    line->used += length;
    line->text[line->used] = '\0';
}

static void append_value(struct line *line, const json_t *value)
{
    char *text = json_is_string(value)
                     ? NULL
                     : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6));

    append(line, json_is_string(value) ? json_string_value(value) : text ? text : "?");
    free(text);
}

/* Members that follow from others, or from the fact that there was a change. */
static bool goes_without_saying(const char *member)
{
    static const char *const names[] = {"updated", "last_seen", "revision", "quarantine_time"};

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(names); i++)
        if (strcmp(names[i], member) == 0)
            return true;
    return false;
}

/* "weight 50.0 -> 80.0, pool A -> B" */
static void append_difference(struct line *line, json_t *from, const json_t *to)
{
    const json_t *old, *new;
    const char *member;
    unsigned shown = 0;

    json_object_foreach (from, member, old) {
        new = json_object_get(to, member);
        if (!new || json_equal(old, new) || goes_without_saying(member))
            continue;
        if (++shown > SHOWN_MEMBERS_MAX) {
            append(line, ", ...");
            return;
        }
        append(line, shown > 1 ? ", " : "");
        append(line, member);
        append(line, " ");
        append_value(line, old);
        append(line, " -> ");
        append_value(line, new);
    }
}

static void add_change(struct mediator *mediator, const json_t *change, const char *who)
{
    const char *object = json_string_value(json_object_get(change, "object"));
    const char *key = json_string_value(json_object_get(change, "key"));
    json_t *from = json_object_get(change, "from"), *to = json_object_get(change, "to");
    struct line line = {.used = 0};
    struct event event = {.kind = EVENT_CONFIG_CHANGED, .gpu_id = EVENT_NO_GPU};
    const json_t *whole = json_is_object(to) ? to : from;
    const json_t *gpu_id = json_object_get(whole, "gpu_id");

    if (!object || !key)
        return;
    append(&line, object);
    append(&line, " ");
    append(&line, key);
    append(&line, json_is_object(from) && json_is_object(to) ? ": " : "");
    if (!json_is_object(from))
        append(&line, " added");
    else if (!json_is_object(to))
        append(&line, " removed");
    else
        append_difference(&line, from, to);
    append(&line, " by ");
    append(&line, who);
    /* Of many changes at once only what differs is told, of which the id is none. */
    if (strcmp(object, "vm") == 0)
        event.vm_id = (uint32_t)strtoul(key, NULL, 10);
    if (json_is_integer(gpu_id))
        event.gpu_id = (uint32_t)json_integer_value(gpu_id);
    event.pool = json_string_value(json_object_get(whole, "pool"));
    event.text = line.text;
    events_add(mediator, &event);
}

/* Of the GPUs that a scan named in one of its lists. */
static void add_scanned(struct mediator *mediator, const json_t *ids, enum event_kind kind,
                        enum event_severity severity, const char *what)
{
    const json_t *id;
    size_t i;

    json_array_foreach (ids, i, id) {
        struct event event = {
            .kind = kind, .severity = severity, .gpu_id = (uint32_t)json_integer_value(id)};
        const struct config_gpu *gpu = config_gpu(mediator->config, event.gpu_id);
        char text[EVENT_TEXT_BYTES];

        snprintf(text, sizeof(text), "GPU %" PRIu32 " (%s) %s", event.gpu_id, gpu ? gpu->uuid : "?",
                 what);
        event.text = text;
        events_add(mediator, &event);
    }
}

void events_add_changes(struct mediator *mediator, const json_t *answer)
{
    const char *command = json_string_value(json_object_get(answer, "command"));
    const char *who = json_string_value(json_object_get(answer, "who"));
    const json_t *result = json_object_get(answer, "result"), *change;
    const json_t *changes = json_object_get(result, "changes");
    char text[EVENT_TEXT_BYTES];
    const struct event rest = {.kind = EVENT_CONFIG_CHANGED, .gpu_id = EVENT_NO_GPU, .text = text};
    size_t i;

    if (!command || !who || strcmp(command, "record-fault") == 0) /* fault.c tells of those */
        return;
    if (strcmp(command, "record-gpus") == 0) {
        add_scanned(mediator, json_object_get(result, "added"), EVENT_GPU_RETURNED, EVENT_INFO,
                    "was found for the first time");
        add_scanned(mediator, json_object_get(result, "missing"), EVENT_GPU_MISSING, EVENT_ERROR,
                    "was not found");
        add_scanned(mediator, json_object_get(result, "returned"), EVENT_GPU_RETURNED, EVENT_INFO,
                    "is there again");
        add_scanned(mediator, json_object_get(result, "moved"), EVENT_GPU_RETURNED, EVENT_WARNING,
                    "is at another PCI address");
        return;
    }
    json_array_foreach (changes, i, change)
        if (i < CHANGES_TOLD_MAX)
            add_change(mediator, change, who);
    if (i <= CHANGES_TOLD_MAX)
        return;
    snprintf(text, sizeof(text), "%s: %zu more changes by %s", command, i - CHANGES_TOLD_MAX, who);
    events_add(mediator, &rest);
}

/* The answer */

static json_t *event_json(uint64_t seq, const struct event_kept *kept)
{
    static const char *const severities[] = {"info", "warning", "error"};
    double time = (double)kept->time.tv_sec +
                  (double)(kept->time.tv_nsec / 1000000) / 1000; /* milliseconds */

    return json_pack("{s:I, s:f, s:s, s:s, s:o, s:o, s:s?, s:s}", "seq", (json_int_t)seq, "time",
                     time, "kind", event_kind_name(kept->kind), "severity",
                     severities[kept->severity], "vm_id",
                     kept->vm_id ? json_integer(kept->vm_id) : json_null(), "gpu_id",
                     kept->gpu_id != EVENT_NO_GPU ? json_integer(kept->gpu_id) : json_null(),
                     "pool", kept->pool[0] ? kept->pool : NULL, "text", kept->text);
}

json_t *events_list(const struct events *events, uint64_t after, unsigned limit)
{
    uint64_t first = events->last > EVENTS_KEPT ? events->last - EVENTS_KEPT + 1 : 1;
    uint64_t seq = after + 1 > first ? after + 1 : first;
    json_t *list = json_array();

    if (after > events->last) /* of another mediator: its asker sees that by `boot` */
        seq = events->last + 1;
    for (; list && seq <= events->last && json_array_size(list) < limit; seq++)
        if (json_array_append_new(list, event_json(seq, &events->kept[seq % EVENTS_KEPT])) < 0) {
            json_decref(list);
            return NULL;
        }
    return json_pack("{s:s, s:I, s:I, s:o}", "boot", events->boot, "first", (json_int_t)first,
                     "next", (json_int_t)(seq - 1), "events", list);
}

/* Waiting */

static bool unlink_from(struct event_waiter **at, const struct event_waiter *waiter)
{
    while (*at && *at != waiter)
        at = &(*at)->next;
    if (!*at)
        return false;
    *at = waiter->next;
    return true;
}

void events_forget(struct events *events, struct event_waiter *waiter)
{
    if (unlink_from(&events->waiters, waiter) || unlink_from(&events->waking, waiter))
        loop_timer_clear(events->loop, &waiter->late);
}

static void late(void *context)
{
    struct event_waiter *waiter = context;

    events_forget(waiter->events, waiter);
    waiter->ready(waiter->context);
}

int events_wait(struct events *events, struct event_waiter *waiter, uint64_t wait_ns)
{
    int rc;

    waiter->events = events;
    waiter->late = (struct loop_timer){.fire = late, .context = waiter};
    rc = loop_timer_set(events->loop, &waiter->late, loop_now(events->loop) + wait_ns);
    if (rc < 0)
        return rc;
    waiter->next = events->waiters;
    events->waiters = waiter;
    return 0;
}
