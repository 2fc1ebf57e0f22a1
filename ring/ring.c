/* SPDX-License-Identifier: GPL-2.0-or-later OR Apache-2.0 */
#include "ring/ring.h"

#include <errno.h>
#include <string.h>

/* The head of any entry that the ring itself reads. */
struct entry_head {
    uint32_t size_bytes;
    uint16_t kind; /* op or completion kind: 0 is a pad in both */
    uint16_t rest;
};

static uint32_t to_granules(size_t size)
{
    return (uint32_t)((size + VGPU_GRANULE_BYTES - 1) / VGPU_GRANULE_BYTES);
}

size_t ring_entry_max(uint32_t granules)
{
    size_t half = (size_t)granules * VGPU_GRANULE_BYTES / 2;

    return half < VGPU_RECORD_MAX_BYTES ? half : VGPU_RECORD_MAX_BYTES;
}

void ring_producer_init(struct ring_producer *producer, struct vgpu_ring_state *state, void *slots,
                        uint32_t granules, uint32_t start)
{
    *producer = (struct ring_producer){
        .state = state, .slots = slots, .granules = granules, .head = start, .seen = start};
}

void ring_consumer_init(struct ring_consumer *consumer, struct vgpu_ring_state *state,
                        const void *slots, uint32_t granules, uint32_t start)
{
    *consumer = (struct ring_consumer){.state = state,
                                       .slots = slots,
                                       .granules = granules,
                                       .tail = start,
                                       .seen = start,
                                       .told = start};
}

/* Free granules as of now, or -EPROTO. */
static int64_t free_granules(struct ring_producer *producer)
{
    /* Acquire: pairs with the release in ring_release; the consumer has copied what it freed. */
    uint32_t tail = __atomic_load_n(&producer->state->consumer.tail, __ATOMIC_ACQUIRE);
    uint32_t used = producer->head - tail;

    if (used > producer->granules)
        return -EPROTO;
    producer->seen = tail;
    return producer->granules - used;
}

/* The same, looking at the peer's line, which costs, only if what was seen there is not enough. */
static int64_t free_for(struct ring_producer *producer, uint32_t need)
{
    uint32_t room = producer->granules - (producer->head - producer->seen);

    return room >= need ? room : free_granules(producer);
}

int ring_reserve(struct ring_producer *producer, size_t size, void **ret_entry)
{
    uint32_t need = to_granules(size);
    uint32_t position = producer->head & (producer->granules - 1);
    uint32_t to_end = producer->granules - position;
    uint32_t pad = need > to_end ? to_end : 0;
    int64_t room;

    if (size < sizeof(struct entry_head) || size > ring_entry_max(producer->granules))
        return -EMSGSIZE;
    room = free_for(producer, need + pad);
    if (room < 0)
        return (int)room;
    if (room < (int64_t)need + pad)
        return -EAGAIN;
    if (pad > 0) {
        struct entry_head head = {.size_bytes = pad * VGPU_GRANULE_BYTES};

        memcpy(producer->slots + (size_t)position * VGPU_GRANULE_BYTES, &head, sizeof(head));
        position = 0;
    }
    producer->reserved = need + pad;
    *ret_entry = producer->slots + (size_t)position * VGPU_GRANULE_BYTES;
    return 0;
}

/* The consumer's park, or 0. */
static uint32_t publish(struct ring_producer *producer)
{
    producer->head += producer->reserved;
    producer->reserved = 0;
    /* Release: pairs with the acquire in available(); the entry is whole before it is visible. */
    __atomic_store_n(&producer->state->producer.head, producer->head, __ATOMIC_RELEASE);
    /* Full fence: pairs with ring_consumer_arm; head is visible before parked is read. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return __atomic_load_n(&producer->state->consumer.parked, __ATOMIC_RELAXED);
}

bool ring_publish(struct ring_producer *producer)
{
    return publish(producer) != 0;
}

bool ring_publish_kick_once(struct ring_producer *producer)
{
    uint32_t park = publish(producer);

    if (park == 0 || park == producer->kicked)
        return false;
    producer->kicked = park;
    return true;
}

/* Granules published and not taken as of now, or -EPROTO. */
static int64_t available(const struct ring_consumer *consumer)
{
    /* Acquire: pairs with the release in ring_publish. */
    uint32_t head = __atomic_load_n(&consumer->state->producer.head, __ATOMIC_ACQUIRE);
    uint32_t used = head - consumer->tail;

    /* The room of what was taken is not the producer's to fill before it is released. */
    return used > consumer->granules - ring_unreleased(consumer) ? -EPROTO : (int64_t)used;
}

/* The same, looking at the peer's line, which costs, only if all that was seen there is taken. */
static int64_t available_to_take(struct ring_consumer *consumer)
{
    uint32_t used = consumer->seen - consumer->tail;
    int64_t status;

    if (used > 0)
        return used;
    status = available(consumer);
    if (status > 0)
        consumer->seen = consumer->tail + (uint32_t)status;
    return status;
}

uint32_t ring_waiting(const struct ring_consumer *consumer)
{
    int64_t used = available(consumer);

    return used < 0 ? 0 : (uint32_t)used;
}

int ring_ready(const struct ring_consumer *consumer)
{
    /* Acquire: pairs with the release in ring_publish. */
    uint32_t head = __atomic_load_n(&consumer->state->producer.head, __ATOMIC_ACQUIRE);
    /* Atomic: threads that do not hold the ring ask as well, for a hint. */
    uint32_t used = head - __atomic_load_n(&consumer->tail, __ATOMIC_RELAXED);

    return used > consumer->granules ? -EPROTO : used > 0;
}

static void advance(struct ring_consumer *consumer, uint32_t granules)
{
    /* Atomic for ring_ready(). */
    __atomic_store_n(&consumer->tail, consumer->tail + granules, __ATOMIC_RELAXED);
}

bool ring_release(struct ring_consumer *consumer)
{
    if (consumer->told == consumer->tail)
        return false;
    consumer->told = consumer->tail;
    /* Release: pairs with the acquire in free_granules(). */
    __atomic_store_n(&consumer->state->consumer.tail, consumer->tail, __ATOMIC_RELEASE);
    /* Full fence: pairs with ring_producer_arm. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return __atomic_load_n(&consumer->state->producer.waiting, __ATOMIC_RELAXED) != 0;
}

static const uint8_t *entry_at(const struct ring_consumer *consumer, uint32_t index)
{
    return consumer->slots + (size_t)(index & (consumer->granules - 1)) * VGPU_GRANULE_BYTES;
}

int ring_take(struct ring_consumer *consumer, void *buffer, size_t size, size_t *ret_size)
{
    for (;;) {
        uint32_t to_end = consumer->granules - (consumer->tail & (consumer->granules - 1));
        const uint8_t *entry = entry_at(consumer, consumer->tail);
        int64_t used = available_to_take(consumer);
        struct entry_head head;
        uint32_t need;

        if (used <= 0)
            return (int)used;
        /* One load of each: the peer may change them meanwhile. */
        head.size_bytes = __atomic_load_n((const uint32_t *)(const void *)entry, __ATOMIC_RELAXED);
        head.kind = __atomic_load_n((const uint16_t *)(const void *)(entry + 4), __ATOMIC_RELAXED);
        need = to_granules(head.size_bytes);
        if (head.size_bytes < sizeof(head) || head.size_bytes % 8 != 0 || need > used ||
            need > to_end)
            return -EPROTO;
        if (head.kind == VGPU_OP_PAD) {
            if (need != to_end)
                return -EPROTO;
            advance(consumer, need);
            continue;
        }
        if (head.size_bytes > size)
            return -EPROTO;
        memcpy(buffer, entry, head.size_bytes);
        memcpy(buffer, &head.size_bytes, sizeof(head.size_bytes));
        memcpy((uint8_t *)buffer + 4, &head.kind, sizeof(head.kind));
        advance(consumer, need);
        *ret_size = head.size_bytes;
        if (consumer->seen != consumer->tail) {
            /* The next one comes from the peer's cache while this one is being worked on. */
            __builtin_prefetch(entry_at(consumer, consumer->tail));
            __builtin_prefetch(entry_at(consumer, consumer->tail + 1));
        }
        return 1;
    }
}

int ring_consume(struct ring_consumer *consumer, void *buffer, size_t size, size_t *ret_size,
                 bool *ret_kick)
{
    int status = ring_take(consumer, buffer, size, ret_size);

    *ret_kick = ring_release(consumer);
    return status;
}

bool ring_consumer_arm(struct ring_consumer *consumer)
{
    consumer->park += consumer->park == UINT32_MAX ? 2 : 1; /* 0 stands for none */
    __atomic_store_n(&consumer->state->consumer.parked, consumer->park, __ATOMIC_RELAXED);
    /* Full fence: pairs with ring_publish; parked is visible before head is read again. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (available(consumer) == 0)
        return true;
    ring_consumer_disarm(consumer);
    return false;
}

void ring_consumer_disarm(struct ring_consumer *consumer)
{
    __atomic_store_n(&consumer->state->consumer.parked, 0, __ATOMIC_RELAXED);
}

void ring_producer_want_kick(struct ring_producer *producer)
{
    __atomic_store_n(&producer->state->producer.waiting, 1, __ATOMIC_RELAXED);
    /* Full fence: pairs with release_granules; waiting is visible before tail is read again. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

bool ring_producer_arm(struct ring_producer *producer, size_t size)
{
    uint32_t need = to_granules(size);
    uint32_t to_end = producer->granules - (producer->head & (producer->granules - 1));
    int64_t room;

    if (need > to_end)
        need += to_end;
    ring_producer_want_kick(producer);
    room = free_granules(producer);
    if (room >= 0 && room < (int64_t)need)
        return true;
    ring_producer_disarm(producer);
    return false;
}

void ring_producer_disarm(struct ring_producer *producer)
{
    __atomic_store_n(&producer->state->producer.waiting, 0, __ATOMIC_RELAXED);
}
