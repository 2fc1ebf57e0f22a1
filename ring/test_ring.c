/* SPDX-License-Identifier: Apache-2.0 */
/* The ring against a plain queue, near the wrap of its indices, with a hostile peer, two threads.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "ring/ring.h"

#define MOST_GRANULES 512u

struct pair {
    struct vgpu_ring_state state;
    _Alignas(64) uint8_t slots[MOST_GRANULES * VGPU_GRANULE_BYTES];
    struct ring_producer producer;
    struct ring_consumer consumer;
};

static struct pair *pair_new(uint32_t granules, uint32_t start)
{
    struct pair *pair = aligned_alloc(64, (sizeof(*pair) + 63) / 64 * 64);

    assert_non_null(pair);
    memset(pair, 0, sizeof(*pair));
    pair->state.producer.head = start;
    pair->state.consumer.tail = start;
    ring_producer_init(&pair->producer, &pair->state, pair->slots, granules, start);
    ring_consumer_init(&pair->consumer, &pair->state, pair->slots, granules, start);
    return pair;
}

/* An entry of size bytes whose body is derived from value. */
static void fill(uint8_t *entry, uint32_t size, uint32_t value)
{
    uint16_t kind = 1;

    memset(entry, (int)(value & 0xff), size);
    memcpy(entry, &size, sizeof(size));
    memcpy(entry + 4, &kind, sizeof(kind));
    if (size >= 12)
        memcpy(entry + 8, &value, sizeof(value));
}

static int produce(struct pair *pair, uint32_t size, uint32_t value)
{
    void *entry;
    int status = ring_reserve(&pair->producer, size, &entry);

    if (status == 0) {
        fill(entry, size, value);
        ring_publish(&pair->producer);
    }
    return status;
}

static int consume(struct pair *pair, uint8_t *buffer, size_t *size)
{
    bool kick;

    return ring_consume(&pair->consumer, buffer, VGPU_RECORD_MAX_BYTES, size, &kick);
}

struct model {
    uint32_t sizes[4096], values[4096];
    unsigned first, last;
};

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static void check_entry(const struct model *model, const uint8_t *buffer, size_t size)
{
    uint8_t expected[VGPU_RECORD_MAX_BYTES];
    uint32_t wanted = model->sizes[model->first % 4096];

    assert_int_equal(size, wanted);
    fill(expected, wanted, model->values[model->first % 4096]);
    assert_memory_equal(buffer, expected, wanted);
}

/* Takes an entry; its room is given back with that of up to `late` others, or when it was the last.
 */
static int take(struct pair *pair, uint8_t *buffer, size_t *size, unsigned late)
{
    int status = ring_take(&pair->consumer, buffer, VGPU_RECORD_MAX_BYTES, size);

    if (status != 1 || ring_unreleased(&pair->consumer) > late)
        ring_release(&pair->consumer);
    return status;
}

/*
 * Random entries in and out; what the ring holds is always what the queue holds. late: granules
 * that the consumer keeps though it has taken them.
 */
static void run_model(uint32_t granules, uint32_t start, uint32_t seed, unsigned late)
{
    struct pair *pair = pair_new(granules, start);
    struct model model = {.first = 0};
    uint8_t buffer[VGPU_RECORD_MAX_BYTES];
    uint32_t most = (uint32_t)ring_entry_max(granules);
    size_t size;

    for (int step = 0; step < 20000; step++) {
        if (next_random(&seed) % 2) {
            uint32_t bytes = 8 + next_random(&seed) % ((most - 8) / 8 + 1) * 8;
            int status = produce(pair, bytes, (uint32_t)step);

            assert_true(status == 0 || status == -EAGAIN);
            /* The largest entry always fits into an empty ring. */
            assert_true(status == 0 || model.first != model.last ||
                        ring_unreleased(&pair->consumer) > 0);
            if (status == 0) {
                model.sizes[model.last % 4096] = bytes;
                model.values[model.last++ % 4096] = (uint32_t)step;
            }
        } else {
            int status = take(pair, buffer, &size, late);

            assert_int_equal(status, model.first != model.last);
            if (status == 1) {
                check_entry(&model, buffer, size);
                model.first++;
            }
        }
        assert_int_equal(ring_ready(&pair->consumer), model.first != model.last);
    }
    free(pair);
}

static void test_ring_model(void **state)
{
    run_model(512, 0, 1, 0);
    run_model(64, 0, 2, 0);
}

static void test_ring_model_near_wrap(void **state)
{
    run_model(16, UINT32_MAX - 5, 3, 0);
    run_model(512, UINT32_MAX - 100, 4, 0);
}

static void test_ring_model_two_slots(void **state)
{
    run_model(2, 0, 5, 0);
    run_model(2, UINT32_MAX, 6, 0);
    run_model(4, UINT32_MAX - 1, 7, 0);
}

static void test_ring_model_released_late(void **state)
{
    run_model(512, UINT32_MAX - 100, 8, 64);
    run_model(64, 0, 9, 16);
    run_model(4, UINT32_MAX - 1, 10, 3);
    run_model(2, UINT32_MAX, 11, 1);
}

static void test_ring_room_stays_taken_until_released(void **state)
{
    struct pair *pair = pair_new(2, UINT32_MAX);
    uint8_t buffer[VGPU_RECORD_MAX_BYTES];
    size_t size;

    assert_int_equal(produce(pair, 64, 1), 0);
    assert_int_equal(produce(pair, 64, 2), 0);
    assert_int_equal(ring_take(&pair->consumer, buffer, sizeof(buffer), &size), 1);
    assert_int_equal(produce(pair, 64, 3), -EAGAIN);
    assert_true(ring_producer_arm(&pair->producer, 64));
    assert_true(ring_release(&pair->consumer));
    assert_int_equal(produce(pair, 64, 3), 0);
    /* Nothing new: the producer is not asked. */
    assert_false(ring_release(&pair->consumer));
    free(pair);
}

static void test_ring_limit_of_an_entry(void **state)
{
    struct pair *pair = pair_new(512, 0);

    assert_int_equal(ring_entry_max(512), VGPU_RECORD_MAX_BYTES);
    assert_int_equal(ring_entry_max(2), 64);
    assert_int_equal(produce(pair, VGPU_RECORD_MAX_BYTES + 1, 0), -EMSGSIZE);
    assert_int_equal(produce(pair, 7, 0), -EMSGSIZE);
    assert_int_equal(produce(pair, VGPU_RECORD_MAX_BYTES, 0), 0);
    free(pair);
    pair = pair_new(2, 0);
    assert_int_equal(produce(pair, 65, 0), -EMSGSIZE);
    assert_int_equal(produce(pair, 64, 0), 0);
    free(pair);
}

static void test_ring_full_and_padded(void **state)
{
    struct pair *pair = pair_new(8, 0);
    uint8_t buffer[VGPU_RECORD_MAX_BYTES];
    size_t size;

    assert_int_equal(produce(pair, 192, 1), 0);
    assert_int_equal(produce(pair, 192, 2), 0);
    /* Two granules are left, at the end; four do not fit there. */
    assert_int_equal(produce(pair, 256, 3), -EAGAIN);
    assert_int_equal(consume(pair, buffer, &size), 1);
    assert_int_equal(produce(pair, 256, 3), -EAGAIN);
    assert_int_equal(consume(pair, buffer, &size), 1);
    assert_int_equal(produce(pair, 256, 3), 0);
    assert_int_equal(consume(pair, buffer, &size), 1);
    assert_int_equal(size, 256);
    assert_int_equal(consume(pair, buffer, &size), 0);
    free(pair);
}

static void test_ring_hostile_indices(void **state)
{
    struct pair *pair = pair_new(8, 0);
    uint8_t buffer[VGPU_RECORD_MAX_BYTES];
    size_t size;
    void *entry;

    pair->state.producer.head = 9;
    assert_int_equal(consume(pair, buffer, &size), -EPROTO);
    assert_int_equal(ring_ready(&pair->consumer), -EPROTO);
    pair->state.producer.head = UINT32_MAX;
    assert_int_equal(consume(pair, buffer, &size), -EPROTO);
    pair->state.producer.head = 0;
    /* A producer looks at the other side when it needs room. */
    for (int i = 0; i < 8; i++)
        assert_int_equal(produce(pair, 64, 0), 0);
    pair->state.consumer.tail = 9;
    assert_int_equal(ring_reserve(&pair->producer, 64, &entry), -EPROTO);
    pair->state.consumer.tail = UINT32_MAX;
    assert_int_equal(ring_reserve(&pair->producer, 64, &entry), -EPROTO);
    free(pair);
}

/* Nor may the other side fill what was taken and not given back. */
static void test_ring_hostile_index_beyond_what_is_released(void **state)
{
    struct pair *pair = pair_new(8, 0);
    uint8_t buffer[VGPU_RECORD_MAX_BYTES];
    size_t size;

    assert_int_equal(produce(pair, 64, 0), 0);
    assert_int_equal(ring_take(&pair->consumer, buffer, sizeof(buffer), &size), 1);
    pair->state.producer.head = 9;
    assert_int_equal(ring_take(&pair->consumer, buffer, sizeof(buffer), &size), -EPROTO);
    assert_int_equal(ring_waiting(&pair->consumer), 0);
    ring_release(&pair->consumer);
    assert_int_equal(ring_waiting(&pair->consumer), 8);
    free(pair);
}

/* Puts a head at the start of an otherwise good ring of 8 with 4 granules published. */
static int consume_head(uint32_t size_bytes, uint16_t kind, size_t room)
{
    struct pair *pair = pair_new(8, 0);
    uint8_t buffer[VGPU_RECORD_MAX_BYTES];
    size_t size;
    bool kick;
    int status;

    memcpy(pair->slots, &size_bytes, sizeof(size_bytes));
    memcpy(pair->slots + 4, &kind, sizeof(kind));
    pair->state.producer.head = 4;
    status = ring_consume(&pair->consumer, buffer, room, &size, &kick);
    free(pair);
    return status;
}

static void test_ring_hostile_sizes(void **state)
{
    assert_int_equal(consume_head(256, 1, 256), 1);
    assert_int_equal(consume_head(0, 1, 256), -EPROTO);
    assert_int_equal(consume_head(4, 1, 256), -EPROTO);
    assert_int_equal(consume_head(252, 1, 256), -EPROTO);
    assert_int_equal(consume_head(264, 1, 512), -EPROTO);
    assert_int_equal(consume_head(UINT32_MAX & ~7u, 1, 256), -EPROTO);
    /* More than the caller takes. */
    assert_int_equal(consume_head(256, 1, 248), -EPROTO);
    /* A pad that does not reach the end of the ring, and one beyond what is published. */
    assert_int_equal(consume_head(256, VGPU_OP_PAD, 256), -EPROTO);
    assert_int_equal(consume_head(512, VGPU_OP_PAD, 512), -EPROTO);
}

static void test_ring_arm_looks_again(void **state)
{
    struct pair *pair = pair_new(2, 0);
    uint8_t buffer[VGPU_RECORD_MAX_BYTES];
    size_t size;
    bool kick;
    void *entry;

    assert_true(ring_consumer_arm(&pair->consumer));
    assert_int_equal(ring_reserve(&pair->producer, 64, &entry), 0);
    fill(entry, 64, 0);
    assert_true(ring_publish(&pair->producer));
    assert_false(ring_consumer_arm(&pair->consumer));
    assert_int_equal(pair->state.consumer.parked, 0);
    assert_false(ring_producer_arm(&pair->producer, 64));
    assert_int_equal(produce(pair, 64, 1), 0);
    assert_true(ring_producer_arm(&pair->producer, 64));
    assert_int_equal(ring_consume(&pair->consumer, buffer, sizeof(buffer), &size, &kick), 1);
    assert_true(kick);
    free(pair);
}

/* A consumer that has not woken up yet is not kicked again; one that parked again is. */
static void test_ring_kicks_once_a_park(void **state)
{
    struct pair *pair = pair_new(8, 0);
    uint8_t buffer[VGPU_RECORD_MAX_BYTES];
    void *entry;
    size_t size;

    pair->consumer.park = UINT32_MAX - 1;
    for (uint32_t round = 0; round < 3; round++) {
        assert_true(ring_consumer_arm(&pair->consumer));
        assert_int_not_equal(pair->state.consumer.parked, 0);
        for (uint32_t i = 0; i < 3; i++) {
            assert_int_equal(ring_reserve(&pair->producer, 64, &entry), 0);
            fill(entry, 64, i);
            assert_int_equal(ring_publish_kick_once(&pair->producer), i == 0);
        }
        ring_consumer_disarm(&pair->consumer);
        assert_int_equal(ring_reserve(&pair->producer, 64, &entry), 0);
        fill(entry, 64, 3);
        assert_false(ring_publish_kick_once(&pair->producer));
        for (uint32_t i = 0; i < 4; i++)
            assert_int_equal(ring_take(&pair->consumer, buffer, sizeof(buffer), &size), 1);
        ring_release(&pair->consumer);
    }
    free(pair);
}

/* Two threads that sleep on their kicks: each entry arrives once, in order, and nobody hangs. */
struct threads {
    struct pair *pair;
    int to_consumer, to_producer;
    uint32_t count;
    uint32_t late; /* granules that the consumer keeps though it has taken them */
    bool once;     /* the producer kicks once a park */
    bool wrong;
};

static void sleep_on(int fd)
{
    struct pollfd event = {.fd = fd, .events = POLLIN};
    uint64_t value;

    poll(&event, 1, -1);
    if (read(fd, &value, sizeof(value)) != sizeof(value))
        abort();
}

static void wake(int fd)
{
    uint64_t one = 1;

    if (write(fd, &one, sizeof(one)) != sizeof(one))
        abort();
}

static void *produce_main(void *argument)
{
    struct threads *threads = argument;
    struct pair *pair = threads->pair;

    for (uint32_t i = 0; i < threads->count;) {
        uint32_t size = 64 + i % 2 * 64;
        void *entry;

        if (ring_reserve(&pair->producer, size, &entry) < 0) {
            if (ring_producer_arm(&pair->producer, size))
                sleep_on(threads->to_producer);
            ring_producer_disarm(&pair->producer);
            continue;
        }
        fill(entry, size, i++);
        if (threads->once ? ring_publish_kick_once(&pair->producer) : ring_publish(&pair->producer))
            wake(threads->to_consumer);
    }
    return NULL;
}

static void *consume_main(void *argument)
{
    struct threads *threads = argument;
    struct pair *pair = threads->pair;
    uint8_t buffer[VGPU_RECORD_MAX_BYTES];

    for (uint32_t i = 0; i < threads->count;) {
        size_t size;
        int status = ring_take(&pair->consumer, buffer, sizeof(buffer), &size);
        uint32_t value;

        if ((status == 0 || ring_unreleased(&pair->consumer) > threads->late) &&
            ring_release(&pair->consumer))
            wake(threads->to_producer);
        if (status == 0) {
            if (ring_consumer_arm(&pair->consumer))
                sleep_on(threads->to_consumer);
            ring_consumer_disarm(&pair->consumer);
            continue;
        }
        memcpy(&value, buffer + 8, sizeof(value));
        threads->wrong |= status != 1 || value != i++;
    }
    return NULL;
}

static void run_threads(uint32_t granules, uint32_t start, uint32_t count, uint32_t late, bool once)
{
    struct threads threads = {
        .pair = pair_new(granules, start),
        .to_consumer = eventfd(0, EFD_CLOEXEC),
        .to_producer = eventfd(0, EFD_CLOEXEC),
        .count = count,
        .late = late,
        .once = once,
    };
    pthread_t producer, consumer;

    assert_int_equal(pthread_create(&producer, NULL, produce_main, &threads), 0);
    assert_int_equal(pthread_create(&consumer, NULL, consume_main, &threads), 0);
    pthread_join(producer, NULL);
    pthread_join(consumer, NULL);
    assert_false(threads.wrong);
    close(threads.to_consumer);
    close(threads.to_producer);
    free(threads.pair);
}

static void test_ring_threads_never_lose_a_wake_up(void **state)
{
    run_threads(4, UINT32_MAX - 100, 20000, 0, false);
    run_threads(64, 0, 100000, 0, false);
    run_threads(4, UINT32_MAX - 100, 20000, 0, true);
    run_threads(64, 0, 100000, 0, true);
}

static void test_ring_threads_released_late(void **state)
{
    run_threads(4, UINT32_MAX - 100, 20000, 1, false);
    run_threads(64, 0, 100000, 16, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ring_model),
        cmocka_unit_test(test_ring_model_near_wrap),
        cmocka_unit_test(test_ring_model_two_slots),
        cmocka_unit_test(test_ring_model_released_late),
        cmocka_unit_test(test_ring_room_stays_taken_until_released),
        cmocka_unit_test(test_ring_limit_of_an_entry),
        cmocka_unit_test(test_ring_full_and_padded),
        cmocka_unit_test(test_ring_hostile_indices),
        cmocka_unit_test(test_ring_hostile_index_beyond_what_is_released),
        cmocka_unit_test(test_ring_hostile_sizes),
        cmocka_unit_test(test_ring_arm_looks_again),
        cmocka_unit_test(test_ring_kicks_once_a_park),
        cmocka_unit_test(test_ring_threads_never_lose_a_wake_up),
        cmocka_unit_test(test_ring_threads_released_late),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
