/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scheduling policy of one GPU: which VM holds the GPU's lease, for how long, and who is next.
 *
 * One `struct sched` per GPU. The mediator (and the simulator) report events; each call answers
 * with the actions that the caller is to carry out and with the time at which sched_tick() is due.
 * Pure policy: no I/O, no clock (`now_ns` is an argument, CLOCK_MONOTONIC or virtual), no logging;
 * memory is allocated only when a scheduler, a pool or a VM is added. Not thread-safe.
 *
 * Policy `wfq` is EEVDF (Stoica and Abdel-Wahab 1995), an eligibility-based fair queueing of the
 * WF2Q+ kind (Bennett and Zhang 1997), over measured GPU time: docs/spec/scheduling.md has the
 * algorithm, the bounds and why they hold. Policy `strict` is priority, then order of arrival, with
 * aging.
 *
 * How the caller drives it:
 *   - A VM has work from sched_vm_has_work() until sched_vm_idle(): jobs queued or in flight.
 *   - SCHED_GRANT: open the lease for the VM's worker. SCHED_REVOKE: tell it to drain and release;
 *     when it has, call sched_lease_released(). A worker may also release by itself at any time,
 *     which it should do when it runs out of work while somebody waits.
 *   - Busy time is given with the release (or earlier by sched_charge()), by the caller's own
 *     clock, less the idle time given back; it is counted since the grant or the last charge.
 *   - When the worker that holds a lease dies, call sched_worker_gone() instead of the release.
 *   - Call sched_tick() at actions->next_ns; calling it early or late does no harm beyond delay.
 *
 * Invariants: at most one VM holds the turn (HELD, HELD_IDLE, REVOKING or KILLING); at most one is
 * OVERRUN; if a VM waits and the GPU is free and not paused, a grant is in the answer. Calls that
 * are not legal in the VM's state return -EINVAL and change nothing.
 */
#ifndef VGPU_SCHED_SCHED_H
#define VGPU_SCHED_SCHED_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "sched/account.h"
#include "sched/lease.h"

#define SCHED_VMS_MAX   4096 /* VMs on one GPU */
#define SCHED_POOLS_MAX 256  /* pools on one GPU */
#define SCHED_NEVER     UINT64_MAX

/* Weights are in thousandths: 1000 is 1.0. */
#define SCHED_WEIGHT_MIN     1000
#define SCHED_WEIGHT_MAX     100000
#define SCHED_WEIGHT_DEFAULT 50000

enum sched_policy { SCHED_POLICY_WFQ, SCHED_POLICY_STRICT };

enum sched_priority { SCHED_PRIORITY_LOW, SCHED_PRIORITY_MEDIUM, SCHED_PRIORITY_HIGH };
#define SCHED_N_PRIORITIES 3

/* Share of a VM: multiplier (4, 2, 1) times weight. 0 for a priority that does not exist. */
uint32_t sched_priority_multiplier(enum sched_priority priority);

/* All can change live through sched_configure(). sched_config_default() fills in the defaults. */
struct sched_config {
    enum sched_policy policy;
    uint64_t slice_ns;            /* 10 ms: a turn when somebody waits */
    uint64_t slice_min_ns;        /* 2 ms: first turn of a VM that wakes; turn forced by max_wait */
    uint64_t slice_max_ns;        /* 40 ms: how far a slice stretches to hold whole jobs */
    uint64_t grace_ns;            /* 3 ms: from the revoke to being an overrunner */
    uint64_t second_grace_ns;     /* 100 ms: own GPU time from the revoke to the kill of a second */
    uint64_t kill_grace_ns;       /* 20 ms: a killed VM holds the turn for no longer than this */
    uint64_t max_wait_ns;         /* 10 s: who waits longer is next; 0: no bound */
    uint64_t urgency_ns;          /* 10 ms: the most that urgency adds to anybody's lag; 0: none */
    uint64_t urgency_wait_ns;     /* 500 ms: waiting this long gives half of the urgency */
    uint32_t urgency_depth;       /* 64: jobs queued that give the other half */
    uint32_t preempt_burst;       /* 8: early revokes in a row before preempt_interval applies */
    uint64_t preempt_interval_ns; /* 5 ms: mean distance of early revokes, for throughput's sake */
    uint64_t aging_ns;            /* 5 s: strict: waiting this long counts as one level more */
};

#define SCHED_SLICE_LIMIT_MIN_NS UINT64_C(100000)         /* 100 us: below the hand-over cost */
#define SCHED_SLICE_LIMIT_MAX_NS UINT64_C(10000000000)    /* 10 s */
#define SCHED_TIME_LIMIT_MAX_NS  UINT64_C(86400000000000) /* 1 day, for every other time */

void sched_config_default(struct sched_config *config);
/* 0, or -EINVAL with the cause. */
int sched_config_check(const struct sched_config *config, struct vgpu_err *err);

enum sched_action_kind {
    SCHED_GRANT,   /* open the lease of vm; slice_ns is what it may expect if somebody waits */
    SCHED_EXTEND,  /* vm keeps the lease for another slice_ns; nothing needs to be done */
    SCHED_REVOKE,  /* tell vm to stop issuing, drain and release */
    SCHED_OVERRUN, /* vm did not release in time: it has lost the turn and runs on beside others */
    SCHED_KILL,    /* kill the worker of vm that is on the GPU; then sched_worker_gone() */
};

struct sched_action {
    enum sched_action_kind kind;
    uint32_t vm;       /* handle from sched_vm_add() */
    uint64_t tag;      /* sched_vm_params.tag */
    uint64_t slice_ns; /* GRANT, EXTEND */
};

#define SCHED_ACTIONS_MAX 4

/* The answer of each call: actions to be carried out in order, and when to call sched_tick(). */
struct sched_actions {
    uint32_t count;
    struct sched_action items[SCHED_ACTIONS_MAX];
    uint64_t next_ns; /* absolute; SCHED_NEVER: no need */
};

struct sched;

/* NULL with err set: EINVAL (config), ENOMEM. */
struct sched *sched_new(const struct sched_config *config, struct vgpu_err *err);
void sched_free(struct sched *sched);

/* Replaces the whole configuration; standings are kept. -EINVAL with the cause, nothing changed. */
int sched_configure(struct sched *sched, const struct sched_config *config, uint64_t now_ns,
                    struct sched_actions *actions, struct vgpu_err *err);
void sched_get_config(const struct sched *sched, struct sched_config *ret_config);

/* While paused (GPU unhealthy, draining) no lease is granted; present holders run on. */
int sched_pause(struct sched *sched, bool paused, uint64_t now_ns, struct sched_actions *actions);

/*
 * Pools. weight_milli is 0 (none) or SCHED_WEIGHT_MIN..MAX. As long as a pool without a weight
 * exists on this GPU all VMs form one queue; once each pool has one, GPU time is shared first
 * between the pools that have work by pool weight, then within each pool (wfq only).
 * -EEXIST, -ENOENT, -EBUSY (remove: it has VMs), -ENOSPC, -EINVAL, -ENOMEM.
 */
int sched_pool_add(struct sched *sched, uint32_t pool_id, uint32_t weight_milli, uint64_t now_ns,
                   struct sched_actions *actions);
int sched_pool_set_weight(struct sched *sched, uint32_t pool_id, uint32_t weight_milli,
                          uint64_t now_ns, struct sched_actions *actions);
int sched_pool_remove(struct sched *sched, uint32_t pool_id, uint64_t now_ns,
                      struct sched_actions *actions);

struct sched_vm_params {
    uint64_t tag;     /* the caller's own id; comes back in actions; not looked at */
    uint32_t pool_id; /* must exist */
    enum sched_priority priority;
    uint32_t weight_milli;
};

/* A handle is never 0 and does not come again soon after sched_vm_remove(). */
int sched_vm_add(struct sched *sched, const struct sched_vm_params *params, uint64_t now_ns,
                 uint32_t *ret_vm);
/* In any state; a lease that it holds ends with it, uncharged. */
int sched_vm_remove(struct sched *sched, uint32_t vm, uint64_t now_ns,
                    struct sched_actions *actions);
/* Changes what differs, live: what was owed to or by the VM in GPU time stays owed. */
int sched_vm_update(struct sched *sched, uint32_t vm, const struct sched_vm_params *params,
                    uint64_t now_ns, struct sched_actions *actions);

/* Both may be repeated. -ENOENT: no such VM. */
int sched_vm_has_work(struct sched *sched, uint32_t vm, uint64_t now_ns,
                      struct sched_actions *actions);
int sched_vm_idle(struct sched *sched, uint32_t vm, uint64_t now_ns, struct sched_actions *actions);

/*
 * Optional, when known: jobs queued, and when the oldest of them arrived (0: not known). Feeds
 * urgency and, under strict, the order of arrival. Does not say whether the VM has work. actions
 * may be NULL where another call follows at once, which decides.
 */
int sched_vm_backlog(struct sched *sched, uint32_t vm, uint32_t depth, uint64_t oldest_ns,
                     uint64_t now_ns, struct sched_actions *actions);

/*
 * Charges a VM that is on the GPU for busy_ns since its grant or last charge; jobs of it are done
 * (0: not known). More than the time that has passed counts as the time that has passed.
 */
int sched_charge(struct sched *sched, uint32_t vm, uint64_t now_ns, uint64_t busy_ns,
                 uint32_t jobs);
/*
 * Optional: the worker has taken up the lease that it was granted. Without it the time that the
 * hand-over takes counts as time on the GPU where an estimate stands in for busy time.
 */
int sched_lease_started(struct sched *sched, uint32_t vm, uint64_t now_ns);
/*
 * Optional: a VM that was revoked says that what it has in flight is nearly done. The next one is
 * granted the GPU now, so that the hand-over is under way meanwhile; until its release the VM runs
 * beside it and pays as an overrunner does, and counts as one from the grace on. Only a hint: it
 * changes nothing while another runs beside the holder. -EINVAL: it was not revoked.
 */
int sched_lease_ending(struct sched *sched, uint32_t vm, uint64_t now_ns,
                       struct sched_actions *actions);
int sched_lease_released(struct sched *sched, uint32_t vm, uint64_t now_ns, uint64_t busy_ns,
                         uint32_t jobs, struct sched_actions *actions);
/* The worker on the GPU is dead. The VM goes on having work until sched_vm_idle(). */
int sched_worker_gone(struct sched *sched, uint32_t vm, uint64_t now_ns, uint64_t busy_ns,
                      struct sched_actions *actions);
int sched_tick(struct sched *sched, uint64_t now_ns, struct sched_actions *actions);

/*
 * A restarted mediator: sched_vm_load() gives a fresh VM (LEASE_NONE, never charged) its standing
 * back; sched_adopt() then takes over a lease that its worker still has, as LEASE_HELD or
 * LEASE_OVERRUN (at most one of each), charged from since_ns on. Pause before, resume after, so
 * that nothing is granted in between. -EINVAL: record or state not acceptable; -EBUSY: taken.
 */
int sched_vm_save(const struct sched *sched, uint32_t vm, uint64_t now_ns,
                  struct sched_account *ret_account);
int sched_vm_load(struct sched *sched, uint32_t vm, const struct sched_account *account);
int sched_adopt(struct sched *sched, uint32_t vm, enum lease_state state, uint64_t since_ns,
                uint64_t now_ns, struct sched_actions *actions);

/* Sliding window of the shares in a status screen. */
#define SCHED_WINDOW_BUCKETS   10
#define SCHED_WINDOW_BUCKET_NS UINT64_C(1000000000)

#define SCHED_WAIT_BUCKETS 32 /* bucket i counts waits under 2^i us; the last, all longer */

struct sched_vm_stats {
    uint64_t tag;
    enum lease_state state;
    uint32_t pool_id;
    enum sched_priority priority;
    uint32_t weight_milli;
    bool has_work;
    uint32_t depth;        /* as last told by sched_vm_backlog() */
    uint64_t charged_ns;   /* ever */
    uint64_t jobs;         /* ever */
    uint64_t window_ns;    /* GPU time in the window */
    uint32_t share_ppm;    /* of the GPU time given to all VMs in the window */
    uint32_t entitled_ppm; /* what its weight among the VMs with work came to, of the same */
    int64_t lag_ns;        /* owed to it (+), by it (-); wfq */
    uint64_t job_mean_ns;  /* moving mean */
    uint64_t slice_ns;     /* its present slice */
    uint64_t waiting_ns;   /* for how long it waits now */
    uint64_t waits;        /* grants after a wait */
    uint64_t wait_total_ns;
    uint64_t wait_max_ns;
    uint32_t wait_histogram[SCHED_WAIT_BUCKETS];
    uint64_t grants, revokes, early_revokes, overruns, kills;
};

int sched_vm_stats(const struct sched *sched, uint32_t vm, uint64_t now_ns,
                   struct sched_vm_stats *ret_stats);

struct sched_stats {
    uint32_t vms, pools;
    uint32_t waiting;    /* VMs in LEASE_WAITING */
    uint32_t holder;     /* handle, 0: none */
    uint32_t overrunner; /* handle, 0: none */
    bool paused;
    bool pools_weighted;   /* the two-level queue is in force */
    uint64_t virtual_time; /* of the root queue */
    uint64_t window_ns;    /* GPU time of all VMs in the window */
    uint64_t charged_ns;   /* ever */
    uint64_t grants, revokes, early_revokes, overruns, kills;
};

void sched_stats(const struct sched *sched, uint64_t now_ns, struct sched_stats *ret_stats);

/* Handles in use, in no order: writes up to max, returns how many there are. */
uint32_t sched_vm_list(const struct sched *sched, uint32_t *vms, uint32_t max);

#endif
