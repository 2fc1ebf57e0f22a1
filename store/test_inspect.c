/* SPDX-License-Identifier: Apache-2.0 */
/* A database that is looked at without being opened for use. */
#include "store/inspect.h"

#include <string.h>
#include <unistd.h>

#include "store/test_support.h"

static struct store_report look(const struct fixture *fixture, int code, const char *text)
{
    struct store_report report;
    struct vgpu_err err = {.code = 0};

    assert_int_equal(store_inspect(fixture->path, &report, &err), code);
    if (text && !strstr(err.text, text))
        fail_msg("'%s' is not in '%s'", text, err.text);
    return report;
}

static void create(struct fixture *fixture)
{
    struct vgpu_err err;

    assert_int_equal(test_open(fixture, true, &err), 0);
    test_ok(fixture->store, "{'command': 'create-pool', 'args': {'pool': 'A'}}");
    test_ok(fixture->store, "{'command': 'register-vm', 'args': {'vm_id': 1, 'pool': 'A'}}");
}

static void close_store(struct fixture *fixture)
{
    store_close(fixture->store);
    fixture->store = NULL;
}

static bool is_there(const struct fixture *fixture, const char *suffix)
{
    char path[128];

    snprintf(path, sizeof(path), "%s%s", fixture->path, suffix);
    return access(path, F_OK) == 0;
}

static void test_inspect_names_the_holder(void **state)
{
    struct fixture *fixture = *state;
    struct store_report report;

    create(fixture);
    report = look(fixture, 0, NULL);
    assert_memory_equal(report.holder, "a test (pid ", 12);
    json_decref(report.snapshot);
    close_store(fixture);
    report = look(fixture, 0, NULL);
    assert_string_equal(report.holder, "");
    json_decref(report.snapshot);
}

static void test_inspect_sees_what_is_only_in_the_log(void **state)
{
    struct fixture *fixture = *state;
    struct store_report report;

    create(fixture);
    assert_true(is_there(fixture, "-wal"));
    report = look(fixture, 0, NULL);
    assert_int_equal(report.schema_version, STORE_SCHEMA_VERSION);
    assert_int_equal(report.dangling, 0);
    assert_int_equal(json_array_size(json_object_get(report.snapshot, "vms")), 1);
    json_decref(report.snapshot);
}

static void test_inspect_leaves_nothing_behind(void **state)
{
    struct fixture *fixture = *state;
    size_t size_before, size_after;
    char *before, *after;

    create(fixture);
    close_store(fixture);
    before = test_read_file(fixture->path, &size_before);
    json_decref(look(fixture, 0, NULL).snapshot);
    after = test_read_file(fixture->path, &size_after);
    assert_int_equal(size_before, size_after);
    assert_memory_equal(before, after, size_before);
    free(before);
    free(after);
    assert_false(is_there(fixture, "-wal"));
    assert_false(is_there(fixture, "-shm"));
}

static void test_inspect_finds_names_with_odd_characters(void **state)
{
    struct fixture *fixture = *state;

    strcat(fixture->path, " %41?a=1#b");
    create(fixture);
    close_store(fixture);
    json_decref(look(fixture, 0, NULL).snapshot);
}

static void test_inspect_counts_rows_that_dangle(void **state)
{
    struct fixture *fixture = *state;
    struct store_report report;

    create(fixture);
    close_store(fixture);
    test_script(fixture, "UPDATE vms SET pool = 'gone'");
    report = look(fixture, 0, NULL);
    assert_int_equal(report.dangling, 1);
    json_decref(report.snapshot);
}

static void test_inspect_gives_no_snapshot_of_another_schema(void **state)
{
    struct fixture *fixture = *state;

    create(fixture);
    close_store(fixture);
    test_script(fixture, "PRAGMA user_version = 1000");
    assert_null(look(fixture, -EPROTO, NULL).snapshot);
}

static void test_inspect_tells_what_is_no_database(void **state)
{
    struct fixture *fixture = *state;
    FILE *file;

    look(fixture, -ENOENT, "No such file");
    file = fopen(fixture->path, "we");
    assert_non_null(file);
    for (int i = 0; i < 4096; i++)
        fputs("nonsense", file);
    fclose(file);
    look(fixture, -EUCLEAN, NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_setup_directory, test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_inspect_names_the_holder),
        TEST(test_inspect_sees_what_is_only_in_the_log),
        TEST(test_inspect_leaves_nothing_behind),
        TEST(test_inspect_finds_names_with_odd_characters),
        TEST(test_inspect_counts_rows_that_dangle),
        TEST(test_inspect_gives_no_snapshot_of_another_schema),
        TEST(test_inspect_tells_what_is_no_database),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
