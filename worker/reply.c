/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/reply.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "worker/channel.h"

struct queued_reply {
    struct queued_reply *next;
    uint32_t size;
    bool answer;  /* counts in replies.waiting */
    bool written; /* counts in replies.written */
    uint8_t bytes[];
};

void replies_init(struct replies *replies, struct vgpu_ring_state *state, void *slots,
                  uint32_t granules)
{
    replies->queue_end = &replies->queue;
    ring_producer_init(&replies->ring, state, slots, granules, 0);
}

void replies_free(struct replies *replies)
{
    while (replies->queue) {
        struct queued_reply *next = replies->queue->next;

        free(replies->queue);
        replies->queue = next;
    }
}

/* 0, -EAGAIN, or the channel was ended. An answer that never fits is cut to its head. */
static int publish(struct channel *channel, const void *bytes, uint32_t size)
{
    struct replies *replies = &channel->replies;
    struct vgpu_completion head;
    void *entry;
    int status = ring_reserve(&replies->ring, size, &entry);

    if (status == -EMSGSIZE) {
        memcpy(&head, bytes, sizeof(head));
        head.size_bytes = sizeof(head);
        head.status = VGPU_LIMIT;
        head.result = head.result ? head.result : CUDA_ERROR_OUT_OF_MEMORY;
        bytes = &head;
        size = sizeof(head);
        status = ring_reserve(&replies->ring, size, &entry);
    }
    if (status == -EAGAIN)
        return status;
    if (status < 0) {
        channel_end(channel, VGPU_BAD_RECORD, "the completion ring's index is nonsense");
        return status;
    }
    memcpy(entry, bytes, size);
    replies->kick |= ring_publish(&replies->ring);
    return 0;
}

static void enqueue(struct channel *channel, const struct vgpu_completion *completion)
{
    struct replies *replies = &channel->replies;
    struct queued_reply *reply = malloc(sizeof(*reply) + completion->size_bytes);

    if (!reply) {
        channel_end(channel, VGPU_NO_MEMORY, "no memory for a completion");
        return;
    }
    reply->next = NULL;
    reply->size = completion->size_bytes;
    reply->answer = completion->kind == VGPU_COMPLETION_REPLY;
    reply->written = completion->kind == VGPU_COMPLETION_WRITTEN;
    replies->written += reply->written;
    memcpy(reply->bytes, completion, reply->size);
    *replies->queue_end = reply;
    replies->queue_end = &reply->next;
}

static void send(struct channel *channel, const struct vgpu_completion *completion)
{
    struct replies *replies = &channel->replies;

    if (replies->queue || publish(channel, completion, completion->size_bytes) == -EAGAIN)
        enqueue(channel, completion);
    else if (completion->kind == VGPU_COMPLETION_REPLY)
        replies->waiting--;
}

void reply_send(struct channel *channel, const struct vgpu_completion *completion)
{
    written_tell(channel);
    snapshot_tell_events(channel);
    send(channel, completion);
}

void reply_send_written(struct channel *channel, uint64_t seq, const struct vgpu_written *what)
{
    struct {
        struct vgpu_completion head;
        struct vgpu_written what;
    } completion = {
        .head = {.size_bytes = sizeof(completion), .kind = VGPU_COMPLETION_WRITTEN, .seq = seq},
        .what = *what};

    send(channel, &completion.head);
}

bool reply_send_print(struct channel *channel, enum vgpu_completion_kind kind, const char *text,
                      uint32_t bytes)
{
    struct vgpu_completion *completion = (struct vgpu_completion *)(void *)channel->replies.buffer;
    uint32_t padded = (bytes + 7u) & ~7u;

    written_tell(channel);
    if (channel->replies.queue)
        return false;
    memset(completion, 0, sizeof(*completion) + padded);
    completion->size_bytes = (uint32_t)sizeof(*completion) + padded;
    completion->kind = (uint16_t)kind;
    memcpy(completion + 1, text, bytes);
    return publish(channel, completion, completion->size_bytes) == 0;
}

bool replies_flush(struct channel *channel)
{
    struct replies *replies = &channel->replies;
    bool moved = false;

    while (replies->queue && !channel->ended) {
        struct queued_reply *reply = replies->queue;

        if (publish(channel, reply->bytes, reply->size) == -EAGAIN) {
            if (ring_producer_arm(&replies->ring, reply->size))
                return moved;
            continue;
        }
        replies->waiting -= reply->answer;
        replies->written -= reply->written;
        replies->queue = reply->next;
        if (!replies->queue) {
            replies->queue_end = &replies->queue;
            ring_producer_disarm(&replies->ring);
        }
        free(reply);
        moved = true;
    }
    return moved;
}

void replies_kick(struct channel *channel)
{
    if (channel->replies.kick)
        channel_kick_guest(channel);
    channel->replies.kick = false;
}
