/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/health.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The states */

static const bool moves[HEALTH_N_STATES][HEALTH_N_STATES] = {
    /* UNKNOWN, OK, WARNING, DRAINING, STOPPED, UNHEALTHY, MISSING */
    [HEALTH_UNKNOWN] = {false, true, true, true, true, true, true},
    [HEALTH_OK] = {true, false, true, true, true, true, true},
    [HEALTH_WARNING] = {true, true, false, true, true, true, true},
    [HEALTH_DRAINING] = {true, true, true, false, true, true, true},
    [HEALTH_STOPPED] = {true, true, true, true, false, true, true},
    /* Only a word of NVML's ends this, so it is known then how the GPU is. */
    [HEALTH_UNHEALTHY] = {false, true, true, true, true, false, true},
    [HEALTH_MISSING] = {true, true, true, true, true, true, false},
};

bool health_may_move(enum health_state from, enum health_state to)
{
    return moves[from][to];
}

const char *health_state_name(enum health_state state)
{
    static const char *const names[HEALTH_N_STATES] = {
        [HEALTH_UNKNOWN] = "unknown", [HEALTH_OK] = "ok",
        [HEALTH_WARNING] = "warning", [HEALTH_DRAINING] = "draining",
        [HEALTH_STOPPED] = "stopped", [HEALTH_UNHEALTHY] = "unhealthy",
        [HEALTH_MISSING] = "missing",
    };

    return names[state];
}

bool health_takes_channels(enum health_state state)
{
    return state < HEALTH_DRAINING;
}

bool health_takes_leases(enum health_state state)
{
    return state < HEALTH_STOPPED;
}

void health_sample_init(struct health_sample *sample)
{
    *sample = (struct health_sample){
        .temperature = NAN,
        .temperature_memory = NAN,
        .utilization = NAN,
        .power_w = NAN,
        .power_limit_w = NAN,
        .memory_used_bytes = HEALTH_NOT_KNOWN,
        .clock_sm_mhz = HEALTH_NOT_KNOWN,
        .clock_memory_mhz = HEALTH_NOT_KNOWN,
        .ecc_corrected = HEALTH_NOT_KNOWN,
        .ecc_uncorrected = HEALTH_NOT_KNOWN,
        .remapped_rows = HEALTH_NOT_KNOWN,
        .remap_pending = HEALTH_NOT_KNOWN,
        .remap_failure = HEALTH_NOT_KNOWN,
        .slowdown = HEALTH_NOT_KNOWN,
        .recovery = HEALTH_RECOVERY_UNKNOWN,
        .n_throttle = HEALTH_THROTTLES_MAX + 1,
    };
}

void health_init(struct health *health)
{
    *health = (struct health){.state = HEALTH_MISSING};
    health_sample_init(&health->sample);
    for (int i = 0; i < THRESHOLD_N; i++)
        health->intent.rules[i] = thresholds[i].rule;
}

/* Thresholds */

static double known(int64_t number)
{
    return number == HEALTH_NOT_KNOWN ? NAN : (double)number;
}

/* What is compared with a threshold; NaN: it is not known. */
static double value_of(const struct health *health, enum threshold_id id)
{
    const struct health_sample *sample = &health->sample;

    switch (id) {
    case THRESHOLD_TEMPERATURE_WARM:
    case THRESHOLD_TEMPERATURE_HOT:
        return sample->temperature;
    case THRESHOLD_MEMORY_WARM:
    case THRESHOLD_MEMORY_HOT:
        return sample->temperature_memory;
    case THRESHOLD_SLOWDOWN:
        return known(sample->slowdown);
    case THRESHOLD_ECC_CORRECTED:
        return known(sample->ecc_corrected);
    case THRESHOLD_ECC_UNCORRECTED:
        return known(sample->ecc_uncorrected) - (double)health->ecc_base;
    case THRESHOLD_REMAP_PENDING:
        return known(sample->remap_pending);
    case THRESHOLD_REMAP_FAILURE:
        return known(sample->remap_failure);
    case THRESHOLD_RECOVERY:
        return sample->recovery == HEALTH_RECOVERY_UNKNOWN
                   ? NAN
                   : (double)(sample->recovery == HEALTH_RECOVERY_DRAIN);
    case THRESHOLD_XID_WARNING:
        return health->xid_warnings;
    case THRESHOLD_XID_ERROR:
        return health->xid_errors;
    case THRESHOLD_N:
        break;
    }
    return NAN;
}

/* What is not known any more stays as it was. */
static void compare(struct health *health)
{
    for (int i = 0; i < THRESHOLD_N; i++) {
        double value = value_of(health, (enum threshold_id)i);
        double limit = health->intent.rules[i].value;

        if (isnan(value))
            continue;
        if (health->over[i])
            limit -= thresholds[i].hysteresis;
        health->over[i] =
            health->over[i] && thresholds[i].hysteresis > 0 ? value > limit : value >= limit;
    }
}

static enum threshold_action worst_action(const struct health *health)
{
    enum threshold_action worst = health->intent.drained ? THRESHOLD_DRAIN : THRESHOLD_IGNORE;

    for (int i = 0; i < THRESHOLD_N; i++)
        if (health->over[i] && health->intent.rules[i].action > worst)
            worst = health->intent.rules[i].action;
    return worst;
}

bool health_is_gone(const struct health *health)
{
    return health->sample.lost || health->sample.reset_required;
}

static bool needs_reset(const struct health *health)
{
    return health_is_gone(health) || health->xid_fatal > 0 ||
           health->sample.recovery == HEALTH_RECOVERY_RESET ||
           health->sample.recovery == HEALTH_RECOVERY_REBOOT;
}

bool health_is_suspect(const struct health *health)
{
    return health->state == HEALTH_UNHEALTHY || health->state == HEALTH_MISSING ||
           health->over[THRESHOLD_ECC_UNCORRECTED] || health->over[THRESHOLD_REMAP_FAILURE] ||
           health->over[THRESHOLD_RECOVERY] || health->over[THRESHOLD_XID_ERROR];
}

/* What is known now, as a state. */
static enum health_state judge(const struct health *health)
{
    enum threshold_action action = worst_action(health);

    if (!health->intent.present || (health->sampled && !health->sample.listed))
        return HEALTH_MISSING;
    if (needs_reset(health))
        return HEALTH_UNHEALTHY;
    if (action == THRESHOLD_STOP)
        return HEALTH_STOPPED;
    if (action == THRESHOLD_DRAIN)
        return HEALTH_DRAINING;
    if (health->silent || !health->sampled)
        return HEALTH_UNKNOWN;
    return action == THRESHOLD_WARN ? HEALTH_WARNING : HEALTH_OK;
}

static bool settle(struct health *health, int64_t now_s)
{
    enum health_state next;

    compare(health);
    next = judge(health);
    if (next == health->state)
        return false;
    assert(health_may_move(health->state, next));
    health->state = next;
    health->since_s = now_s;
    return true;
}

/* What happens */

static void forget_errors(struct health *health)
{
    health->ecc_base = 0;
    health->xid_warnings = health->xid_errors = health->xid_fatal = 0;
}

/* The GPU answers again, or its counters start anew: somebody has reset it. */
static bool shows_a_reset(const struct health_sample *before, const struct health_sample *now)
{
    if (now->lost || now->reset_required || !now->listed)
        return false;
    if (before->lost || before->reset_required)
        return true;
    return (now->ecc_uncorrected >= 0 && now->ecc_uncorrected < before->ecc_uncorrected) ||
           (now->ecc_corrected >= 0 && now->ecc_corrected < before->ecc_corrected);
}

static void note_xid(struct health *health, uint32_t xid, int64_t now_s)
{
    health->last_xid = xid;
    health->last_xid_s = now_s;
    health->xids_heard[xid_class(xid)]++;
    switch (xid_class(xid)) {
    case XID_WARNING:
        health->xid_warnings++;
        health->xid_warning = xid;
        break;
    case XID_ERROR:
        health->xid_errors++;
        health->xid_error = xid;
        break;
    case XID_FATAL:
        health->xid_fatal = xid;
        break;
    case XID_APPLICATION:
    case XID_OTHER:
    case XID_N_CLASSES:
        break;
    }
}

bool health_take(struct health *health, const struct health_sample *sample, int64_t now_s)
{
    if (health->sampled && shows_a_reset(&health->sample, sample)) {
        health->resets++;
        forget_errors(health);
    }
    health->sample = *sample;
    health->sampled = true;
    health->sampled_s = now_s;
    health->silent = false;
    for (unsigned i = 0; i < sample->n_xids; i++)
        note_xid(health, sample->xids[i], now_s);
    return settle(health, now_s);
}

bool health_configure(struct health *health, const struct health_intent *intent, int64_t now_s)
{
    for (int i = 0; i < THRESHOLD_N; i++)
        if (health->intent.rules[i].value != intent->rules[i].value)
            health->over[i] = false; /* another limit: nothing has been over it yet */
    health->intent = *intent;
    return settle(health, now_s);
}

bool health_fall_silent(struct health *health, const char *why, int64_t now_s)
{
    if (why || !health->silent) /* a reason that was given stays */
        snprintf(health->silence, sizeof(health->silence), "%s",
                 why ? why : "NVML does not answer");
    health->silent = true;
    return settle(health, now_s);
}

bool health_resume(struct health *health, int64_t now_s)
{
    health->xid_warnings = health->xid_errors = 0;
    if (!health->silent && !health_is_gone(health))
        health->xid_fatal = 0;
    if (health->sample.ecc_uncorrected > 0)
        health->ecc_base = health->sample.ecc_uncorrected;
    return settle(health, now_s);
}

bool health_was_reset(struct health *health, int64_t now_s)
{
    struct health_sample *sample = &health->sample;

    health->resets++;
    forget_errors(health);
    health->silent = false; /* it was NVML that said so */
    sample->lost = sample->reset_required = false;
    /* Until the next sample: it is to show no second reset. */
    sample->ecc_corrected = sample->ecc_corrected > 0 ? 0 : sample->ecc_corrected;
    sample->ecc_uncorrected = sample->ecc_uncorrected > 0 ? 0 : sample->ecc_uncorrected;
    sample->recovery = HEALTH_RECOVERY_UNKNOWN;
    return settle(health, now_s);
}

/* Fields of the word: bits from the lowest, how many. */
#define FATAL_AT      0
#define ERROR_AT      12
#define WARNING_AT    24
#define N_ERRORS_AT   36
#define N_WARNINGS_AT 50
#define XID_MASK      UINT64_C(0xfff)
#define COUNT_MASK    UINT64_C(0x3fff)

static uint64_t field(uint32_t value, uint64_t mask, unsigned at)
{
    return (value < mask ? value : mask) << at;
}

uint64_t health_errors(const struct health *health)
{
    return field(health->xid_fatal, XID_MASK, FATAL_AT) |
           field(health->xid_error, XID_MASK, ERROR_AT) |
           field(health->xid_warning, XID_MASK, WARNING_AT) |
           field(health->xid_errors, COUNT_MASK, N_ERRORS_AT) |
           field(health->xid_warnings, COUNT_MASK, N_WARNINGS_AT);
}

bool health_recall_errors(struct health *health, uint64_t errors, int64_t now_s)
{
    health->xid_fatal = (uint32_t)(errors >> FATAL_AT & XID_MASK);
    health->xid_error = (uint32_t)(errors >> ERROR_AT & XID_MASK);
    health->xid_warning = (uint32_t)(errors >> WARNING_AT & XID_MASK);
    health->xid_errors = (uint32_t)(errors >> N_ERRORS_AT & COUNT_MASK);
    health->xid_warnings = (uint32_t)(errors >> N_WARNINGS_AT & COUNT_MASK);
    return settle(health, now_s);
}

/* Reasons */

struct reasons {
    char (*texts)[HEALTH_REASON_BYTES];
    unsigned n;
};

static void __attribute__((format(printf, 2, 3)))
add(struct reasons *reasons, const char *format, ...)
{
    va_list args;

    if (reasons->n == HEALTH_REASONS_MAX)
        return;
    va_start(args, format);
    vsnprintf(reasons->texts[reasons->n++], HEALTH_REASON_BYTES, format, args);
    va_end(args);
}

static void add_grave(struct reasons *reasons, const struct health *health)
{
    const struct health_sample *sample = &health->sample;

    if (!health->intent.present)
        add(reasons, "the last scan did not find it");
    else if (health->sampled && !sample->listed)
        add(reasons, "NVML does not show it");
    if (sample->lost)
        add(reasons, "it is lost: it has fallen off its bus");
    if (sample->reset_required)
        add(reasons, "it must be reset");
    if (health->xid_fatal)
        add(reasons, "XID %" PRIu32 ": %s", health->xid_fatal, xid_text(health->xid_fatal));
    if (sample->recovery == HEALTH_RECOVERY_RESET)
        add(reasons, "NVML advises to reset it");
    if (sample->recovery == HEALTH_RECOVERY_REBOOT)
        add(reasons, "NVML advises to restart the host");
}

static void add_over(struct reasons *reasons, const struct health *health, enum threshold_id id)
{
    const struct threshold *threshold = &thresholds[id];
    const struct threshold_rule *rule = &health->intent.rules[id];
    const char *unit = strcmp(threshold->unit, "celsius") == 0 ? " C" : "";

    if (id == THRESHOLD_XID_ERROR || id == THRESHOLD_XID_WARNING) {
        uint32_t xid = id == THRESHOLD_XID_ERROR ? health->xid_error : health->xid_warning;

        add(reasons, "%s: %g, the last was XID %" PRIu32 ", %s (%s)", threshold->title,
            value_of(health, id), xid, xid_text(xid), threshold->name);
        return;
    }
    add(reasons, "%s: %g%s, the limit is %g%s (%s)", threshold->title, value_of(health, id), unit,
        rule->value, unit, threshold->name);
}

unsigned health_reasons(const struct health *health,
                        char texts[HEALTH_REASONS_MAX][HEALTH_REASON_BYTES])
{
    struct reasons reasons = {.texts = texts};

    add_grave(&reasons, health);
    for (int action = THRESHOLD_STOP; action > THRESHOLD_IGNORE; action--) {
        if (action == THRESHOLD_DRAIN && health->intent.drained)
            add(&reasons, "drained: %.200s", health->intent.drain_reason);
        for (int i = 0; i < THRESHOLD_N; i++)
            if (health->over[i] && (int)health->intent.rules[i].action == action)
                add_over(&reasons, health, (enum threshold_id)i);
    }
    if (health->silent)
        add(&reasons, "%s", health->silence);
    else if (health->intent.present && !health->sampled)
        add(&reasons, "NVML has said nothing yet");
    return reasons.n;
}
