/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVIDIA's display controllers on the PCI bus, whichever kernel driver has them: what a scan knows
 * besides NVML. For vgpu-nvml alone, as it may block and libpci may fail in the middle.
 *
 * Taken is a function of NVIDIA's (vendor 10de) of the base class 03: VGA (0300), XGA (0301), 3D
 * (0302), other displays (0380). A GPU's audio, USB and other functions, its bridges and switches,
 * and virtual functions of SR-IOV are no GPUs.
 */
#ifndef VGPU_MEDIATOR_PCI_H
#define VGPU_MEDIATOR_PCI_H

#include <stdint.h>

#include <jansson.h>

#include "common/err.h"

#define PCI_GPUS_MAX      64
#define PCI_ADDRESS_BYTES 24 /* "00000000:65:00.0", as NVML writes it */
#define PCI_NAME_BYTES    64 /* of a model and of a driver, with NUL */
#define PCI_DEFAULT_PATH  "/sys/bus/pci"

struct pci_gpu {
    char address[PCI_ADDRESS_BYTES];
    uint16_t vendor, device;
    int numa_node;               /* -1: unknown */
    char driver[PCI_NAME_BYTES]; /* the kernel driver that has it; "": none */
    char model[PCI_NAME_BYTES];
};

/*
 * path: where sysfs has the bus. *ret_n of gpus are filled, by address. -EIO: with libpci's words;
 * -E2BIG: there are more; -ENOTSUP: built without libpci.
 */
int pci_gpu_find(const char *path, struct pci_gpu gpus[PCI_GPUS_MAX], unsigned *ret_n,
                 struct vgpu_err *err);

/*
 * Adds what the bus knows to gpus, NVML's as vgpu-nvml lists them: "driver" and "numa_node" to
 * those that are on the bus, and, as objects with "source": "pci", those that NVML does not see.
 * -ENOMEM.
 */
int pci_gpu_merge(json_t *gpus, const struct pci_gpu *found, unsigned n, struct vgpu_err *err);

#endif
