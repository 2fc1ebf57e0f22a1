/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of what is about many VMs at once: sets of VMs, assign-vms, capacity. */
#include "store/test_support.h"

#include <stdio.h>
#include <string.h>

#include "store/vm_set.h"

static struct store *store_of(void **state)
{
    return ((struct fixture *)*state)->store;
}

/* Pools A and B, VMs 1 to 9 in A. */
static int setup(void **state)
{
    if (test_setup_store(state) < 0)
        return -1;
    test_ok(store_of(state), "{'command': 'create-pool', 'args': {'pool': 'A'}}");
    test_ok(store_of(state), "{'command': 'create-pool', 'args': {'pool': 'B'}}");
    for (int i = 1; i <= 9; i++)
        test_ok(store_of(state), "{'command': 'register-vm', 'args': {'vm_id': %d, 'pool': 'A'}}",
                i);
    return 0;
}

/* sets of VMs */

static void assert_set(const char *text, const char *expected)
{
    struct vgpu_err err = {.code = 0};
    struct vm_set set;
    char ids[256] = "";
    size_t used = 0;

    if (vm_set_parse(text, &set, &err) < 0)
        fail_msg("%s: %s", text, err.text);
    for (size_t i = 0; i < set.n; i++)
        used +=
            (size_t)snprintf(ids + used, sizeof(ids) - used, "%s%d", i ? " " : "", (int)set.ids[i]);
    assert_string_equal(ids, expected);
}

static void refuse_set(const char *text, int code, const char *what)
{
    struct vgpu_err err = {.code = 0};
    struct vm_set set;

    assert_int_equal(vm_set_parse(text, &set, &err), -code);
    if (!strstr(err.text, what))
        fail_msg("'%s' is not in '%s'", what, err.text);
}

static void test_vm_set_reads_ids_and_ranges(void **state)
{
    assert_set("1-7,9", "1 2 3 4 5 6 7 9");
    assert_set("3", "3");
    assert_set("4-4", "4");
    assert_set("1,2147483647", "1 2147483647");
    assert_set("2147483646-2147483647", "2147483646 2147483647");
}

static void test_vm_set_is_in_order_and_has_each_once(void **state)
{
    assert_set("9,1-3,2-4,9,1", "1 2 3 4 9");
}

static void test_vm_set_refuses_what_is_none(void **state)
{
    static const struct {
        const char *text, *what;
    } bad[] = {
        {"", "the id of a VM is missing at the end"},
        {",1", "the id of a VM is missing at ',1'"},
        {"1,", "the id of a VM is missing at the end"},
        {"1,,2", "the id of a VM is missing at ',2'"},
        {"1-", "the id of a VM is missing at the end"},
        {"-1", "the id of a VM is missing at '-1'"},
        {"1-2-3", "a comma is missing at '-3'"},
        {"1 2", "a comma is missing at ' 2'"},
        {"1, 2", "the id of a VM is missing at ' 2'"},
        {"web", "the id of a VM is missing at 'web'"},
        {"+1", "the id of a VM is missing at '+1'"},
        {"7-1", "the range 7-1 runs backwards"},
        {"0", "'0' is out of range: ids are 1 to 2147483647"},
        {"01", "'01' is out of range"},
        {"0-3", "'0-3' is out of range"},
        {"2147483648", "'2147483648' is out of range"},
        {"1-2147483648", "'2147483648' is out of range"},
        {"99999999999999999999999999", "is out of range"},
    };

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(bad); i++)
        refuse_set(bad[i].text, EINVAL, bad[i].what);
}

static void test_vm_set_limit(void **state)
{
    struct vm_set set;

    assert_int_equal(vm_set_parse("1-1024", &set, NULL), 0);
    assert_int_equal(set.n, STORE_VMS_MAX);
    assert_int_equal(vm_set_parse("1-1024,1-1024,7", &set, NULL), 0);
    refuse_set("1-1025", ENOSPC, "these are more than 1024 VMs");
    refuse_set("1-1024,2000", ENOSPC, "these are more than 1024 VMs");
    refuse_set("1-2147483647", ENOSPC, "these are more than 1024 VMs");
}

static void test_vm_set_text_limit(void **state)
{
    _cleanup_free_ char *text = test_repeat('1', VM_SET_TEXT_BYTES + 1);
    struct vm_set set;

    for (size_t i = 1; i < VM_SET_TEXT_BYTES; i += 2)
        text[i] = ',';
    refuse_set(text, EINVAL, "has 16385 bytes; at most 16384");
    text[VM_SET_TEXT_BYTES - 1] = '\0';
    assert_int_equal(vm_set_parse(text, &set, NULL), 0);
    assert_int_equal(set.n, 1);
}

static void test_vm_set_knows_its_members(void **state)
{
    struct vm_set set;

    assert_int_equal(vm_set_parse("2-4,7", &set, NULL), 0);
    for (int i = 0; i < 9; i++)
        assert_int_equal(vm_set_has(&set, i), (i >= 2 && i <= 4) || i == 7);
}

/* assign-vms */

static void test_assign_vms_moves_them_all(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *result =
        test_do(store, "{'command': 'assign-vms', 'args': {'vms': '1-3,7', 'pool': 'B'}}");
    _cleanup_json_ json_t *ids = json_pack("[i,i,i,i]", 1, 2, 3, 7);
    _cleanup_json_ json_t *change =
        json_pack("{s:s, s:s, s:{s:s, s:i}, s:{s:s, s:i}}", "object", "vm", "key", "1", "from",
                  "pool", "A", "revision", 1, "to", "pool", "B", "revision", 2);
    const json_t *changes = json_object_get(result, "changes");

    assert_true(json_equal(json_object_get(result, "vms"), ids));
    assert_int_equal(json_array_size(changes), 4);
    assert_true(json_equal(json_array_get(changes, 0), change));
    assert_int_equal(test_count(store, "SELECT count(*) FROM vms WHERE pool = 'B'"), 4);
    assert_int_equal(
        test_count(store, "SELECT count(*) FROM audit_log WHERE command = 'assign-vms'"), 4);
}

static void test_assign_vms_leaves_those_that_are_there(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *again = NULL;

    test_ok(store, "{'command': 'assign-vms', 'args': {'vms': '1', 'pool': 'B'}}");
    test_ok(store, "{'command': 'assign-vms', 'args': {'vms': '1-2', 'pool': 'B'}}");
    assert_int_equal(test_count(store, "SELECT revision FROM vms WHERE vm_id = 1"), 2);
    again = test_do(store, "{'command': 'assign-vms', 'args': {'vms': '1-2', 'pool': 'B'}}");
    assert_true(json_is_false(json_object_get(again, "changed")));
}

static void test_assign_vms_is_all_or_nothing(void **state)
{
    struct store *store = store_of(state);

    test_refuse(store, ENOENT, "2 of these 5 VMs are not registered: 10, 12; nothing is changed",
                "{'command': 'assign-vms', 'args': {'vms': '7-10,12', 'pool': 'B'}}");
    test_refuse(store, ENOENT, "pool 'C' does not exist",
                "{'command': 'assign-vms', 'args': {'vms': '1', 'pool': 'C'}}");
    test_refuse(store, EINVAL, "vms: the range 7-1 runs backwards",
                "{'command': 'assign-vms', 'args': {'vms': '7-1', 'pool': 'B'}}");
    test_refuse(store, EINVAL, "takes no if_revision",
                "{'command': 'assign-vms', 'args': {'vms': '1', 'pool': 'B'}, 'if_revision': 1}");
}

static void test_assign_vms_registers_if_asked(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *result = test_do(
        store, "{'command': 'assign-vms', 'args': {'vms': '8-20', 'pool': 'B', 'register': true}}");

    assert_int_equal(json_array_size(json_object_get(result, "changes")), 13);
    assert_int_equal(test_count(store, "SELECT count(*) FROM vms WHERE pool = 'B'"), 13);
    assert_int_equal(test_count(store, "SELECT count(*) FROM vms WHERE vm_id = 20 AND name IS NULL"
                                       " AND priority = 'medium' AND weight_hundredths = 5000"),
                     1);
}

static void test_assign_vms_registers_with_a_priority(void **state)
{
    struct store *store = store_of(state);

    test_ok(store,
            "{'command': 'assign-vms', 'args': {'vms': '1,20-32', 'pool': 'B', 'register': true,"
            " 'priority': 'high'}}");
    assert_int_equal(test_count(store,
                                "SELECT count(*) FROM vms WHERE pool = 'B' AND vm_id >= 20 AND"
                                " priority = 'high' AND revision = 1"),
                     13);
    /* One that only moves keeps its own. */
    assert_int_equal(test_count(store, "SELECT count(*) FROM vms WHERE pool = 'B' AND vm_id = 1 AND"
                                       " priority = 'medium'"),
                     1);
    test_refuse(store, EINVAL, "it needs 'register'",
                "{'command': 'assign-vms', 'args': {'vms': '1', 'pool': 'B', 'priority': 'high'}}");
    test_refuse(store, EINVAL, "priority",
                "{'command': 'assign-vms', 'args': {'vms': '30', 'pool': 'B', 'register': true,"
                " 'priority': 'urgent'}}");
}

static void test_assign_vms_keeps_to_the_pools_most(void **state)
{
    struct store *store = store_of(state);

    test_ok(store, "{'command': 'set-max-vms', 'args': {'pool': 'B', 'max_vms': 3}}");
    test_ok(store, "{'command': 'assign-vms', 'args': {'vms': '1', 'pool': 'B'}}");
    test_refuse(store, ENOSPC, "pool 'B' would have 4 VMs, and takes 3 at most",
                "{'command': 'assign-vms', 'args': {'vms': '1-4', 'pool': 'B'}}");
    test_refuse(store, ENOSPC, "pool 'B' would have 4 VMs",
                "{'command': 'assign-vms', 'args': {'vms': '2,30-31', 'pool': 'B', "
                "'register': true}}");
    test_ok(store, "{'command': 'assign-vms', 'args': {'vms': '1-3', 'pool': 'B'}}");
}

static void test_assign_vms_registers_no_more_than_there_may_be(void **state)
{
    struct store *store = store_of(state);

    test_refuse(store, ENOSPC, "there are 9 VMs already, and 1024 are allowed",
                "{'command': 'assign-vms', 'args': {'vms': '10-1025', 'pool': 'B', "
                "'register': true}}");
    test_ok(store, "{'command': 'assign-vms', 'args': {'vms': '10-1024', 'pool': 'B', "
                   "'register': true}}");
    assert_int_equal(test_count(store, "SELECT count(*) FROM vms"), STORE_VMS_MAX);
}

static void test_assign_vms_runs_dry(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *dry = test_do(store, "{'command': 'assign-vms', 'args': {'vms': '1-9', "
                                                "'pool': 'B'}, 'dry_run': true}");

    assert_int_equal(json_array_size(json_object_get(dry, "changes")), 9);
    assert_int_equal(test_count(store, "SELECT count(*) FROM vms WHERE pool = 'B'"), 0);
}

/* capacity */

static void scan_two(struct store *store)
{
    test_ok(store, "{'command': 'record-gpus', 'args': {'gpus': [{'index': 0, 'uuid': 'g0', 'pci':"
                   " 'p0', 'model': 'M', 'memory_bytes': 10000000}, {'index': 1, 'uuid': 'g1',"
                   " 'pci': 'p1', 'model': 'M', 'memory_bytes': 6000000}]}}");
    test_ok(store, "{'command': 'assign-gpu', 'args': {'gpu_id': 0, 'pool': 'A'}}");
    test_ok(store, "{'command': 'assign-gpu', 'args': {'gpu_id': 1, 'pool': 'A'}}");
}

static json_t *capacity_of(struct store *store, const char *args)
{
    _cleanup_json_ json_t *result = test_do(store, "{'command': 'capacity', 'args': {%s}}", args);

    assert_int_equal(json_array_size(json_object_get(result, "pools")), 1);
    return json_incref(json_array_get(json_object_get(result, "pools"), 0));
}

static void assert_reason(struct store *store, const char *args, const char *reason)
{
    _cleanup_json_ json_t *pool = capacity_of(store, args);
    const char *text = json_string_value(json_object_get(pool, "reason"));

    assert_int_equal(json_is_true(json_object_get(pool, "admits")), reason == NULL);
    if (reason ? !text || strcmp(text, reason) != 0 : text != NULL)
        fail_msg("'%s' instead of '%s'", text ? text : "none", reason ? reason : "none");
}

static void test_capacity_counts(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *pool = NULL;
    _cleanup_json_ json_t *expected = json_pack(
        "{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:n, s:b, s:n}", "pool", "A", "max_vms",
        0, "vms", 9, "gpus", 2, "gpus_present", 2, "gpus_usable", 2, "memory_bytes", 16000000,
        "memory_largest_bytes", 10000000, "memory_promised_bytes", 3145728, "vms_without_quota", 7,
        "gpus_healthy", "admits", 1, "reason");

    scan_two(store);
    test_ok(store, "{'command': 'set-memory', 'args': {'vm': 1, 'memory_bytes': 1048576}}");
    test_ok(store, "{'command': 'set-memory', 'args': {'vm': 2, 'memory_bytes': 2097152}}");
    pool = capacity_of(store, "'pool': 'A'");
    assert_true(json_equal(pool, expected));
}

static void test_capacity_has_all_pools_unless_one_is_named(void **state)
{
    _cleanup_json_ json_t *result = test_do(store_of(state), "{'command': 'capacity'}");

    assert_int_equal(json_array_size(json_object_get(result, "pools")), 2);
    test_refuse(store_of(state), ENOENT, "pool 'C' does not exist",
                "{'command': 'capacity', 'args': {'pool': 'C'}}");
}

static void test_capacity_says_why_no_more_is_taken(void **state)
{
    struct store *store = store_of(state);

    assert_reason(store, "'pool': 'A'", "no GPU serves it");
    scan_two(store);
    assert_reason(store, "'pool': 'A'", NULL);
    test_ok(store, "{'command': 'set-max-vms', 'args': {'pool': 'A', 'max_vms': 9}}");
    assert_reason(store, "'pool': 'A'", "it has 9 VMs and takes 9 at most");
    test_ok(store, "{'command': 'set-max-vms', 'args': {'pool': 'A', 'max_vms': 10}}");
    assert_reason(store, "'pool': 'A'", NULL);
    assert_int_equal(sqlite3_exec(store->db, "UPDATE gpus SET drained = 1", NULL, NULL, NULL),
                     SQLITE_OK);
    assert_reason(store, "'pool': 'A'", "all its GPUs are missing or drained");
    test_ok(store, "{'command': 'record-gpus', 'args': {'gpus': []}}");
    assert_reason(store, "'pool': 'A'", "all its GPUs are missing");
}

static void test_capacity_for_a_vm_with_a_quota(void **state)
{
    struct store *store = store_of(state);

    scan_two(store);
    test_ok(store, "{'command': 'set-memory', 'args': {'vm': 1, 'memory_bytes': 9000000}}");
    assert_reason(store, "'pool': 'A', 'memory_bytes': 7000000", NULL);
    assert_reason(store, "'pool': 'A', 'memory_bytes': 7000001",
                  "of its memory only 7000000 bytes are not promised to others");
    assert_reason(store, "'pool': 'A', 'memory_bytes': 10000001",
                  "no GPU of it has that much memory: the largest has 10000000 bytes");
    test_ok(store, "{'command': 'set-memory', 'args': {'vm': 2, 'memory_bytes': 9000000}}");
    assert_reason(store, "'pool': 'A', 'memory_bytes': 1",
                  "of its memory only 0 bytes are not promised to others");
    assert_reason(store, "'pool': 'A'", NULL);
    test_refuse(store, EINVAL, "memory_bytes 17592186044417 is out of range",
                "{'command': 'capacity', 'args': {'memory_bytes': 17592186044417}}");
}

static void test_capacity_where_all_vms_are_there(void **state)
{
    struct store *store = store_of(state);

    scan_two(store);
    test_ok(store, "{'command': 'assign-vms', 'args': {'vms': '1-1024', 'pool': 'B', "
                   "'register': true}}");
    assert_reason(store, "'pool': 'A'", "there are 1024 VMs already, the most that are allowed");
}

#define TEST(name)   cmocka_unit_test(name)
#define STORED(name) cmocka_unit_test_setup_teardown(name, setup, test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_vm_set_reads_ids_and_ranges),
        TEST(test_vm_set_is_in_order_and_has_each_once),
        TEST(test_vm_set_refuses_what_is_none),
        TEST(test_vm_set_limit),
        TEST(test_vm_set_text_limit),
        TEST(test_vm_set_knows_its_members),
        STORED(test_assign_vms_moves_them_all),
        STORED(test_assign_vms_leaves_those_that_are_there),
        STORED(test_assign_vms_is_all_or_nothing),
        STORED(test_assign_vms_registers_if_asked),
        STORED(test_assign_vms_registers_with_a_priority),
        STORED(test_assign_vms_keeps_to_the_pools_most),
        STORED(test_assign_vms_registers_no_more_than_there_may_be),
        STORED(test_assign_vms_runs_dry),
        STORED(test_capacity_counts),
        STORED(test_capacity_has_all_pools_unless_one_is_named),
        STORED(test_capacity_says_why_no_more_is_taken),
        STORED(test_capacity_for_a_vm_with_a_quota),
        STORED(test_capacity_where_all_vms_are_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
