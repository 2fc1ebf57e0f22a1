/* SPDX-License-Identifier: GPL-2.0-or-later OR Apache-2.0 */
/* Fixed-width integers for the contracts, in user space and where the kernel driver includes them.
 */
#ifndef VGPU_TYPES_H
#define VGPU_TYPES_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stdint.h>
#endif

#endif
