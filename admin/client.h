/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where requests go: to the mediator's admin socket, or, while no mediator runs, to the database
 * itself, under its lock.
 */
#ifndef VGPU_ADMIN_CLIENT_H
#define VGPU_ADMIN_CLIENT_H

#include "admin/command.h"
#include "store/line.h"
#include "store/store.h"

struct client {
    int fd;              /* -1: without a mediator */
    struct store *store; /* NULL: with one */
    struct line_reader reader;
    json_int_t next_id;
    unsigned timeout_s; /* for an answer */
};

/* Where the mediator listens unless an option says otherwise, for free(); NULL: out of memory. */
char *client_socket_path(void);

/* Connects; without a mediator, opens the database. */
int client_open(struct client *client, const struct invocation *invocation, struct vgpu_err *err);
/* Connects; without a mediator, an error that says what to do: -ENOENT or -ECONNREFUSED. */
int client_open_mediator(struct client *client, const struct invocation *invocation,
                         struct vgpu_err *err);
/* Connects to a mediator, which is to answer within that time; does not touch the database. */
int client_connect(struct client *client, const char *socket_path, unsigned timeout_s,
                   struct vgpu_err *err);
void client_close(struct client *client);

static inline bool client_is_offline(const struct client *client)
{
    return client->store != NULL;
}

/* Executes a command; *ret_result, its result, is the caller's to release. */
int client_call(struct client *client, const char *command, json_t *args, json_t **ret_result,
                struct vgpu_err *err);

/* The same for a command that changes something, with what the invocation says of changes. */
int client_change(struct client *client, const struct invocation *invocation, const char *command,
                  json_t *args, json_t **ret_result, struct vgpu_err *err);

/* One of the two, as the invocation's command is. */
int client_execute(struct client *client, const struct invocation *invocation, json_t *args,
                   json_t **ret_result, struct vgpu_err *err);

/* Prints the result of the invocation's command, as it asks for. */
void client_print(const struct invocation *invocation, const json_t *result);

/*
 * What nearly all subcommands do: opens, executes the command with its arguments, closes, says on
 * standard error if there was no mediator, and prints.
 */
int client_run(const struct invocation *invocation, struct vgpu_err *err);

/* Prints the result as --json has it. */
void client_print_json(const json_t *result);

/* Says on standard error that no mediator runs; result: of the command, to say what was done. */
void client_say_offline(const json_t *result);

#endif
