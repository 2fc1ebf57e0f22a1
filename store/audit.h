/* SPDX-License-Identifier: Apache-2.0 */
/* The table audit_log: who changed what, from what, to what. */
#ifndef VGPU_STORE_AUDIT_H
#define VGPU_STORE_AUDIT_H

#include "store/database.h"
#include "store/text.h"

/*
 * Notes one change in the log and in call->changes. object: "vm", "pool", "gpu", "pool-gpu"; key:
 * its id. from and to are borrowed; NULL: it did not exist, or no longer does. Of an object that
 * was and is, the log has the members that differ.
 */
int audit_record(struct store_call *call, const char *object, const char *key, json_t *from,
                 json_t *to, struct vgpu_err *err);

/*
 * Adds the last changes of the revision of a VM, pool or GPU to the list, the newest first, `most`
 * at most: "uid=0 pid=7 at 2026-01-31 12:00:00 UTC (set-weight: weight 50.0 to 60.0)".
 */
int audit_tell(struct store *store, const char *object, const char *key, size_t most,
               struct text_list *list, struct vgpu_err *err);

int audit_command_list(struct store_call *call, struct vgpu_err *err);

#endif
