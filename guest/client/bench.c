/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vgpu-client bench: medians of launch latency, launch floods and copies of random data. With
 * --driver the same on a driver in this process, so that the two can be compared.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/clock.h"
#include "guest/client/client.h"
#include "guest/client/output.h"
#include "guest/client/workload_ptx.h"

#define DEFAULT_SAMPLES 21
#define MAX_SAMPLES     100000
#define FLOOD_LAUNCHES  1000
#define MAX_COPY_BYTES  (UINT64_C(1) << 30)
/* Large copies are repeated less: about this many bytes for each figure. */
#define COPY_BUDGET_BYTES (UINT64_C(1) << 31)

struct bench {
    struct client *client;
    const struct cuda_driver *cu;
    CUfunction function;
    CUdeviceptr device;
    uint64_t max_bytes;
    unsigned samples;
    uint64_t *times;
    json_t *json;
};

static int compare_times(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

    return (left > right) - (left < right);
}

static double median_us(uint64_t *times, unsigned count)
{
    qsort(times, count, sizeof(*times), compare_times);
    return (double)(times[(count - 1) / 2] + times[count / 2]) / 2e3;
}

static CUresult launch(const struct bench *bench)
{
    CUdeviceptr state = bench->device;
    unsigned n = 1, rounds = 0;
    void *params[] = {&state, &n, &rounds};

    return bench->cu->cuLaunchKernel(bench->function, 1, 1, 1, 32, 1, 1, 0, NULL, params, NULL);
}

static void report(const struct bench *bench, const char *name, double us, uint64_t bytes)
{
    if (bench->client->options->json) {
        json_t *row = json_pack("{s:s, s:f}", "name", name, "median_us", us);

        if (bytes > 0) {
            json_object_set_new(row, "bytes", json_integer((json_int_t)bytes));
            json_object_set_new(row, "gigabytes_per_s", json_real((double)bytes / us / 1e3));
        }
        json_array_append_new(bench->json, row);
        return;
    }
    if (bytes > 0)
        printf("%-28s %12llu bytes %12.2f us %10.3f GB/s\n", name, (unsigned long long)bytes, us,
               (double)bytes / us / 1e3);
    else
        printf("%-28s %24s %10.2f us\n", name, "", us);
    fflush(stdout);
}

static CUresult bench_latency(struct bench *bench)
{
    CUresult result = CUDA_SUCCESS;

    for (unsigned i = 0; i < bench->samples * 10 && result == CUDA_SUCCESS; i++) {
        uint64_t began = vgpu_clock_ns();

        result = launch(bench);
        if (result == CUDA_SUCCESS)
            result = bench->cu->cuCtxSynchronize();
        bench->times[i] = vgpu_clock_ns() - began;
    }
    if (result == CUDA_SUCCESS)
        report(bench, "launch and synchronise", median_us(bench->times, bench->samples * 10), 0);
    return result;
}

static CUresult bench_flood(struct bench *bench)
{
    CUresult result = CUDA_SUCCESS;

    for (unsigned i = 0; i < bench->samples && result == CUDA_SUCCESS; i++) {
        uint64_t began = vgpu_clock_ns();

        for (int n = 0; n < FLOOD_LAUNCHES && result == CUDA_SUCCESS; n++)
            result = launch(bench);
        if (result == CUDA_SUCCESS)
            result = bench->cu->cuCtxSynchronize();
        bench->times[i] = (vgpu_clock_ns() - began) / FLOOD_LAUNCHES;
    }
    if (result == CUDA_SUCCESS)
        report(bench, "launch in a flood of 1000", median_us(bench->times, bench->samples), 0);
    return result;
}

static unsigned samples_for(const struct bench *bench, uint64_t bytes)
{
    uint64_t most = COPY_BUDGET_BYTES / bytes;

    if (most < 3)
        most = 3;
    return most < bench->samples ? (unsigned)most : bench->samples;
}

static CUresult time_copy(struct bench *bench, bool upload, void *host, uint64_t bytes, double *us)
{
    unsigned samples = samples_for(bench, bytes);
    CUresult result = CUDA_SUCCESS;

    for (unsigned i = 0; i < samples && result == CUDA_SUCCESS; i++) {
        uint64_t began = vgpu_clock_ns();

        result = upload ? bench->cu->cuMemcpyHtoD(bench->device, host, bytes)
                        : bench->cu->cuMemcpyDtoH(host, bench->device, bytes);
        /* An upload of ordinary memory may return before it is done. */
        if (result == CUDA_SUCCESS && upload)
            result = bench->cu->cuCtxSynchronize();
        bench->times[i] = vgpu_clock_ns() - began;
    }
    *us = median_us(bench->times, samples);
    return result;
}

/* Up and down again; what comes back must be what went. */
static int bench_copy(struct bench *bench, const char *kind, const uint8_t *data, void *host,
                      uint64_t bytes)
{
    char name[40];
    double us;
    CUresult result;

    memcpy(host, data, bytes);
    result = time_copy(bench, true, host, bytes, &us);
    if (result != CUDA_SUCCESS)
        return client_cuda_failed(bench->client, result, "upload");
    snprintf(name, sizeof(name), "upload, %s", kind);
    report(bench, name, us, bytes);
    memset(host, 0, bytes);
    result = time_copy(bench, false, host, bytes, &us);
    if (result != CUDA_SUCCESS)
        return client_cuda_failed(bench->client, result, "download");
    snprintf(name, sizeof(name), "download, %s", kind);
    report(bench, name, us, bytes);
    if (memcmp(host, data, bytes) == 0)
        return CLIENT_OK;
    client_complain("%s: %llu bytes came back changed", kind, (unsigned long long)bytes);
    return CLIENT_WRONG;
}

static void fill_random(uint8_t *data, uint64_t bytes)
{
    uint64_t state = 0;

    if (getrandom(&state, sizeof(state), 0) != sizeof(state))
        state = vgpu_clock_ns();
    state |= 1;
    /* xorshift64 (Marsaglia 2003). */
    for (uint64_t i = 0; i < bytes; i += sizeof(state)) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        memcpy(data + i, &state, bytes - i < sizeof(state) ? bytes - i : sizeof(state));
    }
}

static int bench_pinned(struct bench *bench, const uint8_t *data, uint64_t bytes)
{
    void *pinned;
    CUresult result = bench->cu->cuMemHostAlloc(&pinned, bytes, 0);
    int status;

    if (result == CUDA_ERROR_OUT_OF_MEMORY) {
        if (!bench->client->options->json)
            printf("page-locked %llu bytes: more than the channel has; see --data-size\n",
                   (unsigned long long)bytes);
        return CLIENT_OK;
    }
    if (result != CUDA_SUCCESS)
        return client_cuda_failed(bench->client, result, "page-locked memory");
    status = bench_copy(bench, "page-locked", data, pinned, bytes);
    bench->cu->cuMemFreeHost(pinned);
    return status;
}

static int bench_copies(struct bench *bench)
{
    static const uint64_t sizes[] = {4, 4096, 65536, 1 << 20, 16 << 20, 256 << 20, 1024u << 20};
    _cleanup_free_ uint8_t *data = malloc(bench->max_bytes);
    _cleanup_free_ uint8_t *host = malloc(bench->max_bytes);
    int status = CLIENT_OK;

    if (!data || !host) {
        client_complain("out of memory");
        return CLIENT_FAILED;
    }
    fill_random(data, bench->max_bytes);
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(sizes) && status == CLIENT_OK; i++) {
        if (sizes[i] > bench->max_bytes)
            break;
        status = bench_copy(bench, "pageable", data, host, sizes[i]);
        if (status == CLIENT_OK)
            status = bench_pinned(bench, data, sizes[i]);
    }
    return status;
}

static int prepare(struct bench *bench)
{
    CUmodule module;
    CUresult result = bench->cu->cuModuleLoadData(&module, workload_ptx_spin);

    if (result == CUDA_SUCCESS)
        result = bench->cu->cuModuleGetFunction(&bench->function, module, "spin");
    if (result == CUDA_SUCCESS)
        result = bench->cu->cuMemAlloc(&bench->device, bench->max_bytes);
    if (result == CUDA_SUCCESS)
        result = bench->cu->cuMemsetD8(bench->device, 0, bench->max_bytes);
    if (result == CUDA_SUCCESS)
        result = launch(bench);
    if (result == CUDA_SUCCESS)
        result = bench->cu->cuCtxSynchronize();
    return result == CUDA_SUCCESS ? CLIENT_OK
                                  : client_cuda_failed(bench->client, result, "cannot prepare");
}

static int run(struct bench *bench)
{
    CUresult result;
    int status = prepare(bench);

    if (status != CLIENT_OK)
        return status;
    result = bench_latency(bench);
    if (result == CUDA_SUCCESS)
        result = bench_flood(bench);
    if (result != CUDA_SUCCESS)
        return client_cuda_failed(bench->client, result, "launch");
    return bench_copies(bench);
}

int client_bench(struct client *client, int argc, char **argv)
{
    const struct client_options *options = client->options;
    _cleanup_json_ json_t *rows = json_array();
    _cleanup_free_ uint64_t *times = NULL;
    struct bench bench = {.client = client, .cu = &client->cu, .json = rows};
    int status;

    bench.samples = options->samples ? (unsigned)options->samples : DEFAULT_SAMPLES;
    bench.max_bytes = options->max_bytes ? options->max_bytes : 256u << 20;
    if (options->samples > MAX_SAMPLES || bench.max_bytes > MAX_COPY_BYTES || bench.max_bytes < 4) {
        client_complain("--samples takes at most %d, --max-size 4 bytes to 1 GiB", MAX_SAMPLES);
        return CLIENT_USAGE;
    }
    times = calloc((size_t)bench.samples * 10, sizeof(*times));
    bench.times = times;
    status = times ? client_open_context(client) : CLIENT_FAILED;
    if (status == CLIENT_OK)
        status = run(&bench);
    if (status == CLIENT_OK && options->json) {
        _cleanup_json_ json_t *all =
            json_pack("{s:s, s:O}", "driver", options->driver ? options->driver : "mediated",
                      "results", rows);

        output_json(all);
    }
    return status;
}
