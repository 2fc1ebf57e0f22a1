/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults of VMs: counted within a window, written to the store, and at a threshold the VM is
 * quarantined. What is the host's own failure is no fault of a VM: whoever calls fault_note() has
 * made sure of that.
 *
 * The store is never waited for. A quarantine is in force here at once, and stays so whatever the
 * store's snapshots say until the store has answered; what it has not answered yet is also in the
 * accounts page, where the next mediator finds it.
 */
#ifndef VGPU_MEDIATOR_FAULT_H
#define VGPU_MEDIATOR_FAULT_H

#include <stdbool.h>
#include <stdint.h>

struct mediator;
struct vm;
struct faults;

enum fault_kind {
    FAULT_TIMEOUT, /* a job ran for too long */
    FAULT_KEPT,    /* a worker did not give the GPU back */
    FAULT_OVERRUN, /* a job overran its turn beside another that did */
    FAULT_GPU,     /* a kernel's error: an illegal address, an assertion, a failed launch */
    FAULT_RING,    /* a record that no library of ours writes */
    FAULT_BUDGET,  /* a worker that took more than it was granted */
    FAULT_QUOTA,   /* more GPU memory than the VM may have */
    FAULT_CRASH,   /* a worker that died of itself */
    FAULT_STRAY,   /* a worker that used the GPU without its turn */
    FAULT_N_KINDS
};

/* As the store and the log have it. */
const char *fault_kind_name(enum fault_kind kind);

/* One fault of the VM, now. */
void fault_note(struct vm *vm, enum fault_kind kind, const char *text);

/* Faults that count now. */
unsigned faults_counted(const struct vm *vm);

/* The VM's configuration has changed, or came first: what was forgiven is forgotten. */
void faults_configured(struct vm *vm, bool first);
/* The accounts page is there: takes up what an earlier mediator could not tell the store. */
void faults_recover(struct vm *vm);
void faults_free(struct vm *vm);

#endif
