/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One channel as the mediator sees it: its descriptors, its two pages, and the life of its worker.
 *
 * vm.c makes and ends channels, lease.c gives them turns. The report page is hostile: it is read by
 * channel_report() only, each field once. The channel's memory is never mapped here.
 */
#ifndef VGPU_MEDIATOR_CHANNEL_H
#define VGPU_MEDIATOR_CHANNEL_H

#include <stdbool.h>
#include <sys/types.h>
#include <vgpu/launch.h>
#include <vgpu/lease.h>
#include <vgpu/times.h>

#include "common/err.h"
#include "mediator/backlog.h"
#include "mediator/loop.h"
#include "mediator/stray.h"
#include "mediator/memory.h"

struct vm;
struct seat;
struct connection;

enum channel_state {
    CHANNEL_PROMISED, /* its guest is yet to say where the memory is; there is no worker */
    CHANNEL_SPAWNING, /* SPAWN is asked for */
    CHANNEL_LOADING,  /* the worker runs and is not ready */
    CHANNEL_OPEN,
    CHANNEL_ORPHAN,   /* adopted; its guest has not come back yet */
    CHANNEL_STOPPING, /* the worker was told to end */
    CHANNEL_KILLING,  /* KILL is asked for */
    CHANNEL_ENDED,    /* there is no worker any more */
    CHANNEL_N_STATES
};

enum channel_event {
    CHANNEL_EV_GRANTED, /* the guest has said so */
    CHANNEL_EV_SPAWNED,
    CHANNEL_EV_FAILED, /* there is no worker: the launcher could not start it */
    CHANNEL_EV_READY,
    CHANNEL_EV_RESUMED,
    CHANNEL_EV_STOP,
    CHANNEL_EV_KILL,
    CHANNEL_EV_EXITED,
    CHANNEL_N_EVENTS
};

/* The state after event, or CHANNEL_N_STATES where the move is illegal. */
enum channel_state channel_next(enum channel_state state, enum channel_event event);

/* What its lease page grants it, and what is known of how it keeps to that. budget.c decides. */
struct channel_offer {
    uint64_t jobs; /* jobs_allowed */
    uint64_t bytes, retry_ns;
    uint32_t depth, ask;
};

struct channel_grant {
    uint64_t jobs, bytes, retry_ns; /* as in the page */
    uint32_t depth, ask, count;
    /* The most that an honest worker can have gone by: it may not have seen the page since. */
    uint64_t jobs_most;
    uint32_t depth_most; /* UINT32_MAX: not known, so not held against it */
    uint64_t spent;      /* jobs taken, as it said last */
    uint64_t refused, moved_ns;
    bool sleeps; /* what it was granted went to others, and it has not asked for more */
};

struct channel {
    struct channel *next; /* of the VM */
    struct vm *vm;
    struct connection *connection; /* whose it is; NULL: nobody's now */
    enum channel_state state;
    uint32_t number, gpu_id;
    int32_t pid; /* of the worker; 0: not known */
    struct vgpu_channel_geometry geometry;
    uint32_t window; /* its place in its guest's window, as in struct vgpu_msg_opened */
    struct vgpu_launch_grant granted; /* domid 0: it has memory of its own; else its guest's */
    uint8_t token[16];
    char process[40];
    int fds[VGPU_CHANNEL_FDS]; /* those that are still needed; -1: closed */
    struct vgpu_lease_page *lease;
    const struct vgpu_report_page *report;
    const struct vgpu_times_page *times; /* behind it */
    struct loop_watch kick;              /* of the report page */
    struct loop_timer timer;             /* until ready, until resumed, until stopped: by state */
    uint32_t open_tag, close_tag;        /* requests that wait; 0: none */
    bool spawn_unsent, kill_unsent;
    enum vgpu_status end_status; /* why, once somebody has said so; VGPU_OK: nobody has */
    char end_text[VGPU_STATUS_TEXT_BYTES];

    struct memory_part memory;

    /* lease.c's */
    struct seat *seat;
    struct channel *seat_next;
    uint64_t turn; /* what the lease page says */
    bool need, revoked;
    bool drain_busy; /* something was in flight when it was last looked at */
    uint64_t revoked_ns, jobs_checked;
    struct backlog backlog;

    /* budget.c's */
    struct channel *budget_next;
    struct channel_grant grant;

    struct times_seen *times_seen; /* metrics.c's; NULL: no worker, or no memory for it */
    uint32_t gpu_faults;           /* that were counted; fault.h */
    struct stray stray;
};

/* What a new channel is to be like. */
struct channel_ask {
    uint32_t number, gpu_id;
    uint32_t sub_granules, comp_granules;
    uint64_t data_bytes;
    bool mirrored;   /* the guest's side is a copy elsewhere */
    uint32_t window; /* as in struct channel */
    uint32_t domid;  /* by grants of this domain; 0: not so */
    const char *process;
};

/* Where the parts of its memory are to lie. False: they are too large. */
bool channel_lay_out(const struct channel_ask *ask, struct vgpu_channel_geometry *ret);

/* Makes memory, pages and eventfds, but what a guest grants. -errno with the cause. */
int channel_new(const struct channel_ask *ask, struct channel **ret_channel, struct vgpu_err *err);
/* A channel that outlived a mediator. Takes fds over in each case. State: ORPHAN. */
int channel_adopt(const struct vgpu_launch_entry *entry, const int *fds,
                  struct channel **ret_channel, struct vgpu_err *err);
/* NULL is allowed. Watch and timer must have been removed. */
void channel_free(struct channel *channel);

/* Makes the move, or is a bug. */
void channel_step(struct channel *channel, enum channel_event event);
bool channel_has_worker(const struct channel *channel);

/* Closes what only the guest and the launcher need from now on. */
void channel_close_handed(struct channel *channel);

/* One look at the report page: each field loaded once. */
struct channel_report {
    uint32_t state, reason, need, depth;
    uint64_t turn_done, turn_ending, jobs_taken, jobs_done, jobs_failed, jobs_refused, busy_ns,
        wait_ns;
    uint64_t memory_bytes, oldest_issued_ns, guest_process, guest_pid_namespace;
    uint64_t memory_seen, memory_bound_bytes, memory_ask, memory_wanted_bytes, memory_spare_bytes;
    uint64_t memory_done;
    uint64_t memory_context_bytes, memory_module_bytes, memory_graph_bytes;
    uint64_t bytes_in_flight, refused_rate;
    uint32_t wants, gpu_faults, grant_seen;
};
void channel_report(const struct channel *channel, struct channel_report *ret);

/* Of that only what is queued: one cache line, as it is read for each VM that waits. */
struct channel_queue {
    uint32_t depth;
    uint64_t taken, over; /* jobs; over: done or failed */
};
void channel_queue(const struct channel *channel, struct channel_queue *ret);

/* What a worker has counted for metrics only. */
struct channel_counts {
    uint64_t to_device, from_device; /* bytes copied */
    uint64_t refused[VGPU_LIMIT_COUNT], held[VGPU_LIMIT_COUNT];
};
void channel_counts(const struct channel *channel, struct channel_counts *ret);
void channel_counts_add(struct channel_counts *sum, const struct channel_counts *more);

/* Explicit jobs that the worker refused for a limit, or times that posted ones had to wait. */
uint64_t channel_counted(const struct channel *channel, enum vgpu_limit limit, bool refused);

/* Notes why the channel ends, if nobody has before. */
void channel_blame(struct channel *channel, enum vgpu_status status, const char *text);
/* What the worker says of its end, if it says so; its text is cleaned. */
void channel_blame_report(struct channel *channel);

/* Of the lease page too, and without a kick: it counts from the turn that is set next. */
void channel_set_inflight(struct channel *channel, uint64_t most_ns);
/* Changes of the lease page. Each kicks the worker. */
void channel_set_turn(struct channel *channel, bool granted);
void channel_set_contended(struct channel *channel, bool contended);
void channel_set_flags(struct channel *channel, uint32_t flags);
void channel_set_memory_grant(struct channel *channel, uint64_t bytes, uint64_t change);
/* quota_bytes 0: none. Kicks if it changes. */
void channel_set_memory_quota(struct channel *channel, uint64_t quota_bytes,
                              uint64_t context_bytes);
void channel_answer_memory(struct channel *channel, uint64_t answer, uint64_t ceiling_bytes);

/* Takes what the lease page grants for what is granted. */
void channel_grant_begin(struct channel *channel);
/* No worker has seen another page than this one. */
void channel_grant_known(struct channel *channel);
struct channel_offer channel_offered(const struct channel *channel);
/* Makes it so, where it differs. */
void channel_offer(struct channel *channel, const struct channel_offer *offer);
/* The worker says which grants it goes by. */
void channel_grant_seen(struct channel *channel, const struct channel_report *report);

#endif
