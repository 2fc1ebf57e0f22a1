/* SPDX-License-Identifier: Apache-2.0 */
/* The table, pages written and read, and what is rendered from them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "metrics/render.h"

static void test_metrics_names_follow_the_rule(void **state)
{
    static const char *const units[] = {
        "_seconds", "_bytes",   "_ratio",      "_celsius",  "_jobs",        "_vms",
        "_gpus",    "_workers", "_per_second", "_channels", "_connections", "_requests",
        "_info",    "_up",      "_present",    "_healthy",  "_failures",    "_quarantined",
        "_faults",  "_watts",   "_hertz",      "_rows",     "_throttled",   "_state"};

    for (size_t i = 0; i < metrics_count; i++) {
        const struct metric *metric = &metrics_table[i];
        const char *total = strstr(metric->name, "_total");
        bool unit = false;

        assert_int_equal(strncmp(metric->name, "vgpu_", 5), 0);
        assert_int_equal(metric->name[strspn(metric->name, "abcdefghijklmnopqrstuvwxyz_")], '\0');
        assert_true((metric->type == METRIC_COUNTER) == (total && strcmp(total, "_total") == 0));
        for (size_t u = 0; u < sizeof(units) / sizeof(units[0]); u++) {
            size_t size = strlen(metric->name), tail = strlen(units[u]);

            unit |= size > tail && strcmp(metric->name + size - tail, units[u]) == 0;
        }
        assert_true(unit || metric->type == METRIC_COUNTER);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(metric->name, metrics_table[j].name);
    }
}

static void test_metrics_labels_have_their_values(void **state)
{
    for (size_t i = 0; i < metrics_count; i++) {
        const struct metric *metric = &metrics_table[i];
        const char *word;

        if (metric->type == METRIC_INFO || !metric->label[0]) {
            assert_int_equal(metric->n_values, 1);
            continue;
        }
        assert_true(strcmp(metric->label, "kind") == 0 || strcmp(metric->label, "reason") == 0 ||
                    strcmp(metric->label, "state") == 0);
        assert_true(metrics_word(metric->values, metric->n_values - 1, &word) > 0);
        assert_int_equal(metrics_word(metric->values, metric->n_values, &word), 0);
    }
}

static void assert_decimal(uint64_t number, unsigned digits, const char *wanted)
{
    struct metrics_text text = {0};

    text_add_decimal(&text, number, digits);
    assert_string_equal(text.data, wanted);
    text_release(&text);
}

static void test_metrics_decimals_are_exact(void **state)
{
    assert_decimal(0, 0, "0");
    assert_decimal(0, 9, "0");
    assert_decimal(1, 9, "0.000000001");
    assert_decimal(1500000000, 9, "1.5");
    assert_decimal(123456789012, 9, "123.456789012");
    assert_decimal(100, 2, "1");
    assert_decimal(37, 2, "0.37");
    assert_decimal(UINT64_MAX, 0, "18446744073709551615");
    assert_decimal(UINT64_MAX, 9, "18446744073.709551615");
}

/* A page with one row of each scope, each cell with another value. */
static void fill(struct metric_row *row, enum metric_scope scope, uint64_t value)
{
    memset(row, 0, sizeof(*row));
    row->id = (uint32_t)value;
    strcpy(row->texts[0], scope == METRIC_GLOBAL ? "0.1.0" : "A");
    strcpy(row->texts[1], "high");
    for (unsigned i = 0; i < metrics_cells(scope); i++) {
        metric_set(row, i, value + i);
        row->cells[i].sum = 1000 * (value + i);
    }
}

static json_t *page_of(uint32_t first_vm, unsigned n_vms, bool first, uint32_t next)
{
    struct metrics_text text = {0};
    struct metrics_writer writer;
    struct metric_row row;
    json_t *page;

    metrics_begin_page(&writer, &text, "b00t", first);
    for (int scope = 0; first && scope < METRIC_VM; scope++) {
        fill(&row, (enum metric_scope)scope, 3);
        metrics_add_row(&writer, (enum metric_scope)scope, &row);
    }
    for (unsigned i = 0; i < n_vms; i++) {
        fill(&row, METRIC_VM, first_vm + i);
        row.cells[CELL_VM_JOB_RUN + 1].lately = true;
        for (int q = 0; q < METRIC_QUANTILES; q++)
            row.cells[CELL_VM_JOB_RUN + 1].quantiles[q] = 1000u * (unsigned)(q + 1);
        row.cells[CELL_VM_MEMORY_QUOTA].known = false;
        metrics_add_row(&writer, METRIC_VM, &row);
    }
    metrics_end_page(&writer, next);
    assert_false(text.failed);
    page = json_loads(text.data, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(page);
    text_release(&text);
    return page;
}

static int take(struct metrics_snapshot *snapshot, json_t *page, uint32_t *ret_next)
{
    struct vgpu_err err = {0};
    int rc = metrics_take_page(snapshot, page, ret_next, &err);

    assert_true(rc == 0 || err.text[0]);
    json_decref(page);
    return rc;
}

static void test_metrics_pages_are_read_as_written(void **state)
{
    struct metrics_snapshot snapshot = {0};
    struct metric_row wanted;
    uint32_t next = 0;

    assert_int_equal(take(&snapshot, page_of(1, 2, true, 2), &next), 0);
    assert_int_equal(next, 2);
    assert_int_equal(take(&snapshot, page_of(7, 1, false, 0), &next), 0);
    assert_int_equal(next, 0);
    assert_int_equal(snapshot.n_rows[METRIC_VM], 3);
    assert_int_equal(snapshot.rows[METRIC_VM][2].id, 7);
    for (int scope = 0; scope < METRIC_VM; scope++) {
        fill(&wanted, (enum metric_scope)scope, 3);
        assert_int_equal(snapshot.n_rows[scope], 1);
        for (unsigned i = 0; i < metrics_cells((enum metric_scope)scope); i++)
            assert_int_equal(snapshot.rows[scope][0].cells[i].value, wanted.cells[i].value);
    }
    fill(&wanted, METRIC_VM, 7);
    for (unsigned i = 0; i < CELLS_OF_VM; i++) {
        const struct metric_cell *cell = &snapshot.rows[METRIC_VM][2].cells[i];

        assert_int_equal(cell->known, i != CELL_VM_MEMORY_QUOTA);
        if (cell->known)
            assert_int_equal(cell->value, wanted.cells[i].value);
        assert_int_equal(cell->lately, i == CELL_VM_JOB_RUN + 1);
    }
    assert_int_equal(snapshot.rows[METRIC_VM][2].cells[CELL_VM_JOB_RUN + 1].quantiles[2], 3000);
    metrics_snapshot_release(&snapshot);
}

static void test_metrics_a_column_of_a_later_version_is_left_out(void **state)
{
    struct metrics_snapshot snapshot = {0};
    json_t *page = page_of(1, 1, true, 0);
    json_t *columns = json_object_get(json_object_get(page, "columns"), "vms");
    json_t *row = json_array_get(json_object_get(page, "vms"), 0);
    uint32_t next;

    json_array_insert_new(columns, 0, json_string("vgpu_vm_dreams_total"));
    json_array_insert_new(row, 3, json_integer(99));
    assert_int_equal(take(&snapshot, page, &next), 0);
    assert_int_equal(snapshot.rows[METRIC_VM][0].cells[0].value, 1);
    assert_int_equal(snapshot.rows[METRIC_VM][0].cells[1].value, 2);
    metrics_snapshot_release(&snapshot);
}

static void test_metrics_a_page_of_another_mediator_is_stale(void **state)
{
    struct metrics_snapshot snapshot = {0};
    json_t *page = page_of(2, 1, false, 0);
    uint32_t next;

    assert_int_equal(take(&snapshot, page_of(1, 1, true, 1), &next), 0);
    json_object_set_new(page, "boot", json_string("other"));
    assert_int_equal(take(&snapshot, page, &next), -ESTALE);
    metrics_snapshot_release(&snapshot);
}

static void refuse(json_t *page)
{
    struct metrics_snapshot snapshot = {0};
    uint32_t next;

    assert_int_equal(take(&snapshot, page, &next), -EPROTO);
    metrics_snapshot_release(&snapshot);
}

static json_t *changed(const char *member, json_t *value)
{
    json_t *page = page_of(1, 1, true, 0);

    json_object_set_new(page, member, value);
    return page;
}

static void test_metrics_what_is_no_page_is_refused(void **state)
{
    json_t *page = page_of(1, 1, true, 0), *row = json_array_get(json_object_get(page, "vms"), 0);

    json_array_remove(row, json_array_size(row) - 1);
    refuse(page);
    page = page_of(1, 1, true, 0);
    row = json_array_get(json_object_get(page, "vms"), 0);
    json_array_set_new(row, 5, json_integer(-1));
    refuse(page);
    refuse(json_array());
    refuse(json_object());
    refuse(changed("format", json_integer(METRICS_FORMAT + 1)));
    refuse(changed("boot", json_integer(1)));
    refuse(changed("columns", json_array()));
    refuse(changed("vms", json_integer(1)));
    refuse(changed("vms", json_pack("[i]", 1)));
    refuse(changed("next_vm", json_string("2")));
    refuse(page_of(1, 1, false, 0)); /* the first has columns */
}

static void test_metrics_columns_beyond_the_limit_are_refused(void **state)
{
    json_t *page = page_of(1, 0, true, 0);
    json_t *columns = json_object_get(json_object_get(page, "columns"), "vms");

    while (json_array_size(columns) < METRICS_COLUMNS)
        json_array_append_new(columns, json_string("more"));
    {
        struct metrics_snapshot snapshot = {0};
        uint32_t next;

        json_incref(page);
        assert_int_equal(take(&snapshot, page, &next), 0);
        metrics_snapshot_release(&snapshot);
    }
    json_array_append_new(columns, json_string("more"));
    refuse(page);
}

static void test_metrics_rows_beyond_the_limit_are_refused(void **state)
{
    json_t *page = page_of(1, 1, true, 0), *vms = json_object_get(page, "vms");
    struct metrics_snapshot snapshot = {0};
    uint32_t next;

    while (json_array_size(vms) < METRICS_ROWS_MAX)
        json_array_append(vms, json_array_get(vms, 0));
    json_incref(page);
    assert_int_equal(take(&snapshot, page, &next), 0);
    metrics_snapshot_release(&snapshot);
    json_array_append(vms, json_array_get(vms, 0));
    refuse(page);
}

static bool has_line(const struct metrics_text *text, const char *line)
{
    size_t size = strlen(line);

    for (const char *at = strstr(text->data, line); at; at = strstr(at + 1, line))
        if ((at == text->data || at[-1] == '\n') && at[size] == '\n')
            return true;
    return false;
}

static void test_metrics_prometheus_has_each_series(void **state)
{
    struct metrics_snapshot snapshot = {0};
    struct metrics_text text = {0};
    uint32_t next;

    assert_int_equal(take(&snapshot, page_of(7, 1, true, 0), &next), 0);
    assert_int_equal(metrics_render_prometheus(&snapshot, &text), 0);
    assert_true(has_line(&text, "# TYPE vgpu_vm_completed_jobs_total counter"));
    assert_true(has_line(&text, "vgpu_mediator_up 3"));
    assert_true(has_line(&text, "vgpu_mediator_info{version=\"0.1.0\"} 4"));
    assert_true(has_line(&text, "vgpu_gpu_present{gpu=\"3\"} 3"));
    assert_true(has_line(&text, "vgpu_pool_gpus{pool=\"A\"} 4"));
    assert_true(has_line(&text, "vgpu_vm_info{vm=\"7\",pool=\"A\",priority=\"high\"} 7"));
    assert_true(has_line(&text, "vgpu_vm_channels{vm=\"7\"} 8"));
    assert_true(has_line(
        &text, "vgpu_job_run_seconds{vm=\"7\",kind=\"launch\",quantile=\"0.99\"} 0.000003"));
    assert_null(strstr(text.data, "vgpu_vm_memory_quota_bytes{"));
    assert_non_null(strstr(text.data, "vgpu_job_run_seconds_count{vm=\"7\",kind=\"graph\"} "));
    assert_null(strstr(text.data, "vgpu_job_run_seconds{vm=\"7\",kind=\"graph\""));
    text_release(&text);
    metrics_snapshot_release(&snapshot);
}

static void test_metrics_names_are_quoted(void **state)
{
    struct metrics_snapshot snapshot = {0};
    struct metrics_text text = {0};
    json_t *page = page_of(1, 1, true, 0);
    uint32_t next;

    json_array_set_new(json_array_get(json_object_get(page, "pools"), 0), 0,
                       json_string("a\"b\\c\nd"));
    assert_int_equal(take(&snapshot, page, &next), 0);
    assert_int_equal(metrics_render_prometheus(&snapshot, &text), 0);
    assert_true(has_line(&text, "vgpu_pool_vms{pool=\"a\\\"b\\\\c d\"} 3"));
    text_release(&text);
    metrics_snapshot_release(&snapshot);
}

static void test_metrics_json_agrees_with_prometheus(void **state)
{
    struct metrics_snapshot snapshot = {0};
    struct metrics_text text = {0};
    const json_t *family, *series;
    json_t *json;
    uint32_t next;
    size_t i, n = 0;

    assert_int_equal(take(&snapshot, page_of(7, 2, true, 0), &next), 0);
    assert_int_equal(metrics_render_json(&snapshot, &text), 0);
    json = json_loads(text.data, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(json);
    assert_int_equal(json_array_size(json_object_get(json, "metrics")), metrics_count);
    json_array_foreach (json_object_get(json, "metrics"), i, family) {
        n += json_array_size(json_object_get(family, "series"));
        if (strcmp(json_string_value(json_object_get(family, "name")), "vgpu_job_run_seconds") != 0)
            continue;
        series = json_array_get(json_object_get(family, "series"), 1);
        assert_string_equal(
            json_string_value(json_object_get(json_object_get(series, "labels"), "kind")),
            "launch");
        assert_true(json_number_value(
                        json_object_get(json_object_get(series, "quantiles"), "0.5")) == 0.000001);
    }
    /* Each cell but the two that are not known. */
    assert_int_equal(n, CELLS_OF_GLOBAL + CELLS_OF_GPU + CELLS_OF_POOL + 2 * CELLS_OF_VM - 2);
    json_decref(json);
    text_release(&text);
    metrics_snapshot_release(&snapshot);
}

static void test_metrics_down_says_so(void **state)
{
    struct metrics_snapshot snapshot = {0};
    struct metrics_text text = {0};

    assert_int_equal(metrics_down(&snapshot), 0);
    assert_int_equal(metrics_render_prometheus(&snapshot, &text), 0);
    assert_true(has_line(&text, "vgpu_mediator_up 0"));
    assert_null(strstr(text.data, "\nvgpu_gpu"));
    text_release(&text);
    metrics_snapshot_release(&snapshot);
}

/* A mediator of so many pages; another one from page `other` on. */
struct pages {
    unsigned asked, n, other;
    bool backwards;
};

static int ask_page(void *context, json_t *args, json_t **ret_page, struct vgpu_err *err)
{
    struct pages *pages = context;
    json_int_t after = json_integer_value(json_object_get(args, "after_vm"));
    bool last = after + 1 >= pages->n;

    *ret_page = page_of((uint32_t)after + 1, 1, after == 0, last ? 0 : (uint32_t)after + 1);
    if (pages->backwards && after > 0)
        json_object_set_new(*ret_page, "next_vm", json_integer(after));
    if (pages->other && ++pages->asked >= pages->other)
        json_object_set_new(*ret_page, "boot", json_string("another"));
    json_decref(args);
    return 0;
}

static void test_metrics_collect_reads_all_pages(void **state)
{
    struct metrics_snapshot snapshot = {0};
    struct pages pages = {.n = 5};
    struct vgpu_err err;

    assert_int_equal(metrics_collect(&snapshot, ask_page, &pages, &err), 0);
    assert_int_equal(snapshot.n_rows[METRIC_VM], 5);
    assert_int_equal(snapshot.n_rows[METRIC_GPU], 1);
    metrics_snapshot_release(&snapshot);
}

static void test_metrics_collect_begins_again_with_another_mediator(void **state)
{
    struct metrics_snapshot snapshot = {0};
    struct pages pages = {.n = 5, .other = 3};
    struct vgpu_err err;

    assert_int_equal(metrics_collect(&snapshot, ask_page, &pages, &err), 0);
    assert_string_equal(snapshot.boot, "another");
    assert_int_equal(snapshot.n_rows[METRIC_VM], 5);
    metrics_snapshot_release(&snapshot);
}

static void test_metrics_collect_does_not_go_in_circles(void **state)
{
    struct metrics_snapshot snapshot = {0};
    struct pages pages = {.n = 5, .backwards = true};
    struct vgpu_err err;

    assert_int_equal(metrics_collect(&snapshot, ask_page, &pages, &err), -EPROTO);
    assert_null(snapshot.rows[METRIC_VM]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metrics_names_follow_the_rule),
        cmocka_unit_test(test_metrics_labels_have_their_values),
        cmocka_unit_test(test_metrics_decimals_are_exact),
        cmocka_unit_test(test_metrics_pages_are_read_as_written),
        cmocka_unit_test(test_metrics_a_column_of_a_later_version_is_left_out),
        cmocka_unit_test(test_metrics_a_page_of_another_mediator_is_stale),
        cmocka_unit_test(test_metrics_what_is_no_page_is_refused),
        cmocka_unit_test(test_metrics_columns_beyond_the_limit_are_refused),
        cmocka_unit_test(test_metrics_rows_beyond_the_limit_are_refused),
        cmocka_unit_test(test_metrics_prometheus_has_each_series),
        cmocka_unit_test(test_metrics_names_are_quoted),
        cmocka_unit_test(test_metrics_json_agrees_with_prometheus),
        cmocka_unit_test(test_metrics_down_says_so),
        cmocka_unit_test(test_metrics_collect_reads_all_pages),
        cmocka_unit_test(test_metrics_collect_begins_again_with_another_mediator),
        cmocka_unit_test(test_metrics_collect_does_not_go_in_circles),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
