/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One vector addition as a record in a channel's ring, and its answer: what the job
 * window says to a worker. Called by job.c, which has the registers; without QEMU, so
 * that our tests build it.
 */
#ifndef HW_MISC_VGPU_JOB_RING_H
#define HW_MISC_VGPU_JOB_RING_H

#include <vgpu/pci_regs.h>
#include "channel.h"
#include "ring/ring.h"

/* Rings that take the largest job and its answer. */
#define VGPU_JOB_GRANULES 256u

/* The op job_vector_add of cuda.spec, whose generated header is not here; a test compares
 * them. */
#define VGPU_JOB_OP 0x0110u
struct vgpu_job_record {
    struct vgpu_record head;
    uint32_t count;
    uint32_t reserved;
    struct vgpu_blob a;
    struct vgpu_blob b;
};
VGPU_ASSERT_SIZE(struct vgpu_job_record, 72);

struct vgpu_job_reply {
    struct vgpu_completion head;
    struct vgpu_blob sum;
};
VGPU_ASSERT_SIZE(struct vgpu_job_reply, 56);

typedef struct VGPUJobAnswer {
    uint32_t status; /* enum vgpu_status */
    int32_t result;  /* CUresult */
    uint64_t wait_ns;
    uint64_t run_ns;
    uint32_t sum[VGPU_JOB_ELEMENTS]; /* zeros unless the job was done */
} VGPUJobAnswer;

/* Both ends of a channel that nobody else uses; one job at a time. */
typedef struct VGPUJobRing {
    struct ring_producer submit;
    struct ring_consumer complete;
    uint64_t seq;
    uint32_t count;
} VGPUJobRing;

typedef enum VGPUJobTake {
    VGPU_JOB_SLEEP,   /* none yet; the worker kicks when it has something */
    VGPU_JOB_AGAIN,   /* none yet, but there may be more: look again soon */
    VGPU_JOB_ANSWER,  /* *ret is filled */
    VGPU_JOB_NONSENSE /* the worker wrote what is no answer */
} VGPUJobTake;

/* The channel stays the caller's and outlives the ring. */
void vgpu_job_ring_init(VGPUJobRing *ring, const VGPUChannel *channel);

/* count: 1 to VGPU_JOB_ELEMENTS. 0 or -errno of ring_reserve; *ret_kick: the worker
 * sleeps. */
int vgpu_job_ring_submit(VGPUJobRing *ring, uint32_t count, const uint32_t *a,
                         const uint32_t *b, bool *ret_kick);

/* A bounded look for the answer of what was submitted last. */
VGPUJobTake vgpu_job_ring_take(VGPUJobRing *ring, VGPUJobAnswer *ret, bool *ret_kick);

#endif
