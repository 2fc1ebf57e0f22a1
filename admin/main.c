/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vgpu-admin: shows and changes the configuration, through the mediator's admin socket, or in the
 * database while no mediator runs. Exit status: 0 done, 1 failed, 2 wrong usage.
 */
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "admin/client.h"
#include "admin/colour.h"
#include "admin/complete.h"
#include "admin/parse.h"

#define DEFAULT_DATABASE "/var/lib/vgpu/vgpu.db"

/* The text of an error may quote the command line or come from a socket: no control characters. */
static void complain(const struct invocation *invocation, const char *text)
{
    fprintf(stderr, "vgpu-admin: ");
    if (invocation->command)
        fprintf(stderr, "%s: ", invocation->command->name);
    for (; *text; text++)
        fputc((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text, stderr);
    fputc('\n', stderr);
}

static int execute(const struct invocation *invocation)
{
    const struct command *command = invocation->command;
    struct vgpu_err err = {.code = 0};
    int rc;

    if (invocation->version) {
        puts("vgpu-admin " VGPU_PROGRAM_VERSION);
        return EXIT_SUCCESS;
    }
    if (invocation->help) {
        parse_print_help(command);
        return EXIT_SUCCESS;
    }
    rc = command->run ? command->run(invocation, &err) : client_run(invocation, &err);
    if (rc < 0) {
        complain(invocation, err.text);
        return EXIT_FAILURE;
    }
    /* A full disk or a closed pipe behind standard output is a failure too. */
    if (fflush(stdout) != 0 || ferror(stdout)) {
        complain(invocation, "cannot write to standard output");
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

static int choose_colour(const struct invocation *invocation, struct vgpu_err *err)
{
    const struct colour_wish wish = {.when = invocation->color,
                                     .no_color = getenv("NO_COLOR"),
                                     .term = getenv("TERM"),
                                     .terminal = isatty(STDOUT_FILENO)};

    return colour_choose(&wish, err);
}

static int run(int argc, char **argv)
{
    _cleanup_free_ char *socket_path = client_socket_path();
    _cleanup_json_ json_t *args = json_object();
    _cleanup_json_ json_t *local = json_object();
    struct invocation invocation = {.database = DEFAULT_DATABASE, .args = args, .local = local};
    struct vgpu_err err = {.code = 0};

    setlocale(LC_CTYPE, "");
    signal(SIGPIPE, SIG_IGN);
    if (!socket_path || !args || !local) {
        complain(&invocation, "out of memory");
        return EXIT_FAILURE;
    }
    invocation.socket_path = socket_path;
    if (parse_command_line(argc, argv, &invocation, &err) < 0 ||
        choose_colour(&invocation, &err) < 0) {
        complain(&invocation, err.text);
        return EXIT_USAGE;
    }
    return execute(&invocation);
}

int main(int argc, char **argv)
{
    /* What a shell asks, which is no command of a person's. */
    if (argc > 1 && strcmp(argv[1], COMPLETE_WORD) == 0)
        return complete(argc - 2, argv + 2);
    return run(argc, argv);
}
