/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Conflicts between administrators: a request may say which revision of the object that it changes
 * it was made for. execute.c asks here before it executes the command, within its transaction.
 */
#ifndef VGPU_STORE_REVISION_H
#define VGPU_STORE_REVISION_H

#include "store/database.h"

/* What a command changes one of, by its arguments. */
enum revision_object {
    REVISION_NONE,
    REVISION_VM,
    REVISION_POOL,
    REVISION_GPU,
    REVISION_THRESHOLD, /* by its name */
    REVISION_CONFIG     /* the one object that a configuration to be imported names */
};

/*
 * -ESTALE unless the object that call->args names has that revision; the text says who changed what
 * since, and when. -EINVAL if the command has no such object; -ENOENT if there is none.
 */
int revision_check(struct store_call *call, enum revision_object object, int64_t revision,
                   struct vgpu_err *err);

#endif
