/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks after the GPUs: asks NVML how they are, and carries out what follows from a GPU's state
 * (health.h): whether it takes channels and leases, whether explicit jobs are refused, the end of
 * the channels of a GPU that is gone, and what administrators are told.
 *
 * NVML is asked through its helper, at an interval; a helper that does not answer holds nothing up.
 * Called by mediator.c and by status.c, which reads the helper's answers.
 */
#ifndef VGPU_MEDIATOR_CHECKUP_H
#define VGPU_MEDIATOR_CHECKUP_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "mediator/config.h"
#include "mediator/health.h"
#include "mediator/loop.h"

struct gpu;
struct mediator;

#define CHECKUP_DEFAULT_MS 1000
#define CHECKUP_MAX_MS     3600000

struct checkup {
    struct loop_timer timer;
    bool asked;
    uint64_t heard_ns;              /* when NVML last answered */
    uint64_t introduced;            /* a bit per gpu_id: its first word was heard */
    uint64_t kept[CONFIG_GPUS_MAX]; /* health_errors(), as the accounts page has them */
};

void checkup_init(struct mediator *mediator);
void checkup_release(struct mediator *mediator);

/* A new configuration is in force. */
void checkup_configured(struct mediator *mediator);

/* One GPU of the helper's answer, and the end of that answer: which GPUs were in it. */
void checkup_take(struct mediator *mediator, uint32_t gpu_id, const json_t *gpu);
void checkup_taken(struct mediator *mediator, uint64_t shown);

/* The accounts page is there: takes up the XID errors that an earlier mediator was told of. */
void checkup_recover(struct mediator *mediator);

/* Makes a GPU's scheduler follow its health; after it was made, or the mediator came in charge. */
void checkup_apply(struct mediator *mediator, struct gpu *gpu);

/* An administrator says that it may go on (true: there were errors, which are accepted); it has
 * been reset. */
bool checkup_resumed(struct mediator *mediator, uint32_t gpu_id);
void checkup_was_reset(struct mediator *mediator, uint32_t gpu_id);

/* The state and its gravest reason: "stopped: temperature: 91 C, ..."; returns text. */
const char *checkup_text(const struct mediator *mediator, uint32_t gpu_id,
                         char text[HEALTH_REASON_BYTES]);

/* The answer to `health` (docs/spec/admin.md). NULL when out of memory. */
json_t *checkup_json(const struct mediator *mediator);

#endif
