/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The accounts page: what a mediator must know again after it was killed. Only the mediator writes
 * it, the launcher holds it. One slot per VM and GPU, one per VM, and one per GPU.
 *
 * A slot has two copies of its record; the one that `current` names is whole, whenever the mediator
 * dies. Called by lease.c, fault.c and mediator.c.
 */
#ifndef VGPU_MEDIATOR_ACCOUNTS_H
#define VGPU_MEDIATOR_ACCOUNTS_H

#include <stdint.h>

#include "common/err.h"
#include "sched/account.h"

#define ACCOUNTS_LAYOUT 1u
#define ACCOUNTS_OF_VM  UINT32_MAX /* in place of a GPU: what is the VM's on all of them */
#define ACCOUNTS_OF_GPU UINT32_MAX /* in place of a VM: what is the GPU's */

struct accounts_record {
    struct sched_account sched;
    /* Of channels that have ended; what the workers said, for show only. */
    uint64_t jobs_done, jobs_failed, jobs_refused, wait_ns;
    /* Of the slot ACCOUNTS_OF_VM: faults that the store has not answered yet; fault.c. */
    uint64_t unstored_faults, fault_time_s;
    union {
        uint64_t fault_serial;
        uint64_t gpu_errors; /* of the slot ACCOUNTS_OF_GPU: health_errors() */
    };
};
_Static_assert(sizeof(struct accounts_record) == 120, "struct accounts_record is 120 bytes");

struct accounts_slot {
    uint32_t vm_id; /* 0: free */
    uint32_t gpu_id;
    uint64_t current; /* index of the record that is valid */
    struct accounts_record records[2];
};
_Static_assert(sizeof(struct accounts_slot) == 256, "struct accounts_slot is 256 bytes");

struct accounts_page {
    uint32_t magic, layout, used, reserved; /* used: slots that were ever taken */
    uint64_t id;                            /* another one for each page; never 0 */
    uint64_t reserved_too[29];
    struct accounts_slot slots[];
};
_Static_assert(sizeof(struct accounts_page) == 256, "the page's head is 256 bytes");

struct accounts {
    struct accounts_page *page; /* NULL: nothing is kept */
    uint32_t max;
};

/* Maps the page and, if it is new or of another layout, makes it empty. fd stays the caller's. */
int accounts_init(struct accounts *accounts, int fd, struct vgpu_err *err);
void accounts_release(struct accounts *accounts);

/* The slot of a VM on a GPU, made if need be. NULL: there is no page, or it is full. */
struct accounts_slot *accounts_slot(struct accounts *accounts, uint32_t vm_id, uint32_t gpu_id);
/* Forgets all slots of a VM that was removed. */
void accounts_forget(struct accounts *accounts, uint32_t vm_id);

void accounts_load(const struct accounts_slot *slot, struct accounts_record *ret);
void accounts_save(struct accounts_slot *slot, const struct accounts_record *record);

#endif
