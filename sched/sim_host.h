/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A described host of several GPUs: each VM is placed as the mediator places a channel
 * (sched/place.h), in the order of the description, and each GPU is simulated by itself, as GPUs
 * share nothing but pools. Used by vgpu-admin.
 */
#ifndef VGPU_SCHED_SIM_HOST_H
#define VGPU_SCHED_SIM_HOST_H

#include "sched/sim.h"

struct sim_host_gpu {
    struct sim_spec spec; /* of this GPU alone: its VMs, and the changes that are about them */
    struct sim_result result;
};

struct sim_host {
    struct sim_host_gpu *gpus;
    uint32_t n_gpus; /* as in the description */
};

/*
 * -EINVAL: a VM is of a pool that no GPU serves, or moves to one that its GPU does not serve; the
 * text names them. Others as sim_run(), whose max_steps holds for each GPU.
 */
int sim_host_run(const struct sim_spec *spec, uint64_t max_steps, struct sim_host *ret_host,
                 struct vgpu_err *err);
void sim_host_release(struct sim_host *host);

#endif
