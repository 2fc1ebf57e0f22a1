/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/top_cell.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"

#define NUMBERS_WIDTH 8   /* " 40/ 50" after a bar of shares */
#define PERCENT_WIDTH 5   /* " 100%" */
#define BAR_MAX       40  /* columns */
#define FAIR_PART     0.9 /* of what is due, from which on a share counts as fair */

/*
 * Ranks of overview, latency and limits. What tells VMs apart stays always; what a set is about
 * comes before the rest.
 */
static const struct top_column gpu_columns[] = {
    {"GPU", "gpu_id", NULL, TOP_NUMBER, 3, 3, {99, 99, 99}, "its id"},
    {"MODEL", "model", NULL, TOP_TEXT, 8, 24, {60, 60, 60}, NULL},
    {"STATE", "state", NULL, TOP_STATE, 7, 12, {95, 95, 95}, NULL},
    {"UTIL", "utilization", NULL, TOP_PERCENT, 15, 15, {90, 90, 90}, "as NVML says"},
    {"MEMORY",
     "memory_used_bytes",
     "memory_total_bytes",
     TOP_MEMORY,
     9,
     12,
     {80, 80, 80},
     "used/total"},
    {"°C", "temperature", NULL, TOP_NUMBER, 3, 5, {70, 70, 70}, NULL},
    {"HOLDER",
     "holder_vm_id",
     "holder_name",
     TOP_HOLDER,
     6,
     20,
     {85, 85, 85},
     "the VM that has the GPU now"},
    {"POOLS", "pools", NULL, TOP_TEXT, 5, 24, {75, 75, 75}, NULL},
    {.title = NULL},
};

static const struct top_column pool_columns[] = {
    {"POOL", "pool", NULL, TOP_TEXT, 6, 24, {99, 99, 99}, NULL},
    {"POLICY", "policy", NULL, TOP_TEXT, 6, 6, {50, 50, 50}, NULL},
    {"GPUS", "gpus", NULL, TOP_TEXT, 4, 16, {90, 90, 90}, NULL},
    {"VMS", "vms", NULL, TOP_NUMBER, 4, 4, {80, 80, 80}, NULL},
    {"RUNNING", "running", NULL, TOP_NUMBER, 7, 7, {70, 70, 70}, "VMs that have a GPU"},
    {"WAITING", "waiting", NULL, TOP_NUMBER, 7, 7, {71, 71, 71}, "VMs that wait for one"},
    {"QUARANTINED", "quarantined", NULL, TOP_FAULTS, 11, 11, {60, 60, 60}, NULL},
    {"QUEUE", "queue_depth", NULL, TOP_NUMBER, 6, 8, {75, 75, 75}, NULL},
    {"JOBS/S", "jobs_per_s", NULL, TOP_RATE, 7, 8, {65, 65, 65}, NULL},
    {"MEMORY", "memory_used_bytes", NULL, TOP_MEMORY, 7, 9, {62, 62, 62}, NULL},
    {.title = NULL},
};

static const struct top_column vm_columns[] = {
    {"VM", "vm_id", NULL, TOP_NUMBER, 4, 10, {99, 99, 99}, "its id"},
    {"NAME", "name", NULL, TOP_TEXT, 6, 24, {98, 98, 98}, NULL},
    {"POOL", "pool", NULL, TOP_TEXT, 4, 12, {60, 40, 50}, NULL},
    {"PRIORITY", "priority", NULL, TOP_TEXT, 8, 8, {30, 20, 70}, NULL},
    {"WEIGHT", "weight", NULL, TOP_NUMBER, 6, 6, {20, 10, 69}, NULL},
    {"STATE", "state", NULL, TOP_STATE, 7, 12, {90, 91, 90}, NULL},
    {"GPU", "gpu_id", NULL, TOP_NUMBER, 3, 3, {15, 12, 15}, "where it runs or waits"},
    {"SHARE/DUE%",
     "share",
     "entitlement",
     TOP_SHARE,
     18,
     28,
     {95, 50, 30},
     "of the GPU's time: what it got, and (the mark) what is due to it"},
    {"QUEUE", "queue_depth", NULL, TOP_NUMBER, 5, 8, {80, 90, 60}, "jobs taken and not yet done"},
    {"JOBS/S", "jobs_per_s", NULL, TOP_RATE, 6, 8, {50, 83, 40}, "jobs done"},
    {"WAIT50", "wait_p50_ns", NULL, TOP_TIME, 6, 6, {35, 89, 10}, "half of its jobs waited less"},
    {"WAIT95", "wait_p95_ns", NULL, TOP_TIME, 6, 6, {36, 88, 11}, "all but a twentieth"},
    {"WAIT99", "wait_p99_ns", NULL, TOP_TIME, 6, 6, {70, 87, 12}, "all but a hundredth"},
    {"RUN50", "run_p50_ns", NULL, TOP_TIME, 6, 6, {33, 86, 9}, "the same of the time on the GPU"},
    {"RUN95", "run_p95_ns", NULL, TOP_TIME, 6, 6, {34, 85, 8}, NULL},
    {"RUN99", "run_p99_ns", NULL, TOP_TIME, 6, 6, {69, 84, 7}, NULL},
    {"MEMORY",
     "memory_used_bytes",
     "memory_quota_bytes",
     TOP_MEMORY,
     7,
     11,
     {65, 30, 89},
     "GPU memory, and of how much, where it is limited"},
    {"FAULTS", "faults", NULL, TOP_FAULTS, 6, 6, {64, 29, 88}, "that count now"},
    {"REFUSED", "jobs_refused", NULL, TOP_NUMBER, 7, 10, {9, 8, 86}, "jobs over a limit"},
    {"QUARANTINE", "quarantine_reason", NULL, TOP_TEXT, 10, 40, {8, 6, 85}, "why"},
    {.title = NULL},
};

const struct top_column *const top_columns[TOP_SECTIONS] = {
    [TOP_GPUS] = gpu_columns,
    [TOP_POOLS] = pool_columns,
    [TOP_VMS] = vm_columns,
};

static void append(char text[TABLE_CELL_BYTES], const char *more)
{
    size_t used = strlen(text);

    snprintf(text + used, TABLE_CELL_BYTES - used, "%s", more);
}

/* part of width columns; mark, where it is 0 to 1, is shown above. */
static void draw_bar(double part, double mark, size_t width, bool ascii,
                     char text[TABLE_CELL_BYTES])
{
    static const char *const eighths[] = {"·", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    double filled = fmin(fmax(part, 0), 1) * (double)width;
    size_t at = mark >= 0 ? (size_t)(fmin(mark, 1) * (double)width) : SIZE_MAX;

    if (at == width)
        at--;
    text[0] = '\0';
    for (size_t i = 0; i < width; i++) {
        double rest = filled - (double)i;

        if (i == at)
            append(text, ascii ? "|" : "│");
        else if (ascii)
            append(text, rest >= 0.5 ? "#" : ".");
        else
            append(text, rest >= 1 ? "█" : eighths[rest > 0 ? (size_t)(rest * 8) : 0]);
    }
}

/* A bar that a cell has room for: each of its columns may take three bytes. */
static size_t bar_width(size_t width, size_t beside)
{
    size_t most = (TABLE_CELL_BYTES - NUMBERS_WIDTH - 1) / 3;
    size_t room = width > beside ? width - beside : 0;

    most = most < BAR_MAX ? most : BAR_MAX;
    return room < most ? room : most;
}

static enum colour draw_share(const struct top_column *column, const json_t *row, size_t width,
                              bool ascii, char text[TABLE_CELL_BYTES])
{
    const json_t *share = json_object_get(row, column->key);
    const json_t *due = json_object_get(row, column->other);
    const char *state = json_string_value(json_object_get(row, "state"));
    double got = json_number_value(share), part = json_number_value(due);
    char numbers[NUMBERS_WIDTH + 1];

    if (!json_is_number(share))
        return append(text, "-"), COLOUR_DIM;
    draw_bar(got, json_is_number(due) ? part : -1, bar_width(width, NUMBERS_WIDTH), ascii, text);
    snprintf(numbers, sizeof(numbers), " %3.0f/%3.0f", fmin(got, 1) * 100, fmin(part, 1) * 100);
    append(text, numbers);
    if (got >= part * FAIR_PART)
        return got > 0 ? COLOUR_GOOD : COLOUR_PLAIN;
    return state && strcmp(state, "waiting") == 0 ? COLOUR_WARN : COLOUR_PLAIN;
}

static enum colour draw_percent(const json_t *value, size_t width, bool ascii,
                                char text[TABLE_CELL_BYTES])
{
    double percent = json_number_value(value);
    char number[16];

    if (!json_is_number(value))
        return append(text, "-"), COLOUR_DIM;
    draw_bar(percent / 100, -1, bar_width(width, PERCENT_WIDTH), ascii, text);
    snprintf(number, sizeof(number), " %3.0f%%", fmin(fmax(percent, 0), 100));
    append(text, number);
    return percent > 0 ? COLOUR_GOOD : COLOUR_PLAIN;
}

/* Two digits and a unit: "850us", "1.2ms", "12s". */
static void show_duration(double ns, char *text, size_t size)
{
    static const struct {
        double ns;
        const char *name;
    } units[] = {{1e9, "s"}, {1e6, "ms"}, {1e3, "us"}};

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(units); i++)
        if (ns >= units[i].ns) {
            snprintf(text, size, ns < 9.95 * units[i].ns ? "%.1f%s" : "%.0f%s", ns / units[i].ns,
                     units[i].name);
            return;
        }
    snprintf(text, size, "%.0fns", ns);
}

static void show_amount(double bytes, char *text, size_t size)
{
    static const char units[] = "BKMGTP";
    size_t unit = 0;

    while (bytes >= 1000 && unit + 2 < sizeof(units)) {
        bytes /= 1024;
        unit++;
    }
    snprintf(text, size, unit > 0 && bytes < 9.95 ? "%.1f%c" : "%.0f%c", bytes, units[unit]);
}

static void draw_memory(const struct top_column *column, const json_t *row,
                        char text[TABLE_CELL_BYTES])
{
    const json_t *used = json_object_get(row, column->key);
    const json_t *most = column->other ? json_object_get(row, column->other) : NULL;
    char number[24];

    if (!json_is_number(used) && !json_is_number(most))
        append(text, "-");
    if (json_is_number(used)) {
        show_amount(json_number_value(used), number, sizeof(number));
        append(text, number);
    } else if (json_is_number(most))
        append(text, "-");
    if (json_is_number(most)) {
        append(text, "/");
        show_amount(json_number_value(most), number, sizeof(number));
        append(text, number);
    }
}

static void draw_rate(double rate, char text[TABLE_CELL_BYTES])
{
    snprintf(text, TABLE_CELL_BYTES,
             rate >= 99950  ? "%.0fk"
             : rate >= 9.95 ? "%.0f"
                            : "%.1f",
             rate >= 99950 ? rate / 1000 : rate);
}

enum colour top_cell(const struct top_column *column, const json_t *row, size_t width, bool ascii,
                     char text[TABLE_CELL_BYTES])
{
    const json_t *value = json_object_get(row, column->key);
    const json_t *other = column->other ? json_object_get(row, column->other) : NULL;

    text[0] = '\0';
    switch (column->kind) {
    case TOP_SHARE:
        return draw_share(column, row, width, ascii, text);
    case TOP_PERCENT:
        return draw_percent(value, width, ascii, text);
    case TOP_MEMORY:
        draw_memory(column, row, text);
        return COLOUR_PLAIN;
    case TOP_TIME:
        if (json_is_number(value))
            show_duration(json_number_value(value), text, TABLE_CELL_BYTES);
        break;
    case TOP_RATE:
        if (json_is_number(value))
            draw_rate(json_number_value(value), text);
        break;
    case TOP_HOLDER:
        if (json_is_integer(value) && json_is_string(other))
            snprintf(text, TABLE_CELL_BYTES, "%lld %s", (long long)json_integer_value(value),
                     json_string_value(other));
        break;
    default:
        break;
    }
    if (!text[0])
        table_format_json(value, text, TABLE_CELL_BYTES);
    table_clean(text);
    if (column->kind == TOP_STATE)
        return colour_of_state(text);
    if (column->kind == TOP_FAULTS && json_integer_value(value) > 0)
        return COLOUR_BAD;
    return COLOUR_PLAIN;
}
