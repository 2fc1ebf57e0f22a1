/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the settings of VMs and pools: each at its limits, in commands and in the schema. */
#include "store/test_support.h"

#include <stdio.h>
#include <string.h>

#include "store/setting.h"

static struct store *store_of(void **state)
{
    return ((struct fixture *)*state)->store;
}

static int setup(void **state)
{
    if (test_setup_store(state) < 0)
        return -1;
    test_ok(store_of(state), "{'command': 'create-pool', 'args': {'pool': 'A'}}");
    test_ok(store_of(state),
            "{'command': 'register-vm', 'args': {'vm_id': 1, 'pool': 'A', 'name': 'web'}}");
    return 0;
}

/* What naming the object takes: of VM 1 or of pool A. */
struct kind {
    const struct setting *settings;
    const struct setting_command *commands;
    const char *table, *naming, *object;
};

static const struct kind kinds[] = {
    {vm_settings, vm_setting_commands, "vms", "'vm': 'web'", "vm"},
    {pool_settings, pool_setting_commands, "pools", "'pool': 'A'", "pool"},
};

/* The command that sets it, and into arguments what that needs besides. */
static const struct setting_command *command_of(const struct kind *kind, const char *name,
                                                char arguments[128])
{
    const struct setting_command *command = kind->commands;

    for (; command->name; command++) {
        size_t used = (size_t)snprintf(arguments, 128, "%s", kind->naming);
        bool found = false;

        for (size_t i = 0; i < SETTING_COMMAND_MAX && command->settings[i]; i++) {
            bool same = strcmp(command->settings[i], name) == 0;

            found |= same;
            if (!same && i < command->required)
                used += (size_t)snprintf(
                    arguments + used, 128 - used, ", '%s': %lld", command->settings[i],
                    (long long)setting_find(kind->settings, command->settings[i])->least);
        }
        if (found)
            return command;
    }
    fail_msg("no command sets %s", name);
    return NULL;
}

static void takes(struct store *store, const struct kind *kind, const struct setting *setting,
                  int64_t value)
{
    char arguments[128];
    const struct setting_command *command = command_of(kind, setting->name, arguments);
    _cleanup_json_ json_t *result =
        test_do(store, "{'command': '%s', 'args': {%s, '%s': %lld}}", command->name, arguments,
                setting->name, (long long)value);
    const json_t *object = json_object_get(result, kind->object);

    assert_true(json_is_integer(json_object_get(object, setting->name)));
    assert_int_equal(json_integer_value(json_object_get(object, setting->name)), value);
}

static void refuses(struct store *store, const struct kind *kind, const struct setting *setting,
                    int64_t value)
{
    char arguments[128], text[256];
    const struct setting_command *command = command_of(kind, setting->name, arguments);

    snprintf(text, sizeof(text), "%s %lld is out of range: %lld to %lld, or 0 for", setting->name,
             (long long)value, (long long)setting->least, (long long)setting->most);
    test_refuse(store, EINVAL, text, "{'command': '%s', 'args': {%s, '%s': %lld}}", command->name,
                arguments, setting->name, (long long)value);
}

static void test_setting_limits_of_each(void **state)
{
    for (size_t k = 0; k < VGPU_ARRAY_SIZE(kinds); k++) {
        for (const struct setting *s = kinds[k].settings; s->name; s++) {
            takes(store_of(state), &kinds[k], s, s->least);
            takes(store_of(state), &kinds[k], s, s->most);
            refuses(store_of(state), &kinds[k], s, s->most + 1);
            refuses(store_of(state), &kinds[k], s, s->least > 1 ? s->least - 1 : -1);
            refuses(store_of(state), &kinds[k], s, -1);
        }
    }
}

static void test_setting_of_0_is_always_allowed(void **state)
{
    for (size_t k = 0; k < VGPU_ARRAY_SIZE(kinds); k++)
        for (const struct setting *s = kinds[k].settings; s->name; s++)
            if (strcmp(s->name, "burst") != 0)
                takes(store_of(state), &kinds[k], s, 0);
}

/* Whether the schema itself takes the value. */
static bool schema_takes(struct store *store, const char *table, const char *name, int64_t value)
{
    bool burst = strcmp(name, "burst") == 0, rate = strcmp(name, "rate_per_s") == 0;
    char sql[192];

    snprintf(sql, sizeof(sql), "UPDATE %s SET %s = %lld%s", table, name, (long long)value,
             burst                ? ", rate_per_s = 1"
             : rate && value != 0 ? ", burst = 1"
                                  : "");
    return sqlite3_exec(store->db, sql, NULL, NULL, NULL) == SQLITE_OK;
}

static void test_setting_checks_of_the_schema_are_the_same(void **state)
{
    struct store *store = store_of(state);

    for (size_t k = 0; k < VGPU_ARRAY_SIZE(kinds); k++) {
        for (const struct setting *s = kinds[k].settings; s->name; s++) {
            if (!schema_takes(store, kinds[k].table, s->name, s->least) ||
                !schema_takes(store, kinds[k].table, s->name, s->most) ||
                schema_takes(store, kinds[k].table, s->name, s->most + 1) ||
                schema_takes(store, kinds[k].table, s->name, -1) ||
                (s->least > 1 && schema_takes(store, kinds[k].table, s->name, s->least - 1)))
                fail_msg("the schema's range of %s is not that of its commands", s->name);
        }
    }
}

static void test_setting_of_another_type_is_refused(void **state)
{
    static const char *const values[] = {"'5'", "5.5", "true", "[]"};

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(values); i++)
        test_refuse(store_of(state), EINVAL, "'depth' is not an integer",
                    "{'command': 'set-depth', 'args': {'vm': 'web', 'depth': %s}}", values[i]);
}

static void test_setting_that_is_missing_is_refused(void **state)
{
    test_refuse(store_of(state), EINVAL, "'depth' is missing",
                "{'command': 'set-depth', 'args': {'vm': 'web'}}");
    test_refuse(store_of(state), EINVAL, "'slice_us' is missing",
                "{'command': 'set-slice', 'args': {'pool': 'A', 'grace_us': 7}}");
    test_refuse(store_of(state), EINVAL, "there is no argument 'depth' here",
                "{'command': 'set-bytes', 'args': {'vm': 'web', 'bytes_in_flight': 0, 'depth': "
                "1}}");
}

static void test_setting_of_nobody_is_refused(void **state)
{
    test_refuse(store_of(state), ENOENT, "VM 'mail' does not exist",
                "{'command': 'set-depth', 'args': {'vm': 'mail', 'depth': 1}}");
    test_refuse(store_of(state), ENOENT, "pool 'B' does not exist (have: A)",
                "{'command': 'set-slice', 'args': {'pool': 'B', 'slice_us': 100}}");
    test_refuse(store_of(state), EINVAL, "which VM is missing",
                "{'command': 'set-depth', 'args': {'depth': 1}}");
    test_refuse(store_of(state), EINVAL, "'pool' is missing",
                "{'command': 'set-policy', 'args': {'policy': 'wfq'}}");
}

static void expect_rate(struct store *store, const char *arguments, int rate, int burst)
{
    _cleanup_json_ json_t *result =
        test_do(store, "{'command': 'set-rate', 'args': {'vm': 'web', %s}}", arguments);
    const json_t *vm = json_object_get(result, "vm");

    assert_int_equal(json_integer_value(json_object_get(vm, "rate_per_s")), rate);
    assert_int_equal(json_integer_value(json_object_get(vm, "burst")), burst);
}

static void test_rate_brings_its_burst(void **state)
{
    expect_rate(store_of(state), "'rate_per_s': 10", 10, 10);
    expect_rate(store_of(state), "'rate_per_s': 10, 'burst': 500", 10, 500);
    expect_rate(store_of(state), "'rate_per_s': 20", 20, 20);
    expect_rate(store_of(state), "'rate_per_s': 0", 0, 0);
    expect_rate(store_of(state), "'rate_per_s': 0, 'burst': 0", 0, 0);
}

static void test_rate_and_burst_go_together(void **state)
{
    test_refuse(store_of(state), EINVAL, "a burst of 5 needs a rate",
                "{'command': 'set-rate', 'args': {'vm': 'web', 'rate_per_s': 0, 'burst': 5}}");
    test_refuse(store_of(state), EINVAL, "a burst of 0 would let no job in",
                "{'command': 'set-rate', 'args': {'vm': 'web', 'rate_per_s': 5, 'burst': 0}}");
}

static void test_setting_left_out_stays(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *result = NULL;
    const json_t *pool;

    test_ok(store, "{'command': 'set-slice', 'args': {'pool': 'A', 'slice_us': 500,"
                   " 'grace_us': 600, 'max_wait_ms': 700, 'urgency_us': 800}}");
    result = test_do(store, "{'command': 'set-slice', 'args': {'pool': 'A', 'slice_us': 900,"
                            " 'max_wait_ms': 0}}");
    pool = json_object_get(result, "pool");
    assert_int_equal(json_integer_value(json_object_get(pool, "slice_us")), 900);
    assert_int_equal(json_integer_value(json_object_get(pool, "grace_us")), 600);
    assert_int_equal(json_integer_value(json_object_get(pool, "max_wait_ms")), 0);
    assert_int_equal(json_integer_value(json_object_get(pool, "urgency_us")), 800);
}

static void test_setting_to_the_same_changes_nothing(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *first = NULL;
    _cleanup_json_ json_t *again = NULL;

    first = test_do(store, "{'command': 'set-depth', 'args': {'vm': 'web', 'depth': 7}}");
    again = test_do(store, "{'command': 'set-depth', 'args': {'vm': 'web', 'depth': 7}}");
    assert_true(json_is_true(json_object_get(first, "changed")));
    assert_true(json_is_false(json_object_get(again, "changed")));
    assert_true(json_equal(json_object_get(first, "vm"), json_object_get(again, "vm")));
    assert_int_equal(
        test_count(store, "SELECT count(*) FROM audit_log WHERE command = 'set-depth'"), 1);
}

static void assert_logged(struct store *store, const char *where)
{
    char sql[512];

    snprintf(sql, sizeof(sql), "SELECT count(*) FROM audit_log WHERE %s", where);
    assert_int_equal(test_count(store, sql), 1);
}

static void test_setting_is_logged_with_what_it_was(void **state)
{
    struct store *store = store_of(state);

    test_ok(store, "{'command': 'set-depth', 'args': {'vm': 'web', 'depth': 7}}");
    test_ok(store, "{'command': 'set-depth', 'args': {'vm': 'web', 'depth': 9}}");
    assert_logged(store, "who = 'tester' AND command = 'set-depth' AND object = 'vm'"
                         " AND object_key = '1' AND before = '{\"depth\":7,\"revision\":2}'"
                         " AND after = '{\"depth\":9,\"revision\":3}'");
    test_ok(store, "{'command': 'set-pool-weight', 'args': {'pool': 'A', 'weight_hundredths': "
                   "250}}");
    assert_logged(store,
                  "who = 'tester' AND command = 'set-pool-weight' AND object = 'pool'"
                  " AND object_key = 'A' AND before = '{\"weight_hundredths\":0,\"revision\":1}'"
                  " AND after = '{\"weight_hundredths\":250,\"revision\":2}'");
}

static void test_setting_marks_the_change_with_its_time(void **state)
{
    struct store *store = store_of(state);

    assert_int_equal(sqlite3_exec(store->db,
                                  "UPDATE vms SET updated = 1; UPDATE pools SET updated = 1", NULL,
                                  NULL, NULL),
                     SQLITE_OK);
    test_ok(store, "{'command': 'set-memory', 'args': {'vm': 'web', 'memory_bytes': 1048576}}");
    test_ok(store, "{'command': 'set-slice', 'args': {'pool': 'A', 'slice_us': 100}}");
    assert_int_equal(test_count(store, "SELECT updated FROM vms"), TEST_NOW);
    assert_int_equal(test_count(store, "SELECT updated FROM pools"), TEST_NOW);
}

static void test_policy_of_a_pool_is_set(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *first =
        test_do(store, "{'command': 'set-policy', 'args': {'pool': 'A', 'policy': 'strict'}}");
    _cleanup_json_ json_t *again =
        test_do(store, "{'command': 'set-policy', 'args': {'pool': 'A', 'policy': 'strict'}}");

    assert_string_equal(
        json_string_value(json_object_get(json_object_get(first, "pool"), "policy")), "strict");
    assert_true(json_is_true(json_object_get(first, "changed")));
    assert_true(json_is_false(json_object_get(again, "changed")));
    test_refuse(store, EINVAL, "policy 'fair' is not one of: wfq, strict",
                "{'command': 'set-policy', 'args': {'pool': 'A', 'policy': 'fair'}}");
}

static void test_settings_survive_reopening(void **state)
{
    struct fixture *fixture = *state;
    _cleanup_json_ json_t *before = NULL;
    _cleanup_json_ json_t *after = NULL;

    for (size_t k = 0; k < VGPU_ARRAY_SIZE(kinds); k++)
        for (const struct setting *s = kinds[k].settings; s->name; s++)
            takes(fixture->store, &kinds[k], s, s->most);
    before = test_do(fixture->store, "{'command': 'snapshot'}");
    store_close(fixture->store);
    fixture->store = NULL;
    assert_int_equal(test_open(fixture, false, NULL), 0);
    after = test_do(fixture->store, "{'command': 'snapshot'}");
    assert_true(json_equal(before, after));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_setting_limits_of_each),
        TEST(test_setting_of_0_is_always_allowed),
        TEST(test_setting_checks_of_the_schema_are_the_same),
        TEST(test_setting_of_another_type_is_refused),
        TEST(test_setting_that_is_missing_is_refused),
        TEST(test_setting_of_nobody_is_refused),
        TEST(test_rate_brings_its_burst),
        TEST(test_rate_and_burst_go_together),
        TEST(test_setting_left_out_stays),
        TEST(test_setting_to_the_same_changes_nothing),
        TEST(test_setting_is_logged_with_what_it_was),
        TEST(test_setting_marks_the_change_with_its_time),
        TEST(test_policy_of_a_pool_is_set),
        TEST(test_settings_survive_reopening),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
