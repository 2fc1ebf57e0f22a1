/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/pci.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <pci/pci.h>

#define VENDOR_NVIDIA      0x10de
#define BASE_CLASS_DISPLAY 0x03

/* Where libpci's errors end, and what they said: it has no way to go on after one. */
static jmp_buf failure;
static char failure_text[160];

static void PCI_NONRET failed(char *format, ...) PCI_PRINTF(1, 2);

static void failed(char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(failure_text, sizeof(failure_text), format, args);
    va_end(args);
    longjmp(failure, 1);
}

static void silent(char *format, ...) PCI_PRINTF(1, 2);

static void silent(char *format, ...)
{
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* The target's last part; false if the device has no such link. Older libpci cannot tell. */
static bool read_link(const char *path, const struct pci_dev *dev, const char *name,
                      char target[PCI_NAME_BYTES])
{
    char link[PATH_MAX], text[PATH_MAX];
    ssize_t size;

    snprintf(link, sizeof(link), "%s/devices/%04x:%02x:%02x.%d/%s", path, (unsigned)dev->domain,
             dev->bus, dev->dev, dev->func, name);
    size = readlink(link, text, sizeof(text) - 1);
    if (size < 0)
        return false;
    text[size] = '\0';
    snprintf(target, PCI_NAME_BYTES, "%.*s", PCI_NAME_BYTES - 1, base_name(text));
    return true;
}

static bool is_gpu(const char *path, struct pci_dev *dev)
{
    char target[PCI_NAME_BYTES];

    pci_fill_info(dev, PCI_FILL_IDENT | PCI_FILL_CLASS | PCI_FILL_NUMA_NODE);
    return dev->vendor_id == VENDOR_NVIDIA && dev->device_class >> 8 == BASE_CLASS_DISPLAY &&
           !read_link(path, dev, "physfn", target);
}

static void name_model(struct pci_access *access, const struct pci_dev *dev,
                       char model[PCI_NAME_BYTES])
{
    char name[128];

    if (pci_lookup_name(access, name, sizeof(name),
                        PCI_LOOKUP_DEVICE | PCI_LOOKUP_NO_NUMBERS | PCI_LOOKUP_NO_HWDB,
                        dev->vendor_id, dev->device_id))
        snprintf(model, PCI_NAME_BYTES, "NVIDIA %.*s", PCI_NAME_BYTES - 8, name);
    else
        snprintf(model, PCI_NAME_BYTES, "NVIDIA device %04x", dev->device_id);
}

static void take(const char *path, struct pci_access *access, const struct pci_dev *dev,
                 struct pci_gpu *gpu)
{
    *gpu = (struct pci_gpu){
        .vendor = dev->vendor_id, .device = dev->device_id, .numa_node = dev->numa_node};
    snprintf(gpu->address, sizeof(gpu->address), "%08X:%02X:%02X.%X", (unsigned)dev->domain,
             dev->bus, dev->dev, dev->func & 7u);
    read_link(path, dev, "driver", gpu->driver);
    name_model(access, dev, gpu->model);
}

static int take_all(const char *path, struct pci_access *access, struct pci_gpu *gpus,
                    unsigned *ret_n, struct vgpu_err *err)
{
    unsigned n = 0;

    pci_init(access);
    pci_scan_bus(access);
    for (struct pci_dev *dev = access->devices; dev; dev = dev->next) {
        if (!is_gpu(path, dev))
            continue;
        if (n == PCI_GPUS_MAX)
            return vgpu_err_set(err, E2BIG, "the PCI bus has more than %d GPUs", PCI_GPUS_MAX);
        take(path, access, dev, &gpus[n++]);
    }
    *ret_n = n;
    return 0;
}

static int scan(const char *path, struct pci_access *access, struct pci_gpu *gpus, unsigned *ret_n,
                struct vgpu_err *err)
{
    /* What libpci had open at that moment stays so: a device that vanished while it was read. */
    if (setjmp(failure))
        return vgpu_err_set(err, EIO, "PCI: %s", failure_text);
    return take_all(path, access, gpus, ret_n, err);
}

static int by_address(const void *a, const void *b)
{
    const struct pci_gpu *left = a, *right = b;

    return strcmp(left->address, right->address);
}

int pci_gpu_find(const char *path, struct pci_gpu gpus[PCI_GPUS_MAX], unsigned *ret_n,
                 struct vgpu_err *err)
{
    struct pci_access *access;
    unsigned n = 0;
    int rc;

    if (strlen(path) >= PATH_MAX - 128)
        return vgpu_err_set(err, ENAMETOOLONG, "the path of the PCI bus is too long");
    if (!(access = pci_alloc()))
        return vgpu_err_set(err, ENOMEM, "out of memory");
    access->method = PCI_ACCESS_SYS_BUS_PCI;
    access->error = failed;
    access->warning = silent;
    pci_set_param(access, (char[]){"sysfs.path"}, (char *)(uintptr_t)path);
    rc = scan(path, access, gpus, &n, err);
    pci_cleanup(access);
    if (rc < 0)
        return rc;
    qsort(gpus, n, sizeof(gpus[0]), by_address);
    *ret_n = n;
    return 0;
}
