/* SPDX-License-Identifier: Apache-2.0 */
/* The driver API: events. */
#include "common/flag.h"
#include "cuda/capture.h"
#include "cuda/cuda_api.h"
#include "cuda/cuda_send.h"
#include "cuda/exports.h"
#include "guest/libvgpu/lookup.h"

#define KNOWN_FLAGS (CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS)

/* Two threads may record it at once: the later record counts. */
static void note_seq(const struct guest_thread *thread, uint32_t handle, bool recorded)
{
    struct event_object *event = object_at(CUDA_KIND_EVENT, handle);

    if (!event)
        return;
    if (recorded && !vgpu_flag_get(&event->recorded))
        vgpu_flag_set(&event->recorded, 1);
    vgpu_raise_u64(&event->seq, thread->last_seq);
}

CUresult cuEventCreate(CUevent *phEvent, unsigned int Flags)
{
    struct guest_thread *thread;
    struct event_object *event;
    struct cuda_args_event_create args = {.flags = Flags};
    CUresult result = guest_enter_context(&thread);

    if (result != CUDA_SUCCESS)
        return result;
    if (!phEvent || (Flags & ~(unsigned)KNOWN_FLAGS))
        return CUDA_ERROR_INVALID_VALUE;
    if ((Flags & CU_EVENT_INTERPROCESS) && !(Flags & CU_EVENT_DISABLE_TIMING))
        return CUDA_ERROR_INVALID_VALUE;
    if (Flags & CU_EVENT_INTERPROCESS)
        return cuda_unsupported("cuEventCreate for other processes");
    guest_lock();
    event = object_new(CUDA_KIND_EVENT, thread_context(thread));
    if (event) {
        event->flags = Flags;
        args.event = event->head.handle;
    }
    guest_unlock();
    if (!event)
        return CUDA_ERROR_OUT_OF_MEMORY;
    result = cuda_send_event_create(guest_sender(), &args);
    if (result == CUDA_SUCCESS) {
        note_seq(thread, args.event, false);
        *phEvent = (CUevent)(uintptr_t)args.event;
        return CUDA_SUCCESS;
    }
    guest_lock();
    object_drop(CUDA_KIND_EVENT, args.event);
    guest_unlock();
    return result;
}

CUresult cuEventDestroy_v2(CUevent hEvent)
{
    struct event_object event;
    CUresult result = guest_enter(NULL);

    if (result == CUDA_SUCCESS)
        result = lookup_event(hEvent, &event);
    if (result != CUDA_SUCCESS)
        return result;
    result = cuda_send_event_destroy(guest_sender(),
                                     &(struct cuda_args_event_destroy){.event = event.head.handle});
    guest_lock();
    object_drop(CUDA_KIND_EVENT, event.head.handle);
    guest_unlock();
    return result == CUDA_SUCCESS ? guest_poison() : result;
}

CUresult cuEventRecordWithFlags(CUevent hEvent, CUstream hStream, unsigned int flags)
{
    CAPTURED(capture_record(hEvent, hStream, flags));
    struct guest_thread *thread;
    struct cuda_args_event_record args = {.flags = 0};
    CUresult result = guest_enter_context(&thread);

    if (result != CUDA_SUCCESS)
        return result;
    /* An external record only means something while a graph is captured. */
    if (flags == CU_EVENT_RECORD_EXTERNAL)
        return CUDA_ERROR_ILLEGAL_STATE;
    if (flags != CU_EVENT_RECORD_DEFAULT)
        return CUDA_ERROR_INVALID_VALUE;
    result = lookup_event_on(thread, hEvent, hStream, &args.event, &args.stream);
    if (result == CUDA_SUCCESS)
        result = cuda_send_event_record(guest_sender(), &args);
    if (result == CUDA_SUCCESS)
        note_seq(thread, args.event, true);
    return result;
}

CUresult cuEventRecord(CUevent hEvent, CUstream hStream)
{
    return cuEventRecordWithFlags(hEvent, hStream, CU_EVENT_RECORD_DEFAULT);
}

CUresult cuEventQuery(CUevent hEvent)
{
    CAPTURED(capture_refuse_query_event(hEvent));
    struct guest_thread *thread;
    struct sender *sender = guest_sender();
    struct event_object event;
    CUresult result = guest_enter(&thread);

    if (result == CUDA_SUCCESS)
        result = lookup_event(hEvent, &event);
    if (result != CUDA_SUCCESS || snapshot_event(sender, &event, SNAPSHOT_QUERY, &result))
        return result;
    if (snapshot_still_busy(sender, thread, event.head.handle, event.seq))
        return CUDA_ERROR_NOT_READY;
    result =
        cuda_send_event_query(sender, &(struct cuda_args_event_query){.event = event.head.handle});
    snapshot_note(thread, event.head.handle, result);
    return result;
}

CUresult cuEventSynchronize(CUevent hEvent)
{
    CAPTURED(capture_refuse_event(hEvent));
    struct event_object event;
    CUresult result = guest_enter(NULL);

    if (result == CUDA_SUCCESS)
        result = lookup_event(hEvent, &event);
    if (result != CUDA_SUCCESS || snapshot_event(guest_sender(), &event, SNAPSHOT_WAIT, &result))
        return result;
    return cuda_send_event_sync(guest_sender(),
                                &(struct cuda_args_event_sync){.event = event.head.handle});
}

static bool has_time(const struct event_object *event)
{
    return event->recorded && !(event->flags & CU_EVENT_DISABLE_TIMING);
}

CUresult cuEventElapsedTime_v2(float *pMilliseconds, CUevent hStart, CUevent hEnd)
{
    struct event_object start, end;
    struct cuda_out_event_elapsed out;
    CUresult result = guest_enter(NULL);

    if (result != CUDA_SUCCESS)
        return result;
    if (!pMilliseconds)
        return CUDA_ERROR_INVALID_VALUE;
    result = lookup_event(hStart, &start);
    if (result == CUDA_SUCCESS)
        result = lookup_event(hEnd, &end);
    if (result != CUDA_SUCCESS)
        return result;
    if (!has_time(&start) || !has_time(&end) || start.head.context != end.head.context)
        return CUDA_ERROR_INVALID_HANDLE;
    result = cuda_send_event_elapsed(
        guest_sender(),
        &(struct cuda_args_event_elapsed){.start = start.head.handle, .end = end.head.handle},
        &out);
    if (result == CUDA_SUCCESS)
        *pMilliseconds = out.milliseconds;
    return result;
}
