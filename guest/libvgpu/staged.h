/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies between ordinary memory and the device, in pieces through the data area: several pieces
 * are under way at once, so that the processor's copying and the device's overlap, and in a large
 * copy several threads copy (crew.h). Records are sent by the calling thread, in the order of the
 * pieces. Called by copy.c.
 */
#ifndef VGPU_LIBVGPU_STAGED_H
#define VGPU_LIBVGPU_STAGED_H

#include "guest/libvgpu/copy.h"

/* As CUDA, returns when all of the source was read. */
CUresult staged_upload(const struct copy_box *box);

/* Returns when all has arrived. */
CUresult staged_download(const struct copy_box *box);

#endif
