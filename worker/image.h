/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much device memory a module is expected to take, from its image alone: code and variables.
 * Called before the driver has it, on what image_check() (blob.h) has passed.
 *
 * It is a prediction: the JIT's code is taken to be as long as its text, and of a compressed entry
 * of a fatbin only the length is known. What a module takes beyond it shows in NVML.
 */
#ifndef VGPU_WORKER_IMAGE_H
#define VGPU_WORKER_IMAGE_H

#include "worker/blob.h"

/* Rounded up to what allocations are; a pebibyte if it is that or more. */
uint64_t image_device_bytes(const void *image, size_t size, enum image_kind kind);

/* Bytes of the variables that a PTX text declares in global and constant memory. */
uint64_t image_ptx_variables(const char *text, size_t size);

#endif
