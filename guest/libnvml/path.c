/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the host is met. The library stands in for NVIDIA's under programs that know nothing of
 * ours, so the environment is the only place where a user can name a socket; as for libcuda.so.1.
 */
#include <stdlib.h>

#include "carrier/device.h"
#include "guest/libnvml/library.h"
#include "guest/libvgpu/vgpu.h"

const char *library_path(void)
{
    const char *path = getenv("VGPU_SOCKET");

    if (path && path[0])
        return path;
    return device_is_path(VGPU_DEFAULT_DEVICE) ? VGPU_DEFAULT_DEVICE : VGPU_DEFAULT_SOCKET;
}
