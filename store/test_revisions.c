/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of revisions: what raises them and what does not, and of the changes that replies list. */
#include "store/test_support.h"

#include <stdio.h>
#include <string.h>

static struct store *store_of(void **state)
{
    return ((struct fixture *)*state)->store;
}

#define SCAN_0(pci, model)                                                                         \
    "{'command': 'record-gpus', 'args': {'gpus': [{'index': 0, 'uuid': 'g0', 'pci': '" pci         \
    "', 'model': '" model "', 'memory_bytes': 42}]}}"

/* VM 1 in pool A, pool B, GPU 0: all at revision 1. */
static int setup(void **state)
{
    if (test_setup_store(state) < 0)
        return -1;
    test_ok(store_of(state), "{'command': 'create-pool', 'args': {'pool': 'A'}}");
    test_ok(store_of(state), "{'command': 'create-pool', 'args': {'pool': 'B'}}");
    test_ok(store_of(state), "{'command': 'register-vm', 'args': {'vm_id': 1, 'pool': 'A'}}");
    test_ok(store_of(state), SCAN_0("p0", "M"));
    return 0;
}

static json_int_t revision_in(const json_t *object)
{
    return json_integer_value(json_object_get(object, "revision"));
}

static int64_t revision_of(struct store *store, const char *table)
{
    char sql[96];

    snprintf(sql, sizeof(sql), "SELECT revision FROM %s ORDER BY rowid LIMIT 1", table);
    return test_count(store, sql);
}

static void test_revision_starts_at_1(void **state)
{
    assert_int_equal(revision_of(store_of(state), "vms"), 1);
    assert_int_equal(revision_of(store_of(state), "pools"), 1);
    assert_int_equal(revision_of(store_of(state), "gpus"), 1);
}

/* Each of them changes what it is about, once, and finds it so the second time. */
static const struct {
    const char *object, *table, *request;
} changes[] = {
    {"vm", "vms", "{'command': 'set-priority', 'args': {'vm': 1, 'priority': 'high'}}"},
    {"vm", "vms", "{'command': 'set-weight', 'args': {'vm': 1, 'weight': 7}}"},
    {"vm", "vms", "{'command': 'set-pool', 'args': {'vm': 1, 'pool': 'B'}}"},
    {"vm", "vms", "{'command': 'set-rate', 'args': {'vm': 1, 'rate_per_s': 9}}"},
    {"vm", "vms", "{'command': 'set-depth', 'args': {'vm': 1, 'depth': 9}}"},
    {"vm", "vms", "{'command': 'set-bytes', 'args': {'vm': 1, 'bytes_in_flight': 1048576}}"},
    {"vm", "vms", "{'command': 'set-timeout', 'args': {'vm': 1, 'job_timeout_ms': 99}}"},
    {"vm", "vms", "{'command': 'set-memory', 'args': {'vm': 1, 'memory_bytes': 1048576}}"},
    {"vm", "vms", "{'command': 'set-faults', 'args': {'vm': 1, 'fault_threshold': 9}}"},
    {"vm", "vms", "{'command': 'quarantine', 'args': {'vm': 1, 'reason': 'why'}}"},
    {"vm", "vms", "{'command': 'unquarantine', 'args': {'vm': 1}}"},
    {"pool", "pools", "{'command': 'set-policy', 'args': {'pool': 'A', 'policy': 'strict'}}"},
    {"pool", "pools", "{'command': 'set-slice', 'args': {'pool': 'A', 'slice_us': 999}}"},
    {"pool", "pools", "{'command': 'set-max-vms', 'args': {'pool': 'A', 'max_vms': 9}}"},
    {"pool", "pools",
     "{'command': 'set-pool-weight', 'args': {'pool': 'A', 'weight_hundredths': 100}}"},
    {"gpu", "gpus", "{'command': 'assign-gpu', 'args': {'gpu_id': 0, 'pool': 'A'}}"},
    {"gpu", "gpus", "{'command': 'unassign-gpu', 'args': {'gpu_id': 0, 'pool': 'A'}}"},
};

static void test_revision_is_raised_by_each_change(void **state)
{
    struct store *store = store_of(state);

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(changes); i++) {
        int64_t before = revision_of(store, changes[i].table);
        _cleanup_json_ json_t *result = test_do(store, "%s", changes[i].request);

        if (revision_of(store, changes[i].table) != before + 1 ||
            revision_in(json_object_get(result, changes[i].object)) != before + 1)
            fail_msg("not raised by one: %s", changes[i].request);
        assert_int_equal(json_array_size(json_object_get(result, "changes")), 1);
    }
}

static void test_revision_stays_where_all_is_as_asked(void **state)
{
    struct store *store = store_of(state);

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(changes); i++) {
        _cleanup_json_ json_t *again = NULL;
        int64_t before;

        test_ok(store, "%s", changes[i].request);
        before = revision_of(store, changes[i].table);
        again = test_do(store, "%s", changes[i].request);
        if (revision_of(store, changes[i].table) != before)
            fail_msg("raised by nothing: %s", changes[i].request);
        assert_true(json_is_false(json_object_get(again, "changed")));
        assert_int_equal(json_array_size(json_object_get(again, "changes")), 0);
    }
}

static void test_revision_of_a_pool_is_raised_by_its_gpus(void **state)
{
    struct store *store = store_of(state);

    test_ok(store, "{'command': 'assign-gpu', 'args': {'gpu_id': 0, 'pool': 'A'}}");
    test_ok(store, "{'command': 'assign-gpu', 'args': {'gpu_id': 0, 'pool': 'B'}}");
    assert_int_equal(revision_of(store, "pools"), 2);
    assert_int_equal(revision_of(store, "gpus"), 3);
    test_ok(store, "{'command': 'unassign-gpu', 'args': {'gpu_id': 0}}");
    assert_int_equal(revision_of(store, "pools"), 3);
    assert_int_equal(revision_of(store, "gpus"), 5);
    assert_int_equal(test_count(store, "SELECT min(revision) FROM pools WHERE pool = 'B'"), 3);
}

static void test_revision_of_a_gpu_is_raised_where_its_pool_goes(void **state)
{
    struct store *store = store_of(state);

    test_ok(store, "{'command': 'assign-gpu', 'args': {'gpu_id': 0, 'pool': 'B'}}");
    test_ok(store, "{'command': 'remove-pool', 'args': {'pool': 'B'}}");
    assert_int_equal(revision_of(store, "gpus"), 3);
}

static void test_revision_of_a_gpu_is_raised_by_what_a_scan_found(void **state)
{
    struct store *store = store_of(state);
    static const char *const scans[] = {SCAN_0("p1", "M"), SCAN_0("p1", "N"),
                                        "{'command': 'record-gpus', 'args': {'gpus': []}}",
                                        SCAN_0("p1", "N")};

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(scans); i++) {
        test_ok(store, "%s", scans[i]);
        assert_int_equal(revision_of(store, "gpus"), i + 2);
        test_ok(store, "%s", scans[i]);
        assert_int_equal(revision_of(store, "gpus"), i + 2);
    }
}

/* Or a guest could make every change of an administrator's a conflict. */
static void test_revision_is_not_a_guests_to_raise(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *result = NULL;

    result = test_do(store,
                     "{'command': 'record-fault', 'args': {'vm_id': 1, 'kind': 'k', 'text': 't'}}");
    assert_int_equal(revision_of(store, "vms"), 1);
    assert_int_equal(json_array_size(json_object_get(result, "changes")), 1);
    test_ok(store, "{'command': 'record-fault', 'args': {'vm_id': 1, 'kind': 'k', 'text': 't', "
                   "'quarantine': true}}");
    assert_int_equal(revision_of(store, "vms"), 2);
}

static void test_revision_is_raised_by_clearing_faults(void **state)
{
    struct store *store = store_of(state);

    test_ok(store, "{'command': 'record-fault', 'args': {'vm_id': 1, 'kind': 'k', 'text': 't'}}");
    test_ok(store, "{'command': 'clear-faults', 'args': {'vm': 1}}");
    assert_int_equal(revision_of(store, "vms"), 2);
    test_ok(store, "{'command': 'clear-faults', 'args': {'vm': 1}}");
    assert_int_equal(revision_of(store, "vms"), 2);
}

static void test_changes_have_what_was_and_is(void **state)
{
    _cleanup_json_ json_t *result = test_do(
        store_of(state), "{'command': 'set-priority', 'args': {'vm': 1, 'priority': 'low'}}");
    const json_t *change = json_array_get(json_object_get(result, "changes"), 0);
    const json_t *from = json_object_get(change, "from"), *to = json_object_get(change, "to");

    assert_string_equal(json_string_value(json_object_get(change, "object")), "vm");
    assert_string_equal(json_string_value(json_object_get(change, "key")), "1");
    assert_string_equal(json_string_value(json_object_get(from, "priority")), "medium");
    assert_true(json_equal(to, json_object_get(result, "vm")));
    assert_int_equal(revision_in(from), 1);
    assert_int_equal(revision_in(to), 2);
}

static void test_changes_are_of_commands_that_change_only(void **state)
{
    _cleanup_json_ json_t *result = test_do(store_of(state), "{'command': 'list-vms'}");

    assert_null(json_object_get(result, "changes"));
}

/* conflicts */

/* The request with terms beside its arguments: the caller frees it. */
static char *with(const char *request, const char *terms)
{
    size_t size = strlen(request) - 1;
    char *text = malloc(size + strlen(terms) + sizeof(", }"));

    assert_non_null(text);
    memcpy(text, request, size);
    sprintf(text + size, ", %s}", terms);
    return text;
}

static char *with_revision(const char *request, int64_t revision)
{
    char terms[48];

    snprintf(terms, sizeof(terms), "'if_revision': %lld", (long long)revision);
    return with(request, terms);
}

static void refuse_revision(struct store *store, const char *request, int64_t revision, int code,
                            const char *text)
{
    _cleanup_free_ char *whole = with_revision(request, revision);

    test_refuse(store, code, text, "%s", whole);
}

static void test_conflict_is_refused_for_each_command(void **state)
{
    struct store *store = store_of(state);

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(changes); i++) {
        int64_t revision = revision_of(store, changes[i].table);
        _cleanup_free_ char *right = with_revision(changes[i].request, revision);

        refuse_revision(store, changes[i].request, revision + 1, ESTALE, "has revision");
        test_ok(store, "%s", right);
        refuse_revision(store, changes[i].request, revision, ESTALE, "has revision");
    }
}

static void test_conflict_says_who_changed_what_and_when(void **state)
{
    test_ok(store_of(state), "{'command': 'set-weight', 'args': {'vm': 1, 'weight': 60}}");
    test_refuse(store_of(state), ESTALE,
                "VM 1 has revision 2, not 1; changed by: tester at 2023-11-14 22:13:20 UTC "
                "(set-weight: weight 50.0 to 60.0)",
                "{'command': 'set-weight', 'args': {'vm': 1, 'weight': 70}, 'if_revision': 1}");
}

static void test_conflict_lists_the_last_changes(void **state)
{
    struct store *store = store_of(state);

    for (int weight = 1; weight <= 5; weight++)
        test_ok(store, "{'command': 'set-weight', 'args': {'vm': 1, 'weight': %d}}", weight);
    test_ok(store, "{'command': 'record-fault', 'args': {'vm_id': 1, 'kind': 'k', 'text': 't'}}");
    refuse_revision(store, changes[0].request, 4, ESTALE, "weight 4.0 to 5.0), tester at");
    refuse_revision(store, changes[0].request, 4, ESTALE, "weight 3.0 to 4.0)");
    refuse_revision(store, changes[0].request, 1, ESTALE, "VM 1 has revision 6, not 1;");
}

static void test_conflict_over_a_pools_gpus_names_who_assigned(void **state)
{
    struct store *store = store_of(state);

    /* Neither of these is about pool A or GPU 0, whatever their names suggest. */
    test_ok(store, "{'command': 'create-pool', 'args': {'pool': 'A/1'}}");
    test_ok(store, "{'command': 'record-gpus', 'args': {'gpus': [{'index': 0, 'uuid': 'g0', 'pci':"
                   " 'p0', 'model': 'M', 'memory_bytes': 42}, {'index': 1, 'uuid': 'g1', 'pci':"
                   " 'p1', 'model': 'M', 'memory_bytes': 42}]}}");
    test_ok(store, "{'command': 'assign-gpu', 'args': {'gpu_id': 0, 'pool': 'A'}}");
    test_ok(store, "{'command': 'assign-gpu', 'args': {'gpu_id': 1, 'pool': 'A/1'}}");
    test_refuse(store, ESTALE,
                "pool 'A' has revision 2, not 1; changed by: tester at 2023-11-14 22:13:20 UTC"
                " (assign-gpu)",
                "{'command': 'set-policy', 'args': {'pool': 'A', 'policy': 'strict'},"
                " 'if_revision': 1}");
    test_refuse(store, ESTALE, "GPU 0 has revision 2, not 1; changed by: tester at",
                "{'command': 'assign-gpu', 'args': {'gpu_id': 0, 'pool': 'B'}, 'if_revision': 1}");
    assert_int_equal(test_count(store, "SELECT count(*) FROM audit_log WHERE object = 'pool-gpu'"),
                     2);
}

static void test_conflict_is_told_where_the_log_has_nothing(void **state)
{
    assert_int_equal(sqlite3_exec(store_of(state)->db, "DELETE FROM audit_log", NULL, NULL, NULL),
                     SQLITE_OK);
    refuse_revision(store_of(state), changes[0].request, 7, ESTALE,
                    "VM 1 has revision 1, not 7; changed by: nobody that the audit log still has");
}

static void test_conflict_of_one_that_was_made_anew(void **state)
{
    struct store *store = store_of(state);

    test_ok(store, "{'command': 'set-weight', 'args': {'vm': 1, 'weight': 60}}");
    test_ok(store, "{'command': 'remove-vm', 'args': {'vm': 1}}");
    refuse_revision(store, changes[0].request, 2, ENOENT, "VM '1' does not exist");
    test_ok(store, "{'command': 'register-vm', 'args': {'vm_id': 1, 'pool': 'B'}}");
    refuse_revision(store, changes[0].request, 2, ESTALE, "(register-vm)");
}

static void test_revision_is_for_commands_with_one_object(void **state)
{
    struct store *store = store_of(state);

    refuse_revision(store, "{'command': 'create-pool', 'args': {'pool': 'C'}}", 1, EINVAL,
                    "create-pool is not about one object that is there already");
    refuse_revision(store, SCAN_0("p1", "M"), 1, EINVAL, "it takes no if_revision");
    refuse_revision(store, "{'command': 'list-vms'}", 1, EINVAL,
                    "list-vms changes nothing: it takes no if_revision");
    refuse_revision(store, changes[0].request, 0, EINVAL, "if_revision 0 is out of range");
    test_refuse(store, EINVAL, "'if_revision' is not an integer",
                "{'command': 'remove-vm', 'args': {'vm': 1}, 'if_revision': '1'}");
}

/* dry runs */

static void test_dry_run_shows_what_would_be_and_writes_nothing(void **state)
{
    struct store *store = store_of(state);

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(changes); i++) {
        _cleanup_json_ json_t *before = NULL;
        _cleanup_json_ json_t *dry = NULL;
        _cleanup_json_ json_t *after = NULL;
        _cleanup_json_ json_t *wet = NULL;
        _cleanup_free_ char *tried = with(changes[i].request, "'dry_run': true");
        _cleanup_free_ char *done = with(changes[i].request, "'dry_run': false");
        int64_t rows = test_count(store, "SELECT count(*) FROM audit_log");

        before = test_do(store, "{'command': 'snapshot'}");
        dry = test_do(store, "%s", tried);
        after = test_do(store, "{'command': 'snapshot'}");
        assert_true(json_equal(before, after));
        assert_int_equal(test_count(store, "SELECT count(*) FROM audit_log"), rows);
        wet = test_do(store, "%s", done);
        assert_null(json_object_get(wet, "dry_run"));
        assert_true(json_is_true(json_object_get(dry, "dry_run")));
        json_object_del(dry, "dry_run");
        assert_true(json_equal(dry, wet));
    }
}

static void test_dry_run_is_refused_as_the_command_would_be(void **state)
{
    struct store *store = store_of(state);

    test_refuse(store, EBUSY, "still has 1 VM",
                "{'command': 'remove-pool', 'args': {'pool': 'A'}, 'dry_run': true}");
    test_refuse(store, ESTALE, "has revision 1, not 2",
                "{'command': 'remove-vm', 'args': {'vm': 1}, 'dry_run': true, 'if_revision': 2}");
    test_refuse(store, EINVAL, "'dry_run' is neither true nor false",
                "{'command': 'remove-vm', 'args': {'vm': 1}, 'dry_run': 1}");
    test_refuse(store, EINVAL, "list-vms changes nothing: it takes no dry_run",
                "{'command': 'list-vms', 'dry_run': true}");
}

static void test_dry_run_makes_no_snapshot(void **state)
{
    _cleanup_json_ json_t *request =
        json_pack("{s:s, s:{s:i}, s:b}", "command", "remove-vm", "args", "vm", 1, "dry_run", 1);
    _cleanup_json_ json_t *reply = NULL;

    assert_int_equal(store_execute(store_of(state), request, "tester", &reply, NULL), 0);
    assert_true(json_is_false(json_object_get(reply, "changed")));
    assert_true(json_is_true(json_object_get(json_object_get(reply, "result"), "changed")));
}

/* what schema 5 brought besides */

static void test_pool_takes_no_more_than_its_most_vms(void **state)
{
    struct store *store = store_of(state);

    test_ok(store, "{'command': 'set-max-vms', 'args': {'pool': 'A', 'max_vms': 2}}");
    test_ok(store, "{'command': 'register-vm', 'args': {'vm_id': 2, 'pool': 'A'}}");
    test_ok(store, "{'command': 'register-vm', 'args': {'vm_id': 3, 'pool': 'B'}}");
    test_refuse(store, ENOSPC, "pool 'A' would have 3 VMs, and takes 2 at most",
                "{'command': 'register-vm', 'args': {'vm_id': 4, 'pool': 'A'}}");
    test_refuse(store, ENOSPC, "pool 'A' would have 3 VMs",
                "{'command': 'set-pool', 'args': {'vm': 3, 'pool': 'A'}}");
    test_ok(store, "{'command': 'set-pool', 'args': {'vm': 2, 'pool': 'A'}}");
    test_ok(store, "{'command': 'set-max-vms', 'args': {'pool': 'A', 'max_vms': 0}}");
    test_ok(store, "{'command': 'set-pool', 'args': {'vm': 3, 'pool': 'A'}}");
}

static void test_pool_cannot_take_less_than_it_has(void **state)
{
    struct store *store = store_of(state);

    test_ok(store, "{'command': 'register-vm', 'args': {'vm_id': 2, 'pool': 'A'}}");
    test_refuse(store, ENOSPC, "pool 'A' would have 2 VMs, and takes 1 at most",
                "{'command': 'set-max-vms', 'args': {'pool': 'A', 'max_vms': 1}}");
    test_ok(store, "{'command': 'set-max-vms', 'args': {'pool': 'A', 'max_vms': 2}}");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_revision_starts_at_1),
        TEST(test_revision_is_raised_by_each_change),
        TEST(test_revision_stays_where_all_is_as_asked),
        TEST(test_revision_of_a_pool_is_raised_by_its_gpus),
        TEST(test_revision_of_a_gpu_is_raised_where_its_pool_goes),
        TEST(test_revision_of_a_gpu_is_raised_by_what_a_scan_found),
        TEST(test_revision_is_not_a_guests_to_raise),
        TEST(test_revision_is_raised_by_clearing_faults),
        TEST(test_changes_have_what_was_and_is),
        TEST(test_changes_are_of_commands_that_change_only),
        TEST(test_conflict_is_refused_for_each_command),
        TEST(test_conflict_says_who_changed_what_and_when),
        TEST(test_conflict_lists_the_last_changes),
        TEST(test_conflict_over_a_pools_gpus_names_who_assigned),
        TEST(test_conflict_is_told_where_the_log_has_nothing),
        TEST(test_conflict_of_one_that_was_made_anew),
        TEST(test_revision_is_for_commands_with_one_object),
        TEST(test_dry_run_shows_what_would_be_and_writes_nothing),
        TEST(test_dry_run_is_refused_as_the_command_would_be),
        TEST(test_dry_run_makes_no_snapshot),
        TEST(test_pool_takes_no_more_than_its_most_vms),
        TEST(test_pool_cannot_take_less_than_it_has),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
