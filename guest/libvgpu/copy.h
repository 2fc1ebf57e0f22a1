/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies: a box of width x height x depth bytes between two sides, each a device address,
 * page-locked memory, or ordinary memory, which is staged through the data area in chunks. A copy
 * of bytes is a box of height and depth 1.
 */
#ifndef VGPU_LIBVGPU_COPY_H
#define VGPU_LIBVGPU_COPY_H

#include "guest/libvgpu/guest.h"

enum copy_place {
    COPY_DEVICE,
    COPY_PINNED,   /* in the data area */
    COPY_PAGEABLE, /* anywhere else in the program */
};

struct copy_side {
    enum copy_place place;
    bool registered;     /* COPY_PAGEABLE: the program page-locked it itself */
    uint64_t address;    /* of the first byte; device or host address */
    uint64_t area;       /* COPY_PINNED: its offset in the data area */
    uint64_t pitch;      /* from row to row */
    uint64_t slice_rows; /* from slice to slice */
};

struct copy_box {
    uint64_t width, height, depth; /* all > 0 */
    struct copy_side target, source;
    uint32_t stream;
    bool async;
};

/* What kind of address it is; unified: device addresses are recognised, else it is host memory. */
struct copy_side copy_side_host(const void *address);
struct copy_side copy_side_device(CUdeviceptr address);
struct copy_side copy_side_unified(CUdeviceptr address);

/* Bytes from the first of a side to the first of row y of slice z. */
uint64_t copy_row_offset(const struct copy_side *side, uint64_t y, uint64_t z);

/* Waits until the stream is idle. */
CUresult copy_settle(uint32_t stream);

/* The record of a copy: sizes, slice_rows and stream are the box's, the rest is given. */
CUresult copy_send(const struct copy_box *box, struct vgpu_place target, uint64_t target_pitch,
                   struct vgpu_place source, uint64_t source_pitch, uint16_t flags);

/*
 * Carries it out as far as CUDA does before its function returns. CUDA_ERROR_INVALID_VALUE if a
 * device side lies outside of the program's memory.
 */
CUresult copy_run(struct copy_box *box);

#endif
