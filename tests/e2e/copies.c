/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copies PATH: every way in which bytes get to the device and back, each checked. PATH is a VM's
 * socket or a device of the guest's driver; tests/e2e and tests/vm run it.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cuda/cuda_api.h"
#include "guest/libvgpu/vgpu.h"

#define KIB 1024u
#define MIB (1024u * KIB)

#define CHECK(what)                                                                                \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            fprintf(stderr, "%s:%d: not so: %s\n", __func__, __LINE__, #what);                     \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#define OK(call)                                                                                   \
    do {                                                                                           \
        CUresult result_ = (call);                                                                 \
        if (result_ != CUDA_SUCCESS) {                                                             \
            fprintf(stderr, "%s:%d: %s: CUDA error %d\n", __func__, __LINE__, #call, result_);     \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static CUcontext context;

static void pattern(uint8_t *at, size_t bytes, uint32_t seed)
{
    for (size_t i = 0; i < bytes; i++) {
        seed = seed * 1664525u + 1013904223u;
        at[i] = (uint8_t)(seed >> 24);
    }
}

static void is_pattern(const uint8_t *at, size_t bytes, uint32_t seed)
{
    for (size_t i = 0; i < bytes; i++) {
        seed = seed * 1664525u + 1013904223u;
        CHECK(at[i] == (uint8_t)(seed >> 24));
    }
}

static CUdeviceptr device_bytes(size_t bytes)
{
    CUdeviceptr at;

    OK(cuMemAlloc_v2(&at, bytes));
    return at;
}

static uint8_t *pinned_bytes(size_t bytes)
{
    void *at;

    OK(cuMemHostAlloc(&at, bytes, 0));
    return at;
}

static CUstream new_stream(void)
{
    CUstream stream;

    OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    return stream;
}

static void pageable_of_each_size(void)
{
    static const size_t sizes[] = {1, 4095, 4096, 64 * KIB + 1, MIB + 3, 20 * MIB};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint8_t *host = malloc(sizes[i]);
        CUdeviceptr device = device_bytes(sizes[i]);

        pattern(host, sizes[i], (uint32_t)i);
        OK(cuMemcpyHtoD_v2(device, host, sizes[i]));
        memset(host, 0, sizes[i]);
        OK(cuMemcpyDtoH_v2(host, device, sizes[i]));
        is_pattern(host, sizes[i], (uint32_t)i);
        OK(cuMemFree_v2(device));
        free(host);
    }
}

/* How a program learns that its copies are done. */
enum proof { BY_STREAM, BY_CONTEXT, BY_EVENT, BY_QUERY, BY_STREAM_QUERY, PROOFS };

static void prove(enum proof proof, CUstream stream, CUevent event)
{
    OK(cuEventRecord(event, stream));
    switch (proof) {
    case BY_STREAM:
        OK(cuStreamSynchronize(stream));
        break;
    case BY_CONTEXT:
        OK(cuCtxSynchronize());
        break;
    case BY_EVENT:
        OK(cuEventSynchronize(event));
        break;
    case BY_QUERY:
        while (cuEventQuery(event) == CUDA_ERROR_NOT_READY)
            ;
        OK(cuEventQuery(event));
        break;
    default:
        while (cuStreamQuery(stream) == CUDA_ERROR_NOT_READY)
            ;
        OK(cuStreamQuery(stream));
    }
}

static void pinned_by_each_proof(void)
{
    const size_t bytes = MIB + 12345;
    uint8_t *host = pinned_bytes(bytes);
    CUdeviceptr device = device_bytes(bytes);
    CUstream stream = new_stream();
    CUevent event;

    OK(cuEventCreate(&event, 0));
    for (int i = 0; i < 4 * PROOFS; i++) {
        pattern(host, bytes, (uint32_t)i);
        OK(cuMemcpyHtoDAsync_v2(device, host, bytes, stream));
        prove((enum proof)(i % PROOFS), stream, event);
        memset(host, 0xee, bytes);
        OK(cuMemcpyDtoHAsync_v2(host, device, bytes, stream));
        prove((enum proof)(i % PROOFS), stream, event);
        is_pattern(host, bytes, (uint32_t)i);
    }
    OK(cuMemFreeHost(host));
    OK(cuMemFree_v2(device));
}

/* In and out of the same buffer without a pause: each copy sees what the last one left. */
static void pinned_to_and_fro(void)
{
    const size_t bytes = 100 * KIB;
    uint8_t *host = pinned_bytes(bytes);
    CUdeviceptr a = device_bytes(bytes), b = device_bytes(bytes);
    CUstream stream = new_stream();

    for (uint32_t i = 0; i < 20; i++) {
        pattern(host, bytes, i);
        OK(cuMemcpyHtoDAsync_v2(a, host, bytes, stream));
        OK(cuMemsetD8Async(b, (unsigned char)i, bytes, stream));
        OK(cuMemcpyDtoHAsync_v2(host, b, bytes, stream));
        OK(cuMemcpyHtoDAsync_v2(b, host, bytes / 2, stream));
        OK(cuMemcpyDtoHAsync_v2(host, a, bytes, stream));
        OK(cuStreamSynchronize(stream));
        is_pattern(host, bytes, i);
        OK(cuMemcpyDtoH_v2(host, b, bytes));
        for (size_t j = 0; j < bytes; j++)
            CHECK(host[j] == (uint8_t)i);
    }
    OK(cuMemFreeHost(host));
}

struct script {
    uint8_t *host;
    size_t bytes;
    uint32_t seed;
    bool right;
};

static void fill_source(void *argument)
{
    struct script *script = argument;

    usleep(20000);
    pattern(script->host, script->bytes, script->seed);
}

static void look_at_target(void *argument)
{
    struct script *script = argument;
    uint8_t *expected = malloc(script->bytes);

    pattern(expected, script->bytes, script->seed);
    script->right = memcmp(expected, script->host, script->bytes) == 0;
    free(expected);
}

/* A host function fills what the next copy takes; another one sees what the last copy brought. */
static void host_functions_in_order(void)
{
    const size_t bytes = 70 * KIB;
    struct script script = {.host = pinned_bytes(bytes), .bytes = bytes};
    uint8_t *back = pinned_bytes(bytes);
    struct script seen = {.host = back, .bytes = bytes};
    CUdeviceptr device = device_bytes(bytes);
    CUstream first = new_stream(), second = new_stream();
    CUevent filled;

    OK(cuEventCreate(&filled, CU_EVENT_DISABLE_TIMING));
    for (uint32_t i = 0; i < 6; i++) {
        script.seed = seen.seed = 1000 + i;
        seen.right = false;
        memset(script.host, 0x11, bytes);
        memset(back, 0x22, bytes);
        OK(cuLaunchHostFunc(first, fill_source, &script));
        OK(cuEventRecord(filled, first));
        OK(cuStreamWaitEvent(second, filled, 0));
        /* In the stream itself, or in one that waits for it. */
        OK(cuMemcpyHtoDAsync_v2(device, script.host, bytes, i % 2 ? second : first));
        OK(cuMemcpyDtoHAsync_v2(back, device, bytes, i % 2 ? second : first));
        OK(cuLaunchHostFunc(i % 2 ? second : first, look_at_target, &seen));
        OK(cuCtxSynchronize());
        CHECK(seen.right);
        is_pattern(back, bytes, script.seed);
    }
    OK(cuMemFreeHost(script.host));
    OK(cuMemFreeHost(back));
}

/* Rows with gaps: what lies between them is nobody's but the program's. */
static void strided(void)
{
    const size_t width = 1000, rows = 77, pitch = 4100;
    uint8_t *host = pinned_bytes(pitch * rows);
    CUdeviceptr device = device_bytes(width * rows);
    CUDA_MEMCPY2D up = {.srcMemoryType = CU_MEMORYTYPE_HOST,
                        .srcHost = host,
                        .srcPitch = pitch,
                        .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                        .dstDevice = device,
                        .dstPitch = width,
                        .WidthInBytes = width,
                        .Height = rows};
    CUDA_MEMCPY2D down = {.srcMemoryType = CU_MEMORYTYPE_DEVICE,
                          .srcDevice = device,
                          .srcPitch = width,
                          .dstMemoryType = CU_MEMORYTYPE_HOST,
                          .dstHost = host,
                          .dstPitch = pitch,
                          .WidthInBytes = width,
                          .Height = rows};
    CUstream stream = new_stream();

    for (size_t y = 0; y < rows; y++)
        pattern(host + y * pitch, width, (uint32_t)y);
    OK(cuMemcpy2DAsync_v2(&up, stream));
    OK(cuStreamSynchronize(stream));
    memset(host, 0x5a, pitch * rows);
    OK(cuMemcpy2DAsync_v2(&down, stream));
    /* The program goes on with the gaps meanwhile. */
    for (size_t y = 0; y + 1 < rows; y++)
        memset(host + y * pitch + width, 0xa5, pitch - width);
    OK(cuStreamSynchronize(stream));
    for (size_t y = 0; y < rows; y++) {
        is_pattern(host + y * pitch, width, (uint32_t)y);
        for (size_t x = width; x < pitch && y + 1 < rows; x++)
            CHECK(host[y * pitch + x] == 0xa5);
    }
    OK(cuMemFreeHost(host));
}

static void registered(void)
{
    const size_t bytes = 256 * KIB;
    void *memory;
    CUdeviceptr device = device_bytes(bytes);
    CUstream stream = new_stream();

    CHECK(posix_memalign(&memory, 4096, bytes) == 0);
    pattern(memory, bytes, 5);
    OK(cuMemHostRegister_v2(memory, bytes, 0));
    is_pattern(memory, bytes, 5);
    OK(cuMemcpyHtoDAsync_v2(device, memory, bytes, stream));
    OK(cuStreamSynchronize(stream));
    memset(memory, 0, bytes);
    OK(cuMemcpyDtoHAsync_v2(memory, device, bytes, stream));
    OK(cuStreamSynchronize(stream));
    OK(cuMemHostUnregister(memory));
    is_pattern(memory, bytes, 5);
    free(memory);
}

/* More at once than a relay's transfers, and none waited for. */
static void many_small(void)
{
    enum { COUNT = 300, EACH = 64 };
    uint8_t *host = pinned_bytes((size_t)COUNT * EACH);
    uint8_t *back = pinned_bytes((size_t)COUNT * EACH);
    CUdeviceptr device = device_bytes((size_t)COUNT * EACH);
    CUstream stream = new_stream();

    pattern(host, (size_t)COUNT * EACH, 9);
    for (size_t i = 0; i < COUNT; i++)
        OK(cuMemcpyHtoDAsync_v2(device + i * EACH, host + i * EACH, EACH, stream));
    for (size_t i = 0; i < COUNT; i++)
        OK(cuMemcpyDtoHAsync_v2(back + i * EACH, device + i * EACH, EACH, stream));
    OK(cuStreamSynchronize(stream));
    is_pattern(back, (size_t)COUNT * EACH, 9);
    OK(cuMemFreeHost(host));
    OK(cuMemFreeHost(back));
}

static void *one_of_several(void *argument)
{
    const size_t bytes = 40 * KIB;
    uint32_t seed = (uint32_t)(uintptr_t)argument;
    uint8_t *host;
    CUdeviceptr device;
    CUstream stream;

    OK(cuCtxSetCurrent(context));
    host = pinned_bytes(bytes);
    device = device_bytes(bytes);
    stream = new_stream();
    for (uint32_t i = 0; i < 40; i++) {
        pattern(host, bytes, seed + i);
        OK(cuMemcpyHtoDAsync_v2(device, host, bytes, stream));
        OK(cuStreamSynchronize(stream));
        memset(host, 0, bytes);
        OK(cuMemcpyDtoHAsync_v2(host, device, bytes, stream));
        OK(cuStreamSynchronize(stream));
        is_pattern(host, bytes, seed + i);
    }
    return NULL;
}

static void threads(void)
{
    pthread_t thread[3];

    for (uintptr_t i = 0; i < 3; i++)
        CHECK(pthread_create(&thread[i], NULL, one_of_several, (void *)(i * 10000)) == 0);
    for (int i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
}

/* What is offered is what works. */
static void device_mapping_is_honest(void)
{
    uint8_t *host = pinned_bytes(4096);
    CUdeviceptr view;
    int can;

    OK(cuDeviceGetAttribute(&can, CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY, 0));
    CHECK(cuMemHostGetDevicePointer_v2(&view, host, 0) ==
          (can ? CUDA_SUCCESS : CUDA_ERROR_NOT_SUPPORTED));
    OK(cuMemFreeHost(host));
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } parts[] = {
        {"pageable_of_each_size", pageable_of_each_size},
        {"pinned_by_each_proof", pinned_by_each_proof},
        {"pinned_to_and_fro", pinned_to_and_fro},
        {"host_functions_in_order", host_functions_in_order},
        {"strided", strided},
        {"registered", registered},
        {"many_small", many_small},
        {"threads", threads},
        {"device_mapping_is_honest", device_mapping_is_honest},
    };
    struct vgpu_failure failure;

    if (argc != 2) {
        fputs("usage: copies PATH\n", stderr);
        return 2;
    }
    if (vgpu_connect(argv[1], NULL, &failure) != VGPU_OK) {
        fprintf(stderr, "cannot connect: %s\n", failure.text);
        return 1;
    }
    OK(cuInit(0));
    OK(cuCtxCreate_v2(&context, 0, 0));
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        parts[i].run();
        printf("ok %s\n", parts[i].name);
        fflush(stdout);
    }
    vgpu_disconnect();
    return 0;
}
