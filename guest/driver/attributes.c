// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * /sys/class/vgpu/vgpuN: what the device is, for people, and counters/, for the administrator: how
 * busy others are is none of an ordinary user's business.
 */
#include <linux/slab.h>

#include "driver.h"

enum text { TEXT_POOL, TEXT_NAME, TEXT_ERROR };
enum number {
	NUMBER_VM_ID,
	NUMBER_WEIGHT,
	NUMBER_MAX_CHANNELS,
	NUMBER_MAX_DATA,
	NUMBER_QUARANTINED,
	NUMBER_WINDOW
};

struct which {
	struct device_attribute attribute;
	u32 index;
};

/* The state, allocated: it is large for a stack. */
static struct vgpu_ioc_state *state_new(struct device *dev)
{
	struct vgpu_device *vdev = container_of(dev, struct vgpu_device, dev);
	struct vgpu_ioc_state *state = kzalloc(sizeof(*state), GFP_KERNEL);
	int err;

	if (!state)
		return ERR_PTR(-ENOMEM);
	err = vgpu_enter(vdev);
	if (!err) {
		err = vgpu_device_state(vdev, state);
		vgpu_leave(vdev);
	}
	if (!err)
		return state;
	kfree(state);
	return ERR_PTR(err);
}

static ssize_t text_show(struct device *dev, struct device_attribute *attribute, char *page)
{
	struct vgpu_ioc_state *state = state_new(dev);
	const char *text = "";
	ssize_t bytes;

	if (IS_ERR(state))
		return PTR_ERR(state);
	switch ((enum text)container_of(attribute, struct which, attribute)->index) {
	case TEXT_POOL:
		text = state->pool;
		break;
	case TEXT_NAME:
		text = state->name;
		break;
	case TEXT_ERROR:
		text = state->error_text;
		break;
	}
	bytes = sysfs_emit(page, "%s\n", text);
	kfree(state);
	return bytes;
}

static ssize_t number_show(struct device *dev, struct device_attribute *attribute, char *page)
{
	struct vgpu_ioc_state *state = state_new(dev);
	u64 value = 0;

	if (IS_ERR(state))
		return PTR_ERR(state);
	switch ((enum number)container_of(attribute, struct which, attribute)->index) {
	case NUMBER_VM_ID:
		value = state->vm_id;
		break;
	case NUMBER_WEIGHT:
		value = state->weight_hundredths;
		break;
	case NUMBER_MAX_CHANNELS:
		value = state->max_channels;
		break;
	case NUMBER_MAX_DATA:
		value = state->max_data_bytes;
		break;
	case NUMBER_QUARANTINED:
		value = state->quarantined;
		break;
	case NUMBER_WINDOW:
		value = container_of(dev, struct vgpu_device, dev)->window_bytes;
		break;
	}
	kfree(state);
	return sysfs_emit(page, "%llu\n", value);
}

static ssize_t state_show(struct device *dev, struct device_attribute *attribute, char *page)
{
	static const char *const names[] = {
		[VGPU_DEVICE_DISCONNECTED] = "disconnected",
		[VGPU_DEVICE_CONNECTING] = "connecting",
		[VGPU_DEVICE_READY] = "ready",
		[VGPU_DEVICE_REFUSED] = "refused",
	};
	struct vgpu_ioc_state *state = state_new(dev);
	const char *name = "unknown";

	if (IS_ERR(state))
		return PTR_ERR(state);
	if (state->device_state < ARRAY_SIZE(names))
		name = names[state->device_state];
	kfree(state);
	return sysfs_emit(page, "%s\n", name);
}

static ssize_t priority_show(struct device *dev, struct device_attribute *attribute, char *page)
{
	static const char *const names[] = { "low", "medium", "high" };
	struct vgpu_ioc_state *state = state_new(dev);
	const char *name = "unknown";

	if (IS_ERR(state))
		return PTR_ERR(state);
	if (state->priority < ARRAY_SIZE(names))
		name = names[state->priority];
	kfree(state);
	return sysfs_emit(page, "%s\n", name);
}

static ssize_t counter_show(struct device *dev, struct device_attribute *attribute, char *page)
{
	struct vgpu_device *vdev = container_of(dev, struct vgpu_device, dev);
	u64 value;
	int err;

	err = vgpu_enter(vdev);
	if (err)
		return err;
	value = vdev->transport->counter(vdev,
					 container_of(attribute, struct which, attribute)->index);
	vgpu_leave(vdev);
	return sysfs_emit(page, "%llu\n", value);
}

#define WHICH(name_, mode_, show_, index_)                                                         \
	static struct which which_##name_ = {                                                      \
		.attribute = { .attr = { .name = #name_, .mode = mode_ }, .show = show_ },         \
		.index = index_,                                                                   \
	}
#define WHICH_ATTR(name_) (&which_##name_.attribute.attr)

WHICH(pool, 0444, text_show, TEXT_POOL);
WHICH(vm_name, 0444, text_show, TEXT_NAME);
WHICH(error, 0444, text_show, TEXT_ERROR);
WHICH(vm_id, 0444, number_show, NUMBER_VM_ID);
WHICH(weight_hundredths, 0444, number_show, NUMBER_WEIGHT);
WHICH(max_channels, 0444, number_show, NUMBER_MAX_CHANNELS);
WHICH(max_data_bytes, 0444, number_show, NUMBER_MAX_DATA);
WHICH(quarantined, 0444, number_show, NUMBER_QUARANTINED);
WHICH(window_bytes, 0444, number_show, NUMBER_WINDOW);
static DEVICE_ATTR_RO(state);
static DEVICE_ATTR_RO(priority);

static struct attribute *attributes[] = {
	WHICH_ATTR(pool),	    WHICH_ATTR(vm_name),	   WHICH_ATTR(error),
	WHICH_ATTR(vm_id),	    WHICH_ATTR(weight_hundredths), WHICH_ATTR(max_channels),
	WHICH_ATTR(max_data_bytes), WHICH_ATTR(quarantined),	   WHICH_ATTR(window_bytes),
	&dev_attr_state.attr,	    &dev_attr_priority.attr,	   NULL,
};

static const struct attribute_group group = {
	.attrs = attributes,
};

WHICH(doorbells, 0400, counter_show, VGPU_COUNT_DOORBELLS);
WHICH(turns, 0400, counter_show, VGPU_COUNT_TURNS);
WHICH(ring_bytes, 0400, counter_show, VGPU_COUNT_RING_BYTES);
WHICH(upload_bytes, 0400, counter_show, VGPU_COUNT_UPLOAD_BYTES);
WHICH(download_bytes, 0400, counter_show, VGPU_COUNT_DOWNLOAD_BYTES);
WHICH(worker_kicks, 0400, counter_show, VGPU_COUNT_WORKER_KICKS);
WHICH(worker_wakes, 0400, counter_show, VGPU_COUNT_WORKER_WAKES);
WHICH(interrupts, 0400, counter_show, VGPU_COUNT_INTERRUPTS);

static struct attribute *counters[] = {
	WHICH_ATTR(doorbells),	  WHICH_ATTR(turns),	      WHICH_ATTR(ring_bytes),
	WHICH_ATTR(upload_bytes), WHICH_ATTR(download_bytes), WHICH_ATTR(worker_kicks),
	WHICH_ATTR(worker_wakes), WHICH_ATTR(interrupts),     NULL,
};

static umode_t counter_visible(struct kobject *object, struct attribute *attribute, int index)
{
	struct device *dev = container_of(object, struct device, kobj);

	return container_of(dev, struct vgpu_device, dev)->transport->counter ? attribute->mode : 0;
}

static const struct attribute_group counter_group = {
	.name = "counters",
	.attrs = counters,
	.is_visible = counter_visible,
};

const struct attribute_group *vgpu_attribute_groups[] = {
	&group,
	&counter_group,
	NULL,
};
