/* SPDX-License-Identifier: Apache-2.0 */
/* Compares what the device computed with the reference. Called by workload.c and its tests. */
#ifndef VGPU_GUEST_CLIENT_WORKLOAD_COMPARE_H
#define VGPU_GUEST_CLIENT_WORKLOAD_COMPARE_H

#include "guest/client/workload_job.h"

/*
 * Each element of array->host against array->want: |got - want| may be absolute + relative *
 * |want|, and a NaN never passes; integers, digests, and floats where both tolerances are 0, bit
 * for bit. Raises *error to the largest relative difference seen. -EBADMSG names the first element
 * that differs and how many do.
 */
int workload_compare(const struct workload_array *array, double relative, double absolute,
                     double *error, struct vgpu_err *err);

#endif
