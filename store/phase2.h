/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Databases of Phase 2: a table of pools and a table of VMs. The spellings of tables, columns and
 * values that are understood are in vgpu-store(5); all else is refused, and reading changes
 * nothing.
 */
#ifndef VGPU_STORE_PHASE2_H
#define VGPU_STORE_PHASE2_H

#include "store/database.h"

struct phase2;

/* Reads and checks everything. -EPROTO: what is not understood, with its table and column or row.
 */
int phase2_read(sqlite3 *db, struct phase2 **ret_content, struct vgpu_err *err);
void phase2_free(struct phase2 *content);

/* Drops the tables that were read. */
int phase2_drop(sqlite3 *db, const struct phase2 *content, struct vgpu_err *err);

/* Inserts what was read into the tables of version 3. */
int phase2_import(struct store *store, const struct phase2 *content, struct vgpu_err *err);

#endif
