/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A loaded module: a compiled program, its variables in device memory, and the functions that were
 * asked for. Functions need gpu.lock.
 */
#ifndef SOFTGPU_MODULE_H
#define SOFTGPU_MODULE_H

#include "softgpu/gpu.h"
#include "softgpu/ptx/ptx.h"

struct module;

struct function {
    CUfunction handle;
    struct function *next; /* in its module's list */
    struct module *module;
    const struct ptx_function *ptx;
    struct ptx_function_info info;
    uint32_t max_dynamic_shared; /* bytes; grows by cuFuncSetAttribute */
    int carveout;
};

struct module {
    CUmodule handle;
    struct module *next;     /* in its context's list */
    struct context *context; /* not a reference: the module ends with it */
    struct ptx_program *program;
    uint64_t *variables; /* device address of each */
    struct function *functions;
};

/* Ends all modules of a context, which is idle. */
void module_end_all(struct context *context);

/* The function of a handle; INVALID_HANDLE, or its context's sticky error. */
CUresult function_get(CUfunction handle, struct function **ret_function);

/*
 * For launches and occupancy: a kernel of a library too, as the function that it stands for in the
 * current context. To find that, the lock may be released.
 */
CUresult function_get_launched(CUfunction handle, struct function **ret_function);

/* Bytes of dynamic shared memory that a launch may have without more being allowed. */
uint32_t function_default_dynamic(const struct ptx_function_info *info);

#endif
