/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of faults and quarantine: counting within the window, forgiving, clearing, history. */
#include "store/test_support.h"

#include <stdio.h>
#include <string.h>

static struct store *store_of(void **state)
{
    return ((struct fixture *)*state)->store;
}

static int64_t clock_s;

static int64_t now_s(void)
{
    return clock_s;
}

static void reopen(struct fixture *fixture)
{
    const struct store_options options = {.holder = "a test", .now_s = now_s};

    store_close(fixture->store);
    fixture->store = NULL;
    assert_int_equal(store_open(fixture->path, &options, &fixture->store, NULL), 0);
}

static int setup(void **state)
{
    clock_s = TEST_NOW;
    if (test_setup_store(state) < 0)
        return -1;
    reopen(*state);
    test_ok(store_of(state), "{'command': 'create-pool', 'args': {'pool': 'A'}}");
    test_ok(store_of(state), "{'command': 'register-vm', 'args': {'vm_id': 1, 'pool': 'A'}}");
    test_ok(store_of(state), "{'command': 'register-vm', 'args': {'vm_id': 2, 'pool': 'A'}}");
    return 0;
}

static json_t *show(struct store *store, int vm_id)
{
    return test_do(store, "{'command': 'show-vm', 'args': {'vm_id': %d}}", vm_id);
}

static json_int_t number_of(struct store *store, int vm_id, const char *key)
{
    _cleanup_json_ json_t *result = show(store, vm_id);
    const json_t *value = json_object_get(json_object_get(result, "vm"), key);

    return json_is_null(value) ? -1 : json_integer_value(value);
}

static void assert_text(struct store *store, int vm_id, const char *key, const char *expected)
{
    _cleanup_json_ json_t *result = show(store, vm_id);
    const char *text = json_string_value(json_object_get(json_object_get(result, "vm"), key));

    assert_string_equal(text ? text : "(null)", expected);
}

static bool quarantined(struct store *store, int vm_id)
{
    _cleanup_json_ json_t *result = show(store, vm_id);

    return json_is_true(json_object_get(json_object_get(result, "vm"), "quarantined"));
}

static void fault(struct store *store, int vm_id, const char *more)
{
    test_ok(store,
            "{'command': 'record-fault', 'args': {'vm_id': %d, 'kind': 'timeout', 'text': 'job 7 "
            "ran for 30 s'%s}}",
            vm_id, more);
}

static void test_fault_is_counted(void **state)
{
    struct store *store = store_of(state);

    assert_int_equal(number_of(store, 1, "last_fault"), -1);
    fault(store, 1, "");
    clock_s += 5;
    fault(store, 1, "");
    assert_int_equal(number_of(store, 1, "faults"), 2);
    assert_int_equal(number_of(store, 1, "faults_total"), 2);
    assert_int_equal(number_of(store, 1, "last_fault"), TEST_NOW + 5);
    assert_text(store, 1, "last_fault_kind", "timeout");
    assert_text(store, 1, "last_fault_text", "job 7 ran for 30 s");
    assert_int_equal(number_of(store, 2, "faults"), 0);
    assert_false(quarantined(store, 1));
}

/* Whoever does not know whether it has told of a fault tells again, and it counts once. */
static void test_fault_of_a_known_ref_is_the_same(void **state)
{
    struct store *store = store_of(state);

    fault(store, 1, ", 'ref': 'a-1'");
    fault(store, 1, ", 'ref': 'a-1', 'quarantine': true");
    assert_int_equal(number_of(store, 1, "faults_total"), 1);
    assert_false(quarantined(store, 1));
    fault(store, 1, ", 'ref': 'a-2'");
    fault(store, 1, "");
    fault(store, 1, "");
    fault(store, 2, ", 'ref': 'a-1'");
    assert_int_equal(number_of(store, 1, "faults_total"), 4);
    assert_int_equal(number_of(store, 2, "faults_total"), 1);
}

static void test_fault_ref_has_a_length(void **state)
{
    struct store *store = store_of(state);
    char more[128];

    snprintf(more, sizeof(more), ", 'ref': '%0*d'", STORE_FAULT_REF_BYTES, 1);
    fault(store, 1, more);
    test_refuse(store, EINVAL, "the ref",
                "{'command': 'record-fault', 'args': {'vm_id': 1, 'kind': 'k', 'text': 't',"
                " 'ref': '%0*d'}}",
                STORE_FAULT_REF_BYTES + 1, 1);
    assert_int_equal(number_of(store, 1, "faults"), 1);
}

static void test_fault_no_longer_counts_after_the_window(void **state)
{
    struct store *store = store_of(state);

    test_ok(store, "{'command': 'set-faults', 'args': {'vm': 1, 'fault_threshold': 0,"
                   " 'fault_window_s': 60}}");
    fault(store, 1, "");
    clock_s += 30;
    fault(store, 1, "");
    clock_s += 29;
    assert_int_equal(number_of(store, 1, "faults"), 2);
    clock_s += 1;
    assert_int_equal(number_of(store, 1, "faults"), 1);
    clock_s += 30;
    assert_int_equal(number_of(store, 1, "faults"), 0);
    assert_int_equal(number_of(store, 1, "faults_total"), 2);
    assert_int_equal(number_of(store, 1, "last_fault"), TEST_NOW + 30);
}

static void test_fault_window_of_0_is_the_default(void **state)
{
    fault(store_of(state), 1, "");
    clock_s += STORE_FAULT_WINDOW_DEFAULT_S - 1;
    assert_int_equal(number_of(store_of(state), 1, "faults"), 1);
    clock_s += 1;
    assert_int_equal(number_of(store_of(state), 1, "faults"), 0);
}

static void test_fault_window_that_is_changed_counts_anew(void **state)
{
    struct store *store = store_of(state);

    fault(store, 1, "");
    clock_s += 100;
    test_ok(store, "{'command': 'set-faults', 'args': {'vm': 1, 'fault_threshold': 0,"
                   " 'fault_window_s': 50}}");
    assert_int_equal(number_of(store, 1, "faults"), 0);
    test_ok(store, "{'command': 'set-faults', 'args': {'vm': 1, 'fault_threshold': 0,"
                   " 'fault_window_s': 200}}");
    assert_int_equal(number_of(store, 1, "faults"), 1);
}

static void test_fault_time_is_the_one_given(void **state)
{
    char more[64];

    snprintf(more, sizeof(more), ", 'time': %d", TEST_NOW - 7);
    fault(store_of(state), 1, more);
    assert_int_equal(number_of(store_of(state), 1, "last_fault"), TEST_NOW - 7);
}

static void test_fault_of_the_future_is_one_of_now(void **state)
{
    char more[64];

    snprintf(more, sizeof(more), ", 'time': %d", TEST_NOW + 1000000);
    fault(store_of(state), 1, more);
    assert_int_equal(number_of(store_of(state), 1, "last_fault"), TEST_NOW);
}

static void test_fault_can_quarantine(void **state)
{
    struct store *store = store_of(state);

    fault(store, 1, ", 'quarantine': true, 'reason': 'five faults'");
    assert_true(quarantined(store, 1));
    assert_text(store, 1, "quarantine_reason", "five faults");
    assert_text(store, 1, "quarantined_by", "tester");
    assert_int_equal(number_of(store, 1, "quarantine_time"), TEST_NOW);
    assert_int_equal(number_of(store, 1, "faults"), 1);
    assert_int_equal(test_count(store, "SELECT count(*) FROM audit_log"
                                       " WHERE command = 'record-fault' AND before LIKE"
                                       " '%\"quarantined\":false%' AND after LIKE"
                                       " '%\"quarantined\":true%five faults%'"),
                     1);
    assert_false(quarantined(store, 2));
}

static void test_fault_without_a_reason_is_the_reason(void **state)
{
    fault(store_of(state), 1, ", 'quarantine': true");
    assert_text(store_of(state), 1, "quarantine_reason", "job 7 ran for 30 s");
}

static void test_fault_in_quarantine_leaves_its_reason(void **state)
{
    struct store *store = store_of(state);

    fault(store, 1, ", 'quarantine': true, 'reason': 'first'");
    clock_s += 10;
    fault(store, 1, ", 'quarantine': true, 'reason': 'second'");
    assert_text(store, 1, "quarantine_reason", "first");
    assert_int_equal(number_of(store, 1, "quarantine_time"), TEST_NOW);
    assert_int_equal(number_of(store, 1, "faults_total"), 2);
}

static void test_fault_with_a_reason_alone_does_not_quarantine(void **state)
{
    fault(store_of(state), 1, ", 'quarantine': false, 'reason': 'r'");
    assert_false(quarantined(store_of(state), 1));
}

static void test_fault_arguments_are_checked(void **state)
{
    static const struct {
        const char *args, *text;
        int code;
    } bad[] = {
        {"'kind': 'k', 'text': 't'", "'vm_id' is missing", EINVAL},
        {"'vm_id': 1, 'text': 't'", "'kind' is missing", EINVAL},
        {"'vm_id': 1, 'kind': 'k'", "'text' is missing", EINVAL},
        {"'vm_id': 3, 'kind': 'k', 'text': 't'", "VM 3 does not exist", ENOENT},
        {"'vm_id': 1, 'kind': 'K', 'text': 't'", "the kind 'K' is not 1 to 32 of", EINVAL},
        {"'vm_id': 1, 'kind': '', 'text': 't'", "the kind '' is not 1 to 32 of", EINVAL},
        {"'vm_id': 1, 'kind': 'k', 'text': 't', 'time': -1", "time -1 is out of range", EINVAL},
        {"'vm_id': 1, 'kind': 'k', 'text': 't', 'quarantine': 1", "neither true nor false", EINVAL},
        {"'vm': 1, 'kind': 'k', 'text': 't'", "there is no argument 'vm' here", EINVAL},
    };

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(bad); i++)
        test_refuse(store_of(state), bad[i].code, bad[i].text,
                    "{'command': 'record-fault', 'args': {%s}}", bad[i].args);
}

static void test_fault_kind_limit(void **state)
{
    _cleanup_free_ char *most = test_repeat('k', STORE_FAULT_KIND_BYTES);
    _cleanup_free_ char *over = test_repeat('k', STORE_FAULT_KIND_BYTES + 1);

    test_ok(store_of(state),
            "{'command': 'record-fault', 'args': {'vm_id': 1, 'kind': '%s', 'text': 't'}}", most);
    test_refuse(store_of(state), EINVAL, "is not 1 to 32 of",
                "{'command': 'record-fault', 'args': {'vm_id': 1, 'kind': '%s', 'text': 't'}}",
                over);
}

/* A fault must not be lost for what a worker says of it. */
static void test_fault_text_is_cut_and_cleaned(void **state)
{
    _cleanup_free_ char *most = test_repeat('t', STORE_REASON_BYTES);
    _cleanup_free_ char *over = test_repeat('t', STORE_REASON_BYTES + 1);
    struct store *store = store_of(state);

    test_ok(store, "{'command': 'record-fault', 'args': {'vm_id': 1, 'kind': 'k', 'text': '%s'}}",
            over);
    assert_text(store, 1, "last_fault_text", most);
    over[STORE_REASON_BYTES - 1] = '\0';
    test_ok(store, "{'command': 'record-fault', 'args': {'vm_id': 1, 'kind': 'k', 'text': '%sé'}}",
            over);
    assert_text(store, 1, "last_fault_text", over);
    test_ok(store, "{'command': 'record-fault', 'args': {'vm_id': 1, 'kind': 'k', 'text': "
                   "'a\\u001b\\u202eé', 'quarantine': true, 'reason': ''}}");
    assert_text(store, 1, "last_fault_text", "a??é");
    assert_text(store, 1, "quarantine_reason", "?");
}

static void test_faults_kept_are_limited(void **state)
{
    struct store *store = store_of(state);

    fault(store, 2, "");
    for (int i = 0; i <= STORE_FAULTS_KEPT_MIN; i++)
        fault(store, 1, "");
    assert_int_equal(test_count(store, "SELECT count(*) FROM vm_faults WHERE vm_id = 1"),
                     STORE_FAULTS_KEPT_MIN);
    assert_int_equal(number_of(store, 1, "faults_total"), STORE_FAULTS_KEPT_MIN + 1);
    assert_int_equal(number_of(store, 2, "faults"), 1);
}

static void test_faults_kept_reach_the_threshold(void **state)
{
    struct store *store = store_of(state);

    test_ok(store, "{'command': 'set-faults', 'args': {'vm': 1, 'fault_threshold': 20}}");
    for (int i = 0; i < 21; i++)
        fault(store, 1, "");
    assert_int_equal(number_of(store, 1, "faults"), 20);
}

static void test_quarantine_by_an_administrator(void **state)
{
    struct store *store = store_of(state);

    test_ok(store, "{'command': 'quarantine', 'args': {'vm': 1, 'reason': 'mining'}}");
    assert_true(quarantined(store, 1));
    assert_text(store, 1, "quarantine_reason", "mining");
    assert_text(store, 1, "quarantined_by", "tester");
    assert_int_equal(number_of(store, 1, "faults"), 0);
}

static void test_quarantine_again_changes_nothing(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *again = NULL;
    _cleanup_json_ json_t *other = NULL;

    test_ok(store, "{'command': 'quarantine', 'args': {'vm': 1, 'reason': 'mining'}}");
    clock_s += 9;
    again = test_do(store, "{'command': 'quarantine', 'args': {'vm': 1, 'reason': 'mining'}}");
    assert_true(json_is_false(json_object_get(again, "changed")));
    assert_int_equal(number_of(store, 1, "quarantine_time"), TEST_NOW);
    other = test_do(store, "{'command': 'quarantine', 'args': {'vm': 1, 'reason': 'spam'}}");
    assert_true(json_is_true(json_object_get(other, "changed")));
    assert_text(store, 1, "quarantine_reason", "spam");
}

static void test_quarantine_reason_limit(void **state)
{
    _cleanup_free_ char *most = test_repeat('r', STORE_REASON_BYTES);
    _cleanup_free_ char *over = test_repeat('r', STORE_REASON_BYTES + 1);

    test_ok(store_of(state), "{'command': 'quarantine', 'args': {'vm': 1, 'reason': '%s'}}", most);
    test_refuse(store_of(state), EINVAL, "the reason has 257 bytes; at most 256",
                "{'command': 'quarantine', 'args': {'vm': 1, 'reason': '%s'}}", over);
    test_refuse(store_of(state), EINVAL, "the reason is empty",
                "{'command': 'quarantine', 'args': {'vm': 1, 'reason': ''}}");
    test_refuse(store_of(state), EINVAL, "'reason' is missing",
                "{'command': 'quarantine', 'args': {'vm': 1}}");
    test_refuse(store_of(state), EINVAL, "control character",
                "{'command': 'quarantine', 'args': {'vm': 1, 'reason': 'a\\u001b'}}");
}

static void test_quarantine_and_faults_survive_reopening(void **state)
{
    fault(store_of(state), 1, ", 'quarantine': true, 'reason': 'why'");
    fault(store_of(state), 2, "");
    reopen(*state);
    assert_true(quarantined(store_of(state), 1));
    assert_text(store_of(state), 1, "quarantine_reason", "why");
    assert_int_equal(number_of(store_of(state), 2, "faults"), 1);
    clock_s += STORE_FAULT_WINDOW_DEFAULT_S;
    assert_int_equal(number_of(store_of(state), 2, "faults"), 0);
    assert_true(quarantined(store_of(state), 1));
}

static void test_unquarantine_forgives_and_keeps_the_history(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *result = NULL;

    fault(store, 1, "");
    fault(store, 1, ", 'quarantine': true");
    test_ok(store, "{'command': 'unquarantine', 'args': {'vm': 1}}");
    assert_false(quarantined(store, 1));
    assert_text(store, 1, "quarantine_reason", "(null)");
    assert_text(store, 1, "quarantined_by", "(null)");
    assert_int_equal(number_of(store, 1, "quarantine_time"), -1);
    assert_int_equal(number_of(store, 1, "faults"), 0);
    assert_int_equal(number_of(store, 1, "faults_total"), 2);
    assert_int_equal(number_of(store, 1, "last_fault"), TEST_NOW);
    result = show(store, 1);
    assert_int_equal(json_array_size(json_object_get(result, "last_faults")), 2);
    fault(store, 1, "");
    assert_int_equal(number_of(store, 1, "faults"), 1);
}

static void test_unquarantine_of_a_free_vm_changes_nothing(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *result = NULL;

    fault(store, 1, "");
    result = test_do(store, "{'command': 'unquarantine', 'args': {'vm': 1}}");
    assert_true(json_is_false(json_object_get(result, "changed")));
    assert_int_equal(number_of(store, 1, "faults"), 1);
}

static void test_clear_faults_empties_counters_and_history(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *first = NULL;
    _cleanup_json_ json_t *again = NULL;
    _cleanup_json_ json_t *shown = NULL;

    fault(store, 1, ", 'quarantine': true, 'reason': 'why'");
    fault(store, 2, "");
    first = test_do(store, "{'command': 'clear-faults', 'args': {'vm': 1}}");
    again = test_do(store, "{'command': 'clear-faults', 'args': {'vm': 1}}");
    assert_true(json_is_true(json_object_get(first, "changed")));
    assert_true(json_is_false(json_object_get(again, "changed")));
    assert_int_equal(number_of(store, 1, "faults"), 0);
    assert_int_equal(number_of(store, 1, "faults_total"), 0);
    assert_int_equal(number_of(store, 1, "last_fault"), -1);
    shown = show(store, 1);
    assert_int_equal(json_array_size(json_object_get(shown, "last_faults")), 0);
    assert_true(quarantined(store, 1));
    assert_int_equal(number_of(store, 2, "faults"), 1);
    fault(store, 1, "");
    assert_int_equal(number_of(store, 1, "faults"), 1);
}

static void test_removed_vm_takes_its_faults_along(void **state)
{
    struct store *store = store_of(state);

    fault(store, 1, ", 'quarantine': true");
    test_ok(store, "{'command': 'remove-vm', 'args': {'vm': 1}}");
    assert_int_equal(test_count(store, "SELECT count(*) FROM vm_faults"), 0);
    test_ok(store, "{'command': 'register-vm', 'args': {'vm_id': 1, 'pool': 'A'}}");
    assert_int_equal(number_of(store, 1, "faults_total"), 0);
    assert_false(quarantined(store, 1));
}

static void test_show_lists_the_last_faults_first(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *result = NULL;
    const json_t *faults;

    fault(store, 1, "");
    clock_s += 3;
    fault(store, 1, "");
    result = show(store, 1);
    faults = json_object_get(result, "last_faults");
    assert_int_equal(json_array_size(faults), 2);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(faults, 0), "time")),
                     TEST_NOW + 3);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(faults, 1), "time")),
                     TEST_NOW);
    assert_true(json_is_null(json_object_get(result, "live")));
}

/* Faults come from guests: they must not push out what administrators did. */
static void test_audit_log_keeps_few_rows_of_faults(void **state)
{
    struct store *store = store_of(state);
    char sql[512];

    snprintf(sql, sizeof(sql),
             "INSERT INTO audit_log (seq, time, who, command, object, object_key) VALUES"
             " (1000, 0, 'm', 'record-fault', 'vm', '1');"
             "CREATE TEMP TABLE n AS SELECT 0 AS i UNION SELECT 1 UNION SELECT 2 UNION SELECT 3"
             " UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 UNION SELECT 7 UNION SELECT 8"
             " UNION SELECT 9;");
    assert_int_equal(sqlite3_exec(store->db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(store->db,
                     "INSERT INTO audit_log (seq, time, who, command, object, object_key)"
                     " SELECT 1001 + a.i + 10 * b.i + 100 * c.i + 1000 * d.i, 0, 'm',"
                     " 'record-fault', 'vm', '1' FROM n a, n b, n c, n d",
                     NULL, NULL, NULL),
        SQLITE_OK);
    fault(store, 1, "");
    assert_int_equal(
        test_count(store, "SELECT count(*) FROM audit_log WHERE command = 'record-fault'"),
        STORE_AUDIT_FAULT_ROWS_MAX);
    assert_int_equal(
        test_count(store, "SELECT count(*) FROM audit_log WHERE command = 'register-vm'"), 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_fault_is_counted),
        TEST(test_fault_of_a_known_ref_is_the_same),
        TEST(test_fault_ref_has_a_length),
        TEST(test_fault_no_longer_counts_after_the_window),
        TEST(test_fault_window_of_0_is_the_default),
        TEST(test_fault_window_that_is_changed_counts_anew),
        TEST(test_fault_time_is_the_one_given),
        TEST(test_fault_of_the_future_is_one_of_now),
        TEST(test_fault_can_quarantine),
        TEST(test_fault_without_a_reason_is_the_reason),
        TEST(test_fault_in_quarantine_leaves_its_reason),
        TEST(test_fault_with_a_reason_alone_does_not_quarantine),
        TEST(test_fault_arguments_are_checked),
        TEST(test_fault_kind_limit),
        TEST(test_fault_text_is_cut_and_cleaned),
        TEST(test_faults_kept_are_limited),
        TEST(test_faults_kept_reach_the_threshold),
        TEST(test_quarantine_by_an_administrator),
        TEST(test_quarantine_again_changes_nothing),
        TEST(test_quarantine_reason_limit),
        TEST(test_quarantine_and_faults_survive_reopening),
        TEST(test_unquarantine_forgives_and_keeps_the_history),
        TEST(test_unquarantine_of_a_free_vm_changes_nothing),
        TEST(test_clear_faults_empties_counters_and_history),
        TEST(test_removed_vm_takes_its_faults_along),
        TEST(test_show_lists_the_last_faults_first),
        TEST(test_audit_log_keeps_few_rows_of_faults),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
