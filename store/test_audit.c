/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of list-audit: pages, filters and limits. */
#include "store/test_support.h"

#include <stdio.h>
#include <string.h>

static struct store *store_of(void **state)
{
    return ((struct fixture *)*state)->store;
}

/* Pools A and A/1, VM 1 in A, GPUs 0 and 1, GPU 0 for A, GPU 1 for A/1: eight rows. */
static int setup(void **state)
{
    static const char *const requests[] = {
        "{'command': 'create-pool', 'args': {'pool': 'A'}}",
        "{'command': 'create-pool', 'args': {'pool': 'A/1'}}",
        "{'command': 'register-vm', 'args': {'vm_id': 1, 'pool': 'A', 'name': 'web'}}",
        "{'command': 'record-gpus', 'args': {'gpus': [{'index': 0, 'uuid': 'g0', 'pci': 'p0',"
        " 'model': 'M', 'memory_bytes': 42}, {'index': 1, 'uuid': 'g1', 'pci': 'p1',"
        " 'model': 'M', 'memory_bytes': 42}]}}",
        "{'command': 'assign-gpu', 'args': {'gpu_id': 0, 'pool': 'A'}}",
        "{'command': 'assign-gpu', 'args': {'gpu_id': 1, 'pool': 'A/1'}}",
        "{'command': 'set-weight', 'args': {'vm': 1, 'weight': 60}}",
    };

    if (test_setup_store(state) < 0)
        return -1;
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(requests); i++)
        test_ok(store_of(state), "%s", requests[i]);
    return 0;
}

/* The sequence numbers of the rows, as a text: "1 2 3", and after a bar `next`. */
static void assert_rows(struct store *store, const char *args, const char *expected)
{
    _cleanup_json_ json_t *result = test_do(store, "{'command': 'list-audit', 'args': {%s}}", args);
    const json_t *row;
    char text[256] = "";
    size_t i, used = 0;

    json_array_foreach (json_object_get(result, "audit"), i, row)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%lld ",
                                 (long long)json_integer_value(json_object_get(row, "seq")));
    snprintf(text + used, sizeof(text) - used, "| %lld",
             (long long)json_integer_value(json_object_get(result, "next")));
    assert_string_equal(text, expected);
}

static void test_audit_list_has_the_newest_in_order(void **state)
{
    assert_rows(store_of(state), "", "1 2 3 4 5 6 7 8 | 8");
    assert_rows(store_of(state), "'limit': 3", "6 7 8 | 8");
}

static void test_audit_list_goes_on_after_a_row(void **state)
{
    assert_rows(store_of(state), "'after': 0, 'limit': 3", "1 2 3 | 3");
    assert_rows(store_of(state), "'after': 3, 'limit': 3", "4 5 6 | 6");
    assert_rows(store_of(state), "'after': 6, 'limit': 3", "7 8 | 8");
    assert_rows(store_of(state), "'after': 8", "| 8");
    assert_rows(store_of(state), "'after': 99", "| 99");
}

static void test_audit_list_goes_back_before_a_row(void **state)
{
    assert_rows(store_of(state), "'before': 9, 'limit': 3", "6 7 8 | 8");
    assert_rows(store_of(state), "'before': 6, 'limit': 3", "3 4 5 | 5");
    assert_rows(store_of(state), "'before': 3, 'limit': 3", "1 2 | 2");
    assert_rows(store_of(state), "'before': 1", "| 0");
    assert_rows(store_of(state), "'after': 2, 'before': 5", "3 4 | 4");
}

static void test_audit_list_is_filtered_by_object(void **state)
{
    struct store *store = store_of(state);

    assert_rows(store, "'object': 'vm'", "3 8 | 8");
    assert_rows(store, "'object': 'pool'", "1 2 | 2");
    assert_rows(store, "'object': 'pool-gpu'", "6 7 | 7");
    assert_rows(store, "'object': 'vm', 'key': '1'", "3 8 | 8");
    assert_rows(store, "'object': 'vm', 'key': '2'", "| 0");
    assert_rows(store, "'object': 'pool', 'key': 'A'", "1 6 | 6");
    assert_rows(store, "'object': 'pool', 'key': 'A/1'", "2 7 | 7");
    assert_rows(store, "'object': 'gpu', 'key': '0'", "4 6 | 6");
    assert_rows(store, "'object': 'gpu', 'key': '1'", "5 7 | 7");
    assert_rows(store, "'object': 'gpu', 'key': '1', 'after': 5", "7 | 7");
}

static void test_audit_list_has_what_was_and_is(void **state)
{
    _cleanup_json_ json_t *result =
        test_do(store_of(state), "{'command': 'list-audit', 'args': {'limit': 1}}");
    _cleanup_json_ json_t *expected =
        json_pack("{s:i, s:i, s:s, s:s, s:s, s:s, s:{s:f, s:i}, s:{s:f, s:i}}", "seq", 8, "time",
                  TEST_NOW, "who", "tester", "command", "set-weight", "object", "vm", "key", "1",
                  "before", "weight", 50.0, "revision", 1, "after", "weight", 60.0, "revision", 2);

    assert_true(json_equal(json_array_get(json_object_get(result, "audit"), 0), expected));
}

static void test_audit_list_has_null_for_what_was_not(void **state)
{
    _cleanup_json_ json_t *result =
        test_do(store_of(state), "{'command': 'list-audit', 'args': {'after': 2, 'limit': 1}}");
    const json_t *row = json_array_get(json_object_get(result, "audit"), 0);

    assert_true(json_is_null(json_object_get(row, "before")));
    assert_string_equal(json_string_value(json_object_get(json_object_get(row, "after"), "name")),
                        "web");
}

static void test_audit_list_limits(void **state)
{
    struct store *store = store_of(state);

    assert_rows(store, "'limit': 1000", "1 2 3 4 5 6 7 8 | 8");
    test_refuse(store, EINVAL, "limit 1001 is out of range",
                "{'command': 'list-audit', 'args': {'limit': 1001}}");
    test_refuse(store, EINVAL, "limit 0 is out of range",
                "{'command': 'list-audit', 'args': {'limit': 0}}");
    test_refuse(store, EINVAL, "after -1 is out of range",
                "{'command': 'list-audit', 'args': {'after': -1}}");
    test_refuse(store, EINVAL, "object 'host' is not one of: gpu, pool, pool-gpu, threshold, vm",
                "{'command': 'list-audit', 'args': {'object': 'host'}}");
    test_refuse(store, EINVAL, "a key needs the object that it is of",
                "{'command': 'list-audit', 'args': {'key': '1'}}");
}

/* Rows of 4 KiB, of which a page has 64 at most, from whichever end it comes. */
static void test_audit_list_is_bounded_in_bytes(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *newest = NULL;
    _cleanup_json_ json_t *first = NULL;
    const json_t *rows;

    assert_int_equal(sqlite3_exec(store->db,
                                  "UPDATE audit_log SET before = NULL, after = '{\"x\":\"' ||"
                                  " replace(hex(zeroblob(2048)), '0', 'x') || '\"}';"
                                  "INSERT INTO audit_log SELECT seq + 8, time, who, command, "
                                  "object, object_key, before, after FROM audit_log;"
                                  "INSERT INTO audit_log SELECT seq + 16, time, who, command, "
                                  "object, object_key, before, after FROM audit_log;"
                                  "INSERT INTO audit_log SELECT seq + 32, time, who, command, "
                                  "object, object_key, before, after FROM audit_log;"
                                  "INSERT INTO audit_log SELECT seq + 64, time, who, command, "
                                  "object, object_key, before, after FROM audit_log",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    newest = test_do(store, "{'command': 'list-audit', 'args': {'limit': 1000}}");
    rows = json_object_get(newest, "audit");
    assert_in_range(json_array_size(rows), 60, 64);
    assert_int_equal(json_integer_value(json_object_get(newest, "next")), 128);
    first = test_do(store, "{'command': 'list-audit', 'args': {'limit': 1000, 'after': 0}}");
    assert_int_equal(json_array_size(json_object_get(first, "audit")), json_array_size(rows));
    assert_int_equal(json_integer_value(json_object_get(first, "next")), json_array_size(rows));
}

/* Each command that changes something, in an order in which each has something to change. */
static const struct change {
    const char *command, *args;
    int rows;
    bool repeats; /* it is something new each time */
} all_changes[] = {
    {"create-pool", "'pool': 'X'", 1},
    {"register-vm", "'vm_id': 7, 'pool': 'X'", 1},
    {"assign-vms", "'vms': '7-9', 'pool': 'A', 'register': true", 3},
    {"assign-gpu", "'gpu_id': 1, 'pool': 'X'", 1},
    {"unassign-gpu", "'gpu_id': 1, 'pool': 'X'", 1},
    {"drain-gpu", "'gpu_id': 1, 'reason': 'fans'", 1},
    {"resume-gpu", "'gpu_id': 1", 1},
    {"record-deed", "'gpu_id': 1, 'command': 'reset-gpu', 'outcome': 'was reset'", 1, true},
    {"record-gpus",
     "'gpus': [{'index': 0, 'uuid': 'g0', 'pci': 'p0', 'model': 'M', 'memory_bytes': 42},"
     " {'index': 1, 'uuid': 'g2', 'pci': 'p2', 'model': 'M', 'memory_bytes': 42}]",
     2}, /* one is gone, one new */
    {"set-bytes", "'vm': 7, 'bytes_in_flight': 1048576", 1},
    {"set-depth", "'vm': 7, 'depth': 5", 1},
    {"set-faults", "'vm': 7, 'fault_threshold': 9", 1},
    {"set-memory", "'vm': 7, 'memory_bytes': 1048576", 1},
    {"set-pool", "'vm': 7, 'pool': 'X'", 1},
    {"set-priority", "'vm': 7, 'priority': 'low'", 1},
    {"set-rate", "'vm': 7, 'rate_per_s': 5", 1},
    {"set-timeout", "'vm': 7, 'job_timeout_ms': 500", 1},
    {"set-weight", "'vm': 7, 'weight': 7", 1},
    {"set-max-vms", "'pool': 'X', 'max_vms': 5", 1},
    {"set-policy", "'pool': 'X', 'policy': 'strict'", 1},
    {"set-pool-weight", "'pool': 'X', 'weight_hundredths': 500", 1},
    {"set-slice", "'pool': 'X', 'slice_us': 500", 1},
    {"set-threshold", "'name': 'slowdown', 'action': 'drain'", 1},
    {"record-fault", "'vm_id': 7, 'kind': 'crash', 'text': 'it fell'", 1, true},
    {"quarantine", "'vm': 7, 'reason': 'mines'", 1},
    {"unquarantine", "'vm': 7", 1},
    {"clear-faults", "'vm': 7", 1},
    {"import",
     "'config': {'format': 1, 'pools': [{'pool': 'Y'}], 'vms': [{'vm_id': 7, 'depth': 9},"
     " {'vm_id': 8, 'depth': 9}]}",
     3},
    {"remove-vm", "'vm': 7", 1},
    {"remove-pool", "'pool': 'Y'", 1},
};

/* How many rows more there are by it; err: NULL, or what became of it. */
static int rows_of(struct store *store, const struct change *change, const char *more, bool *ret_ok)
{
    _cleanup_free_ char *text = NULL;
    int before = (int)test_count(store, "SELECT count(*) FROM audit_log");
    json_t *request, *reply = NULL;

    assert_true(asprintf(&text, "{'command': '%s', 'args': {%s}%s}", change->command, change->args,
                         more) > 0);
    for (char *c = text; *c; c++)
        if (*c == '\'')
            *c = '"';
    request = json_loads(text, 0, NULL);
    assert_non_null(request);
    *ret_ok = store_execute(store, request, "tester", &reply, NULL) == 0;
    json_decref(request);
    json_decref(reply);
    return (int)test_count(store, "SELECT count(*) FROM audit_log") - before;
}

static void test_audit_has_each_change_once_and_nothing_else(void **state)
{
    struct store *store = store_of(state);

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(all_changes); i++) {
        const struct change *change = &all_changes[i];
        struct change wrong = {change->command, "'nonsense': 1"};
        bool ok;

        print_message("%s\n", change->command);
        assert_int_equal(rows_of(store, &wrong, "", &ok), 0);
        assert_false(ok);
        assert_int_equal(rows_of(store, change, ", 'dry_run': true", &ok), 0);
        assert_true(ok);
        assert_int_equal(rows_of(store, change, "", &ok), change->rows);
        assert_true(ok);
        if (!change->repeats)
            assert_int_equal(rows_of(store, change, "", &ok), 0);
    }
}

/* The table above has all of them. */
static void test_audit_knows_each_command_that_changes(void **state)
{
    const char *name;
    bool writes;

    for (size_t i = 0; (name = store_command_at(i, &writes)); i++) {
        bool found = !writes;

        for (size_t j = 0; j < VGPU_ARRAY_SIZE(all_changes); j++)
            found = found || strcmp(all_changes[j].command, name) == 0;
        if (!found)
            fail_msg("%s is not tried", name);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_audit_list_has_the_newest_in_order),
        TEST(test_audit_list_goes_on_after_a_row),
        TEST(test_audit_list_goes_back_before_a_row),
        TEST(test_audit_has_each_change_once_and_nothing_else),
        TEST(test_audit_list_goes_on_after_a_row),
        TEST(test_audit_list_goes_back_before_a_row),
        TEST(test_audit_knows_each_command_that_changes),
        TEST(test_audit_list_goes_on_after_a_row),
        TEST(test_audit_list_goes_back_before_a_row),
        TEST(test_audit_list_is_filtered_by_object),
        TEST(test_audit_list_has_what_was_and_is),
        TEST(test_audit_list_has_null_for_what_was_not),
        TEST(test_audit_list_limits),
        TEST(test_audit_list_is_bounded_in_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
