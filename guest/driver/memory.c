// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A relayed channel's memory in the guest: pages, and the two levels of tables by which the device
 * finds them. Used by slot.c and file.c.
 *
 * Pages are added at any time and never taken away before the whole is freed, which is when the
 * device has let go of it. A page has a reference of this structure's; mappings and pinned uses
 * (O_DIRECT) have their own, so that it outlives vgpu_memory_free() as long as they need it. Pages
 * are charged to the cgroup of the process that asks for them.
 */
#include <linux/dma-mapping.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "driver.h"

/* Who asks for more than there is gets ENOMEM; nobody is killed for it. */
#define MEMORY_GFP (GFP_USER | __GFP_ACCOUNT | __GFP_RETRY_MAYFAIL | __GFP_NOWARN)

struct vgpu_dma_page {
	struct page *page;
	dma_addr_t dma;
};

struct vgpu_table {
	struct vgpu_dma_page self;
	struct vgpu_dma_page entry[VGPU_TABLE_ENTRIES];
};

struct vgpu_memory {
	struct vgpu_device *vdev;
	u64 pages; /* that the channel can have */
	struct mutex lock;
	struct vgpu_dma_page directory;
	struct vgpu_table *table[VGPU_TABLE_ENTRIES];
};

/* All channels together have at most half of the machine's memory. */
bool vgpu_memory_allow(struct vgpu_device *vdev)
{
	if (atomic_long_inc_return(&vdev->pages) <= (long)(totalram_pages() / 2))
		return true;
	atomic_long_dec(&vdev->pages);
	return false;
}

void vgpu_memory_disallow(struct vgpu_device *vdev)
{
	atomic_long_dec(&vdev->pages);
}

/* The page is zeroed: dma_alloc_pages() promises that. */
static int page_make(struct vgpu_memory *memory, struct vgpu_dma_page *ret)
{
	if (!vgpu_memory_allow(memory->vdev))
		return -ENOMEM;
	ret->page = dma_alloc_pages(&memory->vdev->pdev->dev, PAGE_SIZE, &ret->dma,
				    DMA_BIDIRECTIONAL, MEMORY_GFP);
	if (!ret->page) {
		vgpu_memory_disallow(memory->vdev);
		return -ENOMEM;
	}
	return 0;
}

static void page_free(struct vgpu_memory *memory, struct vgpu_dma_page *page)
{
	if (!page->page)
		return;
	dma_free_pages(&memory->vdev->pdev->dev, PAGE_SIZE, page->page, page->dma,
		       DMA_BIDIRECTIONAL);
	vgpu_memory_disallow(memory->vdev);
	page->page = NULL;
}

/* What the entry leads to is written before the entry. */
static void entry_set(struct vgpu_dma_page *table, u32 index, dma_addr_t dma)
{
	struct vgpu_page_table *entries = page_address(table->page);

	dma_wmb();
	WRITE_ONCE(entries->entry[index], vgpu_le64(dma));
}

static struct vgpu_table *table_get(struct vgpu_memory *memory, u32 index)
{
	struct vgpu_table *table = memory->table[index];

	if (table)
		return table;
	table = kvzalloc(sizeof(*table), MEMORY_GFP);
	if (!table)
		return NULL;
	if (page_make(memory, &table->self)) {
		kvfree(table);
		return NULL;
	}
	memory->table[index] = table;
	entry_set(&memory->directory, index, table->self.dma);
	return table;
}

static struct page *page_get(struct vgpu_memory *memory, u64 index)
{
	struct vgpu_table *table = table_get(memory, index / VGPU_TABLE_ENTRIES);
	u32 entry = index % VGPU_TABLE_ENTRIES;

	if (!table)
		return NULL;
	if (!table->entry[entry].page) {
		if (page_make(memory, &table->entry[entry]))
			return NULL;
		entry_set(&table->self, entry, table->entry[entry].dma);
	}
	return table->entry[entry].page;
}

struct vgpu_memory *vgpu_memory_new(struct vgpu_device *vdev, u64 total_bytes)
{
	struct vgpu_memory *memory;

	memory = kvzalloc(sizeof(*memory), MEMORY_GFP);
	if (!memory)
		return NULL;
	memory->vdev = vdev;
	memory->pages = total_bytes / PAGE_SIZE + 1; /* and the page of transfers */
	mutex_init(&memory->lock);
	if (page_make(memory, &memory->directory)) {
		vgpu_memory_free(memory);
		return NULL;
	}
	return memory;
}

void vgpu_memory_free(struct vgpu_memory *memory)
{
	u32 i, j;

	if (!memory)
		return;
	for (i = 0; i < VGPU_TABLE_ENTRIES; i++) {
		struct vgpu_table *table = memory->table[i];

		if (!table)
			continue;
		for (j = 0; j < VGPU_TABLE_ENTRIES; j++)
			page_free(memory, &table->entry[j]);
		page_free(memory, &table->self);
		kvfree(table);
		cond_resched();
	}
	page_free(memory, &memory->directory);
	mutex_destroy(&memory->lock);
	kvfree(memory);
}

int vgpu_memory_populate(struct vgpu_memory *memory, u64 first, u64 count)
{
	u64 index = first, end = first + count;

	while (index < end) {
		u64 stop = min(end, round_down(index, VGPU_TABLE_ENTRIES) + VGPU_TABLE_ENTRIES);
		int err = 0;

		if (mutex_lock_killable(&memory->lock))
			return -EINTR;
		for (; index < stop && !err; index++)
			if (!page_get(memory, index))
				err = -ENOMEM;
		mutex_unlock(&memory->lock);
		if (fatal_signal_pending(current))
			return -EINTR;
		if (err)
			return err;
		cond_resched();
	}
	return 0;
}

struct page *vgpu_memory_page(struct vgpu_memory *memory, u64 index)
{
	struct page *page = NULL;

	if (index >= memory->pages)
		return NULL;
	mutex_lock(&memory->lock);
	page = page_get(memory, index);
	if (page)
		get_page(page);
	mutex_unlock(&memory->lock);
	return page;
}

dma_addr_t vgpu_memory_directory(struct vgpu_memory *memory)
{
	return memory->directory.dma;
}
