/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small numerical helpers of the simulator: a reproducible generator (splitmix64) and a histogram
 * with a relative error of 1/64 in fixed memory. Used by sim.c and its tests.
 */
#ifndef VGPU_SCHED_SIM_STAT_H
#define VGPU_SCHED_SIM_STAT_H

#include <stdint.h>

#define SIM_HISTOGRAM_STEPS 64 /* per power of two */

struct sim_histogram {
    uint64_t total;
    uint32_t counts[59 * SIM_HISTOGRAM_STEPS];
};

void sim_histogram_add(struct sim_histogram *histogram, uint64_t value);
/* 0 when empty; q in 0..1. */
uint64_t sim_histogram_quantile(const struct sim_histogram *histogram, double q);

/* A state that depends on the seed and the name only. */
uint64_t sim_random_seed(uint64_t seed, const char *name);
uint64_t sim_random_next(uint64_t *state);
/* Uniform in (0, 1]. */
double sim_random_unit(uint64_t *state);

#endif
