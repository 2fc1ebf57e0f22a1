/* SPDX-License-Identifier: Apache-2.0 */
/* The simulator of a host: how VMs are divided among GPUs, and that each GPU is simulated by
 * itself. */
#include "sched/sim_host.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define BUSY " arrive closed 2 job fixed 1ms\n"

static int run(const char *text, struct sim_host *host, struct vgpu_err *err)
{
    struct sim_spec spec;
    int r = sim_parse(text, strlen(text), &spec, err);

    if (r < 0)
        return r;
    r = sim_host_run(&spec, 0, host, err);
    sim_spec_release(&spec);
    return r;
}

static struct sim_host play(const char *text)
{
    struct vgpu_err err = {0};
    struct sim_host host;

    if (run(text, &host, &err) < 0)
        fail_msg("'%s': %s", text, err.text);
    return host;
}

static void refuse(const char *text, const char *cause)
{
    struct vgpu_err err = {0};
    struct sim_host host;

    assert_int_equal(run(text, &host, &err), -EINVAL);
    if (!strstr(err.text, cause))
        fail_msg("'%s' does not speak of '%s'", err.text, cause);
}

/* Its part of the GPU that it is on; fails if it is on another one. */
static double share(const struct sim_host *host, uint32_t gpu, const char *vm)
{
    const struct sim_host_gpu *on = &host->gpus[gpu];

    for (uint32_t i = 0; i < on->spec.n_vms; i++)
        if (strcmp(on->spec.vms[i].name, vm) == 0)
            return (double)on->result.vms[i].served_ns / (double)on->result.served_ns;
    fail_msg("%s is not on GPU %u", vm, gpu);
    return 0;
}

static void close_to(double value, double expected)
{
    if (value < expected - 0.02 || value > expected + 0.02)
        fail_msg("%f is not %f", value, expected);
}

static void test_sim_host_without_gpus_has_one(void **state)
{
    struct sim_host host = play("duration 1s\nvm a priority high" BUSY "vm b priority low" BUSY);

    assert_int_equal(host.n_gpus, 1);
    close_to(share(&host, 0, "a"), 0.8);
    sim_host_release(&host);
}

static void test_sim_host_spreads_by_weight(void **state)
{
    struct sim_host host = play("duration 1s\ngpu x\ngpu y\nvm a weight 60" BUSY
                                "vm b weight 10" BUSY "vm c weight 10" BUSY "vm d weight 30" BUSY);

    /* a to x; b, c and d to y, which has less weight until the end. */
    close_to(share(&host, 0, "a"), 1);
    close_to(share(&host, 1, "b"), 0.2);
    close_to(share(&host, 1, "d"), 0.6);
    sim_host_release(&host);
}

static void test_sim_host_keeps_pools_to_their_gpus(void **state)
{
    struct sim_host host = play("duration 1s\npool p\npool q\ngpu x pools p\ngpu y pools q\n"
                                "vm a pool p" BUSY "vm b pool q" BUSY "vm c pool p" BUSY);

    close_to(share(&host, 0, "a"), 0.5);
    close_to(share(&host, 0, "c"), 0.5);
    close_to(share(&host, 1, "b"), 1);
    sim_host_release(&host);
}

static void test_sim_host_pools_with_weights_share_one_gpu(void **state)
{
    struct sim_host host = play("duration 2s\npool p weight 75\npool q weight 25\ngpu x pools p q\n"
                                "vm a pool p" BUSY "vm b pool q" BUSY "vm c pool q" BUSY);

    close_to(share(&host, 0, "a"), 0.75);
    close_to(share(&host, 0, "c"), 0.125);
    sim_host_release(&host);
}

static void test_sim_host_gpu_without_vms_is_idle(void **state)
{
    struct sim_host host = play("duration 1s\npool p\npool q\ngpu x pools p\ngpu y pools q\n"
                                "vm a pool p" BUSY);

    assert_int_equal(host.n_gpus, 2);
    assert_int_equal(host.gpus[1].spec.n_vms, 0);
    assert_int_equal(host.gpus[1].result.served_ns, 0);
    sim_host_release(&host);
}

static void test_sim_host_changes_reach_their_vm(void **state)
{
    struct sim_host host = play("duration 2s\ngpu x\ngpu y\nvm a" BUSY "vm b" BUSY "vm c" BUSY
                                "vm d" BUSY "at 0s vm d weight 100\nat 0s slice 5ms\n");

    close_to(share(&host, 0, "a"), 0.5); /* a and c on x, b and d on y */
    close_to(share(&host, 1, "d"), 2.0 / 3);
    sim_host_release(&host);
}

static void test_sim_host_refuses_what_no_gpu_serves(void **state)
{
    refuse("pool p\npool q\ngpu x pools p\nvm a pool q" BUSY, "no gpu serves its pool 'q'");
    refuse("pool p\npool q\ngpu x pools p\ngpu y pools q\nvm a pool p" BUSY "at 1s vm a pool q\n",
           "gpu 'x', which does not serve that pool");
    refuse("gpu x\ngpu x\nvm a" BUSY, "gpu 'x' exists already");
    refuse("gpu x pools p\nvm a" BUSY, "pool 'p' is not declared above");
    refuse("gpu x pools\nvm a" BUSY, "come names of pools");
    refuse("gpu x y\nvm a" BUSY, "comes pools");
}

static void test_sim_host_takes_as_many_gpus_as_there_can_be(void **state)
{
    char text[4096];
    size_t used = 0;
    struct sim_host host;

    for (int i = 0; i < SIM_GPUS_MAX; i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "gpu g%d\n", i);
    snprintf(text + used, sizeof(text) - used, "duration 1ms\nvm a" BUSY);
    host = play(text);
    assert_int_equal(host.n_gpus, SIM_GPUS_MAX);
    sim_host_release(&host);
    snprintf(text + used, sizeof(text) - used, "gpu more\nduration 1ms\nvm a" BUSY);
    refuse(text, "more than 64 GPUs");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sim_host_without_gpus_has_one),
        cmocka_unit_test(test_sim_host_spreads_by_weight),
        cmocka_unit_test(test_sim_host_keeps_pools_to_their_gpus),
        cmocka_unit_test(test_sim_host_pools_with_weights_share_one_gpu),
        cmocka_unit_test(test_sim_host_gpu_without_vms_is_idle),
        cmocka_unit_test(test_sim_host_changes_reach_their_vm),
        cmocka_unit_test(test_sim_host_refuses_what_no_gpu_serves),
        cmocka_unit_test(test_sim_host_takes_as_many_gpus_as_there_can_be),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
