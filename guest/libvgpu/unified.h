/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One address space for program and device. The data area lies where the worker has it, so that
 * page-locked memory has one address; and the addresses of device memory are reserved, without
 * access, so that nothing of the program comes to lie there. Both hold from cuInit to the end of
 * the session, or there are two address spaces, as there always are on mirrored channels.
 */
#ifndef VGPU_LIBVGPU_UNIFIED_H
#define VGPU_LIBVGPU_UNIFIED_H

#include <stdbool.h>

#include "guest/libvgpu/channel.h"

/* Called once for a session, before any other part of the data area is in use. */
void unified_begin(struct sender *sender);
void unified_end(void);

/* True if host and device pointers are the same. */
bool unified_holds(void);

/*
 * Keeps [address, address + bytes), device memory, from the program's own. False if something lies
 * there: the program has to get other device memory. True at once where there are two address
 * spaces. What was reserved stays so: the driver uses its addresses again.
 */
bool unified_reserve(uint64_t address, uint64_t bytes);

#endif
