/* SPDX-License-Identifier: Apache-2.0 */
/* libvgpu: one address space for program and device, and what happens where it cannot be. */
#include "guest/libvgpu/test_host.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/flag.h"
#include "guest/libvgpu/unified.h"

#define PAGE 4096u

static void begin_unified(struct fake_host *host, CUcontext *ret_context)
{
    host->unified = true;
    begin(host, ret_context);
}

static int attribute(CUdevice_attribute which)
{
    int value;

    assert_ok(cuDeviceGetAttribute(&value, which, 0));
    return value;
}

/* msync answers an error for what is not mapped. */
static bool is_mapped(uint64_t address)
{
    return msync((void *)(uintptr_t)(address & ~(uint64_t)(PAGE - 1)), PAGE, MS_ASYNC) == 0;
}

static void test_unified_pointers_are_equal(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUdeviceptr device;
    void *memory;

    begin_unified(&host, &context);
    assert_int_equal(attribute(CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING), 1);
    assert_ok(cuMemHostAlloc(&memory, 3 * PAGE, CU_MEMHOSTALLOC_DEVICEMAP));
    assert_ok(cuMemHostGetDevicePointer_v2(&device, memory, 0));
    assert_int_equal(device, (uintptr_t)memory);
    assert_true((uintptr_t)memory >= VGPU_BAND_START && (uintptr_t)memory < VGPU_BAND_END);
    assert_ok(cuMemFreeHost(memory));
    end(&host);
    assert_false(is_mapped(FAKE_UNIFIED_AT));
}

static void test_unified_is_not_where_the_worker_has_none(void **state)
{
    struct fake_host host = {0};
    CUcontext context;

    begin(&host, &context);
    assert_int_equal(attribute(CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING), 0);
    assert_true(unified_reserve(0, UINT64_MAX));
    end(&host);
}

static void test_unified_is_not_where_the_address_is_taken(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUdeviceptr device;
    void *memory;
    void *wall = mmap((void *)(uintptr_t)(FAKE_UNIFIED_AT + 8 * PAGE), PAGE, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

    assert_ptr_not_equal(wall, MAP_FAILED);
    begin_unified(&host, &context);
    assert_int_equal(attribute(CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING), 0);
    assert_false(is_mapped(FAKE_UNIFIED_AT));
    assert_ok(cuMemHostAlloc(&memory, PAGE, 0));
    memset(memory, 1, PAGE);
    assert_ok(cuMemHostGetDevicePointer_v2(&device, memory, 0));
    assert_int_not_equal(device, (uintptr_t)memory);
    end(&host);
    munmap(wall, PAGE);
}

static void test_unified_device_memory_is_reserved(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUdeviceptr first, second, third;

    begin_unified(&host, &context);
    assert_false(is_mapped(FAKE_DEVICE_BASE));
    assert_ok(cuMemAlloc_v2(&first, 100));
    assert_ok(cuMemAlloc_v2(&second, 100));
    assert_ok(cuMemAlloc_v2(&third, 5 * PAGE));
    assert_int_equal(first / PAGE, second / PAGE);
    assert_true(is_mapped(first) && is_mapped(third) && is_mapped(third + 5 * PAGE - 1));
    assert_false(is_mapped(third + 6 * PAGE));
    /* The driver may give the address again. */
    assert_ok(cuMemFree_v2(first));
    assert_true(is_mapped(second));
    end(&host);
    assert_false(is_mapped(FAKE_DEVICE_BASE));
}

static void test_unified_taken_address_is_given_back(void **state)
{
    struct fake_host host = {.bad_addresses = 7};
    CUcontext context;
    CUdeviceptr pointer;
    size_t pitch;

    begin_unified(&host, &context);
    assert_ok(cuMemAlloc_v2(&pointer, PAGE));
    assert_true(pointer >= FAKE_DEVICE_BASE && pointer < FAKE_DEVICE_BASE + FAKE_DEVICE_BYTES);
    assert_int_equal(fake_count_op(&host, CUDA_OP_MEMORY_ALLOC), 8);
    assert_int_equal(fake_count_op(&host, CUDA_OP_MEMORY_FREE), 7);
    vgpu_flag_set(&host.bad_addresses, 8);
    assert_int_equal(cuMemAlloc_v2(&pointer, PAGE), CUDA_ERROR_OUT_OF_MEMORY);
    assert_int_equal(fake_count_op(&host, CUDA_OP_MEMORY_FREE), 15);
    assert_ok(cuMemAllocPitch_v2(&pointer, &pitch, 16, 4, 4));
    end(&host);
}

static uint32_t waited_fills;

static bool count_waited_fill(struct fake_host *host, const struct vgpu_record *record)
{
    (void)host;
    if (record->op == CUDA_OP_FILL && (record->flags & VGPU_RECORD_WAIT))
        vgpu_flag_set(&waited_fills, vgpu_flag_get(&waited_fills) + 1);
    return false;
}

/* The program may read page-locked memory at once after a memset without a stream. */
static void test_unified_memset_of_host_memory_waits(void **state)
{
    struct fake_host host = {.on_record = count_waited_fill};
    CUcontext context;
    CUdeviceptr device, pinned;
    void *memory;

    vgpu_flag_set(&waited_fills, 0);
    begin_unified(&host, &context);
    assert_ok(cuMemAlloc_v2(&device, 256));
    assert_ok(cuMemHostAlloc(&memory, PAGE, CU_MEMHOSTALLOC_DEVICEMAP));
    assert_ok(cuMemHostGetDevicePointer_v2(&pinned, memory, 0));
    assert_ok(cuMemsetD8_v2(device, 1, 256));
    assert_ok(cuMemsetD32Async(pinned, 1, 4, NULL));
    assert_ok(cuCtxSynchronize());
    assert_int_equal(vgpu_flag_get(&waited_fills), 0);
    assert_ok(cuMemsetD16_v2(pinned, 0x1234, 8));
    assert_int_equal(vgpu_flag_get(&waited_fills), 1);
    assert_int_equal(((const uint16_t *)memory)[7], 0x1234);
    end(&host);
}

static void test_unified_copies_find_their_direction(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUdeviceptr device;
    uint8_t plain[256], *pinned;
    void *memory;

    begin_unified(&host, &context);
    assert_ok(cuMemHostAlloc(&memory, PAGE, 0));
    pinned = memory;
    memset(pinned, 0x5a, 256);
    assert_ok(cuMemAlloc_v2(&device, 256));
    assert_ok(cuMemcpy(device, (CUdeviceptr)(uintptr_t)pinned, 256));
    memset(pinned, 0, 256);
    assert_ok(cuMemcpy((CUdeviceptr)(uintptr_t)pinned + 16, device, 128));
    assert_int_equal(pinned[15], 0);
    assert_int_equal(pinned[16], 0x5a);
    assert_int_equal(pinned[143], 0x5a);
    assert_int_equal(pinned[144], 0);
    /* The function's name says host; the address says what it is. */
    memset(plain, 0, sizeof(plain));
    assert_ok(cuMemcpyDtoH_v2(plain, device, 256));
    assert_int_equal(plain[255], 0x5a);
    assert_ok(cuMemsetD8_v2((CUdeviceptr)(uintptr_t)pinned, 0x21, 64));
    assert_ok(cuCtxSynchronize());
    assert_int_equal(pinned[63], 0x21);
    assert_ok(cuMemcpyHtoD_v2(device, (const void *)(uintptr_t)device, 16));
    assert_ok(cuCtxSynchronize());
    end(&host);
}

static void test_unified_attributes_of_page_locked_memory(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUdeviceptr value;
    unsigned type;
    void *memory;

    begin_unified(&host, &context);
    assert_ok(cuMemHostAlloc(&memory, PAGE, 0));
    assert_ok(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
                                    (CUdeviceptr)(uintptr_t)memory + 9));
    assert_int_equal(type, CU_MEMORYTYPE_HOST);
    assert_ok(cuPointerGetAttribute(&value, CU_POINTER_ATTRIBUTE_DEVICE_POINTER,
                                    (CUdeviceptr)(uintptr_t)memory + 9));
    assert_int_equal(value, (uintptr_t)memory + 9);
    assert_ok(cuPointerGetAttribute(&value, CU_POINTER_ATTRIBUTE_HOST_POINTER,
                                    (CUdeviceptr)(uintptr_t)memory + 9));
    assert_int_equal(value, (uintptr_t)memory + 9);
    end(&host);
}

static void test_unified_managed_memory(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUdeviceptr pointer, value;
    unsigned type, flags;
    bool managed = false;

    begin_unified(&host, &context);
    assert_int_equal(attribute(CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY), 1);
    assert_int_equal(cuMemAllocManaged(&pointer, 64, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemAllocManaged(&pointer, 64, CU_MEM_ATTACH_SINGLE),
                     CUDA_ERROR_INVALID_VALUE);
    assert_ok(cuMemAllocManaged(&pointer, 64, CU_MEM_ATTACH_GLOBAL));
    /* NVIDIA's driver ends the program here. */
    assert_int_equal(cuStreamAttachMemAsync(NULL, pointer, 0, 0), CUDA_ERROR_INVALID_VALUE);
    memset((void *)(uintptr_t)pointer, 3, 64);
    assert_ok(cuPointerGetAttribute(&managed, CU_POINTER_ATTRIBUTE_IS_MANAGED, pointer + 1));
    assert_true(managed);
    assert_ok(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, pointer + 1));
    assert_int_equal(type, CU_MEMORYTYPE_DEVICE);
    assert_ok(cuPointerGetAttribute(&value, CU_POINTER_ATTRIBUTE_HOST_POINTER, pointer + 1));
    assert_int_equal(value, pointer + 1);
    assert_int_equal(cuMemHostGetFlags(&flags, (void *)(uintptr_t)pointer),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemFreeHost((void *)(uintptr_t)pointer), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemFree_v2(pointer + 8), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cuMemFree_v2(pointer));
    assert_int_equal(cuMemFree_v2(pointer), CUDA_ERROR_INVALID_VALUE);
    end(&host);
}

static void test_unified_managed_memory_needs_it(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUdeviceptr pointer;

    begin(&host, &context);
    assert_int_equal(attribute(CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY), 0);
    assert_int_equal(cuMemAllocManaged(&pointer, 64, CU_MEM_ATTACH_GLOBAL),
                     CUDA_ERROR_NOT_SUPPORTED);
    end(&host);
}

static void test_unified_data_area_is_not_the_childs(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    void *memory;
    int status;
    pid_t child;

    begin_unified(&host, &context);
    assert_ok(cuMemHostAlloc(&memory, PAGE, 0));
    child = fork();
    if (child == 0)
        _exit(is_mapped((uintptr_t)memory));
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    assert_int_equal(status, 0);
    end(&host);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest local[] = {
        cmocka_unit_test(test_unified_pointers_are_equal),
        cmocka_unit_test(test_unified_is_not_where_the_worker_has_none),
        cmocka_unit_test(test_unified_is_not_where_the_address_is_taken),
        cmocka_unit_test(test_unified_device_memory_is_reserved),
        cmocka_unit_test(test_unified_taken_address_is_given_back),
        cmocka_unit_test(test_unified_memset_of_host_memory_waits),
        cmocka_unit_test(test_unified_copies_find_their_direction),
        cmocka_unit_test(test_unified_attributes_of_page_locked_memory),
        cmocka_unit_test(test_unified_managed_memory),
        cmocka_unit_test(test_unified_managed_memory_needs_it),
        cmocka_unit_test(test_unified_data_area_is_not_the_childs),
    };

    /* Memory that the worker shares, both ways to it. */
    return run_both(argc, argv, local, argc > 1 ? VGPU_ARRAY_SIZE(local) : 0, local,
                    VGPU_ARRAY_SIZE(local));
}
