/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker for the mediator's tests: says READY and runs make-believe jobs under its turn, as
 * <vgpu/lease.h> has it, or misbehaves as its orders say. FAKE_START in the environment makes it
 * fail at start: "refuse", "crash" or "sleep".
 */
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <vgpu/launch.h>
#include <vgpu/lease.h>

#include "common/clock.h"
#include "mediator/fake_worker.h"
#include "ring/pages.h"

struct worker {
    const struct vgpu_lease_page *lease;
    struct vgpu_report_page *report;
    struct fake_orders *orders;
    uint64_t turn, told_at;
    uint64_t busy_ns;
    bool need, hanging;
};

/* Without the handler of a sanitizer, which would exit. */
static void abort_hard(void)
{
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
}

static int fd_of(enum vgpu_channel_fd fd)
{
    return 3 + (int)fd;
}

static void kick(struct worker *worker)
{
    const uint64_t one = 1;
    ssize_t written = write(fd_of(VGPU_FD_REPORT_KICK), &one, sizeof(one));

    (void)written;
    worker->orders->kicks++;
}

static void map_all(struct worker *worker)
{
    int memory = fd_of(VGPU_FD_MEMORY);
    struct vgpu_channel_page *page =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);

    if (page == MAP_FAILED)
        exit(90);
    worker->orders = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memory,
                          (off_t)page->geometry.data_offset);
    worker->lease = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd_of(VGPU_FD_LEASE), 0);
    worker->report = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd_of(VGPU_FD_REPORT), 0);
    if (worker->orders == MAP_FAILED || worker->lease == MAP_FAILED || worker->report == MAP_FAILED)
        exit(91);
}

static void __attribute__((noreturn)) end(struct worker *worker, uint32_t reason, const char *text)
{
    snprintf(worker->report->text, sizeof(worker->report->text), "%s", text);
    page_store_u32(&worker->report->reason, reason);
    page_store_u32(&worker->report->state, VGPU_WORKER_ENDED);
    kick(worker);
    exit(3);
}

static void set_need(struct worker *worker, bool need, bool granted)
{
    if (need == worker->need)
        return;
    worker->need = need;
    page_store_u32(&worker->report->need, need ? VGPU_NEED_GPU : VGPU_NEED_NOTHING);
    page_fence();
    if (need ? !granted : page_load_u32(&worker->lease->contended) != 0)
        kick(worker);
}

static void run_job(struct worker *worker)
{
    uint64_t start = vgpu_clock_ns(), us = worker->orders->job_us;
    struct timespec length = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};

    page_store_u64(&worker->report->jobs_taken, worker->orders->done + 1);
    if (worker->orders->mode == FAKE_FAULT) {
        page_store_u32(&worker->report->gpu_faults, worker->report->gpu_faults + 1);
        kick(worker);
    }
    page_store_u64(&worker->report->oldest_issued_ns, start);
    if (worker->orders->mode == FAKE_HANG || worker->orders->mode == FAKE_FRESH) {
        worker->hanging = true;
        return;
    }
    nanosleep(&length, NULL);
    page_store_u64(&worker->report->oldest_issued_ns, 0);
    worker->busy_ns += vgpu_clock_ns() - start;
    page_store_u64(&worker->report->busy_ns, worker->busy_ns);
    page_store_u64(&worker->orders->done, worker->orders->done + 1);
    page_store_u64(&worker->report->jobs_done, worker->orders->done);
}

/* Carries out what the lease page says. */
static void take_turn(struct worker *worker)
{
    uint64_t turn = page_load_u64(&worker->lease->turn);
    bool keeps = worker->orders->mode == FAKE_KEEP || worker->hanging;

    if (turn == worker->turn || (keeps && !(turn & VGPU_TURN_GRANTED)))
        return;
    worker->turn = turn;
    worker->orders->granted += turn & VGPU_TURN_GRANTED;
    page_store_u64(&worker->report->turn_done, turn);
    if (!(turn & VGPU_TURN_GRANTED))
        kick(worker);
}

/* True if the limits allow the next job. Tells that they do not once for each grant. */
static bool within_limits(struct worker *worker)
{
    const struct vgpu_lease_page *lease = worker->lease;
    struct fake_orders *orders = worker->orders;
    uint64_t allowed = page_load_u64(&lease->jobs_allowed);
    bool out = orders->done >= allowed && orders->mode != FAKE_GREEDY;

    page_store_u32(&worker->report->grant_seen, page_load_u32(&lease->grant));
    if (allowed != orders->allowed)
        page_store_u64(&orders->taken_at_ns, vgpu_clock_ns());
    page_store_u64(&orders->allowed, allowed);
    page_store_u32(&orders->flags, page_load_u32(&lease->flags));
    if (page_load_u32(&lease->flags) & VGPU_LEASE_QUARANTINED)
        return false;
    if (!(page_load_u32(&lease->ask) & VGPU_WANT_JOBS))
        return !out;
    page_store_u32(&worker->report->wants, out ? VGPU_WANT_JOBS : 0);
    if (out && worker->told_at != allowed + 1) {
        worker->told_at = allowed + 1;
        kick(worker);
    }
    return !out;
}

static void misbehave(struct worker *worker)
{
    switch (worker->orders->mode) {
    case FAKE_ABORT:
        end(worker, VGPU_BAD_RECORD, "record 7\nis bad");
    case FAKE_CRASH:
        abort_hard();
        break;
    case FAKE_DEEP:
        page_store_u32(&worker->report->depth, page_load_u32(&worker->lease->depth_max) + 2);
        kick(worker);
        break;
    case FAKE_LIAR:
        page_store_u64(&worker->report->jobs_done, worker->report->jobs_taken + 1);
        kick(worker);
        break;
    case FAKE_FRESH:
        if (worker->hanging)
            page_store_u64(&worker->report->oldest_issued_ns, vgpu_clock_ns());
        break;
    default:
        break;
    }
}

static void wait_for_kick(int timeout_ms)
{
    struct pollfd fds[3] = {{fd_of(VGPU_FD_LEASE_KICK), POLLIN, 0},
                            {fd_of(VGPU_FD_SUBMIT_KICK), POLLIN, 0},
                            {10, POLLIN, 0}};
    uint64_t count;

    poll(fds, 3, timeout_ms);
    for (int i = 0; i < 2; i++)
        if ((fds[i].revents & POLLIN) && read(fds[i].fd, &count, sizeof(count)) < 0)
            exit(92);
    if (fds[2].revents)
        exit(93);
}

static void serve(struct worker *worker)
{
    for (;;) {
        struct fake_orders *orders = worker->orders;
        bool granted, want;

        if ((page_load_u32(&worker->lease->flags) & VGPU_LEASE_STOP) && orders->mode != FAKE_DEAF)
            exit(0);
        misbehave(worker);
        page_store_u64(&worker->report->memory_bytes, page_load_u64(&orders->memory_bytes));
        page_store_u64(&worker->report->guest_process, page_load_u64(&orders->process));
        take_turn(worker);
        granted = worker->turn & VGPU_TURN_GRANTED;
        want = within_limits(worker) && orders->done < page_load_u64(&orders->jobs);
        /* One that keeps the GPU says that it needs nothing once it has it. */
        set_need(worker, want && !(granted && orders->mode == FAKE_KEEP), granted);
        if (granted && want && !worker->hanging && orders->mode != FAKE_KEEP)
            run_job(worker);
        else
            wait_for_kick(orders->mode == FAKE_FRESH ? 1 : -1);
    }
}

int main(void)
{
    const char *start = getenv("FAKE_START");
    struct worker worker = {.need = false};

    map_all(&worker);
    worker.report->magic = VGPU_MAGIC;
    worker.report->layout = VGPU_LEASE_LAYOUT;
    if (start && strcmp(start, "refuse") == 0)
        end(&worker, VGPU_DRIVER, "no driver here");
    if (start && strcmp(start, "crash") == 0)
        abort_hard();
    if (start && strcmp(start, "sleep") == 0)
        for (;;)
            pause();
    page_store_u32(&worker.report->state, VGPU_WORKER_READY);
    kick(&worker);
    serve(&worker);
    return 0;
}
