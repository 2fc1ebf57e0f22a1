/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How simulate.c shows what a simulation gave: as a table with bars (simulation_text.c), as JSON,
 * and as a drawing (simulation_svg.c).
 */
#ifndef VGPU_ADMIN_SIMULATION_H
#define VGPU_ADMIN_SIMULATION_H

#include <stdio.h>

#include <jansson.h>

#include "sched/sim.h"

static inline double simulation_percent(double part, double whole)
{
    return whole > 0 ? 100 * part / whole : 0;
}

void simulation_print_table(const struct sim_spec *spec, const struct sim_result *result);
/* Bars of shares, lags and waits on a terminal. */
void simulation_print_bars(const struct sim_spec *spec, const struct sim_result *result);
/* docs/spec/schema/simulate.json; NULL: out of memory. */
json_t *simulation_json(const struct sim_spec *spec, const struct sim_result *result);
/* The same bars as one SVG document. What could not be written is told by ferror(). */
void simulation_draw(FILE *file, const struct sim_spec *spec, const struct sim_result *result);

#endif
