/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stress SECONDS THREADS STREAMS SEED PATH: each thread drives streams of its own, all in one
 * context, with work that overlaps: random data up, by page-locked or by ordinary memory, kernels
 * in two streams one behind the other by an event, and back, compared with what the processor makes
 * of it. Prints how many rounds were right; the first one that is not, and any error, ends it
 * with 1. It may be killed at any moment. PATH is a VM's socket or a device of the guest's driver;
 * tests/vm runs it.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cuda/cuda_api.h"
#include "guest/libvgpu/vgpu.h"

#define MAX_THREADS    16u
#define MAX_STREAMS    8u
#define MAX_WORDS      (48u << 10) /* of a round's data */
#define COMPUTED_WORDS 2048u       /* of these go through the kernel: softgpu is slow */
#define BLOCK_THREADS  64u

#define MUST(call)                                                                                 \
    do {                                                                                           \
        CUresult result_ = (call);                                                                 \
        if (result_ != CUDA_SUCCESS) {                                                             \
            fprintf(stderr, "%s:%d: %s: CUDA error %d\n", __func__, __LINE__, #call, result_);     \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* data[i] = data[i] * 3 + k */
static const char image[] =
    ".version 7.0\n.target sm_70\n.address_size 64\n"
    ".visible .entry turn(.param .u64 data, .param .u32 k)\n{\n"
    ".reg .b32 %k, %b, %n, %t, %i, %v;\n.reg .b64 %p, %o;\n"
    "ld.param.u64 %p, [data];\nld.param.u32 %k, [k];\n"
    "mov.u32 %b, %ctaid.x;\nmov.u32 %n, %ntid.x;\nmov.u32 %t, %tid.x;\n"
    "mad.lo.u32 %i, %b, %n, %t;\nmul.wide.u32 %o, %i, 4;\nadd.u64 %p, %p, %o;\n"
    "ld.global.u32 %v, [%p];\nmad.lo.u32 %v, %v, 3, %k;\nst.global.u32 [%p], %v;\nret;\n}\n";

static CUcontext context;
static CUfunction turn;
static unsigned streams_each;
static double end;

struct lane {
    CUstream stream;
    CUevent event;
    CUdeviceptr device;
    uint32_t *pinned, *sent;
};

struct worker {
    pthread_t thread;
    uint64_t seed, rounds;
    struct lane lane[MAX_STREAMS];
};

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static uint32_t next(struct worker *worker)
{
    worker->seed = worker->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(worker->seed >> 32);
}

static void lane_make(struct lane *lane)
{
    void *memory;

    MUST(cuStreamCreate(&lane->stream, CU_STREAM_NON_BLOCKING));
    MUST(cuEventCreate(&lane->event, CU_EVENT_DISABLE_TIMING));
    MUST(cuMemAlloc_v2(&lane->device, MAX_WORDS * sizeof(uint32_t)));
    MUST(cuMemHostAlloc(&memory, MAX_WORDS * sizeof(uint32_t), 0));
    lane->pinned = memory;
    lane->sent = malloc(MAX_WORDS * sizeof(uint32_t));
    if (!lane->sent)
        exit(1);
}

static void lane_free(struct lane *lane)
{
    MUST(cuStreamDestroy_v2(lane->stream));
    MUST(cuEventDestroy_v2(lane->event));
    MUST(cuMemFree_v2(lane->device));
    MUST(cuMemFreeHost(lane->pinned));
    free(lane->sent);
}

static void launch(struct lane *lane, CUstream stream, uint32_t k)
{
    void *arguments[] = {&lane->device, &k};

    MUST(cuLaunchKernel(turn, COMPUTED_WORDS / BLOCK_THREADS, 1, 1, BLOCK_THREADS, 1, 1, 0, stream,
                        arguments, NULL));
}

/* Sends, computes here and in another lane's stream, and asks for the result. Returns k. */
static uint32_t start(struct worker *worker, struct lane *lane, struct lane *other, uint32_t words)
{
    size_t bytes = words * sizeof(uint32_t);
    uint32_t k = next(worker);

    for (uint32_t i = 0; i < words; i++)
        lane->sent[i] = next(worker);
    if (k & 1) {
        memcpy(lane->pinned, lane->sent, bytes);
        MUST(cuMemcpyHtoDAsync_v2(lane->device, lane->pinned, bytes, lane->stream));
    } else {
        MUST(cuMemcpyHtoDAsync_v2(lane->device, lane->sent, bytes, lane->stream));
    }
    launch(lane, lane->stream, k);
    MUST(cuEventRecord(lane->event, lane->stream));
    MUST(cuStreamWaitEvent(other->stream, lane->event, 0));
    launch(lane, other->stream, k);
    MUST(cuEventRecord(lane->event, other->stream));
    MUST(cuStreamWaitEvent(lane->stream, lane->event, 0));
    MUST(cuMemcpyDtoHAsync_v2(lane->pinned, lane->device, bytes, lane->stream));
    return k;
}

static void compare(struct worker *worker, const struct lane *lane, uint32_t words, uint32_t k)
{
    for (uint32_t i = 0; i < words; i++) {
        uint32_t value = lane->sent[i];

        if (i < COMPUTED_WORDS)
            value = (value * 3 + k) * 3 + k;
        if (lane->pinned[i] == value)
            continue;
        fprintf(stderr, "round %lu: word %u is %#x and not %#x\n", (unsigned long)worker->rounds, i,
                lane->pinned[i], value);
        exit(1);
    }
    worker->rounds++;
}

static void *work(void *opaque)
{
    struct worker *worker = opaque;
    uint32_t words[MAX_STREAMS], k[MAX_STREAMS];

    MUST(cuCtxSetCurrent(context));
    for (unsigned i = 0; i < streams_each; i++)
        lane_make(&worker->lane[i]);
    while (now() < end) {
        for (unsigned i = 0; i < streams_each; i++) {
            struct lane *other = &worker->lane[(i + 1) % streams_each];

            words[i] = COMPUTED_WORDS + next(worker) % (MAX_WORDS - COMPUTED_WORDS);
            k[i] = start(worker, &worker->lane[i], other, words[i]);
        }
        for (unsigned i = 0; i < streams_each; i++) {
            MUST(cuStreamSynchronize(worker->lane[i].stream));
            compare(worker, &worker->lane[i], words[i], k[i]);
        }
    }
    for (unsigned i = 0; i < streams_each; i++)
        lane_free(&worker->lane[i]);
    return NULL;
}

int main(int argc, char **argv)
{
    static struct worker worker[MAX_THREADS];
    unsigned threads = argc == 6 ? (unsigned)atoi(argv[2]) : 0;
    struct vgpu_failure failure;
    uint64_t rounds = 0;
    CUmodule module;

    streams_each = argc == 6 ? (unsigned)atoi(argv[3]) : 0;
    if (threads == 0 || threads > MAX_THREADS || streams_each == 0 || streams_each > MAX_STREAMS) {
        fprintf(stderr, "usage: stress SECONDS THREADS STREAMS SEED PATH\n");
        return 2;
    }
    if (vgpu_connect(argv[5], NULL, &failure) != VGPU_OK) {
        fprintf(stderr, "connect: %s\n", failure.text);
        return 1;
    }
    MUST(cuInit(0));
    MUST(cuDevicePrimaryCtxRetain(&context, 0));
    MUST(cuCtxSetCurrent(context));
    MUST(cuModuleLoadData(&module, image));
    MUST(cuModuleGetFunction(&turn, module, "turn"));
    end = now() + atof(argv[1]);
    for (unsigned i = 0; i < threads; i++) {
        worker[i].seed = strtoull(argv[4], NULL, 0) * MAX_THREADS + i;
        if (pthread_create(&worker[i].thread, NULL, work, &worker[i]) != 0)
            return 1;
    }
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(worker[i].thread, NULL);
        rounds += worker[i].rounds;
    }
    MUST(cuCtxSynchronize());
    printf("%lu rounds verified\n", (unsigned long)rounds);
    return 0;
}
