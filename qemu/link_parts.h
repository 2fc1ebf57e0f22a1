/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What link.c, the connection and its channels, and link_begin.c, which takes it up in
 * realize, share. For the others there is link.h, and vgpu.h.
 */
#ifndef HW_MISC_VGPU_LINK_PARTS_H
#define HW_MISC_VGPU_LINK_PARTS_H

#include "link.h"

#define HANDSHAKE_MS 5000
#define QUEUE_BYTES  (32 * 1024)

typedef enum LinkPhase {
    LINK_DOWN,  /* not connected, or about to be dropped */
    LINK_HELLO, /* said, and not answered */
    LINK_UP,
    LINK_REFUSED
} LinkPhase;

typedef enum ChannelState {
    CHANNEL_WAITING, /* OPEN is to be sent */
    CHANNEL_OPENING, /* it was */
    CHANNEL_OPEN,
    CHANNEL_CLOSING,
    CHANNEL_ENDED /* the mediator has none any more */
} ChannelState;

/* What the owner is yet to be told. */
typedef enum ChannelDue {
    DUE_NOTHING,
    DUE_REFUSED,
    DUE_UNGRANTED,
    DUE_GONE,
    DUE_CLOSED
} ChannelDue;

struct VGPULinkChannel {
    QTAILQ_ENTRY(VGPULinkChannel) next;
    VGPULink *link;
    VGPUOpen open;
    ChannelState state;
    ChannelDue due;
    bool given_up; /* vgpu_link_close() was called */
    bool placed;   /* it has a place in the window, held until CLOSE */
    bool granting; /* GRANT was sent, and is not answered yet */
    uint32_t tag;  /* of the request under way */
    uint32_t number;
    uint8_t token[VGPU_TOKEN_BYTES];
    uint32_t pages;  /* of the memory, by grants */
    uint32_t status; /* with DUE_REFUSED, DUE_UNGRANTED and DUE_GONE */
    uint64_t retry_ns;
    char text[VGPU_STATUS_TEXT_BYTES];
};

struct VGPULink {
    VGPUStub *s;
    VGPUCharFrontend *chr;
    VGPULinkState state;
    struct vgpu_msg_hello hello;
    LinkPhase phase;
    bool connected;
    bool in_realize; /* the chardev is in a context of its own */
    bool drop;       /* the bottom half is to end the connection */
    uint32_t last_tag;
    uint64_t features;
    guint watch;
    QEMUTimer *timer;
    QEMUBH *bh;
    QTAILQ_HEAD(, VGPULinkChannel) channels;
    uint32_t monitor_tag; /* of the question under way; 0: none is */
    const VGPULinkMonitorOps *monitor_ops;
    void *monitor_opaque;
    uint32_t queued;
    uint32_t received;
    uint8_t queue[QUEUE_BYTES];
    uint64_t input[VGPU_MSG_MAX_BYTES / sizeof(uint64_t)];
};

/* link.c */
void vgpu_link_set_state(VGPULink *link, enum vgpu_device_state state, uint32_t error,
                         const char *text);
/* The chardev's events come in that context; NULL: QEMU's main loop. */
void vgpu_link_set_handlers(VGPULink *link, GMainContext *context);

/* link_begin.c: the first connection. False: the device is not to be. */
bool vgpu_link_begin(VGPULink *link, Chardev *chr, Error **errp);

#endif
