/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's command, from the pages that it granted: copied once, judged as copied. Called by
 * device.c for each slot whose doorbell says so; answers are written from there.
 */
#ifndef VGPU_XENBUS_COMMAND_H
#define VGPU_XENBUS_COMMAND_H

#include <vgpu/grant.h>
#include <vgpu/wire.h>

struct command {
    uint32_t op, tag;
    union {
        struct vgpu_msg_open open;       /* OPEN: to be sent, but for its tag */
        struct vgpu_msg_grant grant;     /* ATTACH: likewise, without channel and pages */
        struct vgpu_msg_monitor monitor; /* MONITOR: likewise */
    };
};

/*
 * slot: below VGPU_SLOTS, or VGPU_MONITOR_SLOT. page: the 1024 bytes that the guest can still
 * write. VGPU_OK, or the status to answer with; *ret has op and tag in each case. *ret_text: why.
 */
enum vgpu_status command_take(uint32_t slot, const volatile void *page, struct command *ret,
                              const char **ret_text);

#endif
