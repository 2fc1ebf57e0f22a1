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

/* The page is freed when the backend has let go of it. */
#ifdef VGPU_XEN
#include <xen/grant_table.h>
#if LINUX_VERSION_CODE < KERNEL_VERSION(5, 19, 0)
static inline void vgpu_end_foreign_access(grant_ref_t ref, struct page *page)
{
	gnttab_end_foreign_access(ref, 0, (unsigned long)page_address(page));
}
#else
static inline void vgpu_end_foreign_access(grant_ref_t ref, struct page *page)
{
	gnttab_end_foreign_access(ref, page);
}
#endif

/* Whether loading the module waits for a host that is late for 30 seconds only, or for 300. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(5, 17, 0)
#define VGPU_XENBUS_NOT_ESSENTIAL
#else
#define VGPU_XENBUS_NOT_ESSENTIAL .not_essential = true,
#endif

/* What removal of a device on xenbus returns. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 0, 0)
#define vgpu_xenbus_removed int
#define VGPU_XENBUS_REMOVED 0
#else
#define vgpu_xenbus_removed void
#define VGPU_XENBUS_REMOVED
#endif
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
