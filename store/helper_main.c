/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vgpu-store, the mediator's store helper: does the database's work where the mediator's loop must
 * not wait for it. It reads requests from descriptor 0 and answers on descriptor 1, in order, as
 * docs/spec/admin.md has it; the mediator starts it and ends it by closing its side.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "store/database.h"
#include "store/line.h"

#define EXIT_USAGE 2

static const char usage[] =
    "usage: vgpu-store --database PATH [--create]\n"
    "The store helper of vgpu-mediator: JSON lines on descriptors 0 and 1. Not for use by hand.\n"
    "  --database PATH  the database\n"
    "  --create         make a new database if there is none\n"
    "  --help           print this\n"
    "  --version        print the version\n";

struct settings {
    const char *database;
    bool create;
};

/* -1: go on; otherwise the exit status. */
static int parse_options(int argc, char **argv, struct settings *settings)
{
    static const struct option options[] = {
        {"database", required_argument, NULL, 'd'},
        {"create", no_argument, NULL, 'c'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL},
    };
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'd':
            settings->database = optarg;
            break;
        case 'c':
            settings->create = true;
            break;
        case 'h':
            fputs(usage, stdout);
            return EXIT_SUCCESS;
        case 'V':
            puts("vgpu-store " VGPU_PROGRAM_VERSION);
            return EXIT_SUCCESS;
        default:
            return EXIT_USAGE;
        }
    }
    if (settings->database && optind == argc)
        return -1;
    fputs(usage, stderr);
    return EXIT_USAGE;
}

/* Writes json, which this takes, as one line. */
static int answer(json_t *json)
{
    _cleanup_json_ json_t *line = json;

    return line ? line_write(STDOUT_FILENO, line, STORE_REPLY_BYTES_MAX) : -ENOMEM;
}

static int answer_error(const json_t *request, const struct vgpu_err *err)
{
    json_t *id = json_object_get(request, "id");

    return answer(json_pack("{s:O?, s:b, s:o}", "id", id, "ok", 0, "error", store_error_json(err)));
}

static int say_hello(struct store *store)
{
    struct vgpu_err err = {.code = 0};
    json_t *snapshot = NULL;

    if (store_snapshot(store, &snapshot, &err) < 0) {
        answer(json_pack("{s:o}", "error", store_error_json(&err)));
        return -err.code;
    }
    return answer(json_pack("{s:i, s:i, s:s?, s:o}", "hello", 1, "schema_version",
                            STORE_SCHEMA_VERSION, "backup", store_backup_path(store), "snapshot",
                            snapshot));
}

static const json_t *changes_of(const json_t *reply)
{
    return json_object_get(json_object_get(reply, "result"), "changes");
}

static int execute(struct store *store, const json_t *request, json_t **ret_reply,
                   struct vgpu_err *err)
{
    const char *who = json_string_value(json_object_get(request, "who"));
    json_t *delta = NULL;
    json_t *reply;
    int rc;

    if (!who)
        return vgpu_err_set(err, EINVAL, "the request does not say who asks");
    if ((rc = store_execute(store, request, who, &reply, err)) < 0)
        return rc;
    if (json_is_true(json_object_get(reply, "changed")) &&
        ((rc = store_delta(store, changes_of(reply), &delta, err)) < 0 ||
         json_object_set_new(reply, "delta", delta) < 0)) {
        json_decref(reply);
        return rc < 0 ? rc : database_no_memory(err);
    }
    *ret_reply = reply;
    return 0;
}

static int serve_line(struct store *store, const char *line)
{
    _cleanup_json_ json_t *request = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
    struct vgpu_err err = {.code = 0};
    json_t *reply = NULL;

    if (!json_is_object(request)) {
        vgpu_err_set(&err, EINVAL, "the line is not a JSON object");
        return answer_error(NULL, &err);
    }
    if (execute(store, request, &reply, &err) < 0)
        return answer_error(request, &err);
    if (json_object_set_new(reply, "ok", json_true()) < 0 ||
        json_object_set(reply, "command", json_object_get(request, "command")) < 0 ||
        json_object_set(reply, "who", json_object_get(request, "who")) < 0 ||
        json_object_set(reply, "id", json_object_get(request, "id")) < 0)
        json_object_set_new(reply, "id", json_null());
    return answer(reply);
}

/* Until the mediator closes its side, or breaks the protocol. */
static int serve(struct store *store)
{
    struct line_reader reader;
    struct vgpu_err err = {.code = 0};
    const char *line;
    int rc;

    line_reader_init(&reader, STDIN_FILENO, STORE_REQUEST_BYTES_MAX);
    while ((rc = line_read(&reader, &line)) > 0)
        if ((rc = serve_line(store, line)) < 0)
            break;
    if (rc == -E2BIG) {
        vgpu_err_set(&err, E2BIG, "the line is longer than %d bytes", STORE_REQUEST_BYTES_MAX);
        answer_error(NULL, &err);
    }
    line_reader_release(&reader);
    return rc;
}

int main(int argc, char **argv)
{
    struct store_options options = {.holder = "the mediator's store helper",
                                    .lock_wait_ms = STORE_LOCK_WAIT_MS};
    struct settings settings = {.database = NULL};
    struct vgpu_err err = {.code = 0};
    struct store *store;
    int rc = parse_options(argc, argv, &settings);

    if (rc >= 0)
        return rc;
    /* A mediator that is gone shows as an error of write(); the database is still closed. */
    signal(SIGPIPE, SIG_IGN);
    /* A terminal's Ctrl-C ends the mediator, and that ends this. */
    signal(SIGINT, SIG_IGN);
    options.create = settings.create;
    if (store_open(settings.database, &options, &store, &err) < 0) {
        answer(json_pack("{s:o}", "error", store_error_json(&err)));
        return EXIT_FAILURE;
    }
    rc = say_hello(store);
    if (rc == 0)
        rc = serve(store);
    store_close(store);
    return rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
