/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/written.h"

#include <stdlib.h>

#include "worker/channel.h"

struct written_entry {
    struct written_entry *next;
    struct context *context;
    const struct stream *stream; /* to compare only: it may be freed meanwhile */
    CUevent event;
    uint64_t seq;
    struct vgpu_written what;
};

void written_init(struct written *written, bool mirrored)
{
    *written = (struct written){.mirrored = mirrored, .end = &written->first};
}

bool written_full(const struct channel *channel)
{
    return channel->written.count + channel->replies.written >= WORKER_MAX_WRITTEN;
}

static CUresult take_entry(struct channel *channel, struct context *context,
                           struct written_entry **ret_entry)
{
    struct written_entry *entry = context->spare_written;
    CUresult result;

    if (entry) {
        context->spare_written = entry->next;
    } else {
        entry = calloc(1, sizeof(*entry));
        if (!entry)
            return CUDA_ERROR_OUT_OF_MEMORY;
        result = channel->cu->cuEventCreate(&entry->event, CU_EVENT_DISABLE_TIMING);
        if (result != CUDA_SUCCESS) {
            free(entry);
            return result;
        }
    }
    *ret_entry = entry;
    return CUDA_SUCCESS;
}

static void give_entry(struct written_entry *entry)
{
    entry->next = entry->context->spare_written;
    entry->context->spare_written = entry;
}

CUresult written_follow(struct channel *channel, const struct item *item,
                        const struct vgpu_written *what)
{
    struct written *written = &channel->written;
    struct context *context = item->stream->context;
    struct written_entry *entry = NULL;
    CUresult result = take_entry(channel, context, &entry);

    if (result != CUDA_SUCCESS)
        return result;
    entry->next = NULL;
    entry->context = context;
    entry->stream = item->stream;
    entry->seq = item->call.seq;
    entry->what = *what;
    result = channel->cu->cuEventRecord(entry->event, item->stream->cu);
    if (result != CUDA_SUCCESS) {
        give_entry(entry);
        return result;
    }
    *written->end = entry;
    written->end = &entry->next;
    written->count++;
    return CUDA_SUCCESS;
}

/* Takes out the entry at `at`. */
static struct written_entry *unlink_entry(struct written *written, struct written_entry **at)
{
    struct written_entry *entry = *at;

    *at = entry->next;
    if (!*at)
        written->end = at;
    written->count--;
    return entry;
}

static CUresult look(struct channel *channel, const struct written_entry *entry)
{
    CUresult result = context_enter(channel, entry->context);

    return result == CUDA_SUCCESS ? channel->cu->cuEventQuery(entry->event) : result;
}

bool written_tell(struct channel *channel)
{
    struct written *written = &channel->written;
    struct written_entry **at = &written->first;
    const struct stream *behind = NULL; /* what follows in this stream is not done either */
    bool any = false;

    while (*at) {
        struct written_entry *entry = *at;
        CUresult result = entry->stream == behind ? CUDA_ERROR_NOT_READY : look(channel, entry);

        if (result == CUDA_ERROR_NOT_READY) {
            behind = entry->stream;
            at = &entry->next;
            continue;
        }
        unlink_entry(written, at);
        /* A copy that failed wrote nothing that the guest may count on. */
        if (result == CUDA_SUCCESS)
            reply_send_written(channel, entry->seq, &entry->what);
        give_entry(entry);
        any = true;
    }
    return any;
}

void written_forget(struct channel *channel, struct context *context)
{
    struct written_entry **at = &channel->written.first;

    while (*at) {
        if ((*at)->context == context)
            give_entry(unlink_entry(&channel->written, at));
        else
            at = &(*at)->next;
    }
    while (context->spare_written) {
        struct written_entry *entry = context->spare_written;

        context->spare_written = entry->next;
        free(entry);
    }
}
