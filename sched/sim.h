/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulator of GPUs in virtual time, around the very scheduler that the mediator runs.
 *
 * sim_parse() reads a workload description (docs/spec/scheduling.md has the format), sim_run()
 * plays what is one GPU's; sim_host.h divides the description of a host among its GPUs. Beside it
 * sim_fluid.c computes the ideal fluid system (GPS) from the same arrivals without any of the
 * scheduler's code, so that lags and shares are judged by something independent. The same
 * description and seed give the same result, on any machine. Used by vgpu-admin, tests and fuzzing.
 */
#ifndef VGPU_SCHED_SIM_H
#define VGPU_SCHED_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "sched/sched.h"

#define SIM_VMS_MAX       1024
#define SIM_POOLS_MAX     64
#define SIM_GPUS_MAX      64
#define SIM_CHANGES_MAX   1024
#define SIM_NAME_BYTES    48
#define SIM_LINE_BYTES    1024
#define SIM_TEXT_BYTES    (1024 * 1024)
#define SIM_DEPTH_MAX     4096  /* of a closed loop */
#define SIM_QUEUE_MAX     65536 /* jobs of one VM; more are dropped and counted */
#define SIM_DURATION_MAX  UINT64_C(86400000000000) /* 1 day */
#define SIM_JOB_MIN_NS    UINT64_C(1000)           /* 1 us */
#define SIM_JOB_MAX_NS    UINT64_C(3600000000000)  /* 1 hour: "never ends" */
#define SIM_RATE_MAX      1000000                  /* arrivals per second and VM */
#define SIM_STEPS_DEFAULT UINT64_C(2000000000)

enum sim_dist_kind { SIM_FIXED, SIM_EXPONENTIAL, SIM_BIMODAL };

struct sim_dist {
    enum sim_dist_kind kind;
    uint64_t ns;      /* fixed: value; exponential: mean; bimodal: the short one */
    uint64_t long_ns; /* bimodal */
    uint32_t long_ppm;
};

enum sim_arrivals { SIM_CLOSED, SIM_POISSON, SIM_PERIODIC };

struct sim_vm {
    char name[SIM_NAME_BYTES];
    enum sched_priority priority;
    uint32_t weight_milli;
    uint32_t pool; /* index */
    enum sim_arrivals arrivals;
    uint32_t depth; /* closed: jobs that are always queued or thought about */
    bool thinks;
    struct sim_dist think; /* closed: from a job's end to the next arrival */
    uint64_t gap_ns;       /* poisson: mean distance; periodic: distance */
    uint64_t phase_ns;
    struct sim_dist job;
    uint64_t start_ns, stop_ns; /* arrivals within [start, stop); stop 0: the end */
};

struct sim_pool {
    char name[SIM_NAME_BYTES];
    uint32_t weight_milli;
};

struct sim_gpu {
    char name[SIM_NAME_BYTES];
    uint64_t pools; /* that it serves: a bit for each index */
};

enum sim_change_kind {
    SIM_SET_WEIGHT,
    SIM_SET_PRIORITY,
    SIM_SET_POOL,
    SIM_SET_POOL_WEIGHT,
    SIM_SET_POLICY,
    SIM_SET_SLICE
};

struct sim_change {
    uint64_t at_ns;
    enum sim_change_kind kind;
    uint32_t vm; /* index; of SIM_SET_POOL_WEIGHT the pool's */
    uint64_t value;
};

struct sim_spec {
    uint64_t duration_ns; /* default 10 s */
    uint64_t seed;
    uint64_t switch_ns;    /* 140 us: hand-over between two VMs */
    uint64_t in_flight_ns; /* 1 ms: work that is issued ahead, and drained after a revoke */
    uint64_t kill_ns;      /* 5 ms: from the kill to the worker's end */
    struct sched_config config;
    struct sim_gpu *gpus; /* one at least */
    uint32_t n_gpus;
    struct sim_pool *pools;
    uint32_t n_pools;
    struct sim_vm *vms;
    uint32_t n_vms;
    struct sim_change *changes; /* in order of time */
    uint32_t n_changes;
};

/* Fills ret_spec, which sim_spec_release() frees. -EINVAL with line and cause; -ENOMEM. */
int sim_parse(const char *text, size_t bytes, struct sim_spec *ret_spec, struct vgpu_err *err);
void sim_spec_release(struct sim_spec *spec);

struct sim_vm_result {
    uint64_t served_ns;  /* GPU time that it got */
    double ideal_ns;     /* GPU time that the fluid system gave it */
    double lag_max_ns;   /* most that it was behind the fluid system, at any instant */
    double ahead_max_ns; /* most that it was ahead */
    uint64_t longest_ns; /* its longest job */
    uint64_t jobs;       /* done */
    uint64_t dropped;    /* not queued, or lost in a kill */
    uint64_t wait_p50_ns, wait_p95_ns, wait_p99_ns; /* from a job's arrival to its start */
    uint64_t wait_max_ns;
    uint64_t turn_wait_max_ns; /* longest wait of the VM for the lease */
    uint64_t grants, overruns, kills;
};

struct sim_result {
    uint64_t duration_ns;
    uint64_t served_ns; /* GPU time of all */
    uint64_t switch_ns; /* GPU time lost to hand-overs */
    uint64_t switches;
    uint64_t idle_with_work_ns; /* neither job nor hand-over, though a VM had work: always 0 */
    double lag_max_ns;
    double jain;       /* of served / ideal, over the VMs that the ideal gave anything */
    double jain_large; /* the same over those to whom it gave 1 % or more */
    double share_error_max_ns;
    uint64_t longest_ns;   /* longest job that ran */
    uint64_t lag_bound_ns; /* stated bound for this workload: spec, "Bounds" */
    uint64_t steps;
    struct sim_vm_result *vms; /* spec->n_vms */
};

/* What a test may look at while the simulation runs; each may be NULL. */
struct sim_probe {
    void *context;
    void (*action)(void *context, uint64_t now_ns, const struct sched_action *action, uint32_t vm);
    void (*job_done)(void *context, uint64_t now_ns, uint32_t vm, uint64_t arrival_ns);
    /* after each event */
    void (*step)(void *context, uint64_t now_ns, const struct sched *sched);
};

/* -ENOMEM; -EOVERFLOW: more than max_steps events (0: SIM_STEPS_DEFAULT). */
int sim_run(const struct sim_spec *spec, const struct sim_probe *probe, uint64_t max_steps,
            struct sim_result *ret_result, struct vgpu_err *err);
void sim_result_release(struct sim_result *result);

/* The fluid system: each VM with work is served at its share of the total, all at once. */
struct fluid_vm {
    double weight;
    double backlog; /* ns of work; INFINITY: always has work */
    double served;
    double lag_max, ahead_max;
    double received; /* what the real system gave it: set by the caller before fluid_advance() */
    uint32_t pool;
};

struct fluid {
    struct fluid_vm *vms;
    uint32_t n_vms;
    double *pool_weights; /* NULL: pools are not weighted */
    double *pool_sums;    /* scratch, n_pools */
    uint32_t n_pools;
};

/* Divides service ns of GPU time, and notes each VM's lag. */
void fluid_advance(struct fluid *fluid, double service);

#endif
