/* SPDX-License-Identifier: Apache-2.0 */
/* A drawing of what a simulation gave: a row for each VM, three columns of bars, GPU by GPU. */
#include "admin/simulation.h"

#include <math.h>

#define ROW        16
#define TOP        40
#define NAMES      170
#define COLUMN     260
#define COLUMN_GAP 30
#define TITLE      20 /* of each GPU, where there are several */

struct column {
    FILE *file;
    double x;
    double full; /* what the whole width stands for */
};

static double x_of(const struct column *column, double value)
{
    return column->x + (column->full > 0 ? COLUMN * fmin(value / column->full, 1) : 0);
}

static void bar(const struct column *column, uint32_t row, double value, const char *colour)
{
    fprintf(column->file, "<rect x=\"%.1f\" y=\"%u\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>\n",
            column->x, TOP + row * ROW + 2, x_of(column, value) - column->x, ROW - 4, colour);
}

static void tick(const struct column *column, uint32_t row, double value)
{
    fprintf(column->file,
            "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%u\" y2=\"%u\" stroke=\"#c03030\" "
            "stroke-width=\"2\"/>\n",
            x_of(column, value), x_of(column, value), TOP + row * ROW, TOP + (row + 1) * ROW);
}

/* Names of a description are letters, digits and "._-": nothing needs to be quoted. */
static void text(FILE *file, double x, double y, const char *content)
{
    fprintf(file, "<text x=\"%.1f\" y=\"%.1f\">%s</text>\n", x, y, content);
}

static void title(const struct column *column, const char *first, const char *second)
{
    text(column->file, column->x, 14, first);
    text(column->file, column->x, 30, second);
}

static void draw_shares(struct column column, const struct sim_spec *spec,
                        const struct sim_result *result)
{
    char line[96];

    for (uint32_t i = 0; i < spec->n_vms; i++)
        column.full =
            fmax(column.full, fmax((double)result->vms[i].served_ns, result->vms[i].ideal_ns));
    snprintf(line, sizeof(line), "width %.3f %%; red: ideal",
             simulation_percent(column.full, (double)result->served_ns));
    title(&column, "share of the GPU time", line);
    for (uint32_t i = 0; i < spec->n_vms; i++) {
        bar(&column, i, (double)result->vms[i].served_ns, "#4878a8");
        tick(&column, i, result->vms[i].ideal_ns);
    }
}

static void draw_lags(struct column column, const struct sim_spec *spec,
                      const struct sim_result *result)
{
    bool fair = spec->config.policy == SCHED_POLICY_WFQ;
    char line[96];

    column.full = fmax(fair ? (double)result->lag_bound_ns : 0, result->lag_max_ns);
    snprintf(line, sizeof(line), "width %.3f ms%s", column.full / 1e6,
             fair ? "; red: the bound" : "");
    title(&column, "largest lag behind the ideal", line);
    for (uint32_t i = 0; i < spec->n_vms; i++) {
        bar(&column, i, result->vms[i].lag_max_ns, "#4878a8");
        if (fair)
            tick(&column, i, (double)result->lag_bound_ns);
    }
}

static void draw_waits(struct column column, const struct sim_spec *spec,
                       const struct sim_result *result)
{
    char line[96];

    for (uint32_t i = 0; i < spec->n_vms; i++)
        column.full = fmax(column.full, (double)result->vms[i].wait_max_ns);
    snprintf(line, sizeof(line), "width %.3f ms; dark: p99, light: longest, red: median",
             column.full / 1e6);
    title(&column, "wait of jobs", line);
    for (uint32_t i = 0; i < spec->n_vms; i++) {
        bar(&column, i, (double)result->vms[i].wait_max_ns, "#b0c8e0");
        bar(&column, i, (double)result->vms[i].wait_p99_ns, "#4878a8");
        tick(&column, i, (double)result->vms[i].wait_p50_ns);
    }
}

/* One GPU's rows, from the top of the group that it is in. */
static void draw_gpu(FILE *file, const struct sim_spec *spec, const struct sim_result *result)
{
    struct column column = {.file = file, .x = NAMES};

    for (uint32_t i = 0; i < spec->n_vms; i++)
        text(file, 4, TOP + (i + 1) * ROW - 4, spec->vms[i].name);
    draw_shares(column, spec, result);
    column.x += COLUMN + COLUMN_GAP;
    draw_lags(column, spec, result);
    column.x += COLUMN + COLUMN_GAP;
    draw_waits(column, spec, result);
}

static unsigned height_of(const struct sim_host *host, uint32_t g)
{
    return TOP + host->gpus[g].spec.n_vms * ROW + 10 + (host->n_gpus > 1 ? TITLE : 0);
}

void simulation_draw(FILE *file, const struct sim_host *host)
{
    unsigned width = NAMES + 3 * (COLUMN + COLUMN_GAP), height = 0, y = 0;
    char title_text[512];

    for (uint32_t g = 0; g < host->n_gpus; g++)
        height += height_of(host, g);
    fprintf(file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%u\" height=\"%u\" "
            "font-family=\"sans-serif\" font-size=\"11\">\n"
            "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
            width, height);
    for (uint32_t g = 0; g < host->n_gpus; g++) {
        const struct sim_host_gpu *gpu = &host->gpus[g];

        if (host->n_gpus > 1) {
            simulation_title(&gpu->spec, title_text, sizeof(title_text));
            text(file, 4, y + TITLE - 6, title_text);
        }
        fprintf(file, "<g transform=\"translate(0,%u)\">\n", y + (host->n_gpus > 1 ? TITLE : 0));
        draw_gpu(file, &gpu->spec, &gpu->result);
        fputs("</g>\n", file);
        y += height_of(host, g);
    }
    fputs("</svg>\n", file);
}
