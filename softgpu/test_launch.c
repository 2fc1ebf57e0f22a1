/* SPDX-License-Identifier: Apache-2.0 */
/* Launches: shapes, parameters, faults and what they do to the context. */
#include "softgpu/testing.h"

#include <pthread.h>
#include <semaphore.h>

#define LAUNCHES 500

static CUresult launch_shape(CUfunction function, unsigned gx, unsigned gy, unsigned gz,
                             unsigned bx, unsigned by, unsigned bz)
{
    return cu.cuLaunchKernel(function, gx, gy, gz, bx, by, bz, 0, NULL, NULL, NULL);
}

static CUresult launch_store(CUdeviceptr p, uint32_t value, CUstream stream)
{
    void *params[] = {&p, &value};

    return cu.cuLaunchKernel(testing_function("store"), 1, 1, 1, 1, 1, 1, 0, stream, params, NULL);
}

static void test_launch_shapes_are_checked(void **state)
{
    CUfunction f = testing_function("noarg");

    (void)state;
    assert_ok(launch_shape(f, 1, 1, 1, 1024, 1, 1));
    assert_int_equal(launch_shape(f, 0, 1, 1, 1, 1, 1), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(launch_shape(f, 1, 1, 1, 1, 0, 1), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(launch_shape(f, 1, 1, 1, 1025, 1, 1), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(launch_shape(f, 1, 1, 1, 1024, 2, 1), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(launch_shape(f, 1, 1, 1, 1, 1, 65), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(launch_shape(f, 1, 65536, 1, 1, 1, 1), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(launch_shape(f, 1, 1, 65536, 1, 1, 1), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(launch_shape(f, 1u << 31, 1, 1, 1, 1, 1), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(launch_shape(testing_function("bounded"), 1, 1, 1, 65, 1, 1),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(launch_shape(testing_function("required"), 1, 1, 1, 32, 1, 1),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(launch_shape(testing_function("required"), 1, 1, 1, 1, 64, 1),
                     CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuCtxSynchronize());
}

static void test_launch_parameters_come_as_pointers(void **state)
{
    CUdeviceptr p = testing_alloc(4);
    uint32_t value;

    (void)state;
    assert_ok(launch_store(p, 0x12345678, NULL));
    assert_ok(cu.cuMemcpyDtoH(&value, p, 4));
    assert_int_equal(value, 0x12345678);
    assert_int_equal(
        cu.cuLaunchKernel(testing_function("store"), 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL),
        CUDA_ERROR_INVALID_VALUE);
}

static CUresult launch_buffer(void *buffer, size_t size)
{
    void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, buffer, CU_LAUNCH_PARAM_BUFFER_SIZE, &size,
                     CU_LAUNCH_PARAM_END};

    return cu.cuLaunchKernel(testing_function("store"), 1, 1, 1, 1, 1, 1, 0, NULL, NULL, extra);
}

static void test_launch_parameters_come_as_a_buffer(void **state)
{
    struct {
        CUdeviceptr p;
        uint32_t value, unused;
    } buffer = {testing_alloc(4), 99, 0};
    void *no_size[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &buffer, CU_LAUNCH_PARAM_END};
    uint32_t value;

    (void)state;
    assert_ok(launch_buffer(&buffer, 12));
    assert_ok(cu.cuMemcpyDtoH(&value, buffer.p, 4));
    assert_int_equal(value, 99);
    assert_int_equal(launch_buffer(&buffer, 16), CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
    assert_int_equal(launch_buffer(&buffer, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(
        cu.cuLaunchKernel(testing_function("store"), 1, 1, 1, 1, 1, 1, 0, NULL, NULL, no_size),
        CUDA_ERROR_INVALID_VALUE);
}

static void test_launch_parameters_are_copied_at_once(void **state)
{
    CUdeviceptr p = testing_alloc(4 * 16);
    CUfunction function = testing_function("store");
    uint32_t out[16];

    (void)state;
    for (uint32_t i = 0; i < 16; i++) {
        CUdeviceptr at = p + 4 * i;
        uint32_t value = 1000 + i;
        void *params[] = {&at, &value};

        assert_ok(cu.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
        at = value = 0;
    }
    assert_ok(cu.cuMemcpyDtoH(out, p, sizeof(out)));
    for (uint32_t i = 0; i < 16; i++)
        assert_int_equal(out[i], 1000 + i);
}

static void test_launch_every_thread_runs_once(void **state)
{
    CUdeviceptr p = testing_alloc(4);
    CUfunction function = testing_function("increment");
    void *params[] = {&p};
    uint32_t value;

    (void)state;
    assert_ok(cu.cuMemsetD32(p, 0, 1));
    for (int i = 0; i < LAUNCHES; i++)
        assert_ok(cu.cuLaunchKernel(function, 3, 2, 1, 33, 1, 1, 0, NULL, params, NULL));
    assert_ok(cu.cuMemcpyDtoH(&value, p, 4));
    assert_int_equal(value, LAUNCHES * 6 * 33);
}

static void test_launch_variables_are_reached(void **state)
{
    CUdeviceptr p = testing_alloc(4);
    uint32_t index = 2, value;
    void *params[] = {&p, &index};

    (void)state;
    assert_ok(
        cu.cuLaunchKernel(testing_function("read_table"), 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
    assert_ok(cu.cuMemcpyDtoH(&value, p, 4));
    assert_int_equal(value, 3 + 7);
}

static void test_launch_pinned_host_memory_is_reached(void **state)
{
    uint32_t *host;

    (void)state;
    assert_ok(cu.cuMemHostAlloc((void **)&host, 64, CU_MEMHOSTALLOC_DEVICEMAP));
    *host = 0;
    assert_ok(launch_store((uintptr_t)host, 77, NULL));
    assert_ok(cu.cuCtxSynchronize());
    assert_int_equal(*host, 77);
    assert_ok(cu.cuMemFreeHost(host));
}

static void test_launch_attributes_are_read(void **state)
{
    CUlaunchAttribute attribute = {.id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE};
    CUlaunchConfig config = {2, 1, 1, 32, 1, 1, 0, NULL, &attribute, 1};
    CUfunction function = testing_function("noarg");

    (void)state;
    attribute.value.cooperative = 1;
    assert_ok(cu.cuLaunchKernelEx(&config, function, NULL, NULL));
    attribute.id = 17;
    assert_int_equal(cu.cuLaunchKernelEx(&config, function, NULL, NULL), CUDA_ERROR_INVALID_VALUE);
    config.attrs = NULL;
    assert_int_equal(cu.cuLaunchKernelEx(&config, function, NULL, NULL), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuLaunchKernelEx(NULL, function, NULL, NULL), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuCtxSynchronize());
}

static void test_launch_cooperative_must_fit(void **state)
{
    CUfunction function = testing_function("noarg");

    (void)state;
    assert_ok(cu.cuLaunchCooperativeKernel(function, 2, 1, 1, 32, 1, 1, 0, NULL, NULL));
    assert_int_equal(
        cu.cuLaunchCooperativeKernel(function, 1 << 20, 1, 1, 1024, 1, 1, 0, NULL, NULL),
        CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
    assert_ok(cu.cuCtxSynchronize());
}

static void test_launch_function_of_another_context_is_refused(void **state)
{
    CUfunction function = testing_function("noarg");
    CUcontext other;

    (void)state;
    assert_ok(cu.cuCtxCreate_v2(&other, 0, 0));
    assert_int_equal(launch_shape(function, 1, 1, 1, 1, 1, 1), CUDA_ERROR_INVALID_HANDLE);
    assert_ok(cu.cuCtxDestroy(other));
}

static void remember(CUstream stream, CUresult status, void *arg)
{
    (void)stream;
    *(CUresult *)arg = status;
}

static void wait_at(void *semaphore)
{
    sem_wait(semaphore);
}

static void test_launch_fault_sticks_to_the_context(void **state)
{
    CUresult status = CUDA_SUCCESS;
    CUdeviceptr p = testing_alloc(64);
    CUcontext other;
    CUstream stream;
    CUevent event;
    uint32_t value;
    sem_t open;

    (void)state;
    testing_softgpu_only(); /* NVIDIA's driver poisons the whole process */
    assert_ok(cu.cuEventCreate(&event, 0));
    assert_ok(cu.cuStreamCreate(&stream, 0));
    assert_int_equal(sem_init(&open, 0, 0), 0); /* so that all is queued before the fault */
    assert_ok(cu.cuLaunchHostFunc(stream, wait_at, &open));
    assert_ok(launch_store(0, 1, stream));
    assert_ok(cu.cuStreamAddCallback(stream, remember, &status, 0));
    sem_post(&open);
    assert_int_equal(cu.cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_int_equal(status, CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_int_equal(cu.cuMemAlloc(&p, 4), CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_int_equal(cu.cuMemcpyDtoH(&value, p, 4), CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_int_equal(cu.cuEventQuery(event), CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_int_equal(cu.cuStreamQuery(stream), CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_int_equal(cu.cuEventDestroy(event), CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_int_equal(cu.cuStreamDestroy(stream), CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_ok(cu.cuCtxCreate_v2(&other, 0, 0));
    assert_ok(cu.cuMemAlloc(&p, 4));
    assert_ok(cu.cuCtxDestroy(other));
}

static void test_launch_fault_ends_with_a_primary_reset(void **state)
{
    CUcontext primary;
    CUdeviceptr p;

    (void)state;
    testing_softgpu_only();
    assert_ok(cu.cuDevicePrimaryCtxRetain(&primary, 0));
    assert_ok(cu.cuCtxPushCurrent(primary));
    assert_ok(launch_store(0, 1, NULL));
    assert_int_equal(cu.cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_ok(cu.cuDevicePrimaryCtxReset(0));
    assert_ok(cu.cuDevicePrimaryCtxRetain(&primary, 0));
    assert_ok(cu.cuMemAlloc(&p, 4));
    assert_ok(cu.cuDevicePrimaryCtxRelease(0));
    assert_ok(cu.cuDevicePrimaryCtxRelease(0));
    assert_ok(cu.cuCtxPopCurrent(&primary));
}

/* The result of one store, in a context of its own. */
static CUresult store_at(CUdeviceptr offset, size_t bytes)
{
    CUcontext context;
    CUresult result;

    assert_ok(cu.cuCtxCreate_v2(&context, 0, 0));
    assert_ok(launch_store(testing_alloc(bytes) + offset, 1, NULL));
    result = cu.cuCtxSynchronize();
    assert_ok(cu.cuCtxDestroy(context));
    return result;
}

static void test_launch_faults_have_their_codes(void **state)
{
    (void)state;
    testing_softgpu_only();
    assert_ok(store_at(60, 64));
    assert_int_equal(store_at(64, 64), CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_int_equal(store_at((CUdeviceptr)-4, 64), CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_int_equal(store_at(2, 64), CUDA_ERROR_MISALIGNED_ADDRESS);
    assert_ok(launch_shape(testing_function("trapping"), 1, 1, 1, 1, 1, 1));
    assert_int_equal(cu.cuCtxSynchronize(), CUDA_ERROR_LAUNCH_FAILED);
}

static void test_launch_memory_of_another_context_is_out_of_reach(void **state)
{
    CUdeviceptr p = testing_alloc(64);
    CUcontext other;

    (void)state;
    testing_softgpu_only();
    assert_ok(cu.cuCtxCreate_v2(&other, 0, 0));
    assert_ok(launch_store(p, 1, NULL));
    assert_int_equal(cu.cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_ok(cu.cuCtxDestroy(other));
}

struct stress {
    uint32_t seed;
    CUresult result;
    bool wrong;
};

/* One round of a thread: everything it touches is its own, so the outcome is known. */
static CUresult stress_round(struct stress *stress, CUstream stream, uint32_t i)
{
    uint32_t value = 0;
    CUfunction function;
    CUmodule module;
    CUdeviceptr p;
    CUevent event;
    CUresult result = CUDA_SUCCESS;
    void *params[] = {&p};

    result |= cu.cuModuleLoadData(&module, testing_ptx);
    result |= cu.cuModuleGetFunction(&function, module, "increment");
    result |= cu.cuMemAlloc(&p, 64 + 512 * (i % 7));
    result |= cu.cuMemsetD32Async(p, stress->seed + i, 1, stream);
    for (int k = 0; k < 3; k++)
        result |= cu.cuLaunchKernel(function, 2, 1, 1, 40, 1, 1, 0, stream, params, NULL);
    result |= cu.cuEventCreate(&event, 0);
    result |= cu.cuEventRecord(event, stream);
    result |= cu.cuMemcpyDtoHAsync(&value, p, 4, stream);
    result |= cu.cuEventSynchronize(event);
    result |= cu.cuStreamSynchronize(stream);
    stress->wrong |= value != stress->seed + i + 3 * 80;
    result |= cu.cuEventDestroy(event);
    result |= cu.cuMemFree(p);
    result |= cu.cuModuleUnload(module);
    return result;
}

static void *stress_run(void *arg)
{
    struct stress *stress = arg;
    CUstream stream;

    stress->result |= cu.cuCtxSetCurrent(testing_context);
    stress->result |= cu.cuStreamCreate(&stream, stress->seed & 1);
    for (uint32_t i = 0; i < 40 && stress->result == CUDA_SUCCESS; i++)
        stress->result |= stress_round(stress, stress->seed == 3 ? NULL : stream, i);
    stress->result |= cu.cuStreamDestroy(stream);
    return NULL;
}

static void test_launch_threads_do_not_disturb_each_other(void **state)
{
    struct stress stress[6] = {0};
    pthread_t threads[6];

    (void)state;
    for (uint32_t i = 0; i < 6; i++) {
        stress[i].seed = i;
        pthread_create(&threads[i], NULL, stress_run, &stress[i]);
    }
    for (int i = 0; i < 6; i++) {
        pthread_join(threads[i], NULL);
        assert_ok(stress[i].result);
        assert_false(stress[i].wrong);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_launch_##name, testing_open, testing_close)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(shapes_are_checked),
        TEST(parameters_come_as_pointers),
        TEST(parameters_come_as_a_buffer),
        TEST(parameters_are_copied_at_once),
        TEST(every_thread_runs_once),
        TEST(variables_are_reached),
        TEST(pinned_host_memory_is_reached),
        TEST(attributes_are_read),
        TEST(cooperative_must_fit),
        TEST(function_of_another_context_is_refused),
        TEST(threads_do_not_disturb_each_other),
        TEST(fault_sticks_to_the_context),
        TEST(fault_ends_with_a_primary_reset),
        TEST(faults_have_their_codes),
        TEST(memory_of_another_context_is_out_of_reach),
    };

    testing_load(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
