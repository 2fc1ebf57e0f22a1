/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole mediator: what its parts share. main.c makes one and runs its loop; mediator.c joins
 * the parts; vm.c, connection.c, admin.c and status.c work on it. One thread, no locks.
 */
#ifndef VGPU_MEDIATOR_MEDIATOR_H
#define VGPU_MEDIATOR_MEDIATOR_H

#include <sys/types.h>

#include "common/err.h"
#include "common/log.h"
#include "mediator/accounts.h"
#include "mediator/admin.h"
#include "mediator/checkup.h"
#include "mediator/config.h"
#include "mediator/dial.h"
#include "mediator/domain.h"
#include "mediator/events.h"
#include "mediator/helper.h"
#include "mediator/lease.h"
#include "mediator/link.h"
#include "mediator/loop.h"
#include "mediator/memory.h"
#include "mediator/metrics.h"
#include "mediator/monitor.h"
#include "mediator/reset.h"
#include "mediator/scan.h"
#include "mediator/vm.h"

#define MEDIATOR_GPUS_MAX CONFIG_GPUS_MAX

#define MEDIATOR_GUEST_UIDS_MAX 32

struct mediator_settings {
    const char *run_dir, *database, *launcher_socket, *nvml, *helper_dir, *driver;
    const char *device_dir; /* dial.c's; NULL: no device listens */
    bool create_database;
    uint64_t max_data_bytes, default_data_bytes;
    uint64_t grant_pages;  /* that all channels by grants of one VM may have mapped together */
    uint64_t resume_ns;    /* how long adopted channels wait for their guest */
    uint64_t stop_ns;      /* from telling a worker to end to killing it */
    uint64_t ready_ns;     /* for a worker to start */
    uint64_t handshake_ns; /* for a guest to say HELLO */
    uid_t guest_uids[MEDIATOR_GUEST_UIDS_MAX]; /* who may connect, besides root and ourselves */
    unsigned n_guest_uids;
    uid_t agent_uid; /* whose peers may say on whose behalf they ask */
    bool has_agent_uid;
    uid_t xenbus_uid; /* of vgpu-xenbus */
    bool has_xenbus_uid;
    unsigned spares;        /* workers ahead of time, of each GPU */
    unsigned stray_samples; /* busy without the turn, before the kill; 0: never */
    uint64_t health_ns;     /* from one look at the GPUs to the next; 0: none is made for that */
    struct lease_settings lease;
    struct memory_settings memory;
};

/* What NVML last said of a GPU. */
struct gpu_sample {
    bool known;
    uint64_t memory_used_bytes;
    struct gpu_facts facts;
};

/* What the launcher last said of the spare workers of a GPU. */
struct gpu_spares {
    uint32_t ready, failures;
    uint64_t adopted;
};

struct mediator {
    const struct mediator_settings *settings;
    struct loop *loop;
    uint64_t started_ns;
    struct config *config; /* NULL until the store has said hello */
    struct helper store, nvml;
    struct scan scan;
    bool has_nvml;
    struct link link;
    bool in_charge; /* what runs was adopted, VMs are listened to */
    struct accounts accounts;
    struct gpu *gpus[MEDIATOR_GPUS_MAX]; /* by gpu_id; NULL: never used */
    struct gpu_sample samples[MEDIATOR_GPUS_MAX];
    struct health health[MEDIATOR_GPUS_MAX]; /* checkup.c's */
    struct checkup checkup;
    struct doubt *doubts; /* doubt.c's */
    struct reset *resets; /* reset.c's */
    uint64_t resetting;   /* a bit per gpu_id: it is being reset, and gets no channel */
    uint64_t sampled_ns;
    struct loop_timer memory_timer; /* memory.c's: asks NVML */
    struct loop_timer stray_timer;  /* stray.c's, likewise */
    uint64_t facts_due_ns; /* until then the first word of NVML is waited for; 0: it has come */
    struct gpu_spares spares[MEDIATOR_GPUS_MAX];
    uint64_t spared_gpus; /* a bit per gpu_id: spares are asked for */
    bool spares_unsent;
    struct vm *vms;       /* those removed too, until their workers are gone */
    struct vm *vms_by_id; /* a hash of those that are not removed */
    struct admin admin;
    struct domains domains;
    struct dial dial;
    struct mediator_metrics metrics;
    struct events events;
    bool store_failing;         /* the last that was to be written was not */
    bool store_lost, nvml_lost; /* the helper has ended and not spoken since */
    uint32_t last_channel;
    bool stopping, stopped;
    struct loop_timer stop_timer;
    int exit_status;
    struct vgpu_log_limit guest_log;
};

/* Starts helpers and sockets. On error what was started is stopped by mediator_release(). */
int mediator_init(struct mediator *mediator, const struct mediator_settings *settings,
                  struct loop *loop, struct vgpu_err *err);
void mediator_release(struct mediator *mediator);

/* Ends all workers, then sets `stopped`. */
void mediator_stop(struct mediator *mediator);
/* Sets `stopped` at once: workers stay with the launcher, for the next mediator. */
void mediator_leave(struct mediator *mediator);
/* Makes config, which this takes, what is in force. */
void mediator_apply(struct mediator *mediator, struct config *config);
/* A child ended. */
/*
 * What was to be written was not, and why; NULL: it was. An event tells when that begins and ends.
 */
void mediator_note_store(struct mediator *mediator, const char *problem);
/* True of an error that is the disk's: trying again later may help. */
bool mediator_store_failed(const json_t *reply);
void mediator_reap(struct mediator *mediator);

struct gpu *mediator_gpu(struct mediator *mediator, uint32_t gpu_id);
/* False: what fails on it is not a VM's fault. */
bool mediator_gpu_ok(const struct mediator *mediator, uint32_t gpu_id);
/* The GPU for a new channel of the VM: 0, or -ENODEV with the cause for the guest. */
int mediator_place(struct mediator *mediator, const struct vm *vm, uint32_t *ret_gpu_id,
                   struct vgpu_err *err);
/* A number that no living channel has. */
uint32_t mediator_new_channel(struct mediator *mediator);

/* Which GPUs have spares may be another matter now. */
void mediator_update_spares(struct mediator *mediator);

/* Sends what the channel owes to the launcher; where there is no room now, later. */
void mediator_push(struct mediator *mediator, struct channel *channel);
/* A channel is gone, or a VM is: see whether stopping is complete. */
void mediator_check_stopped(struct mediator *mediator);

/* True if a line that a guest causes may be logged now. */
bool mediator_may_log(struct mediator *mediator);

#endif
