/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device addresses that belong to the channel: allocations, those of pools, globals of modules,
 * accessible mappings, page-locked parts of the data area that the device sees. An address that
 * lies in none never reaches the driver. Ranges do not overlap, are sorted, and are found by
 * bisection.
 */
#ifndef VGPU_WORKER_LEDGER_H
#define VGPU_WORKER_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum range_kind { RANGE_ALLOCATION, RANGE_GLOBAL, RANGE_HOST, RANGE_POOL, RANGE_MAPPED };

struct pool;

struct ledger_range {
    uint64_t address;
    uint64_t bytes;
    enum range_kind kind;
    const void *owner; /* a context, a module, or a mapping's memory */
    struct pool *pool; /* of a RANGE_POOL */
    bool busy;         /* of a mapping (virtual.h) */
};

struct ledger {
    struct ledger_range *ranges;
    size_t count, room;
    uint64_t removals; /* grows when ranges go, or could have gone */
};

/* What an allocation counts as: whole grains, as the driver gives them. */
uint64_t ledger_counted(const struct ledger_range *range);

/* Returns 0; -EEXIST if it overlaps another; -ENOSPC over the maximum; -EINVAL if it wraps. */
int ledger_add(struct ledger *ledger, const struct ledger_range *range);

/*
 * The range that holds all of [address, address + bytes), or the first of several RANGE_MAPPED side
 * by side that do; else NULL.
 */
const struct ledger_range *ledger_find(const struct ledger *ledger, uint64_t address,
                                       uint64_t bytes);

/* True if any byte of [address, address + bytes) is in it. */
bool ledger_touches(const struct ledger *ledger, uint64_t address, uint64_t bytes);

/* Takes the range of that kind out that starts at address. False if there is none. */
bool ledger_remove(struct ledger *ledger, uint64_t address, enum range_kind kind,
                   struct ledger_range *ret_range);

/* Takes out all of an owner but what is of pools; returns what its allocations count as. */
uint64_t ledger_remove_owner(struct ledger *ledger, const void *owner);

void ledger_free(struct ledger *ledger);

#endif
