/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/resolve.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/child.h"
#include "store/text.h"

#define CANDIDATES_MAX 64 /* VMs of one name; more are an error */
#define OUTPUT_BYTES   (256 * 1024)
#define TIMEOUT_S      10

/* Of one program: those VMs that have a name. */
struct candidates {
    char uuids[CANDIDATES_MAX][RESOLVE_UUID_BYTES];
    const char *programs[CANDIDATES_MAX];
    size_t n;
};

static int add_candidate(struct candidates *to, const char *program, const char *uuid,
                         struct vgpu_err *err)
{
    for (size_t i = 0; i < to->n; i++)
        if (strcmp(to->uuids[i], uuid) == 0)
            return 0;
    if (to->n == CANDIDATES_MAX)
        return vgpu_err_set(err, ENOTUNIQ, "%s knows more than %d VMs of that name", program,
                            CANDIDATES_MAX);
    to->programs[to->n] = program;
    memcpy(to->uuids[to->n++], uuid, RESOLVE_UUID_BYTES);
    return 0;
}

/* Runs the program; *ret_text, what it printed, is for free(). */
static int ask(const char *const *argv, char **ret_text, size_t *ret_size, struct vgpu_err *err)
{
    const struct child child = {.argv = argv,
                                .name = argv[0],
                                .most_bytes = OUTPUT_BYTES,
                                .timeout_s = TIMEOUT_S,
                                .take_errors = true};
    struct child_result result;
    int rc = child_run(&child, &result, err), status;

    if (rc < 0)
        return rc;
    status = result.status;
    if (status != 0) {
        free(result.text);
        return vgpu_err_set(err, EIO, "%s failed (%s %d)%s%s", argv[0],
                            status < CHILD_SIGNALLED ? "exit status" : "signal",
                            status < CHILD_SIGNALLED ? status : status - CHILD_SIGNALLED,
                            result.errors[0] ? ": " : "", result.errors);
    }
    *ret_text = result.text;
    *ret_size = result.size;
    return 0;
}

/* Without the newline that ends what a program prints. */
static void cut_newline(char *text, size_t size)
{
    if (size > 0 && text[size - 1] == '\n')
        text[size - 1] = '\0';
}

static int not_understood(const char *program, struct vgpu_err *err)
{
    return vgpu_err_set(err, EPROTO, "the answer of %s is not understood", program);
}

/* How a program is asked; each answers for VMs that run and that do not. */
struct program {
    const char *name;
    /* Adds the UUIDs of VMs that may have that name; name_of() has the last word. */
    int (*list)(const char *name, struct candidates *to, struct vgpu_err *err);
    /* *ret_name is for free(). */
    int (*name_of)(const char *uuid, char **ret_name, struct vgpu_err *err);
};

/* "name-label=" and the name are one argument, whatever characters it has. */
static int xe_list(const char *name, struct candidates *to, struct vgpu_err *err)
{
    _cleanup_free_ char *filter = NULL;
    _cleanup_free_ char *text = NULL;
    char uuid[RESOLVE_UUID_BYTES], *rest = NULL;
    size_t size;
    int rc;

    if (asprintf(&filter, "name-label=%s", name) < 0) {
        filter = NULL;
        return vgpu_err_set(err, ENOMEM, "out of memory");
    }
    rc = ask((const char *const[]){"xe", "vm-list", filter, "params=uuid", "--minimal", NULL},
             &text, &size, err);
    if (rc < 0)
        return rc;
    for (char *word = strtok_r(text, ",\n", &rest); word; word = strtok_r(NULL, ",\n", &rest)) {
        if (text_uuid(word, uuid, NULL) < 0)
            return not_understood("xe", err);
        if ((rc = add_candidate(to, "xe", uuid, err)) < 0)
            return rc;
    }
    return 0;
}

static int xe_name_of(const char *uuid, char **ret_name, struct vgpu_err *err)
{
    _cleanup_free_ char *selector = NULL;
    size_t size;
    int rc;

    if (asprintf(&selector, "uuid=%s", uuid) < 0) {
        selector = NULL;
        return vgpu_err_set(err, ENOMEM, "out of memory");
    }
    rc = ask((const char *const[]){"xe", "vm-param-get", selector, "param-name=name-label", NULL},
             ret_name, &size, err);
    if (rc == 0)
        cut_newline(*ret_name, size);
    return rc;
}

/* The same but for white space at the end, with which virsh fills its columns. */
static bool same_in_column(const char *name, const char *column)
{
    size_t a = strlen(name), b = strlen(column);

    while (a > 0 && isspace((unsigned char)name[a - 1]))
        a--;
    while (b > 0 && isspace((unsigned char)column[b - 1]))
        b--;
    return a == b && memcmp(name, column, a) == 0;
}

/* Lines of UUID and name; libvirt lets no newline into a name. */
static int virsh_list(const char *name, struct candidates *to, struct vgpu_err *err)
{
    _cleanup_free_ char *text = NULL;
    char uuid[RESOLVE_UUID_BYTES], *rest = NULL;
    size_t size;
    int rc = ask((const char *const[]){"virsh", "-q", "list", "--all", "--uuid", "--name", NULL},
                 &text, &size, err);

    if (rc < 0)
        return rc;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char *space = strchr(line, ' ');

        if (!space)
            return not_understood("virsh", err);
        *space = '\0';
        if (text_uuid(line, uuid, NULL) < 0)
            return not_understood("virsh", err);
        if (same_in_column(name, space + 1) && (rc = add_candidate(to, "virsh", uuid, err)) < 0)
            return rc;
    }
    return 0;
}

static int virsh_name_of(const char *uuid, char **ret_name, struct vgpu_err *err)
{
    size_t size;
    int rc = ask((const char *const[]){"virsh", "-q", "domname", uuid, NULL}, ret_name, &size, err);

    if (rc == 0)
        cut_newline(*ret_name, size);
    return rc;
}

static const struct program programs[] = {
    {"xe", xe_list, xe_name_of},
    {"virsh", virsh_list, virsh_name_of},
};

/* Adds those of a program whose name is that, to the byte. */
static int ask_program(const struct program *program, const char *name, struct candidates *found,
                       struct vgpu_err *err)
{
    struct candidates listed = {.n = 0};
    int rc = program->list(name, &listed, err);

    for (size_t i = 0; rc == 0 && i < listed.n; i++) {
        _cleanup_free_ char *its_name = NULL;

        rc = program->name_of(listed.uuids[i], &its_name, err);
        if (rc == 0 && strcmp(its_name, name) == 0)
            rc = add_candidate(found, program->name, listed.uuids[i], err);
    }
    return rc;
}

static int ambiguous(const char *name, const struct candidates *found, struct vgpu_err *err)
{
    struct text_list list = {.used = 0};
    char shown[TEXT_SHOWN_BYTES], item[RESOLVE_UUID_BYTES + 16];

    for (size_t i = 0; i < found->n; i++) {
        snprintf(item, sizeof(item), "%s (%s)", found->uuids[i], found->programs[i]);
        text_list_add(&list, item);
    }
    return vgpu_err_set(err, ENOTUNIQ, "%s fits %zu VMs: %s; choose one with --uuid",
                        text_show(shown, name), found->n, text_list_end(&list));
}

int resolve_name(const char *name, char uuid[RESOLVE_UUID_BYTES], struct vgpu_err *err)
{
    struct candidates found = {.n = 0};
    struct vgpu_err failure = {.code = 0};

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(programs); i++) {
        struct vgpu_err one = {.code = 0};

        /* A program that is not there knows no VMs. */
        if (ask_program(&programs[i], name, &found, &one) < 0 && one.code != ENOENT)
            failure = one;
    }
    if (found.n > 1)
        return ambiguous(name, &found, err);
    /* What could not be asked might have known another. */
    if (failure.code)
        return vgpu_err_set(err, failure.code, "%s", failure.text);
    if (found.n == 1)
        memcpy(uuid, found.uuids[0], RESOLVE_UUID_BYTES);
    return (int)found.n;
}

int resolve_uuid(const char *uuid, char **ret_name, struct vgpu_err *err)
{
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(programs); i++)
        if (programs[i].name_of(uuid, ret_name, err) == 0)
            return 1;
    return 0;
}

/* The name that args have for the VM; NULL: they name it otherwise. */
static const char *given_name(const json_t *args)
{
    const char *any = json_string_value(json_object_get(args, "vm"));
    char uuid[RESOLVE_UUID_BYTES];

    if (any && text_uuid(any, uuid, NULL) == 0)
        return NULL;
    return any ? any : json_string_value(json_object_get(args, "name"));
}

/* True if the store has no VM of that key and value. */
static bool is_unknown(struct client *client, const char *key, const char *value)
{
    _cleanup_json_ json_t *args = json_pack("{s:s}", key, value);
    _cleanup_json_ json_t *shown = NULL;
    struct vgpu_err ignored = {.code = 0};

    return args && client_call(client, "show-vm", args, &shown, &ignored) == -ENOENT;
}

static int call_by_uuid(struct client *client, const struct invocation *invocation,
                        const char *name, const char *uuid, json_t **ret_result,
                        struct vgpu_err *err)
{
    _cleanup_json_ json_t *args = json_copy(invocation->args);
    char shown[TEXT_SHOWN_BYTES];

    if (is_unknown(client, "uuid", uuid))
        return vgpu_err_set(err, ENOENT,
                            "%s is the VM with UUID %s, which is not registered; do so with: "
                            "vgpu-admin register-vm --uuid=%s",
                            text_show(shown, name), uuid, uuid);
    json_object_del(args, "vm");
    json_object_del(args, "name");
    if (json_object_set_new(args, "uuid", json_string(uuid)) < 0)
        return vgpu_err_set(err, ENOMEM, "out of memory");
    return client_execute(client, invocation, args, ret_result, err);
}

int resolve_and_call(struct client *client, const struct invocation *invocation, int rc,
                     json_t **ret_result, struct vgpu_err *err)
{
    const char *name = given_name(invocation->args);
    const char *key = json_object_get(invocation->args, "vm") ? "vm" : "name";
    struct vgpu_err failure = {.code = 0};
    char uuid[RESOLVE_UUID_BYTES];
    int found;

    /* A pool that is not there is no reason to look for the VM. */
    if (rc != -ENOENT || !name || !is_unknown(client, key, name))
        return rc;
    found = resolve_name(name, uuid, &failure);
    if (found == 1)
        return call_by_uuid(client, invocation, name, uuid, ret_result, err);
    if (found == -ENOTUNIQ)
        return vgpu_err_set(err, ENOTUNIQ, "%s", failure.text);
    if (found < 0) {
        char was[VGPU_ERR_TEXT_BYTES];

        snprintf(was, sizeof(was), "%s", err->text);
        return vgpu_err_set(err, ENOENT, "%s; and %s", was, failure.text);
    }
    return rc;
}

static int complete_by_name(json_t *args, const char *name, struct vgpu_err *err)
{
    struct vgpu_err failure = {.code = 0};
    char uuid[RESOLVE_UUID_BYTES], shown[TEXT_SHOWN_BYTES];
    int found = resolve_name(name, uuid, &failure);

    if (found == -ENOTUNIQ)
        return vgpu_err_set(err, ENOTUNIQ, "%s", failure.text);
    if (found < 0)
        fprintf(stderr, "vgpu-admin: %s could not be looked up: %s; its UUID stays open\n",
                text_show(shown, name), failure.text);
    if (found == 1 && json_object_set_new(args, "uuid", json_string(uuid)) < 0)
        return vgpu_err_set(err, ENOMEM, "out of memory");
    return 0;
}

int resolve_complete(json_t *args, struct vgpu_err *err)
{
    const char *name = json_string_value(json_object_get(args, "name"));
    const char *given = json_string_value(json_object_get(args, "uuid"));
    struct vgpu_err ignored = {.code = 0};
    _cleanup_free_ char *its_name = NULL;
    char uuid[RESOLVE_UUID_BYTES];
    json_t *text;

    if (name && !given)
        return complete_by_name(args, name, err);
    if (!given || name || text_uuid(given, uuid, NULL) < 0 ||
        resolve_uuid(uuid, &its_name, &ignored) != 1)
        return 0;
    /* A name that is no UTF-8, or that the store cannot keep, is left out. */
    text = json_string(its_name);
    if (text && text_check("the name", its_name, STORE_NAME_BYTES, NULL) == 0)
        json_object_set(args, "name", text);
    json_decref(text);
    return 0;
}
