/* SPDX-License-Identifier: Apache-2.0 */
#include "carrier/local.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "common/cleanup.h"
#include "common/fdpass.h"
#include "common/status.h"

static int refuse(struct local_refusal *refusal, uint32_t status, int error, const char *what,
                  const char *why)
{
    *refusal = (struct local_refusal){.status = status};
    snprintf(refusal->text, sizeof(refusal->text), "%s: %s", what, why);
    return -error;
}

static int set_timeout(int sock, int milliseconds)
{
    struct timeval limit = {.tv_sec = milliseconds / 1000, .tv_usec = (milliseconds % 1000) * 1000};

    if (setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
        setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0)
        return -errno;
    return 0;
}

static int send_message(struct local_link *link, const struct vgpu_msg *message)
{
    const uint8_t *bytes = (const uint8_t *)message;
    size_t sent = 0;

    while (sent < message->size_bytes) {
        ssize_t n = vgpu_fdpass_send(link->sock, bytes + sent, message->size_bytes - sent, NULL, 0);

        if (n < 0 && n != -EINTR)
            return (int)n;
        sent += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int read_bytes(int sock, void *buffer, size_t size)
{
    size_t got = 0;

    while (got < size) {
        size_t n_fds;
        ssize_t n = vgpu_fdpass_recv(sock, (uint8_t *)buffer + got, size - got, NULL, 0, &n_fds);

        if (n == -EINTR)
            continue;
        if (n <= 0)
            return n == 0 ? -ECONNRESET : (int)n;
        got += (size_t)n;
    }
    return 0;
}

/* Reads one message. Descriptors beyond max_fds make it an error, and are closed. */
static int read_message(int sock, union message *message, int *fds, size_t max_fds,
                        size_t *ret_n_fds)
{
    ssize_t n;
    int status;

    do {
        n = vgpu_fdpass_recv(sock, message->bytes, sizeof(struct vgpu_msg), fds, max_fds,
                             ret_n_fds);
    } while (n == -EINTR);
    if (n <= 0)
        return n == 0 ? -ECONNRESET : (int)n;
    status = read_bytes(sock, message->bytes + n, sizeof(struct vgpu_msg) - (size_t)n);
    if (status == 0)
        status = message_size(&message->head);
    if (status > 0)
        status = read_bytes(sock, message->bytes + sizeof(struct vgpu_msg),
                            (size_t)status - sizeof(struct vgpu_msg));
    return status < 0 ? status : message_check(message);
}

static void close_all(int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        vgpu_close(&fds[i]);
}

/* The mediator refuses the connection itself, which it closes then: the answer to any request. */
static bool turned_away(const union message *message)
{
    return message->head.tag == 0 && message->head.type == VGPU_MSG_REFUSED;
}

/* Waits for the answer to `tag`; hands what nobody asked for to the link's owner. */
static int await(struct local_link *link, uint32_t tag, union message *answer, int *fds,
                 size_t *ret_n_fds)
{
    for (;;) {
        int status = read_message(link->sock, answer, fds, fds ? LOCAL_FDS : 0, ret_n_fds);

        if (status < 0) {
            close_all(fds, *ret_n_fds);
            *ret_n_fds = 0;
            return status;
        }
        if (answer->head.tag == tag || turned_away(answer))
            return 0;
        close_all(fds, *ret_n_fds);
        *ret_n_fds = 0;
        if (answer->head.tag != 0)
            return -EPROTO;
        if (link->unasked)
            link->unasked(link->context, answer);
    }
}

/*
 * Sends a request, fills its tag, and takes the answer, which is of the type `wanted` on success.
 * fds may be NULL.
 */
static int request(struct local_link *link, struct vgpu_msg *ask, uint16_t wanted,
                   union message *answer, int *fds, size_t *ret_n_fds,
                   struct local_refusal *refusal)
{
    size_t none = 0;
    int status;

    ask->tag = ++link->last_tag ? link->last_tag : ++link->last_tag;
    status = send_message(link, ask);
    /* Who turns a connection away does not wait for what is asked, but has said why. */
    if (status == 0 || status == -EPIPE)
        status = await(link, ask->tag, answer, fds, ret_n_fds ? ret_n_fds : &none);
    if (status < 0) {
        bool ended = status == -ECONNRESET || status == -EPIPE || status == -EAGAIN;

        return refuse(refusal, ended ? VGPU_STARTING : VGPU_BAD_MESSAGE, -status,
                      "no answer from the mediator",
                      status == -EAGAIN ? "it did not answer in time" : strerror(-status));
    }
    if (answer->head.type == wanted)
        return 0;
    if (ret_n_fds)
        close_all(fds, *ret_n_fds);
    if (answer->head.type != VGPU_MSG_REFUSED)
        return refuse(refusal, VGPU_BAD_MESSAGE, EPROTO, "the mediator", "answered out of turn");
    *refusal = (struct local_refusal){.status = answer->refused.status,
                                      .retry_ns = answer->refused.retry_ns};
    snprintf(refusal->text, sizeof(refusal->text), "%s",
             answer->refused.text[0] ? answer->refused.text
                                     : vgpu_status_text(answer->refused.status));
    return -ECONNREFUSED;
}

static int refuse_connect(struct local_refusal *refusal, const char *path, int error)
{
    char what[300];
    uint32_t status = VGPU_STARTING;

    if (error != ENOENT && error != ECONNREFUSED && error != EAGAIN)
        status = VGPU_NOT_CONFIGURED;
    snprintf(what, sizeof(what), "cannot reach the mediator at '%.200s'", path);
    return refuse(refusal, status, error, what, strerror(error));
}

static int hello(struct local_link *link, struct vgpu_msg_welcome *ret_welcome,
                 struct local_refusal *refusal)
{
    struct vgpu_msg_hello ask = {
        .head = {.size_bytes = sizeof(ask), .type = VGPU_MSG_HELLO},
        .magic = VGPU_MAGIC,
        .version_major = VGPU_VERSION_MAJOR,
        .version_minor = VGPU_VERSION_MINOR,
        .features = VGPU_FEATURES_KNOWN,
        .carrier = VGPU_CARRIER_LOCAL,
    };
    union message answer;
    int status = request(link, &ask.head, VGPU_MSG_WELCOME, &answer, NULL, NULL, refusal);

    if (status < 0)
        return status;
    if (answer.welcome.magic != VGPU_MAGIC || answer.welcome.version_major != VGPU_VERSION_MAJOR ||
        (answer.welcome.features & ~(uint64_t)VGPU_FEATURES_KNOWN))
        return refuse(refusal, VGPU_VERSION, EPROTONOSUPPORT, "the mediator",
                      vgpu_status_text(VGPU_VERSION));
    *ret_welcome = answer.welcome;
    return 0;
}

int local_connect(struct local_link *link, const char *path, struct vgpu_msg_welcome *ret_welcome,
                  struct local_refusal *refusal)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int status;

    link->sock = -1;
    if (strlen(path) >= sizeof(address.sun_path) || path[0] == '\0')
        return refuse_connect(refusal, path, ENAMETOOLONG);
    memcpy(address.sun_path, path, strlen(path));
    link->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (link->sock < 0)
        return refuse_connect(refusal, path, errno);
    if (set_timeout(link->sock, LOCAL_TIMEOUT_MS) < 0 ||
        connect(link->sock, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        status = refuse_connect(refusal, path, errno);
        local_release(link);
        return status;
    }
    status = hello(link, ret_welcome, refusal);
    if (status < 0)
        local_release(link);
    return status;
}

int local_open(struct local_link *link, struct vgpu_msg_open *ask, struct vgpu_msg_opened *ret,
               int ret_fds[LOCAL_FDS], struct local_refusal *refusal)
{
    union message answer;
    size_t n_fds = 0;
    int status;

    ask->head = (struct vgpu_msg){.size_bytes = sizeof(*ask), .type = VGPU_MSG_OPEN};
    status = request(link, &ask->head, VGPU_MSG_OPENED, &answer, ret_fds, &n_fds, refusal);
    if (status < 0)
        return status;
    if (n_fds != LOCAL_FDS) {
        close_all(ret_fds, n_fds);
        return refuse(refusal, VGPU_BAD_MESSAGE, EPROTO, "the mediator opened a channel",
                      "its descriptors are missing");
    }
    *ret = answer.opened;
    return 0;
}

int local_resume(struct local_link *link, uint32_t channel, const uint8_t token[VGPU_TOKEN_BYTES],
                 struct local_refusal *refusal)
{
    struct vgpu_msg_resume ask = {
        .head = {.size_bytes = sizeof(ask), .type = VGPU_MSG_RESUME},
        .channel = channel,
    };
    union message answer;

    memcpy(ask.token, token, sizeof(ask.token));
    return request(link, &ask.head, VGPU_MSG_RESUMED, &answer, NULL, NULL, refusal);
}

int local_close(struct local_link *link, uint32_t channel, int timeout_ms)
{
    struct vgpu_msg_channel ask = {
        .head = {.size_bytes = sizeof(ask), .type = VGPU_MSG_CLOSE},
        .channel = channel,
    };
    struct local_refusal refusal;
    union message answer;

    if (link->sock < 0)
        return -ENOTCONN;
    set_timeout(link->sock, timeout_ms);
    return request(link, &ask.head, VGPU_MSG_CLOSED, &answer, NULL, NULL, &refusal);
}

int local_monitor(struct local_link *link, uint32_t gpu, uint32_t first, struct vgpu_monitor *ret,
                  struct local_refusal *refusal)
{
    struct vgpu_msg_monitor ask = {
        .head = {.size_bytes = sizeof(ask), .type = VGPU_MSG_MONITOR},
        .gpu = gpu,
        .first = first,
    };
    union message answer;
    int status = request(link, &ask.head, VGPU_MSG_MONITORED, &answer, NULL, NULL, refusal);

    if (status == 0)
        *ret = answer.monitored.monitor;
    return status;
}

int local_receive(struct local_link *link, union message *ret)
{
    size_t n_fds;

    return read_message(link->sock, ret, NULL, 0, &n_fds);
}

void local_release(struct local_link *link)
{
    vgpu_close(&link->sock);
}
