/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the guest's side of a new channel is to be: local memory, a place in the VM's window,
 * mirrored, or pages that the guest grants; and how large its data area is where the guest leaves
 * that to the host. Called by vm.c for each OPEN.
 */
#ifndef VGPU_MEDIATOR_CARRIER_H
#define VGPU_MEDIATOR_CARRIER_H

#include "mediator/connection.h"
#include "mediator/vm.h"

/* Completes the ask. The status to refuse with, and err's text is why; or VGPU_OK. */
enum vgpu_status carrier_choose(const struct vm *vm, const struct connection *connection,
                                const struct vgpu_msg_open *open, struct channel_ask *ask,
                                struct vgpu_err *err);

#endif
