/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vgpu-stub, the PCI device: its BARs and identity registers. QEMU creates it for
 * -device vgpu-stub; include/vgpu/pci_regs.h has the registers.
 */
#include "qemu/osdep.h"
#include "qemu/module.h"
#include "qapi/error.h"
#include "hw/pci/pci.h"
#include "hw/pci/msix.h"
#include "hw/qdev-properties.h"
#include "hw/qdev-properties-system.h"
#include "chardev/char-fe.h"
#include <vgpu/pci_regs.h>

#define TYPE_VGPU_STUB "vgpu-stub"
OBJECT_DECLARE_SIMPLE_TYPE(VGPUStub, VGPU_STUB)

struct VGPUStub {
    PCIDevice parent;
    CharBackend chr;
    MemoryRegion registers;
    MemoryRegion doorbells;
};

static uint64_t registers_read(void *opaque, hwaddr addr, unsigned size)
{
    switch (addr) {
    case VGPU_REG_MAGIC:
        return VGPU_MAGIC;
    case VGPU_REG_VERSION:
        return VGPU_VERSION_MAJOR << 16 | VGPU_VERSION_MINOR;
    default:
        return 0;
    }
}

static void registers_write(void *opaque, hwaddr addr, uint64_t value, unsigned size)
{
}

static const MemoryRegionOps registers_ops = {
    .read = registers_read,
    .write = registers_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
};

static void vgpu_stub_realize(PCIDevice *pci, Error **errp)
{
    VGPUStub *s = VGPU_STUB(pci);

    memory_region_init_io(&s->registers, OBJECT(s), &registers_ops, s, "vgpu-registers",
                          VGPU_REGISTERS_BYTES);
    memory_region_init_io(&s->doorbells, OBJECT(s), &registers_ops, s, "vgpu-doorbells",
                          VGPU_DOORBELL_BYTES);
    pci_config_set_interrupt_pin(pci->config, 1);
    if (msix_init_exclusive_bar(pci, VGPU_MSIX_VECTORS, VGPU_BAR_MSIX, errp) < 0) {
        return;
    }
    pci_register_bar(pci, VGPU_BAR_REGISTERS, PCI_BASE_ADDRESS_SPACE_MEMORY, &s->registers);
    pci_register_bar(pci, VGPU_BAR_DOORBELLS, PCI_BASE_ADDRESS_SPACE_MEMORY, &s->doorbells);
}

static void vgpu_stub_exit(PCIDevice *pci)
{
    msix_uninit_exclusive_bar(pci);
}

static Property vgpu_stub_properties[] = {
    DEFINE_PROP_CHR("chardev", VGPUStub, chr),
    DEFINE_PROP_END_OF_LIST(),
};

static void vgpu_stub_class_init(ObjectClass *class, void *data)
{
    PCIDeviceClass *pci = PCI_DEVICE_CLASS(class);

    pci->realize = vgpu_stub_realize;
    pci->exit = vgpu_stub_exit;
    pci->vendor_id = VGPU_PCI_VENDOR;
    pci->device_id = VGPU_PCI_DEVICE;
    pci->class_id = VGPU_PCI_CLASS;
    device_class_set_props(DEVICE_CLASS(class), vgpu_stub_properties);
}

static const TypeInfo vgpu_stub_info = {
    .name = TYPE_VGPU_STUB,
    .parent = TYPE_PCI_DEVICE,
    .instance_size = sizeof(VGPUStub),
    .class_init = vgpu_stub_class_init,
    .interfaces = (InterfaceInfo[]){ { INTERFACE_CONVENTIONAL_PCI_DEVICE }, {} },
};

static void vgpu_stub_register(void)
{
    type_register_static(&vgpu_stub_info);
}
type_init(vgpu_stub_register)
