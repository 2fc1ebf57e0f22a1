/* SPDX-License-Identifier: Apache-2.0 */
/* Names of softgpu devices; see identity.h. */
#include "softgpu/identity.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_BUS 0x10

bool identity_number(const char *text, unsigned low, unsigned high, unsigned *ret)
{
    char *end;
    unsigned long value;

    if (text[0] < '0' || text[0] > '9')
        return false;
    value = strtoul(text, &end, 10);
    if (*end || value < low || value > high)
        return false;
    *ret = (unsigned)value;
    return true;
}

static bool setting(const char *name, unsigned high, unsigned *value)
{
    const char *text = secure_getenv(name);

    return !text || identity_number(text, 1, high, value);
}

const char *identity_config(struct identity_config *ret)
{
    struct identity_config config = {.devices = 1, .memory_mb = SOFTGPU_MEMORY_MB};

    if (!setting("SOFTGPU_DEVICES", SOFTGPU_MAX_DEVICES, &config.devices))
        return "SOFTGPU_DEVICES";
    if (!setting("SOFTGPU_MEMORY_MB", SOFTGPU_MAX_MEMORY_MB, &config.memory_mb))
        return "SOFTGPU_MEMORY_MB";
    *ret = config;
    return NULL;
}

void identity_uuid(unsigned index, uint8_t ret_bytes[16])
{
    static const uint8_t base[16] = {0x50, 0xf7, 0x69, 0x00, 0x1d, 0x7c, 0x4e, 0x0a,
                                     0x9b, 0x33, 0x73, 0x6f, 0x66, 0x74, 0x67, 0x00};

    memcpy(ret_bytes, base, sizeof(base));
    ret_bytes[15] = (uint8_t)index;
}

void identity_uuid_text(unsigned index, char ret_text[SOFTGPU_UUID_TEXT])
{
    uint8_t b[16];

    identity_uuid(index, b);
    snprintf(ret_text, SOFTGPU_UUID_TEXT,
             "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
             b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
             b[15]);
}

unsigned identity_pci_bus(unsigned index)
{
    return FIRST_BUS + index;
}

void identity_pci_text(unsigned index, char ret_text[SOFTGPU_PCI_TEXT])
{
    snprintf(ret_text, SOFTGPU_PCI_TEXT, "0000:%02x:00.0", identity_pci_bus(index) & 0xff);
}

int identity_pci_parse(const char *text)
{
    unsigned domain = 0, bus, device, function = 0;
    char rest;
    int fields = sscanf(text, "%x:%x:%x.%x%c", &domain, &bus, &device, &function, &rest);

    if (fields != 3 && fields != 4) {
        domain = function = 0;
        fields = sscanf(text, "%x:%x.%x%c", &bus, &device, &function, &rest);
        if (fields != 2 && fields != 3)
            return -1;
    }
    if (domain != 0 || device != 0 || function != 0 || bus > SOFTGPU_MAX_PCI_BUS)
        return -1;
    return (int)bus;
}

int identity_find_pci(const char *text, unsigned n_devices)
{
    int bus = identity_pci_parse(text);

    if (bus < FIRST_BUS || bus >= FIRST_BUS + (int)n_devices)
        return -1;
    return bus - FIRST_BUS;
}
