/* SPDX-License-Identifier: Apache-2.0 */
/* The old launch calls on top of a driver of two functions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "cuda/cuda_api.h"
#include "cuda/legacy_launch.h"

#define FIRST  ((CUfunction)0x10)
#define SECOND ((CUfunction)0x110) /* of the same bucket */
#define STREAM ((CUstream)0x40)

/* What the driver was given last. */
static struct {
    CUfunction function;
    unsigned grid[3], block[3], shared_bytes;
    CUstream stream;
    uint8_t params[LEGACY_PARAM_BYTES];
    size_t param_bytes;
    bool has_params;
} launched;

static unsigned launches;
static int ends_after; /* checks of a function until it has ended; negative: never */

CUresult cuFuncGetModule(CUmodule *module, CUfunction function)
{
    if (function != FIRST && function != SECOND)
        return CUDA_ERROR_INVALID_HANDLE;
    if (ends_after == 0) {
        legacy_launch_forget(function);
        return CUDA_ERROR_INVALID_HANDLE;
    }
    if (ends_after > 0)
        ends_after--;
    *module = (CUmodule)0x50;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice *device)
{
    *device = 0;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device)
{
    (void)device;
    *value = attribute == CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z ? 64 : 1024;
    return CUDA_SUCCESS;
}

CUresult cuLaunchKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY,
                        unsigned int gridDimZ, unsigned int blockDimX, unsigned int blockDimY,
                        unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream,
                        void **kernelParams, void **extra)
{
    assert_null(kernelParams);
    memset(&launched, 0, sizeof(launched));
    launched.function = f;
    memcpy(launched.grid, (unsigned[]){gridDimX, gridDimY, gridDimZ}, sizeof(launched.grid));
    memcpy(launched.block, (unsigned[]){blockDimX, blockDimY, blockDimZ}, sizeof(launched.block));
    launched.shared_bytes = sharedMemBytes;
    launched.stream = hStream;
    launched.has_params = extra != NULL;
    if (extra) {
        assert_ptr_equal(extra[0], CU_LAUNCH_PARAM_BUFFER_POINTER);
        assert_ptr_equal(extra[2], CU_LAUNCH_PARAM_BUFFER_SIZE);
        assert_ptr_equal(extra[4], CU_LAUNCH_PARAM_END);
        launched.param_bytes = *(const size_t *)extra[3];
        memcpy(launched.params, extra[1], launched.param_bytes);
    }
    launches++;
    return CUDA_SUCCESS;
}

#define assert_ok(call)      assert_int_equal((call), CUDA_SUCCESS)
#define assert_invalid(call) assert_int_equal((call), CUDA_ERROR_INVALID_VALUE)
#define assert_gone(call)    assert_int_equal((call), CUDA_ERROR_INVALID_HANDLE)

static int fresh(void **state)
{
    (void)state;
    ends_after = -1;
    legacy_launch_forget(FIRST);
    legacy_launch_forget(SECOND);
    launches = 0;
    return 0;
}

static void test_legacy_launch_gives_what_was_set(void **state)
{
    const float number = 1.5f;
    uint64_t pointer = 0x123456789abcdef0;

    (void)state;
    assert_ok(cuFuncSetBlockShape(FIRST, 8, 4, 2));
    assert_ok(cuFuncSetSharedSize(FIRST, 100));
    assert_ok(cuParamSetv(FIRST, 0, &pointer, sizeof(pointer)));
    assert_ok(cuParamSeti(FIRST, 8, 7));
    assert_ok(cuParamSetf(FIRST, 12, number));
    assert_ok(cuParamSetSize(FIRST, 16));
    assert_ok(cuLaunchGridAsync(FIRST, 3, 5, STREAM));
    assert_ptr_equal(launched.function, FIRST);
    assert_memory_equal(launched.grid, ((unsigned[]){3, 5, 1}), sizeof(launched.grid));
    assert_memory_equal(launched.block, ((unsigned[]){8, 4, 2}), sizeof(launched.block));
    assert_int_equal(launched.shared_bytes, 100);
    assert_ptr_equal(launched.stream, STREAM);
    assert_int_equal(launched.param_bytes, 16);
    assert_memory_equal(launched.params, &pointer, 8);
    assert_int_equal(launched.params[8], 7);
    assert_memory_equal(launched.params + 12, &number, 4);
}

static void test_legacy_launch_keeps_its_state(void **state)
{
    (void)state;
    assert_ok(cuFuncSetBlockShape(FIRST, 8, 1, 1));
    assert_ok(cuLaunchGrid(FIRST, 2, 3));
    assert_ok(cuLaunch(FIRST));
    assert_int_equal(launches, 2);
    assert_memory_equal(launched.grid, ((unsigned[]){1, 1, 1}), sizeof(launched.grid));
    assert_int_equal(launched.block[0], 8);
    assert_null(launched.stream);
    assert_false(launched.has_params);
}

static void test_legacy_launch_functions_are_apart(void **state)
{
    (void)state;
    assert_ok(cuFuncSetBlockShape(FIRST, 8, 1, 1));
    assert_ok(cuParamSetSize(SECOND, 4));
    assert_invalid(cuLaunch(SECOND));
    assert_ok(cuFuncSetBlockShape(SECOND, 9, 1, 1));
    assert_ok(cuLaunch(FIRST));
    assert_int_equal(launched.block[0], 8);
    assert_false(launched.has_params);
    legacy_launch_forget(FIRST);
    assert_ok(cuLaunch(SECOND));
    assert_int_equal(launched.block[0], 9);
    assert_int_equal(launched.param_bytes, 4);
}

static void test_legacy_launch_needs_a_block_and_a_grid(void **state)
{
    (void)state;
    assert_invalid(cuLaunch(FIRST));
    assert_ok(cuFuncSetSharedSize(FIRST, 0));
    assert_invalid(cuLaunchGrid(FIRST, 1, 1));
    assert_ok(cuFuncSetBlockShape(FIRST, 1, 1, 1));
    assert_invalid(cuLaunchGrid(FIRST, 0, 1));
    assert_invalid(cuLaunchGrid(FIRST, 1, 0));
    assert_invalid(cuLaunchGridAsync(FIRST, -1, 1, NULL));
    assert_int_equal(launches, 0);
}

static void test_legacy_launch_blocks_have_limits(void **state)
{
    (void)state;
    assert_ok(cuFuncSetBlockShape(FIRST, 1024, 1, 1));
    assert_ok(cuFuncSetBlockShape(FIRST, 1, 1, 64));
    assert_invalid(cuFuncSetBlockShape(FIRST, 1025, 1, 1));
    assert_invalid(cuFuncSetBlockShape(FIRST, 1, 1, 65));
    assert_invalid(cuFuncSetBlockShape(FIRST, 41, 25, 1)); /* 1025 threads */
    assert_invalid(cuFuncSetBlockShape(FIRST, 0, 1, 1));
    assert_invalid(cuFuncSetBlockShape(FIRST, 1, -1, 1));
    assert_ok(cuLaunch(FIRST));
    assert_int_equal(launched.block[2], 64);
}

static void test_legacy_launch_parameters_have_limits(void **state)
{
    static uint8_t data[LEGACY_PARAM_BYTES + 1];

    (void)state;
    memset(data, 0x5a, sizeof(data));
    assert_ok(cuFuncSetBlockShape(FIRST, 1, 1, 1));
    assert_ok(cuParamSetSize(FIRST, LEGACY_PARAM_BYTES));
    assert_invalid(cuParamSetSize(FIRST, LEGACY_PARAM_BYTES + 1));
    assert_ok(cuParamSetv(FIRST, 0, data, LEGACY_PARAM_BYTES));
    assert_invalid(cuParamSetv(FIRST, 0, data, LEGACY_PARAM_BYTES + 1));
    assert_invalid(cuParamSetv(FIRST, 1, data, LEGACY_PARAM_BYTES));
    assert_invalid(cuParamSetv(FIRST, 4, data, 0xffffffff));
    assert_invalid(cuParamSetv(FIRST, 0x7fffffff, data, 4));
    assert_invalid(cuParamSetv(FIRST, -1, data, 1));
    assert_invalid(cuParamSetv(FIRST, 0, NULL, 4));
    assert_ok(cuParamSeti(FIRST, LEGACY_PARAM_BYTES - 4, 0x01020304));
    assert_invalid(cuParamSeti(FIRST, LEGACY_PARAM_BYTES - 3, 1));
    assert_invalid(cuParamSeti(FIRST, -4, 1));
    assert_invalid(cuParamSetf(FIRST, LEGACY_PARAM_BYTES - 3, 1));
    assert_ok(cuLaunch(FIRST));
    assert_int_equal(launched.param_bytes, LEGACY_PARAM_BYTES);
    assert_memory_equal(launched.params, data, LEGACY_PARAM_BYTES - 4);
    assert_int_equal(launched.params[LEGACY_PARAM_BYTES - 1], 1);
}

static void test_legacy_launch_wrong_handles_are_told(void **state)
{
    (void)state;
    assert_gone(cuFuncSetBlockShape(NULL, 0, 1, 1));
    assert_gone(cuFuncSetSharedSize((CUfunction)0x11, 1));
    assert_gone(cuParamSetSize(NULL, LEGACY_PARAM_BYTES + 1));
    assert_gone(cuParamSeti(NULL, -1, 1));
    assert_gone(cuParamSetf(NULL, 0, 1));
    assert_gone(cuParamSetv(NULL, 0, NULL, 1));
    assert_gone(cuLaunch(NULL));
    assert_gone(cuLaunchGrid(NULL, 0, 0));
    assert_gone(cuLaunchGridAsync(NULL, 1, 1, NULL));
}

static void test_legacy_launch_forgotten_is_as_new(void **state)
{
    uint32_t word = 9;

    (void)state;
    assert_ok(cuFuncSetBlockShape(FIRST, 8, 1, 1));
    assert_ok(cuFuncSetSharedSize(FIRST, 100));
    assert_ok(cuParamSetv(FIRST, 0, &word, 4));
    assert_ok(cuParamSetSize(FIRST, 4));
    legacy_launch_forget(FIRST);
    assert_invalid(cuLaunch(FIRST));
    assert_ok(cuFuncSetBlockShape(FIRST, 1, 1, 1));
    assert_ok(cuLaunch(FIRST));
    assert_int_equal(launched.shared_bytes, 0);
    assert_false(launched.has_params);
    assert_ok(cuParamSetSize(FIRST, 4));
    assert_ok(cuLaunch(FIRST));
    assert_int_equal(launched.params[0], 0);
}

/* The function ends between two of the calls that a setting is made of. */
static void test_legacy_launch_ending_meanwhile_leaves_nothing(void **state)
{
    (void)state;
    for (int checks = 0; checks < 3; checks++) {
        ends_after = checks;
        if (checks < 2)
            assert_gone(cuFuncSetSharedSize(FIRST, 100));
        else
            assert_ok(cuFuncSetSharedSize(FIRST, 100));
        ends_after = -1;
        assert_ok(cuFuncSetBlockShape(FIRST, 1, 1, 1));
        assert_ok(cuLaunch(FIRST));
        assert_int_equal(launched.shared_bytes, checks < 2 ? 0 : 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_legacy_launch_gives_what_was_set, fresh),
        cmocka_unit_test_setup(test_legacy_launch_keeps_its_state, fresh),
        cmocka_unit_test_setup(test_legacy_launch_functions_are_apart, fresh),
        cmocka_unit_test_setup(test_legacy_launch_needs_a_block_and_a_grid, fresh),
        cmocka_unit_test_setup(test_legacy_launch_blocks_have_limits, fresh),
        cmocka_unit_test_setup(test_legacy_launch_parameters_have_limits, fresh),
        cmocka_unit_test_setup(test_legacy_launch_wrong_handles_are_told, fresh),
        cmocka_unit_test_setup(test_legacy_launch_forgotten_is_as_new, fresh),
        cmocka_unit_test_setup(test_legacy_launch_ending_meanwhile_leaves_nothing, fresh),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
