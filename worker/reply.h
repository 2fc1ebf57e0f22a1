/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Completions on their way to the guest. A guest that does not empty its ring makes them queue
 * here; the queue is bounded because the number of waiting records is (WORKER_MAX_WAITS).
 */
#ifndef VGPU_WORKER_REPLY_H
#define VGPU_WORKER_REPLY_H

#include <stdbool.h>
#include <stdint.h>

#include "ring/ring.h"

struct channel;

struct replies {
    struct ring_producer ring;
    struct queued_reply *queue, **queue_end;
    uint32_t waiting; /* answers owed: taken records that wait, and replies in the queue */
    uint32_t written; /* VGPU_COMPLETION_WRITTEN in the queue */
    bool kick;
    _Alignas(8) uint8_t buffer[VGPU_RECORD_MAX_BYTES];
};

void replies_init(struct replies *replies, struct vgpu_ring_state *state, void *slots,
                  uint32_t granules);
void replies_free(struct replies *replies);

/* Sends what lies in completion, size_bytes long; before it, what it could reveal: what copies
 * wrote (written.h), events that are done (snapshot.h). */
void reply_send(struct channel *channel, const struct vgpu_completion *completion);

/* Says that the copy of record `seq` wrote this. */
void reply_send_written(struct channel *channel, uint64_t seq, const struct vgpu_written *what);

/* PRINT or PRINT_ERROR. Text is dropped rather than queued: true if it went out. */
bool reply_send_print(struct channel *channel, enum vgpu_completion_kind kind, const char *text,
                      uint32_t bytes);

/* Moves queued replies to the ring; true if any went. Arms the ring for room if some stay. */
bool replies_flush(struct channel *channel);

/* Wakes the guest if it sleeps and something was published. */
void replies_kick(struct channel *channel);

#endif
