/* SPDX-License-Identifier: Apache-2.0 */
/* Virtual memory management: reservations, memory, mappings, access. */
#include "softgpu/testing.h"

static const CUmemAllocationProp here = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                         .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
static const CUmemAccessDesc access_all = {{CU_MEM_LOCATION_TYPE_DEVICE, 0},
                                           CU_MEM_ACCESS_FLAGS_PROT_READWRITE};

static size_t grain(void)
{
    size_t bytes = 0;

    assert_ok(cu.cuMemGetAllocationGranularity(&bytes, &here, CU_MEM_ALLOC_GRANULARITY_MINIMUM));
    return bytes;
}

static CUmemGenericAllocationHandle create(size_t bytes)
{
    CUmemGenericAllocationHandle handle = 0;

    assert_ok(cu.cuMemCreate(&handle, bytes, &here, 0));
    return handle;
}

static CUdeviceptr reserve(size_t bytes)
{
    CUdeviceptr p = 0;

    assert_ok(cu.cuMemAddressReserve(&p, bytes, 0, 0, 0));
    return p;
}

static void test_virtual_mappings_side_by_side_are_one_range(void **state)
{
    size_t g = grain();
    CUmemGenericAllocationHandle a = create(g), b = create(g);
    CUdeviceptr p = reserve(4 * g);
    uint32_t words[4] = {0};

    (void)state;
    assert_ok(cu.cuMemMap(p, g, 0, a, 0));
    assert_ok(cu.cuMemMap(p + g, g, 0, b, 0));
    assert_ok(cu.cuMemSetAccess(p, 2 * g, &access_all, 1));
    assert_ok(cu.cuMemRelease(a));
    assert_ok(cu.cuMemRelease(b));
    assert_ok(cu.cuMemsetD32(p, 0x1234, 2 * g / 4));
    assert_ok(cu.cuMemcpyDtoH(words, p + g - 8, sizeof(words)));
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(words[i], 0x1234);
    assert_int_equal(cu.cuMemcpyDtoH(words, p + 2 * g - 8, 16), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuMemUnmap(p, g));
    assert_int_equal(cu.cuMemcpyDtoH(words, p, 16), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuMemcpyDtoH(words, p + g, 16));
    assert_ok(cu.cuMemUnmap(p + g, g));
    assert_ok(cu.cuMemAddressFree(p, 4 * g));
}

static void test_virtual_memory_seen_at_two_addresses_is_one(void **state)
{
    size_t g = grain();
    CUmemGenericAllocationHandle a = create(g);
    CUdeviceptr p = reserve(2 * g);
    uint32_t word = 0;

    (void)state;
    assert_ok(cu.cuMemMap(p, g, 0, a, 0));
    assert_ok(cu.cuMemMap(p + g, g, 0, a, 0));
    assert_ok(cu.cuMemSetAccess(p, 2 * g, &access_all, 1));
    assert_ok(cu.cuMemsetD32(p, 77, 1));
    assert_ok(cu.cuMemcpyDtoH(&word, p + g, 4));
    assert_int_equal(word, 77);
    assert_ok(cu.cuMemUnmap(p, 2 * g));
    assert_ok(cu.cuMemRelease(a));
    assert_ok(cu.cuMemAddressFree(p, 2 * g));
}

static void test_virtual_kernels_reach_what_is_mapped(void **state)
{
    CUfunction store = testing_function("store");
    size_t g = grain();
    CUmemGenericAllocationHandle a = create(g);
    CUdeviceptr p = reserve(g);
    uint32_t value = 4711, word = 0;
    void *params[] = {&p, &value};

    (void)state;
    assert_ok(cu.cuMemMap(p, g, 0, a, 0));
    assert_ok(cu.cuMemSetAccess(p, g, &access_all, 1));
    assert_ok(cu.cuLaunchKernel(store, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
    assert_ok(cu.cuMemcpyDtoH(&word, p, 4));
    assert_int_equal(word, 4711);
    assert_ok(cu.cuMemUnmap(p, g));
    assert_ok(cu.cuMemRelease(a));
    assert_ok(cu.cuMemAddressFree(p, g));
}

static void test_virtual_kernels_fault_without_access(void **state)
{
    CUfunction store = testing_function("store");
    size_t g = grain();
    CUmemGenericAllocationHandle a = create(g);
    CUdeviceptr p = reserve(g);
    uint32_t value = 1;
    void *params[] = {&p, &value};

    (void)state;
    testing_softgpu_only(); /* elsewhere the error would be the whole process's */
    assert_ok(cu.cuMemMap(p, g, 0, a, 0));
    assert_int_equal(cu.cuMemcpyHtoD(p, &value, 4), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuLaunchKernel(store, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
    assert_int_equal(cu.cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_ok(cu.cuMemUnmap(p, g));
    assert_ok(cu.cuMemRelease(a));
    assert_ok(cu.cuMemAddressFree(p, g));
}

static void test_virtual_memory_lives_while_it_is_held_or_mapped(void **state)
{
    size_t g = grain(), before, after, total;
    CUmemGenericAllocationHandle a, again;
    CUdeviceptr p = reserve(g);

    (void)state;
    assert_ok(cu.cuMemGetInfo(&before, &total));
    a = create(g);
    assert_ok(cu.cuMemMap(p, g, 0, a, 0));
    assert_ok(cu.cuMemRelease(a));
    assert_int_equal(cu.cuMemRelease(a), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuMemRetainAllocationHandle(&again, (void *)(uintptr_t)(p + 5)));
    assert_int_equal(again, a);
    assert_ok(cu.cuMemUnmap(p, g));
    assert_ok(cu.cuMemGetInfo(&after, &total));
    assert_int_equal(before - after, g);
    assert_ok(cu.cuMemRelease(again));
    assert_ok(cu.cuMemGetInfo(&after, &total));
    assert_int_equal(before, after);
    assert_ok(cu.cuMemAddressFree(p, g));
}

static void test_virtual_access_is_told(void **state)
{
    size_t g = grain();
    CUmemGenericAllocationHandle a = create(g);
    CUdeviceptr p = reserve(g);
    unsigned long long flags = 9;

    (void)state;
    assert_ok(cu.cuMemMap(p, g, 0, a, 0));
    assert_ok(cu.cuMemSetAccess(p, g, &access_all, 1));
    assert_ok(cu.cuMemGetAccess(&flags, &access_all.location, p + 1));
    assert_int_equal(flags, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
    assert_ok(cu.cuMemUnmap(p, g));
    assert_int_equal(cu.cuMemGetAccess(&flags, &access_all.location, p), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuMemRelease(a));
    assert_ok(cu.cuMemAddressFree(p, g));
}

static void test_virtual_bad_arguments_are_refused(void **state)
{
    size_t g = grain();
    CUmemGenericAllocationHandle a = create(2 * g);
    CUdeviceptr p = reserve(4 * g), q;
    CUmemAllocationProp prop = here;

    (void)state;
    assert_int_equal(cu.cuMemCreate(&a, g + 1, &here, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemCreate(&a, (size_t)1 << 50, &here, 0), CUDA_ERROR_OUT_OF_MEMORY);
    prop.type = CU_MEM_ALLOCATION_TYPE_INVALID;
    assert_int_equal(cu.cuMemCreate(&a, g, &prop, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemAddressReserve(&q, g, 3, 0, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemAddressFree(p, g), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemMap(p + 1, g, 0, a, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemMap(p + 3 * g, 2 * g, 0, a, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemMap(p, 3 * g, 0, a, 0), CUDA_ERROR_NOT_SUPPORTED);
    assert_int_equal(cu.cuMemMap(p, g, 0, a, 0), CUDA_ERROR_NOT_SUPPORTED);
    assert_int_equal(cu.cuMemMap(p, g, g, a, 0), CUDA_ERROR_NOT_SUPPORTED);
    assert_ok(cu.cuMemMap(p, 2 * g, 0, a, 0));
    assert_int_equal(cu.cuMemMap(p + g, 2 * g, 0, a, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemAddressFree(p, 4 * g), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemUnmap(p, g), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemSetAccess(p, 3 * g, &access_all, 1), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemFree(p), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuMemUnmap(p, 2 * g));
    assert_ok(cu.cuMemRelease(a));
    assert_ok(cu.cuMemAddressFree(p, 4 * g));
    assert_int_equal(cu.cuMemAddressFree(p, 4 * g), CUDA_ERROR_INVALID_VALUE);
}

static void test_virtual_alignment_is_kept(void **state)
{
    size_t g = grain(), align = 64 << 20;
    CUdeviceptr p = 0;

    (void)state;
    assert_ok(cu.cuMemAddressReserve(&p, g, align, 0, 0));
    assert_int_equal(p % align, 0);
    assert_ok(cu.cuMemAddressFree(p, g));
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_virtual_##name, testing_open, testing_close)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(mappings_side_by_side_are_one_range),
        TEST(memory_seen_at_two_addresses_is_one),
        TEST(kernels_reach_what_is_mapped),
        TEST(kernels_fault_without_access),
        TEST(memory_lives_while_it_is_held_or_mapped),
        TEST(access_is_told),
        TEST(bad_arguments_are_refused),
        TEST(alignment_is_kept),
    };

    testing_load(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
