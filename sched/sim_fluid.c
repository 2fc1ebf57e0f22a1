/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Generalised processor sharing, in floating point, straight from the definition: the reference
 * that the simulator compares with. Shares no code with the scheduler.
 */
#include "sched/sim.h"

#include <math.h>

static bool backlogged(const struct fluid_vm *vm)
{
    return vm->backlog > 1e-3;
}

/* Sum of the weights of those with work: of the VMs, or of the pools. */
static double total_weight(struct fluid *fluid)
{
    double sum = 0;

    if (!fluid->pool_weights) {
        for (uint32_t i = 0; i < fluid->n_vms; i++)
            sum += backlogged(&fluid->vms[i]) ? fluid->vms[i].weight : 0;
        return sum;
    }
    for (uint32_t p = 0; p < fluid->n_pools; p++)
        fluid->pool_sums[p] = 0;
    for (uint32_t i = 0; i < fluid->n_vms; i++) {
        if (backlogged(&fluid->vms[i]))
            fluid->pool_sums[fluid->vms[i].pool] += fluid->vms[i].weight;
    }
    for (uint32_t p = 0; p < fluid->n_pools; p++)
        sum += fluid->pool_sums[p] > 0 ? fluid->pool_weights[p] : 0;
    return sum;
}

static double rate(const struct fluid *fluid, const struct fluid_vm *vm, double total)
{
    if (!backlogged(vm))
        return 0;
    if (!fluid->pool_weights)
        return vm->weight / total;
    return fluid->pool_weights[vm->pool] / total * (vm->weight / fluid->pool_sums[vm->pool]);
}

void fluid_advance(struct fluid *fluid, double service)
{
    while (service > 1e-3) {
        double total = total_weight(fluid), step = service;

        if (total <= 0)
            break;
        for (uint32_t i = 0; i < fluid->n_vms; i++) {
            double r = rate(fluid, &fluid->vms[i], total);

            if (r > 0 && fluid->vms[i].backlog / r < step)
                step = fluid->vms[i].backlog / r;
        }
        for (uint32_t i = 0; i < fluid->n_vms; i++) {
            struct fluid_vm *vm = &fluid->vms[i];
            double part = rate(fluid, vm, total) * step;

            vm->served += part;
            vm->backlog -= part; /* INFINITY stays */
        }
        service -= step;
    }
    for (uint32_t i = 0; i < fluid->n_vms; i++) {
        struct fluid_vm *vm = &fluid->vms[i];
        double lag = vm->served - vm->received;

        if (lag > vm->lag_max)
            vm->lag_max = lag;
        if (-lag > vm->ahead_max)
            vm->ahead_max = -lag;
    }
}
