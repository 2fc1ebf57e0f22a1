/* SPDX-License-Identifier: Apache-2.0 */
/* Virtual memory management, as far as other parts of the library have to do with it. */
#ifndef VGPU_LIBVGPU_VIRTUAL_H
#define VGPU_LIBVGPU_VIRTUAL_H

/* The primary context has ended, and in the worker all reservations and memory with it. */
void virtual_forget(void);

#endif
