// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The window: a BAR in which the device shows the memory of channels, so that programs and workers
 * share it. device.c finds it, slot.c opens channels in it, file.c maps parts of them.
 *
 * A part is mapped by page frame, as write-back memory, at the first touch and a block at a time;
 * nothing can pin such pages. It is there from ATTACH to CLOSE, and no program has a mapping at
 * CLOSE. A reset takes all of them away at once, so the driver comes first: it takes the pages back
 * from every mapping, and copies what programs had touched into pages of its own, which stand in
 * from then on. So nobody reads a window without a channel, and programs keep what they had there.
 */
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/xarray.h>

#include "driver.h"

/* Where mappings of the window lie in the device file; programs do not see this. */
#define WINDOW_PGOFF (1ul << (41 - PAGE_SHIFT))

#define BLOCK_PAGES 64u

static bool window = true;
module_param(window, bool, 0444);
MODULE_PARM_DESC(window, "channels in the device's window, if it has one; else all are relayed");

struct vgpu_window {
	struct vgpu_device *vdev;
	struct address_space *mapping;
	u64 first; /* page of the window */
	u64 pages;
	struct xarray standins; /* once revoked: pages by index */
	bool revoked; /* under vgpu_device.window_lock */
	unsigned long touched[]; /* a bit for each block */
};

/* Probe and removal */

void vgpu_window_find(struct vgpu_device *vdev)
{
	struct pci_dev *pdev = vdev->pdev;
	struct resource *bar = &pdev->resource[VGPU_BAR_WINDOW];

	if (!window || !(vgpu_read(vdev, VGPU_REG_FEATURES) & VGPU_DEVICE_WINDOW))
		return;
	if (!(bar->flags & IORESOURCE_MEM) || bar->flags & IORESOURCE_UNSET || !bar->start) {
		dev_warn(&pdev->dev, "the window has no address: channels are relayed\n");
		return;
	}
	if (pci_request_region(pdev, VGPU_BAR_WINDOW, "vgpu"))
		return;
	vdev->window_pfn = bar->start >> PAGE_SHIFT;
	vdev->window_bytes = resource_size(bar);
	/* As long as this is there, mappings of its parts are write-back as well. */
	vdev->window = memremap(bar->start, vdev->window_bytes, MEMREMAP_WB);
	if (vdev->window)
		return;
	dev_warn(&pdev->dev, "the window cannot be mapped: channels are relayed\n");
	vgpu_window_lose(vdev);
}

void vgpu_window_lose(struct vgpu_device *vdev)
{
	if (!vdev->window_bytes)
		return;
	if (vdev->window)
		memunmap(vdev->window);
	vdev->window = NULL;
	vdev->window_bytes = 0;
	pci_release_region(vdev->pdev, VGPU_BAR_WINDOW);
}

/* Parts */

bool vgpu_window_has(struct vgpu_device *vdev, u64 first, u64 total_bytes)
{
	u64 pages = vdev->window_bytes / PAGE_SIZE;

	return first < pages && total_bytes / PAGE_SIZE <= pages - first;
}

struct vgpu_window *vgpu_window_new(struct vgpu_file *file, u64 first, u64 total_bytes)
{
	u64 pages = total_bytes / PAGE_SIZE;
	struct vgpu_window *part;

	part = kvzalloc(struct_size(part, touched, BITS_TO_LONGS(DIV_ROUND_UP(pages, BLOCK_PAGES))),
			GFP_KERNEL_ACCOUNT);
	if (!part)
		return NULL;
	part->vdev = file->vdev;
	part->mapping = file->mapping;
	part->first = first;
	part->pages = pages;
	xa_init(&part->standins);
	return part;
}

void vgpu_window_free(struct vgpu_window *part)
{
	struct page *page;
	unsigned long index;

	if (!part)
		return;
	xa_for_each(&part->standins, index, page)
	{
		__free_page(page);
		vgpu_memory_disallow(part->vdev);
	}
	xa_destroy(&part->standins);
	kvfree(part);
}

/* Pages that stand in */

static struct page *standin_make(struct vgpu_window *part, unsigned long index, gfp_t gfp)
{
	struct page *page, *other;

	if (!vgpu_memory_allow(part->vdev))
		return NULL;
	page = alloc_page(gfp | __GFP_ZERO | __GFP_NOWARN);
	if (page) {
		/* Two threads may come to the same page. */
		other = xa_cmpxchg(&part->standins, index, NULL, page, gfp);
		if (!other)
			return page;
		__free_page(page);
		page = xa_is_err(other) ? NULL : other;
	}
	vgpu_memory_disallow(part->vdev);
	return page;
}

/* What programs touched. Pages of zeros need no keeping, and what does not fit becomes zeros. */
static void keep_block(struct vgpu_window *part, u64 start, u64 end)
{
	u64 i;

	for (i = start; i < end; i++) {
		const void *from = part->vdev->window + (part->first + i) * PAGE_SIZE;
		struct page *page;

		if (!memchr_inv(from, 0, PAGE_SIZE))
			continue;
		page = standin_make(part, i, GFP_KERNEL | __GFP_NORETRY);
		if (page)
			memcpy(page_address(page), from, PAGE_SIZE);
	}
}

static void keep(struct vgpu_window *part)
{
	const struct vgpu_channel_page *page = part->vdev->window + part->first * PAGE_SIZE;
	unsigned long block;

	/* A device that is gone, or was reset by somebody else, has nothing there any more. */
	if (vgpu_le32(READ_ONCE(page->magic)) != VGPU_MAGIC)
		return;
	for_each_set_bit(block, part->touched, DIV_ROUND_UP(part->pages, BLOCK_PAGES)) {
		u64 start = (u64)block * BLOCK_PAGES;

		keep_block(part, start, min(start + BLOCK_PAGES, part->pages));
		cond_resched();
	}
}

void vgpu_window_revoke(struct vgpu_window *part, bool keep_contents)
{
	if (part->revoked)
		return;
	part->revoked = true;
	unmap_mapping_range(part->mapping, (loff_t)(WINDOW_PGOFF + part->first) << PAGE_SHIFT,
			    (loff_t)part->pages << PAGE_SHIFT, 1);
	if (keep_contents)
		keep(part);
}

static struct page *standin_get(struct vgpu_window *part, unsigned long index)
{
	struct page *page = xa_load(&part->standins, index);
	struct vgpu_channel_page *channel;

	if (!page)
		page = standin_make(part, index, GFP_USER | __GFP_ACCOUNT | __GFP_RETRY_MAYFAIL);
	if (page && index == 0) {
		channel = page_address(page);
		WRITE_ONCE(channel->notice.state, vgpu_le32(VGPU_CHANNEL_ENDED));
	}
	return page;
}

/* Mappings */

static u64 index_of(const struct vgpu_window *part, unsigned long pgoff)
{
	return pgoff - WINDOW_PGOFF - part->first;
}

static vm_fault_t insert(struct vgpu_window *part, struct vm_area_struct *vma, u64 index)
{
	u64 address = vma->vm_start + ((index - index_of(part, vma->vm_pgoff)) << PAGE_SHIFT);

	return vmf_insert_pfn(vma, address, part->vdev->window_pfn + part->first + index);
}

/* The page that was touched, and its block as far as it goes: each fault saves some more. */
static vm_fault_t slot_fault(struct vgpu_window *part, struct vm_area_struct *vma, u64 index)
{
	u64 vma_start = index_of(part, vma->vm_pgoff), block = index / BLOCK_PAGES;
	u64 start = max(block * BLOCK_PAGES, vma_start);
	u64 end = min((block + 1) * BLOCK_PAGES, vma_start + vma_pages(vma));
	vm_fault_t ret = insert(part, vma, index);
	u64 i;

	if (ret != VM_FAULT_NOPAGE)
		return ret;
	set_bit(block, part->touched);
	for (i = start; i < end; i++)
		if (i != index && insert(part, vma, i) != VM_FAULT_NOPAGE)
			break;
	return ret;
}

static vm_fault_t standin_fault(struct vgpu_window *part, struct vm_fault *vmf, u64 index)
{
	struct page *page = standin_get(part, index);

	if (!page)
		return VM_FAULT_SIGBUS;
	return vmf_insert_pfn(vmf->vma, vmf->address, page_to_pfn(page));
}

static vm_fault_t window_fault(struct vm_fault *vmf)
{
	struct vgpu_file *file = vmf->vma->vm_private_data;
	struct vgpu_window *part = file->window;
	u64 index = index_of(part, vmf->pgoff);
	vm_fault_t ret;

	down_read(&file->vdev->window_lock);
	ret = part->revoked ? standin_fault(part, vmf, index) : slot_fault(part, vmf->vma, index);
	up_read(&file->vdev->window_lock);
	return ret;
}

static const struct vm_operations_struct window_vm_operations = {
	.fault = window_fault,
};

/* Offsets of their own in the file, so that revoking one part finds no other's mappings. */
void vgpu_window_mmap(struct vgpu_window *part, struct vm_area_struct *vma)
{
	vma->vm_pgoff += WINDOW_PGOFF + part->first;
	vma->vm_ops = &window_vm_operations;
}
