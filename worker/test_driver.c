/* SPDX-License-Identifier: Apache-2.0 */
/* The table of the driver double, and its device, contexts, streams and events. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/test_gpu.h"

static CUresult init(unsigned int flags)
{
    return CUDA_SUCCESS;
}

static CUresult driver_version(int *version)
{
    *version = 13000;
    return CUDA_SUCCESS;
}

static CUresult device_get(CUdevice *device, int ordinal)
{
    *device = 0;
    return CUDA_SUCCESS;
}

static CUresult device_name(char *name, int length, CUdevice device)
{
    snprintf(name, (size_t)length, "test double");
    return CUDA_SUCCESS;
}

static CUresult device_memory(size_t *bytes, CUdevice device)
{
    *bytes = 1u << 30;
    return CUDA_SUCCESS;
}

static CUresult device_attribute(int *value, CUdevice_attribute attribute, CUdevice device)
{
    *value = (int)attribute;
    return CUDA_SUCCESS;
}

static CUresult primary_retain(CUcontext *context, CUdevice device)
{
    test_gpu.primary.broken = CUDA_SUCCESS;
    test_gpu.primary.primary = true;
    *context = &test_gpu.primary;
    return CUDA_SUCCESS;
}

static CUresult primary_reset(CUdevice device)
{
    LOCKED(test_gpu_note("reset"); test_gpu_forget(&test_gpu.primary););
    return CUDA_SUCCESS;
}

static CUresult context_create(CUcontext *context, unsigned int flags, CUdevice device)
{
    test_gpu_current = NULL;
    *context = test_gpu_make(sizeof(**context));
    test_gpu_current = *context;
    return CUDA_SUCCESS;
}

static CUresult context_destroy(CUcontext context)
{
    LOCKED(test_gpu_note("destroy-context"); test_gpu_forget(context););
    test_gpu_unmake(context);
    return CUDA_SUCCESS;
}

static CUresult context_set(CUcontext context)
{
    test_gpu_current = context;
    return CUDA_SUCCESS;
}

static CUresult context_get(CUcontext *context)
{
    *context = test_gpu_current;
    return CUDA_SUCCESS;
}

static CUresult context_pop(CUcontext *context)
{
    *context = test_gpu_current;
    test_gpu_current = NULL;
    return CUDA_SUCCESS;
}

static CUresult context_synchronize(void)
{
    pthread_mutex_lock(&test_gpu.lock);
    for (struct CUstream_st *stream = test_gpu.streams; stream; stream = stream->next)
        if (stream->context == test_gpu_current && stream->first)
            abort(); /* the consumer never calls what waits */
    test_gpu_see_frees(&test_gpu.default_pool);
    for (struct CUmemPoolHandle_st *pool = test_gpu.pools; pool; pool = pool->next)
        test_gpu_see_frees(pool);
    pthread_mutex_unlock(&test_gpu.lock);
    return CUDA_SUCCESS;
}

static CUresult set_limit(CUlimit limit, size_t value)
{
    return CUDA_SUCCESS;
}

static CUresult stream_set(CUstream stream, CUstreamAttrID id, const CUstreamAttrValue *value)
{
    char text[32];

    snprintf(text, sizeof(text), "stream-attribute %d %d %d", (int)id, value->priority & 0xff,
             value->priority >> 8);
    LOCKED(test_gpu_note(text););
    return CUDA_SUCCESS;
}

static CUresult stream_create(CUstream *stream, unsigned int flags)
{
    LOCKED(*stream = test_gpu_new_stream(test_gpu_current););
    return CUDA_SUCCESS;
}

static CUresult stream_create_priority(CUstream *stream, unsigned int flags, int priority)
{
    return stream_create(stream, flags);
}

/* It stays until the test is over: work may still be in it. */
static CUresult stream_destroy(CUstream stream)
{
    LOCKED(test_gpu_note("destroy-stream"););
    return CUDA_SUCCESS;
}

static CUresult stream_query(CUstream stream)
{
    CUresult result = CUDA_SUCCESS;

    LOCKED(if (test_gpu_current->broken) result = test_gpu_current->broken;
           else if (test_gpu_stream(stream)->first) result = CUDA_ERROR_NOT_READY;);
    return result;
}

/* Only for the warm-up: the consumer never calls what waits. */
static CUresult stream_synchronize(CUstream stream)
{
    if (stream_query(stream) == CUDA_ERROR_NOT_READY)
        abort();
    return CUDA_SUCCESS;
}

static CUresult stream_wait(CUstream stream, CUevent event, unsigned int flags)
{
    LOCKED(struct work *work = test_gpu_push(stream, WORK_AWAIT); work->event = event;
           work->ticket = event->recorded; test_gpu_note("wait-event"); test_gpu_settle(););
    return CUDA_SUCCESS;
}

static CUresult event_create(CUevent *event, unsigned int flags)
{
    *event = test_gpu_make(sizeof(**event));
    (*event)->context = test_gpu_current;
    return CUDA_SUCCESS;
}

static CUresult event_record(CUevent event, CUstream stream)
{
    CUresult result;

    pthread_mutex_lock(&test_gpu.lock);
    result = test_gpu_current ? test_gpu_current->broken : CUDA_ERROR_INVALID_CONTEXT;
    if (result == CUDA_SUCCESS) {
        struct work *work = test_gpu_push(stream, WORK_RECORD);

        work->event = event;
        work->ticket = event->recorded = ++test_gpu.tickets;
        test_gpu_settle();
    }
    pthread_mutex_unlock(&test_gpu.lock);
    return result;
}

static CUresult event_query(CUevent event)
{
    CUresult result;

    LOCKED(result = event->context->broken;
           if (result == CUDA_SUCCESS && event->done < event->recorded) result =
               CUDA_ERROR_NOT_READY;);
    return result;
}

/* Marks are never freed by the worker while a context lives: memory is the test process's. */
static CUresult event_destroy(CUevent event)
{
    bool used = false;

    LOCKED(for (struct CUstream_st *stream = test_gpu.streams; stream;
                stream = stream->next) for (struct work *work = stream->first; work;
                                            work = work->next) used |= work->event == event;);
    if (!used)
        test_gpu_unmake(event);
    return CUDA_SUCCESS;
}

static CUresult event_elapsed(float *milliseconds, CUevent start, CUevent end)
{
    *milliseconds = 1.5f;
    return event_query(end);
}

static CUresult lacking(void)
{
    return CUDA_ERROR_NOT_SUPPORTED;
}

void test_driver_without_pools(struct cuda_driver *driver)
{
    *(CUresult(**)(void))(void *)&driver->cuDeviceGetDefaultMemPool = lacking;
    *(CUresult(**)(void))(void *)&driver->cuMemAllocFromPoolAsync = lacking;
}

void test_driver_table(struct cuda_driver *driver)
{
    CUresult (**slots)(void) = (CUresult(**)(void))(void *)driver;

    for (size_t i = offsetof(struct cuda_driver, cuInit) / sizeof(void *);
         i < sizeof(*driver) / sizeof(void *); i++)
        slots[i] = lacking;
    driver->library = NULL;
    driver->cuInit = init;
    driver->cuDriverGetVersion = driver_version;
    driver->cuDeviceGet = device_get;
    driver->cuDeviceGetName = device_name;
    driver->cuDeviceTotalMem = device_memory;
    driver->cuDeviceGetAttribute = device_attribute;
    driver->cuDevicePrimaryCtxRetain = primary_retain;
    driver->cuDevicePrimaryCtxReset = primary_reset;
    driver->cuCtxCreate_v2 = context_create;
    driver->cuCtxDestroy = context_destroy;
    driver->cuCtxSetCurrent = context_set;
    driver->cuCtxGetCurrent = context_get;
    driver->cuCtxPopCurrent = context_pop;
    driver->cuCtxSynchronize = context_synchronize;
    driver->cuCtxSetLimit = set_limit;
    driver->cuStreamSetAttribute = stream_set;
    driver->cuStreamCreate = stream_create;
    driver->cuStreamCreateWithPriority = stream_create_priority;
    driver->cuStreamDestroy = stream_destroy;
    driver->cuStreamQuery = stream_query;
    driver->cuStreamSynchronize = stream_synchronize;
    driver->cuStreamWaitEvent = stream_wait;
    driver->cuEventCreate = event_create;
    driver->cuEventRecord = event_record;
    driver->cuEventQuery = event_query;
    driver->cuEventDestroy = event_destroy;
    driver->cuEventElapsedTime = event_elapsed;
    test_driver_modules(driver);
    test_driver_memory(driver);
    test_driver_work(driver);
    test_driver_graphs(driver);
}
