// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * On Xen: sets of pages that are granted to the backend domain, and event channels. slot.c has one
 * of each for a channel, xenbus.c for the commands. include/vgpu/grant.h is what the backend reads.
 *
 * Pages are ordinary ones, made and granted all at once. A page of which the backend still has a
 * mapping when its grant is to end is not freed: Linux keeps it until Xen says that the grant is
 * not in use any more. So it is safe to give a set up at any time, and right to do it when the
 * worker is dead. Mappings and pinned uses of programs have references of their own.
 */
#include <linux/gfp.h>
#include <linux/interrupt.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include <xen/events.h>
#include <xen/grant_table.h>
#include <xen/interface/event_channel.h>
#include <xen/page.h>
#include <xen/xen.h>

#include <asm/xen/hypercall.h>

#include "compat.h"
#include "driver.h"

/* As in memory.c: who asks for more than there is gets ENOMEM. */
#define GRANT_GFP (GFP_USER | __GFP_ACCOUNT | __GFP_RETRY_MAYFAIL | __GFP_NOWARN | __GFP_ZERO)

static bool grant = true;
module_param(grant, bool, 0444);
MODULE_PARM_DESC(grant, "on Xen, channels in pages granted to the host; else all are relayed");

/* `page` has a reference of ours from page_make() to page_end(). */
struct granted {
	struct page *page;
	grant_ref_t ref; /* 0: not granted */
};

struct vgpu_grants {
	struct vgpu_device *vdev;
	domid_t backend;
	u32 pages;
	u32 tables;
	struct granted directory;
	struct granted *table;
	struct granted page[];
};

bool vgpu_grants_usable(void)
{
	return grant && xen_domain();
}

/* Sets of pages */

static int page_make(struct vgpu_grants *set, struct granted *ret)
{
	if (!vgpu_memory_allow(set->vdev))
		return -ENOMEM;
	ret->page = alloc_page(GRANT_GFP);
	if (ret->page)
		return 0;
	vgpu_memory_disallow(set->vdev);
	return -ENOMEM;
}

static void page_grant(struct vgpu_grants *set, struct granted *page, grant_ref_t *head,
		       bool readonly)
{
	page->ref = gnttab_claim_grant_reference(head);
	gnttab_grant_foreign_access_ref(page->ref, set->backend, xen_page_to_gfn(page->page),
					readonly);
}

/* The reference to the page goes with the grant, now or when the backend has let go. */
static void page_end(struct vgpu_grants *set, struct granted *page)
{
	if (!page->page)
		return;
	if (page->ref)
		vgpu_end_foreign_access(page->ref, page->page);
	else
		put_page(page->page);
	vgpu_memory_disallow(set->vdev);
	*page = (struct granted){};
}

/* The pages of table t, with all that there is of it in the guest's order of bytes. */
static int make_table(struct vgpu_grants *set, u32 t)
{
	u32 first = t * VGPU_GRANT_TABLE_ENTRIES, i;
	u32 count = min(set->pages - first, VGPU_GRANT_TABLE_ENTRIES);
	struct vgpu_grant_table *table;
	grant_ref_t head;
	int err;

	err = page_make(set, &set->table[t]);
	for (i = 0; i < count && !err; i++)
		err = page_make(set, &set->page[first + i]);
	if (!err)
		err = gnttab_alloc_grant_references(count + 1, &head) < 0 ? -ENOSPC : 0;
	if (err)
		return err;
	table = page_address(set->table[t].page);
	for (i = 0; i < count; i++) {
		page_grant(set, &set->page[first + i], &head, false);
		table->ref[i] = vgpu_le32(set->page[first + i].ref);
	}
	page_grant(set, &set->table[t], &head, true);
	return fatal_signal_pending(current) ? -EINTR : 0;
}

static int make_directory(struct vgpu_grants *set)
{
	struct vgpu_grant_directory *directory;
	grant_ref_t head;
	int err;
	u32 t;

	err = page_make(set, &set->directory);
	if (err)
		return err;
	if (gnttab_alloc_grant_references(1, &head) < 0)
		return -ENOSPC;
	directory = page_address(set->directory.page);
	directory->magic = vgpu_le32(VGPU_GRANT_MAGIC);
	directory->version = (__force u16)cpu_to_le16(VGPU_GRANT_VERSION);
	directory->pages = vgpu_le32(set->pages);
	directory->tables = vgpu_le32(set->tables);
	for (t = 0; t < set->tables; t++)
		directory->table[t] = vgpu_le32(set->table[t].ref);
	page_grant(set, &set->directory, &head, true);
	return 0;
}

struct vgpu_grants *vgpu_grants_new(struct vgpu_device *vdev, u32 backend, u32 pages)
{
	struct vgpu_grants *set;
	int err = 0;
	u32 t;

	set = kvzalloc(struct_size(set, page, pages), GFP_KERNEL_ACCOUNT);
	if (!set)
		return ERR_PTR(-ENOMEM);
	set->vdev = vdev;
	set->backend = backend;
	set->pages = pages;
	set->tables = DIV_ROUND_UP(pages, VGPU_GRANT_TABLE_ENTRIES);
	set->table = kcalloc(set->tables, sizeof(*set->table), GFP_KERNEL_ACCOUNT);
	if (!set->table)
		err = -ENOMEM;
	for (t = 0; t < set->tables && !err; t++) {
		err = make_table(set, t);
		cond_resched();
	}
	if (!err)
		err = make_directory(set);
	if (!err)
		return set;
	vgpu_grants_free(set);
	return ERR_PTR(err);
}

void vgpu_grants_settled(struct vgpu_grants *set)
{
	u32 t;

	page_end(set, &set->directory);
	for (t = 0; t < set->tables && set->table; t++)
		page_end(set, &set->table[t]);
}

void vgpu_grants_free(struct vgpu_grants *set)
{
	u32 i;

	if (!set)
		return;
	vgpu_grants_settled(set);
	for (i = 0; i < set->pages; i++) {
		page_end(set, &set->page[i]);
		if (i % VGPU_GRANT_TABLE_ENTRIES == 0)
			cond_resched();
	}
	kfree(set->table);
	kvfree(set);
}

u32 vgpu_grants_directory(const struct vgpu_grants *set)
{
	return set->directory.ref;
}

struct page *vgpu_grants_page(const struct vgpu_grants *set, u64 index)
{
	return index < set->pages ? set->page[index].page : NULL;
}

/* Event channels */

/* An event with nothing behind it is legal. */
static irqreturn_t event_interrupt(int irq, void *opaque)
{
	struct vgpu_event *event = opaque;

	event->handler(event->opaque);
	xen_irq_lateeoi(irq, 0);
	return IRQ_HANDLED;
}

static void close_port(u32 port)
{
	struct evtchn_close ask = { .port = port };

	HYPERVISOR_event_channel_op(EVTCHNOP_close, &ask);
}

int vgpu_event_init(struct vgpu_event *event, u32 backend, const char *name,
		    void (*handler)(void *opaque), void *opaque)
{
	struct evtchn_alloc_unbound ask = { .dom = DOMID_SELF, .remote_dom = backend };
	int err;

	event->handler = handler;
	event->opaque = opaque;
	err = HYPERVISOR_event_channel_op(EVTCHNOP_alloc_unbound, &ask);
	if (err)
		return err;
	err = bind_evtchn_to_irqhandler_lateeoi(ask.port, event_interrupt, 0, name, event);
	if (err < 0) {
		close_port(ask.port);
		return err;
	}
	event->port = ask.port;
	event->irq = err;
	return 0;
}

/* No event comes afterwards; the port is closed with the interrupt. */
void vgpu_event_release(struct vgpu_event *event)
{
	if (event->irq > 0)
		unbind_from_irqhandler(event->irq, event);
	event->irq = 0;
	event->port = 0;
}

void vgpu_event_kick(const struct vgpu_event *event)
{
	notify_remote_via_evtchn(event->port);
}
