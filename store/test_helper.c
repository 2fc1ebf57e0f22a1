/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of vgpu-store itself: its lines, its limits, and how it ends. argv[1]: the program. */
#include "store/test_support.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "store/line.h"

extern char **environ;

static const char *program;

struct helper {
    pid_t pid;
    int fd;
    struct line_reader reader;
};

static void start(struct helper *helper, const char *database, bool create)
{
    char *argv[] = {(char *)(uintptr_t)program, (char[]){"--database"}, (char *)(uintptr_t)database,
                    create ? (char[]){"--create"} : NULL, NULL};
    posix_spawn_file_actions_t actions;
    int ends[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    assert_int_equal(posix_spawn(&helper->pid, program, &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    helper->fd = ends[0];
    line_reader_init(&helper->reader, helper->fd, STORE_REPLY_BYTES_MAX);
}

static json_t *next(struct helper *helper)
{
    const char *line;
    json_t *json;

    assert_int_equal(line_read(&helper->reader, &line), 1);
    json = json_loads(line, 0, NULL);
    assert_non_null(json);
    return json;
}

/* Closes our side and gives the exit status. */
static int finish(struct helper *helper)
{
    int status = 0;

    line_reader_release(&helper->reader);
    close(helper->fd);
    assert_int_equal(waitpid(helper->pid, &status, 0), helper->pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void say(const struct helper *helper, const char *text)
{
    assert_int_equal(write(helper->fd, text, strlen(text)), strlen(text));
}

static const char *error_code(const json_t *reply)
{
    return json_string_value(json_object_get(json_object_get(reply, "error"), "code"));
}

static void test_helper_says_hello_with_a_snapshot(void **state)
{
    const struct fixture *fixture = *state;
    struct helper helper;
    _cleanup_json_ json_t *hello = NULL;

    start(&helper, fixture->path, true);
    hello = next(&helper);
    assert_int_equal(json_integer_value(json_object_get(hello, "hello")), 1);
    assert_int_equal(json_integer_value(json_object_get(hello, "schema_version")),
                     STORE_SCHEMA_VERSION);
    assert_true(json_is_object(json_object_get(hello, "snapshot")));
    assert_int_equal(finish(&helper), 0);
}

static void test_helper_says_what_is_wrong_with_the_database(void **state)
{
    const struct fixture *fixture = *state;
    struct helper helper;
    _cleanup_json_ json_t *hello = NULL;

    start(&helper, fixture->path, false);
    hello = next(&helper);
    assert_string_equal(error_code(hello), "not-found");
    assert_int_equal(finish(&helper), 1);
}

static void test_helper_answers_in_order(void **state)
{
    const struct fixture *fixture = *state;
    struct helper helper;

    start(&helper, fixture->path, true);
    json_decref(next(&helper));
    say(&helper, "{\"id\":\"a\",\"who\":\"w\",\"command\":\"create-pool\",\"args\":{\"pool\":"
                 "\"A\"}}\n{\"id\":2,\"who\":\"w\",\"command\":\"create-pool\",\"args\":{\"pool\":"
                 "\"A\"}}\n{\"id\":3,\"who\":\"w\",\"command\":\"list-pools\"}\n");
    for (int i = 0; i < 3; i++) {
        _cleanup_json_ json_t *reply = next(&helper);
        const json_t *id = json_object_get(reply, "id");

        assert_true(i == 0 ? json_is_string(id) : json_integer_value(id) == i + 1);
        assert_int_equal(json_is_true(json_object_get(reply, "ok")), i != 1);
        assert_int_equal(json_is_object(json_object_get(reply, "delta")), i == 0);
        if (i == 1)
            assert_string_equal(error_code(reply), "exists");
    }
    assert_int_equal(finish(&helper), 0);
}

static void test_helper_survives_lines_that_are_no_requests(void **state)
{
    static const char *const lines[] = {
        "\n", "{\n", "[]\n", "{\"id\":1}\n", "nonsense\n", "{\"id\":1,\"command\":\"list-vms\"}\n"};
    const struct fixture *fixture = *state;
    struct helper helper;

    start(&helper, fixture->path, true);
    json_decref(next(&helper));
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(lines); i++) {
        _cleanup_json_ json_t *reply = NULL;

        say(&helper, lines[i]);
        reply = next(&helper);
        assert_string_equal(error_code(reply), "invalid");
    }
    assert_int_equal(finish(&helper), 0);
}

/* A request of exactly size bytes, newline included. */
static char *request_of(size_t size)
{
    static const char head[] = "{\"who\":\"w\",\"command\":\"list-vms\",\"x\":\"";
    char *line = test_repeat('x', size);

    memcpy(line, head, strlen(head));
    memcpy(line + size - 3, "\"}\n", 3);
    return line;
}

static void test_helper_line_limit(void **state)
{
    const struct fixture *fixture = *state;
    _cleanup_free_ char *most = request_of(STORE_REQUEST_BYTES_MAX);
    _cleanup_free_ char *over = request_of(STORE_REQUEST_BYTES_MAX + 1);
    _cleanup_json_ json_t *taken = NULL;
    _cleanup_json_ json_t *refused = NULL;
    struct helper helper;

    start(&helper, fixture->path, true);
    json_decref(next(&helper));
    say(&helper, most);
    taken = next(&helper);
    assert_true(json_is_true(json_object_get(taken, "ok")));
    /* Without its newline: what the helper never reads would reset the socket. */
    over[STORE_REQUEST_BYTES_MAX] = '\0';
    say(&helper, over);
    refused = next(&helper);
    assert_string_equal(error_code(refused), "too-large");
    assert_int_equal(finish(&helper), 1);
}

static void test_helper_reports_a_line_that_breaks_off(void **state)
{
    const struct fixture *fixture = *state;
    struct helper helper;

    start(&helper, fixture->path, true);
    json_decref(next(&helper));
    say(&helper, "{\"id\":1");
    assert_int_equal(finish(&helper), 1);
}

static void test_helper_keeps_a_second_one_out(void **state)
{
    const struct fixture *fixture = *state;
    struct helper first, second;
    _cleanup_json_ json_t *refused = NULL;

    start(&first, fixture->path, true);
    json_decref(next(&first));
    start(&second, fixture->path, true);
    refused = next(&second);
    assert_string_equal(error_code(refused), "in-use");
    assert_non_null(
        strstr(json_string_value(json_object_get(json_object_get(refused, "error"), "text")),
               "is in use by the mediator's store helper (pid"));
    assert_int_equal(finish(&second), 1);
    assert_int_equal(finish(&first), 0);
}

static void test_helper_leaves_one_file_when_it_ends(void **state)
{
    const struct fixture *fixture = *state;
    char wal[128];
    struct helper helper;

    start(&helper, fixture->path, true);
    json_decref(next(&helper));
    say(&helper, "{\"who\":\"w\",\"command\":\"create-pool\",\"args\":{\"pool\":\"A\"}}\n");
    json_decref(next(&helper));
    assert_int_equal(finish(&helper), 0);
    snprintf(wal, sizeof(wal), "%s-wal", fixture->path);
    assert_int_equal(access(wal, F_OK), -1);
}

static void test_helper_killed_loses_nothing_it_answered(void **state)
{
    struct fixture *fixture = *state;
    struct helper helper;
    int status;

    start(&helper, fixture->path, true);
    json_decref(next(&helper));
    say(&helper, "{\"who\":\"w\",\"command\":\"create-pool\",\"args\":{\"pool\":\"A\"}}\n");
    json_decref(next(&helper));
    kill(helper.pid, SIGKILL);
    waitpid(helper.pid, &status, 0);
    line_reader_release(&helper.reader);
    close(helper.fd);
    assert_int_equal(test_open(fixture, false, NULL), 0);
    assert_int_equal(test_count(fixture->store, "SELECT count(*) FROM pools"), 1);
}

static json_t *ask(struct helper *helper, const char *request)
{
    json_t *reply;

    say(helper, request);
    reply = next(helper);
    if (!json_is_true(json_object_get(reply, "ok")))
        fail_msg("%s: %s", request, json_dumps(reply, 0));
    return reply;
}

/* The mediator sends faults, which guests cause: only a quarantine makes it configure itself. */
static void test_helper_sends_no_delta_for_a_fault_alone(void **state)
{
    const struct fixture *fixture = *state;
    struct helper helper;
    _cleanup_json_ json_t *alone = NULL;
    _cleanup_json_ json_t *one_too_many = NULL;
    _cleanup_json_ json_t *after = NULL;
    const json_t *vm;

    start(&helper, fixture->path, true);
    json_decref(next(&helper));
    json_decref(ask(&helper, "{\"who\":\"w\",\"command\":\"create-pool\",\"args\":{\"pool\":"
                             "\"A\"}}\n"));
    json_decref(ask(&helper, "{\"who\":\"w\",\"command\":\"register-vm\",\"args\":{\"pool\":"
                             "\"A\",\"vm_id\":1}}\n"));
    alone = ask(&helper, "{\"who\":\"vgpu-mediator\",\"command\":\"record-fault\",\"args\":{"
                         "\"vm_id\":1,\"kind\":\"k\",\"text\":\"t\"}}\n");
    assert_true(json_is_false(json_object_get(alone, "changed")));
    assert_null(json_object_get(alone, "delta"));
    assert_int_equal(json_array_size(json_object_get(json_object_get(alone, "result"), "changes")),
                     1);
    one_too_many =
        ask(&helper, "{\"who\":\"vgpu-mediator\",\"command\":\"record-fault\",\"args\":{"
                     "\"vm_id\":1,\"kind\":\"k\",\"text\":\"t\",\"quarantine\":true}}\n");
    assert_true(json_is_true(json_object_get(one_too_many, "changed")));
    vm = json_array_get(json_object_get(json_object_get(one_too_many, "delta"), "vms"), 0);
    assert_true(json_is_true(json_object_get(vm, "quarantined")));
    assert_string_equal(json_string_value(json_object_get(vm, "quarantined_by")), "vgpu-mediator");
    assert_int_equal(json_integer_value(json_object_get(vm, "faults")), 2);
    after = ask(&helper, "{\"who\":\"vgpu-mediator\",\"command\":\"record-fault\",\"args\":{"
                         "\"vm_id\":1,\"kind\":\"k\",\"text\":\"t\",\"quarantine\":true}}\n");
    assert_null(json_object_get(after, "delta"));
    assert_int_equal(finish(&helper), 0);
}

/* The changes themselves have only what differs, as there can be many. */
static void test_helper_delta_has_vms_whole_after_many_changes(void **state)
{
    const struct fixture *fixture = *state;
    struct helper helper;
    _cleanup_json_ json_t *reply = NULL;
    const json_t *vms;

    start(&helper, fixture->path, true);
    json_decref(next(&helper));
    json_decref(ask(&helper, "{\"who\":\"w\",\"command\":\"create-pool\",\"args\":{\"pool\":"
                             "\"A\"}}\n"));
    json_decref(ask(&helper, "{\"who\":\"w\",\"command\":\"create-pool\",\"args\":{\"pool\":"
                             "\"B\"}}\n"));
    json_decref(ask(&helper, "{\"who\":\"w\",\"command\":\"assign-vms\",\"args\":{\"pool\":"
                             "\"A\",\"vms\":\"1-3\",\"register\":true}}\n"));
    reply = ask(&helper, "{\"who\":\"w\",\"command\":\"assign-vms\",\"args\":{\"pool\":"
                         "\"B\",\"vms\":\"2-3\"}}\n");
    vms = json_object_get(json_object_get(reply, "delta"), "vms");
    assert_int_equal(json_array_size(vms), 2);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(vms, 0), "vm_id")), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(vms, 1), "priority")),
                        "medium");
    assert_int_equal(finish(&helper), 0);
}

/* All VMs that there may be, each with the longest texts, of characters that JSON doubles. */
static void fill(struct fixture *fixture)
{
    _cleanup_free_ char *name = test_repeat('\\', STORE_NAME_BYTES);
    _cleanup_free_ char *text = test_repeat('\\', STORE_REASON_BYTES);
    _cleanup_free_ char *who = test_repeat('\\', STORE_WHO_BYTES);
    _cleanup_free_ char *sql = NULL;

    assert_int_equal(test_open(fixture, true, NULL), 0);
    assert_true(asprintf(&sql,
                         "INSERT INTO pools (pool, created, updated) VALUES ('%s', 0, 0);"
                         "CREATE TEMP TABLE d AS SELECT 0 AS i UNION SELECT 1 UNION SELECT 2"
                         " UNION SELECT 3;"
                         "INSERT INTO vms (vm_id, name, pool, created, updated, quarantine_reason,"
                         " quarantine_time, quarantined_by) SELECT 2147482624 + a.i + 4 * b.i + 16"
                         " * c.i + 64 * d.i + 256 * e.i, '%s', '%s', 0, 0, '%s', 1, '%s'"
                         " FROM d a, d b, d c, d, d e;"
                         "INSERT INTO vm_faults (vm_id, time, kind, text)"
                         " SELECT vm_id, 1700000000, 'k', '%s' FROM vms;",
                         name, name, name, text, who, text) > 0);
    assert_int_equal(sqlite3_exec(fixture->store->db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(test_count(fixture->store, "SELECT count(*) FROM vms"), STORE_VMS_MAX);
    store_close(fixture->store);
    fixture->store = NULL;
}

static void test_helper_largest_snapshot_fits_a_reply(void **state)
{
    struct helper helper;
    _cleanup_json_ json_t *hello = NULL;
    _cleanup_json_ json_t *reply = NULL;

    fill(*state);
    start(&helper, ((const struct fixture *)*state)->path, false);
    hello = next(&helper);
    assert_int_equal(json_array_size(json_object_get(json_object_get(hello, "snapshot"), "vms")),
                     STORE_VMS_MAX);
    reply = ask(&helper, "{\"who\":\"w\",\"command\":\"set-depth\",\"args\":{\"vm_id\":2147483647,"
                         "\"depth\":1}}\n");
    assert_int_equal(json_array_size(json_object_get(json_object_get(reply, "delta"), "vms")), 1);
    json_decref(ask(&helper, "{\"who\":\"w\",\"command\":\"list-vms\"}\n"));
    assert_int_equal(finish(&helper), 0);
}

/* The largest configuration that there can be goes out in one line, and comes in again. */
static void test_helper_largest_configuration_fits_both_ways(void **state)
{
    struct helper helper;
    _cleanup_json_ json_t *exported = NULL;
    _cleanup_json_ json_t *request = NULL;
    _cleanup_json_ json_t *imported = NULL;
    _cleanup_free_ char *text = NULL;
    _cleanup_free_ char *line = NULL;

    fill(*state);
    start(&helper, ((const struct fixture *)*state)->path, false);
    json_decref(next(&helper));
    exported = ask(&helper, "{\"who\":\"w\",\"command\":\"export\"}\n");
    json_decref(ask(&helper, "{\"who\":\"w\",\"command\":\"import\",\"args\":{\"prune\":true,"
                             "\"config\":{\"format\":1,\"pools\":[],\"vms\":[]}}}\n"));
    request = json_pack("{s:s, s:s, s:{s:b, s:O}}", "who", "w", "command", "import", "args",
                        "prune", 1, "config", json_object_get(exported, "result"));
    text = json_dumps(request, JSON_COMPACT);
    assert_true(asprintf(&line, "%s\n", text) > 1024 * 1024);
    assert_true(strlen(line) <= STORE_REQUEST_BYTES_MAX);
    imported = ask(&helper, line);
    assert_true(json_is_true(json_object_get(imported, "ok")));
    assert_int_equal(json_array_size(json_object_get(json_object_get(imported, "delta"), "vms")),
                     STORE_VMS_MAX);
    assert_int_equal(finish(&helper), 0);
}

static void test_helper_refuses_bad_usage(void **state)
{
    const struct fixture *fixture = *state;
    char command[PATH_MAX + 64];

    snprintf(command, sizeof(command), "'%s' >'%s/out' 2>&1", program, fixture->directory);
    assert_int_equal(WEXITSTATUS(system(command)), 2);
    snprintf(command, sizeof(command), "'%s' --nonsense >'%s/out' 2>&1", program,
             fixture->directory);
    assert_int_equal(WEXITSTATUS(system(command)), 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_setup_directory, test_teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_helper_says_hello_with_a_snapshot),
        TEST(test_helper_says_what_is_wrong_with_the_database),
        TEST(test_helper_answers_in_order),
        TEST(test_helper_survives_lines_that_are_no_requests),
        TEST(test_helper_line_limit),
        TEST(test_helper_reports_a_line_that_breaks_off),
        TEST(test_helper_keeps_a_second_one_out),
        TEST(test_helper_leaves_one_file_when_it_ends),
        TEST(test_helper_killed_loses_nothing_it_answered),
        TEST(test_helper_sends_no_delta_for_a_fault_alone),
        TEST(test_helper_delta_has_vms_whole_after_many_changes),
        TEST(test_helper_largest_snapshot_fits_a_reply),
        TEST(test_helper_largest_configuration_fits_both_ways),
        TEST(test_helper_refuses_bad_usage),
    };

    if (argc != 2)
        return 2;
    program = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
