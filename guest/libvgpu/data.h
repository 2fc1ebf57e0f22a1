/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The channel's data area, shared out: staging for copies of pageable memory, blobs that are too
 * large for a record, and page-locked memory. Staging has a budget of its own that the rest cannot
 * use up, and eager staging (whose stream may be blocked on another thread) only half of that, so
 * that the other thread's copies still get through.
 */
#ifndef VGPU_LIBVGPU_DATA_H
#define VGPU_LIBVGPU_DATA_H

#include "guest/libvgpu/channel.h"
#include "guest/libvgpu/move.h"

int data_init(struct sender *sender);
void data_release(struct sender *sender);

enum staging_use {
    STAGING_UPLOAD, /* given back by itself when its ticket is done */
    STAGING_EAGER,  /* the taker gives it back; its stream may be blocked */
    STAGING_PROVED  /* the same, and the stream was idle a moment ago */
};

/* A part of at most sender->chunk_bytes, or NULL if there is none now. */
struct staging_slot *staging_try(struct sender *sender, uint64_t bytes, enum staging_use use);

/*
 * The same, waiting for one; not with STAGING_EAGER, and not while holding any that was not sent:
 * others wait as well. NULL: see staging_refused().
 */
struct staging_slot *staging_take(struct sender *sender, uint64_t bytes, enum staging_use use);

/* Why there was none: the channel is gone, or the guest is short of memory. */
CUresult staging_refused(struct sender *sender);

/* After an upload's record was sent: the slot comes back by itself. */
void staging_sent(struct sender *sender, struct staging_slot *slot);

/* Gives a part back whose ticket is done, or that was never sent. */
void staging_give(struct sender *sender, struct staging_slot *slot);

static inline uint8_t *staging_data(struct sender *sender, const struct staging_slot *slot)
{
    return sender->map.data + slot->offset;
}

/* A blob's place. Waits while others will give back; CUDA_ERROR_OUT_OF_MEMORY if none will fit. */
CUresult data_take(struct sender *sender, uint64_t bytes, uint64_t *ret_offset);
void data_give(struct sender *sender, uint64_t offset, uint64_t bytes);

/* Gives back when the record `seq` was issued. */
void data_give_when_issued(struct sender *sender, uint64_t seq, uint64_t offset, uint64_t bytes);

/* What page-locked memory of that size takes up. */
uint64_t data_host_bytes(uint64_t bytes);

/* Page-locked memory; page-aligned, and rounded up to whole pages in both. */
CUresult data_take_host(struct sender *sender, uint64_t bytes, uint64_t *ret_offset);
void data_give_host(struct sender *sender, uint64_t offset, uint64_t bytes);

/* Where a part of the data area can be mapped once more. */
struct move_file data_file(const struct sender *sender, uint64_t offset);

#endif
