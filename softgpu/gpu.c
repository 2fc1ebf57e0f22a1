/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuInit, and the entrance of every other call; see gpu.h. The environment is read here, once, and
 * files are opened only here: the process may be sandboxed afterwards.
 */
#include "softgpu/gpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "softgpu/arena.h"
#include "softgpu/context.h"
#include "softgpu/handle.h"
#include "softgpu/thread.h"
#include "softgpu/usage.h"

struct gpu gpu = {.lock = PTHREAD_MUTEX_INITIALIZER, .next_id = 1};

static void add_device(unsigned index, unsigned memory_mb)
{
    struct device *device = &gpu.devices[gpu.n_devices];

    for (int i = 0; i < gpu.n_devices; i++) {
        if (gpu.devices[i].index == index)
            return;
    }
    *device = (struct device){
        .ordinal = gpu.n_devices,
        .index = index,
        .memory_bytes = (uint64_t)memory_mb << 20,
    };
    gpu.n_devices++;
}

/* The index that one element of CUDA_VISIBLE_DEVICES names, or -1. */
static int visible_index(const char *text, unsigned n_devices)
{
    char uuid[SOFTGPU_UUID_TEXT];
    unsigned index;

    if (identity_number(text, 0, n_devices - 1, &index))
        return (int)index;
    for (index = 0; strncmp(text, "GPU-", 4) == 0 && index < n_devices; index++) {
        identity_uuid_text(index, uuid);
        if (strncmp(text, uuid, strlen(text)) == 0)
            return (int)index;
    }
    return -1;
}

/* As CUDA has it: devices up to the first element that names none. */
static void add_visible(char *list, const struct identity_config *config)
{
    char *save = NULL;

    for (char *item = strtok_r(list, ", ", &save); item; item = strtok_r(NULL, ", ", &save)) {
        int index = visible_index(item, config->devices);

        if (index < 0)
            return;
        add_device((unsigned)index, config->memory_mb);
    }
}

/* Returns NULL, or the variable that is wrong. */
static const char *read_environment(void)
{
    const char *threads = secure_getenv("SOFTGPU_THREADS");
    const char *visible = secure_getenv("CUDA_VISIBLE_DEVICES");
    struct identity_config config;
    const char *wrong = identity_config(&config);

    if (wrong)
        return wrong;
    if (threads && !identity_number(threads, 1, 1024, &gpu.threads))
        return "SOFTGPU_THREADS";
    gpu.verbose = secure_getenv("SOFTGPU_VERBOSE");
    gpu.n_devices = 0;
    if (visible) {
        _cleanup_free_ char *list = strdup(visible);

        if (list)
            add_visible(list, &config);
        return NULL;
    }
    for (unsigned index = 0; index < config.devices; index++)
        add_device(index, config.memory_mb);
    return NULL;
}

/* The threads are gone in a forked child, so the library refuses there, as NVIDIA's does. */
static void after_fork(void)
{
    pthread_mutex_init(&gpu.lock, NULL);
    gpu.ready = false;
    gpu.n_devices = -1;
}

static CUresult initialise(void)
{
    const char *wrong = read_environment();

    if (wrong) {
        fprintf(stderr, "softgpu: %s is not a number in its range\n", wrong);
        return CUDA_ERROR_NO_DEVICE;
    }
    if (gpu.n_devices == 0)
        return CUDA_ERROR_NO_DEVICE;
    gpu.n_processors = gpu.threads ? (int)gpu.threads : (int)sysconf(_SC_NPROCESSORS_ONLN);
    gpu.usage = usage_open(secure_getenv("SOFTGPU_STATE_DIR"));
    pthread_atfork(NULL, NULL, after_fork);
    gpu.ready = true;
    return CUDA_SUCCESS;
}

CUresult cuInit(unsigned int flags)
{
    CUresult result = CUDA_SUCCESS;

    if (flags != 0)
        return CUDA_ERROR_INVALID_VALUE;
    if (thread_in_host_function())
        return CUDA_ERROR_NOT_PERMITTED;
    pthread_mutex_lock(&gpu.lock);
    if (gpu.n_devices < 0)
        result = CUDA_ERROR_NOT_INITIALIZED;
    else if (!gpu.ready)
        result = initialise();
    pthread_mutex_unlock(&gpu.lock);
    return result;
}

struct scope scope_gpu(void)
{
    struct scope scope = {.result = CUDA_SUCCESS};

    if (thread_in_host_function())
        return (struct scope){.result = CUDA_ERROR_NOT_PERMITTED};
    pthread_mutex_lock(&gpu.lock);
    if (!gpu.ready) {
        pthread_mutex_unlock(&gpu.lock);
        scope.result = CUDA_ERROR_NOT_INITIALIZED;
    }
    return scope;
}

static struct scope scope_fail(CUresult result)
{
    pthread_mutex_unlock(&gpu.lock);
    return (struct scope){.result = result};
}

struct scope scope_context_any(void)
{
    struct scope scope = scope_gpu();
    CUcontext current;

    if (scope.result != CUDA_SUCCESS)
        return scope;
    current = thread_current();
    if (!current)
        return scope_fail(CUDA_ERROR_INVALID_CONTEXT);
    scope.context = context_get(current);
    if (!scope.context)
        return scope_fail(CUDA_ERROR_CONTEXT_IS_DESTROYED);
    context_ref(scope.context);
    return scope;
}

struct scope scope_context(void)
{
    struct scope scope = scope_context_any();
    CUresult error;

    if (scope.result != CUDA_SUCCESS)
        return scope;
    error = scope.context->error;
    if (error != CUDA_SUCCESS) {
        context_unref(scope.context);
        return scope_fail(error);
    }
    return scope;
}

void scope_leave(struct scope *scope)
{
    if (scope->result != CUDA_SUCCESS)
        return;
    if (scope->context)
        context_unref(scope->context);
    pthread_mutex_unlock(&gpu.lock);
}

struct device *gpu_device(CUdevice ordinal)
{
    return ordinal >= 0 && ordinal < gpu.n_devices ? &gpu.devices[ordinal] : NULL;
}

CUresult gpu_prepare(struct device *device)
{
    if (!gpu.pool)
        gpu.pool = ptx_pool_new(gpu.threads);
    if (!device->arena)
        device->arena = arena_new(device->memory_bytes);
    return gpu.pool && device->arena ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

uint64_t gpu_free_bytes(const struct device *device)
{
    uint64_t used = device->used_bytes + usage_of_others(gpu.usage, device->index);

    return used < device->memory_bytes ? device->memory_bytes - used : 0;
}

void gpu_charge(struct device *device, int64_t bytes)
{
    device->used_bytes += (uint64_t)bytes;
    usage_set(gpu.usage, device->index, device->used_bytes);
}
