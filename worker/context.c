/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/context.h"

#include <stdlib.h>
#include <string.h>

#include "ring/pages.h"
#include "worker/channel.h"

void context_init(struct context *context, bool primary)
{
    memset(context, 0, sizeof(*context));
    context->primary = primary;
    context->null_stream.kind = STREAM_NULL;
    context->null_stream.context = context;
    context->null_stream.marks_end = &context->null_stream.marks;
}

CUresult context_enter(struct channel *channel, struct context *context)
{
    CUresult result;

    if (!context->cu)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (channel->entered == context->cu)
        return CUDA_SUCCESS;
    result = channel->cu->cuCtxSetCurrent(context->cu);
    if (result == CUDA_SUCCESS)
        channel->entered = context->cu;
    return result;
}

CUresult context_wake_primary(struct channel *channel)
{
    if (channel->primary.cu)
        return CUDA_SUCCESS;
    return channel->cu->cuDevicePrimaryCtxRetain(&channel->primary.cu, channel->device);
}

struct context *context_add(struct channel *channel, CUcontext cu)
{
    struct context *context = malloc(sizeof(*context));

    if (!context)
        return NULL;
    context_init(context, false);
    context->cu = cu;
    context->next = channel->contexts;
    channel->contexts = context;
    return context;
}

bool context_error_is_sticky(CUresult result)
{
    switch (result) {
    case CUDA_ERROR_ECC_UNCORRECTABLE:
    case CUDA_ERROR_NVLINK_UNCORRECTABLE:
    case CUDA_ERROR_CONTAINED:
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_LAUNCH_TIMEOUT:
    case CUDA_ERROR_ASSERT:
    case CUDA_ERROR_HARDWARE_STACK_ERROR:
    case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_MISALIGNED_ADDRESS:
    case CUDA_ERROR_INVALID_ADDRESS_SPACE:
    case CUDA_ERROR_INVALID_PC:
    case CUDA_ERROR_LAUNCH_FAILED:
    case CUDA_ERROR_TENSOR_MEMORY_LEAK:
    case CUDA_ERROR_EXTERNAL_DEVICE:
        return true;
    default:
        return false;
    }
}

/* Errors of the guest's own work; the others are the host's or the GPU's. */
static bool error_is_fault(CUresult result)
{
    switch (result) {
    case CUDA_ERROR_ECC_UNCORRECTABLE:
    case CUDA_ERROR_NVLINK_UNCORRECTABLE:
    case CUDA_ERROR_CONTAINED:
    case CUDA_ERROR_EXTERNAL_DEVICE:
        return false;
    default:
        return context_error_is_sticky(result);
    }
}

/* The mediator counts them against the VM. */
static void tell_fault(struct channel *channel)
{
    page_store_u32(&channel->map.report->gpu_faults, ++channel->gpu_faults);
    channel_kick(channel->fds[VGPU_FD_REPORT_KICK]);
}

static void tell_poisoned(struct channel *channel)
{
    CUresult poisoned = channel->primary.sticky;

    for (struct context *context = channel->contexts; context && !poisoned; context = context->next)
        poisoned = context->sticky;
    page_store_u32(&channel->map.page->notice.poisoned, (uint32_t)poisoned);
}

void context_note_sticky(struct channel *channel, struct context *context, CUresult result)
{
    if (!context || context->sticky != CUDA_SUCCESS || !context_error_is_sticky(result))
        return;
    context->sticky = result;
    if (error_is_fault(result))
        tell_fault(channel);
    /* Before the guest can know: whoever sees the error has what was said. */
    if (result == CUDA_ERROR_ASSERT)
        print_failed(channel, context);
    tell_poisoned(channel);
}

void context_note_posted(struct channel *channel, struct context *context, CUresult result)
{
    CUresult *posted = context ? &context->posted_error : &channel->posted_error;

    context_note_sticky(channel, context, result);
    if (*posted == CUDA_SUCCESS) {
        *posted = result;
        snapshot_tell_unheard(channel);
    }
}

void context_note_failed(struct channel *channel, struct context *context, CUresult result)
{
    if (context_error_is_sticky(result))
        context_note_sticky(channel, context, result);
    else
        context_note_posted(channel, context, result);
}

CUresult context_take_error(struct channel *channel, struct context *context, CUresult result)
{
    CUresult *posted = context ? &context->posted_error : &channel->posted_error;

    if (*posted == CUDA_SUCCESS)
        posted = &channel->posted_error;
    if (*posted != CUDA_SUCCESS) {
        result = *posted;
        *posted = CUDA_SUCCESS;
        snapshot_tell_unheard(channel);
    }
    return result;
}

bool context_idle(const struct context *context)
{
    return context->busy_streams == 0 && context->helpers == 0;
}

CUresult context_attach(struct channel *channel, struct context *context, struct wait *wait)
{
    CUresult result = CUDA_SUCCESS;

    if (context->null_stream.listed)
        result = stream_attach(channel, &context->null_stream, wait);
    for (struct stream *stream = context->streams; stream; stream = stream->next) {
        CUresult one = CUDA_SUCCESS;

        if (stream->listed && stream->kind != STREAM_INTERNAL)
            one = stream_attach(channel, stream, wait);
        if (result == CUDA_SUCCESS)
            result = one;
    }
    return result != CUDA_SUCCESS ? result : context->sticky;
}

struct event_body *event_body_new(struct channel *channel, struct context *context, uint32_t flags,
                                  CUresult *ret_result)
{
    struct event_body *body = malloc(sizeof(*body));

    if (!body) {
        *ret_result = CUDA_ERROR_OUT_OF_MEMORY;
        return NULL;
    }
    *ret_result = channel->cu->cuEventCreate(&body->cu, flags);
    if (*ret_result != CUDA_SUCCESS) {
        free(body);
        return NULL;
    }
    body->context = context;
    body->refs = 1;
    return body;
}

void event_body_unref(struct channel *channel, struct event_body *body)
{
    if (--body->refs > 0)
        return;
    if (body->context->cu && context_enter(channel, body->context) == CUDA_SUCCESS)
        channel->cu->cuEventDestroy(body->cu);
    free(body);
}

static void condemn_events(struct channel *channel, struct context *context)
{
    struct event *event;
    uint32_t index = 0;

    while ((event = handle_next(channel->handles, CUDA_KIND_EVENT, &index))) {
        if (event->context != context)
            continue;
        handle_drop(channel->handles, event->handle);
        snapshot_forget(channel, event);
        event_body_unref(channel, event->body);
        free(event);
    }
}

void context_unlearn(struct context *context, const struct function *function)
{
    stream_unlearn(&context->null_stream, function);
    for (struct stream *stream = context->streams; stream; stream = stream->next)
        stream_unlearn(stream, function);
}

static void free_module(struct channel *channel, struct module *module)
{
    quota_lose(channel, module);
    quota_uncharge(channel, CHARGE_MODULE, module->charged_bytes);
    while (module->functions) {
        struct function *function = module->functions;

        module->functions = function->next;
        handle_drop(channel->handles, function->handle);
        hold_lose(channel, function, CUDA_ERROR_CONTEXT_IS_DESTROYED);
        free(function);
    }
    free(module);
}

static void free_link(struct channel *channel, struct link *link)
{
    if (link->context->cu)
        channel->cu->cuLinkDestroy(link->cu);
    free(link);
}

static void condemn_modules(struct channel *channel, struct context *context)
{
    struct module *module;
    struct link *link;
    uint32_t index = 0;

    while ((module = handle_next(channel->handles, CUDA_KIND_MODULE, &index))) {
        if (module->context != context)
            continue;
        handle_drop(channel->handles, module->handle);
        ledger_remove_owner(&channel->ledger, module);
        free_module(channel, module);
    }
    index = 0;
    while ((link = handle_next(channel->handles, CUDA_KIND_LINK, &index))) {
        if (link->context != context)
            continue;
        handle_drop(channel->handles, link->handle);
        link->doomed = true;
        if (!link->busy)
            free_link(channel, link);
    }
}

static void condemn_streams(struct channel *channel, struct context *context)
{
    struct stream *stream;
    uint32_t index = 0;

    while ((stream = handle_next(channel->handles, CUDA_KIND_STREAM, &index)))
        if (stream->context == context)
            handle_drop(channel->handles,
                        VGPU_HANDLE(CUDA_KIND_STREAM,
                                    channel->handles[CUDA_KIND_STREAM].slots[index - 1].generation,
                                    index - 1));
}

void context_condemn(struct channel *channel, struct context *context)
{
    hold_lose(channel, context, CUDA_ERROR_CONTEXT_IS_DESTROYED);
    if (context->cu)
        context_enter(channel, context);
    graphs_end(channel, context);
    context_unlearn(context, NULL);
    condemn_events(channel, context);
    condemn_modules(channel, context);
    condemn_streams(channel, context);
    pools_end_context(channel, context);
    if (context->primary && context->cu && context_idle(context) && !virtual_busy(channel))
        virtual_end(channel);
    channel_add_memory(channel, -(int64_t)ledger_remove_owner(&channel->ledger, context));
}

static void forget_streams(struct channel *channel, struct context *context)
{
    while (context->streams) {
        struct stream *stream = context->streams;

        context->streams = stream->next;
        hold_forget_stream(channel, stream);
        channel->thread_streams -= stream->kind == STREAM_THREAD;
        free(stream);
    }
    hold_forget_stream(channel, &context->null_stream);
    written_forget(channel, context);
    while (context->spare_marks) {
        struct mark *mark = context->spare_marks;

        context->spare_marks = mark->next;
        free(mark);
    }
}

void context_forget(struct channel *channel, struct context *context)
{
    struct context **at = &channel->contexts;

    forget_streams(channel, context);
    if (channel->entered == context->cu)
        channel->entered = NULL;
    context->cu = NULL;
    context->sticky = CUDA_SUCCESS;
    context->posted_error = CUDA_SUCCESS;
    context->failure_counted = false;
    context->may_print = false;
    quota_uncharge(channel, CHARGE_CONTEXT, context->grown_bytes);
    context->local_bytes = context->printf_bytes = context->heap_bytes = context->grown_bytes = 0;
    tell_poisoned(channel);
    snapshot_tell_unheard(channel);
    if (context->primary) {
        vector_add_forget(channel);
        pools_forget_default(channel);
        data_forget(channel);
        return;
    }
    quota_uncharge(channel, CHARGE_CONTEXT, channel->quota.context_bytes);
    while (*at != context)
        at = &(*at)->next;
    *at = context->next;
    free(context);
}
