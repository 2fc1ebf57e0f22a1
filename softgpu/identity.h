/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What names a softgpu device, the same in the driver API and in NVML, in every process: its
 * index, UUID, PCI address and name. Also the two settings of the machine that both libraries
 * read from the environment. Nothing here has state.
 */
#ifndef SOFTGPU_IDENTITY_H
#define SOFTGPU_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

#define SOFTGPU_NAME           "softgpu"
#define SOFTGPU_MAX_DEVICES    16
#define SOFTGPU_MAX_MEMORY_MB  (1u << 20)
#define SOFTGPU_MEMORY_MB      4096
#define SOFTGPU_CUDA_VERSION   13000
#define SOFTGPU_DRIVER_VERSION "580.00.00"
#define SOFTGPU_SM_MAJOR       9
#define SOFTGPU_SM_MINOR       0
#define SOFTGPU_SM             (SOFTGPU_SM_MAJOR * 10 + SOFTGPU_SM_MINOR)
#define SOFTGPU_PTX_VERSION    90 /* the newest .version accepted, times ten */
#define SOFTGPU_UUID_TEXT      41 /* "GPU-" and 36 characters and NUL */
#define SOFTGPU_PCI_TEXT       13 /* "0000:10:00.0" and NUL */
#define SOFTGPU_MAX_PCI_BUS    255

struct identity_config {
    unsigned devices;   /* SOFTGPU_DEVICES, 1 to SOFTGPU_MAX_DEVICES; default 1 */
    unsigned memory_mb; /* SOFTGPU_MEMORY_MB, of each device */
};

/* Reads the environment. Returns NULL, or the name of the variable that is out of range. */
const char *identity_config(struct identity_config *ret);

/* Parses a decimal number in [low, high]; false if it is anything else. */
bool identity_number(const char *text, unsigned low, unsigned high, unsigned *ret);

void identity_uuid(unsigned index, uint8_t ret_bytes[16]);
void identity_uuid_text(unsigned index, char ret_text[SOFTGPU_UUID_TEXT]);
unsigned identity_pci_bus(unsigned index);
void identity_pci_text(unsigned index, char ret_text[SOFTGPU_PCI_TEXT]);

/* The bus of a PCI address in whose place a softgpu device can be, "0000:10:00.0"; -1: none. */
int identity_pci_parse(const char *text);

/* The index of the device at a PCI address such as "0000:10:00.0" or "10:00.0"; -1: none. */
int identity_find_pci(const char *text, unsigned n_devices);

#endif
