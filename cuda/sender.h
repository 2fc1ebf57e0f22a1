/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the generated encoders (cuda_send.c) ask of the guest library: room for a record, a place
 * for its blobs, publication, and the wait for its answer. Implemented by guest/libvgpu/sender.c.
 *
 * Order: sender_begin, sender_blob for each blob, sender_reserve (takes the submission lock and
 * fills in the head and zeroes the rest), sender_commit (publishes, unlocks, waits if the record
 * waits), sender_end (waiting records only).
 */
#ifndef VGPU_CUDA_SENDER_H
#define VGPU_CUDA_SENDER_H

#include <stdbool.h>
#include <vgpu/ring.h>

#include "cuda/cuda_abi.h"

struct sender; /* the guest library's side of a channel */

#define SENDER_MAX_BLOBS 4

/* What cuda.spec says of an op, in the flags of sender_begin beside VGPU_RECORD_*; not sent. */
#define SENDER_JOB    0x8000u /* counts against the credit */
#define SENDER_REPORT 0x4000u /* its answer carries the first error of posted calls */
#define SENDER_QUERY  0x2000u /* leaves nothing behind that a later call could wait for */

struct sender_wait {
    struct sender *sender;
    uint16_t op;
    uint16_t flags;
    uint32_t fixed_bytes;
    uint32_t inline_bytes; /* of the blobs that go into the record */
    uint32_t n_blobs;
    struct vgpu_blob placed[SENDER_MAX_BLOBS];
    const void *data[SENDER_MAX_BLOBS];
    uint8_t *record; /* while reserved */
    uint64_t seq;
    const uint8_t *answer; /* struct vgpu_completion and what follows; NULL: none came */
    uint32_t answer_bytes;
    void *private_state; /* the library's */
    uint64_t began_ns;   /* 0: this record is not timed */
    uint64_t waited_ns;  /* for room or credit */
};

CUresult sender_begin(struct sender *sender, struct sender_wait *wait, uint16_t op, uint16_t flags,
                      uint32_t fixed_bytes);

/* Plans for a blob: inline while the record stays small, else copied to the data area now. */
CUresult sender_blob(struct sender_wait *wait, const void *data, uint32_t bytes);

CUresult sender_reserve(struct sender_wait *wait, void **ret_record);

/* Where blob number `index` was put; valid after sender_reserve. */
const struct vgpu_blob *sender_placed(const struct sender_wait *wait, uint32_t index);

/* The answer's CUresult, or CUDA_SUCCESS for a posted record. */
CUresult sender_commit(struct sender_wait *wait);

/* Copies a blob of the answer out; false if it lies outside of it or is larger than most. */
bool sender_answer_blob(const struct sender_wait *wait, const struct vgpu_blob *blob, void *target,
                        uint32_t most, uint32_t *ret_bytes);

void sender_end(struct sender_wait *wait);

#endif
