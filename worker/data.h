/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data area for the driver: page-locked in segments, the first at the start, others when they
 * are first used, so that copies are asynchronous. A segment that the driver refuses stays as it
 * is; copies then block in the driver, but work.
 */
#ifndef VGPU_WORKER_DATA_H
#define VGPU_WORKER_DATA_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "cuda/cuda_abi.h"

struct channel;

enum segment_state { SEGMENT_PLAIN, SEGMENT_LOCKED, SEGMENT_REFUSED };

struct data_area {
    pthread_mutex_t lock; /* helpers lock segments too */
    uint8_t *segments;    /* enum segment_state each */
    uint64_t count;
};

int data_init(struct channel *channel);
void data_free(struct channel *channel);

/* Locks what the first copies use, so that they need not wait for it. */
void data_prepare(struct channel *channel);

/* Locks the segments of [offset, offset + bytes). The primary context must live. */
void data_lock(struct channel *channel, uint64_t offset, uint64_t bytes);

/* The same, and the address at which the device sees it. */
CUresult data_map(struct channel *channel, uint64_t offset, uint64_t bytes,
                  CUdeviceptr *ret_address);

/* The primary context was reset: nothing is locked any more. */
void data_forget(struct channel *channel);

/*
 * How far one call to the driver may go from an address of the device, or of this process: to the
 * end of its segment if it lies in the data area, as each is locked apart; else UINT64_MAX.
 */
uint64_t data_reach(const struct channel *channel, uint64_t address);

#endif
