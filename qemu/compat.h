/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the interfaces of QEMU 4.2 to 10 differ. Included after qemu/osdep.h; the rest
 * of the device is written for one of them, and for gcc 4.8, which builds it in XCP-ng:
 * no __has_include there.
 */
#ifndef HW_MISC_VGPU_COMPAT_H
#define HW_MISC_VGPU_COMPAT_H

#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/event_notifier.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qemu/queue.h"
#include "qemu/timer.h"
#include "chardev/char-fe.h"
#if QEMU_VERSION_MAJOR >= 8
#include "hw/pci/pci_device.h"
#else
#include "hw/pci/pci.h"
#endif
#include "hw/pci/msi.h"
#include "hw/pci/msix.h"
#include "hw/qdev-properties.h"
#if QEMU_VERSION_MAJOR >= 6
#include "hw/qdev-properties-system.h"
#endif
#include "migration/vmstate.h"
#if QEMU_VERSION_MAJOR >= 10
#include "system/kvm.h"
#include "system/xen.h"
#elif QEMU_VERSION_MAJOR > 5 || (QEMU_VERSION_MAJOR == 5 && QEMU_VERSION_MINOR >= 2)
#include "sysemu/kvm.h"
#include "sysemu/xen.h"
#else
#include "sysemu/kvm.h"
#include "hw/xen/xen.h"
#endif

/* The device's end of a chardev was CharBackend up to 10.1. */
#if QEMU_VERSION_MAJOR > 10 || (QEMU_VERSION_MAJOR == 10 && QEMU_VERSION_MINOR >= 2)
typedef CharFrontend VGPUCharFrontend;
#else
typedef CharBackend VGPUCharFrontend;
#endif

/* The argument that nobody may use, of a callback of qemu_chr_fe_add_watch(). */
#if QEMU_VERSION_MAJOR >= 6
typedef void VGPUWatchSource;
#else
typedef GIOChannel VGPUWatchSource;
#endif

#if QEMU_VERSION_MAJOR >= 5
typedef QEMUChrEvent VGPUChrEvent;
#else
typedef int VGPUChrEvent;
#endif

/* Arrays of properties ended with a mark up to 9.2. */
#if QEMU_VERSION_MAJOR >= 10
#define VGPU_PROPERTIES static const Property
#define VGPU_PROPERTIES_END
#else
#define VGPU_PROPERTIES     static Property
#define VGPU_PROPERTIES_END DEFINE_PROP_END_OF_LIST(),
#endif

#if QEMU_VERSION_MAJOR > 10 || (QEMU_VERSION_MAJOR == 10 && QEMU_VERSION_MINOR >= 1)
typedef const void VGPUClassData;
#else
typedef void VGPUClassData;
#endif

/* Does KVM take eventfds for doorbells? Up to 8.2 it could be without. */
static inline bool vgpu_kvm_ioeventfd(void)
{
#if QEMU_VERSION_MAJOR >= 9
    return kvm_enabled();
#else
    return kvm_enabled() && kvm_eventfds_enabled();
#endif
}

/* Of the vector's message as it is now; negative: KVM has none. */
static inline int vgpu_kvm_add_msi_route(unsigned vector, PCIDevice *pci)
{
#if QEMU_VERSION_MAJOR >= 7
    KVMRouteChange change = kvm_irqchip_begin_route_changes(kvm_state);
    int route = kvm_irqchip_add_msi_route(&change, vector, pci);

    if (route >= 0) {
        kvm_irqchip_commit_route_changes(&change);
    }
    return route;
#else
    return kvm_irqchip_add_msi_route(kvm_state, vector, pci);
#endif
}

static inline void vgpu_set_reset(DeviceClass *class, void (*reset)(DeviceState *device))
{
#if QEMU_VERSION_MAJOR >= 10
    device_class_set_legacy_reset(class, reset);
#else
    class->reset = reset;
#endif
}

#if QEMU_VERSION_MAJOR < 5
static inline void device_class_set_props(DeviceClass *class, Property *properties)
{
    class->props = properties;
}
#endif

#endif
