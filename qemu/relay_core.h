/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the relay does, apart from QEMU: turns, in which granules, lines and rectangles go
 * from guest memory to a channel's memory on the host and back. relay.c binds it to QEMU,
 * our tests and the fuzzer to memory of their own. One thread at a time.
 *
 * Nothing here trusts the guest or the worker: each of their words is loaded once,
 * checked against private indices, and nonsense ends the channel.
 */
#ifndef HW_MISC_VGPU_RELAY_CORE_H
#define HW_MISC_VGPU_RELAY_CORE_H

#include <vgpu/pci_regs.h>
#include "channel.h"

/* Data that one turn moves at most; with the cost of each piece, also a bound on its
 * time. */
#define VGPU_TURN_BYTES (1u << 20)
/* What a piece (a row, or its part in one page) costs beside its bytes, counted in bytes.
 */
#define VGPU_TURN_PIECE_BYTES 512u

/* Pages of addresses that are remembered; a table reaches 2 MiB of the channel. */
#define VGPU_RELAY_TABLES 8u

/* Guest memory and wake-ups. A false: no RAM there, or no DMA allowed; the channel is
 * ended. */
typedef struct VGPURelayBackend {
    bool (*read)(void *opaque, uint64_t addr, void *buf, uint32_t len);
    bool (*write)(void *opaque, uint64_t addr, const void *buf, uint32_t len);
    bool (*load32)(void *opaque, uint64_t addr, uint32_t *ret);   /* acquire */
    bool (*store32)(void *opaque, uint64_t addr, uint32_t value); /* release */
    bool (*store64)(void *opaque, uint64_t addr, uint64_t value); /* release */
    void (*kick)(void *opaque);                                   /* the worker */
    void (*interrupt)(void *opaque);                              /* the guest */
    void (*count)(void *opaque, enum vgpu_device_counter counter, uint64_t n);
} VGPURelayBackend;

typedef enum VGPUTurn {
    VGPU_TURN_SLEEP,  /* both sides know to wake the device */
    VGPU_TURN_AGAIN,  /* there is more: another turn is due */
    VGPU_TURN_BROKEN, /* nonsense, `why` says which; no turn may follow */
    VGPU_TURN_ENDED /* the worker has ended and the guest was told; no turn may follow */
} VGPUTurn;

/* A part of the data area on its way, and how far it has come. */
typedef struct VGPURectangle {
    uint64_t offset, row_bytes, pitch, slice_pitch;
    uint32_t rows, slices;
    uint64_t at; /* bytes of the row that are done */
    uint32_t row, slice;
    bool active;
} VGPURectangle;

/* One page of addresses; the guest only ever adds entries, so others than 0 may be kept.
 */
typedef struct VGPUTableCopy {
    bool valid;
    uint32_t number;
    uint64_t entry[VGPU_TABLE_ENTRIES];
} VGPUTableCopy;

typedef struct VGPURelayCore {
    const VGPUChannel *channel;
    const VGPURelayBackend *backend;
    void *opaque;
    const char *why; /* of VGPU_TURN_BROKEN */

    /* Where the guest's memory is. */
    uint64_t directory_addr;
    uint64_t page_addr;     /* its channel page */
    uint64_t transfer_addr; /* its struct vgpu_transfer_page */
    uint64_t directory[VGPU_TABLE_ENTRIES];
    VGPUTableCopy table[VGPU_RELAY_TABLES];

    /* Submission: tail <= published <= copied <= target, as distances. */
    uint32_t sub_tail;      /* the worker's, as the guest was told */
    uint32_t sub_published; /* to the worker */
    uint32_t sub_copied;
    uint32_t sub_target; /* the guest's head, seen before transfer_target */
    uint32_t sub_waiting;
    uint32_t transfer_tail;
    uint32_t transfer_target;
    VGPURectangle upload;

    /* Completion: tail <= published <= copied. */
    uint32_t comp_tail;      /* the guest's, as the worker was told */
    uint32_t comp_published; /* to the guest */
    uint32_t comp_copied;
    uint32_t comp_waiting; /* what the guest's page says of the producer */
    VGPURectangle download;
    uint32_t entry_bytes; /* of the entry that waits for its download; else 0 */
    _Alignas(8) uint8_t entry[VGPU_RECORD_MAX_BYTES];

    struct vgpu_channel_notice notice; /* as the guest has it */
    bool attached;
    bool armed; /* both sides were told to wake the device */
    bool gone;  /* the worker has ended */
    bool news;  /* of this turn: completions, or the channel's state */
    bool room;  /* of this turn: room for records, credit, issued */
} VGPURelayCore;

/* start: the rings' first index, 0 but in tests. The channel stays the caller's and
 * outlives us. */
void vgpu_relay_core_init(VGPURelayCore *core, const VGPUChannel *channel,
                          const VGPURelayBackend *backend, void *opaque, uint32_t start);

/* As vgpu_relay_attach(). */
uint32_t vgpu_relay_core_attach(VGPURelayCore *core, uint64_t directory,
                                const char **ret_why);

/*
 * The guest rang, and a turn is to follow: from now on neither side need wake the device,
 * so that what is published until then costs no doorbell.
 */
void vgpu_relay_core_wake(VGPURelayCore *core);

/* A look at the channel: bounded work, then what it says. After a successful attach only.
 */
VGPUTurn vgpu_relay_core_turn(VGPURelayCore *core);

/* The worker has ended: the next turns take what it left along, and answer
 * VGPU_TURN_ENDED. */
void vgpu_relay_core_gone(VGPURelayCore *core);

/* Says ENDED in the guest's notice, as far as that memory still is there. */
void vgpu_relay_core_say_ended(VGPURelayCore *core);

#endif
