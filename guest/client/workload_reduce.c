/* SPDX-License-Identifier: Apache-2.0 */
/* Sums: floats by trees in shared memory, 64-bit integers by shuffles; passes until one is left. */
#include "guest/client/workload_job.h"
#include "guest/client/workload_ptx.h"

#define BLOCK          256
#define SHUFFLE_BLOCKS 64
#define PARTIAL        0 /* scratch slots: partial results of odd and of even passes */

static void plan_tree(struct workload_job *job)
{
    job->in[0] = (struct workload_array){.type = WORKLOAD_F32, .count = job->size};
    job->out[0] = (struct workload_array){.type = WORKLOAD_F32, .count = 1};
}

/* All positive, so that the sum's relative error stays small. */
static void fill_tree(struct workload_job *job, struct workload_random *random)
{
    for (uint64_t i = 0; i < job->size; i++)
        ((float *)job->in[0].host)[i] = workload_random_f32(random, 0.5, 1.5);
}

static int run_tree(struct workload_job *job, struct vgpu_err *err)
{
    CUdeviceptr from = job->in[0].device, to;
    uint32_t n = (uint32_t)job->size;
    unsigned int pass = 0;

    do {
        void *args[] = {&from, &to, &n};
        struct workload_grid grid = workload_grid_for((n + 1) / 2, BLOCK);
        int r = 0;

        grid.shared_bytes = BLOCK * sizeof(float);
        if (grid.x == 1)
            to = job->out[0].device;
        else
            r = workload_scratch(job, PARTIAL + pass % 2, (job->size / BLOCK + 1) * sizeof(float),
                                 &to, err);
        if (r == 0)
            r = workload_launch(job, 0, "reduce_tree", grid, args, err);
        if (r < 0)
            return r;
        from = to;
        n = grid.x;
        pass++;
    } while (n > 1);
    return 0;
}

static int reference_tree(struct workload_job *job, struct vgpu_err *err)
{
    double sum = 0;

    for (uint64_t i = 0; i < job->size; i++)
        sum += (double)((const float *)job->in[0].host)[i];
    *(float *)job->out[0].want = (float)sum;
    return 0;
}

const struct workload_ops workload_reduce_tree = {
    .ptx = workload_ptx_reduce,
    .in_count = 1,
    .out_count = 1,
    .relative = 1e-5,
    .plan = plan_tree,
    .fill = fill_tree,
    .run = run_tree,
    .reference = reference_tree,
};

static void plan_shuffle(struct workload_job *job)
{
    job->in[0] = (struct workload_array){.type = WORKLOAD_I64, .count = job->size};
    job->out[0] = (struct workload_array){.type = WORKLOAD_I64, .count = 1};
}

static void fill_shuffle(struct workload_job *job, struct workload_random *random)
{
    for (uint64_t i = 0; i < job->size; i++)
        ((uint64_t *)job->in[0].host)[i] = workload_random_u64(random) | 1;
}

static int run_shuffle(struct workload_job *job, struct vgpu_err *err)
{
    uint32_t n = (uint32_t)job->size, partials;
    struct workload_grid grid = workload_grid_for(n, BLOCK), last = workload_grid_for(1, BLOCK);
    CUdeviceptr partial;
    void *args[] = {&job->in[0].device, &partial, &n};
    void *last_args[] = {&partial, &job->out[0].device, &partials};
    int r;

    if (grid.x > SHUFFLE_BLOCKS)
        grid.x = SHUFFLE_BLOCKS;
    partials = grid.x;
    r = workload_scratch(job, PARTIAL, SHUFFLE_BLOCKS * sizeof(int64_t), &partial, err);
    if (r == 0)
        r = workload_launch(job, 0, "reduce_shuffle", grid, args, err);
    if (r == 0)
        r = workload_launch(job, 0, "reduce_shuffle", last, last_args, err);
    return r;
}

static int reference_shuffle(struct workload_job *job, struct vgpu_err *err)
{
    uint64_t sum = 0; /* wraps as the kernel's additions do */

    for (uint64_t i = 0; i < job->size; i++)
        sum += ((const uint64_t *)job->in[0].host)[i];
    *(uint64_t *)job->out[0].want = sum;
    return 0;
}

const struct workload_ops workload_reduce_shuffle = {
    .ptx = workload_ptx_reduce,
    .in_count = 1,
    .out_count = 1,
    .plan = plan_shuffle,
    .fill = fill_shuffle,
    .run = run_shuffle,
    .reference = reference_shuffle,
};
