// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The device's slots: who has one, the commands OPEN, ATTACH and CLOSE, and the end of a channel.
 * Called by file.c (open, release) and device.c (interrupts, reset, removal).
 *
 * A slot is free (its bit in `used` is clear), a file's, or closing. While it is a file's, its
 * command and `tag` belong to that file's OPEN; then to the work item, which frees it. CLOSE may be
 * given while OPEN is not answered yet, and calls it off: so a process may die at any moment.
 */
#include <linux/dma-mapping.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "driver.h"

#define DEFAULT_SUB_GRANULES  8192
#define DEFAULT_COMP_GRANULES 2048
#define DEFAULT_DATA_BYTES    (64ull << 20)
#define MAX_DATA_OFFSET	      (16ull << 20) /* channel page and rings of the largest size */

static struct vgpu_device_command *command_of(struct vgpu_slot *slot)
{
	return &slot->vdev->commands[slot->index];
}

/* Commands */

static u32 open_flags(const struct vgpu_slot *slot)
{
	if (slot->granted)
		return VGPU_OPEN_GRANT;
	return slot->vdev->window ? VGPU_OPEN_WINDOW : 0;
}

static int send(struct vgpu_slot *slot, enum vgpu_command_op op)
{
	struct vgpu_device_command *command = command_of(slot);
	struct vgpu_device *vdev = slot->vdev;
	unsigned long flags;
	int err = 0;

	if (++slot->tag == 0)
		slot->tag = 1;
	command->op = vgpu_le32(op);
	command->flags = op == VGPU_COMMAND_OPEN ? vgpu_le32(open_flags(slot)) : 0;
	command->tag = vgpu_le32(slot->tag);
	spin_lock_irqsave(&vdev->lock, flags);
	/* A reset has forgotten what this command builds on. */
	if (op != VGPU_COMMAND_OPEN && vdev->epoch != slot->epoch)
		err = -EIO;
	slot->epoch = vdev->epoch;
	if (!err)
		vdev->transport->command(vdev, slot->index);
	spin_unlock_irqrestore(&vdev->lock, flags);
	return err;
}

static bool answered(struct vgpu_slot *slot)
{
	if (READ_ONCE(command_of(slot)->done) != vgpu_le32(slot->tag))
		return false;
	dma_rmb();
	return true;
}

static bool settled(struct vgpu_slot *slot)
{
	return answered(slot) || READ_ONCE(slot->vdev->dead) ||
	       READ_ONCE(slot->vdev->epoch) != slot->epoch;
}

/* After the wait: 0, or why there is no answer. */
static int outcome(struct vgpu_slot *slot, long left)
{
	if (READ_ONCE(slot->vdev->dead))
		return -ENODEV;
	if (READ_ONCE(slot->vdev->epoch) != slot->epoch)
		return -EIO;
	if (answered(slot))
		return 0;
	return left < 0 ? -EINTR : -ETIMEDOUT;
}

static int wait_killable(struct vgpu_slot *slot, long jiffies_max)
{
	return outcome(slot, wait_event_killable_timeout(slot->wait, settled(slot), jiffies_max));
}

static int wait_idle(struct vgpu_slot *slot, long jiffies_max)
{
	return outcome(slot, wait_event_idle_timeout(slot->wait, settled(slot), jiffies_max));
}

/* Slots */

static struct vgpu_slot *take_free(struct vgpu_device *vdev, bool *ret_closing)
{
	struct vgpu_slot *slot = NULL;
	unsigned long flags, bit;

	spin_lock_irqsave(&vdev->lock, flags);
	bit = find_first_zero_bit(vdev->used, VGPU_SLOTS);
	if (bit < VGPU_SLOTS) {
		__set_bit(bit, vdev->used);
		slot = &vdev->slot[bit];
	}
	*ret_closing = vdev->closing > 0;
	spin_unlock_irqrestore(&vdev->lock, flags);
	return slot;
}

/* NULL: none is free, and none that is about to become free did so in time. */
static struct vgpu_slot *take(struct vgpu_device *vdev)
{
	struct vgpu_slot *slot;
	bool closing;

	slot = take_free(vdev, &closing);
	if (slot || !closing)
		return slot;
	wait_event_killable_timeout(vdev->slot_wait,
				    (slot = take_free(vdev, &closing)) || !closing ||
					    READ_ONCE(vdev->dead),
				    VGPU_SLOT_JIFFIES);
	return slot;
}

/* The device knows nothing of it any more. */
static void make_free(struct vgpu_slot *slot, bool was_closing)
{
	struct vgpu_device *vdev = slot->vdev;
	struct vgpu_memory *memory = slot->memory;
	struct vgpu_grants *grants = slot->grants;
	unsigned long flags;

	spin_lock_irqsave(&vdev->lock, flags);
	slot->file = NULL;
	slot->notice = NULL;
	slot->memory = NULL;
	slot->grants = NULL;
	spin_unlock_irqrestore(&vdev->lock, flags);
	vgpu_event_release(&slot->event);
	vgpu_grants_free(grants);
	vgpu_memory_free(memory);

	spin_lock_irqsave(&vdev->lock, flags);
	__clear_bit(slot->index, vdev->used);
	if (was_closing)
		vdev->closing--;
	spin_unlock_irqrestore(&vdev->lock, flags);
	wake_up(&vdev->slot_wait);
}

static void close_later(struct vgpu_slot *slot)
{
	struct vgpu_device *vdev = slot->vdev;
	unsigned long flags;

	spin_lock_irqsave(&vdev->lock, flags);
	slot->file = NULL;
	vdev->closing++;
	spin_unlock_irqrestore(&vdev->lock, flags);
	queue_work(vdev->workqueue, &slot->close);
}

static void close_work(struct work_struct *work)
{
	struct vgpu_slot *slot = container_of(work, struct vgpu_slot, close);
	struct vgpu_device *vdev = slot->vdev;
	int err;

	if (vgpu_enter(vdev))
		return;
	err = send(slot, VGPU_COMMAND_CLOSE);
	if (!err)
		err = wait_idle(slot, slot->granted ? VGPU_END_JIFFIES : VGPU_ANSWER_JIFFIES);
	if (err == -ETIMEDOUT)
		vgpu_device_reset(vdev);
	/* Without the device, removal frees the memory. */
	if (err != -ENODEV)
		make_free(slot, true);
	vgpu_leave(vdev);
}

/* Opening */

static void refuse(struct vgpu_ioc_open *open, enum vgpu_status status, const char *text)
{
	open->status = status;
	strscpy(open->text, text, sizeof(open->text));
}

static u64 default_data_bytes(u64 max)
{
	u64 bytes = min_t(u64, DEFAULT_DATA_BYTES, (u64)totalram_pages() * PAGE_SIZE / 8);

	return round_down(min(bytes, max), PAGE_SIZE);
}

/*
 * False: refused. A device without a mediator does not know the limit, and says so to OPEN. With a
 * window, and by grants, the host knows best what a channel gets that asks for no size.
 */
static bool choose_sizes(struct vgpu_device *vdev, bool granted, struct vgpu_ioc_open *open)
{
	u64 most = granted	  ? VGPU_GRANT_MAX_DATA_BYTES
		   : vdev->window ? VGPU_DATA_MAX_BYTES
				  : VGPU_RELAY_MAX_DATA_BYTES;
	u64 max = vdev->transport->max_data(vdev);

	if (!max || max > most)
		max = most;
	if (!open->sub_granules)
		open->sub_granules = DEFAULT_SUB_GRANULES;
	if (!open->comp_granules)
		open->comp_granules = DEFAULT_COMP_GRANULES;
	if (!open->data_bytes && !vdev->window && !granted)
		open->data_bytes = default_data_bytes(max);
	if (open->data_bytes <= max)
		return true;
	refuse(open, VGPU_LIMIT, "the data area is larger than this device allows");
	return false;
}

static bool part_ok(u64 offset, u32 granules, u64 end)
{
	u64 bytes = (u64)granules * VGPU_GRANULE_BYTES;

	return offset >= VGPU_CHANNEL_PAGE_BYTES && offset <= end && bytes <= end - offset;
}

static bool place_ok(const struct vgpu_slot *slot, const struct vgpu_channel_geometry *g)
{
	if (slot->granted)
		return g->total_bytes / PAGE_SIZE <= VGPU_GRANT_MAX_PAGES;
	if (slot->place)
		return vgpu_window_has(slot->vdev, slot->place - 1, g->total_bytes);
	return g->data_bytes <= VGPU_RELAY_MAX_DATA_BYTES &&
	       g->total_bytes / PAGE_SIZE < (u64)VGPU_TABLE_ENTRIES * VGPU_TABLE_ENTRIES;
}

static bool geometry_ok(const struct vgpu_slot *slot, const struct vgpu_channel_geometry *g)
{
	return !((g->data_offset | g->data_bytes | g->total_bytes) % PAGE_SIZE) &&
	       g->data_offset <= MAX_DATA_OFFSET && g->data_bytes <= VGPU_DATA_MAX_BYTES &&
	       g->total_bytes >= g->data_offset + g->data_bytes && place_ok(slot, g) &&
	       part_ok(g->sub_offset, g->sub_granules, g->data_offset) &&
	       part_ok(g->comp_offset, g->comp_granules, g->data_offset);
}

static struct vgpu_channel_geometry geometry_read(const struct vgpu_channel_geometry *raw)
{
	return (struct vgpu_channel_geometry){
		.sub_granules = vgpu_le32(raw->sub_granules),
		.comp_granules = vgpu_le32(raw->comp_granules),
		.sub_offset = vgpu_le64(raw->sub_offset),
		.comp_offset = vgpu_le64(raw->comp_offset),
		.data_offset = vgpu_le64(raw->data_offset),
		.data_bytes = vgpu_le64(raw->data_bytes),
		.total_bytes = vgpu_le64(raw->total_bytes),
	};
}

/* The answer's status and text. */
static void read_answer(struct vgpu_slot *slot, struct vgpu_ioc_open *open)
{
	struct vgpu_device_command *command = command_of(slot);

	open->status = vgpu_le32(READ_ONCE(command->status));
	open->retry_ns = vgpu_le64(command->retry_ns);
	memcpy(open->text, command->text, sizeof(open->text));
	open->text[sizeof(open->text) - 1] = '\0';
}

static int command_open(struct vgpu_slot *slot, struct vgpu_ioc_open *open)
{
	struct vgpu_device_command *command = command_of(slot);
	int err;

	command->sub_granules = vgpu_le32(open->sub_granules);
	command->comp_granules = vgpu_le32(open->comp_granules);
	command->data_bytes = vgpu_le64(open->data_bytes);
	command->directory = 0; /* of the slot's channel before */
	command->vector = 0;
	memcpy(command->process, open->process, sizeof(command->process));
	err = send(slot, VGPU_COMMAND_OPEN);
	if (!err)
		err = wait_killable(slot, MAX_SCHEDULE_TIMEOUT);
	if (err)
		return err;
	read_answer(slot, open);
	if (open->status == VGPU_OK) {
		open->channel = vgpu_le32(command->channel);
		open->geometry = geometry_read(&command->geometry);
		slot->place = slot->granted ? 0 : vgpu_le32(READ_ONCE(command->window));
		slot->backend = vgpu_le32(READ_ONCE(command->backend_domid));
		open->flags = slot->granted ? VGPU_OPENED_GRANT
			      : slot->place ? VGPU_OPENED_WINDOW
					    : 0;
	}
	return 0;
}

static void set_notice(struct vgpu_slot *slot, struct vgpu_channel_page *page)
{
	unsigned long flags;

	spin_lock_irqsave(&slot->vdev->lock, flags);
	slot->notice = &page->notice;
	spin_unlock_irqrestore(&slot->vdev->lock, flags);
}

/* All but the data area, which programs populate as they use it. */
static int make_memory(struct vgpu_slot *slot, const struct vgpu_channel_geometry *g)
{
	struct vgpu_device *vdev = slot->vdev;
	struct page *first;
	int err;

	slot->memory = vgpu_memory_new(vdev, g->total_bytes);
	if (!slot->memory)
		return -ENOMEM;
	err = vgpu_memory_populate(slot->memory, 0, g->data_offset / PAGE_SIZE);
	if (!err)
		err = vgpu_memory_populate(slot->memory, g->total_bytes / PAGE_SIZE, 1);
	if (err)
		return err;
	first = vgpu_memory_page(slot->memory, 0);
	set_notice(slot, page_address(first));
	put_page(first); /* slot->memory keeps it */
	return 0;
}

static void granted_kick(void *opaque)
{
	struct vgpu_slot *slot = opaque;
	unsigned long flags;

	spin_lock_irqsave(&slot->vdev->lock, flags);
	vgpu_slot_kick(slot);
	spin_unlock_irqrestore(&slot->vdev->lock, flags);
}

static void geometry_write(struct vgpu_channel_geometry *raw, const struct vgpu_channel_geometry *g)
{
	*raw = (struct vgpu_channel_geometry){
		.sub_granules = vgpu_le32(g->sub_granules),
		.comp_granules = vgpu_le32(g->comp_granules),
		.sub_offset = vgpu_le64(g->sub_offset),
		.comp_offset = vgpu_le64(g->comp_offset),
		.data_offset = vgpu_le64(g->data_offset),
		.data_bytes = vgpu_le64(g->data_bytes),
		.total_bytes = vgpu_le64(g->total_bytes),
	};
}

/* The whole of it, as the worker maps all at once; and the channel's page, written by us. */
static int make_grants(struct vgpu_slot *slot, const struct vgpu_channel_geometry *g)
{
	struct vgpu_device *vdev = slot->vdev;
	struct vgpu_channel_page *page;
	int err;

	slot->grants = vgpu_grants_new(vdev, slot->backend, g->total_bytes / PAGE_SIZE);
	if (IS_ERR(slot->grants)) {
		err = PTR_ERR(slot->grants);
		slot->grants = NULL;
		return err;
	}
	page = page_address(vgpu_grants_page(slot->grants, 0));
	page->magic = vgpu_le32(VGPU_MAGIC);
	page->layout = vgpu_le32(VGPU_LAYOUT_VERSION);
	geometry_write(&page->geometry, g);
	err = vgpu_event_init(&slot->event, slot->backend, dev_name(&vdev->dev), granted_kick,
			      slot);
	if (!err)
		set_notice(slot, page);
	return err;
}

static u64 directory_of(const struct vgpu_slot *slot)
{
	if (slot->grants)
		return VGPU_GRANT_ATTACH(vgpu_grants_directory(slot->grants), slot->event.port);
	return slot->memory ? vgpu_memory_directory(slot->memory) : 0;
}

/* By grants, completions come by the event channel. */
static u32 vector_of(const struct vgpu_slot *slot)
{
	u32 vectors = slot->vdev->vectors;

	return vectors > 1 && !slot->granted ? 1 + slot->index % (vectors - 1) : 0;
}

static int command_attach(struct vgpu_slot *slot, struct vgpu_ioc_open *open)
{
	struct vgpu_device_command *command = command_of(slot);
	int err;

	command->directory = vgpu_le64(directory_of(slot));
	command->vector = vgpu_le32(vector_of(slot));
	err = send(slot, VGPU_COMMAND_ATTACH);
	/* By grants, a worker is started only now. */
	if (!err)
		err = wait_killable(slot,
				    slot->granted ? MAX_SCHEDULE_TIMEOUT : VGPU_ANSWER_JIFFIES);
	if (!err)
		read_answer(slot, open);
	if (!err && slot->grants && open->status == VGPU_OK)
		vgpu_grants_settled(slot->grants);
	return err;
}

static bool device_says_gone(struct vgpu_slot *slot)
{
	if (!READ_ONCE(command_of(slot)->gone))
		return false;
	dma_rmb();
	return true;
}

/* Nobody writes into granted pages that the worker has died: it could not, and the host does not.
 */
static void tell_ended(struct vgpu_slot *slot)
{
	if (slot->notice)
		WRITE_ONCE(slot->notice->state, vgpu_le32(VGPU_CHANNEL_ENDED));
}

/* From here on interrupts reach the file. What came before is not lost: it is looked for. */
static void hand_over(struct vgpu_slot *slot, struct vgpu_file *file,
		      const struct vgpu_ioc_open *open)
{
	struct vgpu_device *vdev = slot->vdev;
	unsigned long flags;

	file->slot = slot;
	file->granted = slot->granted;
	file->geometry = open->geometry;
	file->channel = open->channel;
	down_write(&vdev->window_lock);
	spin_lock_irqsave(&vdev->lock, flags);
	file->kicks = 0;
	file->reset = vdev->epoch != slot->epoch;
	file->gone = file->reset || device_says_gone(slot);
	file->news = file->gone;
	if (file->gone && slot->grants)
		tell_ended(slot);
	slot->file = file;
	spin_unlock_irqrestore(&vdev->lock, flags);
	slot->window = file->window;
	if (slot->window && file->reset)
		vgpu_window_revoke(slot->window, false);
	up_write(&vdev->window_lock);
}

/* No program maps it: none was told of it yet, or all mappings are gone. */
static void drop_window(struct vgpu_file *file)
{
	vgpu_window_free(file->window);
	file->window = NULL;
}

/* The file's part of the window, or the slot's memory. */
static int make_channel(struct vgpu_slot *slot, struct vgpu_file *file,
			const struct vgpu_channel_geometry *g)
{
	if (slot->granted)
		return make_grants(slot, g);
	if (!slot->place)
		return make_memory(slot, g);
	file->window = vgpu_window_new(file, slot->place - 1, g->total_bytes);
	return file->window ? 0 : -ENOMEM;
}

static int open_in(struct vgpu_slot *slot, struct vgpu_file *file, struct vgpu_ioc_open *open)
{
	int err;

	if (!geometry_ok(slot, &open->geometry)) {
		refuse(open, VGPU_BAD_MESSAGE, "the device told a layout that cannot be");
		return 0;
	}
	err = make_channel(slot, file, &open->geometry);
	if (err == -ENOSPC && slot->granted) {
		refuse(open, VGPU_LIMIT,
		       "this machine is out of grants or event channels (see max_grant_frames)");
		return 0;
	}
	if (!err)
		err = command_attach(slot, open);
	if (!err && open->status == VGPU_OK) {
		hand_over(slot, file, open);
		return 0;
	}
	drop_window(file);
	return err;
}

static bool any_closing(struct vgpu_device *vdev)
{
	return READ_ONCE(vdev->closing) > 0;
}

/* Whether the window had no room while channels that were given up had yet to leave it. */
static bool worth_another_try(struct vgpu_slot *slot, const struct vgpu_ioc_open *open)
{
	struct vgpu_device *vdev = slot->vdev;

	if (!vdev->window || (open->status == VGPU_OK ? slot->place : open->status != VGPU_LIMIT))
		return false;
	return wait_event_killable_timeout(vdev->slot_wait,
					   !any_closing(vdev) || READ_ONCE(vdev->dead),
					   VGPU_ROOM_JIFFIES) > 0;
}

/* *again: whether there may be another try, then whether it is wanted; then nothing was opened. */
static int try_open(struct vgpu_file *file, bool granted, struct vgpu_ioc_open *open, bool *again)
{
	struct vgpu_device *vdev = file->vdev;
	bool closing = any_closing(vdev);
	struct vgpu_slot *slot = take(vdev);
	int err;

	if (!slot) {
		*again = false;
		if (fatal_signal_pending(current))
			return -EINTR;
		refuse(open, VGPU_LIMIT, "all channels of this device are in use");
		return 0;
	}
	slot->granted = granted;
	err = command_open(slot, open);
	*again = !err && *again && closing && worth_another_try(slot, open);
	if (!err && open->status != VGPU_OK) {
		make_free(slot, false);
		return 0;
	}
	if (!err && !*again)
		err = open_in(slot, file, open);
	if (err || open->status != VGPU_OK || *again)
		close_later(slot);
	return err;
}

/* In the window, or relayed. */
static int open_shown(struct vgpu_file *file, struct vgpu_ioc_open *open)
{
	const struct vgpu_ioc_open ask = *open;
	bool again = true;
	int err;

	if (!choose_sizes(file->vdev, false, open))
		return 0;
	err = try_open(file, false, open, &again);
	if (err || !again)
		return err;
	*open = ask;
	choose_sizes(file->vdev, false, open);
	again = false;
	return try_open(file, false, open, &again);
}

static int open_granted(struct vgpu_file *file, struct vgpu_ioc_open *open)
{
	bool again = false;

	return choose_sizes(file->vdev, true, open) ? try_open(file, true, open, &again) : 0;
}

/* Refusals that would be the same for a relayed channel. */
static bool for_any_channel(u32 status)
{
	return status == VGPU_BUSY || status == VGPU_STARTING || status == VGPU_QUARANTINED ||
	       status == VGPU_NO_GPU;
}

int vgpu_slot_open(struct vgpu_file *file, struct vgpu_ioc_open *open)
{
	u32 features = file->vdev->transport->features(file->vdev);
	const struct vgpu_ioc_open ask = *open;
	int err;

	if (!(features & (VGPU_DEVICE_GRANT | VGPU_DEVICE_RELAY))) {
		refuse(open, VGPU_STARTING, "the host has yet to take this device up");
		open->retry_ns = NSEC_PER_SEC;
		return 0;
	}
	if (!(features & VGPU_DEVICE_GRANT) || !vgpu_grants_usable())
		return open_shown(file, open);
	err = open_granted(file, open);
	if (err || open->status == VGPU_OK || for_any_channel(open->status) ||
	    !(features & VGPU_DEVICE_RELAY))
		return err;
	dev_info_ratelimited(file->vdev->parent, "no channel by grants (%s): it is relayed\n",
			     open->text);
	*open = ask;
	return open_shown(file, open);
}

void vgpu_slot_release(struct vgpu_file *file)
{
	struct vgpu_device *vdev = file->vdev;
	struct vgpu_slot *slot = file->slot;
	unsigned long flags;

	file->slot = NULL;
	down_write(&vdev->window_lock);
	slot->window = NULL;
	up_write(&vdev->window_lock);
	drop_window(file);
	down_read(&vdev->alive);
	if (!vdev->dead) {
		close_later(slot);
	} else {
		/* Removal frees the rest; it must not find a file that is no more. */
		spin_lock_irqsave(&vdev->lock, flags);
		slot->file = NULL;
		spin_unlock_irqrestore(&vdev->lock, flags);
	}
	up_read(&vdev->alive);
}

/* Interrupts, reset, removal */

static void wake(struct vgpu_file *file)
{
	file->kicks++;
	if (file->eventfd)
		vgpu_eventfd_signal(file->eventfd);
	wake_up_interruptible(&file->wait);
}

static void note_gone(struct vgpu_file *file, bool reset)
{
	if (file->gone)
		return;
	file->gone = true;
	file->reset = reset;
	file->news = true;
}

/*
 * The interrupt that tells of the end may be handled later than the channel's last one, by another
 * processor: who is woken for the last time finds that it was.
 */
void vgpu_slot_kick(struct vgpu_slot *slot)
{
	struct vgpu_file *file = slot->file;

	if (!file)
		return;
	if (device_says_gone(slot)) {
		if (slot->grants)
			tell_ended(slot);
		note_gone(file, false);
	}
	wake(file);
}

void vgpu_slots_answered(struct vgpu_device *vdev)
{
	u32 i;

	for_each_set_bit(i, vdev->used, VGPU_SLOTS) {
		struct vgpu_slot *slot = &vdev->slot[i];

		if (slot->file && !slot->file->gone && device_says_gone(slot))
			vgpu_slot_kick(slot);
		wake_up(&slot->wait);
	}
}

void vgpu_slots_reset(struct vgpu_device *vdev)
{
	u32 i;

	for_each_set_bit(i, vdev->used, VGPU_SLOTS) {
		struct vgpu_slot *slot = &vdev->slot[i];

		tell_ended(slot);
		if (slot->file && !slot->file->gone) {
			note_gone(slot->file, true);
			wake(slot->file);
		}
		wake_up(&slot->wait);
	}
}

bool vgpu_slots_granted(struct vgpu_device *vdev)
{
	bool granted = false;
	unsigned long flags;
	u32 i;

	spin_lock_irqsave(&vdev->lock, flags);
	for_each_set_bit(i, vdev->used, VGPU_SLOTS)
		granted |= vdev->slot[i].grants != NULL;
	spin_unlock_irqrestore(&vdev->lock, flags);
	return granted;
}

void vgpu_slots_wake(struct vgpu_device *vdev)
{
	u32 i;

	for (i = 0; i < VGPU_SLOTS; i++)
		wake_up(&vdev->slot[i].wait);
}

void vgpu_slots_revoke(struct vgpu_device *vdev, bool keep_contents)
{
	u32 i;

	for (i = 0; i < VGPU_SLOTS; i++)
		if (vdev->slot[i].window)
			vgpu_window_revoke(vdev->slot[i].window, keep_contents);
}

void vgpu_slots_remove(struct vgpu_device *vdev)
{
	u32 i;

	for (i = 0; i < VGPU_SLOTS; i++) {
		struct vgpu_slot *slot = &vdev->slot[i];

		if (slot->file)
			unmap_mapping_range(slot->file->mapping, VGPU_MMAP_DOORBELL, PAGE_SIZE, 1);
		make_free(slot, false);
	}
}

void vgpu_slot_gone_reason(struct vgpu_file *file, u32 *ret_status, char *ret_text)
{
	struct vgpu_device_command *command = command_of(file->slot);

	if (file->reset) {
		*ret_status = VGPU_GONE;
		strscpy(ret_text, "the device was reset", VGPU_STATUS_TEXT_BYTES);
		return;
	}
	*ret_status = vgpu_le32(READ_ONCE(command->gone_status));
	memcpy(ret_text, command->gone_text, VGPU_STATUS_TEXT_BYTES);
	ret_text[VGPU_STATUS_TEXT_BYTES - 1] = '\0';
}

void vgpu_slots_init(struct vgpu_device *vdev)
{
	u32 i;

	for (i = 0; i < VGPU_SLOTS; i++) {
		struct vgpu_slot *slot = &vdev->slot[i];

		slot->vdev = vdev;
		slot->index = i;
		init_waitqueue_head(&slot->wait);
		INIT_WORK(&slot->close, close_work);
	}
}
