/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The channels of a device: the guest's commands become requests to the mediator, and its answers
 * theirs. device.c owns the pages and the connection, and calls this; docs/spec/grant.md.
 */
#ifndef VGPU_XENBUS_SLOTS_H
#define VGPU_XENBUS_SLOTS_H

#include "xenbus/device.h"

/* Looks at each doorbell once. Returns -errno when the connection took no request. */
int slots_serve(struct device *device);
/* A message of the mediator that is about channels or GPUs. */
int slots_hear(struct device *device, const union message *message);
/* The connection is there again: channels are claimed, and the end of others is asked for. */
int slots_welcomed(struct device *device);
/* The connection was lost. */
void slots_lost(struct device *device);
/* The device closes: all channels are to end. */
int slots_end(struct device *device);
/* No channel has a worker, as far as the mediator has said. */
bool slots_drained(const struct device *device);
/* Forgets all. inherited: the guest's pages were another process's before. */
void slots_begin(struct device *device, bool inherited);

/* All slots may have a channel of another process: they are lost until it is known to have ended.
 */
void slots_inherit(struct device *device);
/* Channels that cannot be claimed any more are lost, likewise. */
void slots_disown(struct device *device);
/* No lost channel has a worker: the guest is told. */
void slots_drain_done(struct device *device);

#endif
