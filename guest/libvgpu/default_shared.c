/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shared library's defaults. It stands in for a driver under programs that know nothing of it,
 * so that its environment is the only place where a user can name the socket.
 */
#include <stdio.h>
#include <stdlib.h>

#include "guest/libvgpu/guest.h"
#include "guest/libvgpu/vgpu.h"

static void tell(const char *name)
{
    fprintf(stderr, "vgpu: %s is not supported\n", name);
}

void (*const guest_default_unsupported)(const char *name) = tell;

const char *guest_default_socket(void)
{
    const char *path = getenv("VGPU_SOCKET");

    return path && path[0] ? path : NULL;
}
