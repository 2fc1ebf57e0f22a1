/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What fork() means for the program's memory. The data area is not for a child: what it wrote there
 * would be the parent's. But memory that cuMemHostRegister moved there was the program's before,
 * and a child expects it as any other: it gets a copy under the same address. Memory that the
 * library gave out itself (cuMemHostAlloc, cuMemAllocManaged) is not there in a child.
 */
#ifndef VGPU_LIBVGPU_FORK_H
#define VGPU_LIBVGPU_FORK_H

/* Called around a fork by session.c, with the guest's lock held; in this order, one of the last. */
void fork_prepare(void);
void fork_in_parent(void);
void fork_in_child(void);

#endif
