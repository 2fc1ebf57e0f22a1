/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/loop.h"

#include <errno.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"

#define EVENTS_MAX 64
#define HEAP_FIRST 64

struct loop {
    loop_clock_fn *clock;
    void *clock_context;
    int epoll, timerfd;
    uint64_t armed_ns; /* what timerfd is set to; UINT64_MAX: nothing */
    struct epoll_event events[EVENTS_MAX];
    int n_events, next_event; /* of the batch that is being handled */
    struct loop_timer **heap; /* heap[1] is due first */
    unsigned n_timers, heap_size;
    void (*turned)(void *context, uint64_t took_ns);
    void *turned_context;
};

static uint64_t monotonic(void *context)
{
    return vgpu_clock_ns();
}

struct loop *loop_new(loop_clock_fn *clock, void *context, struct vgpu_err *err)
{
    struct loop *loop = calloc(1, sizeof(*loop));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};

    if (!loop) {
        vgpu_err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    loop->clock = clock ? clock : monotonic;
    loop->clock_context = context;
    loop->armed_ns = UINT64_MAX;
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    loop->timerfd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (loop->epoll < 0 || loop->timerfd < 0 ||
        epoll_ctl(loop->epoll, EPOLL_CTL_ADD, loop->timerfd, &event) < 0) {
        vgpu_err_set(err, errno, "cannot make the event loop: %s", strerror(errno));
        loop_free(loop);
        return NULL;
    }
    return loop;
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    vgpu_close(&loop->timerfd);
    vgpu_close(&loop->epoll);
    free(loop->heap);
    free(loop);
}

uint64_t loop_now(const struct loop *loop)
{
    return loop->clock(loop->clock_context);
}

int loop_watch_add(struct loop *loop, struct loop_watch *watch, int fd, uint32_t events,
                   void (*ready)(void *context, uint32_t events), void *context)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};

    if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        return -errno;
    *watch = (struct loop_watch){
        .ready = ready, .context = context, .fd = fd, .events = events, .active = true};
    return 0;
}

void loop_watch_modify(struct loop *loop, struct loop_watch *watch, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};

    if (!watch->active || watch->events == events)
        return;
    watch->events = events;
    epoll_ctl(loop->epoll, EPOLL_CTL_MOD, watch->fd, &event);
}

void loop_watch_remove(struct loop *loop, struct loop_watch *watch)
{
    if (!watch->active)
        return;
    epoll_ctl(loop->epoll, EPOLL_CTL_DEL, watch->fd, NULL);
    watch->active = false;
    /* What is still to come of this batch must not find it: it may be freed. */
    for (int i = loop->next_event; i < loop->n_events; i++)
        if (loop->events[i].data.ptr == watch)
            loop->events[i].events = 0;
}

static void place(struct loop *loop, unsigned i, struct loop_timer *timer)
{
    loop->heap[i] = timer;
    timer->place = i;
}

static void sift(struct loop *loop, unsigned i, struct loop_timer *timer)
{
    unsigned child;

    for (; i > 1 && loop->heap[i / 2]->due_ns > timer->due_ns; i /= 2)
        place(loop, i, loop->heap[i / 2]);
    for (; (child = 2 * i) <= loop->n_timers; i = child) {
        if (child < loop->n_timers && loop->heap[child + 1]->due_ns < loop->heap[child]->due_ns)
            child++;
        if (loop->heap[child]->due_ns >= timer->due_ns)
            break;
        place(loop, i, loop->heap[child]);
    }
    place(loop, i, timer);
}

static int grow_heap(struct loop *loop)
{
    unsigned size = loop->heap_size ? 2 * loop->heap_size : HEAP_FIRST;
    struct loop_timer **heap;

    if (loop->n_timers + 1 < loop->heap_size)
        return 0;
    heap = realloc(loop->heap, size * sizeof(*heap));
    if (!heap)
        return -ENOMEM;
    loop->heap = heap;
    loop->heap_size = size;
    return 0;
}

int loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t due_ns)
{
    if (timer->place == 0) {
        if (grow_heap(loop) < 0)
            return -ENOMEM;
        timer->place = ++loop->n_timers;
        loop->heap[timer->place] = timer;
    }
    timer->due_ns = due_ns;
    sift(loop, timer->place, timer);
    return 0;
}

void loop_timer_clear(struct loop *loop, struct loop_timer *timer)
{
    unsigned i = timer->place;
    struct loop_timer *last;

    if (i == 0)
        return;
    timer->place = 0;
    last = loop->heap[loop->n_timers--];
    if (last != timer)
        sift(loop, i, last);
}

uint64_t loop_next_due(const struct loop *loop)
{
    return loop->n_timers ? loop->heap[1]->due_ns : UINT64_MAX;
}

/* Only before a wait, and only if the first timer is another one: most are moved many times. */
static void arm(struct loop *loop)
{
    uint64_t due = loop_next_due(loop);
    struct itimerspec spec = {.it_value.tv_nsec = 0};

    if (due == loop->armed_ns)
        return;
    loop->armed_ns = due;
    if (due != UINT64_MAX) {
        spec.it_value.tv_sec = (time_t)(due / VGPU_NS_PER_S);
        spec.it_value.tv_nsec = (long)(due % VGPU_NS_PER_S);
        if (due == 0)
            spec.it_value.tv_nsec = 1; /* zero would disarm it */
    }
    timerfd_settime(loop->timerfd, TFD_TIMER_ABSTIME, &spec, NULL);
}

static void fire_due(struct loop *loop)
{
    uint64_t now = loop_now(loop);

    while (loop->n_timers && loop->heap[1]->due_ns <= now) {
        struct loop_timer *timer = loop->heap[1];

        loop_timer_clear(loop, timer);
        timer->fire(timer->context);
    }
}

static void timer_expired(struct loop *loop)
{
    uint64_t count;

    if (read(loop->timerfd, &count, sizeof(count)) == sizeof(count))
        loop->armed_ns = UINT64_MAX;
}

void loop_measure(struct loop *loop, void (*turned)(void *context, uint64_t took_ns), void *context)
{
    loop->turned = turned;
    loop->turned_context = context;
}

int loop_turn(struct loop *loop, bool wait)
{
    uint64_t began_ns;

    arm(loop);
    loop->n_events = epoll_wait(loop->epoll, loop->events, EVENTS_MAX, wait ? -1 : 0);
    if (loop->n_events < 0) {
        loop->n_events = 0;
        if (errno != EINTR)
            return -errno;
    }
    began_ns = loop->turned ? loop_now(loop) : 0;
    for (loop->next_event = 0; loop->next_event < loop->n_events;) {
        struct epoll_event event = loop->events[loop->next_event++];
        struct loop_watch *watch = event.data.ptr;

        if (!watch)
            timer_expired(loop);
        else if (event.events)
            watch->ready(watch->context, event.events);
    }
    loop->n_events = loop->next_event = 0;
    fire_due(loop);
    if (loop->turned)
        loop->turned(loop->turned_context, loop_now(loop) - began_ns);
    return 0;
}
