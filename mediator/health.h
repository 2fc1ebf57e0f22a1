/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How one GPU is, from what NVML says of it, what the configuration says, and the thresholds. No
 * I/O, and time is an argument. checkup.c feeds it and carries out what follows from a state.
 *
 * A state follows from what is known now. What ends by itself in the hardware (a temperature that
 * falls, a counter that a reset sets to 0) ends here too; a count of XID errors, which nothing but
 * an event tells of, stays until a reset or until an administrator resumes the GPU.
 */
#ifndef VGPU_MEDIATOR_HEALTH_H
#define VGPU_MEDIATOR_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#include "mediator/xid.h"
#include "store/threshold.h"

enum health_state {
    HEALTH_UNKNOWN, /* NVML has not said a word, or says none any more */
    HEALTH_OK,
    HEALTH_WARNING,
    HEALTH_DRAINING,  /* no new channels; those there go on */
    HEALTH_STOPPED,   /* nor leases: nothing runs until it is better */
    HEALTH_UNHEALTHY, /* likewise; lost, or nothing but a reset helps */
    HEALTH_MISSING,   /* likewise; it is not there */
    HEALTH_N_STATES
};

/* False: the move is illegal. A state never moves to itself. */
bool health_may_move(enum health_state from, enum health_state to);
const char *health_state_name(enum health_state state);

/* What a state allows. */
bool health_takes_channels(enum health_state state);
bool health_takes_leases(enum health_state state);

#define HEALTH_XIDS_MAX      16
#define HEALTH_NOT_KNOWN     (-1) /* of numbers below that are no double; of those, NaN */
#define HEALTH_REASON_BYTES  256
#define HEALTH_REASONS_MAX   20
#define HEALTH_THROTTLES_MAX 9
#define HEALTH_DRAIN_BYTES   257

/* What NVML says to do. */
enum health_recovery {
    HEALTH_RECOVERY_UNKNOWN = HEALTH_NOT_KNOWN,
    HEALTH_RECOVERY_NONE = 0,
    HEALTH_RECOVERY_RESET,
    HEALTH_RECOVERY_REBOOT,
    HEALTH_RECOVERY_DRAIN
};

/* One look by NVML. */
struct health_sample {
    bool listed; /* NVML shows the GPU at all; if not, nothing else is known */
    bool lost, reset_required;
    double temperature, temperature_memory, utilization, power_w, power_limit_w;
    int64_t memory_used_bytes, clock_sm_mhz, clock_memory_mhz;
    int64_t ecc_corrected, ecc_uncorrected, remapped_rows;
    int remap_pending, remap_failure; /* 0, 1 */
    int slowdown;                     /* slowdowns that the hardware forces */
    enum health_recovery recovery;
    unsigned n_throttle; /* HEALTH_THROTTLES_MAX + 1: not known */
    const char *throttle[HEALTH_THROTTLES_MAX];
    unsigned n_xids; /* since the last look */
    uint32_t xids[HEALTH_XIDS_MAX];
};

/* With which nothing is known. */
void health_sample_init(struct health_sample *sample);

/* What the configuration says of it. */
struct health_intent {
    bool present;
    bool drained;
    char drain_reason[HEALTH_DRAIN_BYTES];
    struct threshold_rule rules[THRESHOLD_N];
};

struct health {
    enum health_state state;
    int64_t since_s; /* when it came to that, s since 1970 */
    struct health_intent intent;
    struct health_sample sample;
    bool sampled;
    int64_t sampled_s;
    bool silent; /* NVML does not answer */
    char silence[HEALTH_REASON_BYTES];
    bool over[THRESHOLD_N];
    int64_t ecc_base;                  /* uncorrected errors that an administrator has accepted */
    uint32_t xid_warnings, xid_errors; /* that count */
    uint32_t xid_warning, xid_error, xid_fatal; /* the last of each; no fatal one counts: 0 */
    uint64_t xids_heard[XID_N_CLASSES];         /* of each class, ever */
    uint32_t last_xid;                          /* of any class; 0: there was none */
    int64_t last_xid_s;
    uint32_t resets;
};

/* rules: the thresholds' own. Not present, not sampled. */
void health_init(struct health *health);

/* Each of these returns true if the state is another now. */
bool health_take(struct health *health, const struct health_sample *sample, int64_t now_s);
bool health_configure(struct health *health, const struct health_intent *intent, int64_t now_s);
/* why: NULL if NVML's own silence. Ends with the next health_take(). */
bool health_fall_silent(struct health *health, const char *why, int64_t now_s);
/* An administrator accepts the XID errors and uncorrected ECC errors so far; a fatal one only while
 * NVML answers. */
bool health_resume(struct health *health, int64_t now_s);
/* It has been reset. */
bool health_was_reset(struct health *health, int64_t now_s);

/* The XID errors that count, in a word, and back: for who keeps them over a restart. */
uint64_t health_errors(const struct health *health);
bool health_recall_errors(struct health *health, uint64_t errors, int64_t now_s);

/* Something is wrong with the hardware: what fails on it is not held against a VM. */
bool health_is_suspect(const struct health *health);
/* Nothing that runs on it can go on: it is lost, or must be reset. */
bool health_is_gone(const struct health *health);

/* Why it is not ok, the gravest first. Returns how many. */
unsigned health_reasons(const struct health *health,
                        char texts[HEALTH_REASONS_MAX][HEALTH_REASON_BYTES]);

#endif
