/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-admin audit: who changed what, from what to what. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "admin/change.h"
#include "admin/client.h"
#include "admin/commands.h"
#include "admin/show.h"
#include "admin/table.h"
#include "store/store.h"
#include "store/text.h"

#define LIMIT_DEFAULT 50
#define LIMIT_MAX     STORE_AUDIT_ROWS_MAX
#define PAGE_MAX      1000
#define KEY_BYTES     24

static const struct command_option options[] = {
    {.name = "vm",
     .kind = OPTION_TEXT,
     .metavar = "VM",
     .key = "vm",
     .help = "only changes of this VM; one that was removed, by its id",
     .local = true},
    {.name = "pool",
     .kind = OPTION_TEXT,
     .metavar = "POOL",
     .key = "pool",
     .help = "only changes of this pool",
     .local = true},
    {.name = "gpu-id",
     .kind = OPTION_INTEGER,
     .metavar = "ID",
     .key = "gpu_id",
     .help = "only changes of this GPU",
     .local = true},
    {.name = "after",
     .kind = OPTION_INTEGER,
     .metavar = "NUMBER",
     .key = "after",
     .help = "those that follow this one, by the first column (the newest)"},
    {.name = "limit",
     .kind = OPTION_INTEGER,
     .metavar = "ROWS",
     .key = "limit",
     .help = "at most so many: 1 to 100000 (50)"},
    {.name = NULL},
};

static int set_filter(json_t *args, const char *object, const char *key, struct vgpu_err *err)
{
    if (json_object_get(args, "object"))
        return vgpu_err_set(err, EINVAL, "only one of --vm, --pool and --gpu-id can be given");
    if (json_object_set_new(args, "object", json_string(object)) < 0 ||
        json_object_set_new(args, "key", json_string(key)) < 0)
        return vgpu_err_set(err, ENOMEM, "out of memory");
    return 0;
}

/* An id is taken as it is, since a VM that was removed has a history; others are looked up. */
static int filter_vm(struct client *client, json_t *args, const char *vm, struct vgpu_err *err)
{
    _cleanup_json_ json_t *naming = json_pack("{s:s}", "vm", vm);
    _cleanup_json_ json_t *shown = NULL;
    char key[KEY_BYTES];
    int64_t number;
    int rc;

    if (text_decimal(vm, &number))
        return set_filter(args, "vm", vm, err);
    rc = client_call(client, "show-vm", naming, &shown, err);
    if (rc < 0)
        return rc;
    snprintf(key, sizeof(key), "%lld",
             (long long)json_integer_value(json_object_get(json_object_get(shown, "vm"), "vm_id")));
    return set_filter(args, "vm", key, err);
}

static int read_filters(struct client *client, const struct invocation *invocation, json_t *args,
                        struct vgpu_err *err)
{
    const char *vm = json_string_value(json_object_get(invocation->local, "vm"));
    const char *pool = json_string_value(json_object_get(invocation->local, "pool"));
    const json_t *gpu_id = json_object_get(invocation->local, "gpu_id");
    char key[KEY_BYTES];
    int rc = vm ? filter_vm(client, args, vm, err) : 0;

    if (rc == 0 && pool)
        rc = set_filter(args, "pool", pool, err);
    if (rc < 0 || !gpu_id)
        return rc;
    snprintf(key, sizeof(key), "%lld", (long long)json_integer_value(gpu_id));
    return set_filter(args, "gpu", key, err);
}

/* What a line says before the change itself. */
struct line {
    char seq[KEY_BYTES], time[32];
    char who[SHOW_BYTES], command[SHOW_BYTES], name[CHANGE_NAME_BYTES];
};

static void read_line(const json_t *entry, struct line *line)
{
    const char *object = json_string_value(json_object_get(entry, "object"));
    const char *key = json_string_value(json_object_get(entry, "key"));
    time_t time = (time_t)json_integer_value(json_object_get(entry, "time"));
    struct tm tm = {0};

    localtime_r(&time, &tm);
    strftime(line->time, sizeof(line->time), "%Y-%m-%d %H:%M:%S", &tm);
    snprintf(line->seq, sizeof(line->seq), "%lld",
             (long long)json_integer_value(json_object_get(entry, "seq")));
    show_member(entry, "who", line->who);
    show_member(entry, "command", line->command);
    table_clean(line->who);
    table_clean(line->command);
    change_name(object ? object : "-", key ? key : "-", json_object_get(entry, "before"),
                json_object_get(entry, "after"), line->name);
}

static int wider(int width, const char *text)
{
    int size = (int)strlen(text);

    return size > width ? size : width;
}

static void print(const json_t *result)
{
    const json_t *audit = json_object_get(result, "audit"), *entry;
    int seq = 0, who = 0, command = 0, name = 0;
    char change[CHANGE_BYTES];
    struct line line;
    size_t i;

    if (json_array_size(audit) == 0)
        puts("no changes");
    json_array_foreach (audit, i, entry) {
        read_line(entry, &line);
        seq = wider(seq, line.seq);
        who = wider(who, line.who);
        command = wider(command, line.command);
        name = wider(name, line.name);
    }
    json_array_foreach (audit, i, entry) {
        read_line(entry, &line);
        change_describe(json_object_get(entry, "before"), json_object_get(entry, "after"), change);
        printf("%*s  %s  %-*s  %-*s  %-*s  %s\n", seq, line.seq, line.time, who, line.who, command,
               line.command, name, line.name, change);
    }
}

/* Puts a page behind what there is, or, of one that goes backwards, before it. */
static int merge(json_t *result, const json_t *page, bool backwards)
{
    const json_t *rows = json_object_get(page, "audit");
    json_t *all = json_object_get(result, "audit");

    for (size_t i = json_array_size(rows); backwards && i-- > 0;)
        if (json_array_insert(all, 0, json_array_get(rows, i)) < 0)
            return -ENOMEM;
    if (backwards)
        return 0;
    json_object_set(result, "next", json_object_get(page, "next"));
    return json_array_extend(all, (json_t *)(uintptr_t)rows);
}

/* Asks for the page that goes on from result, which has some rows. */
static int go_on(json_t *args, const json_t *result, bool backwards, size_t left)
{
    const json_t *first = json_array_get(json_object_get(result, "audit"), 0);

    return json_object_set_new(args, "limit",
                               json_integer((json_int_t)(left < PAGE_MAX ? left : PAGE_MAX))) ||
           (backwards ? json_object_set(args, "before", json_object_get(first, "seq"))
                      : json_object_set(args, "after", json_object_get(result, "next")));
}

/* An answer has as many rows as fit: they are asked for until there are enough, or no more. */
static int fetch(struct client *client, json_t *args, size_t limit, json_t **ret_result,
                 struct vgpu_err *err)
{
    bool backwards = !json_object_get(args, "after");
    _cleanup_json_ json_t *result = json_pack("{s:[], s:i}", "audit", "next", 0);
    size_t had, have = 0;

    if (json_object_set_new(args, "limit",
                            json_integer((json_int_t)(limit < PAGE_MAX ? limit : PAGE_MAX))))
        return vgpu_err_set(err, ENOMEM, "out of memory");
    do {
        _cleanup_json_ json_t *page = NULL;
        int rc = client_call(client, "list-audit", args, &page, err);

        if (rc < 0)
            return rc;
        if (have == 0)
            json_object_set(result, "next", json_object_get(page, "next"));
        had = have;
        if (merge(result, page, backwards) < 0)
            return vgpu_err_set(err, ENOMEM, "out of memory");
        have = json_array_size(json_object_get(result, "audit"));
        if (have < limit && have > 0 && go_on(args, result, backwards, limit - have))
            return vgpu_err_set(err, ENOMEM, "out of memory");
    } while (have < limit && have > had);
    *ret_result = vgpu_steal_ptr(&result);
    return 0;
}

/* False: out of range. */
static bool take_limit(const json_t *args, size_t *ret_limit)
{
    const json_t *given = json_object_get(args, "limit");
    json_int_t limit = given ? json_integer_value(given) : LIMIT_DEFAULT;

    *ret_limit = (size_t)limit;
    return limit >= 1 && limit <= LIMIT_MAX;
}

static int run(const struct invocation *invocation, struct vgpu_err *err)
{
    json_t *args = invocation->args;
    _cleanup_json_ json_t *result = NULL;
    struct client client;
    size_t limit;
    int rc;

    if (!take_limit(args, &limit))
        return vgpu_err_set(err, EINVAL, "the limit is not 1 to %d", LIMIT_MAX);
    rc = client_open(&client, invocation, err);
    if (rc < 0)
        return rc;
    rc = read_filters(&client, invocation, args, err);
    if (rc == 0)
        rc = fetch(&client, args, limit, &result, err);
    if (rc == 0 && client_is_offline(&client))
        client_say_offline(result);
    client_close(&client);
    if (rc == 0)
        client_print(invocation, result);
    return rc;
}

const struct command command_audit = {
    .name = "audit",
    .summary = "list who changed what, from what to what",
    .options = options,
    .print = print,
    .run = run,
};
