/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of export and import: the way round, what is refused and where, pruning, limits. */
#include "store/test_support.h"

#include <stdio.h>
#include <string.h>

#include "store/json.h"

#define UUID_1 "11111111-2222-3333-4444-555555555555"
#define UUID_2 "22222222-2222-3333-4444-555555555555"

static struct store *store_of(void **state)
{
    return ((struct fixture *)*state)->store;
}

#define GPU(index, uuid)                                                                           \
    "{'index': " index ", 'uuid': '" uuid "', 'pci': 'p" index                                     \
    "', 'model': 'M', 'memory_bytes': 42}"

/* Some of everything, with what is not the default. */
static int setup(void **state)
{
    static const char *const requests[] = {
        "{'command': 'create-pool', 'args': {'pool': 'A', 'policy': 'strict', 'description': 'd'}}",
        "{'command': 'create-pool', 'args': {'pool': 'B'}}",
        "{'command': 'set-slice', 'args': {'pool': 'B', 'slice_us': 5000, 'grace_us': 7}}",
        "{'command': 'set-max-vms', 'args': {'pool': 'B', 'max_vms': 3}}",
        "{'command': 'register-vm', 'args': {'vm_id': 7, 'pool': 'A', 'name': 'web', 'weight':"
        " 33.33, 'priority': 'high', 'uuid': '" UUID_1 "'}}",
        "{'command': 'register-vm', 'args': {'vm_id': 2, 'pool': 'B', 'uuid': '" UUID_2 "'}}",
        "{'command': 'set-rate', 'args': {'vm': 2, 'rate_per_s': 10, 'burst': 20}}",
        "{'command': 'set-memory', 'args': {'vm': 7, 'memory_bytes': 1048576}}",
        "{'command': 'quarantine', 'args': {'vm': 2, 'reason': 'it mines'}}",
        "{'command': 'record-gpus', 'args': {'gpus': [" GPU("0", "GPU-b") "," GPU(
            "1", "GPU-a") "," GPU("2", "GPU-c") "]}}",
        "{'command': 'assign-gpu', 'args': {'gpu_id': 0, 'pool': 'B'}}",
        "{'command': 'assign-gpu', 'args': {'gpu_id': 0, 'pool': 'A'}}",
        "{'command': 'assign-gpu', 'args': {'gpu_id': 1, 'pool': 'A'}}",
    };

    if (test_setup_store(state) < 0)
        return -1;
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(requests); i++)
        test_ok(store_of(state), "%s", requests[i]);
    return sqlite3_exec(store_of(state)->db,
                        "UPDATE gpus SET drained = 1, drain_reason = 'fans' WHERE gpu_id = 1;"
                        "INSERT INTO thresholds VALUES ('temperature-hot', 91.5, 'drain', 4)",
                        NULL, NULL, NULL);
}

static json_t *export(struct store *store)
{
    return test_do(store, "{'command': 'export'}");
}

static char *export_text(struct store *store)
{
    _cleanup_json_ json_t *config = export(store);

    return json_dumps(config, STORE_JSON_FLAGS);
}

static int import(struct store *store, json_t *config, bool prune, json_t **ret_result,
                  struct vgpu_err *err)
{
    _cleanup_json_ json_t *request = json_pack("{s:s, s:{s:O, s:b}}", "command", "import", "args",
                                               "config", config, "prune", prune);
    _cleanup_json_ json_t *reply = NULL;
    int rc = store_execute(store, request, "importer", &reply, err);

    if (rc == 0 && ret_result)
        *ret_result = json_incref(json_object_get(reply, "result"));
    return rc;
}

/* Imports a configuration written as test_do()'s requests, which must succeed. */
static json_t *take(struct store *store, bool prune, const char *config)
{
    return test_do(store,
                   "{'command': 'import', 'args': {'prune': %s, 'config': {'format': 1, %s}}}",
                   prune ? "true" : "false", config);
}

static size_t count_changes(const json_t *result)
{
    return json_array_size(json_object_get(result, "changes"));
}

/* export */

static void test_export_has_what_is_wanted_and_nothing_else(void **state)
{
    _cleanup_free_ char *text = export_text(store_of(state));

    assert_string_equal(
        text,
        "{\"format\":1,\"pools\":["
        "{\"pool\":\"A\",\"policy\":\"strict\",\"description\":\"d\",\"weight_hundredths\":0,"
        "\"slice_us\":0,\"grace_us\":0,\"max_wait_ms\":0,\"urgency_us\":0,\"max_vms\":0},"
        "{\"pool\":\"B\",\"policy\":\"wfq\",\"description\":\"\",\"weight_hundredths\":0,"
        "\"slice_us\":5000,\"grace_us\":7,\"max_wait_ms\":0,\"urgency_us\":0,\"max_vms\":3}],"
        "\"vms\":["
        "{\"vm_id\":2,\"uuid\":\"" UUID_2 "\",\"name\":null,\"pool\":\"B\","
        "\"priority\":\"medium\",\"weight\":50.0,\"quarantine_reason\":\"it mines\","
        "\"rate_per_s\":10,\"burst\":20,\"depth\":0,\"bytes_in_flight\":0,\"job_timeout_ms\":0,"
        "\"memory_bytes\":0,\"process_memory_bytes\":0,\"fault_threshold\":0,"
        "\"fault_window_s\":0},"
        "{\"vm_id\":7,\"uuid\":\"" UUID_1 "\",\"name\":\"web\",\"pool\":\"A\","
        "\"priority\":\"high\",\"weight\":33.33,\"quarantine_reason\":null,"
        "\"rate_per_s\":0,\"burst\":0,\"depth\":0,\"bytes_in_flight\":0,\"job_timeout_ms\":0,"
        "\"memory_bytes\":1048576,\"process_memory_bytes\":0,\"fault_threshold\":0,"
        "\"fault_window_s\":0}],"
        "\"gpus\":["
        "{\"uuid\":\"GPU-a\",\"pools\":[\"A\"],\"drained\":true,\"drain_reason\":\"fans\"},"
        "{\"uuid\":\"GPU-b\",\"pools\":[\"A\",\"B\"],\"drained\":false,\"drain_reason\":null}],"
        "\"thresholds\":["
        "{\"name\":\"temperature-hot\",\"value\":91.5,\"action\":\"drain\"}]}");
}

/* the way round */

static void test_import_of_what_is_changes_nothing(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *config = export(store);
    _cleanup_json_ json_t *result = NULL;

    assert_int_equal(import(store, config, true, &result, NULL), 0);
    assert_true(json_is_false(json_object_get(result, "changed")));
    assert_int_equal(count_changes(result), 0);
}

/* On another host, whose scan came upon the GPUs in another order. */
static void test_import_elsewhere_exports_the_same(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *config = export(store);
    _cleanup_free_ char *before = export_text(store);
    _cleanup_free_ char *after = NULL;
    struct vgpu_err err = {.code = 0};
    struct store *other;

    assert_int_equal(store_open_memory(&other, NULL), 0);
    test_ok(other, "{'command': 'create-pool', 'args': {'pool': 'gone'}}");
    test_ok(other, "{'command': 'register-vm', 'args': {'vm_id': 2, 'pool': 'gone'}}");
    test_ok(other, "{'command': 'register-vm', 'args': {'vm_id': 3, 'pool': 'gone'}}");
    test_ok(other, "{'command': 'record-gpus', 'args': {'gpus': [%s, %s, %s]}}", GPU("0", "GPU-a"),
            GPU("1", "GPU-z"), GPU("2", "GPU-b"));
    test_ok(other, "{'command': 'assign-gpu', 'args': {'gpu_id': 1, 'pool': 'gone'}}");
    if (import(other, config, true, NULL, &err) < 0)
        fail_msg("%s", err.text);
    after = export_text(other);
    assert_string_equal(before, after);
    store_close(other);
}

/* what is taken */

static void test_import_changes_what_is_named(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *result =
        take(store, false,
             "'vms': [{'vm_id': 7, 'priority': 'low', 'depth': 9, 'name': null}, {'vm_id': 2}]");
    _cleanup_json_ json_t *expected =
        json_pack("[{s:s, s:s, s:{s:s, s:s, s:i, s:i}, s:{s:n, s:s, s:i, s:i}}]", "object", "vm",
                  "key", "7", "from", "name", "web", "priority", "high", "depth", 0, "revision", 2,
                  "to", "name", "priority", "low", "depth", 9, "revision", 3);

    assert_true(json_equal(json_object_get(result, "changes"), expected));
    assert_int_equal(test_count(store, "SELECT count(*) FROM vms WHERE vm_id = 7 AND depth = 9 AND"
                                       " memory_bytes = 1048576 AND weight_hundredths = 3333 AND"
                                       " uuid = '" UUID_1 "'"),
                     1);
    assert_int_equal(test_count(store, "SELECT count(*) FROM audit_log WHERE who = 'importer' OR"
                                       " command = 'import'"),
                     1);
}

static void test_import_makes_new_objects_with_defaults(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *result =
        take(store, false, "'pools': [{'pool': 'C'}], 'vms': [{'vm_id': 9, 'pool': 'C'}]");
    _cleanup_json_ json_t *expected = NULL;
    _cleanup_json_ json_t *shown = NULL;

    assert_int_equal(count_changes(result), 2);
    shown = test_do(store, "{'command': 'show-vm', 'args': {'vm': 9}}");
    test_ok(store, "{'command': 'remove-vm', 'args': {'vm': 9}}");
    test_ok(store, "{'command': 'register-vm', 'args': {'vm_id': 9, 'pool': 'C'}}");
    expected = test_do(store, "{'command': 'show-vm', 'args': {'vm': 9}}");
    assert_true(json_equal(shown, expected));
}

static void test_import_normalises(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *result = NULL;

    json_decref(take(store, false,
                     "'vms': [{'vm_id': 9, 'pool': 'A', 'weight': 20, 'uuid': "
                     "'AAAAAAAA-2222-3333-4444-555555555555', 'rate_per_s': 5}]"));
    result = take(store, false,
                  "'vms': [{'vm_id': 9, 'weight': 20.001, 'burst': 5, 'uuid': "
                  "'aaaaaaaa-2222-3333-4444-555555555555'}], 'gpus': [{'uuid': 'GPU-b', 'pools': "
                  "['B', 'A']}]");
    assert_int_equal(count_changes(result), 0);
}

static void test_import_exchanges_uuids(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *result =
        take(store, false,
             "'vms': [{'vm_id': 2, 'uuid': '" UUID_1 "'}, {'vm_id': 7, 'uuid': '" UUID_2 "'}]");
    const json_t *change = json_array_get(json_object_get(result, "changes"), 0);

    assert_int_equal(count_changes(result), 2);
    assert_string_equal(json_string_value(json_object_get(json_object_get(change, "from"), "uuid")),
                        UUID_2);
    assert_int_equal(test_count(store, "SELECT vm_id FROM vms WHERE uuid = '" UUID_1 "'"), 2);
}

static void test_import_quarantines_and_releases(void **state)
{
    struct store *store = store_of(state);

    test_ok(store, "{'command': 'record-fault', 'args': {'vm_id': 2, 'kind': 'k', 'text': 't'}}");
    json_decref(take(store, false,
                     "'vms': [{'vm_id': 2, 'quarantine_reason': null},"
                     " {'vm_id': 7, 'quarantine_reason': 'why'}]"));
    assert_int_equal(test_count(store, "SELECT count(*) FROM vms WHERE vm_id = 2 AND"
                                       " quarantine_reason IS NULL AND quarantine_time IS NULL AND"
                                       " faults_from = 1"),
                     1);
    assert_int_equal(test_count(store, "SELECT count(*) FROM vms WHERE vm_id = 7 AND"
                                       " quarantine_reason = 'why' AND quarantined_by = 'tester'"
                                       " AND quarantine_time = 1700000000 AND revision = 3"),
                     1);
}

static void test_import_of_gpus(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *result =
        take(store, false,
             "'gpus': [{'uuid': 'GPU-b', 'pools': ['B']}, {'uuid': 'GPU-a', 'drained': false},"
             " {'uuid': 'GPU-c', 'pools': ['A'], 'drained': true}]");
    _cleanup_json_ json_t *config = export(store);
    _cleanup_json_ json_t *expected = json_pack(
        "[{s:s, s:[s], s:b, s:n}, {s:s, s:[s], s:b, s:n}, {s:s, s:[s], s:b, s:n}]", "uuid", "GPU-a",
        "pools", "A", "drained", 0, "drain_reason", "uuid", "GPU-b", "pools", "B", "drained", 0,
        "drain_reason", "uuid", "GPU-c", "pools", "A", "drained", 1, "drain_reason");

    assert_int_equal(count_changes(result), 4);
    assert_true(json_equal(json_object_get(config, "gpus"), expected));
    assert_int_equal(test_count(store, "SELECT revision FROM gpus WHERE uuid = 'GPU-c'"), 3);
}

static void test_import_of_thresholds(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *result = take(store, false,
                                         "'thresholds': [{'name': 'temperature-hot', 'value': 95},"
                                         " {'name': 'ecc-corrected', 'action': 'ignore'}]");

    assert_int_equal(count_changes(result), 2);
    assert_int_equal(test_count(store, "SELECT count(*) FROM thresholds WHERE value = 95.0 AND"
                                       " action = 'drain'"),
                     1);
    assert_int_equal(test_count(store, "SELECT count(*) FROM audit_log WHERE object = 'threshold'"),
                     2);
}

/* pruning */

static void test_import_prunes_what_is_not_named(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *config = NULL;
    _cleanup_json_ json_t *expected = json_pack("{s:i, s:[], s:[], s:[], s:[]}", "format", 1,
                                                "pools", "vms", "gpus", "thresholds");

    json_decref(take(store, true, "'pools': [], 'vms': [], 'gpus': [], 'thresholds': []"));
    config = export(store);
    assert_true(json_equal(config, expected));
    assert_int_equal(test_count(store, "SELECT count(*) FROM gpus"), 3);
    assert_int_equal(test_count(store, "SELECT count(*) FROM vm_faults"), 0);
}

static void test_import_prunes_no_list_that_is_left_out(void **state)
{
    struct store *store = store_of(state);
    _cleanup_free_ char *before = export_text(store);
    _cleanup_free_ char *after = NULL;
    _cleanup_json_ json_t *result = take(store, true, "'vms': [{'vm_id': 7}, {'vm_id': 2}]");

    assert_int_equal(count_changes(result), 0);
    after = export_text(store);
    assert_string_equal(before, after);
}

static void test_import_moves_vms_before_it_prunes_their_pool(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *result =
        take(store, true,
             "'pools': [{'pool': 'A'}, {'pool': 'C'}], 'vms': [{'vm_id': 7}, {'vm_id': 2, 'pool': "
             "'C'}]");

    assert_int_equal(test_count(store, "SELECT count(*) FROM pools WHERE pool = 'B'"), 0);
    /* Pool C, VM 2, GPU-b from pool B, pool B. */
    assert_int_equal(count_changes(result), 4);
}

/* what is refused */

static void refuse(struct store *store, int code, const char *text, const char *config)
{
    test_refuse(store, code, text, "{'command': 'import', 'args': {'config': %s}}", config);
}

static void refuse_part(struct store *store, int code, const char *text, const char *part)
{
    test_refuse(store, code, text, "{'command': 'import', 'args': {'config': {'format': 1, %s}}}",
                part);
}

static void test_import_refuses_what_is_no_configuration(void **state)
{
    struct store *store = store_of(state);

    test_refuse(store, EINVAL, "'config' is not an object", "{'command': 'import'}");
    refuse(store, EINVAL, "'config' is not an object", "[]");
    refuse(store, EINVAL, "it does not say its format", "{}");
    refuse(store, EINVAL, "it does not say its format", "{'format': '1'}");
    refuse(store, EINVAL, "it has format 2, this program knows 1 only", "{'format': 2}");
    refuse(store, EINVAL, "it has format 0, this program knows 1 only", "{'format': 0}");
    refuse_part(store, EINVAL, "there is no argument 'hosts' here", "'hosts': []");
    refuse_part(store, EINVAL, "vms is not an array", "'vms': {}");
    refuse_part(store, EINVAL, "vms is not an array", "'vms': null");
    refuse_part(store, EINVAL, "gpus[1] is not an object", "'gpus': [{'uuid': 'GPU-a'}, 7]");
    test_refuse(store, EINVAL, "'prune' is neither true nor false",
                "{'command': 'import', 'args': {'config': {'format': 1}, 'prune': 1}}");
}

static void test_import_says_which_object_is_wrong(void **state)
{
    static const struct {
        int code;
        const char *text, *part;
    } bad[] = {
        {EINVAL, "pools[0] has no pool", "'pools': [{}]"},
        {EINVAL, "pools[0] has no pool", "'pools': [{'pool': null}]"},
        {EINVAL, "pools[0]: the argument 'pool' is not a text", "'pools': [{'pool': 7}]"},
        {EINVAL, "pools[0] and pools[1] have the same pool",
         "'pools': [{'pool': 'C'}, {'pool': 'C'}]"},
        {EINVAL, "pools[1]: there is no member 'color' here",
         "'pools': [{'pool': 'C'}, {'pool': 'D', 'color': 1}]"},
        {EINVAL, "pools[0]: policy 'fair' is not one of: wfq, strict",
         "'pools': [{'pool': 'A', 'policy': 'fair'}]"},
        {EINVAL, "pools[0]: policy cannot be null", "'pools': [{'pool': 'A', 'policy': null}]"},
        {EINVAL, "pools[0]: slice_us 99 is out of range: 100 to 10000000, or 0 for the default",
         "'pools': [{'pool': 'A', 'slice_us': 99}]"},
        {EINVAL, "pools[0]: the argument 'slice_us' is not an integer",
         "'pools': [{'pool': 'A', 'slice_us': 1.5}]"},
        {EINVAL, "pools[0]: the argument 'slice_us' is missing",
         "'pools': [{'pool': 'A', 'slice_us': null}]"},
        {EINVAL, "pools[0]: pool contains a control character", "'pools': [{'pool': 'A\\n'}]"},
        {EINVAL, "vms[0] has no vm_id", "'vms': [{'pool': 'A'}]"},
        {EINVAL, "vms[0] and vms[1] have the same vm_id", "'vms': [{'vm_id': 7}, {'vm_id': 7}]"},
        {EINVAL, "vms[0]: vm_id 0 is out of range", "'vms': [{'vm_id': 0}]"},
        {EINVAL, "vms[0]: it is new, and has no pool", "'vms': [{'vm_id': 9}]"},
        {ENOENT, "vms[1]: pool 'C' does not exist (have: A, B)",
         "'vms': [{'vm_id': 7}, {'vm_id': 2, 'pool': 'C'}]"},
        {EINVAL, "vms[0]: 'x' is not a UUID", "'vms': [{'vm_id': 7, 'uuid': 'x'}]"},
        {EEXIST, "vms[0]: the UUID " UUID_2 " belongs to VM 2",
         "'vms': [{'vm_id': 7, 'uuid': '" UUID_2 "'}]"},
        {EEXIST, "vms[1]: the UUID aaaaaaaa-2222-3333-4444-555555555555 belongs to VM 8",
         "'vms': [{'vm_id': 8, 'pool': 'A', 'uuid': 'aaaaaaaa-2222-3333-4444-555555555555'}, "
         "{'vm_id': 9, 'pool': 'A', 'uuid': 'aaaaaaaa-2222-3333-4444-555555555555'}]"},
        {EINVAL, "vms[0]: weight 0.5 is out of range: 1.0 to 100.0",
         "'vms': [{'vm_id': 7, 'weight': 0.5}]"},
        {EINVAL, "vms[0]: rate_per_s is 0 and burst 5; both are 0 or none",
         "'vms': [{'vm_id': 7, 'burst': 5}]"},
        {EINVAL, "vms[0]: depth 65537 is out of range", "'vms': [{'vm_id': 7, 'depth': 65537}]"},
        {EINVAL, "vms[0]: there is no member 'revision' here",
         "'vms': [{'vm_id': 7, 'revision': 1}]"},
        {EINVAL, "vms[0]: quarantine_reason is empty",
         "'vms': [{'vm_id': 7, 'quarantine_reason': ''}]"},
        {ENOENT, "gpus[0]: there is no GPU 'GPU-x' here", "'gpus': [{'uuid': 'GPU-x'}]"},
        {ENOENT, "gpus[0]: pool 'C' does not exist",
         "'gpus': [{'uuid': 'GPU-a', 'pools': ['A', 'C']}]"},
        {EINVAL, "gpus[0]: pools is not an array", "'gpus': [{'uuid': 'GPU-a', 'pools': 'A'}]"},
        {EINVAL, "gpus[0]: pools[1] is not the name of a pool",
         "'gpus': [{'uuid': 'GPU-a', 'pools': ['A', 7]}]"},
        {EINVAL, "gpus[0]: pools has 'A' twice",
         "'gpus': [{'uuid': 'GPU-a', 'pools': ['A', 'A']}]"},
        {EINVAL, "gpus[0]: the argument 'drained' is neither",
         "'gpus': [{'uuid': 'GPU-a', 'drained': 1}]"},
        {EINVAL, "gpus[0]: it has a drain_reason, but is not drained",
         "'gpus': [{'uuid': 'GPU-b', 'drain_reason': 'x'}]"},
        {ENOENT, "thresholds[0]: there is no threshold 'luck' (have: temperature-warm,",
         "'thresholds': [{'name': 'luck', 'value': 7}]"},
        {EINVAL, "thresholds[0]: value 201 is out of range",
         "'thresholds': [{'name': 'temperature-hot', 'value': 201}]"},
        {EINVAL, "thresholds[0]: ecc-corrected is a count: 'value' must be whole",
         "'thresholds': [{'name': 'ecc-corrected', 'value': 1.5}]"},
        {EINVAL, "thresholds[0]: action 'explode' is not one of",
         "'thresholds': [{'name': 'temperature-hot', 'action': 'explode'}]"},
        {EINVAL, "thresholds[0]: the argument 'value' is not a number",
         "'thresholds': [{'name': 'temperature-hot', 'value': 'hot'}]"},
    };

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(bad); i++)
        refuse_part(store_of(state), bad[i].code, bad[i].text, bad[i].part);
}

static void test_import_is_all_or_nothing(void **state)
{
    refuse_part(store_of(state), ENOENT, "gpus[0]: there is no GPU",
                "'pools': [{'pool': 'C'}], 'vms': [{'vm_id': 7, 'pool': 'C', 'uuid': null}],"
                " 'gpus': [{'uuid': 'GPU-x'}]");
}

static void test_import_refuses_a_pool_that_it_would_prune(void **state)
{
    static const char prune[] =
        "{'command': 'import', 'args': {'prune': true, 'config': {'format': 1, %s}}}";
    struct store *store = store_of(state);

    test_refuse(store, ENOENT, "vms[0]: pool 'B' is not in 'pools', and is removed then", prune,
                "'pools': [{'pool': 'A'}], 'vms': [{'vm_id': 2, 'pool': 'B'}]");
    test_refuse(store, ENOENT, "gpus[0]: pool 'B' is not in 'pools', and is removed then", prune,
                "'pools': [{'pool': 'A'}], 'vms': [], 'gpus': [{'uuid': 'GPU-b', 'pools': ['B']}]");
    test_refuse(store, EBUSY, "pool 'B' still has 1 VM", prune, "'pools': [{'pool': 'A'}]");
}

/* limits */

static json_t *many_pools(const char *prefix, int count)
{
    json_t *config = json_pack("{s:i, s:[], s:[], s:[]}", "format", 1, "pools", "vms", "gpus");
    char name[16];

    for (int i = 0; i < count; i++) {
        snprintf(name, sizeof(name), "%s%d", prefix, i);
        json_array_append_new(json_object_get(config, "pools"), json_pack("{s:s}", "pool", name));
    }
    return config;
}

static void test_import_pool_limit(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *most = many_pools("x", STORE_POOLS_MAX);
    _cleanup_json_ json_t *others = many_pools("y", STORE_POOLS_MAX);
    _cleanup_json_ json_t *over = many_pools("z", STORE_POOLS_MAX + 1);
    struct vgpu_err err;

    assert_int_equal(import(store, over, true, NULL, &err), -ENOSPC);
    assert_string_equal(err.text, "pools has 65 objects; at most 64 are allowed");
    assert_int_equal(import(store, most, false, NULL, &err), -ENOSPC);
    assert_string_equal(err.text, "there would be 66 pools, and 64 are allowed");
    assert_int_equal(import(store, most, true, NULL, &err), 0);
    assert_int_equal(import(store, others, true, NULL, &err), 0);
    assert_int_equal(test_count(store, "SELECT count(*) FROM pools"), STORE_POOLS_MAX);
}

static json_t *many_vms(int first, int count)
{
    json_t *config = json_pack("{s:i, s:[]}", "format", 1, "vms");

    for (int i = first; i < first + count; i++)
        json_array_append_new(json_object_get(config, "vms"),
                              json_pack("{s:i, s:s}", "vm_id", i, "pool", "A"));
    return config;
}

static void test_import_vm_limit(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *most = many_vms(10, STORE_VMS_MAX);
    _cleanup_json_ json_t *others = many_vms(10000, STORE_VMS_MAX);
    _cleanup_json_ json_t *over = many_vms(10, STORE_VMS_MAX + 1);
    _cleanup_json_ json_t *result = NULL;
    struct vgpu_err err;

    assert_int_equal(import(store, over, true, NULL, &err), -ENOSPC);
    assert_string_equal(err.text, "vms has 1025 objects; at most 1024 are allowed");
    assert_int_equal(import(store, most, false, NULL, &err), -ENOSPC);
    assert_string_equal(err.text, "there are 1026 VMs already, and 1024 are allowed");
    assert_int_equal(import(store, most, true, NULL, &err), 0);
    assert_int_equal(import(store, others, true, &result, &err), 0);
    assert_int_equal(count_changes(result), 2 * STORE_VMS_MAX);
}

static void test_import_keeps_to_a_pools_most(void **state)
{
    struct store *store = store_of(state);

    refuse_part(store, ENOSPC, "pool 'B' would have 4 VMs, and takes 3 at most",
                "'vms': [{'vm_id': 7, 'pool': 'B'}, {'vm_id': 8, 'pool': 'B'},"
                " {'vm_id': 9, 'pool': 'B'}]");
    /* In between there are more than three, in the end not. */
    json_decref(take(store, false,
                     "'vms': [{'vm_id': 7, 'pool': 'B'}, {'vm_id': 8, 'pool': 'B'},"
                     " {'vm_id': 9, 'pool': 'B'}, {'vm_id': 2, 'pool': 'A'}]"));
    json_decref(take(store, false,
                     "'pools': [{'pool': 'B', 'max_vms': 1}], 'vms': [{'vm_id': 7, 'pool': 'A'},"
                     " {'vm_id': 8, 'pool': 'A'}]"));
}

/* terms */

static void test_import_runs_dry(void **state)
{
    struct store *store = store_of(state);
    _cleanup_free_ char *before = export_text(store);
    _cleanup_free_ char *after = NULL;
    _cleanup_json_ json_t *dry =
        test_do(store, "{'command': 'import', 'dry_run': true, 'args': {'prune': true, 'config':"
                       " {'format': 1, 'pools': [], 'vms': [], 'gpus': []}}}");

    assert_true(json_is_true(json_object_get(dry, "dry_run")));
    /* Two VMs, three pairs, draining, two pools. */
    assert_int_equal(count_changes(dry), 8);
    after = export_text(store);
    assert_string_equal(before, after);
}

static void test_import_of_one_object_knows_its_revision(void **state)
{
    static const char *const parts[] = {"'vms': [{'vm_id': 7, 'depth': 5}]",
                                        "'pools': [{'pool': 'A', 'slice_us': 200}]",
                                        "'gpus': [{'uuid': 'GPU-a', 'pools': []}]",
                                        "'thresholds': [{'name': 'temperature-hot', 'value': 80}]"};
    static const int revisions[] = {2, 3, 2, 4};
    struct store *store = store_of(state);

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(parts); i++) {
        test_refuse(store, ESTALE, "not 1; changed by: ",
                    "{'command': 'import', 'if_revision': 1, 'args': {'config': {'format': 1, "
                    "%s}}}",
                    parts[i]);
        test_ok(store,
                "{'command': 'import', 'if_revision': %d, 'args': {'config': {'format': 1, "
                "%s}}}",
                revisions[i], parts[i]);
    }
    test_refuse(store, ENOENT, "VM '9' does not exist",
                "{'command': 'import', 'if_revision': 1, 'args': {'config': {'format': 1, "
                "'vms': [{'vm_id': 9}]}}}");
    test_refuse(store, EINVAL, "if_revision needs a configuration of exactly one",
                "{'command': 'import', 'if_revision': 1, 'args': {'config': {'format': 1, "
                "'vms': [{'vm_id': 7}, {'vm_id': 2}]}}}");
    test_refuse(store, EINVAL, "if_revision needs a configuration of exactly one",
                "{'command': 'import', 'if_revision': 1}");
}

static json_t *import_one(struct store *store, const char *existing, const char *part)
{
    return test_do(store,
                   "{'command': 'import', 'args': {'existing': %s, 'config': {'format': 1, %s}}}",
                   existing, part);
}

/* As other commands about one object show it; with whole changes. */
static void test_import_of_one_object_shows_it(void **state)
{
    static const char *const parts[][3] = {
        {"'vms': [{'vm_id': 7, 'depth': 5, 'weight': 2}]", "vm", "weight"},
        {"'pools': [{'pool': 'A', 'slice_us': 200}]", "pool", "policy"},
        {"'gpus': [{'uuid': 'GPU-c', 'drained': true}]", "gpu", "pools"},
        {"'thresholds': [{'name': 'slowdown', 'action': 'drain'}]", "threshold", "unit"}};

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(parts); i++) {
        json_t *result = import_one(store_of(state), "true", parts[i][0]);
        const json_t *changes = json_object_get(result, "changes");

        assert_non_null(json_object_get(json_object_get(result, parts[i][1]), parts[i][2]));
        assert_int_equal(json_array_size(changes), 1);
        assert_non_null(
            json_object_get(json_object_get(json_array_get(changes, 0), "from"), "revision"));
        json_decref(result);
    }
    assert_int_equal(test_count(store_of(state), "SELECT count(*) FROM audit_log WHERE command ="
                                                 " 'import' AND object = 'vm'"),
                     1);
}

static void test_import_of_several_objects_shows_none(void **state)
{
    json_t *result = import_one(store_of(state), "null", "'vms': [{'vm_id': 7}, {'vm_id': 2}]");

    assert_null(json_object_get(result, "vm"));
    json_decref(result);
}

static void test_import_wants_what_exists_or_what_is_new(void **state)
{
#define EXISTING(existing, part)                                                                   \
    "{'command': 'import', 'args': {'existing': " existing ", 'config': {'format': 1, " part "}}}"
    struct store *store = store_of(state);

    test_refuse(store, EEXIST, "exists already", EXISTING("false", "'vms': [{'vm_id': 7}]"));
    test_refuse(store, EEXIST, "exists already", EXISTING("false", "'pools': [{'pool': 'A'}]"));
    test_refuse(store, ENOENT, "does not exist",
                EXISTING("true", "'vms': [{'vm_id': 70, 'pool': 'A'}]"));
    test_refuse(store, ENOENT, "does not exist", EXISTING("true", "'pools': [{'pool': 'new'}]"));
    test_refuse(store, EINVAL, "existing", EXISTING("7", "'pools': [{'pool': 'new'}]"));
    test_ok(store, EXISTING("false", "'pools': [{'pool': 'new'}]"));
    test_ok(store, EXISTING("true", "'pools': [{'pool': 'new', 'slice_us': 200}]"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_export_has_what_is_wanted_and_nothing_else),
        TEST(test_import_of_what_is_changes_nothing),
        TEST(test_import_elsewhere_exports_the_same),
        TEST(test_import_changes_what_is_named),
        TEST(test_import_makes_new_objects_with_defaults),
        TEST(test_import_normalises),
        TEST(test_import_exchanges_uuids),
        TEST(test_import_quarantines_and_releases),
        TEST(test_import_of_gpus),
        TEST(test_import_of_thresholds),
        TEST(test_import_prunes_what_is_not_named),
        TEST(test_import_prunes_no_list_that_is_left_out),
        TEST(test_import_moves_vms_before_it_prunes_their_pool),
        TEST(test_import_refuses_what_is_no_configuration),
        TEST(test_import_says_which_object_is_wrong),
        TEST(test_import_is_all_or_nothing),
        TEST(test_import_refuses_a_pool_that_it_would_prune),
        TEST(test_import_pool_limit),
        TEST(test_import_vm_limit),
        TEST(test_import_keeps_to_a_pools_most),
        TEST(test_import_runs_dry),
        TEST(test_import_of_one_object_knows_its_revision),
        TEST(test_import_of_one_object_shows_it),
        TEST(test_import_of_several_objects_shows_none),
        TEST(test_import_wants_what_exists_or_what_is_new),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
