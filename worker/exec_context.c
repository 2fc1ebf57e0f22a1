/* SPDX-License-Identifier: Apache-2.0 */
/* Executions: the device, guest threads, contexts. */
#include <string.h>

#include "ring/pages.h"
#include "worker/channel.h"
#include "worker/exec.h"

/* A limit that takes memory (stack, printf buffer, heap) stays below this. */
#define LIMIT_MAX_BYTES (1ull << 30)

/* What the worker does not carry, though the device can do it. */
static const CUdevice_attribute withheld[] = {
    CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY,
    CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS,
    CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS,
    CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM,
    CU_DEVICE_ATTRIBUTE_CAN_USE_STREAM_MEM_OPS_V1,
    CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS_V1,
    CU_DEVICE_ATTRIBUTE_CAN_USE_STREAM_WAIT_VALUE_NOR_V1,
    CU_DEVICE_ATTRIBUTE_COOPERATIVE_MULTI_DEVICE_LAUNCH,
    CU_DEVICE_ATTRIBUTE_CAN_FLUSH_REMOTE_WRITES,
    CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS_USES_HOST_PAGE_TABLES,
    CU_DEVICE_ATTRIBUTE_DIRECT_MANAGED_MEM_ACCESS_FROM_HOST,
    CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_GENERIC_COMPRESSION_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_SPARSE_CUDA_ARRAY_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_TIMELINE_SEMAPHORE_INTEROP_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_MEMPOOL_SUPPORTED_HANDLE_TYPES,
    CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS,
    CU_DEVICE_ATTRIBUTE_CAN_USE_STREAM_WAIT_VALUE_NOR,
    CU_DEVICE_ATTRIBUTE_DMA_BUF_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_IPC_EVENT_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_FABRIC_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_MULTICAST_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_MEM_DECOMPRESS_ALGORITHM_MASK,
    CU_DEVICE_ATTRIBUTE_HOST_NUMA_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_HOST_NUMA_MEMORY_POOLS_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_HOST_NUMA_MULTINODE_IPC_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_HOST_MEMORY_POOLS_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_HOST_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_HOST_ALLOC_DMA_BUF_SUPPORTED,
};

static void read_attributes(struct channel *channel, struct cuda_device_info *info)
{
    info->attribute_count = VGPU_DEVICE_ATTRIBUTES;
    for (int i = 0; i < VGPU_DEVICE_ATTRIBUTES; i++) {
        int value = 0;

        info->attributes[i] = VGPU_ATTRIBUTE_UNKNOWN;
        if (i > 0 && channel->cu->cuDeviceGetAttribute(&value, (CUdevice_attribute)i,
                                                       channel->device) == CUDA_SUCCESS)
            info->attributes[i] = value;
    }
    for (size_t i = 0; i < sizeof(withheld) / sizeof(withheld[0]); i++)
        if (info->attributes[withheld[i]] != VGPU_ATTRIBUTE_UNKNOWN)
            info->attributes[withheld[i]] = 0;
}

CUresult exec_device_info(struct channel *channel, const struct cuda_call *call,
                          struct cuda_out_device_info *out)
{
    const struct cuda_driver *cu = channel->cu;
    struct cuda_device_info *info = (struct cuda_device_info *)(void *)out->info;
    CUmoduleLoadingMode mode = CU_MODULE_EAGER_LOADING;
    size_t bytes = 0;
    unsigned int flags = 0;
    int active = 0;
    CUuuid uuid;
    CUresult result = context_wake_primary(channel);

    if (result == CUDA_SUCCESS)
        result = context_enter(channel, &channel->primary);
    if (result == CUDA_SUCCESS)
        result = cu->cuDeviceTotalMem(&bytes, channel->device);
    if (result == CUDA_SUCCESS)
        result = cu->cuDriverGetVersion(&info->driver_version);
    if (result == CUDA_SUCCESS)
        result = cu->cuDeviceGetName(info->name, sizeof(info->name) - 1, channel->device);
    if (result != CUDA_SUCCESS)
        return result;
    info->total_memory_bytes = bytes < quota_limit(channel) ? bytes : quota_limit(channel);
    if (cu->cuDeviceGetUuid(&uuid, channel->device) == CUDA_SUCCESS)
        memcpy(info->uuid, uuid.bytes, sizeof(info->uuid));
    cu->cuDeviceGetPCIBusId(info->pci_bus_id, sizeof(info->pci_bus_id) - 1, channel->device);
    cu->cuCtxGetStreamPriorityRange(&info->least_priority, &info->greatest_priority);
    if (cu->cuModuleGetLoadingMode(&mode) == CUDA_SUCCESS)
        info->module_loading_mode = mode;
    if (cu->cuDevicePrimaryCtxGetState(channel->device, &flags, &active) == CUDA_SUCCESS)
        info->primary_flags = flags;
    read_attributes(channel, info);
    out->info_bytes = sizeof(*info);
    return CUDA_SUCCESS;
}

static void thread_leaves(struct channel *channel, struct context *context, uint32_t thread)
{
    struct stream *next;

    for (struct stream *stream = context->streams; stream; stream = next) {
        next = stream->next;
        if (stream->kind == STREAM_THREAD && stream->thread == thread && !stream->dead &&
            context_enter(channel, context) == CUDA_SUCCESS)
            stream_destroy(channel, stream);
    }
}

CUresult exec_thread_exit(struct channel *channel, const struct cuda_call *call)
{
    thread_leaves(channel, &channel->primary, call->thread);
    for (struct context *context = channel->contexts; context; context = context->next)
        thread_leaves(channel, context, call->thread);
    return CUDA_SUCCESS;
}

CUresult exec_process(struct channel *channel, const struct cuda_call *call,
                      const struct cuda_in_process *in)
{
    struct vgpu_report_page *report = channel->map.report;

    page_store_u64(&report->guest_pid_namespace, in->pid_namespace);
    page_store_u64(&report->guest_process, in->pid);
    return CUDA_SUCCESS;
}

CUresult exec_context_retain(struct channel *channel, const struct cuda_call *call,
                             const struct cuda_in_context_retain *in)
{
    struct context *context = &channel->primary;
    CUresult result;

    if (context->handle || context->closing)
        return CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE;
    result = context_wake_primary(channel);
    if (result != CUDA_SUCCESS)
        return result;
    if (handle_put(channel->handles, in->context_handle, context) < 0)
        return CUDA_ERROR_OUT_OF_MEMORY;
    context->handle = in->context_handle;
    return CUDA_SUCCESS;
}

/* The check has dropped the handle; of a context of the wrong sort it stays alive. */
static CUresult wrong_sort(struct channel *channel, struct item *item)
{
    if (handle_put(channel->handles, item->context->handle, item->context) < 0)
        return CUDA_ERROR_OUT_OF_MEMORY;
    return CUDA_ERROR_INVALID_CONTEXT;
}

CUresult prepare_context_release(struct channel *channel, struct item *item)
{
    return item->context->primary ? CUDA_SUCCESS : wrong_sort(channel, item);
}

CUresult exec_context_release(struct channel *channel, const struct cuda_call *call,
                              const struct cuda_in_context_release *in)
{
    return channel->cu->cuDevicePrimaryCtxReset(channel->device);
}

CUresult prepare_context_destroy(struct channel *channel, struct item *item)
{
    return item->context->primary ? wrong_sort(channel, item) : CUDA_SUCCESS;
}

CUresult exec_context_destroy(struct channel *channel, const struct cuda_call *call,
                              const struct cuda_in_context_destroy *in)
{
    return channel->cu->cuCtxDestroy(in->context);
}

void settle_context_end(struct channel *channel, struct item *item)
{
    struct context *context = item->context;

    item->context = NULL; /* its errors went with it */
    context->handle = 0;
    context->closing = false;
    context_forget(channel, context);
}

CUresult prepare_context_create(struct channel *channel, struct item *item)
{
    const struct cuda_in_context_create *in = &item->in.context_create;
    CUresult result = quota_want(channel, item, channel->quota.context_bytes);

    if (result != CUDA_SUCCESS)
        return result;
    if (handle_put(channel->handles, in->context_handle, NULL) < 0)
        return CUDA_ERROR_OUT_OF_MEMORY;
    quota_charge(channel, CHARGE_CONTEXT, channel->quota.context_bytes);
    return CUDA_SUCCESS;
}

CUresult exec_context_create(struct channel *channel, const struct cuda_call *call,
                             const struct cuda_in_context_create *in)
{
    /* How a thread of the guest waits is the guest's matter, and core dumps are the host's. */
    unsigned int flags = in->flags & (CU_CTX_MAP_HOST | CU_CTX_LMEM_RESIZE_TO_MAX);
    CUcontext cu = NULL;
    CUcontext popped;
    CUresult result = channel->cu->cuCtxCreate_v2(&cu, flags, channel->device);

    if (result == CUDA_SUCCESS)
        channel->cu->cuCtxPopCurrent(&popped);
    item_of(call)->made = cu;
    return result;
}

void settle_context_create(struct channel *channel, struct item *item)
{
    uint32_t handle = item->in.context_create.context_handle;
    struct context *context = NULL;

    handle_drop(channel->handles, handle);
    if (item->result != CUDA_SUCCESS) {
        quota_uncharge(channel, CHARGE_CONTEXT, channel->quota.context_bytes);
        return;
    }
    context = context_add(channel, item->made);
    if (!context || handle_put(channel->handles, handle, context) < 0) {
        item->result = CUDA_ERROR_OUT_OF_MEMORY;
        return;
    }
    context->handle = handle;
}

CUresult prepare_context_reset(struct channel *channel, struct item *item)
{
    return item->context->primary ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult exec_context_reset(struct channel *channel, const struct cuda_call *call,
                            const struct cuda_in_context_reset *in)
{
    CUcontext cu = NULL;
    CUresult result = channel->cu->cuDevicePrimaryCtxReset(channel->device);

    if (result == CUDA_SUCCESS)
        result = channel->cu->cuDevicePrimaryCtxRetain(&cu, channel->device);
    item_of(call)->made = cu;
    return result;
}

void settle_context_reset(struct channel *channel, struct item *item)
{
    context_forget(channel, item->context);
    item->context->closing = false;
    item->context->cu = item->made;
}

static void synced_context(struct channel *channel, struct item *item, CUresult result)
{
    print_flush(channel, item->context, NULL);
    pools_settle(channel);
    item_finish(channel, item, result);
}

CUresult exec_context_sync(struct channel *channel, const struct cuda_call *call)
{
    struct item *item = item_of(call);
    CUresult result;

    item_wait_init(item, synced_context);
    result = context_attach(channel, item->context, &item->wait);
    if (item->wait.result == CUDA_SUCCESS)
        item->wait.result = result;
    return item_wait_begin(channel, item);
}

/* The word that keeps what the limit was set to; NULL: it takes no memory. */
static uint64_t *limit_word(struct context *context, uint32_t limit)
{
    switch (limit) {
    case CU_LIMIT_STACK_SIZE:
        return &context->local_bytes;
    case CU_LIMIT_PRINTF_FIFO_SIZE:
        return &context->printf_bytes;
    case CU_LIMIT_MALLOC_HEAP_SIZE:
        return &context->heap_bytes;
    default:
        return NULL;
    }
}

/* What the context is expected to take more of the device. It never takes less again. */
static uint64_t limit_growth(struct channel *channel, const struct item *item)
{
    const struct cuda_in_context_set_limit *in = &item->in.context_set_limit;
    const uint64_t *word = limit_word(item->context, in->limit);
    size_t now = 0;
    uint64_t has;

    if (!word || in->value <= *word)
        return 0;
    if (in->limit == CU_LIMIT_STACK_SIZE)
        return quota_local_growth(channel, item->context, in->value);
    has = *word;
    /* The first time: what it has from the start is a part of what each context costs. */
    if (has == 0 && context_enter(channel, item->context) == CUDA_SUCCESS &&
        channel->cu->cuCtxGetLimit(&now, (CUlimit)in->limit) == CUDA_SUCCESS)
        has = now;
    return in->value > has ? in->value - has : 0;
}

CUresult prepare_context_set_limit(struct channel *channel, struct item *item)
{
    CUresult result;

    if (item->in.context_set_limit.value > LIMIT_MAX_BYTES)
        return CUDA_ERROR_OUT_OF_MEMORY;
    item->made_bytes = limit_growth(channel, item);
    result = quota_want(channel, item, item->made_bytes);
    if (result != CUDA_SUCCESS)
        return result;
    item->context->grown_bytes += item->made_bytes;
    quota_charge(channel, CHARGE_CONTEXT, item->made_bytes);
    return CUDA_SUCCESS;
}

void settle_context_set_limit(struct channel *channel, struct item *item)
{
    const struct cuda_in_context_set_limit *in = &item->in.context_set_limit;
    uint64_t *word = limit_word(item->context, in->limit);

    if (item->result != CUDA_SUCCESS) {
        item->context->grown_bytes -= item->made_bytes;
        quota_uncharge(channel, CHARGE_CONTEXT, item->made_bytes);
    } else if (word && in->value > *word) {
        *word = in->value;
    }
}
