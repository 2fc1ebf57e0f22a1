/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the handles and addresses that a program passes to what is known of them. Errors are those
 * that CUDA reports at once.
 */
#ifndef VGPU_LIBVGPU_LOOKUP_H
#define VGPU_LIBVGPU_LOOKUP_H

#include "guest/libvgpu/guest.h"

/* The wire's handle of a stream; NULL is the default stream that this thread uses. */
CUresult lookup_stream(const struct guest_thread *thread, CUstream stream, uint32_t *ret_handle);

CUresult lookup_event(CUevent event, struct event_object *ret);

/* The wire's handles of an event and of a stream of the event's own context. */
CUresult lookup_event_on(const struct guest_thread *thread, CUevent event, CUstream stream,
                         uint32_t *ret_event, uint32_t *ret_stream);

/* A copy; its name and params stay valid while the module is loaded. */
CUresult lookup_function(CUfunction function, struct function_object *ret);

/* For launches and occupancy: a kernel of a library too, as its function in the current context. */
CUresult lookup_launched(CUfunction function, struct function_object *ret);

CUresult lookup_module(CUmodule module, uint32_t *ret_handle);

/* [address, address + bytes) lies in one range of device addresses; bytes > 0. ret_what may be
 * NULL. */
CUresult lookup_device_range(CUdeviceptr address, uint64_t bytes, enum range_what *ret_what);

/* Wire handle of the context, CUDA_ERROR_INVALID_CONTEXT if it is none. */
CUresult lookup_context(CUcontext context, struct context_object *ret);

/* A device ordinal that exists. */
CUresult lookup_device(CUdevice device);

#endif
