/* SPDX-License-Identifier: Apache-2.0 */
/* libvgpu: stream-ordered allocation and pools, against a fake host. */
#include "guest/libvgpu/test_host.h"

static const CUmemPoolProps here = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
                                    .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};

static void test_pool_free_is_posted(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUdeviceptr pointer;

    begin(&host, &context);
    assert_ok(cuMemAllocAsync(&pointer, 64, NULL));
    assert_ok(cuMemsetD8_v2(pointer, 1, 64));
    assert_int_equal(cuMemFreeAsync(pointer + 1, NULL), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cuMemFreeAsync(pointer, NULL));
    assert_int_equal(cuMemFreeAsync(pointer, NULL), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemsetD8_v2(pointer, 1, 64), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cuCtxSynchronize());
    assert_int_equal(fake_count_op(&host, CUDA_OP_POOL_FREE), 1);
    end(&host);
}

static void test_pool_free_takes_no_plain_allocation(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUdeviceptr pointer;

    begin(&host, &context);
    assert_ok(cuMemAlloc_v2(&pointer, 64));
    assert_int_equal(cuMemFreeAsync(pointer, NULL), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cuMemAllocAsync(&pointer, 64, NULL));
    assert_ok(cuMemFree_v2(pointer));
    assert_int_equal(fake_count_op(&host, CUDA_OP_POOL_FREE), 0);
    end(&host);
}

static void test_pool_current_is_the_guests_matter(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUmemoryPool pool, found, first;
    CUdeviceptr pointer;

    begin(&host, &context);
    assert_ok(cuDeviceGetDefaultMemPool(&first, 0));
    assert_ok(cuMemPoolCreate(&pool, &here));
    assert_ok(cuDeviceSetMemPool(0, pool));
    assert_ok(cuMemAllocAsync(&pointer, 64, NULL));
    assert_ok(cuPointerGetAttribute(&found, CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE, pointer));
    assert_ptr_equal(found, pool);
    assert_ok(cuMemPoolDestroy(pool));
    assert_ok(cuDeviceGetMemPool(&found, 0));
    assert_ptr_equal(found, first);
    assert_int_equal(cuMemPoolDestroy(pool), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemPoolDestroy(first), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuDeviceGetMemPool(&found, 1), CUDA_ERROR_INVALID_DEVICE);
    end(&host);
}

static void test_pool_arguments_are_checked_at_once(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUmemPoolProps props = here;
    CUmemoryPool pool;
    CUdeviceptr pointer;
    uint64_t value = 0;

    begin(&host, &context);
    assert_int_equal(cuMemAllocAsync(NULL, 4, NULL), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemAllocAsync(&pointer, 0, NULL), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemAllocFromPoolAsync(&pointer, 4, NULL, NULL), CUDA_ERROR_INVALID_VALUE);
    props.handleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
    assert_int_equal(cuMemPoolCreate(&pool, &props), CUDA_ERROR_NOT_SUPPORTED);
    assert_ok(cuDeviceGetDefaultMemPool(&pool, 0));
    assert_int_equal(cuMemPoolGetAttribute(pool, (CUmemPool_attribute)0, &value),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemPoolGetAttribute(pool, (CUmemPool_attribute)9, &value),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(fake_count_op(&host, CUDA_OP_POOL_GET_ATTRIBUTE), 0);
    assert_ok(cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &value));
    assert_int_equal(value, 5);
    end(&host);
}

/* An int attribute is written as one, and no byte behind it. */
static void test_pool_attributes_have_their_sizes(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUmemoryPool pool;
    int values[2] = {-1, -1};

    begin(&host, &context);
    assert_ok(cuDeviceGetDefaultMemPool(&pool, 0));
    assert_ok(cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC, values));
    assert_int_equal(values[0], 5);
    assert_int_equal(values[1], -1);
    end(&host);
}

static void test_pool_memory_goes_with_its_context(void **state)
{
    struct fake_host host = {0};
    CUcontext context, second;
    CUdeviceptr pointer, base;

    begin(&host, &context);
    assert_ok(cuCtxCreate_v2(&second, 0, 0));
    assert_ok(cuMemAllocAsync(&pointer, 64, NULL));
    assert_ok(cuCtxDestroy_v2(second));
    assert_ok(cuCtxSetCurrent(context));
    assert_int_equal(cuMemGetAddressRange_v2(&base, NULL, pointer), CUDA_ERROR_NOT_FOUND);
    end(&host);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest both[] = {
        cmocka_unit_test(test_pool_free_is_posted),
        cmocka_unit_test(test_pool_free_takes_no_plain_allocation),
        cmocka_unit_test(test_pool_current_is_the_guests_matter),
        cmocka_unit_test(test_pool_arguments_are_checked_at_once),
        cmocka_unit_test(test_pool_attributes_have_their_sizes),
        cmocka_unit_test(test_pool_memory_goes_with_its_context),
    };

    return run_both(argc, argv, both, VGPU_ARRAY_SIZE(both), NULL, 0);
}
