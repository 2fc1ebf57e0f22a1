/* SPDX-License-Identifier: Apache-2.0 */
/* What the driver double puts into streams: copies, fills, launches. Each is a unit, and in the
 * journal. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/test_gpu.h"

static bool is_locked(uint64_t address)
{
    for (size_t i = 0; i < LOCKED_MAX && i < test_gpu.locked_count; i++)
        if (address - test_gpu.locked[i].start < test_gpu.locked[i].bytes)
            return true;
    for (struct allocation *at = test_gpu.allocations; at; at = at->next)
        if (address - (uintptr_t)at->base < at->bytes)
            return true;
    return false;
}

/* One call goes over one registration. */
static bool leaves_registration(const void *at, size_t pitch, const struct work *shape)
{
    uint64_t span = (shape->rows - 1) * pitch + shape->bytes;

    for (size_t i = 0; i < LOCKED_MAX && i < test_gpu.locked_count; i++) {
        uint64_t offset = (uintptr_t)at - test_gpu.locked[i].start;

        if (offset < test_gpu.locked[i].bytes && span > test_gpu.locked[i].bytes - offset)
            return true;
    }
    return false;
}

/* As a driver does with a few bytes: they are read at once, and may change then. */
static void stage(struct work *work)
{
    if (work->rows != 1 || work->bytes > 65536 || is_locked((uintptr_t)work->source))
        return;
    work->stage = malloc(work->bytes);
    memcpy(work->stage, work->source, work->bytes);
    work->source = work->stage;
}

static CUresult copy_rows(CUstream stream, const struct work *shape, const char *name)
{
    CUresult result;
    struct work *work;

    pthread_mutex_lock(&test_gpu.lock);
    result = test_gpu_refusal();
    if (leaves_registration(shape->target, shape->target_pitch, shape) ||
        (shape->source && leaves_registration(shape->source, shape->source_pitch, shape)))
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS) {
        work = test_gpu_push(stream, WORK_UNIT);
        work->target = shape->target;
        work->source = shape->source;
        work->bytes = shape->bytes;
        work->rows = shape->rows;
        work->target_pitch = shape->target_pitch;
        work->source_pitch = shape->source_pitch;
        work->element_bytes = shape->element_bytes;
        work->value = shape->value;
        if (work->source)
            stage(work);
        if (!shape->element_bytes && shape->bytes * shape->rows > test_gpu.largest_copy)
            test_gpu.largest_copy = shape->bytes * shape->rows;
        test_gpu_note(name);
        test_gpu_settle();
    }
    pthread_mutex_unlock(&test_gpu.lock);
    return result;
}

static CUresult copy(uint64_t target, uint64_t source, size_t bytes, CUstream stream)
{
    struct work shape = {.target = (void *)(uintptr_t)target,
                         .source = (const void *)(uintptr_t)source,
                         .bytes = bytes,
                         .rows = 1};

    return copy_rows(stream, &shape, "copy");
}

static CUresult copy_any(CUdeviceptr target, CUdeviceptr source, size_t bytes, CUstream stream)
{
    return copy(target, source, bytes, stream);
}

static CUresult copy_up(CUdeviceptr target, const void *source, size_t bytes, CUstream stream)
{
    return copy(target, (uintptr_t)source, bytes, stream);
}

static CUresult copy_down(void *target, CUdeviceptr source, size_t bytes, CUstream stream)
{
    return copy((uintptr_t)target, source, bytes, stream);
}

static CUresult copy_2d(const CUDA_MEMCPY2D *copy2d, CUstream stream)
{
    struct work shape = {.bytes = copy2d->WidthInBytes,
                         .rows = copy2d->Height,
                         .target_pitch = copy2d->dstPitch,
                         .source_pitch = copy2d->srcPitch};

    shape.target = copy2d->dstMemoryType == CU_MEMORYTYPE_HOST
                       ? copy2d->dstHost
                       : (void *)(uintptr_t)copy2d->dstDevice;
    shape.source = copy2d->srcMemoryType == CU_MEMORYTYPE_HOST
                       ? copy2d->srcHost
                       : (const void *)(uintptr_t)copy2d->srcDevice;
    return copy_rows(stream, &shape, "copy-rows");
}

static CUresult fill(CUdeviceptr target, size_t pitch, uint32_t value, uint32_t element_bytes,
                     size_t width, size_t height, CUstream stream)
{
    struct work shape = {.target = (void *)(uintptr_t)target,
                         .bytes = width * element_bytes,
                         .rows = height,
                         .target_pitch = pitch,
                         .element_bytes = element_bytes,
                         .value = value};

    return copy_rows(stream, &shape, "fill");
}

static CUresult fill_8(CUdeviceptr target, unsigned char value, size_t count, CUstream stream)
{
    return fill(target, 0, value, 1, count, 1, stream);
}

static CUresult fill_16(CUdeviceptr target, unsigned short value, size_t count, CUstream stream)
{
    return fill(target, 0, value, 2, count, 1, stream);
}

static CUresult fill_32(CUdeviceptr target, unsigned int value, size_t count, CUstream stream)
{
    return fill(target, 0, value, 4, count, 1, stream);
}

static CUresult fill_2d_8(CUdeviceptr target, size_t pitch, unsigned char value, size_t width,
                          size_t height, CUstream stream)
{
    return fill(target, pitch, value, 1, width, height, stream);
}

static CUresult fill_2d_16(CUdeviceptr target, size_t pitch, unsigned short value, size_t width,
                           size_t height, CUstream stream)
{
    return fill(target, pitch, value, 2, width, height, stream);
}

static CUresult fill_2d_32(CUdeviceptr target, size_t pitch, unsigned int value, size_t width,
                           size_t height, CUstream stream)
{
    return fill(target, pitch, value, 4, width, height, stream);
}

static CUresult launch(CUfunction function, unsigned int grid_x, unsigned int grid_y,
                       unsigned int grid_z, unsigned int block_x, unsigned int block_y,
                       unsigned int block_z, unsigned int shared, CUstream stream, void **params,
                       void **extra)
{
    CUresult result;

    pthread_mutex_lock(&test_gpu.lock);
    result = test_gpu_refusal();
    if (result == CUDA_SUCCESS) {
        struct work *work = test_gpu_push(stream, WORK_UNIT);

        if (strcmp(function->name, "vgpu_vector_add") == 0) {
            uint8_t *buffer = *(uint8_t **)params[0];

            work->add = true;
            work->count = *(uint32_t *)params[1];
            work->source = buffer;
            work->target = buffer + 8192;
        }
        test_gpu_note(function->name);
        test_gpu_settle();
    }
    pthread_mutex_unlock(&test_gpu.lock);
    return result;
}

/* Each attribute is in the journal, before the launch. */
static CUresult launch_ex(const CUlaunchConfig *config, CUfunction function, void **params,
                          void **extra)
{
    for (unsigned i = 0; i < config->numAttrs; i++) {
        const CUlaunchAttributeValue *value = &config->attrs[i].value;
        char text[32];

        if (config->attrs[i].id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION)
            snprintf(text, sizeof(text), "cluster %u %u %u", value->clusterDim.x,
                     value->clusterDim.y, value->clusterDim.z);
        else
            snprintf(text, sizeof(text), "attribute %d", (int)config->attrs[i].id);
        LOCKED(test_gpu_note(text););
    }
    return launch(function, 1, 1, 1, 1, 1, 1, 0, config->hStream, params, extra);
}

static CUresult write_32(CUstream stream, CUdeviceptr address, cuuint32_t value, unsigned int flags)
{
    return fill(address, 0, value, 4, 1, 1, stream);
}

static CUresult write_64(CUstream stream, CUdeviceptr address, cuuint64_t value, unsigned int flags)
{
    return fill(address, 0, (unsigned char)value, 1, 8, 1, stream);
}

static CUresult active_clusters(int *clusters, CUfunction function, const CUlaunchConfig *config)
{
    *clusters = config->attrs[0].value.clusterDim.x <= 8 ? (int)config->gridDimX : 0;
    return CUDA_SUCCESS;
}

static CUresult largest_cluster(int *blocks, CUfunction function, const CUlaunchConfig *config)
{
    *blocks = 8;
    return CUDA_SUCCESS;
}

void test_driver_work(struct cuda_driver *driver)
{
    driver->cuMemcpyAsync = copy_any;
    driver->cuMemcpyHtoDAsync = copy_up;
    driver->cuMemcpyDtoHAsync = copy_down;
    driver->cuMemcpyDtoDAsync = copy_any;
    driver->cuMemcpy2DAsync = copy_2d;
    driver->cuMemsetD8Async = fill_8;
    driver->cuMemsetD16Async = fill_16;
    driver->cuMemsetD32Async = fill_32;
    driver->cuMemsetD2D8Async = fill_2d_8;
    driver->cuMemsetD2D16Async = fill_2d_16;
    driver->cuMemsetD2D32Async = fill_2d_32;
    driver->cuLaunchKernel = launch;
    driver->cuLaunchKernelEx = launch_ex;
    driver->cuOccupancyMaxActiveClusters = active_clusters;
    driver->cuOccupancyMaxPotentialClusterSize = largest_cluster;
    driver->cuStreamWriteValue32 = write_32;
    driver->cuStreamWriteValue64 = write_64;
}
