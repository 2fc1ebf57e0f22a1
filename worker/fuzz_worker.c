/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer target: a hostile client against a live worker core, in this process, on the driver
 * double. An input is a list of struct hostile_command; the first byte chooses ring sizes, whether
 * records keep to the form, and whether a second thread scribbles on the shared memory. The double
 * aborts if the worker calls what waits, and the sanitizers watch the rest.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "ring/pages.h"
#include "worker/consumer.h"
#include "worker/test_driver.h"
#include "worker/test_hostile_client.h"

#define COMMAND_BYTES sizeof(struct hostile_command)
#define MAX_COMMANDS  256

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

struct racer {
    struct client *client;
    uint32_t stop;
};

static void *race(void *argument)
{
    struct racer *racer = argument;
    const struct vgpu_channel_geometry *geometry = &racer->client->geometry;
    uint64_t ring_bytes = (uint64_t)geometry->sub_granules * VGPU_GRANULE_BYTES;
    uint64_t state = 1;

    while (!page_load_u32(&racer->stop)) {
        uint8_t *byte;

        state = state * 6364136223846793005ull + 1442695040888963407ull;
        byte = racer->client->base + geometry->sub_offset + (state >> 40) % ring_bytes;
        __atomic_fetch_xor(byte, (uint8_t)(state >> 33), __ATOMIC_RELAXED);
    }
    return NULL;
}

/* What the worker must never be made to touch. */
static void learn_foreign(struct hostile *hostile)
{
    struct channel *channel = hostile->client->channel;

    hostile->foreign[0] = (uint64_t)(uintptr_t)channel;
    hostile->foreign[1] = (uint64_t)(uintptr_t)channel->map.page;
    hostile->foreign[2] = (uint64_t)(uintptr_t)channel->map.report;
    hostile->foreign[3] = (uint64_t)(uintptr_t)channel->map.lease;
    hostile->foreign[4] = (uint64_t)(uintptr_t)&hostile;
    hostile->foreign[5] = channel->vector_add.slots[0].device;
    hostile->foreign_count = 6;
}

static void let_go_on(struct hostile *hostile, const struct hostile_command *command)
{
    struct channel *channel = hostile->client->channel;

    for (unsigned i = 0; i < 1u + command->flags % 4 && !channel->ended; i++)
        consumer_round(channel);
    if (command->spoil % 4 == 0)
        test_driver_step(1 + command->flags % 3);
    if (command->kind % 32 == 1 && command->spoil == 99)
        test_driver_break(CUDA_ERROR_ILLEGAL_ADDRESS);
    hostile_learn(hostile);
}

static void attack(struct hostile *hostile, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < MAX_COMMANDS && size >= COMMAND_BYTES; i++) {
        struct hostile_command command;

        memcpy(&command, data, COMMAND_BYTES);
        data += COMMAND_BYTES;
        size -= COMMAND_BYTES;
        hostile_do(hostile, &command);
        let_go_on(hostile, &command);
        if (hostile->client->channel->ended)
            return;
    }
    /* Everything that can end, ends: nothing may be stuck but what waits for a host function. */
    test_driver_release();
    page_store_u32(&hostile->client->lease->flags, 0);
    page_store_u32(&hostile->client->lease->depth_max, 100000);
    client_grant(hostile->client);
    client_run(hostile->client);
    if (!hostile->client->channel->ended && hostile->client->channel->turn.units != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct client_options options = {.sub_granules = 256, .data_bytes = 65536};
    struct hostile hostile = {0};
    struct racer racer = {0};
    pthread_t thread;
    bool races;

    if (size < 1 + COMMAND_BYTES)
        return 0;
    options.comp_granules = data[0] & 1 ? 4 : 256;
    options.mirrored = data[0] & 0x40;
    races = (data[0] & 0xe) == 0xe;
    test_driver_reset();
    hostile.client = client_open(&options);
    hostile.gentle = data[0] & 0x20;
    learn_foreign(&hostile);
    if (data[0] & 0x10)
        test_driver_hold();
    racer.client = hostile.client;
    if (races)
        pthread_create(&thread, NULL, race, &racer);
    attack(&hostile, data + 1, size - 1);
    page_store_u32(&racer.stop, 1);
    if (races)
        pthread_join(thread, NULL);
    test_driver_release();
    client_close(hostile.client);
    return 0;
}

static uint32_t turn(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static void change_word(uint8_t *command, uint32_t *state)
{
    uint32_t value = turn(state) << 16 ^ turn(state);

    memcpy(command + 4 + turn(state) % 7 * 4, &value, sizeof(value));
}

/* Whole commands are inserted, dropped, repeated; words in them change. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
    uint32_t state = seed;
    size_t count = size > 1 ? (size - 1) / COMMAND_BYTES : 0;
    size_t at = count ? turn(&state) % count : 0;
    uint8_t *command = data + 1 + at * COMMAND_BYTES;

    if (max_size < 1 + COMMAND_BYTES)
        return LLVMFuzzerMutate(data, size, max_size);
    switch (count ? turn(&state) % 8 : 0) {
    case 0:
    case 1: /* a new one at the end */
        if (1 + (count + 1) * COMMAND_BYTES > max_size)
            break;
        command = data + 1 + count * COMMAND_BYTES;
        for (size_t i = 0; i < COMMAND_BYTES; i++)
            command[i] = (uint8_t)turn(&state);
        command[3] |= 0x10;
        if (count == 0)
            data[0] = (uint8_t)turn(&state);
        return 1 + (count + 1) * COMMAND_BYTES;
    case 2: /* one less */
        memmove(command, command + COMMAND_BYTES, (count - at - 1) * COMMAND_BYTES);
        return 1 + (count - 1) * COMMAND_BYTES;
    case 3: /* one twice */
        if (1 + (count + 1) * COMMAND_BYTES > max_size)
            break;
        memmove(command + COMMAND_BYTES, command, (count - at) * COMMAND_BYTES);
        return 1 + (count + 1) * COMMAND_BYTES;
    case 4: /* another op with the same words */
        command[1] = (uint8_t)turn(&state);
        return 1 + count * COMMAND_BYTES;
    case 5:
    case 6:
        change_word(command, &state);
        return 1 + count * COMMAND_BYTES;
    default:
        LLVMFuzzerMutate(command, COMMAND_BYTES, COMMAND_BYTES);
        return 1 + count * COMMAND_BYTES;
    }
    return LLVMFuzzerMutate(data, size, max_size);
}
