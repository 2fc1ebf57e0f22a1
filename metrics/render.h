/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A snapshot as Prometheus' text (format 0.0.4) and as JSON. Called by vgpu-admin and vgpu-agent.
 */
#ifndef VGPU_METRICS_RENDER_H
#define VGPU_METRICS_RENDER_H

#include "metrics/page.h"

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* 0 or -ENOMEM; the text is added to, and the caller's to release. */
int metrics_render_prometheus(const struct metrics_snapshot *snapshot, struct metrics_text *text);
int metrics_render_json(const struct metrics_snapshot *snapshot, struct metrics_text *text);

#endif
