/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/history.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"

/* What is taken of each row of `status`, and under which name it is shown. */
static const struct kind {
    const char *list, *id;
    const char *values[HISTORY_VALUES];
    const char *shown[HISTORY_VALUES];
} kinds[] = {
    [HISTORY_GPUS] = {"gpus",
                      "gpu_id",
                      {"utilization", "memory_used_bytes", "temperature"},
                      {"utilization", "memory_used_bytes", "temperature"}},
    [HISTORY_POOLS] = {"pools", "pool", {NULL}, {"queue_depth"}},
    [HISTORY_VMS] = {"vms",
                     "vm_id",
                     {"share", "entitlement", "queue_depth", "memory_bytes"},
                     {"share", "entitlement", "queue_depth", "memory_bytes"}},
};

static void sample_release(struct history_sample *sample)
{
    for (int kind = 0; kind < HISTORY_KINDS; kind++)
        free(sample->rows[kind]);
    *sample = (struct history_sample){0};
}

void history_release(struct history *history)
{
    for (unsigned i = 0; i < HISTORY_SAMPLES; i++)
        sample_release(&history->samples[i]);
    for (unsigned i = 0; i < history->n_pools; i++)
        free(history->pools[i]);
    *history = (struct history){.first = 0};
}

static float value_of(const json_t *row, const char *name)
{
    const json_t *value = name ? json_object_get(row, name) : NULL;

    return json_is_number(value) ? (float)json_number_value(value) : NAN;
}

/* The place of a pool's name; HISTORY_POOLS_MAX: there is no room for another. */
static uint32_t pool_place(struct history *history, const char *name)
{
    uint32_t i;

    for (i = 0; i < history->n_pools; i++)
        if (strcmp(history->pools[i], name) == 0)
            return i;
    if (i == HISTORY_POOLS_MAX || !(history->pools[i] = strdup(name)))
        return HISTORY_POOLS_MAX;
    history->n_pools++;
    return i;
}

static uint32_t id_of(struct history *history, enum history_kind kind, const json_t *row)
{
    const json_t *id = json_object_get(row, kinds[kind].id);

    if (kind != HISTORY_POOLS)
        return (uint32_t)json_integer_value(id);
    return json_is_string(id) ? pool_place(history, json_string_value(id)) : HISTORY_POOLS_MAX;
}

static int by_id(const void *a, const void *b)
{
    const struct history_row *x = a, *y = b;

    return x->id < y->id ? -1 : x->id > y->id;
}

/* A pool's queue is the sum of its VMs'. */
static float queue_of(const json_t *status, const json_t *pool)
{
    const json_t *name = json_object_get(pool, "pool"), *vm;
    float sum = 0;
    size_t i;

    json_array_foreach (json_object_get(status, "vms"), i, vm) {
        float queue = value_of(vm, "queue_depth");

        if (!isnan(queue) && json_equal(json_object_get(vm, "pool"), name))
            sum += queue;
    }
    return sum;
}

static void take_rows(struct history *history, struct history_sample *sample,
                      enum history_kind kind, const json_t *status)
{
    const json_t *list = json_object_get(status, kinds[kind].list), *row;
    struct history_row *rows = calloc(json_array_size(list) + 1, sizeof(*rows));
    unsigned n = 0;
    size_t i;

    json_array_foreach (list, i, row) {
        uint32_t id = id_of(history, kind, row);

        if (!rows || (kind == HISTORY_POOLS && id == HISTORY_POOLS_MAX))
            continue;
        rows[n].id = id;
        for (int value = 0; value < HISTORY_VALUES; value++)
            rows[n].values[value] = value_of(row, kinds[kind].values[value]);
        if (kind == HISTORY_POOLS)
            rows[n].values[0] = queue_of(status, row);
        n++;
    }
    if (rows)
        qsort(rows, n, sizeof(*rows), by_id);
    sample->rows[kind] = rows;
    sample->n[kind] = n;
}

static const struct history_sample *sample_at(const struct history *history, unsigned i)
{
    return &history->samples[(history->first + i) % HISTORY_SAMPLES];
}

void history_add(struct history *history, int64_t time_s, const json_t *status)
{
    struct history_sample *sample;

    if (history->n > 0 && sample_at(history, history->n - 1)->time_s >= time_s)
        return;
    sample = &history->samples[(history->first + history->n) % HISTORY_SAMPLES];
    if (history->n == HISTORY_SAMPLES)
        history->first = (history->first + 1) % HISTORY_SAMPLES;
    else
        history->n++;
    sample_release(sample);
    sample->time_s = time_s;
    for (int kind = 0; kind < HISTORY_KINDS; kind++)
        take_rows(history, sample, (enum history_kind)kind, status);
}

/* The points that are asked for: point i is about [start_s + i * step_s, + step_s). */
struct window {
    const struct history *history;
    int64_t start_s;
    unsigned step_s, n;
    uint32_t vm_id;
    FILE *out;
};

/* The point of a sample; -1: it lies outside. */
static int point_of(const struct window *window, const struct history_sample *sample)
{
    int64_t place = (sample->time_s - window->start_s) / window->step_s;

    return sample->time_s < window->start_s || place >= window->n ? -1 : (int)place;
}

static void put_mean(FILE *out, const char *before, double sum, unsigned n)
{
    if (n == 0)
        fprintf(out, "%snull", before);
    else
        fprintf(out, "%s%.7g", before, sum / n);
}

static void put_series(const struct window *window, enum history_kind kind, uint32_t id, int value)
{
    const struct history_row wanted = {.id = id};
    unsigned n = 0;
    double sum = 0;
    int point = 0;

    fprintf(window->out, ",\"%s\":[", kinds[kind].shown[value]);
    for (unsigned i = 0; i < window->history->n; i++) {
        const struct history_sample *sample = sample_at(window->history, i);
        const struct history_row *row =
            bsearch(&wanted, sample->rows[kind], sample->n[kind], sizeof(wanted), by_id);
        int at = point_of(window, sample);

        for (; at > point; point++, n = 0, sum = 0)
            put_mean(window->out, point ? "," : "", sum, n);
        if (at >= 0 && row && !isnan(row->values[value])) {
            sum += (double)row->values[value];
            n++;
        }
    }
    for (; point < (int)window->n; point++, n = 0, sum = 0)
        put_mean(window->out, point ? "," : "", sum, n);
    fputc(']', window->out);
}

static void put_name(const struct window *window, enum history_kind kind, uint32_t id)
{
    json_t *name = kind == HISTORY_POOLS ? json_string(window->history->pools[id])
                                         : json_integer((json_int_t)id);
    char *text = json_dumps(name, JSON_ENCODE_ANY);

    fprintf(window->out, "{\"%s\":%s", kinds[kind].id, text ? text : "null");
    free(text);
    json_decref(name);
}

static int by_number(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

/* Adds the ids of the rows to those in ids, which stay ascending and single. */
static unsigned merge_ids(uint32_t *ids, unsigned n, unsigned room, const struct history_row *rows,
                          unsigned n_rows)
{
    unsigned known = n;

    for (unsigned i = 0; i < n_rows; i++)
        if (n < room && !bsearch(&rows[i].id, ids, known, sizeof(*ids), by_number))
            ids[n++] = rows[i].id;
    qsort(ids, n, sizeof(*ids), by_number);
    return n;
}

#define IDS_MAX 4096 /* that one window shows; VMs come and go */

static void put_kind(const struct window *window, enum history_kind kind)
{
    _cleanup_free_ uint32_t *ids = malloc(IDS_MAX * sizeof(*ids));
    unsigned n = 0;

    for (unsigned i = 0; ids && i < window->history->n; i++) {
        const struct history_sample *sample = sample_at(window->history, i);

        if (point_of(window, sample) >= 0)
            n = merge_ids(ids, n, IDS_MAX, sample->rows[kind], sample->n[kind]);
    }
    fprintf(window->out, ",\"%s\":[", kinds[kind].list);
    for (unsigned i = 0, shown = 0; i < n; i++) {
        if (kind == HISTORY_VMS && window->vm_id && ids[i] != window->vm_id)
            continue;
        if (shown++)
            fputc(',', window->out);
        put_name(window, kind, ids[i]);
        for (int value = 0; value < HISTORY_VALUES && kinds[kind].shown[value]; value++)
            put_series(window, kind, ids[i], value);
        fputc('}', window->out);
    }
    fputc(']', window->out);
}

char *history_text(const struct history *history, int64_t now_s, unsigned minutes, unsigned step_s,
                   uint32_t vm_id, size_t *ret_size)
{
    struct window window = {.history = history, .step_s = step_s, .vm_id = vm_id};
    int64_t end_s = (now_s / step_s + 1) * step_s;
    char *text = NULL;

    window.start_s = (now_s - (int64_t)minutes * 60) / step_s * step_s;
    if (history->n > 0 && sample_at(history, 0)->time_s > window.start_s)
        window.start_s = sample_at(history, 0)->time_s / step_s * step_s;
    window.n = history->n > 0 ? (unsigned)((end_s - window.start_s) / step_s) : 0;
    window.out = open_memstream(&text, ret_size);
    if (!window.out)
        return NULL;
    fprintf(window.out, "{\"step_s\":%u,\"times\":[", step_s);
    for (unsigned i = 0; i < window.n; i++)
        fprintf(window.out, "%s%lld", i ? "," : "",
                (long long)(window.start_s + (int64_t)i * step_s));
    fputc(']', window.out);
    for (int kind = 0; kind < HISTORY_KINDS; kind++)
        put_kind(&window, (enum history_kind)kind);
    fputc('}', window.out);
    if (fclose(window.out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}
