/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/libvgpu/jit.h"

#include <string.h>

#include "cuda/exports.h"

static uint32_t buffer_bytes(const void *value)
{
    uintptr_t bytes = (uintptr_t)value;

    return bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)bytes;
}

/* True if the option is one of the logs or outputs, which are not sent. */
static bool take_log(struct jit_logs *logs, CUjit_option option, void **value)
{
    switch (option) {
    case CU_JIT_WALL_TIME:
        logs->wall_time_value = value;
        return true;
    case CU_JIT_INFO_LOG_BUFFER:
        logs->info = *value;
        return true;
    case CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES:
        logs->info_bytes = buffer_bytes(*value);
        logs->info_size_value = value;
        return true;
    case CU_JIT_ERROR_LOG_BUFFER:
        logs->error = *value;
        return true;
    case CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES:
        logs->error_bytes = buffer_bytes(*value);
        logs->error_size_value = value;
        return true;
    default:
        return false;
    }
}

/* Their values are the program's addresses, which mean nothing on the host. */
static bool has_pointer(CUjit_option option)
{
    return option == CU_JIT_GLOBAL_SYMBOL_NAMES || option == CU_JIT_GLOBAL_SYMBOL_ADDRESSES ||
           option == CU_JIT_GLOBAL_SYMBOL_COUNT || option == CU_JIT_REFERENCED_KERNEL_NAMES ||
           option == CU_JIT_REFERENCED_KERNEL_COUNT || option == CU_JIT_REFERENCED_VARIABLE_NAMES ||
           option == CU_JIT_REFERENCED_VARIABLE_COUNT;
}

CUresult jit_request_init(struct jit_request *request, unsigned int count, CUjit_option *options,
                          void **values)
{
    memset(request, 0, sizeof(*request));
    if (count > VGPU_JIT_MAX_OPTIONS || (count > 0 && (!options || !values)))
        return CUDA_ERROR_INVALID_VALUE;
    for (unsigned int i = 0; i < count; i++) {
        if ((unsigned)options[i] > CU_JIT_SPLIT_COMPILE)
            return CUDA_ERROR_INVALID_VALUE;
        if (has_pointer(options[i]))
            return cuda_unsupported("a JIT option that passes symbols");
        if (take_log(&request->logs, options[i], &values[i]))
            continue;
        request->options[request->count++] = (struct cuda_jit_option){
            .option = (uint32_t)options[i],
            .value = (uint64_t)(uintptr_t)values[i],
        };
    }
    return CUDA_SUCCESS;
}

static uint32_t log_bytes(const char *log, uint32_t bytes)
{
    if (!log)
        return 0;
    return bytes < JIT_LOG_MAX_BYTES ? bytes : JIT_LOG_MAX_BYTES;
}

uint32_t jit_info_bytes(const struct jit_logs *logs)
{
    return log_bytes(logs->info, logs->info_bytes);
}

uint32_t jit_error_bytes(const struct jit_logs *logs)
{
    return log_bytes(logs->error, logs->error_bytes);
}

static void put_log(char *target, uint32_t room, const uint8_t *log, uint32_t bytes,
                    void **size_value)
{
    uint32_t used = 0;

    if (target && room > 0) {
        used = bytes < room ? bytes : room - 1;
        memcpy(target, log, used);
        used = (uint32_t)strnlen(target, used);
        target[used] = '\0';
    }
    if (size_value)
        *size_value = (void *)(uintptr_t)used;
}

void jit_return(const struct jit_logs *logs, const uint8_t *info, uint32_t info_bytes,
                const uint8_t *error, uint32_t error_bytes, float wall_time_ms)
{
    put_log(logs->info, logs->info_bytes, info, info_bytes, logs->info_size_value);
    put_log(logs->error, logs->error_bytes, error, error_bytes, logs->error_size_value);
    if (logs->wall_time_value)
        memcpy(logs->wall_time_value, &wall_time_ms, sizeof(wall_time_ms));
}
