// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * vgpu-stub on the PCI bus: registers, interrupts, probe and removal. It is a transport of
 * device.c's, and adds the window (window.c).
 *
 * The device's memory accesses begin with the address of the command area and end with a reset;
 * what they can reach is freed only after that.
 */
#include <linux/dma-mapping.h>
#include <linux/interrupt.h>
#include <linux/module.h>

#include "driver.h"

#define IRQS_WANTED (VGPU_IRQ_COMMAND | VGPU_IRQ_STATE | VGPU_IRQ_CHANNEL)

/* Interrupts */

/* MSI-X: the slots that share this vector; some may have nothing new, which is legal. */
static irqreturn_t channel_interrupt(int irq, void *opaque)
{
	struct vgpu_vector *vector = opaque;
	struct vgpu_device *vdev = vector->vdev;
	unsigned long flags;
	u32 i;

	spin_lock_irqsave(&vdev->lock, flags);
	for (i = vector->index - 1; i < VGPU_SLOTS; i += vdev->vectors - 1)
		vgpu_slot_kick(&vdev->slot[i]);
	spin_unlock_irqrestore(&vdev->lock, flags);
	return IRQ_HANDLED;
}

static void kick_word(struct vgpu_device *vdev, u32 reg, u32 first)
{
	unsigned long channels = vgpu_read(vdev, reg);
	u32 i;

	if (!channels)
		return;
	vgpu_write(vdev, reg, channels);
	for_each_set_bit(i, &channels, 32)
		vgpu_slot_kick(&vdev->slot[first + i]);
}

static void kick_all(struct vgpu_device *vdev)
{
	u32 i;

	for (i = 0; i < VGPU_SLOTS; i++)
		vgpu_slot_kick(&vdev->slot[i]);
}

/* Vector 0, or the pin. A device that was pulled out reads as all ones. */
static irqreturn_t control_interrupt(int irq, void *opaque)
{
	struct vgpu_vector *vector = opaque;
	struct vgpu_device *vdev = vector->vdev;
	bool shared = !vdev->pdev->msix_enabled; /* the pin */
	bool only_vector = !shared && vdev->vectors == 1;
	unsigned long flags;
	u32 bits;

	bits = vgpu_read(vdev, VGPU_REG_IRQ_STATUS);
	if (bits == ~0u)
		return IRQ_NONE;
	bits &= IRQS_WANTED;
	if (!bits && shared)
		return IRQ_NONE;
	if (bits)
		vgpu_write(vdev, VGPU_REG_IRQ_STATUS, bits);
	spin_lock_irqsave(&vdev->lock, flags);
	if (bits & VGPU_IRQ_STATE)
		vgpu_device_news(vdev);
	if (bits & VGPU_IRQ_COMMAND) {
		vgpu_slots_answered(vdev);
		wake_up(&vdev->monitor_wait);
	}
	if (bits & VGPU_IRQ_CHANNEL) {
		kick_word(vdev, VGPU_REG_CHANNELS_LOW, 0);
		kick_word(vdev, VGPU_REG_CHANNELS_HIGH, 32);
	} else if (only_vector) {
		kick_all(vdev);
	}
	spin_unlock_irqrestore(&vdev->lock, flags);
	return IRQ_HANDLED;
}

static void free_interrupts(struct vgpu_device *vdev, u32 count)
{
	while (count--)
		pci_free_irq(vdev->pdev, count, &vdev->vector[count]);
	pci_free_irq_vectors(vdev->pdev);
}

/*
 * A vector for each slot would let probe and removal take seconds in a small machine; some more
 * than it has processors keep the channels of a few programs apart.
 */
static u32 vectors_wanted(void)
{
	return 1 + min_t(u32, VGPU_SLOTS, 4 * num_online_cpus());
}

static int request_interrupts(struct vgpu_device *vdev, const char *name)
{
	int got, err;
	u32 i;

	got = pci_alloc_irq_vectors(vdev->pdev, 1, vectors_wanted(), PCI_IRQ_MSIX | PCI_IRQ_INTX);
	if (got < 0)
		return got;
	vdev->vectors = got;
	for (i = 0; i < vdev->vectors; i++) {
		vdev->vector[i] = (struct vgpu_vector){ .vdev = vdev, .index = i };
		err = pci_request_irq(vdev->pdev, i, i ? channel_interrupt : control_interrupt,
				      NULL, &vdev->vector[i], "%s-%u", name, i);
		if (err) {
			free_interrupts(vdev, i);
			return err;
		}
	}
	return 0;
}

/* The transport */

static void pci_command(struct vgpu_device *vdev, u32 slot)
{
	vgpu_write(vdev, VGPU_REG_COMMAND, slot);
}

static u32 pci_features(struct vgpu_device *vdev)
{
	return vgpu_read(vdev, VGPU_REG_FEATURES);
}

static u64 pci_max_data(struct vgpu_device *vdev)
{
	return (u64)vgpu_read(vdev, VGPU_REG_MAX_DATA) * 4096;
}

/* A reset has cleared these. */
static void pci_program(struct vgpu_device *vdev)
{
	vgpu_write(vdev, VGPU_REG_COMMANDS_LOW, lower_32_bits(vdev->commands_dma));
	vgpu_write(vdev, VGPU_REG_COMMANDS_HIGH, upper_32_bits(vdev->commands_dma));
	vgpu_write(vdev, VGPU_REG_IRQ_ENABLE, IRQS_WANTED);
}

/* The read makes sure that the write has arrived, and with it that no memory is touched. */
static void pci_stop(struct vgpu_device *vdev)
{
	vgpu_write(vdev, VGPU_REG_CONTROL, VGPU_CONTROL_RESET);
	vgpu_read(vdev, VGPU_REG_MAGIC);
}

static void read_text(struct vgpu_device *vdev, u32 reg, char *ret, u32 bytes)
{
	u32 i, word;

	for (i = 0; i < bytes; i += sizeof(word)) {
		word = vgpu_le32(vgpu_read(vdev, reg + i));
		memcpy(ret + i, &word, sizeof(word));
	}
	ret[bytes - 1] = '\0';
}

/* Each register is an exit of the virtual CPU, so texts are read when they have changed. */
static void refresh_state(struct vgpu_device *vdev, u32 generation)
{
	struct vgpu_ioc_state *state = &vdev->state;

	state->vm_id = vgpu_read(vdev, VGPU_REG_VM_ID);
	state->priority = vgpu_read(vdev, VGPU_REG_PRIORITY);
	state->weight_hundredths = vgpu_read(vdev, VGPU_REG_WEIGHT);
	state->max_channels = vgpu_read(vdev, VGPU_REG_MAX_CHANNELS);
	state->max_data_bytes = (u64)vgpu_read(vdev, VGPU_REG_MAX_DATA) * 4096;
	read_text(vdev, VGPU_REG_POOL, state->pool, sizeof(state->pool));
	read_text(vdev, VGPU_REG_NAME, state->name, sizeof(state->name));
	read_text(vdev, VGPU_REG_ERROR_TEXT, state->error_text, sizeof(state->error_text));
	vdev->state_generation = generation;
	vdev->state_valid = vgpu_read(vdev, VGPU_REG_GENERATION) == generation;
}

static int pci_state(struct vgpu_device *vdev, struct vgpu_ioc_state *ret)
{
	u32 generation, status, tries;

	mutex_lock(&vdev->state_lock);
	generation = vgpu_read(vdev, VGPU_REG_GENERATION);
	if (!vdev->state_valid || vdev->state_generation != generation) {
		vdev->state_valid = false;
		for (tries = 0; tries < 3 && !vdev->state_valid; tries++)
			refresh_state(vdev, vgpu_read(vdev, VGPU_REG_GENERATION));
	}
	*ret = vdev->state;
	mutex_unlock(&vdev->state_lock);
	status = vgpu_read(vdev, VGPU_REG_STATUS);
	if (status == ~0u)
		return -ENODEV;
	ret->device_state = status & VGPU_STATUS_STATE;
	ret->quarantined = !!(status & VGPU_STATUS_QUARANTINED);
	ret->device_error = vgpu_read(vdev, VGPU_REG_ERROR);
	return 0;
}

/* The high half may pass on while the low one is read: then it is read again. */
static u64 pci_counter(struct vgpu_device *vdev, enum vgpu_device_counter counter)
{
	u32 reg = VGPU_REG_COUNTERS + 8 * counter;
	u32 high, low, again = vgpu_read(vdev, reg + 4);

	do {
		high = again;
		low = vgpu_read(vdev, reg);
		again = vgpu_read(vdev, reg + 4);
	} while (high != again);
	return (u64)high << 32 | low;
}

static const struct vgpu_transport pci_transport = {
	.command = pci_command,
	.stop = pci_stop,
	.program = pci_program,
	.features = pci_features,
	.max_data = pci_max_data,
	.state = pci_state,
	.counter = pci_counter,
};

/* Probe and removal */

static int check_device(struct vgpu_device *vdev)
{
	struct device *dev = &vdev->pdev->dev;
	u32 version;

	if (vgpu_read(vdev, VGPU_REG_MAGIC) != VGPU_MAGIC) {
		dev_err(dev, "this is no vgpu-stub\n");
		return -ENODEV;
	}
	version = vgpu_read(vdev, VGPU_REG_VERSION);
	if (version >> 16 != VGPU_VERSION_MAJOR) {
		dev_err(dev, "the device speaks version %u, this driver %u\n", version >> 16,
			VGPU_VERSION_MAJOR);
		return -ENODEV;
	}
	if (!(vgpu_read(vdev, VGPU_REG_FEATURES) & VGPU_DEVICE_RELAY)) {
		dev_err(dev, "the device has no channels in guest memory\n");
		return -ENODEV;
	}
	return 0;
}

static int map_registers(struct vgpu_device *vdev)
{
	struct pci_dev *pdev = vdev->pdev;
	int err;

	if (pci_resource_len(pdev, VGPU_BAR_REGISTERS) < VGPU_REGISTERS_BYTES ||
	    pci_resource_len(pdev, VGPU_BAR_DOORBELLS) < VGPU_DOORBELL_BYTES)
		return -ENODEV;
	err = pci_request_selected_regions(pdev, BIT(VGPU_BAR_REGISTERS) | BIT(VGPU_BAR_DOORBELLS),
					   "vgpu");
	if (err)
		return err;
	vdev->doorbells = pci_resource_start(pdev, VGPU_BAR_DOORBELLS);
	vdev->regs = pci_iomap(pdev, VGPU_BAR_REGISTERS, VGPU_REGISTERS_BYTES);
	if (vdev->regs)
		return 0;
	pci_release_selected_regions(pdev, BIT(VGPU_BAR_REGISTERS) | BIT(VGPU_BAR_DOORBELLS));
	return -ENOMEM;
}

static void unmap_registers(struct vgpu_device *vdev)
{
	pci_iounmap(vdev->pdev, vdev->regs);
	pci_release_selected_regions(vdev->pdev, BIT(VGPU_BAR_REGISTERS) | BIT(VGPU_BAR_DOORBELLS));
}

static void free_commands(struct vgpu_device *vdev)
{
	dma_free_coherent(&vdev->pdev->dev, VGPU_COMMAND_AREA_BYTES, vdev->commands,
			  vdev->commands_dma);
}

/* From a device at rest to one that takes commands and interrupts. */
static int start_device(struct vgpu_device *vdev)
{
	struct pci_dev *pdev = vdev->pdev;
	int err;

	pci_stop(vdev);
	err = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (err)
		return err;
	vdev->commands = dma_alloc_coherent(&pdev->dev, VGPU_COMMAND_AREA_BYTES,
					    &vdev->commands_dma, GFP_KERNEL);
	if (!vdev->commands)
		return -ENOMEM;
	err = vgpu_device_start(vdev);
	if (err)
		goto free_commands;
	pci_set_master(pdev);
	err = request_interrupts(vdev, dev_name(&vdev->dev));
	if (err)
		goto end;
	pci_program(vdev);
	return 0;

end:
	pci_clear_master(pdev);
	vgpu_device_end(vdev);
free_commands:
	free_commands(vdev);
	return err;
}

static void stop_device(struct vgpu_device *vdev)
{
	vgpu_device_stop(vdev);
	free_interrupts(vdev, vdev->vectors);
	vgpu_device_end(vdev);
	pci_clear_master(vdev->pdev);
	free_commands(vdev);
}

static int vgpu_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct vgpu_device *vdev = vgpu_device_new(&pdev->dev, &pci_transport);
	int err;

	if (IS_ERR(vdev))
		return PTR_ERR(vdev);
	vdev->pdev = pdev;
	err = pci_enable_device(pdev);
	if (err)
		goto put;
	err = map_registers(vdev);
	if (err)
		goto disable;
	err = check_device(vdev);
	if (err)
		goto unmap;
	vgpu_window_find(vdev);
	err = start_device(vdev);
	if (err)
		goto lose_window;
	err = vgpu_device_publish(vdev);
	if (err)
		goto stop;
	pci_set_drvdata(pdev, vdev);
	dev_info(&pdev->dev, "%s, %u interrupt vectors, a window of %llu MiB\n",
		 dev_name(&vdev->dev), vdev->vectors, vdev->window_bytes >> 20);
	return 0;

stop:
	stop_device(vdev);
lose_window:
	vgpu_window_lose(vdev);
unmap:
	unmap_registers(vdev);
disable:
	pci_disable_device(pdev);
put:
	vgpu_device_put(vdev);
	return err;
}

static void vgpu_remove(struct pci_dev *pdev)
{
	struct vgpu_device *vdev = pci_get_drvdata(pdev);

	vgpu_device_unpublish(vdev);
	stop_device(vdev);
	vgpu_window_lose(vdev);
	unmap_registers(vdev);
	pci_disable_device(pdev);
	vgpu_device_put(vdev);
}

/* The machine goes down, or another kernel starts: the device must not write into its memory. */
static void vgpu_shutdown(struct pci_dev *pdev)
{
	vgpu_device_halt(pci_get_drvdata(pdev), false, false);
}

/* Sleep and function resets lose the device's state: channels end, and new ones can be opened. */
static void vgpu_reset_prepare(struct pci_dev *pdev)
{
	vgpu_device_halt(pci_get_drvdata(pdev), true, false);
}

static void vgpu_reset_done(struct pci_dev *pdev)
{
	vgpu_device_halt(pci_get_drvdata(pdev), true, true);
}

static const struct pci_error_handlers vgpu_error_handlers = {
	.reset_prepare = vgpu_reset_prepare,
	.reset_done = vgpu_reset_done,
};

static int __maybe_unused vgpu_suspend(struct device *dev)
{
	vgpu_reset_prepare(to_pci_dev(dev));
	return 0;
}

static int __maybe_unused vgpu_resume(struct device *dev)
{
	vgpu_reset_done(to_pci_dev(dev));
	return 0;
}

static SIMPLE_DEV_PM_OPS(vgpu_pm_ops, vgpu_suspend, vgpu_resume);

static const struct pci_device_id vgpu_ids[] = {
	{ PCI_DEVICE(VGPU_PCI_VENDOR, VGPU_PCI_DEVICE) },
	{},
};
MODULE_DEVICE_TABLE(pci, vgpu_ids);

static struct pci_driver pci_driver = {
	.name = "vgpu",
	.id_table = vgpu_ids,
	.probe = vgpu_probe,
	.remove = vgpu_remove,
	.shutdown = vgpu_shutdown,
	.err_handler = &vgpu_error_handlers,
	.driver.pm = &vgpu_pm_ops,
};

int __init vgpu_pci_register(void)
{
	return pci_register_driver(&pci_driver);
}

void vgpu_pci_unregister(void)
{
	pci_unregister_driver(&pci_driver);
}
