/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of batches, and of the settings that only they need: identities and descriptions. */
#include "store/test_support.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct store *store_of(void **state)
{
    return ((struct fixture *)*state)->store;
}

static int setup(void **state)
{
    if (test_setup_store(state) < 0)
        return -1;
    test_ok(store_of(state), "{'command': 'create-pool', 'args': {'pool': 'A'}}");
    test_ok(store_of(state), "{'command': 'register-vm', 'args': {'vm_id': 1, 'pool': 'A'}}");
    return 0;
}

#define BATCH(extra, commands) "{'command': 'batch', 'args': {" extra "'commands': [" commands "]}}"
#define PRIORITY               "{'command': 'set-priority', 'args': {'vm_id': 1, 'priority': 'high'}}"
#define WEIGHT                 "{'command': 'set-weight', 'args': {'vm_id': 1, 'weight': 7}}"
#define NOBODY                 "{'command': 'set-weight', 'args': {'vm_id': 9, 'weight': 7}}"

static void test_batch_does_all(void **state)
{
    json_t *result = test_do(store_of(state), BATCH("'vm_id': 1, ", PRIORITY ", " WEIGHT));
    const json_t *vm = json_object_get(result, "vm");

    assert_int_equal(json_array_size(json_object_get(result, "changes")), 2);
    assert_int_equal(json_integer_value(json_object_get(vm, "revision")), 3);
    assert_string_equal(json_string_value(json_object_get(vm, "priority")), "high");
    json_decref(result);
    assert_int_equal(test_count(store_of(state), "SELECT count(*) FROM audit_log WHERE command"
                                                 " IN ('set-priority', 'set-weight')"),
                     2);
}

static void test_batch_does_all_or_nothing(void **state)
{
    test_refuse(store_of(state), ENOENT, "command 2 of 2", BATCH("", PRIORITY ", " NOBODY));
    assert_int_equal(test_count(store_of(state), "SELECT revision FROM vms"), 1);
    assert_int_equal(
        test_count(store_of(state), "SELECT count(*) FROM audit_log WHERE command LIKE 'set-%%'"),
        0);
}

static void test_batch_makes_objects(void **state)
{
    test_ok(store_of(state), BATCH("", "{'command': 'create-pool', 'args': {'pool': 'B'}}, "
                                       "{'command': 'register-vm', 'args': {'vm_id': 2,"
                                       " 'pool': 'B'}}"));
    assert_int_equal(test_count(store_of(state), "SELECT count(*) FROM vms WHERE pool = 'B'"), 1);
}

static void test_batch_wants_the_revision_from_before(void **state)
{
#define AT_REVISION(n)                                                                             \
    "{'command': 'batch', 'if_revision': " n ", 'args': {'vm_id': 1, 'commands': [" PRIORITY       \
    ", " WEIGHT "]}}"
    test_refuse(store_of(state), ESTALE, "revision 1, not 2", AT_REVISION("2"));
    test_ok(store_of(state), AT_REVISION("1"));
    test_refuse(store_of(state), ESTALE, "revision 3, not 1", AT_REVISION("1"));
    test_refuse(store_of(state), EINVAL, "no if_revision",
                "{'command': 'batch', 'if_revision': 1, 'args': {'commands': [" PRIORITY "]}}");
}

static void test_batch_can_be_tried(void **state)
{
    json_t *result = test_do(store_of(state), "{'command': 'batch', 'dry_run': true, 'args':"
                                              " {'commands': [" PRIORITY "]}}");

    assert_true(json_is_true(json_object_get(result, "dry_run")));
    assert_true(json_is_true(json_object_get(result, "changed")));
    json_decref(result);
    assert_int_equal(test_count(store_of(state), "SELECT revision FROM vms"), 1);
}

static void test_batch_takes_only_single_changes(void **state)
{
    static const char *const bad[] = {"record-fault", "record-gpus", "batch", "list-vms",
                                      "snapshot",     "assign-vms",  "none"};

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(bad); i++)
        test_refuse(store_of(state), EINVAL, "part of a batch",
                    BATCH("", "{'command': '%s', 'args': {}}"), bad[i]);
    test_refuse(store_of(state), EINVAL, "part of a batch", BATCH("", "7"));
    test_refuse(store_of(state), EINVAL, "args", BATCH("", "{'command': 'set-pool'}"));
    test_refuse(store_of(state), EINVAL, "list", BATCH("", ""));
    test_refuse(store_of(state), EINVAL, "x", BATCH("'x': 1, ", PRIORITY));
}

static void test_batch_has_a_longest(void **state)
{
    char text[STORE_BATCH_MAX * 80] = "";

    for (int i = 1; i < STORE_BATCH_MAX; i++)
        strcat(text, WEIGHT ", ");
    test_ok(store_of(state), BATCH("", "%s" WEIGHT), text);
    test_refuse(store_of(state), EINVAL, "1 to 128", BATCH("", "%s" WEIGHT ", " WEIGHT), text);
}

#define IDENTITY(args) "{'command': 'set-identity', 'args': {'vm_id': 1" args "}}"
#define UUID           "01234567-89ab-cdef-0123-456789abcdef"

static void test_identity_is_set_and_taken_away(void **state)
{
    json_t *result = test_do(store_of(state), IDENTITY(", 'new_name': 'web', 'new_uuid':"
                                                       " '01234567-89AB-CDEF-0123-456789ABCDEF'"));
    const json_t *vm = json_object_get(result, "vm");

    assert_string_equal(json_string_value(json_object_get(vm, "name")), "web");
    assert_string_equal(json_string_value(json_object_get(vm, "uuid")), UUID);
    json_decref(result);
    test_ok(store_of(state), IDENTITY(", 'new_name': 'web', 'new_uuid': '" UUID "'"));
    assert_int_equal(test_count(store_of(state), "SELECT revision FROM vms"), 2);
    test_ok(store_of(state), IDENTITY(""));
    assert_int_equal(test_count(store_of(state), "SELECT count(*) FROM vms WHERE name IS NULL"
                                                 " AND uuid IS NULL AND revision = 3"),
                     1);
}

static void test_identity_of_another_is_refused(void **state)
{
    test_ok(store_of(state), "{'command': 'register-vm', 'args': {'vm_id': 2, 'pool': 'A',"
                             " 'uuid': '" UUID "'}}");
    test_refuse(store_of(state), EEXIST, "VM 2", IDENTITY(", 'new_uuid': '" UUID "'"));
    test_refuse(store_of(state), EINVAL, "", IDENTITY(", 'new_uuid': 'x'"));
    test_refuse(store_of(state), EINVAL, "name", IDENTITY(", 'new_name': ''"));
}

#define DESCRIPTION "{'command': 'set-description', 'args': {'pool': 'A', 'description': '%s'}}"

static void test_description_is_set(void **state)
{
    char *long_one = test_repeat('x', STORE_DESCRIPTION_BYTES + 1);

    test_ok(store_of(state), DESCRIPTION, "for training");
    test_ok(store_of(state), DESCRIPTION, "for training");
    assert_int_equal(test_count(store_of(state), "SELECT count(*) FROM pools WHERE revision = 2"
                                                 " AND description = 'for training'"),
                     1);
    test_refuse(store_of(state), EINVAL, "description", DESCRIPTION, long_one);
    long_one[STORE_DESCRIPTION_BYTES] = '\0';
    test_ok(store_of(state), DESCRIPTION, long_one);
    test_ok(store_of(state), DESCRIPTION, "");
    free(long_one);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_batch_does_all),
        CASE(test_batch_does_all_or_nothing),
        CASE(test_batch_makes_objects),
        CASE(test_batch_wants_the_revision_from_before),
        CASE(test_batch_can_be_tried),
        CASE(test_batch_takes_only_single_changes),
        CASE(test_batch_has_a_longest),
        CASE(test_identity_is_set_and_taken_away),
        CASE(test_identity_of_another_is_refused),
        CASE(test_description_is_set),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
