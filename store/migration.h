/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Schemas: recognises what a database holds, and brings it to STORE_SCHEMA_VERSION.
 *
 * Migrations are numbered by the version that they lead to and run in that order within the
 * caller's transaction. A new database takes the same way as an old one, so that both end with the
 * same schema, to the letter.
 */
#ifndef VGPU_STORE_MIGRATION_H
#define VGPU_STORE_MIGRATION_H

#include "store/database.h"

#define MIGRATION_PHASE2 2 /* the version that a Phase 2 database counts as */

/*
 * *ret_version: 0 for an empty database, MIGRATION_PHASE2, or what our own databases say. -EPROTO
 * for all else: another program's database, a later version, tables that are not understood.
 */
int migration_recognise(sqlite3 *db, int *ret_version, struct vgpu_err *err);

/* Runs the migrations after `from`; call it inside a transaction with foreign keys off. */
int migration_run(struct store *store, int from, struct vgpu_err *err);

#endif
