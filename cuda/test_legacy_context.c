/* SPDX-License-Identifier: Apache-2.0 */
/* Contexts that count their users, on top of a driver that knows which contexts there are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cuda/cuda_api.h"

#define CONTEXTS   66u
#define CONTEXT(n) ((CUcontext)(uintptr_t)(0x100 + (n)))

static bool alive[CONTEXTS];
static CUcontext current;

CUresult cuCtxGetCurrent(CUcontext *context)
{
    *context = current;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetApiVersion(CUcontext context, unsigned *version)
{
    *version = 3020;
    return alive[(uintptr_t)context - 0x100] ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult cuCtxDestroy_v2(CUcontext context)
{
    alive[(uintptr_t)context - 0x100] = false;
    current = NULL;
    return CUDA_SUCCESS;
}

static void begin(unsigned n)
{
    alive[n] = true;
    current = CONTEXT(n);
}

static void test_legacy_context_lives_until_its_last_user(void **state)
{
    CUcontext context = NULL;

    begin(0);
    assert_int_equal(cuCtxAttach(&context, 0), CUDA_SUCCESS);
    assert_ptr_equal(context, CONTEXT(0));
    assert_int_equal(cuCtxAttach(&context, 0), CUDA_SUCCESS);
    assert_int_equal(cuCtxDetach(context), CUDA_SUCCESS);
    assert_int_equal(cuCtxDetach(context), CUDA_SUCCESS);
    assert_true(alive[0]);
    assert_int_equal(cuCtxDetach(context), CUDA_SUCCESS);
    assert_false(alive[0]);
}

static void test_legacy_context_arguments(void **state)
{
    CUcontext context;

    current = NULL;
    assert_int_equal(cuCtxAttach(&context, 0), CUDA_ERROR_INVALID_CONTEXT);
    begin(1);
    assert_int_equal(cuCtxAttach(&context, 1), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuCtxAttach(NULL, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuCtxDetach(NULL), CUDA_ERROR_INVALID_CONTEXT);
    assert_int_equal(cuCtxDetach(CONTEXT(2)), CUDA_ERROR_INVALID_CONTEXT);
    assert_int_equal(cuCtxDetach(CONTEXT(1)), CUDA_SUCCESS);
}

/* As many as there can be contexts, and one more: refused, or in the place of one that is gone. */
static void test_legacy_context_table(void **state)
{
    CUcontext context;

    for (unsigned i = 0; i < 64; i++) {
        begin(i);
        assert_int_equal(cuCtxAttach(&context, 0), CUDA_SUCCESS);
    }
    begin(64);
    assert_int_equal(cuCtxAttach(&context, 0), CUDA_ERROR_OUT_OF_MEMORY);
    alive[7] = false;
    assert_int_equal(cuCtxAttach(&context, 0), CUDA_SUCCESS);
    assert_ptr_equal(context, CONTEXT(64));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_legacy_context_lives_until_its_last_user),
        cmocka_unit_test(test_legacy_context_arguments),
        cmocka_unit_test(test_legacy_context_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
