/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The local carrier's guest side: one connection to the mediator by the VM's Unix socket. Called by
 * guest/libvgpu. Requests block for a bounded time; one thread at a time uses a link.
 *
 * Each function that can be refused fills *refusal on failure and leaves it alone on success.
 */
#ifndef VGPU_CARRIER_LOCAL_H
#define VGPU_CARRIER_LOCAL_H

#include <vgpu/wire.h>

#include "carrier/message.h"

#define LOCAL_TIMEOUT_MS 10000 /* for one answer of the mediator */

struct local_refusal {
    uint32_t status; /* enum vgpu_status; retryable as that says */
    uint64_t retry_ns;
    char text[512];
};

struct local_link {
    int sock; /* -1: closed */
    uint32_t last_tag;
    /* Takes what nobody asked for and comes while an answer is awaited; may be NULL. */
    void (*unasked)(void *context, const union message *message);
    void *context;
};

enum local_fd { LOCAL_FD_MEMORY = 0, LOCAL_FD_SUBMIT = 1, LOCAL_FD_COMPLETE = 2, LOCAL_FDS = 3 };

/*
 * Connects and says hello. A mediator that is not there answers VGPU_STARTING (it may be
 * restarting), a path that cannot be a socket VGPU_NOT_CONFIGURED. Returns 0 or -errno.
 */
int local_connect(struct local_link *link, const char *path, struct vgpu_msg_welcome *ret_welcome,
                  struct local_refusal *refusal);

/* Opens a channel; the descriptors become the caller's. The head of ask is filled here. */
int local_open(struct local_link *link, struct vgpu_msg_open *ask, struct vgpu_msg_opened *ret,
               int ret_fds[LOCAL_FDS], struct local_refusal *refusal);

/* Takes an open channel along to this new connection. */
int local_resume(struct local_link *link, uint32_t channel, const uint8_t token[VGPU_TOKEN_BYTES],
                 struct local_refusal *refusal);

/* Closes the channel and waits for the confirmation, at most timeout_ms. */
int local_close(struct local_link *link, uint32_t channel, int timeout_ms);

/*
 * What the VM may know of its GPU of that number, with its processes from `first` on. The mediator
 * must have offered VGPU_FEATURE_MONITOR.
 */
int local_monitor(struct local_link *link, uint32_t gpu, uint32_t first, struct vgpu_monitor *ret,
                  struct local_refusal *refusal);

/* The next message, asked for or not; -ECONNRESET at the end of the connection. */
int local_receive(struct local_link *link, union message *ret);

void local_release(struct local_link *link);

#endif
