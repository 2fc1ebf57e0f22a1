/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Times of jobs: what workers count against an independent count of the same, what hostile pages
 * come to, and what "lately" is, in virtual time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mediator/times.h"

#define START_NS (1000 * VGPU_NS_PER_S)
#define SAMPLES  100000

/* One worker's page, and the VM that it is counted for. */
struct bench {
    struct vgpu_times_page *page;
    struct times_seen *seen;
    struct times times;
    uint64_t now_ns;
};

static int setup(void **state)
{
    struct bench *bench = calloc(1, sizeof(*bench));

    bench->page = calloc(1, sizeof(*bench->page));
    bench->now_ns = START_NS;
    bench->seen = times_seen_new(bench->now_ns);
    *state = bench;
    return bench->page && bench->seen ? 0 : -1;
}

static int teardown(void **state)
{
    struct bench *bench = *state;

    times_release(&bench->times);
    times_seen_free(bench->seen);
    free(bench->page);
    free(bench);
    return 0;
}

static void count(struct bench *bench, int kind, int what, uint64_t ns, uint32_t times)
{
    uint32_t index = vgpu_times_index(ns);

    bench->page->counts[kind][what][index] += times;
    bench->page->heads[kind].blocks[what] |= 1u << (index >> VGPU_TIMES_BLOCK_SHIFT);
}

static void job(struct bench *bench, int kind, uint64_t wait_ns, uint64_t run_ns)
{
    struct vgpu_times_head *head = &bench->page->heads[kind];

    count(bench, kind, VGPU_TIME_WAIT, wait_ns, 1);
    count(bench, kind, VGPU_TIME_RUN, run_ns, 1);
    count(bench, kind, VGPU_TIME_TOTAL, wait_ns + run_ns, 1);
    head->wait_ns += wait_ns;
    head->run_ns += run_ns;
    head->jobs++;
}

static void look_after(struct bench *bench, uint64_t ns)
{
    bench->now_ns += ns;
    times_add_sums(&bench->times, bench->seen, bench->page, bench->now_ns);
    times_add_counts(&bench->times, bench->seen, bench->page, bench->now_ns);
}

static bool read_lately(struct bench *bench, int kind, int what, uint64_t ret[METRIC_QUANTILES])
{
    return lately_read(&bench->times.lately[kind][what], bench->now_ns, ret);
}

static int by_value(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

    return left < right ? -1 : left > right;
}

/* From 200 ns to some seconds, each order of magnitude alike. */
static uint64_t some_time(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (UINT64_C(200) << (*seed >> 59)) % 4000000000u + (*seed >> 33) % 1000;
}

/* The value below or at which that part of them is, counted by hand. */
static uint64_t exact(const uint64_t *sorted, size_t n, unsigned percent)
{
    return sorted[(n * percent + 99) / 100 - 1];
}

/* Two significant digits, and no finer than the unit. */
static void assert_within_precision(uint64_t value, uint64_t wanted)
{
    uint64_t most = wanted / 100 + (1u << VGPU_TIMES_UNIT_SHIFT);

    assert_in_range(value, wanted > most ? wanted - most : 0, wanted + most);
}

static void test_times_quantiles_are_those_of_an_independent_count(void **state)
{
    static const unsigned percents[METRIC_QUANTILES] = {50, 95, 99};
    struct bench *bench = *state;
    uint64_t *waits = calloc(SAMPLES, sizeof(*waits)), *totals = calloc(SAMPLES, sizeof(*totals));
    uint64_t wait_sum = 0, run_sum = 0, seed = 1, found[METRIC_QUANTILES];

    for (size_t i = 0; i < SAMPLES; i++) {
        uint64_t run_ns = some_time(&seed);

        waits[i] = some_time(&seed);
        totals[i] = waits[i] + run_ns;
        wait_sum += waits[i];
        run_sum += run_ns;
        job(bench, VGPU_JOB_LAUNCH, waits[i], run_ns);
        if (i % 1000 == 999)
            look_after(bench, VGPU_NS_PER_MS);
    }
    assert_int_equal(bench->times.jobs[VGPU_JOB_LAUNCH], SAMPLES);
    assert_int_equal(bench->times.wait_ns[VGPU_JOB_LAUNCH], wait_sum);
    assert_int_equal(bench->times.run_ns[VGPU_JOB_LAUNCH], run_sum);
    assert_int_equal(bench->times.dropped, 0);
    qsort(waits, SAMPLES, sizeof(*waits), by_value);
    qsort(totals, SAMPLES, sizeof(*totals), by_value);
    assert_true(read_lately(bench, VGPU_JOB_LAUNCH, VGPU_TIME_WAIT, found));
    for (int i = 0; i < METRIC_QUANTILES; i++)
        assert_within_precision(found[i], exact(waits, SAMPLES, percents[i]));
    assert_true(read_lately(bench, VGPU_JOB_LAUNCH, VGPU_TIME_TOTAL, found));
    for (int i = 0; i < METRIC_QUANTILES; i++)
        assert_within_precision(found[i], exact(totals, SAMPLES, percents[i]));
    free(waits);
    free(totals);
}

static void test_times_kinds_are_apart(void **state)
{
    struct bench *bench = *state;
    uint64_t found[METRIC_QUANTILES];

    job(bench, VGPU_JOB_COPY, 1000, 2000);
    look_after(bench, VGPU_NS_PER_MS);
    assert_int_equal(bench->times.jobs[VGPU_JOB_COPY], 1);
    assert_int_equal(bench->times.jobs[VGPU_JOB_LAUNCH], 0);
    assert_true(read_lately(bench, VGPU_JOB_COPY, VGPU_TIME_RUN, found));
    assert_within_precision(found[0], 2000);
    assert_false(read_lately(bench, VGPU_JOB_LAUNCH, VGPU_TIME_RUN, found));
}

static void test_times_the_longest_is_counted_as_that(void **state)
{
    struct bench *bench = *state;
    uint64_t found[METRIC_QUANTILES];

    job(bench, VGPU_JOB_OTHER, 0, UINT64_MAX / 4);
    look_after(bench, VGPU_NS_PER_MS);
    assert_true(read_lately(bench, VGPU_JOB_OTHER, VGPU_TIME_RUN, found));
    assert_within_precision(found[2], VGPU_TIMES_HIGHEST_NS);
    assert_int_equal(bench->times.run_ns[VGPU_JOB_OTHER], VGPU_TIMES_HIGHEST_NS);
}

static void test_times_without_anything_new_nothing_is_counted(void **state)
{
    struct bench *bench = *state;

    job(bench, VGPU_JOB_COPY, 1000, 2000);
    look_after(bench, VGPU_NS_PER_MS);
    look_after(bench, VGPU_NS_PER_MS);
    assert_int_equal(bench->times.jobs[VGPU_JOB_COPY], 1);
    assert_int_equal(bench->times.run_ns[VGPU_JOB_COPY], 2000);
}

/* An adopted channel: what it did before is not this mediator's to count. */
static void test_times_what_was_there_before_is_not_counted(void **state)
{
    struct bench *bench = *state;
    uint64_t found[METRIC_QUANTILES];

    job(bench, VGPU_JOB_COPY, 1000, 2000);
    times_add_sums(NULL, bench->seen, bench->page, bench->now_ns);
    times_add_counts(NULL, bench->seen, bench->page, bench->now_ns);
    job(bench, VGPU_JOB_COPY, 50000, 70000);
    look_after(bench, VGPU_NS_PER_MS);
    assert_int_equal(bench->times.jobs[VGPU_JOB_COPY], 1);
    assert_int_equal(bench->times.wait_ns[VGPU_JOB_COPY], 50000);
    assert_true(read_lately(bench, VGPU_JOB_COPY, VGPU_TIME_WAIT, found));
    assert_within_precision(found[0], 50000);
}

/* As many jobs as there was time for are believed; the next one is not. */
static void test_times_more_jobs_than_time_are_dropped(void **state)
{
    struct bench *bench = *state;
    uint64_t most = VGPU_NS_PER_MS / TIMES_JOB_NS + TIMES_SLACK;

    bench->page->heads[VGPU_JOB_LAUNCH].jobs = most;
    look_after(bench, VGPU_NS_PER_MS);
    assert_int_equal(bench->times.jobs[VGPU_JOB_LAUNCH], most);
    assert_int_equal(bench->times.dropped, 0);
    bench->page->heads[VGPU_JOB_LAUNCH].jobs += most + 1;
    look_after(bench, VGPU_NS_PER_MS);
    assert_int_equal(bench->times.jobs[VGPU_JOB_LAUNCH], 2 * most);
    assert_int_equal(bench->times.dropped, 1);
}

/* Counts and sums at their largest, and falling: nothing overflows, nothing goes back. */
static void test_times_hostile_pages_add_no_more_than_time_allows(void **state)
{
    struct bench *bench = *state;
    uint64_t before, found[METRIC_QUANTILES];

    memset(bench->page, 0xff, sizeof(*bench->page));
    look_after(bench, VGPU_NS_PER_MS);
    before = bench->times.jobs[VGPU_JOB_LAUNCH];
    assert_in_range(before, 1, VGPU_NS_PER_MS / TIMES_JOB_NS + TIMES_SLACK);
    assert_true(bench->times.run_ns[VGPU_JOB_LAUNCH] <= before * VGPU_TIMES_HIGHEST_NS);
    assert_true(bench->times.dropped > 0);
    memset(bench->page, 0, sizeof(*bench->page));
    look_after(bench, VGPU_NS_PER_MS);
    assert_true(bench->times.jobs[VGPU_JOB_LAUNCH] >= before);
    memset(bench->page, 0x80, sizeof(*bench->page));
    for (int i = 0; i < 100; i++) {
        bench->page->heads[i % VGPU_JOB_KINDS].jobs += 1u << i % 32;
        bench->page->counts[i % VGPU_JOB_KINDS][i % VGPU_TIMES][31 * i] -= 7;
        look_after(bench, VGPU_NS_PER_S);
    }
    for (int kind = 0; kind < VGPU_JOB_KINDS; kind++)
        for (int what = 0; what < VGPU_TIMES; what++)
            read_lately(bench, kind, what, found);
}

static void test_lately_is_this_minute_or_the_one_before(void **state)
{
    struct lately lately = {.counts = NULL};
    uint64_t now_ns = START_NS, found[METRIC_QUANTILES];

    assert_false(lately_read(&lately, now_ns, found));
    lately_count(&lately, now_ns, 1000, 10);
    assert_true(lately_read(&lately, now_ns, found)); /* there was none before */
    assert_within_precision(found[0], 1000);
    now_ns += LATELY_TURN_NS;
    lately_count(&lately, now_ns, 9000000, 10);
    assert_true(lately_read(&lately, now_ns + LATELY_TURN_NS / 2 - 1, found));
    assert_within_precision(found[2], 1000);
    assert_true(lately_read(&lately, now_ns + LATELY_TURN_NS / 2, found));
    assert_within_precision(found[0], 9000000);
    lately_release(&lately);
}

static void test_lately_is_forgotten_after_two_minutes(void **state)
{
    struct lately lately = {.counts = NULL};
    uint64_t now_ns = START_NS, found[METRIC_QUANTILES];

    lately_count(&lately, now_ns, 1000, 1);
    now_ns += LATELY_TURN_NS;
    assert_true(lately_read(&lately, now_ns, found));
    now_ns += LATELY_TURN_NS - 1;
    assert_true(lately_read(&lately, now_ns, found));
    assert_within_precision(found[0], 1000);
    assert_false(lately_read(&lately, now_ns + 1, found));
    assert_null(lately.counts);
    lately_count(&lately, now_ns + 1, 7000, 1);
    assert_true(lately_read(&lately, now_ns + 1, found));
    assert_within_precision(found[0], 7000);
    lately_release(&lately);
}

static void test_lately_a_long_silence_forgets_all(void **state)
{
    struct lately lately = {.counts = NULL};
    uint64_t found[METRIC_QUANTILES];

    lately_count(&lately, START_NS, 1000, 1);
    assert_false(lately_read(&lately, START_NS + 2 * LATELY_TURN_NS, found));
    lately_count(&lately, START_NS + 9 * LATELY_TURN_NS, 7000, 1);
    assert_true(lately_read(&lately, START_NS + 9 * LATELY_TURN_NS, found));
    assert_within_precision(found[0], 7000);
    lately_release(&lately);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_times_quantiles_are_those_of_an_independent_count,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_times_kinds_are_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_times_the_longest_is_counted_as_that, setup, teardown),
        cmocka_unit_test_setup_teardown(test_times_without_anything_new_nothing_is_counted, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_times_what_was_there_before_is_not_counted, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_times_more_jobs_than_time_are_dropped, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_times_hostile_pages_add_no_more_than_time_allows,
                                        setup, teardown),
        cmocka_unit_test(test_lately_is_this_minute_or_the_one_before),
        cmocka_unit_test(test_lately_is_forgotten_after_two_minutes),
        cmocka_unit_test(test_lately_a_long_silence_forgets_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
