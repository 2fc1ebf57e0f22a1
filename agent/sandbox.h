/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the agent may still do once its sockets are open and its threads run: no new privileges, no
 * capabilities, and an allow-list of system calls: no new process or thread, no file written.
 */
#ifndef VGPU_AGENT_SANDBOX_H
#define VGPU_AGENT_SANDBOX_H

#include "common/err.h"

/* Before there are threads: capabilities are each thread's own. */
int sandbox_drop_capabilities(struct vgpu_err *err);
/* For good, for all threads. */
int sandbox_enter(struct vgpu_err *err);

#endif
