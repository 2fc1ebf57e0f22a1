/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The parts of vgpu.ko and how they use each other. include/vgpu/pci_regs.h is the device,
 * include/vgpu/ioctl.h what programs see.
 *
 *   device.c      /dev/vgpuN comes and goes, reset; whatever the transport
 *   pci.c         the transport by which vgpu-stub is reached: registers, interrupts
 *   xenbus.c      on Xen, the one without that device: granted pages, an event channel
 *   slot.c        the device's slots: who has one, its commands, its end
 *   memory.c      a relayed channel's pages and the tables by which the device finds them
 *   window.c      other channels' memory: parts of the device's window
 *   grant.c       on Xen: pages that are granted to the host, and event channels
 *   file.c        an open file: ioctl, mmap, read, poll
 *   monitor.c     what the VM may know of its GPUs, asked without a channel
 *   attributes.c  sysfs
 *
 * Lifetimes. A struct vgpu_device lives until the last open file is closed; the PCI device under it
 * may go earlier. Whoever touches a register, the command area or a struct vgpu_memory holds
 * `alive` for reading and has seen `dead` false; remove() sets `dead`, wakes all who wait, takes
 * `alive` for writing, and then frees all of that. A struct vgpu_file lives as long as the open
 * file, and with it its part of the window. A slot's memory is freed when the device has answered
 * CLOSE or has been reset, by a work item: the process that had it need not wait.
 *
 * Locks, outermost first: mmap_lock, vgpu_device.alive, vgpu_device.window_lock, vgpu_file.lock,
 * vgpu_memory.lock, vgpu_device.lock (a spin lock, taken in interrupts). Nothing copies to or from
 * user memory with any of them held.
 */
#ifndef VGPU_DRIVER_H
#define VGPU_DRIVER_H

#include <linux/atomic.h>
#include <linux/bitmap.h>
#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/io.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include <vgpu/grant.h>
#include <vgpu/ioctl.h>
#include <vgpu/pci_regs.h>

#include "compat.h"

/* Pages of the contracts are 4096 bytes, and are mapped one by one. */
static_assert(PAGE_SIZE == 4096, "vgpu needs a kernel with pages of 4096 bytes");

/* A device that has not answered ATTACH or CLOSE by then is reset. */
#define VGPU_ANSWER_JIFFIES (10 * HZ)
/* The same for CLOSE of a channel by grants, whose worker has to die first. */
#define VGPU_END_JIFFIES (60 * HZ)
/* How long OPEN waits for a slot whose last user has just left. */
#define VGPU_SLOT_JIFFIES (5 * HZ)
/* How long it waits for room in the window, if that may come. */
#define VGPU_ROOM_JIFFIES HZ

/* The slots' commands and the question about GPUs. */
#define VGPU_COMMAND_AREA_BYTES (VGPU_COMMANDS_BYTES + sizeof(struct vgpu_monitor_command))

struct vgpu_device;
struct vgpu_file;
struct vgpu_grants;
struct vgpu_memory;
struct vgpu_window;
struct vgpu_xen;

/*
 * How the host is reached. The command area has the same layout with each, and is the transport's:
 * it is there from vgpu_device_start() to after vgpu_device_end().
 */
struct vgpu_transport {
	/* Under vgpu_device.lock. */
	void (*command)(struct vgpu_device *vdev, u32 slot); /* to be taken by the host */
	void (*stop)(struct vgpu_device *vdev); /* all is forgotten, and no memory touched */
	void (*program)(struct vgpu_device *vdev); /* after that: commands are taken again */
	/* Within vgpu_enter(). */
	u32 (*features)(struct vgpu_device *vdev); /* VGPU_DEVICE_* */
	u64 (*max_data)(struct vgpu_device *vdev); /* bytes; 0: not known */
	int (*state)(struct vgpu_device *vdev, struct vgpu_ioc_state *ret);
	/* NULL: the device has none. */
	u64 (*counter)(struct vgpu_device *vdev, enum vgpu_device_counter counter);
	bool granted; /* the command area itself is granted to the host */
};

struct vgpu_vector {
	struct vgpu_device *vdev;
	u32 index;
};

/* An event channel of ours; irq 0: there is none. */
struct vgpu_event {
	int irq;
	u32 port;
	void (*handler)(void *opaque); /* in an interrupt */
	void *opaque;
};

struct vgpu_slot {
	struct vgpu_device *vdev;
	u32 index;
	u32 tag; /* of the last command */
	u32 place; /* in the window, as in struct vgpu_device_command */
	u32 epoch; /* of the device when the channel was opened */
	wait_queue_head_t wait; /* for an answer */
	struct work_struct close;
	struct vgpu_memory
		*memory; /* what ATTACH told of; freed with the slot. NULL: in the window */
	struct vgpu_window *window; /* the file's part of it; under vgpu_device.window_lock */
	bool granted; /* OPEN asks, or has asked, for a channel by grants: */
	u32 backend; /* the domain to grant to */
	struct vgpu_grants *grants; /* its memory; freed with the slot */
	struct vgpu_event event; /* its kicks, both ways */
	/* Under vgpu_device.lock. */
	struct vgpu_file *file; /* whom interrupts reach */
	struct vgpu_channel_notice *notice; /* in `memory` or `grants` */
};

struct vgpu_device {
	struct device dev; /* the class device; owns this structure */
	struct cdev cdev;
	struct device *parent;
	const struct vgpu_transport *transport;
	struct vgpu_device_command *commands;
	struct workqueue_struct *workqueue;
	struct work_struct news_work;

	/* pci.c */
	struct pci_dev *pdev;
	void __iomem *regs;
	resource_size_t doorbells;
	dma_addr_t commands_dma;
	void *window; /* NULL: there is none, or it is not used */
	u64 window_bytes;
	unsigned long window_pfn;
	u32 vectors;
	struct vgpu_vector vector[VGPU_MSIX_VECTORS];

	struct vgpu_xen *xen; /* xenbus.c */

	struct rw_semaphore alive;
	bool dead; /* written once; also read without a lock, to stop waiting */
	/* For writing by who resets the device, so that no part of the window is mapped meanwhile.
	 */
	struct rw_semaphore window_lock;

	spinlock_t lock;
	u32 epoch; /* resets so far */
	u32 closing; /* slots that are given up, and not free yet */
	DECLARE_BITMAP(used, VGPU_SLOTS);
	struct vgpu_slot slot[VGPU_SLOTS];

	struct mutex monitor_lock; /* within `alive`; what follows, and the command */
	u32 monitor_tag; /* of the last one */
	wait_queue_head_t monitor_wait; /* for its answer */

	wait_queue_head_t slot_wait; /* for a slot to become free */
	wait_queue_head_t news_wait;
	u32 news; /* changes of state or texts so far */
	atomic_long_t pages; /* of all channels */

	struct mutex state_lock;
	bool state_valid;
	u32 state_generation;
	struct vgpu_ioc_state state; /* texts and numbers as of that generation */
};

enum vgpu_file_phase { VGPU_FILE_IDLE, VGPU_FILE_OPENING, VGPU_FILE_OPEN };

struct vgpu_file {
	struct vgpu_device *vdev;
	struct address_space *mapping;
	struct mutex lock;
	enum vgpu_file_phase phase; /* OPEN is published by store-release and stays */
	struct vgpu_slot *slot;
	struct vgpu_window *window; /* NULL: the memory is the slot's */
	bool granted; /* by grants; neither: the channel is relayed */
	struct vgpu_channel_geometry geometry;
	u32 channel;
	struct page *scratch; /* in the doorbell's place when the device has gone; under `lock` */
	wait_queue_head_t wait;
	/* Under vgpu_device.lock. */
	u64 kicks;
	bool gone; /* the channel has ended */
	bool reset; /* by a reset or by removal, so that the command area does not tell why */
	bool news;
	u32 news_seen; /* of vgpu_device.news */
	struct eventfd_ctx *eventfd;
};

/* Fields of structures in guest memory are little-endian, and declared as plain integers. */
static inline u32 vgpu_le32(u32 value)
{
	return (__force u32)cpu_to_le32(value);
}

static inline u64 vgpu_le64(u64 value)
{
	return (__force u64)cpu_to_le64(value);
}

static inline u32 vgpu_read(struct vgpu_device *vdev, u32 offset)
{
	return ioread32(vdev->regs + offset);
}

static inline void vgpu_write(struct vgpu_device *vdev, u32 offset, u32 value)
{
	iowrite32(value, vdev->regs + offset);
}

/* Holds the PCI device in place, or says -ENODEV. */
static inline int vgpu_enter(struct vgpu_device *vdev)
{
	down_read(&vdev->alive);
	if (!vdev->dead)
		return 0;
	up_read(&vdev->alive);
	return -ENODEV;
}

static inline void vgpu_leave(struct vgpu_device *vdev)
{
	up_read(&vdev->alive);
}

/* device.c, for transports, in this order */
/* With a number of its own; ends with vgpu_device_put(). An ERR_PTR() otherwise. */
struct vgpu_device *vgpu_device_new(struct device *parent, const struct vgpu_transport *transport);
void vgpu_device_put(struct vgpu_device *vdev);
/* Before the first interrupt; ends with vgpu_device_end(), after the last. */
int vgpu_device_start(struct vgpu_device *vdev);
void vgpu_device_end(struct vgpu_device *vdev);
/* Programs can open it. */
int vgpu_device_publish(struct vgpu_device *vdev);
void vgpu_device_unpublish(struct vgpu_device *vdev);
/* Ends everything that uses the device. Whoever comes later finds it dead. */
void vgpu_device_stop(struct vgpu_device *vdev);
/* Ends all channels, and takes new ones if it goes on. */
void vgpu_device_halt(struct vgpu_device *vdev, bool keep_contents, bool go_on);
/* The state has changed; under vgpu_device.lock. */
void vgpu_device_news(struct vgpu_device *vdev);

/* device.c, for the others */
extern const struct attribute_group *vgpu_attribute_groups[];
/* The device's part of the structure; the rest is zero. -ENODEV: it was pulled out. */
int vgpu_device_state(struct vgpu_device *vdev, struct vgpu_ioc_state *ret);
/* Ends all channels; pages that were attached are the driver's alone afterwards. */
void vgpu_device_reset(struct vgpu_device *vdev);

/* pci.c */
int vgpu_pci_register(void);
void vgpu_pci_unregister(void);

/* xenbus.c */
#ifdef VGPU_XEN
int vgpu_xenbus_register(void);
void vgpu_xenbus_unregister(void);
#else
static inline int vgpu_xenbus_register(void)
{
	return 0;
}

static inline void vgpu_xenbus_unregister(void)
{
}
#endif

/* slot.c; vgpu_slot_open() and vgpu_slot_gone_reason() within vgpu_enter() */
void vgpu_slots_init(struct vgpu_device *vdev);
/*
 * Opens a channel in a free slot and attaches its memory. 0 with status VGPU_OK: the slot is the
 * file's. 0 with another status: refused, and why. Killable.
 */
int vgpu_slot_open(struct vgpu_file *file, struct vgpu_ioc_open *open);
/* Gives the file's slot up, outside of vgpu_enter(); does not wait for the device. */
void vgpu_slot_release(struct vgpu_file *file);
/* Whether the host has pages of ours. */
bool vgpu_slots_granted(struct vgpu_device *vdev);
/* Interrupts; under vgpu_device.lock. */
void vgpu_slot_kick(struct vgpu_slot *slot);
void vgpu_slots_answered(struct vgpu_device *vdev);
/* The device has forgotten all channels; under vgpu_device.lock. */
void vgpu_slots_reset(struct vgpu_device *vdev);
/* Whoever waits for an answer looks again. */
void vgpu_slots_wake(struct vgpu_device *vdev);
/* Before a reset, with window_lock for writing: no program has the window mapped afterwards. */
void vgpu_slots_revoke(struct vgpu_device *vdev, bool keep_contents);
/* The device touches no memory any more, and nobody is within vgpu_enter(). */
void vgpu_slots_remove(struct vgpu_device *vdev);
/* Why a file's channel is gone. */
void vgpu_slot_gone_reason(struct vgpu_file *file, u32 *ret_status, char *ret_text);

/* memory.c; within vgpu_enter(), or from remove */
struct vgpu_memory *vgpu_memory_new(struct vgpu_device *vdev, u64 total_bytes);
void vgpu_memory_free(struct vgpu_memory *memory);
/* Makes pages that are not there yet: 0, -ENOMEM, -EINTR by a fatal signal. */
int vgpu_memory_populate(struct vgpu_memory *memory, u64 first, u64 count);
/* One page, made if it is not there yet, with a reference for the caller. NULL: no memory. */
struct page *vgpu_memory_page(struct vgpu_memory *memory, u64 index);
dma_addr_t vgpu_memory_directory(struct vgpu_memory *memory);
/* A page more, or one less, of what all channels together may have. */
bool vgpu_memory_allow(struct vgpu_device *vdev);
void vgpu_memory_disallow(struct vgpu_device *vdev);

/* grant.c, with VGPU_XEN only */
#ifdef VGPU_XEN
/* This is a guest of Xen's, and nobody has said that it is not to grant. */
bool vgpu_grants_usable(void);
/* Zeroed pages, granted, behind a directory. -ENOMEM, -ENOSPC: no references, -EINTR: fatal signal.
 */
struct vgpu_grants *vgpu_grants_new(struct vgpu_device *vdev, u32 backend, u32 pages);
/* The directory's reference; 0: there is none any more. */
u32 vgpu_grants_directory(const struct vgpu_grants *set);
/* The backend has read the directory: it and the tables are freed. */
void vgpu_grants_settled(struct vgpu_grants *set);
/* NULL: the set has not so many. The reference is the set's. */
struct page *vgpu_grants_page(const struct vgpu_grants *set, u64 index);
/* NULL is fine. */
void vgpu_grants_free(struct vgpu_grants *set);
/* A port that `backend` may bind. `event` is zeroed, and stays where it is. */
int vgpu_event_init(struct vgpu_event *event, u32 backend, const char *name,
		    void (*handler)(void *opaque), void *opaque);
void vgpu_event_release(struct vgpu_event *event);
void vgpu_event_kick(const struct vgpu_event *event);
#else
static inline bool vgpu_grants_usable(void)
{
	return false;
}

static inline struct vgpu_grants *vgpu_grants_new(struct vgpu_device *vdev, u32 backend, u32 pages)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static inline u32 vgpu_grants_directory(const struct vgpu_grants *set)
{
	return 0;
}

static inline void vgpu_grants_settled(struct vgpu_grants *set)
{
}

static inline struct page *vgpu_grants_page(const struct vgpu_grants *set, u64 index)
{
	return NULL;
}

static inline void vgpu_grants_free(struct vgpu_grants *set)
{
}

static inline int vgpu_event_init(struct vgpu_event *event, u32 backend, const char *name,
				  void (*handler)(void *opaque), void *opaque)
{
	return -EOPNOTSUPP;
}

static inline void vgpu_event_release(struct vgpu_event *event)
{
}

static inline void vgpu_event_kick(const struct vgpu_event *event)
{
}
#endif

/* window.c */
/* At probe: the device has a window from then on, or it has not. */
void vgpu_window_find(struct vgpu_device *vdev);
void vgpu_window_lose(struct vgpu_device *vdev);
/* Whether total_bytes from a page on lie in it. */
bool vgpu_window_has(struct vgpu_device *vdev, u64 first, u64 total_bytes);
/* A part for a file, which frees it when nobody maps it any more. */
struct vgpu_window *vgpu_window_new(struct vgpu_file *file, u64 first, u64 total_bytes);
void vgpu_window_free(struct vgpu_window *part);
/* Pages of the driver's own take its place; window_lock is held for writing. */
void vgpu_window_revoke(struct vgpu_window *part, bool keep_contents);
void vgpu_window_mmap(struct vgpu_window *part, struct vm_area_struct *vma);

/* monitor.c; within vgpu_enter() */
/* Fills the answer in. Killable. -EOPNOTSUPP: the device cannot be asked. */
int vgpu_monitor_ask(struct vgpu_device *vdev, struct vgpu_ioc_monitor *ask);

/* file.c */
extern const struct file_operations vgpu_file_operations;

#endif
