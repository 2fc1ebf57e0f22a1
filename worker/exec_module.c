/* SPDX-License-Identifier: Apache-2.0 */
/* Executions: modules and functions. */
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "worker/blob.h"
#include "worker/channel.h"
#include "worker/exec.h"
#include "worker/image.h"
#include "worker/jit.h"

CUresult prepare_module_load(struct channel *channel, struct item *item)
{
    const struct cuda_in_module_load *in = &item->in.module_load;
    enum image_kind kind = image_check(in->image, in->image_bytes);
    CUresult result;
    uint64_t bytes;

    if (kind == IMAGE_BAD)
        return CUDA_ERROR_INVALID_IMAGE;
    bytes = image_device_bytes(in->image, in->image_bytes, kind);
    result = quota_want(channel, item, bytes);
    if (result != CUDA_SUCCESS)
        return result;
    if (handle_put(channel->handles, in->module_handle, NULL) < 0)
        return CUDA_ERROR_OUT_OF_MEMORY;
    item->may_print = image_may_print(in->image, in->image_bytes, kind);
    item->made_bytes = bytes;
    quota_charge(channel, CHARGE_MODULE, bytes);
    return CUDA_SUCCESS;
}

CUresult exec_module_load(struct channel *channel, const struct cuda_call *call,
                          const struct cuda_in_module_load *in, struct cuda_out_module_load *out)
{
    CUmodule cu = NULL;
    struct jit jit;
    CUresult result = jit_init(&jit, in->options, in->options_bytes, (char *)out->info_log,
                               in->info_log_bytes, (char *)out->error_log, in->error_log_bytes);

    if (result != CUDA_SUCCESS)
        return result;
    result = channel->cu->cuModuleLoadDataEx(&cu, in->image, jit.count, jit.options, jit.values);
    out->wall_time_ms = jit_wall_time(&jit);
    out->info_log_bytes = jit_log_bytes((const char *)out->info_log, in->info_log_bytes);
    out->error_log_bytes = jit_log_bytes((const char *)out->error_log, in->error_log_bytes);
    item_of(call)->made = cu;
    return result;
}

void settle_module_load(struct channel *channel, struct item *item)
{
    uint32_t handle = item->in.module_load.module_handle;
    struct module *module;

    handle_drop(channel->handles, handle);
    if (item->result != CUDA_SUCCESS) {
        quota_uncharge(channel, CHARGE_MODULE, item->made_bytes);
        return;
    }
    module = calloc(1, sizeof(*module));
    if (!module || handle_put(channel->handles, handle, module) < 0) {
        free(module);
        item->result = CUDA_ERROR_OUT_OF_MEMORY; /* the driver keeps it until the context ends */
        return;
    }
    module->cu = item->made;
    module->handle = handle;
    module->context = item->context;
    module->charged_bytes = item->made_bytes;
    if (item->may_print && !item->context->may_print) {
        item->context->may_print = true;
        snapshot_tell_unheard(channel);
    }
}

/* Its functions and globals are dead at once; the objects stay until the driver has unloaded. */
CUresult prepare_module_unload(struct channel *channel, struct item *item)
{
    struct module *module = item->module;

    item->context = module->context;
    quota_lose(channel, module);
    for (struct function *function = module->functions; function; function = function->next) {
        handle_drop(channel->handles, function->handle);
        hold_lose(channel, function, CUDA_ERROR_INVALID_HANDLE);
    }
    ledger_remove_owner(&channel->ledger, module);
    return CUDA_SUCCESS;
}

CUresult exec_module_unload(struct channel *channel, const struct cuda_call *call,
                            const struct cuda_in_module_unload *in)
{
    return channel->cu->cuModuleUnload(in->module);
}

void settle_module_unload(struct channel *channel, struct item *item)
{
    quota_uncharge(channel, CHARGE_MODULE, item->module->charged_bytes);
    while (item->module->functions) {
        struct function *function = item->module->functions;

        item->module->functions = function->next;
        free(function);
    }
    free(item->module);
    item->module = NULL;
}

static void read_function(const struct cuda_driver *cu, CUfunction function,
                          struct cuda_function_info *info)
{
    for (int i = 0; i < VGPU_FUNCTION_ATTRIBUTES; i++)
        if (cu->cuFuncGetAttribute(&info->attributes[i], (CUfunction_attribute)i, function) !=
            CUDA_SUCCESS)
            info->attributes[i] = VGPU_ATTRIBUTE_UNKNOWN;
}

/* The parameters as the driver tells them; unknown if it cannot. Returns bytes of the answer. */
static uint32_t read_parameters(const struct cuda_driver *cu, CUfunction function,
                                struct cuda_function_info *info, uint32_t room)
{
    struct cuda_param_info *params = (struct cuda_param_info *)(void *)(info + 1);
    uint32_t most = (room - (uint32_t)sizeof(*info)) / (uint32_t)sizeof(*params);
    CUresult result = CUDA_SUCCESS;
    uint32_t count = 0;
    size_t end = 0;

    for (; count <= most; count++) {
        size_t offset = 0;
        size_t size = 0;

        result = cu->cuFuncGetParamInfo(function, count, &offset, &size);
        if (result != CUDA_SUCCESS || count == most || offset > VGPU_LAUNCH_PARAM_BYTES ||
            size > VGPU_LAUNCH_PARAM_BYTES - offset)
            break;
        params[count] = (struct cuda_param_info){(uint32_t)offset, (uint32_t)size};
        if (offset + size > end)
            end = offset + size;
    }
    /* The end of the list is INVALID_VALUE; anything else means that the driver does not know. */
    if (result != CUDA_ERROR_INVALID_VALUE)
        return sizeof(*info);
    info->params_known = 1;
    info->param_count = count;
    info->param_bytes = (uint32_t)end;
    return (uint32_t)(sizeof(*info) + count * sizeof(*params));
}

/* The driver makes room for what a function spills, for all threads at once, when it runs. */
static CUresult grow_local(struct channel *channel, struct item *item, CUfunction cu)
{
    struct context *context = item->module->context;
    uint64_t growth;
    CUresult result;
    int bytes = 0;

    if (channel->cu->cuFuncGetAttribute(&bytes, CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES, cu) !=
            CUDA_SUCCESS ||
        bytes <= 0)
        return CUDA_SUCCESS;
    growth = quota_local_growth(channel, context, (uint64_t)bytes);
    if (growth == 0)
        return CUDA_SUCCESS;
    result = quota_want(channel, item, growth);
    if (result != CUDA_SUCCESS)
        return result;
    context->local_bytes = (uint64_t)bytes;
    context->grown_bytes += growth;
    quota_charge(channel, CHARGE_CONTEXT, growth);
    return CUDA_SUCCESS;
}

CUresult exec_module_get_function(struct channel *channel, const struct cuda_call *call,
                                  const struct cuda_in_module_get_function *in,
                                  struct cuda_out_module_get_function *out)
{
    struct cuda_function_info *info = (struct cuda_function_info *)(void *)out->details;
    struct module *module = item_of(call)->module;
    struct function *function;
    CUfunction cu;
    CUresult result = channel->cu->cuModuleGetFunction(&cu, in->module, in->name);

    if (result != CUDA_SUCCESS)
        return result;
    result = grow_local(channel, item_of(call), cu);
    if (result != CUDA_SUCCESS)
        return result;
    function = calloc(1, sizeof(*function));
    if (!function || handle_put(channel->handles, in->function_handle, function) < 0) {
        free(function);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    read_function(channel->cu, cu, info);
    out->details_bytes = read_parameters(channel->cu, cu, info, sizeof(out->details));
    *function = (struct function){.cu = cu,
                                  .handle = in->function_handle,
                                  .module = module,
                                  .next = module->functions,
                                  .param_bytes = info->param_bytes,
                                  .params_known = info->params_known};
    module->functions = function;
    return CUDA_SUCCESS;
}

#define FUNCTION_NAME_MAX 1024u /* as module_get_function takes it */

/* Names from number `first` on, as many as fit. */
static CUresult write_names(const struct cuda_driver *cu, const CUfunction *functions,
                            unsigned count, unsigned first, struct cuda_out_module_functions *out)
{
    for (unsigned i = first; i < count; i++) {
        const char *name;
        CUresult result = cu->cuFuncGetName(&name, functions[i]);
        size_t bytes;

        if (result != CUDA_SUCCESS)
            return result;
        bytes = strlen(name) + 1;
        if (bytes > FUNCTION_NAME_MAX + 1)
            return CUDA_ERROR_NOT_SUPPORTED;
        if (bytes > sizeof(out->names) - out->names_bytes)
            break;
        memcpy(out->names + out->names_bytes, name, bytes);
        out->names_bytes += (uint32_t)bytes;
    }
    return CUDA_SUCCESS;
}

CUresult exec_module_functions(struct channel *channel, const struct cuda_call *call,
                               const struct cuda_in_module_functions *in,
                               struct cuda_out_module_functions *out)
{
    _cleanup_free_ CUfunction *functions = NULL;
    unsigned count = 0;
    CUresult result = channel->cu->cuModuleGetFunctionCount(&count, in->module);

    if (result != CUDA_SUCCESS)
        return result;
    if (count > CUDA_MAX_FUNCTIONS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    out->count = count;
    out->names_bytes = 0;
    if (in->first >= count)
        return CUDA_SUCCESS;
    functions = calloc(count, sizeof(*functions));
    if (!functions)
        return CUDA_ERROR_OUT_OF_MEMORY;
    result = channel->cu->cuModuleEnumerateFunctions(functions, count, in->module);
    if (result != CUDA_SUCCESS)
        return result;
    return write_names(channel->cu, functions, count, in->first, out);
}

CUresult exec_module_get_global(struct channel *channel, const struct cuda_call *call,
                                const struct cuda_in_module_get_global *in,
                                struct cuda_out_module_get_global *out)
{
    struct ledger_range range = {.kind = RANGE_GLOBAL, .owner = item_of(call)->module};
    CUdeviceptr address = 0;
    size_t bytes = 0;
    CUresult result = channel->cu->cuModuleGetGlobal(&address, &bytes, in->module, in->name);
    int status;

    if (result != CUDA_SUCCESS)
        return result;
    range.address = address;
    range.bytes = bytes;
    /* Asked for twice: it is there already. */
    status = ledger_add(&channel->ledger, &range);
    if (status < 0 && !ledger_find(&channel->ledger, address, bytes))
        return CUDA_ERROR_OUT_OF_MEMORY;
    out->address = address;
    out->bytes = bytes;
    return CUDA_SUCCESS;
}

CUresult exec_function_set_attribute(struct channel *channel, const struct cuda_call *call,
                                     const struct cuda_in_function_set_attribute *in,
                                     struct cuda_out_function_set_attribute *out)
{
    struct cuda_function_info *info = (struct cuda_function_info *)(void *)out->details;
    const struct function *function = item_of(call)->function;
    CUresult result = channel->cu->cuFuncSetAttribute(
        in->function, (CUfunction_attribute)in->attribute, in->value);

    if (result != CUDA_SUCCESS)
        return result;
    read_function(channel->cu, in->function, info);
    info->param_bytes = function->param_bytes;
    info->params_known = function->params_known;
    out->details_bytes = sizeof(*info);
    return CUDA_SUCCESS;
}
