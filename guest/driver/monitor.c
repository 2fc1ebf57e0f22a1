// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The question about the VM's GPUs: VGPU_COMMAND_MONITOR, behind the slots' commands. Called by
 * file.c for VGPU_IOC_MONITOR; device.c wakes whoever waits.
 *
 * One process at a time has the command, from asking to having read the answer. One that is killed
 * leaves its question; the device takes the next when that is answered, and its tag tells them
 * apart.
 */
#include "driver.h"

static struct vgpu_monitor_command *command_of(struct vgpu_device *vdev)
{
	return (void *)((u8 *)vdev->commands + VGPU_COMMANDS_BYTES);
}

static bool answered(struct vgpu_device *vdev)
{
	if (READ_ONCE(command_of(vdev)->done) != vgpu_le32(vdev->monitor_tag))
		return false;
	dma_rmb();
	return true;
}

static bool settled(struct vgpu_device *vdev, u32 epoch)
{
	return answered(vdev) || READ_ONCE(vdev->dead) || READ_ONCE(vdev->epoch) != epoch;
}

static u32 send(struct vgpu_device *vdev, const struct vgpu_ioc_monitor *ask)
{
	struct vgpu_monitor_command *command = command_of(vdev);
	unsigned long flags;
	u32 epoch;

	if (++vdev->monitor_tag == 0)
		vdev->monitor_tag = 1;
	command->op = vgpu_le32(VGPU_COMMAND_MONITOR);
	command->tag = vgpu_le32(vdev->monitor_tag);
	command->gpu = vgpu_le32(ask->gpu);
	command->first = vgpu_le32(ask->first);
	spin_lock_irqsave(&vdev->lock, flags);
	epoch = vdev->epoch;
	vdev->transport->command(vdev, VGPU_MONITOR_SLOT);
	spin_unlock_irqrestore(&vdev->lock, flags);
	return epoch;
}

static int wait_answer(struct vgpu_device *vdev, u32 epoch)
{
	long left = wait_event_killable_timeout(vdev->monitor_wait, settled(vdev, epoch),
						VGPU_ANSWER_JIFFIES);

	if (READ_ONCE(vdev->dead))
		return -ENODEV;
	if (READ_ONCE(vdev->epoch) != epoch)
		return -EIO;
	if (answered(vdev))
		return 0;
	return left < 0 ? -EINTR : -ETIMEDOUT;
}

/* Fields within `monitor` are little-endian, as on the wire. */
static void read_answer(struct vgpu_device *vdev, struct vgpu_ioc_monitor *ret)
{
	struct vgpu_monitor_command *command = command_of(vdev);

	ret->status = vgpu_le32(READ_ONCE(command->status));
	ret->retry_ns = vgpu_le64(command->retry_ns);
	memcpy(&ret->monitor, &command->monitor, sizeof(ret->monitor));
	memcpy(ret->text, command->text, sizeof(ret->text));
	ret->text[sizeof(ret->text) - 1] = '\0';
}

int vgpu_monitor_ask(struct vgpu_device *vdev, struct vgpu_ioc_monitor *ask)
{
	int err;

	if (!(vdev->transport->features(vdev) & VGPU_DEVICE_MONITOR))
		return -EOPNOTSUPP;
	if (mutex_lock_killable(&vdev->monitor_lock))
		return -EINTR;
	err = READ_ONCE(vdev->dead) ? -ENODEV : wait_answer(vdev, send(vdev, ask));
	if (!err)
		read_answer(vdev, ask);
	mutex_unlock(&vdev->monitor_lock);
	return err;
}
