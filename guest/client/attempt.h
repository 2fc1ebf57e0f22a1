/* SPDX-License-Identifier: Apache-2.0 */
/* Does something that the host may refuse, again if the refusal is one that passes. */
#ifndef VGPU_GUEST_CLIENT_ATTEMPT_H
#define VGPU_GUEST_CLIENT_ATTEMPT_H

#include "guest/client/client.h"

/*
 * Calls `act` until it succeeds, is refused for good, or the attempts are used up; tells of each
 * refusal on standard error, as "WHAT: why". Returns an exit status of the client.
 */
int attempt(enum vgpu_status (*act)(void *argument, struct vgpu_failure *failure), void *argument,
            const char *what, struct vgpu_failure *failure);

#endif
