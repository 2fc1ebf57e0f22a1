/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The parts of vgpu-stub and how they use each other; include/vgpu/pci_regs.h is what a
 * guest sees.
 *
 *   vgpu_stub.c  the PCI device: BARs, interrupts, properties, realize, reset
 *   link.c       the connection to the mediator: handshake, OPEN one at a time, RESUME,
 *                a bounded queue that never blocks (link.h)
 *   link_begin.c  the first connection, in realize (link_parts.h)
 *   peer.c       who is at the other end before there is a connection (link.h)
 *   slots.c      the guest's commands, one channel slot each
 *   channel.c    a channel's memory on the host, mapped and checked
 *   relay.c      mirrors a channel between guest memory and the host, in turns
 *   window.c     the BAR of which channels' memory is a part (window.h)
 *   window_channel.c  a channel in it: doorbell, interrupt, end
 *   vectors.c    which kicks of workers KVM takes to the guest by itself (vectors.h)
 *   job.c        the job window: an explicit job by a channel of the device's own
 *   monitor.c    the guest's questions about the VM's GPUs
 *
 * Everything runs in QEMU's main loop under its big lock. Guest memory is touched from
 * bottom halves only, with VGPUStub.in_dma set; whatever register access that causes is
 * ignored.
 */
#ifndef HW_MISC_VGPU_H
#define HW_MISC_VGPU_H

#include <vgpu/grant.h>
#include <vgpu/pci_regs.h>
#include <vgpu/wire.h>
#include "channel.h"

typedef struct VGPUStub VGPUStub;
typedef struct VGPULink VGPULink;
typedef struct VGPUSlots VGPUSlots;
typedef struct VGPURelay VGPURelay;
typedef struct VGPUJob VGPUJob;
typedef struct VGPUVectors VGPUVectors;
typedef struct VGPUWindow VGPUWindow;
typedef struct VGPUWindowChannel VGPUWindowChannel;
typedef struct VGPUMonitor VGPUMonitor;

/* vgpu_stub.c: what the parts need of the device. */

/* True if all bytes were copied; an address that is no RAM, or a DMA that is not allowed,
 * is not. */
bool vgpu_dma_read(VGPUStub *s, uint64_t addr, void *buf, uint32_t len);
bool vgpu_dma_write(VGPUStub *s, uint64_t addr, const void *buf, uint32_t len);
/* One aligned access, for the lines of rings: never torn. */
bool vgpu_dma_load32(VGPUStub *s, uint64_t addr, uint32_t *ret);
bool vgpu_dma_store32(VGPUStub *s, uint64_t addr, uint32_t value);
bool vgpu_dma_store64(VGPUStub *s, uint64_t addr, uint64_t value);

/* Where the guest's commands are; 0: nowhere yet. */
uint64_t vgpu_commands_address(const VGPUStub *s);
void vgpu_count(VGPUStub *s, enum vgpu_device_counter counter, uint64_t n);
/* Sets bits of VGPU_REG_IRQ_STATUS; interrupts (vector 0, or the pin) if they are
 * enabled. */
void vgpu_interrupt(VGPUStub *s, uint32_t bits);
/* A completion interrupt of a slot's channel. */
void vgpu_interrupt_channel(VGPUStub *s, uint32_t slot, uint32_t vector);
/* Whether channels by grants are on offer. */
bool vgpu_grants(const VGPUStub *s);
/* NULL: the device has none. */
VGPUWindow *vgpu_window(VGPUStub *s);
/* The region of the doorbells' BAR, and whether ioeventfds are to take some. */
struct MemoryRegion *vgpu_doorbells(VGPUStub *s);
bool vgpu_use_ioeventfd(const VGPUStub *s);
VGPUVectors *vgpu_vectors_of_pci(struct PCIDevice *pci);
VGPUVectors *vgpu_vectors(VGPUStub *s);

/* link.c */

/* What OPEN asked for; the flags of ask.head are sent. Exactly one of opened() (or
 * promised()) and refused() is called, never from within vgpu_link_open(). */
typedef struct VGPUOpen {
    struct vgpu_msg_open ask;
    /* The three fds become the callee's. */
    void (*opened)(void *opaque, const struct vgpu_msg_opened *msg, int fds[3]);
    /* Instead, with VGPU_MSG_OPEN_GRANT: vgpu_link_grant() is to follow, once. Then one
     * of these two, not from within it; the channel is gone with the second. */
    void (*promised)(void *opaque, const struct vgpu_msg_promised *msg);
    void (*granted)(void *opaque);
    void (*ungranted)(void *opaque, uint32_t status, uint64_t retry_ns, const char *text);
    void (*refused)(void *opaque, uint32_t status, uint64_t retry_ns, const char *text);
    /* Unasked, at most once after opened(): the worker has ended, or RESUME was refused.
     */
    void (*gone)(void *opaque, uint32_t status, const char *text);
    /* After vgpu_link_close(): the mediator has confirmed, or there is none to do so. */
    void (*closed)(void *opaque);
    void *opaque;
} VGPUOpen;

/* A channel at the mediator, or one that waits to be opened. Ends with refused() or
 * closed(). */
typedef struct VGPULinkChannel VGPULinkChannel;
VGPULinkChannel *vgpu_link_open(VGPULink *link, const VGPUOpen *open);
/* Where the guest's pages are, and whom to tell of kicks. */
void vgpu_link_grant(VGPULinkChannel *channel, uint32_t directory, uint32_t event_port);
/* Gives the channel up in whatever state it is; of the callbacks only closed() still
 * comes. */
void vgpu_link_close(VGPULinkChannel *channel);

/*
 * Asks what the VM may know of a GPU. One of the two is called, perhaps from within; the
 * next question comes after that. ops lives as long as the link.
 */
typedef struct VGPULinkMonitorOps {
    void (*told)(void *opaque, const struct vgpu_monitor *monitor);
    void (*refused)(void *opaque, uint32_t status, uint64_t retry_ns, const char *text);
} VGPULinkMonitorOps;
void vgpu_link_monitor(VGPULink *link, uint32_t gpu, uint32_t first,
                       const VGPULinkMonitorOps *ops, void *opaque);

/* slots.c */

VGPUSlots *vgpu_slots_new(VGPUStub *s, VGPULink *link);
/* The guest has a command in that slot of the array at vgpu_commands_address(). */
void vgpu_slots_command(VGPUSlots *slots, uint32_t slot);
void vgpu_slots_doorbell(VGPUSlots *slots, uint32_t slot);
/* No channel, no command; the guest's memory is left alone from here on. */
void vgpu_slots_reset(VGPUSlots *slots);
/* The same for good. NULL is fine. */
void vgpu_slots_free(VGPUSlots *slots);

/* relay.c */

typedef struct VGPURelayOps {
    void (*interrupt)(void *opaque); /* completions or room, and the guest has parked */
    /* Guest or worker wrote nonsense. No turn follows; the callee closes and frees later,
     * not now. */
    void (*broken)(void *opaque, uint32_t status, const char *text);
} VGPURelayOps;

/* Takes the channel over. */
VGPURelay *vgpu_relay_new(VGPUStub *s, VGPUChannel *channel, const VGPURelayOps *ops,
                          void *opaque);
/*
 * The guest's memory: reads the directory (page 0, rings and transfer page must be
 * there), writes the channel page to the guest, begins. From a bottom half. 0 or an enum
 * vgpu_status with *ret_why.
 */
uint32_t vgpu_relay_attach(VGPURelay *relay, uint64_t directory, const char **ret_why);
/* The guest rang: a turn is due. From anywhere. */
void vgpu_relay_doorbell(VGPURelay *relay);
/* The worker has ended: last completions are taken along, then ENDED in the guest's
 * notice and an interrupt. From anywhere. */
void vgpu_relay_gone(VGPURelay *relay);
/* Touches neither memory any more from here on. NULL is fine. */
void vgpu_relay_free(VGPURelay *relay);

/* window_channel.c */

/*
 * As OPENED says, msg->window not 0. Takes the fds in any case. NULL with *ret_why, which
 * is NULL where a channel that the guest has not closed holds the place.
 */
VGPUWindowChannel *vgpu_window_channel_new(VGPUStub *s, uint32_t slot,
                                           const struct vgpu_msg_opened *msg,
                                           const int fds[3], const VGPURelayOps *ops,
                                           void *opaque, const char **ret_why);
/* From now on the guest sees it, and its doorbell and interrupt work. As
 * vgpu_relay_attach(). */
uint32_t vgpu_window_channel_attach(VGPUWindowChannel *w, uint32_t vector,
                                    const char **ret_why);
/* A doorbell that came to the device itself. */
void vgpu_window_channel_doorbell(VGPUWindowChannel *w);
/* The worker has ended: ENDED in the notice, and an interrupt. */
void vgpu_window_channel_gone(VGPUWindowChannel *w);
/* The guest sees it no more. NULL is fine. */
void vgpu_window_channel_free(VGPUWindowChannel *w);

/* monitor.c */

VGPUMonitor *vgpu_monitor_new(VGPUStub *s, VGPULink *link);
/* The guest has a question behind the slots' commands. */
void vgpu_monitor_command(VGPUMonitor *m);
/* No question; the guest's memory is left alone from here on. */
void vgpu_monitor_reset(VGPUMonitor *m);
/* The link tells nothing any more. NULL is fine. */
void vgpu_monitor_free(VGPUMonitor *m);

/* job.c */

VGPUJob *vgpu_job_new(VGPUStub *s, VGPULink *link);
/* offset is one of VGPU_REG_JOB_* up to the end of BAR0; aligned, 32 bits. */
uint32_t vgpu_job_read(VGPUJob *job, uint32_t offset);
void vgpu_job_write(VGPUJob *job, uint32_t offset, uint32_t value);
/* The device was reset: no job, no channel. */
void vgpu_job_reset(VGPUJob *job);
void vgpu_job_free(VGPUJob *job);

#endif
