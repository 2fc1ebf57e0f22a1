/* SPDX-License-Identifier: Apache-2.0 */
/* The lease's legal moves, against a list written down independently of the table. */
#include "sched/lease.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct {
    enum lease_state from;
    enum lease_event event;
    enum lease_state to;
} legal[] = {
    {LEASE_NONE, LEASE_EV_WORK, LEASE_WAITING},
    {LEASE_WAITING, LEASE_EV_NO_WORK, LEASE_NONE},
    {LEASE_WAITING, LEASE_EV_GRANT, LEASE_HELD},
    {LEASE_HELD, LEASE_EV_NO_WORK, LEASE_HELD_IDLE},
    {LEASE_HELD, LEASE_EV_REVOKE, LEASE_REVOKING},
    {LEASE_HELD, LEASE_EV_RELEASED, LEASE_NONE},
    {LEASE_HELD, LEASE_EV_GONE, LEASE_NONE},
    {LEASE_HELD_IDLE, LEASE_EV_WORK, LEASE_HELD},
    {LEASE_HELD_IDLE, LEASE_EV_REVOKE, LEASE_REVOKING},
    {LEASE_HELD_IDLE, LEASE_EV_RELEASED, LEASE_NONE},
    {LEASE_HELD_IDLE, LEASE_EV_GONE, LEASE_NONE},
    {LEASE_REVOKING, LEASE_EV_WORK, LEASE_REVOKING},
    {LEASE_REVOKING, LEASE_EV_NO_WORK, LEASE_REVOKING},
    {LEASE_REVOKING, LEASE_EV_OVERRUN, LEASE_OVERRUN},
    {LEASE_REVOKING, LEASE_EV_KILL, LEASE_KILLING},
    {LEASE_REVOKING, LEASE_EV_RELEASED, LEASE_NONE},
    {LEASE_REVOKING, LEASE_EV_GONE, LEASE_NONE},
    {LEASE_OVERRUN, LEASE_EV_WORK, LEASE_OVERRUN},
    {LEASE_OVERRUN, LEASE_EV_NO_WORK, LEASE_OVERRUN},
    {LEASE_OVERRUN, LEASE_EV_RELEASED, LEASE_NONE},
    {LEASE_OVERRUN, LEASE_EV_GONE, LEASE_NONE},
    {LEASE_KILLING, LEASE_EV_WORK, LEASE_KILLING},
    {LEASE_KILLING, LEASE_EV_NO_WORK, LEASE_KILLING},
    {LEASE_KILLING, LEASE_EV_RELEASED, LEASE_KILLING},
    {LEASE_KILLING, LEASE_EV_GONE, LEASE_NONE},
};

static enum lease_state expected(enum lease_state from, enum lease_event event)
{
    for (size_t i = 0; i < sizeof(legal) / sizeof(legal[0]); i++) {
        if (legal[i].from == from && legal[i].event == event)
            return legal[i].to;
    }
    return LEASE_N_STATES;
}

static void test_lease_every_move(void **state)
{
    for (int from = 0; from < LEASE_N_STATES; from++) {
        for (int event = 0; event < LEASE_N_EVENTS; event++)
            assert_int_equal(lease_next((enum lease_state)from, (enum lease_event)event),
                             expected((enum lease_state)from, (enum lease_event)event));
    }
}

static void test_lease_illegal_move_changes_nothing(void **state)
{
    for (int from = 0; from < LEASE_N_STATES; from++) {
        for (int event = 0; event < LEASE_N_EVENTS; event++) {
            enum lease_state at = (enum lease_state)from;
            enum lease_state to = expected(at, (enum lease_event)event);

            assert_int_equal(lease_step(&at, (enum lease_event)event), to != LEASE_N_STATES);
            assert_int_equal(at, to == LEASE_N_STATES ? (enum lease_state)from : to);
        }
    }
}

static void test_lease_outside_the_table(void **state)
{
    assert_int_equal(lease_next(LEASE_N_STATES, LEASE_EV_WORK), LEASE_N_STATES);
    assert_int_equal(lease_next(LEASE_NONE, LEASE_N_EVENTS), LEASE_N_STATES);
    assert_string_equal(lease_state_name(LEASE_N_STATES), "?");
}

static void test_lease_on_gpu(void **state)
{
    assert_false(lease_on_gpu(LEASE_NONE));
    assert_false(lease_on_gpu(LEASE_WAITING));
    for (int at = LEASE_HELD; at < LEASE_N_STATES; at++)
        assert_true(lease_on_gpu((enum lease_state)at));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lease_every_move),
        cmocka_unit_test(test_lease_illegal_move_changes_nothing),
        cmocka_unit_test(test_lease_outside_the_table),
        cmocka_unit_test(test_lease_on_gpu),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
