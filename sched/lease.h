/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of one VM's lease on one GPU: states, events, and the table of legal moves.
 *
 * sched/sched.c makes every change of state through lease_step(); nothing else writes a state.
 * "Work" is a job that is queued or in flight; a VM with work and without the lease is waiting.
 */
#ifndef VGPU_SCHED_LEASE_H
#define VGPU_SCHED_LEASE_H

#include <stdbool.h>

enum lease_state {
    LEASE_NONE,      /* no work, no lease */
    LEASE_WAITING,   /* work, and in the run queue */
    LEASE_HELD,      /* holds the GPU and has work */
    LEASE_HELD_IDLE, /* holds the GPU without work: keeps it only until somebody waits */
    LEASE_REVOKING,  /* told to drain and release; the turn is still its own */
    LEASE_OVERRUN,   /* did not release in time: runs on beside the next holder, and pays */
    LEASE_KILLING,   /* to be killed by the caller; ends with the death of its worker */
    LEASE_N_STATES,
};

enum lease_event {
    LEASE_EV_WORK,     /* the VM has work */
    LEASE_EV_NO_WORK,  /* the VM's last job is done */
    LEASE_EV_GRANT,    /* the scheduler gives it the GPU */
    LEASE_EV_REVOKE,   /* the scheduler takes the GPU back */
    LEASE_EV_OVERRUN,  /* the grace is over and it has not released */
    LEASE_EV_KILL,     /* the GPU already has an overrunner */
    LEASE_EV_RELEASED, /* the worker has drained and released */
    LEASE_EV_GONE,     /* the worker is dead */
    LEASE_N_EVENTS,
};

/* The state after event, or LEASE_N_STATES where the move is illegal. */
enum lease_state lease_next(enum lease_state state, enum lease_event event);

/* Makes the move: true and *state changed, or false and nothing changed. */
bool lease_step(enum lease_state *state, enum lease_event event);

/* True in each state in which the VM may be using the GPU. */
bool lease_on_gpu(enum lease_state state);

/* "waiting", "held", … for status screens; static text. */
const char *lease_state_name(enum lease_state state);

#endif
