/* SPDX-License-Identifier: Apache-2.0 */
/* The driver API: streams. What was given at creation is answered from here. */
#include "cuda/capture.h"
#include "cuda/cuda_api.h"
#include "cuda/cuda_send.h"
#include "guest/libvgpu/lookup.h"

/* Ids of the default streams; those of others start behind. */
#define ID_LEGACY     1u
#define ID_PER_THREAD 2u
#define ID_FIRST      3u

static int clamp_priority(int priority)
{
    const struct cuda_device_info *device = guest_device();

    if (priority < device->greatest_priority)
        return device->greatest_priority;
    return priority > device->least_priority ? device->least_priority : priority;
}

CUresult cuStreamCreateWithPriority(CUstream *phStream, unsigned int flags, int priority)
{
    struct guest_thread *thread;
    struct stream_object *stream;
    struct cuda_args_stream_create args = {.flags = flags};
    CUresult result = guest_enter_context(&thread);

    if (result != CUDA_SUCCESS)
        return result;
    if (!phStream || (flags & ~(unsigned)CU_STREAM_NON_BLOCKING))
        return CUDA_ERROR_INVALID_VALUE;
    args.priority = clamp_priority(priority);
    guest_lock();
    stream = object_new(CUDA_KIND_STREAM, thread_context(thread));
    if (stream) {
        stream->flags = flags;
        stream->priority = args.priority;
        stream->id = ID_FIRST + ++guest.last_id;
        args.stream = stream->head.handle;
    }
    guest_unlock();
    if (!stream)
        return CUDA_ERROR_OUT_OF_MEMORY;
    result = cuda_send_stream_create(guest_sender(), &args);
    if (result == CUDA_SUCCESS) {
        *phStream = (CUstream)(uintptr_t)args.stream;
        return CUDA_SUCCESS;
    }
    guest_lock();
    object_drop(CUDA_KIND_STREAM, args.stream);
    guest_unlock();
    return result;
}

CUresult cuStreamCreate(CUstream *phStream, unsigned int Flags)
{
    return cuStreamCreateWithPriority(phStream, Flags, 0);
}

CUresult cuStreamDestroy_v2(CUstream hStream)
{
    const struct stream_object *stream;
    uint32_t handle = 0;
    CUresult result = guest_enter_context(NULL);

    if (result != CUDA_SUCCESS)
        return result;
    guest_lock();
    stream = object_find(CUDA_KIND_STREAM, hStream);
    if (stream)
        handle = stream->head.handle;
    guest_unlock();
    if (!handle)
        return CUDA_ERROR_INVALID_HANDLE;
    if (capture_any())
        capture_stream_gone(hStream);
    /* The index is free for others only once the record that frees it is on its way. */
    result = cuda_send_stream_destroy(guest_sender(),
                                      &(struct cuda_args_stream_destroy){.stream = handle});
    guest_lock();
    object_drop(CUDA_KIND_STREAM, handle);
    guest_unlock();
    return result;
}

/* What is known of a stream; the default streams have no flags and no priority. */
static CUresult ask_stream(CUstream stream, const void *out, struct stream_object *ret)
{
    struct guest_thread *thread;
    const struct stream_object *found;
    uint32_t handle;
    CUresult result = guest_enter_context(&thread);

    if (result != CUDA_SUCCESS)
        return result;
    if (!out)
        return CUDA_ERROR_INVALID_VALUE;
    result = lookup_stream(thread, stream, &handle);
    if (result != CUDA_SUCCESS)
        return result;
    *ret = (struct stream_object){
        .head.context = thread_context(thread),
        .id = handle == VGPU_STREAM_PER_THREAD ? ID_PER_THREAD : ID_LEGACY,
    };
    guest_lock();
    found = object_at(CUDA_KIND_STREAM, handle);
    if (found)
        *ret = *found;
    guest_unlock();
    return CUDA_SUCCESS;
}

CUresult cuStreamGetPriority(CUstream hStream, int *priority)
{
    struct stream_object stream;
    CUresult result = ask_stream(hStream, priority, &stream);

    if (result == CUDA_SUCCESS)
        *priority = stream.priority;
    return result;
}

CUresult cuStreamGetFlags(CUstream hStream, unsigned int *flags)
{
    struct stream_object stream;
    CUresult result = ask_stream(hStream, flags, &stream);

    if (result == CUDA_SUCCESS)
        *flags = stream.flags;
    return result;
}

CUresult cuStreamGetCtx(CUstream hStream, CUcontext *pctx)
{
    struct stream_object stream;
    CUresult result = ask_stream(hStream, pctx, &stream);

    if (result == CUDA_SUCCESS)
        *pctx = (CUcontext)(uintptr_t)stream.head.context;
    return result;
}

CUresult cuStreamGetId(CUstream hStream, unsigned long long *streamId)
{
    struct stream_object stream;
    CUresult result = ask_stream(hStream, streamId, &stream);

    if (result == CUDA_SUCCESS)
        *streamId = stream.id;
    return result;
}

CUresult cuStreamWaitEvent(CUstream hStream, CUevent hEvent, unsigned int Flags)
{
    CAPTURED(capture_wait(hEvent, hStream, Flags));
    struct guest_thread *thread;
    struct event_object event;
    struct cuda_args_stream_wait_event args = {.flags = 0};
    CUresult result = guest_enter_context(&thread);

    if (result != CUDA_SUCCESS)
        return result;
    /* An external wait only means something while a graph is captured. */
    if (Flags != CU_EVENT_WAIT_DEFAULT)
        return CUDA_ERROR_INVALID_VALUE;
    result = lookup_stream(thread, hStream, &args.stream);
    if (result == CUDA_SUCCESS)
        result = lookup_event(hEvent, &event);
    if (result != CUDA_SUCCESS)
        return result;
    args.event = event.head.handle;
    return cuda_send_stream_wait_event(guest_sender(), &args);
}

CUresult cuStreamQuery(CUstream hStream)
{
    CAPTURED(capture_refuse_query_stream(hStream));
    struct guest_thread *thread;
    struct sender *sender = guest_sender();
    struct cuda_args_stream_query args;
    CUresult result = guest_enter_context(&thread);

    if (result == CUDA_SUCCESS)
        result = lookup_stream(thread, hStream, &args.stream);
    if (result != CUDA_SUCCESS || snapshot_all_done(sender, SNAPSHOT_QUERY, &result))
        return result;
    /* The default streams are each context's own. */
    if (snapshot_still_busy(sender, thread, args.stream, thread_context(thread)))
        return CUDA_ERROR_NOT_READY;
    result = cuda_send_stream_query(sender, &args);
    snapshot_note(thread, args.stream, result);
    return result;
}

CUresult cuStreamSynchronize(CUstream hStream)
{
    CAPTURED(capture_refuse_stream(hStream));
    struct guest_thread *thread;
    struct cuda_args_stream_sync args;
    CUresult result = guest_enter_context(&thread);

    if (result == CUDA_SUCCESS)
        result = lookup_stream(thread, hStream, &args.stream);
    if (result != CUDA_SUCCESS || snapshot_all_done(guest_sender(), SNAPSHOT_WAIT, &result))
        return result;
    return cuda_send_stream_sync(guest_sender(), &args);
}
