/* SPDX-License-Identifier: Apache-2.0 */
/* What another program prints, with bounds on how much and how long. No shell is involved. */
#ifndef VGPU_ADMIN_CAPTURE_H
#define VGPU_ADMIN_CAPTURE_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct capture_limits {
    size_t bytes; /* one more is an error */
    uint64_t time_ns;
};

/*
 * Runs argv (NULL ends it; argv[0] is looked for in PATH) with nothing to read and its complaints
 * thrown away. *ret_text, what it printed, ends in a NUL that *ret_size does not count, and is for
 * free(). -ENOENT: there is no such program; -ETIMEDOUT, -E2BIG: it was killed; -EIO: it failed.
 */
int capture(const char *const *argv, const struct capture_limits *limits, char **ret_text,
            size_t *ret_size, struct vgpu_err *err);

#endif
