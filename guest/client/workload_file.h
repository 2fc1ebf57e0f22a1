/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Input and output files of workloads: raw little-endian arrays, decimal text, digests as lines.
 * Called by workload.c and workload_sha256.c. Files are at most WORKLOAD_MAX_FILE_BYTES.
 */
#ifndef VGPU_GUEST_CLIENT_WORKLOAD_FILE_H
#define VGPU_GUEST_CLIENT_WORKLOAD_FILE_H

#include <stdio.h>

#include "guest/client/workload_job.h"

#define WORKLOAD_MAX_FILE_BYTES (UINT64_C(1) << 30)

/* The whole file, with 8 zero bytes behind it; the caller frees *ret_data. -EFBIG over max_bytes.
 */
int workload_file_read(const char *path, uint64_t max_bytes, char **ret_data, uint64_t *ret_bytes,
                       struct vgpu_err *err);

/*
 * Decimal numbers, separated by white space or commas, into a new array of floats. -EINVAL for
 * anything else, for none at all, and for what a float cannot hold; the text names the place.
 */
int workload_text_parse(const char *text, uint64_t bytes, float **ret_values, uint64_t *ret_count,
                        struct vgpu_err *err);

/* Reads a file as an array of array->type: sets host and count. */
int workload_array_read(const char *path, struct workload_array *array, struct vgpu_err *err);

/* Appends the array's host memory to file in its format. */
int workload_array_write(FILE *file, const struct workload_array *array);

#endif
