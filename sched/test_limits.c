/* SPDX-License-Identifier: Apache-2.0 */
/* The rate limit at its edges, the bucket's arithmetic with grants, and splitting. */
#include "sched/limits.h"
#include "sched/sim_stat.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define S UINT64_C(1000000000)

static struct limits make(uint32_t rate, uint32_t burst)
{
    struct limits_config config = {rate, burst};
    struct limits limits;

    assert_int_equal(limits_config_check(&config), 0);
    limits_init(&limits, &config, 5 * S);
    return limits;
}

static void spend_all(struct limits *limits, uint64_t now_ns)
{
    uint64_t jobs = limits_take(limits, now_ns, UINT64_MAX);

    limits_spend(limits, now_ns, jobs);
}

static void test_limits_burst_edges(void **state)
{
    for (uint64_t want = 4; want <= 6; want++) {
        struct limits limits = make(10, 5);

        assert_int_equal(limits_take(&limits, 5 * S, want), want < 5 ? want : 5);
    }
}

static void test_limits_wait_is_exact(void **state)
{
    struct limits limits = make(3, 2);
    uint64_t wait_ns;

    spend_all(&limits, 5 * S);
    wait_ns = limits_wait_ns(&limits, 5 * S, 1);
    assert_int_equal(wait_ns, 333333334);
    assert_int_equal(limits_take(&limits, 5 * S + wait_ns - 1, 1), 0);
    assert_int_equal(limits_take(&limits, 5 * S + wait_ns, 1), 1);
}

static void test_limits_rate_is_never_exceeded(void **state)
{
    struct limits limits = make(1000, 50);
    uint64_t random = 3, now = 5 * S, granted = 0, spent = 0;

    for (unsigned i = 0; i < 20000; i++) {
        uint64_t jobs;

        now += sim_random_next(&random) % 2000000;
        granted += limits_take(&limits, now, sim_random_next(&random) % 8);
        jobs = granted - spent ? sim_random_next(&random) % (granted - spent + 1) : 0;
        limits_spend(&limits, now, jobs);
        spent += jobs;
        assert_true(spent <= 50 + (now - 5 * S) / 1000000);
        assert_true(limits.tokens / S + limits.held <= 50);
    }
    assert_true(spent >= (now - 5 * S) / 1000000 / 2);
}

/* Jobs that a channel holds and does not spend are no second burst. */
static void test_limits_held_jobs_are_part_of_the_burst(void **state)
{
    struct limits limits = make(10, 5);

    assert_int_equal(limits_take(&limits, 5 * S, 5), 5);
    assert_int_equal(limits_take(&limits, 500 * S, 5), 0);
    limits_spend(&limits, 500 * S, 3);
    assert_int_equal(limits_take(&limits, 500 * S, 5), 0);
    assert_int_equal(limits_take(&limits, 600 * S, 5), 3);
}

static void test_limits_untake_gives_back(void **state)
{
    struct limits limits = make(1, 5);

    limits_take(&limits, 5 * S, 5);
    limits_untake(&limits, 5 * S, 3);
    assert_int_equal(limits_take(&limits, 5 * S, 5), 3);
    limits_untake(&limits, 5 * S, 6); /* more than is held: what is held */
    assert_int_equal(limits.held, 0);
    assert_int_equal(limits_take(&limits, 5 * S, 6), 5);
}

/* A channel that spends what was recalled: it is paid back before anything is granted. */
static void test_limits_overspending_is_owed(void **state)
{
    struct limits limits = make(1, 5);

    spend_all(&limits, 5 * S);
    limits_spend(&limits, 5 * S, 2);
    assert_int_equal(limits_wait_ns(&limits, 5 * S, 1), 3 * S);
    assert_int_equal(limits_take(&limits, 7 * S, 1), 0);
    assert_int_equal(limits_take(&limits, 8 * S, 1), 1);
    limits_spend(&limits, 8 * S, UINT64_MAX);
    assert_int_equal(limits_take(&limits, 9 * S, 1), 0);
}

static void test_limits_change_live(void **state)
{
    struct limits limits = make(10, 5);

    limits_configure(&limits, &(struct limits_config){10, 2}, 5 * S);
    assert_int_equal(limits_take(&limits, 5 * S, 5), 2);
    limits_configure(&limits, &(struct limits_config){100, 4}, 5 * S);
    assert_int_equal(limits_take(&limits, 5 * S, 5), 0);
    assert_int_equal(limits_take(&limits, 5 * S + 10000000, 5), 1);
    limits_configure(&limits, &(struct limits_config){0, 0}, 6 * S);
    assert_int_equal(limits_take(&limits, 6 * S, UINT64_MAX), UINT64_MAX);
    assert_int_equal(limits_wait_ns(&limits, 6 * S, 1000), 0);
    limits_configure(&limits, &(struct limits_config){1, 3}, 7 * S);
    assert_int_equal(limits_take(&limits, 7 * S, 5), 3);
}

static void test_limits_adopted_bucket_is_empty(void **state)
{
    struct limits limits = make(1, 5);

    limits_adopt(&limits, 5 * S, 2);
    assert_int_equal(limits_take(&limits, 5 * S, 5), 0);
    assert_int_equal(limits_take(&limits, 100 * S, 5), 3);
}

static void test_limits_config_edges(void **state)
{
    struct limits_config config = {LIMITS_RATE_MAX, LIMITS_BURST_MAX};
    struct limits limits;

    assert_int_equal(limits_config_check(&config), 0);
    limits_init(&limits, &config, 0);
    spend_all(&limits, 0);
    assert_int_equal(limits_take(&limits, UINT64_MAX, LIMITS_BURST_MAX), LIMITS_BURST_MAX);
    config.rate_per_s = LIMITS_RATE_MAX + 1;
    assert_int_equal(limits_config_check(&config), -EINVAL);
    config = (struct limits_config){1, 0};
    assert_int_equal(limits_config_check(&config), -EINVAL);
    config = (struct limits_config){1, LIMITS_BURST_MAX + 1};
    assert_int_equal(limits_config_check(&config), -EINVAL);
}

static void test_limits_split_is_max_min_fair(void **state)
{
    const uint64_t want[] = {2, 100, 0, 5, 100};
    uint64_t got[5];

    limits_split(27, want, got, 5, 0);
    assert_int_equal(got[0], 2);
    assert_int_equal(got[1], 10);
    assert_int_equal(got[2], 0);
    assert_int_equal(got[3], 5);
    assert_int_equal(got[4], 10);
}

static void test_limits_split_gives_odd_units_in_turn(void **state)
{
    const uint64_t want[] = {9, 9, 9};
    uint64_t got[3];

    limits_split(4, want, got, 3, 1);
    assert_int_equal(got[0], 1);
    assert_int_equal(got[1], 2);
    limits_split(1, want, got, 3, UINT32_MAX);
    assert_int_equal(got[0], 1);
}

static void test_limits_split_conserves(void **state)
{
    uint64_t random = 4;

    for (unsigned i = 0; i < 5000; i++) {
        uint64_t want[7], got[7], total = sim_random_next(&random) % 100, sum = 0, wanted = 0;
        uint32_t n = (uint32_t)(sim_random_next(&random) % 8);

        for (uint32_t k = 0; k < n; k++) {
            want[k] = sim_random_next(&random) % 30;
            wanted += want[k];
        }
        limits_split(total, want, got, n, i);
        for (uint32_t k = 0; k < n; k++) {
            assert_true(got[k] <= want[k]);
            sum += got[k];
        }
        assert_int_equal(sum, total < wanted ? total : wanted);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits_burst_edges),
        cmocka_unit_test(test_limits_wait_is_exact),
        cmocka_unit_test(test_limits_rate_is_never_exceeded),
        cmocka_unit_test(test_limits_held_jobs_are_part_of_the_burst),
        cmocka_unit_test(test_limits_untake_gives_back),
        cmocka_unit_test(test_limits_overspending_is_owed),
        cmocka_unit_test(test_limits_change_live),
        cmocka_unit_test(test_limits_adopted_bucket_is_empty),
        cmocka_unit_test(test_limits_config_edges),
        cmocka_unit_test(test_limits_split_is_max_min_fair),
        cmocka_unit_test(test_limits_split_gives_odd_units_in_turn),
        cmocka_unit_test(test_limits_split_conserves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
