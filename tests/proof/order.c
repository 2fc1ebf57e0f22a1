/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Determinism: two threads, one stream. A lock orders the calls of the threads, and each call is
 * applied to a model under that lock too; whatever waits in between, and wherever it waits, the
 * device must compute what the model did. Kernels do not commute, so that an overtaken call shows.
 */
#include <string.h>

#include "tests/proof/proof.h"

#define WORDS   64
#define THREADS 2
#define SLOTS   32 /* places for what is read back, of one thread */

struct slot {
    uint32_t *bytes; /* page-locked, WORDS */
    uint32_t want[WORDS];
    bool used;
};

struct order {
    struct proof *proof;
    pthread_mutex_t lock; /* orders the issues of the threads, and guards the model */
    uint32_t model[WORDS];
    uint64_t issues, reads;
    CUfunction step;
    CUdeviceptr words;
    CUstream stream;
    bool blocking; /* the stream orders with the legacy one, so synchronous copies do too */
};

struct actor {
    struct order *order;
    unsigned number;
    uint64_t random;
    struct slot slots[SLOTS];
    unsigned used;
    uint32_t *source; /* page-locked, a word for each issue until the next look */
    unsigned source_used;
    CUevent event;
    CUdeviceptr own; /* memory of this thread alone */
    pthread_t thread;
};

#define SOURCE_WORDS 4096

static unsigned below(struct actor *actor, unsigned limit)
{
    return (unsigned)((proof_random(&actor->random) >> 33) % limit);
}

static void step(struct actor *actor)
{
    struct order *order = actor->order;
    uint32_t to = below(actor, WORDS), from = below(actor, WORDS), digit = below(actor, 1000);
    void *args[] = {&order->words, &to, &from, &digit};

    OK(order->proof, cuLaunchKernel(order->step, 1, 1, 1, 1, 1, 1, 0, order->stream, args, NULL));
    order->model[to] = order->model[to] * 31 + order->model[from] + digit;
}

static void fill(struct actor *actor)
{
    struct order *order = actor->order;
    uint32_t at = below(actor, WORDS), count = 1 + below(actor, WORDS - at);
    uint32_t value = below(actor, 1u << 30);

    OK(order->proof, cuMemsetD32Async(order->words + at * 4, value, count, order->stream));
    for (uint32_t i = at; i < at + count; i++)
        order->model[i] = value;
}

/* From page-locked memory: what is there may not change until it has been read. */
static void upload(struct actor *actor)
{
    struct order *order = actor->order;
    uint32_t at = below(actor, WORDS);
    uint32_t *word = &actor->source[actor->source_used++];

    *word = below(actor, 1u << 30);
    OK(order->proof, cuMemcpyHtoDAsync(order->words + at * 4, word, 4, order->stream));
    order->model[at] = *word;
}

/* From the stack: it may change as soon as the call has returned. */
static void upload_pageable(struct actor *actor, bool synchronous)
{
    struct order *order = actor->order;
    uint32_t words[8], at = below(actor, WORDS - 8), count = 1 + below(actor, 8);

    for (uint32_t i = 0; i < count; i++)
        order->model[at + i] = words[i] = below(actor, 1u << 30);
    if (synchronous)
        OK(order->proof, cuMemcpyHtoD(order->words + at * 4, words, count * 4));
    else
        OK(order->proof, cuMemcpyHtoDAsync(order->words + at * 4, words, count * 4, order->stream));
    memset(words, 0xee, sizeof(words));
}

/* Within the device; the two do not overlap. */
static void move(struct actor *actor)
{
    struct order *order = actor->order;
    uint32_t count = 1 + below(actor, WORDS / 2);
    uint32_t from = below(actor, WORDS / 2 - count + 1);
    uint32_t to = WORDS / 2 + below(actor, WORDS / 2 - count + 1);

    OK(order->proof,
       cuMemcpyDtoDAsync(order->words + to * 4, order->words + from * 4, count * 4, order->stream));
    memcpy(&order->model[to], &order->model[from], count * 4);
}

static void read_later(struct actor *actor)
{
    struct order *order = actor->order;
    struct slot *slot = &actor->slots[actor->used++];

    memcpy(slot->want, order->model, sizeof(slot->want));
    slot->used = true;
    OK(order->proof,
       cuMemcpyDtoHAsync(slot->bytes, order->words, sizeof(slot->want), order->stream));
    order->reads++;
}

/* The call waits, in the middle of the order. */
static void read_now(struct actor *actor)
{
    struct order *order = actor->order;
    uint32_t got[WORDS];

    memset(got, 0xdd, sizeof(got));
    if (order->blocking)
        OK(order->proof, cuMemcpyDtoH(got, order->words, sizeof(got)));
    else {
        OK(order->proof, cuMemcpyDtoHAsync(got, order->words, sizeof(got), order->stream));
        OK(order->proof, cuStreamSynchronize(order->stream));
    }
    CHECK(memcmp(got, order->model, sizeof(got)) == 0);
    order->reads++;
}

static void issue(struct actor *actor)
{
    struct order *order = actor->order;
    unsigned choice = below(actor, 32);

    order->issues++;
    if (choice < 14)
        step(actor);
    else if (choice < 17)
        fill(actor);
    else if (choice < 20)
        upload(actor);
    else if (choice < 23)
        upload_pageable(actor, false);
    else if (choice < 25)
        move(actor);
    else if (choice < 26)
        upload_pageable(actor, order->blocking);
    else if (choice < 30)
        read_later(actor);
    else if (choice < 31)
        read_now(actor);
    else
        OK(order->proof, cuStreamSynchronize(order->stream));
}

/* Calls that wait while the other thread goes on; none of them changes the model. */
static void wait_somehow(struct actor *actor)
{
    struct proof *proof = actor->order->proof;
    CUstream stream = actor->order->stream;
    CUdeviceptr memory;
    uint32_t word = below(actor, 1u << 30), back = 0;
    CUresult result;

    switch (below(actor, 10)) {
    case 0:
        OK(proof, cuStreamSynchronize(stream));
        break;
    case 1:
        OK(proof, cuEventRecord(actor->event, stream));
        OK(proof, cuEventSynchronize(actor->event));
        break;
    case 2:
        OK(proof, cuMemAlloc(&memory, 1 + below(actor, 1u << 20)));
        OK(proof, cuMemFree(memory));
        break;
    case 3:
        OK(proof, cuMemcpyHtoD(actor->own, &word, 4));
        OK(proof, cuMemcpyDtoH(&back, actor->own, 4));
        CHECK(back == word);
        break;
    case 4:
        OK(proof, cuCtxSynchronize());
        break;
    case 5:
        OK(proof, cuEventRecord(actor->event, stream));
        while ((result = proof->cu->cuEventQuery(actor->event)) == CUDA_ERROR_NOT_READY)
            ;
        if (result != CUDA_SUCCESS)
            proof_fail(__FILE__, __LINE__, "an event's query", result);
        break;
    case 6:
        result = proof->cu->cuStreamQuery(stream);
        if (result != CUDA_SUCCESS && result != CUDA_ERROR_NOT_READY)
            proof_fail(__FILE__, __LINE__, "the stream's query", result);
        break;
    default:
        break;
    }
}

/* Waits for what was read back, and compares it with what the model was then. */
static void look(struct actor *actor)
{
    struct proof *proof = actor->order->proof;

    OK(proof, cuEventRecord(actor->event, actor->order->stream));
    if (below(actor, 2))
        OK(proof, cuEventSynchronize(actor->event));
    else
        OK(proof, cuStreamSynchronize(actor->order->stream));
    for (unsigned i = 0; i < actor->used; i++) {
        CHECK(memcmp(actor->slots[i].bytes, actor->slots[i].want, WORDS * 4) == 0);
        memset(actor->slots[i].bytes, 0xcc, WORDS * 4);
    }
    actor->used = 0;
    actor->source_used = 0;
}

static void *act(void *argument)
{
    struct actor *actor = argument;
    struct order *order = actor->order;

    OK(order->proof, cuCtxSetCurrent(order->proof->context));
    for (unsigned round = 0; round < order->proof->rounds; round++) {
        unsigned count = 1 + below(actor, 6);

        if (actor->used + count > SLOTS || actor->source_used + count > SOURCE_WORDS)
            look(actor);
        pthread_mutex_lock(&order->lock);
        for (unsigned i = 0; i < count; i++)
            issue(actor);
        pthread_mutex_unlock(&order->lock);
        wait_somehow(actor);
    }
    look(actor);
    return NULL;
}

static void open_actor(struct actor *actor, struct order *order, unsigned number)
{
    struct proof *proof = order->proof;

    actor->order = order;
    actor->number = number;
    actor->random = proof_seed(proof, number);
    for (unsigned i = 0; i < SLOTS; i++)
        actor->slots[i].bytes = proof_host_new(proof, WORDS * 4);
    actor->source = proof_host_new(proof, SOURCE_WORDS * 4);
    OK(proof, cuEventCreate(&actor->event, CU_EVENT_DISABLE_TIMING));
    OK(proof, cuMemAlloc(&actor->own, 4));
}

static void close_actor(struct actor *actor)
{
    struct proof *proof = actor->order->proof;

    for (unsigned i = 0; i < SLOTS; i++)
        proof_host_free(proof, actor->slots[i].bytes);
    proof_host_free(proof, actor->source);
    OK(proof, cuEventDestroy(actor->event));
    OK(proof, cuMemFree(actor->own));
}

static void run_order(struct proof *proof, CUstream stream, bool blocking)
{
    struct order order = {.proof = proof, .stream = stream, .blocking = blocking};
    struct actor *actors = calloc(THREADS, sizeof(*actors));
    uint32_t got[WORDS];
    CUmodule module;

    pthread_mutex_init(&order.lock, NULL);
    order.step = proof_step_kernel(proof, &module);
    OK(proof, cuMemAlloc(&order.words, WORDS * 4));
    OK(proof, cuMemsetD32(order.words, 0, WORDS));
    OK(proof, cuCtxSynchronize());
    for (unsigned i = 0; i < THREADS; i++)
        open_actor(&actors[i], &order, i);
    for (unsigned i = 0; i < THREADS; i++)
        CHECK(pthread_create(&actors[i].thread, NULL, act, &actors[i]) == 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(actors[i].thread, NULL);
    OK(proof, cuMemcpyDtoH(got, order.words, sizeof(got)));
    CHECK(memcmp(got, order.model, sizeof(got)) == 0);
    /* That much has been compared, or the test has said nothing. */
    CHECK(order.reads >= proof->rounds / 4);
    printf("  %u threads, %u rounds each: %llu calls, %llu results compared\n", THREADS,
           proof->rounds, (unsigned long long)order.issues, (unsigned long long)order.reads);
    for (unsigned i = 0; i < THREADS; i++)
        close_actor(&actors[i]);
    free(actors);
    OK(proof, cuMemFree(order.words));
    OK(proof, cuModuleUnload(module));
}

static void legacy_stream(struct proof *proof)
{
    run_order(proof, NULL, true);
}

static void made_stream(struct proof *proof, unsigned flags)
{
    CUstream stream;

    OK(proof, cuStreamCreate(&stream, flags));
    run_order(proof, stream, flags == CU_STREAM_DEFAULT);
    OK(proof, cuStreamDestroy(stream));
}

static void blocking_stream(struct proof *proof)
{
    made_stream(proof, CU_STREAM_DEFAULT);
}

static void other_stream(struct proof *proof)
{
    made_stream(proof, CU_STREAM_NON_BLOCKING);
}

const struct proof_part proof_order_parts[] = {
    {"order.legacy_stream", legacy_stream, 240},
    {"order.blocking_stream", blocking_stream, 240},
    {"order.non_blocking_stream", other_stream, 240},
    {0},
};
