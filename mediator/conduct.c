/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/conduct.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>

#include "mediator/doubt.h"
#include "mediator/mediator.h"
#include "mediator/watch.h"

/* A page that says more at once is not believed; the threshold is soon reached anyway. */
#define FAULTS_PER_LOOK 4

static void count_gpu_faults(struct channel *channel, uint32_t told)
{
    uint32_t news = told - channel->gpu_faults;

    channel->gpu_faults = told;
    if (news > FAULTS_PER_LOOK)
        news = FAULTS_PER_LOOK;
    for (; news > 0; news--)
        doubt_note(channel->vm, channel->gpu_id, FAULT_GPU, "a kernel failed on the GPU");
}

void conduct_adopt(struct channel *channel)
{
    struct channel_report report;

    channel_report(channel, &report);
    channel->gpu_faults = report.gpu_faults;
}

void conduct_look(struct channel *channel, const struct channel_report *report)
{
    const char *what = watch_contradiction(channel, report);
    char text[VGPU_STATUS_TEXT_BYTES];

    if (report->gpu_faults != channel->gpu_faults)
        count_gpu_faults(channel, report->gpu_faults);
    if (!what)
        return;
    snprintf(text, sizeof(text), "the worker was killed: %s", what);
    vm_fault_channel(channel, FAULT_BUDGET, VGPU_KILLED, text);
}

/* A processor's exception, the sandbox, the limit on processor time: what its guest brought up. */
static bool is_crash(int number)
{
    return number == SIGSEGV || number == SIGBUS || number == SIGILL || number == SIGFPE ||
           number == SIGSYS || number == SIGXCPU;
}

void conduct_ended(const struct channel *channel)
{
    char text[VGPU_STATUS_TEXT_BYTES + 32];

    bool late = channel->state == CHANNEL_KILLING && channel->end_status == VGPU_DRIVER;

    if (channel->state != CHANNEL_SPAWNING && channel->state != CHANNEL_LOADING && !late)
        return;
    snprintf(text, sizeof(text), "channel %" PRIu32 ": %s", channel->number, channel->end_text);
    events_add_guest(channel->vm, EVENT_CHANNEL_REFUSED, EVENT_WARNING, text);
}

void conduct_exited(struct channel *channel, const struct vgpu_launch_exited *exited)
{
    bool served = channel->state == CHANNEL_OPEN || channel->state == CHANNEL_ORPHAN;
    char text[64];

    if (channel->end_status == VGPU_BAD_RECORD) {
        fault_note(channel->vm, FAULT_RING, channel->end_text);
    } else if (served && !exited->killed && is_crash(exited->signal)) {
        snprintf(text, sizeof(text), "a worker died of signal %d", exited->signal);
        doubt_note(channel->vm, channel->gpu_id, FAULT_CRASH, text);
    }
}
