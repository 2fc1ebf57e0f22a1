/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What differs between the kernels from 5.10 on. Everything else in the driver is written for the
 * current kernel.
 */
#ifndef VGPU_COMPAT_H
#define VGPU_COMPAT_H

#include <linux/device.h>
#include <linux/eventfd.h>
#include <linux/mm.h>
#include <linux/pci.h>
#include <linux/version.h>

#ifndef PCI_IRQ_INTX
#define PCI_IRQ_INTX PCI_IRQ_LEGACY
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
#define vgpu_devnode_device struct device
#else
#define vgpu_devnode_device const struct device
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
static inline void vgpu_vma_flags(struct vm_area_struct *vma, unsigned long set,
				  unsigned long clear)
{
	vma->vm_flags = (vma->vm_flags | set) & ~clear;
}
#else
static inline void vgpu_vma_flags(struct vm_area_struct *vma, unsigned long set,
				  unsigned long clear)
{
	vm_flags_mod(vma, set, clear);
}
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 8, 0)
static inline void vgpu_eventfd_signal(struct eventfd_ctx *eventfd)
{
	eventfd_signal(eventfd, 1);
}
#else
static inline void vgpu_eventfd_signal(struct eventfd_ctx *eventfd)
{
	eventfd_signal(eventfd);
}
#endif

#endif
