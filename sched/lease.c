/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of legal lease moves; see lease.h.
 *
 * A release leads to LEASE_NONE; a VM that still has work then goes on to LEASE_WAITING by
 * LEASE_EV_WORK. A VM that is being killed stays so until its worker is gone, whatever it says.
 */
#include "sched/lease.h"

#define NO LEASE_N_STATES

static const unsigned char moves[LEASE_N_STATES][LEASE_N_EVENTS] = {
    /* WORK, NO_WORK, GRANT, REVOKE, OVERRUN, KILL, RELEASED, GONE */
    [LEASE_NONE] = {LEASE_WAITING, NO, NO, NO, NO, NO, NO, NO},
    [LEASE_WAITING] = {NO, LEASE_NONE, LEASE_HELD, NO, NO, NO, NO, NO},
    [LEASE_HELD] = {NO, LEASE_HELD_IDLE, NO, LEASE_REVOKING, NO, NO, LEASE_NONE, LEASE_NONE},
    [LEASE_HELD_IDLE] = {LEASE_HELD, NO, NO, LEASE_REVOKING, NO, NO, LEASE_NONE, LEASE_NONE},
    [LEASE_REVOKING] = {LEASE_REVOKING, LEASE_REVOKING, NO, NO, LEASE_OVERRUN, LEASE_KILLING,
                        LEASE_NONE, LEASE_NONE},
    [LEASE_OVERRUN] = {LEASE_OVERRUN, LEASE_OVERRUN, NO, NO, NO, NO, LEASE_NONE, LEASE_NONE},
    [LEASE_KILLING] = {LEASE_KILLING, LEASE_KILLING, NO, NO, NO, NO, LEASE_KILLING, LEASE_NONE},
};

enum lease_state lease_next(enum lease_state state, enum lease_event event)
{
    if ((unsigned)state >= LEASE_N_STATES || (unsigned)event >= LEASE_N_EVENTS)
        return LEASE_N_STATES;
    return (enum lease_state)moves[state][event];
}

bool lease_step(enum lease_state *state, enum lease_event event)
{
    enum lease_state next = lease_next(*state, event);

    if (next == LEASE_N_STATES)
        return false;
    *state = next;
    return true;
}

bool lease_on_gpu(enum lease_state state)
{
    return state >= LEASE_HELD && state <= LEASE_KILLING;
}

const char *lease_state_name(enum lease_state state)
{
    static const char *const names[LEASE_N_STATES] = {
        "none", "waiting", "held", "held-idle", "revoking", "overrun", "killing",
    };

    return (unsigned)state < LEASE_N_STATES ? names[state] : "?";
}
