/* SPDX-License-Identifier: Apache-2.0 */
/* set-identity: what a VM is called by its hypervisor. */
#ifndef VGPU_STORE_VM_IDENTITY_H
#define VGPU_STORE_VM_IDENTITY_H

#include "store/database.h"

int vm_identity_command(struct store_call *call, struct vgpu_err *err);

#endif
