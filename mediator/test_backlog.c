/* SPDX-License-Identifier: Apache-2.0 */
/* When the jobs of a channel arrived, as far as the mediator saw it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mediator/backlog.h"

static void test_backlog_oldest_follows_what_is_done(void **state)
{
    struct backlog backlog = {.count = 0};

    assert_int_equal(backlog_note(&backlog, 0, 0, 5), 0);
    assert_int_equal(backlog_note(&backlog, 2, 0, 10), 10);
    assert_int_equal(backlog_note(&backlog, 3, 0, 20), 10);
    assert_int_equal(backlog_note(&backlog, 3, 1, 30), 10);
    assert_int_equal(backlog_note(&backlog, 3, 2, 40), 20);
    assert_int_equal(backlog_note(&backlog, 4, 3, 50), 50);
    assert_int_equal(backlog_note(&backlog, 4, 4, 60), 0);
}

static void test_backlog_is_never_before_it_was_seen(void **state)
{
    struct backlog backlog = {.count = 0};

    /* What was taken and done between two looks leaves no trace. */
    assert_int_equal(backlog_note(&backlog, 1000, 1000, 10), 0);
    assert_int_equal(backlog_note(&backlog, 1001, 1000, 20), 20);
}

/* More distinct times than there is room for: the newest jobs count as seen last. */
static void test_backlog_full_keeps_the_oldest(void **state)
{
    struct backlog backlog = {.count = 0};

    for (uint64_t i = 1; i <= BACKLOG_MARKS + 1; i++)
        assert_int_equal(backlog_note(&backlog, i, 0, i * 10), 10);
    assert_int_equal(backlog.count, BACKLOG_MARKS);
    assert_int_equal(backlog_note(&backlog, BACKLOG_MARKS + 1, BACKLOG_MARKS - 1, 1000),
                     (BACKLOG_MARKS + 1) * 10);
}

/* A worker's numbers may be anything. */
static void test_backlog_takes_nonsense(void **state)
{
    struct backlog backlog = {.count = 0};

    assert_int_equal(backlog_note(&backlog, 5, UINT64_MAX, 10), 0);
    assert_int_equal(backlog_note(&backlog, UINT64_MAX, 0, 20), 20);
    assert_int_equal(backlog_note(&backlog, 3, 0, 30), 20);
    assert_int_equal(backlog_note(&backlog, 3, 7, 40), 20);
    assert_int_equal(backlog_note(&backlog, 3, UINT64_MAX, 50), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_backlog_oldest_follows_what_is_done),
        cmocka_unit_test(test_backlog_is_never_before_it_was_seen),
        cmocka_unit_test(test_backlog_full_keeps_the_oldest),
        cmocka_unit_test(test_backlog_takes_nonsense),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
