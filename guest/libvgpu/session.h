/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection of this process: the channel, and a small thread that watches the VM's socket. It
 * sleeps while nothing happens there; when the mediator goes away it comes back to it and resumes
 * the channel, while calls go on through ring and worker.
 */
#ifndef VGPU_LIBVGPU_SESSION_H
#define VGPU_LIBVGPU_SESSION_H

#include "guest/libvgpu/channel.h"
#include "guest/libvgpu/vgpu.h"

/* The channel of the open session, or NULL. */
struct sender *session_sender(void);

bool session_is_forked(void);

#endif
