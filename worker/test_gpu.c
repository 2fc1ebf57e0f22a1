/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/test_gpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct test_gpu test_gpu = {.lock = PTHREAD_MUTEX_INITIALIZER,
                            .free_allowed = PTHREAD_COND_INITIALIZER};
__thread CUcontext test_gpu_current;

/* What the driver made for its user and owns: gone with its context at the latest. */
struct object {
    struct object *next, **at;
    CUcontext owner; /* NULL: a context, which only a reset of the whole double ends */
    _Alignas(16) char body[];
};

static struct object *objects;
static pthread_mutex_t objects_lock = PTHREAD_MUTEX_INITIALIZER;

void *test_gpu_make(size_t bytes)
{
    struct object *object = calloc(1, sizeof(*object) + bytes);

    pthread_mutex_lock(&objects_lock);
    object->owner = test_gpu_current;
    object->next = objects;
    object->at = &objects;
    if (objects)
        objects->at = &object->next;
    objects = object;
    pthread_mutex_unlock(&objects_lock);
    return object->body;
}

void test_gpu_unmake(void *body)
{
    struct object *object = (struct object *)(void *)((char *)body - offsetof(struct object, body));

    pthread_mutex_lock(&objects_lock);
    *object->at = object->next;
    if (object->next)
        object->next->at = object->at;
    pthread_mutex_unlock(&objects_lock);
    free(object);
}

void test_gpu_note(const char *name)
{
    if (test_gpu.journal_count < JOURNAL_MAX)
        snprintf(test_gpu.journal[test_gpu.journal_count++], NAME_BYTES, "%s", name);
}

static void run_unit(CUcontext context, const struct work *work)
{
    if (test_gpu.break_next != CUDA_SUCCESS) {
        context->broken = test_gpu.break_next;
        test_gpu.break_next = CUDA_SUCCESS;
    }
    if (context->broken != CUDA_SUCCESS)
        return;
    if (work->add) {
        const uint32_t *a = work->source;
        uint32_t *sum = work->target;

        for (uint32_t i = 0; i < work->count; i++)
            sum[i] = a[i] + a[1024 + i];
    }
    for (size_t row = 0; row < work->rows; row++) {
        uint8_t *target = (uint8_t *)work->target + row * work->target_pitch;

        if (work->element_bytes == 0) {
            memmove(target, (const uint8_t *)work->source + row * work->source_pitch, work->bytes);
            continue;
        }
        for (size_t i = 0; i < work->bytes; i += work->element_bytes)
            memcpy(target + i, &work->value, work->element_bytes);
    }
}

uint64_t test_gpu_grains(uint64_t bytes)
{
    return (bytes + test_gpu.pool_grain - 1) / test_gpu.pool_grain * test_gpu.pool_grain;
}

bool test_gpu_drop(uintptr_t address)
{
    for (struct allocation **at = &test_gpu.allocations; *at; at = &(*at)->next) {
        struct allocation *allocation = *at;

        if ((uintptr_t)allocation->base != address)
            continue;
        *at = allocation->next;
        if (allocation->pool) {
            allocation->pool->used -= test_gpu_grains(allocation->bytes);
            allocation->pool->unseen += test_gpu_grains(allocation->bytes);
            allocation->pool->blocks--;
        }
        munmap(allocation->base, allocation->bytes);
        free(allocation);
        test_gpu.allocation_count--;
        return true;
    }
    return false;
}

/* False if the first work of the stream cannot go on yet. */
static bool advance(struct CUstream_st *stream)
{
    struct work *work = stream->first;

    if (!work)
        return false;
    if (work->kind == WORK_UNIT && test_gpu.held && work->order > test_gpu.units_allowed)
        return false;
    if (work->kind == WORK_AWAIT && work->event->done < work->ticket)
        return false;
    if (work->kind == WORK_RECORD && work->event->done < work->ticket)
        work->event->done = work->ticket;
    if (work->kind == WORK_UNIT)
        run_unit(stream->context, work);
    if (work->kind == WORK_FREE)
        test_gpu_drop((uintptr_t)work->target);
    stream->first = work->next;
    if (!stream->first)
        stream->last = &stream->first;
    free(work->stage);
    free(work);
    return true;
}

void test_gpu_settle(void)
{
    bool any = true;

    while (any) {
        any = false;
        for (struct CUstream_st *stream = test_gpu.streams; stream; stream = stream->next)
            while (advance(stream))
                any = true;
    }
}

static void forget_streams(CUcontext owner)
{
    struct CUstream_st **at = &test_gpu.streams;

    while (*at) {
        struct CUstream_st *stream = *at;

        if (owner && stream->context != owner) {
            at = &stream->next;
            continue;
        }
        *at = stream->next;
        while (stream->first) {
            struct work *next = stream->first->next;

            free(stream->first->stage);
            free(stream->first);
            stream->first = next;
        }
        free(stream);
    }
}

static void forget_allocations(CUcontext owner)
{
    struct allocation **at = &test_gpu.allocations;

    while (*at) {
        struct allocation *allocation = *at;

        if (owner && allocation->owner != owner) {
            at = &allocation->next;
            continue;
        }
        *at = allocation->next;
        munmap(allocation->base, allocation->bytes);
        free(allocation);
        test_gpu.allocation_count--;
    }
}

void test_gpu_forget(CUcontext owner)
{
    struct object *object = objects;

    forget_streams(owner);
    forget_allocations(owner);
    while (object) {
        struct object *next = object->next;

        if (!owner || object->owner == owner)
            test_gpu_unmake(object->body);
        object = next;
    }
}

void test_driver_reset(void)
{
    pthread_mutex_lock(&test_gpu.lock);
    test_gpu_forget(NULL);
    test_gpu.held = test_gpu.free_blocked = false;
    test_gpu.break_next = test_gpu.refuse_next = CUDA_SUCCESS;
    test_gpu.primary.broken = CUDA_SUCCESS;
    test_gpu.largest_copy = test_gpu.journal_count = test_gpu.locked_count = 0;
    memset(&test_gpu.default_pool, 0, sizeof(test_gpu.default_pool));
    test_gpu.pools = NULL;
    test_gpu.pool_grain = 512;
    test_gpu.memories_live = 0;
    pthread_mutex_unlock(&test_gpu.lock);
}

void test_driver_hold(void)
{
    pthread_mutex_lock(&test_gpu.lock);
    test_gpu.held = true;
    test_gpu.units_allowed = test_gpu.units_issued;
    test_gpu.journal_count = 0;
    pthread_mutex_unlock(&test_gpu.lock);
}

void test_driver_step(unsigned units)
{
    pthread_mutex_lock(&test_gpu.lock);
    test_gpu.units_allowed += units;
    test_gpu_settle();
    pthread_mutex_unlock(&test_gpu.lock);
}

void test_driver_release(void)
{
    pthread_mutex_lock(&test_gpu.lock);
    test_gpu.held = false;
    test_gpu_settle();
    pthread_mutex_unlock(&test_gpu.lock);
}

void test_driver_break(CUresult result)
{
    test_gpu.break_next = result;
}

void test_driver_refuse(CUresult result)
{
    test_gpu.refuse_next = result;
}

void test_driver_block_free(bool block)
{
    pthread_mutex_lock(&test_gpu.lock);
    test_gpu.free_blocked = block;
    pthread_cond_broadcast(&test_gpu.free_allowed);
    pthread_mutex_unlock(&test_gpu.lock);
}

/* Calls that block are made by a thread of their own, beside the test's. */
static size_t read_count(const size_t *count)
{
    size_t value;

    pthread_mutex_lock(&test_gpu.lock);
    value = *count;
    pthread_mutex_unlock(&test_gpu.lock);
    return value;
}

size_t test_driver_journal_count(void)
{
    return read_count(&test_gpu.journal_count);
}

const char *test_driver_journal(size_t index)
{
    return index < test_driver_journal_count() ? test_gpu.journal[index] : "";
}

size_t test_driver_count(const char *name)
{
    size_t count = 0;

    pthread_mutex_lock(&test_gpu.lock);
    for (size_t i = 0; i < test_gpu.journal_count; i++)
        count += strcmp(test_gpu.journal[i], name) == 0;
    pthread_mutex_unlock(&test_gpu.lock);
    return count;
}

size_t test_driver_largest_copy(void)
{
    return read_count(&test_gpu.largest_copy);
}

size_t test_driver_locked(void)
{
    return read_count(&test_gpu.locked_count);
}

size_t test_driver_memories(void)
{
    return read_count(&test_gpu.memories_live);
}

size_t test_driver_allocations(void)
{
    return read_count(&test_gpu.allocation_count);
}

struct CUstream_st *test_gpu_new_stream(CUcontext context)
{
    struct CUstream_st *stream = calloc(1, sizeof(*stream));

    stream->context = context;
    stream->last = &stream->first;
    stream->next = test_gpu.streams;
    test_gpu.streams = stream;
    return stream;
}

struct CUstream_st *test_gpu_stream(CUstream stream)
{
    if (stream)
        return stream;
    for (struct CUstream_st *known = test_gpu.streams; known; known = known->next)
        if (known->dead && known->context == test_gpu_current)
            return known;
    stream = test_gpu_new_stream(test_gpu_current);
    stream->dead = true;
    return stream;
}

struct work *test_gpu_push(CUstream stream, enum work_kind kind)
{
    struct CUstream_st *queue = test_gpu_stream(stream);
    struct work *work = calloc(1, sizeof(*work));

    work->kind = kind;
    if (kind == WORK_UNIT)
        work->order = ++test_gpu.units_issued;
    *queue->last = work;
    queue->last = &work->next;
    return work;
}

CUresult test_gpu_refusal(void)
{
    CUresult result = test_gpu.refuse_next;

    test_gpu.refuse_next = CUDA_SUCCESS;
    if (result != CUDA_SUCCESS)
        return result;
    return test_gpu_current ? test_gpu_current->broken : CUDA_ERROR_INVALID_CONTEXT;
}

void test_gpu_see_frees(struct CUmemPoolHandle_st *pool)
{
    pool->unused += pool->unseen;
    pool->unseen = 0;
}

CUresult test_driver_unit(CUstream stream, const char *name)
{
    CUresult result;

    LOCKED(result = test_gpu_refusal(); if (result == CUDA_SUCCESS) {
        test_gpu_push(stream, WORK_UNIT);
        test_gpu_note(name);
        test_gpu_settle();
    });
    return result;
}

void test_driver_note(const char *name)
{
    LOCKED(test_gpu_note(name););
}

void test_driver_pool_grain(size_t bytes)
{
    test_gpu.pool_grain = bytes;
}
