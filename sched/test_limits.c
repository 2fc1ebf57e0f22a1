/* SPDX-License-Identifier: Apache-2.0 */
/* Admission limits at limit - 1, limit and limit + 1, the bucket's arithmetic, and splitting. */
#include "sched/limits.h"
#include "sched/sim_stat.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define S UINT64_C(1000000000)

static struct limits make(uint32_t rate, uint32_t burst, uint32_t depth, uint64_t bytes)
{
    struct limits_config config = {rate, burst, depth, bytes};
    struct limits limits;

    assert_int_equal(limits_config_check(&config), 0);
    limits_init(&limits, &config, 5 * S);
    return limits;
}

static void test_limits_burst_edges(void **state)
{
    struct limits limits = make(10, 5, 0, 0);
    struct limits_answer answer;

    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(limits_admit(&limits, 5 * S, 1, 0).verdict, LIMITS_OK);
    answer = limits_admit(&limits, 5 * S, 1, 0);
    assert_int_equal(answer.verdict, LIMITS_BUSY);
    assert_int_equal(answer.reason, LIMITS_BY_RATE);
    assert_int_equal(answer.retry_ns, S / 10);
    assert_int_equal(limits.refused[LIMITS_BY_RATE], 1);
}

static void test_limits_retry_hint_is_exact(void **state)
{
    struct limits limits = make(3, 1, 0, 0);
    uint64_t retry;

    limits_admit(&limits, 5 * S, 1, 0);
    retry = limits_admit(&limits, 5 * S, 1, 0).retry_ns;
    assert_int_equal(retry, 333333334);
    assert_int_equal(limits_admit(&limits, 5 * S + retry - 1, 1, 0).verdict, LIMITS_BUSY);
    assert_int_equal(limits_admit(&limits, 5 * S + retry, 1, 0).verdict, LIMITS_OK);
}

/* Over any time, what passes is at most burst + rate x time, however often one asks. */
static void test_limits_rate_is_never_exceeded(void **state)
{
    struct limits limits = make(997, 13, 0, 0);
    uint64_t random = 1, now = 5 * S, passed = 0;

    for (unsigned i = 0; i < 100000; i++) {
        now += sim_random_next(&random) % 1000000;
        passed += limits_admit(&limits, now, 1, 0).verdict == LIMITS_OK;
        assert_true(passed * S <= 13 * S + (now - 5 * S) * 997);
    }
    assert_true((passed + 13) * S >= (now - 5 * S) * 997);
}

static void test_limits_depth_edges(void **state)
{
    struct limits limits = make(0, 0, 4, 0);

    assert_int_equal(limits_admit(&limits, 5 * S, 3, 0).verdict, LIMITS_OK);
    assert_int_equal(limits_admit(&limits, 5 * S, 2, 0).verdict, LIMITS_BUSY);
    assert_int_equal(limits_admit(&limits, 5 * S, 1, 0).verdict, LIMITS_OK);
    assert_int_equal(limits_admit(&limits, 5 * S, 1, 0).reason, LIMITS_BY_DEPTH);
    limits_done(&limits, 6 * S, 1, 0);
    assert_int_equal(limits_admit(&limits, 6 * S, 1, 0).verdict, LIMITS_OK);
}

static void test_limits_bytes_edges(void **state)
{
    struct limits limits = make(0, 0, 0, 1000);

    assert_int_equal(limits_admit(&limits, 5 * S, 1, 999).verdict, LIMITS_OK);
    assert_int_equal(limits_admit(&limits, 5 * S, 1, 2).reason, LIMITS_BY_BYTES);
    assert_int_equal(limits_admit(&limits, 5 * S, 1, 1).verdict, LIMITS_OK);
    limits_done(&limits, 6 * S, 1, 999);
    assert_int_equal(limits.bytes, 1);
    assert_int_equal(limits_admit(&limits, 6 * S, 1, UINT64_MAX).verdict, LIMITS_TOO_LARGE);
}

static void test_limits_too_large_is_final(void **state)
{
    struct limits limits = make(10, 5, 8, 1000);

    assert_int_equal(limits_admit(&limits, 5 * S, 6, 0).reason, LIMITS_BY_RATE);
    assert_int_equal(limits_admit(&limits, 5 * S, 6, 0).verdict, LIMITS_TOO_LARGE);
    assert_int_equal(limits_admit(&limits, 5 * S, 5, 1001).verdict, LIMITS_TOO_LARGE);
    assert_int_equal(limits_admit(&limits, 5 * S, 5, 1000).verdict, LIMITS_OK);
}

static void test_limits_refusal_takes_nothing(void **state)
{
    struct limits limits = make(10, 5, 5, 100);
    uint64_t tokens = limits.tokens;

    limits_admit(&limits, 5 * S, 1, 100);
    assert_int_equal(limits_admit(&limits, 5 * S, 1, 1).verdict, LIMITS_BUSY);
    assert_int_equal(limits.tokens, tokens - S);
    assert_int_equal(limits.depth, 1);
    assert_int_equal(limits.bytes, 100);
}

static void test_limits_quarantine_refuses_all(void **state)
{
    struct limits limits = make(0, 0, 0, 0);

    limits_set_quarantine(&limits, true);
    assert_int_equal(limits_admit(&limits, 5 * S, 1, 0).verdict, LIMITS_QUARANTINED);
    assert_int_equal(limits_take(&limits, 5 * S, 10), 0);
    limits_set_quarantine(&limits, false);
    assert_int_equal(limits_admit(&limits, 5 * S, 1, 0).verdict, LIMITS_OK);
}

static void test_limits_without_limits(void **state)
{
    struct limits limits = make(0, 0, 0, 0);

    assert_int_equal(limits_admit(&limits, 5 * S, 1000000, UINT64_MAX / 2).verdict, LIMITS_OK);
    assert_int_equal(limits_take(&limits, 5 * S, 1000000), 1000000);
}

static void test_limits_change_live(void **state)
{
    struct limits limits = make(10, 100, 0, 0);
    struct limits_config tighter = {10, 2, 1, 0};

    limits_admit(&limits, 5 * S, 3, 0);
    limits_configure(&limits, &tighter, 5 * S);
    assert_int_equal(limits.tokens, 2 * S);
    assert_int_equal(limits_admit(&limits, 5 * S, 1, 0).reason, LIMITS_BY_DEPTH);
    limits_done(&limits, 5 * S, 3, 0);
    assert_int_equal(limits_admit(&limits, 5 * S, 1, 0).verdict, LIMITS_OK);
}

static void test_limits_new_rate_starts_full(void **state)
{
    struct limits limits = make(0, 0, 0, 0);
    struct limits_config config = {1, 7, 0, 0};

    limits_configure(&limits, &config, 6 * S);
    assert_int_equal(limits_take(&limits, 6 * S, 100), 7);
}

static void test_limits_take_edges_and_untake(void **state)
{
    struct limits limits = make(10, 5, 3, 0);

    assert_int_equal(limits_take(&limits, 5 * S, 2), 2);
    assert_int_equal(limits_take(&limits, 5 * S, 2), 1);
    assert_int_equal(limits_take(&limits, 5 * S, 1), 0);
    limits_untake(&limits, 5 * S, 3);
    assert_int_equal(limits.depth, 0);
    assert_int_equal(limits.tokens, 5 * S);
    limits_untake(&limits, 5 * S, 3);
    assert_int_equal(limits.tokens, 5 * S);
}

static void test_limits_config_edges(void **state)
{
    struct limits_config config = {LIMITS_RATE_MAX, LIMITS_BURST_MAX, 0, 0};
    struct limits limits;

    assert_int_equal(limits_config_check(&config), 0);
    limits_init(&limits, &config, 0);
    limits_take(&limits, 0, LIMITS_BURST_MAX);
    assert_int_equal(limits_take(&limits, UINT64_MAX, LIMITS_BURST_MAX), LIMITS_BURST_MAX);
    config.rate_per_s = LIMITS_RATE_MAX + 1;
    assert_int_equal(limits_config_check(&config), -EINVAL);
    config = (struct limits_config){1, 0, 0, 0};
    assert_int_equal(limits_config_check(&config), -EINVAL);
    config = (struct limits_config){1, LIMITS_BURST_MAX + 1, 0, 0};
    assert_int_equal(limits_config_check(&config), -EINVAL);
}

static void test_limits_depth_hint_follows_completions(void **state)
{
    struct limits limits = make(0, 0, 100, 0);

    limits_admit(&limits, 5 * S, 100, 0);
    assert_int_equal(limits_admit(&limits, 5 * S, 1, 0).retry_ns, 1000000);
    for (unsigned i = 1; i <= 50; i++)
        limits_done(&limits, 5 * S + i * 20000000, 1, 0);
    assert_int_equal(limits_admit(&limits, 6 * S, 60, 0).retry_ns, 10 * 20000000);
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
        cmocka_unit_test(test_limits_retry_hint_is_exact),
        cmocka_unit_test(test_limits_rate_is_never_exceeded),
        cmocka_unit_test(test_limits_depth_edges),
        cmocka_unit_test(test_limits_bytes_edges),
        cmocka_unit_test(test_limits_too_large_is_final),
        cmocka_unit_test(test_limits_refusal_takes_nothing),
        cmocka_unit_test(test_limits_quarantine_refuses_all),
        cmocka_unit_test(test_limits_without_limits),
        cmocka_unit_test(test_limits_change_live),
        cmocka_unit_test(test_limits_new_rate_starts_full),
        cmocka_unit_test(test_limits_take_edges_and_untake),
        cmocka_unit_test(test_limits_config_edges),
        cmocka_unit_test(test_limits_depth_hint_follows_completions),
        cmocka_unit_test(test_limits_split_is_max_min_fair),
        cmocka_unit_test(test_limits_split_gives_odd_units_in_turn),
        cmocka_unit_test(test_limits_split_conserves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
