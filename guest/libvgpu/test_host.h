/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of libvgpu share: a fake host with a connected, initialised library. */
#ifndef VGPU_LIBVGPU_TEST_HOST_H
#define VGPU_LIBVGPU_TEST_HOST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "cuda/cuda_api.h"
#include "guest/libvgpu/fake_host.h"
#include "guest/libvgpu/fake_relay.h"
#include "guest/libvgpu/vgpu.h"

#define assert_ok(call) assert_int_equal((call), CUDA_SUCCESS)

/*
 * Runs `both`, with the argument "mirrored" on channels that a device copies, with "window" on
 * those that lie in one's window, with "granted" on those by grants; without them `local` as well,
 * whose tests need memory that the worker shares, or a mediator to talk to.
 */
static inline int run_both(int argc, char **argv, const struct CMUnitTest *both, size_t n_both,
                           const struct CMUnitTest *local, size_t n_local)
{
    int failed;

    fake_mirrored = argc > 1 && strcmp(argv[1], "mirrored") == 0;
    fake_window = argc > 1 && strcmp(argv[1], "window") == 0;
    fake_granted = argc > 1 && strcmp(argv[1], "granted") == 0;
    failed = _cmocka_run_group_tests("both", both, n_both, NULL, NULL);
    if (!fake_mirrored && !fake_window && !fake_granted)
        failed += _cmocka_run_group_tests("local", local, n_local, NULL, NULL);
    return failed;
}

/* Starts the host, connects and initialises; a context is made if asked for. */
static inline void begin(struct fake_host *host, CUcontext *ret_context)
{
    fake_host_start(host);
    assert_int_equal(vgpu_connect(host->path, NULL, NULL), VGPU_OK);
    assert_ok(cuInit(0));
    if (ret_context)
        assert_ok(cuCtxCreate_v2(ret_context, 0, 0));
}

static inline void end(struct fake_host *host)
{
    vgpu_disconnect();
    fake_host_stop(host);
}

static inline CUfunction load_function(void)
{
    CUmodule module;
    CUfunction function;

    assert_ok(cuModuleLoadData(&module, ".version 7.0"));
    assert_ok(cuModuleGetFunction(&function, module, "kernel"));
    return function;
}

static inline CUresult launch(CUfunction function, unsigned grid, unsigned block)
{
    CUdeviceptr pointer = FAKE_DEVICE_BASE;
    int count = 7;
    void *params[] = {&pointer, &count};

    return cuLaunchKernel(function, grid, 1, 1, block, 1, 1, 0, NULL, params, NULL);
}

#endif
