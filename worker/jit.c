/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/jit.h"

#include <string.h>
#include <vgpu/cuda.h>

/* Options with a plain value, and the largest that is let through. */
static const struct {
    CUjit_option option;
    uint32_t most;
} allowed[] = {
    {CU_JIT_MAX_REGISTERS, 255},
    {CU_JIT_THREADS_PER_BLOCK, 1024},
    {CU_JIT_OPTIMIZATION_LEVEL, 4},
    {CU_JIT_TARGET_FROM_CUCONTEXT, 1},
    {CU_JIT_TARGET, 0x20000 + 255}, /* architecture-specific targets have a bit of their own */
    {CU_JIT_FALLBACK_STRATEGY, 1},
    {CU_JIT_GENERATE_DEBUG_INFO, 1},
    {CU_JIT_LOG_VERBOSE, 1},
    {CU_JIT_GENERATE_LINE_INFO, 1},
    {CU_JIT_CACHE_MODE, 2},
    {CU_JIT_LTO, 1},
    {CU_JIT_FTZ, 1},
    {CU_JIT_PREC_DIV, 1},
    {CU_JIT_PREC_SQRT, 1},
    {CU_JIT_FMA, 1},
    {CU_JIT_POSITION_INDEPENDENT_CODE, 1},
    {CU_JIT_MIN_CTA_PER_SM, 64},
    {CU_JIT_MAX_THREADS_PER_BLOCK, 1024},
    {CU_JIT_OVERRIDE_DIRECTIVE_VALUES, 1},
};

static unsigned int put(struct jit *jit, CUjit_option option, void *value)
{
    jit->options[jit->count] = option;
    jit->values[jit->count] = value;
    return jit->count++;
}

static CUresult put_plain(struct jit *jit, const struct cuda_jit_option *option)
{
    /* The worker asks for the time in any case. */
    if (option->option == CU_JIT_WALL_TIME && !option->reserved)
        return CUDA_SUCCESS;
    for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
        if (allowed[i].option != (CUjit_option)option->option)
            continue;
        if (option->value > allowed[i].most || option->reserved)
            return CUDA_ERROR_INVALID_VALUE;
        put(jit, allowed[i].option, (void *)(uintptr_t)option->value);
        return CUDA_SUCCESS;
    }
    return CUDA_ERROR_INVALID_VALUE;
}

CUresult jit_init(struct jit *jit, const void *options, size_t options_bytes, char *info_log,
                  uint32_t info_bytes, char *error_log, uint32_t error_bytes)
{
    size_t count = options_bytes / sizeof(struct cuda_jit_option);

    jit->count = 0;
    if (options_bytes % sizeof(struct cuda_jit_option) || count > VGPU_JIT_MAX_OPTIONS)
        return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < count; i++) {
        struct cuda_jit_option option;
        CUresult result;

        memcpy(&option, (const char *)options + i * sizeof(option), sizeof(option));
        result = put_plain(jit, &option);
        if (result != CUDA_SUCCESS)
            return result;
    }
    jit->wall_time = put(jit, CU_JIT_WALL_TIME, NULL);
    if (info_bytes > 0) {
        info_log[0] = 0;
        put(jit, CU_JIT_INFO_LOG_BUFFER, info_log);
        jit->info_bytes =
            put(jit, CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES, (void *)(uintptr_t)info_bytes);
    }
    if (error_bytes > 0) {
        error_log[0] = 0;
        put(jit, CU_JIT_ERROR_LOG_BUFFER, error_log);
        jit->error_bytes =
            put(jit, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES, (void *)(uintptr_t)error_bytes);
    }
    return CUDA_SUCCESS;
}

float jit_wall_time(const struct jit *jit)
{
    float milliseconds;

    /* The driver writes a float to where the value's pointer is. */
    memcpy(&milliseconds, &jit->values[jit->wall_time], sizeof(milliseconds));
    return milliseconds;
}

uint32_t jit_log_bytes(const char *log, uint32_t room)
{
    return (uint32_t)strnlen(log, room);
}
