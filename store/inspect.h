/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks at a database without changing it, also while another program has it: for vgpu-admin
 * doctor. store.h is for all other uses.
 */
#ifndef VGPU_STORE_INSPECT_H
#define VGPU_STORE_INSPECT_H

#include "store/lock.h"
#include "store/store.h"

struct store_report {
    char holder[STORE_LOCK_HOLDER_BYTES]; /* who has it open; "": nobody */
    int schema_version;                   /* 0: an empty file */
    int64_t dangling;                     /* rows that name what does not exist */
    json_t *snapshot; /* as store_snapshot()'s; NULL where the schema is of another version */
};

/*
 * Errors are those of store_open(); ret_report is filled as far as known even then. Its snapshot is
 * the caller's.
 */
int store_inspect(const char *path, struct store_report *ret_report, struct vgpu_err *err);

#endif
