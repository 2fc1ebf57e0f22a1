/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/backend.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "store/store.h"

void backend_init(struct backend *backend, const char *path, unsigned timeout_s)
{
    *backend = (struct backend){.path = path, .timeout_s = timeout_s, .fd = -1, .next_id = 1};
}

void backend_release(struct backend *backend)
{
    if (backend->fd >= 0)
        line_reader_release(&backend->reader);
    vgpu_close(&backend->fd);
}

static int fail(struct backend_error *error, int rc, const char *code, const char *text)
{
    snprintf(error->code, sizeof(error->code), "%s", code);
    snprintf(error->text, sizeof(error->text), "%s", text);
    return rc;
}

static int fail_down(struct backend *backend, struct backend_error *error, const char *text)
{
    backend_release(backend);
    error->down = true;
    return fail(error, -ECONNREFUSED, "unavailable", text);
}

static int open_socket(struct backend *backend)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const struct timeval timeout = {.tv_sec = backend->timeout_s};
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (strlen(backend->path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    memcpy(address.sun_path, backend->path, strlen(backend->path));
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0 ||
        connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return -errno;
    backend->fd = vgpu_steal_fd(&fd);
    line_reader_init(&backend->reader, backend->fd, STORE_REPLY_BYTES_MAX);
    return 0;
}

/* A connection of a mediator that has ended since shows so before anything is sent on it. */
static int connect_fresh(struct backend *backend, struct backend_error *error)
{
    struct pollfd readable = {.fd = backend->fd, .events = POLLIN};
    char text[BACKEND_TEXT_BYTES];
    int rc;

    if (backend->fd >= 0 && poll(&readable, 1, 0) != 0)
        backend_release(backend);
    if (backend->fd >= 0)
        return 0;
    rc = open_socket(backend);
    if (rc == 0)
        return 0;
    snprintf(text, sizeof(text), "no mediator answers at %s: %s", backend->path, strerror(-rc));
    return fail_down(backend, error, text);
}

static int take_answer(struct backend *backend, const char *line, json_t **ret_result,
                       struct backend_error *error)
{
    json_t *answer = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
    const json_t *problem = json_object_get(answer, "error");
    const char *code = json_string_value(json_object_get(problem, "code"));
    const char *text = json_string_value(json_object_get(problem, "text"));
    json_t *result = json_object_get(answer, "result");
    int rc = 0;

    if (json_is_false(json_object_get(answer, "ok")) && code && text) {
        rc = fail(error, -EREMOTEIO, code, text);
    } else if (json_is_true(json_object_get(answer, "ok")) && json_is_object(result) &&
               json_integer_value(json_object_get(answer, "id")) == backend->next_id) {
        *ret_result = json_incref(result);
    } else {
        backend_release(backend);
        rc = fail(error, -EPROTO, "not-understood", "the mediator's answer is not understood");
    }
    json_decref(answer);
    return rc;
}

int backend_ask(struct backend *backend, json_t *request, json_t **ret_result,
                struct backend_error *error)
{
    const char *line = NULL;
    int rc;

    error->down = false;
    if ((rc = connect_fresh(backend, error)) < 0)
        return rc;
    backend->next_id++;
    if (json_object_set_new(request, "id", json_integer(backend->next_id)) < 0)
        return fail(error, -ENOMEM, "failed", "out of memory");
    rc = line_write(backend->fd, request, STORE_REQUEST_BYTES_MAX);
    if (rc == -E2BIG)
        return fail(error, rc, "too-large", "the request is too long for the mediator");
    if (rc < 0)
        return fail_down(backend, error, "the mediator went away");
    rc = line_read(&backend->reader, &line);
    if (rc == -EAGAIN)
        return fail_down(backend, error,
                         "the mediator did not answer in time; it may have done what was asked");
    if (rc <= 0)
        return fail_down(backend, error, "the mediator went away; it may have done what was asked");
    return take_answer(backend, line, ret_result, error);
}
