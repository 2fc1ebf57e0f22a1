/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each function that libvgpu-fault.so exports does before and after it calls the real driver's
 * function of the same name. The functions are made from cuda.spec (cuda/gen_fault.py); layer.c
 * reads the plan when the library is loaded.
 */
#ifndef VGPU_FAULT_LAYER_H
#define VGPU_FAULT_LAYER_H

#include <stdbool.h>
#include <stddef.h>

#include "cuda/cuda_abi.h"
#include "cuda/driver_load.h"

struct fault_call {
    unsigned number; /* index in fault_call_names and fault_real */
    bool has_stream; /* it submits to `stream` */
    bool per_thread; /* its default stream is the thread's own */
    CUstream stream;
    int corrupting; /* by fault_before: the rule that fault_after applies, or -1 */
};

/* The real driver's functions, and those of this library; in the order of fault_call_names. */
extern void *fault_real[];
extern void *const fault_own[];
extern const struct cuda_symbol fault_symbols[];

/*
 * True if the real driver is not called: *ret_result is the answer. May take its time, not return,
 * or end the process.
 */
bool fault_before(struct fault_call *call, CUresult *ret_result);

/* Changes what the call has written, if a rule says so. arguments: in fault_call_names' order. */
void fault_after(const struct fault_call *call, CUresult result, void *const *arguments);

/* For cuGetProcAddress: in place of a function of the real driver, the one of this library. */
void fault_wrap(void **function);

#endif
