/* SPDX-License-Identifier: Apache-2.0 */
/* Sets of VMs as administrators write them: "1-7,9". */
#ifndef VGPU_STORE_VM_SET_H
#define VGPU_STORE_VM_SET_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "store/store.h"

#define VM_SET_TEXT_BYTES 16384 /* room for as many ids as there may be VMs */

struct vm_set {
    size_t n;
    int32_t ids[STORE_VMS_MAX]; /* ascending, each once */
};

/*
 * Reads ids and ranges of ids, from the smaller to the larger, with commas between them and nothing
 * else; what is named twice counts once. -EINVAL, and a text that shows the place; -ENOSPC: more
 * VMs than there may be.
 */
int vm_set_parse(const char *text, struct vm_set *ret_set, struct vgpu_err *err);

/* True if the set has the id. */
bool vm_set_has(const struct vm_set *set, int32_t vm_id);

#endif
