/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which part of a guest's window a new channel gets, and how large a data area is by default.
 * Called by vm.c when a channel is opened over the window carrier. Pure: what is taken is an
 * argument, as it follows from the VM's channels.
 *
 * A place starts at a multiple of WINDOW_STEP_BYTES, and no two that live overlap.
 */
#ifndef VGPU_MEDIATOR_WINDOW_H
#define VGPU_MEDIATOR_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#define WINDOW_STEP_BYTES (UINT64_C(2) << 20) /* a large page of both sides' page tables */

struct window_part {
    uint64_t offset, bytes;
};

/* The first place of `bytes` beside the n that are taken; in any order. False: there is none. */
bool window_place(uint64_t window_bytes, const struct window_part *taken, unsigned n,
                  uint64_t bytes, uint64_t *ret_offset);

/*
 * The data area of a channel that asks for none in particular, with `head_bytes` of page and rings
 * before it: what lets eight channels share the window, but at least 1 MiB and at most `most`.
 */
uint64_t window_default_data_bytes(uint64_t window_bytes, uint64_t head_bytes, uint64_t most);

/* A place as OPENED and struct vgpu_launch_keep tell it; 0 there means none. */
uint32_t window_encode(uint64_t offset);
uint64_t window_decode(uint32_t window);

#endif
