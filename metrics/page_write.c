/* SPDX-License-Identifier: Apache-2.0 */
#include "metrics/page.h"

static const char *const members[METRIC_SCOPES] = {"global", "gpus", "pools", "vms"};

/* The name of each cell: the metric's, and after a slash its label's value. */
static void add_columns(struct metrics_text *text, enum metric_scope scope)
{
    bool first = true;

    for (size_t i = 0; i < metrics_count; i++) {
        const struct metric *metric = &metrics_table[i];

        if (metric->scope != scope)
            continue;
        for (unsigned n = 0; n < metric->n_values; n++) {
            const char *word = NULL;
            size_t size = metrics_word(metric->values, n, &word);

            text_add(text, first ? "\"" : ",\"");
            text_add(text, metric->name);
            if (size > 0) {
                text_add(text, "/");
                text_add_bytes(text, word, size);
            }
            text_add(text, "\"");
            first = false;
        }
    }
}

void metrics_begin_page(struct metrics_writer *writer, struct metrics_text *text, const char *boot,
                        bool first)
{
    *writer = (struct metrics_writer){.text = text, .scope = -1};
    text_add(text, "{\"format\":");
    text_add_number(text, METRICS_FORMAT);
    text_add(text, ",\"boot\":");
    text_add_quoted(text, boot);
    if (!first)
        return;
    text_add(text, ",\"columns\":{");
    for (int scope = 0; scope < METRIC_SCOPES; scope++) {
        text_add(text, scope ? ",\"" : "\"");
        text_add(text, members[scope]);
        text_add(text, "\":[");
        add_columns(text, (enum metric_scope)scope);
        text_add(text, "]");
    }
    text_add(text, "}");
}

static void open_scope(struct metrics_writer *writer, int scope)
{
    if (writer->scope >= 0)
        text_add(writer->text, "]");
    text_add(writer->text, ",\"");
    text_add(writer->text, members[scope]);
    text_add(writer->text, "\":[");
    writer->scope = scope;
}

/* What names the row. */
static void add_head(struct metrics_text *text, enum metric_scope scope,
                     const struct metric_row *row)
{
    if (scope == METRIC_GPU || scope == METRIC_VM) {
        text_add_number(text, row->id);
    } else {
        text_add_quoted(text, row->texts[0]);
    }
    if (scope == METRIC_VM) {
        text_add(text, ",");
        text_add_quoted(text, row->texts[0]);
        text_add(text, ",");
        text_add_quoted(text, row->texts[1]);
    }
}

/* A JSON reader may take no more than this. */
static uint64_t whole(uint64_t number)
{
    return number & INT64_MAX;
}

static void add_summary(struct metrics_text *text, const struct metric_cell *cell)
{
    if (cell->value == 0) {
        text_add(text, ",0");
        return;
    }
    text_add(text, ",[");
    text_add_number(text, whole(cell->value));
    text_add(text, ",");
    text_add_number(text, whole(cell->sum));
    for (int i = 0; cell->lately && i < METRIC_QUANTILES; i++) {
        text_add(text, ",");
        text_add_number(text, whole(cell->quantiles[i]));
    }
    text_add(text, "]");
}

void metrics_add_row(struct metrics_writer *writer, enum metric_scope scope,
                     const struct metric_row *row)
{
    struct metrics_text *text = writer->text;
    bool first = writer->scope != (int)scope;

    if (first)
        open_scope(writer, scope);
    text_add(text, first ? "[" : ",[");
    add_head(text, scope, row);
    for (size_t i = 0; i < metrics_count; i++) {
        const struct metric *metric = &metrics_table[i];

        for (unsigned n = 0; metric->scope == scope && n < metric->n_values; n++) {
            const struct metric_cell *cell = &row->cells[metric->cell + n];

            if (!cell->known) {
                text_add(text, ",null");
            } else if (metric->type == METRIC_SUMMARY) {
                add_summary(text, cell);
            } else {
                text_add(text, ",");
                text_add_number(text, whole(cell->value));
            }
        }
    }
    text_add(text, "]");
}

void metrics_end_page(struct metrics_writer *writer, uint32_t next_vm)
{
    if (writer->scope >= 0)
        text_add(writer->text, "]");
    text_add(writer->text, ",\"next_vm\":");
    if (next_vm)
        text_add_number(writer->text, next_vm);
    else
        text_add(writer->text, "null");
    text_add(writer->text, "}");
}
