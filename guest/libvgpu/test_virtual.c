/* SPDX-License-Identifier: Apache-2.0 */
/* libvgpu: virtual memory management, against a fake host. */
#include "guest/libvgpu/test_host.h"

#define G 4096

static const CUmemAllocationProp here = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                         .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
static const CUmemAccessDesc access_all = {{CU_MEM_LOCATION_TYPE_DEVICE, 0},
                                           CU_MEM_ACCESS_FLAGS_PROT_READWRITE};

static CUmemGenericAllocationHandle create(size_t bytes)
{
    CUmemGenericAllocationHandle handle = 0;

    assert_ok(cuMemCreate(&handle, bytes, &here, 0));
    return handle;
}

/* Four grains of addresses, of which the first two are mapped with access. */
static CUdeviceptr open_mapped(void)
{
    CUdeviceptr p = 0;

    assert_ok(cuMemAddressReserve(&p, 4 * G, 0, 0, 0));
    for (unsigned i = 0; i < 2; i++) {
        CUmemGenericAllocationHandle handle = create(G);

        assert_ok(cuMemMap(p + i * G, G, 0, handle, 0));
        assert_ok(cuMemRelease(handle));
    }
    assert_ok(cuMemSetAccess(p, 2 * G, &access_all, 1));
    return p;
}

static void test_virtual_mappings_side_by_side_are_one_range(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUdeviceptr p;

    begin(&host, &context);
    p = open_mapped();
    assert_ok(cuMemsetD8_v2(p, 1, 2 * G));
    assert_ok(cuMemsetD8_v2(p + G - 1, 1, 2));
    assert_int_equal(cuMemsetD8_v2(p, 1, 2 * G + 1), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemsetD8_v2(p + G, 1, SIZE_MAX), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cuMemUnmap(p, G));
    assert_int_equal(cuMemsetD8_v2(p, 1, 1), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemsetD8_v2(p + G - 1, 1, 2), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cuMemsetD8_v2(p + G, 1, G));
    end(&host);
}

static void test_virtual_memory_is_released_with_its_last_mapping(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUmemGenericAllocationHandle again;
    CUdeviceptr p;

    begin(&host, &context);
    p = open_mapped();
    assert_int_equal(fake_count_op(&host, CUDA_OP_MEMORY_RELEASE), 0);
    assert_ok(cuMemRetainAllocationHandle(&again, (void *)(uintptr_t)(p + 1)));
    assert_ok(cuMemUnmap(p, 2 * G));
    assert_ok(cuCtxSynchronize());
    assert_int_equal(fake_count_op(&host, CUDA_OP_MEMORY_RELEASE), 1);
    assert_ok(cuMemRelease(again));
    assert_int_equal(cuMemRelease(again), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cuCtxSynchronize());
    assert_int_equal(fake_count_op(&host, CUDA_OP_MEMORY_RELEASE), 2);
    assert_ok(cuMemAddressFree(p, 4 * G));
    end(&host);
}

static void test_virtual_access_is_told(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUmemAccessDesc none = access_all;
    unsigned long long flags = 9;
    CUdeviceptr p;

    begin(&host, &context);
    p = open_mapped();
    assert_ok(cuMemGetAccess(&flags, &access_all.location, p + G + 7));
    assert_int_equal(flags, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
    none.flags = CU_MEM_ACCESS_FLAGS_PROT_NONE;
    assert_ok(cuMemSetAccess(p, G, &none, 1));
    assert_ok(cuMemGetAccess(&flags, &access_all.location, p));
    assert_int_equal(flags, 0);
    assert_int_equal(cuMemsetD8_v2(p, 1, 1), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemGetAccess(&flags, &access_all.location, p + 2 * G),
                     CUDA_ERROR_INVALID_VALUE);
    end(&host);
}

static void test_virtual_arguments_are_checked_at_once(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUmemGenericAllocationHandle handle;
    CUmemAllocationProp prop = here;
    CUmemAccessDesc bad = access_all;
    CUdeviceptr p, q;
    unsigned maps, unmaps;

    begin(&host, &context);
    p = open_mapped();
    maps = fake_count_op(&host, CUDA_OP_MEMORY_MAP);
    unmaps = fake_count_op(&host, CUDA_OP_MEMORY_UNMAP);
    handle = create(2 * G);
    assert_int_equal(cuMemMap(p, 2 * G, 0, handle, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemMap(p + 3 * G, 2 * G, 0, handle, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemMap(p + 4 * G, 2 * G, 0, handle, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemMap(p + 2 * G, 2 * G, 0, handle, 1), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemMap(p + 2 * G, 0, 0, handle, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemMap(p + 2 * G, 2 * G, G, handle, 0), CUDA_ERROR_NOT_SUPPORTED);
    assert_int_equal(cuMemMap(p + 2 * G, G, 0, handle, 0), CUDA_ERROR_NOT_SUPPORTED);
    assert_int_equal(cuMemMap(p + 2 * G, 3 * G, 0, handle, 0), CUDA_ERROR_NOT_SUPPORTED);
    assert_int_equal(cuMemMap(p + 2 * G, G, 0, 12345, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemUnmap(p, G / 2), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemUnmap(p, 3 * G), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemUnmap(p, SIZE_MAX), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemAddressFree(p, 4 * G), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemAddressReserve(&q, G, 3, 0, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemFree_v2(p), CUDA_ERROR_INVALID_VALUE);
    bad.flags = (CUmemAccess_flags)2;
    assert_int_equal(cuMemSetAccess(p, G, &bad, 1), CUDA_ERROR_INVALID_VALUE);
    bad = access_all;
    bad.location.id = 1;
    assert_int_equal(cuMemSetAccess(p, G, &bad, 1), CUDA_ERROR_INVALID_DEVICE);
    prop.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
    assert_int_equal(cuMemCreate(&handle, G, &prop, 0), CUDA_ERROR_NOT_SUPPORTED);
    assert_int_equal(fake_count_op(&host, CUDA_OP_MEMORY_MAP), maps);
    assert_int_equal(fake_count_op(&host, CUDA_OP_MEMORY_UNMAP), unmaps);
    end(&host);
}

static void test_virtual_granularity_comes_from_the_worker(void **state)
{
    struct fake_host host = {0};
    size_t bytes;

    begin(&host, NULL);
    assert_ok(cuMemGetAllocationGranularity(&bytes, &here, CU_MEM_ALLOC_GRANULARITY_MINIMUM));
    assert_int_equal(bytes, 4096);
    assert_ok(cuMemGetAllocationGranularity(&bytes, &here, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED));
    assert_int_equal(bytes, 8192);
    end(&host);
}

/* Handles of what ended with it are never given again: the worker may know the last ones still. */
static void test_virtual_everything_ends_with_the_primary_context(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUmemGenericAllocationHandle before, after;
    CUdeviceptr p;

    begin(&host, NULL);
    assert_ok(cuDevicePrimaryCtxRetain(&context, 0));
    assert_ok(cuCtxSetCurrent(context));
    p = open_mapped();
    before = create(G);
    assert_ok(cuDevicePrimaryCtxRelease_v2(0));
    assert_ok(cuDevicePrimaryCtxRetain(&context, 0));
    assert_ok(cuCtxSetCurrent(context));
    assert_int_equal(cuMemsetD8_v2(p, 1, 1), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemRelease(before), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemAddressFree(p, 4 * G), CUDA_ERROR_INVALID_VALUE);
    after = create(G);
    assert_int_not_equal(VGPU_HANDLE_INDEX((uint32_t)after), VGPU_HANDLE_INDEX((uint32_t)before));
    end(&host);
}

static void test_virtual_handles_end_at_their_maximum(void **state)
{
    struct fake_host host = {0};
    CUmemGenericAllocationHandle handle;
    unsigned count = 0;

    begin(&host, NULL);
    /* What earlier tests suspended is not there any more. */
    while (count <= CUDA_MAX_MEMORYS && cuMemCreate(&handle, G, &here, 0) == CUDA_SUCCESS)
        count++;
    assert_true(count > CUDA_MAX_MEMORYS - 16 && count <= CUDA_MAX_MEMORYS);
    assert_int_equal(cuMemCreate(&handle, G, &here, 0), CUDA_ERROR_OUT_OF_MEMORY);
    end(&host);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest both[] = {
        cmocka_unit_test(test_virtual_mappings_side_by_side_are_one_range),
        cmocka_unit_test(test_virtual_memory_is_released_with_its_last_mapping),
        cmocka_unit_test(test_virtual_access_is_told),
        cmocka_unit_test(test_virtual_arguments_are_checked_at_once),
        cmocka_unit_test(test_virtual_granularity_comes_from_the_worker),
        cmocka_unit_test(test_virtual_everything_ends_with_the_primary_context),
        cmocka_unit_test(test_virtual_handles_end_at_their_maximum),
    };

    return run_both(argc, argv, both, VGPU_ARRAY_SIZE(both), NULL, 0);
}
