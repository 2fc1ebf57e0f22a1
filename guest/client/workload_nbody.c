/* SPDX-License-Identifier: Apache-2.0 */
/* Gravity between all pairs of bodies for a few steps; the reference computes in double. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "guest/client/workload_job.h"
#include "guest/client/workload_ptx.h"

#define TILE       128
#define STEP       0.01f
#define SOFTENING2 0.01f
#define OTHER      0 /* scratch slot: the positions' second array */

static int size_of_bodies(uint64_t elements, uint64_t *ret_size)
{
    if (elements % 4)
        return -EINVAL;
    *ret_size = elements / 4;
    return 0;
}

static void plan(struct workload_job *job)
{
    struct workload_array bodies = {.type = WORKLOAD_F32, .count = 4 * job->size};

    job->in[0] = job->in[1] = job->out[0] = job->out[1] = bodies;
}

static void fill(struct workload_job *job, struct workload_random *random)
{
    float *position = job->in[0].host, *velocity = job->in[1].host;

    for (uint64_t i = 0; i < 4 * job->size; i++) {
        bool mass = i % 4 == 3;

        position[i] = mass ? workload_random_f32(random, 0.5, 1.5) / (float)job->size
                           : workload_random_f32(random, -1, 1);
        velocity[i] = workload_random_f32(random, -0.1, 0.1);
    }
}

static int run(struct workload_job *job, struct vgpu_err *err)
{
    CUdeviceptr from, to = job->out[0].device, other;
    uint32_t n = (uint32_t)job->size;
    float step = STEP, softening2 = SOFTENING2;
    void *args[] = {&from, &to, &job->out[1].device, &n, &step, &softening2};
    int r = workload_copy_in_place(job, 1, 1, err);

    if (r == 0)
        r = workload_scratch(job, OTHER, workload_array_bytes(&job->out[0]), &other, err);
    if (r < 0)
        return r;
    /* Which of the two arrays is written first is chosen so that the last step writes out[0]. */
    from = job->in[0].device;
    to = job->work % 2 ? job->out[0].device : other;
    for (uint32_t i = 0; r == 0 && i < job->work; i++) {
        r = workload_launch(job, 0, "nbody", workload_grid_for(n, TILE), args, err);
        from = to;
        to = to == other ? job->out[0].device : other;
    }
    return r;
}

static void accelerate(const double *bodies, uint64_t n, uint64_t i, double acceleration[3])
{
    for (uint64_t j = 0; j < n; j++) {
        double d[3], distance2 = (double)SOFTENING2, force;

        for (unsigned int k = 0; k < 3; k++) {
            d[k] = bodies[4 * j + k] - bodies[4 * i + k];
            distance2 += d[k] * d[k];
        }
        force = bodies[4 * j + 3] / (distance2 * sqrt(distance2));
        for (unsigned int k = 0; k < 3; k++)
            acceleration[k] += d[k] * force;
    }
}

static void step_all(double *bodies, double *next, double *velocity, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        double acceleration[3] = {0};

        accelerate(bodies, n, i, acceleration);
        for (unsigned int k = 0; k < 3; k++) {
            velocity[4 * i + k] += acceleration[k] * (double)STEP;
            next[4 * i + k] = bodies[4 * i + k] + velocity[4 * i + k] * (double)STEP;
        }
        next[4 * i + 3] = bodies[4 * i + 3];
    }
    memcpy(bodies, next, 4 * n * sizeof(double));
}

static int reference(struct workload_job *job, struct vgpu_err *err)
{
    uint64_t count = 4 * job->size;
    _cleanup_free_ double *bodies = calloc(count, sizeof(double));
    _cleanup_free_ double *next = calloc(count, sizeof(double));
    _cleanup_free_ double *velocity = calloc(count, sizeof(double));

    if (!bodies || !next || !velocity)
        return vgpu_err_set(err, ENOMEM, "cannot compute the reference: out of memory");
    for (uint64_t i = 0; i < count; i++) {
        bodies[i] = (double)((const float *)job->in[0].host)[i];
        velocity[i] = (double)((const float *)job->in[1].host)[i];
    }
    for (uint32_t i = 0; i < job->work; i++)
        step_all(bodies, next, velocity, job->size);
    for (uint64_t i = 0; i < count; i++) {
        ((float *)job->out[0].want)[i] = (float)bodies[i];
        ((float *)job->out[1].want)[i] = (float)velocity[i];
    }
    return 0;
}

const struct workload_ops workload_nbody = {
    .ptx = workload_ptx_nbody,
    .in_count = 2,
    .out_count = 2,
    .relative = 1e-4,
    .absolute = 1e-5,
    .size_of = size_of_bodies,
    .plan = plan,
    .fill = fill,
    .run = run,
    .reference = reference,
};
