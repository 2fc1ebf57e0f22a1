/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The turn: when the mediator lets this channel hand work to the GPU, what is in flight meanwhile,
 * and what the report page says about it.
 *
 * Jobs are issued only while granted. A revoke is carried out (turn_done) when all that was issued
 * is done. While others wait, what is in flight is capped by count and by estimated time.
 */
#ifndef VGPU_WORKER_TURN_H
#define VGPU_WORKER_TURN_H

#include <stdbool.h>
#include <stdint.h>
#include <vgpu/lease.h>

struct channel;
struct batch;

/* Why a job was refused when it was taken. */
enum admission { ADMIT, ADMIT_LATER, REFUSE_BUSY, REFUSE_QUARANTINED, REFUSE_NO_GPU };

struct turn {
    uint64_t seen;        /* lease->turn at the start of this round */
    uint64_t done_told;   /* report->turn_done */
    uint64_t ending_told; /* report->turn_ending */
    uint32_t flags, grant;
    bool contended;
    bool wants; /* a job waits for the turn */
    uint32_t need;
    bool fall_told; /* the mediator was kicked for a need that fell */
    uint32_t units; /* in flight */
    uint64_t estimate_ns;
    uint64_t busy_since_ns;
    uint64_t jobs_seen;  /* job records taken from the ring, refused ones too */
    uint64_t jobs_taken; /* admitted */
    uint64_t jobs_done, jobs_failed, jobs_refused;
    uint64_t busy_ns, wait_ns;
    uint64_t copy_ns_per_mib;   /* measured; 0: not yet */
    bool stalled;               /* a posted job over a limit was taken: read no further */
    uint64_t bytes;             /* of copies in flight */
    bool bytes_short;           /* a copy waits for them */
    uint32_t wants_told, spent; /* VGPU_WANT_*: as reported; used up, as counted in held_by */
    uint64_t told_at[3];        /* by enum vgpu_limit: what was used up when it was told */
    uint64_t refused_by[VGPU_LIMIT_COUNT], held_by[VGPU_LIMIT_COUNT];
};

void turn_init(struct channel *channel);

/* Loads the lease page for this round. True if something changed. */
bool turn_load(struct channel *channel);
bool turn_granted(const struct channel *channel);

/* The turn was revoked, and what is in flight is waited for. */
bool turn_drains(const struct channel *channel);

/*
 * How long before the end of what it has in flight a worker tells of that: what a hand-over takes
 * until the next one's work is at the GPU (wake-ups of the mediator and of the next worker, 40 to
 * 50 us each on a virtual machine's processors, and a launch).
 */
#define TURN_ENDING_NS (150 * VGPU_NS_PER_US)

/* True if the lease page is not as it was when it was loaded. */
bool turn_changed(const struct channel *channel);

/* Counts a job record. *ret_job is its number if it is admitted. */
enum admission turn_admit(struct channel *channel, bool is_explicit, uint64_t *ret_job);

/* True if jobs may still be read. Clears `stalled` when the limits allow. */
bool turn_may_read(struct channel *channel);

/* How many units may be in flight. */
uint32_t turn_most_units(const struct channel *channel);

/*
 * True if a job of that estimate and number may be issued now; says that one waits if not. One that
 * was never measured (estimate 0) is alone in flight while others wait.
 */
bool turn_allows(struct channel *channel, uint64_t estimate_ns, uint64_t job);

/* True if a piece of a copy of that size may be in flight too. */
bool turn_has_bytes(struct channel *channel, uint64_t bytes);

uint64_t turn_copy_estimate(const struct channel *channel, uint64_t bytes);

/* What a batch of copies that took run_ns says of the time for a MiB. */
uint64_t turn_copy_sample(const struct batch *batch, uint64_t run_ns);

/* Work went into the driver, and came out of it. */
void turn_issued(struct channel *channel, uint64_t estimate_ns, uint64_t copy_bytes);
void turn_finished(struct channel *channel, const struct batch *batch, uint64_t run_ns,
                   bool failed);

/* A job that never reached the GPU is over. */
void turn_job_over(struct channel *channel, bool failed);

/* Tells the guest how many jobs it may have submitted. Returns by how much that has grown. */
uint64_t turn_tell_credit(struct channel *channel);

/* At the end of a round: need, turn_done, counters; kicks the mediator where it waits. */
void turn_publish(struct channel *channel, bool ring_empty);

#endif
