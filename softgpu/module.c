/* SPDX-License-Identifier: Apache-2.0 */
/* cuModule*: loading, unloading, and finding what is in a module. See module.h. */
#include "softgpu/module.h"

#include <stdlib.h>

#include "cuda/legacy_launch.h"
#include "softgpu/context.h"
#include "softgpu/handle.h"
#include "softgpu/jit.h"
#include "softgpu/capability.h"
#include "softgpu/memory.h"
#include "softgpu/stream.h"

static void function_free(struct function *function)
{
    legacy_launch_forget(function->handle);
    handle_free(function->handle);
    free(function);
}

/* Frees a module that is on no list; safe on one that is half made. */
static void module_free(struct module *module)
{
    struct function *function;

    while ((function = module->functions)) {
        module->functions = function->next;
        function_free(function);
    }
    if (module->variables) {
        for (size_t i = 0; i < ptx_program_n_variables(module->program); i++) {
            if (module->variables[i])
                memory_remove(module->variables[i]);
        }
    }
    free(module->variables);
    handle_free(module->handle);
    ptx_program_free(module->program);
    free(module);
}

static void module_end(struct module *module)
{
    for (struct module **link = &module->context->modules; *link; link = &(*link)->next) {
        if (*link == module) {
            *link = module->next;
            break;
        }
    }
    module_free(module);
}

void module_end_all(struct context *context)
{
    while (context->modules)
        module_end(context->modules);
}

/* Places the variables in device memory and gives them their first values. */
static CUresult place_variables(struct module *module)
{
    size_t n = ptx_program_n_variables(module->program);
    void **hosts = calloc(n + 1, sizeof(void *));
    CUresult result = CUDA_SUCCESS;

    module->variables = calloc(n + 1, sizeof(*module->variables));
    if (!hosts || !module->variables)
        result = CUDA_ERROR_OUT_OF_MEMORY;
    for (size_t i = 0; i < n && result == CUDA_SUCCESS; i++) {
        struct ptx_variable variable;
        struct allocation allocation;

        ptx_program_variable(module->program, i, &variable);
        result =
            memory_new_device(module->context, MEMORY_VARIABLE, variable.size_bytes,
                              variable.align_bytes, variable.space == PTX_SPACE_CONST, &allocation);
        if (result == CUDA_SUCCESS) {
            module->variables[i] = allocation.base;
            hosts[i] = allocation.host;
        }
    }
    for (size_t i = 0; i < n && result == CUDA_SUCCESS; i++)
        ptx_variable_init(module->program, i, module->variables, hosts[i]);
    free(hosts);
    return result;
}

/* Takes the program over, also when it fails. */
static CUresult module_new(struct context *context, struct ptx_program *program,
                           CUmodule *ret_module)
{
    struct module *module = calloc(1, sizeof(*module));
    CUresult result = CUDA_ERROR_OUT_OF_MEMORY;

    if (!module) {
        ptx_program_free(program);
        return result;
    }
    module->program = program;
    module->context = context;
    module->handle = handle_new(HANDLE_MODULE, module);
    if (module->handle)
        result = place_variables(module);
    if (result != CUDA_SUCCESS) {
        module_free(module);
        return result;
    }
    module->next = context->modules;
    context->modules = module;
    *ret_module = module->handle;
    return CUDA_SUCCESS;
}

/* Compiling may take long: the lock is released meanwhile. */
static CUresult load(struct context *context, struct jit *jit, const void *data, size_t limit,
                     CUmodule *ret_module)
{
    struct image image = {0};
    struct ptx_program *program = NULL;
    CUresult result;

    pthread_mutex_unlock(&gpu.lock);
    result = image_read(&image, data, limit);
    if (image.problem[0])
        jit_complain(jit, image.problem);
    if (result == CUDA_SUCCESS)
        result = jit_compile(jit, &image, &program);
    image_release(&image);
    pthread_mutex_lock(&gpu.lock);
    if (result == CUDA_SUCCESS && !context->alive) {
        ptx_program_free(program);
        result = CUDA_ERROR_CONTEXT_IS_DESTROYED;
    }
    return result == CUDA_SUCCESS ? module_new(context, program, ret_module) : result;
}

CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned int numOptions,
                            CUjit_option *options, void **optionValues)
{
    _scope_ struct scope scope = scope_context();
    struct jit jit;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (image)
        image = image_unwrap(image);
    if (!module || !image)
        return CUDA_ERROR_INVALID_VALUE;
    context_flush(scope.context);
    result = jit_begin(&jit, numOptions, options, optionValues);
    if (result == CUDA_SUCCESS) {
        result = load(scope.context, &jit, image, SIZE_MAX, module);
        jit_end(&jit);
    }
    return result;
}

CUresult cuModuleLoadData(CUmodule *module, const void *image)
{
    return cuModuleLoadDataEx(module, image, 0, NULL, NULL);
}

CUresult cuModuleLoadFatBinary(CUmodule *module, const void *fatCubin)
{
    return cuModuleLoadDataEx(module, fatCubin, 0, NULL, NULL);
}

CUresult cuModuleLoad(CUmodule *module, const char *fname)
{
    _scope_ struct scope scope = scope_context();
    _cleanup_free_ char *data = NULL;
    struct jit jit;
    CUresult result;
    size_t size;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!module || !fname)
        return CUDA_ERROR_INVALID_VALUE;
    result = image_read_file(fname, &data, &size);
    if (result != CUDA_SUCCESS)
        return result;
    jit_begin(&jit, 0, NULL, NULL);
    return load(scope.context, &jit, data, size, module);
}

static CUresult module_get(CUmodule handle, struct module **ret_module)
{
    struct module *module = handle_get(HANDLE_MODULE, handle);

    if (!module)
        return CUDA_ERROR_INVALID_HANDLE;
    *ret_module = module;
    return module->context->error;
}

CUresult cuModuleUnload(CUmodule hmod)
{
    _scope_ struct scope scope = scope_context();
    struct context *context;
    struct module *module;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    result = module_get(hmod, &module);
    if (result != CUDA_SUCCESS)
        return result;
    context = context_ref(module->context);
    stream_wait_all(context);
    context_flush(context);
    result = module_get(hmod, &module); /* another thread may have unloaded it meanwhile */
    if (result == CUDA_SUCCESS)
        module_end(module);
    context_unref(context);
    return result;
}

CUresult cuModuleGetLoadingMode(CUmoduleLoadingMode *mode)
{
    _scope_ struct scope scope = scope_gpu();

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!mode)
        return CUDA_ERROR_INVALID_VALUE;
    *mode = CU_MODULE_EAGER_LOADING;
    return CUDA_SUCCESS;
}

static struct function *function_new(struct module *module, const struct ptx_function *ptx)
{
    struct function *function = calloc(1, sizeof(*function));

    if (!function)
        return NULL;
    function->handle = handle_new(HANDLE_FUNCTION, function);
    if (!function->handle) {
        free(function);
        return NULL;
    }
    function->module = module;
    function->ptx = ptx;
    ptx_function_info(ptx, &function->info);
    function->max_dynamic_shared = function_default_dynamic(&function->info);
    function->carveout = -1;
    function->next = module->functions;
    module->functions = function;
    return function;
}

/* The function of an entry, made when it is asked for first; NULL without memory. */
static struct function *function_of(struct module *module, const struct ptx_function *ptx)
{
    struct function *function = module->functions;

    while (function && function->ptx != ptx)
        function = function->next;
    return function ? function : function_new(module, ptx);
}

CUresult cuModuleGetFunction(CUfunction *hfunc, CUmodule hmod, const char *name)
{
    _scope_ struct scope scope = scope_context();
    const struct ptx_function *ptx;
    struct function *function;
    struct module *module;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!hfunc || !name || !*name)
        return CUDA_ERROR_INVALID_VALUE;
    result = module_get(hmod, &module);
    if (result != CUDA_SUCCESS)
        return result;
    ptx = ptx_program_find_entry(module->program, name);
    if (!ptx)
        return CUDA_ERROR_NOT_FOUND;
    function = function_of(module, ptx);
    if (!function)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *hfunc = function->handle;
    return CUDA_SUCCESS;
}

CUresult cuModuleGetFunctionCount(unsigned int *count, CUmodule mod)
{
    _scope_ struct scope scope = scope_context();
    struct module *module;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!count)
        return CUDA_ERROR_INVALID_VALUE;
    result = module_get(mod, &module);
    if (result == CUDA_SUCCESS)
        *count = (unsigned)ptx_program_n_entries(module->program);
    return result;
}

CUresult cuModuleEnumerateFunctions(CUfunction *functions, unsigned int numFunctions, CUmodule mod)
{
    _scope_ struct scope scope = scope_context();
    struct module *module;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!functions || numFunctions == 0)
        return CUDA_ERROR_INVALID_VALUE;
    result = module_get(mod, &module);
    if (result != CUDA_SUCCESS)
        return result;
    for (size_t i = 0; i < numFunctions && i < ptx_program_n_entries(module->program); i++) {
        const struct function *function =
            function_of(module, ptx_program_entry(module->program, i));

        if (!function)
            return CUDA_ERROR_OUT_OF_MEMORY;
        functions[i] = function->handle;
    }
    return CUDA_SUCCESS;
}

CUresult cuModuleGetGlobal_v2(CUdeviceptr *dptr, size_t *bytes, CUmodule hmod, const char *name)
{
    _scope_ struct scope scope = scope_context();
    struct ptx_variable variable;
    struct module *module;
    CUresult result;
    long index;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!name || !*name || (!dptr && !bytes))
        return CUDA_ERROR_INVALID_VALUE;
    result = module_get(hmod, &module);
    if (result != CUDA_SUCCESS)
        return result;
    index = ptx_program_find_variable(module->program, name);
    if (index < 0)
        return CUDA_ERROR_NOT_FOUND;
    ptx_program_variable(module->program, (size_t)index, &variable);
    if (dptr)
        *dptr = module->variables[index];
    if (bytes)
        *bytes = variable.size_bytes;
    return CUDA_SUCCESS;
}
