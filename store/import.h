/* SPDX-License-Identifier: Apache-2.0 */
/* Brings the configuration to what an exported one says, in one transaction. */
#ifndef VGPU_STORE_IMPORT_H
#define VGPU_STORE_IMPORT_H

#include "store/database.h"

int import_command(struct store_call *call, struct vgpu_err *err);

#endif
