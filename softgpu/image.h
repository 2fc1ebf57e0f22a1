/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A module image, in any of the forms that a program may pass: PTX text, a fatbinary container,
 * what cuLinkComplete returned. Its result is the PTX texts to compile together. Images come
 * without a length, so each form is bounded by what it says of itself and by a maximum.
 */
#ifndef SOFTGPU_IMAGE_H
#define SOFTGPU_IMAGE_H

#include "cuda/cuda_abi.h"
#include "softgpu/fatbin.h"
#include "softgpu/ptx/ptx.h"

struct image {
    struct ptx_source sources[PTX_MAX_SOURCES];
    size_t n_sources;
    char *owned[PTX_MAX_SOURCES]; /* texts that image_release frees */
    size_t n_owned;
    uint32_t sm;       /* .target of the newest text */
    char problem[128]; /* why it was refused, for the error log; empty if there is no more to say */
};

/*
 * Reads an image of at most limit bytes; without a limit pass SIZE_MAX. What is refused:
 * INVALID_IMAGE, INVALID_PTX, NO_BINARY_FOR_GPU, UNSUPPORTED_PTX_VERSION, OUT_OF_MEMORY. The image
 * is to be released in any case. It may point into data.
 */
CUresult image_read(struct image *image, const void *data, size_t limit);

/* PTX text of known size, for cuLinkAddData. */
CUresult image_read_ptx(struct image *image, const char *name, const char *text, size_t size_bytes);

/*
 * Reads a whole file, at most FATBIN_MAX_BYTES, into memory that the caller frees; a NUL follows.
 * FILE_NOT_FOUND, INVALID_IMAGE (too large, not a regular file) or OUT_OF_MEMORY.
 */
CUresult image_read_file(const char *path, char **ret_data, size_t *ret_bytes);

/* The container that a fatbinary's wrapper points to; anything else as it is. */
const void *image_unwrap(const void *data);

void image_release(struct image *image);

#endif
