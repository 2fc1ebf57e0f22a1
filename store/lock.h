/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lock beside the database: `<database>.lock`, held by flock() for as long as a store is open.
 * The file says who holds it, and stays when it is released: removing it would race.
 */
#ifndef VGPU_STORE_LOCK_H
#define VGPU_STORE_LOCK_H

#include "common/err.h"

#define STORE_LOCK_HOLDER_BYTES 128

struct store_lock {
    int fd; /* -1: nothing is held */
};

/* Waits for at most wait_ms for another holder; -EBUSY then names it. */
int store_lock_take(struct store_lock *lock, const char *database_path, const char *holder,
                    unsigned wait_ms, struct vgpu_err *err);
/* Who holds the lock, as it wrote it; "" if nobody does. Nothing is changed. */
int store_lock_holder(const char *database_path, char ret_holder[STORE_LOCK_HOLDER_BYTES],
                      struct vgpu_err *err);
void store_lock_release(struct store_lock *lock);

#endif
