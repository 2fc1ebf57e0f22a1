/* SPDX-License-Identifier: Apache-2.0 */
/* The driver API: functions. Attributes and parameters were learnt with the function itself. */
#include <string.h>

#include "cuda/cuda_api.h"
#include "cuda/cuda_send.h"
#include "guest/libvgpu/lookup.h"

static CUresult enter_function(CUfunction hfunc, struct function_object *ret)
{
    CUresult result = guest_enter_context(NULL);

    return result == CUDA_SUCCESS ? lookup_function(hfunc, ret) : result;
}

CUresult cuFuncGetAttribute(int *pi, CUfunction_attribute attrib, CUfunction hfunc)
{
    struct function_object function;
    CUresult result = enter_function(hfunc, &function);

    if (result != CUDA_SUCCESS)
        return result;
    if (!pi || (unsigned)attrib >= VGPU_FUNCTION_ATTRIBUTES)
        return CUDA_ERROR_INVALID_VALUE;
    if (function.info.attributes[attrib] == VGPU_ATTRIBUTE_UNKNOWN)
        return CUDA_ERROR_INVALID_VALUE;
    *pi = function.info.attributes[attrib];
    return CUDA_SUCCESS;
}

static void keep_attributes(uint32_t handle, const uint8_t *details)
{
    struct function_object *function;

    guest_lock();
    function = object_at(CUDA_KIND_FUNCTION, handle);
    if (function)
        memcpy(function->info.attributes, details, sizeof(function->info.attributes));
    guest_unlock();
}

CUresult cuFuncSetAttribute(CUfunction hfunc, CUfunction_attribute attrib, int value)
{
    struct function_object function;
    struct cuda_out_function_set_attribute out;
    CUresult result = enter_function(hfunc, &function);

    if (result != CUDA_SUCCESS)
        return result;
    if ((unsigned)attrib >= VGPU_FUNCTION_ATTRIBUTES)
        return CUDA_ERROR_INVALID_VALUE;
    result = cuda_send_function_set_attribute(
        guest_sender(),
        &(struct cuda_args_function_set_attribute){
            .function = function.head.handle, .attribute = (uint32_t)attrib, .value = value},
        &out);
    if (result == CUDA_SUCCESS && out.details_bytes >= sizeof(struct cuda_function_info))
        keep_attributes(function.head.handle, out.details);
    return result;
}

CUresult cuFuncSetCacheConfig(CUfunction hfunc, CUfunc_cache config)
{
    struct function_object function;
    CUresult result = enter_function(hfunc, &function);

    if (result != CUDA_SUCCESS)
        return result;
    if ((unsigned)config > CU_FUNC_CACHE_PREFER_EQUAL)
        return CUDA_ERROR_INVALID_VALUE;
    return cuda_send_function_set_cache_config(
        guest_sender(), &(struct cuda_args_function_set_cache_config){
                            .function = function.head.handle, .config = (uint32_t)config});
}

/* Without effect since compute capability 5.0. */
CUresult cuFuncSetSharedMemConfig(CUfunction hfunc, CUsharedconfig config)
{
    struct function_object function;
    CUresult result = enter_function(hfunc, &function);

    if (result != CUDA_SUCCESS)
        return result;
    return (unsigned)config > CU_SHARED_MEM_CONFIG_EIGHT_BYTE_BANK_SIZE ? CUDA_ERROR_INVALID_VALUE
                                                                        : CUDA_SUCCESS;
}

CUresult cuFuncGetModule(CUmodule *hmod, CUfunction hfunc)
{
    struct function_object function;
    CUresult result = enter_function(hfunc, &function);

    if (result != CUDA_SUCCESS)
        return result;
    if (!hmod)
        return CUDA_ERROR_INVALID_VALUE;
    *hmod = (CUmodule)(uintptr_t)function.module;
    return CUDA_SUCCESS;
}

CUresult cuFuncGetName(const char **name, CUfunction hfunc)
{
    struct function_object function;
    CUresult result = enter_function(hfunc, &function);

    if (result != CUDA_SUCCESS)
        return result;
    if (!name)
        return CUDA_ERROR_INVALID_VALUE;
    *name = function.name;
    return CUDA_SUCCESS;
}

CUresult cuFuncGetParamInfo(CUfunction func, size_t paramIndex, size_t *paramOffset,
                            size_t *paramSize)
{
    struct function_object function;
    CUresult result = enter_function(func, &function);

    if (result != CUDA_SUCCESS)
        return result;
    if (!paramOffset || !function.info.params_known || paramIndex >= function.info.param_count)
        return CUDA_ERROR_INVALID_VALUE;
    *paramOffset = function.params[paramIndex].offset;
    if (paramSize)
        *paramSize = function.params[paramIndex].size;
    return CUDA_SUCCESS;
}
