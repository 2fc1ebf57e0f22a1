/* SPDX-License-Identifier: Apache-2.0 */
/* Copying between the program's memory and the data area, by the processor. */
#ifndef VGPU_LIBVGPU_STREAM_ROWS_H
#define VGPU_LIBVGPU_STREAM_ROWS_H

#include <stdint.h>

/* Rows of width bytes, pitch bytes apart. */
void copy_rows(uint8_t *target, uint64_t target_pitch, const uint8_t *source, uint64_t source_pitch,
               uint64_t width, uint64_t rows);

/*
 * The same, past the caches where the processor can: for a target so large that it would only
 * displace what is of use there. The two must not overlap.
 */
void stream_rows(uint8_t *target, uint64_t target_pitch, const uint8_t *source,
                 uint64_t source_pitch, uint64_t width, uint64_t rows);

#endif
