/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/rest.h"

#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>

#include "worker/channel.h"

/* After the last progress: how long the holder of the turn polls. */
#define SPIN_NS (50 * VGPU_NS_PER_US)

/*
 * Sleeps while something is in flight: a part of the time since the last progress, so that the end
 * of long work is noticed late by no more than that part of it; within bounds. What is waited for
 * is slept for in larger parts until shortly before it should end, and then polled for.
 */
#define SLEEP_PART        64
#define SLEEP_PART_BEFORE 8
#define SLEEP_MAX_NS      VGPU_NS_PER_MS
#define SLEEP_MIN_NS      (10 * VGPU_NS_PER_US)
#define DUE_PART          16
#define DUE_MIN_NS        (50 * VGPU_NS_PER_US)
#define DUE_MAX_NS        (500 * VGPU_NS_PER_US)

/* After that long without progress, polling gives way to others on this processor. */
#define YIELD_NS (8 * VGPU_NS_PER_US)

static void pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static bool has_marks(const struct channel *channel)
{
    for (const struct stream *stream = channel->active; stream; stream = stream->next_active)
        if (stream->marks || stream->events.first)
            return true;
    return false;
}

static void look_at_events(struct channel *channel)
{
    struct epoll_event events[8];
    int count = epoll_wait(channel->epoll, events, 8, 0);

    for (int i = 0; i < count; i++) {
        if (events[i].data.fd == channel->lifeline && (events[i].events & (EPOLLHUP | EPOLLERR)))
            channel_end(channel, VGPU_GONE, "the launcher is gone");
        else if (channel->granted.ops && events[i].data.fd == channel->granted.events)
            granted_take(&channel->granted);
    }
}

static void sleep_for(struct channel *channel, const struct timespec *timeout)
{
    struct pollfd waiting = {.fd = channel->epoll, .events = POLLIN};

    if (ppoll(&waiting, 1, timeout, NULL) > 0)
        look_at_events(channel);
}

static uint64_t within(uint64_t ns, uint64_t least, uint64_t most)
{
    if (ns < least)
        return least;
    return ns < most ? ns : most;
}

uint64_t rest_ns(uint64_t progress_ns, uint64_t now_ns, uint64_t due_ns)
{
    uint64_t elapsed_ns = now_ns - progress_ns;
    uint64_t lead_ns = 0;

    if (due_ns != UINT64_MAX && due_ns > progress_ns)
        lead_ns = within((due_ns - progress_ns) / DUE_PART, DUE_MIN_NS, DUE_MAX_NS);
    if (lead_ns == 0 || now_ns > due_ns + lead_ns)
        return within(elapsed_ns / SLEEP_PART, SLEEP_MIN_NS, SLEEP_MAX_NS);
    if (now_ns + lead_ns + SLEEP_MIN_NS > due_ns)
        return 0;
    return within(elapsed_ns / SLEEP_PART_BEFORE, SLEEP_MIN_NS, due_ns - lead_ns - now_ns);
}

/* What is polled for: what somebody waits for, and who has the turn next does. */
static uint64_t due_ns(const struct channel *channel)
{
    uint64_t due = streams_due_ns(channel), end;

    if (!turn_drains(channel) || !channel->turn.contended)
        return due;
    end = streams_end_ns(channel);
    if (channel->turn.ending_told != channel->turn.seen && end != UINT64_MAX)
        end = end > TURN_ENDING_NS ? end - TURN_ENDING_NS : 0;
    return end < due ? end : due;
}

static uint64_t sleep_ns(const struct channel *channel)
{
    return rest_ns(channel->progress_ns, channel->now_ns, due_ns(channel));
}

static void sleep_while_busy(struct channel *channel, uint64_t ns)
{
    struct timespec timeout = {.tv_sec = (time_t)(ns / VGPU_NS_PER_S),
                               .tv_nsec = (long)(ns % VGPU_NS_PER_S)};

    sleep_for(channel, &timeout);
}

/* One turn of polling: at once if somebody waits for what is in flight. */
static void poll_once(struct channel *channel)
{
    bool awaited = channel->event_waits || channel->snapshot.recorded > 0 ||
                   streams_due_ns(channel) != UINT64_MAX;

    for (int i = 0; i < 8 && !awaited && ring_ready(&channel->submission) == 0; i++)
        pause_cpu();
    /* The one that is waited for may want this very processor. */
    if (channel->now_ns - channel->progress_ns > YIELD_NS && ring_ready(&channel->submission) == 0)
        sched_yield();
}

/* True while something is in flight whose end only polling shows. */
static bool must_look(const struct channel *channel)
{
    return has_marks(channel) || channel->event_waits || channel->closing;
}

void rest(struct channel *channel)
{
    bool reads = turn_may_read(channel) && backlog_has_room(&channel->backlog);
    uint64_t ns = 0;

    channel->now_ns = vgpu_clock_ns();
    stages_rest(&channel->stages, channel->now_ns);
    if (turn_granted(channel) && channel->now_ns - channel->progress_ns < SPIN_NS) {
        poll_once(channel);
        return;
    }
    streams_cover(channel);
    if (must_look(channel) && (ns = sleep_ns(channel)) == 0) {
        poll_once(channel);
        return;
    }
    if (reads && !ring_consumer_arm(&channel->submission))
        return;
    stages_tell(&channel->stages, channel->map.page);
    if (ns > 0)
        sleep_while_busy(channel, ns);
    else
        sleep_for(channel, NULL);
    stages_slept(&channel->stages, vgpu_clock_ns());
    if (reads)
        ring_consumer_disarm(&channel->submission);
}
