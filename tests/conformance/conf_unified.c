/* SPDX-License-Identifier: Apache-2.0 */
/* One address space for all: peers, unified addressing, managed memory. */
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "tests/conformance/conf.h"

#define BYTES 4096

static void fill(uint8_t *bytes, size_t count, uint8_t first)
{
    for (size_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)(first + 11 * i + i / 256);
}

/* A second context on the same device; the first is current again. */
static enum conf_result second_context(struct conf *conf, CUcontext *ret)
{
    CUcontext popped;
    CUdevice device;

    CONF_CALL(conf, cuCtxGetDevice(&device));
    CONF_CALL(conf, cuCtxCreate_v2(ret, 0, device));
    CONF_CALL(conf, cuCtxPopCurrent(&popped));
    CONF_TRUE(conf, popped == *ret);
    return CONF_PASS;
}

static enum conf_result peer_access(struct conf *conf)
{
    CUcontext current, other;
    CUdevice device;
    int can = -1;

    CONF_CALL(conf, cuCtxGetDevice(&device));
    CONF_CALL(conf, cuDeviceCanAccessPeer(&can, device, device));
    CONF_TRUE(conf, can == 0);
    CONF_EXPECT(
        conf,
        cuDeviceGetP2PAttribute(&can, CU_DEVICE_P2P_ATTRIBUTE_ACCESS_SUPPORTED, device, device),
        CUDA_ERROR_INVALID_DEVICE);
    CONF_CALL(conf, cuCtxGetCurrent(&current));
    CONF_EXPECT(conf, cuCtxEnablePeerAccess(current, 0), CUDA_ERROR_PEER_ACCESS_UNSUPPORTED);
    CONF_TRY(second_context(conf, &other));
    CONF_EXPECT(conf, cuCtxEnablePeerAccess(other, 0), CUDA_ERROR_PEER_ACCESS_UNSUPPORTED);
    CONF_EXPECT(conf, cuCtxDisablePeerAccess(other), CUDA_ERROR_PEER_ACCESS_NOT_ENABLED);
    CONF_CALL(conf, cuCtxDestroy(other));
    return CONF_PASS;
}

/* From one context's memory to another's, of the same device. */
static enum conf_result peer_copies(struct conf *conf)
{
    uint8_t in[BYTES], out[BYTES];
    CUcontext first, second, popped;
    CUDA_MEMCPY3D_PEER box = {0};
    CUdeviceptr a, b;

    fill(in, BYTES, 3);
    CONF_CALL(conf, cuCtxGetCurrent(&first));
    CONF_TRY(second_context(conf, &second));
    CONF_CALL(conf, cuMemAlloc(&a, BYTES));
    CONF_CALL(conf, cuCtxPushCurrent(second));
    CONF_CALL(conf, cuMemAlloc(&b, BYTES));
    CONF_CALL(conf, cuMemsetD8(b, 0xcc, BYTES));
    CONF_CALL(conf, cuCtxPopCurrent(&popped));
    CONF_CALL(conf, cuMemcpyHtoD(a, in, BYTES));
    CONF_CALL(conf, cuMemcpyPeer(b, second, a, first, BYTES));
    CONF_CALL(conf, cuMemcpyDtoH(out, b, BYTES));
    CONF_TRUE(conf, memcmp(in, out, BYTES) == 0);
    CONF_CALL(conf, cuMemsetD8(a, 0x77, BYTES));
    CONF_CALL(conf, cuMemcpyPeerAsync(a + 16, first, b, second, BYTES - 32, NULL));
    CONF_CALL(conf, cuMemcpyDtoH(out, a, BYTES));
    CONF_TRUE(conf, out[15] == 0x77 && out[BYTES - 16] == 0x77);
    CONF_TRUE(conf, memcmp(in, out + 16, BYTES - 32) == 0);
    box.srcMemoryType = CU_MEMORYTYPE_DEVICE;
    box.srcDevice = b;
    box.srcContext = second;
    box.srcPitch = 64;
    box.dstMemoryType = CU_MEMORYTYPE_DEVICE;
    box.dstDevice = a;
    box.dstContext = first;
    box.dstPitch = 32;
    box.WidthInBytes = 32;
    box.Height = 8;
    box.Depth = 1;
    CONF_CALL(conf, cuMemcpy3DPeer(&box));
    CONF_CALL(conf, cuMemcpyDtoH(out, a, BYTES));
    for (size_t row = 0; row < 8; row++)
        CONF_TRUE(conf, memcmp(out + 32 * row, in + 64 * row, 32) == 0);
    CONF_CALL(conf, cuMemcpyPeer(b, NULL, a, first, BYTES));
    CONF_CALL(conf, cuMemFree(a));
    CONF_CALL(conf, cuCtxDestroy(second));
    return CONF_PASS;
}

static enum conf_result pointer_access(struct conf *conf)
{
    CUpointer_attribute asked[] = {CU_POINTER_ATTRIBUTE_ACCESS_FLAGS, CU_POINTER_ATTRIBUTE_MAPPED,
                                   CU_POINTER_ATTRIBUTE_BUFFER_ID};
    unsigned flags = 99, mapped = 0, zero = 0;
    unsigned long long id = 0;
    void *data[] = {&flags, &mapped, &id};
    CUdeviceptr a;

    CONF_CALL(conf, cuMemAlloc(&a, BYTES));
    CONF_CALL(conf, cuPointerGetAttributes(3, asked, data, a + 1));
    CONF_TRUE(conf, flags == CU_POINTER_ATTRIBUTE_ACCESS_FLAG_READWRITE);
    CONF_TRUE(conf, mapped == 1 && id != 0);
    CONF_CALL(conf, cuPointerSetAttribute(&zero, CU_POINTER_ATTRIBUTE_SYNC_MEMOPS, a));
    CONF_EXPECT(conf, cuPointerSetAttribute(&zero, CU_POINTER_ATTRIBUTE_BUFFER_ID, a),
                CUDA_ERROR_INVALID_VALUE);
    CONF_EXPECT(conf, cuPointerSetAttribute(NULL, CU_POINTER_ATTRIBUTE_SYNC_MEMOPS, a),
                CUDA_ERROR_INVALID_VALUE);
    CONF_CALL(conf, cuMemFree(a));
    return CONF_PASS;
}

static enum conf_result is_unified(struct conf *conf)
{
    CUdevice device;
    int value;

    CONF_CALL(conf, cuCtxGetDevice(&device));
    CONF_CALL(conf, cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, device));
    return value ? CONF_PASS : conf_skip(conf, "no unified addressing");
}

/* Adds 1 to each of the first 32 words at an address, and waits. */
static enum conf_result increment(struct conf *conf, CUdeviceptr address)
{
    static const char ptx[] = CONF_HEADER CONF_ENTRY CONF_OWN_32
        "ld.global.u32 %r1, [%o];\nadd.u32 %r1, %r1, 1;\nst.global.u32 [%o], %r1;\nret;\n}\n";
    void *params[] = {&address, &address};
    CUmodule module;
    CUfunction function;

    CONF_TRY(conf_load(conf, ptx, &module));
    CONF_CALL(conf, cuModuleGetFunction(&function, module, "k"));
    CONF_CALL(conf, cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, NULL, params, NULL));
    CONF_CALL(conf, cuCtxSynchronize());
    CONF_CALL(conf, cuModuleUnload(module));
    return CONF_PASS;
}

/* Page-locked memory has one address: for the program, kernels, copies and sets. */
static enum conf_result one_address(struct conf *conf)
{
    CUdeviceptr device, a;
    uint32_t *words;
    unsigned type;
    void *p;

    CONF_TRY(is_unified(conf));
    CONF_CALL(conf, cuMemHostAlloc(&p, BYTES, CU_MEMHOSTALLOC_DEVICEMAP));
    words = p;
    CONF_CALL(conf, cuMemHostGetDevicePointer(&device, p, 0));
    CONF_TRUE(conf, device == (uintptr_t)p);
    memset(p, 0, BYTES);
    words[5] = 41;
    CONF_TRY(increment(conf, device));
    CONF_TRUE(conf, words[5] == 42 && words[31] == 1 && words[32] == 0);
    CONF_CALL(conf, cuMemsetD32(device + 64, 7, 4)); /* waits: the program reads there */
    CONF_TRUE(conf, words[15] == 1 && words[16] == 7 && words[19] == 7 && words[20] == 1);
    CONF_CALL(conf, cuMemAlloc(&a, BYTES));
    CONF_CALL(conf, cuMemcpy(a, device, BYTES));
    memset(p, 0, BYTES);
    CONF_CALL(conf, cuMemcpy(device, a, BYTES));
    CONF_TRUE(conf, words[5] == 42 && words[16] == 7);
    CONF_CALL(conf, cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, device + 4));
    CONF_TRUE(conf, type == CU_MEMORYTYPE_HOST);
    CONF_CALL(conf, cuMemFree(a));
    CONF_CALL(conf, cuMemFreeHost(p));
    return CONF_PASS;
}

/* A device address is nobody else's: what the program maps later lies elsewhere. */
static enum conf_result apart(struct conf *conf)
{
    CUdeviceptr a[64];

    CONF_TRY(is_unified(conf));
    for (int i = 0; i < 64; i++)
        CONF_CALL(conf, cuMemAlloc(&a[i], (size_t)BYTES << i % 8));
    for (int i = 0; i < 64; i++) {
        size_t bytes = (size_t)BYTES << i % 8;
        uintptr_t block = (uintptr_t)malloc(1 << 20);

        CONF_TRUE(conf, block + (1 << 20) <= a[i] || block >= a[i] + bytes);
        free((void *)block);
        CONF_CALL(conf, cuMemFree(a[i]));
    }
    return CONF_PASS;
}

static enum conf_result has_managed(struct conf *conf)
{
    CUdevice device;
    int value;

    CONF_CALL(conf, cuCtxGetDevice(&device));
    CONF_CALL(conf, cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY, device));
    return value ? CONF_PASS : conf_skip(conf, "no managed memory");
}

/* The program and a kernel take turns at one memory. */
static enum conf_result managed_memory(struct conf *conf)
{
    uint32_t words[16] = {0};
    CUdeviceptr a, other;
    unsigned managed = 0, type = 0;
    uint32_t *shared;

    CONF_TRY(has_managed(conf));
    CONF_EXPECT(conf, cuMemAllocManaged(&a, 0, CU_MEM_ATTACH_GLOBAL), CUDA_ERROR_INVALID_VALUE);
    CONF_EXPECT(conf, cuMemAllocManaged(&a, BYTES, 0), CUDA_ERROR_INVALID_VALUE);
    CONF_CALL(conf, cuMemAllocManaged(&a, BYTES, CU_MEM_ATTACH_GLOBAL));
    shared = (uint32_t *)(uintptr_t)a;
    memset(shared, 0, BYTES);
    for (uint32_t round = 1; round <= 3; round++) {
        shared[0] += 10;
        CONF_TRY(increment(conf, a));
        CONF_TRUE(conf, shared[0] == 11 * round && shared[31] == round && shared[32] == 0);
    }
    CONF_CALL(conf, cuPointerGetAttribute(&managed, CU_POINTER_ATTRIBUTE_IS_MANAGED, a + 8));
    CONF_CALL(conf, cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, a + 8));
    CONF_TRUE(conf, managed == 1 && type == CU_MEMORYTYPE_DEVICE);
    CONF_CALL(conf, cuMemAlloc(&other, sizeof(words)));
    CONF_CALL(conf, cuMemcpy(other, a, sizeof(words)));
    CONF_CALL(conf, cuMemcpyDtoH(words, other, sizeof(words)));
    CONF_TRUE(conf, words[0] == 33 && words[15] == 3);
    CONF_CALL(conf, cuMemsetD32(a, 99, 4));
    CONF_TRUE(conf, shared[3] == 99 && shared[4] == 3);
    CONF_CALL(conf, cuMemcpyHtoD(a + 16, words, 4));
    CONF_CALL(conf, cuCtxSynchronize());
    CONF_TRUE(conf, shared[4] == 33);
    CONF_CALL(conf, cuMemFree(other));
    CONF_CALL(conf, cuMemFree(a));
    CONF_EXPECT(conf, cuMemFree(a), CUDA_ERROR_INVALID_VALUE);
    return CONF_PASS;
}

static enum conf_result managed_advice(struct conf *conf)
{
    CUmemLocation host = {.type = CU_MEM_LOCATION_TYPE_HOST};
    CUmem_range_attribute asked[] = {CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY,
                                     CU_MEM_RANGE_ATTRIBUTE_ACCESSED_BY};
    int value = 5, users[2] = {0, 0};
    void *data[] = {&value, users};
    size_t sizes[] = {sizeof(value), sizeof(users)};
    CUdeviceptr a;

    CONF_TRY(has_managed(conf));
    CONF_CALL(conf, cuMemAllocManaged(&a, BYTES, CU_MEM_ATTACH_GLOBAL));
    CONF_CALL(conf, cuMemRangeGetAttributes(data, sizes, asked, 2, a, BYTES));
    CONF_TRUE(conf, value == 0 && users[0] == -2 && users[1] == -2);
    CONF_CALL(conf, cuMemAdvise(a, BYTES, CU_MEM_ADVISE_SET_READ_MOSTLY, host));
    CONF_CALL(conf, cuMemAdvise(a, BYTES, CU_MEM_ADVISE_SET_PREFERRED_LOCATION, host));
    CONF_CALL(conf, cuMemRangeGetAttributes(data, sizes, asked, 1, a, BYTES));
    CONF_TRUE(conf, value == 1);
    CONF_CALL(conf, cuMemRangeGetAttribute(&value, sizeof(value),
                                           CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION, a, BYTES));
    CONF_TRUE(conf, value == -1);
    CONF_CALL(conf, cuMemAdvise(a, BYTES, CU_MEM_ADVISE_UNSET_READ_MOSTLY, host));
    CONF_CALL(conf, cuMemAdvise(a, BYTES, CU_MEM_ADVISE_UNSET_PREFERRED_LOCATION, host));
    CONF_CALL(conf, cuMemRangeGetAttribute(&value, sizeof(value),
                                           CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION, a, BYTES));
    CONF_TRUE(conf, value == -2);
    CONF_EXPECT(conf, cuMemAdvise(a, 0, CU_MEM_ADVISE_SET_READ_MOSTLY, host),
                CUDA_ERROR_INVALID_VALUE);
    CONF_EXPECT(conf, cuMemAdvise(a, BYTES, (CUmem_advise)77, host), CUDA_ERROR_INVALID_VALUE);
    CONF_CALL(conf, cuMemFree(a));
    CONF_CALL(conf, cuMemAlloc(&a, BYTES));
    CONF_EXPECT(conf, cuMemAdvise(a, BYTES, CU_MEM_ADVISE_SET_READ_MOSTLY, host),
                CUDA_ERROR_INVALID_VALUE);
    CONF_CALL(conf, cuMemFree(a));
    return CONF_PASS;
}

/* Where the device has no concurrent access, prefetching is refused. */
static enum conf_result managed_streams(struct conf *conf)
{
    CUmemLocation there = {.type = CU_MEM_LOCATION_TYPE_DEVICE};
    int concurrent;
    CUstream stream;
    CUdeviceptr a;

    CONF_TRY(has_managed(conf));
    CONF_CALL(conf, cuCtxGetDevice(&there.id));
    CONF_CALL(conf, cuDeviceGetAttribute(&concurrent, CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS,
                                         there.id));
    CONF_CALL(conf, cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    CONF_CALL(conf, cuMemAllocManaged(&a, BYTES, CU_MEM_ATTACH_HOST));
    CONF_CALL(conf, cuStreamAttachMemAsync(stream, a, 0, CU_MEM_ATTACH_SINGLE));
    CONF_CALL(conf, cuStreamSynchronize(stream));
    CONF_CALL(conf, cuStreamAttachMemAsync(stream, a, 0, CU_MEM_ATTACH_GLOBAL));
    CONF_CALL(conf, cuStreamSynchronize(stream));
    CONF_TRY(increment(conf, a));
    CONF_EXPECT(conf, cuMemPrefetchAsync(a, BYTES, there, 0, stream),
                concurrent ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE);
    CONF_CALL(conf, cuStreamDestroy(stream));
    CONF_CALL(conf, cuMemFree(a));
    return CONF_PASS;
}

static const struct conf_case cases[] = {
    {"peer access", peer_access, false},
    {"peer copies", peer_copies, false},
    {"pointer access", pointer_access, false},
    {"one address", one_address, false},
    {"device addresses are apart", apart, false},
    {"managed memory", managed_memory, false},
    {"advice on managed memory", managed_advice, false},
    {"managed memory and streams", managed_streams, false},
};

void conf_unified_cases(conf_visit visit, void *context)
{
    conf_visit_cases("unified", cases, VGPU_ARRAY_SIZE(cases), visit, context);
}
