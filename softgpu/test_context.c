/* SPDX-License-Identifier: Apache-2.0 */
/* Devices, primary and plain contexts, each thread's stack, limits. */
#include "softgpu/testing.h"

#include <pthread.h>

static void test_context_needs_init_first(void **state)
{
    int count;
    CUcontext context;

    (void)state;
    assert_int_equal(cu.cuDeviceGetCount(&count), CUDA_ERROR_NOT_INITIALIZED);
    assert_int_equal(cu.cuCtxGetCurrent(&context), CUDA_ERROR_NOT_INITIALIZED);
    assert_int_equal(cu.cuInit(1), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuDriverGetVersion(&count));
    assert_true(count >= 12000);
    assert_ok(cu.cuInit(0));
    assert_ok(cu.cuInit(0));
}

static void test_context_device_handles_are_checked(void **state)
{
    CUdevice device;
    int value;

    (void)state;
    assert_ok(cu.cuDeviceGet(&device, 0));
    assert_int_equal(cu.cuDeviceGet(&device, -1), CUDA_ERROR_INVALID_DEVICE);
    assert_int_equal(cu.cuDeviceGet(&device, 999), CUDA_ERROR_INVALID_DEVICE);
    assert_int_equal(cu.cuDeviceGet(NULL, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuDeviceGetAttribute(&value, 1, 999), CUDA_ERROR_INVALID_DEVICE);
    assert_int_equal(cu.cuDeviceGetAttribute(&value, 0, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuDeviceGetAttribute(&value, CUDA_DEVICE_ATTRIBUTE_MAX + 100, 0),
                     CUDA_ERROR_INVALID_VALUE);
}

static void test_context_device_attributes_are_consistent(void **state)
{
    int threads, warp, shared, optin, per_sm, major;
    CUdevprop properties;

    (void)state;
    assert_ok(cu.cuDeviceGetAttribute(&threads, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, 0));
    assert_ok(cu.cuDeviceGetAttribute(&warp, CU_DEVICE_ATTRIBUTE_WARP_SIZE, 0));
    assert_ok(cu.cuDeviceGetAttribute(&shared, 8, 0));
    assert_ok(
        cu.cuDeviceGetAttribute(&optin, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 0));
    assert_ok(cu.cuDeviceGetAttribute(&per_sm,
                                      CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, 0));
    assert_ok(cu.cuDeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 0));
    assert_ok(cu.cuDeviceGetProperties(&properties, 0));
    assert_int_equal(threads, 1024);
    assert_int_equal(properties.maxThreadsPerBlock, threads);
    assert_int_equal(warp, 32);
    assert_int_equal(shared, 48 << 10);
    assert_true(shared < optin && optin < per_sm);
    assert_true(major >= 7);
}

static void test_context_device_name_is_cut(void **state)
{
    char name[8];

    (void)state;
    memset(name, 'x', sizeof(name));
    assert_ok(cu.cuDeviceGetName(name, 3, 0));
    assert_int_equal(strlen(name), 2);
    assert_int_equal(name[3], 'x');
}

static void test_context_device_is_found_by_pci_address(void **state)
{
    char text[32];
    CUdevice device = 99;

    (void)state;
    assert_ok(cu.cuDeviceGetPCIBusId(text, sizeof(text), 0));
    assert_ok(cu.cuDeviceGetByPCIBusId(&device, text));
    assert_int_equal(device, 0);
    assert_int_equal(cu.cuDeviceGetByPCIBusId(&device, "0000:ff:1f.0"), CUDA_ERROR_INVALID_DEVICE);
}

static void test_context_calls_need_a_current_one(void **state)
{
    CUdeviceptr p;
    CUdevice device;
    CUcontext context = testing_context;

    (void)state;
    assert_int_equal(cu.cuMemAlloc(&p, 4), CUDA_ERROR_INVALID_CONTEXT);
    assert_int_equal(cu.cuCtxSynchronize(), CUDA_ERROR_INVALID_CONTEXT);
    assert_int_equal(cu.cuCtxGetDevice(&device), CUDA_ERROR_INVALID_CONTEXT);
    assert_int_equal(cu.cuCtxPopCurrent(&context), CUDA_ERROR_INVALID_CONTEXT);
    assert_int_equal(cu.cuCtxPushCurrent(NULL), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuCtxSetCurrent(NULL));
    assert_ok(cu.cuCtxGetCurrent(&context));
    assert_null(context);
}

static void test_context_primary_lives_while_retained(void **state)
{
    CUcontext first, second;
    CUdeviceptr p;
    unsigned flags;
    int active;

    (void)state;
    assert_int_equal(cu.cuDevicePrimaryCtxRelease(0), CUDA_ERROR_INVALID_CONTEXT);
    assert_ok(cu.cuDevicePrimaryCtxRetain(&first, 0));
    assert_ok(cu.cuDevicePrimaryCtxRetain(&second, 0));
    assert_ptr_equal(first, second);
    assert_ok(cu.cuCtxSetCurrent(first));
    assert_int_equal(cu.cuCtxDestroy(first), CUDA_ERROR_INVALID_CONTEXT);
    assert_ok(cu.cuDevicePrimaryCtxRelease(0));
    assert_ok(cu.cuMemAlloc(&p, 4));
    assert_ok(cu.cuDevicePrimaryCtxRelease(0));
    assert_int_equal(cu.cuMemAlloc(&p, 4), CUDA_ERROR_CONTEXT_IS_DESTROYED);
    assert_ok(cu.cuDevicePrimaryCtxGetState(0, &flags, &active));
    assert_int_equal(active, 0);
    assert_ok(cu.cuDevicePrimaryCtxRetain(&second, 0));
    assert_ptr_equal(first, second);
    assert_ok(cu.cuMemAlloc(&p, 4));
    assert_ok(cu.cuDevicePrimaryCtxRelease(0));
    assert_ok(cu.cuCtxPopCurrent(&second));
}

static void test_context_primary_reset_frees_its_memory(void **state)
{
    size_t before, after, total;
    CUcontext context;
    CUdeviceptr p;

    (void)state;
    assert_ok(cu.cuDevicePrimaryCtxRetain(&context, 0));
    assert_ok(cu.cuCtxPushCurrent(context));
    assert_ok(cu.cuMemGetInfo(&before, &total));
    assert_ok(cu.cuMemAlloc(&p, 64 << 20));
    assert_ok(cu.cuDevicePrimaryCtxReset(0));
    assert_int_equal(cu.cuMemAlloc(&p, 4), CUDA_ERROR_CONTEXT_IS_DESTROYED);
    assert_ok(cu.cuDevicePrimaryCtxRetain(&context, 0));
    assert_ok(cu.cuMemGetInfo(&after, &total));
    assert_true(after >= before);
    assert_ok(cu.cuDevicePrimaryCtxRelease(0));
    assert_ok(cu.cuDevicePrimaryCtxRelease(0));
    assert_ok(cu.cuCtxPopCurrent(&context));
}

static void test_context_flags_are_checked(void **state)
{
    CUcontext context;
    unsigned flags;

    (void)state;
    assert_int_equal(cu.cuCtxCreate_v2(&context, 0x1000, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuCtxCreate_v2(&context, 3, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuCtxCreate_v2(NULL, 0, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuCtxCreate_v2(&context, 0, 999), CUDA_ERROR_INVALID_DEVICE);
    assert_ok(cu.cuCtxCreate_v2(&context, CU_CTX_SCHED_YIELD, 0));
    assert_ok(cu.cuCtxGetFlags(&flags));
    assert_int_equal(flags & CU_CTX_SCHED_MASK, CU_CTX_SCHED_YIELD);
    assert_ok(cu.cuCtxDestroy(context));
}

static void test_context_stack_is_last_in_first_out(void **state)
{
    CUcontext a, b, popped;

    (void)state;
    assert_ok(cu.cuCtxCreate_v2(&a, 0, 0));
    assert_ok(cu.cuCtxCreate_v2(&b, 0, 0));
    assert_ptr_not_equal(a, b);
    assert_ok(cu.cuCtxPopCurrent(&popped));
    assert_ptr_equal(popped, b);
    assert_ok(cu.cuCtxGetCurrent(&popped));
    assert_ptr_equal(popped, a);
    assert_ok(cu.cuCtxDestroy(b));
    assert_ok(cu.cuCtxDestroy(a));
    assert_ok(cu.cuCtxGetCurrent(&popped));
    assert_null(popped);
}

static void *use_destroyed(void *arg)
{
    static CUresult result;
    pthread_barrier_t *barrier = ((void **)arg)[0];
    CUdeviceptr p;

    result = cu.cuCtxPushCurrent(((void **)arg)[1]);
    pthread_barrier_wait(barrier);
    pthread_barrier_wait(barrier);
    if (result == CUDA_SUCCESS)
        result = cu.cuMemAlloc(&p, 4);
    return &result;
}

static void test_context_destroyed_elsewhere_is_reported(void **state)
{
    pthread_barrier_t barrier;
    CUcontext context;
    pthread_t thread;
    void *result;

    (void)state;
    testing_softgpu_only(); /* undefined in CUDA, but must not crash here */
    pthread_barrier_init(&barrier, NULL, 2);
    assert_ok(cu.cuCtxCreate_v2(&context, 0, 0));
    pthread_create(&thread, NULL, use_destroyed, (void *[]){&barrier, context});
    pthread_barrier_wait(&barrier);
    assert_ok(cu.cuCtxDestroy(context));
    pthread_barrier_wait(&barrier);
    pthread_join(thread, &result);
    assert_int_equal(*(CUresult *)result, CUDA_ERROR_CONTEXT_IS_DESTROYED);
    pthread_barrier_destroy(&barrier);
}

static void test_context_garbage_handles_are_refused(void **state)
{
    static const uintptr_t garbage[] = {1, 2, 0x1234, 0x10000001ffff, UINTPTR_MAX};
    CUdeviceptr p;
    CUfunction function;
    int value;

    (void)state;
    testing_softgpu_only(); /* a crash with NVIDIA's driver */
    for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
        void *handle = (void *)garbage[i];

        assert_int_equal(cu.cuCtxSetCurrent(handle), CUDA_ERROR_INVALID_CONTEXT);
        assert_int_equal(cu.cuCtxDestroy(handle), CUDA_ERROR_INVALID_CONTEXT);
        assert_int_equal(cu.cuEventQuery(handle), CUDA_ERROR_INVALID_HANDLE);
        assert_int_equal(cu.cuModuleUnload(handle), CUDA_ERROR_INVALID_HANDLE);
        assert_int_equal(cu.cuModuleGetFunction(&function, handle, "f"), CUDA_ERROR_INVALID_HANDLE);
        assert_int_equal(cu.cuModuleGetGlobal(&p, NULL, handle, "g"), CUDA_ERROR_INVALID_HANDLE);
        assert_int_equal(cu.cuFuncGetAttribute(&value, 0, handle), CUDA_ERROR_INVALID_HANDLE);
        assert_int_equal(cu.cuLaunchKernel(handle, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL),
                         CUDA_ERROR_INVALID_HANDLE);
        assert_int_equal(cu.cuLinkDestroy(handle), CUDA_ERROR_INVALID_HANDLE);
        assert_int_equal(cu.cuStreamDestroy(handle), CUDA_ERROR_INVALID_HANDLE);
        if (garbage[i] > 2)
            assert_int_equal(cu.cuStreamQuery(handle), CUDA_ERROR_INVALID_HANDLE);
    }
}

static void test_context_freed_handles_stay_invalid(void **state)
{
    CUevent before, after;

    (void)state;
    testing_softgpu_only();
    assert_ok(cu.cuEventCreate(&before, 0));
    assert_ok(cu.cuEventDestroy(before));
    assert_ok(cu.cuEventCreate(&after, 0));
    assert_ptr_not_equal(before, after);
    assert_int_equal(cu.cuEventQuery(before), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cu.cuEventDestroy(before), CUDA_ERROR_INVALID_HANDLE);
}

static void test_context_limits_are_kept(void **state)
{
    size_t value;

    (void)state;
    assert_ok(cu.cuCtxGetLimit(&value, CU_LIMIT_STACK_SIZE));
    assert_int_equal(value, 1024);
    assert_ok(cu.cuCtxSetLimit(CU_LIMIT_STACK_SIZE, 100));
    assert_ok(cu.cuCtxGetLimit(&value, CU_LIMIT_STACK_SIZE));
    assert_int_equal(value, 112);
    assert_int_equal(cu.cuCtxSetLimit(CU_LIMIT_STACK_SIZE, 512 << 10), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuCtxSetLimit(CU_LIMIT_PRINTF_FIFO_SIZE, 0));
    assert_ok(cu.cuCtxGetLimit(&value, CU_LIMIT_PRINTF_FIFO_SIZE));
    assert_int_equal(value, 512 << 10);
    assert_int_equal(cu.cuCtxSetLimit(CU_LIMIT_MAX_L2_FETCH_GRANULARITY, 129),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuCtxGetLimit(&value, CU_LIMIT_DEV_RUNTIME_SYNC_DEPTH),
                     CUDA_ERROR_UNSUPPORTED_LIMIT);
    assert_int_equal(cu.cuCtxGetLimit(&value, 10), CUDA_ERROR_INVALID_VALUE);
}

static void test_context_cache_configs_are_checked(void **state)
{
    CUfunc_cache config;

    (void)state;
    assert_ok(cu.cuCtxSetCacheConfig(CU_FUNC_CACHE_PREFER_SHARED));
    assert_ok(cu.cuCtxGetCacheConfig(&config));
    assert_int_equal(config, CU_FUNC_CACHE_PREFER_SHARED);
    assert_int_equal(cu.cuCtxSetCacheConfig(CU_FUNC_CACHE_PREFER_EQUAL + 1),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuCtxSetSharedMemConfig(3), CUDA_ERROR_INVALID_VALUE);
}

static void test_context_error_texts_are_found(void **state)
{
    const char *text;

    (void)state;
    assert_ok(cu.cuGetErrorName(CUDA_ERROR_ILLEGAL_ADDRESS, &text));
    assert_string_equal(text, "CUDA_ERROR_ILLEGAL_ADDRESS");
    assert_ok(cu.cuGetErrorString(CUDA_ERROR_ILLEGAL_ADDRESS, &text));
    assert_string_equal(text, "an illegal memory access was encountered");
    assert_int_equal(cu.cuGetErrorString(12345, &text), CUDA_ERROR_INVALID_VALUE);
    assert_null(text);
}

static void test_context_proc_addresses_are_found(void **state)
{
    CUdriverProcAddressQueryResult status;
    void *function = &function;

    (void)state;
    assert_ok(cu.cuGetProcAddress("cuMemAlloc", &function, 12000, 0, &status));
    assert_ptr_equal(function, (void *)(uintptr_t)cu.cuMemAlloc);
    assert_ok(cu.cuGetProcAddress("cuMemcpyHtoD", &function, 12000,
                                  CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, &status));
    assert_ptr_not_equal(function, (void *)(uintptr_t)cu.cuMemcpyHtoD);
    assert_ok(cu.cuGetProcAddress("cuNoSuchCall", &function, 12000, 0, &status));
    assert_null(function);
    assert_int_equal(status, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_context_needs_init_first),
        cmocka_unit_test(test_context_device_handles_are_checked),
        cmocka_unit_test(test_context_device_attributes_are_consistent),
        cmocka_unit_test(test_context_device_name_is_cut),
        cmocka_unit_test(test_context_device_is_found_by_pci_address),
        cmocka_unit_test(test_context_calls_need_a_current_one),
        cmocka_unit_test(test_context_primary_lives_while_retained),
        cmocka_unit_test(test_context_primary_reset_frees_its_memory),
        cmocka_unit_test(test_context_flags_are_checked),
        cmocka_unit_test(test_context_stack_is_last_in_first_out),
        cmocka_unit_test(test_context_destroyed_elsewhere_is_reported),
        cmocka_unit_test_setup_teardown(test_context_garbage_handles_are_refused, testing_open,
                                        testing_close),
        cmocka_unit_test_setup_teardown(test_context_freed_handles_stay_invalid, testing_open,
                                        testing_close),
        cmocka_unit_test_setup_teardown(test_context_limits_are_kept, testing_open, testing_close),
        cmocka_unit_test_setup_teardown(test_context_cache_configs_are_checked, testing_open,
                                        testing_close),
        cmocka_unit_test(test_context_error_texts_are_found),
        cmocka_unit_test(test_context_proc_addresses_are_found),
    };

    testing_load(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
