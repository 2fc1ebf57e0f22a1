/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A channel's memory, mapped: what the geometry must fulfil and where the parts lie. Called by the
 * local carrier's guest side; the object is checked to be sealed, so that it cannot shrink.
 */
#ifndef VGPU_CARRIER_MAPPING_H
#define VGPU_CARRIER_MAPPING_H

#include <stdbool.h>
#include <stddef.h>
#include <vgpu/ring.h>

#include "common/err.h"

struct channel_mapping {
    uint8_t *base;
    size_t bytes;
    struct vgpu_channel_geometry geometry; /* private copy, checked */
    struct vgpu_channel_page *page;
    uint8_t *submission;
    uint8_t *completion;
    uint8_t *data;
};

/* 0, or -EPROTO with the field that is wrong in err. */
int channel_geometry_check(const struct vgpu_channel_geometry *geometry, struct vgpu_err *err);

/*
 * Maps the object behind fd, which stays the caller's. Returns 0, -EPROTO if object or page do not
 * agree with the geometry, or what mmap answers.
 */
int channel_mapping_init(struct channel_mapping *mapping, int fd,
                         const struct vgpu_channel_geometry *geometry, struct vgpu_err *err);

/*
 * The same behind a device of the guest's driver, which answers for the memory itself: at `at` of
 * fd, and extra_bytes more behind the channel's.
 */
int channel_mapping_init_device(struct channel_mapping *mapping, int fd, uint64_t at,
                                const struct vgpu_channel_geometry *geometry, uint64_t extra_bytes,
                                struct vgpu_err *err);

/* Takes [address, address + bytes) without access, if all of it is free. Whole pages. */
bool mapping_take_free(uint64_t address, uint64_t bytes);

/*
 * Moves the data area to address, a whole page. Nobody may use it meanwhile. Returns 0, -EEXIST if
 * something lies there, or what mremap answers; then the data area is where it was.
 */
int channel_mapping_move_data(struct channel_mapping *mapping, uint64_t address);
void channel_mapping_release(struct channel_mapping *mapping);

#endif
