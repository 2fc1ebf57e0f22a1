/* SPDX-License-Identifier: Apache-2.0 */
/* Exclusive prefix sums. Each level scans the totals of the blocks of the level below. */
#include "guest/client/workload_job.h"
#include "guest/client/workload_ptx.h"

#define BLOCK         256
#define PER_BLOCK     (2 * BLOCK)
#define MAX_LEVELS    4 /* 512^4 is beyond any size that is taken */
#define FUNCTION_SCAN 0
#define FUNCTION_ADD  1

static void plan(struct workload_job *job)
{
    job->in[0] = (struct workload_array){.type = WORKLOAD_U32, .count = job->size};
    job->out[0] = job->in[0];
}

static void fill(struct workload_job *job, struct workload_random *random)
{
    for (uint64_t i = 0; i < job->size; i++)
        ((uint32_t *)job->in[0].host)[i] = workload_random_u32(random);
}

/* What a level scans, and where its blocks' totals go: the input of the level above. */
struct level {
    CUdeviceptr in, out, totals;
    uint32_t n;
    struct workload_grid grid;
};

/* Scratch slots of a level. */
#define SLOT_TOTALS(level) (2 * (level))
#define SLOT_OUT(level)    (2 * (level) + 1)

static int scan_level(struct workload_job *job, unsigned int index, struct level *level,
                      struct vgpu_err *err)
{
    void *args[] = {&level->in, &level->out, &level->totals, &level->n};
    int r;

    level->grid = workload_grid_for((level->n + 1) / 2, BLOCK);
    r = workload_scratch(job, SLOT_TOTALS(index), (uint64_t)level->grid.x * sizeof(uint32_t),
                         &level->totals, err);
    if (r < 0)
        return r;
    return workload_launch(job, FUNCTION_SCAN, "scan_blocks", level->grid, args, err);
}

static int add_level(struct workload_job *job, struct level *level, CUdeviceptr offsets,
                     struct vgpu_err *err)
{
    void *args[] = {&level->out, &offsets, &level->n};

    return workload_launch(job, FUNCTION_ADD, "scan_add", level->grid, args, err);
}

static int run(struct workload_job *job, struct vgpu_err *err)
{
    struct level levels[MAX_LEVELS] = {
        {.in = job->in[0].device, .out = job->out[0].device, .n = (uint32_t)job->size}};
    unsigned int top = 0;
    int r = scan_level(job, 0, &levels[0], err);

    while (r == 0 && levels[top].grid.x > 1) {
        struct level *above = &levels[top + 1];

        above->in = levels[top].totals;
        above->n = levels[top].grid.x;
        top++;
        r = workload_scratch(job, SLOT_OUT(top), (uint64_t)above->n * sizeof(uint32_t), &above->out,
                             err);
        if (r == 0)
            r = scan_level(job, top, above, err);
    }
    for (; r == 0 && top > 0; top--)
        r = add_level(job, &levels[top - 1], levels[top].out, err);
    return r;
}

static int reference(struct workload_job *job, struct vgpu_err *err)
{
    const uint32_t *in = job->in[0].host;
    uint32_t sum = 0;

    for (uint64_t i = 0; i < job->size; i++) {
        ((uint32_t *)job->out[0].want)[i] = sum;
        sum += in[i];
    }
    return 0;
}

const struct workload_ops workload_scan = {
    .ptx = workload_ptx_scan,
    .in_count = 1,
    .out_count = 1,
    .plan = plan,
    .fill = fill,
    .run = run,
    .reference = reference,
};
