/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtual memory management: the guest's reservations of addresses, its memory without an address,
 * and what it mapped where. Only what is mapped and accessible is in the channel's ledger. None of
 * it is a context's, but all ends with the primary context, with which a driver may forget it.
 */
#ifndef VGPU_WORKER_VIRTUAL_H
#define VGPU_WORKER_VIRTUAL_H

#include <stdbool.h>
#include <stdint.h>

#include "cuda/cuda_abi.h"
#include "worker/ledger.h"

struct channel;
struct context;
struct item;

/* Counts against the quota until it is released and mapped nowhere. */
struct memory {
    struct memory *next;
    CUmemGenericAllocationHandle cu;
    uint32_t handle;
    uint64_t bytes;
    uint32_t maps;
    bool released;
};

struct virtual
{
    struct ledger reserved; /* ranges without an owner */
    struct ledger mapped;   /* RANGE_MAPPED, of a struct memory */
    struct memory *memories;
};

/* An unmap that has to wait: what it ends is out of the ledger from now on. */
void virtual_hide(struct channel *channel, const struct item *item);

/* True while a call that changes mappings runs beside the consumer. */
bool virtual_busy(const struct channel *channel);

/* The primary context ends, is idle, and nothing is busy: everything goes. */
void virtual_end(struct channel *channel);

/* Frees the worker's own memory. */
void virtual_free(struct channel *channel);

#endif
