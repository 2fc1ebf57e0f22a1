/* SPDX-License-Identifier: GPL-2.0-or-later OR Apache-2.0 */
/*
 * The control protocol on a VM's socket: the guest's side (a local client, QEMU, a launcher for
 * Xen) and the mediator. docs/spec/wire.md is the full text.
 *
 * A stream of messages: struct vgpu_msg, then size_bytes - 16 bytes of body. Little-endian, fixed
 * width, natural alignment, reserved fields zero. File descriptors travel with the first byte of a
 * message. The guest's side speaks first, with HELLO; a request is answered by one message with
 * its tag. No guest data pass here.
 */
#ifndef VGPU_WIRE_H
#define VGPU_WIRE_H

#include "monitor.h"
#include "ring.h"
#include "status.h"
#include "types.h"
#include "version.h"

#define VGPU_MSG_MAX_BYTES      1024u
#define VGPU_NAME_BYTES         65u /* 64 bytes of UTF-8 and a NUL */
#define VGPU_TOKEN_BYTES        16u
#define VGPU_VM_MAX_CHANNELS    64u /* open at once, over all connections of the VM */
#define VGPU_VM_MAX_CONNECTIONS 64u /* local carrier; other carriers: 1 */

enum vgpu_msg_type {
    VGPU_MSG_HELLO = 1,   /* guest: struct vgpu_msg_hello */
    VGPU_MSG_WELCOME = 2, /* mediator: struct vgpu_msg_welcome */
    VGPU_MSG_REFUSED = 3, /* mediator, to any request: struct vgpu_msg_refused */
    VGPU_MSG_OPEN = 4,    /* guest: struct vgpu_msg_open */
    VGPU_MSG_OPENED =
        5, /* mediator: struct vgpu_msg_opened; fds: memory, submit kick, completion kick */
    VGPU_MSG_CLOSE = 6,      /* guest: struct vgpu_msg_channel */
    VGPU_MSG_CLOSED = 7,     /* mediator: struct vgpu_msg_channel */
    VGPU_MSG_RESUME = 8,     /* guest, after a restart of the mediator: struct vgpu_msg_resume */
    VGPU_MSG_RESUMED = 9,    /* mediator: struct vgpu_msg_channel */
    VGPU_MSG_GONE = 10,      /* mediator, unasked, tag 0: struct vgpu_msg_gone */
    VGPU_MSG_STATE = 11,     /* mediator, unasked, tag 0: struct vgpu_msg_state */
    VGPU_MSG_MONITOR = 12,   /* guest, with VGPU_FEATURE_MONITOR: struct vgpu_msg_monitor */
    VGPU_MSG_MONITORED = 13, /* mediator: struct vgpu_msg_monitored */
    VGPU_MSG_PROMISED = 14,  /* mediator, to OPEN by grants: struct vgpu_msg_promised */
    VGPU_MSG_GRANT = 15,     /* guest, with VGPU_FEATURE_GRANT: struct vgpu_msg_grant */
    VGPU_MSG_GRANTED = 16,   /* mediator: struct vgpu_msg_channel */
    VGPU_MSG_DRAIN = 17,  /* guest, with VGPU_FEATURE_DRAIN: struct vgpu_msg_channel, channel 0 */
    VGPU_MSG_DRAINED = 18 /* mediator: struct vgpu_msg_channel, likewise */
};

struct vgpu_msg {
    uint32_t size_bytes; /* head and body */
    uint16_t type;
    uint16_t flags; /* OPEN: VGPU_MSG_OPEN_*; else 0 */
    uint32_t tag;   /* chosen by the asker, repeated in the answer; 0 for what nobody asked */
    uint32_t reserved;
};
VGPU_ASSERT_SIZE(struct vgpu_msg, 16);

enum vgpu_carrier {
    VGPU_CARRIER_LOCAL = 1,
    VGPU_CARRIER_RELAY = 2,
    VGPU_CARRIER_WINDOW = 3,
    VGPU_CARRIER_GRANT = 4
};

struct vgpu_msg_hello {
    struct vgpu_msg head;
    uint32_t magic;
    uint16_t version_major;
    uint16_t version_minor;
    uint64_t features;
    uint32_t carrier; /* enum vgpu_carrier */
    /* What the device's command line claims; logged when it differs from the store. 0: no claim. */
    uint32_t claimed_vm_id;
    uint32_t claimed_priority;
    uint32_t window_mib; /* VGPU_CARRIER_WINDOW: its size, a power of two; else 0 */
    char claimed_pool[72];
};
VGPU_ASSERT_SIZE(struct vgpu_msg_hello, 120);

struct vgpu_msg_welcome {
    struct vgpu_msg head;
    uint32_t magic;
    uint16_t version_major;
    uint16_t version_minor;
    uint64_t features; /* those that both sides use */
    uint32_t vm_id;
    uint32_t priority; /* 0 low, 1 medium, 2 high */
    uint32_t weight_hundredths;
    uint32_t max_channels;
    uint64_t max_data_bytes;
    uint32_t quarantined;
    uint32_t reserved;
    char pool[72];
    char name[72];
};
VGPU_ASSERT_SIZE(struct vgpu_msg_welcome, 208);

struct vgpu_msg_refused {
    struct vgpu_msg head;
    uint32_t status; /* enum vgpu_status */
    uint32_t reserved;
    uint64_t retry_ns; /* hint for retryable ones; 0: none */
    char text[VGPU_STATUS_TEXT_BYTES];
};
VGPU_ASSERT_SIZE(struct vgpu_msg_refused, 224);

/* vgpu_msg.flags of OPEN, over VGPU_CARRIER_WINDOW only: in the window if there is room. */
#define VGPU_MSG_OPEN_WINDOW 0x1u
/* The same, with VGPU_FEATURE_GRANT and not over VGPU_CARRIER_LOCAL: by grants, or refused. */
#define VGPU_MSG_OPEN_GRANT 0x2u

struct vgpu_msg_open {
    struct vgpu_msg head;
    uint32_t sub_granules;  /* a power of two; 0: the mediator's default */
    uint32_t comp_granules; /* likewise */
    uint64_t data_bytes;    /* a multiple of 4096; 0: default */
    char process[40];       /* name of the guest process, for the administrator */
};
VGPU_ASSERT_SIZE(struct vgpu_msg_open, 72);

struct vgpu_msg_opened {
    struct vgpu_msg head;
    uint32_t channel;
    uint32_t window; /* 0: none; else 1 + the 4096-byte page of the window it starts at */
    uint8_t token[VGPU_TOKEN_BYTES]; /* proves ownership in RESUME */
    struct vgpu_channel_geometry geometry;
};
VGPU_ASSERT_SIZE(struct vgpu_msg_opened, 88);

/* There is no worker yet: it starts when GRANT says where the memory is. */
struct vgpu_msg_promised {
    struct vgpu_msg head;
    uint32_t channel;
    uint32_t backend_domid; /* whom the guest grants its pages to, and allocates its port for */
    uint8_t token[VGPU_TOKEN_BYTES];
    struct vgpu_channel_geometry geometry;
};
VGPU_ASSERT_SIZE(struct vgpu_msg_promised, 88);

struct vgpu_msg_grant {
    struct vgpu_msg head;
    uint32_t channel;
    uint32_t directory;  /* reference of a struct vgpu_grant_directory */
    uint32_t event_port; /* of the guest, not bound yet */
    uint32_t pages;      /* of the channel, by its geometry */
};
VGPU_ASSERT_SIZE(struct vgpu_msg_grant, 32);

struct vgpu_msg_channel {
    struct vgpu_msg head;
    uint32_t channel;
    uint32_t reserved;
};
VGPU_ASSERT_SIZE(struct vgpu_msg_channel, 24);

struct vgpu_msg_resume {
    struct vgpu_msg head;
    uint32_t channel;
    uint32_t reserved;
    uint8_t token[VGPU_TOKEN_BYTES];
};
VGPU_ASSERT_SIZE(struct vgpu_msg_resume, 40);

struct vgpu_msg_gone {
    struct vgpu_msg head;
    uint32_t channel;
    uint32_t status; /* why: enum vgpu_status */
    char text[VGPU_STATUS_TEXT_BYTES];
};
VGPU_ASSERT_SIZE(struct vgpu_msg_gone, 216);

struct vgpu_msg_state {
    struct vgpu_msg head;
    uint32_t priority;
    uint32_t weight_hundredths;
    uint32_t quarantined;
    uint32_t reserved;
    char pool[72];
};
VGPU_ASSERT_SIZE(struct vgpu_msg_state, 104);

struct vgpu_msg_monitor {
    struct vgpu_msg head;
    uint32_t gpu;   /* of the VM's, from 0 */
    uint32_t first; /* process to begin with */
};
VGPU_ASSERT_SIZE(struct vgpu_msg_monitor, 24);

struct vgpu_msg_monitored {
    struct vgpu_msg head;
    struct vgpu_monitor monitor;
};
VGPU_ASSERT_SIZE(struct vgpu_msg_monitored, 760);

#endif
