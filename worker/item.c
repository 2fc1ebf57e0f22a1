/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/item.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "worker/channel.h"

struct item *item_new(struct channel *channel)
{
    struct item *item = channel->spare_items;
    size_t cleared = offsetof(struct item, blob_bytes);

    if (item)
        channel->spare_items = item->next;
    else
        item = malloc(sizeof(*item));
    if (!item)
        return NULL;
    /* A size that the compiler does not know: its own string instructions start slowly. */
    __asm__("" : "+r"(cleared));
    memset(item, 0, cleared);
    return item;
}

bool item_make_out(struct channel *channel, struct item *item)
{
    item->out = channel->spare_out;
    channel->spare_out = NULL;
    if (!item->out)
        item->out = malloc(sizeof(*item->out));
    if (item->out)
        memset(item->out, 0, item->call.row->out_bytes);
    return item->out != NULL;
}

static void free_out(struct channel *channel, struct item *item)
{
    if (channel->spare_out)
        free(item->out);
    else
        channel->spare_out = item->out;
}

static void free_blobs(struct channel *channel, struct item *item)
{
    for (unsigned i = 0; i < item->call.owned; i++) {
        if (item->blob_bytes[i])
            munmap(item->call.blobs[i], item->blob_bytes[i]);
        else
            free(item->call.blobs[i]);
    }
    item->call.owned = 0;
    channel->blob_bytes -= item->owned_bytes;
}

void item_free(struct channel *channel, struct item *item)
{
    if (item->call.owned)
        free_blobs(channel, item);
    if (item->out)
        free_out(channel, item);
    if (item->counted && !item->batched) {
        times_over(channel, item);
        turn_job_over(channel, false);
    }
    item->next = channel->spare_items;
    channel->spare_items = item;
}

static void answer(struct channel *channel, struct item *item, uint16_t status, CUresult result)
{
    struct vgpu_completion *completion = (struct vgpu_completion *)(void *)channel->replies.buffer;
    uint64_t issued_ns = item->call.issued_ns ? item->call.issued_ns : channel->now_ns;

    memset(completion, 0, sizeof(*completion));
    completion->size_bytes = sizeof(*completion);
    if (item->out && item->call.row->encode)
        completion->size_bytes = item->call.row->encode(item->out, channel->replies.buffer);
    completion->kind = VGPU_COMPLETION_REPLY;
    completion->status = status;
    completion->seq = item->call.seq;
    completion->result = (int32_t)result;
    completion->wait_ns = issued_ns - item->call.taken_ns;
    completion->run_ns = channel->now_ns > issued_ns ? channel->now_ns - issued_ns : 0;
    reply_send(channel, completion);
}

void item_refuse(struct channel *channel, struct item *item, uint16_t status, CUresult result)
{
    if (item->call.flags & VGPU_RECORD_WAIT)
        answer(channel, item, status, result);
    else if (result != CUDA_SUCCESS)
        context_note_posted(channel, item->context, result);
    item_free(channel, item);
}

void item_finish(struct channel *channel, struct item *item, CUresult result)
{
    if (result != CUDA_SUCCESS)
        context_note_sticky(channel, item->context, result);
    if ((item->call.flags & VGPU_RECORD_WAIT) && (item->call.row->flags & CUDA_OPF_REPORT)) {
        /* What was waited for may be done, and work behind it refused since. */
        if (result == CUDA_SUCCESS && item->context)
            result = item->context->sticky;
        result = context_take_error(channel, item->context, result);
    }
    item_refuse(channel, item, VGPU_OK, result);
}

void item_wait_init(struct item *item,
                    void (*then)(struct channel *channel, struct item *item, CUresult result))
{
    item->wait = (struct wait){.item = item, .remaining = 1, .then = then ? then : item_finish};
}

CUresult item_wait_begin(struct channel *channel, struct item *item)
{
    if (--item->wait.remaining == 0)
        item->wait.then(channel, item, item->wait.result);
    return CUDA_CALL_LATER;
}
