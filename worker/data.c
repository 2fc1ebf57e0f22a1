/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/data.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "worker/channel.h"

#define SECOND_START WORKER_FIRST_SEGMENT_BYTES
#define THIRD_START  (SECOND_START + WORKER_SECOND_SEGMENT_BYTES)

/* The first chunk is three segments, each other one. */
static uint64_t segment_at(uint64_t offset)
{
    if (offset < THIRD_START)
        return offset < SECOND_START ? 0 : 1;
    return 2 + offset / WORKER_CHUNK_BYTES;
}

static uint64_t segment_start(uint64_t index)
{
    if (index < 3)
        return index == 0 ? 0 : index == 1 ? SECOND_START : THIRD_START;
    return (index - 2) * WORKER_CHUNK_BYTES;
}

/* Bytes from offset to the end of its segment. */
static uint64_t to_segment_end(uint64_t offset)
{
    return segment_start(segment_at(offset) + 1) - offset;
}

uint64_t data_reach(const struct channel *channel, uint64_t address)
{
    uint64_t offset = address - (uint64_t)(uintptr_t)channel->map.data;

    return offset < channel->map.geometry.data_bytes ? to_segment_end(offset) : UINT64_MAX;
}

int data_init(struct channel *channel)
{
    struct data_area *data = &channel->data;

    data->count = segment_at(channel->map.geometry.data_bytes) + 1;
    data->segments = calloc(data->count + 1, 1);
    pthread_mutex_init(&data->lock, NULL);
    return data->segments ? 0 : -ENOMEM;
}

void data_free(struct channel *channel)
{
    free(channel->data.segments);
    pthread_mutex_destroy(&channel->data.lock);
}

/* The calling thread's context is put back: registrations live in the primary one. */
static enum segment_state lock_segment(struct channel *channel, uint64_t index)
{
    uint64_t offset = segment_start(index);
    uint64_t end = segment_start(index + 1);
    uint64_t bytes;
    CUcontext before = NULL;
    CUresult result;

    if (end > channel->map.geometry.data_bytes)
        end = channel->map.geometry.data_bytes;
    bytes = end - offset;
    channel->cu->cuCtxGetCurrent(&before);
    result = channel->cu->cuCtxSetCurrent(channel->primary.cu);
    if (result == CUDA_SUCCESS)
        result = channel->cu->cuMemHostRegister(
            channel->map.data + offset, bytes,
            channel->written.mirrored ? CU_MEMHOSTREGISTER_PORTABLE
                                      : CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP);
    channel->cu->cuCtxSetCurrent(before);
    return result == CUDA_SUCCESS ? SEGMENT_LOCKED : SEGMENT_REFUSED;
}

void data_lock(struct channel *channel, uint64_t offset, uint64_t bytes)
{
    struct data_area *data = &channel->data;
    uint64_t last = segment_at(offset + bytes - 1);

    if (bytes == 0 || !channel->primary.cu)
        return;
    pthread_mutex_lock(&data->lock);
    for (uint64_t i = segment_at(offset); i <= last; i++)
        if (data->segments[i] == SEGMENT_PLAIN)
            data->segments[i] = (uint8_t)lock_segment(channel, i);
    pthread_mutex_unlock(&data->lock);
}

void data_prepare(struct channel *channel)
{
    uint64_t bytes = channel->map.geometry.data_bytes;

    data_lock(channel, 0, bytes < WORKER_FIRST_SEGMENT_BYTES ? bytes : WORKER_FIRST_SEGMENT_BYTES);
}

static bool all_locked(const struct data_area *data, uint64_t offset, uint64_t bytes)
{
    uint64_t last = segment_at(offset + bytes - 1);

    for (uint64_t i = segment_at(offset); i <= last; i++)
        if (data->segments[i] != SEGMENT_LOCKED)
            return false;
    return true;
}

CUresult data_map(struct channel *channel, uint64_t offset, uint64_t bytes,
                  CUdeviceptr *ret_address)
{
    CUdeviceptr first = 0;
    CUdeviceptr last = 0;
    CUresult result;
    bool locked;

    if (bytes == 0)
        return CUDA_ERROR_INVALID_VALUE;
    data_lock(channel, offset, bytes);
    pthread_mutex_lock(&channel->data.lock);
    locked = all_locked(&channel->data, offset, bytes);
    pthread_mutex_unlock(&channel->data.lock);
    if (!locked)
        return CUDA_ERROR_NOT_SUPPORTED;
    result = channel->cu->cuMemHostGetDevicePointer(&first, channel->map.data + offset, 0);
    if (result == CUDA_SUCCESS)
        result = channel->cu->cuMemHostGetDevicePointer(&last,
                                                        channel->map.data + offset + bytes - 1, 0);
    if (result != CUDA_SUCCESS)
        return result;
    /* Segments are locked one by one; a driver may show them to the device apart. */
    if (last - first != bytes - 1)
        return CUDA_ERROR_NOT_SUPPORTED;
    *ret_address = first;
    return CUDA_SUCCESS;
}

void data_forget(struct channel *channel)
{
    memset(channel->data.segments, SEGMENT_PLAIN, channel->data.count);
}
