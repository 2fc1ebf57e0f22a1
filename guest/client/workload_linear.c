/* SPDX-License-Identifier: Apache-2.0 */
/* Workloads with one independent result an element: vector_add, saxpy, spin. */
#include <math.h>

#include "guest/client/workload_job.h"
#include "guest/client/workload_ptx.h"

#define BLOCK       256
#define SAXPY_ALPHA 1.75f

static void plan_vector_add(struct workload_job *job)
{
    for (unsigned int i = 0; i < 2; i++)
        job->in[i] = (struct workload_array){.type = WORKLOAD_TEXT_F32, .count = job->size};
    job->out[0] = (struct workload_array){.type = WORKLOAD_TEXT_F32, .count = job->size};
}

static void fill_two_vectors(struct workload_job *job, struct workload_random *random)
{
    for (unsigned int i = 0; i < 2; i++)
        for (uint64_t k = 0; k < job->size; k++)
            ((float *)job->in[i].host)[k] = workload_random_f32(random, 1, 1000);
}

static int run_vector_add(struct workload_job *job, struct vgpu_err *err)
{
    uint32_t n = (uint32_t)job->size;
    void *args[] = {&job->in[0].device, &job->in[1].device, &job->out[0].device, &n};

    return workload_launch(job, 0, "vector_add", workload_grid_for(n, BLOCK), args, err);
}

static int reference_vector_add(struct workload_job *job, struct vgpu_err *err)
{
    const float *a = job->in[0].host, *b = job->in[1].host;

    for (uint64_t i = 0; i < job->size; i++)
        ((float *)job->out[0].want)[i] = a[i] + b[i];
    return 0;
}

const struct workload_ops workload_vector_add = {
    .ptx = workload_ptx_vector_add,
    .in_count = 2,
    .out_count = 1,
    .plan = plan_vector_add,
    .fill = fill_two_vectors,
    .run = run_vector_add,
    .reference = reference_vector_add,
};

static void plan_saxpy(struct workload_job *job)
{
    for (unsigned int i = 0; i < 2; i++)
        job->in[i] = (struct workload_array){.type = WORKLOAD_F32, .count = job->size};
    job->out[0] = (struct workload_array){.type = WORKLOAD_F32, .count = job->size};
}

static int run_saxpy(struct workload_job *job, struct vgpu_err *err)
{
    float alpha = SAXPY_ALPHA;
    uint32_t n = (uint32_t)job->size;
    void *args[] = {&alpha, &job->in[0].device, &job->out[0].device, &n};
    struct workload_grid grid = workload_grid_for(n, BLOCK);
    int r = workload_copy_in_place(job, 1, 0, err);

    if (r < 0)
        return r;
    /* Fewer threads than elements, so that the kernel's loop has something to do. */
    grid.x = (grid.x + 3) / 4;
    return workload_launch(job, 0, "saxpy", grid, args, err);
}

static int reference_saxpy(struct workload_job *job, struct vgpu_err *err)
{
    const float *x = job->in[0].host, *y = job->in[1].host;

    for (uint64_t i = 0; i < job->size; i++)
        ((float *)job->out[0].want)[i] = fmaf(SAXPY_ALPHA, x[i], y[i]);
    return 0;
}

const struct workload_ops workload_saxpy = {
    .ptx = workload_ptx_saxpy,
    .in_count = 2,
    .out_count = 1,
    .plan = plan_saxpy,
    .fill = fill_two_vectors,
    .run = run_saxpy,
    .reference = reference_saxpy,
};

static void plan_spin(struct workload_job *job)
{
    job->in[0] = (struct workload_array){.type = WORKLOAD_U32, .count = job->size};
    job->out[0] = job->in[0];
}

static void fill_spin(struct workload_job *job, struct workload_random *random)
{
    for (uint64_t i = 0; i < job->size; i++)
        ((uint32_t *)job->in[0].host)[i] = workload_random_u32(random);
}

static int run_spin(struct workload_job *job, struct vgpu_err *err)
{
    uint32_t n = (uint32_t)job->size;
    void *args[] = {&job->out[0].device, &n, &job->work};
    int r = workload_copy_in_place(job, 0, 0, err);

    if (r < 0)
        return r;
    return workload_launch(job, 0, "spin", workload_grid_for(n, BLOCK), args, err);
}

static int reference_spin(struct workload_job *job, struct vgpu_err *err)
{
    const uint32_t *in = job->in[0].host;

    for (uint64_t i = 0; i < job->size; i++) {
        uint32_t x = in[i];

        for (uint32_t k = 0; k < job->work; k++) {
            x ^= x << 13;
            x ^= x >> 17;
            x ^= x << 5;
        }
        ((uint32_t *)job->out[0].want)[i] = x;
    }
    return 0;
}

const struct workload_ops workload_spin = {
    .ptx = workload_ptx_spin,
    .in_count = 1,
    .out_count = 1,
    .plan = plan_spin,
    .fill = fill_spin,
    .run = run_spin,
    .reference = reference_spin,
};
