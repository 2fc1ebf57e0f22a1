/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "mediator/pci.h"

static json_t *text_or_null(const char *text)
{
    return text[0] ? json_string(text) : json_null();
}

static json_t *node_or_null(int node)
{
    return node >= 0 ? json_integer(node) : json_null();
}

static json_t *at_address(json_t *gpus, const char *address)
{
    json_t *gpu;
    size_t i;

    json_array_foreach (gpus, i, gpu) {
        const char *pci = json_string_value(json_object_get(gpu, "pci"));

        if (pci && strcasecmp(pci, address) == 0)
            return gpu;
    }
    return NULL;
}

/* The bus knows the node of the host's processors that is nearest; what NVML calls so is another.
 */
static int add_to(json_t *gpu, const struct pci_gpu *found)
{
    if (found->numa_node >= 0 &&
        json_object_set_new(gpu, "numa_node", json_integer(found->numa_node)) < 0)
        return -ENOMEM;
    return json_object_set_new(gpu, "driver", text_or_null(found->driver)) < 0 ? -ENOMEM : 0;
}

static int append(json_t *gpus, const struct pci_gpu *found)
{
    char uuid[64];

    snprintf(uuid, sizeof(uuid), "PCI-%04x:%04x-%s", found->vendor, found->device, found->address);
    return json_array_append_new(
               gpus, json_pack("{s:n, s:s, s:s, s:s, s:i, s:o, s:o, s:n, s:s}", "index", "uuid",
                               uuid, "pci", found->address, "model", found->model, "memory_bytes",
                               0, "driver", text_or_null(found->driver), "numa_node",
                               node_or_null(found->numa_node), "mig_mode", "source", "pci")) < 0
               ? -ENOMEM
               : 0;
}

int pci_gpu_merge(json_t *gpus, const struct pci_gpu *found, unsigned n, struct vgpu_err *err)
{
    for (unsigned i = 0; i < n; i++) {
        json_t *gpu = at_address(gpus, found[i].address);

        if ((gpu ? add_to(gpu, &found[i]) : append(gpus, &found[i])) < 0)
            return vgpu_err_set(err, ENOMEM, "out of memory");
    }
    return 0;
}
