/* SPDX-License-Identifier: Apache-2.0 */
/* The table of spares, in time that the test makes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "launcher/spare.h"

static struct vgpu_launch_spares wish(unsigned spares, unsigned n_gpus)
{
    struct vgpu_launch_spares wish = {.spares = spares, .n_gpus = n_gpus};

    for (unsigned i = 0; i < n_gpus; i++)
        snprintf(wish.gpu_uuid[i], VGPU_GPU_UUID_BYTES, "GPU-%u", i);
    return wish;
}

static int set_up(void **state)
{
    *state = calloc(1, sizeof(struct spares));
    return *state ? 0 : -1;
}

static int tear_down(void **state)
{
    free(*state);
    return 0;
}

static struct spare_pool *pool_of(struct spares *spares, unsigned n)
{
    struct vgpu_launch_spares one = wish(n, 1);
    struct spare_pool *pool;

    spares_want(spares, &one);
    pool = spares_pool(spares, "GPU-0");
    assert_non_null(pool);
    return pool;
}

static struct spare *start(struct spares *spares, struct spare_pool *pool, uint64_t now_ns)
{
    struct spare *spare = spare_pool_room(pool, now_ns);

    if (spare)
        *spare = (struct spare){.state = SPARE_STARTING,
                                .number = ++spares->last_number,
                                .pid = (pid_t)(1000 + spares->last_number),
                                .sock = 0,
                                .started_ns = now_ns};
    return spare;
}

static void test_spare_fills_up_to_the_wish(void **state)
{
    struct spares *spares = *state;
    struct spare_pool *pool = pool_of(spares, VGPU_LAUNCH_MAX_SPARES);

    for (unsigned i = 0; i < VGPU_LAUNCH_MAX_SPARES; i++)
        assert_non_null(start(spares, pool, 0));
    assert_null(spare_pool_room(pool, 0));
    assert_null(spare_pool_excess(pool, 0));
}

static void test_spare_pools_for_all_gpus(void **state)
{
    struct spares *spares = *state;
    struct vgpu_launch_spares all = wish(1, VGPU_LAUNCH_MAX_GPUS);

    spares_want(spares, &all);
    for (unsigned i = 0; i < VGPU_LAUNCH_MAX_GPUS; i++)
        assert_non_null(spares_pool(spares, all.gpu_uuid[i]));
    assert_null(spares_pool(spares, "GPU-64"));
    assert_null(spares_pool(spares, ""));
}

static void test_spare_only_ready_ones_are_adopted(void **state)
{
    struct spares *spares = *state;
    struct spare_pool *pool = pool_of(spares, 1);
    struct spare *spare = start(spares, pool, 0);

    assert_null(spare_pool_ready(pool));
    spare->state = SPARE_READY;
    assert_ptr_equal(spare_pool_ready(pool), spare);
    spare->sock = -1;
    assert_null(spare_pool_ready(pool));
}

static void test_spare_leaves_room_when_adopted(void **state)
{
    struct spares *spares = *state;
    struct spare_pool *pool = pool_of(spares, 1);
    struct spare *spare = start(spares, pool, 0);

    assert_null(spare_pool_room(pool, 0));
    pool->failures = 3;
    spare_leave(pool, spare, true);
    assert_int_equal(pool->failures, 0);
    assert_int_equal(pool->adopted, 1);
    assert_non_null(spare_pool_room(pool, 0));
}

static void test_spare_backs_off(void **state)
{
    struct spares *spares = *state;
    struct spare_pool *pool = pool_of(spares, 1);
    uint64_t now_ns = 5, backoff_ns = SPARE_BACKOFF_NS;

    for (int i = 0; i < 10; i++) {
        assert_non_null(start(spares, pool, now_ns));
        spare_pool_failed(pool, now_ns);
        spare_leave(pool, &pool->spares[0], false);
        assert_null(spare_pool_room(pool, now_ns + backoff_ns - 1));
        assert_int_equal(spares_next_ns(spares), now_ns + backoff_ns);
        now_ns += backoff_ns;
        if (backoff_ns < SPARE_BACKOFF_MAX_NS)
            backoff_ns *= 2;
    }
    assert_int_equal(pool->failures, 10);
}

static void test_spare_that_hangs_is_ended(void **state)
{
    struct spares *spares = *state;
    struct spare_pool *pool = pool_of(spares, 1);
    struct spare *spare = start(spares, pool, 7);

    assert_int_equal(spares_next_ns(spares), 7 + SPARE_START_NS);
    assert_null(spare_pool_excess(pool, 6 + SPARE_START_NS));
    assert_ptr_equal(spare_pool_excess(pool, 7 + SPARE_START_NS), spare);
    assert_false(spare->unwanted);
    spare->sock = -1;
    assert_null(spare_pool_excess(pool, 8 + SPARE_START_NS));
    assert_int_equal(spares_next_ns(spares), UINT64_MAX);
}

static void test_spare_of_a_gpu_that_went_is_ended(void **state)
{
    struct spares *spares = *state;
    struct spare_pool *pool = pool_of(spares, 2);
    struct vgpu_launch_spares none = wish(0, 0);

    start(spares, pool, 0);
    start(spares, pool, 0);
    spares_want(spares, &none);
    assert_non_null(spare_pool_excess(pool, 0));
    assert_non_null(spare_pool_excess(pool, 0));
    assert_null(spare_pool_excess(pool, 0));
    assert_true(pool->spares[0].unwanted && pool->spares[1].unwanted);
    assert_null(spare_pool_ready(pool));
    assert_null(spare_pool_room(pool, 0));
}

/* The pools of 64 GPUs that went must not keep out 64 others for ever. */
static void test_spare_pools_are_used_again(void **state)
{
    struct spares *spares = *state;
    struct vgpu_launch_spares all = wish(1, VGPU_LAUNCH_MAX_GPUS), other = wish(1, 1);

    spares_want(spares, &all);
    snprintf(other.gpu_uuid[0], VGPU_GPU_UUID_BYTES, "GPU-other");
    spares_want(spares, &other);
    assert_non_null(spares_pool(spares, "GPU-other"));
}

static void test_spare_is_found(void **state)
{
    struct spares *spares = *state;
    struct spare_pool *pool = pool_of(spares, 1), *found = NULL;
    struct spare *spare = start(spares, pool, 0);

    assert_ptr_equal(spares_find(spares, spare->number, &found), spare);
    assert_ptr_equal(found, pool);
    assert_ptr_equal(spares_find_pid(spares, spare->pid, &found), spare);
    assert_null(spares_find(spares, spare->number + 1, &found));
    assert_null(spares_find_pid(spares, 0, &found));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_spare_fills_up_to_the_wish),
        CASE(test_spare_pools_for_all_gpus),
        CASE(test_spare_only_ready_ones_are_adopted),
        CASE(test_spare_leaves_room_when_adopted),
        CASE(test_spare_backs_off),
        CASE(test_spare_that_hangs_is_ended),
        CASE(test_spare_of_a_gpu_that_went_is_ended),
        CASE(test_spare_pools_are_used_again),
        CASE(test_spare_is_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
