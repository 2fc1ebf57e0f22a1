/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of random data up and down; what comes back must be what went. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/cuda/bench.h"
#include "common/clock.h"

/* Large copies are repeated less: about this many bytes for each figure. */
#define BUDGET_BYTES (UINT64_C(1) << 32)

static unsigned samples_for(const struct bench *bench, uint64_t bytes)
{
    uint64_t most = (bench->quick ? BUDGET_BYTES / 16 : BUDGET_BYTES) / bytes;

    if (most < 3)
        most = 3;
    return most < bench->samples ? (unsigned)most : bench->samples;
}

static void time_copy(struct bench *bench, const char *name, bool upload, void *host,
                      uint64_t bytes)
{
    unsigned samples = samples_for(bench, bytes);

    for (unsigned i = 0; i < samples; i++) {
        uint64_t began = vgpu_clock_ns();

        bench_must(upload ? bench->cu.cuMemcpyHtoD(bench->device, host, bytes)
                          : bench->cu.cuMemcpyDtoH(host, bench->device, bytes),
                   name);
        bench->times[i] = vgpu_clock_ns() - began;
        /* What an upload of ordinary memory has left behind is not the next one's. */
        bench_synchronize(bench);
    }
    bench_report(bench, name, samples, 1, bytes);
}

/* An upload that is done when it returns, whatever the memory: with the synchronisation. */
static void time_upload_whole(struct bench *bench, const char *name, void *host, uint64_t bytes)
{
    unsigned samples = samples_for(bench, bytes);

    for (unsigned i = 0; i < samples; i++) {
        uint64_t began = vgpu_clock_ns();

        bench_must(bench->cu.cuMemcpyHtoD(bench->device, host, bytes), name);
        bench_synchronize(bench);
        bench->times[i] = vgpu_clock_ns() - began;
    }
    bench_report(bench, name, samples, 1, bytes);
}

static void up_and_down(struct bench *bench, const char *kind, const uint8_t *data, void *host,
                        uint64_t bytes)
{
    char name[64];

    memcpy(host, data, bytes);
    snprintf(name, sizeof(name), "upload, %s", kind);
    time_copy(bench, name, true, host, bytes);
    snprintf(name, sizeof(name), "upload and synchronise, %s", kind);
    time_upload_whole(bench, name, host, bytes);
    memset(host, 0, bytes);
    snprintf(name, sizeof(name), "download, %s", kind);
    time_copy(bench, name, false, host, bytes);
    if (memcmp(host, data, bytes) != 0) {
        fprintf(stderr, "cuda_bench: %s: %llu bytes came back changed\n", kind,
                (unsigned long long)bytes);
        exit(1);
    }
}

static void page_locked(struct bench *bench, const uint8_t *data, uint64_t bytes)
{
    void *host;

    bench_must(bench->cu.cuMemHostAlloc(&host, bytes, 0), "page-locked memory");
    up_and_down(bench, "page-locked", data, host, bytes);
    bench_must(bench->cu.cuMemFreeHost(host), "page-locked memory");
}

void bench_copies(struct bench *bench)
{
    static const uint64_t sizes[] = {4,       256,      4096,      65536,           262144,
                                     1 << 20, 16 << 20, 256 << 20, BENCH_MAX_BYTES, 0};
    uint8_t *data = malloc(bench->max_bytes);
    uint8_t *host = malloc(bench->max_bytes);

    if (!data || !host) {
        fprintf(stderr, "cuda_bench: out of memory\n");
        exit(1);
    }
    bench_fill_random(data, bench->max_bytes, vgpu_clock_ns());
    for (unsigned i = 0; sizes[i] && sizes[i] <= bench->max_bytes; i++) {
        up_and_down(bench, "pageable", data, host, sizes[i]);
        page_locked(bench, data, sizes[i]);
    }
    free(data);
    free(host);
}
