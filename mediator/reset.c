/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/reset.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "mediator/mediator.h"
#include "store/store.h"

/* For spare workers to go, and what they held with them. */
#define PATIENCE_NS (10 * VGPU_NS_PER_S)
#define AGAIN_NS    (100 * VGPU_NS_PER_MS)

struct reset {
    struct reset *next;
    struct mediator *mediator;
    uint32_t gpu_id;
    uint64_t until_ns;
    struct loop_timer again;
    bool at_launcher;
    struct vgpu_err outcome; /* code 0: it was reset */
    char who[STORE_WHO_BYTES + 1];
    reset_done_fn *done; /* NULL: nobody waits */
    void *context;
};

/* Whoever asked is told, and it is over. */
static void tell(struct reset *reset)
{
    struct mediator *mediator = reset->mediator;
    struct reset **at = &mediator->resets;

    while (*at != reset)
        at = &(*at)->next;
    *at = reset->next;
    if (reset->done)
        reset->done(reset->context, reset->outcome.code ? &reset->outcome : NULL);
    free(reset);
}

static void not_recorded(struct reset *reset, const char *why)
{
    char said[sizeof(reset->outcome.text)];

    snprintf(said, sizeof(said), "%s", reset->outcome.text);
    if (reset->outcome.code)
        vgpu_err_set(&reset->outcome, reset->outcome.code, "%.250s; the audit log does not have it",
                     said);
    else
        vgpu_err_set(&reset->outcome, EAGAIN,
                     "GPU %" PRIu32 " was reset, but the audit log does not have it: %.100s",
                     reset->gpu_id, why);
    vgpu_log(VGPU_LOG_ERROR, "reset-not-recorded", "gpu=%" PRIu32 " who=\"%s\"", reset->gpu_id,
             reset->who);
}

static void recorded(void *context, json_t *answer)
{
    struct reset *reset = context;
    const json_t *error = json_object_get(answer, "error");
    const char *text = json_string_value(json_object_get(error, "text"));

    if (!json_is_true(json_object_get(answer, "ok")))
        not_recorded(reset, text ? text : "the store helper does not answer");
    tell(reset);
}

static void record(struct reset *reset)
{
    const struct vgpu_err *outcome = &reset->outcome;
    json_t *request =
        json_pack("{s:s, s:s, s:{s:I, s:s, s:s}}", "command", "record-deed", "who", reset->who,
                  "args", "gpu_id", (json_int_t)reset->gpu_id, "command", "reset-gpu", "outcome",
                  outcome->code ? outcome->text : "was reset");

    if (helper_ask(&reset->mediator->store, request, recorded, reset) == 0)
        return;
    not_recorded(reset, "the store helper is down");
    tell(reset);
}

/* The GPU is free again; err: NULL if it was reset. */
static void finish(struct reset *reset, const struct vgpu_err *err)
{
    struct mediator *mediator = reset->mediator;

    reset->outcome = err ? *err : (struct vgpu_err){.code = 0};
    mediator->resetting &= ~(UINT64_C(1) << reset->gpu_id);
    vgpu_log(err ? VGPU_LOG_WARN : VGPU_LOG_INFO, "gpu-reset", "gpu=%" PRIu32 " errno=%d",
             reset->gpu_id, err ? err->code : 0);
    if (!err)
        checkup_was_reset(mediator, reset->gpu_id);
    mediator_update_spares(mediator);
    record(reset);
}

static void fail(struct reset *reset, int code, const char *text)
{
    struct vgpu_err err;

    vgpu_err_set(&err, code, "GPU %" PRIu32 " was not reset: %.200s", reset->gpu_id, text);
    finish(reset, &err);
}

/* By the launcher */

/* NVML is the helper's again, whatever has become of the GPU. */
static void acquired(void *context, json_t *reply)
{
    struct reset *reset = context;

    if (reset->outcome.code)
        fail(reset, reset->outcome.code, reset->outcome.text);
    else
        finish(reset, NULL);
}

static void give_back(struct reset *reset, int code, const char *text)
{
    reset->at_launcher = false;
    vgpu_err_set(&reset->outcome, code, "%s", text);
    if (helper_ask(&reset->mediator->nvml, json_pack("{s:s}", "command", "acquire"), acquired,
                   reset) < 0)
        acquired(reset, NULL); /* it is down: a new one has NVML from its start */
}

static void released(void *context, json_t *reply)
{
    struct reset *reset = context;
    const struct config_gpu *gpu = config_gpu(reset->mediator->config, reset->gpu_id);

    if (!json_is_true(json_object_get(reply, "ok")) || !gpu) {
        fail(reset, EAGAIN, "the NVML helper does not let go of it");
        return;
    }
    reset->at_launcher = true;
    if (link_reset(&reset->mediator->link, gpu->uuid) < 0)
        give_back(reset, EAGAIN, "the launcher is not there; try again");
}

static void have_the_launcher_do_it(struct reset *reset)
{
    if (helper_ask(&reset->mediator->nvml, json_pack("{s:s}", "command", "release"), released,
                   reset) < 0)
        fail(reset, EAGAIN, "the NVML helper is down; try again");
}

void reset_launcher_done(struct mediator *mediator, const struct vgpu_launch_reset_done *done)
{
    char text[sizeof(done->text) + 1];

    memcpy(text, done->text, sizeof(done->text));
    text[sizeof(done->text)] = '\0';
    for (struct reset *reset = mediator->resets; reset; reset = reset->next) {
        const struct config_gpu *gpu = config_gpu(mediator->config, reset->gpu_id);

        if (!reset->at_launcher || !gpu ||
            strncmp(gpu->uuid, done->gpu_uuid, sizeof(done->gpu_uuid)) != 0)
            continue;
        give_back(reset, done->result, text);
        return;
    }
}

void reset_launcher_lost(struct mediator *mediator)
{
    struct reset *next;

    for (struct reset *reset = mediator->resets; reset; reset = next) {
        next = reset->next;
        if (reset->at_launcher)
            give_back(reset, EAGAIN, "the launcher ended");
    }
}

/* By the NVML helper */

static void answered(void *context, json_t *reply)
{
    struct reset *reset = context;
    const json_t *error = json_object_get(reply, "error");
    const char *text = json_string_value(json_object_get(error, "text"));
    int code = (int)json_integer_value(json_object_get(error, "errno"));
    uint64_t now_ns = loop_now(reset->mediator->loop);

    if (json_is_true(json_object_get(reply, "ok")))
        finish(reset, NULL);
    else if (code == EBUSY && now_ns < reset->until_ns)
        loop_timer_set(reset->mediator->loop, &reset->again, now_ns + AGAIN_NS);
    else if (code == EOPNOTSUPP)
        have_the_launcher_do_it(reset);
    else if (text && code > 0)
        fail(reset, code, text);
    else
        fail(reset, ETIMEDOUT, "the NVML helper does not answer, and it may yet be reset");
}

static void ask(void *context)
{
    struct reset *reset = context;
    struct mediator *mediator = reset->mediator;
    const struct config_gpu *gpu = config_gpu(mediator->config, reset->gpu_id);
    int rc = -ENOENT;

    if (gpu)
        rc = helper_ask(&mediator->nvml,
                        json_pack("{s:s, s:s}", "command", "reset", "uuid", gpu->uuid), answered,
                        reset);
    if (rc < 0)
        fail(reset, EAGAIN, "the NVML helper is down; try again");
}

/* The VMs that have channels there: "VM 1 (web), VM 2". False: none has. */
static bool users(const struct mediator *mediator, uint32_t gpu_id, char *text, size_t size)
{
    size_t used = 0;

    for (const struct vm *vm = mediator->vms; vm; vm = vm->next) {
        bool is_there = false;

        for (const struct channel *c = vm->channels; c; c = c->next)
            is_there = is_there || (c->gpu_id == gpu_id && channel_has_worker(c));
        if (!is_there || used >= size)
            continue;
        used += (size_t)snprintf(text + used, size - used, "%sVM %" PRIu32 "%s%s%s",
                                 used ? ", " : "", vm->config.id, vm->config.name[0] ? " (" : "",
                                 vm->config.name, vm->config.name[0] ? ")" : "");
    }
    return used > 0;
}

int reset_check(const struct mediator *mediator, uint32_t gpu_id, struct vgpu_err *err)
{
    char who[160];

    if (gpu_id >= MEDIATOR_GPUS_MAX || !config_gpu(mediator->config, gpu_id))
        return vgpu_err_set(err, ENOENT, "GPU %" PRIu32 " does not exist", gpu_id);
    if (!mediator->has_nvml)
        return vgpu_err_set(err, EAGAIN, "there is no NVML helper (--nvml)");
    if (mediator->resetting >> gpu_id & 1)
        return vgpu_err_set(err, EBUSY, "GPU %" PRIu32 " is being reset already", gpu_id);
    if (users(mediator, gpu_id, who, sizeof(who)))
        return vgpu_err_set(err, EBUSY,
                            "GPU %" PRIu32 " is in use by %s; drain it with vgpu-admin drain-gpu, "
                            "and end their programs",
                            gpu_id, who);
    return 0;
}

int reset_start(struct mediator *mediator, uint32_t gpu_id, const char *who, reset_done_fn *done,
                void *context, struct vgpu_err *err)
{
    int rc = reset_check(mediator, gpu_id, err);
    struct reset *reset;

    if (rc < 0)
        return rc;
    reset = calloc(1, sizeof(*reset));
    if (!reset)
        return vgpu_err_set(err, ENOMEM, "out of memory");
    *reset = (struct reset){.next = mediator->resets,
                            .mediator = mediator,
                            .gpu_id = gpu_id,
                            .until_ns = loop_now(mediator->loop) + PATIENCE_NS,
                            .again = {.fire = ask, .context = reset},
                            .done = done,
                            .context = context};
    snprintf(reset->who, sizeof(reset->who), "%s", who);
    mediator->resets = reset;
    mediator->resetting |= UINT64_C(1) << gpu_id;
    mediator_update_spares(mediator);
    loop_timer_set(mediator->loop, &reset->again, loop_now(mediator->loop));
    return 0;
}

void reset_forget(struct mediator *mediator, void *context)
{
    for (struct reset *reset = mediator->resets; reset; reset = reset->next)
        if (reset->context == context)
            reset->done = NULL;
}

void reset_release(struct mediator *mediator)
{
    while (mediator->resets) {
        struct reset *reset = mediator->resets;

        mediator->resets = reset->next;
        loop_timer_clear(mediator->loop, &reset->again);
        helper_forget(&mediator->nvml, reset);
        helper_forget(&mediator->store, reset);
        free(reset);
    }
}
