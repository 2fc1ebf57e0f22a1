/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/scan.h"

#include <errno.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "mediator/mediator.h"

#define WAIT_LEAST_NS (2 * VGPU_NS_PER_S)
#define WAIT_MOST_NS  (60 * VGPU_NS_PER_S)
#define PENDING_MOST  8 /* a helper that hangs is not asked on and on */

static void sampled(void *context, json_t *answer)
{
}

int scan_ask(struct mediator *mediator, helper_reply_fn *scanned, void *context)
{
    /* A scan starts NVML anew: first what is still to be told of the GPUs as they are. */
    if (helper_ask(&mediator->nvml, json_pack("{s:s}", "command", "sample"), sampled, context) < 0)
        return -EAGAIN;
    return helper_ask(&mediator->nvml, json_pack("{s:s}", "command", "scan"), scanned, context);
}

/* Of each GPU what is recorded: of thousands of processes the line would be too long. */
static json_t *recorded_members(const json_t *gpus)
{
    static const char *const keys[] = {"index",     "uuid",     "pci",    "model", "memory_bytes",
                                       "numa_node", "mig_mode", "driver", "source"};
    json_t *list = json_array();
    const json_t *gpu;
    size_t i;

    json_array_foreach (gpus, i, gpu) {
        json_t *row = json_object();

        for (size_t k = 0; k < VGPU_ARRAY_SIZE(keys); k++)
            if (json_object_get(gpu, keys[k]))
                json_object_set(row, keys[k], json_object_get(gpu, keys[k]));
        json_array_append_new(list, row);
    }
    return list;
}

json_t *scan_record(const json_t *answer, bool dry_run)
{
    const json_t *result = json_object_get(answer, "result");
    const json_t *gpus = json_object_get(result, "gpus");

    if (!json_is_array(gpus))
        return NULL;
    return json_pack("{s:s, s:{s:o, s:O?, s:O?, s:O?}, s:b}", "command", "record-gpus", "args",
                     "gpus", recorded_members(gpus), "driver_version",
                     json_object_get(result, "driver_version"), "nvml_error",
                     json_object_get(result, "nvml_error"), "pci_error",
                     json_object_get(result, "pci_error"), "dry_run", dry_run);
}

static void try_later(struct mediator *mediator)
{
    struct scan *scan = &mediator->scan;

    loop_timer_set(mediator->loop, &scan->again, loop_now(mediator->loop) + scan->wait_ns);
    scan->wait_ns = scan->wait_ns * 2 < WAIT_MOST_NS ? scan->wait_ns * 2 : WAIT_MOST_NS;
}

static void recorded(void *context, json_t *answer)
{
    struct mediator *mediator = context;
    const char *error =
        json_string_value(json_object_get(json_object_get(answer, "error"), "text"));
    char quoted[VGPU_ERR_TEXT_BYTES];

    if (json_is_true(json_object_get(answer, "ok"))) {
        mediator->scan.recorded = true;
        return;
    }
    vgpu_log(VGPU_LOG_ERROR, "scan", "reason=%s",
             vgpu_log_quote(quoted, sizeof(quoted), error ? error : "the store does not answer"));
    try_later(mediator);
}

/* Without NVML only one scan is recorded: the bus does not change by itself. */
static void scanned(void *context, json_t *answer)
{
    struct mediator *mediator = context;
    const json_t *nvml_error = json_object_get(json_object_get(answer, "result"), "nvml_error");
    json_t *request = scan_record(answer, false);
    bool again = !request || json_is_string(nvml_error);

    if (again)
        try_later(mediator);
    if (!request || (again && mediator->scan.recorded)) {
        json_decref(request);
        return;
    }
    if (json_object_set_new(request, "who", json_string("vgpu-mediator")) < 0 ||
        helper_ask(&mediator->store, json_incref(request), recorded, mediator) < 0)
        try_later(mediator);
    json_decref(request);
}

static void scan_again(void *context)
{
    struct mediator *mediator = context;

    if (mediator->stopping)
        return;
    if (mediator->nvml.n_pending > PENDING_MOST || scan_ask(mediator, scanned, mediator) < 0)
        try_later(mediator);
}

void scan_init(struct mediator *mediator)
{
    mediator->scan =
        (struct scan){.again = {.fire = scan_again, .context = mediator}, .wait_ns = WAIT_LEAST_NS};
}

void scan_start(struct mediator *mediator)
{
    if (mediator->has_nvml)
        scan_again(mediator);
}

void scan_release(struct mediator *mediator)
{
    loop_timer_clear(mediator->loop, &mediator->scan.again);
}
