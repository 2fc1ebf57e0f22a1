// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A device as programs see it: /dev/vgpuN that comes and goes, its state, its reset. How the host
 * is reached is a transport's (struct vgpu_transport; pci.c, xenbus.c), which calls what is here.
 * The module's entry is here.
 */
#include <linux/idr.h>
#include <linux/interrupt.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "driver.h"

#define VGPU_MINORS 256

static dev_t first_number;
static DEFINE_IDA(minors);

/* Any number of programs may poll for news: they are woken outside the interrupt. */
static void news_work(struct work_struct *work)
{
	struct vgpu_device *vdev = container_of(work, struct vgpu_device, news_work);

	wake_up_interruptible(&vdev->news_wait);
}

void vgpu_device_news(struct vgpu_device *vdev)
{
	vdev->news++;
	schedule_work(&vdev->news_work);
}

int vgpu_device_state(struct vgpu_device *vdev, struct vgpu_ioc_state *ret)
{
	return vdev->transport->state(vdev, ret);
}

/* Reset */

void vgpu_device_halt(struct vgpu_device *vdev, bool keep_contents, bool go_on)
{
	unsigned long flags;

	down_write(&vdev->window_lock);
	vgpu_slots_revoke(vdev, keep_contents);
	spin_lock_irqsave(&vdev->lock, flags);
	vdev->transport->stop(vdev);
	WRITE_ONCE(vdev->epoch, vdev->epoch + 1);
	vgpu_slots_reset(vdev);
	wake_up(&vdev->monitor_wait);
	if (go_on)
		vdev->transport->program(vdev);
	spin_unlock_irqrestore(&vdev->lock, flags);
	up_write(&vdev->window_lock);
}

void vgpu_device_reset(struct vgpu_device *vdev)
{
	dev_warn(vdev->parent, "no answer: the device is reset, its channels end\n");
	vgpu_device_halt(vdev, true, true);
}

/* Coming and going */

static void device_release(struct device *dev)
{
	struct vgpu_device *vdev = container_of(dev, struct vgpu_device, dev);

	mutex_destroy(&vdev->state_lock);
	mutex_destroy(&vdev->monitor_lock);
	kvfree(vdev);
}

static char *devnode(vgpu_devnode_device *dev, umode_t *mode)
{
	if (mode)
		*mode = 0666;
	return NULL;
}

/* The host has memory of this machine mapped, which a machine that sleeps or moves cannot have. */
static int __maybe_unused refuse_sleep(struct device *dev)
{
	struct vgpu_device *vdev = container_of(dev, struct vgpu_device, dev);

	if (!vdev->transport->granted && !vgpu_slots_granted(vdev))
		return 0;
	dev_warn(dev, "cannot sleep while pages are granted to the host\n");
	return -EBUSY;
}

static int __maybe_unused wake_up_again(struct device *dev)
{
	return 0;
}

static SIMPLE_DEV_PM_OPS(class_pm_ops, refuse_sleep, wake_up_again);

static struct class vgpu_class = {
	.name = "vgpu",
	.devnode = devnode,
	.pm = &class_pm_ops,
};

static int name_device(struct vgpu_device *vdev)
{
	int minor, err;

	minor = ida_alloc_max(&minors, VGPU_MINORS - 1, GFP_KERNEL);
	if (minor < 0)
		return minor;
	vdev->dev.devt = MKDEV(MAJOR(first_number), minor);
	err = dev_set_name(&vdev->dev, "vgpu%d", minor);
	if (err)
		ida_free(&minors, minor);
	return err;
}

struct vgpu_device *vgpu_device_new(struct device *parent, const struct vgpu_transport *transport)
{
	struct vgpu_device *vdev = kvzalloc(sizeof(*vdev), GFP_KERNEL);
	int err;

	if (!vdev)
		return ERR_PTR(-ENOMEM);
	vdev->parent = parent;
	vdev->transport = transport;
	init_rwsem(&vdev->alive);
	init_rwsem(&vdev->window_lock);
	spin_lock_init(&vdev->lock);
	mutex_init(&vdev->state_lock);
	mutex_init(&vdev->monitor_lock);
	init_waitqueue_head(&vdev->monitor_wait);
	init_waitqueue_head(&vdev->slot_wait);
	init_waitqueue_head(&vdev->news_wait);
	INIT_WORK(&vdev->news_work, news_work);
	vgpu_slots_init(vdev);
	device_initialize(&vdev->dev);
	vdev->dev.class = &vgpu_class;
	vdev->dev.parent = parent;
	vdev->dev.release = device_release;
	vdev->dev.groups = vgpu_attribute_groups;
	err = name_device(vdev);
	if (!err)
		return vdev;
	put_device(&vdev->dev);
	return ERR_PTR(err);
}

void vgpu_device_put(struct vgpu_device *vdev)
{
	ida_free(&minors, MINOR(vdev->dev.devt));
	put_device(&vdev->dev);
}

int vgpu_device_start(struct vgpu_device *vdev)
{
	vdev->workqueue = alloc_workqueue("%s", WQ_UNBOUND, VGPU_SLOTS, dev_name(&vdev->dev));
	return vdev->workqueue ? 0 : -ENOMEM;
}

int vgpu_device_publish(struct vgpu_device *vdev)
{
	cdev_init(&vdev->cdev, &vgpu_file_operations);
	vdev->cdev.owner = THIS_MODULE;
	return cdev_device_add(&vdev->cdev, &vdev->dev);
}

void vgpu_device_unpublish(struct vgpu_device *vdev)
{
	cdev_device_del(&vdev->cdev, &vdev->dev);
}

void vgpu_device_stop(struct vgpu_device *vdev)
{
	unsigned long flags;

	spin_lock_irqsave(&vdev->lock, flags);
	WRITE_ONCE(vdev->dead, true);
	spin_unlock_irqrestore(&vdev->lock, flags);
	vgpu_slots_wake(vdev);
	wake_up_all(&vdev->slot_wait);
	wake_up_all(&vdev->monitor_wait);

	down_write(&vdev->alive); /* for all who waited, and have left now */
	vgpu_device_halt(vdev, true, false);
	vgpu_slots_remove(vdev);
	up_write(&vdev->alive);
}

void vgpu_device_end(struct vgpu_device *vdev)
{
	destroy_workqueue(vdev->workqueue);
	cancel_work_sync(&vdev->news_work);
	wake_up_interruptible(&vdev->news_wait);
}

/* The module */

static int __init vgpu_init(void)
{
	int err;

	err = alloc_chrdev_region(&first_number, 0, VGPU_MINORS, "vgpu");
	if (err)
		return err;
	err = class_register(&vgpu_class);
	if (err)
		goto unregister_region;
	err = vgpu_pci_register();
	if (err)
		goto unregister_class;
	err = vgpu_xenbus_register();
	if (err)
		goto unregister_pci;
	return 0;

unregister_pci:
	vgpu_pci_unregister();
unregister_class:
	class_unregister(&vgpu_class);
unregister_region:
	unregister_chrdev_region(first_number, VGPU_MINORS);
	return err;
}

static void __exit vgpu_exit(void)
{
	vgpu_xenbus_unregister();
	vgpu_pci_unregister();
	class_unregister(&vgpu_class);
	unregister_chrdev_region(first_number, VGPU_MINORS);
	ida_destroy(&minors);
}

module_init(vgpu_init);
module_exit(vgpu_exit);
MODULE_DESCRIPTION("vgpu-stub: channels to a GPU that the host lends");
MODULE_LICENSE("GPL");
MODULE_VERSION("0.1.0");
