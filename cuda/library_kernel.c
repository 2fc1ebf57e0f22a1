/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuKernel*: kernels as functions of the current context, and what is set for all contexts of a
 * device. A setting is tried on a function first, so that a bad one is refused as the driver does;
 * functions of other contexts take it up at their next use.
 */
#include <stdlib.h>

#include "cuda/cuda_api.h"
#include "cuda/library.h"
#include "cuda/library_device.h"

static struct kernel_function *function_in(const struct kernel *kernel, unsigned long long id)
{
    struct kernel_function *function = kernel->functions;

    while (function && function->context_id != id)
        function = function->next;
    return function;
}

static CUresult set(CUfunction function, int attribute, int value)
{
    return attribute == KERNEL_CACHE_CONFIG
               ? cuFuncSetCacheConfig(function, (CUfunc_cache)value)
               : cuFuncSetAttribute(function, (CUfunction_attribute)attribute, value);
}

/* Settings are only ever added while the library is held, and changed under the lock. */
static CUresult apply_settings(const struct kernel *kernel, CUfunction function)
{
    CUdevice device;
    CUresult result = cuCtxGetDevice(&device);
    const struct kernel_setting *setting;

    library_lock();
    setting = kernel->settings;
    library_unlock();
    while (setting && result == CUDA_SUCCESS) {
        int value;
        bool here = setting->device == device;
        const struct kernel_setting *next;

        library_lock();
        value = setting->value;
        next = setting->next;
        library_unlock();
        if (here)
            result = set(function, setting->attribute, value);
        setting = next;
    }
    return result;
}

/* Lock held: notes the function, which has the first `settings` settings. */
static CUresult keep(struct kernel *kernel, unsigned long long id, CUfunction function,
                     unsigned settings)
{
    struct kernel_function *kept = function_in(kernel, id);

    if (!kept) {
        kept = calloc(1, sizeof(*kept));
        if (!kept)
            return CUDA_ERROR_OUT_OF_MEMORY;
        kept->context_id = id;
        kept->next = kernel->functions;
        kernel->functions = kept;
    }
    kept->function = function;
    kept->settings = settings;
    return CUDA_SUCCESS;
}

static CUresult fetch(struct kernel *kernel, unsigned long long id, CUfunction *ret_function)
{
    CUfunction function;
    CUmodule module;
    unsigned settings;
    CUresult result = library_module(kernel->library, 0, NULL, NULL, &module);

    if (result == CUDA_SUCCESS)
        result = cuModuleGetFunction(&function, module, kernel->name);
    if (result != CUDA_SUCCESS)
        return result;
    library_lock();
    settings = kernel->settings_count;
    library_unlock();
    if (settings > 0)
        result = apply_settings(kernel, function);
    if (result != CUDA_SUCCESS)
        return result;
    library_lock();
    result = keep(kernel, id, function, settings);
    library_unlock();
    if (result == CUDA_SUCCESS)
        *ret_function = function;
    return result;
}

CUresult library_function(const void *handle, CUfunction *ret_function)
{
    const struct kernel_function *function;
    struct kernel *kernel;
    unsigned long long id;
    CUresult result;

    library_lock();
    kernel = kernel_hold(handle);
    library_unlock();
    if (!kernel)
        return CUDA_ERROR_INVALID_HANDLE;
    result = cuCtxGetId(NULL, &id);
    if (result == CUDA_SUCCESS) {
        library_lock();
        function = function_in(kernel, id);
        if (function && function->settings == kernel->settings_count)
            *ret_function = function->function;
        else
            function = NULL;
        library_unlock();
        if (!function)
            result = fetch(kernel, id, ret_function);
    }
    library_release(kernel->library);
    return result;
}

CUresult cuKernelGetFunction(CUfunction *pFunc, CUkernel kernel)
{
    unsigned long long id;
    CUresult result = cuCtxGetId(NULL, &id);

    if (result != CUDA_SUCCESS)
        return result;
    return pFunc ? library_function(kernel, pFunc) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuKernelGetLibrary(CUlibrary *pLib, CUkernel kernel)
{
    const struct kernel *found;
    CUresult result = library_enter();

    if (result != CUDA_SUCCESS)
        return result;
    if (!pLib)
        return CUDA_ERROR_INVALID_VALUE;
    library_lock();
    found = kernel_find(kernel);
    if (found)
        *pLib = found->library->handle;
    library_unlock();
    return found ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

/* The name lives as long as the library. */
CUresult cuKernelGetName(const char **name, CUkernel hfunc)
{
    const struct kernel *found;
    CUresult result = library_enter();

    if (result != CUDA_SUCCESS)
        return result;
    if (!name)
        return CUDA_ERROR_INVALID_VALUE;
    library_lock();
    found = kernel_find(hfunc);
    if (found)
        *name = found->name;
    library_unlock();
    return found ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

/* A kernel in a context of a device: the current one, or the primary one for the time being. */
struct visit {
    struct kernel *kernel;
    struct library_device device;
    CUfunction function;
};

static CUresult visit_begin(struct visit *visit, CUkernel handle, CUdevice device)
{
    CUresult result = library_enter();

    if (result != CUDA_SUCCESS)
        return result;
    library_lock();
    visit->kernel = kernel_hold(handle);
    library_unlock();
    if (!visit->kernel)
        return CUDA_ERROR_INVALID_HANDLE;
    result = library_device_enter(&visit->device, device);
    if (result == CUDA_SUCCESS) {
        result = library_function(handle, &visit->function);
        if (result == CUDA_SUCCESS)
            return result;
        library_device_leave(&visit->device, visit->kernel->library);
    }
    library_release(visit->kernel->library);
    return result;
}

static void visit_end(struct visit *visit)
{
    library_device_leave(&visit->device, visit->kernel->library);
    library_release(visit->kernel->library);
}

CUresult cuKernelGetParamInfo(CUkernel kernel, size_t paramIndex, size_t *paramOffset,
                              size_t *paramSize)
{
    struct visit visit;
    CUresult result = visit_begin(&visit, kernel, LIBRARY_ANY_DEVICE);

    if (result != CUDA_SUCCESS)
        return result;
    result = cuFuncGetParamInfo(visit.function, paramIndex, paramOffset, paramSize);
    visit_end(&visit);
    return result;
}

CUresult cuKernelGetAttribute(int *pi, CUfunction_attribute attrib, CUkernel kernel, CUdevice dev)
{
    struct visit visit;
    CUresult result = visit_begin(&visit, kernel, dev);

    if (result != CUDA_SUCCESS)
        return result;
    result = cuFuncGetAttribute(pi, attrib, visit.function);
    visit_end(&visit);
    return result;
}

/* Lock held. */
static CUresult note_setting(struct kernel *kernel, CUdevice device, int attribute, int value)
{
    struct kernel_setting **link = &kernel->settings;

    while (*link && ((*link)->device != device || (*link)->attribute != attribute))
        link = &(*link)->next;
    if (!*link) {
        *link = calloc(1, sizeof(**link));
        if (!*link)
            return CUDA_ERROR_OUT_OF_MEMORY;
        (*link)->device = device;
        (*link)->attribute = attribute;
    }
    (*link)->value = value;
    kernel->settings_count++;
    return CUDA_SUCCESS;
}

static CUresult set_kernel(CUkernel kernel, CUdevice device, int attribute, int value)
{
    struct visit visit;
    CUresult result = visit_begin(&visit, kernel, device);

    if (result != CUDA_SUCCESS)
        return result;
    result = set(visit.function, attribute, value);
    if (result == CUDA_SUCCESS) {
        library_lock();
        result = note_setting(visit.kernel, device, attribute, value);
        library_unlock();
    }
    visit_end(&visit);
    return result;
}

CUresult cuKernelSetAttribute(CUfunction_attribute attrib, int val, CUkernel kernel, CUdevice dev)
{
    return set_kernel(kernel, dev, (int)attrib, val);
}

CUresult cuKernelSetCacheConfig(CUkernel kernel, CUfunc_cache config, CUdevice dev)
{
    return set_kernel(kernel, dev, KERNEL_CACHE_CONFIG, (int)config);
}
