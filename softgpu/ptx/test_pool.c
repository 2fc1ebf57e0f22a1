/* SPDX-License-Identifier: Apache-2.0 */
/* Pools: several runs at once, a pool of one, and that the caller's float environment stays. */
#include "softgpu/ptx/test_kit.h"

#include <fenv.h>
#include <pthread.h>
#include <stdlib.h>

#define RUNNERS 4
#define ROUNDS  20
#define BLOCKS  40

static const char source[] =
    ".visible .entry k(.param .u64 out)\n{\n.reg .u64 %o;\n.reg .u32 %r<4>;\n"
    ".reg .pred %p;\nld.param.u64 %o, [out];\nmov.u32 %r1, 0;\nl:\n"
    "add.u32 %r1, %r1, 1;\nsetp.lt.u32 %p, %r1, 50;\n@%p bra l;\n"
    "red.global.add.u32 [%o], %r1;\nret;\n}\n";

struct runner {
    struct kit *kit;
    uint64_t out;
    uint32_t *host;
    bool good;
};

static bool find(void *ctx, uint64_t address, struct ptx_range *ret)
{
    struct runner *runner = ctx;

    *ret = (struct ptx_range){.base = runner->out, .size_bytes = 4, .host = runner->host};
    return address == runner->out;
}

static enum ptx_fault_kind run_once(struct runner *runner)
{
    uint64_t params[1] = {runner->out};
    struct ptx_launch launch = {.program = runner->kit->program,
                                .function = ptx_program_find_entry(runner->kit->program, "k"),
                                .grid = {BLOCKS, 1, 1},
                                .block = {40, 1, 1},
                                .params = params,
                                .params_bytes = sizeof(params),
                                .memory = {runner, find}};

    return ptx_run(runner->kit->pool, &launch, NULL, NULL);
}

static void *run_many(void *argument)
{
    struct runner *runner = argument;

    runner->good = true;
    for (int i = 0; i < ROUNDS; i++)
        runner->good &= run_once(runner) == PTX_FAULT_NONE;
    return NULL;
}

static void test_pool_runs_from_several_threads(void **state)
{
    struct kit *kit = *state;
    struct runner runners[RUNNERS];
    pthread_t threads[RUNNERS];

    kit_load(kit, source);
    for (int i = 0; i < RUNNERS; i++) {
        runners[i].kit = kit;
        runners[i].out = kit_alloc(kit, 4, &runners[i].host);
    }
    for (int i = 0; i < RUNNERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_many, &runners[i]), 0);
    for (int i = 0; i < RUNNERS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < RUNNERS; i++) {
        assert_true(runners[i].good);
        assert_int_equal(*runners[i].host, ROUNDS * BLOCKS * 40 * 50);
    }
}

static void test_pool_of_one_thread(void **state)
{
    struct kit *kit = *state;
    struct ptx_pool *pool = kit->pool;
    struct runner runner = {.kit = kit};

    kit_load(kit, source);
    runner.out = kit_alloc(kit, 4, &runner.host);
    kit->pool = ptx_pool_new(1);
    assert_non_null(kit->pool);
    assert_int_equal(run_once(&runner), PTX_FAULT_NONE);
    ptx_pool_free(kit->pool);
    kit->pool = pool;
    assert_int_equal(*runner.host, BLOCKS * 40 * 50);
}

static void test_pool_keeps_the_float_environment(void **state)
{
    struct kit *kit = *state;
    uint64_t params[1];
    float *out;

    kit_load(kit, ".visible .entry k(.param .u64 out)\n{\n.reg .u64 %o;\n.reg .f32 %f;\n"
                  "ld.param.u64 %o, [out];\nmov.f32 %f, 0f3F800000;\n"
                  "div.rn.f32 %f, %f, 0f41C80000;\nst.global.f32 [%o], %f;\nret;\n}\n");
    params[0] = kit_alloc(kit, 4, &out);
    /* 1/25 rounds down: a mode that leaked in would show, and so would one that was lost. */
    fesetround(FE_UPWARD);
    kit_run_ok(kit, "k", 1, 1, params, 1);
    assert_int_equal(fegetround(), FE_UPWARD);
    fesetround(FE_TONEAREST);
    assert_true(*out == (float)(1.0 / 25.0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pool_runs_from_several_threads),
        cmocka_unit_test(test_pool_of_one_thread),
        cmocka_unit_test(test_pool_keeps_the_float_environment),
    };

    return cmocka_run_group_tests(tests, kit_setup, kit_teardown);
}
