/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of top's model and view, without a terminal. */
#include <errno.h>
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "admin/table.h"
#include "admin/top_model.h"
#include "admin/top_view.h"

struct fixture {
    json_t *status, *latency, *model;
    struct top_view view;
    struct top_canvas canvas;
};

static json_t *vm(int id, const char *name, const char *state, double share, int queue)
{
    return json_pack("{s:i, s:s, s:s, s:s, s:s, s:f, s:f, s:i, s:i, s:i, s:{s:i, s:i}}", "vm_id",
                     id, "name", name, "pool", id < 3 ? "A" : "B", "priority", "high", "state",
                     state, "share", share, "entitlement", 0.5, "queue_depth", queue, "jobs_done",
                     100 * id, "faults", 0, "memory", "nvml_bytes", 3 << 20, "quota_bytes",
                     1 << 30);
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    fixture->status =
        json_pack("{s:{s:s, s:f}, s:[{s:i, s:s, s:s, s:i, s:f, s:[s]}],"
                  " s:[{s:s, s:s, s:[i], s:i}, {s:s, s:s, s:[i], s:i}], s:[o, o, o]}",
                  "mediator", "version", "1.2", "uptime_s", 3700.0, "gpus", "gpu_id", 0, "model",
                  "H200", "state", "ok", "holder_vm_id", 2, "utilization", 40.0, "pools", "A",
                  "pools", "pool", "A", "policy", "wfq", "gpus", 0, "vms", 2, "pool", "B", "policy",
                  "wfq", "gpus", 0, "vms", 1, "vms", vm(1, "web", "running", 0.25, 7),
                  vm(2, "db", "waiting", 0.5, 30), vm(3, "mail", "idle", 0.125, 0));
    fixture->latency = json_pack("{s:{s:[i, i, i], s:[i, i, i]}}", "2", "wait", 900, 1200000,
                                 25000000, "run", 1, 2, 3);
    fixture->model = top_model(
        &(struct top_answers){.status = fixture->status, .latency = fixture->latency, .time = 1000},
        NULL);
    assert_non_null(fixture->model);
    top_view_init(&fixture->view);
    fixture->view.height = 24;
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;

    top_canvas_release(&fixture->canvas);
    json_decref(fixture->status);
    json_decref(fixture->latency);
    json_decref(fixture->model);
    free(fixture);
    return 0;
}

static void draw(struct fixture *fixture)
{
    size_t most = fixture->view.height ? fixture->view.height : TOP_HEIGHT_MAX;

    top_canvas_release(&fixture->canvas);
    assert_int_equal(top_canvas_init(&fixture->canvas, most, fixture->view.ascii), 0);
    top_view_draw(&fixture->view, fixture->model, &fixture->canvas);
    for (size_t i = 0; i < fixture->canvas.n_lines; i++)
        assert_true(table_columns(fixture->canvas.lines[i].text) <= fixture->view.width);
}

/* The line that has the text, or -1. */
static int line_of(const struct fixture *fixture, const char *text)
{
    for (size_t i = 0; i < fixture->canvas.n_lines; i++)
        if (strstr(fixture->canvas.lines[i].text, text))
            return (int)i;
    return -1;
}

static void assert_order(struct fixture *fixture, const char *first, const char *second,
                         const char *third)
{
    draw(fixture);
    assert_true(line_of(fixture, first) > 0);
    assert_true(line_of(fixture, second) > line_of(fixture, first));
    assert_true(line_of(fixture, third) > line_of(fixture, second));
}

static void keys(struct fixture *fixture, const char *text)
{
    for (; *text; text++)
        top_view_key(&fixture->view, (unsigned char)*text);
}

static const json_t *row(const json_t *model, const char *section, size_t i)
{
    return json_array_get(json_object_get(model, section), i);
}

static void test_top_model_puts_the_answers_together(void **state)
{
    struct fixture *fixture = *state;
    const json_t *gpu = row(fixture->model, "gpus", 0), *db = row(fixture->model, "vms", 1);
    const json_t *pool = row(fixture->model, "pools", 0);

    assert_string_equal(json_string_value(json_object_get(gpu, "holder_name")), "db");
    assert_int_equal(json_integer_value(json_object_get(db, "wait_p99_ns")), 25000000);
    assert_int_equal(json_integer_value(json_object_get(db, "run_p50_ns")), 1);
    assert_true(json_is_null(json_object_get(row(fixture->model, "vms", 0), "wait_p50_ns")));
    assert_int_equal(json_integer_value(json_object_get(db, "memory_used_bytes")), 3 << 20);
    assert_int_equal(json_integer_value(json_object_get(pool, "queue_depth")), 37);
    assert_int_equal(json_integer_value(json_object_get(pool, "waiting")), 1);
    assert_true(json_is_null(json_object_get(pool, "jobs_per_s")));
}

static void test_top_model_rates_are_of_two_moments(void **state)
{
    struct fixture *fixture = *state;
    struct top_answers answers = {.status = fixture->status, .time = 1002};
    json_t *later;

    json_object_set_new(json_array_get(json_object_get(fixture->status, "vms"), 0), "jobs_done",
                        json_integer(150));
    /* A mediator with new accounts. */
    json_object_set_new(json_array_get(json_object_get(fixture->status, "vms"), 1), "jobs_done",
                        json_integer(5));
    later = top_model(&answers, fixture->model);
    assert_float_equal(json_number_value(json_object_get(row(later, "vms", 0), "jobs_per_s")), 25,
                       1e-9);
    assert_true(json_is_null(json_object_get(row(later, "vms", 1), "jobs_per_s")));
    assert_float_equal(json_number_value(json_object_get(row(later, "pools", 0), "jobs_per_s")), 25,
                       1e-9);
    json_decref(later);
}

static void test_top_model_health_says_more_of_a_gpu(void **state)
{
    struct fixture *fixture = *state;
    json_t *health = json_pack("{s:[{s:i, s:s}]}", "gpus", "gpu_id", 0, "state", "draining");
    struct top_answers answers = {.status = fixture->status, .health = health, .time = 1};
    json_t *model = top_model(&answers, NULL);

    assert_string_equal(json_string_value(json_object_get(row(model, "gpus", 0), "state")),
                        "draining");
    json_decref(model);
    json_decref(health);
}

/* Every member of the answer in turn is of a type that it should not be. */
static void test_top_model_and_view_survive_wrong_types(void **state)
{
    struct fixture *fixture = *state;
    static const char *const sections[] = {"mediator", "gpus", "pools", "vms"};

    for (size_t s = 0; s < 4; s++) {
        json_t *section = json_object_get(fixture->status, sections[s]);
        json_t *object = json_is_array(section) ? json_array_get(section, 0) : section;
        void *at = json_object_iter(object);

        for (; at; at = json_object_iter_next(object, at)) {
            json_t *good = json_incref(json_object_iter_value(at));

            for (int kind = 0; kind < 4; kind++) {
                json_t *bad = kind == 0   ? json_pack("[[i]]", 1)
                              : kind == 1 ? json_pack("{s:n}", "a")
                              : kind == 2 ? json_real(-1e300)
                                          : json_string("\033[31m\xc3\xbc");

                json_object_iter_set_new(object, at, bad);
                json_decref(fixture->model);
                fixture->model = top_model(&(struct top_answers){.status = fixture->status}, NULL);
                draw(fixture);
                assert_int_equal(line_of(fixture, "\033"), -1);
            }
            json_object_iter_set_new(object, at, good);
        }
    }
}

static void test_top_view_sorts_by_share_at_first(void **state)
{
    assert_order(*state, "   2 db ", "   1 web ", "   3 mail ");
}

static void test_top_view_sort_keys(void **state)
{
    struct fixture *fixture = *state;

    keys(fixture, "r");
    assert_order(fixture, "   3 mail ", "   1 web ", "   2 db ");
    keys(fixture, ">");
    assert_order(fixture, "   2 db ", "   1 web ", "   3 mail ");
    for (int i = 0; i < 7; i++)
        keys(fixture, "<");
    assert_order(fixture, "   2 db ", "   3 mail ", "   1 web ");
    top_view_key(&fixture->view, TOP_KEY_LEFT);
    assert_order(fixture, "   1 web ", "   2 db ", "   3 mail ");
}

static void test_top_view_sort_option(void **state)
{
    struct fixture *fixture = *state;
    struct vgpu_err err = {.code = 0};

    assert_int_equal(top_view_sort(&fixture->view, "name", &err), 0);
    assert_order(fixture, "   2 db ", "   3 mail ", "   1 web ");
    assert_int_equal(top_view_sort(&fixture->view, "-Name", &err), 0);
    assert_order(fixture, "   1 web ", "   3 mail ", "   2 db ");
    assert_int_equal(top_view_sort(&fixture->view, "height", &err), -EINVAL);
}

static void test_top_view_unknown_values_come_last(void **state)
{
    struct fixture *fixture = *state;
    struct vgpu_err err = {.code = 0};

    top_view_sort(&fixture->view, "wait99", &err);
    assert_order(fixture, "   2 db ", "   1 web ", "   3 mail ");
    keys(fixture, "r");
    assert_order(fixture, "   2 db ", "   1 web ", "   3 mail ");
}

static void test_top_view_filter_follows_what_is_typed(void **state)
{
    struct fixture *fixture = *state;

    keys(fixture, "/A wai");
    draw(fixture);
    assert_true(line_of(fixture, "   2 db ") > 0);
    assert_int_equal(line_of(fixture, "   1 web "), -1);
    assert_true(line_of(fixture, "filter VMs: A wai_") > 0);
    top_view_key(&fixture->view, TOP_KEY_BACKSPACE);
    keys(fixture, "zq");
    draw(fixture);
    assert_int_equal(line_of(fixture, "   2 db "), -1);
    assert_false(fixture->view.quit);
    top_view_key(&fixture->view, 033);
    assert_order(fixture, "   2 db ", "   1 web ", "   3 mail ");
    assert_false(fixture->view.typing);
}

static void test_top_view_filter_takes_characters_whole(void **state)
{
    struct fixture *fixture = *state;
    const char *filter = fixture->view.sections[TOP_VMS].filter;

    keys(fixture, "/");
    top_view_key(&fixture->view, 0xe9);
    top_view_key(&fixture->view, 0x65e5);
    top_view_key(&fixture->view, 0x1f600);
    assert_string_equal(filter, "é日😀");
    for (int i = 0; i < 3; i++)
        top_view_key(&fixture->view, 0x7f);
    assert_string_equal(filter, "");
    for (int i = 0; i < 2 * TOP_FILTER_BYTES; i++)
        top_view_key(&fixture->view, 0x65e5);
    assert_int_equal(strlen(filter), (TOP_FILTER_BYTES - 1) / 3 * 3);
}

static void test_top_view_scrolls_within_its_rows(void **state)
{
    struct fixture *fixture = *state;
    json_t *vms = json_object_get(fixture->model, "vms");
    const struct top_section *section = &fixture->view.sections[TOP_VMS];

    for (int i = 0; i < 200; i++)
        json_array_append_new(vms, json_pack("{s:i, s:f}", "vm_id", 10 + i, "share", 0.0));
    draw(fixture);
    assert_int_equal(fixture->canvas.n_lines, 24);
    assert_int_equal(section->matching, 203);
    top_view_key(&fixture->view, TOP_KEY_END);
    draw(fixture);
    assert_true(line_of(fixture, " 209 ") > 0);
    assert_int_equal(section->scroll + section->shown, 203);
    top_view_key(&fixture->view, TOP_KEY_DOWN);
    assert_int_equal(section->scroll + section->shown, 203);
    top_view_key(&fixture->view, TOP_KEY_PAGE_UP);
    assert_int_equal(section->scroll, 203 - 2 * section->shown);
    top_view_key(&fixture->view, TOP_KEY_HOME);
    top_view_key(&fixture->view, TOP_KEY_UP);
    assert_int_equal(section->scroll, 0);
    /* A filter that leaves less than what was scrolled over. */
    top_view_key(&fixture->view, TOP_KEY_END);
    keys(fixture, "/web\r");
    draw(fixture);
    assert_true(line_of(fixture, "   1 web ") > 0);
}

static void test_top_view_focus_moves_room_and_sorting(void **state)
{
    struct fixture *fixture = *state;
    json_t *gpus = json_object_get(fixture->model, "gpus");

    for (int i = 1; i < 64; i++)
        json_array_append_new(gpus, json_pack("{s:i, s:s}", "gpu_id", i, "model", "other"));
    for (int i = 0; i < 100; i++)
        json_array_append_new(json_object_get(fixture->model, "vms"),
                              json_pack("{s:i}", "vm_id", 100 + i));
    draw(fixture);
    assert_true(line_of(fixture, "   1 web ") > 0);
    assert_true(fixture->view.sections[TOP_GPUS].shown < 8);
    keys(fixture, "\t");
    draw(fixture);
    assert_true(fixture->view.sections[TOP_GPUS].shown > 10);
    assert_true(line_of(fixture, "   1 web ") > 0);
    top_view_key(&fixture->view, TOP_KEY_TAB_BACK);
    assert_int_equal(fixture->view.focus, TOP_VMS);
}

static void test_top_view_every_size_is_drawn_within(void **state)
{
    struct fixture *fixture = *state;

    for (size_t width = 1; width <= TOP_WIDTH_MAX + 10; width += width < 100 ? 1 : 37)
        for (size_t height = 1; height < 30; height++) {
            fixture->view.width = width;
            fixture->view.height = height;
            keys(fixture, "1");
            draw(fixture);
            assert_true(fixture->canvas.n_lines <= height);
            keys(fixture, "2");
            draw(fixture);
        }
}

static void test_top_view_80_columns_have_what_matters(void **state)
{
    struct fixture *fixture = *state;
    const char *titles;

    draw(fixture);
    titles = fixture->canvas.lines[line_of(fixture, "SHARE/DUE%")].text;
    assert_non_null(strstr(titles, "QUEUE"));
    assert_non_null(strstr(titles, "WAIT99"));
    assert_non_null(strstr(titles, "RUN99"));
    assert_non_null(strstr(titles, "FAULTS"));
    keys(fixture, "2");
    draw(fixture);
    titles = fixture->canvas.lines[line_of(fixture, "WAIT50")].text;
    assert_non_null(strstr(titles, "WAIT95"));
    assert_non_null(strstr(titles, "RUN50"));
    assert_true(line_of(fixture, "900ns") > 0);
    assert_true(line_of(fixture, "1.2ms") > 0);
    assert_true(line_of(fixture, "25ms") > 0);
}

static void test_top_view_bars_mark_what_is_due(void **state)
{
    struct fixture *fixture = *state;

    fixture->view.ascii = true;
    fixture->view.width = 78;
    draw(fixture);
    assert_true(line_of(fixture, "###..|....  25/ 50") > 0);
    assert_true(line_of(fixture, "####......  40%") > 0);
    assert_int_equal(line_of(fixture, "\xe2"), -1);
    assert_true(line_of(fixture, "?C") > 0);
}

static void test_top_view_once_has_all_rows_and_no_keys(void **state)
{
    struct fixture *fixture = *state;
    json_t *vms = json_object_get(fixture->model, "vms");

    for (int i = 0; i < 300; i++)
        json_array_append_new(vms, json_pack("{s:i}", "vm_id", 1000 + i));
    fixture->view.height = 0;
    fixture->view.width = 200;
    draw(fixture);
    assert_true(line_of(fixture, "1299 ") > 0);
    assert_int_equal(line_of(fixture, "q quit"), -1);
}

static void test_top_view_help_and_pause_and_interval(void **state)
{
    struct fixture *fixture = *state;

    keys(fixture, "?");
    draw(fixture);
    assert_true(line_of(fixture, "next section") > 0);
    keys(fixture, "q");
    assert_false(fixture->view.quit);
    keys(fixture, " ");
    draw(fixture);
    assert_true(line_of(fixture, "PAUSED") > 0);
    keys(fixture, "-");
    assert_float_equal(fixture->view.interval_s, 0.5, 1e-9);
    keys(fixture, "-----");
    assert_float_equal(fixture->view.interval_s, 0.1, 1e-9);
    keys(fixture, "q");
    assert_true(fixture->view.quit);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_top_model_puts_the_answers_together),
        TEST(test_top_model_rates_are_of_two_moments),
        TEST(test_top_model_health_says_more_of_a_gpu),
        TEST(test_top_model_and_view_survive_wrong_types),
        TEST(test_top_view_sorts_by_share_at_first),
        TEST(test_top_view_sort_keys),
        TEST(test_top_view_sort_option),
        TEST(test_top_view_unknown_values_come_last),
        TEST(test_top_view_filter_follows_what_is_typed),
        TEST(test_top_view_filter_takes_characters_whole),
        TEST(test_top_view_scrolls_within_its_rows),
        TEST(test_top_view_focus_moves_room_and_sorting),
        TEST(test_top_view_every_size_is_drawn_within),
        TEST(test_top_view_80_columns_have_what_matters),
        TEST(test_top_view_bars_mark_what_is_due),
        TEST(test_top_view_once_has_all_rows_and_no_keys),
        TEST(test_top_view_help_and_pause_and_interval),
    };

    setlocale(LC_CTYPE, "C.UTF-8");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
