/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cost of a scheduling decision: a release that charges and requeues the holder and grants the
 * next, a wake-up, and a tick, with 2 to 1000 VMs that have work. Prints ns per call, median of
 * runs.
 */
#include "common/clock.h"
#include "sched/sched.h"
#include "sched/sim_stat.h"

#include <stdio.h>
#include <stdlib.h>

#define CALLS 20000
#define RUNS  7

struct bench {
    struct sched *sched;
    uint32_t vms[1001];
    uint32_t n;
    uint32_t holder; /* handle */
    uint64_t now;
    uint64_t random;
    struct sched_actions out;
};

static void open_bench(struct bench *bench, uint32_t n, enum sched_policy policy)
{
    struct sched_config config;

    *bench = (struct bench){.n = n, .now = 1000000000, .random = n};
    sched_config_default(&config);
    config.policy = policy;
    bench->sched = sched_new(&config, NULL);
    if (!bench->sched)
        abort();
    sched_pool_add(bench->sched, 0, 0, bench->now, &bench->out);
    for (uint32_t i = 0; i <= n; i++) {
        struct sched_vm_params params = {
            .tag = i,
            .priority = (enum sched_priority)(sim_random_next(&bench->random) % 3),
            .weight_milli = (uint32_t)(1000 + sim_random_next(&bench->random) % 99001),
        };

        if (sched_vm_add(bench->sched, &params, bench->now, &bench->vms[i]) < 0)
            abort();
    }
    for (uint32_t i = 0; i < n; i++) {
        sched_vm_has_work(bench->sched, bench->vms[i], bench->now, &bench->out);
        if (bench->out.count && bench->out.items[0].kind == SCHED_GRANT)
            bench->holder = bench->out.items[0].vm;
    }
}

/* One turn: the release of the holder, with its charge, and the grant of the next. */
static void turn(struct bench *bench)
{
    uint64_t busy = 9000000 + sim_random_next(&bench->random) % 2000000;

    bench->now += busy;
    sched_lease_released(bench->sched, bench->holder, bench->now, busy, 3, &bench->out);
    bench->holder = bench->out.items[0].vm;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double measure(struct bench *bench, void (*call)(struct bench *))
{
    double runs[RUNS];

    for (unsigned r = 0; r < RUNS; r++) {
        uint64_t start = vgpu_clock_ns();

        for (unsigned i = 0; i < CALLS; i++)
            call(bench);
        runs[r] = (double)(vgpu_clock_ns() - start) / CALLS;
    }
    qsort(runs, RUNS, sizeof(runs[0]), compare);
    return runs[RUNS / 2];
}

/* A VM beside the n wakes, and goes to sleep again; half of the time of both. */
static void wake_and_sleep(struct bench *bench)
{

    sched_vm_has_work(bench->sched, bench->vms[bench->n], bench->now, &bench->out);
    sched_vm_idle(bench->sched, bench->vms[bench->n], bench->now, &bench->out);
}

static void tick(struct bench *bench)
{
    sched_tick(bench->sched, bench->now, &bench->out);
}

int main(void)
{
    static const uint32_t counts[] = {2, 4, 10, 30, 100, 300, 1000};

    printf("%-8s %6s %14s %14s %10s\n", "policy", "VMs", "turn ns", "wake ns", "tick ns");
    for (int policy = SCHED_POLICY_WFQ; policy <= SCHED_POLICY_STRICT; policy++) {
        for (unsigned i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
            struct bench bench;
            double turn_ns, wake_ns, tick_ns;

            open_bench(&bench, counts[i], (enum sched_policy)policy);
            turn_ns = measure(&bench, turn);
            tick_ns = measure(&bench, tick);
            wake_ns = measure(&bench, wake_and_sleep) / 2;
            printf("%-8s %6u %14.1f %14.1f %10.1f\n", policy == SCHED_POLICY_WFQ ? "wfq" : "strict",
                   counts[i], turn_ns, wake_ns, tick_ns);
            sched_free(bench.sched);
        }
    }
    return 0;
}
