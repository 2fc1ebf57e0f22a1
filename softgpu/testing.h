/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What softgpu's tests share. Each test program takes the path of a driver as its argument and
 * calls it through the table of function pointers: the same programs run on NVIDIA's driver, to
 * show that both answer alike. What is softgpu's alone is skipped there.
 */
#ifndef SOFTGPU_TESTING_H
#define SOFTGPU_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cuda/cuda_driver.h"

static struct cuda_driver cu;
static CUcontext testing_context;

#define assert_ok(call) assert_int_equal((call), CUDA_SUCCESS)

/* Loads the driver; ends the program if that fails. */
static inline void testing_load(int argc, char **argv)
{
    struct vgpu_err err = {0};

    if (argc < 2 || cuda_driver_load(&cu, argv[1], &err) < 0) {
        fprintf(stderr, "usage: %s DRIVER (%s)\n", argv[0], err.text);
        exit(2);
    }
}

/* cmocka's setup and teardown: a context of its own for each test. */
static inline int testing_open(void **state)
{
    (void)state;
    return cu.cuInit(0) || cu.cuCtxCreate_v2(&testing_context, 0, 0);
}

static inline int testing_close(void **state)
{
    CUcontext rest;

    (void)state;
    cu.cuCtxDestroy(testing_context);
    while (cu.cuCtxPopCurrent(&rest) == CUDA_SUCCESS)
        ;
    return 0;
}

/* Skips a test of what is softgpu's alone. */
static inline void testing_softgpu_only(void)
{
    char name[64] = "";

    cu.cuDeviceGetName(name, sizeof(name), 0);
    if (strcmp(name, "softgpu") != 0)
        skip();
}

/* Kernels of the tests: store(u32 *p, u32 v); noarg(); shared() has 1024 static bytes. */
static const char testing_ptx[] =
    ".version 7.5\n.target sm_75\n.address_size 64\n"
    ".visible .global .align 4 .u32 table[3] = {1, 2, 3};\n"
    ".visible .const .align 4 .u32 constant = 7;\n"
    ".visible .entry noarg() { ret; }\n"
    ".visible .entry store(.param .u64 p, .param .u32 v)\n{\n"
    "    .reg .b64 %rd<3>;\n    .reg .b32 %r<3>;\n"
    "    ld.param.u64 %rd1, [p];\n    ld.param.u32 %r1, [v];\n"
    "    cvta.to.global.u64 %rd2, %rd1;\n    st.global.u32 [%rd2], %r1;\n    ret;\n}\n"
    ".visible .entry increment(.param .u64 p)\n{\n"
    "    .reg .b64 %rd<3>;\n    .reg .b32 %r<5>;\n"
    "    ld.param.u64 %rd1, [p];\n    cvta.to.global.u64 %rd2, %rd1;\n"
    "    atom.global.add.u32 %r1, [%rd2], 1;\n    ret;\n}\n"
    ".visible .entry read_table(.param .u64 p, .param .u32 i)\n{\n"
    "    .reg .b64 %rd<6>;\n    .reg .b32 %r<5>;\n"
    "    ld.param.u64 %rd1, [p];\n    cvta.to.global.u64 %rd2, %rd1;\n"
    "    ld.param.u32 %r1, [i];\n    mul.wide.u32 %rd3, %r1, 4;\n"
    "    mov.u64 %rd4, table;\n    add.s64 %rd5, %rd4, %rd3;\n"
    "    ld.global.u32 %r2, [%rd5];\n    ld.const.u32 %r3, [constant];\n"
    "    add.u32 %r4, %r2, %r3;\n    st.global.u32 [%rd2], %r4;\n    ret;\n}\n"
    ".visible .entry bounded() .maxntid 64, 1, 1 { ret; }\n"
    ".visible .entry required() .reqntid 64, 1, 1 { ret; }\n"
    ".visible .entry trapping() { trap; ret; }\n"
    ".visible .entry shared()\n{\n    .shared .align 4 .b8 s[1024];\n    .reg .b32 %r;\n"
    "    ld.shared.u32 %r, [s];\n    st.shared.u32 [s+4], %r;\n    ret;\n}\n";

#define TESTING_SHARED_BYTES 1024

static inline CUmodule testing_module(void)
{
    CUmodule module;

    assert_ok(cu.cuModuleLoadData(&module, testing_ptx));
    return module;
}

static inline CUfunction testing_function(const char *name)
{
    CUfunction function;

    assert_ok(cu.cuModuleGetFunction(&function, testing_module(), name));
    return function;
}

static inline CUdeviceptr testing_alloc(size_t bytes)
{
    CUdeviceptr p;

    assert_ok(cu.cuMemAlloc(&p, bytes));
    return p;
}

#endif
