/* SPDX-License-Identifier: Apache-2.0 */
/* Admission limits; see limits.h. The bucket is exact: tokens are kept in 1e-9 jobs. */
#include "sched/limits.h"

#include <errno.h>

#define TOKEN          UINT64_C(1000000000)
#define RETRY_FLOOR_NS UINT64_C(1000000)
#define RETRY_CAP_NS   UINT64_C(5000000000)

int limits_config_check(const struct limits_config *config)
{
    if (config->rate_per_s > LIMITS_RATE_MAX || config->burst > LIMITS_BURST_MAX)
        return -EINVAL;
    if (config->rate_per_s && !config->burst)
        return -EINVAL;
    return 0;
}

void limits_init(struct limits *limits, const struct limits_config *config, uint64_t now_ns)
{
    *limits = (struct limits){
        .config = *config,
        .refilled_ns = now_ns,
        .tokens = (uint64_t)config->burst * TOKEN,
        .done_ns = now_ns,
    };
}

static void refill(struct limits *limits, uint64_t now_ns)
{
    uint64_t full = (uint64_t)limits->config.burst * TOKEN, rate = limits->config.rate_per_s;
    uint64_t missing = full - limits->tokens, elapsed;

    if (now_ns <= limits->refilled_ns)
        return;
    elapsed = now_ns - limits->refilled_ns;
    limits->refilled_ns = now_ns;
    if (!rate || elapsed >= missing / rate + 1)
        limits->tokens = full;
    else
        limits->tokens += elapsed * rate;
    if (limits->tokens > full)
        limits->tokens = full;
}

void limits_configure(struct limits *limits, const struct limits_config *config, uint64_t now_ns)
{
    bool unlimited = !limits->config.rate_per_s;

    refill(limits, now_ns);
    limits->config = *config;
    if (unlimited || limits->tokens > (uint64_t)config->burst * TOKEN)
        limits->tokens = (uint64_t)config->burst * TOKEN;
}

void limits_set_quarantine(struct limits *limits, bool quarantined)
{
    limits->quarantined = quarantined;
}

static struct limits_answer refuse(struct limits *limits, enum limits_verdict verdict,
                                   enum limits_reason reason, uint64_t retry_ns)
{
    struct limits_answer answer = {.verdict = verdict, .reason = reason, .retry_ns = retry_ns};

    limits->refused[reason]++;
    return answer;
}

/* Until so many jobs of those in flight are probably done. */
static uint64_t drain_hint(const struct limits *limits, uint64_t jobs)
{
    uint64_t hint;

    if (limits->gap_ns && jobs > RETRY_CAP_NS / limits->gap_ns)
        return RETRY_CAP_NS;
    hint = jobs * limits->gap_ns;
    return hint < RETRY_FLOOR_NS ? RETRY_FLOOR_NS : hint;
}

static bool too_large(const struct limits_config *config, uint32_t jobs, uint64_t bytes,
                      enum limits_reason *ret_reason)
{
    if (config->rate_per_s && jobs > config->burst)
        *ret_reason = LIMITS_BY_RATE;
    else if (config->depth_max && jobs > config->depth_max)
        *ret_reason = LIMITS_BY_DEPTH;
    else if (config->bytes_max && bytes > config->bytes_max)
        *ret_reason = LIMITS_BY_BYTES;
    else
        return false;
    return true;
}

struct limits_answer limits_admit(struct limits *limits, uint64_t now_ns, uint32_t jobs,
                                  uint64_t bytes)
{
    const struct limits_config *config = &limits->config;
    uint64_t need = (uint64_t)jobs * TOKEN;
    enum limits_reason reason = LIMITS_BY_NONE;

    if (limits->quarantined)
        return refuse(limits, LIMITS_QUARANTINED, LIMITS_BY_QUARANTINE, 0);
    if (too_large(config, jobs, bytes, &reason))
        return refuse(limits, LIMITS_TOO_LARGE, reason, 0);
    if (jobs > UINT32_MAX - limits->depth ||
        (config->depth_max && (uint64_t)limits->depth + jobs > config->depth_max))
        return refuse(limits, LIMITS_BUSY, LIMITS_BY_DEPTH,
                      drain_hint(limits, limits->depth + (uint64_t)jobs - config->depth_max));
    if (bytes > UINT64_MAX - limits->bytes ||
        (config->bytes_max && limits->bytes + bytes > config->bytes_max))
        return refuse(limits, LIMITS_BUSY, LIMITS_BY_BYTES, drain_hint(limits, 1));
    refill(limits, now_ns);
    if (config->rate_per_s && limits->tokens < need)
        return refuse(limits, LIMITS_BUSY, LIMITS_BY_RATE,
                      (need - limits->tokens + config->rate_per_s - 1) / config->rate_per_s);
    if (config->rate_per_s)
        limits->tokens -= need;
    limits->depth += jobs;
    limits->bytes += bytes;
    return (struct limits_answer){.verdict = LIMITS_OK};
}

void limits_done(struct limits *limits, uint64_t now_ns, uint32_t jobs, uint64_t bytes)
{
    uint64_t gap = now_ns > limits->done_ns ? now_ns - limits->done_ns : 0;

    limits->depth -= jobs < limits->depth ? jobs : limits->depth;
    limits->bytes -= bytes < limits->bytes ? bytes : limits->bytes;
    if (!jobs)
        return;
    gap /= jobs;
    limits->gap_ns = limits->gap_ns ? limits->gap_ns - limits->gap_ns / 8 + gap / 8 : gap;
    limits->done_ns = now_ns;
}

uint32_t limits_take(struct limits *limits, uint64_t now_ns, uint32_t want)
{
    const struct limits_config *config = &limits->config;
    uint32_t jobs = want;

    if (limits->quarantined)
        return 0;
    refill(limits, now_ns);
    if (config->rate_per_s && limits->tokens / TOKEN < jobs)
        jobs = (uint32_t)(limits->tokens / TOKEN);
    if (config->depth_max) {
        uint32_t room = config->depth_max > limits->depth ? config->depth_max - limits->depth : 0;

        jobs = room < jobs ? room : jobs;
    }
    if (jobs > UINT32_MAX - limits->depth)
        jobs = UINT32_MAX - limits->depth;
    if (config->rate_per_s)
        limits->tokens -= (uint64_t)jobs * TOKEN;
    limits->depth += jobs;
    return jobs;
}

void limits_untake(struct limits *limits, uint64_t now_ns, uint32_t jobs)
{
    uint64_t full = (uint64_t)limits->config.burst * TOKEN;

    if (jobs > limits->depth)
        jobs = limits->depth;
    limits->depth -= jobs;
    refill(limits, now_ns);
    limits->tokens += (uint64_t)jobs * TOKEN;
    if (limits->tokens > full)
        limits->tokens = full;
}

/* Rounds of equal parts among those who still want; each round satisfies at least one of them. */
void limits_split(uint64_t total, const uint64_t *want, uint64_t *ret, uint32_t n, uint32_t first)
{
    uint32_t hungry = 0;

    for (uint32_t i = 0; i < n; i++) {
        ret[i] = 0;
        hungry += want[i] > 0;
    }
    while (hungry && total >= hungry) {
        uint64_t part = total / hungry;

        hungry = 0;
        for (uint32_t i = 0; i < n; i++) {
            uint64_t more = want[i] - ret[i] < part ? want[i] - ret[i] : part;

            ret[i] += more;
            total -= more;
            hungry += want[i] > ret[i];
        }
    }
    for (uint32_t k = 0; k < n && total; k++) {
        uint32_t i = (uint32_t)(((uint64_t)first + k) % n);

        if (want[i] > ret[i]) {
            ret[i]++;
            total--;
        }
    }
}
