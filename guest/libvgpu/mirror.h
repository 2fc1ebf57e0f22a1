/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mirrored channel (VGPU_CHANNEL_MIRRORED): the device copies between this memory and the
 * worker's. The library asks for the way there with a transfer before the record that needs the
 * bytes; the way back comes by itself. Without a mirror the functions do nothing.
 *
 * A transfer that was pushed before a record was published is done before the record is relayed:
 * the device looks at the ring first, and at the transfers then.
 */
#ifndef VGPU_LIBVGPU_MIRROR_H
#define VGPU_LIBVGPU_MIRROR_H

#include <pthread.h>
#include <stdbool.h>
#include <vgpu/pci_regs.h>

#include "cuda/cuda_abi.h"

struct sender;

struct mirror {
    struct vgpu_transfer_page *page;
    uint8_t *populated;        /* a bit for each block of the data area; data_lock */
    pthread_mutex_t push_lock; /* held while waiting for room, too */
    uint32_t head;
    pthread_mutex_t expected_lock; /* what follows; taken where completions are */
    /* What posted copies will bring to page-locked memory: it must not be uploaded before. */
    struct vgpu_slice *expected;
    size_t expected_count, expected_room;
};

/* Makes the sender, which a device has, a mirrored one. 0 or -ENOMEM. */
int mirror_init(struct sender *sender, struct vgpu_transfer_page *page);
void mirror_release(struct sender *sender);

/* The rows of a rectangle of the data area, pitch bytes apart, to the worker's side. */
void mirror_upload_rows(struct sender *sender, uint64_t offset, uint64_t row_bytes,
                        uint64_t pitch_bytes, uint64_t rows);
void mirror_upload(struct sender *sender, uint64_t offset, uint64_t bytes);

/*
 * A copy into this part of the data area is about to be posted: noted until the device tells that
 * it was brought (VGPU_COMPLETION_WRITTEN). CUDA_ERROR_OUT_OF_MEMORY if it cannot be.
 */
CUresult mirror_expect(struct sender *sender, uint64_t offset, uint64_t bytes);
/* It was brought, or was not posted in the end. */
void mirror_expect_no_more(struct sender *sender, uint64_t offset);
/* True if a posted copy is yet to write there. */
bool mirror_is_expected(struct sender *sender, uint64_t offset, uint64_t bytes);

/* Memory for a part of the data area, with data_lock held. False: there is none. */
bool mirror_populate_locked(struct sender *sender, uint64_t offset, uint64_t bytes);

#endif
