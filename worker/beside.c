/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/beside.h"

#include "worker/channel.h"
#include "worker/exec.h"

enum before {
    BEFORE_NOTHING,
    BEFORE_EARLIER, /* when all earlier work of the context is done */
    BEFORE_IDLE     /* when the context holds no work at all; it takes no calls meanwhile */
};

struct beside_row {
    uint16_t code;
    enum before before;
    CUresult (*prepare)(struct channel *channel, struct item *item);
    void (*settle)(struct channel *channel, struct item *item);
};

static const struct beside_row rows[] = {
    {CUDA_OP_CONTEXT_RELEASE, BEFORE_IDLE, prepare_context_release, settle_context_end},
    {CUDA_OP_CONTEXT_CREATE, BEFORE_NOTHING, prepare_context_create, settle_context_create},
    {CUDA_OP_CONTEXT_DESTROY, BEFORE_IDLE, prepare_context_destroy, settle_context_end},
    {CUDA_OP_CONTEXT_RESET, BEFORE_IDLE, prepare_context_reset, settle_context_reset},
    {CUDA_OP_CONTEXT_SET_LIMIT, BEFORE_NOTHING, prepare_context_set_limit,
     settle_context_set_limit},
    {CUDA_OP_MODULE_LOAD, BEFORE_NOTHING, prepare_module_load, settle_module_load},
    {CUDA_OP_MODULE_UNLOAD, BEFORE_EARLIER, prepare_module_unload, settle_module_unload},
    {CUDA_OP_LINK_ADD, BEFORE_NOTHING, prepare_link, settle_link},
    {CUDA_OP_LINK_COMPLETE, BEFORE_NOTHING, prepare_link, settle_link},
    {CUDA_OP_MEMORY_FREE, BEFORE_EARLIER, prepare_memory_free, settle_memory_free},
    {CUDA_OP_MEMORY_UNMAP, BEFORE_EARLIER, prepare_memory_unmap, settle_memory_unmap},
    {CUDA_OP_MEMORY_SET_ACCESS, BEFORE_NOTHING, prepare_memory_set_access,
     settle_memory_set_access},
    {CUDA_OP_HOST_REGISTER, BEFORE_NOTHING, NULL, settle_host_register},
    {CUDA_OP_HOST_UNREGISTER, BEFORE_EARLIER, prepare_host_unregister, NULL},
};

static const struct beside_row *row_of(const struct item *item)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].code == item->call.row->code)
            return &rows[i];
    return NULL;
}

void beside_settle(struct channel *channel, struct item *item)
{
    const struct beside_row *row = row_of(item);

    if (item->context)
        item->context->helpers--;
    context_note_sticky(channel, item->context, item->result);
    if (row && row->settle)
        row->settle(channel, item);
    item_finish(channel, item, item->result);
}

static void submit(struct channel *channel, struct item *item)
{
    if (item->context)
        item->context->helpers++;
    if (helper_submit(channel, item) < 0) {
        item->result = CUDA_ERROR_OUT_OF_MEMORY;
        beside_settle(channel, item);
    }
}

/* Nothing is in flight that the driver could wait for: a thread would only cost time. */
static bool cannot_block(const struct channel *channel, const struct item *item)
{
    return channel->turn.units == 0 && item->context && context_idle(item->context) &&
           item->context->cu;
}

static void go(struct channel *channel, struct item *item, CUresult result)
{
    if (!cannot_block(channel, item)) {
        submit(channel, item);
        return;
    }
    item->result = context_enter(channel, item->context);
    if (item->result == CUDA_SUCCESS)
        helper_execute(channel, item);
    item->context->helpers++;
    beside_settle(channel, item);
}

static void close_context(struct channel *channel, struct item *item)
{
    item->context->closing = true;
    context_condemn(channel, item->context);
    item->next = channel->closing;
    channel->closing = item;
}

void beside_start(struct channel *channel, struct item *item)
{
    const struct beside_row *row = row_of(item);
    CUresult result = CUDA_SUCCESS;

    if (row && row->prepare)
        result = row->prepare(channel, item);
    if (result == CUDA_CALL_LATER)
        return; /* parked (quota.h) */
    if (result != CUDA_SUCCESS) {
        item_finish(channel, item, result);
        return;
    }
    if (!row || row->before == BEFORE_NOTHING) {
        submit(channel, item);
        return;
    }
    if (row->before == BEFORE_IDLE) {
        close_context(channel, item);
        return;
    }
    item_wait_init(item, go);
    context_attach(channel, item->context, &item->wait);
    item_wait_begin(channel, item);
}

static void cover_context(struct channel *channel, struct context *context)
{
    stream_cover(channel, &context->null_stream);
    for (struct stream *stream = context->streams; stream; stream = stream->next)
        stream_cover(channel, stream);
}

bool beside_poll(struct channel *channel)
{
    struct item **at = &channel->closing;
    bool any = false;

    while (*at) {
        struct item *item = *at;

        if (!context_idle(item->context) || (item->context->primary && virtual_busy(channel))) {
            cover_context(channel, item->context);
            at = &item->next;
            continue;
        }
        *at = item->next;
        /* Again: a module may have been loaded beside the consumer meanwhile. */
        context_condemn(channel, item->context);
        submit(channel, item);
        any = true;
    }
    return any;
}
