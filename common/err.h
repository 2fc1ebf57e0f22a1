/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An error that a person will read: an errno-style code and one line of text.
 *
 * Functions return 0 or -errno; those whose cause a person must read take a last parameter
 * `struct vgpu_err *err`, which is untouched on success and may be NULL. The text is lower case,
 * without a full stop: what failed, then why, then what to do.
 */
#ifndef VGPU_COMMON_ERR_H
#define VGPU_COMMON_ERR_H

#include <stdarg.h>

#define VGPU_ERR_TEXT_BYTES 512

struct vgpu_err {
    int code; /* positive errno value */
    char text[VGPU_ERR_TEXT_BYTES];
};

/* Sets code and text; returns -code, so that `return vgpu_err_set(err, EINVAL, ...)` reads well. */
int vgpu_err_set(struct vgpu_err *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int vgpu_err_setv(struct vgpu_err *err, int code, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));

/* Puts "<format>: " in front of the text that err has; keeps its code. Returns -code. */
int vgpu_err_prefix(struct vgpu_err *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
