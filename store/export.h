/* SPDX-License-Identifier: Apache-2.0 */
/* The whole configuration as one object: what administrators want, without history and state. */
#ifndef VGPU_STORE_EXPORT_H
#define VGPU_STORE_EXPORT_H

#include "store/database.h"

int export_command(struct store_call *call, struct vgpu_err *err);

#endif
