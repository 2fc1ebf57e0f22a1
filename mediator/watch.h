/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watching what has the turn: what is to be done about it now, and when to look again. lease.c asks
 * whenever its timer fires; nothing here acts. The report is a worker's word: it can shorten what
 * the worker may do, and lengthen it up to a bound by the mediator's own clock.
 */
#ifndef VGPU_MEDIATOR_WATCH_H
#define VGPU_MEDIATOR_WATCH_H

#include "mediator/channel.h"
#include "mediator/fault.h"

struct watch_view {
    uint64_t now_ns;
    uint64_t job_timeout_ns; /* of a job's own GPU time; twice that by the clock after a revoke */
    uint64_t drain_ns;       /* for a worker that has nothing in flight to give its turn back */
    uint64_t overrun_ns;     /* since when it runs beside another VM, with half of the GPU; 0 */
    bool revoked;
    uint64_t revoked_ns;
    uint64_t jobs_checked; /* jobs_taken at the last look */
    bool was_busy;         /* something was in flight then, or when the turn was taken back */
};

enum watch_verdict {
    WATCH_ON,   /* look again at due_ns */
    WATCH_IDLE, /* idle since the last look: the turn need not be watched any more */
    WATCH_KILL,
};

struct watch_answer {
    enum watch_verdict verdict;
    uint64_t due_ns;
    enum fault_kind kind;
    enum vgpu_status status;
    const char *text;
};

struct watch_answer watch_look(const struct watch_view *view, const struct channel_report *report);

/*
 * What no worker of ours can say: NULL, or what it is. Each field is loaded once, in an order in
 * which no honest worker's stores can look so.
 */
const char *watch_contradiction(const struct channel *channel, const struct channel_report *report);

#endif
