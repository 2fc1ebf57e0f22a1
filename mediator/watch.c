/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/watch.h"

#include <stddef.h>

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* For how long the oldest job has run, as far as it is known; beside another VM it has half. */
static uint64_t job_age(const struct watch_view *view, uint64_t oldest_ns)
{
    uint64_t age = oldest_ns && oldest_ns < view->now_ns ? view->now_ns - oldest_ns : 0;

    if (view->overrun_ns && oldest_ns)
        age -= min_u64(age, (view->now_ns - view->overrun_ns) / 2);
    return age;
}

static struct watch_answer kill_for(enum fault_kind kind, enum vgpu_status status, const char *text)
{
    return (struct watch_answer){
        .verdict = WATCH_KILL, .kind = kind, .status = status, .text = text};
}

static struct watch_answer timed_out(void)
{
    return kill_for(FAULT_TIMEOUT, VGPU_TIMEOUT, "a job ran over its time limit and was killed");
}

/* A turn was taken back, and the worker has not said that it has carried that out. */
static struct watch_answer look_draining(const struct watch_view *view,
                                         const struct channel_report *report)
{
    uint64_t asked_ns = view->now_ns - view->revoked_ns;
    uint64_t backstop_ns = 2 * view->job_timeout_ns, age, left_ns;

    if (report->oldest_issued_ns == 0 || report->need == VGPU_NEED_NOTHING) {
        if (view->was_busy) /* it has just run to its end */
            return (struct watch_answer){.due_ns = view->now_ns + view->drain_ns};
        if (asked_ns >= view->drain_ns)
            return kill_for(FAULT_KEPT, VGPU_KILLED,
                            "the worker was killed: it did not give back the GPU");
        return (struct watch_answer){.due_ns = view->revoked_ns + view->drain_ns};
    }
    /* What is in flight may run to its end, but no longer than a job may: the backstop is for a
     * worker that says of each moment that a new job has begun. */
    age = job_age(view, report->oldest_issued_ns);
    if (age >= view->job_timeout_ns || asked_ns >= backstop_ns)
        return timed_out();
    left_ns = min_u64(view->job_timeout_ns - age, backstop_ns - asked_ns);
    return (struct watch_answer){.due_ns = view->now_ns + min_u64(left_ns, view->drain_ns)};
}

struct watch_answer watch_look(const struct watch_view *view, const struct channel_report *report)
{
    uint64_t age;

    if (view->revoked)
        return look_draining(view, report);
    age = job_age(view, report->oldest_issued_ns);
    if (age >= view->job_timeout_ns)
        return timed_out();
    if (report->need == VGPU_NEED_NOTHING && report->jobs_taken == view->jobs_checked)
        return (struct watch_answer){.verdict = WATCH_IDLE};
    return (struct watch_answer){.due_ns = view->now_ns + view->job_timeout_ns - age};
}

const char *watch_contradiction(const struct channel *channel, const struct channel_report *report)
{
    const struct channel_grant *grant = &channel->grant;

    if (report->jobs_taken < grant->spent)
        return "it took back what it had counted";
    if (report->jobs_done > report->jobs_taken ||
        report->jobs_failed > report->jobs_taken - report->jobs_done)
        return "it counted more jobs done than taken";
    if (report->turn_done > channel->turn)
        return "it spoke of a turn that it never had";
    /* One more each: the posted job that a guest sent against its credit, which waits. */
    if (grant->jobs_most < UINT64_MAX && report->jobs_taken > grant->jobs_most + 1)
        return "it took more jobs than it was granted";
    if (grant->depth_most < UINT32_MAX && report->depth > (uint64_t)grant->depth_most + 1)
        return "it took in more jobs at once than it was granted";
    return NULL;
}
