// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * An open /dev/vgpuN: at most one channel, from VGPU_IOC_OPEN to the last close of file and
 * mappings. include/vgpu/ioctl.h and man/vgpu.4 say what programs see.
 *
 * Everything that comes from a program is checked here; slot.c and memory.c take it as checked.
 */
#include <linux/eventfd.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/poll.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "driver.h"

static bool is_open(struct vgpu_file *file)
{
	/* Partner: the store in ioctl_open(). */
	return smp_load_acquire(&file->phase) == VGPU_FILE_OPEN;
}

static u64 channel_pages(const struct vgpu_file *file)
{
	u64 pages = file->geometry.total_bytes / PAGE_SIZE;

	return file->window || file->granted ? pages : pages + 1; /* and the page of transfers */
}

/* ioctl */

static long ioctl_state(struct vgpu_file *file, void __user *arg)
{
	struct vgpu_device *vdev = file->vdev;
	struct vgpu_ioc_state state;
	unsigned long flags;
	bool gone = false;
	int err;

	err = vgpu_enter(vdev);
	if (err)
		return err;
	/* The news are taken before the state is read: what comes later is news again. */
	spin_lock_irqsave(&vdev->lock, flags);
	file->news = false;
	file->news_seen = vdev->news;
	spin_unlock_irqrestore(&vdev->lock, flags);
	err = vgpu_device_state(vdev, &state);
	if (!err && is_open(file)) {
		state.channel = file->channel;
		spin_lock_irqsave(&vdev->lock, flags);
		gone = file->gone;
		spin_unlock_irqrestore(&vdev->lock, flags);
	}
	if (gone) {
		state.gone = 1;
		vgpu_slot_gone_reason(file, &state.gone_status, state.gone_text);
	}
	vgpu_leave(vdev);
	if (err)
		return err;
	return copy_to_user(arg, &state, sizeof(state)) ? -EFAULT : 0;
}

static bool granules_ok(u32 granules)
{
	return !granules || (granules >= VGPU_RING_MIN_GRANULES &&
			     granules <= VGPU_RING_MAX_GRANULES && is_power_of_2(granules));
}

/* Only what is asked stays; the name is the program's own, or that of the task. */
static int check_open(struct vgpu_ioc_open *open)
{
	struct vgpu_ioc_open ask = {
		.sub_granules = open->sub_granules,
		.comp_granules = open->comp_granules,
		.data_bytes = open->data_bytes,
	};
	char comm[TASK_COMM_LEN];

	if (!granules_ok(open->sub_granules) || !granules_ok(open->comp_granules) ||
	    open->data_bytes % PAGE_SIZE ||
	    strnlen(open->process, sizeof(open->process)) == sizeof(open->process))
		return -EINVAL;
	get_task_comm(comm, current);
	strscpy(ask.process, open->process[0] ? open->process : comm, sizeof(ask.process));
	*open = ask;
	return 0;
}

static int begin_open(struct vgpu_file *file)
{
	int err = 0;

	mutex_lock(&file->lock);
	if (file->phase == VGPU_FILE_IDLE)
		file->phase = VGPU_FILE_OPENING;
	else
		err = -EBUSY;
	mutex_unlock(&file->lock);
	return err;
}

static long ioctl_open(struct vgpu_file *file, void __user *arg)
{
	struct vgpu_ioc_open open;
	bool opened = false;
	long err;

	if (copy_from_user(&open, arg, sizeof(open)))
		return -EFAULT;
	err = check_open(&open);
	if (!err)
		err = begin_open(file);
	if (err)
		return err;
	err = vgpu_enter(file->vdev);
	if (!err) {
		err = vgpu_slot_open(file, &open);
		opened = !err && open.status == VGPU_OK;
		vgpu_leave(file->vdev);
	}
	if (!err && copy_to_user(arg, &open, sizeof(open))) {
		err = -EFAULT;
		/* A program that could not be told of its channel has none. */
		if (opened)
			vgpu_slot_release(file);
		opened = false;
	}
	/* Partner: is_open(). */
	smp_store_release(&file->phase, opened ? VGPU_FILE_OPEN : VGPU_FILE_IDLE);
	return err;
}

static long ioctl_populate(struct vgpu_file *file, void __user *arg)
{
	struct vgpu_ioc_populate part;
	u64 total;
	int err;

	if (copy_from_user(&part, arg, sizeof(part)))
		return -EFAULT;
	if (!is_open(file))
		return -ENOTCONN;
	total = file->geometry.total_bytes;
	if (!part.bytes || (part.offset | part.bytes) % PAGE_SIZE || part.offset > total ||
	    part.bytes > total - part.offset)
		return -EINVAL;
	err = vgpu_enter(file->vdev);
	if (err)
		return err;
	if (!file->window && !file->granted)
		err = vgpu_memory_populate(file->slot->memory, part.offset / PAGE_SIZE,
					   part.bytes / PAGE_SIZE);
	vgpu_leave(file->vdev);
	return err;
}

static long ioctl_monitor(struct vgpu_file *file, void __user *arg)
{
	struct vgpu_ioc_monitor *ask = memdup_user(arg, sizeof(*ask));
	int err;

	if (IS_ERR(ask))
		return PTR_ERR(ask);
	/* Only the question stays of what the program gave. */
	*ask = (struct vgpu_ioc_monitor){ .gpu = ask->gpu, .first = ask->first };
	err = vgpu_enter(file->vdev);
	if (!err) {
		err = vgpu_monitor_ask(file->vdev, ask);
		vgpu_leave(file->vdev);
	}
	if (!err && copy_to_user(arg, ask, sizeof(*ask)))
		err = -EFAULT;
	kfree(ask);
	return err;
}

static long ioctl_eventfd(struct vgpu_file *file, void __user *arg)
{
	struct eventfd_ctx *eventfd = NULL, *old;
	unsigned long flags;
	s32 fd;

	if (copy_from_user(&fd, arg, sizeof(fd)))
		return -EFAULT;
	if (fd != -1) {
		eventfd = eventfd_ctx_fdget(fd);
		if (IS_ERR(eventfd))
			return PTR_ERR(eventfd);
	}
	spin_lock_irqsave(&file->vdev->lock, flags);
	old = file->eventfd;
	file->eventfd = eventfd;
	spin_unlock_irqrestore(&file->vdev->lock, flags);
	if (old)
		eventfd_ctx_put(old);
	return 0;
}

static long vgpu_ioctl(struct file *filp, unsigned int cmd, unsigned long arg)
{
	struct vgpu_file *file = filp->private_data;
	void __user *user = (void __user *)arg;

	switch (cmd) {
	case VGPU_IOC_STATE:
		return ioctl_state(file, user);
	case VGPU_IOC_OPEN:
		return ioctl_open(file, user);
	case VGPU_IOC_POPULATE:
		return ioctl_populate(file, user);
	case VGPU_IOC_EVENTFD:
		return ioctl_eventfd(file, user);
	case VGPU_IOC_MONITOR:
		return ioctl_monitor(file, user);
	default:
		return -ENOTTY;
	}
}

/* mmap */

/*
 * What had not been mapped when the device went is gone with it. A blank page stands in, in which
 * the channel has ended: the program finds out, and is not killed for where it happened to read.
 */
static struct page *blank_page(u64 index)
{
	struct page *page = alloc_page(GFP_USER | __GFP_ACCOUNT | __GFP_ZERO);
	struct vgpu_channel_page *channel;

	if (page && index == 0) {
		channel = page_address(page);
		channel->notice.state = vgpu_le32(VGPU_CHANNEL_ENDED);
	}
	return page;
}

/* A page of the slot's memory, with a reference for the caller. */
static struct page *channel_page(struct vgpu_file *file, u64 index)
{
	struct page *page;

	if (!file->granted)
		return vgpu_memory_page(file->slot->memory, index);
	page = vgpu_grants_page(file->slot->grants, index);
	if (page)
		get_page(page);
	return page;
}

/*
 * Real pages, so that they can be pinned; a relayed channel's are made when they are first touched.
 */
static vm_fault_t channel_fault(struct vm_fault *vmf)
{
	struct vgpu_file *file = vmf->vma->vm_private_data;

	if (vgpu_enter(file->vdev)) {
		vmf->page = blank_page(vmf->pgoff);
		return vmf->page ? 0 : VM_FAULT_SIGBUS;
	}
	vmf->page = channel_page(file, vmf->pgoff);
	vgpu_leave(file->vdev);
	return vmf->page ? 0 : VM_FAULT_SIGBUS;
}

static const struct vm_operations_struct channel_vm_operations = {
	.fault = channel_fault,
};

/* A page of the file's own stands in for the doorbell of a device that has gone. */
static vm_fault_t scratch_fault(struct vgpu_file *file, struct vm_fault *vmf)
{
	mutex_lock(&file->lock);
	if (!file->scratch)
		file->scratch = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	mutex_unlock(&file->lock);
	if (!file->scratch)
		return VM_FAULT_SIGBUS;
	return vmf_insert_pfn(vmf->vma, vmf->address, page_to_pfn(file->scratch));
}

/*
 * By fault and not at once, so that removal can take the page back from every mapping: one that is
 * just being made is not found yet, but faults later.
 */
static vm_fault_t doorbell_fault(struct vm_fault *vmf)
{
	struct vgpu_file *file = vmf->vma->vm_private_data;
	struct vgpu_device *vdev = file->vdev;
	resource_size_t address;
	vm_fault_t ret;

	if (vgpu_enter(vdev))
		return scratch_fault(file, vmf);
	address = vdev->doorbells + (resource_size_t)file->slot->index * VGPU_DOORBELL_PAGE_BYTES;
	ret = vmf_insert_pfn(vmf->vma, vmf->address, address >> PAGE_SHIFT);
	vgpu_leave(vdev);
	return ret;
}

static const struct vm_operations_struct doorbell_vm_operations = {
	.fault = doorbell_fault,
};

static int vgpu_mmap(struct file *filp, struct vm_area_struct *vma)
{
	struct vgpu_file *file = filp->private_data;
	u64 first = vma->vm_pgoff, count = vma_pages(vma);
	bool doorbell = first == VGPU_MMAP_DOORBELL >> PAGE_SHIFT;
	unsigned long frames = VM_IO | VM_PFNMAP; /* pages without a struct page */

	if (!is_open(file))
		return -ENOTCONN;
	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (vma->vm_flags & VM_EXEC)
		return -EACCES;
	if (doorbell ? count != 1 || file->granted
		     : first >= channel_pages(file) || count > channel_pages(file) - first)
		return -EINVAL;
	vma->vm_private_data = file;
	if (doorbell) {
		vma->vm_page_prot = pgprot_noncached(vma->vm_page_prot);
		vma->vm_ops = &doorbell_vm_operations;
	} else if (file->window) {
		vgpu_window_mmap(file->window, vma);
	} else {
		vma->vm_ops = &channel_vm_operations;
		frames = 0;
	}
	vgpu_vma_flags(vma, VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP | frames, VM_MAYEXEC);
	return 0;
}

/* read, write and poll */

enum kicks { KICKS_NONE, KICKS_SOME, KICKS_END, KICKS_REMOVED };

static enum kicks take_kicks(struct vgpu_file *file, u64 *ret)
{
	enum kicks result = KICKS_NONE;
	unsigned long flags;

	spin_lock_irqsave(&file->vdev->lock, flags);
	if (file->kicks) {
		*ret = file->kicks;
		file->kicks = 0;
		result = KICKS_SOME;
	} else if (file->vdev->dead) {
		result = KICKS_REMOVED;
	} else if (file->gone) {
		result = KICKS_END;
	}
	spin_unlock_irqrestore(&file->vdev->lock, flags);
	return result;
}

static ssize_t vgpu_read_kicks(struct file *filp, char __user *buffer, size_t size, loff_t *offset)
{
	struct vgpu_file *file = filp->private_data;
	enum kicks result;
	u64 kicks = 0;

	if (size < sizeof(kicks))
		return -EINVAL;
	if (!is_open(file))
		return -ENOTCONN;
	result = take_kicks(file, &kicks);
	if (result == KICKS_NONE) {
		if (filp->f_flags & O_NONBLOCK)
			return -EAGAIN;
		if (wait_event_interruptible(file->wait,
					     (result = take_kicks(file, &kicks)) != KICKS_NONE))
			return -ERESTARTSYS;
	}
	if (result == KICKS_REMOVED)
		return -ENODEV;
	if (result == KICKS_END)
		return 0;
	return copy_to_user(buffer, &kicks, sizeof(kicks)) ? -EFAULT : sizeof(kicks);
}

/* The submission kick of a channel by grants: an event, which only the kernel can send. */
static ssize_t vgpu_write_kick(struct file *filp, const char __user *buffer, size_t size,
			       loff_t *offset)
{
	struct vgpu_file *file = filp->private_data;
	int err;

	if (size != sizeof(u64))
		return -EINVAL;
	if (!is_open(file))
		return -ENOTCONN;
	if (!file->granted)
		return -EOPNOTSUPP;
	err = vgpu_enter(file->vdev);
	if (err)
		return err;
	vgpu_event_kick(&file->slot->event);
	vgpu_leave(file->vdev);
	return sizeof(u64);
}

static __poll_t vgpu_poll(struct file *filp, poll_table *wait)
{
	struct vgpu_file *file = filp->private_data;
	struct vgpu_device *vdev = file->vdev;
	unsigned long flags;
	__poll_t mask = 0;

	poll_wait(filp, &file->wait, wait);
	poll_wait(filp, &vdev->news_wait, wait);
	spin_lock_irqsave(&vdev->lock, flags);
	if (file->kicks)
		mask |= EPOLLIN | EPOLLRDNORM;
	if (file->news || file->news_seen != vdev->news)
		mask |= EPOLLPRI;
	if (file->gone)
		mask |= EPOLLHUP;
	if (vdev->dead)
		mask |= EPOLLHUP | EPOLLERR;
	spin_unlock_irqrestore(&vdev->lock, flags);
	return mask;
}

/* open and release */

static int vgpu_open(struct inode *inode, struct file *filp)
{
	struct vgpu_device *vdev = container_of(inode->i_cdev, struct vgpu_device, cdev);
	struct vgpu_file *file;

	file = kzalloc(sizeof(*file), GFP_KERNEL_ACCOUNT);
	if (!file)
		return -ENOMEM;
	file->vdev = vdev;
	file->mapping = filp->f_mapping;
	file->news_seen = READ_ONCE(vdev->news);
	mutex_init(&file->lock);
	init_waitqueue_head(&file->wait);
	filp->private_data = file;
	/* Holds vdev by inode->i_cdev, whose parent it is. */
	return stream_open(inode, filp);
}

static int vgpu_release(struct inode *inode, struct file *filp)
{
	struct vgpu_file *file = filp->private_data;

	if (is_open(file))
		vgpu_slot_release(file);
	if (file->eventfd)
		eventfd_ctx_put(file->eventfd);
	if (file->scratch)
		__free_page(file->scratch);
	mutex_destroy(&file->lock);
	kfree(file);
	return 0;
}

const struct file_operations vgpu_file_operations = {
	.owner = THIS_MODULE,
	.open = vgpu_open,
	.release = vgpu_release,
	.unlocked_ioctl = vgpu_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = vgpu_mmap,
	.read = vgpu_read_kicks,
	.write = vgpu_write_kick,
	.poll = vgpu_poll,
};
