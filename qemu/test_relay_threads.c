/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The relay in its own thread between a guest of two threads and a worker, all of which
 * sleep when they have nothing to do: each record gets its answer, in order, and nobody
 * sleeps for ever. The guest rings only when the device's lines say so, the worker kicks
 * only when they do.
 */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "test_rig.h"

typedef struct Stress {
    Rig *rig;
    int doorbell;
    int interrupt; /* to the consumer, which passes it on to the producer */
    int to_producer;
    int stop;
    uint32_t count;
    bool worker_wrong; /* each written by one thread */
    bool guest_wrong;
} Stress;

static void wake(int fd)
{
    uint64_t one = 1;

    if (write(fd, &one, sizeof(one)) != sizeof(one)) {
        abort();
    }
}

/* Sleeps until one of the two is written; true if it was the second, which stays as it
 * is. */
static bool sleep_on(int fd, int other)
{
    struct pollfd events[2] = {{.fd = fd, .events = POLLIN},
                               {.fd = other, .events = POLLIN}};
    uint64_t value;

    if (poll(events, 2, -1) < 1) {
        abort();
    }
    if (events[0].revents && read(fd, &value, sizeof(value)) != sizeof(value)) {
        abort();
    }
    return events[1].revents;
}

static void *device_main(void *argument)
{
    Stress *stress = argument;

    for (;;) {
        struct pollfd events[3] = {{.fd = stress->doorbell, .events = POLLIN},
                                   {.fd = stress->rig->completion_kick, .events = POLLIN},
                                   {.fd = stress->stop, .events = POLLIN}};
        VGPUTurn turn = vgpu_relay_core_turn(stress->rig->core);
        uint64_t value;

        if (turn == VGPU_TURN_BROKEN) {
            abort();
        }
        if (poll(events, 3, turn == VGPU_TURN_AGAIN ? 0 : -1) < 0) {
            abort();
        }
        if (events[0].revents && read(stress->doorbell, &value, sizeof(value)) < 0) {
            abort();
        }
        if (events[1].revents) {
            vgpu_channel_take_kick(stress->rig->channel);
        }
        if (events[2].revents) {
            return NULL;
        }
    }
}

/* The data of record i: one word, uploaded by a transfer before it. */
static uint64_t slot_of(uint32_t i)
{
    return (uint64_t)(i % 512) * 128;
}

static bool push_transfer(Stress *stress, uint32_t i)
{
    struct vgpu_transfer_page *page = stress->rig->transfers;
    uint32_t head = page->head;
    uint32_t word = i * 2654435761u;

    if (head - __atomic_load_n(&page->tail, __ATOMIC_ACQUIRE) == VGPU_TRANSFERS) {
        return false;
    }
    memcpy(stress->rig->data + slot_of(i), &word, sizeof(word));
    page->transfer[head % VGPU_TRANSFERS] = (struct vgpu_transfer){
        .offset = slot_of(i), .row_bytes = sizeof(word), .rows = 1};
    __atomic_store_n(&page->head, head + 1, __ATOMIC_RELEASE);
    return true;
}

static void *producer_main(void *argument)
{
    Stress *stress = argument;
    struct ring_producer *submit = &stress->rig->submit;

    for (uint32_t i = 0; i < stress->count;) {
        uint32_t size = 40 + i % 3 * 8;
        void *entry;
        bool room = ring_reserve(submit, size, &entry) == 0;

        if (!room) {
            if (ring_producer_arm(submit, size)) {
                wake(stress->doorbell); /* lines move in turns only */
                sleep_on(stress->to_producer, stress->to_producer);
            }
            ring_producer_disarm(submit);
            continue;
        }
        while (!push_transfer(stress, i)) {
            wake(stress->doorbell);
            sched_yield();
        }
        memset(entry, 0, size);
        *(struct vgpu_record *)entry =
            (struct vgpu_record){.size_bytes = size, .op = 0x0100, .seq = i};
        i++;
        if (ring_publish(submit)) {
            wake(stress->doorbell);
        }
    }
    return NULL;
}

/* Answers each record: what it found in the data area, then, in the same place, its
 * complement. */
static void *worker_main(void *argument)
{
    Stress *stress = argument;
    Rig *rig = stress->rig;

    for (uint32_t i = 0; i < stress->count;) {
        _Alignas(8) uint8_t buffer[VGPU_RECORD_MAX_BYTES];
        const struct vgpu_record *record = (void *)buffer;
        size_t size;
        bool kick;
        int status = ring_consume(&rig->take, buffer, sizeof(buffer), &size, &kick);
        uint32_t word;
        void *entry;

        if (kick) {
            wake(rig->completion_kick);
        }
        if (status == 0) {
            if (ring_consumer_arm(&rig->take)) {
                sleep_on(rig->submit_kick, rig->submit_kick);
            }
            ring_consumer_disarm(&rig->take);
            continue;
        }
        memcpy(&word, rig->host_data + slot_of(i), sizeof(word));
        stress->worker_wrong |=
            status != 1 || record->seq != i || word != i * 2654435761u;
        word = ~word;
        memcpy(rig->host_data + slot_of(i) + 64, &word, sizeof(word));
        for (unsigned part = 0; part < 2;) {
            uint32_t bytes = part ? 40 : 80;

            if (ring_reserve(&rig->answer, bytes, &entry) < 0) {
                if (ring_producer_arm(&rig->answer, bytes)) {
                    sleep_on(rig->submit_kick, rig->submit_kick);
                }
                ring_producer_disarm(&rig->answer);
                continue;
            }
            *(struct vgpu_completion *)entry = (struct vgpu_completion){
                .size_bytes = bytes,
                .kind = part ? VGPU_COMPLETION_REPLY : VGPU_COMPLETION_WRITTEN,
                .seq = i,
            };
            if (!part) {
                const struct vgpu_written written = {.offset = slot_of(i) + 64,
                                                     .row_bytes = sizeof(word),
                                                     .rows = 1,
                                                     .slices = 1};

                memcpy((uint8_t *)entry + 40, &written, sizeof(written));
            }
            part++;
            if (ring_publish(&rig->answer)) {
                wake(rig->completion_kick);
            }
        }
        i++;
    }
    return NULL;
}

static void *consumer_main(void *argument)
{
    Stress *stress = argument;
    Rig *rig = stress->rig;

    for (uint32_t i = 0; i < stress->count;) {
        _Alignas(8) uint8_t buffer[VGPU_RECORD_MAX_BYTES];
        const struct vgpu_completion *reply = (void *)buffer;
        size_t size;
        bool kick;
        int status = ring_consume(&rig->complete, buffer, sizeof(buffer), &size, &kick);
        uint32_t word;

        if (kick) {
            wake(stress->doorbell);
        }
        if (status == 0) {
            if (ring_consumer_arm(&rig->complete)) {
                sleep_on(stress->interrupt, stress->interrupt);
                wake(stress->to_producer);
            }
            ring_consumer_disarm(&rig->complete);
            continue;
        }
        if (status == 1 && reply->kind == VGPU_COMPLETION_WRITTEN) {
            continue;
        }
        memcpy(&word, rig->data + slot_of(i) + 64, sizeof(word));
        stress->guest_wrong |=
            status != 1 || reply->seq != i || word != ~(i * 2654435761u);
        i++;
    }
    wake(stress->to_producer);
    return NULL;
}

static void run(uint32_t sub, uint32_t comp, uint32_t start, uint32_t count)
{
    Stress stress = {
        .rig = rig_new(
            &(RigOptions){.sub_granules = sub, .comp_granules = comp, .start = start}),
        .doorbell = eventfd(0, EFD_CLOEXEC),
        .interrupt = eventfd(0, EFD_CLOEXEC),
        .to_producer = eventfd(0, EFD_CLOEXEC),
        .stop = eventfd(0, EFD_CLOEXEC),
        .count = count,
    };
    void *(*const mains[])(void *) = {producer_main, worker_main, consumer_main,
                                      device_main};
    pthread_t threads[4];
    const char *why;

    stress.rig->interrupt_fd = stress.interrupt;
    assert_int_equal(
        vgpu_relay_core_attach(stress.rig->core, rig_directory(stress.rig), &why),
        VGPU_OK);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, mains[i], &stress), 0);
    }
    for (unsigned i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    wake(stress.stop);
    pthread_join(threads[3], NULL);
    assert_false(stress.worker_wrong);
    assert_false(stress.guest_wrong);
    rig_free(stress.rig);
    close(stress.doorbell);
    close(stress.interrupt);
    close(stress.to_producer);
    close(stress.stop);
}

static void test_relay_threads_never_lose_a_wake_up(void **state)
{
    run(64, 64, 0, 20000);
}

static void test_relay_threads_with_small_rings(void **state)
{
    run(4, 8, UINT32_MAX - 100, 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_relay_threads_never_lose_a_wake_up),
        cmocka_unit_test(test_relay_threads_with_small_rings),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
