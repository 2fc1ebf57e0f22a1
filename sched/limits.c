/* SPDX-License-Identifier: Apache-2.0 */
/* The rate limit of a VM; see limits.h. The bucket is exact: tokens are kept in 1e-9 jobs. */
#include "sched/limits.h"

#include <errno.h>

#define TOKEN UINT64_C(1000000000)

int limits_config_check(const struct limits_config *config)
{
    if (config->rate_per_s > LIMITS_RATE_MAX || config->burst > LIMITS_BURST_MAX)
        return -EINVAL;
    if (config->rate_per_s && !config->burst)
        return -EINVAL;
    return 0;
}

/* The most that may be in the bucket beside what is granted. */
static uint64_t full(const struct limits *limits)
{
    uint64_t burst = limits->config.burst;

    return burst > limits->held ? (burst - limits->held) * TOKEN : 0;
}

void limits_init(struct limits *limits, const struct limits_config *config, uint64_t now_ns)
{
    *limits = (struct limits){.config = *config, .refilled_ns = now_ns};
    limits->tokens = full(limits);
}

/* What is owed is a part of what is missing. */
static void refill(struct limits *limits, uint64_t now_ns)
{
    uint64_t rate = limits->config.rate_per_s, most = full(limits), missing, elapsed, gain;

    if (limits->tokens > most)
        limits->tokens = most;
    if (now_ns <= limits->refilled_ns)
        return;
    elapsed = now_ns - limits->refilled_ns;
    limits->refilled_ns = now_ns;
    missing = most - limits->tokens + limits->owed;
    gain = !rate || elapsed >= missing / rate + 1 ? missing : elapsed * rate;
    if (gain > missing)
        gain = missing;
    if (gain <= limits->owed) {
        limits->owed -= gain;
        return;
    }
    limits->tokens += gain - limits->owed;
    limits->owed = 0;
}

void limits_configure(struct limits *limits, const struct limits_config *config, uint64_t now_ns)
{
    bool unlimited = !limits->config.rate_per_s;

    refill(limits, now_ns);
    limits->config = *config;
    if (unlimited) {
        limits->held = limits->owed = 0;
        limits->tokens = full(limits);
    }
    refill(limits, now_ns);
}

void limits_adopt(struct limits *limits, uint64_t now_ns, uint64_t held)
{
    limits->held += held;
    limits->tokens = 0;
    limits->refilled_ns = now_ns;
}

uint64_t limits_take(struct limits *limits, uint64_t now_ns, uint64_t want)
{
    if (!limits->config.rate_per_s)
        return want;
    refill(limits, now_ns);
    if (limits->owed)
        return 0;
    if (limits->tokens / TOKEN < want)
        want = limits->tokens / TOKEN;
    limits->tokens -= want * TOKEN;
    limits->held += want;
    return want;
}

void limits_spend(struct limits *limits, uint64_t now_ns, uint64_t jobs)
{
    uint64_t over = jobs > limits->held ? jobs - limits->held : 0;
    uint64_t debt;

    if (!limits->config.rate_per_s)
        return;
    refill(limits, now_ns); /* up to now with what was held until now */
    limits->held -= jobs - over;
    if (over > LIMITS_BURST_MAX)
        over = LIMITS_BURST_MAX;
    debt = over * TOKEN;
    if (debt <= limits->tokens) {
        limits->tokens -= debt;
        return;
    }
    limits->owed += debt - limits->tokens;
    limits->tokens = 0;
    if (limits->owed > LIMITS_BURST_MAX * TOKEN)
        limits->owed = LIMITS_BURST_MAX * TOKEN;
}

void limits_untake(struct limits *limits, uint64_t now_ns, uint64_t jobs)
{
    if (jobs > limits->held)
        jobs = limits->held;
    refill(limits, now_ns);
    limits->held -= jobs;
    limits->tokens += jobs * TOKEN;
    refill(limits, now_ns);
}

uint64_t limits_wait_ns(const struct limits *limits, uint64_t now_ns, uint64_t jobs)
{
    struct limits then = *limits;
    uint64_t need;

    if (!then.config.rate_per_s)
        return 0;
    refill(&then, now_ns);
    if (jobs > then.config.burst)
        jobs = then.config.burst;
    need = jobs * TOKEN + then.owed;
    if (then.tokens >= need)
        return 0;
    return (need - then.tokens + then.config.rate_per_s - 1) / then.config.rate_per_s;
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
