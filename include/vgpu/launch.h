/* SPDX-License-Identifier: GPL-2.0-or-later OR Apache-2.0 */
/*
 * The protocol between mediator and launcher: fixed commands over a SOCK_SEQPACKET Unix socket, one
 * message a packet. The launcher spawns, kills and reaps workers and holds what must outlive the
 * mediator: each channel's descriptors and the accounts page. It takes no path, no uid and no
 * environment from the mediator. docs/spec/wire.md has the text.
 */
#ifndef VGPU_LAUNCH_H
#define VGPU_LAUNCH_H

#include "ring.h"
#include "types.h"
#include "version.h"

#define VGPU_LAUNCH_MAX_WORKERS 1024u
#define VGPU_ACCOUNTS_BYTES     (1u << 20)
#define VGPU_GPU_UUID_BYTES     48u
#define VGPU_LAUNCH_MAX_GPUS    64u
#define VGPU_LAUNCH_MAX_SPARES  16u /* of one GPU */

/*
 * Descriptors of a channel, in the order in which they travel with SPAWN and ENTRY. Of a channel by
 * grants the first VGPU_CHANNEL_SHARED_FDS do not: the launcher puts its own in their place, which
 * only the worker gets: gntdev, then event channels twice.
 */
enum vgpu_channel_fd {
    VGPU_FD_MEMORY = 0,        /* the channel's memory */
    VGPU_FD_SUBMIT_KICK = 1,   /* eventfd: guest to worker */
    VGPU_FD_COMPLETE_KICK = 2, /* eventfd: worker to guest */
    VGPU_FD_LEASE = 3,         /* lease page; the worker gets a read-only descriptor of it */
    VGPU_FD_LEASE_KICK = 4,    /* eventfd: mediator to worker */
    VGPU_FD_REPORT = 5,        /* report page */
    VGPU_FD_REPORT_KICK = 6,   /* eventfd: worker to mediator */
    VGPU_CHANNEL_FDS = 7
};
#define VGPU_CHANNEL_SHARED_FDS 3u
#define VGPU_CHANNEL_GRANT_FDS  (VGPU_CHANNEL_FDS - VGPU_CHANNEL_SHARED_FDS)

enum vgpu_launch_type {
    VGPU_LAUNCH_HELLO = 1,   /* mediator: struct vgpu_launch_hello */
    VGPU_LAUNCH_WELCOME = 2, /* launcher: struct vgpu_launch_hello; fd: accounts page (memfd, rw) */
    VGPU_LAUNCH_SPAWN = 3,   /* mediator: struct vgpu_launch_spawn; fds: the channel's */
    VGPU_LAUNCH_SPAWNED = 4, /* launcher: struct vgpu_launch_answer; result 0 or a positive errno */
    VGPU_LAUNCH_KILL = 5,    /* mediator: struct vgpu_launch_channel */
    VGPU_LAUNCH_EXITED = 6,  /* launcher, unasked: struct vgpu_launch_exited */
    VGPU_LAUNCH_LIST = 7,    /* mediator: struct vgpu_launch_channel, channel 0 */
    VGPU_LAUNCH_ENTRY = 8,   /* launcher: struct vgpu_launch_entry; fds: the channel's */
    VGPU_LAUNCH_LIST_END = 9,     /* launcher: struct vgpu_launch_channel, channel = entries sent */
    VGPU_LAUNCH_REFUSED = 10,     /* launcher, then it closes: struct vgpu_launch_answer */
    VGPU_LAUNCH_SPARES = 11,      /* mediator: struct vgpu_launch_spares */
    VGPU_LAUNCH_SPARE_STATE = 12, /* launcher, unasked: struct vgpu_launch_spare_state */
    VGPU_LAUNCH_RESET = 13,       /* mediator: struct vgpu_launch_reset */
    VGPU_LAUNCH_RESET_DONE = 14,  /* launcher: struct vgpu_launch_reset_done */

    /* Between launcher and a spare worker, on the worker's socket. */
    VGPU_LAUNCH_READY = 32, /* worker: struct vgpu_launch */
    VGPU_LAUNCH_ADOPT = 33  /* launcher: struct vgpu_launch_adopt; fds: VGPU_CHANNEL_FDS */
};

struct vgpu_launch {
    uint32_t size_bytes;
    uint32_t type;
};
VGPU_ASSERT_SIZE(struct vgpu_launch, 8);

struct vgpu_launch_hello {
    struct vgpu_launch head;
    uint32_t magic;
    uint16_t version_major;
    uint16_t version_minor;
};
VGPU_ASSERT_SIZE(struct vgpu_launch_hello, 16);

/* What the mediator must know of a channel again after a restart; the launcher only keeps it. */
struct vgpu_launch_keep {
    uint32_t vm_id;
    uint32_t gpu_id;
    uint8_t token[16];
    char process[40];
    uint32_t window; /* as in struct vgpu_msg_opened */
    uint32_t domid;  /* the guest that grants its memory; 0: the channel is not by grants */
};
VGPU_ASSERT_SIZE(struct vgpu_launch_keep, 72);

/* Where the memory of a channel by grants is; all 0 for another. */
struct vgpu_launch_grant {
    uint32_t domid;
    uint32_t directory;  /* as in struct vgpu_msg_grant */
    uint32_t event_port; /* likewise */
    uint32_t reserved;
};
VGPU_ASSERT_SIZE(struct vgpu_launch_grant, 16);

struct vgpu_launch_spawn {
    struct vgpu_launch head;
    uint32_t channel; /* unique among living workers, not 0 */
    uint32_t reserved;
    struct vgpu_channel_geometry geometry;
    struct vgpu_launch_keep keep;
    char gpu_uuid[VGPU_GPU_UUID_BYTES]; /* as NVML writes it: "GPU-…"; letters, digits, '-' */
    uint64_t host_memory_bytes; /* of the worker, for its cgroup; 0: the launcher's default */
    struct vgpu_launch_grant grant;
};
VGPU_ASSERT_SIZE(struct vgpu_launch_spawn, 208);

struct vgpu_launch_channel {
    struct vgpu_launch head;
    uint32_t channel;
    uint32_t reserved;
};
VGPU_ASSERT_SIZE(struct vgpu_launch_channel, 16);

struct vgpu_launch_answer {
    struct vgpu_launch head;
    uint32_t channel;
    int32_t result;
    int32_t pid;
    uint32_t reserved;
    char text[128];
};
VGPU_ASSERT_SIZE(struct vgpu_launch_answer, 152);

struct vgpu_launch_exited {
    struct vgpu_launch head;
    uint32_t channel;
    int32_t exit_code; /* -1 if a signal ended it */
    int32_t signal;    /* 0 if it exited */
    uint32_t killed;   /* 1: a KILL was asked for */
    uint64_t cpu_ns;
    uint64_t peak_rss_bytes;
};
VGPU_ASSERT_SIZE(struct vgpu_launch_exited, 40);

struct vgpu_launch_entry {
    struct vgpu_launch head;
    uint32_t channel;
    int32_t pid;
    struct vgpu_channel_geometry geometry;
    struct vgpu_launch_keep keep;
};
VGPU_ASSERT_SIZE(struct vgpu_launch_entry, 136);

/* The spare workers that are wanted: so many for each of these GPUs, none for others. */
struct vgpu_launch_spares {
    struct vgpu_launch head;
    uint32_t spares; /* of each GPU, up to VGPU_LAUNCH_MAX_SPARES */
    uint32_t n_gpus; /* of gpu_uuid; the others are NUL */
    char gpu_uuid[VGPU_LAUNCH_MAX_GPUS][VGPU_GPU_UUID_BYTES];
};
VGPU_ASSERT_SIZE(struct vgpu_launch_spares, 3088);

struct vgpu_launch_spare_state {
    struct vgpu_launch head;
    char gpu_uuid[VGPU_GPU_UUID_BYTES];
    uint32_t ready; /* spares that a channel could have at once */
    uint32_t starting;
    uint32_t failures; /* spares that ended by themselves since one was last adopted */
    uint32_t reserved;
    uint64_t adopted; /* channels that started on a spare */
};
VGPU_ASSERT_SIZE(struct vgpu_launch_spare_state, 80);

/* Reset this GPU, which nobody uses. One at a time. */
struct vgpu_launch_reset {
    struct vgpu_launch head;
    char gpu_uuid[VGPU_GPU_UUID_BYTES];
};
VGPU_ASSERT_SIZE(struct vgpu_launch_reset, 56);

struct vgpu_launch_reset_done {
    struct vgpu_launch head;
    char gpu_uuid[VGPU_GPU_UUID_BYTES];
    int32_t result; /* 0 or a positive errno */
    uint32_t reserved;
    char text[128];
};
VGPU_ASSERT_SIZE(struct vgpu_launch_reset_done, 192);

/* Exit status of a worker that was a spare and could not become what ADOPT said. */
#define VGPU_EXIT_NOT_ADOPTED 5

/* What a spare becomes. The lease page's descriptor is read-only. */
struct vgpu_launch_adopt {
    struct vgpu_launch head;
    uint32_t channel;
    uint32_t own_user; /* 1: become user and group uid; 0: stay */
    uint32_t uid;
    uint32_t reserved;
    struct vgpu_channel_geometry geometry;
    struct vgpu_launch_grant grant;
};
VGPU_ASSERT_SIZE(struct vgpu_launch_adopt, 88);

#endif
