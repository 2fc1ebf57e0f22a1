/* SPDX-License-Identifier: Apache-2.0 */
/* Executions: streams and host functions. */
#include <stdlib.h>
#include <string.h>

#include "worker/channel.h"

CUresult exec_stream_create(struct channel *channel, const struct cuda_call *call,
                            const struct cuda_in_stream_create *in)
{
    CUstream cu;
    struct stream *stream;
    CUresult result = channel->cu->cuStreamCreateWithPriority(&cu, in->flags, in->priority);

    if (result != CUDA_SUCCESS)
        return result;
    stream =
        stream_new(item_of(call)->context, STREAM_GUEST, cu, !(in->flags & CU_STREAM_NON_BLOCKING));
    if (stream && handle_put(channel->handles, in->stream_handle, stream) == 0)
        return CUDA_SUCCESS;
    if (stream)
        stream_destroy(channel, stream);
    else
        channel->cu->cuStreamDestroy(cu);
    return CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult exec_stream_destroy(struct channel *channel, const struct cuda_call *call,
                             const struct cuda_in_stream_destroy *in)
{
    struct item *item = item_of(call);
    struct stream *stream = item->stream;

    item->stream = NULL;
    return stream_destroy(channel, stream);
}

CUresult exec_stream_set_attribute(struct channel *channel, const struct cuda_call *call,
                                   const struct cuda_in_stream_set_attribute *in)
{
    CUstreamAttrValue value;

    memset(&value, 0, sizeof(value));
    if (in->attribute == CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP) {
        value.memSyncDomainMap.default_ = (unsigned char)in->value;
        value.memSyncDomainMap.remote = (unsigned char)(in->value >> 8);
    } else if (in->attribute == CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN) {
        value.memSyncDomain = (CUlaunchMemSyncDomain)(in->value & 1);
    } else {
        value.priority = (int)(uint32_t)in->value;
    }
    return channel->cu->cuStreamSetAttribute(item_of(call)->stream->cu,
                                             (CUstreamAttrID)in->attribute, &value);
}

CUresult exec_stream_wait_event(struct channel *channel, const struct cuda_call *call,
                                const struct cuda_in_stream_wait_event *in)
{
    struct item *item = item_of(call);
    CUresult result = channel->cu->cuStreamWaitEvent(item->stream->cu, item->event->body->cu, 0);

    if (result == CUDA_SUCCESS)
        stream_add_op(channel, item->stream);
    return result;
}

/* What prints goes out before the answer. The stream itself may be gone by now. */
static void synced_stream(struct channel *channel, struct item *item, CUresult result)
{
    uint32_t handle = item->in.stream_sync.stream_handle;
    struct stream *stream = handle_get(channel->handles, CUDA_KIND_STREAM, handle);

    if (handle == VGPU_STREAM_DEFAULT || handle == VGPU_STREAM_LEGACY)
        stream = &item->context->null_stream;
    print_flush(channel, item->context, stream);
    pools_settle(channel);
    item_finish(channel, item, result);
}

/* The legacy default stream is done when all blocking streams are. */
static bool waits_for_others(const struct stream *stream)
{
    if (stream->kind != STREAM_NULL)
        return false;
    for (const struct stream *other = stream->context->streams; other; other = other->next)
        if (other->blocking && stream_busy(other))
            return true;
    return false;
}

/* Behind the guest's last call, an event, there is nothing but a mark of the worker's own. */
static bool only_a_mark_is_left(struct channel *channel, const struct stream *stream)
{
    snapshot_tell_events(channel);
    return stream->last_event && stream->done_event == stream->last_event &&
           !waits_for_others(stream);
}

CUresult exec_stream_query(struct channel *channel, const struct cuda_call *call,
                           const struct cuda_in_stream_query *in)
{
    const struct stream *stream = item_of(call)->stream;
    CUresult result = channel->cu->cuStreamQuery(stream->cu);

    if (result == CUDA_ERROR_NOT_READY && only_a_mark_is_left(channel, stream))
        result = stream->context->sticky;
    return result;
}

CUresult exec_stream_sync(struct channel *channel, const struct cuda_call *call,
                          const struct cuda_in_stream_sync *in)
{
    struct item *item = item_of(call);
    CUresult result;

    if (waits_for_others(item->stream))
        stream_add_op(channel, item->stream);
    item_wait_init(item, synced_stream);
    result = stream_attach(channel, item->stream, &item->wait);
    if (item->wait.result == CUDA_SUCCESS)
        item->wait.result = result;
    return item_wait_begin(channel, item);
}

/* The stream has got to the host function: the guest runs it. Its result tells of errors. */
static void reached(struct channel *channel, struct item *item, CUresult result)
{
    struct vgpu_completion completion = {.size_bytes = sizeof(completion),
                                         .kind = VGPU_COMPLETION_CALLBACK,
                                         .seq = item->in.host_function.token,
                                         .result = (int32_t)result};

    context_note_sticky(channel, item->context, result);
    item->stream->gate = GATE_WAITING;
    reply_send(channel, &completion);
    item_free(channel, item);
}

CUresult exec_host_function(struct channel *channel, const struct cuda_call *call,
                            const struct cuda_in_host_function *in)
{
    struct item *item = item_of(call);
    CUresult result;

    hold_close_gate(channel, item->stream, in->token);
    stream_add_op(channel, item->stream);
    item_wait_init(item, reached);
    result = stream_attach(channel, item->stream, &item->wait);
    if (item->wait.result == CUDA_SUCCESS)
        item->wait.result = result;
    return item_wait_begin(channel, item);
}

CUresult exec_host_function_done(struct channel *channel, const struct cuda_call *call,
                                 const struct cuda_in_host_function_done *in)
{
    /* An answer to nothing is a guest's mistake, but nothing depends on it. */
    return hold_open_gate(channel, in->token) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
