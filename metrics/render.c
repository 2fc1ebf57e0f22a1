/* SPDX-License-Identifier: Apache-2.0 */
#include "metrics/render.h"

#include <errno.h>
#include <string.h>

static const char *const type_names[] = {"counter", "gauge", "summary", "gauge"};

/* One label of a series: name, and its value in quotes. */
static void add_label(struct metrics_text *text, bool json, unsigned *count, const char *name,
                      size_t name_size)
{
    text_add(text, (*count)++ ? "," : "{");
    if (json)
        text_add(text, "\"");
    text_add_bytes(text, name, name_size);
    text_add(text, json ? "\":" : "=");
}

static void add_id(struct metrics_text *text, uint32_t id)
{
    text_add(text, "\"");
    text_add_number(text, id);
    text_add(text, "\"");
}

static void add_row_labels(struct metrics_text *text, bool json, unsigned *count,
                           enum metric_scope scope, const struct metric_row *row)
{
    if (scope == METRIC_GPU || scope == METRIC_VM) {
        add_label(text, json, count, scope == METRIC_GPU ? "gpu" : "vm",
                  scope == METRIC_GPU ? 3 : 2);
        add_id(text, row->id);
    } else if (scope == METRIC_POOL) {
        add_label(text, json, count, "pool", 4);
        text_add_quoted(text, row->texts[0]);
    }
}

/* All labels of a series but a quantile; Prometheus' are left open. */
static void add_labels(struct metrics_text *text, bool json, unsigned *count,
                       const struct metric *metric, const struct metric_row *row, unsigned n)
{
    const char *word = NULL;
    size_t size;

    add_row_labels(text, json, count, metric->scope, row);
    if (metric->type == METRIC_INFO) {
        for (unsigned i = 0; (size = metrics_word(metric->label, i, &word)) > 0; i++) {
            add_label(text, json, count, word, size);
            text_add_quoted(text, row->texts[i]);
        }
    } else if (metric->label[0]) {
        add_label(text, json, count, metric->label, strlen(metric->label));
        size = metrics_word(metric->values, n, &word);
        text_add(text, "\"");
        text_add_bytes(text, word, size);
        text_add(text, "\"");
    }
}

/* Prometheus */

static void end_line(struct metrics_text *text, unsigned labels, uint64_t value, unsigned digits)
{
    text_add(text, labels ? "} " : " ");
    text_add_decimal(text, value, digits);
    text_add(text, "\n");
}

static void add_line(struct metrics_text *text, const struct metric *metric, const char *suffix,
                     const struct metric_row *row, unsigned n, uint64_t value, unsigned digits)
{
    unsigned labels = 0;

    text_add(text, metric->name);
    text_add(text, suffix);
    add_labels(text, false, &labels, metric, row, n);
    end_line(text, labels, value, digits);
}

static void add_summary(struct metrics_text *text, const struct metric *metric,
                        const struct metric_row *row, unsigned n)
{
    const struct metric_cell *cell = &row->cells[metric->cell + n];

    for (int i = 0; cell->lately && i < METRIC_QUANTILES; i++) {
        unsigned labels = 0;

        text_add(text, metric->name);
        add_labels(text, false, &labels, metric, row, n);
        add_label(text, false, &labels, "quantile", 8);
        text_add_quoted(text, metric_quantiles[i]);
        end_line(text, labels, cell->quantiles[i], metric->digits);
    }
    add_line(text, metric, "_sum", row, n, cell->sum, metric->digits);
    add_line(text, metric, "_count", row, n, cell->value, 0);
}

static void add_head(struct metrics_text *text, const char *name, const char *help,
                     const char *type)
{
    text_add(text, "# HELP ");
    text_add(text, name);
    text_add(text, " ");
    text_add(text, help);
    text_add(text, "\n# TYPE ");
    text_add(text, name);
    text_add(text, " ");
    text_add(text, type);
    text_add(text, "\n");
}

static void add_family(struct metrics_text *text, const struct metrics_snapshot *snapshot,
                       const struct metric *metric)
{
    add_head(text, metric->name, metric->help, type_names[metric->type]);
    for (size_t i = 0; i < snapshot->n_rows[metric->scope]; i++) {
        const struct metric_row *row = &snapshot->rows[metric->scope][i];

        for (unsigned n = 0; n < metric->n_values; n++) {
            const struct metric_cell *cell = &row->cells[metric->cell + n];

            if (!cell->known)
                continue;
            if (metric->type == METRIC_SUMMARY)
                add_summary(text, metric, row, n);
            else
                add_line(text, metric, "", row, n, cell->value, metric->digits);
        }
    }
}

int metrics_render_prometheus(const struct metrics_snapshot *snapshot, struct metrics_text *text)
{
    for (size_t i = 0; i < metrics_count; i++)
        add_family(text, snapshot, &metrics_table[i]);
    return text->failed ? -ENOMEM : 0;
}

/* JSON */

static void add_json_value(struct metrics_text *text, const struct metric *metric,
                           const struct metric_cell *cell)
{
    if (metric->type != METRIC_SUMMARY) {
        text_add(text, ",\"value\":");
        text_add_decimal(text, cell->value, metric->digits);
        return;
    }
    text_add(text, ",\"count\":");
    text_add_number(text, cell->value);
    text_add(text, ",\"sum\":");
    text_add_decimal(text, cell->sum, metric->digits);
    text_add(text, ",\"quantiles\":{");
    for (int i = 0; cell->lately && i < METRIC_QUANTILES; i++) {
        text_add(text, i ? "," : "");
        text_add_quoted(text, metric_quantiles[i]);
        text_add(text, ":");
        text_add_decimal(text, cell->quantiles[i], metric->digits);
    }
    text_add(text, "}");
}

static void add_json_series(struct metrics_text *text, const struct metrics_snapshot *snapshot,
                            const struct metric *metric)
{
    bool first = true;

    for (size_t i = 0; i < snapshot->n_rows[metric->scope]; i++) {
        const struct metric_row *row = &snapshot->rows[metric->scope][i];

        for (unsigned n = 0; n < metric->n_values; n++) {
            const struct metric_cell *cell = &row->cells[metric->cell + n];
            unsigned labels = 0;

            if (!cell->known)
                continue;
            text_add(text, first ? "{\"labels\":" : ",{\"labels\":");
            first = false;
            add_labels(text, true, &labels, metric, row, n);
            text_add(text, labels ? "}" : "{}");
            add_json_value(text, metric, cell);
            text_add(text, "}");
        }
    }
}

int metrics_render_json(const struct metrics_snapshot *snapshot, struct metrics_text *text)
{
    text_add(text, "{\"metrics\":[");
    for (size_t i = 0; i < metrics_count; i++) {
        const struct metric *metric = &metrics_table[i];

        text_add(text, i ? ",{\"name\":" : "{\"name\":");
        text_add_quoted(text, metric->name);
        text_add(text, ",\"type\":");
        text_add_quoted(text, type_names[metric->type]);
        text_add(text, ",\"help\":");
        text_add_quoted(text, metric->help);
        text_add(text, ",\"series\":[");
        add_json_series(text, snapshot, metric);
        text_add(text, "]}");
    }
    text_add(text, "]}");
    return text->failed ? -ENOMEM : 0;
}
