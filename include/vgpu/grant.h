/* SPDX-License-Identifier: GPL-2.0-or-later OR Apache-2.0 */
/*
 * The grant carrier: a channel's memory in pages that a Xen guest grants to the backend domain, and
 * the pages by which a guest without the PCI device gives its commands. docs/spec/grant.md is the
 * full text. The guest's driver writes what is here, worker and vgpu-xenbus read it, as hostile.
 *
 * Little-endian, fixed width, natural alignment, reserved fields zero. Pages have 4096 bytes.
 * Reference 0 is reserved by Xen and stands for "none".
 */
#ifndef VGPU_GRANT_H
#define VGPU_GRANT_H

#include "pci_regs.h"
#include "status.h"
#include "types.h"
#include "version.h"

#define VGPU_GRANT_MAGIC         0x47504756u /* "VGPG" */
#define VGPU_GRANT_VERSION       1u
#define VGPU_GRANT_PAGE_BYTES    4096u
#define VGPU_GRANT_TABLES        1020u  /* that a directory has room for */
#define VGPU_GRANT_TABLE_ENTRIES 1024u  /* references in a table */
#define VGPU_GRANT_MAX_PAGES     65536u /* of one channel: 256 MiB */
/* Data area of an OPEN that leaves the size to the host, and the largest one. */
#define VGPU_GRANT_DEFAULT_DATA_BYTES (16u << 20)
#define VGPU_GRANT_MAX_DATA_BYTES     (((uint64_t)VGPU_GRANT_MAX_PAGES << 12) - (16u << 20))

/* Where the references of a set of pages are. Granted, read-only if the guest likes. */
struct vgpu_grant_directory {
    uint32_t magic;
    uint16_t version;
    uint16_t reserved;
    uint32_t pages;                    /* of the set, 1 to VGPU_GRANT_MAX_PAGES */
    uint32_t tables;                   /* that are needed for them, and no more */
    uint32_t table[VGPU_GRANT_TABLES]; /* references of struct vgpu_grant_table; 0 behind them */
};
VGPU_ASSERT_SIZE(struct vgpu_grant_directory, 4096);

/* Entry k of table i: reference of page i * 1024 + k; 0 behind the last page. */
struct vgpu_grant_table {
    uint32_t ref[VGPU_GRANT_TABLE_ENTRIES];
};
VGPU_ASSERT_SIZE(struct vgpu_grant_table, 4096);

/* `directory` of ATTACH, for a channel by grants: two numbers in one. */
#define VGPU_GRANT_ATTACH(directory, event_port) ((uint64_t)(event_port) << 32 | (directory))

/*
 * The pages of a guest without the PCI device: this one, then the slots' commands and the monitor
 * command, as in BAR0. They lie behind a directory of VGPU_XEN_PAGES pages.
 */
#define VGPU_XEN_COMMANDS    (VGPU_SLOTS + 1u) /* slots, and VGPU_MONITOR_SLOT */
#define VGPU_XEN_PAGES       18u               /* 1 + 65 * 1024 bytes in whole pages */
#define VGPU_XEN_CONTROL_MAX 1024u             /* `devid` of a device is below this */

struct vgpu_xen_control {
    /* Written by the guest. */
    uint32_t magic; /* VGPU_GRANT_MAGIC; before it says Initialised */
    uint16_t version;
    uint16_t reserved0;
    uint8_t reserved1[56];
    /*
     * By slot: the tag of the command that is there to be taken, stored after it; then the guest
     * kicks. The host has taken it when it answers.
     */
    uint32_t doorbell[VGPU_XEN_COMMANDS];
    uint8_t reserved2[1024 - 64 - 4 * VGPU_XEN_COMMANDS];

    /* Written by the host: as the registers of the same names (pci_regs.h). */
    uint32_t generation; /* odd while what follows changes; other than before when it has */
    uint32_t status;     /* enum vgpu_device_state, VGPU_STATUS_QUARANTINED */
    uint32_t error;
    uint32_t features; /* VGPU_DEVICE_* */
    uint32_t vm_id;
    uint32_t priority;
    uint32_t weight; /* hundredths */
    uint32_t max_channels;
    uint32_t max_data; /* in units of 4096 bytes */
    uint32_t backend_domid;
    uint8_t reserved3[24];
    char pool[72];
    char name[72];
    char error_text[VGPU_STATUS_TEXT_BYTES];
    uint8_t reserved4[2672];
};
VGPU_ASSERT_SIZE(struct vgpu_xen_control, 4096);

#endif
