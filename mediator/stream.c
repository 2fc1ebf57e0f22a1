/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/stream.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"

#define READ_BYTES 4096

static void buffer_release(struct stream_buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct stream_buffer){NULL};
}

/* Makes room for more bytes behind what is used. */
static int buffer_room(struct stream_buffer *buffer, size_t more)
{
    size_t size = buffer->size ? buffer->size : READ_BYTES;
    char *data;

    if (buffer->taken > 0) {
        buffer->used -= buffer->taken;
        memmove(buffer->data, buffer->data + buffer->taken, buffer->used);
        buffer->taken = 0;
    }
    while (size < buffer->used + more)
        size *= 2;
    if (size == buffer->size)
        return 0;
    data = realloc(buffer->data, size);
    if (!data)
        return -ENOMEM;
    buffer->data = data;
    buffer->size = size;
    return 0;
}

static void update_events(struct stream *stream)
{
    uint32_t events = stream->out.used > stream->out.taken ? EPOLLOUT : 0;

    if (!stream->held && !stream->ending)
        events |= EPOLLIN;
    loop_watch_modify(stream->loop, &stream->watch, events);
}

static int flush(struct stream *stream)
{
    struct stream_buffer *out = &stream->out;

    while (out->taken < out->used) {
        ssize_t sent = send(stream->fd, out->data + out->taken, out->used - out->taken,
                            MSG_NOSIGNAL | MSG_DONTWAIT);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return errno == EAGAIN ? 0 : -errno;
        out->taken += (size_t)sent;
    }
    buffer_release(out);
    return 0;
}

/* 1: something was read; 0: nothing now; -errno; -ENODATA: end of file. */
static int fill(struct stream *stream)
{
    struct stream_buffer *in = &stream->in;
    ssize_t got;
    int rc = buffer_room(in, READ_BYTES);

    if (rc < 0)
        return rc;
    do
        got = recv(stream->fd, in->data + in->used, in->size - in->used, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return errno == EAGAIN ? 0 : -errno;
    if (got == 0)
        return -ENODATA;
    in->used += (size_t)got;
    return 1;
}

/* The next whole line, or NULL. It stays valid until the buffer is filled again. */
static char *next_line(struct stream *stream)
{
    struct stream_buffer *in = &stream->in;
    char *start = in->data + in->taken, *end;

    if (in->used == in->taken)
        return NULL;
    end = memchr(start, '\n', in->used - in->taken);
    if (!end)
        return NULL;
    *end = '\0';
    in->taken += (size_t)(end - start) + 1;
    return start;
}

/* Delivers lines until there is none or the stream is held. False: a callback released it. */
static bool deliver(struct stream *stream)
{
    bool released = false;
    char *line;

    while (!stream->held && !stream->ending && (line = next_line(stream))) {
        stream->released = &released;
        stream->line(stream->context, line);
        if (released)
            return false;
        stream->released = NULL;
    }
    if (stream->in.used == stream->in.taken)
        buffer_release(&stream->in);
    return true;
}

/* Lines may also be left from before the stream was held. */
static int read_some(struct stream *stream, bool readable, bool *ret_released)
{
    int rc = readable ? fill(stream) : 0;

    if (rc < 0)
        return rc;
    if (!deliver(stream)) {
        *ret_released = true;
        return 0;
    }
    return stream->in.used - stream->in.taken >= stream->in_max ? -E2BIG : 0;
}

static void ready(void *context, uint32_t events)
{
    struct stream *stream = context;
    bool released = false;
    int rc = 0;

    if (events & EPOLLOUT)
        rc = flush(stream);
    if (rc == 0 && !stream->held && !stream->ending)
        rc = read_some(stream, events & (EPOLLIN | EPOLLHUP | EPOLLERR), &released);
    else if (rc == 0 && (events & (EPOLLHUP | EPOLLERR)))
        rc = -ENODATA; /* held or ending: nothing that is sent can arrive any more */
    if (released)
        return;
    if (rc == 0 && stream->ending && stream->out.used == stream->out.taken)
        rc = -ENODATA;
    if (rc < 0)
        stream->end(stream->context, rc == -ENODATA ? 0 : rc);
    else
        update_events(stream);
}

int stream_init(struct stream *stream, struct loop *loop, int fd, size_t in_max, size_t out_max,
                void (*line)(void *context, char *line), void (*end)(void *context, int error),
                void *context)
{
    int rc;

    *stream = (struct stream){.loop = loop,
                              .fd = fd,
                              .in_max = in_max,
                              .out_max = out_max,
                              .line = line,
                              .end = end,
                              .context = context};
    rc = loop_watch_add(loop, &stream->watch, fd, EPOLLIN, ready, stream);
    if (rc < 0)
        vgpu_close(&stream->fd);
    return rc;
}

void stream_release(struct stream *stream)
{
    if (stream->released)
        *stream->released = true;
    if (stream->fd >= 0)
        loop_watch_remove(stream->loop, &stream->watch);
    vgpu_close(&stream->fd);
    buffer_release(&stream->in);
    buffer_release(&stream->out);
}

void stream_hold(struct stream *stream, bool held)
{
    if (stream->held == held)
        return;
    stream->held = held;
    /* Lines that were read already come from the loop, not from here: one turn with EPOLLOUT. */
    update_events(stream);
    if (!held && stream->in.used > stream->in.taken)
        loop_watch_modify(stream->loop, &stream->watch, EPOLLIN | EPOLLOUT);
}

int stream_send_part(struct stream *stream, const char *text, size_t size)
{
    struct stream_buffer *out = &stream->out;
    int rc;

    if (stream->fd < 0)
        return -EPIPE;
    if (out->used - out->taken + size > stream->out_max)
        return -EMSGSIZE;
    rc = buffer_room(out, size);
    if (rc < 0)
        return rc;
    memcpy(out->data + out->used, text, size);
    out->used += size;
    rc = flush(stream);
    update_events(stream);
    return rc;
}

int stream_send(struct stream *stream, const json_t *json)
{
    _cleanup_free_ char *text = json_dumps(json, JSON_COMPACT);
    size_t length = text ? strlen(text) : 0;

    if (!text)
        return -ENOMEM;
    text[length] = '\n'; /* in place of its end */
    return stream_send_part(stream, text, length + 1);
}

void stream_drain(struct stream *stream)
{
    bool released = false;

    /* Not for ever, should the other end live on in some other process. */
    for (size_t read = 0; stream->fd >= 0 && read <= stream->in_max; read += READ_BYTES)
        if (read_some(stream, true, &released) < 0 || released)
            return;
}

void stream_finish(struct stream *stream)
{
    stream->ending = true;
    loop_watch_modify(stream->loop, &stream->watch, EPOLLOUT);
}
