/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private copies of what the guest sends by reference, and what a module image is.
 *
 * The driver is given images without a length: it believes their headers. image_check() follows
 * what headers claim and refuses what leaves the image; behind the copy lies a page that faults.
 */
#ifndef VGPU_WORKER_BLOB_H
#define VGPU_WORKER_BLOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct channel;
struct item;

/* A copy that lives as long as the item, with a NUL behind. 0 or -ENOMEM. */
int blob_copy(struct channel *channel, struct item *item, const void *bytes, size_t size,
              bool guarded, const void **ret_copy);

enum image_kind { IMAGE_BAD, IMAGE_PTX, IMAGE_ELF, IMAGE_FATBIN };

/* What the image is, if all that its headers claim lies within size bytes. A NUL lies behind it. */
enum image_kind image_check(const void *image, size_t size);

/* True if its kernels may print. Compressed images are taken to. */
bool image_may_print(const void *image, size_t size, enum image_kind kind);

#endif
