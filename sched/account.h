/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a restarted mediator needs to know of one VM's standing on one GPU.
 *
 * The mediator keeps an array of these in the accounts page, which only it writes and the launcher
 * holds while the mediator is away. sched_vm_save() fills one, sched_vm_load() takes one back. The
 * standing is relative (lag_ns), so that a new scheduler can start its virtual time anywhere.
 * Little-endian, natural alignment, reserved fields zero. A record whose version is 0 is empty.
 */
#ifndef VGPU_SCHED_ACCOUNT_H
#define VGPU_SCHED_ACCOUNT_H

#include <stdint.h>

#define SCHED_ACCOUNT_VERSION 1

struct sched_account {
    uint32_t version;        /* SCHED_ACCOUNT_VERSION; 0: empty */
    uint32_t state;          /* enum lease_state at the time of saving */
    uint64_t tag;            /* sched_vm_params.tag: the caller's own id of the VM */
    uint64_t charged_ns;     /* GPU time charged to the VM on this GPU, ever */
    int64_t lag_ns;          /* GPU time owed to the VM (+) or owed by it (-) when saved */
    uint64_t saved_ns;       /* CLOCK_MONOTONIC when saved */
    uint64_t lease_since_ns; /* when the lease was granted; 0 where it has none */
    uint64_t jobs;           /* jobs charged, ever */
    uint64_t reserved;       /* 0 */
};

_Static_assert(sizeof(struct sched_account) == 64, "struct sched_account is 64 bytes");

#endif
