/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON objects on lines, on a descriptor that does not block: the framing of docs/spec/admin.md for
 * the loop. Used for the admin socket's clients and for the helper processes.
 *
 * Lines are delivered one at a time from the loop; while the stream is held none is. Buffers exist
 * only while they hold something.
 */
#ifndef VGPU_MEDIATOR_STREAM_H
#define VGPU_MEDIATOR_STREAM_H

#include <stddef.h>

#include <jansson.h>

#include "mediator/loop.h"

struct stream_buffer {
    char *data;
    size_t size, used, taken;
};

struct stream {
    struct loop *loop;
    struct loop_watch watch;
    int fd; /* the stream's; -1: closed */
    size_t in_max, out_max;
    struct stream_buffer in, out;
    bool held, ending;
    bool *released; /* set to true if a callback releases the stream */
    /* Both may release the stream and free what contains it. */
    void (*line)(void *context, char *line);
    void (*end)(void *context, int error); /* 0: end of file; -E2BIG: a line is too long */
    void *context;
};

/* Takes fd over, in each case. line and end are called from the loop only. */
int stream_init(struct stream *stream, struct loop *loop, int fd, size_t in_max, size_t out_max,
                void (*line)(void *context, char *line), void (*end)(void *context, int error),
                void *context);
void stream_release(struct stream *stream);

/* While held no line is delivered and nothing is read. */
void stream_hold(struct stream *stream, bool held);

/* Queues json and a newline. -EMSGSIZE: more than out_max would be queued; -ENOMEM; -EPIPE. */
int stream_send(struct stream *stream, const json_t *json);

/* Queues a part of a line, whose last part ends with a newline. Errors as above. */
int stream_send_part(struct stream *stream, const char *text, size_t size);

/*
 * The other end is closed: delivers the lines that it left, without end(). Nothing if closed.
 */
void stream_drain(struct stream *stream);

/* Reads no more; calls end(0) when what is queued was written. */
void stream_finish(struct stream *stream);

#endif
