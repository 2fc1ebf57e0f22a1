/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records that were taken from the ring before they could be issued: so that explicit jobs over a
 * limit are refused at once, and answers of host functions are heard, while the turn is elsewhere.
 * A queue of bytes, allocated once.
 */
#ifndef VGPU_WORKER_BACKLOG_H
#define VGPU_WORKER_BACKLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vgpu/ring.h>

struct cuda_op_row;

/* A record, private, with what the consumer found out when it took it. */
struct taken {
    const struct cuda_op_row *row;
    uint64_t taken_ns;
    uint64_t job; /* its number among the channel's jobs, from 1; 0: no job */
    _Alignas(8) uint8_t bytes[VGPU_RECORD_MAX_BYTES];
};

static inline const struct vgpu_record *taken_record(const struct taken *taken)
{
    return (const struct vgpu_record *)(const void *)taken->bytes;
}

struct backlog {
    uint8_t *buffer;
    size_t head, tail; /* tail: first entry; head: where the next one goes */
    size_t used;
    uint32_t count;
};

int backlog_init(struct backlog *backlog);
void backlog_free(struct backlog *backlog);

/* True if a record of any size fits. */
bool backlog_has_room(const struct backlog *backlog);
void backlog_push(struct backlog *backlog, const struct taken *taken);

/* Sequence number of the first record; the backlog is not empty. */
uint64_t backlog_first_seq(const struct backlog *backlog);
void backlog_pop(struct backlog *backlog, struct taken *ret_taken);

#endif
