/* SPDX-License-Identifier: Apache-2.0 */
/* Parameter buffers by `extra`: what is found, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cuda/launch_extra.h"

#define END     CU_LAUNCH_PARAM_END
#define POINTER CU_LAUNCH_PARAM_BUFFER_POINTER
#define SIZE    CU_LAUNCH_PARAM_BUFFER_SIZE

static uint8_t buffer[1];
static const void *found;
static size_t found_bytes;

static CUresult read_extra(void *const *extra)
{
    found = NULL;
    found_bytes = 99;
    return launch_extra_read(extra, &found, &found_bytes);
}

#define READ(...) read_extra((void *[]){__VA_ARGS__})

static void test_launch_extra_is_found_in_either_order(void **state)
{
    size_t bytes = 1;

    (void)state;
    assert_int_equal(READ(POINTER, buffer, SIZE, &bytes, END), CUDA_SUCCESS);
    assert_ptr_equal(found, buffer);
    assert_int_equal(found_bytes, 1);
    assert_int_equal(READ(SIZE, &bytes, POINTER, buffer, END), CUDA_SUCCESS);
    assert_ptr_equal(found, buffer);
    assert_int_equal(found_bytes, 1);
}

static void test_launch_extra_may_be_empty(void **state)
{
    size_t bytes = 0;

    (void)state;
    assert_int_equal(READ(END), CUDA_SUCCESS);
    assert_int_equal(found_bytes, 0);
    assert_int_equal(READ(POINTER, buffer, SIZE, &bytes, END), CUDA_SUCCESS);
    assert_int_equal(found_bytes, 0);
}

static void test_launch_extra_needs_pointer_and_size(void **state)
{
    size_t bytes = 1;

    (void)state;
    assert_int_equal(READ(POINTER, buffer, END), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(READ(SIZE, &bytes, END), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(READ(POINTER, NULL, SIZE, &bytes, END), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(READ(POINTER, buffer, SIZE, NULL, END), CUDA_ERROR_INVALID_VALUE);
}

static void test_launch_extra_size_has_a_limit(void **state)
{
    size_t bytes = VGPU_LAUNCH_PARAM_BYTES;

    (void)state;
    assert_int_equal(READ(POINTER, buffer, SIZE, &bytes, END), CUDA_SUCCESS);
    assert_int_equal(found_bytes, VGPU_LAUNCH_PARAM_BYTES);
    bytes++;
    assert_int_equal(READ(POINTER, buffer, SIZE, &bytes, END), CUDA_ERROR_INVALID_VALUE);
}

static void test_launch_extra_entries_are_known_and_few(void **state)
{
    size_t bytes = 1;

    (void)state;
    assert_int_equal(READ((void *)3, buffer, END), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(READ(POINTER, buffer, SIZE, &bytes, POINTER, buffer, END),
                     CUDA_ERROR_INVALID_VALUE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_launch_extra_is_found_in_either_order),
        cmocka_unit_test(test_launch_extra_may_be_empty),
        cmocka_unit_test(test_launch_extra_needs_pointer_and_size),
        cmocka_unit_test(test_launch_extra_size_has_a_limit),
        cmocka_unit_test(test_launch_extra_entries_are_known_and_few),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
