/* SPDX-License-Identifier: Apache-2.0 */
/* Runs another program and reads what it prints, within a time: programs that may hang. */
#ifndef VGPU_ADMIN_CHILD_H
#define VGPU_ADMIN_CHILD_H

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"

#define CHILD_ERRORS_BYTES 512
#define CHILD_SIGNALLED    256 /* status: this and the signal that ended it */

struct child {
    const char *const *argv; /* argv[0] without a slash is looked for in PATH */
    const char *name;        /* for messages */
    size_t most_bytes;       /* of its output */
    unsigned timeout_s;
    bool take_errors; /* its standard error goes into the result, not to ours */
};

struct child_result {
    char *text; /* with a NUL behind; the caller's to free */
    size_t size;
    int status;
    char errors[CHILD_ERRORS_BYTES]; /* the start of its standard error, on one line */
};

/*
 * -ENOENT and others: it cannot be started; -ETIMEDOUT, -E2BIG: it was killed. An exit status other
 * than 0 is no error here.
 */
int child_run(const struct child *child, struct child_result *ret_result, struct vgpu_err *err);

#endif
