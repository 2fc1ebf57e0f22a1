/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/channel.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/overflow.h"
#include "mediator/times.h"
#include "ring/pages.h"

/* In flight per channel while others wait, and taken in by a channel without limits. */
#define INFLIGHT_MAX_JOBS 256
#define DEPTH_MAX         4096
#define RETRY_NS          (10 * VGPU_NS_PER_MS)

#define NO CHANNEL_N_STATES

static const enum channel_state moves[CHANNEL_N_STATES][CHANNEL_N_EVENTS] = {
    /* clang-format off */
    /*                   GRANTED           SPAWNED          FAILED         READY             RESUMED       STOP              KILL             EXITED */
    [CHANNEL_PROMISED] = {CHANNEL_SPAWNING, NO,              NO,            NO,               NO,           CHANNEL_KILLING,  CHANNEL_KILLING, CHANNEL_ENDED},
    [CHANNEL_SPAWNING] = {NO,               CHANNEL_LOADING, CHANNEL_ENDED, NO,               NO,           CHANNEL_KILLING,  CHANNEL_KILLING, CHANNEL_ENDED},
    [CHANNEL_LOADING]  = {NO,               NO,              NO,            CHANNEL_OPEN,     NO,           CHANNEL_STOPPING, CHANNEL_KILLING, CHANNEL_ENDED},
    [CHANNEL_OPEN]     = {NO,               NO,              NO,            NO,               NO,           CHANNEL_STOPPING, CHANNEL_KILLING, CHANNEL_ENDED},
    [CHANNEL_ORPHAN]   = {NO,               NO,              NO,            NO,               CHANNEL_OPEN, CHANNEL_STOPPING, CHANNEL_KILLING, CHANNEL_ENDED},
    [CHANNEL_STOPPING] = {NO,               NO,              NO,            NO,               NO,           NO,               CHANNEL_KILLING, CHANNEL_ENDED},
    [CHANNEL_KILLING]  = {NO,               CHANNEL_KILLING, CHANNEL_ENDED, NO,               NO,           NO,               NO,              CHANNEL_ENDED},
    [CHANNEL_ENDED]    = {NO,               NO,              NO,            NO,               NO,           NO,               NO,              NO},
    /* clang-format on */
};

enum channel_state channel_next(enum channel_state state, enum channel_event event)
{
    return moves[state][event];
}

void channel_step(struct channel *channel, enum channel_event event)
{
    enum channel_state next = channel_next(channel->state, event);

    assert(next != NO);
    channel->state = next;
}

bool channel_has_worker(const struct channel *channel)
{
    return channel->state != CHANNEL_ENDED;
}

static struct channel *make_struct(void)
{
    struct channel *channel = calloc(1, sizeof(*channel));

    for (int i = 0; channel && i < VGPU_CHANNEL_FDS; i++)
        channel->fds[i] = -1;
    return channel;
}

bool channel_lay_out(const struct channel_ask *ask, struct vgpu_channel_geometry *g)
{
    uint64_t sub = (uint64_t)ask->sub_granules * VGPU_GRANULE_BYTES;
    uint64_t comp = (uint64_t)ask->comp_granules * VGPU_GRANULE_BYTES;

    *g = (struct vgpu_channel_geometry){.sub_granules = ask->sub_granules,
                                        .comp_granules = ask->comp_granules,
                                        .sub_offset = VGPU_CHANNEL_PAGE_BYTES,
                                        .data_bytes = ask->data_bytes};
    return vgpu_align_u64(g->sub_offset + sub, 4096, &g->comp_offset) &&
           vgpu_align_u64(g->comp_offset + comp, 4096, &g->data_offset) &&
           vgpu_add_u64(g->data_offset, g->data_bytes, &g->total_bytes);
}

/* A sealed object that starts with `head`. Others of the same user only get it by descriptor. */
static int make_memory(const char *name, uint64_t bytes, const void *head, size_t head_bytes)
{
    _cleanup_close_ int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || fchmod(fd, 0600) < 0 || ftruncate(fd, (off_t)bytes) < 0 ||
        pwrite(fd, head, head_bytes, 0) != (ssize_t)head_bytes ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return -errno;
    return vgpu_steal_fd(&fd);
}

static int make_fds(struct channel *channel, bool mirrored)
{
    struct vgpu_channel_page page = {.magic = VGPU_MAGIC,
                                     .layout = VGPU_LAYOUT_VERSION,
                                     .geometry = channel->geometry,
                                     .flags = mirrored ? VGPU_CHANNEL_MIRRORED : 0};
    const struct vgpu_lease_page lease = {
        .magic = VGPU_MAGIC,
        .layout = VGPU_LEASE_LAYOUT,
        .inflight_max_jobs = INFLIGHT_MAX_JOBS,
        .depth_max = DEPTH_MAX,
        .jobs_allowed = UINT64_MAX,
        .retry_ns = RETRY_NS,
    };
    int *fds = channel->fds;

    if (!channel->granted.domid) {
        fds[VGPU_FD_MEMORY] =
            make_memory("vgpu-channel", channel->geometry.total_bytes, &page, sizeof(page));
        fds[VGPU_FD_SUBMIT_KICK] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        fds[VGPU_FD_COMPLETE_KICK] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    fds[VGPU_FD_LEASE] = make_memory("vgpu-lease", VGPU_LEASE_BYTES, &lease, sizeof(lease));
    fds[VGPU_FD_REPORT] = make_memory("vgpu-report", VGPU_REPORT_BYTES, "", 1);
    fds[VGPU_FD_LEASE_KICK] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    fds[VGPU_FD_REPORT_KICK] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    for (unsigned i = channel->granted.domid ? VGPU_CHANNEL_SHARED_FDS : 0; i < VGPU_CHANNEL_FDS;
         i++)
        if (fds[i] < 0)
            return -errno;
    return 0;
}

/* The descriptors of the pages are not needed once they are mapped; the launcher has its own. */
static int map_pages(struct channel *channel, struct vgpu_err *err)
{
    void *lease = mmap(NULL, VGPU_LEASE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
                       channel->fds[VGPU_FD_LEASE], 0);
    void *report =
        mmap(NULL, VGPU_REPORT_BYTES, PROT_READ, MAP_SHARED, channel->fds[VGPU_FD_REPORT], 0);

    channel->lease = lease == MAP_FAILED ? NULL : lease;
    channel->report = report == MAP_FAILED ? NULL : report;
    if (channel->report)
        channel->times = (const struct vgpu_times_page *)(const void *)((const uint8_t *)report +
                                                                        VGPU_TIMES_OFFSET);
    if (!channel->lease || !channel->report)
        return vgpu_err_set(err, ENOMEM, "cannot map the pages of a channel");
    return 0;
}

static bool has_bytes(int fd, uint64_t bytes)
{
    struct stat status;

    return fstat(fd, &status) == 0 && (uint64_t)status.st_size == bytes;
}

/* What an earlier mediator made: a page that is not there would end this one. */
static int map_adopted(struct channel *channel, struct vgpu_err *err)
{
    int rc;

    if (!has_bytes(channel->fds[VGPU_FD_LEASE], VGPU_LEASE_BYTES) ||
        !has_bytes(channel->fds[VGPU_FD_REPORT], VGPU_REPORT_BYTES))
        return vgpu_err_set(err, EPROTO, "its pages are of another version");
    rc = map_pages(channel, err);
    if (rc == 0 && channel->lease->layout != VGPU_LEASE_LAYOUT)
        return vgpu_err_set(err, EPROTO, "its lease page has layout %u, this is %u",
                            channel->lease->layout, VGPU_LEASE_LAYOUT);
    return rc;
}

int channel_new(const struct channel_ask *ask, struct channel **ret_channel, struct vgpu_err *err)
{
    struct channel *channel = make_struct();
    int rc;

    if (!channel)
        return vgpu_err_set(err, ENOMEM, "out of memory");
    channel->number = ask->number;
    channel->gpu_id = ask->gpu_id;
    channel->window = ask->window;
    channel->granted.domid = ask->domid;
    snprintf(channel->process, sizeof(channel->process), "%s", ask->process);
    if (!channel_lay_out(ask, &channel->geometry))
        rc = vgpu_err_set(err, ERANGE, "the channel's sizes are out of range");
    else if (getrandom(channel->token, sizeof(channel->token), 0) != sizeof(channel->token) ||
             (rc = make_fds(channel, ask->mirrored)) < 0)
        rc = vgpu_err_set(err, errno, "cannot make the memory of a channel: %s", strerror(errno));
    else
        rc = map_pages(channel, err);
    if (rc < 0) {
        channel_free(channel);
        return rc;
    }
    channel->state = ask->domid ? CHANNEL_PROMISED : CHANNEL_SPAWNING;
    *ret_channel = channel;
    return 0;
}

int channel_adopt(const struct vgpu_launch_entry *entry, const int *fds,
                  struct channel **ret_channel, struct vgpu_err *err)
{
    struct channel *channel = make_struct();
    int rc;

    if (!channel) {
        for (int i = 0; i < VGPU_CHANNEL_FDS; i++)
            if (fds[i] >= 0)
                close(fds[i]);
        return vgpu_err_set(err, ENOMEM, "out of memory");
    }
    memcpy(channel->fds, fds, sizeof(channel->fds));
    channel->state = CHANNEL_ORPHAN;
    channel->number = entry->channel;
    channel->gpu_id = entry->keep.gpu_id;
    channel->window = entry->keep.window;
    channel->granted.domid = entry->keep.domid;
    channel->geometry = entry->geometry;
    channel->pid = entry->pid;
    memcpy(channel->token, entry->keep.token, sizeof(channel->token));
    memcpy(channel->process, entry->keep.process, sizeof(channel->process));
    rc = map_adopted(channel, err);
    if (rc < 0) {
        channel_free(channel);
        return rc;
    }
    channel->turn = page_load_u64(&channel->lease->turn);
    channel_close_handed(channel);
    *ret_channel = channel;
    return 0;
}

void channel_free(struct channel *channel)
{
    if (!channel)
        return;
    if (channel->lease)
        munmap(channel->lease, VGPU_LEASE_BYTES);
    if (channel->report)
        munmap((void *)(uintptr_t)channel->report, VGPU_REPORT_BYTES);
    for (int i = 0; i < VGPU_CHANNEL_FDS; i++)
        vgpu_close(&channel->fds[i]);
    times_seen_free(channel->times_seen);
    free(channel);
}

void channel_close_handed(struct channel *channel)
{
    for (int i = 0; i < VGPU_CHANNEL_FDS; i++)
        if (i != VGPU_FD_LEASE_KICK && i != VGPU_FD_REPORT_KICK)
            vgpu_close(&channel->fds[i]);
}

void channel_report(const struct channel *channel, struct channel_report *ret)
{
    const struct vgpu_report_page *page = channel->report;

    /* turn_done before need: a worker that gives the turn back has stored its need before. What is
     * done before what is taken, likewise, and the grant before both. */
    ret->turn_done = page_load_u64(&page->turn_done);
    ret->turn_ending = page_load_u64(&page->turn_ending);
    ret->state = page_load_u32(&page->state);
    ret->reason = page_load_u32(&page->reason);
    ret->need = page_load_u32(&page->need);
    ret->grant_seen = page_load_u32(&page->grant_seen);
    ret->jobs_failed = page_load_u64(&page->jobs_failed);
    ret->jobs_done = page_load_u64(&page->jobs_done);
    ret->jobs_taken = page_load_u64(&page->jobs_taken);
    ret->depth = page_load_u32(&page->depth);
    ret->jobs_refused = page_load_u64(&page->jobs_refused);
    ret->busy_ns = page_load_u64(&page->busy_ns);
    ret->wait_ns = page_load_u64(&page->wait_ns);
    ret->memory_bytes = page_load_u64(&page->memory_bytes);
    /* memory_seen before the bound: that is then of this change, or of a later one. */
    ret->memory_seen = page_load_u64(&page->memory_seen);
    ret->memory_bound_bytes = page_load_u64(&page->memory_bound_bytes);
    ret->memory_ask = page_load_u64(&page->memory_ask);
    ret->memory_wanted_bytes = page_load_u64(&page->memory_wanted_bytes);
    ret->memory_done = page_load_u64(&page->memory_done);
    ret->memory_spare_bytes = page_load_u64(&page->memory_spare_bytes);
    ret->memory_context_bytes = page_load_u64(&page->memory_context_bytes);
    ret->memory_module_bytes = page_load_u64(&page->memory_module_bytes);
    ret->memory_graph_bytes = page_load_u64(&page->memory_graph_bytes);
    ret->oldest_issued_ns = page_load_u64(&page->oldest_issued_ns);
    ret->guest_process = page_load_u64(&page->guest_process);
    ret->guest_pid_namespace = page_load_u64(&page->guest_pid_namespace);
    ret->bytes_in_flight = page_load_u64(&page->bytes_in_flight);
    ret->refused_rate = page_load_u64(&page->refused_by[VGPU_LIMIT_RATE]);
    ret->wants = page_load_u32(&page->wants);
    ret->gpu_faults = page_load_u32(&page->gpu_faults);
}

void channel_queue(const struct channel *channel, struct channel_queue *ret)
{
    const struct vgpu_report_page *page = channel->report;

    ret->depth = page_load_u32(&page->depth);
    ret->taken = page_load_u64(&page->jobs_taken);
    ret->over = page_load_u64(&page->jobs_done) + page_load_u64(&page->jobs_failed);
}

void channel_counts(const struct channel *channel, struct channel_counts *ret)
{
    const struct vgpu_report_page *page = channel->report;

    ret->to_device = page_load_u64(&page->bytes_to_device);
    ret->from_device = page_load_u64(&page->bytes_from_device);
    for (int limit = 0; limit < VGPU_LIMIT_COUNT; limit++) {
        ret->refused[limit] = page_load_u64(&page->refused_by[limit]);
        ret->held[limit] = page_load_u64(&page->held_by[limit]);
    }
}

void channel_counts_add(struct channel_counts *sum, const struct channel_counts *more)
{
    sum->to_device += more->to_device;
    sum->from_device += more->from_device;
    for (int limit = 0; limit < VGPU_LIMIT_COUNT; limit++) {
        sum->refused[limit] += more->refused[limit];
        sum->held[limit] += more->held[limit];
    }
}

uint64_t channel_counted(const struct channel *channel, enum vgpu_limit limit, bool refused)
{
    const struct vgpu_report_page *page = channel->report;

    return page_load_u64(refused ? &page->refused_by[limit] : &page->held_by[limit]);
}

void channel_blame(struct channel *channel, enum vgpu_status status, const char *text)
{
    if (channel->end_status != VGPU_OK)
        return;
    channel->end_status = status;
    snprintf(channel->end_text, sizeof(channel->end_text), "%s", text);
}

void channel_blame_report(struct channel *channel)
{
    const struct vgpu_report_page *page = channel->report;
    char text[VGPU_STATUS_TEXT_BYTES];
    uint32_t reason;

    if (page_load_u32(&page->state) != VGPU_WORKER_ENDED)
        return;
    reason = page_load_u32(&page->reason);
    if (reason == VGPU_OK || reason >= VGPU_STATUS_COUNT)
        return;
    for (size_t i = 0; i < sizeof(text); i++) {
        char c = __atomic_load_n(&page->text[i], __ATOMIC_RELAXED);

        text[i] = c != '\0' && ((unsigned char)c < 0x20 || c == 0x7f) ? '?' : c;
    }
    text[sizeof(text) - 1] = '\0';
    channel_blame(channel, (enum vgpu_status)reason, text);
}

static void kick(const struct channel *channel)
{
    const uint64_t one = 1;
    ssize_t written = write(channel->fds[VGPU_FD_LEASE_KICK], &one, sizeof(one));

    (void)written; /* a counter that is full wakes the worker as well */
}

void channel_set_turn(struct channel *channel, bool granted)
{
    channel->turn = ((channel->turn >> 1) + 1) << 1 | (granted ? VGPU_TURN_GRANTED : 0);
    page_store_u64(&channel->lease->turn, channel->turn);
    kick(channel);
}

void channel_set_contended(struct channel *channel, bool contended)
{
    page_store_u32(&channel->lease->contended, contended);
    kick(channel);
}

void channel_set_inflight(struct channel *channel, uint64_t most_ns)
{
    page_store_u64(&channel->lease->inflight_max_ns, most_ns);
}

void channel_set_flags(struct channel *channel, uint32_t flags)
{
    page_store_u32(&channel->lease->flags, flags);
    kick(channel);
}

/* The grant before the change: a worker that has seen the change has seen that grant, or a later.
 */
void channel_set_memory_grant(struct channel *channel, uint64_t bytes, uint64_t change)
{
    page_store_u64(&channel->lease->memory_grant_bytes, bytes);
    page_store_u64(&channel->lease->memory_change, change);
    kick(channel);
}

void channel_set_memory_quota(struct channel *channel, uint64_t quota_bytes, uint64_t context_bytes)
{
    struct vgpu_lease_page *lease = channel->lease;

    if (lease->memory_quota_bytes == quota_bytes && lease->memory_context_bytes == context_bytes)
        return;
    page_store_u64(&lease->memory_context_bytes, context_bytes);
    page_store_u64(&lease->memory_quota_bytes, quota_bytes);
    kick(channel);
}

void channel_answer_memory(struct channel *channel, uint64_t answer, uint64_t ceiling_bytes)
{
    page_store_u64(&channel->lease->memory_ceiling_bytes, ceiling_bytes);
    page_store_u64(&channel->lease->memory_answer, answer);
    kick(channel);
}

void channel_grant_begin(struct channel *channel)
{
    const struct vgpu_lease_page *lease = channel->lease;

    channel->grant = (struct channel_grant){.jobs = lease->jobs_allowed,
                                            .bytes = lease->bytes_max,
                                            .retry_ns = lease->retry_ns,
                                            .depth = lease->depth_max,
                                            .ask = lease->ask,
                                            .count = lease->grant,
                                            .jobs_most = UINT64_MAX,
                                            .depth_most = UINT32_MAX};
}

void channel_grant_known(struct channel *channel)
{
    channel->grant.jobs_most = channel->grant.jobs;
    channel->grant.depth_most = channel->grant.depth;
}

struct channel_offer channel_offered(const struct channel *channel)
{
    const struct channel_grant *grant = &channel->grant;

    return (struct channel_offer){.jobs = grant->jobs,
                                  .bytes = grant->bytes,
                                  .retry_ns = grant->retry_ns,
                                  .depth = grant->depth,
                                  .ask = grant->ask};
}

void channel_offer(struct channel *channel, const struct channel_offer *offer)
{
    const struct channel_offer before = channel_offered(channel);
    struct vgpu_lease_page *lease = channel->lease;
    struct channel_grant *grant = &channel->grant;

    if (offer->jobs == before.jobs && offer->bytes == before.bytes &&
        offer->retry_ns == before.retry_ns && offer->depth == before.depth &&
        offer->ask == before.ask)
        return;
    grant->jobs = offer->jobs;
    grant->bytes = offer->bytes;
    grant->retry_ns = offer->retry_ns;
    grant->depth = offer->depth;
    grant->ask = offer->ask;
    if (grant->jobs_most < offer->jobs)
        grant->jobs_most = offer->jobs;
    if (grant->depth_most < offer->depth)
        grant->depth_most = offer->depth;
    /* Ask first: who uses up a new value at once must know that it is to be told. */
    page_store_u32(&lease->ask, offer->ask);
    page_store_u64(&lease->retry_ns, offer->retry_ns);
    page_store_u64(&lease->bytes_max, offer->bytes);
    page_store_u32(&lease->depth_max, offer->depth);
    page_store_u64(&lease->jobs_allowed, offer->jobs);
    page_store_u32(&lease->grant, ++grant->count);
    kick(channel);
}

void channel_grant_seen(struct channel *channel, const struct channel_report *report)
{
    struct channel_grant *grant = &channel->grant;
    uint64_t most;
    uint32_t deepest;

    if (report->grant_seen != grant->count)
        return;
    /* What it has taken before that round stays its own until it is done. */
    most = grant->jobs > report->jobs_taken ? grant->jobs : report->jobs_taken;
    if (most < grant->jobs_most)
        grant->jobs_most = most;
    deepest = grant->depth > report->depth ? grant->depth : report->depth;
    if (deepest < grant->depth_most)
        grant->depth_most = deepest;
}
