/* SPDX-License-Identifier: Apache-2.0 */
/* What the generated checks ask (cuda/border.h). Called by the consumer only, while it checks. */
#include "cuda/border.h"

#include <errno.h>
#include <string.h>

#include "common/overflow.h"
#include "worker/blob.h"
#include "worker/channel.h"

/* Blobs that may be larger than this are module images, and get a guard page. */
#define IMAGE_BLOB_BYTES (1u << 20)

int border_malformed(struct channel *channel, const char *op, const char *field)
{
    channel_end(channel, VGPU_BAD_RECORD, "record %llu: %s: bad %s",
                (unsigned long long)channel->next_seq - 1, op, field);
    return -EPROTO;
}

CUresult border_context(struct channel *channel, struct cuda_call *call)
{
    struct item *item = item_of(call);
    struct context *context = handle_get(channel->handles, CUDA_KIND_CONTEXT, call->context_handle);

    if (!context)
        return CUDA_ERROR_INVALID_CONTEXT;
    item->context = context;
    if (context->closing)
        return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    call->context = context->cu;
    return context_enter(channel, context);
}

static CUresult ref_stream(struct channel *channel, struct item *item, uint32_t handle,
                           bool null_ok, void **ret_object)
{
    struct stream *stream = handle_get(channel->handles, CUDA_KIND_STREAM, handle);
    CUresult result = CUDA_SUCCESS;

    if (!stream && (!null_ok || handle > VGPU_STREAM_PER_THREAD))
        return CUDA_ERROR_INVALID_HANDLE;
    if (!stream && handle == VGPU_STREAM_PER_THREAD)
        result = stream_of_thread(channel, item->context, item->call.thread, &stream);
    else if (!stream)
        stream = &item->context->null_stream;
    if (result != CUDA_SUCCESS)
        return result;
    /* A stream brings its own context. */
    item->stream = stream;
    item->context = stream->context;
    item->call.context = stream->context->cu;
    *ret_object = stream->cu;
    return CUDA_SUCCESS;
}

static CUresult ref_event(struct channel *channel, struct item *item, uint32_t handle,
                          void **ret_object)
{
    struct event *event = handle_get(channel->handles, CUDA_KIND_EVENT, handle);

    if (!event)
        return CUDA_ERROR_INVALID_HANDLE;
    if (item->event)
        item->second_event = event;
    else
        item->event = event;
    if (!item->context)
        item->context = event->context;
    *ret_object = event->body->cu;
    return CUDA_SUCCESS;
}

static CUresult ref_pool(struct channel *channel, struct item *item, uint32_t handle, bool null_ok,
                         void **ret_object)
{
    struct pool *pool = handle_get(channel->handles, CUDA_KIND_POOL, handle);
    CUresult result = CUDA_SUCCESS;

    if (!pool && (!null_ok || handle != 0))
        return CUDA_ERROR_INVALID_HANDLE;
    if (!pool)
        result = pool_default(channel, &pool);
    if (result != CUDA_SUCCESS)
        return result;
    item->pool = pool;
    *ret_object = pool->cu;
    return CUDA_SUCCESS;
}

CUresult border_ref(struct channel *channel, struct cuda_call *call, unsigned kind, uint32_t handle,
                    bool null_ok, void **ret_object)
{
    struct item *item = item_of(call);
    void *object;

    if (kind == CUDA_KIND_STREAM)
        return ref_stream(channel, item, handle, null_ok, ret_object);
    if (kind == CUDA_KIND_EVENT)
        return ref_event(channel, item, handle, ret_object);
    if (kind == CUDA_KIND_POOL)
        return ref_pool(channel, item, handle, null_ok, ret_object);
    object = handle_get(channel->handles, kind, handle);
    if (!object)
        return kind == CUDA_KIND_CONTEXT ? CUDA_ERROR_INVALID_CONTEXT : CUDA_ERROR_INVALID_HANDLE;
    switch (kind) {
    case CUDA_KIND_CONTEXT:
        item->context = object;
        *ret_object = item->context->cu;
        return item->context->closing ? CUDA_ERROR_CONTEXT_IS_DESTROYED : CUDA_SUCCESS;
    case CUDA_KIND_MODULE:
        item->module = object;
        item->context = item->module->context;
        *ret_object = item->module->cu;
        return CUDA_SUCCESS;
    case CUDA_KIND_MEMORY:
        item->memory = object;
        *ret_object = (void *)(uintptr_t)item->memory->cu;
        return CUDA_SUCCESS;
    case CUDA_KIND_GRAPH:
        item->graph = object;
        item->context = item->graph->context;
        *ret_object = item->graph->exec;
        return CUDA_SUCCESS;
    case CUDA_KIND_FUNCTION:
        item->function = object;
        *ret_object = item->function->cu;
        return CUDA_SUCCESS;
    default:
        item->link = object;
        item->context = item->link->context;
        *ret_object = item->link->cu;
        return CUDA_SUCCESS;
    }
}

CUresult border_del(struct channel *channel, struct cuda_call *call, unsigned kind, uint32_t handle,
                    bool null_ok, void **ret_object)
{
    CUresult result = border_ref(channel, call, kind, handle, null_ok, ret_object);

    if (result == CUDA_SUCCESS)
        handle_drop(channel->handles, handle);
    return result;
}

int border_new(struct channel *channel, unsigned kind, uint32_t handle)
{
    return handle_is_free(channel->handles, kind, handle) ? 0 : -EPROTO;
}

CUresult border_range(struct channel *channel, uint64_t address, uint64_t bytes)
{
    return ledger_find(&channel->ledger, address, bytes) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult border_end(struct channel *channel, struct cuda_call *call, uint64_t address)
{
    struct item *item = item_of(call);
    struct ledger_range range;

    if (!ledger_remove(&channel->ledger, address, RANGE_POOL, &range))
        return CUDA_ERROR_INVALID_VALUE;
    item->pool = range.pool;
    item->made_bytes = range.bytes;
    return CUDA_SUCCESS;
}

int border_place(struct channel *channel, const struct vgpu_place *place, uint64_t bytes,
                 struct cuda_place *ret_place)
{
    if (place->place == VGPU_PLACE_DATA) {
        if (!vgpu_range_within(place->address, bytes, channel->map.geometry.data_bytes))
            return -EPROTO;
        *ret_place = (struct cuda_place){.host = channel->map.data + place->address};
        return CUDA_SUCCESS;
    }
    *ret_place = (struct cuda_place){.device = true, .address = place->address};
    return border_range(channel, place->address, bytes);
}

int border_slice(struct channel *channel, const struct vgpu_slice *slice, void **ret_host)
{
    if (!vgpu_range_within(slice->offset, slice->bytes, channel->map.geometry.data_bytes))
        return -EPROTO;
    *ret_host = channel->map.data + slice->offset;
    return 0;
}

static const uint8_t *blob_source(struct channel *channel, const struct vgpu_record *record,
                                  size_t fixed_bytes, const struct vgpu_blob *blob)
{
    if (blob->place == VGPU_BLOB_INLINE) {
        if (blob->offset % 8 != 0 || blob->offset < fixed_bytes ||
            !vgpu_range_within(blob->offset, blob->size_bytes, record->size_bytes))
            return NULL;
        return (const uint8_t *)record + blob->offset;
    }
    if (blob->place != VGPU_BLOB_DATA ||
        !vgpu_range_within(blob->offset, blob->size_bytes, channel->map.geometry.data_bytes))
        return NULL;
    return channel->map.data + blob->offset;
}

int border_blob(struct channel *channel, struct cuda_call *call, const struct vgpu_record *record,
                size_t fixed_bytes, const struct vgpu_blob *blob, uint32_t most, bool string,
                const void **ret_data)
{
    struct item *item = item_of(call);
    const uint8_t *source;
    int status;

    *ret_data = item->small;
    if (blob->size_bytes > most)
        return -EPROTO;
    if (blob->size_bytes == 0 && blob->place == VGPU_BLOB_INLINE)
        return blob->offset > record->size_bytes ? -EPROTO
                                                 : blob_copy(channel, item, "", 0, false, ret_data);
    source = blob_source(channel, record, fixed_bytes, blob);
    if (!source)
        return -EPROTO;
    status = blob_copy(channel, item, source, blob->size_bytes, most > IMAGE_BLOB_BYTES, ret_data);
    /* Looked at in the copy: the guest may change the data area at any time. */
    if (status == 0 && string && memchr(*ret_data, 0, blob->size_bytes))
        return -EPROTO;
    return status;
}

const struct cuda_driver *border_driver(struct channel *channel)
{
    return channel->cu;
}

uint32_t border_encode_blob(uint8_t *answer, uint32_t used, const void *data, uint32_t bytes)
{
    uint32_t padded = (bytes + 7u) & ~7u;

    memcpy(answer + used, data, bytes);
    memset(answer + used + bytes, 0, padded - bytes);
    return used + padded;
}
