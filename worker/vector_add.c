/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/vector_add.h"

#include <stdlib.h>
#include <string.h>

#include "worker/channel.h"
#include "worker/vector_add_ptx.h"

#define VECTOR_MAX   1024u
#define VECTOR_BYTES (VECTOR_MAX * 4u)
#define BUFFER_BYTES (3u * VECTOR_BYTES)
#define ESTIMATE_NS  (30 * VGPU_NS_PER_US)

static struct vector_add_slot *free_slot(struct channel *channel)
{
    for (unsigned i = 0; i < VECTOR_ADD_SLOTS; i++)
        if (!channel->vector_add.slots[i].busy)
            return &channel->vector_add.slots[i];
    return NULL;
}

bool vector_add_has_slot(const struct channel *channel)
{
    if (channel->primary.closing)
        return false;
    for (unsigned i = 0; i < VECTOR_ADD_SLOTS; i++)
        if (!channel->vector_add.slots[i].busy)
            return true;
    return false;
}

void vector_add_forget(struct channel *channel)
{
    memset(&channel->vector_add, 0, sizeof(channel->vector_add));
}

/* The module and the stream, made at the first use and again after a reset. */
static CUresult load(struct channel *channel)
{
    struct vector_add *add = &channel->vector_add;
    const struct cuda_driver *cu = channel->cu;
    CUstream stream;
    CUresult result = context_wake_primary(channel);

    if (result == CUDA_SUCCESS)
        result = context_enter(channel, &channel->primary);
    if (result != CUDA_SUCCESS || add->stream)
        return result;
    if (!add->module)
        result = cu->cuModuleLoadData(&add->module, vector_add_ptx);
    if (result == CUDA_SUCCESS)
        result = cu->cuModuleGetFunction(&add->function, add->module, "vgpu_vector_add");
    if (result == CUDA_SUCCESS)
        result = cu->cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING);
    if (result != CUDA_SUCCESS)
        return result;
    add->stream = stream_new(&channel->primary, STREAM_INTERNAL, stream, false);
    if (add->stream)
        return CUDA_SUCCESS;
    cu->cuStreamDestroy(stream);
    return CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult fill_slot(struct channel *channel, struct vector_add_slot *slot)
{
    CUresult result = CUDA_SUCCESS;
    void *host = NULL;

    if (!slot->host) {
        result = channel->cu->cuMemHostAlloc(&host, BUFFER_BYTES, CU_MEMHOSTALLOC_PORTABLE);
        if (result == CUDA_SUCCESS)
            slot->host = host;
    }
    if (result == CUDA_SUCCESS && !slot->device)
        result = channel->cu->cuMemAlloc(&slot->device, BUFFER_BYTES);
    return result;
}

static CUresult issue(struct channel *channel, const struct vector_add_slot *slot, uint32_t count)
{
    struct vector_add *add = &channel->vector_add;
    const struct cuda_driver *cu = channel->cu;
    CUdeviceptr device = slot->device;
    void *params[] = {&device, &count};
    CUstream stream = add->stream->cu;
    CUresult result = cu->cuMemcpyHtoDAsync(device, slot->host, 2 * VECTOR_BYTES, stream);

    if (result == CUDA_SUCCESS)
        result = cu->cuLaunchKernel(add->function, 1, 1, 1, count, 1, 1, 0, stream, params, NULL);
    if (result == CUDA_SUCCESS)
        result = cu->cuMemcpyDtoHAsync(slot->host + 2 * VECTOR_BYTES, device + 2 * VECTOR_BYTES,
                                       count * 4, stream);
    return result;
}

static void done(struct channel *channel, struct item *item, CUresult result)
{
    struct vector_add_slot *slot = item->made;
    struct cuda_out_job_vector_add *out = &item->out->job_vector_add;

    if (result == CUDA_SUCCESS) {
        out->sum_bytes = item->in.job_vector_add.count * 4;
        memcpy(out->sum, slot->host + 2 * VECTOR_BYTES, out->sum_bytes);
    }
    slot->busy = false;
    context_note_sticky(channel, &channel->primary, result);
    item_refuse(channel, item, result == CUDA_SUCCESS ? VGPU_OK : VGPU_FAILED, result);
}

static CUresult failed(struct channel *channel, struct item *item, CUresult result)
{
    item->counted = false;
    times_over(channel, item);
    turn_job_over(channel, true);
    item_refuse(channel, item, VGPU_FAILED, result);
    return CUDA_CALL_LATER;
}

CUresult exec_job_vector_add(struct channel *channel, const struct cuda_call *call,
                             const struct cuda_in_job_vector_add *in,
                             struct cuda_out_job_vector_add *out)
{
    struct item *item = item_of(call);
    struct vector_add_slot *slot = free_slot(channel);
    CUresult result;

    if (in->a_bytes != in->count * 4 || in->b_bytes != in->count * 4)
        return CUDA_ERROR_INVALID_VALUE;
    result = slot ? load(channel) : CUDA_ERROR_OUT_OF_MEMORY;
    if (result == CUDA_SUCCESS)
        result = fill_slot(channel, slot);
    if (result != CUDA_SUCCESS)
        return failed(channel, item, result);
    item->context = &channel->primary;
    memcpy(slot->host, in->a, in->a_bytes);
    memcpy(slot->host + VECTOR_BYTES, in->b, in->b_bytes);
    result = issue(channel, slot, in->count);
    if (result != CUDA_SUCCESS)
        return failed(channel, item, result);
    slot->busy = true;
    item->made = slot;
    item->batched = true;
    stream_add_unit(channel, channel->vector_add.stream, NULL, 0, ESTIMATE_NS, item);
    item_wait_init(item, done);
    result = stream_attach(channel, channel->vector_add.stream, &item->wait);
    if (item->wait.result == CUDA_SUCCESS)
        item->wait.result = result;
    return item_wait_begin(channel, item);
}

CUresult vector_add_warm_up(struct channel *channel)
{
    struct vector_add_slot *slot = &channel->vector_add.slots[0];
    CUresult result = load(channel);

    if (result == CUDA_SUCCESS)
        result = fill_slot(channel, slot);
    if (result != CUDA_SUCCESS)
        return result;
    for (uint32_t i = 0; i < VECTOR_MAX; i++) {
        uint32_t values[] = {i, 3 * i};

        memcpy(slot->host + 4 * i, &values[0], 4);
        memcpy(slot->host + VECTOR_BYTES + 4 * i, &values[1], 4);
    }
    result = issue(channel, slot, VECTOR_MAX);
    if (result == CUDA_SUCCESS)
        result = channel->cu->cuStreamSynchronize(channel->vector_add.stream->cu);
    for (uint32_t i = 0; i < VECTOR_MAX && result == CUDA_SUCCESS; i++) {
        uint32_t sum;

        memcpy(&sum, slot->host + 2 * VECTOR_BYTES + 4 * i, 4);
        if (sum != 4 * i)
            result = CUDA_ERROR_UNKNOWN;
    }
    return result;
}
