/* SPDX-License-Identifier: Apache-2.0 */
/* The driver API: modules, their functions and variables. What was asked for once is kept. */
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "cuda/cuda_api.h"
#include "cuda/cuda_send.h"
#include "cuda/image_measure.h"
#include "cuda/image_file.h"
#include "guest/libvgpu/jit.h"
#include "guest/libvgpu/lookup.h"
#include "guest/libvgpu/unified.h"

#define NAME_MAX_BYTES 1024u /* as cuda.spec bounds a symbol's name */

/* A new object in the current context; 0 if there are too many. */
static uint32_t add_object(enum cuda_kind kind, const struct guest_thread *thread)
{
    const struct object *object;
    uint32_t handle = 0;

    guest_lock();
    object = object_new(kind, thread_context(thread));
    if (object)
        handle = object->handle;
    guest_unlock();
    return handle;
}

static void drop_object(enum cuda_kind kind, uint32_t handle)
{
    guest_lock();
    object_drop(kind, handle);
    guest_unlock();
}

static CUresult load(CUmodule *module, const void *image, size_t most, unsigned int num_options,
                     CUjit_option *options, void **values)
{
    struct guest_thread *thread;
    struct jit_request jit;
    struct cuda_out_module_load out;
    struct cuda_args_module_load args = {0};
    const void *data;
    size_t bytes;
    CUresult result = guest_enter_context(&thread);

    if (result != CUDA_SUCCESS)
        return result;
    if (!module || !image)
        return CUDA_ERROR_INVALID_VALUE;
    result = jit_request_init(&jit, num_options, options, values);
    if (result == CUDA_SUCCESS)
        result = image_measure(image, most, &data, &bytes);
    if (result != CUDA_SUCCESS)
        return result;
    args.module = add_object(CUDA_KIND_MODULE, thread);
    if (!args.module)
        return CUDA_ERROR_OUT_OF_MEMORY;
    args.image = data;
    args.image_bytes = (uint32_t)bytes;
    args.options = jit.options;
    args.options_bytes = jit.count * (uint32_t)sizeof(jit.options[0]);
    args.info_log_bytes = jit_info_bytes(&jit.logs);
    args.error_log_bytes = jit_error_bytes(&jit.logs);
    memset(&out, 0, sizeof(out));
    result = cuda_send_module_load(guest_sender(), &args, &out);
    jit_return(&jit.logs, out.info_log, out.info_log_bytes, out.error_log, out.error_log_bytes,
               out.wall_time_ms);
    if (result == CUDA_SUCCESS)
        *module = (CUmodule)(uintptr_t)args.module;
    else
        drop_object(CUDA_KIND_MODULE, args.module);
    return result;
}

CUresult cuModuleLoad(CUmodule *module, const char *fname)
{
    _cleanup_free_ void *data = NULL;
    size_t bytes;
    CUresult result = guest_enter_context(NULL);

    if (result != CUDA_SUCCESS)
        return result;
    if (!module || !fname)
        return CUDA_ERROR_INVALID_VALUE;
    result = image_file_read(fname, &data, &bytes);
    return result == CUDA_SUCCESS ? load(module, data, bytes + 1, 0, NULL, NULL) : result;
}

CUresult cuModuleLoadData(CUmodule *module, const void *image)
{
    return load(module, image, IMAGE_MAX_BYTES, 0, NULL, NULL);
}

CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned int numOptions,
                            CUjit_option *options, void **optionValues)
{
    return load(module, image, IMAGE_MAX_BYTES, numOptions, options, optionValues);
}

CUresult cuModuleLoadFatBinary(CUmodule *module, const void *fatCubin)
{
    return load(module, fatCubin, IMAGE_MAX_BYTES, 0, NULL, NULL);
}

static bool range_of_module(const struct range *range, uint32_t module)
{
    return range->what == RANGE_GLOBAL && range->module == module;
}

CUresult cuModuleUnload(CUmodule hmod)
{
    uint32_t module;
    CUresult result = guest_enter_context(NULL);

    if (result == CUDA_SUCCESS)
        result = lookup_module(hmod, &module);
    if (result != CUDA_SUCCESS)
        return result;
    /* Its addresses may be given out again as soon as the worker is done with it. */
    guest_lock();
    ranges_drop_if(&guest.device, range_of_module, module, NULL);
    guest_unlock();
    result = cuda_send_module_unload(guest_sender(),
                                     &(struct cuda_args_module_unload){.module = module});
    guest_lock();
    objects_drop_module(module);
    object_drop(CUDA_KIND_MODULE, module);
    guest_unlock();
    return result;
}

CUresult cuModuleGetLoadingMode(CUmoduleLoadingMode *mode)
{
    CUresult result = guest_enter(NULL);

    if (result != CUDA_SUCCESS)
        return result;
    if (!mode)
        return CUDA_ERROR_INVALID_VALUE;
    *mode = (CUmoduleLoadingMode)guest_device()->module_loading_mode;
    return CUDA_SUCCESS;
}

/* Keeps what the worker said of a function. */
static CUresult keep_details(uint32_t handle, uint32_t module, const char *name,
                             const uint8_t *details, uint32_t bytes)
{
    _cleanup_free_ struct cuda_param_info *params = NULL;
    _cleanup_free_ char *own_name = strdup(name);
    struct cuda_function_info info;
    struct function_object *function;

    if (bytes < sizeof(info))
        return CUDA_ERROR_UNKNOWN;
    memcpy(&info, details, sizeof(info));
    if (info.param_count > VGPU_FUNCTION_MAX_PARAMS ||
        bytes < sizeof(info) + info.param_count * sizeof(*params) ||
        info.param_bytes > VGPU_LAUNCH_PARAM_BYTES)
        return CUDA_ERROR_UNKNOWN;
    params = calloc(info.param_count + 1, sizeof(*params));
    if (!params || !own_name)
        return CUDA_ERROR_OUT_OF_MEMORY;
    memcpy(params, details + sizeof(info), info.param_count * sizeof(*params));
    for (uint32_t i = 0; i < info.param_count; i++)
        if (params[i].offset > info.param_bytes ||
            params[i].size > info.param_bytes - params[i].offset)
            return CUDA_ERROR_UNKNOWN;
    guest_lock();
    function = object_at(CUDA_KIND_FUNCTION, handle);
    if (function) {
        function->module = module;
        function->info = info;
        function->params = vgpu_steal_ptr(&params);
        function->name = vgpu_steal_ptr(&own_name);
    }
    guest_unlock();
    return function ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

static uint32_t known_function(uint32_t module, const char *name)
{
    const struct function_object *function;
    uint32_t handle = 0;

    guest_lock();
    function = object_function(module, name);
    if (function)
        handle = function->head.handle;
    guest_unlock();
    return handle;
}

static CUresult fetch_function(const struct guest_thread *thread, uint32_t module, const char *name,
                               uint32_t *ret_handle)
{
    struct cuda_out_module_get_function out;
    struct cuda_args_module_get_function args = {
        .module = module,
        .name = name,
        .name_bytes = (uint32_t)strlen(name),
    };
    CUresult result;

    args.function = add_object(CUDA_KIND_FUNCTION, thread);
    if (!args.function)
        return CUDA_ERROR_OUT_OF_MEMORY;
    result = cuda_send_module_get_function(guest_sender(), &args, &out);
    if (result == CUDA_SUCCESS)
        result = keep_details(args.function, module, name, out.details, out.details_bytes);
    if (result == CUDA_SUCCESS)
        *ret_handle = args.function;
    else
        drop_object(CUDA_KIND_FUNCTION, args.function);
    return result;
}

/* A symbol's name as a record takes it. */
static CUresult check_name(const char *name)
{
    if (!name || !name[0])
        return CUDA_ERROR_INVALID_VALUE;
    return strnlen(name, NAME_MAX_BYTES + 1) <= NAME_MAX_BYTES ? CUDA_SUCCESS
                                                               : CUDA_ERROR_NOT_FOUND;
}

CUresult cuModuleGetFunction(CUfunction *hfunc, CUmodule hmod, const char *name)
{
    struct guest_thread *thread;
    uint32_t module, function;
    CUresult result = guest_enter_context(&thread);

    if (result != CUDA_SUCCESS)
        return result;
    if (!hfunc || !name)
        return CUDA_ERROR_INVALID_VALUE;
    result = lookup_module(hmod, &module);
    if (result == CUDA_SUCCESS)
        result = check_name(name);
    if (result != CUDA_SUCCESS)
        return result;
    function = known_function(module, name);
    if (!function)
        result = fetch_function(thread, module, name, &function);
    if (result == CUDA_SUCCESS)
        *hfunc = (CUfunction)(uintptr_t)function;
    return result;
}

/* The names from `first` on; UINT32_MAX: only how many there are. */
static CUresult ask_functions(uint32_t module, uint32_t first,
                              struct cuda_out_module_functions *out)
{
    return cuda_send_module_functions(
        guest_sender(), &(struct cuda_args_module_functions){.module = module, .first = first},
        out);
}

CUresult cuModuleGetFunctionCount(unsigned int *count, CUmodule mod)
{
    struct cuda_out_module_functions out;
    uint32_t module;
    CUresult result = guest_enter_context(NULL);

    if (result != CUDA_SUCCESS)
        return result;
    if (!count)
        return CUDA_ERROR_INVALID_VALUE;
    result = lookup_module(mod, &module);
    if (result == CUDA_SUCCESS)
        result = ask_functions(module, UINT32_MAX, &out);
    if (result == CUDA_SUCCESS)
        *count = out.count;
    return result;
}

/* Takes the names of one answer; *at counts on. */
static CUresult take_functions(const struct guest_thread *thread, uint32_t module,
                               const struct cuda_out_module_functions *out, CUfunction *functions,
                               uint32_t most, uint32_t *at)
{
    const char *name = (const char *)out->names;
    const char *end = name + out->names_bytes;
    CUresult result = CUDA_SUCCESS;

    while (name < end && *at < most && result == CUDA_SUCCESS) {
        size_t length = strnlen(name, (size_t)(end - name));
        uint32_t function;

        if (length == (size_t)(end - name))
            return CUDA_ERROR_UNKNOWN;
        result = check_name(name);
        if (result != CUDA_SUCCESS)
            break;
        function = known_function(module, name);
        if (!function)
            result = fetch_function(thread, module, name, &function);
        if (result == CUDA_SUCCESS)
            functions[(*at)++] = (CUfunction)(uintptr_t)function;
        name += length + 1;
    }
    return result;
}

CUresult cuModuleEnumerateFunctions(CUfunction *functions, unsigned int numFunctions, CUmodule mod)
{
    struct cuda_out_module_functions out;
    struct guest_thread *thread;
    uint32_t module, at = 0;
    CUresult result = guest_enter_context(&thread);

    if (result != CUDA_SUCCESS)
        return result;
    if (!functions || numFunctions == 0)
        return CUDA_ERROR_INVALID_VALUE;
    result = lookup_module(mod, &module);
    while (result == CUDA_SUCCESS && at < numFunctions) {
        uint32_t before = at;

        result = ask_functions(module, at, &out);
        if (result == CUDA_SUCCESS)
            result = take_functions(thread, module, &out, functions, numFunctions, &at);
        if (at == before)
            break;
    }
    return result;
}

static bool known_global(uint32_t handle, const char *name, uint64_t *address, uint64_t *bytes)
{
    const struct module_object *module;
    const struct module_global *global = NULL;

    guest_lock();
    module = object_at(CUDA_KIND_MODULE, handle);
    if (module)
        global = module->globals;
    while (global && strcmp(global->name, name) != 0)
        global = global->next;
    if (global) {
        *address = global->address;
        *bytes = global->bytes;
    }
    guest_unlock();
    return global != NULL;
}

static CUresult keep_global(uint32_t handle, const char *name, uint64_t address, uint64_t bytes)
{
    struct module_global *global = malloc(sizeof(*global) + strlen(name) + 1);
    struct module_object *module;
    bool kept = false;

    if (!global)
        return CUDA_ERROR_OUT_OF_MEMORY;
    /* A module cannot be elsewhere: where something of the program lies there, it stays so. */
    (void)unified_reserve(address, bytes);
    global->address = address;
    global->bytes = bytes;
    memcpy(global->name, name, strlen(name) + 1);
    guest_lock();
    module = object_at(CUDA_KIND_MODULE, handle);
    if (module && ranges_add(&guest.device, &(struct range){.start = address,
                                                            .bytes = bytes,
                                                            .what = RANGE_GLOBAL,
                                                            .context = module->head.context,
                                                            .module = handle,
                                                            .id = ++guest.last_id})) {
        global->next = module->globals;
        module->globals = global;
        kept = true;
    }
    guest_unlock();
    if (!kept)
        free(global);
    return kept ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult fetch_global(uint32_t module, const char *name, uint64_t *address, uint64_t *bytes)
{
    struct cuda_out_module_get_global out;
    CUresult result;

    result = cuda_send_module_get_global(
        guest_sender(),
        &(struct cuda_args_module_get_global){
            .module = module, .name = name, .name_bytes = (uint32_t)strlen(name)},
        &out);
    if (result == CUDA_SUCCESS)
        result = keep_global(module, name, out.address, out.bytes);
    *address = out.address;
    *bytes = out.bytes;
    return result;
}

CUresult cuModuleGetGlobal_v2(CUdeviceptr *dptr, size_t *bytes, CUmodule hmod, const char *name)
{
    uint32_t module;
    uint64_t address = 0, size = 0;
    CUresult result = guest_enter_context(NULL);

    if (result != CUDA_SUCCESS)
        return result;
    if (!name || (!dptr && !bytes))
        return CUDA_ERROR_INVALID_VALUE;
    result = lookup_module(hmod, &module);
    if (result == CUDA_SUCCESS)
        result = check_name(name);
    if (result == CUDA_SUCCESS && !known_global(module, name, &address, &size))
        result = fetch_global(module, name, &address, &size);
    if (result != CUDA_SUCCESS)
        return result;
    if (dptr)
        *dptr = address;
    if (bytes)
        *bytes = size;
    return CUDA_SUCCESS;
}
