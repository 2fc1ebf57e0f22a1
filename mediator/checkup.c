/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/checkup.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "mediator/mediator.h"

/* NVML is silent when so many looks, and so much time, brought no answer. */
#define SILENT_LOOKS 5
#define SILENT_NS    (2 * VGPU_NS_PER_S)

static int64_t now_s(void)
{
    return (int64_t)time(NULL);
}

static struct health *health_of(struct mediator *mediator, uint32_t gpu_id)
{
    return &mediator->health[gpu_id];
}

/* XID errors come once: the accounts page has them for the next mediator. */

static void keep_errors(struct mediator *mediator, uint32_t gpu_id)
{
    uint64_t errors = health_errors(&mediator->health[gpu_id]);
    struct accounts_record record;
    struct accounts_slot *slot;

    if (errors == mediator->checkup.kept[gpu_id])
        return;
    slot = accounts_slot(&mediator->accounts, ACCOUNTS_OF_GPU, gpu_id);
    if (!slot)
        return;
    accounts_load(slot, &record);
    record.gpu_errors = errors;
    accounts_save(slot, &record);
    mediator->checkup.kept[gpu_id] = errors;
}

/* What follows from a state */

void checkup_apply(struct mediator *mediator, struct gpu *gpu)
{
    bool leases = health_takes_leases(mediator->health[gpu->id].state);

    gpu_pause(gpu, !mediator->in_charge || !leases);
    if (!leases)
        gpu_call_back(gpu);
}

static void flag_channels(struct mediator *mediator, uint32_t gpu_id)
{
    for (struct vm *vm = mediator->vms; vm; vm = vm->next)
        for (struct channel *c = vm->channels; c; c = c->next)
            if (c->gpu_id == gpu_id && channel_has_worker(c))
                vm_flag_channel(c);
}

/* What is there cannot go on. Nobody's fault is counted for it. */
static void end_channels(struct mediator *mediator, uint32_t gpu_id)
{
    char reason[HEALTH_REASON_BYTES], text[VGPU_STATUS_TEXT_BYTES];

    snprintf(text, sizeof(text), "GPU %" PRIu32 " is %.150s", gpu_id,
             checkup_text(mediator, gpu_id, reason));
    for (struct vm *vm = mediator->vms; vm; vm = vm->next)
        for (struct channel *c = vm->channels; c; c = c->next)
            if (c->gpu_id == gpu_id && channel_has_worker(c))
                vm_kill_channel(c, VGPU_NO_GPU, text);
}

static enum event_severity severity_of(enum health_state state)
{
    if (state == HEALTH_OK)
        return EVENT_INFO;
    return state >= HEALTH_STOPPED ? EVENT_ERROR : EVENT_WARNING;
}

/* That a GPU is well is no news when it is the first that is heard of it. */
static bool is_news(struct mediator *mediator, uint32_t gpu_id)
{
    const struct health *health = &mediator->health[gpu_id];
    uint64_t bit = UINT64_C(1) << gpu_id;
    bool introduced = mediator->checkup.introduced & bit;

    if (health->sampled)
        mediator->checkup.introduced |= bit;
    if (health->state == HEALTH_UNKNOWN)
        return health->silent;
    return introduced || health->state != HEALTH_OK;
}

static void tell(struct mediator *mediator, uint32_t gpu_id)
{
    enum health_state state = mediator->health[gpu_id].state;
    char reason[HEALTH_REASON_BYTES], text[EVENT_TEXT_BYTES], quoted[EVENT_TEXT_BYTES + 64];

    if (!is_news(mediator, gpu_id))
        return;
    snprintf(text, sizeof(text), "GPU %" PRIu32 " is %.220s", gpu_id,
             checkup_text(mediator, gpu_id, reason));
    vgpu_log(state == HEALTH_OK ? VGPU_LOG_INFO : VGPU_LOG_WARN, "gpu-health",
             "gpu=%" PRIu32 " state=%s text=%s", gpu_id, health_state_name(state),
             vgpu_log_quote(quoted, sizeof(quoted), text));
    events_add(mediator, &(struct event){.kind = EVENT_GPU_HEALTH,
                                         .severity = severity_of(state),
                                         .gpu_id = gpu_id,
                                         .text = text});
}

static void changed(struct mediator *mediator, uint32_t gpu_id)
{
    if (mediator->gpus[gpu_id])
        checkup_apply(mediator, mediator->gpus[gpu_id]);
    flag_channels(mediator, gpu_id);
    mediator_update_spares(mediator);
    tell(mediator, gpu_id);
}

static void noted(struct mediator *mediator, uint32_t gpu_id, bool is_other)
{
    keep_errors(mediator, gpu_id);
    if (is_other)
        changed(mediator, gpu_id);
}

void checkup_recover(struct mediator *mediator)
{
    for (uint32_t id = 0; id < MEDIATOR_GPUS_MAX; id++) {
        struct health *health = health_of(mediator, id);
        struct accounts_record record;
        struct accounts_slot *slot;

        mediator->checkup.kept[id] = 0; /* it may be another page */
        if (!mediator->config || !config_gpu(mediator->config, id) ||
            !(slot = accounts_slot(&mediator->accounts, ACCOUNTS_OF_GPU, id)))
            continue;
        accounts_load(slot, &record);
        mediator->checkup.kept[id] = record.gpu_errors;
        if (record.gpu_errors && health_errors(health) == 0 &&
            health_recall_errors(health, record.gpu_errors, now_s()))
            changed(mediator, id);
        keep_errors(mediator, id);
    }
}

/* Samples */

static double number(const json_t *gpu, const char *key)
{
    const json_t *value = json_object_get(gpu, key);

    return json_is_number(value) ? json_number_value(value) : NAN;
}

static int64_t integer(const json_t *gpu, const char *key)
{
    const json_t *value = json_object_get(gpu, key);

    return json_is_integer(value) && json_integer_value(value) >= 0 ? json_integer_value(value)
                                                                    : HEALTH_NOT_KNOWN;
}

static int flag(const json_t *gpu, const char *key)
{
    const json_t *value = json_object_get(gpu, key);

    return json_is_boolean(value) ? json_is_true(value) : HEALTH_NOT_KNOWN;
}

static enum health_recovery recovery(const json_t *gpu)
{
    static const struct {
        const char *name;
        enum health_recovery recovery;
    } names[] = {
        {"none", HEALTH_RECOVERY_NONE},
        {"reset", HEALTH_RECOVERY_RESET},
        {"reboot", HEALTH_RECOVERY_REBOOT},
        {"drain-p2p", HEALTH_RECOVERY_DRAIN},
        {"drain-and-reset", HEALTH_RECOVERY_DRAIN},
    };
    const char *name = json_string_value(json_object_get(gpu, "recovery"));

    for (size_t i = 0; name && i < VGPU_ARRAY_SIZE(names); i++)
        if (strcmp(names[i].name, name) == 0)
            return names[i].recovery;
    return HEALTH_RECOVERY_UNKNOWN;
}

static void take_throttle(const json_t *gpu, struct health_sample *sample)
{
    static const struct {
        const char *name;
        bool forced; /* by the hardware, to save itself */
    } names[HEALTH_THROTTLES_MAX] = {
        {"idle", false},
        {"applications-setting", false},
        {"power-cap", false},
        {"thermal", false},
        {"sync-boost", false},
        {"hardware-slowdown", true},
        {"hardware-thermal", true},
        {"power-brake", true},
        {"display-setting", false},
    };
    const json_t *list = json_object_get(gpu, "throttle"), *item;
    size_t i;

    if (!json_is_array(list))
        return;
    sample->n_throttle = 0;
    sample->slowdown = 0;
    json_array_foreach (list, i, item) {
        const char *name = json_string_value(item);

        for (size_t j = 0; name && j < VGPU_ARRAY_SIZE(names); j++) {
            if (strcmp(names[j].name, name) != 0 || sample->n_throttle == HEALTH_THROTTLES_MAX)
                continue;
            sample->throttle[sample->n_throttle++] = names[j].name;
            sample->slowdown += names[j].forced;
        }
    }
}

static void take_xids(const json_t *gpu, struct health_sample *sample)
{
    const json_t *list = json_object_get(gpu, "xids"), *item;
    size_t i;

    json_array_foreach (list, i, item) {
        json_int_t xid = json_integer_value(item);

        if (sample->n_xids < HEALTH_XIDS_MAX && xid > 0 && xid <= INT32_MAX)
            sample->xids[sample->n_xids++] = (uint32_t)xid;
    }
}

static void read_sample(const json_t *gpu, struct health_sample *sample)
{
    health_sample_init(sample);
    sample->listed = true;
    sample->lost = json_is_true(json_object_get(gpu, "lost"));
    sample->reset_required = json_is_true(json_object_get(gpu, "reset_required"));
    sample->temperature = number(gpu, "temperature");
    sample->temperature_memory = number(gpu, "temperature_memory");
    sample->utilization = number(gpu, "utilization");
    sample->power_w = number(gpu, "power_w");
    sample->power_limit_w = number(gpu, "power_limit_w");
    sample->memory_used_bytes = integer(gpu, "memory_used_bytes");
    sample->clock_sm_mhz = integer(gpu, "clock_sm_mhz");
    sample->clock_memory_mhz = integer(gpu, "clock_memory_mhz");
    sample->ecc_corrected = integer(gpu, "ecc_corrected");
    sample->ecc_uncorrected = integer(gpu, "ecc_uncorrected");
    sample->remapped_rows = integer(gpu, "remapped_rows");
    sample->remap_pending = flag(gpu, "remap_pending");
    sample->remap_failure = flag(gpu, "remap_failure");
    sample->recovery = recovery(gpu);
    take_throttle(gpu, sample);
    take_xids(gpu, sample);
}

static void take(struct mediator *mediator, uint32_t gpu_id, const struct health_sample *sample)
{
    struct health *health = health_of(mediator, gpu_id);

    noted(mediator, gpu_id, health_take(health, sample, now_s()));
    if (health_is_gone(health))
        end_channels(mediator, gpu_id);
}

void checkup_take(struct mediator *mediator, uint32_t gpu_id, const json_t *gpu)
{
    struct health_sample sample;

    read_sample(gpu, &sample);
    take(mediator, gpu_id, &sample);
}

void checkup_taken(struct mediator *mediator, uint64_t shown)
{
    const struct config *config = mediator->config;
    struct health_sample absent;

    mediator->checkup.heard_ns = loop_now(mediator->loop);
    health_sample_init(&absent);
    for (unsigned i = 0; config && i < config->n_gpus; i++) {
        const struct config_gpu *gpu = &config->gpus[i];

        if (gpu->present && !gpu->driverless && !(shown >> gpu->id & 1))
            take(mediator, gpu->id, &absent);
    }
}

/* Asking */

static void fall_silent(struct mediator *mediator, const char *why)
{
    const struct config *config = mediator->config;

    for (unsigned i = 0; config && i < config->n_gpus; i++) {
        uint32_t id = config->gpus[i].id;

        if (!config->gpus[i].driverless &&
            health_fall_silent(health_of(mediator, id), why, now_s()))
            changed(mediator, id);
    }
}

/* A sample has been taken in on its way here; this is for who gives none. */
static void answered(void *context, json_t *reply)
{
    struct mediator *mediator = context;
    const char *text = json_string_value(json_object_get(json_object_get(reply, "error"), "text"));
    char why[HEALTH_REASON_BYTES];

    mediator->checkup.asked = false;
    if (!text)
        return;
    snprintf(why, sizeof(why), "NVML: %.200s", text);
    fall_silent(mediator, why);
}

static void look(void *context)
{
    struct mediator *mediator = context;
    struct checkup *checkup = &mediator->checkup;
    uint64_t now_ns = loop_now(mediator->loop), period_ns = mediator->settings->health_ns;

    if (!checkup->asked)
        checkup->asked = helper_ask(&mediator->nvml, json_pack("{s:s}", "command", "sample"),
                                    answered, mediator) == 0;
    if (now_ns - checkup->heard_ns >= SILENT_NS &&
        now_ns - checkup->heard_ns >= SILENT_LOOKS * period_ns)
        fall_silent(mediator, NULL);
    loop_timer_set(mediator->loop, &checkup->timer, now_ns + period_ns);
}

void checkup_init(struct mediator *mediator)
{
    for (uint32_t i = 0; i < MEDIATOR_GPUS_MAX; i++)
        health_init(&mediator->health[i]);
    mediator->checkup = (struct checkup){.timer = {.fire = look, .context = mediator},
                                         .heard_ns = loop_now(mediator->loop)};
    if (mediator->settings->nvml && mediator->settings->health_ns > 0)
        loop_timer_set(mediator->loop, &mediator->checkup.timer, loop_now(mediator->loop));
}

void checkup_release(struct mediator *mediator)
{
    loop_timer_clear(mediator->loop, &mediator->checkup.timer);
}

/* Configuration */

static void tell_drain(struct mediator *mediator, const struct config_gpu *gpu)
{
    char text[EVENT_TEXT_BYTES];

    if (gpu->drained)
        snprintf(text, sizeof(text), "GPU %" PRIu32 " is drained: %.200s", gpu->id,
                 gpu->drain_reason);
    else
        snprintf(text, sizeof(text), "GPU %" PRIu32 " is resumed", gpu->id);
    events_add(mediator,
               &(struct event){.kind = gpu->drained ? EVENT_GPU_DRAINED : EVENT_GPU_RESUMED,
                               .severity = EVENT_INFO,
                               .gpu_id = gpu->id,
                               .text = text});
}

static void configure(struct mediator *mediator, const struct config_gpu *gpu)
{
    struct health *health = health_of(mediator, gpu->id);
    struct health_intent intent = {.present = gpu->present, .drained = gpu->drained};
    bool drains = gpu->drained != health->intent.drained, silenced = false;

    memcpy(intent.rules, mediator->config->rules, sizeof(intent.rules));
    snprintf(intent.drain_reason, sizeof(intent.drain_reason), "%s", gpu->drain_reason);
    if (gpu->driverless)
        silenced = health_fall_silent(health, "only the PCI bus shows it", now_s());
    else if (!mediator->has_nvml)
        silenced = health_fall_silent(health, "NVML is not asked (--nvml)", now_s());
    if (health_configure(health, &intent, now_s()) || silenced)
        changed(mediator, gpu->id);
    if (!drains)
        return;
    tell_drain(mediator, gpu);
    if (!gpu->drained)
        checkup_resumed(mediator, gpu->id);
}

void checkup_configured(struct mediator *mediator)
{
    const struct config *config = mediator->config;

    for (unsigned i = 0; i < config->n_gpus; i++)
        configure(mediator, &config->gpus[i]);
}

bool checkup_resumed(struct mediator *mediator, uint32_t gpu_id)
{
    struct health *health;
    uint64_t errors;
    int64_t base;

    if (gpu_id >= MEDIATOR_GPUS_MAX)
        return false;
    health = health_of(mediator, gpu_id);
    errors = health_errors(health);
    base = health->ecc_base;
    noted(mediator, gpu_id, health_resume(health, now_s()));
    return errors != health_errors(health) || base != health->ecc_base;
}

void checkup_was_reset(struct mediator *mediator, uint32_t gpu_id)
{
    noted(mediator, gpu_id, health_was_reset(health_of(mediator, gpu_id), now_s()));
}

/* What is shown */

const char *checkup_text(const struct mediator *mediator, uint32_t gpu_id,
                         char text[HEALTH_REASON_BYTES])
{
    const struct health *health = &mediator->health[gpu_id];
    char reasons[HEALTH_REASONS_MAX][HEALTH_REASON_BYTES];
    unsigned n = health_reasons(health, reasons);

    snprintf(text, HEALTH_REASON_BYTES, "%s%s%.220s", health_state_name(health->state),
             n ? ": " : "", n ? reasons[0] : "");
    return text;
}

static json_t *real_or_null(double value)
{
    return isnan(value) ? json_null() : json_real(value);
}

static json_t *integer_or_null(int64_t value)
{
    return value == HEALTH_NOT_KNOWN ? json_null() : json_integer(value);
}

static json_t *flag_or_null(int value)
{
    return value == HEALTH_NOT_KNOWN ? json_null() : json_boolean(value);
}

static json_t *throttle_json(const struct health_sample *sample)
{
    json_t *list;

    if (sample->n_throttle > HEALTH_THROTTLES_MAX)
        return json_null();
    list = json_array();
    for (unsigned i = 0; i < sample->n_throttle; i++)
        json_array_append_new(list, json_string(sample->throttle[i]));
    return list;
}

static json_t *reasons_json(const struct health *health)
{
    char reasons[HEALTH_REASONS_MAX][HEALTH_REASON_BYTES];
    unsigned n = health_reasons(health, reasons);
    json_t *list = json_array();

    for (unsigned i = 0; i < n; i++)
        json_array_append_new(list, json_string(reasons[i]));
    return list;
}

static json_t *gpu_json(const struct config_gpu *gpu, const struct health *health)
{
    const struct health_sample *s = &health->sample;

    return json_pack(
        "{s:I, s:s, s:s, s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, "
        "s:o, s:o, s:o, s:o, s:o, s:I, s:o}",
        "gpu_id", (json_int_t)gpu->id, "uuid", gpu->uuid, "model", gpu->model, "state",
        health_state_name(health->state), "since", (json_int_t)health->since_s, "reasons",
        reasons_json(health), "temperature", real_or_null(s->temperature), "temperature_memory",
        real_or_null(s->temperature_memory), "utilization", real_or_null(s->utilization),
        "memory_used_bytes", integer_or_null(s->memory_used_bytes), "power_w",
        real_or_null(s->power_w), "power_limit_w", real_or_null(s->power_limit_w), "clock_sm_mhz",
        integer_or_null(s->clock_sm_mhz), "clock_memory_mhz", integer_or_null(s->clock_memory_mhz),
        "throttle", throttle_json(s), "ecc_corrected", integer_or_null(s->ecc_corrected),
        "ecc_uncorrected", integer_or_null(s->ecc_uncorrected), "remapped_rows",
        integer_or_null(s->remapped_rows), "remap_pending", flag_or_null(s->remap_pending),
        "remap_failure", flag_or_null(s->remap_failure), "last_xid",
        health->last_xid ? json_integer(health->last_xid) : json_null(), "last_xid_time",
        health->last_xid ? json_integer(health->last_xid_s) : json_null(), "resets",
        (json_int_t)health->resets, "sampled",
        health->sampled ? json_integer(health->sampled_s) : json_null());
}

json_t *checkup_json(const struct mediator *mediator)
{
    const struct config *config = mediator->config;
    json_t *gpus = json_array();

    for (unsigned i = 0; i < config->n_gpus; i++)
        if (json_array_append_new(
                gpus, gpu_json(&config->gpus[i], &mediator->health[config->gpus[i].id])) < 0)
            goto out_of_memory;
    return json_pack("{s:o}", "gpus", gpus);
out_of_memory:
    json_decref(gpus);
    return NULL;
}
