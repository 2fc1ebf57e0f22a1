/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A kick goes to KVM while its vector can interrupt: MSI-X on, nothing masked. Otherwise
 * QEMU watches it, which makes a masked vector pending, and serves the pin. A vector has
 * a route in KVM while one of its kicks goes there.
 *
 * What KVM refuses stays with QEMU: slower, and nothing else.
 */
#include "qemu/osdep.h"
#include "vectors.h"

struct VGPUVectors {
    PCIDevice *pci;
    bool irqfd;
    int route[VGPU_MSIX_VECTORS];     /* of KVM; valid while used */
    uint32_t used[VGPU_MSIX_VECTORS]; /* kicks that go to KVM */
    QLIST_HEAD(, VGPUKick) kicks;
};

/*
 * By the device's configuration alone: notifiers come for masking only, and not when
 * MSI-X is turned off or the device is reset.
 */
static bool can_interrupt(const VGPUVectors *vectors, uint32_t vector)
{
    return msix_enabled(vectors->pci) && !msix_is_masked(vectors->pci, vector);
}

static void give_to_kvm(VGPUVectors *vectors, VGPUKick *kick)
{
    uint32_t vector = kick->vector;

    if (!vectors->used[vector]) {
        vectors->route[vector] = vgpu_kvm_add_msi_route(vector, vectors->pci);
    }
    if (vectors->route[vector] < 0) {
        return;
    }
    /* The watch ends first: KVM looks at once, and takes what has come. */
    kick->watch(kick->opaque, false);
    if (kvm_irqchip_add_irqfd_notifier_gsi(kvm_state, &kick->event, NULL,
                                           vectors->route[vector]) < 0) {
        if (!vectors->used[vector]) {
            kvm_irqchip_release_virq(kvm_state, vectors->route[vector]);
        }
        kick->watch(kick->opaque, true);
        return;
    }
    vectors->used[vector]++;
    kick->direct = true;
}

static void take_from_kvm(VGPUVectors *vectors, VGPUKick *kick)
{
    uint32_t vector = kick->vector;

    kvm_irqchip_remove_irqfd_notifier_gsi(kvm_state, &kick->event,
                                          vectors->route[vector]);
    kick->direct = false;
    if (--vectors->used[vector] == 0) {
        kvm_irqchip_release_virq(kvm_state, vectors->route[vector]);
    }
}

static void update(VGPUVectors *vectors, VGPUKick *kick)
{
    bool direct = vectors->irqfd && can_interrupt(vectors, kick->vector);

    if (direct && !kick->direct) {
        give_to_kvm(vectors, kick);
    } else if (!direct && kick->direct) {
        take_from_kvm(vectors, kick);
        kick->watch(kick->opaque, true);
    }
}

static void update_vector(VGPUVectors *vectors, uint32_t vector)
{
    VGPUKick *kick;

    QLIST_FOREACH(kick, &vectors->kicks, next)
    {
        if (kick->vector == vector) {
            update(vectors, kick);
        }
    }
}

void vgpu_vectors_update(VGPUVectors *vectors)
{
    VGPUKick *kick;

    QLIST_FOREACH(kick, &vectors->kicks, next)
    {
        update(vectors, kick);
    }
}

/* From msix.c, which has no other way to find us. A vector that was unmasked may have
 * another message than before: while it was masked it had no route. */
static int unmasked(PCIDevice *pci, unsigned vector, MSIMessage msg)
{
    update_vector(vgpu_vectors_of_pci(pci), vector);
    return 0;
}

static void masked(PCIDevice *pci, unsigned vector)
{
    update_vector(vgpu_vectors_of_pci(pci), vector);
}

VGPUVectors *vgpu_vectors_new(PCIDevice *pci, bool irqfd)
{
    VGPUVectors *vectors = g_new0(VGPUVectors, 1);

    vectors->pci = pci;
    vectors->irqfd = irqfd && kvm_enabled() && kvm_msi_via_irqfd_enabled();
    QLIST_INIT(&vectors->kicks);
    if (vectors->irqfd) {
        msix_set_vector_notifiers(pci, unmasked, masked, NULL);
    }
    return vectors;
}

void vgpu_vectors_free(VGPUVectors *vectors)
{
    if (vectors && vectors->irqfd) {
        msix_unset_vector_notifiers(vectors->pci);
    }
    g_free(vectors);
}

void vgpu_vectors_add(VGPUVectors *vectors, VGPUKick *kick)
{
    kick->direct = false;
    QLIST_INSERT_HEAD(&vectors->kicks, kick, next);
    kick->watch(kick->opaque, true);
    update(vectors, kick);
}

void vgpu_vectors_remove(VGPUVectors *vectors, VGPUKick *kick)
{
    QLIST_REMOVE(kick, next);
    if (kick->direct) {
        take_from_kvm(vectors, kick);
    } else {
        kick->watch(kick->opaque, false);
    }
}
