/* SPDX-License-Identifier: Apache-2.0 */
/* The command that moves many VMs at once. */
#ifndef VGPU_STORE_VM_ASSIGN_H
#define VGPU_STORE_VM_ASSIGN_H

#include "store/database.h"

int vm_assign_command(struct store_call *call, struct vgpu_err *err);

#endif
