/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/libvgpu/receive.h"

#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/flag.h"
#include "guest/libvgpu/callback.h"
#include "guest/libvgpu/guest.h"
#include "guest/libvgpu/mirror.h"
#include "guest/libvgpu/status_result.h"
#include "guest/libvgpu/thread.h"
#include "ring/pages.h"

/* An answer that takes longer than this is slept for; measured: a sleep costs some 10 us. */
#define SPIN_NS     (20 * VGPU_NS_PER_US)
#define SPIN_MISSES 4

static void kick(int fd)
{
    uint64_t one = 1;
    ssize_t n = write(fd, &one, sizeof(one));

    (void)n; /* a full counter wakes as well */
}

/* The functions named *_locked are called with wait_lock held. */

static void progress_locked(struct sender *sender)
{
    sender->progress++;
    for (struct waiter *waiter = sender->waiters; waiter; waiter = waiter->next)
        if (waiter->on_progress)
            pthread_cond_signal(&waiter->cond);
}

static void settle_locked(struct sender *sender, struct ticket *ticket, CUresult result)
{
    ticket->result = result;
    ticket->done = true;
    if (ticket->posted && result != CUDA_SUCCESS && sender->late_error == CUDA_SUCCESS) {
        sender->late_error = result;
        vgpu_flag_set(&sender->late, 1);
    }
    if (ticket->waiter)
        pthread_cond_signal(&ticket->waiter->cond);
}

static struct ticket *take_ticket_locked(struct sender *sender, uint64_t seq)
{
    for (struct ticket **at = &sender->open; *at; at = &(*at)->next) {
        struct ticket *ticket = *at;

        if (ticket->seq == seq) {
            *at = ticket->next;
            sender->open_count--;
            return ticket;
        }
    }
    return NULL;
}

/* An answer that nobody asked for is dropped: it can only come from a worker that misbehaves. */
static void reply_locked(struct sender *sender, const struct vgpu_completion *completion)
{
    struct ticket *ticket = take_ticket_locked(sender, completion->seq);

    if (!ticket)
        return;
    ticket->status = completion->status;
    ticket->wait_ns = completion->wait_ns;
    ticket->run_ns = completion->run_ns;
    if (ticket->answer) {
        memcpy(ticket->answer, completion, completion->size_bytes);
        ticket->answer_bytes = completion->size_bytes;
    }
    settle_locked(sender, ticket,
                  completion->result ? (CUresult)completion->result
                                     : status_result(completion->status));
}

static void print_text(const struct vgpu_completion *completion, FILE *file)
{
    size_t bytes = completion->size_bytes - sizeof(*completion);
    const char *text = (const char *)(completion + 1);

    /* Padded to 8 with NULs. */
    while (bytes > 0 && text[bytes - 1] == '\0')
        bytes--;
    fwrite(text, 1, bytes, file);
    fflush(file);
}

/* The device has brought it already. */
static void note_written(struct sender *sender, const struct vgpu_completion *completion)
{
    struct vgpu_written written;

    if (!sender->mirror || completion->size_bytes != sizeof(*completion) + sizeof(written))
        return;
    memcpy(&written, completion + 1, sizeof(written));
    mirror_expect_no_more(sender, written.offset);
}

static void dispatch(struct sender *sender, const struct vgpu_completion *completion)
{
    if (completion->kind == VGPU_COMPLETION_WRITTEN)
        note_written(sender, completion);
    if (completion->kind == VGPU_COMPLETION_PRINT)
        print_text(completion, stdout);
    if (completion->kind == VGPU_COMPLETION_PRINT_ERROR)
        print_text(completion, stderr);
    pthread_mutex_lock(&sender->wait_lock);
    if (completion->kind == VGPU_COMPLETION_REPLY || completion->kind == VGPU_COMPLETION_CALLBACK)
        page_store_u64(&sender->answers, sender->answers + 1);
    if (completion->kind == VGPU_COMPLETION_REPLY)
        reply_locked(sender, completion);
    else if (completion->kind == VGPU_COMPLETION_CALLBACK)
        callback_due_locked(sender, completion->seq, (CUresult)completion->result);
    progress_locked(sender);
    pthread_mutex_unlock(&sender->wait_lock);
}

/* Takes all that is there. Called by the leader. Returns how many. */
static size_t take_all(struct sender *sender)
{
    size_t count = 0;

    for (;;) {
        size_t size = 0;
        bool wake = false;
        int status = ring_consume(&sender->completion, sender->scratch, sizeof(sender->scratch),
                                  &size, &wake);

        if (wake)
            sender_kick(sender);
        if (status == 0)
            return count;
        if (status < 0 || size < sizeof(struct vgpu_completion)) {
            guest_note_failure(VGPU_INTERNAL, "the worker wrote a malformed completion");
            receive_fail(sender, CUDA_ERROR_UNKNOWN);
            return count;
        }
        dispatch(sender, (const struct vgpu_completion *)sender->scratch);
        vgpu_flag_set(&sender->dispatched, sender->completion.tail);
        count++;
    }
}

static void pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static bool look_often(struct sender *sender)
{
    for (int i = 0; i < 32; i++) {
        if (ring_ready(&sender->completion) != 0)
            return true;
        pause_cpu();
    }
    return false;
}

/* The first spin of a wait. */
static bool spin(struct sender *sender)
{
    uint64_t end = vgpu_clock_ns() + SPIN_NS;

    if (!sender->spins)
        return false;
    do {
        if (look_often(sender))
            return true;
    } while (vgpu_clock_ns() < end);
    if (++sender->spin_misses >= SPIN_MISSES)
        sender->spins = false;
    return false;
}

/* For how long to sleep now at most; 0: an answer came, or may have. */
static uint64_t poll_or_rest(struct sender *sender, const struct waiter *waiter)
{
    uint64_t rest = PATIENCE_FOREVER;

    while (sender->may_spin &&
           (rest = patience_rest_ns(&waiter->patience, vgpu_clock_ns() - waiter->began_ns)) == 0) {
        if (look_often(sender))
            return 0;
        /* It is long since: the worker, or the GPU where that is a processor, may want this one. */
        sched_yield();
    }
    return rest;
}

static void sleep_for_kick(struct sender *sender, uint64_t limit_ns)
{
    struct pollfd events[] = {{.fd = sender->completion_kick, .events = POLLIN},
                              {.fd = sender->own_kick, .events = POLLIN}};
    struct timespec limit = {.tv_sec = (time_t)(limit_ns / VGPU_NS_PER_S),
                             .tv_nsec = (long)(limit_ns % VGPU_NS_PER_S)};
    uint64_t began = vgpu_clock_ns();
    uint64_t count;
    int ready = ppoll(events, 2, limit_ns == RECEIVE_FOREVER ? NULL : &limit, NULL);

    if (ready > 0) {
        for (int i = 0; i < 2; i++) {
            ssize_t n = 0;

            if (events[i].revents)
                n = read(events[i].fd, &count, sizeof(count));
            (void)n; /* another reader cannot be: there is one leader */
        }
    }
    if (ready > 0 && vgpu_clock_ns() - began < 2 * SPIN_NS) {
        sender->spins = true;
        sender->spin_misses = 0;
    }
}

/* One turn of the leader: takes what is there, or sleeps once for it. */
static void lead(struct sender *sender, const struct waiter *waiter, uint64_t limit_ns)
{
    uint64_t rest_ns = 0;

    if (take_all(sender) > 0 || vgpu_flag_get(&sender->gone))
        return;
    if (!spin(sender) && (rest_ns = poll_or_rest(sender, waiter)) > 0) {
        if (ring_consumer_arm(&sender->completion))
            sleep_for_kick(sender, rest_ns < limit_ns ? rest_ns : limit_ns);
        ring_consumer_disarm(&sender->completion);
        receive_note_progress(sender);
    }
    take_all(sender);
}

static void enlist_locked(struct sender *sender, struct waiter *waiter)
{
    waiter->next = sender->waiters;
    sender->waiters = waiter;
}

static void delist_locked(struct sender *sender, struct waiter *waiter)
{
    struct waiter **at = &sender->waiters;

    while (*at != waiter)
        at = &(*at)->next;
    *at = waiter->next;
    /* Whoever leaves makes sure that one of those who stay leads. */
    if (!sender->leading && sender->waiters)
        pthread_cond_signal(&sender->waiters->cond);
}

static void follow_locked(struct sender *sender, struct waiter *waiter, uint64_t deadline_ns)
{
    struct timespec until = {.tv_sec = (time_t)(deadline_ns / VGPU_NS_PER_S),
                             .tv_nsec = (long)(deadline_ns % VGPU_NS_PER_S)};

    if (deadline_ns == RECEIVE_FOREVER)
        pthread_cond_wait(&waiter->cond, &sender->wait_lock);
    else
        pthread_cond_timedwait(&waiter->cond, &sender->wait_lock, &until);
}

static void lead_locked(struct sender *sender, struct waiter *waiter, uint64_t limit_ns)
{
    sender->leading = true;
    sender->leader = waiter;
    pthread_mutex_unlock(&sender->wait_lock);
    lead(sender, waiter, limit_ns);
    pthread_mutex_lock(&sender->wait_lock);
    sender->leading = false;
    sender->leader = NULL;
}

/* With wait_lock. */
static void wait_locked(struct sender *sender, struct waiter *waiter,
                        bool (*met)(struct sender *sender, void *argument), void *argument,
                        uint64_t deadline)
{
    enlist_locked(sender, waiter);
    while (!met(sender, argument)) {
        uint64_t now = deadline == RECEIVE_FOREVER ? 0 : vgpu_clock_ns();

        if (now >= deadline)
            break;
        if (sender->leading)
            follow_locked(sender, waiter, deadline);
        else
            lead_locked(sender, waiter,
                        deadline == RECEIVE_FOREVER ? RECEIVE_FOREVER : deadline - now);
    }
    delist_locked(sender, waiter);
}

void receive_until(struct sender *sender, bool (*met)(struct sender *sender, void *argument),
                   void *argument, bool on_progress, uint64_t limit_ns)
{
    struct waiter *waiter = &thread_peek()->waiter;
    uint64_t deadline = RECEIVE_FOREVER;

    if (limit_ns != RECEIVE_FOREVER)
        deadline = vgpu_clock_ns() + limit_ns;
    waiter->on_progress = on_progress;
    waiter->patience = (struct patience){0};
    pthread_mutex_lock(&sender->wait_lock);
    wait_locked(sender, waiter, met, argument, deadline);
    pthread_mutex_unlock(&sender->wait_lock);
}

void receive_open(struct sender *sender, struct ticket *ticket, uint64_t seq, uint8_t *answer,
                  bool posted)
{
    pthread_mutex_lock(&sender->wait_lock);
    *ticket = (struct ticket){.seq = seq, .answer = answer, .posted = posted};
    if (vgpu_flag_get(&sender->gone)) {
        settle_locked(sender, ticket, sender->gone_result);
    } else {
        ticket->next = sender->open;
        sender->open = ticket;
        sender->open_count++;
    }
    pthread_mutex_unlock(&sender->wait_lock);
}

static bool ticket_done(struct sender *sender, void *argument)
{
    const struct ticket *ticket = argument;

    return ticket->done;
}

void receive_await(struct sender *sender, struct ticket *ticket, uint16_t kind)
{
    struct patience *patience = &sender->patience[kind % PATIENCE_KINDS];
    struct waiter *waiter = &thread_peek()->waiter;

    waiter->on_progress = false;
    waiter->began_ns = vgpu_clock_ns();
    pthread_mutex_lock(&sender->wait_lock);
    ticket->waiter = waiter;
    waiter->patience = *patience;
    wait_locked(sender, waiter, ticket_done, ticket, RECEIVE_FOREVER);
    patience_learn(patience, vgpu_clock_ns() - waiter->began_ns);
    pthread_mutex_unlock(&sender->wait_lock);
}

bool receive_may_open(struct sender *sender)
{
    bool may;

    pthread_mutex_lock(&sender->wait_lock);
    may = sender->open_count < VGPU_CHANNEL_MAX_WAITS;
    pthread_mutex_unlock(&sender->wait_lock);
    return may;
}

bool receive_is_done(struct sender *sender, const struct ticket *ticket)
{
    bool done;

    pthread_mutex_lock(&sender->wait_lock);
    done = ticket->done;
    pthread_mutex_unlock(&sender->wait_lock);
    return done;
}

uint64_t receive_progress(struct sender *sender)
{
    uint64_t progress;

    pthread_mutex_lock(&sender->wait_lock);
    progress = sender->progress;
    pthread_mutex_unlock(&sender->wait_lock);
    return progress;
}

static bool progress_made(struct sender *sender, void *argument)
{
    return sender->progress != *(uint64_t *)argument || vgpu_flag_get(&sender->gone);
}

void receive_await_progress(struct sender *sender, uint64_t seen, uint64_t limit_ns)
{
    /* What the worker tells by its notice, a mirror shows when it is asked to look. */
    if (sender->mirror && limit_ns != RECEIVE_FOREVER)
        sender_kick(sender);
    receive_until(sender, progress_made, &seen, true, limit_ns);
}

void receive_note_progress(struct sender *sender)
{
    const struct guest_thread *self = thread_peek();
    const struct waiter *own = self ? &self->waiter : NULL;

    pthread_mutex_lock(&sender->wait_lock);
    progress_locked(sender);
    /* A leader that waits for progress itself sleeps on the kick, not on its condition. */
    if (sender->leader && sender->leader->on_progress && sender->leader != own)
        kick(sender->own_kick);
    pthread_mutex_unlock(&sender->wait_lock);
}

/* Where the completion ring ends by now. */
static uint32_t sent_to(const struct sender *sender)
{
    return page_load_u32(&sender->map.page->completion.producer.head);
}

/* Free running both: the one that was loaded first may be behind. */
static bool all_dispatched(const struct sender *sender, uint32_t head)
{
    return (int32_t)(vgpu_flag_get(&sender->dispatched) - head) >= 0;
}

void receive_poll(struct sender *sender)
{
    if (all_dispatched(sender, sent_to(sender)))
        return;
    pthread_mutex_lock(&sender->wait_lock);
    if (!sender->leading) {
        sender->leading = true;
        pthread_mutex_unlock(&sender->wait_lock);
        take_all(sender);
        pthread_mutex_lock(&sender->wait_lock);
        sender->leading = false;
        if (sender->waiters)
            pthread_cond_signal(&sender->waiters->cond);
    }
    pthread_mutex_unlock(&sender->wait_lock);
}

bool receive_caught_up(struct sender *sender)
{
    uint32_t head = sent_to(sender);

    if (all_dispatched(sender, head))
        return true;
    receive_poll(sender);
    return all_dispatched(sender, head);
}

void receive_fail(struct sender *sender, CUresult result)
{
    pthread_mutex_lock(&sender->wait_lock);
    if (!vgpu_flag_get(&sender->gone)) {
        sender->gone_result = result;
        vgpu_flag_set(&sender->gone, 1);
        while (sender->open) {
            struct ticket *ticket = sender->open;

            sender->open = ticket->next;
            settle_locked(sender, ticket, result);
        }
        callback_fail_locked(sender, result);
        for (struct waiter *waiter = sender->waiters; waiter; waiter = waiter->next)
            pthread_cond_signal(&waiter->cond);
        progress_locked(sender);
        kick(sender->own_kick);
    }
    pthread_mutex_unlock(&sender->wait_lock);
}

CUresult receive_late_error(struct sender *sender)
{
    CUresult result;

    if (!vgpu_flag_get(&sender->late))
        return CUDA_SUCCESS;
    pthread_mutex_lock(&sender->wait_lock);
    result = sender->late_error;
    sender->late_error = CUDA_SUCCESS;
    vgpu_flag_set(&sender->late, 0);
    pthread_mutex_unlock(&sender->wait_lock);
    return result;
}
