/* SPDX-License-Identifier: Apache-2.0 */
/* A square picture of the Mandelbrot set: iterations a pixel. Equal to the last iteration. */
#include "guest/client/workload_job.h"
#include "guest/client/workload_ptx.h"

#define BLOCK_SIDE 16
#define LEFT       -2.0f
#define TOP        1.25f
#define SPAN       2.5f

static void plan(struct workload_job *job)
{
    job->out[0] = (struct workload_array){.type = WORKLOAD_U32, .count = job->size * job->size};
}

static int run(struct workload_job *job, struct vgpu_err *err)
{
    uint32_t side = (uint32_t)job->size;
    float left = LEFT, top = TOP, step = SPAN / (float)side;
    unsigned int blocks = (side + BLOCK_SIDE - 1) / BLOCK_SIDE;
    struct workload_grid grid = {
        .x = blocks, .y = blocks, .block_x = BLOCK_SIDE, .block_y = BLOCK_SIDE};
    void *args[] = {&job->out[0].device, &side, &side, &left, &top, &step, &job->work};

    return workload_launch(job, 0, "mandelbrot", grid, args, err);
}

static uint32_t iterations(float c_re, float c_im, uint32_t limit)
{
    float re = 0, im = 0;
    uint32_t i = 0;

    for (; i < limit; i++) {
        float re2 = re * re, im2 = im * im;

        if (re2 + im2 > 4.0f)
            break;
        im = 2.0f * re * im + c_im;
        re = re2 - im2 + c_re;
    }
    return i;
}

static int reference(struct workload_job *job, struct vgpu_err *err)
{
    uint64_t side = job->size;
    float step = SPAN / (float)side;

    for (uint64_t y = 0; y < side; y++)
        for (uint64_t x = 0; x < side; x++)
            ((uint32_t *)job->out[0].want)[y * side + x] =
                iterations(LEFT + step * (float)x, TOP - step * (float)y, job->work);
    return 0;
}

const struct workload_ops workload_mandelbrot = {
    .ptx = workload_ptx_mandelbrot,
    .out_count = 1,
    .plan = plan,
    .run = run,
    .reference = reference,
};
