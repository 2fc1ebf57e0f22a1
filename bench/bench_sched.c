/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cost of a scheduling decision: a release that charges and requeues the holder and grants the
 * next, a wake-up, and a tick, with 2 to 1000 VMs that have work. Prints ns per call, median of
 * runs, and the least of them, which other load on the machine disturbs less. bench_sched [VMS
 * [MOST]]: that number of VMs only; exit status 1 if the least turn takes more than MOST ns.
 */
#include "common/clock.h"
#include "sched/sched.h"
#include "sched/sim_stat.h"

#include <stdio.h>
#include <stdlib.h>

#define CALLS 2000
#define RUNS  151

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

struct figure {
    double median_ns, least_ns;
};

static struct figure measure(struct bench *bench, void (*call)(struct bench *))
{
    double runs[RUNS];

    for (unsigned r = 0; r < RUNS; r++) {
        uint64_t start = vgpu_clock_ns();

        for (unsigned i = 0; i < CALLS; i++)
            call(bench);
        runs[r] = (double)(vgpu_clock_ns() - start) / CALLS;
    }
    qsort(runs, RUNS, sizeof(runs[0]), compare);
    return (struct figure){.median_ns = runs[RUNS / 2], .least_ns = runs[0]};
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

int main(int argc, char **argv)
{
    uint32_t only = argc > 1 ? (uint32_t)atoi(argv[1]) : 0;
    double most_ns = argc > 2 ? atof(argv[2]) : 1e9;
    bool slow = false;
    static const uint32_t counts[] = {2, 4, 10, 30, 100, 300, 1000};

    printf("%-8s %6s %12s %12s %12s %12s\n", "policy", "VMs", "turn ns", "least", "wake ns",
           "tick ns");
    for (int policy = SCHED_POLICY_WFQ; policy <= SCHED_POLICY_STRICT; policy++) {
        for (unsigned i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
            struct figure turns, wakes, ticks;
            struct bench bench;

            if (only && counts[i] != only)
                continue;
            open_bench(&bench, counts[i], (enum sched_policy)policy);
            turns = measure(&bench, turn);
            ticks = measure(&bench, tick);
            wakes = measure(&bench, wake_and_sleep);
            printf("%-8s %6u %12.1f %12.1f %12.1f %12.1f\n",
                   policy == SCHED_POLICY_WFQ ? "wfq" : "strict", counts[i], turns.median_ns,
                   turns.least_ns, wakes.median_ns / 2, ticks.median_ns);
            slow = slow || turns.least_ns > most_ns;
            sched_free(bench.sched);
        }
    }
    return slow;
}
