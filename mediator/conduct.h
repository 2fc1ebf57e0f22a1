/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a worker behaves, as far as the mediator sees it from outside, and what of it is held against
 * its VM: see fault.h. What is the host's own failure is not: a GPU that is gone, a launcher that
 * ended, a worker that somebody else killed.
 *
 * Called by vm.c.
 */
#ifndef VGPU_MEDIATOR_CONDUCT_H
#define VGPU_MEDIATOR_CONDUCT_H

#include "mediator/channel.h"

/* One that outlived a mediator: what it told that one is not counted again. */
void conduct_adopt(struct channel *channel);

/* One look at its report page. May ask for its end. */
void conduct_look(struct channel *channel, const struct channel_report *report);

/* It ends, before its state says so: one that was never open is an event. */
void conduct_ended(const struct channel *channel);

/* The worker is dead, by itself or not; before the channel's state says so. */
void conduct_exited(struct channel *channel, const struct vgpu_launch_exited *exited);

#endif
