/* SPDX-License-Identifier: Apache-2.0 */
/* What is answered: objects that are asked for, history, the panel's files, problems. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/files.h"
#include "agent/history.h"
#include "agent/object.h"
#include "agent/reply.h"
#include "common/cleanup.h"

static json_t *parse(const char *text)
{
    json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);

    assert_non_null(value);
    return value;
}

/* Takes value. */
static void expect(json_t *value, const char *wanted)
{
    json_t *other = parse(wanted);

    if (!json_equal(value, other))
        fail_msg("%s is not %s", json_dumps(value, JSON_ENCODE_ANY), wanted);
    json_decref(value);
    json_decref(other);
}

static const struct object_member members[] = {
    {"name", "null"}, {"weight", "50.0"}, {"burst", NULL}, {NULL}};

static void expect_object(const char *body, bool whole, const char *wanted)
{
    json_t *given = parse(body);

    expect(object_of(members, given, whole), wanted);
    expect(given, body);
}

static void test_object_of_a_put_has_defaults_for_the_rest(void **state)
{
    expect_object("{}", true, "{\"name\":null,\"weight\":50.0}");
    expect_object("{\"name\":\"a\",\"weight\":null,\"burst\":null}", true,
                  "{\"name\":\"a\",\"weight\":50.0,\"burst\":null}");
}

static void test_object_of_a_patch_has_what_it_names(void **state)
{
    expect_object("{}", false, "{}");
    expect_object("{\"weight\":null}", false, "{\"weight\":50.0}");
    expect_object("{\"name\":{\"a\":null},\"burst\":7}", false,
                  "{\"name\":{\"a\":null},\"burst\":7}");
}

static json_t *status_of(int vm_id, double share, int queue)
{
    return json_pack("{s:[{s:i, s:f, s:n, s:i}], s:[{s:s}],"
                     " s:[{s:i, s:s, s:f, s:f, s:i, s:i}]}",
                     "gpus", "gpu_id", 0, "utilization", 10.0 * vm_id, "memory_used_bytes",
                     "temperature", 40, "pools", "pool", "A", "vms", "vm_id", vm_id, "pool", "A",
                     "share", share, "entitlement", 0.5, "queue_depth", queue, "memory_bytes", 4);
}

static void add(struct history *history, int64_t time_s, int vm_id, double share)
{
    json_t *status = status_of(vm_id, share, 3);

    history_add(history, time_s, status);
    json_decref(status);
}

static json_t *show(const struct history *history, int64_t now_s, unsigned minutes, unsigned step_s,
                    uint32_t vm_id)
{
    size_t size;
    char *text = history_text(history, now_s, minutes, step_s, vm_id, &size);
    json_t *shown = parse(text);

    assert_int_equal(strlen(text), size);
    free(text);
    return shown;
}

static struct history *history_new(void)
{
    struct history *history = calloc(1, sizeof(*history));

    assert_non_null(history);
    return history;
}

static void history_free(struct history *history)
{
    history_release(history);
    free(history);
}

static void test_history_shows_means_and_gaps(void **state)
{
    struct history *history = history_new();

    add(history, 100, 1, 0.25);
    add(history, 105, 1, 0.75);
    add(history, 120, 2, 1.0);
    expect(show(history, 121, 60, 10, 0),
           "{\"step_s\":10,\"times\":[100,110,120],"
           "\"gpus\":[{\"gpu_id\":0,\"utilization\":[10,null,20],"
           "\"memory_used_bytes\":[null,null,null],\"temperature\":[40,null,40]}],"
           "\"pools\":[{\"pool\":\"A\",\"queue_depth\":[3,null,3]}],"
           "\"vms\":[{\"vm_id\":1,\"share\":[0.5,null,null],\"entitlement\":[0.5,null,null],"
           "\"queue_depth\":[3,null,null],\"memory_bytes\":[4,null,null]},"
           "{\"vm_id\":2,\"share\":[null,null,1],\"entitlement\":[null,null,0.5],"
           "\"queue_depth\":[null,null,3],\"memory_bytes\":[null,null,4]}]}");
    history_free(history);
}

static void test_history_shows_one_vm_and_the_minutes_asked_for(void **state)
{
    struct history *history = history_new();
    json_t *shown;

    add(history, 1000, 1, 0.25);
    add(history, 1300, 1, 0.5);
    add(history, 1305, 2, 0.5);
    shown = show(history, 1306, 1, 5, 2);
    assert_int_equal(json_array_size(json_object_get(shown, "vms")), 1);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(shown, "times"), 0)), 1245);
    json_decref(shown);
    history_free(history);
}

static void test_history_keeps_an_hour(void **state)
{
    struct history *history = history_new();
    json_t *shown;

    for (int i = 0; i < HISTORY_SAMPLES + 10; i++)
        add(history, 10000 + i * HISTORY_STEP_S, i < 10 ? 99 : 1, 0.5);
    assert_int_equal(history->n, HISTORY_SAMPLES);
    add(history, 10000, 7, 0.5); /* the clock was set back */
    shown = show(history, 10000 + (HISTORY_SAMPLES + 9) * HISTORY_STEP_S, 60, 5, 0);
    assert_int_equal(json_array_size(json_object_get(shown, "vms")), 1);
    assert_int_equal(json_array_size(json_object_get(shown, "times")), HISTORY_SAMPLES);
    json_decref(shown);
    history_free(history);
}

static void test_history_of_nothing_is_empty(void **state)
{
    struct history *history = history_new();

    expect(show(history, 1000, 60, 30, 0),
           "{\"step_s\":30,\"times\":[],\"gpus\":[],\"pools\":[],\"vms\":[]}");
    history_free(history);
}

static void put_file(const char *directory, const char *name, const char *text)
{
    char path[128];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static const struct file *file_at(const struct files *files, const char *target)
{
    struct request request = {.method = REQUEST_GET};
    const struct file *file = NULL;

    if (request_set_target(&request, target, NULL) == 0)
        file = files_find(files, &request);
    request_release(&request);
    return file;
}

static void expect_type(const struct files *files, const char *target, const char *type)
{
    const struct file *file = file_at(files, target);

    assert_string_equal(file ? file->type : "none", type);
}

static void test_files_are_served_by_name_only(void **state)
{
    char directory[] = "/tmp/vgpu-agent-XXXXXX", path[64], command[64];
    static struct files loaded;
    struct files *files = &loaded;
    struct vgpu_err err;

    assert_non_null(mkdtemp(directory));
    put_file(directory, "index.html", "<!doctype html>");
    put_file(directory, ".secret", "x");
    snprintf(path, sizeof(path), "%s/assets", directory);
    assert_int_equal(mkdir(path, 0700), 0);
    put_file(directory, "assets/app.js", "1");
    snprintf(path, sizeof(path), "%s/link", directory);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_int_equal(files_load(files, directory, &err), 0);
    assert_int_equal(files->n, 2);
    expect_type(files, "/", "text/html; charset=utf-8");
    expect_type(files, "/assets/app.js", "text/javascript; charset=utf-8");
    assert_ptr_equal(file_at(files, "/index.html"), file_at(files, "/?x"));
    assert_null(file_at(files, "/assets/"));
    assert_null(file_at(files, "/assets"));
    assert_null(file_at(files, "/link"));
    assert_null(file_at(files, "/.secret"));
    assert_null(file_at(files, "/assets/../index.html"));
    files_release(files);
    snprintf(command, sizeof(command), "rm -r %s", directory);
    assert_int_equal(system(command), 0);
}

static void test_files_are_known_by_their_tag(void **state)
{
    const struct file file = {.tag = "abc"};

    assert_true(file_is_known(&file, "\"abc\""));
    assert_true(file_is_known(&file, "\"x\", W/\"abc\""));
    assert_true(file_is_known(&file, "*"));
    assert_false(file_is_known(&file, "\"ab\""));
    assert_false(file_is_known(&file, NULL));
}

static void test_reply_codes_have_their_status(void **state)
{
    static const struct {
        const char *code;
        unsigned status;
    } cases[] = {{"invalid", 400},       {"not-found", 404},       {"in-use", 409},
                 {"conflict", 412},      {"unknown-command", 501}, {"unavailable", 503},
                 {"something-else", 500}};
    struct reply reply = {.status = 0};
    json_t *problem;

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(cases); i++) {
        reply_failure(&reply, cases[i].code, "cut within a character: \xc3");
        assert_int_equal(reply.status, cases[i].status);
        assert_int_equal(reply.retry_after_s > 0, cases[i].status == 503);
        assert_string_equal(reply.type, "application/problem+json");
        problem = parse(reply.body);
        assert_string_equal(json_string_value(json_object_get(problem, "code")), cases[i].code);
        json_decref(problem);
    }
    reply_release(&reply);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_object_of_a_put_has_defaults_for_the_rest),
        cmocka_unit_test(test_object_of_a_patch_has_what_it_names),
        cmocka_unit_test(test_history_shows_means_and_gaps),
        cmocka_unit_test(test_history_shows_one_vm_and_the_minutes_asked_for),
        cmocka_unit_test(test_history_keeps_an_hour),
        cmocka_unit_test(test_history_of_nothing_is_empty),
        cmocka_unit_test(test_files_are_served_by_name_only),
        cmocka_unit_test(test_files_are_known_by_their_tag),
        cmocka_unit_test(test_reply_codes_have_their_status),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
