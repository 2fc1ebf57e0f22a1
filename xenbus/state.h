/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The states of xenbus, and how the backend follows the frontend: one function, one table, no I/O.
 * device.c carries out what it says.
 */
#ifndef VGPU_XENBUS_STATE_H
#define VGPU_XENBUS_STATE_H

#include <stdbool.h>

/* Xen's numbers (public/io/xenbus.h). UNKNOWN: the key is not there, or says no number. */
enum xenbus_state {
    XENBUS_UNKNOWN = 0,
    XENBUS_INITIALISING = 1,
    XENBUS_INIT_WAIT = 2,
    XENBUS_INITIALISED = 3,
    XENBUS_CONNECTED = 4,
    XENBUS_CLOSING = 5,
    XENBUS_CLOSED = 6,
    XENBUS_RECONFIGURING = 7,
    XENBUS_RECONFIGURED = 8,
    XENBUS_N_STATES
};

/*
 * The backend's next state, `ours` included. online: the toolstack wants it. drained: no channel of
 * the device has a worker.
 */
enum xenbus_state xenbus_next(enum xenbus_state ours, enum xenbus_state theirs, bool online,
                              bool drained);

#endif
