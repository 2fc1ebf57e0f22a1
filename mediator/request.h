/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves what arrives on a VM's socket (<vgpu/wire.h>) before anything else reads it. Called by
 * connection.c; pure, so it is fuzzed.
 */
#ifndef VGPU_MEDIATOR_REQUEST_H
#define VGPU_MEDIATOR_REQUEST_H

#include <stddef.h>
#include <vgpu/wire.h>

#include "common/err.h"

union request {
    struct vgpu_msg head;
    struct vgpu_msg_hello hello;
    struct vgpu_msg_open open;
    struct vgpu_msg_channel channel; /* CLOSE, DRAIN */
    struct vgpu_msg_resume resume;
    struct vgpu_msg_monitor monitor;
    struct vgpu_msg_grant grant;
};

/*
 * Takes the first message out of size bytes at data. Returns the bytes that it has, 0 if it is not
 * whole yet, -EPROTO with *ret_tag set (0 if unknown) if it is malformed, -EPROTONOSUPPORT for a
 * HELLO of another major version.
 */
int request_parse(const void *data, size_t size, union request *ret, uint32_t *ret_tag,
                  struct vgpu_err *err);

#endif
