/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How simulate.c shows what a simulation gave: as a table with bars (simulation_text.c), as JSON,
 * and as a drawing (simulation_svg.c).
 */
#ifndef VGPU_ADMIN_SIMULATION_H
#define VGPU_ADMIN_SIMULATION_H

#include <stdio.h>

#include <jansson.h>

#include "sched/sim_host.h"

static inline double simulation_percent(double part, double whole)
{
    return whole > 0 ? 100 * part / whole : 0;
}

/* A table for each GPU, with bars of shares, lags and waits. */
void simulation_print(const struct sim_host *host);
/* docs/spec/schema/simulate.json; NULL: out of memory. */
json_t *simulation_json(const struct sim_host *host);
/* The same bars as one SVG document. What could not be written is told by ferror(). */
void simulation_draw(FILE *file, const struct sim_host *host);
/* "GPU a (pools x, y)" */
void simulation_title(const struct sim_spec *spec, char *buffer, size_t size);

#endif
