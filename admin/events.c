/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vgpu-admin events: what happened lately, and with --follow what happens. A mediator that restarts
 * is waited for; its numbers begin again, which its boot id tells.
 */
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "admin/client.h"
#include "admin/colour.h"
#include "admin/commands.h"
#include "admin/show.h"
#include "admin/table.h"

#define PAGE_EVENTS  256
#define WAIT_MS      20000 /* for one answer; less than a client waits for any */
#define RETRY_MS     200
#define KIND_WIDTH   16
#define OBJECT_WIDTH 6
#define OBJECT_BYTES (SHOW_BYTES + 8) /* a noun, and what show_member() gives */
#define FILTER_BYTES 256

static const struct command_option options[] = {
    {.name = "follow",
     .kind = OPTION_FLAG,
     .key = "follow",
     .help = "show what happens from now on (or from --after on), until interrupted",
     .local = true},
    {.name = "after",
     .kind = OPTION_INTEGER,
     .metavar = "N",
     .key = "after",
     .help = "only events with a number above this",
     .local = true},
    {.name = "kind",
     .kind = OPTION_TEXT,
     .metavar = "KIND[,KIND]",
     .key = "kind",
     .help = "only events of these kinds",
     .local = true},
    {.name = NULL},
};

/* docs/spec/admin.md; a test compares them with docs/spec/schema/event.json. */
const char *const event_kinds[] = {
    "config-changed",  "vm-connected", "vm-disconnected",  "vm-quarantined", "vm-released",
    "channel-refused", "fault",        "gpu-missing",      "gpu-returned",   "gpu-health",
    "gpu-drained",     "gpu-resumed",  "mediator-started", "helper-lost",    "helper-back",
    "not-stored",      NULL,
};

/* Where reading stands. */
struct reader {
    const struct invocation *invocation;
    const char *kinds; /* NULL: all */
    bool follow;
    json_int_t after; /* -1: what comes from now on */
    char boot[64];    /* empty: not asked yet */
};

static bool is_kind(const char *word, size_t size)
{
    for (const char *const *kind = event_kinds; *kind; kind++)
        if (strlen(*kind) == size && strncmp(*kind, word, size) == 0)
            return true;
    return false;
}

/* A word of the list that is no kind would find nothing, for ever. */
static int check_kinds(const char *list, struct vgpu_err *err)
{
    for (const char *at = list;; at++) {
        size_t size = strcspn(at, ",");

        if (!is_kind(at, size))
            return vgpu_err_set(err, EINVAL,
                                "--kind: there are no events of kind '%.*s'; see vgpu-admin(1)",
                                (int)(size < FILTER_BYTES ? size : FILTER_BYTES), at);
        at += size;
        if (!*at)
            return 0;
    }
}

static bool is_wanted(const struct reader *reader, const json_t *event)
{
    const char *kind = json_string_value(json_object_get(event, "kind"));
    size_t size = kind ? strlen(kind) : 0;

    for (const char *at = reader->kinds; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        if (size > 0 && strncmp(at, kind, size) == 0 && (at[size] == ',' || !at[size]))
            return true;
    return !reader->kinds;
}

static void show_moment(const json_t *value, char text[SHOW_BYTES])
{
    /* To the millisecond, which is how they are told. */
    double ms = round(json_number_value(value) * 1000);
    time_t time = (time_t)floor(ms / 1000);
    char head[32];
    struct tm local;

    if (!json_is_number(value) || !localtime_r(&time, &local) ||
        strftime(head, sizeof(head), "%Y-%m-%d %H:%M:%S", &local) == 0)
        snprintf(text, SHOW_BYTES, "-");
    else
        snprintf(text, SHOW_BYTES, "%s.%03.0f", head, ms - (double)time * 1000);
}

/* Whom it is about; "-" where it is nobody of these. */
static const char *show_object(const json_t *event, char text[OBJECT_BYTES])
{
    static const struct {
        const char *member, *noun;
    } objects[] = {{"vm_id", "VM"}, {"gpu_id", "GPU"}, {"pool", "pool"}};
    char name[SHOW_BYTES];

    snprintf(text, OBJECT_BYTES, "-");
    for (size_t i = 0; i < sizeof(objects) / sizeof(objects[0]); i++)
        if (!json_is_null(json_object_get(event, objects[i].member)) &&
            json_object_get(event, objects[i].member)) {
            show_member(event, objects[i].member, name);
            table_clean(name);
            snprintf(text, OBJECT_BYTES, "%s %s", objects[i].noun, name);
            break;
        }
    return text;
}

static void print_event(const json_t *event)
{
    const char *severity = json_string_value(json_object_get(event, "severity"));
    enum colour colour = colour_of_state(severity ? severity : "");
    char number[SHOW_BYTES], when[SHOW_BYTES], kind[SHOW_BYTES], object[OBJECT_BYTES];
    char text[SHOW_SENTENCE_BYTES];

    show_moment(json_object_get(event, "time"), when);
    show_member(event, "kind", kind);
    table_clean(kind);
    printf("%5s  %s  ", show_member(event, "seq", number), when);
    colour_begin(stdout, colour);
    printf("%-*s", KIND_WIDTH, kind);
    colour_end(stdout, colour);
    printf("  %-*s  %s\n", OBJECT_WIDTH, show_object(event, object),
           show_sentence(event, "text", text));
}

static void print_line(const struct reader *reader, const json_t *event)
{
    if (!reader->invocation->json) {
        print_event(event);
        return;
    }
    json_dumpf(event, stdout, JSON_COMPACT | JSON_REAL_PRECISION(15));
    putchar('\n');
}

static void say(const char *text)
{
    fprintf(stderr, "vgpu-admin: events: %s\n", text);
}

/* One request; *ret_page is the caller's to release. */
static int ask(const struct reader *reader, struct client *client, int wait_ms, json_t **ret_page,
               struct vgpu_err *err)
{
    _cleanup_json_ json_t *args = json_pack("{s:i, s:i}", "limit", PAGE_EVENTS, "wait_ms", wait_ms);

    if (!args ||
        (reader->after >= 0 && json_object_set_new(args, "after", json_integer(reader->after)) < 0))
        return vgpu_err_set(err, ENOMEM, "out of memory");
    return client_call(client, "events", args, ret_page, err);
}

/*
 * Takes the page in. True: it is another mediator's than the one before, whose numbers say nothing
 * here, and is to be asked for anew.
 */
static bool is_restarted(struct reader *reader, const json_t *page)
{
    const char *boot = json_string_value(json_object_get(page, "boot"));
    bool restarted = reader->boot[0] && boot && strcmp(boot, reader->boot) != 0;

    snprintf(reader->boot, sizeof(reader->boot), "%s", boot ? boot : "");
    if (restarted) {
        say("another mediator runs; these are its events from the first on");
        reader->after = 0;
    }
    return restarted;
}

static void say_missed(const struct reader *reader, const json_t *page)
{
    json_int_t first = json_integer_value(json_object_get(page, "first"));
    char text[64];

    if (reader->after < 0 || first <= reader->after + 1)
        return;
    snprintf(text, sizeof(text), "%lld events before are no longer kept",
             (long long)(first - reader->after - 1));
    say(text);
}

/* Shows or (where all is not NULL) keeps the wanted events, and moves on. Their number. */
static size_t take_page(struct reader *reader, const json_t *page, json_t *all)
{
    json_t *events = json_object_get(page, "events"), *event;
    size_t i;

    say_missed(reader, page);
    json_array_foreach (events, i, event) {
        if (!json_is_object(event) || !is_wanted(reader, event))
            continue;
        json_object_set_new(event, "boot", json_string(reader->boot));
        if (all)
            json_array_append(all, event);
        else
            print_line(reader, event);
    }
    reader->after = json_integer_value(json_object_get(page, "next"));
    return json_array_size(events);
}

/* What there is. */
static int read_all(struct reader *reader, struct client *client, struct vgpu_err *err)
{
    bool json = reader->invocation->json;
    _cleanup_json_ json_t *all = json ? json_array() : NULL;
    _cleanup_json_ json_t *page = NULL;
    size_t n;

    do {
        int rc;

        json_decref(page);
        page = NULL;
        if ((rc = ask(reader, client, 0, &page, err)) < 0)
            return rc;
        is_restarted(reader, page);
        n = take_page(reader, page, all);
    } while (n == PAGE_EVENTS);
    if (json) {
        json_object_set(page, "events", all);
        client_print_json(page);
    }
    return 0;
}

/* Until the connection breaks (0), or there is an error that waiting does not mend. */
static int follow_connection(struct reader *reader, struct client *client, struct vgpu_err *err)
{
    int wait_ms = 0;

    for (;;) {
        _cleanup_json_ json_t *page = NULL;
        int rc = ask(reader, client, wait_ms, &page, err);

        if (rc == -ECONNRESET || rc == -ETIMEDOUT)
            return 0;
        if (rc < 0)
            return rc;
        if (is_restarted(reader, page))
            continue;
        take_page(reader, page, NULL);
        if (fflush(stdout) != 0)
            return vgpu_err_set(err, EIO, "cannot write to standard output");
        wait_ms = WAIT_MS;
    }
}

/* Again and again, for the mediator to come back. */
static int reconnect(const struct reader *reader, struct client *client, struct vgpu_err *err)
{
    bool said = false;
    int rc;

    while ((rc = client_open_mediator(client, reader->invocation, err)) < 0) {
        if (rc != -ENOENT && rc != -ECONNREFUSED)
            return rc;
        if (!said)
            say("the mediator is gone; waiting for another");
        said = true;
        poll(NULL, 0, RETRY_MS);
    }
    return 0;
}

static int follow(struct reader *reader, struct client *client, struct vgpu_err *err)
{
    int rc;

    while ((rc = follow_connection(reader, client, err)) == 0) {
        client_close(client);
        if ((rc = reconnect(reader, client, err)) < 0)
            return rc;
    }
    return rc;
}

static int run(const struct invocation *invocation, struct vgpu_err *err)
{
    const json_t *after = json_object_get(invocation->local, "after");
    struct reader reader = {.invocation = invocation,
                            .kinds = json_string_value(json_object_get(invocation->local, "kind")),
                            .follow = json_object_get(invocation->local, "follow") != NULL};
    struct client client = {.fd = -1};
    int rc;

    if (reader.kinds && (rc = check_kinds(reader.kinds, err)) < 0)
        return rc;
    if (after && json_integer_value(after) < 0)
        return vgpu_err_set(err, EINVAL, "--after is below 0");
    reader.after = after ? json_integer_value(after) : reader.follow ? -1 : 0;
    if ((rc = client_open_mediator(&client, invocation, err)) < 0)
        return rc;
    rc = reader.follow ? follow(&reader, &client, err) : read_all(&reader, &client, err);
    client_close(&client);
    return rc;
}

const struct command command_events = {
    .name = "events",
    .summary = "show what happened lately, or what happens",
    .options = options,
    .run = run,
};
