/* SPDX-License-Identifier: Apache-2.0 */
/* Stream-ordered allocation and memory pools. */
#include "softgpu/testing.h"

static CUmemoryPool new_pool(size_t max_bytes)
{
    const CUmemPoolProps props = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
                                  .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0},
                                  .maxSize = max_bytes};
    CUmemoryPool pool;

    assert_ok(cu.cuMemPoolCreate(&pool, &props));
    return pool;
}

static uint64_t attribute(CUmemoryPool pool, CUmemPool_attribute which)
{
    uint64_t value = 0;

    assert_ok(cu.cuMemPoolGetAttribute(pool, which, &value));
    return value;
}

static void test_pool_memory_is_used_in_stream_order(void **state)
{
    CUstream stream;
    CUdeviceptr p;
    uint32_t value = 0;

    (void)state;
    assert_ok(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    assert_ok(cu.cuMemAllocAsync(&p, 4096, stream));
    assert_ok(cu.cuMemsetD32Async(p, 77, 1024, stream));
    assert_ok(cu.cuMemcpyDtoHAsync(&value, p + 4092, 4, stream));
    assert_ok(cu.cuMemFreeAsync(p, stream));
    assert_ok(cu.cuStreamSynchronize(stream));
    assert_int_equal(value, 77);
    assert_int_equal(cu.cuMemcpyDtoH(&value, p, 4), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuStreamDestroy(stream));
}

static void test_pool_bad_arguments_are_refused(void **state)
{
    CUdeviceptr p, plain = testing_alloc(64);

    (void)state;
    assert_int_equal(cu.cuMemAllocAsync(NULL, 4, NULL), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemAllocAsync(&p, 0, NULL), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemAllocAsync(&p, SIZE_MAX, NULL), CUDA_ERROR_OUT_OF_MEMORY);
    assert_int_equal(cu.cuMemAllocAsync(&p, UINT64_C(1) << 50, NULL), CUDA_ERROR_OUT_OF_MEMORY);
    assert_ok(cu.cuMemAllocAsync(&p, 64, NULL));
    assert_int_equal(cu.cuMemFreeAsync(p + 8, NULL), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuMemFreeAsync(p, NULL));
    assert_int_equal(cu.cuMemFreeAsync(p, NULL), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemFree(p), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemFreeAsync(plain, NULL), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuMemFree(plain));
}

static void test_pool_memory_may_be_freed_plainly(void **state)
{
    CUdeviceptr p;

    (void)state;
    assert_ok(cu.cuMemAllocAsync(&p, 64, NULL));
    assert_ok(cu.cuStreamSynchronize(NULL));
    assert_ok(cu.cuMemFree(p));
    assert_int_equal(cu.cuMemFree(p), CUDA_ERROR_INVALID_VALUE);
}

static void test_pool_keeps_memory_below_its_threshold(void **state)
{
    CUmemoryPool pool = new_pool(0);
    uint64_t threshold = 1 << 20;
    CUdeviceptr p;

    (void)state;
    assert_int_equal(attribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD), 0);
    assert_ok(cu.cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &threshold));
    assert_ok(cu.cuMemAllocFromPoolAsync(&p, 1 << 20, pool, NULL));
    assert_int_equal(attribute(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT), 1 << 20);
    assert_ok(cu.cuMemFreeAsync(p, NULL));
    assert_ok(cu.cuStreamSynchronize(NULL));
    assert_int_equal(attribute(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT), 0);
    assert_true(attribute(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT) >= 1 << 20);
    assert_int_equal(attribute(pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH), 1 << 20);
    assert_ok(cu.cuMemPoolTrimTo(pool, 0));
    assert_int_equal(attribute(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT), 0);
    threshold = 0;
    assert_ok(cu.cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH, &threshold));
    assert_int_equal(attribute(pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH), 0);
    assert_ok(cu.cuMemPoolDestroy(pool));
}

static void test_pool_without_a_threshold_gives_back_at_synchronisation(void **state)
{
    CUmemoryPool pool = new_pool(0);
    size_t before, after, total;
    CUdeviceptr p;

    (void)state;
    assert_ok(cu.cuMemGetInfo(&before, &total));
    assert_ok(cu.cuMemAllocFromPoolAsync(&p, 4 << 20, pool, NULL));
    assert_ok(cu.cuMemGetInfo(&after, &total));
    assert_true(before - after >= 4 << 20);
    assert_ok(cu.cuMemFreeAsync(p, NULL));
    assert_ok(cu.cuStreamSynchronize(NULL));
    assert_ok(cu.cuMemGetInfo(&after, &total));
    assert_int_equal(before, after);
    assert_ok(cu.cuMemPoolDestroy(pool));
}

static void test_pool_ends_at_its_maximum(void **state)
{
    CUmemoryPool pool = new_pool(1 << 20);
    CUdeviceptr p, q;

    (void)state;
    testing_softgpu_only();
    assert_ok(cu.cuMemAllocFromPoolAsync(&p, 1 << 20, pool, NULL));
    assert_int_equal(cu.cuMemAllocFromPoolAsync(&q, 1, pool, NULL), CUDA_ERROR_OUT_OF_MEMORY);
    assert_ok(cu.cuMemFreeAsync(p, NULL));
    assert_ok(cu.cuStreamSynchronize(NULL));
    assert_ok(cu.cuMemAllocFromPoolAsync(&q, 1, pool, NULL));
    assert_ok(cu.cuMemPoolDestroy(pool));
    assert_ok(cu.cuMemFreeAsync(q, NULL));
}

static void test_pool_destroyed_serves_what_it_gave(void **state)
{
    CUmemoryPool pool = new_pool(0);
    size_t before, after, total;
    CUdeviceptr p, q;

    (void)state;
    assert_ok(cu.cuMemGetInfo(&before, &total));
    assert_ok(cu.cuMemAllocFromPoolAsync(&p, 4096, pool, NULL));
    assert_ok(cu.cuMemPoolDestroy(pool));
    assert_int_equal(cu.cuMemAllocFromPoolAsync(&q, 64, pool, NULL), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuMemsetD8Async(p, 1, 4096, NULL));
    assert_ok(cu.cuMemFreeAsync(p, NULL));
    assert_ok(cu.cuStreamSynchronize(NULL));
    assert_ok(cu.cuMemGetInfo(&after, &total));
    assert_int_equal(before, after);
}

static void test_pool_of_the_device_can_be_changed(void **state)
{
    CUmemoryPool pool = new_pool(0), found, first;
    CUmemLocation here = {CU_MEM_LOCATION_TYPE_DEVICE, 0};
    CUdeviceptr p;

    (void)state;
    assert_ok(cu.cuDeviceGetDefaultMemPool(&first, 0));
    assert_ok(cu.cuDeviceGetMemPool(&found, 0));
    assert_ptr_equal(found, first);
    assert_ok(cu.cuDeviceSetMemPool(0, pool));
    assert_ok(cu.cuDeviceGetMemPool(&found, 0));
    assert_ptr_equal(found, pool);
    assert_ok(cu.cuMemGetMemPool(&found, &here, CU_MEM_ALLOCATION_TYPE_PINNED));
    assert_ptr_equal(found, pool);
    assert_ok(cu.cuMemAllocAsync(&p, 4096, NULL));
    assert_ok(cu.cuPointerGetAttribute(&found, CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE, p));
    assert_ptr_equal(found, pool);
    assert_ok(cu.cuMemFreeAsync(p, NULL));
    assert_ok(cu.cuMemPoolDestroy(pool));
    assert_ok(cu.cuDeviceGetMemPool(&found, 0));
    assert_ptr_equal(found, first);
    assert_int_equal(cu.cuMemPoolDestroy(first), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuDeviceSetMemPool(0, pool), CUDA_ERROR_INVALID_VALUE);
}

static void test_pool_access_is_the_devices_own(void **state)
{
    CUmemoryPool pool = new_pool(0);
    CUmemAccessDesc desc = {{CU_MEM_LOCATION_TYPE_DEVICE, 0}, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
    CUmemAccess_flags flags = CU_MEM_ACCESS_FLAGS_PROT_NONE;

    (void)state;
    assert_ok(cu.cuMemPoolGetAccess(&flags, pool, &desc.location));
    assert_int_equal(flags, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
    assert_ok(cu.cuMemPoolSetAccess(pool, &desc, 1));
    desc.location.id = 4000;
    assert_int_not_equal(cu.cuMemPoolSetAccess(pool, &desc, 1), CUDA_SUCCESS);
    assert_ok(cu.cuMemPoolDestroy(pool));
}

static void test_pool_bad_properties_are_refused(void **state)
{
    CUmemPoolProps props = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
                            .location = {CU_MEM_LOCATION_TYPE_DEVICE, 4000}};
    CUmemoryPool pool;

    (void)state;
    assert_int_not_equal(cu.cuMemPoolCreate(&pool, &props), CUDA_SUCCESS);
    props.location.id = 0;
    assert_int_equal(cu.cuMemPoolCreate(NULL, &props), CUDA_ERROR_INVALID_VALUE);
    props.allocType = CU_MEM_ALLOCATION_TYPE_INVALID;
    assert_int_equal(cu.cuMemPoolCreate(&pool, &props), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemPoolDestroy(NULL), CUDA_ERROR_INVALID_VALUE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_pool_##name, testing_open, testing_close)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(memory_is_used_in_stream_order),
        TEST(bad_arguments_are_refused),
        TEST(memory_may_be_freed_plainly),
        TEST(keeps_memory_below_its_threshold),
        TEST(without_a_threshold_gives_back_at_synchronisation),
        TEST(ends_at_its_maximum),
        TEST(destroyed_serves_what_it_gave),
        TEST(of_the_device_can_be_changed),
        TEST(access_is_the_devices_own),
        TEST(bad_properties_are_refused),
    };

    testing_load(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
