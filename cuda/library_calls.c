/* SPDX-License-Identifier: Apache-2.0 */
/* cuLibrary*: see library.h. */
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "cuda/cuda_api.h"
#include "cuda/exports.h"
#include "cuda/image_file.h"
#include "cuda/image_measure.h"
#include "cuda/library.h"
#include "cuda/library_device.h"

CUresult library_enter(void)
{
    CUcontext current;

    return cuCtxGetCurrent(&current);
}

static bool current_is_of(CUdevice device)
{
    CUdevice current;
    CUcontext context = NULL;

    if (cuCtxGetCurrent(&context) != CUDA_SUCCESS || !context)
        return false;
    return device == LIBRARY_ANY_DEVICE ||
           (cuCtxGetDevice(&current) == CUDA_SUCCESS && current == device);
}

CUresult library_device_enter(struct library_device *at, CUdevice device)
{
    CUcontext context;
    CUresult result;

    *at = (struct library_device){.device = device == LIBRARY_ANY_DEVICE ? 0 : device};
    if (device < LIBRARY_ANY_DEVICE)
        return CUDA_ERROR_INVALID_DEVICE;
    if (current_is_of(device))
        return CUDA_SUCCESS;
    result = cuDevicePrimaryCtxRetain(&context, at->device);
    if (result != CUDA_SUCCESS)
        return result;
    result = cuCtxPushCurrent_v2(context);
    if (result == CUDA_SUCCESS)
        result = cuCtxGetId(NULL, &at->context_id);
    if (result != CUDA_SUCCESS) {
        cuDevicePrimaryCtxRelease_v2(at->device);
        return result;
    }
    at->borrowed = true;
    return CUDA_SUCCESS;
}

void library_device_leave(const struct library_device *at, struct library *library)
{
    unsigned flags;
    int active = 1;

    if (!at->borrowed)
        return;
    cuCtxPopCurrent_v2(NULL);
    cuDevicePrimaryCtxRelease_v2(at->device);
    if (cuDevicePrimaryCtxGetState(at->device, &flags, &active) == CUDA_SUCCESS && active)
        return;
    library_lock();
    library_forget(library, at->context_id);
    library_unlock();
}

/* Options whose values are for one call: logs to fill, times to tell. */
static bool only_for_this_load(CUjit_option option)
{
    return option == CU_JIT_WALL_TIME || option == CU_JIT_INFO_LOG_BUFFER ||
           option == CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES || option == CU_JIT_ERROR_LOG_BUFFER ||
           option == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES;
}

static CUresult check_options(unsigned jit_count, const CUjit_option *jit, void **jit_values,
                              unsigned count, const CUlibraryOption *options)
{
    if (jit_count > LIBRARY_MAX_OPTIONS || (jit_count > 0 && (!jit || !jit_values)) ||
        (count > 0 && !options))
        return CUDA_ERROR_INVALID_VALUE;
    for (unsigned i = 0; i < count; i++) {
        if (options[i] == CU_LIBRARY_HOST_UNIVERSAL_FUNCTION_AND_DATA_TABLE)
            return cuda_unsupported("a library option that replaces functions of the host");
        /* That the image stays where it is is of no use: it is copied in any case. */
        if (options[i] != CU_LIBRARY_BINARY_IS_PRESERVED)
            return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

/* With a current context it is loaded there at once, so that a bad image is told of. */
static CUresult load(CUlibrary *ret_library, const void *image, size_t bytes, unsigned count,
                     CUjit_option *options, void **values)
{
    struct library *library = library_new(image, bytes);
    struct library_module *modules = NULL;
    CUcontext context = NULL;
    CUmodule module;
    CUresult result = CUDA_SUCCESS;

    if (!library)
        return CUDA_ERROR_OUT_OF_MEMORY;
    for (unsigned i = 0; i < count; i++) {
        if (only_for_this_load(options[i]))
            continue;
        library->options[library->options_count] = options[i];
        library->values[library->options_count++] = values[i];
    }
    if (cuCtxGetCurrent(&context) == CUDA_SUCCESS && context)
        result = library_module(library, count, options, values, &module);
    if (result == CUDA_SUCCESS) {
        *ret_library = library->handle;
        return CUDA_SUCCESS;
    }
    library_lock();
    library_end(library, &modules);
    library_unlock();
    library_modules_free(modules);
    library_release(library);
    return result;
}

CUresult cuLibraryLoadData(CUlibrary *library, const void *code, CUjit_option *jitOptions,
                           void **jitOptionsValues, unsigned int numJitOptions,
                           CUlibraryOption *libraryOptions, void **libraryOptionValues,
                           unsigned int numLibraryOptions)
{
    const void *data;
    size_t bytes;
    CUresult result = library_enter();

    if (result != CUDA_SUCCESS)
        return result;
    if (!library || !code)
        return CUDA_ERROR_INVALID_VALUE;
    result = check_options(numJitOptions, jitOptions, jitOptionsValues, numLibraryOptions,
                           libraryOptions);
    if (result == CUDA_SUCCESS)
        result = image_measure(code, IMAGE_MAX_BYTES, &data, &bytes);
    if (result != CUDA_SUCCESS)
        return result;
    return load(library, data, bytes, numJitOptions, jitOptions, jitOptionsValues);
}

CUresult cuLibraryLoadFromFile(CUlibrary *library, const char *fileName, CUjit_option *jitOptions,
                               void **jitOptionsValues, unsigned int numJitOptions,
                               CUlibraryOption *libraryOptions, void **libraryOptionValues,
                               unsigned int numLibraryOptions)
{
    _cleanup_free_ void *file = NULL;
    const void *data;
    size_t bytes;
    CUresult result = library_enter();

    if (result != CUDA_SUCCESS)
        return result;
    if (!library || !fileName)
        return CUDA_ERROR_INVALID_VALUE;
    result = check_options(numJitOptions, jitOptions, jitOptionsValues, numLibraryOptions,
                           libraryOptions);
    if (result == CUDA_SUCCESS)
        result = image_file_read(fileName, &file, &bytes);
    if (result == CUDA_SUCCESS)
        result = image_measure(file, bytes + 1, &data, &bytes);
    if (result != CUDA_SUCCESS)
        return result;
    return load(library, data, bytes, numJitOptions, jitOptions, jitOptionsValues);
}

/* The library of a handle, with a reference. */
static CUresult hold(CUlibrary handle, struct library **ret_library)
{
    CUresult result = library_enter();

    if (result != CUDA_SUCCESS)
        return result;
    library_lock();
    *ret_library = library_hold(handle);
    library_unlock();
    return *ret_library ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

/* Unloads a module where its context still lives. */
static CUresult unload_in(const struct library_module *module)
{
    unsigned long long id;
    CUresult result;

    if (cuCtxGetId(module->context, &id) != CUDA_SUCCESS || id != module->context_id ||
        cuCtxPushCurrent_v2(module->context) != CUDA_SUCCESS)
        return CUDA_SUCCESS;
    result = cuModuleUnload(module->module);
    cuCtxPopCurrent_v2(NULL);
    return result;
}

CUresult cuLibraryUnload(CUlibrary library)
{
    struct library_module *modules = NULL;
    struct library *held;
    bool ended;
    CUresult result = hold(library, &held);

    if (result != CUDA_SUCCESS)
        return result;
    library_lock();
    ended = library_end(held, &modules);
    library_unlock();
    if (!ended) {
        library_release(held);
        return CUDA_ERROR_INVALID_HANDLE;
    }
    for (struct library_module *module = modules; module; module = module->next) {
        CUresult each = module->module ? unload_in(module) : CUDA_SUCCESS;

        if (result == CUDA_SUCCESS)
            result = each;
    }
    library_modules_free(modules);
    library_release(held); /* this call's */
    library_release(held); /* the one it was made with */
    return result;
}

CUresult cuLibraryGetModule(CUmodule *pMod, CUlibrary library)
{
    struct library *held;
    CUresult result;

    if (!pMod) {
        result = library_enter();
        return result == CUDA_SUCCESS ? CUDA_ERROR_INVALID_VALUE : result;
    }
    result = hold(library, &held);
    if (result != CUDA_SUCCESS)
        return result;
    result = library_module(held, 0, NULL, NULL, pMod);
    library_release(held);
    return result;
}

static CUresult get_kernel(struct library *library, const char *name, CUkernel *ret_kernel)
{
    const struct kernel *kernel;
    CUfunction function;
    CUmodule module;
    CUresult result = library_module(library, 0, NULL, NULL, &module);

    if (result == CUDA_SUCCESS)
        result = cuModuleGetFunction(&function, module, name);
    if (result != CUDA_SUCCESS)
        return result;
    library_lock();
    kernel = kernel_make(library, name);
    if (kernel)
        *ret_kernel = kernel->handle;
    library_unlock();
    return kernel ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuLibraryGetKernel(CUkernel *pKernel, CUlibrary library, const char *name)
{
    struct library_device at;
    struct library *held;
    CUresult result = hold(library, &held);

    if (result != CUDA_SUCCESS)
        return result;
    if (!pKernel || !name)
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS)
        result = library_device_enter(&at, LIBRARY_ANY_DEVICE);
    if (result == CUDA_SUCCESS) {
        result = get_kernel(held, name, pKernel);
        library_device_leave(&at, held);
    }
    library_release(held);
    return result;
}

CUresult cuLibraryGetGlobal(CUdeviceptr *dptr, size_t *bytes, CUlibrary library, const char *name)
{
    struct library *held;
    CUmodule module;
    CUresult result = hold(library, &held);

    if (result != CUDA_SUCCESS)
        return result;
    result = library_module(held, 0, NULL, NULL, &module);
    if (result == CUDA_SUCCESS)
        result = cuModuleGetGlobal_v2(dptr, bytes, module, name);
    library_release(held);
    return result;
}

/* The library's module in a context, any will do. */
static CUresult visit(CUlibrary handle, struct library **ret_library, struct library_device *ret_at,
                      CUmodule *ret_module)
{
    CUresult result = hold(handle, ret_library);

    if (result != CUDA_SUCCESS)
        return result;
    result = library_device_enter(ret_at, LIBRARY_ANY_DEVICE);
    if (result == CUDA_SUCCESS) {
        result = library_module(*ret_library, 0, NULL, NULL, ret_module);
        if (result == CUDA_SUCCESS)
            return result;
        library_device_leave(ret_at, *ret_library);
    }
    library_release(*ret_library);
    return result;
}

static void leave(struct library *library, const struct library_device *at)
{
    library_device_leave(at, library);
    library_release(library);
}

CUresult cuLibraryGetKernelCount(unsigned int *count, CUlibrary lib)
{
    struct library_device at;
    struct library *library;
    CUmodule module;
    CUresult result = visit(lib, &library, &at, &module);

    if (result != CUDA_SUCCESS)
        return result;
    result = cuModuleGetFunctionCount(count, module);
    leave(library, &at);
    return result;
}

static CUresult name_kernels(struct library *library, CUfunction *functions, unsigned count,
                             CUkernel *kernels)
{
    CUresult result = CUDA_SUCCESS;

    for (unsigned i = 0; i < count && result == CUDA_SUCCESS; i++) {
        const struct kernel *kernel;
        const char *name;

        result = cuFuncGetName(&name, functions[i]);
        if (result != CUDA_SUCCESS)
            break;
        library_lock();
        kernel = kernel_make(library, name);
        if (kernel)
            kernels[i] = kernel->handle;
        else
            result = CUDA_ERROR_OUT_OF_MEMORY;
        library_unlock();
    }
    return result;
}

static CUresult enumerate(struct library *library, CUmodule module, CUkernel *kernels,
                          unsigned most)
{
    _cleanup_free_ CUfunction *functions = NULL;
    unsigned count;
    CUresult result = cuModuleGetFunctionCount(&count, module);

    if (result != CUDA_SUCCESS)
        return result;
    if (count > most)
        count = most;
    functions = calloc(count + 1u, sizeof(*functions));
    if (!functions)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (count > 0)
        result = cuModuleEnumerateFunctions(functions, count, module);
    return result == CUDA_SUCCESS ? name_kernels(library, functions, count, kernels) : result;
}

CUresult cuLibraryEnumerateKernels(CUkernel *kernels, unsigned int numKernels, CUlibrary lib)
{
    struct library_device at;
    struct library *library;
    CUmodule module;
    CUresult result = visit(lib, &library, &at, &module);

    if (result != CUDA_SUCCESS)
        return result;
    result = kernels && numKernels > 0 ? enumerate(library, module, kernels, numKernels)
                                       : CUDA_ERROR_INVALID_VALUE;
    leave(library, &at);
    return result;
}
