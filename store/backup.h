/* SPDX-License-Identifier: Apache-2.0 */
/* The copy of a database that is made before an upgrade. */
#ifndef VGPU_STORE_BACKUP_H
#define VGPU_STORE_BACKUP_H

#include "common/err.h"

/*
 * Copies the database to `<path>.v<version>.bak`, or `.bak.1` and so on if that is taken; never
 * over another file. The copy is on disk when this returns. *ret_path is the caller's to free. The
 * caller keeps writers out.
 */
int backup_make(const char *path, int version, char **ret_path, struct vgpu_err *err);

#endif
