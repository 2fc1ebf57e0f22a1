/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/budget.h"

#include <assert.h>
#include <stdlib.h>
#include <vgpu/wire.h>

#include "common/clock.h"
#include "store/store.h"

/* Jobs come into a bucket of their own time; they are handed out in parts of this. */
#define PART_NS (5 * VGPU_NS_PER_MS)
/* After that long without a job a channel may lose what it was granted to another. */
#define STILL_NS (5 * VGPU_NS_PER_MS)
/* How often one that lost it is given a job while others want all there is. */
#define WAKE_NS (100 * VGPU_NS_PER_MS)
/* Until depth and bytes are divided again, while a channel has used up its part. */
#define DIVIDE_NS (10 * VGPU_NS_PER_MS)
#define AUDIT_NS  (500 * VGPU_NS_PER_MS)

#define RETRY_NS     (10 * VGPU_NS_PER_MS)
#define RETRY_MAX_NS (5 * VGPU_NS_PER_S)

/* Those that are ended and wait for their place come on top; see count_open() of vm.c. */
#define CHANNELS_MAX (2 * VGPU_VM_MAX_CHANNELS)

static bool limited(const struct budget *budget)
{
    return budget->limits.rate.rate_per_s || budget->limits.depth || budget->limits.bytes;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t held(const struct channel_grant *grant)
{
    return grant->jobs > grant->spent ? grant->jobs - grant->spent : 0;
}

/* Takes up what the worker says of itself since the last look. */
static void look(struct budget *budget, struct channel *channel, struct channel_report *report)
{
    struct channel_grant *grant = &channel->grant;
    uint64_t now_ns = loop_now(budget->loop);

    channel_report(channel, report);
    channel_grant_seen(channel, report);
    if (report->jobs_taken <= grant->spent && report->refused_rate == grant->refused)
        return;
    grant->moved_ns = now_ns;
    grant->sleeps = false;
    grant->refused = report->refused_rate;
    if (report->jobs_taken <= grant->spent)
        return;
    limits_spend(&budget->rate, now_ns, report->jobs_taken - grant->spent);
    grant->spent = report->jobs_taken;
}

/* rate */

static void set_jobs(struct budget *budget, struct channel *channel, uint64_t jobs)
{
    struct channel_offer offer = channel_offered(channel);

    offer.jobs = channel->grant.spent + jobs;
    channel_offer(channel, &offer);
}

/* It took jobs, or was granted some, a moment ago: one of what it holds is its own. */
static bool is_moving(const struct budget *budget, const struct channel_grant *grant)
{
    return held(grant) > 0 && loop_now(budget->loop) - grant->moved_ns < STILL_NS;
}

/* What a channel would have of all that there is. scarce: not all who have none would get one. */
static uint64_t wanted(const struct budget *budget, const struct channel_grant *grant, bool scarce,
                       bool wake)
{
    if (held(grant) == 0 && grant->sleeps)
        return wake;
    if (held(grant) == 0)
        return budget->limits.rate.burst;
    return !scarce || is_moving(budget, grant) ? held(grant) : 0;
}

/* Divides what is in the bucket and what is granted and not spent. */
static void divide_jobs(struct budget *budget, unsigned hungry, bool wake)
{
    uint64_t want[CHANNELS_MAX], part[CHANNELS_MAX], all, now_ns = loop_now(budget->loop);
    uint32_t n = 0, next = budget->first;
    bool scarce;

    all = limits_take(&budget->rate, now_ns, UINT64_MAX);
    limits_untake(&budget->rate, now_ns, all);
    scarce = all < hungry;
    for (struct channel *c = budget->channels; c; c = c->budget_next) {
        uint64_t own = is_moving(budget, &c->grant);

        all += held(&c->grant) - own;
        want[n++] = wanted(budget, &c->grant, scarce, wake) - own;
    }
    limits_split(all, want, part, n, budget->first);
    n = 0;
    for (struct channel *c = budget->channels; c; c = c->budget_next, n++) {
        part[n] += is_moving(budget, &c->grant);
        if (part[n] >= held(&c->grant))
            continue;
        limits_untake(&budget->rate, now_ns, held(&c->grant) - part[n]);
        set_jobs(budget, c, part[n]);
        c->grant.sleeps = part[n] == 0 && now_ns - c->grant.moved_ns >= STILL_NS;
    }
    n = 0;
    for (struct channel *c = budget->channels; c; c = c->budget_next, n++) {
        uint64_t has = held(&c->grant);

        if (part[n] <= has)
            continue;
        set_jobs(budget, c, has + limits_take(&budget->rate, now_ns, part[n] - has));
        c->grant.moved_ns = now_ns;
        next = n + 1;
    }
    /* Whoever had the odd one is last the next time. */
    budget->first = next;
}

/* Channels by what they have: none and they wait for more, none and they sleep, some. */
struct census {
    unsigned hungry, asleep, rich;
};

static struct census count_channels(const struct budget *budget)
{
    struct census n = {0};

    for (const struct channel *c = budget->channels; c; c = c->budget_next) {
        bool has = held(&c->grant) > 0;

        n.rich += has;
        n.hungry += !has && !c->grant.sleeps;
        n.asleep += !has && c->grant.sleeps;
    }
    return n;
}

/* When more may be given to those that have none. */
static uint64_t next_share_ns(const struct budget *budget, const struct census *n)
{
    uint64_t now_ns = loop_now(budget->loop), rate = budget->limits.rate.rate_per_s, wait_ns;

    if (!n->hungry && !n->asleep)
        return UINT64_MAX;
    if (!n->hungry)
        return now_ns + max_u64(limits_wait_ns(&budget->rate, now_ns, 1), PART_NS);
    wait_ns = limits_wait_ns(&budget->rate, now_ns, max_u64(1, rate / (VGPU_NS_PER_S / PART_NS)));
    if (n->rich) /* what others do not spend is theirs for a moment only */
        wait_ns = min_u64(wait_ns, STILL_NS);
    if (n->asleep)
        wait_ns = min_u64(wait_ns, WAKE_NS);
    return now_ns + max_u64(wait_ns, VGPU_NS_PER_MS);
}

static uint64_t share_jobs(struct budget *budget)
{
    uint64_t now_ns = loop_now(budget->loop);
    struct census n;
    bool wake;

    if (budget->limits.rate.rate_per_s == 0)
        return UINT64_MAX;
    n = count_channels(budget);
    wake = n.asleep && (!n.hungry || now_ns - budget->woken_ns >= WAKE_NS);
    if (n.hungry || wake)
        divide_jobs(budget, n.hungry, wake);
    if (wake)
        budget->woken_ns = now_ns;
    n = count_channels(budget);
    return next_share_ns(budget, &n);
}

/* depth and bytes */

/* A channel's part of what is in use at a time. */
struct level {
    struct channel *channel;
    uint64_t used, part;
    bool hungry;
};

static void offer_level(const struct level *level, bool bytes)
{
    struct channel_offer offer = channel_offered(level->channel);

    if (bytes)
        offer.bytes = level->part;
    else
        offer.depth = (uint32_t)level->part;
    channel_offer(level->channel, &offer);
}

static unsigned read_levels(struct budget *budget, bool bytes, struct level *levels)
{
    unsigned n = 0;

    for (struct channel *c = budget->channels; c; c = c->budget_next) {
        struct channel_report report;
        struct level *level = &levels[n++];

        channel_report(c, &report);
        *level =
            bytes ? (struct level){c, report.bytes_in_flight, c->grant.bytes,
                                   report.wants & VGPU_WANT_BYTES}
                  : (struct level){c, report.depth, c->grant.depth, report.depth >= c->grant.depth};
    }
    return n;
}

/* By what each uses and wants; what nobody wants is divided evenly. One each in any case. */
static void divide_level(const struct level *levels, unsigned n, uint64_t total, uint32_t first,
                         uint64_t *part)
{
    uint64_t want[CHANNELS_MAX], extra[CHANNELS_MAX], left = total;

    for (unsigned i = 0; i < n; i++)
        want[i] = levels[i].hungry ? total : min_u64(levels[i].used + 1, total);
    limits_split(total, want, part, n, first);
    for (unsigned i = 0; i < n; i++)
        left -= part[i];
    for (unsigned i = 0; i < n; i++)
        want[i] = left;
    limits_split(left, want, extra, n, first);
    for (unsigned i = 0; i < n; i++)
        part[i] = max_u64(part[i] + extra[i], 1);
}

/*
 * Divides total. What one has above its part goes to others when it is not in use any more. Returns
 * when to look again.
 */
static uint64_t share_level(struct budget *budget, uint64_t total, bool bytes)
{
    struct level levels[CHANNELS_MAX];
    uint64_t part[CHANNELS_MAX], taken = 0, given = 0;
    unsigned n = read_levels(budget, bytes, levels), hungry = 0;

    for (unsigned i = 0; i < n; i++) {
        hungry += levels[i].hungry;
        given += levels[i].part;
    }
    if (n == 1 || (hungry == 0 && given <= max_u64(total, n)))
        return UINT64_MAX;
    divide_level(levels, n, total, budget->first++, part);
    for (unsigned i = 0; i < n; i++) {
        if (part[i] < levels[i].part) {
            levels[i].part = part[i];
            offer_level(&levels[i], bytes);
        }
        taken += max_u64(levels[i].part, min_u64(levels[i].used, total));
    }
    for (unsigned i = 0; i < n && taken < total; i++) {
        uint64_t more = part[i] > levels[i].part ? part[i] - levels[i].part : 0;

        more = min_u64(more, total - taken);
        if (more == 0)
            continue;
        taken += more;
        levels[i].part += more;
        offer_level(&levels[i], bytes);
    }
    return hungry ? loop_now(budget->loop) + DIVIDE_NS : UINT64_MAX;
}

/* all of them */

static uint64_t retry_ns(const struct budget *budget)
{
    uint64_t rate = budget->limits.rate.rate_per_s, each_ns;

    if (rate == 0)
        return RETRY_NS;
    each_ns = VGPU_NS_PER_S * max_u64(budget->n_channels, 1) / rate;
    return min_u64(max_u64(each_ns, VGPU_NS_PER_MS), RETRY_MAX_NS);
}

static uint32_t asks(const struct budget *budget)
{
    bool several = budget->n_channels > 1;

    return (budget->limits.rate.rate_per_s ? VGPU_WANT_JOBS : 0) |
           (budget->limits.depth && several ? VGPU_WANT_DEPTH : 0) |
           (budget->limits.bytes && several ? VGPU_WANT_BYTES : 0);
}

/* What a channel has without any dividing. */
static void offer_rest(struct budget *budget, struct channel *channel)
{
    const struct budget_limits *limits = &budget->limits;
    struct channel_offer offer = channel_offered(channel);

    offer.ask = asks(budget);
    offer.retry_ns = retry_ns(budget);
    if (limits->rate.rate_per_s == 0)
        offer.jobs = UINT64_MAX;
    else if (offer.jobs == UINT64_MAX)
        offer.jobs = channel->grant.spent;
    if (limits->depth == 0)
        offer.depth = STORE_DEPTH_DEFAULT;
    else if (budget->n_channels == 1 || offer.depth > limits->depth)
        offer.depth = limits->depth;
    if (limits->bytes == 0)
        offer.bytes = 0;
    else if (budget->n_channels == 1 || offer.bytes == 0 || offer.bytes > limits->bytes)
        offer.bytes = limits->bytes;
    channel_offer(channel, &offer);
}

static void share(struct budget *budget)
{
    const struct budget_limits *limits = &budget->limits;
    uint64_t due_ns;

    if (!limited(budget) || !budget->channels) {
        loop_timer_clear(budget->loop, &budget->timer);
        return;
    }
    due_ns = min_u64(budget->audit_ns, share_jobs(budget));
    if (limits->depth)
        due_ns = min_u64(due_ns, share_level(budget, limits->depth, false));
    if (limits->bytes)
        due_ns = min_u64(due_ns, share_level(budget, limits->bytes, true));
    loop_timer_set(budget->loop, &budget->timer, due_ns);
}

static void offer_all(struct budget *budget)
{
    for (struct channel *c = budget->channels; c; c = c->budget_next) {
        struct channel_report report;

        look(budget, c, &report);
        offer_rest(budget, c);
    }
    share(budget);
}

static void fire(void *context)
{
    struct budget *budget = context;
    bool audit = loop_now(budget->loop) >= budget->audit_ns;

    for (struct channel *c = budget->channels; c; c = c->budget_next) {
        struct channel_report report;

        look(budget, c, &report);
        if (audit)
            budget->audit(c);
    }
    if (audit)
        budget->audit_ns = loop_now(budget->loop) + AUDIT_NS;
    share(budget);
}

void budget_init(struct budget *budget, struct loop *loop, void (*audit)(struct channel *channel))
{
    *budget = (struct budget){.loop = loop, .audit = audit};
    budget->timer = (struct loop_timer){.fire = fire, .context = budget};
    limits_init(&budget->rate, &budget->limits.rate, loop_now(loop));
}

void budget_release(struct budget *budget)
{
    loop_timer_clear(budget->loop, &budget->timer);
}

/* One that was not limited had no end of jobs: none of those that it took is owed. */
static void begin_counting(struct budget *budget)
{
    for (struct channel *c = budget->channels; c; c = c->budget_next) {
        struct channel_report report;

        channel_report(c, &report);
        c->grant.spent = max_u64(c->grant.spent, report.jobs_taken);
    }
}

static bool same(const struct budget_limits *a, const struct budget_limits *b)
{
    return a->rate.rate_per_s == b->rate.rate_per_s && a->rate.burst == b->rate.burst &&
           a->depth == b->depth && a->bytes == b->bytes;
}

void budget_configure(struct budget *budget, const struct budget_limits *limits)
{
    if (same(limits, &budget->limits))
        return;
    if (budget->limits.rate.rate_per_s == 0)
        begin_counting(budget);
    limits_configure(&budget->rate, &limits->rate, loop_now(budget->loop));
    budget->limits = *limits;
    offer_all(budget);
}

static void append(struct budget *budget, struct channel *channel)
{
    struct channel **end = &budget->channels;

    while (*end)
        end = &(*end)->budget_next;
    *end = channel;
    channel->budget_next = NULL;
    budget->n_channels++;
    assert(budget->n_channels <= CHANNELS_MAX);
}

void budget_add(struct budget *budget, struct channel *channel)
{
    bool first = !budget->channels;

    channel_grant_begin(channel);
    channel->grant.moved_ns = loop_now(budget->loop);
    append(budget, channel);
    if (!first && (budget->limits.depth || budget->limits.bytes)) {
        struct channel_offer offer = channel_offered(channel);

        /* Its part is divided when it has used up the first; without a limit this is not used. */
        offer.depth = offer.bytes = 1;
        channel_offer(channel, &offer);
    }
    if (limited(budget))
        offer_all(budget);
    else
        offer_rest(budget, channel);
    channel_grant_known(channel);
}

void budget_adopt(struct budget *budget, struct channel *channel)
{
    struct channel_report report;

    channel_grant_begin(channel);
    channel_report(channel, &report);
    channel->grant.spent = report.jobs_taken;
    channel->grant.refused = report.refused_rate;
    channel->grant.moved_ns = loop_now(budget->loop);
    append(budget, channel);
    if (budget->limits.rate.rate_per_s && channel->grant.jobs != UINT64_MAX)
        limits_adopt(&budget->rate, loop_now(budget->loop), held(&channel->grant));
    if (limited(budget))
        offer_all(budget);
    else
        offer_rest(budget, channel);
}

void budget_remove(struct budget *budget, struct channel *channel)
{
    struct channel **at = &budget->channels;
    struct channel_report report;

    while (*at && *at != channel)
        at = &(*at)->budget_next;
    if (!*at)
        return;
    *at = channel->budget_next;
    budget->n_channels--;
    if (!limited(budget))
        return;
    look(budget, channel, &report);
    if (channel->grant.jobs != UINT64_MAX)
        limits_untake(&budget->rate, loop_now(budget->loop), held(&channel->grant));
    offer_all(budget);
}

void budget_reported(struct budget *budget, struct channel *channel)
{
    struct channel_report report;

    if (!limited(budget))
        return;
    look(budget, channel, &report);
    if (report.wants)
        share(budget);
}
