/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What struct sched consists of, and the calls between the files that work on it. Private to
 * sched/:
 *   sched.c   the public events, and the decision that follows each of them
 *   choose.c  who waits in which order, and who is next
 *   charge.c  what a turn cost, who is a member of the fair queue, how long slices are
 *   config.c  configuration, pools and VMs: what allocates, and what rebuilds the queues
 *   report.c  statistics, accounts
 */
#ifndef VGPU_SCHED_STATE_H
#define VGPU_SCHED_STATE_H

#include "sched/fairq.h"
#include "sched/sched.h"
#include "sched/window.h"

/* Turns ahead of order that may be outstanding at once; the urgency budget is usually smaller. */
#define SCHED_EARLY_MAX 8
/* How often a waiting VM of higher priority is looked at again while another holds the GPU. */
#define SCHED_RECHECK_NS UINT64_C(1000000)

struct sched_vm {
    struct fairq_entity entity;
    struct sched_vm_params params;
    struct sched_pool *pool;
    uint32_t handle;
    enum lease_state state;
    bool has_work;
    bool active;                   /* has work or is on the GPU: a member of its fair queue */
    bool detached;                 /* KILLING, and no longer holding up the turn */
    bool waking;                   /* waits for, or has, its first turn after being without work */
    bool early;                    /* present turn was taken ahead of order */
    bool forced;                   /* present turn comes from max_wait */
    bool paying;                   /* a turn took far more than its slice, and V is not there yet */
    bool long_wait;                /* has the urgency of a long wait */
    enum sched_priority run_level; /* strict: level at which it was granted */

    struct sched_vm *prev, *next; /* in sched.waiters */
    uint64_t seq;                 /* order of beginning to wait; breaks ties */
    uint64_t wait_since_ns;
    uint64_t arrival_ns; /* strict: its place in the level */
    uint32_t depth;
    uint64_t oldest_ns;

    uint64_t granted_ns, slice_ns, slice_end_ns, revoked_ns, killed_ns;
    uint64_t mark_ns; /* grant or last charge by the caller */
    bool ending;      /* revoked, and what it has in flight is nearly done */
    bool running;     /* the clock of run_acc_ns runs, since run_since_ns */
    uint64_t run_since_ns;
    uint64_t run_acc_ns;    /* time on the GPU with work, not charged to the fair queue yet */
    uint64_t beside_ns;     /* part of the time since mark_ns in which two ran */
    uint64_t run_beside_ns; /* the same of the time in run_acc_ns and since run_since_ns */
    uint64_t turn_ns;       /* charged to the fair queue in this turn */
    uint64_t turn_allow_ns; /* slices given for it */
    uint64_t job_mean_ns;
    uint64_t over_ns; /* by how much turns exceed their slices: decaying maximum */

    bool loaded; /* has a standing from before a restart, given back when it joins */
    int64_t loaded_lag_ns;
    uint64_t loaded_ns; /* when that was saved */
    uint64_t charged_ns, jobs;
    struct window used, entitled;
    uint64_t entitled_mark_ns, entitled_v; /* where `entitled` was brought up to */
    uint64_t waits, wait_total_ns, wait_max_ns;
    uint32_t wait_histogram[SCHED_WAIT_BUCKETS];
    uint64_t grants, revokes, early_revokes, overruns, kills;
};

/*
 * The ideal: what 1/1000 of weight was entitled to until time_ns (in virtual-time units), if the
 * time were divided among those that have work. One for the GPU, one within each pool.
 */
struct entitlement {
    uint64_t time; /* clock of the layer above: ns, or its v */
    uint64_t v;
    uint64_t remainder;
    uint64_t weight; /* of those with work */
};

struct sched_pool {
    struct fairq queue;         /* when pools are weighted */
    struct fairq_entity entity; /* in sched.root, likewise */
    struct entitlement ideal;
    uint32_t id;
    uint32_t weight_milli;
    uint32_t vms;
    uint32_t active;     /* VMs that are members */
    uint32_t with_work;  /* VMs */
    uint64_t registered; /* weight of all its VMs */
};

struct vm_list {
    struct sched_vm *first, *last;
    struct sched_vm *aging; /* first without long_wait; those before have it */
    uint32_t waking;
};

struct sched {
    struct sched_config config;
    struct fairq root;
    struct entitlement ideal;
    uint64_t registered; /* weight of all VMs */
    bool pools_weighted;
    bool paused;
    struct sched_vm *holder;
    struct sched_vm *overrunner;
    uint64_t beside_since_ns; /* with both: until when their beside_ns is up to date */
    uint64_t now_ns;
    uint64_t seq;
    uint64_t preempt_ns; /* theoretical arrival time of the next early revoke */
    uint32_t waiting;
    struct vm_list waiters[SCHED_N_PRIORITIES]; /* in order of wait_since_ns */
    struct tree strict[SCHED_N_PRIORITIES];     /* in order of arrival_ns */
    struct {
        const struct fairq *queue; /* NULL: unused */
        uint64_t seq;              /* of the VM when it was granted */
        uint64_t v;
        uint64_t cost_ns;
    } early[SCHED_EARLY_MAX]; /* turns ahead of order that V has not caught up with */

    struct sched_vm **vms; /* by slot; NULL: free */
    uint32_t *generations;
    uint32_t n_slots, n_vms;
    struct sched_pool **pools;
    uint32_t n_pools;

    struct window used, with_work; /* GPU time charged; time in which any VM had work */
    uint64_t charged_ns;
    uint64_t grants, revokes, early_revokes, overruns, kills;
};

static inline bool sched_is_fair(const struct sched *sched)
{
    return sched->config.policy == SCHED_POLICY_WFQ;
}

static inline struct sched_vm *sched_vm_of(struct fairq_entity *entity)
{
    return (struct sched_vm *)((char *)entity - offsetof(struct sched_vm, entity));
}

static inline struct sched_pool *sched_pool_of(struct fairq_entity *entity)
{
    return (struct sched_pool *)((char *)entity - offsetof(struct sched_pool, entity));
}

static inline struct fairq *sched_queue_of(struct sched *sched, const struct sched_vm *vm)
{
    return sched->pools_weighted ? &vm->pool->queue : &sched->root;
}

/* sched.c */
struct sched_vm *sched_find(const struct sched *sched, uint32_t handle);
void sched_begin(struct sched *sched, uint64_t *now_ns, struct sched_actions *actions);
/* Carries on from the state as it is: revokes, grants, and says when to tick. */
void sched_decide(struct sched *sched, uint64_t now_ns, struct sched_actions *actions);

/* choose.c */
void choose_enqueue(struct sched *sched, struct sched_vm *vm, uint64_t now_ns);
void choose_dequeue(struct sched *sched, struct sched_vm *vm);
/* Recomputes the key of a VM that waits; it keeps its place among equals. */
void choose_requeue(struct sched *sched, struct sched_vm *vm);
/* Who is next on a free GPU; NULL: nobody waits. */
struct sched_vm *choose_next(struct sched *sched, uint64_t now_ns);
/* At the end of the holder's slice: whether somebody who waits should have the next one. */
bool choose_successor(struct sched *sched, struct sched_vm *holder, uint64_t now_ns);
/* Within the holder's slice: whether a VM of higher priority should cut it short. */
bool choose_cut(struct sched *sched, struct sched_vm *holder, uint64_t now_ns);
/* Whether choose_cut() may answer otherwise later without a further event. */
bool choose_cut_later(const struct sched *sched, const struct sched_vm *holder);
/* Adds the urgency of a long wait to those who have waited long, a few at a time. */
void choose_age(struct sched *sched, uint64_t now_ns);
/* The holder has another slice: its deadline moves on. */
void choose_extend(struct sched *sched, struct sched_vm *holder, uint64_t now_ns);
/* Puts a VM whose priority changes into the list of its new one, in order of waiting. */
void choose_set_priority(struct sched *sched, struct sched_vm *vm, enum sched_priority priority);
/* Enters all who wait into trees that have been emptied. */
void choose_refill(struct sched *sched);
/* Takes note of what a turn ahead of order costs, and up to where it brings vm. */
void choose_note_early(struct sched *sched, struct sched_vm *vm, uint64_t cost_ns, uint64_t v);
uint64_t choose_early_cost(const struct sched *sched, const struct sched_vm *vm);

/* charge.c */
/* Time on the GPU that the fair queue has not been told of, as far as known. */
uint64_t charge_unsettled(const struct sched *sched, const struct sched_vm *vm, uint64_t now_ns);
/* V of a queue, the running VMs' unsettled time included. */
uint64_t charge_time(const struct sched *sched, const struct fairq *queue, uint64_t now_ns);
uint64_t charge_pool_unsettled(const struct sched *sched, const struct sched_pool *pool,
                               uint64_t now_ns);
/* Charges the estimate now; a later charge then covers only what comes after. */
void charge_settle(struct sched *sched, struct sched_vm *vm, uint64_t now_ns);
void charge_busy(struct sched *sched, struct sched_vm *vm, uint64_t now_ns, uint64_t busy_ns,
                 uint32_t jobs);
/* Starts or stops the clock of a VM on the GPU. */
void charge_run(struct sched_vm *vm, bool running, uint64_t now_ns);
/* Brings beside_ns of holder and overrunner up to date; before either changes. */
void charge_beside(struct sched *sched, uint64_t now_ns);
/* Joins or leaves the fair queue as has_work and state demand. */
void charge_membership(struct sched *sched, struct sched_vm *vm, uint64_t now_ns);
/* No VM gets credit from before a restart any more; debts stay. */
void charge_end_loading(struct sched *sched, struct sched_vm *vm, uint64_t now_ns);
/* Sets has_work, with the entitlement that goes with it. */
void charge_set_work(struct sched *sched, struct sched_vm *vm, bool has_work, uint64_t now_ns);
/* Brings the window of what vm is entitled to up to date. */
void charge_entitle(struct sched *sched, struct sched_vm *vm, uint64_t now_ns);
uint64_t charge_slice(const struct sched *sched, const struct sched_vm *vm);
/* What a turn will probably cost: its slice, and what it usually needs beyond. */
uint64_t charge_request(const struct sched *sched, const struct sched_vm *vm);
/* A turn has ended: learns by how much it exceeded its slice. */
void charge_end_turn(struct sched *sched, struct sched_vm *vm);

#endif
