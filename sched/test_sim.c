/* SPDX-License-Identifier: Apache-2.0 */
/* The simulator: its parser's refusals and limits, the fluid reference by hand, its statistics. */
#include "sched/sim.h"
#include "sched/sim_stat.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define VM "vm a arrive closed 1 job fixed 1ms\n"

static int parse(const char *text, struct sim_spec *spec, struct vgpu_err *err)
{
    return sim_parse(text, strlen(text), spec, err);
}

static void accept(const char *text)
{
    struct sim_spec spec;
    struct vgpu_err err = {0};

    if (parse(text, &spec, &err) < 0)
        fail_msg("'%s': %s", text, err.text);
    sim_spec_release(&spec);
}

static void refuse(const char *text, const char *cause)
{
    struct sim_spec spec;
    struct vgpu_err err = {0};

    if (parse(text, &spec, &err) == 0)
        fail_msg("'%s' was accepted", text);
    if (!strstr(err.text, cause))
        fail_msg("'%s': '%s' does not speak of '%s'", text, err.text, cause);
}

static void test_sim_parse_everything(void **state)
{
    const char *text = "# comment\n"
                       "duration 2min\nseed 9\npolicy strict\nslice 5ms\nslice-min 1.5ms\n"
                       "switch-cost 0ns\nurgency-depth 0 # none\n"
                       "pool x weight 2.5\npool y\n\n"
                       "vm web priority high weight 12.345 pool y arrive poisson 0.5/s "
                       "job bimodal 1ms 20ms 25 start 1s stop 2s\n"
                       "vm b count 3 arrive closed 7 think exp 2s job exp 3us\n"
                       "vm p arrive periodic 10ms phase 3ms job fixed 1us\n"
                       "at 5s vm b weight 1\nat 1s vm b.1 priority low\nat 2s policy wfq\n"
                       "at 3s slice 1ms";
    struct sim_spec spec;
    struct vgpu_err err = {0};

    if (parse(text, &spec, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(spec.duration_ns, UINT64_C(120000000000));
    assert_int_equal(spec.config.policy, SCHED_POLICY_STRICT);
    assert_int_equal(spec.config.slice_min_ns, 1500000);
    assert_int_equal(spec.n_vms, 5);
    assert_string_equal(spec.vms[3].name, "b.2");
    assert_int_equal(spec.vms[0].weight_milli, 12345);
    assert_int_equal(spec.vms[0].gap_ns, 2000000000);
    assert_int_equal(spec.vms[0].pool, 1);
    assert_int_equal(spec.vms[0].job.long_ppm, 250000);
    assert_int_equal(spec.vms[4].phase_ns, 3000000);
    assert_int_equal(spec.n_changes, 6);
    assert_int_equal(spec.changes[0].vm, 2);
    assert_int_equal(spec.changes[5].at_ns, 5000000000);
    sim_spec_release(&spec);
}

static void test_sim_parse_refusals_name_the_line_and_cause(void **state)
{
    refuse("", "no vm");
    refuse("\n\nnonsense 3\n", "line 3: 'nonsense'");
    refuse("vm a\n", "needs 'arrive' and 'job'");
    refuse("vm\n", "vm is missing");
    refuse(VM VM, "line 2: vm 'a' exists");
    refuse("pool p\npool p\n" VM, "pool 'p' exists");
    refuse("vm a pool q arrive closed 1 job fixed 1ms\n", "not declared");
    refuse("vm a/b arrive closed 1 job fixed 1ms\n", "only letters");
    refuse("vm a priority huge arrive closed 1 job fixed 1ms\n", "priority 'huge'");
    refuse("vm a arrive closed 1 job fixed 1\n", "needs a unit");
    refuse("vm a arrive closed 1 job fixed ms\n", "not a time");
    refuse("vm a arrive closed 1.5 job fixed 1ms\n", "not a whole number");
    refuse("vm a arrive poisson 5 job fixed 1ms\n", "must be like");
    refuse("vm a arrive poisson 0/s job fixed 1ms\n", "rate is 0");
    refuse("vm a arrive sometimes job fixed 1ms\n", "arrive 'sometimes'");
    refuse("vm a arrive closed 1 job bimodal 1ms 2ms 101\n", "percent");
    refuse("seed 1 2\n" VM, "'2' is too much");
    refuse("slice 10ms\nslice-min 20ms\n" VM, "slice is");
    refuse(VM "at 1s vm b weight 2\n", "vm 'b' is not declared");
    refuse(VM "at 1s vm a pool p\n", "pool 'p' is not declared");
    refuse(VM "at 1s pool p weight 2\n", "pool 'p' is not declared");
    refuse("pool p\n" VM "at 1s pool p colour 2\n", "comes weight");
    refuse("pool p\n" VM "at 1s pool p weight 100.001\n", "must be 1.0 to 100.0");
    refuse(VM "at 1s moon 2\n", "comes vm, pool, policy or slice");
    refuse(VM "at 1s vm a colour 2\n", "comes weight, priority or pool");
    refuse("duration 1.2345s\n" VM, "not a time");
}

static void test_sim_parse_edges(void **state)
{
    accept("vm a weight 1.0 arrive closed 4096 job fixed 1us\n");
    accept("vm a weight 100 arrive poisson 1000000/s job fixed 3600s\n");
    refuse("vm a weight 0.999 arrive closed 1 job fixed 1ms\n", "weight is 0.999");
    refuse("vm a weight 100.001 arrive closed 1 job fixed 1ms\n", "weight is 100.001");
    refuse("vm a arrive closed 4097 job fixed 1ms\n", "depth is 4097");
    refuse("vm a arrive closed 0 job fixed 1ms\n", "depth is 0");
    refuse("vm a arrive poisson 1000000.001/s job fixed 1ms\n", "rate is");
    refuse("vm a arrive closed 1 job fixed 999ns\n", "job is");
    refuse("vm a arrive closed 1 job fixed 3600.001s\n", "job is");
    refuse("duration 999us\n" VM, "duration is");
    refuse("duration 9999999999999s\n" VM, "not a time");
    accept("vm a count 1024 arrive closed 1 job fixed 1ms\n");
    refuse("vm a count 1025 arrive closed 1 job fixed 1ms\n", "count is 1025");
    refuse("vm a count 1024 arrive closed 1 job fixed 1ms\nvm b arrive closed 1 job fixed 1ms\n",
           "more than 1024 VMs");
}

static void test_sim_parse_long_input(void **state)
{
    char *text = malloc(SIM_TEXT_BYTES + 2);
    struct sim_spec spec;

    assert_non_null(text);
    memset(text, '\n', SIM_TEXT_BYTES + 2);
    memcpy(text, VM, strlen(VM));
    assert_int_equal(sim_parse(text, SIM_TEXT_BYTES, &spec, NULL), 0);
    sim_spec_release(&spec);
    assert_int_equal(sim_parse(text, SIM_TEXT_BYTES + 1, &spec, NULL), -EINVAL);
    memset(text, ' ', SIM_LINE_BYTES);
    text[SIM_LINE_BYTES - 1] = '\n';
    memcpy(text + SIM_LINE_BYTES, VM, strlen(VM));
    assert_int_equal(sim_parse(text, SIM_LINE_BYTES + strlen(VM), &spec, NULL), 0);
    sim_spec_release(&spec);
    text[SIM_LINE_BYTES - 1] = ' ';
    assert_int_equal(sim_parse(text, SIM_LINE_BYTES + strlen(VM), &spec, NULL), -EINVAL);
    assert_int_equal(sim_parse("vm a\0", 5, &spec, NULL), -EINVAL);
    free(text);
}

static void test_sim_parse_pool_and_change_edges(void **state)
{
    char text[65536], *at = text;

    for (unsigned i = 0; i < SIM_POOLS_MAX; i++)
        at += sprintf(at, "pool p%u\n", i);
    strcpy(at, VM);
    accept(text);
    strcat(text, "pool q\n");
    refuse(text, "more than 64 pools");
    at = text + sprintf(text, VM);
    for (unsigned i = 0; i < SIM_CHANGES_MAX; i++)
        at += sprintf(at, "at 1s vm a weight 2\n");
    accept(text);
    strcpy(at, "at 1s vm a weight 2\n");
    refuse(text, "more than 1024 changes");
}

static void test_sim_fluid_by_hand(void **state)
{
    struct fluid_vm vms[] = {{.weight = 3, .backlog = INFINITY},
                             {.weight = 1, .backlog = 10},
                             {.weight = 4, .backlog = 0}};
    struct fluid fluid = {.vms = vms, .n_vms = 3};

    fluid_advance(&fluid, 20);
    assert_true(fabs(vms[0].served - 15) < 1e-9 && fabs(vms[1].served - 5) < 1e-9);
    /* The second is done after another 20; the rest is for the first. */
    fluid_advance(&fluid, 30);
    assert_true(fabs(vms[1].served - 10) < 1e-6 && fabs(vms[0].served - 40) < 1e-6);
    assert_true(vms[2].served == 0);
    vms[0].received = 50;
    fluid_advance(&fluid, 4);
    assert_true(fabs(vms[0].lag_max - 40) < 1e-6 && fabs(vms[0].ahead_max - 6) < 1e-6);
}

static void test_sim_fluid_with_pools(void **state)
{
    struct fluid_vm vms[] = {{.weight = 1, .backlog = INFINITY, .pool = 0},
                             {.weight = 3, .backlog = INFINITY, .pool = 0},
                             {.weight = 9, .backlog = INFINITY, .pool = 1},
                             {.weight = 9, .backlog = 0, .pool = 2}};
    double weights[] = {1, 1, 8}, sums[3];
    struct fluid fluid = {vms, 4, weights, sums, 3};

    fluid_advance(&fluid, 80);
    assert_true(fabs(vms[0].served - 10) < 1e-9);
    assert_true(fabs(vms[1].served - 30) < 1e-9);
    assert_true(fabs(vms[2].served - 40) < 1e-9);
}

static void test_sim_histogram(void **state)
{
    struct sim_histogram *histogram = calloc(1, sizeof(*histogram));
    uint64_t median;

    assert_non_null(histogram);
    assert_int_equal(sim_histogram_quantile(histogram, 0.5), 0);
    sim_histogram_add(histogram, UINT64_MAX);
    assert_true(sim_histogram_quantile(histogram, 0.5) >= UINT64_MAX / 64 * 63);
    memset(histogram, 0, sizeof(*histogram));
    for (uint64_t i = 1; i <= 1000; i++)
        sim_histogram_add(histogram, i * 1000);
    median = sim_histogram_quantile(histogram, 0.5);
    assert_in_range(median, 492000, 509000);
    assert_in_range(sim_histogram_quantile(histogram, 1), 984000, 1016000);
    free(histogram);
}

static void play(const char *text, struct sim_spec *spec, struct sim_result *result)
{
    struct vgpu_err err = {0};

    if (parse(text, spec, &err) < 0 || sim_run(spec, NULL, 0, result, &err) < 0)
        fail_msg("%s", err.text);
}

static void done(struct sim_spec *spec, struct sim_result *result)
{
    sim_result_release(result);
    sim_spec_release(spec);
}

static void test_sim_lone_vm_never_switches(void **state)
{
    struct sim_spec spec;
    struct sim_result result;

    play("duration 5s\nvm a arrive closed 4 job exp 1ms\n", &spec, &result);
    assert_int_equal(result.switches, 0);
    assert_int_equal(result.served_ns, 5000000000);
    assert_int_equal(result.vms[0].grants, 1);
    done(&spec, &result);
}

static void test_sim_light_load_is_served_in_full(void **state)
{
    struct sim_spec spec;
    struct sim_result result;

    play("duration 10s\nvm a arrive periodic 10ms job fixed 1ms\n"
         "vm b arrive periodic 10ms phase 5ms job fixed 1ms\n",
         &spec, &result);
    assert_int_equal(result.vms[0].jobs, 1000);
    assert_int_equal(result.vms[1].jobs, 1000);
    assert_in_range(result.vms[0].wait_max_ns, 140000, 141000);
    done(&spec, &result);
}

static void test_sim_stop_ends_a_vm(void **state)
{
    struct sim_spec spec;
    struct sim_result result;

    play("duration 10s\nvm a arrive closed 2 job fixed 1ms\n"
         "vm b start 2s stop 4s arrive closed 2 job fixed 1ms\n",
         &spec, &result);
    assert_in_range(result.vms[1].served_ns, 970000000, 1010000000);
    assert_true(fabs((double)result.vms[1].served_ns - result.vms[1].ideal_ns) < 12e6);
    done(&spec, &result);
}

static void test_sim_two_endless_kernels(void **state)
{
    struct sim_spec spec;
    struct sim_result result;

    play("duration 5s\nvm a arrive periodic 100s job fixed 100s\n"
         "vm b arrive periodic 100s job fixed 100s\nvm c arrive closed 2 job fixed 1ms\n",
         &spec, &result);
    assert_int_equal(result.vms[0].overruns, 1);
    assert_int_equal(result.vms[1].kills, 1);
    assert_int_equal(result.vms[1].dropped, 1);
    assert_true(result.vms[2].served_ns > 2200000000);
    done(&spec, &result);
}

static void test_sim_full_queue_drops(void **state)
{
    struct sim_spec spec;
    struct sim_result result;

    play("duration 1s\nvm a arrive poisson 500000/s job fixed 1ms\n", &spec, &result);
    assert_true(result.vms[0].dropped > 400000);
    assert_int_equal(result.vms[0].jobs, 999); /* the first comes after a few us */
    done(&spec, &result);
}

static void test_sim_steps_are_limited(void **state)
{
    struct sim_spec spec;
    struct sim_result result;
    struct vgpu_err err = {0};

    assert_int_equal(parse(VM, &spec, &err), 0);
    assert_int_equal(sim_run(&spec, NULL, 100, &result, &err), -EOVERFLOW);
    sim_spec_release(&spec);
}

static void test_sim_live_policy_and_slice(void **state)
{
    struct sim_spec spec;
    struct sim_result result;

    play("duration 10s\nvm a priority high arrive closed 2 job fixed 1ms\n"
         "vm b priority low arrive closed 2 job fixed 1ms\n"
         "at 2s policy strict\nat 3s slice 3ms\nat 4s policy wfq\nat 5s slice 100ms\n",
         &spec, &result);
    /* 80 % of 8 s, and nearly all of 2 s. */
    assert_in_range(result.vms[0].served_ns, UINT64_C(8150000000), UINT64_C(8450000000));
    done(&spec, &result);
}

/* VM c alone in q has half; then a third of p's half; then, in one queue, a quarter of all. */
static void test_sim_live_pools(void **state)
{
    struct sim_spec spec;
    struct sim_result result;

    play("duration 12s\npool p weight 50\npool q weight 50\n"
         "vm a pool p arrive closed 4 job fixed 1ms\nvm b pool p arrive closed 4 job fixed 1ms\n"
         "vm c pool q arrive closed 4 job fixed 1ms\nvm d pool q start 4s arrive closed 4 job "
         "fixed 1ms\n"
         "at 4s vm c pool p\nat 8s pool q weight none\n",
         &spec, &result);
    assert_in_range(result.vms[2].served_ns, UINT64_C(3560000000), UINT64_C(3680000000));
    assert_in_range(result.vms[3].served_ns, UINT64_C(2900000000), UINT64_C(3020000000));
    assert_true(result.lag_max_ns <= (double)result.lag_bound_ns);
    done(&spec, &result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sim_parse_everything),
        cmocka_unit_test(test_sim_parse_refusals_name_the_line_and_cause),
        cmocka_unit_test(test_sim_parse_edges),
        cmocka_unit_test(test_sim_parse_long_input),
        cmocka_unit_test(test_sim_parse_pool_and_change_edges),
        cmocka_unit_test(test_sim_fluid_by_hand),
        cmocka_unit_test(test_sim_fluid_with_pools),
        cmocka_unit_test(test_sim_histogram),
        cmocka_unit_test(test_sim_lone_vm_never_switches),
        cmocka_unit_test(test_sim_light_load_is_served_in_full),
        cmocka_unit_test(test_sim_stop_ends_a_vm),
        cmocka_unit_test(test_sim_two_endless_kernels),
        cmocka_unit_test(test_sim_full_queue_drops),
        cmocka_unit_test(test_sim_steps_are_limited),
        cmocka_unit_test(test_sim_live_policy_and_slice),
        cmocka_unit_test(test_sim_live_pools),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
