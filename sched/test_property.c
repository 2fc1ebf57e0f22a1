/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Properties of the scheduler over random workloads, in the simulator, against the fluid reference.
 * Each test plays a few hundred workloads of fixed seeds; a failure names the seed and the numbers.
 */
#include "sched/sim.h"
#include "sched/sim_stat.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MS UINT64_C(1000000)
#define S  UINT64_C(1000000000)

/* How a workload is drawn. */
struct recipe {
    uint32_t vms_min, vms_max;
    uint64_t duration_ns;
    uint64_t job_max_ns;
    bool intermittent; /* a part of the VMs does not always have work */
    bool pools;
    bool fixed_jobs;
};

static uint64_t pick(uint64_t *random, uint64_t min, uint64_t max)
{
    return min + sim_random_next(random) % (max - min + 1);
}

static struct sim_dist pick_job(uint64_t *random, const struct recipe *recipe)
{
    struct sim_dist dist = {.kind = (enum sim_dist_kind)pick(random, 0, 2)};

    if (recipe->fixed_jobs)
        dist.kind = SIM_FIXED;
    /* From 10 us on, as many short as long ones. */
    dist.ns = UINT64_C(40000) << pick(random, 0, 7);
    dist.ns = pick(random, dist.ns, dist.ns * 2);
    if (dist.ns > recipe->job_max_ns)
        dist.ns = recipe->job_max_ns;
    dist.long_ns = recipe->job_max_ns;
    dist.long_ppm = (uint32_t)pick(random, 0, 300000);
    if (dist.kind == SIM_EXPONENTIAL)
        dist.ns = dist.ns / 8 + 20000;
    return dist;
}

static void pick_vm(uint64_t *random, const struct recipe *recipe, uint32_t i, struct sim_vm *vm)
{
    memset(vm, 0, sizeof(*vm));
    snprintf(vm->name, sizeof(vm->name), "vm%u", i);
    vm->priority = (enum sched_priority)pick(random, 0, 2);
    vm->weight_milli = (uint32_t)pick(random, 1000, 100000);
    vm->job = pick_job(random, recipe);
    vm->arrivals = SIM_CLOSED;
    vm->depth = (uint32_t)pick(random, 1, 16);
    vm->pool = recipe->pools ? (uint32_t)pick(random, 0, 2) : 0;
    if (!recipe->intermittent || pick(random, 0, 1))
        return;
    switch (pick(random, 0, 2)) {
    case 0:
        vm->thinks = true;
        vm->think.kind = SIM_EXPONENTIAL;
        vm->think.ns = pick(random, 100000, 200 * MS);
        break;
    case 1:
        vm->arrivals = SIM_POISSON;
        vm->gap_ns = pick(random, MS, 500 * MS);
        break;
    default:
        vm->arrivals = SIM_PERIODIC;
        vm->gap_ns = pick(random, 5 * MS, 500 * MS);
        vm->start_ns = pick(random, 0, S);
        break;
    }
}

static void make_spec(uint64_t seed, const struct recipe *recipe, struct sim_spec *spec)
{
    uint64_t random = seed * 7919 + 1;

    memset(spec, 0, sizeof(*spec));
    sched_config_default(&spec->config);
    spec->duration_ns = recipe->duration_ns;
    spec->seed = seed;
    spec->switch_ns = 140000;
    spec->in_flight_ns = MS;
    spec->kill_ns = 5 * MS;
    spec->n_pools = recipe->pools ? 3 : 1;
    spec->pools = calloc(spec->n_pools, sizeof(*spec->pools));
    assert_non_null(spec->pools);
    for (uint32_t p = 0; recipe->pools && p < spec->n_pools; p++)
        spec->pools[p].weight_milli = (uint32_t)pick(&random, 1000, 100000);
    spec->n_vms = (uint32_t)pick(&random, recipe->vms_min, recipe->vms_max);
    spec->vms = calloc(spec->n_vms, sizeof(*spec->vms));
    assert_non_null(spec->vms);
    for (uint32_t i = 0; i < spec->n_vms; i++)
        pick_vm(&random, recipe, i, &spec->vms[i]);
}

static void play(const struct sim_spec *spec, const struct sim_probe *probe,
                 struct sim_result *result)
{
    struct vgpu_err err = {0};
    int r = sim_run(spec, probe, 0, result, &err);

    if (r < 0)
        fail_msg("seed %llu: %s", (unsigned long long)spec->seed, err.text);
}

struct judge {
    double lag_of_bound; /* worst, over the runs */
    double error_of_limit;
    double jain;
};

static double error_limit(const struct sim_spec *spec, double ideal_ns)
{
    return fmax(ideal_ns / 100, (double)spec->config.slice_ns);
}

static void judge_run(const struct sim_spec *spec, const struct sim_result *result,
                      struct judge *judge)
{
    judge->lag_of_bound =
        fmax(judge->lag_of_bound, result->lag_max_ns / (double)result->lag_bound_ns);
    judge->jain = fmin(judge->jain, result->jain_large);
    for (uint32_t i = 0; i < spec->n_vms; i++) {
        double ideal = result->vms[i].ideal_ns;
        double error = fabs((double)result->vms[i].served_ns - ideal);

        if (ideal * 100 >= (double)result->served_ns)
            judge->error_of_limit = fmax(judge->error_of_limit, error / error_limit(spec, ideal));
    }
}

/* Checks what must hold in every run, and returns the worst of what is judged over all runs. */
static struct judge play_all(const struct recipe *recipe, uint64_t seeds)
{
    struct judge judge = {.jain = 1};

    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct sim_spec spec;
        struct sim_result result;

        make_spec(seed, recipe, &spec);
        play(&spec, NULL, &result);
        judge_run(&spec, &result, &judge);
        if (result.idle_with_work_ns)
            fail_msg("seed %llu: idle for %llu ns with work", (unsigned long long)seed,
                     (unsigned long long)result.idle_with_work_ns);
        if (result.lag_max_ns > (double)result.lag_bound_ns)
            fail_msg("seed %llu: lag %.0f above the bound %llu", (unsigned long long)seed,
                     result.lag_max_ns, (unsigned long long)result.lag_bound_ns);
        for (uint32_t i = 0; i < spec.n_vms; i++) {
            /* Beyond max_wait: the turn in hand, and those of others who are due as well. */
            uint64_t most = spec.config.max_wait_ns +
                            spec.n_vms * (spec.config.slice_min_ns + 2 * result.longest_ns) +
                            spec.config.slice_max_ns;

            if (result.vms[i].turn_wait_max_ns > most)
                fail_msg("seed %llu: vm %u waited for %llu ns", (unsigned long long)seed, i,
                         (unsigned long long)result.vms[i].turn_wait_max_ns);
            assert_int_equal(result.vms[i].kills, 0);
        }
        sim_result_release(&result);
        sim_spec_release(&spec);
    }
    print_message("    lag %.3f of the bound, share error %.3f of the limit, Jain %.5f\n",
                  judge.lag_of_bound, judge.error_of_limit, judge.jain);
    return judge;
}

/* The measurable targets, as they are stated for 30 VMs that always have work over 60 s. */
static void test_property_thirty_saturated_vms(void **state)
{
    const struct recipe recipe = {
        .vms_min = 30, .vms_max = 30, .duration_ns = 60 * S, .job_max_ns = 3 * MS};
    struct judge judge = play_all(&recipe, 40);

    assert_true(judge.error_of_limit <= 1);
    assert_true(judge.jain >= 0.998);
}

static void test_property_thirty_saturated_vms_fixed_jobs(void **state)
{
    const struct recipe recipe = {.vms_min = 30,
                                  .vms_max = 30,
                                  .duration_ns = 60 * S,
                                  .job_max_ns = 3 * MS,
                                  .fixed_jobs = true};
    struct judge judge = play_all(&recipe, 20);

    assert_true(judge.error_of_limit <= 1);
    assert_true(judge.jain >= 0.998);
}

static void test_property_any_number_of_vms(void **state)
{
    const struct recipe recipe = {
        .vms_min = 2, .vms_max = 30, .duration_ns = 15 * S, .job_max_ns = 3 * MS};

    assert_true(play_all(&recipe, 80).jain >= 0.998);
}

static void test_property_many_vms(void **state)
{
    const struct recipe recipe = {
        .vms_min = 100, .vms_max = 200, .duration_ns = 5 * S, .job_max_ns = 3 * MS};

    play_all(&recipe, 10);
}

/* Jobs longer than the grace: overruns all the time. */
static void test_property_long_jobs(void **state)
{
    const struct recipe recipe = {
        .vms_min = 2, .vms_max = 30, .duration_ns = 15 * S, .job_max_ns = 30 * MS};

    assert_true(play_all(&recipe, 80).jain >= 0.997);
}

static void test_property_intermittent_vms(void **state)
{
    const struct recipe recipe = {.vms_min = 2,
                                  .vms_max = 30,
                                  .duration_ns = 15 * S,
                                  .job_max_ns = 3 * MS,
                                  .intermittent = true};

    assert_true(play_all(&recipe, 80).jain >= 0.998);
}

static void test_property_weighted_pools(void **state)
{
    const struct recipe recipe = {
        .vms_min = 3, .vms_max = 30, .duration_ns = 15 * S, .job_max_ns = 3 * MS, .pools = true};

    assert_true(play_all(&recipe, 60).jain >= 0.998);
}

struct watch {
    uint64_t virtual_time;
};

static void watch_step(void *context, uint64_t now_ns, const struct sched *sched)
{
    struct watch *watch = (struct watch *)context;
    struct sched_stats stats;

    sched_stats(sched, now_ns, &stats);
    assert_false((int64_t)(stats.virtual_time - watch->virtual_time) < 0);
    watch->virtual_time = stats.virtual_time;
    if (stats.waiting)
        assert_int_not_equal(stats.holder, 0);
}

static void test_property_virtual_time_never_goes_back(void **state)
{
    const struct recipe recipe = {.vms_min = 2,
                                  .vms_max = 20,
                                  .duration_ns = 5 * S,
                                  .job_max_ns = 8 * MS,
                                  .intermittent = true};

    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct watch watch = {0};
        struct sim_probe probe = {.context = &watch, .step = watch_step};
        struct sim_spec spec;
        struct sim_result result;

        make_spec(seed, &recipe, &spec);
        play(&spec, &probe, &result);
        assert_true(watch.virtual_time > 0);
        sim_result_release(&result);
        sim_spec_release(&spec);
    }
}

/* Jobs of a VM are done in their order, under either policy. */
static void watch_order(void *context, uint64_t now_ns, uint32_t vm, uint64_t arrival_ns)
{
    uint64_t *last = (uint64_t *)context;

    assert_true(arrival_ns >= last[vm]);
    last[vm] = arrival_ns;
}

/* Under strict, what is done within a level is in the order of arrival, one slice apart at most. */
struct level_order {
    const struct sim_spec *spec;
    uint64_t newest[SCHED_N_PRIORITIES];
    uint64_t worst;
};

static void watch_level(void *context, uint64_t now_ns, uint32_t vm, uint64_t arrival_ns)
{
    struct level_order *order = (struct level_order *)context;
    uint64_t *newest = &order->newest[order->spec->vms[vm].priority];

    if (arrival_ns > *newest)
        *newest = arrival_ns;
    else if (*newest - arrival_ns > order->worst)
        order->worst = *newest - arrival_ns;
}

static void test_property_order_within_a_vm(void **state)
{
    const struct recipe recipe = {.vms_min = 5,
                                  .vms_max = 30,
                                  .duration_ns = 5 * S,
                                  .job_max_ns = 3 * MS,
                                  .intermittent = true};

    for (uint64_t seed = 1; seed <= 20; seed++) {
        uint64_t last[30] = {0};
        struct sim_probe probe = {.context = last, .job_done = watch_order};
        struct sim_spec spec;
        struct sim_result result;

        make_spec(seed, &recipe, &spec);
        spec.config.policy = seed % 2 ? SCHED_POLICY_WFQ : SCHED_POLICY_STRICT;
        play(&spec, &probe, &result);
        sim_result_release(&result);
        sim_spec_release(&spec);
    }
}

static void test_property_strict_is_fifo_within_a_level(void **state)
{
    const struct recipe recipe = {
        .vms_min = 4, .vms_max = 12, .duration_ns = 20 * S, .job_max_ns = MS};

    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct level_order order = {0};
        struct sim_probe probe = {.context = &order, .job_done = watch_level};
        struct sim_spec spec;
        struct sim_result result;

        make_spec(seed, &recipe, &spec);
        order.spec = &spec;
        spec.config.policy = SCHED_POLICY_STRICT;
        spec.config.aging_ns = SCHED_TIME_LIMIT_MAX_NS;
        for (uint32_t i = 0; i < spec.n_vms; i++) {
            spec.vms[i].arrivals = SIM_POISSON;
            spec.vms[i].gap_ns = spec.n_vms * 2 * MS;
            spec.vms[i].priority = SCHED_PRIORITY_MEDIUM;
        }
        play(&spec, &probe, &result);
        /* A holder may serve newer jobs of its own until its slice ends. */
        assert_true(order.worst <=
                    spec.config.slice_ns + spec.in_flight_ns + 2 * MS + 2 * spec.switch_ns);
        sim_result_release(&result);
        sim_spec_release(&spec);
    }
}

static void test_property_strict_low_waits_no_longer_than_aging(void **state)
{
    const struct recipe recipe = {
        .vms_min = 3, .vms_max = 20, .duration_ns = 30 * S, .job_max_ns = 3 * MS};

    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct sim_spec spec;
        struct sim_result result;

        make_spec(seed, &recipe, &spec);
        spec.config.policy = SCHED_POLICY_STRICT;
        spec.config.aging_ns = S;
        for (uint32_t i = 0; i < spec.n_vms; i++)
            spec.vms[i].depth = 1;
        play(&spec, NULL, &result);
        for (uint32_t i = 0; i < spec.n_vms; i++) {
            uint64_t most = 2 * S + spec.n_vms * (spec.config.slice_max_ns / 2);

            assert_true(result.vms[i].grants > 0);
            assert_true(result.vms[i].turn_wait_max_ns <= most);
        }
        sim_result_release(&result);
        sim_spec_release(&spec);
    }
}

/* The least share there is beside the largest: its own turn would come once in half a minute. */
static void test_property_least_share_waits_no_longer_than_max_wait(void **state)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        const struct recipe recipe = {.vms_min = 30,
                                      .vms_max = 30,
                                      .duration_ns = 30 * S,
                                      .job_max_ns = seed % 2 ? 3 * MS : 30 * MS};
        struct sim_spec spec;
        struct sim_result result;
        uint64_t most;

        make_spec(seed, &recipe, &spec);
        spec.config.max_wait_ns = 500 * MS;
        for (uint32_t i = 1; i < spec.n_vms; i++) {
            spec.vms[i].priority = SCHED_PRIORITY_HIGH;
            spec.vms[i].weight_milli = SCHED_WEIGHT_MAX;
        }
        spec.vms[0].priority = SCHED_PRIORITY_LOW;
        spec.vms[0].weight_milli = SCHED_WEIGHT_MIN;
        play(&spec, NULL, &result);
        /* The turn in hand, and those of others who are due as well: overruns make some wait. */
        most = spec.config.max_wait_ns + spec.config.slice_max_ns + 4 * result.longest_ns +
               (seed % 2 ? 0 : 5 * (spec.config.slice_min_ns + result.longest_ns));
        if (result.vms[0].turn_wait_max_ns > most)
            fail_msg("seed %llu: waited for %llu ns", (unsigned long long)seed,
                     (unsigned long long)result.vms[0].turn_wait_max_ns);
        assert_true(result.vms[0].grants >= 25);
        sim_result_release(&result);
        sim_spec_release(&spec);
    }
}

/* A change of weight in mid-run: lags stay within the bound of the (new) fluid shares. */
static void test_property_live_changes_keep_the_bound(void **state)
{
    const struct recipe recipe = {
        .vms_min = 3, .vms_max = 20, .duration_ns = 12 * S, .job_max_ns = 3 * MS};

    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct sim_spec spec;
        struct sim_result result;
        uint64_t random = seed;

        make_spec(seed, &recipe, &spec);
        spec.n_changes = 20;
        spec.changes = calloc(spec.n_changes, sizeof(*spec.changes));
        assert_non_null(spec.changes);
        for (uint32_t i = 0; i < spec.n_changes; i++) {
            struct sim_change *change = &spec.changes[i];

            change->at_ns = (i + 1) * 500 * MS + pick(&random, 0, 400 * MS);
            change->vm = (uint32_t)pick(&random, 0, spec.n_vms - 1);
            change->kind = pick(&random, 0, 1) ? SIM_SET_WEIGHT : SIM_SET_PRIORITY;
            change->value =
                change->kind == SIM_SET_WEIGHT ? pick(&random, 1000, 100000) : pick(&random, 0, 2);
        }
        play(&spec, NULL, &result);
        if (result.lag_max_ns > (double)result.lag_bound_ns)
            fail_msg("seed %llu: lag %.0f above %llu", (unsigned long long)seed, result.lag_max_ns,
                     (unsigned long long)result.lag_bound_ns);
        assert_true(result.jain_large >= 0.998);
        sim_result_release(&result);
        sim_spec_release(&spec);
    }
}

/* VMs that move between weighted pools, and pools that are weighed anew. */
static void test_property_live_pools_keep_the_bound(void **state)
{
    const struct recipe recipe = {
        .vms_min = 3, .vms_max = 20, .duration_ns = 12 * S, .job_max_ns = 3 * MS, .pools = true};
    double worst = 0;

    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct sim_spec spec;
        struct sim_result result;
        uint64_t random = seed;

        make_spec(seed, &recipe, &spec);
        spec.n_changes = 20;
        spec.changes = calloc(spec.n_changes, sizeof(*spec.changes));
        assert_non_null(spec.changes);
        for (uint32_t i = 0; i < spec.n_changes; i++) {
            struct sim_change *change = &spec.changes[i];
            bool weigh = pick(&random, 0, 2) == 0;

            change->at_ns = (i + 1) * 500 * MS + pick(&random, 0, 400 * MS);
            change->kind = weigh ? SIM_SET_POOL_WEIGHT : SIM_SET_POOL;
            change->vm = (uint32_t)pick(&random, 0, weigh ? 2 : spec.n_vms - 1);
            change->value = weigh ? pick(&random, 1000, 100000) : pick(&random, 0, 2);
        }
        play(&spec, NULL, &result);
        /* The bounds of the two levels add: what the pool is owed stays with the pool. */
        worst = fmax(worst, result.lag_max_ns / (2 * (double)result.lag_bound_ns));
        if (worst > 1)
            fail_msg("seed %llu: lag %.0f above twice %llu", (unsigned long long)seed,
                     result.lag_max_ns, (unsigned long long)result.lag_bound_ns);
        sim_result_release(&result);
        sim_spec_release(&spec);
    }
    print_message("    lag %.3f of the bound\n", worst);
}

/* One VM's kernels never end: the others' longest wait beyond their turn stays small. */
static void test_property_endless_kernel_beside_others(void **state)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        const struct recipe recipe = {
            .vms_min = 3, .vms_max = 10, .duration_ns = 5 * S, .job_max_ns = MS};
        struct sim_spec spec;
        struct sim_result result;

        make_spec(seed, &recipe, &spec);
        for (uint32_t i = 0; i < spec.n_vms; i++) {
            spec.vms[i].priority = SCHED_PRIORITY_MEDIUM;
            spec.vms[i].weight_milli = SCHED_WEIGHT_DEFAULT;
        }
        spec.vms[0].job = (struct sim_dist){.kind = SIM_FIXED, .ns = SIM_JOB_MAX_NS};
        spec.vms[0].depth = 1;
        play(&spec, NULL, &result);
        assert_int_equal(result.vms[0].overruns, 1);
        for (uint32_t i = 1; i < spec.n_vms; i++) {
            uint64_t turn = spec.config.slice_ns + 2 * (spec.in_flight_ns + 2 * MS) + MS;

            assert_true(result.vms[i].turn_wait_max_ns <= spec.n_vms * turn);
            assert_int_equal(result.vms[i].kills, 0);
        }
        sim_result_release(&result);
        sim_spec_release(&spec);
    }
}

/*
 * The same events with other handles: VMs are added in another order, so that every id differs, and
 * all weights are equal, so that there are ties everywhere. The decisions must be the same.
 */
#define TIED 8

struct tied {
    struct sched *sched;
    uint32_t handle[TIED];
    bool working[TIED];
    uint64_t granted;
    int holder;
};

static void tied_open(struct tied *tied, const unsigned *order)
{
    struct sched_config config;
    struct sched_actions actions;

    memset(tied, 0, sizeof(*tied));
    tied->holder = -1;
    sched_config_default(&config);
    tied->sched = sched_new(&config, NULL);
    assert_non_null(tied->sched);
    sched_pool_add(tied->sched, 1, 0, 0, &actions);
    for (unsigned i = 0; i < TIED; i++) {
        struct sched_vm_params params = {order[i], 1, SCHED_PRIORITY_MEDIUM, 50000};

        assert_int_equal(sched_vm_add(tied->sched, &params, 0, &tied->handle[order[i]]), 0);
    }
}

static void tied_step(struct tied *tied, uint64_t choice, uint64_t now, struct sched_actions *out)
{
    unsigned vm = (unsigned)(choice >> 8) % TIED;

    if (choice % 4 == 0 && tied->holder >= 0) {
        vm = (unsigned)tied->holder;
        tied->holder = -1;
        sched_lease_released(tied->sched, tied->handle[vm], now, now - tied->granted, 0, out);
    } else if (choice % 4 == 1) {
        sched_tick(tied->sched, now, out);
    } else if (choice % 4 == 2 && (int)vm != tied->holder) {
        sched_vm_idle(tied->sched, tied->handle[vm], now, out);
    } else {
        sched_vm_has_work(tied->sched, tied->handle[vm], now, out);
    }
    for (uint32_t i = 0; i < out->count; i++) {
        if (out->items[i].kind == SCHED_GRANT) {
            tied->holder = (int)out->items[i].tag;
            tied->granted = now;
        }
    }
}

static void test_property_ids_decide_nothing(void **state)
{
    const unsigned straight[TIED] = {0, 1, 2, 3, 4, 5, 6, 7};
    unsigned shuffled[TIED] = {5, 2, 7, 0, 3, 6, 1, 4};

    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct tied a, b;
        uint64_t random = seed, now = 0;

        tied_open(&a, straight);
        tied_open(&b, shuffled);
        for (unsigned step = 0; step < 500; step++) {
            uint64_t choice = sim_random_next(&random);
            struct sched_actions x, y;

            now += (choice >> 32) % 4 * MS;
            tied_step(&a, choice, now, &x);
            tied_step(&b, choice, now, &y);
            assert_int_equal(x.count, y.count);
            assert_int_equal(x.next_ns, y.next_ns);
            for (uint32_t i = 0; i < x.count; i++) {
                assert_int_equal(x.items[i].kind, y.items[i].kind);
                assert_int_equal(x.items[i].tag, y.items[i].tag);
            }
        }
        sched_free(a.sched);
        sched_free(b.sched);
    }
}

static void test_property_same_seed_same_result(void **state)
{
    const struct recipe recipe = {.vms_min = 20,
                                  .vms_max = 20,
                                  .duration_ns = 3 * S,
                                  .job_max_ns = 8 * MS,
                                  .intermittent = true};
    struct sim_spec spec;
    struct sim_result a, b;

    make_spec(5, &recipe, &spec);
    play(&spec, NULL, &a);
    play(&spec, NULL, &b);
    assert_memory_equal(a.vms, b.vms, spec.n_vms * sizeof(*a.vms));
    assert_int_equal(a.steps, b.steps);
    sim_result_release(&a);
    sim_result_release(&b);
    sim_spec_release(&spec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_property_thirty_saturated_vms),
        cmocka_unit_test(test_property_thirty_saturated_vms_fixed_jobs),
        cmocka_unit_test(test_property_any_number_of_vms),
        cmocka_unit_test(test_property_many_vms),
        cmocka_unit_test(test_property_long_jobs),
        cmocka_unit_test(test_property_intermittent_vms),
        cmocka_unit_test(test_property_weighted_pools),
        cmocka_unit_test(test_property_virtual_time_never_goes_back),
        cmocka_unit_test(test_property_order_within_a_vm),
        cmocka_unit_test(test_property_strict_is_fifo_within_a_level),
        cmocka_unit_test(test_property_strict_low_waits_no_longer_than_aging),
        cmocka_unit_test(test_property_least_share_waits_no_longer_than_max_wait),
        cmocka_unit_test(test_property_live_changes_keep_the_bound),
        cmocka_unit_test(test_property_live_pools_keep_the_bound),
        cmocka_unit_test(test_property_endless_kernel_beside_others),
        cmocka_unit_test(test_property_ids_decide_nothing),
        cmocka_unit_test(test_property_same_seed_same_result),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
