/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JIT options for the driver: only those of a safe list, with plain bounded values; logs go to
 * buffers of the worker's own, and no pointer of the guest's is among them.
 */
#ifndef VGPU_WORKER_JIT_H
#define VGPU_WORKER_JIT_H

#include <stddef.h>
#include <stdint.h>

#include "cuda/cuda_abi.h"

#define JIT_MAX_OPTIONS 72

struct jit {
    unsigned int count;
    CUjit_option options[JIT_MAX_OPTIONS];
    void *values[JIT_MAX_OPTIONS];
    unsigned int wall_time, info_bytes, error_bytes; /* indices of what the driver writes */
};

/* options: struct cuda_jit_option each. Buffers of 0 bytes are left out. */
CUresult jit_init(struct jit *jit, const void *options, size_t options_bytes, char *info_log,
                  uint32_t info_bytes, char *error_log, uint32_t error_bytes);

float jit_wall_time(const struct jit *jit);

/* Bytes of text that the driver left in a log, without the NUL. */
uint32_t jit_log_bytes(const char *log, uint32_t room);

#endif
