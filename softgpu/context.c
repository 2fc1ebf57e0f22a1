/* SPDX-License-Identifier: Apache-2.0 */
/* The life of contexts; see context.h. The calls are in context_calls.c and primary.c. */
#include "softgpu/context.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "softgpu/event.h"
#include "softgpu/executor.h"
#include "softgpu/handle.h"
#include "softgpu/link.h"
#include "softgpu/memory.h"
#include "softgpu/module.h"
#include "softgpu/pool.h"
#include "softgpu/stream.h"

#define DEFAULT_STACK_BYTES    1024
#define DEFAULT_PRINTF_BYTES   (1u << 20)
#define DEFAULT_HEAP_BYTES     (8u << 20)
#define DEFAULT_PENDING        2048
#define DEFAULT_L2_FETCH_BYTES 64
#define API_VERSION            3020

/* All that have not been freed. */
static struct context *contexts;

struct context *context_get(CUcontext handle)
{
    struct context *context = handle_get(HANDLE_CONTEXT, handle);

    return context && context->alive ? context : NULL;
}

struct context *context_ref(struct context *context)
{
    context->refs++;
    return context;
}

void context_unref(struct context *context)
{
    if (--context->refs > 0)
        return;
    for (struct context **link = &contexts; *link; link = &(*link)->next) {
        if (*link == context) {
            *link = context->next;
            break;
        }
    }
    handle_free(context->handle);
    pthread_mutex_destroy(&context->print_lock);
    free(context->print_text);
    free(context);
}

struct context *context_new(struct device *device)
{
    struct context *context = calloc(1, sizeof(*context));

    if (!context)
        return NULL;
    context->handle = handle_new(HANDLE_CONTEXT, context);
    if (!context->handle) {
        free(context);
        return NULL;
    }
    context->refs = 1;
    context->device = device;
    context->next = contexts;
    contexts = context;
    pthread_mutex_init(&context->print_lock, NULL);
    return context;
}

CUresult context_start(struct context *context, unsigned flags)
{
    CUresult result = gpu_prepare(context->device);

    if (result == CUDA_SUCCESS)
        result = executor_start();
    if (result != CUDA_SUCCESS)
        return result;
    context->legacy = stream_new(context, CU_STREAM_DEFAULT, STREAM_LEAST_PRIORITY);
    if (!context->legacy)
        return CUDA_ERROR_OUT_OF_MEMORY;
    context->legacy->is_legacy = true;
    context->alive = true;
    context->flags = flags;
    context->api_version = API_VERSION;
    context->id = gpu.next_id++;
    context->error = CUDA_SUCCESS;
    context->stack_bytes = DEFAULT_STACK_BYTES;
    context->printf_bytes = DEFAULT_PRINTF_BYTES;
    context->heap_bytes = DEFAULT_HEAP_BYTES;
    context->pending_launches = DEFAULT_PENDING;
    context->l2_fetch_bytes = DEFAULT_L2_FETCH_BYTES;
    context->cache_config = CU_FUNC_CACHE_PREFER_NONE;
    context->shared_config = CU_SHARED_MEM_CONFIG_FOUR_BYTE_BANK_SIZE;
    return CUDA_SUCCESS;
}

void context_end(struct context *context)
{
    context->alive = false;
    context->ending = true;
    for (struct stream *stream = context->streams; stream; stream = context->streams) {
        if (stream->completed < stream->submitted)
            stream_wait_all(context);
        else
            stream_detach(stream);
    }
    context->legacy = NULL;
    event_end_all(context);
    link_end_all(context);
    module_end_all(context);
    memory_end_all(context);
    context_flush(context);
    context->ending = false;
}

static bool is_idle(const struct context *context)
{
    for (const struct stream *stream = context->streams; stream; stream = stream->next) {
        if (stream->completed < stream->submitted)
            return false;
    }
    return true;
}

CUresult context_wait_everything(void)
{
    struct context *context = contexts;
    CUresult result;

    while (context) {
        if (is_idle(context)) {
            context = context->next;
            continue;
        }
        context_ref(context);
        result = stream_wait_all(context);
        context_unref(context);
        if (result == CUDA_ERROR_OUT_OF_MEMORY)
            return result;
        context = contexts; /* the list may have changed meanwhile */
    }
    return CUDA_SUCCESS;
}

bool context_flags_valid(unsigned flags)
{
    unsigned schedule = flags & CU_CTX_SCHED_MASK;

    return !(flags & ~(unsigned)CU_CTX_FLAGS_MASK) &&
           (schedule == CU_CTX_SCHED_AUTO || schedule == CU_CTX_SCHED_SPIN ||
            schedule == CU_CTX_SCHED_YIELD || schedule == CU_CTX_SCHED_BLOCKING_SYNC);
}

/* Makes room for size_bytes more: grows up to the limit, then drops the oldest text. */
static bool print_room(struct context *context, size_t size_bytes)
{
    size_t limit = context->printf_bytes;

    if (size_bytes > limit)
        return false;
    if (context->print_used + size_bytes > limit) {
        size_t drop = context->print_used + size_bytes - limit;

        memmove(context->print_text, context->print_text + drop, context->print_used - drop);
        context->print_used -= drop;
    }
    if (context->print_used + size_bytes > context->print_size) {
        size_t size = (context->print_used + size_bytes) * 2;
        char *text = realloc(context->print_text, size);

        if (!text)
            return false;
        context->print_text = text;
        context->print_size = size;
    }
    return true;
}

void context_print(void *arg, const char *text, size_t size_bytes)
{
    struct context *context = arg;

    pthread_mutex_lock(&context->print_lock);
    if (print_room(context, size_bytes)) {
        memcpy(context->print_text + context->print_used, text, size_bytes);
        context->print_used += size_bytes;
    }
    pthread_mutex_unlock(&context->print_lock);
}

void context_set_printf(struct context *context, size_t size_bytes)
{
    pthread_mutex_lock(&context->print_lock);
    context->printf_bytes = size_bytes;
    if (context->print_used > size_bytes)
        context->print_used = size_bytes;
    pthread_mutex_unlock(&context->print_lock);
}

void context_flush(struct context *context)
{
    char *text;
    size_t used;

    pthread_mutex_lock(&context->print_lock);
    text = context->print_text;
    used = context->print_used;
    context->print_text = NULL;
    context->print_used = context->print_size = 0;
    pthread_mutex_unlock(&context->print_lock);
    if (used > 0) {
        context_ref(context);
        pthread_mutex_unlock(&gpu.lock);
        fwrite(text, 1, used, stdout);
        fflush(stdout);
        pthread_mutex_lock(&gpu.lock);
        context_unref(context);
    }
    free(text);
    pools_release(context->device);
}
