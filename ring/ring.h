/* SPDX-License-Identifier: GPL-2.0-or-later OR Apache-2.0 */
/*
 * Producer and consumer of one ring in shared memory (<vgpu/ring.h>, docs/spec/ring.md).
 *
 * Used by both sides of a channel, each ring with one producer and one consumer. Neither trusts the
 * other: own indices are private, the peer's are loaded once and checked, records are copied out
 * before they are looked at. No allocation, no system call, no logging; waking the peer and
 * sleeping are the caller's, who asks here whether to.
 *
 * Entries start with a 32-bit size in bytes, head included (struct vgpu_record and struct
 * vgpu_completion both do), and lie contiguously; a pad entry skips the end of the ring.
 */
#ifndef VGPU_RING_RING_H
#define VGPU_RING_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <vgpu/ring.h>

struct ring_producer {
    struct vgpu_ring_state *state; /* shared */
    uint8_t *slots;                /* shared */
    uint32_t granules;
    uint32_t head;     /* private truth */
    uint32_t reserved; /* granules reserved and not yet published */
    uint32_t seen;     /* the peer's tail as it was last loaded and checked */
    uint32_t kicked;   /* the park for which ring_publish_kick_once last said so */
};

struct ring_consumer {
    struct vgpu_ring_state *state;
    const uint8_t *slots;
    uint32_t granules;
    uint32_t tail; /* private truth */
    uint32_t seen; /* the peer's head as it was last loaded and checked */
    uint32_t told; /* the tail that the producer knows */
    uint32_t park; /* number of the last one */
};

/* The largest entry that a ring of that many granules always takes: half of it, capped. */
size_t ring_entry_max(uint32_t granules);

/* granules: a power of two within VGPU_RING_MIN/MAX_GRANULES. start: first index, 0 but in tests.
 */
void ring_producer_init(struct ring_producer *producer, struct vgpu_ring_state *state, void *slots,
                        uint32_t granules, uint32_t start);
void ring_consumer_init(struct ring_consumer *consumer, struct vgpu_ring_state *state,
                        const void *slots, uint32_t granules, uint32_t start);

/*
 * Room for an entry of size bytes, which the caller fills and then publishes; nothing is visible
 * before. Returns 0 with *ret_entry; -EAGAIN: no room now; -EMSGSIZE: never; -EPROTO: the
 * consumer's index is nonsense.
 */
int ring_reserve(struct ring_producer *producer, size_t size, void **ret_entry);

/* Publishes what was reserved. Returns true if the consumer is parked and must be kicked. */
bool ring_publish(struct ring_producer *producer);

/*
 * The same, but true only once for each time that the consumer parks: what is on its way need not
 * be sent again. Not where `parked` is a copy, whose writer does not number them (relay).
 */
bool ring_publish_kick_once(struct ring_producer *producer);

/*
 * Copies the next entry to buffer, of size bytes. Returns 1 with *ret_size, the checked size, which
 * is also stored in the copy; 0 if there is none; -EPROTO if index, size or pad are nonsense.
 * The entry's room is given back at once. *ret_kick: the producer waits for room, kick it.
 */
int ring_consume(struct ring_consumer *consumer, void *buffer, size_t size, size_t *ret_size,
                 bool *ret_kick);

/*
 * ring_consume in two steps, for a consumer that takes many: the line that the producer reads is
 * written once for all of them. An entry's room stays taken until ring_release, which answers true
 * if the producer waits for room; a consumer that finds no entry releases before it rests.
 */
int ring_take(struct ring_consumer *consumer, void *buffer, size_t size, size_t *ret_size);
bool ring_release(struct ring_consumer *consumer);

/* Granules taken and not released. */
static inline uint32_t ring_unreleased(const struct ring_consumer *consumer)
{
    return consumer->tail - consumer->told;
}

/* Granules published and not taken; 0 if the producer's index is nonsense. */
uint32_t ring_waiting(const struct ring_consumer *consumer);

/* 1 if an entry is there, 0 if not, -EPROTO. */
int ring_ready(const struct ring_consumer *consumer);

/*
 * Before sleeping: says that a kick is wanted and looks again. Returns true if the ring is still
 * empty (sleep on the kick), false if not (disarmed, go on). Always disarm after the sleep.
 */
bool ring_consumer_arm(struct ring_consumer *consumer);
void ring_consumer_disarm(struct ring_consumer *consumer);

/* The same for a producer that waits for room for size bytes. */
bool ring_producer_arm(struct ring_producer *producer, size_t size);
void ring_producer_disarm(struct ring_producer *producer);

/* Only says that a kick is wanted; the caller looks again for what it waits for, then sleeps. */
void ring_producer_want_kick(struct ring_producer *producer);

#endif
