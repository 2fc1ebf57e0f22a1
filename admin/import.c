/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-admin import: brings the configuration to what a file says that export wrote. */
#include <stdio.h>
#include <string.h>

#include "admin/change.h"
#include "admin/client.h"
#include "admin/commands.h"

#define CHUNK_BYTES 65536

static const struct command_option options[] = {
    {.name = "file",
     .kind = OPTION_TEXT,
     .metavar = "FILE",
     .key = "file",
     .help = "what export wrote, or - for standard input",
     .required = true},
    {.name = "prune",
     .kind = OPTION_FLAG,
     .key = "prune",
     .help = "also remove what the file does not name"},
    {.name = NULL},
};

/* The whole file, as a text that the caller frees. */
static int read_all(FILE *file, const char *name, char **ret_text, struct vgpu_err *err)
{
    _cleanup_free_ char *text = malloc(STORE_REQUEST_BYTES_MAX + 1);
    size_t used;

    if (!text)
        return vgpu_err_set(err, ENOMEM, "out of memory");
    used = fread(text, 1, STORE_REQUEST_BYTES_MAX + 1, file);
    if (ferror(file))
        return vgpu_err_set(err, EIO, "cannot read %s: %s", name, strerror(errno));
    if (used > STORE_REQUEST_BYTES_MAX)
        return vgpu_err_set(err, E2BIG, "%s is longer than %d bytes", name,
                            STORE_REQUEST_BYTES_MAX);
    if (memchr(text, '\0', used))
        return vgpu_err_set(err, EINVAL, "%s has a NUL byte; it is no configuration", name);
    text[used] = '\0';
    *ret_text = vgpu_steal_ptr(&text);
    return 0;
}

static int parse(const char *text, const char *name, json_t **ret_config, struct vgpu_err *err)
{
    json_error_t error;
    json_t *config = json_loads(text, JSON_REJECT_DUPLICATES, &error);

    if (!config)
        return vgpu_err_set(err, EINVAL, "%s:%d:%d: %s", name, error.line, error.column,
                            error.text);
    *ret_config = config;
    return 0;
}

static int read_config(const char *path, json_t **ret_config, struct vgpu_err *err)
{
    bool is_stdin = strcmp(path, "-") == 0;
    const char *name = is_stdin ? "standard input" : path;
    _cleanup_free_ char *text = NULL;
    FILE *file = is_stdin ? stdin : fopen(path, "re");
    int rc;

    if (!file)
        return vgpu_err_set(err, errno, "cannot open %s: %s", path, strerror(errno));
    rc = read_all(file, name, &text, err);
    if (!is_stdin)
        fclose(file);
    return rc < 0 ? rc : parse(text, name, ret_config, err);
}

static void print(const json_t *result)
{
    size_t changes = json_array_size(json_object_get(result, "changes"));

    if (changes == 0) {
        puts("the configuration is so already");
        return;
    }
    printf("configuration imported, %zu change%s:\n", changes, changes == 1 ? "" : "s");
    changes_print(result);
}

static int run(const struct invocation *invocation, struct vgpu_err *err)
{
    _cleanup_json_ json_t *path = json_incref(json_object_get(invocation->args, "file"));
    json_t *config = NULL;
    int rc = read_config(json_string_value(path), &config, err);

    if (rc < 0)
        return rc;
    if (json_object_del(invocation->args, "file") < 0 ||
        json_object_set_new(invocation->args, "config", config) < 0)
        return vgpu_err_set(err, ENOMEM, "out of memory");
    return client_run(invocation, err);
}

const struct command command_import = {
    .name = "import",
    .summary = "bring the configuration to what a file says",
    .positional = {"file"},
    .effect = COMMAND_REVISES,
    .options = options,
    .print = print,
    .run = run,
};
