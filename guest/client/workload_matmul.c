/* SPDX-License-Identifier: Apache-2.0 */
/* The product of two square matrices. The reference adds in the kernel's order: bit for bit. */
#include <errno.h>
#include <math.h>

#include "guest/client/workload_job.h"
#include "guest/client/workload_ptx.h"

#define TILE 16

static int size_of_matrix(uint64_t elements, uint64_t *ret_size)
{
    uint64_t side = (uint64_t)llrint(sqrt((double)elements));

    if (side * side != elements)
        return -EINVAL;
    *ret_size = side;
    return 0;
}

static void plan(struct workload_job *job)
{
    struct workload_array matrix = {.type = WORKLOAD_F32, .count = job->size * job->size};

    job->in[0] = job->in[1] = job->out[0] = matrix;
}

static void fill(struct workload_job *job, struct workload_random *random)
{
    for (unsigned int i = 0; i < 2; i++)
        for (uint64_t k = 0; k < job->in[i].count; k++)
            ((float *)job->in[i].host)[k] = workload_random_f32(random, -1, 1);
}

static int run(struct workload_job *job, struct vgpu_err *err)
{
    uint32_t n = (uint32_t)job->size;
    unsigned int tiles = (n + TILE - 1) / TILE;
    struct workload_grid grid = {.x = tiles, .y = tiles, .block_x = TILE, .block_y = TILE};
    void *args[] = {&job->in[0].device, &job->in[1].device, &job->out[0].device, &n, &n, &n};

    return workload_launch(job, 0, "matmul", grid, args, err);
}

static int reference(struct workload_job *job, struct vgpu_err *err)
{
    const float *a = job->in[0].host, *b = job->in[1].host;
    float *c = job->out[0].want;
    uint64_t n = job->size;

    for (uint64_t row = 0; row < n; row++) {
        for (uint64_t column = 0; column < n; column++)
            c[row * n + column] = 0;
        for (uint64_t k = 0; k < n; k++)
            for (uint64_t column = 0; column < n; column++)
                c[row * n + column] = fmaf(a[row * n + k], b[k * n + column], c[row * n + column]);
    }
    return 0;
}

const struct workload_ops workload_matmul = {
    .ptx = workload_ptx_matmul,
    .in_count = 2,
    .out_count = 1,
    .size_of = size_of_matrix,
    .plan = plan,
    .fill = fill,
    .run = run,
    .reference = reference,
};
