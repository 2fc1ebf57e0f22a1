/* SPDX-License-Identifier: Apache-2.0 */
/* Memory: allocation, sets, copies of one to three dimensions, host memory, attributes. */
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "tests/conformance/conf.h"

#define BYTES 4096

static void fill(uint8_t *bytes, size_t count, uint8_t first)
{
    for (size_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)(first + 7 * i + i / 256);
}

static enum conf_result allocations(struct conf *conf)
{
    CUdeviceptr a, b, base;
    size_t bytes;

    CONF_CALL(conf, cuMemAlloc(&a, 1));
    CONF_CALL(conf, cuMemAlloc(&b, BYTES));
    CONF_TRUE(conf, a % 256 == 0 && b % 256 == 0 && a != b);
    CONF_CALL(conf, cuMemGetAddressRange(&base, &bytes, b + 100));
    CONF_TRUE(conf, base == b && bytes == BYTES);
    CONF_EXPECT(conf, cuMemAlloc(&base, 0), CUDA_ERROR_INVALID_VALUE);
    CONF_EXPECT(conf, cuMemAlloc(&base, SIZE_MAX / 4), CUDA_ERROR_OUT_OF_MEMORY);
    CONF_EXPECT(conf, cuMemFree(b + 8), CUDA_ERROR_INVALID_VALUE);
    CONF_CALL(conf, cuMemFree(a));
    CONF_CALL(conf, cuMemFree(b));
    CONF_EXPECT(conf, cuMemFree(b), CUDA_ERROR_INVALID_VALUE);
    return CONF_PASS;
}

static enum conf_result linear(struct conf *conf)
{
    uint8_t in[BYTES], out[BYTES];
    CUdeviceptr a, b;

    fill(in, BYTES, 1);
    memset(out, 0, BYTES);
    CONF_CALL(conf, cuMemAlloc(&a, BYTES));
    CONF_CALL(conf, cuMemAlloc(&b, BYTES));
    CONF_CALL(conf, cuMemcpyHtoD(a, in, BYTES));
    CONF_CALL(conf, cuMemsetD8(b, 0xee, BYTES));
    CONF_CALL(conf, cuMemcpyDtoD(b + 3, a + 1, BYTES - 5));
    CONF_CALL(conf, cuMemcpyDtoH(out, b, BYTES));
    CONF_TRUE(conf, out[2] == 0xee && out[BYTES - 2] == 0xee);
    CONF_TRUE(conf, memcmp(out + 3, in + 1, BYTES - 5) == 0);
    /* The driver tells host from device addresses by itself. */
    CONF_CALL(conf, cuMemcpy((CUdeviceptr)(uintptr_t)out, a, BYTES));
    CONF_TRUE(conf, memcmp(out, in, BYTES) == 0);
    CONF_CALL(conf, cuMemcpyHtoD(a, in, 0));
    CONF_CALL(conf, cuMemFree(a));
    CONF_CALL(conf, cuMemFree(b));
    return CONF_PASS;
}

static enum conf_result bad_copies(struct conf *conf)
{
    uint8_t bytes[64] = {0};
    CUdeviceptr a;

    CONF_CALL(conf, cuMemAlloc(&a, 4096));
    CONF_EXPECT(conf, cuMemcpyHtoD(0, bytes, 64), CUDA_ERROR_INVALID_VALUE);
    CONF_EXPECT(conf, cuMemcpyDtoH(bytes, 0, 64), CUDA_ERROR_INVALID_VALUE);
    CONF_EXPECT(conf, cuMemcpyHtoD(a, NULL, 64), CUDA_ERROR_INVALID_VALUE);
    CONF_EXPECT(conf, cuMemsetD32(a + 2, 1, 4), CUDA_ERROR_INVALID_VALUE);
    CONF_EXPECT(conf, cuMemsetD16(a + 1, 1, 4), CUDA_ERROR_INVALID_VALUE);
    CONF_CALL(conf, cuMemFree(a));
    return CONF_PASS;
}

/* Each set leaves what lies before and behind it. */
static enum conf_result sets(struct conf *conf)
{
    uint8_t out[256], want[256];
    CUdeviceptr a;

    memset(want, 0x11, sizeof(want));
    memset(want + 5, 0x22, 9);
    for (unsigned int i = 0; i < 7; i++)
        memcpy(want + 32 + 2 * i, "\x34\x12", 2);
    for (unsigned int i = 0; i < 5; i++)
        memcpy(want + 64 + 4 * i, "\xef\xbe\xad\xde", 4);
    CONF_CALL(conf, cuMemAlloc(&a, sizeof(out)));
    CONF_CALL(conf, cuMemsetD8(a, 0x11, sizeof(out)));
    CONF_CALL(conf, cuMemsetD8(a + 5, 0x22, 9));
    CONF_CALL(conf, cuMemsetD16(a + 32, 0x1234, 7));
    CONF_CALL(conf, cuMemsetD32(a + 64, 0xdeadbeef, 5));
    CONF_CALL(conf, cuMemcpyDtoH(out, a, sizeof(out)));
    CONF_TRUE(conf, memcmp(out, want, sizeof(out)) == 0);
    CONF_CALL(conf, cuMemsetD8Async(a, 0x33, 3, NULL));
    CONF_CALL(conf, cuMemsetD16Async(a + 4, 0x4444, 2, NULL));
    CONF_CALL(conf, cuMemsetD32Async(a + 8, 0x55555555, 1, NULL));
    CONF_CALL(conf, cuMemcpyDtoH(out, a, 16));
    CONF_TRUE(conf, memcmp(out, "\x33\x33\x33\x11\x44\x44\x44\x44\x55\x55\x55\x55\x22\x22\x11\x11",
                           16) == 0);
    CONF_CALL(conf, cuMemFree(a));
    return CONF_PASS;
}

#define PITCH 64
#define ROWS  8

/* A rectangle in a pitched array, of elements of `width` bytes, is set; its surroundings stay. */
static enum conf_result check_rectangle(struct conf *conf, CUdeviceptr a, size_t bytes_wide,
                                        size_t rows, const uint8_t *element, size_t width)
{
    uint8_t out[PITCH * ROWS];

    CONF_CALL(conf, cuMemcpyDtoH(out, a, sizeof(out)));
    for (size_t i = 0; i < sizeof(out); i++) {
        bool inside = i % PITCH < bytes_wide && i / PITCH < rows;

        if (out[i] != (inside ? element[i % width] : 0x99))
            return conf_fail(conf, "elements of %zu bytes: byte %zu is %#x", width, i, out[i]);
    }
    CONF_CALL(conf, cuMemsetD8(a, 0x99, sizeof(out)));
    return CONF_PASS;
}

static enum conf_result sets_2d(struct conf *conf)
{
    CUdeviceptr a;

    CONF_CALL(conf, cuMemAlloc(&a, PITCH * ROWS));
    CONF_CALL(conf, cuMemsetD8(a, 0x99, PITCH * ROWS));
    CONF_CALL(conf, cuMemsetD2D8(a, PITCH, 0x12, 13, 5));
    CONF_TRY(check_rectangle(conf, a, 13, 5, (const uint8_t *)"\x12", 1));
    CONF_CALL(conf, cuMemsetD2D16(a, PITCH, 0x1234, 13, 5));
    CONF_TRY(check_rectangle(conf, a, 26, 5, (const uint8_t *)"\x34\x12", 2));
    CONF_CALL(conf, cuMemsetD2D32(a, PITCH, 0x12345678, 13, 5));
    CONF_TRY(check_rectangle(conf, a, 52, 5, (const uint8_t *)"\x78\x56\x34\x12", 4));
    CONF_CALL(conf, cuMemsetD2D8Async(a, PITCH, 0x77, 1, 8, NULL));
    CONF_TRY(check_rectangle(conf, a, 1, 8, (const uint8_t *)"\x77", 1));
    CONF_CALL(conf, cuMemFree(a));
    return CONF_PASS;
}

/* A rectangle goes to the device at an offset, and comes back to another. */
static enum conf_result copies_2d(struct conf *conf)
{
    uint8_t in[20 * 10], out[20 * 10];
    size_t pitch;
    CUdeviceptr a;
    CUDA_MEMCPY2D copy = {.srcXInBytes = 3,
                          .srcY = 2,
                          .srcMemoryType = CU_MEMORYTYPE_HOST,
                          .srcHost = in,
                          .srcPitch = 20,
                          .dstXInBytes = 5,
                          .dstY = 1,
                          .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                          .WidthInBytes = 11,
                          .Height = 6};

    fill(in, sizeof(in), 3);
    memset(out, 0xcc, sizeof(out));
    CONF_CALL(conf, cuMemAllocPitch(&a, &pitch, 30, 10, 4));
    CONF_TRUE(conf, pitch >= 30);
    copy.dstDevice = a;
    copy.dstPitch = pitch;
    CONF_CALL(conf, cuMemcpy2D(&copy));
    copy = (CUDA_MEMCPY2D){.srcXInBytes = 5,
                           .srcY = 1,
                           .srcMemoryType = CU_MEMORYTYPE_DEVICE,
                           .srcDevice = a,
                           .srcPitch = pitch,
                           .dstXInBytes = 2,
                           .dstY = 3,
                           .dstMemoryType = CU_MEMORYTYPE_HOST,
                           .dstHost = out,
                           .dstPitch = 20,
                           .WidthInBytes = 11,
                           .Height = 6};
    CONF_CALL(conf, cuMemcpy2DAsync(&copy, NULL));
    CONF_CALL(conf, cuCtxSynchronize());
    for (size_t i = 0; i < sizeof(out); i++) {
        size_t x = i % 20, y = i / 20;
        bool inside = x >= 2 && x < 13 && y >= 3 && y < 9;

        CONF_TRUE(conf, out[i] == (inside ? in[(y - 1) * 20 + x + 1] : 0xcc));
    }
    copy.dstPitch = 5;
    CONF_EXPECT(conf, cuMemcpy2D(&copy), CUDA_ERROR_INVALID_VALUE);
    CONF_CALL(conf, cuMemFree(a));
    return CONF_PASS;
}

#define SIDE 6

/* A box out of a cube on the host, into the device, and back to the place where it was. */
static enum conf_result copies_3d(struct conf *conf)
{
    uint8_t in[SIDE * SIDE * SIDE], out[SIDE * SIDE * SIDE];
    CUdeviceptr a;
    CUDA_MEMCPY3D copy = {.srcXInBytes = 1,
                          .srcY = 2,
                          .srcZ = 1,
                          .srcMemoryType = CU_MEMORYTYPE_HOST,
                          .srcHost = in,
                          .srcPitch = SIDE,
                          .srcHeight = SIDE,
                          .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                          .dstPitch = 8,
                          .dstHeight = 5,
                          .WidthInBytes = 4,
                          .Height = 3,
                          .Depth = 5};
    CUDA_MEMCPY3D back = {.srcMemoryType = CU_MEMORYTYPE_DEVICE,
                          .srcPitch = 8,
                          .srcHeight = 5,
                          .dstXInBytes = 1,
                          .dstY = 2,
                          .dstZ = 1,
                          .dstMemoryType = CU_MEMORYTYPE_HOST,
                          .dstHost = out,
                          .dstPitch = SIDE,
                          .dstHeight = SIDE,
                          .WidthInBytes = 4,
                          .Height = 3,
                          .Depth = 5};

    fill(in, sizeof(in), 9);
    memset(out, 0xcc, sizeof(out));
    CONF_CALL(conf, cuMemAlloc(&a, 8 * 5 * 5));
    copy.dstDevice = back.srcDevice = a;
    CONF_CALL(conf, cuMemcpy3D(&copy));
    CONF_CALL(conf, cuMemcpy3DAsync(&back, NULL));
    CONF_CALL(conf, cuCtxSynchronize());
    for (size_t i = 0; i < sizeof(out); i++) {
        size_t x = i % SIDE, y = i / SIDE % SIDE, z = i / SIDE / SIDE;
        bool inside = x >= 1 && x < 5 && y >= 2 && y < 5 && z >= 1;

        CONF_TRUE(conf, out[i] == (inside ? in[i] : 0xcc));
    }
    CONF_CALL(conf, cuMemFree(a));
    return CONF_PASS;
}

static enum conf_result large(struct conf *conf)
{
    size_t bytes = 32 << 20;
    _cleanup_free_ uint8_t *in = malloc(bytes), *out = malloc(bytes);
    CUdeviceptr a;

    CONF_TRUE(conf, in && out);
    fill(in, bytes, 5);
    memset(out, 0, bytes);
    CONF_CALL(conf, cuMemAlloc(&a, bytes));
    CONF_CALL(conf, cuMemcpyHtoD(a, in, bytes));
    CONF_CALL(conf, cuMemcpyDtoH(out, a, bytes));
    CONF_TRUE(conf, memcmp(in, out, bytes) == 0);
    CONF_CALL(conf, cuMemFree(a));
    return CONF_PASS;
}

static const char increment_ptx[] = CONF_HEADER CONF_ENTRY CONF_OWN_32
    "ld.global.u32 %r0, [%o];\nadd.u32 %r0, %r0, 1;\nst.global.u32 [%o], %r0;\nret;\n}\n";

/* A kernel works on host memory through its device address. */
static enum conf_result increment(struct conf *conf, CUdeviceptr device, uint32_t *words)
{
    CUmodule module;
    CUfunction function;
    void *args[] = {&device, &device};

    CONF_TRY(conf_load(conf, increment_ptx, &module));
    CONF_CALL(conf, cuModuleGetFunction(&function, module, "k"));
    for (uint32_t i = 0; i < 64; i++)
        words[i] = 5 * i;
    CONF_CALL(conf, cuLaunchKernel(function, 1, 1, 1, 64, 1, 1, 0, NULL, args, NULL));
    CONF_CALL(conf, cuCtxSynchronize());
    for (uint32_t i = 0; i < 64; i++)
        CONF_TRUE(conf, words[i] == 5 * i + 1);
    CONF_CALL(conf, cuModuleUnload(module));
    return CONF_PASS;
}

static enum conf_result host_memory(struct conf *conf)
{
    CUdeviceptr device;
    unsigned int flags;
    void *p;

    CONF_CALL(conf, cuMemHostAlloc(&p, BYTES, CU_MEMHOSTALLOC_DEVICEMAP));
    CONF_CALL(conf, cuMemHostGetFlags(&flags, p));
    CONF_TRUE(conf, flags & CU_MEMHOSTALLOC_DEVICEMAP);
    CONF_CALL(conf, cuMemHostGetDevicePointer(&device, p, 0));
    CONF_TRY(increment(conf, device, p));
    CONF_CALL(conf, cuMemFreeHost(p));
    CONF_CALL(conf, cuMemAllocHost(&p, BYTES));
    memset(p, 1, BYTES);
    CONF_CALL(conf, cuMemFreeHost(p));
    return CONF_PASS;
}

static enum conf_result registered_memory(struct conf *conf)
{
    void *p = NULL;
    CUdeviceptr device;
    enum conf_result result;

    CONF_TRUE(conf, posix_memalign(&p, 4096, 8192) == 0);
    CONF_CALL(conf, cuMemHostRegister(p, 8192, CU_MEMHOSTREGISTER_DEVICEMAP));
    CONF_EXPECT(conf, cuMemHostRegister(p, 8192, 0), CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
    CONF_CALL(conf, cuMemHostGetDevicePointer(&device, p, 0));
    result = increment(conf, device, p);
    CONF_CALL(conf, cuMemHostUnregister(p));
    CONF_EXPECT(conf, cuMemHostUnregister(p), CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
    free(p);
    return result;
}

static enum conf_result pointer_attributes(struct conf *conf)
{
    CUdeviceptr a, base = 0;
    CUcontext context = NULL, current;
    unsigned int type = 0;

    CONF_CALL(conf, cuMemAlloc(&a, BYTES));
    CONF_CALL(conf, cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, a + 5));
    CONF_TRUE(conf, type == CU_MEMORYTYPE_DEVICE);
    CONF_CALL(conf, cuPointerGetAttribute(&context, CU_POINTER_ATTRIBUTE_CONTEXT, a));
    CONF_CALL(conf, cuCtxGetCurrent(&current));
    CONF_TRUE(conf, context == current);
    CONF_CALL(conf, cuPointerGetAttribute(&base, CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, a + 7));
    CONF_TRUE(conf, base == a);
    CONF_EXPECT(conf,
                cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
                                      (CUdeviceptr)(uintptr_t)&type),
                CUDA_ERROR_INVALID_VALUE);
    CONF_CALL(conf, cuMemFree(a));
    return CONF_PASS;
}

/* Up, across and down in one batch each; what is wrong with the attributes is refused whole. */
static enum conf_result batches(struct conf *conf)
{
    uint8_t in[2 * BYTES], out[2 * BYTES];
    CUmemcpyAttributes attributes[2] = {
        {.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_DURING_API_CALL},
        {.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM}};
    CUdeviceptr a, targets[2], sources[2];
    size_t sizes[2] = {BYTES - 3, BYTES}, from[2] = {0, 1};
    CUstream stream;

    if (!conf->cu->cuMemcpyBatchAsync)
        return conf_skip(conf, "this driver has no batches");
    fill(in, sizeof(in), 3);
    memset(out, 0, sizeof(out));
    CONF_CALL(conf, cuMemAlloc(&a, 2 * BYTES));
    CONF_CALL(conf, cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    targets[0] = a;
    targets[1] = a + BYTES;
    sources[0] = (uintptr_t)in;
    sources[1] = (uintptr_t)in + BYTES;
    CONF_CALL(conf, cuMemcpyBatchAsync(targets, sources, sizes, 2, attributes, from, 2, stream));
    CONF_CALL(conf, cuStreamSynchronize(stream));
    CONF_CALL(conf, cuMemcpyDtoH(out, a, 2 * BYTES));
    CONF_TRUE(conf, memcmp(out, in, BYTES - 3) == 0);
    CONF_TRUE(conf, memcmp(out + BYTES, in + BYTES, BYTES) == 0);
    from[1] = 2;
    CONF_EXPECT(conf, cuMemcpyBatchAsync(targets, sources, sizes, 2, attributes, from, 2, stream),
                CUDA_ERROR_INVALID_VALUE);
    attributes[0].srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_INVALID;
    CONF_EXPECT(conf, cuMemcpyBatchAsync(targets, sources, sizes, 2, attributes, from, 1, stream),
                CUDA_ERROR_INVALID_VALUE);
    CONF_CALL(conf, cuStreamDestroy(stream));
    CONF_CALL(conf, cuMemFree(a));
    return CONF_PASS;
}

/* A box out of a wider one, packed on the other side. */
static enum conf_result batches_3d(struct conf *conf)
{
    uint8_t in[10 * 6 * 4], out[7 * 5 * 3];
    CUDA_MEMCPY3D_BATCH_OP ops[2] = {
        {.src = {.type = CU_MEMCPY_OPERAND_TYPE_POINTER,
                 .op.ptr = {.ptr = (uintptr_t)in, .rowLength = 10, .layerHeight = 6}},
         .dst = {.type = CU_MEMCPY_OPERAND_TYPE_POINTER},
         .extent = {7, 5, 3},
         .srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM}};
    CUdeviceptr a;
    CUstream stream;

    if (!conf->cu->cuMemcpy3DBatchAsync)
        return conf_skip(conf, "this driver has no batches");
    fill(in, sizeof(in), 5);
    CONF_CALL(conf, cuMemAlloc(&a, sizeof(out)));
    CONF_CALL(conf, cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    ops[0].dst.op.ptr.ptr = a;
    CONF_CALL(conf, cuMemcpy3DBatchAsync(1, ops, 0, stream));
    CONF_CALL(conf, cuStreamSynchronize(stream));
    CONF_CALL(conf, cuMemcpyDtoH(out, a, sizeof(out)));
    for (size_t i = 0; i < sizeof(out); i++)
        CONF_TRUE(conf, out[i] == in[i / 35 * 60 + i / 7 % 5 * 10 + i % 7]);
    CONF_EXPECT(conf, cuMemcpy3DBatchAsync(1, ops, 1, stream), CUDA_ERROR_INVALID_VALUE);
    ops[0].extent.width = 11;
    CONF_EXPECT(conf, cuMemcpy3DBatchAsync(1, ops, 0, stream), CUDA_ERROR_INVALID_VALUE);
    CONF_CALL(conf, cuStreamDestroy(stream));
    CONF_CALL(conf, cuMemFree(a));
    return CONF_PASS;
}

static const struct conf_case cases[] = {
    {"allocation", allocations, false},
    {"linear copies", linear, false},
    {"bad copies and sets", bad_copies, false},
    {"memset", sets, false},
    {"memset 2D", sets_2d, false},
    {"copies 2D", copies_2d, false},
    {"copies 3D", copies_3d, false},
    {"32 MiB there and back", large, false},
    {"batches", batches, false},
    {"batches 3D", batches_3d, false},
    {"host memory", host_memory, false},
    {"registered memory", registered_memory, false},
    {"pointer attributes", pointer_attributes, false},
};

void conf_copy_cases(conf_visit visit, void *context)
{
    conf_visit_cases("copy", cases, VGPU_ARRAY_SIZE(cases), visit, context);
}
