/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A set of pages that a guest has granted: its directory, parsed as what an enemy wrote, and the
 * mapping of the pages. Called by the worker for a channel and by vgpu-xenbus for control pages;
 * docs/spec/grant.md has the rules.
 *
 * Each granted page is copied once and judged as copied. When a set is mapped, or is not, nothing
 * of its directory and tables is mapped any more.
 */
#ifndef VGPU_CARRIER_GRANT_H
#define VGPU_CARRIER_GRANT_H

#include <vgpu/grant.h>

#include "carrier/grant_ops.h"
#include "common/err.h"

struct grant_set {
    int memory; /* of the device that maps; the caller's */
    uint32_t domid;
    uint32_t directory; /* its reference */
    uint32_t pages;     /* that the directory must have; 1 to VGPU_GRANT_MAX_PAGES */
};

/* A copy of the directory that `reference` named. 0, or -EPROTO with what is wrong. */
int grant_directory_check(const struct vgpu_grant_directory *directory, uint32_t reference,
                          uint32_t pages, struct vgpu_err *err);
/* A copy of a table, of which `used` entries are in use: likewise. */
int grant_table_check(const struct vgpu_grant_table *table, uint32_t used, struct vgpu_err *err);

/*
 * Maps the set for reading and writing, at `at` or anywhere (NULL). 0; -EPROTO for what the guest
 * wrote; -EINVAL and others for what cannot be mapped.
 */
int grant_map_set(const struct grant_ops *ops, const struct grant_set *set, void *at,
                  struct grant_map *ret, struct vgpu_err *err);

#endif
