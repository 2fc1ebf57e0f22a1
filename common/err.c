/* SPDX-License-Identifier: Apache-2.0 */
#include "common/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int vgpu_err_setv(struct vgpu_err *err, int code, const char *format, va_list args)
{
    if (err) {
        err->code = code;
        vsnprintf(err->text, sizeof(err->text), format, args);
    }
    return -code;
}

int vgpu_err_set(struct vgpu_err *err, int code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vgpu_err_setv(err, code, format, args);
    va_end(args);
    return -code;
}

int vgpu_err_prefix(struct vgpu_err *err, const char *format, ...)
{
    char tail[VGPU_ERR_TEXT_BYTES];
    va_list args;
    int used;

    if (!err)
        return -EIO;
    memcpy(tail, err->text, sizeof(tail));
    va_start(args, format);
    used = vsnprintf(err->text, sizeof(err->text), format, args);
    va_end(args);
    if (used >= 0 && (size_t)used < sizeof(err->text))
        snprintf(err->text + used, sizeof(err->text) - (size_t)used, ": %s", tail);
    return -err->code;
}
