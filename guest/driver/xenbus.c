// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The transport of a Xen guest without the PCI device (PV, PVH, or HVM): commands in pages that are
 * granted to the backend domain, kicks by an event channel, and xenstore to find each other. The
 * host's side is vgpu-xenbus; docs/spec/grant.md has states and pages.
 *
 * Pages and port are made at probe and stay the same until removal, whatever happens to the
 * backend. `up` is true while the backend is Connected; then commands are taken, perhaps by the
 * successor of the one that was there when they were given. When the backend closes, all channels
 * have ended.
 */
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include <xen/xen.h>
#include <xen/xenbus.h>

#include "compat.h"
#include "driver.h"

/* How long removal waits for the backend to let go; what it still has then is kept by Linux. */
#define CLOSE_JIFFIES (10 * HZ)
#define CLOSE_LOOK_MS 20

struct vgpu_xen {
	struct vgpu_device *vdev;
	struct xenbus_device *xdev;
	struct vgpu_grants *pages;
	struct vgpu_event event;
	struct vgpu_xen_control *control; /* all pages, one behind the other */
	struct work_struct again;
	/* Under vgpu_device.lock. */
	bool up;
	u32 generation; /* the last one seen */
};

/* The control page */

static u32 control_generation(struct vgpu_xen *xen)
{
	return vgpu_le32(READ_ONCE(xen->control->generation));
}

static void copy_text(char *to, const char *from, size_t size)
{
	memcpy(to, from, size);
	to[size - 1] = '\0';
}

static void read_state(const struct vgpu_xen_control *control, struct vgpu_ioc_state *ret)
{
	u32 status = vgpu_le32(READ_ONCE(control->status));

	ret->device_state = status & VGPU_STATUS_STATE;
	ret->quarantined = !!(status & VGPU_STATUS_QUARANTINED);
	ret->device_error = vgpu_le32(READ_ONCE(control->error));
	ret->vm_id = vgpu_le32(READ_ONCE(control->vm_id));
	ret->priority = vgpu_le32(READ_ONCE(control->priority));
	ret->weight_hundredths = vgpu_le32(READ_ONCE(control->weight));
	ret->max_channels = vgpu_le32(READ_ONCE(control->max_channels));
	ret->max_data_bytes = (u64)vgpu_le32(READ_ONCE(control->max_data)) * 4096;
	copy_text(ret->pool, control->pool, sizeof(ret->pool));
	copy_text(ret->name, control->name, sizeof(ret->name));
	copy_text(ret->error_text, control->error_text, sizeof(ret->error_text));
}

/* The state without a backend; what is known of the VM stays. */
static void say_absent(struct vgpu_ioc_state *state)
{
	state->device_state = VGPU_DEVICE_DISCONNECTED;
	state->device_error = VGPU_STARTING;
	strscpy(state->error_text, "the host has yet to take this device up",
		sizeof(state->error_text));
}

/* What was read while the host wrote is read again; one that never ends leaves what was there. */
static int bus_state(struct vgpu_device *vdev, struct vgpu_ioc_state *ret)
{
	struct vgpu_xen *xen = vdev->xen;
	u32 generation, tries;

	mutex_lock(&vdev->state_lock);
	for (tries = 0; tries < 10; tries++) {
		generation = control_generation(xen);
		virt_rmb();
		read_state(xen->control, ret);
		virt_rmb();
		if (generation % 2 == 0 && control_generation(xen) == generation) {
			vdev->state = *ret;
			break;
		}
		usleep_range(10, 100);
	}
	*ret = vdev->state;
	mutex_unlock(&vdev->state_lock);
	if (!READ_ONCE(xen->up))
		say_absent(ret);
	return 0;
}

/* The transport */

static void bus_command(struct vgpu_device *vdev, u32 slot)
{
	struct vgpu_xen *xen = vdev->xen;
	u32 tag = slot < VGPU_SLOTS ? vdev->slot[slot].tag : vdev->monitor_tag;

	virt_wmb(); /* the command before its doorbell */
	WRITE_ONCE(xen->control->doorbell[slot], vgpu_le32(tag));
	vgpu_event_kick(&xen->event);
}

/*
 * Only a backend that closes lets go of pages, which cannot be waited for here: see grant.c. A
 * backend that comes later finds no command of before.
 */
static void bus_stop(struct vgpu_device *vdev)
{
	struct vgpu_xen *xen = vdev->xen;

	WRITE_ONCE(xen->up, false);
	memset(xen->control->doorbell, 0, sizeof(xen->control->doorbell));
}

static void bus_program(struct vgpu_device *vdev)
{
	schedule_work(&vdev->xen->again);
}

static u32 bus_features(struct vgpu_device *vdev)
{
	struct vgpu_xen *xen = vdev->xen;

	return READ_ONCE(xen->up) ? vgpu_le32(READ_ONCE(xen->control->features)) &
					    (VGPU_DEVICE_GRANT | VGPU_DEVICE_MONITOR)
				  : 0;
}

static u64 bus_max_data(struct vgpu_device *vdev)
{
	return (u64)vgpu_le32(READ_ONCE(vdev->xen->control->max_data)) * 4096;
}

static const struct vgpu_transport bus_transport = {
	.command = bus_command,
	.stop = bus_stop,
	.program = bus_program,
	.features = bus_features,
	.max_data = bus_max_data,
	.state = bus_state,
	.granted = true,
};

static void control_event(void *opaque)
{
	struct vgpu_xen *xen = opaque;
	struct vgpu_device *vdev = xen->vdev;
	unsigned long flags;

	spin_lock_irqsave(&vdev->lock, flags);
	if (xen->generation != control_generation(xen)) {
		xen->generation = control_generation(xen);
		vgpu_device_news(vdev);
	}
	vgpu_slots_answered(vdev);
	wake_up(&vdev->monitor_wait);
	spin_unlock_irqrestore(&vdev->lock, flags);
}

/* States */

static void set_up(struct vgpu_xen *xen)
{
	unsigned long flags;

	spin_lock_irqsave(&xen->vdev->lock, flags);
	WRITE_ONCE(xen->up, true);
	vgpu_device_news(xen->vdev);
	spin_unlock_irqrestore(&xen->vdev->lock, flags);
	/* Of what was given meanwhile. */
	vgpu_event_kick(&xen->event);
}

static int say_where(struct vgpu_xen *xen)
{
	struct xenbus_device *xdev = xen->xdev;
	int err;

	err = xenbus_printf(XBT_NIL, xdev->nodename, "ring-ref", "%u",
			    vgpu_grants_directory(xen->pages));
	if (!err)
		err = xenbus_printf(XBT_NIL, xdev->nodename, "event-channel", "%u",
				    xen->event.port);
	if (!err)
		err = xenbus_switch_state(xdev, XenbusStateInitialised);
	if (err)
		xenbus_dev_error(xdev, err, "telling the host where the commands are");
	return err;
}

/* All channels end, as their workers do; nothing is taken until the backend is Connected again. */
static void lose(struct vgpu_xen *xen)
{
	struct vgpu_device *vdev = xen->vdev;
	unsigned long flags;

	if (READ_ONCE(xen->up))
		vgpu_device_halt(vdev, true, false);
	spin_lock_irqsave(&vdev->lock, flags);
	vgpu_device_news(vdev);
	spin_unlock_irqrestore(&vdev->lock, flags);
}

/* The driver has reset the device: the backend is to forget all, which it does by closing. */
static void again_work(struct work_struct *work)
{
	struct vgpu_xen *xen = container_of(work, struct vgpu_xen, again);

	xenbus_switch_state(xen->xdev, XenbusStateClosing);
}

static void backend_changed(struct xenbus_device *xdev, enum xenbus_state state)
{
	struct vgpu_xen *xen = dev_get_drvdata(&xdev->dev);

	switch (state) {
	case XenbusStateInitWait:
		if (xdev->state == XenbusStateInitialising)
			say_where(xen);
		break;
	case XenbusStateConnected:
		/* A driver that has just reset the device has said Closing. */
		if (xdev->state != XenbusStateInitialised && xdev->state != XenbusStateConnected)
			break;
		set_up(xen);
		xenbus_switch_state(xdev, XenbusStateConnected);
		break;
	case XenbusStateClosing:
		lose(xen);
		xenbus_switch_state(xdev, XenbusStateClosing);
		break;
	case XenbusStateClosed:
		lose(xen);
		xenbus_switch_state(xdev, XenbusStateInitialising);
		break;
	case XenbusStateUnknown:
		lose(xen);
		break;
	default:
		break;
	}
}

/* Probe and removal */

/* Side by side for the processor, as the slots' code expects. */
static int map_pages(struct vgpu_xen *xen)
{
	struct page *pages[VGPU_XEN_PAGES];
	u32 i;

	for (i = 0; i < VGPU_XEN_PAGES; i++)
		pages[i] = vgpu_grants_page(xen->pages, i);
	xen->control = vmap(pages, VGPU_XEN_PAGES, VM_MAP, PAGE_KERNEL);
	return xen->control ? 0 : -ENOMEM;
}

static void free_pages_and_port(struct vgpu_xen *xen)
{
	vgpu_event_release(&xen->event);
	if (xen->control)
		vunmap(xen->control);
	vgpu_grants_free(xen->pages);
}

static int make_pages_and_port(struct vgpu_xen *xen)
{
	u32 backend = xen->xdev->otherend_id;
	int err;

	BUILD_BUG_ON(PAGE_SIZE + VGPU_COMMAND_AREA_BYTES > VGPU_XEN_PAGES * PAGE_SIZE);
	xen->pages = vgpu_grants_new(xen->vdev, backend, VGPU_XEN_PAGES);
	if (IS_ERR(xen->pages)) {
		err = PTR_ERR(xen->pages);
		xen->pages = NULL;
		return err;
	}
	err = map_pages(xen);
	if (!err)
		err = vgpu_event_init(&xen->event, backend, dev_name(&xen->vdev->dev),
				      control_event, xen);
	if (err) {
		free_pages_and_port(xen);
		return err;
	}
	xen->control->magic = vgpu_le32(VGPU_GRANT_MAGIC);
	xen->control->version = (__force u16)cpu_to_le16(VGPU_GRANT_VERSION);
	xen->vdev->commands = (void *)(xen->control + 1);
	return 0;
}

/* Then the keys in xenstore only say which domain is which VM, and all goes by that device. */
static bool has_pci_device(void)
{
	struct pci_dev *pdev = pci_get_device(VGPU_PCI_VENDOR, VGPU_PCI_DEVICE, NULL);

	pci_dev_put(pdev);
	return pdev != NULL;
}

static int bus_probe(struct xenbus_device *xdev, const struct xenbus_device_id *id)
{
	struct vgpu_xen *xen;
	int err;

	if (has_pci_device())
		return -ENODEV;
	xen = kzalloc(sizeof(*xen), GFP_KERNEL);
	if (!xen)
		return -ENOMEM;
	xen->xdev = xdev;
	INIT_WORK(&xen->again, again_work);
	xen->vdev = vgpu_device_new(&xdev->dev, &bus_transport);
	if (IS_ERR(xen->vdev)) {
		err = PTR_ERR(xen->vdev);
		goto free_xen;
	}
	xen->vdev->xen = xen;
	err = make_pages_and_port(xen);
	if (err)
		goto put;
	err = vgpu_device_start(xen->vdev);
	if (err)
		goto free_pages;
	err = vgpu_device_publish(xen->vdev);
	if (err)
		goto end;
	dev_set_drvdata(&xdev->dev, xen);
	/* A driver that was here before has left the device closed. */
	err = xenbus_switch_state(xdev, XenbusStateInitialising);
	if (err)
		goto unpublish;
	dev_info(&xdev->dev, "%s, commands granted to domain %d\n", dev_name(&xen->vdev->dev),
		 xdev->otherend_id);
	return 0;

unpublish:
	vgpu_device_unpublish(xen->vdev);
	vgpu_device_stop(xen->vdev);
end:
	vgpu_device_end(xen->vdev);
free_pages:
	free_pages_and_port(xen);
put:
	vgpu_device_put(xen->vdev);
free_xen:
	kfree(xen);
	xenbus_dev_fatal(xdev, err, "setting the device up");
	return err;
}

/* Until no worker has pages of ours any more; xenbus tells us nothing by now. */
static void await_closed(struct xenbus_device *xdev)
{
	unsigned long end = jiffies + CLOSE_JIFFIES;
	enum xenbus_state state;

	do {
		state = xenbus_read_unsigned(xdev->otherend, "state", XenbusStateUnknown);
		if (state == XenbusStateClosed || state == XenbusStateUnknown ||
		    state == XenbusStateInitWait || state == XenbusStateInitialising)
			return;
		msleep(CLOSE_LOOK_MS);
	} while (time_before(jiffies, end));
	dev_warn(&xdev->dev, "the host does not close the device; it keeps pages of it for now\n");
}

static vgpu_xenbus_removed bus_remove(struct xenbus_device *xdev)
{
	struct vgpu_xen *xen = dev_get_drvdata(&xdev->dev);
	struct vgpu_device *vdev = xen->vdev;

	vgpu_device_unpublish(vdev);
	cancel_work_sync(&xen->again);
	xenbus_switch_state(xdev, XenbusStateClosing);
	await_closed(xdev);
	vgpu_device_stop(vdev);
	cancel_work_sync(&xen->again);
	vgpu_event_release(&xen->event);
	vgpu_device_end(vdev);
	free_pages_and_port(xen);
	vgpu_device_put(vdev);
	kfree(xen);
	return VGPU_XENBUS_REMOVED;
}

static const struct xenbus_device_id bus_ids[] = {
	{ "vgpu" },
	{ "" },
};

static struct xenbus_driver bus_driver = {
	.name = "vgpu",
	.ids = bus_ids,
	.allow_rebind = true,
	VGPU_XENBUS_NOT_ESSENTIAL.probe = bus_probe,
	.remove = bus_remove,
	.otherend_changed = backend_changed,
};

int __init vgpu_xenbus_register(void)
{
	return xen_domain() ? xenbus_register_frontend(&bus_driver) : 0;
}

void vgpu_xenbus_unregister(void)
{
	if (xen_domain())
		xenbus_unregister_driver(&bus_driver);
}

MODULE_ALIAS("xen:vgpu");
