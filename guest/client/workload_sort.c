/* SPDX-License-Identifier: Apache-2.0 */
/* Bitonic sort of keys, radix sort of keys with values. The references are the C library's. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "guest/client/workload_job.h"
#include "guest/client/workload_ptx.h"

#define SEGMENT       1024 /* elements that a bitonic block sorts in shared memory */
#define BITONIC_BLOCK 512
#define RADIX_BLOCK   256
#define RADIX_RANGE   1024 /* elements a radix block */
#define RADIX_BITS    4
#define RADIX_DIGITS  16

static void fill_keys(struct workload_job *job, struct workload_random *random)
{
    for (uint64_t i = 0; i < job->size; i++)
        ((uint32_t *)job->in[0].host)[i] = workload_random_u32(random);
}

static int compare_keys(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static void plan_bitonic(struct workload_job *job)
{
    job->in[0] = (struct workload_array){.type = WORKLOAD_U32, .count = job->size};
    job->out[0] = job->in[0];
}

static uint64_t bitonic_length(uint64_t size)
{
    uint64_t length = SEGMENT;

    while (length < size)
        length *= 2;
    return length;
}

/* Merges sequences of `sequence` elements; the steps over a segment or more are launches. */
static int merge(struct workload_job *job, CUdeviceptr data, uint64_t length, uint32_t sequence,
                 struct vgpu_err *err)
{
    struct workload_grid grid = workload_grid_for(length / 2, BITONIC_BLOCK);
    uint32_t distance;
    void *step_args[] = {&data, &distance, &sequence};
    void *finish_args[] = {&data, &sequence};
    int r = 0;

    for (distance = sequence / 2; r == 0 && distance >= SEGMENT; distance /= 2)
        r = workload_launch(job, 1, "bitonic_step", grid, step_args, err);
    if (r == 0)
        r = workload_launch(job, 2, "bitonic_finish", grid, finish_args, err);
    return r;
}

/* A copy padded with the largest key to a power of two is sorted; its front is the result. */
static int run_bitonic(struct workload_job *job, struct vgpu_err *err)
{
    uint64_t length = bitonic_length(job->size);
    uint64_t bytes = job->size * sizeof(uint32_t);
    const struct cuda_driver *cu = job->cu;
    CUdeviceptr data;
    void *args[] = {&data};
    int r = workload_scratch(job, 0, length * sizeof(uint32_t), &data, err);

    if (r == 0)
        r = workload_cuda(job, cu->cuMemsetD32(data, UINT32_MAX, length), "cuMemsetD32", err);
    if (r == 0)
        r = workload_cuda(job, cu->cuMemcpyDtoD(data, job->in[0].device, bytes), "cuMemcpyDtoD",
                          err);
    if (r == 0)
        r = workload_launch(job, 0, "bitonic_segments",
                            workload_grid_for(length / 2, BITONIC_BLOCK), args, err);
    for (uint64_t sequence = 2 * SEGMENT; r == 0 && sequence <= length; sequence *= 2)
        r = merge(job, data, length, (uint32_t)sequence, err);
    if (r < 0)
        return r;
    return workload_cuda(job, cu->cuMemcpyDtoD(job->out[0].device, data, bytes), "cuMemcpyDtoD",
                         err);
}

static int reference_bitonic(struct workload_job *job, struct vgpu_err *err)
{
    memcpy(job->out[0].want, job->in[0].host, job->size * sizeof(uint32_t));
    qsort(job->out[0].want, job->size, sizeof(uint32_t), compare_keys);
    return 0;
}

const struct workload_ops workload_bitonic_sort = {
    .ptx = workload_ptx_bitonic_sort,
    .in_count = 1,
    .out_count = 1,
    .plan = plan_bitonic,
    .fill = fill_keys,
    .run = run_bitonic,
    .reference = reference_bitonic,
};

static void plan_radix(struct workload_job *job)
{
    struct workload_array array = {.type = WORKLOAD_U32, .count = job->size};

    job->in[0] = job->in[1] = job->out[0] = job->out[1] = array;
}

/* Few enough distinct keys that equal ones are common: that the sort is stable then shows. */
static void fill_radix(struct workload_job *job, struct workload_random *random)
{
    for (uint64_t i = 0; i < job->size; i++) {
        uint32_t key = workload_random_u32(random);

        ((uint32_t *)job->in[0].host)[i] = key % 4 ? key : key & 0xf000000f;
        ((uint32_t *)job->in[1].host)[i] = workload_random_u32(random);
    }
}

struct pairs {
    CUdeviceptr keys, values;
};

static int radix_pass(struct workload_job *job, struct pairs from, struct pairs to, uint32_t shift,
                      struct vgpu_err *err)
{
    uint32_t n = (uint32_t)job->size;
    struct workload_grid grid = {
        .x = (n + RADIX_RANGE - 1) / RADIX_RANGE, .y = 1, .block_x = RADIX_BLOCK, .block_y = 1};
    uint32_t length = grid.x * RADIX_DIGITS;
    CUdeviceptr counts;
    void *count_args[] = {&from.keys, &counts, &n, &shift};
    void *scan_args[] = {&counts, &length};
    void *scatter_args[] = {&from.keys, &from.values, &to.keys, &to.values, &counts, &n, &shift};
    int r = workload_scratch(job, 4, (uint64_t)length * sizeof(uint32_t), &counts, err);

    if (r == 0)
        r = workload_launch(job, 0, "radix_count", grid, count_args, err);
    if (r == 0)
        r = workload_launch(job, 1, "radix_scan", workload_grid_for(1, RADIX_BLOCK), scan_args,
                            err);
    if (r == 0)
        r = workload_launch(job, 2, "radix_scatter", grid, scatter_args, err);
    return r;
}

static int run_radix(struct workload_job *job, struct vgpu_err *err)
{
    uint64_t bytes = job->size * sizeof(uint32_t);
    struct pairs from = {job->in[0].device, job->in[1].device};
    struct pairs odd, even = {job->out[0].device, job->out[1].device};
    int r = workload_scratch(job, 0, bytes, &odd.keys, err);

    if (r == 0)
        r = workload_scratch(job, 1, bytes, &odd.values, err);
    for (uint32_t shift = 0; r == 0 && shift < 32; shift += RADIX_BITS) {
        struct pairs to = shift / RADIX_BITS % 2 ? even : odd;

        r = radix_pass(job, from, to, shift, err);
        from = to;
    }
    return r;
}

struct keyed {
    uint32_t key, place;
};

static int compare_keyed(const void *a, const void *b)
{
    const struct keyed *x = a, *y = b;

    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x->place < y->place ? -1 : x->place > y->place;
}

static int reference_radix(struct workload_job *job, struct vgpu_err *err)
{
    const uint32_t *keys = job->in[0].host, *values = job->in[1].host;
    _cleanup_free_ struct keyed *sorted = calloc(job->size, sizeof(*sorted));

    if (!sorted)
        return vgpu_err_set(err, ENOMEM, "cannot compute the reference: out of memory");
    for (uint64_t i = 0; i < job->size; i++)
        sorted[i] = (struct keyed){keys[i], (uint32_t)i};
    qsort(sorted, job->size, sizeof(*sorted), compare_keyed);
    for (uint64_t i = 0; i < job->size; i++) {
        ((uint32_t *)job->out[0].want)[i] = sorted[i].key;
        ((uint32_t *)job->out[1].want)[i] = values[sorted[i].place];
    }
    return 0;
}

const struct workload_ops workload_radix_sort = {
    .ptx = workload_ptx_radix_sort,
    .in_count = 2,
    .out_count = 2,
    .plan = plan_radix,
    .fill = fill_radix,
    .run = run_radix,
    .reference = reference_radix,
};
