/* SPDX-License-Identifier: Apache-2.0 */
/* The static library's defaults: a program that links it decides for itself. */
#include <stddef.h>

#include "guest/libvgpu/guest.h"
#include "guest/libvgpu/vgpu.h"

void (*const guest_default_unsupported)(const char *name) = NULL;

const char *guest_default_socket(void)
{
    return NULL;
}
