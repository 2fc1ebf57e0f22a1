/* SPDX-License-Identifier: Apache-2.0 */
/* In the place of pci.c where there is no libpci: scans then know only what NVML sees. */
#include <errno.h>

#include "mediator/pci.h"

int pci_gpu_find(const char *path, struct pci_gpu gpus[PCI_GPUS_MAX], unsigned *ret_n,
                 struct vgpu_err *err)
{
    return vgpu_err_set(err, ENOTSUP, "vgpu-nvml was built without libpci");
}
