/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `vgpu-admin top` knows: the rows of its three sections, put together from the mediator's
 * answers. It is JSON, so that --json prints just what the screen shows; unknown values are null.
 */
#ifndef VGPU_ADMIN_TOP_MODEL_H
#define VGPU_ADMIN_TOP_MODEL_H

#include <stdint.h>

#include <jansson.h>

/* The answers at one moment; NULL for those that there are not. */
struct top_answers {
    const json_t *status;
    const json_t *latency; /* {"VM id": {"wait": [p50, p95, p99], "run": [...]}}, in ns */
    const json_t *health;
    double time; /* s since 1970 */
};

/*
 * docs/spec/schema/top.json; NULL: out of memory. earlier: the model before this one, from which
 * rates are taken, or NULL.
 */
json_t *top_model(const struct top_answers *answers, const json_t *earlier);

#endif
