/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vgpu-admin status: GPUs, pools and VMs on one screen, with --watch again and again. What only a
 * mediator knows is null, and "-" on the screen, while none runs.
 */
#include <math.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "admin/client.h"
#include "admin/commands.h"
#include "admin/show.h"
#include "admin/status.h"
#include "admin/table.h"

#define WATCH_LEAST_S    0.1
#define WATCH_MOST_S     3600.0
#define CLEAR_SCREEN     "\033[H\033[2J"
#define LEAST_ROWS       3
#define QUARANTINED_ROWS 5

static const struct command_option options[] = {
    {.name = "watch",
     .kind = OPTION_NUMBER,
     .metavar = "SECONDS",
     .key = "watch",
     .help = "show it again at this interval (1 s)",
     .local = true,
     .bare = "1"},
    {.name = NULL},
};

/* Gives the array of that name in the answer to a command of the store. */
static int ask(struct client *client, const char *command, const char *key, json_t **ret_array,
               struct vgpu_err *err)
{
    _cleanup_json_ json_t *none = json_object();
    _cleanup_json_ json_t *result = NULL;
    int rc = client_call(client, command, none, &result, err);

    if (rc == 0)
        *ret_array = json_incref(json_object_get(result, key));
    return rc;
}

/* Copies members of one object to another. */
static void take(json_t *to, const json_t *from, const char *const *keys)
{
    for (; *keys; keys++)
        json_object_set(to, *keys, json_object_get(from, *keys));
}

static void set_null(json_t *to, const char *const *keys)
{
    for (; *keys; keys++)
        json_object_set_new(to, *keys, json_null());
}

static json_t *offline_gpu(const json_t *gpu)
{
    static const char *const known[] = {"gpu_id", "uuid", "model", "pools", NULL};
    static const char *const live[] = {"memory_used_bytes", "utilization", "temperature",
                                       "holder_vm_id",      "spares",      "spares_wanted",
                                       "spare_failures",    "warm_starts", NULL};
    const char *state = json_string_value(json_object_get(gpu, "state"));
    json_t *row = json_object();

    take(row, gpu, known);
    json_object_set(row, "memory_total_bytes", json_object_get(gpu, "memory_bytes"));
    json_object_set_new(row, "state",
                        state && strcmp(state, "missing") == 0 ? json_string(state) : json_null());
    set_null(row, live);
    return row;
}

static json_t *offline_pool(const json_t *pool)
{
    static const char *const known[] = {"pool", "policy", "gpus", NULL};
    json_t *row = json_object();

    take(row, pool, known);
    json_object_set_new(row, "vms",
                        json_integer((json_int_t)json_array_size(json_object_get(pool, "vms"))));
    return row;
}

static json_t *offline_vm(const json_t *vm)
{
    static const char *const known[] = {
        "vm_id", "uuid", "name", "pool", "priority", "weight", "quarantine_reason", NULL};
    static const char *const live[] = {"state",       "gpu_id",          "channels",
                                       "connections", "domid",           "memory_bytes",
                                       "queue_depth", "submission_rate", "mean_job_ns",
                                       "jobs_done",   "jobs_failed",     "jobs_refused",
                                       "gpu_time_ns", "wait_ns",         "share",
                                       "entitlement", "memory",          "faults",
                                       "refused_by",  "held_by",         NULL};
    json_t *row = json_object();

    take(row, vm, known);
    set_null(row, live);
    return row;
}

static int add_rows(struct client *client, json_t *status, const char *command, const char *key,
                    json_t *(*convert)(const json_t *item), struct vgpu_err *err)
{
    _cleanup_json_ json_t *from = NULL;
    json_t *rows = json_array();
    const json_t *item;
    size_t i;
    int rc = ask(client, command, key, &from, err);

    json_array_foreach (from, i, item)
        json_array_append_new(rows, convert(item));
    json_object_set_new(status, key, rows);
    return rc;
}

/* The status as far as the database knows it. */
static int offline_status(struct client *client, json_t **ret_status, struct vgpu_err *err)
{
    _cleanup_json_ json_t *status = json_pack("{s:n}", "mediator");
    int rc;

    if ((rc = add_rows(client, status, "list-gpus", "gpus", offline_gpu, err)) < 0 ||
        (rc = add_rows(client, status, "list-pools", "pools", offline_pool, err)) < 0 ||
        (rc = add_rows(client, status, "list-vms", "vms", offline_vm, err)) < 0)
        return rc;
    *ret_status = vgpu_steal_ptr(&status);
    return 0;
}

/* Columns and rows that the tables may take. */
struct screen {
    size_t width, rows;
};

/* A terminal's size limits what is shown; a file or pipe gets everything. */
static struct screen measure_screen(bool watch)
{
    struct screen screen = {.width = TABLE_WIDTH, .rows = SIZE_MAX};
    struct winsize size;

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
        return screen;
    if (size.ws_col < screen.width)
        screen.width = size.ws_col;
    if (watch)
        screen.rows = size.ws_row;
    return screen;
}

static void print_head(const json_t *mediator)
{
    char version[SHOW_BYTES], pid[SHOW_BYTES], driver[SHOW_BYTES], channels[SHOW_BYTES];
    char workers[SHOW_BYTES], window[SHOW_BYTES];
    double uptime = json_number_value(json_object_get(mediator, "uptime_s"));

    if (!json_is_object(mediator)) {
        printf("no mediator runs: the configuration only\n");
        return;
    }
    printf("mediator %s, pid %s, up %.0f h %02.0f min %02.0f s, driver %s, %s channels, "
           "%s workers, window %s s\n",
           show_member(mediator, "version", version), show_member(mediator, "pid", pid),
           floor(uptime / 3600), floor(fmod(uptime, 3600) / 60), floor(fmod(uptime, 60)),
           show_member(mediator, "driver", driver), show_member(mediator, "channels", channels),
           show_member(mediator, "workers", workers), show_member(mediator, "window_s", window));
}

static bool add_memory(struct table *table, const json_t *gpu)
{
    char used[SHOW_BYTES], total[SHOW_BYTES];

    return table_add(table, "%s / %s", show_bytes(json_object_get(gpu, "memory_used_bytes"), used),
                     show_bytes(json_object_get(gpu, "memory_total_bytes"), total));
}

static bool add_gpu(struct table *table, const json_t *gpu)
{
    static const char *const keys[] = {"utilization",  "temperature", "state",
                                       "holder_vm_id", "spares",      "pools"};
    bool good = table_add_json(table, json_object_get(gpu, "gpu_id")) &&
                table_add_json(table, json_object_get(gpu, "model")) && add_memory(table, gpu);

    for (size_t i = 0; good && i < VGPU_ARRAY_SIZE(keys); i++)
        good = table_add_json(table, json_object_get(gpu, keys[i]));
    return good;
}

static bool add_pool(struct table *table, const json_t *pool)
{
    return table_add_json(table, json_object_get(pool, "pool")) &&
           table_add_json(table, json_object_get(pool, "policy")) &&
           table_add_json(table, json_object_get(pool, "gpus")) &&
           table_add_json(table, json_object_get(pool, "vms"));
}

static bool add_percent(struct table *table, const json_t *part)
{
    return json_is_number(part) ? table_add(table, "%.1f", json_number_value(part) * 100)
                                : table_add(table, "-");
}

static bool add_bad_jobs(struct table *table, const json_t *vm)
{
    const json_t *failed = json_object_get(vm, "jobs_failed");
    const json_t *refused = json_object_get(vm, "jobs_refused");

    if (!json_is_integer(failed) || !json_is_integer(refused))
        return table_add(table, "-");
    return table_add(table, "%lld/%lld", (long long)json_integer_value(failed),
                     (long long)json_integer_value(refused));
}

static bool add_vm(struct table *table, const json_t *vm)
{
    static const char *const keys[] = {"vm_id",  "name",  "pool",     "priority",
                                       "weight", "state", "channels", "queue_depth"};
    bool good = true;

    for (size_t i = 0; good && i < VGPU_ARRAY_SIZE(keys); i++)
        good = table_add_json(table, json_object_get(vm, keys[i]));
    return good && add_percent(table, json_object_get(vm, "share")) &&
           add_percent(table, json_object_get(vm, "entitlement")) &&
           table_add_json(table, json_object_get(vm, "jobs_done")) && add_bad_jobs(table, vm);
}

static bool add_xen_vm(struct table *table, const json_t *vm)
{
    return add_vm(table, vm) && table_add_json(table, json_object_get(vm, "domid"));
}

static const struct table_column gpu_columns[] = {
    {"GPU", .right = true},    {"MODEL", .shrink = true}, {"MEMORY USED / TOTAL", .right = true},
    {"UTIL%", .right = true},  {"°C", .right = true},     {"STATE", .state = true},
    {"HOLDER", .right = true}, {"SPARES", .right = true}, {"POOLS", .shrink = true},
};

static const struct table_column pool_columns[] = {
    {"POOL", .shrink = true},
    {"POLICY"},
    {"GPUS", .shrink = true},
    {"VMS", .right = true},
};

static const struct table_column vm_columns[] = {
    {"VM", .right = true},     {"NAME", .shrink = true},
    {"POOL", .shrink = true},  {"PRIORITY"},
    {"WEIGHT", .right = true}, {"STATE", .state = true},
    {"CH", .right = true},     {"QUEUE", .right = true},
    {"SHARE%", .right = true}, {"DUE%", .right = true},
    {"DONE", .right = true},   {"FAIL/REF", .right = true},
    {"DOMID", .right = true},
};
#define N_VM_COLUMNS (VGPU_ARRAY_SIZE(vm_columns) - 1) /* the last is for hosts with Xen */

static void print_section(const json_t *rows, const struct table_column *columns, size_t n_columns,
                          bool (*add)(struct table *table, const json_t *row),
                          const struct screen *screen, size_t max_rows)
{
    struct table table;
    const json_t *row;
    size_t i;

    putchar('\n');
    table_init(&table, columns, n_columns);
    json_array_foreach (rows, i, row)
        if (!add(&table, row))
            break;
    table_print(&table, screen->width, max_rows);
    table_release(&table);
}

/* Why those VMs wait that may not run: the first few. */
static void print_quarantined(const json_t *vms)
{
    size_t i, shown = 0;
    const json_t *vm;

    json_array_foreach (vms, i, vm) {
        bool quarantined = json_is_string(json_object_get(vm, "quarantine_reason"));
        char name[SHOW_BYTES], reason[SHOW_SENTENCE_BYTES];

        if (!quarantined || shown++ >= QUARANTINED_ROWS)
            continue;
        printf("%s%s is quarantined: %s\n", shown == 1 ? "\n" : "", show_vm(vm, name),
               show_sentence(vm, "quarantine_reason", reason));
    }
    if (shown > QUARANTINED_ROWS)
        printf("… and %zu more\n", shown - QUARANTINED_ROWS);
}

/* Is any VM known to be a domain of Xen? */
static bool has_domain(const json_t *vms)
{
    const json_t *vm;
    size_t i;

    json_array_foreach (vms, i, vm)
        if (json_is_integer(json_object_get(vm, "domid")))
            return true;
    return false;
}

/* Lines that print_quarantined() takes. */
static size_t quarantined_lines(const json_t *vms)
{
    size_t i, lines = 0;
    const json_t *vm;

    json_array_foreach (vms, i, vm)
        lines += json_is_string(json_object_get(vm, "quarantine_reason"));
    if (lines == 0)
        return 0;
    return 1 + (lines > QUARANTINED_ROWS ? QUARANTINED_ROWS + 1 : lines);
}

static void print_status(const json_t *status, bool watch)
{
    struct screen screen = measure_screen(watch);
    const json_t *gpus = json_object_get(status, "gpus");
    const json_t *pools = json_object_get(status, "pools");
    const json_t *vms = json_object_get(status, "vms");
    /* The head, and for each section an empty line, titles, and "and more". */
    size_t fixed =
        1 + 3 * 3 + 1 + json_array_size(gpus) + json_array_size(pools) + quarantined_lines(vms);
    size_t vm_rows = screen.rows == SIZE_MAX            ? SIZE_MAX
                     : screen.rows > fixed + LEAST_ROWS ? screen.rows - fixed
                                                        : LEAST_ROWS;

    print_head(json_object_get(status, "mediator"));
    print_section(gpus, gpu_columns, VGPU_ARRAY_SIZE(gpu_columns), add_gpu, &screen, screen.rows);
    print_section(pools, pool_columns, VGPU_ARRAY_SIZE(pool_columns), add_pool, &screen,
                  screen.rows);
    if (has_domain(vms))
        print_section(vms, vm_columns, N_VM_COLUMNS + 1, add_xen_vm, &screen, vm_rows);
    else
        print_section(vms, vm_columns, N_VM_COLUMNS, add_vm, &screen, vm_rows);
    print_quarantined(vms);
}

int status_get(struct client *client, json_t **ret_status, struct vgpu_err *err)
{
    _cleanup_json_ json_t *none = json_object();

    return client_is_offline(client) ? offline_status(client, ret_status, err)
                                     : client_call(client, "status", none, ret_status, err);
}

/* Opens and closes each time, so that a mediator may come and go, and the lock is never kept. */
static int get_status(const struct invocation *invocation, json_t **ret_status,
                      struct vgpu_err *err)
{
    struct client client;
    int rc = client_open(&client, invocation, err);

    if (rc < 0)
        return rc;
    rc = status_get(&client, ret_status, err);
    client_close(&client);
    return rc;
}

static void show(const struct invocation *invocation, const json_t *status, bool watch)
{
    if (watch && !invocation->json && isatty(STDOUT_FILENO))
        fputs(CLEAR_SCREEN, stdout);
    if (!invocation->json)
        print_status(status, watch);
    else if (watch) {
        json_dumpf(status, stdout, JSON_COMPACT | JSON_REAL_PRECISION(10));
        putchar('\n');
    } else
        client_print_json(status);
}

/* Shows it until output fails or the user ends it; a mediator that is restarting is waited for. */
static int watch_status(const struct invocation *invocation, double interval_s,
                        struct vgpu_err *err)
{
    for (bool first = true;; first = false) {
        _cleanup_json_ json_t *status = NULL;
        int rc = get_status(invocation, &status, err);

        if (rc < 0 && first)
            return rc;
        if (rc == 0)
            show(invocation, status, true);
        else
            fprintf(stderr, "vgpu-admin: status: %s\n", err->text);
        if (fflush(stdout) != 0)
            return vgpu_err_set(err, EIO, "cannot write to standard output");
        poll(NULL, 0, (int)(interval_s * 1000));
    }
}

static int run(const struct invocation *invocation, struct vgpu_err *err)
{
    const json_t *watch = json_object_get(invocation->local, "watch");
    _cleanup_json_ json_t *status = NULL;
    double interval_s = json_number_value(watch);
    int rc;

    if (watch && !(interval_s >= WATCH_LEAST_S && interval_s <= WATCH_MOST_S))
        return vgpu_err_set(err, EINVAL, "--watch=%g is out of range: %g to %g", interval_s,
                            WATCH_LEAST_S, WATCH_MOST_S);
    if (watch)
        return watch_status(invocation, interval_s, err);
    rc = get_status(invocation, &status, err);
    if (rc < 0)
        return rc;
    if (!json_is_object(json_object_get(status, "mediator")))
        client_say_offline(status);
    show(invocation, status, false);
    return 0;
}

const struct command command_status = {
    .name = "status",
    .summary = "show GPUs, pools and VMs, their shares and what they do",
    .options = options,
    .run = run,
};
