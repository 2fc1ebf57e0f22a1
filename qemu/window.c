/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The window's BAR and its places. vgpu_stub.c makes it, window_channel.c takes places.
 *
 * Address space for the whole window is reserved once, as one RAM region that no guest
 * ever sees as such. The BAR itself is I/O that reads as all ones; a place that is shown
 * is an alias over it, into the RAM region. So regions with references from flat views
 * never go before the device does, and host memory of a place that was hidden may still
 * be accessed for a moment: TCG flushes its TLBs asynchronously, hence nothing of the
 * reservation is unmapped while the device lives.
 */
#include "qemu/osdep.h"
#include "window.h"
#include <sys/mman.h>

#define ALIGN_BYTES (2ull << 20) /* so that large pages can be used */

struct VGPUPlace {
    QLIST_ENTRY(VGPUPlace) next;
    VGPUWindow *window;
    uint64_t offset, bytes;
    MemoryRegion *alias; /* NULL: hidden */
};

struct VGPUWindow {
    Object *owner;
    uint64_t bytes;
    void *reserved; /* bytes + ALIGN_BYTES */
    uint8_t *base;  /* in it, aligned */
    MemoryRegion bar;
    MemoryRegion ram;
    QLIST_HEAD(, VGPUPlace) places;
};

static uint64_t nobody_read(void *opaque, hwaddr addr, unsigned size)
{
    return UINT64_MAX;
}

static void nobody_write(void *opaque, hwaddr addr, uint64_t value, unsigned size)
{
}

static const MemoryRegionOps nobody_ops = {
    .read = nobody_read,
    .write = nobody_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = {.min_access_size = 1, .max_access_size = 8, .unaligned = true},
    .impl = {.min_access_size = 1, .max_access_size = 8, .unaligned = true},
};

VGPUWindow *vgpu_window_new(PCIDevice *pci, uint64_t bytes, Error **errp)
{
    VGPUWindow *window;
    void *reserved = mmap(NULL, bytes + ALIGN_BYTES, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (reserved == MAP_FAILED) {
        error_setg_errno(errp, errno,
                         "vgpu-stub: cannot reserve address space for window-size");
        return NULL;
    }
    window = g_new0(VGPUWindow, 1);
    window->owner = OBJECT(pci);
    window->bytes = bytes;
    window->reserved = reserved;
    window->base = (uint8_t *)QEMU_ALIGN_PTR_UP(reserved, ALIGN_BYTES);
    QLIST_INIT(&window->places);
    memory_region_init_io(&window->bar, window->owner, &nobody_ops, window, "vgpu-window",
                          bytes);
    memory_region_init_ram_device_ptr(&window->ram, window->owner, "vgpu-window-memory",
                                      bytes, window->base);
    pci_register_bar(pci, VGPU_BAR_WINDOW,
                     PCI_BASE_ADDRESS_SPACE_MEMORY | PCI_BASE_ADDRESS_MEM_TYPE_64 |
                         PCI_BASE_ADDRESS_MEM_PREFETCH,
                     &window->bar);
    return window;
}

void vgpu_window_free(VGPUWindow *window)
{
    if (window) {
        munmap(window->reserved, window->bytes + ALIGN_BYTES);
        g_free(window);
    }
}

uint64_t vgpu_window_bytes(const VGPUWindow *window)
{
    return window ? window->bytes : 0;
}

VGPUPlace *vgpu_place_new(VGPUWindow *window, uint64_t offset, uint64_t bytes,
                          bool *ret_taken)
{
    VGPUPlace *place;

    *ret_taken = false;
    if (!bytes || offset > window->bytes || bytes > window->bytes - offset) {
        return NULL;
    }
    QLIST_FOREACH(place, &window->places, next)
    {
        if (offset < place->offset + place->bytes && place->offset < offset + bytes) {
            *ret_taken = true;
            return NULL;
        }
    }
    place = g_new0(VGPUPlace, 1);
    place->window = window;
    place->offset = offset;
    place->bytes = bytes;
    QLIST_INSERT_HEAD(&window->places, place, next);
    return place;
}

void *vgpu_place_address(const VGPUPlace *place)
{
    return place->window->base + place->offset;
}

void vgpu_place_show(VGPUPlace *place)
{
    VGPUWindow *window = place->window;

    if (!place->alias) {
        place->alias = g_new0(MemoryRegion, 1);
        memory_region_init_alias(place->alias, window->owner, "vgpu-channel",
                                 &window->ram, place->offset, place->bytes);
        memory_region_add_subregion(&window->bar, place->offset, place->alias);
    }
}

void vgpu_place_hide(VGPUPlace *place)
{
    if (place->alias) {
        memory_region_del_subregion(&place->window->bar, place->alias);
        object_unparent(OBJECT(place->alias));
        g_free(place->alias);
        place->alias = NULL;
    }
}

void vgpu_place_free(VGPUPlace *place)
{
    if (place) {
        vgpu_place_hide(place);
        QLIST_REMOVE(place, next);
        g_free(place);
    }
}
