/* SPDX-License-Identifier: Apache-2.0 */
/* What the pools have, have promised, and whether they take one more VM. */
#ifndef VGPU_STORE_CAPACITY_H
#define VGPU_STORE_CAPACITY_H

#include "store/database.h"

int capacity_command(struct store_call *call, struct vgpu_err *err);

#endif
