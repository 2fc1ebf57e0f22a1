/* SPDX-License-Identifier: Apache-2.0 */
#include "sched/sim_host.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sched/place.h"

#define NOWHERE UINT32_MAX

/* Where a VM of the description went: GPU, and index there. */
struct placed {
    uint32_t gpu, vm;
};

static bool serves(const struct sim_gpu *gpu, uint32_t pool)
{
    return gpu->pools >> pool & 1;
}

static uint64_t share_of(const struct sim_vm *vm)
{
    return (uint64_t)vm->weight_milli * sched_priority_multiplier(vm->priority);
}

/* A VM is one channel here: what it computes, not how many processes it has, is described. */
static int place_vms(const struct sim_spec *spec, struct placed *placed, struct vgpu_err *err)
{
    struct place_gpu gpus[SIM_GPUS_MAX] = {{.usable = false}};

    for (uint32_t i = 0; i < spec->n_vms; i++) {
        const struct sim_vm *vm = &spec->vms[i];

        for (uint32_t g = 0; g < spec->n_gpus; g++)
            gpus[g].usable = serves(&spec->gpus[g], vm->pool);
        if (place_channel(gpus, spec->n_gpus, 0, &placed[i].gpu) < 0)
            return vgpu_err_set(err, EINVAL, "vm '%s': no gpu serves its pool '%s'", vm->name,
                                spec->pools[vm->pool].name);
        placed[i].vm = gpus[placed[i].gpu].channels++;
        gpus[placed[i].gpu].weight += share_of(vm);
    }
    return 0;
}

/* The GPU that a change is about; NOWHERE: each of them. */
static uint32_t gpu_of(const struct sim_change *change, const struct placed *placed)
{
    switch (change->kind) {
    case SIM_SET_WEIGHT:
    case SIM_SET_PRIORITY:
    case SIM_SET_POOL:
        return placed[change->vm].gpu;
    case SIM_SET_POOL_WEIGHT:
    case SIM_SET_POLICY:
    case SIM_SET_SLICE:
        break;
    }
    return NOWHERE;
}

static int check_moves(const struct sim_spec *spec, const struct placed *placed,
                       struct vgpu_err *err)
{
    for (uint32_t i = 0; i < spec->n_changes; i++) {
        const struct sim_change *change = &spec->changes[i];
        const struct sim_gpu *gpu;

        if (change->kind != SIM_SET_POOL)
            continue;
        gpu = &spec->gpus[placed[change->vm].gpu];
        if (!serves(gpu, (uint32_t)change->value))
            return vgpu_err_set(err, EINVAL,
                                "vm '%s' cannot move to pool '%s': what it runs is on gpu '%s', "
                                "which does not serve that pool, and stays there",
                                spec->vms[change->vm].name, spec->pools[change->value].name,
                                gpu->name);
    }
    return 0;
}

static int copy_gpu_and_pools(const struct sim_spec *spec, uint32_t g, struct sim_spec *part)
{
    part->gpus = malloc(sizeof(*part->gpus));
    part->pools = malloc(spec->n_pools * sizeof(*part->pools));
    part->vms = malloc((spec->n_vms + 1) * sizeof(*part->vms));
    part->changes = malloc((spec->n_changes + 1) * sizeof(*part->changes));
    if (!part->gpus || !part->pools || !part->vms || !part->changes)
        return -ENOMEM;
    part->gpus[0] = spec->gpus[g];
    part->n_gpus = 1;
    memcpy(part->pools, spec->pools, spec->n_pools * sizeof(*part->pools));
    part->n_pools = spec->n_pools;
    return 0;
}

/* What is GPU g's of the description. Another seed for each, or they would draw the same times. */
static int take_part(const struct sim_spec *spec, const struct placed *placed, uint32_t g,
                     struct sim_spec *part)
{
    *part = (struct sim_spec){.duration_ns = spec->duration_ns,
                              .seed = spec->seed + g,
                              .switch_ns = spec->switch_ns,
                              .in_flight_ns = spec->in_flight_ns,
                              .kill_ns = spec->kill_ns,
                              .config = spec->config};
    if (copy_gpu_and_pools(spec, g, part) < 0)
        return -ENOMEM;
    for (uint32_t i = 0; i < spec->n_vms; i++)
        if (placed[i].gpu == g)
            part->vms[part->n_vms++] = spec->vms[i];
    for (uint32_t i = 0; i < spec->n_changes; i++) {
        struct sim_change change = spec->changes[i];
        uint32_t about = gpu_of(&change, placed);

        if (about != NOWHERE && about != g)
            continue;
        if (about == g)
            change.vm = placed[change.vm].vm;
        part->changes[part->n_changes++] = change;
    }
    return 0;
}

static int run_all(const struct sim_spec *spec, const struct placed *placed, uint64_t max_steps,
                   struct sim_host *host, struct vgpu_err *err)
{
    for (uint32_t g = 0; g < spec->n_gpus; g++) {
        struct sim_host_gpu *gpu = &host->gpus[host->n_gpus++];
        int r = take_part(spec, placed, g, &gpu->spec);

        if (r < 0)
            return vgpu_err_set(err, ENOMEM, "out of memory");
        if ((r = sim_run(&gpu->spec, NULL, max_steps, &gpu->result, err)) < 0)
            return r;
    }
    return 0;
}

int sim_host_run(const struct sim_spec *spec, uint64_t max_steps, struct sim_host *ret_host,
                 struct vgpu_err *err)
{
    struct sim_host host = {.gpus = calloc(spec->n_gpus, sizeof(*host.gpus))};
    struct placed *placed = calloc(spec->n_vms, sizeof(*placed));
    int r;

    if (!host.gpus || !placed)
        r = vgpu_err_set(err, ENOMEM, "out of memory");
    else if ((r = place_vms(spec, placed, err)) == 0 && (r = check_moves(spec, placed, err)) == 0)
        r = run_all(spec, placed, max_steps, &host, err);
    free(placed);
    if (r < 0)
        sim_host_release(&host);
    else
        *ret_host = host;
    return r;
}

void sim_host_release(struct sim_host *host)
{
    for (uint32_t g = 0; g < host->n_gpus; g++) {
        sim_spec_release(&host->gpus[g].spec);
        sim_result_release(&host->gpus[g].result);
    }
    free(host->gpus);
    *host = (struct sim_host){.n_gpus = 0};
}
