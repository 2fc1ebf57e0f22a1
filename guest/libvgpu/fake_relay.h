/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests: the device and the driver of a virtual machine, in front of a fake host's worker. The
 * guest's side has memory of its own; a thread copies between that and the worker's, in turns that
 * start with a doorbell or a wake-up by the worker and with nothing else, so that a library which
 * forgets to ring waits for ever. What the library may not do (a transfer of memory that it did not
 * ask for, of a part beyond the data area) ends the test.
 *
 * With a window the guest's side is the worker's memory, and the thread only passes doorbells and
 * wake-ups on. By grants it is, too, but there is no doorbell: the library writes to the file.
 *
 * fake_driver.c puts the library's system calls on the driver's file here: the executable is linked
 * with --wrap for each of them.
 */
#ifndef VGPU_LIBVGPU_FAKE_RELAY_H
#define VGPU_LIBVGPU_FAKE_RELAY_H

#include <pthread.h>
#include <stdbool.h>
#include <vgpu/ioctl.h>
#include <vgpu/pci_regs.h>

/* A character device: by its path the library takes the driver's way. */
#define FAKE_RELAY_PATH "/dev/null"

struct fake_host;

struct fake_relay {
    struct fake_host *host;
    struct vgpu_channel_geometry geometry;
    bool window;  /* the memory is the worker's */
    bool granted; /* and besides, there is no doorbell */
    int memory;   /* the channel's and the transfers, unless there is a window; and a doorbell */
    uint64_t doorbell_at;
    uint8_t *base; /* of memory */
    struct vgpu_channel_page *page;
    struct vgpu_transfer_page *transfers;
    uint32_t *doorbell;
    uint32_t *populated; /* a flag a page of the data area */
    int interrupt;       /* eventfd; the library's file is a duplicate */
    int news;            /* eventfd: POLLPRI */
    int file;            /* the library's; -1: not open */

    pthread_t thread;
    bool rung, woken; /* what the turn began with */
    uint32_t sub_copied, comp_copied, transfer_tail;
    bool news_moved, room_moved; /* in this turn: what a sleeping library waits for */

    /* Flags and counters, atomic. */
    uint32_t ended;
    uint32_t paused, is_paused; /* no turns: asked for, and so it is */
    uint32_t out_of_memory;     /* VGPU_IOC_POPULATE and mmap fail */
    uint32_t stopping;
    uint32_t rings; /* doorbells */
    uint32_t turns;

    pthread_mutex_t lock; /* what follows */
    uint32_t gone_status; /* VGPU_OK: it lives */
    char gone_text[64];
    uint64_t populates; /* calls that made memory */
    uint32_t priority;
};

/* In front of a host whose channel is made; one at a time. */
struct fake_relay *fake_relay_start(struct fake_host *host);
void fake_relay_stop(struct fake_relay *relay);

/* Waits for a turn that began after this call. Not while it is paused. */
void fake_relay_turn(struct fake_relay *relay);

/* Until resumed nothing is copied; what the worker and the library do meanwhile is seen after. */
void fake_relay_pause(struct fake_relay *relay, bool paused);

/* The VM has another priority. */
void fake_relay_prefer(struct fake_relay *relay, uint32_t priority);

/* The channel has ended. */
void fake_relay_gone(struct fake_relay *relay, uint32_t status, const char *text);

/* For fake_driver.c: the driver's answers. */
void fake_relay_ring(struct fake_relay *relay);
struct fake_relay *fake_relay_at(int file);
struct fake_relay *fake_relay_now(void);
int fake_relay_open(struct fake_relay *relay);
int fake_relay_control(struct fake_relay *relay, unsigned long request, void *argument);

#endif
