/* SPDX-License-Identifier: Apache-2.0 */
/* cuFunc*: what is known of a kernel, and what may be set. */
#include "cuda/library.h"
#include "softgpu/context.h"
#include "softgpu/handle.h"
#include "softgpu/capability.h"
#include "softgpu/module.h"

CUresult function_get(CUfunction handle, struct function **ret_function)
{
    struct function *function = handle_get(HANDLE_FUNCTION, handle);

    if (!function)
        return CUDA_ERROR_INVALID_HANDLE;
    *ret_function = function;
    return function->module->context->error;
}

CUresult function_get_launched(CUfunction handle, struct function **ret_function)
{
    CUresult result;

    if (!handle_get(HANDLE_FUNCTION, handle)) {
        pthread_mutex_unlock(&gpu.lock);
        result = library_function(handle, &handle);
        pthread_mutex_lock(&gpu.lock);
        if (result != CUDA_SUCCESS)
            return result;
    }
    return function_get(handle, ret_function);
}

uint32_t function_default_dynamic(const struct ptx_function_info *info)
{
    return info->static_shared_bytes < LIMIT_BLOCK_SHARED_BYTES
               ? LIMIT_BLOCK_SHARED_BYTES - info->static_shared_bytes
               : 0;
}

static bool attribute_of(const struct function *function, CUfunction_attribute attribute, int *ret)
{
    const struct ptx_function_info *info = &function->info;

    switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
        *ret = (int)info->max_threads;
        return true;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
        *ret = (int)info->static_shared_bytes;
        return true;
    case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
        *ret = (int)info->const_bytes;
        return true;
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
        *ret = (int)info->local_bytes;
        return true;
    case CU_FUNC_ATTRIBUTE_NUM_REGS:
        *ret = (int)info->n_registers;
        return true;
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
        *ret = (int)info->target_sm;
        return true;
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
        *ret = SOFTGPU_SM;
        return true;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
        *ret = (int)function->max_dynamic_shared;
        return true;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
        *ret = function->carveout;
        return true;
    case CU_FUNC_ATTRIBUTE_CACHE_MODE_CA:
    case CU_FUNC_ATTRIBUTE_CLUSTER_SIZE_MUST_BE_SET:
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH:
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_HEIGHT:
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_DEPTH:
    case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED:
    case CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
        *ret = 0;
        return true;
    }
    return false;
}

CUresult cuFuncGetAttribute(int *pi, CUfunction_attribute attrib, CUfunction hfunc)
{
    _scope_ struct scope scope = scope_context();
    struct function *function;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!pi)
        return CUDA_ERROR_INVALID_VALUE;
    result = function_get(hfunc, &function);
    if (result != CUDA_SUCCESS)
        return result;
    return attribute_of(function, attrib, pi) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuFuncSetAttribute(CUfunction hfunc, CUfunction_attribute attrib, int value)
{
    _scope_ struct scope scope = scope_context();
    struct function *function;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    result = function_get(hfunc, &function);
    if (result != CUDA_SUCCESS)
        return result;
    switch (attrib) {
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
        if (value < 0 ||
            (uint32_t)value + function->info.static_shared_bytes > LIMIT_BLOCK_SHARED_OPTIN)
            return CUDA_ERROR_INVALID_VALUE;
        function->max_dynamic_shared = (uint32_t)value;
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
        if (value < -1 || value > 100)
            return CUDA_ERROR_INVALID_VALUE;
        function->carveout = value;
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED:
        return CUDA_SUCCESS; /* clusters are of one block in any case */
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH:
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_HEIGHT:
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_DEPTH:
        return value <= 1 ? CUDA_SUCCESS : CUDA_ERROR_NOT_SUPPORTED;
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
}

CUresult cuFuncSetCacheConfig(CUfunction hfunc, CUfunc_cache config)
{
    _scope_ struct scope scope = scope_context();
    struct function *function;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    result = function_get(hfunc, &function);
    if (result != CUDA_SUCCESS)
        return result;
    return (unsigned)config <= CU_FUNC_CACHE_PREFER_EQUAL ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuFuncSetSharedMemConfig(CUfunction hfunc, CUsharedconfig config)
{
    _scope_ struct scope scope = scope_context();
    struct function *function;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    result = function_get(hfunc, &function);
    if (result != CUDA_SUCCESS)
        return result;
    return (unsigned)config <= CU_SHARED_MEM_CONFIG_EIGHT_BYTE_BANK_SIZE ? CUDA_SUCCESS
                                                                         : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuFuncGetModule(CUmodule *hmod, CUfunction hfunc)
{
    _scope_ struct scope scope = scope_context();
    struct function *function;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!hmod)
        return CUDA_ERROR_INVALID_VALUE;
    result = function_get(hfunc, &function);
    if (result == CUDA_SUCCESS)
        *hmod = function->module->handle;
    return result;
}

CUresult cuFuncGetName(const char **name, CUfunction hfunc)
{
    _scope_ struct scope scope = scope_context();
    struct function *function;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!name)
        return CUDA_ERROR_INVALID_VALUE;
    result = function_get(hfunc, &function);
    if (result == CUDA_SUCCESS)
        *name = function->info.name;
    return result;
}

CUresult cuFuncGetParamInfo(CUfunction func, size_t paramIndex, size_t *paramOffset,
                            size_t *paramSize)
{
    _scope_ struct scope scope = scope_context();
    struct function *function;
    struct ptx_param param;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!paramOffset)
        return CUDA_ERROR_INVALID_VALUE;
    result = function_get(func, &function);
    if (result != CUDA_SUCCESS)
        return result;
    if (!ptx_function_param(function->ptx, paramIndex, &param))
        return CUDA_ERROR_INVALID_VALUE;
    *paramOffset = param.offset_bytes;
    if (paramSize)
        *paramSize = param.size_bytes;
    return CUDA_SUCCESS;
}
