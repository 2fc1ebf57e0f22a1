/* SPDX-License-Identifier: Apache-2.0 */
/* Modules, functions, links and maps of tensors of the driver double. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/test_gpu.h"

static CUresult module_load(CUmodule *module, const void *image)
{
    if (strstr(image, "broken"))
        return CUDA_ERROR_INVALID_PTX;
    *module = test_gpu_make(sizeof(**module));
    if (strncmp(image, "functions ", 10) == 0)
        (*module)->listed = (unsigned)atoi((const char *)image + 10);
    return CUDA_SUCCESS;
}

static CUresult module_load_ex(CUmodule *module, const void *image, unsigned int count,
                               CUjit_option *options, void **values)
{
    for (unsigned int i = 0; i < count; i++)
        if (options[i] == CU_JIT_ERROR_LOG_BUFFER && strstr(image, "broken"))
            strcpy(values[i], "line 1: broken");
    return module_load(module, image);
}

static CUresult module_unload(CUmodule module)
{
    LOCKED(test_gpu_note("unload"););
    while (module->functions) {
        struct CUfunc_st *next = module->functions->next;

        test_gpu_unmake(module->functions);
        module->functions = next;
    }
    test_gpu_unmake(module);
    return CUDA_SUCCESS;
}

static CUresult module_function(CUfunction *function, CUmodule module, const char *name)
{
    if (strncmp(name, "missing", 7) == 0)
        return CUDA_ERROR_NOT_FOUND;
    *function = test_gpu_make(sizeof(**function));
    strncpy((*function)->name, name, NAME_BYTES - 1);
    (*function)->params = strncmp(name, "one", 3) == 0;
    (*function)->next = module->functions;
    module->functions = *function;
    return CUDA_SUCCESS;
}

/* As many functions as the image's text says, named f0, f1, ... */
static CUresult module_count(unsigned int *count, CUmodule module)
{
    *count = module->listed;
    return CUDA_SUCCESS;
}

static CUresult module_list(CUfunction *functions, unsigned int count, CUmodule module)
{
    for (unsigned i = 0; i < count; i++) {
        char name[NAME_BYTES];

        snprintf(name, sizeof(name), "f%u", i);
        if (module_function(&functions[i], module, name) != CUDA_SUCCESS)
            return CUDA_ERROR_OUT_OF_MEMORY;
    }
    return CUDA_SUCCESS;
}

static CUresult function_name(const char **name, CUfunction function)
{
    *name = function->name;
    return CUDA_SUCCESS;
}

static CUresult module_global(CUdeviceptr *address, size_t *bytes, CUmodule module,
                              const char *name)
{
    *address = (CUdeviceptr)(uintptr_t)module->global;
    *bytes = sizeof(module->global);
    return CUDA_SUCCESS;
}

static CUresult function_attribute(int *value, CUfunction_attribute attribute, CUfunction function)
{
    *value = 1;
    return CUDA_SUCCESS;
}

static CUresult function_set(CUfunction function, CUfunction_attribute attribute, int value)
{
    return CUDA_SUCCESS;
}

static CUresult function_parameter(CUfunction function, size_t index, size_t *offset, size_t *size)
{
    if (index >= function->params)
        return CUDA_ERROR_INVALID_VALUE;
    *offset = index * 8;
    *size = 8;
    return CUDA_SUCCESS;
}

static CUresult link_create(unsigned int count, CUjit_option *options, void **values,
                            CUlinkState *state)
{
    *state = test_gpu_make(sizeof(**state));
    return CUDA_SUCCESS;
}

static CUresult link_add(CUlinkState state, CUjitInputType type, void *data, size_t size,
                         const char *name, unsigned int count, CUjit_option *options, void **values)
{
    return CUDA_SUCCESS;
}

static CUresult link_complete(CUlinkState state, void **image, size_t *size)
{
    *image = state->image;
    *size = sizeof(state->image);
    return CUDA_SUCCESS;
}

static CUresult link_destroy(CUlinkState state)
{
    test_gpu_unmake(state);
    return CUDA_SUCCESS;
}

static CUresult tensor_tiled(CUtensorMap *map, CUtensorMapDataType type, cuuint32_t rank,
                             void *address, const cuuint64_t *dims, const cuuint64_t *strides,
                             const cuuint32_t *box, const cuuint32_t *element_strides,
                             CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                             CUtensorMapL2promotion l2, CUtensorMapFloatOOBfill oob)
{
    map->opaque[0] = (uintptr_t)address;
    map->opaque[1] = dims[rank - 1];
    map->opaque[2] = box[rank - 1];
    return CUDA_SUCCESS;
}

static CUresult tensor_replace(CUtensorMap *map, void *address)
{
    map->opaque[0] = (uintptr_t)address;
    return CUDA_SUCCESS;
}

void test_driver_modules(struct cuda_driver *driver)
{
    driver->cuModuleLoadData = module_load;
    driver->cuModuleLoadDataEx = module_load_ex;
    driver->cuModuleUnload = module_unload;
    driver->cuModuleGetFunction = module_function;
    driver->cuModuleGetGlobal = module_global;
    driver->cuModuleGetFunctionCount = module_count;
    driver->cuModuleEnumerateFunctions = module_list;
    driver->cuFuncGetName = function_name;
    driver->cuFuncGetAttribute = function_attribute;
    driver->cuFuncSetAttribute = function_set;
    driver->cuFuncGetParamInfo = function_parameter;
    driver->cuLinkCreate = link_create;
    driver->cuLinkAddData = link_add;
    driver->cuLinkComplete = link_complete;
    driver->cuLinkDestroy = link_destroy;
    driver->cuTensorMapEncodeTiled = tensor_tiled;
    driver->cuTensorMapReplaceAddress = tensor_replace;
}
