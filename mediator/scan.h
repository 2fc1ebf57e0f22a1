/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scans for GPUs: vgpu-nvml looks, the store records. By itself once at the start, and again while
 * NVML cannot be asked, as the driver may be loaded later than we are; else for admin.c's clients.
 */
#ifndef VGPU_MEDIATOR_SCAN_H
#define VGPU_MEDIATOR_SCAN_H

#include <stdbool.h>

#include <jansson.h>

#include "mediator/helper.h"

struct mediator;

struct scan {
    struct loop_timer again;
    uint64_t wait_ns; /* before the next one */
    bool recorded;    /* one has been */
};

void scan_init(struct mediator *mediator);
/* The store and vgpu-nvml have been started. */
void scan_start(struct mediator *mediator);
void scan_release(struct mediator *mediator);

/* Asks vgpu-nvml. -EAGAIN: it is down. */
int scan_ask(struct mediator *mediator, helper_reply_fn *scanned, void *context);

/* The request for the store that records vgpu-nvml's answer; NULL if that is an error. */
json_t *scan_record(const json_t *answer, bool dry_run);

#endif
