/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/client.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "admin/change.h"
#include "admin/resolve.h"
#include "admin/settings.h"

/* A scan may have to wait for a driver that is being loaded. */
#define REPLY_TIMEOUT_S 60
#define DEFAULT_RUN_DIR "/run/vgpu"

char *client_socket_path(void)
{
    const char *run_dir = getenv("VGPU_RUN_DIR");
    char *path;

    return asprintf(&path, "%s/admin.sock", run_dir ? run_dir : DEFAULT_RUN_DIR) < 0 ? NULL : path;
}

static int connect_socket(const char *path, unsigned timeout_s, struct vgpu_err *err)
{
    const struct timeval timeout = {.tv_sec = timeout_s};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    _cleanup_close_ int fd = -1;

    if (strlen(path) >= sizeof(address.sun_path))
        return vgpu_err_set(err, ENAMETOOLONG, "the socket's path is longer than %zu bytes: %s",
                            sizeof(address.sun_path) - 1, path);
    strcpy(address.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return vgpu_err_set(err, errno, "cannot make a socket: %s", strerror(errno));
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return vgpu_err_set(err, errno, "cannot connect to the mediator at %s: %s", path,
                            strerror(errno));
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0)
        return vgpu_err_set(err, errno, "cannot set the socket's timeout: %s", strerror(errno));
    return vgpu_steal_fd(&fd);
}

int client_connect(struct client *client, const char *socket_path, unsigned timeout_s,
                   struct vgpu_err *err)
{
    int rc = connect_socket(socket_path, timeout_s, err);

    *client = (struct client){.fd = rc, .next_id = 1, .timeout_s = timeout_s};
    if (rc < 0) {
        client->fd = -1;
        return rc;
    }
    line_reader_init(&client->reader, rc, STORE_REPLY_BYTES_MAX);
    return 0;
}

/* What connecting says where there is no mediator, as opposed to one that cannot be reached. */
static bool is_not_running(int rc)
{
    return rc == -ENOENT || rc == -ECONNREFUSED;
}

int client_open_mediator(struct client *client, const struct invocation *invocation,
                         struct vgpu_err *err)
{
    int rc = client_connect(client, invocation->socket_path, REPLY_TIMEOUT_S, err);

    if (!is_not_running(rc))
        return rc;
    return vgpu_err_set(err, -rc,
                        "no mediator runs at %s, and only a mediator can do this; start it with: "
                        "systemctl start vgpu-mediator (see vgpu-mediator(8))",
                        invocation->socket_path);
}

int client_open(struct client *client, const struct invocation *invocation, struct vgpu_err *err)
{
    const struct store_options options = {
        .create = invocation->create, .holder = "vgpu-admin", .lock_wait_ms = STORE_LOCK_WAIT_MS};
    int rc = client_connect(client, invocation->socket_path, REPLY_TIMEOUT_S, err);

    if (!is_not_running(rc))
        return rc;
    rc = store_open(invocation->database, &options, &client->store, err);
    if (rc < 0) {
        vgpu_err_prefix(err, "no mediator runs at %s", invocation->socket_path);
        return rc;
    }
    if (store_backup_path(client->store))
        fprintf(stderr, "vgpu-admin: upgraded the database; as it was before: %s\n",
                store_backup_path(client->store));
    return 0;
}

void client_close(struct client *client)
{
    store_close(client->store);
    client->store = NULL;
    if (client->fd >= 0)
        line_reader_release(&client->reader);
    vgpu_close(&client->fd);
}

static int call_store(struct client *client, const json_t *request, json_t **ret_result,
                      struct vgpu_err *err)
{
    _cleanup_json_ json_t *reply = NULL;
    char who[64];
    int rc;

    snprintf(who, sizeof(who), "uid=%ld pid=%ld offline", (long)getuid(), (long)getpid());
    rc = store_execute(client->store, request, who, &reply, err);
    if (rc == 0)
        *ret_result = json_incref(json_object_get(reply, "result"));
    return rc;
}

static int broken(const struct client *client, int rc, struct vgpu_err *err)
{
    if (rc == -EAGAIN)
        return vgpu_err_set(err, ETIMEDOUT, "the mediator did not answer within %u s",
                            client->timeout_s);
    if (rc == 0 || rc == -EPIPE || rc == -ECONNRESET)
        return vgpu_err_set(err, ECONNRESET, "the mediator closed the connection");
    return vgpu_err_set(err, -rc, "cannot talk to the mediator: %s", strerror(-rc));
}

/* Takes the result, or the error, out of a reply line. */
static int read_reply(const char *line, json_int_t id, json_t **ret_result, struct vgpu_err *err)
{
    _cleanup_json_ json_t *reply = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
    const json_t *error = json_object_get(reply, "error");
    json_t *result = json_object_get(reply, "result");
    const char *text = json_string_value(json_object_get(error, "text"));
    json_int_t number = json_integer_value(json_object_get(error, "errno"));

    if (text && json_is_false(json_object_get(reply, "ok")))
        return vgpu_err_set(err, number > 0 && number < 4096 ? (int)number : EIO, "%s", text);
    if (!json_is_true(json_object_get(reply, "ok")) || !json_is_object(result) ||
        json_integer_value(json_object_get(reply, "id")) != id)
        return vgpu_err_set(err, EPROTO, "the mediator's answer is not understood");
    *ret_result = json_incref(result);
    return 0;
}

/* Sends the request, which has its id, and waits for the answer. */
static int ask(struct client *client, const json_t *request, json_t **ret_result,
               struct vgpu_err *err)
{
    json_int_t id = json_integer_value(json_object_get(request, "id"));
    const char *line;
    int rc;

    if (client_is_offline(client))
        return call_store(client, request, ret_result, err);
    rc = line_write(client->fd, request, STORE_REQUEST_BYTES_MAX);
    if (rc < 0)
        return broken(client, rc, err);
    rc = line_read(&client->reader, &line);
    if (rc <= 0)
        return broken(client, rc, err);
    return read_reply(line, id, ret_result, err);
}

static json_t *make_request(struct client *client, const char *command, json_t *args)
{
    return json_pack("{s:I, s:s, s:O}", "id", client->next_id++, "command", command, "args", args);
}

int client_call(struct client *client, const char *command, json_t *args, json_t **ret_result,
                struct vgpu_err *err)
{
    _cleanup_json_ json_t *request = make_request(client, command, args);

    if (!request)
        return vgpu_err_set(err, ENOMEM, "out of memory");
    return ask(client, request, ret_result, err);
}

int client_change(struct client *client, const struct invocation *invocation, const char *command,
                  json_t *args, json_t **ret_result, struct vgpu_err *err)
{
    _cleanup_json_ json_t *request = make_request(client, command, args);

    if (!request ||
        (invocation->dry_run && json_object_set_new(request, "dry_run", json_true()) < 0) ||
        (invocation->revision &&
         json_object_set_new(request, "if_revision", json_integer(invocation->revision)) < 0))
        return vgpu_err_set(err, ENOMEM, "out of memory");
    return ask(client, request, ret_result, err);
}

void client_print_json(const json_t *result)
{
    /* As many digits as a double has for certain: times to the microsecond, and 33.33 as such. */
    json_dumpf(result, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    putchar('\n');
}

void client_say_offline(const json_t *result)
{
    const json_t *changed = json_object_get(result, "changed");

    fprintf(stderr, "vgpu-admin: mediator is not running; %s\n",
            json_is_true(json_object_get(result, "dry_run")) ? "compared with the database only"
            : json_is_true(changed)                          ? "changed the database only"
            : json_is_false(changed)                         ? "the database is as asked already"
                                                             : "read from the database only");
}

/* What a command would have done is told by its changes: its own sentence says that it is so. */
static void print_dry_run(const json_t *result)
{
    if (json_is_true(json_object_get(result, "changed")))
        puts("dry run: nothing is changed; this would be:");
    else
        puts("dry run: all is as asked already");
    changes_print(result);
}

void client_print(const struct invocation *invocation, const json_t *result)
{
    const struct command *command = invocation->command;

    if (invocation->json)
        client_print_json(result);
    else if (json_is_true(json_object_get(result, "dry_run")))
        print_dry_run(result);
    else if (command->print)
        command->print(result);
    else
        settings_print(command->name, result);
}

int client_execute(struct client *client, const struct invocation *invocation, json_t *args,
                   json_t **ret_result, struct vgpu_err *err)
{
    const struct command *command = invocation->command;

    return command->effect == COMMAND_SHOWS
               ? client_call(client, command->name, args, ret_result, err)
               : client_change(client, invocation, command->name, args, ret_result, err);
}

int client_run(const struct invocation *invocation, struct vgpu_err *err)
{
    const struct command *command = invocation->command;
    _cleanup_json_ json_t *result = NULL;
    struct client client;
    int rc = command->needs_mediator ? client_open_mediator(&client, invocation, err)
                                     : client_open(&client, invocation, err);

    if (rc < 0)
        return rc;
    rc = client_execute(&client, invocation, invocation->args, &result, err);
    if (rc == -ENOENT && command->names_vm)
        rc = resolve_and_call(&client, invocation, rc, &result, err);
    if (rc == 0 && client_is_offline(&client))
        client_say_offline(result);
    client_close(&client);
    if (rc == 0)
        client_print(invocation, result);
    return rc;
}
