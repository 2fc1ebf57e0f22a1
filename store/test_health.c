/* SPDX-License-Identifier: Apache-2.0 */
/* Draining of GPUs, and the thresholds of their health. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "store/store.h"
#include "store/test_support.h"
#include "store/threshold.h"

static int setup(void **state)
{
    struct fixture *fixture;

    if (test_setup_store(state) != 0)
        return -1;
    fixture = *state;
    test_ok(fixture->store, "{'command': 'record-gpus', 'args': {'gpus': [{'index': 0, 'uuid': "
                            "'GPU-0', 'pci': '0', 'model': 'M', 'memory_bytes': 1}]}}");
    return 0;
}

static json_t *gpu_after(struct store *store, const char *request)
{
    json_t *result = test_do(store, "%s", request);
    json_t *gpu = json_incref(json_object_get(result, "gpu"));

    json_decref(result);
    return gpu;
}

static void test_store_drain_is_kept_with_its_reason(void **state)
{
    struct fixture *fixture = *state;
    json_t *gpu = gpu_after(fixture->store,
                            "{'command': 'drain-gpu', 'args': {'gpu_id': 0, 'reason': 'fans'}}");

    assert_true(json_is_true(json_object_get(gpu, "drained")));
    assert_string_equal(json_string_value(json_object_get(gpu, "drain_reason")), "fans");
    assert_int_equal(json_integer_value(json_object_get(gpu, "revision")), 2);
    assert_true(json_is_array(json_object_get(gpu, "pools")));
    json_decref(gpu);
    gpu = gpu_after(fixture->store, "{'command': 'resume-gpu', 'args': {'gpu_id': 0}}");
    assert_true(json_is_false(json_object_get(gpu, "drained")));
    assert_true(json_is_null(json_object_get(gpu, "drain_reason")));
    assert_int_equal(json_integer_value(json_object_get(gpu, "revision")), 3);
    json_decref(gpu);
    assert_int_equal(test_count(fixture->store, "SELECT count(*) FROM audit_log WHERE object = "
                                                "'gpu' AND command <> 'record-gpus'"),
                     2);
}

static void test_store_drain_as_it_is_changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    static const char again[] = "{'command': 'drain-gpu', 'args': {'gpu_id': 0, 'reason': 'fans'}}";
    json_t *result;

    test_ok(fixture->store, "%s", again);
    result = test_do(fixture->store, "%s", again);
    assert_true(json_is_false(json_object_get(result, "changed")));
    json_decref(result);
    result = test_do(fixture->store,
                     "{'command': 'drain-gpu', 'args': {'gpu_id': 0, 'reason': 'more fans'}}");
    assert_true(json_is_true(json_object_get(result, "changed")));
    json_decref(result);
    test_ok(fixture->store, "{'command': 'resume-gpu', 'args': {'gpu_id': 0}}");
    result = test_do(fixture->store, "{'command': 'resume-gpu', 'args': {'gpu_id': 0}}");
    assert_true(json_is_false(json_object_get(result, "changed")));
    json_decref(result);
}

static void test_store_drain_refuses_what_is_wrong(void **state)
{
    struct fixture *fixture = *state;
    char *long_reason = test_repeat('x', STORE_REASON_BYTES + 1);

    test_refuse(fixture->store, EINVAL, "reason",
                "{'command': 'drain-gpu', 'args': {'gpu_id': 0}}");
    test_refuse(fixture->store, EINVAL, "reason",
                "{'command': 'drain-gpu', 'args': {'gpu_id': 0, 'reason': '%s'}}", long_reason);
    long_reason[STORE_REASON_BYTES] = '\0';
    test_ok(fixture->store, "{'command': 'drain-gpu', 'args': {'gpu_id': 0, 'reason': '%s'}}",
            long_reason);
    free(long_reason);
    test_refuse(fixture->store, ENOENT, "GPU 1",
                "{'command': 'drain-gpu', 'args': {'gpu_id': 1, 'reason': 'x'}}");
    test_refuse(fixture->store, ENOENT, "GPU 1",
                "{'command': 'resume-gpu', 'args': {'gpu_id': 1}}");
    test_refuse(fixture->store, EINVAL, "gpu_id",
                "{'command': 'resume-gpu', 'args': {'gpu_id': 64}}");
}

static json_t *threshold(struct store *store, const char *name)
{
    json_t *result = test_do(store, "{'command': 'list-thresholds'}");
    json_t *list = json_object_get(result, "thresholds"), *row = NULL;

    assert_int_equal(json_array_size(list), THRESHOLD_N);
    row = json_incref(json_array_get(list, threshold_find(name)));
    assert_string_equal(json_string_value(json_object_get(row, "name")), name);
    json_decref(result);
    return row;
}

static void assert_rule(struct store *store, const char *name, double value, const char *action,
                        bool is_default)
{
    json_t *row = threshold(store, name);

    assert_true(json_number_value(json_object_get(row, "value")) == value);
    assert_string_equal(json_string_value(json_object_get(row, "action")), action);
    assert_int_equal(json_is_true(json_object_get(row, "is_default")), is_default);
    json_decref(row);
}

static void test_store_thresholds_have_sound_defaults(void **state)
{
    for (int i = 0; i < THRESHOLD_N; i++) {
        const struct threshold *t = &thresholds[i];

        assert_true(t->rule.value >= t->least && t->rule.value <= t->most);
        assert_true(t->rule.action < THRESHOLD_N_ACTIONS);
        assert_int_equal(threshold_find(t->name), i);
        assert_true(t->hysteresis == 0 || strcmp(t->unit, "celsius") == 0);
    }
    assert_int_equal(threshold_find("heat"), THRESHOLD_N);
    assert_int_equal(threshold_find(NULL), THRESHOLD_N);
    for (int i = 0; i < THRESHOLD_N_ACTIONS; i++)
        assert_int_equal(threshold_action_find(threshold_action_name(i)), i);
    assert_int_equal(threshold_action_find("reset"), THRESHOLD_N_ACTIONS);
}

static void test_store_threshold_is_set_in_parts(void **state)
{
    struct fixture *fixture = *state;
    struct store *store = fixture->store;

    assert_rule(store, "temperature-hot", 90, "stop", true);
    test_ok(store,
            "{'command': 'set-threshold', 'args': {'name': 'temperature-hot', 'value': 82.5}}");
    assert_rule(store, "temperature-hot", 82.5, "stop", false);
    test_ok(store,
            "{'command': 'set-threshold', 'args': {'name': 'temperature-hot', 'action': 'drain'}}");
    assert_rule(store, "temperature-hot", 82.5, "drain", false);
    assert_int_equal(test_count(store, "SELECT count(*) FROM thresholds"), 1);
    assert_int_equal(test_count(store, "SELECT count(*) FROM audit_log WHERE object = 'threshold'"),
                     2);
}

/* Else a revision that was seen before would be of something else. */
static void test_store_threshold_at_its_default_again_has_a_new_revision(void **state)
{
    struct store *store = ((struct fixture *)*state)->store;
    json_t *row;

    test_ok(store, "{'command': 'set-threshold', 'args': {'name': 'ecc-uncorrected', 'value': 9}}");
    test_ok(store, "{'command': 'set-threshold', 'args': {'name': 'ecc-uncorrected', 'value': 1}}");
    test_ok(store, "{'command': 'set-threshold', 'args': {'name': 'ecc-uncorrected', 'value': 1}}");
    row = threshold(store, "ecc-uncorrected");
    assert_true(json_is_true(json_object_get(row, "is_default")));
    assert_int_equal(json_integer_value(json_object_get(row, "revision")), 3);
    json_decref(row);
}

static void test_store_threshold_conflict_says_who_changed_it(void **state)
{
#define AT_REVISION(n, value)                                                                      \
    "{'command': 'set-threshold', 'if_revision': " n                                               \
    ", 'args': {'name': 'temperature-hot', 'value': " value "}}"
    struct store *store = ((struct fixture *)*state)->store;

    test_ok(store, AT_REVISION("1", "80"));
    test_refuse(store, ESTALE,
                "threshold temperature-hot has revision 2, not 1; changed by: tester at",
                AT_REVISION("1", "70"));
    test_ok(store, AT_REVISION("2", "70"));
    test_refuse(store, ENOENT, "there is no threshold 'heat'",
                "{'command': 'set-threshold', 'if_revision': 1, 'args': {'name': 'heat'}}");
}

static void test_store_threshold_refuses_what_is_wrong(void **state)
{
    struct fixture *fixture = *state;
    struct store *store = fixture->store;

    test_refuse(store, ENOENT, "temperature-hot",
                "{'command': 'set-threshold', 'args': {'name': 'heat', 'value': 1}}");
    test_refuse(store, EINVAL, "neither",
                "{'command': 'set-threshold', 'args': {'name': 'temperature-hot'}}");
    test_refuse(store, EINVAL, "value",
                "{'command': 'set-threshold', 'args': {'name': 'temperature-hot', 'value': 201}}");
    test_ok(store,
            "{'command': 'set-threshold', 'args': {'name': 'temperature-hot', 'value': 200}}");
    test_refuse(store, EINVAL, "value",
                "{'command': 'set-threshold', 'args': {'name': 'temperature-hot', 'value': 0.5}}");
    test_refuse(store, EINVAL, "whole",
                "{'command': 'set-threshold', 'args': {'name': 'xid-error', 'value': 1.5}}");
    test_refuse(store, EINVAL, "action",
                "{'command': 'set-threshold', 'args': {'name': 'xid-error', 'action': 'reset'}}");
}

static void test_store_thresholds_are_in_the_snapshot(void **state)
{
    struct fixture *fixture = *state;
    json_t *snapshot = NULL, *list, *row;

    test_ok(fixture->store,
            "{'command': 'set-threshold', 'args': {'name': 'memory-hot', 'value': 99}}");
    assert_int_equal(store_snapshot(fixture->store, &snapshot, NULL), 0);
    list = json_object_get(snapshot, "thresholds");
    assert_int_equal(json_array_size(list), THRESHOLD_N);
    row = json_array_get(list, THRESHOLD_MEMORY_HOT);
    assert_true(json_number_value(json_object_get(row, "value")) == 99);
    json_decref(snapshot);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_store_drain_is_kept_with_its_reason),
        TEST(test_store_drain_as_it_is_changes_nothing),
        TEST(test_store_drain_refuses_what_is_wrong),
        TEST(test_store_thresholds_have_sound_defaults),
        TEST(test_store_threshold_is_set_in_parts),
        TEST(test_store_threshold_at_its_default_again_has_a_new_revision),
        TEST(test_store_threshold_conflict_says_who_changed_it),
        TEST(test_store_threshold_refuses_what_is_wrong),
        TEST(test_store_thresholds_are_in_the_snapshot),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
