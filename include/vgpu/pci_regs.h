/* SPDX-License-Identifier: GPL-2.0-or-later OR Apache-2.0 */
/*
 * vgpu-stub, the PCI device that a virtual machine has: its registers, the commands that the
 * guest's driver gives, and the page by which a relayed channel asks for bulk data.
 * docs/spec/device.md is the full text; qemu/ is the device, guest/driver/ the driver.
 *
 * Registers are 32 bits wide, little-endian, naturally aligned; 64-bit values are two of them, the
 * low half first. Structures in guest memory are little-endian and naturally aligned; reserved
 * fields are zero.
 */
#ifndef VGPU_PCI_REGS_H
#define VGPU_PCI_REGS_H

#include "monitor.h"
#include "ring.h"
#include "status.h"
#include "types.h"
#include "version.h"

#define VGPU_PCI_VENDOR 0x1af4u
#define VGPU_PCI_DEVICE 0x10f0u
#define VGPU_PCI_CLASS  0x1200u /* processing accelerator */

#define VGPU_BAR_REGISTERS 0u /* 4 KiB, never mapped into a guest's user process */
#define VGPU_BAR_MSIX      1u
#define VGPU_BAR_DOORBELLS 2u /* a page for each channel slot */
#define VGPU_BAR_WINDOW    4u /* 64 bits, prefetchable; with VGPU_DEVICE_WINDOW only */

#define VGPU_REGISTERS_BYTES     4096u
#define VGPU_SLOTS               64u /* channels of one device; the mediator may allow fewer */
#define VGPU_DOORBELL_PAGE_BYTES 4096u
#define VGPU_DOORBELL_BYTES      (VGPU_SLOTS * VGPU_DOORBELL_PAGE_BYTES)
#define VGPU_MSIX_VECTORS        (1u + VGPU_SLOTS) /* 0: control; others as ATTACH says */

/* The window: a power of two. It holds channels' memory; the rest of it reads as all ones. */
#define VGPU_WINDOW_MIN_BYTES (8ull << 20)
#define VGPU_WINDOW_MAX_BYTES (1ull << 38)

/* What the device is and whom it serves. Read-only. */
#define VGPU_REG_MAGIC        0x000u /* VGPU_MAGIC */
#define VGPU_REG_VERSION      0x004u /* major << 16 | minor of this document */
#define VGPU_REG_FEATURES     0x008u /* VGPU_DEVICE_* */
#define VGPU_REG_STATUS       0x00cu /* enum vgpu_device_state, VGPU_STATUS_QUARANTINED */
#define VGPU_REG_ERROR        0x010u /* enum vgpu_status: why the link is not ready */
#define VGPU_REG_VM_ID        0x014u /* effective values, as the mediator's store has them */
#define VGPU_REG_PRIORITY     0x018u /* 0 low, 1 medium, 2 high */
#define VGPU_REG_WEIGHT       0x01cu /* hundredths */
#define VGPU_REG_MAX_CHANNELS 0x020u
#define VGPU_REG_MAX_DATA     0x024u /* bytes of a data area, in units of 4096 */
#define VGPU_REG_GENERATION   0x028u /* grows with each change of the values above and of texts */

/* Interrupts. */
#define VGPU_REG_IRQ_STATUS    0x030u /* VGPU_IRQ_*; write 1 to clear */
#define VGPU_REG_IRQ_ENABLE    0x034u /* VGPU_IRQ_*; reset: 0 */
#define VGPU_REG_CHANNELS_LOW  0x038u /* slots with something new, under INTx; write 1 to clear */
#define VGPU_REG_CHANNELS_HIGH 0x03cu

/* Commands. */
#define VGPU_REG_CONTROL       0x040u /* write VGPU_CONTROL_RESET; reads 0 */
#define VGPU_REG_COMMANDS_LOW  0x044u /* address of VGPU_SLOTS struct vgpu_device_command */
#define VGPU_REG_COMMANDS_HIGH 0x048u
/* Write a slot's number, or VGPU_MONITOR_SLOT: take its command. Reads 0. */
#define VGPU_REG_COMMAND 0x04cu

/* Counters since the device was reset, 64 bits each. Read-only. */
#define VGPU_REG_COUNTERS 0x080u
enum vgpu_device_counter {
    VGPU_COUNT_DOORBELLS = 0,      /* writes to doorbells that came to the device itself */
    VGPU_COUNT_TURNS = 1,          /* looks at a channel */
    VGPU_COUNT_RING_BYTES = 2,     /* copied between rings, both ways */
    VGPU_COUNT_UPLOAD_BYTES = 3,   /* guest's data area to the host */
    VGPU_COUNT_DOWNLOAD_BYTES = 4, /* and back */
    VGPU_COUNT_WORKER_KICKS = 5,   /* wake-ups of workers */
    VGPU_COUNT_WORKER_WAKES = 6,   /* wake-ups by workers */
    VGPU_COUNT_INTERRUPTS = 7,     /* sent for channels by the device itself */
    VGPU_DEVICE_COUNTERS = 8
};

/* Texts, ended by NUL. Read-only. */
#define VGPU_REG_POOL       0x100u /* 72 bytes */
#define VGPU_REG_NAME       0x148u /* 72 bytes */
#define VGPU_REG_ERROR_TEXT 0x190u /* VGPU_STATUS_TEXT_BYTES: why the link is not ready */

/* The job window: one explicit job at a time, without any driver. */
#define VGPU_REG_JOB_OP       0x300u /* VGPU_JOB_VECTOR_ADD */
#define VGPU_REG_JOB_COUNT    0x304u /* elements, 1 to VGPU_JOB_ELEMENTS */
#define VGPU_REG_JOB_GO       0x308u /* write 1: submit; ignored while one runs. Reads 0 */
#define VGPU_REG_JOB_STATE    0x30cu /* enum vgpu_job_state; read-only */
#define VGPU_REG_JOB_STATUS   0x310u /* enum vgpu_status of the last job; read-only */
#define VGPU_REG_JOB_RESULT   0x314u /* its CUresult; read-only */
#define VGPU_REG_JOB_RETRY_US 0x318u /* with VGPU_BUSY and VGPU_STARTING: when to try again */
#define VGPU_REG_JOB_WAIT_US  0x31cu /* that the job waited; read-only */
#define VGPU_REG_JOB_RUN_US   0x320u /* that it ran; read-only */
#define VGPU_REG_JOB_A        0x400u /* 32-bit integers */
#define VGPU_REG_JOB_B        0x800u
#define VGPU_REG_JOB_SUM      0xc00u /* read-only */
#define VGPU_JOB_ELEMENTS     256u
#define VGPU_JOB_VECTOR_ADD   1u

/* VGPU_REG_FEATURES */
#define VGPU_DEVICE_JOB     (1u << 0) /* the job window */
#define VGPU_DEVICE_RELAY   (1u << 1) /* channels in the guest's memory, copied by the device */
#define VGPU_DEVICE_WINDOW  (1u << 2) /* channels whose memory is a part of VGPU_BAR_WINDOW */
#define VGPU_DEVICE_MONITOR (1u << 3) /* VGPU_COMMAND_MONITOR */
#define VGPU_DEVICE_GRANT   (1u << 4) /* channels in pages that the guest grants; on Xen only */

/* VGPU_REG_STATUS: the state is in the low byte. */
enum vgpu_device_state {
    VGPU_DEVICE_DISCONNECTED = 0, /* no mediator; open channels go on as long as their workers */
    VGPU_DEVICE_CONNECTING = 1,   /* it has yet to answer */
    VGPU_DEVICE_READY = 2,
    VGPU_DEVICE_REFUSED = 3 /* VGPU_REG_ERROR and VGPU_REG_ERROR_TEXT say why */
};
#define VGPU_STATUS_STATE       0xffu
#define VGPU_STATUS_QUARANTINED (1u << 8)

#define VGPU_IRQ_COMMAND (1u << 0) /* a command is done, or a channel is gone */
#define VGPU_IRQ_STATE   (1u << 1) /* VGPU_REG_STATUS or VGPU_REG_GENERATION has changed */
#define VGPU_IRQ_JOB     (1u << 2) /* VGPU_REG_JOB_STATE is VGPU_JOB_DONE */
#define VGPU_IRQ_CHANNEL (1u << 3) /* INTx only: VGPU_REG_CHANNELS_* is not 0; cleared there */
#define VGPU_IRQ_ALL     0xfu

/* Ends all channels and forgets commands; when the write is done the device touches no memory. */
#define VGPU_CONTROL_RESET (1u << 0)

enum vgpu_job_state { VGPU_JOB_IDLE = 0, VGPU_JOB_RUNNING = 1, VGPU_JOB_DONE = 2 };

enum vgpu_command_op {
    VGPU_COMMAND_OPEN = 1, /* ask the mediator for a channel */
    /* Relayed: its guest memory; from now on the device copies. In the window: it is there now. By
     * grants: the worker maps it. */
    VGPU_COMMAND_ATTACH = 2,
    /* The device touches its memory no more, the window has it no more; then the channel ends. */
    VGPU_COMMAND_CLOSE = 3,
    VGPU_COMMAND_MONITOR = 4 /* in VGPU_MONITOR_SLOT: what the VM may know of one of its GPUs */
};

/* vgpu_device_command.flags of OPEN; others are refused. */
#define VGPU_OPEN_WINDOW (1u << 0) /* in the window if there is room, otherwise relayed */
#define VGPU_OPEN_GRANT  (1u << 1) /* in pages that the guest grants, or refused (grant.h) */

/* A slot's command and answer, in guest memory. One command of a slot at a time. */
struct vgpu_device_command {
    /* Written by the guest before VGPU_REG_COMMAND. */
    uint32_t op;           /* enum vgpu_command_op */
    uint32_t tag;          /* another one than before, not 0 */
    uint32_t sub_granules; /* OPEN; as in struct vgpu_msg_open, but not 0 */
    uint32_t comp_granules;
    uint64_t data_bytes; /* OPEN; a multiple of 4096; 0, with a flag only: the host's default for
                          * the kind of channel that it turns out to be */
    uint64_t directory;  /* ATTACH: address of a struct vgpu_page_table, multiple of 4096; 0 for a
                          * channel in the window; VGPU_GRANT_ATTACH() for one by grants */
    uint32_t vector;     /* ATTACH: MSI-X vector for completions, below VGPU_MSIX_VECTORS */
    uint32_t flags;      /* OPEN: VGPU_OPEN_*; else 0 */
    char process[40];    /* OPEN: name of the guest's process, ended by NUL */
    uint8_t reserved1[48];

    /* Written by the device. */
    uint32_t done;   /* the tag, after the rest of the answer */
    uint32_t status; /* enum vgpu_status */
    uint64_t retry_ns;
    uint32_t channel; /* OPEN: the mediator's number, for people */
    uint32_t window;  /* OPEN: 0: relayed; else 1 + the 4096-byte page of the window it starts at */
    struct vgpu_channel_geometry geometry; /* OPEN */
    char text[VGPU_STATUS_TEXT_BYTES];     /* why, with a status */
    uint32_t backend_domid;                /* OPEN by grants: whom to grant to */
    uint8_t reserved3[116];

    /* Written by the device, unasked, when the channel's worker has ended. */
    uint32_t gone; /* 1, after the rest; 0 again with the answer to OPEN */
    uint32_t gone_status;
    char gone_text[VGPU_STATUS_TEXT_BYTES];
    uint8_t reserved4[312];
};
VGPU_ASSERT_SIZE(struct vgpu_device_command, 1024);
#define VGPU_COMMANDS_BYTES (VGPU_SLOTS * 1024u)

/*
 * Behind the slots' commands, with VGPU_DEVICE_MONITOR: a question that needs no channel. One at a
 * time: a second one is taken when the first has been answered.
 */
#define VGPU_MONITOR_SLOT VGPU_SLOTS
struct vgpu_monitor_command {
    /* Written by the guest before VGPU_REG_COMMAND. */
    uint32_t op;    /* VGPU_COMMAND_MONITOR */
    uint32_t tag;   /* another one than before, not 0 */
    uint32_t gpu;   /* as in struct vgpu_msg_monitor */
    uint32_t first; /* likewise */
    uint8_t reserved0[48];

    /* Written by the device. */
    uint32_t done;   /* the tag, after the rest of the answer */
    uint32_t status; /* enum vgpu_status */
    uint64_t retry_ns;
    struct vgpu_monitor monitor;       /* with VGPU_OK */
    char text[VGPU_STATUS_TEXT_BYTES]; /* why, with another status */
    uint8_t reserved1[8];
};
VGPU_ASSERT_SIZE(struct vgpu_monitor_command, 1024);

/*
 * Where a relayed channel's memory lies in the guest: a page of addresses of pages of addresses of
 * pages, 4096 bytes each, multiples of 4096. Entry i of table t is page t * 512 + i of the channel:
 * its memory as the geometry says, then one page more, struct vgpu_transfer_page. 0: not there.
 * The guest may add entries at any time, and takes none away before CLOSE or reset.
 */
#define VGPU_TABLE_ENTRIES 512u
struct vgpu_page_table {
    uint64_t entry[VGPU_TABLE_ENTRIES];
};
VGPU_ASSERT_SIZE(struct vgpu_page_table, 4096);
/* What a directory reaches, less the page of transfers and rings of the largest size. */
#define VGPU_RELAY_MAX_DATA_BYTES                                                                  \
    (((uint64_t)VGPU_TABLE_ENTRIES * VGPU_TABLE_ENTRIES << 12) - (16u << 20))

/*
 * Bulk data of a relayed channel: rectangles of the data area that the device copies to the host
 * before any record published later. The way back needs no asking: VGPU_COMPLETION_WRITTEN.
 */
#define VGPU_TRANSFERS 64u
struct vgpu_transfer {
    uint64_t offset;      /* in the data area */
    uint64_t row_bytes;   /* not 0 */
    uint64_t pitch_bytes; /* from row to row; any value with one row */
    uint32_t rows;        /* not 0 */
    uint32_t reserved;
};
VGPU_ASSERT_SIZE(struct vgpu_transfer, 32);

struct vgpu_transfer_page {
    uint32_t head; /* guest: transfers published, free running */
    uint8_t reserved0[60];
    uint32_t tail; /* device: transfers done, free running */
    uint8_t reserved1[60];
    struct vgpu_transfer transfer[VGPU_TRANSFERS];
    uint8_t reserved2[4096 - 128 - 2048];
};
VGPU_ASSERT_SIZE(struct vgpu_transfer_page, 4096);

#endif
