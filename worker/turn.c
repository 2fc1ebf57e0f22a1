/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/turn.h"

#include "ring/pages.h"
#include "worker/channel.h"

/* Until copies were measured: some 5 GB/s and the cost of a call. */
#define COPY_NS_PER_MIB (200 * VGPU_NS_PER_US)
#define COPY_CALL_NS    (10 * VGPU_NS_PER_US)

void turn_init(struct channel *channel)
{
    struct vgpu_report_page *report = channel->map.report;

    report->magic = VGPU_MAGIC;
    report->layout = VGPU_LEASE_LAYOUT;
    turn_load(channel);
}

bool turn_granted(const struct channel *channel)
{
    return channel->turn.seen & VGPU_TURN_GRANTED;
}

bool turn_drains(const struct channel *channel)
{
    return !turn_granted(channel) && channel->turn.units > 0;
}

bool turn_load(struct channel *channel)
{
    const struct vgpu_lease_page *lease = channel->map.lease;
    struct turn *turn = &channel->turn;
    uint64_t seen = page_load_u64(&lease->turn);
    uint32_t grant = page_load_u32(&lease->grant); /* before anything is taken by it */
    uint32_t flags = page_load_u32(&lease->flags);
    bool contended = page_load_u32(&lease->contended) != 0;
    bool changed = seen != turn->seen || flags != turn->flags || contended != turn->contended;

    turn->wants = false;
    turn->bytes_short = false;
    channel->hold.dirty |= changed;
    turn->seen = seen;
    turn->flags = flags;
    turn->grant = grant;
    turn->contended = contended;
    if (changed && contended)
        streams_cover(channel);
    return changed;
}

bool turn_changed(const struct channel *channel)
{
    const struct vgpu_lease_page *lease = channel->map.lease;

    return page_load_u64(&lease->turn) != channel->turn.seen ||
           page_load_u32(&lease->flags) != channel->turn.flags ||
           (page_load_u32(&lease->contended) != 0) != channel->turn.contended;
}

static uint64_t depth(const struct turn *turn)
{
    return turn->jobs_taken - turn->jobs_done - turn->jobs_failed;
}

static enum admission refuse(struct turn *turn, enum vgpu_limit limit)
{
    turn->jobs_refused++;
    turn->refused_by[limit]++;
    return limit == VGPU_LIMIT_QUARANTINE ? REFUSE_QUARANTINED : REFUSE_BUSY;
}

enum admission turn_admit(struct channel *channel, bool is_explicit, uint64_t *ret_job)
{
    const struct vgpu_lease_page *lease = channel->map.lease;
    struct turn *turn = &channel->turn;
    bool too_fast = turn->jobs_taken >= page_load_u64(&lease->jobs_allowed);
    bool over = too_fast || depth(turn) >= page_load_u32(&lease->depth_max);

    turn->jobs_seen++;
    if (turn->flags & VGPU_LEASE_QUARANTINED)
        return refuse(turn, VGPU_LIMIT_QUARANTINE);
    if ((turn->flags & VGPU_LEASE_NO_GPU) && is_explicit) {
        turn->jobs_refused++; /* for no limit of the VM's */
        return REFUSE_NO_GPU;
    }
    if (over && is_explicit)
        return refuse(turn, too_fast ? VGPU_LIMIT_RATE : VGPU_LIMIT_DEPTH);
    *ret_job = ++turn->jobs_taken;
    turn->stalled = over;
    return over ? ADMIT_LATER : ADMIT;
}

bool turn_may_read(struct channel *channel)
{
    const struct vgpu_lease_page *lease = channel->map.lease;
    struct turn *turn = &channel->turn;

    if (turn->stalled)
        turn->stalled = depth(turn) > page_load_u32(&lease->depth_max) ||
                        turn->jobs_taken > page_load_u64(&lease->jobs_allowed);
    return !turn->stalled;
}

static uint64_t inflight_ns(const struct channel *channel)
{
    uint64_t most = page_load_u64(&channel->map.lease->inflight_max_ns);

    if (!channel->turn.contended)
        return most > WORKER_ALONE_INFLIGHT_NS ? most : WORKER_ALONE_INFLIGHT_NS;
    return most ? most : UINT64_MAX;
}

uint32_t turn_most_units(const struct channel *channel)
{
    uint32_t most = page_load_u32(&channel->map.lease->inflight_max_jobs);

    if (!channel->turn.contended || most == 0 || most > WORKER_MAX_UNITS)
        return WORKER_MAX_UNITS;
    return most;
}

bool turn_allows(struct channel *channel, uint64_t estimate_ns, uint64_t job)
{
    struct turn *turn = &channel->turn;
    bool may = turn_granted(channel) && !channel->stopping;

    /* It waits for its VM's rate: the GPU is of no use to it until then. */
    if (job > page_load_u64(&channel->map.lease->jobs_allowed))
        return false;
    if (may && turn->units > 0)
        may = (estimate_ns > 0 || !turn->contended) && turn->units < turn_most_units(channel) &&
              estimate_ns <= inflight_ns(channel) &&
              turn->estimate_ns <= inflight_ns(channel) - estimate_ns;
    if (!may)
        turn->wants = true;
    return may;
}

bool turn_has_bytes(struct channel *channel, uint64_t bytes)
{
    uint64_t most = page_load_u64(&channel->map.lease->bytes_max);
    struct turn *turn = &channel->turn;

    if (most == 0 || turn->bytes == 0 || (turn->bytes < most && bytes <= most - turn->bytes))
        return true;
    turn->bytes_short = true;
    return false;
}

uint64_t turn_copy_estimate(const struct channel *channel, uint64_t bytes)
{
    uint64_t rate = channel->turn.copy_ns_per_mib ? channel->turn.copy_ns_per_mib : COPY_NS_PER_MIB;

    return COPY_CALL_NS + (bytes >> 10) * rate / 1024;
}

uint64_t turn_copy_sample(const struct batch *batch, uint64_t run_ns)
{
    uint64_t calls_ns = batch->units * COPY_CALL_NS;

    /* At least half: calls overlap with copies. */
    return (run_ns > 2 * calls_ns ? run_ns - calls_ns : run_ns / 2) / (batch->copy_bytes >> 20);
}

void turn_issued(struct channel *channel, uint64_t estimate_ns, uint64_t copy_bytes)
{
    struct turn *turn = &channel->turn;

    if (turn->units++ == 0)
        turn->busy_since_ns = channel->now_ns;
    turn->estimate_ns += estimate_ns;
    turn->bytes += copy_bytes;
}

static void count_busy(struct channel *channel)
{
    struct turn *turn = &channel->turn;

    if (channel->now_ns > turn->busy_since_ns)
        turn->busy_ns += channel->now_ns - turn->busy_since_ns;
    turn->busy_since_ns = channel->now_ns;
}

/*
 * Before anyone is answered, and not at the end of the round: the driver may end this process.
 * What is taken comes first: the mediator ends a worker that has more done than taken.
 */
static void tell_jobs(struct channel *channel)
{
    page_store_u64(&channel->map.report->jobs_taken, channel->turn.jobs_taken);
    page_store_u64(&channel->map.report->jobs_done, channel->turn.jobs_done);
    page_store_u64(&channel->map.report->jobs_failed, channel->turn.jobs_failed);
}

void turn_finished(struct channel *channel, const struct batch *batch, uint64_t run_ns, bool failed)
{
    struct turn *turn = &channel->turn;
    bool one_failed = failed && batch->jobs > 0;

    if (batch->units == 0)
        return;
    turn->units -= batch->units;
    turn->estimate_ns -= batch->estimate_ns;
    turn->bytes -= batch->copy_bytes;
    turn->jobs_failed += one_failed;
    turn->jobs_done += batch->jobs - one_failed;
    tell_jobs(channel);
    channel->hold.dirty = true;
    count_busy(channel);
}

void turn_job_over(struct channel *channel, bool failed)
{
    channel->turn.jobs_failed += failed;
    channel->turn.jobs_done += !failed;
    tell_jobs(channel);
}

/* How often a guest had to wait: each time that something was used up, not each round. */
static void count_spent(struct turn *turn, bool jobs, bool deep)
{
    uint32_t spent = (jobs ? VGPU_WANT_JOBS : 0) | (deep ? VGPU_WANT_DEPTH : 0) |
                     (turn->bytes_short ? VGPU_WANT_BYTES : 0);
    uint32_t rose = spent & ~turn->spent;

    for (unsigned limit = 0; rose >> limit; limit++)
        turn->held_by[limit] += rose >> limit & 1;
    turn->spent = spent;
}

uint64_t turn_tell_credit(struct channel *channel)
{
    const struct vgpu_lease_page *lease = channel->map.lease;
    struct turn *turn = &channel->turn;
    uint64_t deepest = page_load_u32(&lease->depth_max);
    uint64_t allowed = page_load_u64(&lease->jobs_allowed);
    uint64_t room = deepest > depth(turn) ? deepest - depth(turn) : 0;
    uint64_t rate_room = allowed > turn->jobs_taken ? allowed - turn->jobs_taken : 0;
    uint64_t credit = turn->jobs_seen + (room < rate_room ? room : rate_room);
    uint64_t told = channel->credit_told;

    count_spent(turn, rate_room == 0, room == 0);
    if (credit == told)
        return 0;
    page_store_u64(&channel->map.page->notice.credit, credit);
    channel->credit_told = credit;
    return credit > told ? credit - told : 0;
}

static void publish_counters(struct channel *channel)
{
    struct vgpu_report_page *report = channel->map.report;
    struct turn *turn = &channel->turn;

    if (turn->units > 0)
        count_busy(channel);
    page_store_u32(&report->depth, (uint32_t)depth(turn));
    page_store_u64(&report->jobs_taken, turn->jobs_taken);
    page_store_u64(&report->jobs_refused, turn->jobs_refused);
    page_store_u64(&report->busy_ns, turn->busy_ns);
    page_store_u64(&report->wait_ns, turn->wait_ns);
    page_store_u64(&report->oldest_issued_ns, streams_oldest_ns(channel));
    page_store_u64(&report->bytes_in_flight, turn->bytes);
    page_store_u32(&report->grant_seen, turn->grant);
    for (int limit = 0; limit < VGPU_LIMIT_COUNT; limit++) {
        page_store_u64(&report->refused_by[limit], turn->refused_by[limit]);
        page_store_u64(&report->held_by[limit], turn->held_by[limit]);
    }
}

/* So that the next one begins when this one ends. True if the mediator should look. */
static bool publish_ending(struct channel *channel)
{
    struct turn *turn = &channel->turn;
    uint64_t end_ns;

    if (!turn_drains(channel) || turn->ending_told == turn->seen || !turn->contended)
        return false;
    end_ns = streams_end_ns(channel);
    if (end_ns == UINT64_MAX || end_ns > channel->now_ns + TURN_ENDING_NS)
        return false;
    turn->ending_told = turn->seen;
    page_store_u64(&channel->map.report->turn_ending, turn->seen);
    return true;
}

/* A revoke is carried out when nothing is in flight. True if the mediator should look. */
static bool publish_turn(struct channel *channel)
{
    struct turn *turn = &channel->turn;

    if (turn->seen == turn->done_told || turn_drains(channel))
        return false;
    turn->done_told = turn->seen;
    page_store_u64(&channel->map.report->turn_done, turn->seen);
    return !turn_granted(channel);
}

/* A need that rises is told at once unless the turn is here; one that falls, if others wait. */
static bool publish_need(struct channel *channel, bool ring_empty)
{
    struct turn *turn = &channel->turn;
    uint32_t need = turn->need;

    if (turn->units > 0 || turn->wants || channel->hold.wants_turn)
        need = VGPU_NEED_GPU;
    else if (ring_empty)
        need = VGPU_NEED_NOTHING;
    if (need != turn->need) {
        turn->need = need;
        turn->fall_told = false;
        page_store_u32(&channel->map.report->need, need);
        /* Full fence: pairs with the mediator's between setting contended and loading need. */
        page_fence();
        if (need == VGPU_NEED_GPU)
            return !turn_granted(channel);
    }
    if (need == VGPU_NEED_GPU || turn->fall_told || !page_load_u32(&channel->map.lease->contended))
        return false;
    turn->fall_told = true;
    return true;
}

/* What was used up, once for each value that the mediator has granted. */
static bool publish_wants(struct channel *channel)
{
    const struct vgpu_lease_page *lease = channel->map.lease;
    struct turn *turn = &channel->turn;
    uint32_t wants = page_load_u32(&lease->ask), told = turn->wants_told;
    uint64_t at[3];
    bool news = false;

    if (wants == 0 && told == 0)
        return false;
    at[VGPU_LIMIT_RATE] = page_load_u64(&lease->jobs_allowed);
    at[VGPU_LIMIT_DEPTH] = page_load_u32(&lease->depth_max);
    at[VGPU_LIMIT_BYTES] = page_load_u64(&lease->bytes_max);
    wants &= (turn->jobs_taken >= at[VGPU_LIMIT_RATE] ? VGPU_WANT_JOBS : 0) |
             (depth(turn) >= at[VGPU_LIMIT_DEPTH] ? VGPU_WANT_DEPTH : 0) |
             (turn->bytes_short ? VGPU_WANT_BYTES : 0);
    for (unsigned limit = 0; wants >> limit; limit++) {
        if (!(wants >> limit & 1) || (told >> limit & 1 && turn->told_at[limit] == at[limit]))
            continue;
        turn->told_at[limit] = at[limit];
        news = true;
    }
    turn->wants_told = wants;
    if (wants != told)
        page_store_u32(&channel->map.report->wants, wants);
    return news;
}

void turn_publish(struct channel *channel, bool ring_empty)
{
    bool kick;

    publish_counters(channel);
    kick = publish_need(channel, ring_empty);
    kick |= publish_turn(channel);
    kick |= publish_ending(channel);
    kick |= publish_wants(channel);
    if (kick)
        channel_kick(channel->fds[VGPU_FD_REPORT_KICK]);
}
