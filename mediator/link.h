/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection to vgpu-launcher (<vgpu/launch.h>): made, kept and made again. Called by
 * mediator.c; never blocks.
 *
 * After each connection it asks for the list first; `listed` says that the list is whole, and only
 * then does link_ready() hold.
 */
#ifndef VGPU_MEDIATOR_LINK_H
#define VGPU_MEDIATOR_LINK_H

#include <vgpu/launch.h>

#include "mediator/loop.h"

struct link_hooks {
    /* accounts: stays the link's. */
    void (*welcome)(void *context, int accounts);
    /* fds: the callee's from now on; -1: not of this channel. */
    void (*entry)(void *context, const struct vgpu_launch_entry *entry, const int *fds);
    void (*listed)(void *context);
    void (*spawned)(void *context, const struct vgpu_launch_answer *answer);
    void (*exited)(void *context, const struct vgpu_launch_exited *exited);
    void (*spare_state)(void *context, const struct vgpu_launch_spare_state *state);
    void (*reset_done)(void *context, const struct vgpu_launch_reset_done *done);
    /* Messages can be sent again after -EAGAIN. */
    void (*writable)(void *context);
    /* The launcher refused this mediator. */
    void (*refused)(void *context, const struct vgpu_launch_answer *answer);
    /* It is gone, and all workers with it. A new one is looked for. */
    void (*lost)(void *context);
};

enum link_state { LINK_DOWN, LINK_HELLO, LINK_LISTING, LINK_READY };

struct link {
    struct loop *loop;
    const char *path;
    const struct link_hooks *hooks;
    void *context;
    enum link_state state;
    int sock;
    struct loop_watch watch;
    struct loop_timer retry;
    uint64_t backoff_ns;
    bool said_down; /* logged once per outage */
};

void link_init(struct link *link, struct loop *loop, const char *path,
               const struct link_hooks *hooks, void *context);
void link_release(struct link *link);

/* Tries to connect; tries again by itself where that fails. */
void link_connect(struct link *link);
bool link_ready(const struct link *link);

/* 0; -EAGAIN: call again from `writable`; -ENOTCONN. */
int link_spawn(struct link *link, const struct vgpu_launch_spawn *spawn, const int *fds);
int link_kill(struct link *link, uint32_t channel);
int link_spares(struct link *link, const struct vgpu_launch_spares *wish);
int link_reset(struct link *link, const char *gpu_uuid);

#endif
