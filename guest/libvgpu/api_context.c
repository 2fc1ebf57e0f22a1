/* SPDX-License-Identifier: Apache-2.0 */
/* The driver API: contexts. Which is current in which thread is known here alone. */
#include "cuda/capture.h"
#include "cuda/cuda_api.h"
#include "cuda/cuda_send.h"
#include "cuda/exports.h"
#include "guest/libvgpu/data.h"
#include "guest/libvgpu/lookup.h"
#include "guest/libvgpu/move.h"
#include "guest/libvgpu/virtual.h"

/* The version that contexts say they were made for: the plain API, as NVIDIA's driver answers. */
#define CONTEXT_API_VERSION 3020

/* Orders retain and release, which wait for the worker. */
static pthread_mutex_t primary_lock = PTHREAD_MUTEX_INITIALIZER;

static bool range_of_context(const struct range *range, uint32_t context)
{
    return range->context == context;
}

static void give_host_range(const struct range *range)
{
    struct sender *sender = guest_sender();

    /* Should moving back fail, the pages stay both the program's and taken. */
    if (range->what == RANGE_MOVED && move_out(range->start, range->bytes) < 0)
        return;
    if (range_is_pinned(range) && sender)
        data_give_host(sender, range->area, range->bytes);
}

/* All that belongs to a context is gone with it. */
static void forget_contents(uint32_t context)
{
    guest_lock();
    objects_drop_context(context);
    ranges_drop_if(&guest.device, range_of_context, context, NULL);
    ranges_drop_if(&guest.host, range_of_context, context, give_host_range);
    guest_unlock();
}

static void forget_context(uint32_t context)
{
    forget_contents(context);
    guest_lock();
    object_drop(CUDA_KIND_CONTEXT, context);
    guest_unlock();
}

/* A new context object; 0 if there are too many. */
static uint32_t add_context(unsigned flags, bool primary)
{
    struct context_object *context;
    uint32_t handle = 0;

    guest_lock();
    context = object_new(CUDA_KIND_CONTEXT, 0);
    if (context) {
        context->flags = flags;
        context->primary = primary;
        context->id = ++guest.last_id;
        handle = context->head.handle;
    }
    guest_unlock();
    return handle;
}

static bool flags_valid(unsigned flags)
{
    unsigned how = flags & CU_CTX_SCHED_MASK;

    return !(flags & ~(unsigned)CU_CTX_FLAGS_MASK) &&
           (how == CU_CTX_SCHED_AUTO || how == CU_CTX_SCHED_SPIN || how == CU_CTX_SCHED_YIELD ||
            how == CU_CTX_SCHED_BLOCKING_SYNC);
}

/* The functions named *_primary are called with primary_lock held. */

static void suspend_primary(void)
{
    forget_contents(guest.primary);
    guest_lock();
    object_suspend(CUDA_KIND_CONTEXT, guest.primary);
    guest_unlock();
}

/* The handle is the same each time, as programs expect; made at the first use. */
static bool revive_primary(void)
{
    struct context_object *context;

    if (!guest.primary) {
        guest.primary = add_context(guest.primary_flags, true);
        return guest.primary != 0;
    }
    guest_lock();
    object_revive(CUDA_KIND_CONTEXT, guest.primary);
    context = object_at(CUDA_KIND_CONTEXT, guest.primary);
    context->flags = guest.primary_flags;
    context->id = ++guest.last_id;
    guest_unlock();
    return true;
}

static CUresult activate_primary(void)
{
    struct cuda_args_context_retain args = {.flags = guest.primary_flags};
    CUresult result;

    if (!revive_primary())
        return CUDA_ERROR_OUT_OF_MEMORY;
    args.context = guest.primary;
    result = cuda_send_context_retain(guest_sender(), &args);
    if (result != CUDA_SUCCESS)
        suspend_primary();
    return result;
}

static CUresult retain_primary(void)
{
    CUresult result = CUDA_SUCCESS;

    if (guest.primary_refs == 0)
        result = activate_primary();
    else if (guest.primary_reset)
        revive_primary();
    if (result != CUDA_SUCCESS)
        return result;
    guest.primary_reset = false;
    guest.primary_refs++;
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *pctx, CUdevice dev)
{
    CUresult result = guest_enter(NULL);

    if (result == CUDA_SUCCESS)
        result = pctx ? lookup_device(dev) : CUDA_ERROR_INVALID_VALUE;
    if (result != CUDA_SUCCESS)
        return result;
    pthread_mutex_lock(&primary_lock);
    result = retain_primary();
    if (result == CUDA_SUCCESS)
        *pctx = (CUcontext)(uintptr_t)guest.primary;
    pthread_mutex_unlock(&primary_lock);
    return result;
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice dev)
{
    CUresult result = guest_enter(NULL);

    if (result == CUDA_SUCCESS)
        result = lookup_device(dev);
    if (result != CUDA_SUCCESS)
        return result;
    pthread_mutex_lock(&primary_lock);
    if (guest.primary_refs == 0) {
        result = CUDA_ERROR_INVALID_CONTEXT;
    } else if (--guest.primary_refs == 0) {
        result = cuda_send_context_release(
            guest_sender(), &(struct cuda_args_context_release){.context = guest.primary});
        virtual_forget();
        suspend_primary();
        guest.primary_reset = false;
    }
    pthread_mutex_unlock(&primary_lock);
    return result;
}

CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice dev, unsigned int flags)
{
    struct context_object *context;
    CUresult result = guest_enter(NULL);

    if (result == CUDA_SUCCESS)
        result = lookup_device(dev);
    if (result != CUDA_SUCCESS)
        return result;
    if (!flags_valid(flags))
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&primary_lock);
    guest.primary_flags = flags;
    guest_lock();
    context = object_at(CUDA_KIND_CONTEXT, guest.primary);
    if (context)
        context->flags = flags;
    guest_unlock();
    pthread_mutex_unlock(&primary_lock);
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxGetState(CUdevice dev, unsigned int *flags, int *active)
{
    CUresult result = guest_enter(NULL);

    if (result == CUDA_SUCCESS)
        result = lookup_device(dev);
    if (result != CUDA_SUCCESS)
        return result;
    if (!flags || !active)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&primary_lock);
    *flags = guest.primary_flags;
    *active = guest.primary_refs > 0 && !guest.primary_reset;
    pthread_mutex_unlock(&primary_lock);
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxReset_v2(CUdevice dev)
{
    CUresult result = guest_enter(NULL);

    if (result == CUDA_SUCCESS)
        result = lookup_device(dev);
    if (result != CUDA_SUCCESS)
        return result;
    pthread_mutex_lock(&primary_lock);
    if (guest.primary_refs > 0) {
        result = cuda_send_context_reset(
            guest_sender(), &(struct cuda_args_context_reset){.context = guest.primary});
        virtual_forget();
        suspend_primary();
        guest.primary_reset = true;
    }
    pthread_mutex_unlock(&primary_lock);
    return result;
}

CUresult cuCtxCreate_v2(CUcontext *pctx, unsigned int flags, CUdevice dev)
{
    struct guest_thread *thread;
    struct cuda_args_context_create args = {.flags = flags};
    CUresult result = guest_enter(&thread);

    if (result != CUDA_SUCCESS)
        return result;
    if (!pctx || !flags_valid(flags))
        return CUDA_ERROR_INVALID_VALUE;
    result = lookup_device(dev);
    if (result != CUDA_SUCCESS)
        return result;
    args.context = add_context(flags, false);
    if (!args.context)
        return CUDA_ERROR_OUT_OF_MEMORY;
    result = cuda_send_context_create(guest_sender(), &args);
    if (result == CUDA_SUCCESS && !thread_push(thread, args.context)) {
        cuda_send_context_destroy(guest_sender(),
                                  &(struct cuda_args_context_destroy){.context = args.context});
        result = CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (result == CUDA_SUCCESS)
        *pctx = (CUcontext)(uintptr_t)args.context;
    else
        forget_context(args.context);
    return result;
}

CUresult cuCtxCreate_v3(CUcontext *pctx, CUexecAffinityParam *paramsArray, int numParams,
                        unsigned int flags, CUdevice dev)
{
    if (paramsArray || numParams)
        return cuda_unsupported("cuCtxCreate with execution affinity");
    return cuCtxCreate_v2(pctx, flags, dev);
}

CUresult cuCtxCreate_v4(CUcontext *pctx, CUctxCreateParams *ctxCreateParams, unsigned int flags,
                        CUdevice dev)
{
    if (ctxCreateParams && (ctxCreateParams->execAffinityParams ||
                            ctxCreateParams->numExecAffinityParams || ctxCreateParams->cigParams))
        return cuda_unsupported("cuCtxCreate with parameters");
    return cuCtxCreate_v2(pctx, flags, dev);
}

CUresult cuCtxDestroy_v2(CUcontext ctx)
{
    struct guest_thread *thread;
    struct context_object context;
    CUresult result = guest_enter(&thread);

    if (result == CUDA_SUCCESS)
        result = lookup_context(ctx, &context);
    if (result != CUDA_SUCCESS)
        return result;
    if (context.primary)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (capture_any())
        capture_context_gone(ctx);
    result = cuda_send_context_destroy(
        guest_sender(), &(struct cuda_args_context_destroy){.context = context.head.handle});
    forget_context(context.head.handle);
    if (thread_context(thread) == context.head.handle)
        thread->context_count--;
    return result;
}

CUresult cuCtxPushCurrent_v2(CUcontext ctx)
{
    struct guest_thread *thread;
    struct context_object context;
    CUresult result = guest_enter(&thread);

    if (result == CUDA_SUCCESS)
        result = ctx ? lookup_context(ctx, &context) : CUDA_ERROR_INVALID_VALUE;
    if (result != CUDA_SUCCESS)
        return result;
    return thread_push(thread, context.head.handle) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuCtxPopCurrent_v2(CUcontext *pctx)
{
    struct guest_thread *thread;
    CUresult result = guest_enter(&thread);

    if (result != CUDA_SUCCESS)
        return result;
    if (thread->context_count == 0)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (pctx)
        *pctx = (CUcontext)(uintptr_t)thread_context(thread);
    thread->context_count--;
    return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext ctx)
{
    struct guest_thread *thread;
    struct context_object context;
    CUresult result = guest_enter(&thread);

    if (result != CUDA_SUCCESS)
        return result;
    if (!ctx) {
        if (thread->context_count > 0)
            thread->context_count--;
        return CUDA_SUCCESS;
    }
    result = lookup_context(ctx, &context);
    if (result != CUDA_SUCCESS)
        return result;
    if (thread->context_count == 0)
        return thread_push(thread, context.head.handle) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
    thread->contexts[thread->context_count - 1] = context.head.handle;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext *pctx)
{
    struct guest_thread *thread;
    CUresult result = guest_enter(&thread);

    if (result != CUDA_SUCCESS)
        return result;
    if (!pctx)
        return CUDA_ERROR_INVALID_VALUE;
    *pctx = (CUcontext)(uintptr_t)thread_context(thread);
    return CUDA_SUCCESS;
}

/* The context that is asked about: ctx, or the current one for NULL. */
static CUresult enter_asked(CUcontext ctx, const void *out, struct context_object *ret)
{
    struct guest_thread *thread;
    CUresult result = guest_enter(&thread);

    if (result != CUDA_SUCCESS)
        return result;
    if (!ctx && thread->context_count == 0)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (!out)
        return CUDA_ERROR_INVALID_VALUE;
    return lookup_context(ctx ? ctx : (CUcontext)(uintptr_t)thread_context(thread), ret);
}

CUresult cuCtxGetDevice_v2(CUdevice *device, CUcontext ctx)
{
    struct context_object context;
    CUresult result = enter_asked(ctx, device, &context);

    if (result == CUDA_SUCCESS)
        *device = 0;
    return result;
}

CUresult cuCtxGetDevice(CUdevice *device)
{
    return cuCtxGetDevice_v2(device, NULL);
}

CUresult cuCtxGetFlags(unsigned int *flags)
{
    struct context_object context;
    CUresult result = enter_asked(NULL, flags, &context);

    if (result == CUDA_SUCCESS)
        *flags = context.flags;
    return result;
}

/* How the host waits is the guest library's own affair: noted, and without effect. */
CUresult cuCtxSetFlags(unsigned int flags)
{
    struct guest_thread *thread;
    struct context_object *context;
    CUresult result = guest_enter_context(&thread);

    if (result != CUDA_SUCCESS)
        return result;
    if (!flags_valid(flags))
        return CUDA_ERROR_INVALID_VALUE;
    guest_lock();
    context = object_at(CUDA_KIND_CONTEXT, thread_context(thread));
    if (context)
        context->flags = flags;
    guest_unlock();
    return CUDA_SUCCESS;
}

CUresult cuCtxGetId(CUcontext ctx, unsigned long long *ctxId)
{
    struct context_object context;
    CUresult result = enter_asked(ctx, ctxId, &context);

    if (result == CUDA_SUCCESS)
        *ctxId = context.id;
    return result;
}

CUresult cuCtxGetApiVersion(CUcontext ctx, unsigned int *version)
{
    struct context_object context;
    CUresult result = enter_asked(ctx, version, &context);

    if (result == CUDA_SUCCESS)
        *version = CONTEXT_API_VERSION;
    return result;
}

CUresult cuCtxSynchronize(void)
{
    CAPTURED(capture_refuse());
    CUresult result = guest_enter_context(NULL);

    if (result != CUDA_SUCCESS || snapshot_all_done(guest_sender(), SNAPSHOT_WAIT, &result))
        return result;
    return cuda_send_context_sync(guest_sender());
}

CUresult cuCtxSynchronize_v2(CUcontext ctx)
{
    struct guest_thread *thread;
    struct context_object context;
    CUresult result;

    if (!ctx)
        return cuCtxSynchronize();
    result = guest_enter(&thread);
    if (result == CUDA_SUCCESS)
        result = lookup_context(ctx, &context);
    if (result != CUDA_SUCCESS || snapshot_all_done(guest_sender(), SNAPSHOT_WAIT, &result))
        return result;
    thread->context_override = context.head.handle;
    result = cuda_send_context_sync(guest_sender());
    thread->context_override = 0;
    return result;
}

static bool limit_known(CUlimit limit)
{
    return (unsigned)limit <= CU_LIMIT_CIG_SHMEM_FALLBACK_ENABLED;
}

CUresult cuCtxSetLimit(CUlimit limit, size_t value)
{
    CUresult result = guest_enter_context(NULL);

    if (result != CUDA_SUCCESS)
        return result;
    if (!limit_known(limit))
        return CUDA_ERROR_INVALID_VALUE;
    return cuda_send_context_set_limit(
        guest_sender(), &(struct cuda_args_context_set_limit){.limit = limit, .value = value});
}

CUresult cuCtxGetLimit(size_t *pvalue, CUlimit limit)
{
    struct cuda_out_context_get_limit out;
    CUresult result = guest_enter_context(NULL);

    if (result != CUDA_SUCCESS)
        return result;
    if (!pvalue)
        return CUDA_ERROR_INVALID_VALUE;
    if (!limit_known(limit))
        return CUDA_ERROR_INVALID_VALUE;
    result = cuda_send_context_get_limit(
        guest_sender(), &(struct cuda_args_context_get_limit){.limit = limit}, &out);
    if (result == CUDA_SUCCESS)
        *pvalue = out.value;
    return result;
}

CUresult cuCtxGetCacheConfig(CUfunc_cache *pconfig)
{
    struct context_object context;
    CUresult result = enter_asked(NULL, pconfig, &context);

    if (result == CUDA_SUCCESS)
        *pconfig = context.cache_config;
    return result;
}

CUresult cuCtxSetCacheConfig(CUfunc_cache config)
{
    struct guest_thread *thread;
    struct context_object *context;
    CUresult result = guest_enter_context(&thread);

    if (result != CUDA_SUCCESS)
        return result;
    if ((unsigned)config > CU_FUNC_CACHE_PREFER_EQUAL)
        return CUDA_ERROR_INVALID_VALUE;
    guest_lock();
    context = object_at(CUDA_KIND_CONTEXT, thread_context(thread));
    if (context)
        context->cache_config = config;
    guest_unlock();
    return cuda_send_context_set_cache_config(
        guest_sender(), &(struct cuda_args_context_set_cache_config){.config = config});
}

CUresult cuCtxGetSharedMemConfig(CUsharedconfig *pConfig)
{
    struct context_object context;
    CUresult result = enter_asked(NULL, pConfig, &context);

    if (result == CUDA_SUCCESS)
        *pConfig = context.shared_config;
    return result;
}

/* Bank sizes cannot be set since compute capability 5.0: noted, and without effect. */
CUresult cuCtxSetSharedMemConfig(CUsharedconfig config)
{
    struct guest_thread *thread;
    struct context_object *context;
    CUresult result = guest_enter_context(&thread);

    if (result != CUDA_SUCCESS)
        return result;
    if ((unsigned)config > CU_SHARED_MEM_CONFIG_EIGHT_BYTE_BANK_SIZE)
        return CUDA_ERROR_INVALID_VALUE;
    guest_lock();
    context = object_at(CUDA_KIND_CONTEXT, thread_context(thread));
    if (context)
        context->shared_config = config;
    guest_unlock();
    return CUDA_SUCCESS;
}

CUresult cuCtxGetStreamPriorityRange(int *leastPriority, int *greatestPriority)
{
    CUresult result = guest_enter_context(NULL);

    if (result != CUDA_SUCCESS)
        return result;
    if (leastPriority)
        *leastPriority = guest_device()->least_priority;
    if (greatestPriority)
        *greatestPriority = guest_device()->greatest_priority;
    return CUDA_SUCCESS;
}
