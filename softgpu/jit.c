/* SPDX-License-Identifier: Apache-2.0 */
/* Options and logs of a compilation; see jit.h. */
#include "softgpu/jit.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "softgpu/gpu.h"

#define NS_PER_MS   1e6
#define LOCAL_LOG   4096
#define JIT_OPTIONS (CU_JIT_SPLIT_COMPILE + 1)

static size_t log_size(void *value)
{
    unsigned size = (unsigned)(uintptr_t)value;

    return size < JIT_MAX_LOG_BYTES ? size : JIT_MAX_LOG_BYTES;
}

CUresult jit_begin(struct jit *jit, unsigned n, const CUjit_option *options, void **values)
{
    *jit = (struct jit){.start_ns = vgpu_clock_ns()};
    if (n > 0 && (!options || !values))
        return CUDA_ERROR_INVALID_VALUE;
    for (unsigned i = 0; i < n; i++) {
        if ((unsigned)options[i] >= JIT_OPTIONS)
            return CUDA_ERROR_INVALID_VALUE;
        switch (options[i]) {
        case CU_JIT_WALL_TIME:
            jit->wall_time = &values[i];
            break;
        case CU_JIT_INFO_LOG_BUFFER:
            jit->info = values[i];
            break;
        case CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES:
            jit->info_bytes = log_size(values[i]);
            jit->info_size = &values[i];
            break;
        case CU_JIT_ERROR_LOG_BUFFER:
            jit->error = values[i];
            break;
        case CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES:
            jit->error_bytes = log_size(values[i]);
            jit->error_size = &values[i];
            break;
        default: /* how to generate code: there is one way only */
            break;
        }
    }
    if (jit->info && jit->info_bytes > 0)
        jit->info[0] = '\0';
    if (jit->error && jit->error_bytes > 0)
        jit->error[0] = '\0';
    return CUDA_SUCCESS;
}

void jit_end(struct jit *jit)
{
    float milliseconds = (float)((double)(vgpu_clock_ns() - jit->start_ns) / NS_PER_MS);
    uint32_t bits;

    if (jit->wall_time) {
        memcpy(&bits, &milliseconds, sizeof(bits));
        *jit->wall_time = (void *)(uintptr_t)bits;
    }
    if (jit->info_size)
        *jit->info_size = (void *)(uintptr_t)0;
    if (jit->error_size)
        *jit->error_size = (void *)(uintptr_t)jit->error_used;
}

static void append(struct jit *jit, const char *text, size_t length)
{
    size_t room;

    if (gpu.verbose)
        fprintf(stderr, "softgpu: %.*s", (int)length, text);
    if (!jit->error || jit->error_bytes <= jit->error_used + 1)
        return;
    room = jit->error_bytes - jit->error_used - 1;
    if (length > room)
        length = room;
    memcpy(jit->error + jit->error_used, text, length);
    jit->error_used += length;
    jit->error[jit->error_used] = '\0';
}

void jit_complain(struct jit *jit, const char *text)
{
    char line[256];
    int n = snprintf(line, sizeof(line), "%s\n", text);

    append(jit, line, n < (int)sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

/* What a program sees for a status of the engine. */
static CUresult jit_result(enum ptx_status status)
{
    switch (status) {
    case PTX_OK:
        return CUDA_SUCCESS;
    case PTX_SYNTAX:
    case PTX_UNSUPPORTED:
    case PTX_LINK:
    case PTX_TOO_LARGE:
        return CUDA_ERROR_INVALID_PTX;
    case PTX_NO_MEMORY:
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    return CUDA_ERROR_UNKNOWN;
}

CUresult jit_compile(struct jit *jit, const struct image *image, struct ptx_program **ret_program)
{
    char text[LOCAL_LOG];
    struct ptx_log log = {.text = text, .size_bytes = sizeof(text)};
    enum ptx_status status = ptx_program_new(image->sources, image->n_sources, &log, ret_program);

    if (status == PTX_OK)
        return CUDA_SUCCESS;
    if (log.used_bytes > 0)
        append(jit, text, log.used_bytes);
    else
        jit_complain(jit, ptx_status_text(status));
    return jit_result(status);
}
