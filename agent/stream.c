/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/stream.h"

#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "common/clock.h"

#define HEARTBEAT_NS (15 * VGPU_NS_PER_S)
#define BLOCK_BYTES  8192

struct stream {
    struct stream *next;
    struct live *live;
    struct MHD_Connection *connection;
    struct principal who;
    bool states, suspended, ended;
    bool said_up, up;       /* whether the mediator's state was sent, and which */
    uint64_t state_seen;    /* live's state_seq */
    uint64_t event_seen;    /* live's event_seq */
    struct live_text *text; /* being sent */
    size_t sent;
    uint64_t last_ns; /* when something was sent */
};

static struct live_text *constant(const char *data)
{
    size_t size = strlen(data);
    struct live_text *text = malloc(sizeof(*text) + size);

    if (text) {
        text->users = 1;
        text->size = size;
        memcpy(text->data, data, size);
    }
    return text;
}

static struct live_text *next_event(struct stream *stream)
{
    const struct live *live = stream->live;

    if (stream->event_seen == live->event_seq)
        return NULL;
    if (live->event_seq - stream->event_seen > LIVE_EVENTS_KEPT) {
        stream->event_seen = live->event_seq - LIVE_EVENTS_KEPT;
        return constant("event: gap\ndata: {}\n\n");
    }
    return live_text_use(live->events[++stream->event_seen % LIVE_EVENTS_KEPT].text);
}

/* What is to be sent next; NULL: nothing now. Under the lock. */
static struct live_text *next_text(struct stream *stream)
{
    struct live *live = stream->live;
    struct live_text *text;

    if (!stream->said_up || stream->up != live->up) {
        stream->said_up = true;
        stream->up = live->up;
        return constant(live->up ? "event: mediator\ndata: {\"up\":true}\n\n"
                                 : "event: mediator\ndata: {\"up\":false}\n\n");
    }
    if ((text = next_event(stream)))
        return text;
    if (stream->states && live->state && stream->state_seen != live->state_seq) {
        stream->state_seen = live->state_seq;
        return live_text_use(live->state);
    }
    return vgpu_clock_ns() - stream->last_ns >= HEARTBEAT_NS ? constant(":\n\n") : NULL;
}

static ssize_t read_block(void *context, uint64_t position, char *block, size_t max)
{
    struct stream *stream = context;
    struct live *live = stream->live;
    ssize_t n = 0;

    pthread_mutex_lock(&live->lock);
    if (!stream->text)
        stream->text = next_text(stream);
    if (live->stopping || stream->ended) {
        n = MHD_CONTENT_READER_END_OF_STREAM;
    } else if (stream->text) {
        size_t left = stream->text->size - stream->sent;

        n = (ssize_t)(left < max ? left : max);
        memcpy(block, stream->text->data + stream->sent, (size_t)n);
        stream->sent += (size_t)n;
        stream->last_ns = vgpu_clock_ns();
        if (stream->sent == stream->text->size) {
            live_text_drop(stream->text);
            stream->text = NULL;
            stream->sent = 0;
        }
    } else {
        stream->suspended = true;
        MHD_suspend_connection(stream->connection);
    }
    pthread_mutex_unlock(&live->lock);
    return n;
}

static void closed(void *context)
{
    struct stream *stream = context, **at;
    struct live *live = stream->live;

    pthread_mutex_lock(&live->lock);
    for (at = &live->streams; *at != stream; at = &(*at)->next)
        continue;
    *at = stream->next;
    live->n_streams--;
    live->n_state_streams -= stream->states;
    live_text_drop(stream->text);
    pthread_mutex_unlock(&live->lock);
    free(stream);
}

/* Where a reader goes on that has seen that event; one that is gone is missed. Under the lock. */
static uint64_t place_of(const struct live *live, const char *last_id)
{
    uint64_t oldest = live->event_seq > LIVE_EVENTS_KEPT ? live->event_seq - LIVE_EVENTS_KEPT : 0;

    if (!last_id || !*last_id)
        return live->event_seq;
    for (uint64_t seq = live->event_seq; seq > oldest; seq--)
        if (strcmp(live->events[seq % LIVE_EVENTS_KEPT].id, last_id) == 0)
            return seq;
    return UINT64_MAX;
}

/* Under the lock. False: there are too many. */
static bool join(struct live *live, struct stream *stream, const char *last_id)
{
    if (live->n_streams == LIVE_STREAMS_MAX || live->stopping)
        return false;
    stream->next = live->streams;
    live->streams = stream;
    live->n_streams++;
    live->n_state_streams += stream->states;
    stream->event_seen = place_of(live, last_id);
    if (stream->event_seen == UINT64_MAX) {
        stream->event_seen = live->event_seq;
        stream->text = constant("event: gap\ndata: {}\n\n");
    }
    stream->state_seen = live->state_seq;
    if (stream->states) {
        live->wanted = true;
        pthread_cond_signal(&live->wake);
    }
    return true;
}

struct MHD_Response *stream_open(struct live *live, struct MHD_Connection *connection,
                                 const struct principal *who, bool states, const char *last_id)
{
    struct stream *stream = calloc(1, sizeof(*stream));
    struct MHD_Response *response;
    bool joined;

    if (!stream)
        return NULL;
    stream->live = live;
    stream->connection = connection;
    stream->who = *who;
    stream->states = states;
    stream->last_ns = vgpu_clock_ns();
    pthread_mutex_lock(&live->lock);
    joined = join(live, stream, last_id);
    pthread_mutex_unlock(&live->lock);
    if (!joined) {
        free(stream);
        return NULL;
    }
    response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_BYTES, read_block, stream,
                                                 closed);
    if (!response)
        closed(stream);
    return response;
}

static void resume(struct stream *stream)
{
    if (stream->suspended) {
        stream->suspended = false;
        MHD_resume_connection(stream->connection);
    }
}

void streams_wake(struct live *live)
{
    for (struct stream *stream = live->streams; stream; stream = stream->next)
        resume(stream);
}

void streams_tick(struct live *live)
{
    uint64_t now_ns = vgpu_clock_ns();

    for (struct stream *stream = live->streams; stream; stream = stream->next) {
        if (!auth_still(&live->agent->auth, &stream->who))
            stream->ended = true;
        if (stream->ended || now_ns - stream->last_ns >= HEARTBEAT_NS)
            resume(stream);
    }
}
