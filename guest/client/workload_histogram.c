/* SPDX-License-Identifier: Apache-2.0 */
/* How often each byte value occurs. */
#include "guest/client/workload_job.h"
#include "guest/client/workload_ptx.h"

#define BLOCK  256
#define BLOCKS 16
#define BINS   256

static void plan(struct workload_job *job)
{
    job->in[0] = (struct workload_array){.type = WORKLOAD_U8, .count = job->size};
    job->out[0] = (struct workload_array){.type = WORKLOAD_U32, .count = BINS};
}

/* Uneven, as real data is: the sum of two dice, so that some bins are contended. */
static void fill(struct workload_job *job, struct workload_random *random)
{
    for (uint64_t i = 0; i < job->size; i++) {
        uint64_t bits = workload_random_u64(random);

        ((uint8_t *)job->in[0].host)[i] = (uint8_t)((bits & 127) + (bits >> 8 & 127));
    }
}

static int run(struct workload_job *job, struct vgpu_err *err)
{
    uint32_t n = (uint32_t)job->size;
    struct workload_grid grid = workload_grid_for(n / 4 + 1, BLOCK);
    void *args[] = {&job->in[0].device, &n, &job->out[0].device};
    int r =
        workload_cuda(job, job->cu->cuMemsetD32(job->out[0].device, 0, BINS), "cuMemsetD32", err);

    if (r < 0)
        return r;
    if (grid.x > BLOCKS)
        grid.x = BLOCKS;
    return workload_launch(job, 0, "histogram", grid, args, err);
}

static int reference(struct workload_job *job, struct vgpu_err *err)
{
    uint32_t *bins = job->out[0].want;

    for (unsigned int i = 0; i < BINS; i++)
        bins[i] = 0;
    for (uint64_t i = 0; i < job->size; i++)
        bins[((const uint8_t *)job->in[0].host)[i]]++;
    return 0;
}

const struct workload_ops workload_histogram = {
    .ptx = workload_ptx_histogram,
    .in_count = 1,
    .out_count = 1,
    .plan = plan,
    .fill = fill,
    .run = run,
    .reference = reference,
};
