/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leases: what sched/ decides about VMs, carried out on the lease pages of their channels.
 *
 * A seat is one VM on one GPU. It holds the GPU's lease or not (sched/); within a seat one channel
 * at a time has the turn, and they take turns. Charged is time on the GPU by the mediator's clock;
 * only while nobody else wants the GPU is a worker's word taken for how much of it was idle.
 *
 * What a worker says can mislead the mediator about that worker's VM only, and a turn that is not
 * given back ends in a kill. No timer is set while no turn is given.
 */
#ifndef VGPU_MEDIATOR_LEASE_H
#define VGPU_MEDIATOR_LEASE_H

#include "mediator/accounts.h"
#include "mediator/channel.h"
#include "mediator/fault.h"
#include "mediator/hash.h"
#include "mediator/loop.h"
#include "mediator/pool.h"
#include "sched/sched.h"

struct lease_settings {
    uint64_t job_timeout_ns; /* a job that takes longer ends its worker; a VM may have its own */
    uint64_t drain_ns;       /* a worker that has nothing in flight gives its turn back within */
    /*
     * How long, by its own GPU time, a VM may go on past its turn while another overruns already,
     * before it is ended: long enough for an honest kernel. 0: the scheduler's default.
     */
    uint64_t overrun_ns;
    /* Ends a worker. Its death is told by lease_channel_gone(). */
    void (*kill)(void *context, struct channel *channel, enum fault_kind kind,
                 enum vgpu_status status, const char *text);
    void *context;
};

struct gpu {
    struct gpu *next;
    uint32_t id;
    struct loop *loop;
    const struct lease_settings *settings;
    struct sched *sched;
    bool paused;
    struct sched_config base; /* where no pool says otherwise */
    struct pool *pools;
    uint32_t last_pool; /* ids */
    struct loop_timer tick;
    struct seat *seats, *seats_by_vm; /* a list, and a hash of the same */
    uint64_t switches;                /* turns that went to another channel than the one before */
    uint32_t last_turn;               /* number of the channel that had the turn last */
    struct seat *look;                /* whose backlog is looked at next */
};

struct seat {
    struct seat *next; /* on the GPU */
    UT_hash_handle hh;
    struct gpu *gpu;
    uint32_t vm_id, handle; /* handle: sched's */
    struct pool *pool;
    uint32_t priority, weight_hundredths; /* as sched has them */
    struct channel *channels;
    struct channel *turn; /* the channel that has the turn, or has not given it back yet */
    struct channel *last; /* that had it before, for taking turns; only compared */
    bool leased;          /* sched has granted and was not told of the end */
    bool revoking;        /* sched wants it back */
    bool has_work;        /* as sched was told */
    bool contended;       /* as the turn's lease page says */
    uint64_t mark_ns, idle_ns, idle_since_ns, busy_mark_ns, jobs_mark; /* since the last charge */
    uint64_t granted_ns, overrun_ns;
    uint64_t queued_ns;      /* when it began to wait */
    uint64_t job_timeout_ns; /* 0: the settings' */
    struct loop_timer rotate, watchdog;
    uint64_t switches; /* turns of its channels after another channel's */
    struct accounts_slot *slot;
    struct accounts_record account;
};

/* Totals of a seat, for status: its ended channels and its living ones. */
struct seat_totals {
    uint32_t channels, depth;
    uint64_t jobs_pending; /* taken, and not over: of living channels */
    uint64_t jobs_done, jobs_failed, jobs_refused, wait_ns, memory_bytes;
};

struct gpu *gpu_new(struct loop *loop, const struct lease_settings *settings, uint32_t id,
                    struct vgpu_err *err);
/* Saves the accounts; touches no lease page. NULL is allowed. */
void gpu_free(struct gpu *gpu);
/* While paused nothing new is granted. */
void gpu_pause(struct gpu *gpu, bool paused);
/* Takes all leases back, each as soon as what is in flight is done. The GPU is paused. */
void gpu_call_back(struct gpu *gpu);
/* Makes pools, weights, policy and slices those of the configuration, at once. */
void gpu_configure(struct gpu *gpu, const struct config *config);
/* Does what the scheduler says; for pool.c. */
void gpu_carry_out(struct gpu *gpu, const struct sched_actions *actions);
/* 0: nobody. */
uint32_t gpu_holder_vm(const struct gpu *gpu);

/* The seat of a VM, made with its account if need be. NULL when out of memory. */
struct seat *gpu_seat(struct gpu *gpu, const struct config_vm *vm, struct accounts *accounts);
struct seat *gpu_find_seat(const struct gpu *gpu, uint32_t vm_id);
/* It must have no channels. */
void seat_free(struct seat *seat);
/*
 * Priority, weight and pool as they are now. Where the GPU does not serve the new pool, what still
 * runs there stays in the old one. After each gpu_configure(): it may serve another now.
 */
void seat_update(struct seat *seat, const struct config_vm *vm);
/* 0: the settings'. In force at once, for the job in flight too. */
void seat_set_timeout(struct seat *seat, uint64_t job_timeout_ns);
void seat_totals(const struct seat *seat, struct seat_totals *ret);
/* Brings charges up to now, for status. */
void seat_charge(struct seat *seat);

/* A channel whose worker is starting. */
void lease_channel_add(struct seat *seat, struct channel *channel);
/* One that was adopted: its lease page may say that it has the turn. The GPU is paused. */
void lease_channel_adopt(struct seat *seat, struct channel *channel);
/* The worker is dead. Folds its counters into the account. */
void lease_channel_gone(struct channel *channel);
/* The worker kicked: its report page changed. */
void lease_channel_reported(struct channel *channel);

#endif
