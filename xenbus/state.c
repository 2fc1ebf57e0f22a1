/* SPDX-License-Identifier: Apache-2.0 */
#include "xenbus/state.h"

#include <stdint.h>

#define STAY  0
#define WAIT  XENBUS_INIT_WAIT
#define JOIN  XENBUS_CONNECTED
#define LEAVE XENBUS_CLOSING
#define REST  XENBUS_CLOSED

/* What the frontend's state moves the backend to, while the device is online. */
static const uint8_t moves[XENBUS_N_STATES][XENBUS_N_STATES] = {
    /* clang-format off */
    /*                       UNKNOWN INITIALISING INIT_WAIT INITIALISED CONNECTED CLOSING CLOSED RECONFIGURING RECONFIGURED */
    [XENBUS_INITIALISING] = {WAIT,   WAIT,        WAIT,     WAIT,       WAIT,     WAIT,   WAIT,  WAIT,         WAIT},
    [XENBUS_INIT_WAIT]    = {STAY,   STAY,        STAY,     JOIN,       JOIN,     LEAVE,  STAY,  STAY,         STAY},
    [XENBUS_CONNECTED]    = {LEAVE,  LEAVE,       STAY,     STAY,       STAY,     LEAVE,  LEAVE, STAY,         STAY},
    [XENBUS_CLOSED]       = {STAY,   WAIT,        STAY,     STAY,       STAY,     STAY,   STAY,  STAY,         STAY},
    /* clang-format on */
};

static enum xenbus_state offline(enum xenbus_state ours)
{
    return ours == XENBUS_CONNECTED || ours == XENBUS_CLOSING ? LEAVE : REST;
}

enum xenbus_state xenbus_next(enum xenbus_state ours, enum xenbus_state theirs, bool online,
                              bool drained)
{
    uint8_t next;

    if (ours == XENBUS_CLOSING)
        return drained ? XENBUS_CLOSED : XENBUS_CLOSING;
    if (!online)
        return offline(ours);
    next = moves[ours][theirs];
    return next == STAY ? ours : (enum xenbus_state)next;
}
