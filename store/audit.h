/* SPDX-License-Identifier: Apache-2.0 */
/* The table audit_log: who changed what, from what, to what. */
#ifndef VGPU_STORE_AUDIT_H
#define VGPU_STORE_AUDIT_H

#include "store/database.h"

/*
 * Notes one change in the log and in call->changes. object: "vm", "pool", "gpu", "pool-gpu"; key:
 * its id. from and to are borrowed; NULL: it did not exist, or no longer does. Of an object that
 * was and is, the log has the members that differ.
 */
int audit_record(struct store_call *call, const char *object, const char *key, json_t *from,
                 json_t *to, struct vgpu_err *err);

#endif
