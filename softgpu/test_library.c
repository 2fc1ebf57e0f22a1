/* SPDX-License-Identifier: Apache-2.0 */
/* Libraries and kernels: what is refused, what dies with what, and first use by many threads. */
#include "softgpu/testing.h"

#include <pthread.h>
#include <stdlib.h>

#define HEAD  ".version 7.5\n.target sm_75\n.address_size 64\n"
#define IMAGE HEAD ".visible .global .u32 word;\n.visible .entry a() { ret; }\n"

#define MAX_OPTIONS 64u /* as cuda/library.h has them */
#define MAX_OBJECTS 65536u
#define THREADS     8

static CUresult load(CUlibrary *library)
{
    return cu.cuLibraryLoadData(library, IMAGE, NULL, NULL, 0, NULL, NULL, 0);
}

static void test_library_handles_die_with_it(void **state)
{
    CUlibrary library, again;
    CUkernel kernel;
    CUfunction function;
    const char *name;

    (void)state;
    assert_ok(load(&library));
    assert_ok(cu.cuLibraryGetKernel(&kernel, library, "a"));
    assert_ok(cu.cuKernelGetFunction(&function, kernel));
    assert_ok(cu.cuLibraryUnload(library));
    assert_int_equal(cu.cuLibraryUnload(library), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cu.cuLibraryGetKernel(&kernel, library, "a"), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cu.cuKernelGetName(&name, kernel), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cu.cuKernelGetFunction(&function, kernel), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cu.cuFuncGetName(&name, function), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cu.cuFuncGetName(&name, (CUfunction)kernel), CUDA_ERROR_INVALID_HANDLE);
    assert_ok(load(&again));
    assert_ptr_not_equal(again, library);
    assert_ok(cu.cuLibraryUnload(again));
}

static void test_library_kinds_are_told_apart(void **state)
{
    CUlibrary library;
    CUkernel kernel;
    CUfunction function;

    (void)state;
    assert_ok(load(&library));
    assert_ok(cu.cuLibraryGetKernel(&kernel, library, "a"));
    assert_int_equal(cu.cuLibraryUnload((CUlibrary)kernel), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cu.cuKernelGetFunction(&function, (CUkernel)library),
                     CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cu.cuKernelGetFunction(&function, NULL), CUDA_ERROR_INVALID_HANDLE);
    assert_ok(cu.cuLibraryUnload(library));
}

static void test_library_options_are_checked(void **state)
{
    CUjit_option options[MAX_OPTIONS + 1];
    void *values[MAX_OPTIONS + 1] = {NULL};
    CUlibraryOption preserved = CU_LIBRARY_BINARY_IS_PRESERVED;
    CUlibraryOption table = CU_LIBRARY_HOST_UNIVERSAL_FUNCTION_AND_DATA_TABLE;
    CUlibraryOption unknown = (CUlibraryOption)99;
    void *value = NULL;
    CUlibrary library;

    (void)state;
    for (size_t i = 0; i < MAX_OPTIONS + 1; i++)
        options[i] = CU_JIT_MAX_REGISTERS;
    assert_int_equal(
        cu.cuLibraryLoadData(&library, IMAGE, options, values, MAX_OPTIONS + 1, NULL, NULL, 0),
        CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuLibraryLoadData(&library, IMAGE, NULL, NULL, 0, &unknown, &value, 1),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuLibraryLoadData(&library, IMAGE, NULL, NULL, 0, &table, &value, 1),
                     CUDA_ERROR_NOT_SUPPORTED);
    assert_ok(cu.cuLibraryLoadData(&library, IMAGE, NULL, NULL, 0, &preserved, &value, 1));
    assert_ok(cu.cuLibraryUnload(library));
}

static void test_library_outlives_its_context(void **state)
{
    CUlibrary library;
    CUkernel kernel;
    CUcontext other;
    CUdeviceptr word;

    (void)state;
    assert_ok(cu.cuCtxCreate_v2(&other, 0, 0));
    assert_ok(load(&library));
    assert_ok(cu.cuLibraryGetKernel(&kernel, library, "a"));
    assert_ok(cu.cuCtxDestroy(other));
    assert_ok(cu.cuLaunchKernel((CUfunction)kernel, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
    assert_ok(cu.cuLibraryGetGlobal(&word, NULL, library, "word"));
    assert_ok(cu.cuCtxSynchronize());
    assert_ok(cu.cuLibraryUnload(library));
}

/* Nothing is loaded without a context, and the table of handles is full in the end. */
static void test_library_count_is_bounded(void **state)
{
    static CUlibrary libraries[MAX_OBJECTS];
    CUlibrary more;
    CUcontext context;
    size_t count = 0;

    (void)state;
    assert_ok(cu.cuCtxPopCurrent(&context));
    while (count < MAX_OBJECTS && load(&libraries[count]) == CUDA_SUCCESS)
        count++;
    assert_int_equal(count, MAX_OBJECTS);
    assert_int_equal(load(&more), CUDA_ERROR_OUT_OF_MEMORY);
    for (size_t i = 0; i < count; i++)
        assert_ok(cu.cuLibraryUnload(libraries[i]));
    assert_ok(load(&more));
    assert_ok(cu.cuLibraryUnload(more));
    assert_ok(cu.cuCtxPushCurrent(context));
}

struct user {
    pthread_t thread;
    CUcontext context;
    CUlibrary library;
    CUdeviceptr word;
    CUresult result;
};

static void *use(void *data)
{
    struct user *user = data;

    user->result = cu.cuCtxSetCurrent(user->context);
    if (user->result == CUDA_SUCCESS)
        user->result = cu.cuLibraryGetGlobal(&user->word, NULL, user->library, "word");
    return NULL;
}

/* Whoever comes first loads it; the others find the same module. */
static void test_library_first_use_by_many_threads(void **state)
{
    struct user users[THREADS];
    CUcontext own, context;
    CUlibrary library;

    (void)state;
    assert_ok(cu.cuCtxGetCurrent(&own));
    assert_ok(load(&library));
    assert_ok(cu.cuCtxCreate_v2(&context, 0, 0));
    for (size_t i = 0; i < THREADS; i++) {
        users[i] = (struct user){.context = context, .library = library};
        assert_int_equal(pthread_create(&users[i].thread, NULL, use, &users[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(users[i].thread, NULL), 0);
    for (size_t i = 0; i < THREADS; i++) {
        assert_ok(users[i].result);
        assert_true(users[i].word == users[0].word);
    }
    assert_ok(cu.cuCtxDestroy(context));
    assert_ok(cu.cuLibraryUnload(library));
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_library_##name, testing_open, testing_close)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(handles_die_with_it),  TEST(kinds_are_told_apart), TEST(options_are_checked),
        TEST(outlives_its_context), TEST(count_is_bounded),     TEST(first_use_by_many_threads),
    };

    testing_load(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
