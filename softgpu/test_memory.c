/* SPDX-License-Identifier: Apache-2.0 */
/* Device memory, pinned host memory, pointers, copies and memset. */
#include "softgpu/testing.h"

#include <sys/mman.h>

#define BYTES 4096

static void test_memory_allocations_are_aligned_and_found(void **state)
{
    CUdeviceptr p = testing_alloc(100), base;
    size_t size;

    (void)state;
    assert_int_equal(p % 512, 0);
    assert_ok(cu.cuMemGetAddressRange(&base, &size, p + 50));
    assert_int_equal(base, p);
    assert_int_equal(size, 100);
    assert_int_equal(cu.cuMemGetAddressRange(&base, &size, p + 100), CUDA_ERROR_NOT_FOUND);
    assert_ok(cu.cuMemFree(p));
    assert_int_equal(cu.cuMemGetAddressRange(&base, &size, p), CUDA_ERROR_NOT_FOUND);
}

static void test_memory_bad_allocations_are_refused(void **state)
{
    CUdeviceptr p;
    size_t pitch;

    (void)state;
    assert_int_equal(cu.cuMemAlloc(&p, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemAlloc(NULL, 4), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemAlloc(&p, UINT64_C(1) << 50), CUDA_ERROR_OUT_OF_MEMORY);
    assert_int_equal(cu.cuMemAlloc(&p, SIZE_MAX), CUDA_ERROR_OUT_OF_MEMORY);
    assert_int_equal(cu.cuMemAllocPitch(&p, &pitch, 100, 4, 3), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemAllocPitch(&p, &pitch, 0, 4, 4), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemAllocPitch(&p, &pitch, 100, 0, 4), CUDA_ERROR_INVALID_VALUE);
}

static void test_memory_bad_frees_are_refused(void **state)
{
    CUdeviceptr p = testing_alloc(64);
    char local;

    (void)state;
    assert_ok(cu.cuMemFree(0));
    assert_int_equal(cu.cuMemFree(p + 4), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemFree(12345), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemFree((uintptr_t)&local), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuMemFree(p));
    assert_int_equal(cu.cuMemFree(p), CUDA_ERROR_INVALID_VALUE);
}

/* Freeing what does not touch makes more gaps than there were allocations' cuts. */
static void test_memory_scattered_frees_are_whole(void **state)
{
    CUdeviceptr p[64];

    (void)state;
    for (size_t i = 0; i < 64; i++)
        p[i] = testing_alloc(1024);
    for (size_t i = 0; i < 64; i += 2)
        assert_ok(cu.cuMemFree(p[i]));
    for (size_t i = 0; i < 64; i += 2)
        p[i] = testing_alloc(4096);
    for (size_t i = 0; i < 64; i++)
        assert_ok(cu.cuMemFree(p[i]));
}

static void test_memory_all_of_the_device_can_be_had_but_no_more(void **state)
{
    size_t free_bytes, total, after;
    CUdeviceptr p, q;

    (void)state;
    testing_softgpu_only(); /* NVIDIA's driver keeps some for itself */
    assert_ok(cu.cuMemGetInfo(&free_bytes, &total));
    assert_int_equal(cu.cuMemAlloc(&p, free_bytes + 1), CUDA_ERROR_OUT_OF_MEMORY);
    assert_ok(cu.cuMemAlloc(&p, free_bytes));
    assert_int_equal(cu.cuMemAlloc(&q, 1), CUDA_ERROR_OUT_OF_MEMORY);
    assert_ok(cu.cuMemGetInfo(&after, &total));
    assert_int_equal(after, 0);
    assert_ok(cu.cuMemFree(p));
    assert_ok(cu.cuMemGetInfo(&after, &total));
    assert_int_equal(after, free_bytes);
}

static void test_memory_pitch_is_a_multiple_of_512(void **state)
{
    size_t pitch;
    CUdeviceptr p;

    (void)state;
    assert_ok(cu.cuMemAllocPitch(&p, &pitch, 513, 4, 16));
    assert_int_equal(pitch, 1024);
    assert_ok(cu.cuMemsetD2D8(p, pitch, 1, 513, 4));
}

static void test_memory_pinned_has_one_address(void **state)
{
    CUdeviceptr device;
    unsigned flags;
    char *p;

    (void)state;
    assert_int_equal(cu.cuMemHostAlloc((void **)&p, 64, 8), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuMemHostAlloc((void **)&p, 100,
                                CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_WRITECOMBINED));
    assert_ok(cu.cuMemHostGetFlags(&flags, p));
    assert_int_equal(flags, CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP |
                                CU_MEMHOSTALLOC_WRITECOMBINED);
    assert_ok(cu.cuMemHostGetDevicePointer(&device, p + 10, 0));
    assert_int_equal(device, (uintptr_t)p + 10);
    assert_int_equal(cu.cuMemHostGetDevicePointer(&device, p + 100, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemHostGetDevicePointer(&device, p, 1), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemFree((uintptr_t)p), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemHostUnregister(p), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemFreeHost(p + 8), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuMemFreeHost(p));
    assert_int_equal(cu.cuMemFreeHost(p), CUDA_ERROR_INVALID_VALUE);
}

static void test_memory_registered_ranges_may_not_overlap(void **state)
{
    char *p = mmap(NULL, 4 * BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CUdeviceptr device;

    (void)state;
    assert_int_equal(cu.cuMemHostRegister(p, 0, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemHostRegister(NULL, 64, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemHostRegister(p, 64, 16), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuMemHostRegister(p + 100, 1000, 0));
    assert_ok(cu.cuMemHostGetDevicePointer(&device, p + 100, 0));
    assert_int_equal(device, (uintptr_t)p + 100);
    assert_int_equal(cu.cuMemHostGetDevicePointer(&device, p + 99, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemHostRegister(p + 150, BYTES, 0),
                     CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
    assert_ok(cu.cuMemHostRegister(p + 2000, 100, 0));
    assert_int_equal(cu.cuMemHostUnregister(p + 104), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuMemHostUnregister(p + 100));
    assert_int_equal(cu.cuMemHostUnregister(p + 100), CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
    assert_ok(cu.cuMemHostUnregister(p + 2000));
    munmap(p, 4 * BYTES);
}

static void test_memory_registering_nothing_is_refused(void **state)
{
    char *p = mmap(NULL, 3 * BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)state;
    munmap(p + BYTES, BYTES);
    assert_int_not_equal(cu.cuMemHostRegister(p, 3 * BYTES, 0), CUDA_SUCCESS);
    munmap(p, BYTES);
    munmap(p + 2 * BYTES, BYTES);
}

static void test_memory_pointer_attributes_tell_kinds_apart(void **state)
{
    CUdeviceptr p = testing_alloc(64);
    unsigned type[2];
    uint64_t value;
    void *pinned;
    char local;

    (void)state;
    assert_ok(cu.cuMemAllocHost(&pinned, 64));
    type[0] = type[1] = 0xaaaaaaaa;
    assert_ok(cu.cuPointerGetAttribute(type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, p + 63));
    assert_int_equal(type[0], CU_MEMORYTYPE_DEVICE);
    assert_int_equal(type[1], 0xaaaaaaaa);
    assert_ok(cu.cuPointerGetAttribute(type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, (uintptr_t)pinned));
    assert_int_equal(type[0], CU_MEMORYTYPE_HOST);
    assert_ok(cu.cuPointerGetAttribute(&value, CU_POINTER_ATTRIBUTE_CONTEXT, p));
    assert_ptr_equal((void *)value, testing_context);
    assert_ok(cu.cuPointerGetAttribute(&value, CU_POINTER_ATTRIBUTE_RANGE_SIZE, p + 5));
    assert_int_equal(value, 64);
    assert_int_equal(cu.cuPointerGetAttribute(&value, CU_POINTER_ATTRIBUTE_HOST_POINTER, p),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(
        cu.cuPointerGetAttribute(&value, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, (uintptr_t)&local),
        CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuPointerGetAttribute(&value, 77, p), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuMemFreeHost(pinned));
}

static void test_memory_pointer_attributes_of_unknown_are_zero(void **state)
{
    CUpointer_attribute attributes[] = {CU_POINTER_ATTRIBUTE_CONTEXT,
                                        CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
                                        CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL};
    uint64_t context = 1, type = 1;
    int ordinal = 1;
    char local;

    (void)state;
    assert_ok(cu.cuPointerGetAttributes(3, attributes, (void *[]){&context, &type, &ordinal},
                                        (uintptr_t)&local));
    assert_int_equal(context, 0);
    assert_int_equal(type, 0);
    assert_int_equal(ordinal, -2);
}

static void test_memory_copies_carry_bytes(void **state)
{
    CUdeviceptr a = testing_alloc(BYTES), b = testing_alloc(BYTES);
    uint8_t in[BYTES], out[BYTES] = {0};

    (void)state;
    for (size_t i = 0; i < BYTES; i++)
        in[i] = (uint8_t)(i * 7 + 1);
    assert_ok(cu.cuMemcpyHtoD(a, in, BYTES));
    assert_ok(cu.cuMemcpyDtoD(b, a, BYTES));
    assert_ok(cu.cuMemcpyDtoH(out, b, BYTES));
    assert_memory_equal(in, out, BYTES);
    memset(out, 0, BYTES);
    assert_ok(cu.cuMemcpy((uintptr_t)out, b, BYTES));
    assert_memory_equal(in, out, BYTES);
}

static void test_memory_copies_are_bounded(void **state)
{
    CUdeviceptr p = testing_alloc(100);
    char local[256] = {0};

    (void)state;
    assert_ok(cu.cuMemcpyHtoD(p, local, 100));
    assert_int_equal(cu.cuMemcpyHtoD(p, local, 101), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemcpyDtoH(local, p + 1, 100), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemcpyDtoH(local, p - 1, 1), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemcpyHtoD(0x1234, local, 4), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemcpyHtoD((uintptr_t)local, local + 128, 4), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemcpyHtoD(p, NULL, 4), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuMemcpyHtoD(0x1234, local, 0));
}

static void test_memory_async_copy_reads_pageable_source_at_once(void **state)
{
    CUdeviceptr p = testing_alloc(BYTES);
    uint8_t data[BYTES];
    CUstream stream;

    (void)state;
    assert_ok(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    memset(data, 1, BYTES);
    assert_ok(cu.cuMemcpyHtoDAsync(p, data, BYTES, stream));
    memset(data, 2, BYTES);
    assert_ok(cu.cuStreamSynchronize(stream));
    assert_ok(cu.cuMemcpyDtoH(data, p, BYTES));
    assert_int_equal(data[0], 1);
    assert_int_equal(data[BYTES - 1], 1);
}

static CUDA_MEMCPY2D copy_2d(const void *src, size_t src_pitch, CUdeviceptr dst, size_t dst_pitch)
{
    return (CUDA_MEMCPY2D){
        .srcMemoryType = CU_MEMORYTYPE_HOST,
        .srcHost = src,
        .srcPitch = src_pitch,
        .dstMemoryType = CU_MEMORYTYPE_DEVICE,
        .dstDevice = dst,
        .dstPitch = dst_pitch,
        .WidthInBytes = 8,
        .Height = 4,
    };
}

static void test_memory_copy_2d_places_rows(void **state)
{
    CUdeviceptr p = testing_alloc(4 * 64);
    uint8_t in[4 * 16], out[4 * 64];
    CUDA_MEMCPY2D copy = copy_2d(in, 16, p, 64);

    (void)state;
    for (size_t i = 0; i < sizeof(in); i++)
        in[i] = (uint8_t)i;
    copy.srcXInBytes = 4;
    copy.dstXInBytes = 2;
    assert_ok(cu.cuMemsetD8(p, 0xee, sizeof(out)));
    assert_ok(cu.cuMemcpy2D(&copy));
    assert_ok(cu.cuMemcpyDtoH(out, p, sizeof(out)));
    for (size_t y = 0; y < 4; y++) {
        assert_int_equal(out[y * 64 + 1], 0xee);
        assert_memory_equal(&out[y * 64 + 2], &in[y * 16 + 4], 8);
        assert_int_equal(out[y * 64 + 10], 0xee);
    }
}

static void test_memory_copy_2d_is_checked(void **state)
{
    CUdeviceptr p = testing_alloc(64);
    char in[1024] = {0};
    CUDA_MEMCPY2D copy = copy_2d(in, 16, p, 16);

    (void)state;
    assert_ok(cu.cuMemcpy2D(&copy));
    copy.Height = 5;
    assert_int_equal(cu.cuMemcpy2D(&copy), CUDA_ERROR_INVALID_VALUE);
    copy.Height = 4;
    copy.srcPitch = 7;
    assert_int_equal(cu.cuMemcpy2D(&copy), CUDA_ERROR_INVALID_VALUE);
    copy.srcPitch = 16;
    copy.srcXInBytes = 9;
    assert_int_equal(cu.cuMemcpy2D(&copy), CUDA_ERROR_INVALID_VALUE);
    copy.srcXInBytes = 0;
    copy.srcMemoryType = 9;
    assert_int_equal(cu.cuMemcpy2D(&copy), CUDA_ERROR_INVALID_VALUE);
    copy.srcMemoryType = CU_MEMORYTYPE_HOST;
    copy.dstPitch = UINT64_C(1) << 31;
    assert_int_equal(cu.cuMemcpy2D(&copy), CUDA_ERROR_INVALID_VALUE);
    copy.WidthInBytes = 0;
    assert_ok(cu.cuMemcpy2D(&copy));
}

static void test_memory_copy_3d_places_slices(void **state)
{
    CUdeviceptr p = testing_alloc(2 * 4 * 16);
    uint8_t in[2 * 4 * 8], out[2 * 4 * 16];
    CUDA_MEMCPY3D copy = {
        .srcMemoryType = CU_MEMORYTYPE_HOST,
        .srcHost = in,
        .srcPitch = 8,
        .srcHeight = 4,
        .dstMemoryType = CU_MEMORYTYPE_DEVICE,
        .dstDevice = p,
        .dstPitch = 16,
        .dstHeight = 4,
        .WidthInBytes = 8,
        .Height = 4,
        .Depth = 2,
    };

    (void)state;
    for (size_t i = 0; i < sizeof(in); i++)
        in[i] = (uint8_t)(i + 1);
    assert_ok(cu.cuMemcpy3D(&copy));
    assert_ok(cu.cuMemcpyDtoH(out, p, sizeof(out)));
    assert_memory_equal(&out[(1 * 4 + 3) * 16], &in[(1 * 4 + 3) * 8], 8);
    copy.srcHeight = 3;
    assert_int_equal(cu.cuMemcpy3D(&copy), CUDA_ERROR_INVALID_VALUE);
    copy.srcHeight = 4;
    copy.Depth = 3;
    assert_int_equal(cu.cuMemcpy3D(&copy), CUDA_ERROR_INVALID_VALUE);
}

static void test_memory_memset_fills_units(void **state)
{
    CUdeviceptr p = testing_alloc(64);
    uint16_t out16[32];
    uint32_t out32[16];

    (void)state;
    assert_ok(cu.cuMemsetD16(p, 0x1234, 32));
    assert_ok(cu.cuMemcpyDtoH(out16, p, 64));
    assert_int_equal(out16[31], 0x1234);
    assert_ok(cu.cuMemsetD32(p + 4, 0xdeadbeef, 15));
    assert_ok(cu.cuMemcpyDtoH(out32, p, 64));
    assert_int_equal(out32[0], 0x12341234);
    assert_int_equal(out32[15], 0xdeadbeef);
}

static void test_memory_memset_is_checked(void **state)
{
    CUdeviceptr p = testing_alloc(64);
    char local[64];

    (void)state;
    assert_ok(cu.cuMemsetD8(p, 0, 0));
    assert_int_equal(cu.cuMemsetD16(p + 1, 0, 4), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemsetD32(p + 2, 0, 4), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemsetD8(p, 0, 65), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemsetD8((uintptr_t)local, 0, 4), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemsetD2D8(p, 4, 0, 8, 2), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuMemsetD2D8(p, 0, 0, 8, 1));
    assert_int_equal(cu.cuMemsetD2D16(p, 17, 0, 4, 2), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuMemsetD2D8(p, 32, 0, 33, 2), CUDA_ERROR_INVALID_VALUE);
}

static void test_memory_of_an_ended_context_is_gone(void **state)
{
    CUcontext context;
    CUdeviceptr p, base;
    size_t size;

    (void)state;
    assert_ok(cu.cuCtxCreate_v2(&context, 0, 0));
    p = testing_alloc(64);
    assert_ok(cu.cuCtxDestroy(context));
    assert_int_equal(cu.cuMemGetAddressRange(&base, &size, p), CUDA_ERROR_NOT_FOUND);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_memory_##name, testing_open, testing_close)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(allocations_are_aligned_and_found),
        TEST(bad_allocations_are_refused),
        TEST(bad_frees_are_refused),
        TEST(scattered_frees_are_whole),
        TEST(all_of_the_device_can_be_had_but_no_more),
        TEST(pitch_is_a_multiple_of_512),
        TEST(pinned_has_one_address),
        TEST(registered_ranges_may_not_overlap),
        TEST(registering_nothing_is_refused),
        TEST(pointer_attributes_tell_kinds_apart),
        TEST(pointer_attributes_of_unknown_are_zero),
        TEST(copies_carry_bytes),
        TEST(copies_are_bounded),
        TEST(async_copy_reads_pageable_source_at_once),
        TEST(copy_2d_places_rows),
        TEST(copy_2d_is_checked),
        TEST(copy_3d_places_slices),
        TEST(memset_fills_units),
        TEST(memset_is_checked),
        TEST(of_an_ended_context_is_gone),
    };

    testing_load(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
