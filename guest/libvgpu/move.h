/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Moves the program's own memory, under the same address, onto pages of the data area and back:
 * how cuMemHostRegister makes memory that exists already page-locked. Whole pages of private
 * anonymous memory only, and not the stack: anything else would take memory along that is not the
 * caller's, or change what a file or another process sees.
 */
#ifndef VGPU_LIBVGPU_MOVE_H
#define VGPU_LIBVGPU_MOVE_H

#include <stdbool.h>
#include <stdint.h>

/* The file behind the data area, where a mapping cannot be moved; fd -1: it can. */
struct move_file {
    int fd;
    uint64_t offset;
};

/* True if [start, start + bytes) may be moved. Reads /proc/self/maps. */
bool move_allowed(uint64_t start, uint64_t bytes);

/*
 * The range's contents go to area, a page-aligned part of the data area, which from then on also
 * lies at start. What other threads write there meanwhile may be lost. 0 or -errno.
 */
int move_in(uint64_t start, uint64_t bytes, void *area, const struct move_file *file);

/* Back onto private memory, contents kept. 0 or -errno. */
int move_out(uint64_t start, uint64_t bytes);

#endif
