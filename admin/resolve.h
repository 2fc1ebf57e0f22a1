/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of VMs that the store does not know, looked up where the host's VMs are managed: by xe on
 * XCP-ng, by virsh on libvirt, whichever is there. A name stands for a VM only if it fits exactly
 * one.
 */
#ifndef VGPU_ADMIN_RESOLVE_H
#define VGPU_ADMIN_RESOLVE_H

#include "admin/client.h"

#define RESOLVE_UUID_BYTES (STORE_UUID_BYTES + 1)

/*
 * 1: one VM has that name, and uuid is its; 0: none has, or there is neither program. -ENOTUNIQ:
 * several have, and the text lists them; others: a program could not be asked.
 */
int resolve_name(const char *name, char uuid[RESOLVE_UUID_BYTES], struct vgpu_err *err);

/* 1: *ret_name, for free(), is the name of the VM with that UUID; otherwise as resolve_name(). */
int resolve_uuid(const char *uuid, char **ret_name, struct vgpu_err *err);

/*
 * After a command failed because there is no such VM (rc, err): if args name it by a name that
 * exactly one VM of the host has, executes the command with that VM's UUID. Otherwise rc, err.
 */
int resolve_and_call(struct client *client, const struct invocation *invocation, int rc,
                     json_t **ret_result, struct vgpu_err *err);

/*
 * For register-vm: adds to args the UUID that the name stands for, or the name that the UUID has.
 * -ENOTUNIQ: the name fits several. That a program could not be asked is only said.
 */
int resolve_complete(json_t *args, struct vgpu_err *err);

#endif
