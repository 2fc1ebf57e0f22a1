/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/libvgpu/guest.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/flag.h"
#include "common/pid_namespace.h"
#include "common/status.h"
#include "cuda/cuda_send.h"
#include "cuda/exports.h"
#include "guest/libvgpu/receive.h"
#include "guest/libvgpu/session.h"
#include "guest/libvgpu/status_result.h"
#include "guest/libvgpu/unified.h"
#include "guest/libvgpu/vgpu.h"
#include "ring/pages.h"

#define UNSUPPORTED_MOST 1024

struct guest guest = {.lock = PTHREAD_MUTEX_INITIALIZER};

static uint32_t initialised; /* flag: cuInit was called on this connection */
static uint32_t prepared;    /* flag: device is filled */
static uint32_t sessions;    /* how many have ended: contexts of those mean nothing */
static struct cuda_device_info device;

static pthread_mutex_t failure_lock = PTHREAD_MUTEX_INITIALIZER;
static struct vgpu_failure last_failure;
static const char *told_names[UNSUPPORTED_MOST];
static size_t told_count;
static void (*tell_unsupported)(const char *name);

struct sender *guest_sender(void)
{
    return session_is_forked() ? NULL : session_sender();
}

CUresult guest_enter(struct guest_thread **ret_thread)
{
    struct sender *sender = guest_sender();
    struct guest_thread *thread;

    if (!sender || !vgpu_flag_get(&initialised))
        return CUDA_ERROR_NOT_INITIALIZED;
    thread = thread_self();
    if (!thread)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (thread->session != vgpu_flag_get(&sessions)) {
        thread->session = vgpu_flag_get(&sessions);
        thread->context_count = 0;
    }
    if (thread->in_callback)
        return CUDA_ERROR_NOT_PERMITTED;
    if (vgpu_flag_get(&sender->gone))
        return sender->gone_result;
    if (ret_thread)
        *ret_thread = thread;
    return CUDA_SUCCESS;
}

CUresult guest_poison(void)
{
    struct sender *sender = guest_sender();
    CUresult poisoned;

    if (!sender)
        return CUDA_ERROR_NOT_INITIALIZED;
    poisoned = (CUresult)page_load_u32(&sender->map.page->notice.poisoned);
    /* What a failed assertion said has come before. */
    if (poisoned != CUDA_SUCCESS)
        receive_poll(sender);
    return poisoned;
}

/* Takes the lock only if a context has ended since the thread saw this one alive. */
static bool is_live(struct guest_thread *thread, uint32_t context)
{
    uint32_t ended = objects_contexts_ended();
    bool live;

    if (thread->live_context == context && thread->live_ended == ended)
        return true;
    guest_lock();
    live = object_at(CUDA_KIND_CONTEXT, context) != NULL;
    guest_unlock();
    if (live) {
        thread->live_context = context;
        thread->live_ended = ended;
    }
    return live;
}

CUresult guest_enter_context(struct guest_thread **ret_thread)
{
    struct guest_thread *thread = NULL;
    CUresult result = guest_enter(&thread);
    uint32_t context;

    if (result != CUDA_SUCCESS)
        return result;
    context = thread_context(thread);
    if (context == 0)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (!is_live(thread, context))
        return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    if (ret_thread)
        *ret_thread = thread;
    return guest_poison();
}

const struct cuda_device_info *guest_device(void)
{
    return &device;
}

/*
 * What the worker would carry and this library does not: calls that hand out what these announce
 * are not supported. The worker withholds the rest.
 */
static bool is_not_carried(CUdevice_attribute attribute)
{
    switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_DEFERRED_MAPPING_CUDA_ARRAY_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_UNIFIED_FUNCTION_POINTERS:
        return true;
    default:
        return false;
    }
}

int guest_attribute(CUdevice_attribute attribute)
{
    if ((int)attribute < 1 || (int)attribute >= CUDA_DEVICE_ATTRIBUTE_MAX ||
        (uint32_t)attribute >= device.attribute_count)
        return VGPU_ATTRIBUTE_UNKNOWN;
    if (attribute == CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING ||
        attribute == CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY)
        return unified_holds();
    return is_not_carried(attribute) ? 0 : device.attributes[attribute];
}

static CUresult fetch_device(struct sender *sender)
{
    struct cuda_out_device_info out;
    CUresult result = cuda_send_device_info(sender, &out);

    if (result != CUDA_SUCCESS)
        return result;
    if (out.info_bytes != sizeof(device))
        return CUDA_ERROR_SYSTEM_DRIVER_MISMATCH;
    memcpy(&device, out.info, sizeof(device));
    if (device.attribute_count > VGPU_DEVICE_ATTRIBUTES)
        device.attribute_count = VGPU_DEVICE_ATTRIBUTES;
    /* A mirror's memory is no kernel's. */
    if (sender->mirror && device.attribute_count > CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY)
        device.attributes[CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY] = 0;
    device.name[sizeof(device.name) - 1] = '\0';
    device.pci_bus_id[sizeof(device.pci_bus_id) - 1] = '\0';
    return CUDA_SUCCESS;
}

/* For the VM's own list of what uses the GPU. */
static void tell_process(struct sender *sender)
{
    struct cuda_args_process args = {.pid = (uint32_t)getpid(),
                                     .pid_namespace = vgpu_pid_namespace()};

    cuda_send_process(sender, &args);
}

/* cuInit in two threads at once. */
static pthread_mutex_t prepare_lock = PTHREAD_MUTEX_INITIALIZER;

CUresult guest_prepare(void)
{
    struct vgpu_failure failure;
    CUresult result = CUDA_SUCCESS;

    if (session_is_forked())
        return CUDA_ERROR_NOT_INITIALIZED;
    pthread_mutex_lock(&prepare_lock);
    if (!session_sender() && vgpu_connect(guest_default_socket(), NULL, &failure) != VGPU_OK)
        result = status_result(failure.status);
    if (result == CUDA_SUCCESS && !vgpu_flag_get(&prepared)) {
        result = fetch_device(session_sender());
        if (result == CUDA_SUCCESS) {
            unified_begin(session_sender());
            tell_process(session_sender());
        }
        vgpu_flag_set(&prepared, result == CUDA_SUCCESS);
    }
    pthread_mutex_unlock(&prepare_lock);
    return result;
}

void guest_hold_prepare(void)
{
    pthread_mutex_lock(&prepare_lock);
}

void guest_let_go_prepare(void)
{
    pthread_mutex_unlock(&prepare_lock);
}

void guest_hold_state(void)
{
    pthread_mutex_lock(&guest.lock);
    pthread_mutex_lock(&failure_lock);
}

void guest_let_go_state(void)
{
    pthread_mutex_unlock(&failure_lock);
    pthread_mutex_unlock(&guest.lock);
}

void guest_set_initialised(void)
{
    vgpu_flag_set(&initialised, 1);
}

void guest_reset(void)
{
    guest_lock();
    vgpu_flag_set(&initialised, 0);
    vgpu_flag_set(&prepared, 0);
    vgpu_flag_set(&sessions, sessions + 1);
    ranges_release(&guest.device);
    ranges_release(&guest.host);
    unified_end();
    ranges_release(&guest.reserved);
    ranges_release(&guest.mapped);
    if (guest.primary)
        object_revive(CUDA_KIND_CONTEXT, guest.primary);
    objects_reset();
    guest.primary = 0;
    guest.primary_reset = false;
    guest.primary_refs = 0;
    guest.primary_flags = 0;
    guest_unlock();
}

void guest_note_failure(uint32_t status, const char *text)
{
    pthread_mutex_lock(&failure_lock);
    last_failure =
        (struct vgpu_failure){.status = status, .retryable = vgpu_status_retryable(status)};
    snprintf(last_failure.text, sizeof(last_failure.text), "%s", text);
    pthread_mutex_unlock(&failure_lock);
}

void vgpu_last_error(struct vgpu_failure *ret)
{
    pthread_mutex_lock(&failure_lock);
    *ret = last_failure;
    pthread_mutex_unlock(&failure_lock);
}

void vgpu_on_unsupported(void (*tell)(const char *name))
{
    pthread_mutex_lock(&failure_lock);
    tell_unsupported = tell;
    pthread_mutex_unlock(&failure_lock);
}

/* True the first time; with failure_lock held. The generated names are unique pointers. */
static bool note_name(const char *name)
{
    for (size_t i = 0; i < told_count; i++)
        if (told_names[i] == name)
            return false;
    if (told_count < UNSUPPORTED_MOST)
        told_names[told_count++] = name;
    return true;
}

CUresult cuda_unsupported(const char *name)
{
    void (*tell)(const char *name) = NULL;
    char text[96];

    pthread_mutex_lock(&failure_lock);
    if (note_name(name))
        tell = tell_unsupported ? tell_unsupported : guest_default_unsupported;
    pthread_mutex_unlock(&failure_lock);
    snprintf(text, sizeof(text), "%.64s is not supported", name);
    guest_note_failure(VGPU_OK, text);
    if (tell)
        tell(name);
    return CUDA_ERROR_NOT_SUPPORTED;
}

void cuda_per_thread_enter(void)
{
    struct guest_thread *thread = thread_self();

    if (thread)
        thread->per_thread = true;
}

void cuda_per_thread_leave(void)
{
    struct guest_thread *thread = thread_peek();

    if (thread)
        thread->per_thread = false;
}
