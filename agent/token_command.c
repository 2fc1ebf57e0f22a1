/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/token_command.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

#include "agent/token.h"
#include "common/cleanup.h"

#define EXIT_USAGE 2

static const char usage[] =
    "usage: vgpu-agent token add NAME --role read|operate|admin [--tokens PATH]\n"
    "       vgpu-agent token list [--tokens PATH]\n"
    "       vgpu-agent token remove NAME [--tokens PATH]\n";

static const struct option options[] = {{"tokens", required_argument, NULL, 't'},
                                        {"role", required_argument, NULL, 'r'},
                                        {"help", no_argument, NULL, 'h'},
                                        {NULL}};

static int fail(const struct vgpu_err *err)
{
    fprintf(stderr, "vgpu-agent: %s\n", err->text);
    return EXIT_FAILURE;
}

static int list(const struct tokens *tokens)
{
    for (unsigned i = 0; i < tokens->n; i++) {
        time_t created = (time_t)tokens->rows[i].created;
        char text[32] = "";
        struct tm parts;

        if (gmtime_r(&created, &parts))
            strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
        printf("%-32s %-8s %s\n", tokens->rows[i].name, role_name(tokens->rows[i].role), text);
    }
    return EXIT_SUCCESS;
}

static int add(struct tokens *tokens, const char *path, const char *name, enum role role)
{
    char secret[TOKEN_SECRET_BYTES + 1];
    struct vgpu_err err;

    if (tokens_add(tokens, name, role, time(NULL), secret, &err) < 0 ||
        tokens_save(tokens, path, &err) < 0)
        return fail(&err);
    puts(secret);
    fputs("vgpu-agent: keep it: only its hash is stored\n", stderr);
    return EXIT_SUCCESS;
}

static int drop(struct tokens *tokens, const char *path, const char *name)
{
    struct vgpu_err err;

    if (tokens_remove(tokens, name, &err) < 0 || tokens_save(tokens, path, &err) < 0)
        return fail(&err);
    return EXIT_SUCCESS;
}

/* Two administrators at a time must not undo each other's work. */
static int lock_beside(const char *path, struct vgpu_err *err)
{
    _cleanup_free_ char *name = NULL;
    int fd;

    if (asprintf(&name, "%s.lock", path) < 0)
        return vgpu_err_set(err, ENOMEM, "out of memory");
    fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || flock(fd, LOCK_EX) < 0) {
        vgpu_err_set(err, errno, "cannot lock '%s': %s", name, strerror(errno));
        vgpu_close(&fd);
        return -err->code;
    }
    return fd;
}

static int execute(const char *verb, const char *name, enum role role, const char *path)
{
    struct tokens *tokens = calloc(1, sizeof(*tokens));
    bool reads = strcmp(verb, "list") == 0;
    struct vgpu_err err = {.text = "out of memory"};
    _cleanup_close_ int lock = reads ? -1 : lock_beside(path, &err);
    int rc, status;

    if (!tokens || (lock < 0 && !reads)) {
        free(tokens);
        return fail(&err);
    }
    rc = tokens_load(tokens, path, &err);
    if (rc < 0 && (rc != -ENOENT || reads))
        status = fail(&err);
    else if (reads)
        status = list(tokens);
    else if (strcmp(verb, "add") == 0)
        status = add(tokens, path, name, role);
    else
        status = drop(tokens, path, name);
    free(tokens);
    return status;
}

int token_command(int argc, char **argv, const char *path)
{
    enum role role = ROLE_NONE;
    const char *verb, *name;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 't') {
            path = optarg;
        } else if (option == 'r') {
            role = role_of(optarg);
            if (role == ROLE_NONE) {
                fprintf(stderr, "vgpu-agent: --role is read, operate or admin\n");
                return EXIT_USAGE;
            }
        } else {
            fputs(usage, option == 'h' ? stdout : stderr);
            return option == 'h' ? EXIT_SUCCESS : EXIT_USAGE;
        }
    }
    verb = optind < argc ? argv[optind] : "";
    name = optind + 1 < argc ? argv[optind + 1] : NULL;
    if ((strcmp(verb, "list") == 0 && !name && role == ROLE_NONE) ||
        (strcmp(verb, "add") == 0 && name && argc == optind + 2 && role != ROLE_NONE) ||
        (strcmp(verb, "remove") == 0 && name && argc == optind + 2 && role == ROLE_NONE))
        return execute(verb, name, role, path);
    fputs(usage, stderr);
    return EXIT_USAGE;
}
