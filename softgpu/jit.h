/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options of a compilation (cuModuleLoadDataEx, cuLink*): which were passed, and what is
 * written back through them.
 */
#ifndef SOFTGPU_JIT_H
#define SOFTGPU_JIT_H

#include "softgpu/image.h"

#define JIT_MAX_LOG_BYTES (1u << 20) /* more of a caller's buffer is left alone */

struct jit {
    char *info, *error; /* the caller's buffers, or NULL */
    size_t info_bytes, error_bytes;
    size_t error_used;
    void **info_size, **error_size, **wall_time; /* where results go, or NULL */
    uint64_t start_ns;
};

/* INVALID_VALUE for an option that does not exist. Logs are emptied. */
CUresult jit_begin(struct jit *jit, unsigned n, const CUjit_option *options, void **values);

/* Writes the time and the logs' sizes back. */
void jit_end(struct jit *jit);

/* Compiles the texts of an image. Puts what went wrong into the error log. */
CUresult jit_compile(struct jit *jit, const struct image *image, struct ptx_program **ret_program);

/* One line for the error log. */
void jit_complain(struct jit *jit, const char *text);

#endif
