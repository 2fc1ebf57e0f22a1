/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/client/workload_compare.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

static double number_at(const struct workload_array *array, const void *memory, uint64_t i)
{
    switch (array->type) {
    case WORKLOAD_F32:
    case WORKLOAD_TEXT_F32:
        return (double)((const float *)memory)[i];
    case WORKLOAD_F64:
        return ((const double *)memory)[i];
    case WORKLOAD_I64:
        return (double)((const int64_t *)memory)[i];
    case WORKLOAD_U32:
        return ((const uint32_t *)memory)[i];
    default:
        return ((const uint8_t *)memory)[i * workload_type_bytes(array->type)];
    }
}

static bool is_float(enum workload_type type)
{
    return type == WORKLOAD_F32 || type == WORKLOAD_TEXT_F32 || type == WORKLOAD_F64;
}

static bool same_bits(const struct workload_array *array, uint64_t i)
{
    size_t bytes = workload_type_bytes(array->type);

    return memcmp((const char *)array->host + i * bytes, (const char *)array->want + i * bytes,
                  bytes) == 0;
}

static bool agrees(const struct workload_array *array, uint64_t i, double relative, double absolute,
                   double *error)
{
    double got, want, difference;

    if (same_bits(array, i))
        return true;
    if (!is_float(array->type) || (relative <= 0 && absolute <= 0))
        return false;
    got = number_at(array, array->host, i);
    want = number_at(array, array->want, i);
    difference = fabs(got - want);
    /* The negation catches a NaN. */
    if (!(difference <= absolute + relative * fabs(want)))
        return false;
    if (fabs(want) > absolute && difference / fabs(want) > *error)
        *error = difference / fabs(want);
    return true;
}

int workload_compare(const struct workload_array *array, double relative, double absolute,
                     double *error, struct vgpu_err *err)
{
    uint64_t wrong = 0, first = 0;

    for (uint64_t i = 0; i < array->count; i++)
        if (!agrees(array, i, relative, absolute, error) && wrong++ == 0)
            first = i;
    if (wrong == 0)
        return 0;
    return vgpu_err_set(err, EBADMSG,
                        "%" PRIu64 " of %" PRIu64 " elements are wrong; the first, element %" PRIu64
                        ", is %.17g where the reference has %.17g",
                        wrong, array->count, first, number_at(array, array->host, first),
                        number_at(array, array->want, first));
}
