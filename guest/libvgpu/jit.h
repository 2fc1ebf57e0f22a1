/* SPDX-License-Identifier: Apache-2.0 */
/* JIT options as the program passes them: into the record's form, and the logs back out. */
#ifndef VGPU_LIBVGPU_JIT_H
#define VGPU_LIBVGPU_JIT_H

#include "guest/libvgpu/objects.h"

#define JIT_LOG_MAX_BYTES 4096u /* as cuda.spec bounds an answer's log */

struct jit_request {
    struct cuda_jit_option options[VGPU_JIT_MAX_OPTIONS];
    uint32_t count;
    struct jit_logs logs;
};

/* CUDA_ERROR_INVALID_VALUE for options that cannot be, NOT_SUPPORTED for those not carried. */
CUresult jit_request_init(struct jit_request *request, unsigned int count, CUjit_option *options,
                          void **values);

/* How much of each log to ask for. */
uint32_t jit_info_bytes(const struct jit_logs *logs);
uint32_t jit_error_bytes(const struct jit_logs *logs);

/* Writes the logs to the program's buffers, with a NUL, and their sizes and the time back. */
void jit_return(const struct jit_logs *logs, const uint8_t *info, uint32_t info_bytes,
                const uint8_t *error, uint32_t error_bytes, float wall_time_ms);

#endif
