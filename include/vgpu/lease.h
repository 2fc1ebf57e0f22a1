/* SPDX-License-Identifier: GPL-2.0-or-later OR Apache-2.0 */
/*
 * Two pages between the mediator and each worker. The lease page is written by the mediator; the
 * worker has it by a read-only descriptor. The report page is written by the worker, and is hostile
 * to the mediator: each field is loaded once, and used for speed and for show only. Behind it, in
 * the same object, lie the times of the channel's jobs (times.h).
 *
 * Each has an eventfd that kicks its reader: the mediator after it changed the lease page, the
 * worker after it changed what the mediator waits for (need, turn_ending, turn_done, state).
 */
#ifndef VGPU_LEASE_H
#define VGPU_LEASE_H

#include "status.h"
#include "types.h"
#include "version.h"

#define VGPU_LEASE_LAYOUT 3u
#define VGPU_LEASE_BYTES  4096u
#define VGPU_TURN_GRANTED 1ull /* bit of `turn`; the rest counts the changes */

#define VGPU_LEASE_QUARANTINED 0x1u /* take no job */
#define VGPU_LEASE_STOP        0x2u /* end: drain, answer, exit */
#define VGPU_LEASE_NO_GPU      0x4u /* nothing runs for now: refuse explicit jobs, NO_GPU */

/* What a channel has used up of what it was granted. */
#define VGPU_WANT_JOBS  0x1u /* jobs_allowed are taken */
#define VGPU_WANT_DEPTH 0x2u /* depth_max are taken and not done */
#define VGPU_WANT_BYTES 0x4u /* a copy waits for bytes_max */

/* Limits that hold jobs back, for counters. */
enum vgpu_limit {
    VGPU_LIMIT_RATE = 0,
    VGPU_LIMIT_DEPTH = 1,
    VGPU_LIMIT_BYTES = 2,
    VGPU_LIMIT_QUARANTINE = 3,
    VGPU_LIMIT_COUNT = 4
};

struct vgpu_lease_page {
    uint32_t magic;
    uint32_t layout;
    /*
     * (count << 1) | granted. A worker hands work to the driver only while granted is set. When it
     * is cleared the worker issues nothing more, waits until all that it issued is done, and then
     * stores the value in turn_done.
     */
    uint64_t turn;
    uint32_t contended; /* 1: others wait; tell at once when need falls to VGPU_NEED_NOTHING */
    uint32_t flags;     /* VGPU_LEASE_* */
    uint32_t inflight_max_jobs;  /* jobs issued and not done, while contended */
    uint32_t depth_max;          /* jobs taken and not done; explicit ones beyond it are BUSY */
    uint64_t inflight_max_ns;    /* the same by estimated time */
    uint64_t jobs_allowed;       /* explicit and posted jobs in all, free running (rate limit) */
    uint64_t memory_quota_bytes; /* the most device memory that it could ever hold; 0: no limit */
    uint64_t retry_ns;           /* hint that goes with BUSY */
    uint64_t bytes_max; /* of copies handed to the GPU and not done; 0: no limit. One alone may be
                           larger */
    uint32_t ask;       /* VGPU_WANT_* that the worker tells, once for each value that it used up */
    uint32_t grant;     /* counts the changes of what is granted */
    uint8_t reserved[1024 - 80];
    /*
     * Device memory, while memory_quota_bytes is not 0. What the VM may hold is split among its
     * channels; one that needs more than its part asks by the report page. A worker loads
     * memory_change before memory_grant_bytes.
     */
    uint64_t memory_grant_bytes;   /* it may hold this much now */
    uint64_t memory_change;        /* counts the changes of memory_grant_bytes */
    uint64_t memory_answer;        /* memory_ask << 1 | granted, of the last ask answered */
    uint64_t memory_ceiling_bytes; /* what it could hold at most, as of that answer */
    uint64_t memory_context_bytes; /* what each context is counted as */
    uint8_t reserved_memory[4096 - 1064];
};
VGPU_ASSERT_SIZE(struct vgpu_lease_page, 4096);

enum vgpu_need {
    VGPU_NEED_NOTHING = 0, /* nothing to issue and nothing in flight */
    VGPU_NEED_GPU = 1      /* a job waits for the turn, or is in flight */
};

enum vgpu_worker_state {
    VGPU_WORKER_STARTING = 0,
    VGPU_WORKER_READY = 1,
    VGPU_WORKER_ENDED = 2 /* reason and text say why; the process exits next */
};

struct vgpu_report_page {
    uint32_t magic;
    uint32_t layout;
    uint32_t state;     /* enum vgpu_worker_state */
    uint32_t reason;    /* enum vgpu_status, once ended */
    uint32_t need;      /* enum vgpu_need */
    uint32_t depth;     /* jobs taken and not done */
    uint64_t turn_done; /* the last value of turn that was carried out */
    uint64_t jobs_taken;
    uint64_t jobs_done;
    uint64_t jobs_failed;
    uint64_t jobs_refused;
    uint64_t busy_ns;      /* time with work in flight */
    uint64_t wait_ns;      /* time that jobs waited for the turn, summed */
    uint64_t memory_bytes; /* device memory that the guest holds */
    uint64_t bytes_to_device;
    uint64_t bytes_from_device;
    uint64_t
        oldest_issued_ns; /* CLOCK_MONOTONIC when the oldest job in flight was issued; 0: none */
    char text[VGPU_STATUS_TEXT_BYTES];
    uint64_t guest_process; /* its number as the guest process says; 0: it did not */
    uint64_t guest_pid_namespace;
    uint64_t bytes_in_flight; /* of copies handed to the GPU and not done */
    uint32_t wants;           /* VGPU_WANT_*, as far as the lease page asks */
    uint32_t gpu_faults;      /* contexts that an error of the guest's own work has spoilt */
    uint32_t grant_seen;      /* the value of grant at the start of the last round */
    uint32_t reserved0;
    uint64_t refused_by[VGPU_LIMIT_COUNT]; /* explicit jobs; quarantine: posted ones too */
    uint64_t held_by[VGPU_LIMIT_COUNT];    /* times that posted jobs had to wait */
    uint64_t turn_ending; /* the last value of turn of which all but little was carried out */
    uint8_t reserved[1024 - 224 - VGPU_STATUS_TEXT_BYTES];
    /*
     * Device memory. It keeps within memory_bound_bytes, which follows from the grant at
     * memory_seen; more than the grant only while it held more when that fell. An ask is there
     * while memory_ask is not what was answered.
     */
    uint64_t memory_bound_bytes;
    uint64_t memory_seen;          /* memory_change, as it was when the bound was made */
    uint64_t memory_wanted_bytes;  /* wants to hold this much; 0: only wants the ceiling */
    uint64_t memory_ask;           /* counts the asks */
    uint64_t memory_done;          /* the last ask whose call has gone on with its answer */
    uint64_t memory_spare_bytes;   /* of memory_bytes, what pools keep and is not in use */
    uint64_t memory_context_bytes; /* predicted beside memory_bytes: contexts and their growth, */
    uint64_t memory_module_bytes;  /* code and variables of modules, */
    uint64_t memory_graph_bytes;   /* executable graphs */
    uint8_t reserved_memory[4096 - 1096];
};
VGPU_ASSERT_SIZE(struct vgpu_report_page, 4096);

#endif
