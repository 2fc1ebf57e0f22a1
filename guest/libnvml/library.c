/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/libnvml/library.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "carrier/monitor.h"
#include "common/clock.h"
#include "common/status.h"
#include "guest/libnvml/nvml_api.h"

/* How long a call waits for a mediator that restarts, or still learns what its GPUs are. */
#define PATIENCE_NS (3 * VGPU_NS_PER_S)
#define PAUSE_NS    (20 * VGPU_NS_PER_MS)

static struct library {
    pthread_mutex_t lock;
    unsigned users; /* nvmlInit less nvmlShutdown */
    unsigned count;
    struct monitor monitor;
    struct nvmlDevice_st devices[VGPU_MONITOR_GPUS];
} library = {.lock = PTHREAD_MUTEX_INITIALIZER, .monitor = {.link = {.sock = -1}, .device = -1}};

/* A child has the parent's devices, and asks by a connection of its own: carrier/monitor.h. */
static void hold(void)
{
    pthread_mutex_lock(&library.lock);
}

void library_leave(void)
{
    pthread_mutex_unlock(&library.lock);
}

static void register_fork(void)
{
    pthread_atfork(hold, library_leave, library_leave);
}

nvmlReturn_t library_enter(void)
{
    hold();
    if (library.users > 0)
        return NVML_SUCCESS;
    library_leave();
    return NVML_ERROR_UNINITIALIZED;
}

unsigned library_count(void)
{
    return library.count;
}

nvmlDevice_t library_device(unsigned index)
{
    return &library.devices[index];
}

static bool is_device(nvmlDevice_t device)
{
    for (unsigned i = 0; i < library.count; i++)
        if (device == &library.devices[i])
            return true;
    return false;
}

nvmlReturn_t library_enter_device(nvmlDevice_t device, const void *result)
{
    nvmlReturn_t status = library_enter();

    if (status != NVML_SUCCESS || (result && is_device(device)))
        return status;
    library_leave();
    return NVML_ERROR_INVALID_ARGUMENT;
}

nvmlReturn_t library_unsupported(void)
{
    nvmlReturn_t status = library_enter();

    if (status != NVML_SUCCESS)
        return status;
    library_leave();
    return NVML_ERROR_NOT_SUPPORTED;
}

/* Asking the host */

static nvmlReturn_t result_of(int error, uint32_t status)
{
    if (error == -EACCES && status == VGPU_NOT_CONFIGURED)
        return NVML_ERROR_NO_PERMISSION;
    switch (status) {
    case VGPU_NOT_CONFIGURED: /* there is no such device or socket */
        return NVML_ERROR_DRIVER_NOT_LOADED;
    case VGPU_VERSION:
        return NVML_ERROR_LIB_RM_VERSION_MISMATCH;
    case VGPU_GONE:
        return NVML_ERROR_GPU_IS_LOST;
    case VGPU_NO_MEMORY:
        return NVML_ERROR_MEMORY;
    case VGPU_TIMEOUT:
        return NVML_ERROR_TIMEOUT;
    default:
        return vgpu_status_retryable(status) ? NVML_ERROR_NOT_READY : NVML_ERROR_UNKNOWN;
    }
}

static void pause_for(uint64_t ns)
{
    struct timespec time = {(time_t)(ns / VGPU_NS_PER_S), (long)(ns % VGPU_NS_PER_S)};

    nanosleep(&time, NULL);
}

/*
 * One GPU by the host's number. Waits while the host says that it will know soon; if it is not
 * there at all, only for one that was there before.
 */
static nvmlReturn_t ask_host(unsigned gpu, unsigned first, bool was_there, struct vgpu_monitor *ret)
{
    uint64_t deadline = vgpu_clock_ns() + PATIENCE_NS;

    for (;;) {
        struct local_refusal refusal = {.status = VGPU_INTERNAL};
        int status = monitor_ask(&library.monitor, gpu, first, ret, &refusal);
        bool soon = vgpu_status_retryable(refusal.status) && (was_there || refusal.retry_ns > 0);

        if (status == 0)
            return NVML_SUCCESS;
        if (!soon || vgpu_clock_ns() > deadline)
            return result_of(status, refusal.status);
        pause_for(PAUSE_NS);
    }
}

static bool same_gpu(const struct vgpu_monitor *answer, nvmlDevice_t device)
{
    return strcmp(answer->uuid, device->facts.uuid) == 0;
}

/* The pool of the VM may have changed: then the GPU has another number, or is lost. */
nvmlReturn_t library_ask(nvmlDevice_t device, unsigned first, struct vgpu_monitor *ret)
{
    nvmlReturn_t status = ask_host(device->index, first, true, ret);

    for (unsigned i = 0; status == NVML_SUCCESS && !same_gpu(ret, device); i++) {
        if (i >= ret->gpus)
            return NVML_ERROR_GPU_IS_LOST;
        status = ask_host(i, first, true, ret);
    }
    return status;
}

/* The library's life */

static nvmlReturn_t take_device(unsigned index, const struct vgpu_monitor *facts)
{
    struct nvmlDevice_st *device = &library.devices[index];

    *device = (struct nvmlDevice_st){.index = index, .facts = *facts};
    if ((facts->known & VGPU_MONITOR_PCI) &&
        sscanf(facts->pci, "%x:%x:%x", &device->domain, &device->bus, &device->slot) != 3)
        device->facts.known &= ~VGPU_MONITOR_PCI;
    return facts->uuid[0] ? NVML_SUCCESS : NVML_ERROR_UNKNOWN;
}

static nvmlReturn_t find_devices(void)
{
    struct vgpu_monitor answer = {.gpus = 0};
    nvmlReturn_t status = ask_host(0, 0, false, &answer);
    unsigned count = answer.gpus;

    for (unsigned i = 0; status == NVML_SUCCESS && i < count; i++) {
        if (i > 0)
            status = ask_host(i, 0, true, &answer);
        /* One less than a moment ago. */
        if (status == NVML_SUCCESS && answer.gpus <= i)
            count = i;
        else if (status == NVML_SUCCESS)
            status = take_device(i, &answer);
    }
    library.count = status == NVML_SUCCESS ? count : 0;
    return status;
}

static nvmlReturn_t start(void)
{
    nvmlReturn_t status;

    if (monitor_init(&library.monitor, library_path()) < 0)
        return NVML_ERROR_DRIVER_NOT_LOADED;
    status = find_devices();
    if (status == NVML_SUCCESS)
        return status;
    monitor_release(&library.monitor);
    /* Nobody there is what programs know as no driver. */
    return status == NVML_ERROR_NOT_READY ? NVML_ERROR_DRIVER_NOT_LOADED : status;
}

nvmlReturn_t nvmlInitWithFlags(unsigned int flags)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    nvmlReturn_t status = NVML_SUCCESS;

    if (flags & ~(unsigned)(NVML_INIT_FLAG_NO_GPUS | NVML_INIT_FLAG_NO_ATTACH))
        return NVML_ERROR_INVALID_ARGUMENT;
    pthread_once(&once, register_fork);
    hold();
    if (library.users == 0)
        status = start();
    library.users += status == NVML_SUCCESS;
    library_leave();
    return status;
}

nvmlReturn_t nvmlInit_v2(void)
{
    return nvmlInitWithFlags(0);
}

nvmlReturn_t nvmlShutdown(void)
{
    nvmlReturn_t status = library_enter();

    if (status != NVML_SUCCESS)
        return status;
    if (--library.users == 0) {
        monitor_release(&library.monitor);
        library.count = 0;
    }
    library_leave();
    return NVML_SUCCESS;
}
