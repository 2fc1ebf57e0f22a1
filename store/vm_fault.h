/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What VMs did wrong, and their quarantine: the table vm_faults and the columns faults_* and
 * quarantine_* of vms.
 *
 * Each fault is a row with its time, and counts while it is younger than the VM's window and was
 * not forgiven (vms.faults_from); vm.c counts them when a VM is read. The newest ones are kept, as
 * many as the threshold can ask for.
 */
#ifndef VGPU_STORE_VM_FAULT_H
#define VGPU_STORE_VM_FAULT_H

#include "store/database.h"

/* record-fault, for the mediator. */
int vm_fault_command_record(struct store_call *call, struct vgpu_err *err);
int vm_fault_command_clear(struct store_call *call, struct vgpu_err *err);
int vm_fault_command_quarantine(struct store_call *call, struct vgpu_err *err);
int vm_fault_command_unquarantine(struct store_call *call, struct vgpu_err *err);
/* show-vm: the VM with its last faults. */
int vm_fault_command_show(struct store_call *call, struct vgpu_err *err);

#endif
