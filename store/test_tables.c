/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the store's commands, table by table: results, refusals, limits, audit rows. */
#include "store/test_support.h"

#include <stdio.h>
#include <string.h>

#define UUID_1 "11111111-2222-3333-4444-555555555555"
#define UUID_2 "AAAAAAAA-bbbb-CCCC-dddd-eeeeeeeeeeee"

static struct store *store_of(void **state)
{
    return ((struct fixture *)*state)->store;
}

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static json_int_t integer_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static bool changed(const json_t *result)
{
    return json_is_true(json_object_get(result, "changed"));
}

static void create_pool(struct store *store, const char *pool)
{
    test_ok(store, "{'command': 'create-pool', 'args': {'pool': '%s'}}", pool);
}

static void register_vm(struct store *store, int vm_id, const char *pool, const char *name)
{
    test_ok(store, "{'command': 'register-vm', 'args': {'vm_id': %d, 'pool': '%s', 'name': '%s'}}",
            vm_id, pool, name);
}

#define GPU(index, uuid, pci)                                                                      \
    "{'index': " #index ", 'uuid': '" uuid "', 'pci': '" pci "', 'model': 'M', 'memory_bytes': "   \
    "42}"

static json_t *scan(struct store *store, const char *gpus)
{
    return test_do(store, "{'command': 'record-gpus', 'args': {'gpus': [%s]}}", gpus);
}

/* pools */

static void test_pool_create_reports_the_pool(void **state)
{
    _cleanup_json_ json_t *result = test_do(
        store_of(state), "{'command': 'create-pool', 'args': {'pool': 'A', 'policy': 'strict', "
                         "'description': 'for tests'}}");
    const json_t *pool = json_object_get(result, "pool");

    assert_true(changed(result));
    assert_string_equal(text_of(pool, "pool"), "A");
    assert_string_equal(text_of(pool, "policy"), "strict");
    assert_string_equal(text_of(pool, "description"), "for tests");
    assert_int_equal(integer_of(pool, "created"), TEST_NOW);
}

static void test_pool_create_defaults_to_wfq(void **state)
{
    _cleanup_json_ json_t *result =
        test_do(store_of(state), "{'command': 'create-pool', 'args': {'pool': 'A'}}");

    assert_string_equal(text_of(json_object_get(result, "pool"), "policy"), "wfq");
}

static void test_pool_create_refuses_a_second(void **state)
{
    create_pool(store_of(state), "A");
    test_refuse(store_of(state), EEXIST, "pool 'A' exists already",
                "{'command': 'create-pool', 'args': {'pool': 'A', 'policy': 'strict'}}");
}

static void test_pool_create_refuses_an_unknown_policy(void **state)
{
    test_refuse(store_of(state), EINVAL, "policy 'fair' is not one of: wfq, strict",
                "{'command': 'create-pool', 'args': {'pool': 'A', 'policy': 'fair'}}");
}

static void test_pool_name_limit(void **state)
{
    _cleanup_free_ char *most = test_repeat('x', STORE_NAME_BYTES);
    _cleanup_free_ char *over = test_repeat('x', STORE_NAME_BYTES + 1);

    create_pool(store_of(state), most);
    test_refuse(store_of(state), EINVAL, "has 65 bytes; at most 64",
                "{'command': 'create-pool', 'args': {'pool': '%s'}}", over);
}

static void test_pool_description_limit(void **state)
{
    _cleanup_free_ char *most = test_repeat('x', STORE_DESCRIPTION_BYTES);
    _cleanup_free_ char *over = test_repeat('x', STORE_DESCRIPTION_BYTES + 1);

    test_ok(store_of(state),
            "{'command': 'create-pool', 'args': {'pool': 'A', 'description': '%s'}}", most);
    test_refuse(store_of(state), EINVAL, "has 257 bytes; at most 256",
                "{'command': 'create-pool', 'args': {'pool': 'B', 'description': '%s'}}", over);
}

static void test_pool_name_refuses_control_characters(void **state)
{
    static const char *const names[] = {"a\\u001bb", "a\\nb",   "\\u009b",
                                        "\\u202e",   "\\u007f", "\\u2028"};

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(names); i++)
        test_refuse(store_of(state), EINVAL, "control character",
                    "{'command': 'create-pool', 'args': {'pool': '%s'}}", names[i]);
}

static void test_pool_name_refuses_empty(void **state)
{
    test_refuse(store_of(state), EINVAL, "is empty",
                "{'command': 'create-pool', 'args': {'pool': ''}}");
}

static void test_pool_name_may_be_any_script(void **state)
{
    create_pool(store_of(state), "βήτα 日本 \\u00e9");
}

static void test_pool_count_limit(void **state)
{
    char name[16];

    for (int i = 0; i < STORE_POOLS_MAX; i++) {
        snprintf(name, sizeof(name), "pool%d", i);
        create_pool(store_of(state), name);
    }
    test_refuse(store_of(state), ENOSPC, "there are 64 pools already",
                "{'command': 'create-pool', 'args': {'pool': 'one more'}}");
}

static void test_pool_remove_takes_its_gpus_off(void **state)
{
    struct store *store = store_of(state);

    create_pool(store, "A");
    json_decref(scan(store, GPU(0, "g0", "p0")));
    test_ok(store, "{'command': 'assign-gpu', 'args': {'gpu_id': 0, 'pool': 'A'}}");
    test_ok(store, "{'command': 'remove-pool', 'args': {'pool': 'A'}}");
    assert_int_equal(test_count(store, "SELECT count(*) FROM pool_gpus"), 0);
    assert_int_equal(test_count(store, "SELECT count(*) FROM pools"), 0);
}

static void test_pool_remove_refuses_one_with_vms(void **state)
{
    create_pool(store_of(state), "A");
    register_vm(store_of(state), 1, "A", "web");
    test_refuse(store_of(state), EBUSY, "pool 'A' still has 1 VM;",
                "{'command': 'remove-pool', 'args': {'pool': 'A'}}");
}

static void test_pool_unknown_lists_those_there_are(void **state)
{
    create_pool(store_of(state), "A");
    create_pool(store_of(state), "B");
    test_refuse(store_of(state), ENOENT,
                "pool 'C' does not exist (have: A, B); create it with: "
                "vgpu-admin create-pool --pool=C",
                "{'command': 'remove-pool', 'args': {'pool': 'C'}}");
}

static void test_pool_list_has_members(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *result = NULL;
    _cleanup_json_ json_t *gpus = json_pack("[i]", 0);
    _cleanup_json_ json_t *vms = json_pack("[i,i]", 3, 7);
    const json_t *pool;

    create_pool(store, "A");
    register_vm(store, 7, "A", "a");
    register_vm(store, 3, "A", "b");
    json_decref(scan(store, GPU(0, "g0", "p0")));
    test_ok(store, "{'command': 'assign-gpu', 'args': {'gpu_id': 0, 'pool': 'A'}}");
    result = test_do(store, "{'command': 'list-pools'}");
    pool = json_array_get(json_object_get(result, "pools"), 0);
    assert_true(json_equal(json_object_get(pool, "gpus"), gpus));
    assert_true(json_equal(json_object_get(pool, "vms"), vms));
}

/* gpus */

static void test_gpu_scan_numbers_by_index(void **state)
{
    _cleanup_json_ json_t *result =
        scan(store_of(state), GPU(1, "g1", "p1") "," GPU(0, "g0", "p0"));
    const json_t *gpus = json_object_get(result, "gpus");

    assert_true(changed(result));
    assert_int_equal(json_array_size(json_object_get(result, "added")), 2);
    assert_string_equal(text_of(json_array_get(gpus, 0), "uuid"), "g0");
    assert_int_equal(integer_of(json_array_get(gpus, 0), "gpu_id"), 0);
    assert_string_equal(text_of(json_array_get(gpus, 1), "uuid"), "g1");
    assert_int_equal(integer_of(json_array_get(gpus, 1), "gpu_id"), 1);
}

static void test_gpu_scan_again_changes_nothing(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *result = NULL;

    json_decref(scan(store, GPU(0, "g0", "p0")));
    result = scan(store, GPU(0, "g0", "p0"));
    assert_false(changed(result));
    assert_int_equal(test_count(store, "SELECT count(*) FROM audit_log"), 1);
}

static void test_gpu_other_card_in_the_slot_gets_its_own_id(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *result = NULL;
    const json_t *gpus;

    json_decref(scan(store, GPU(0, "old", "p0")));
    result = scan(store, GPU(0, "new", "p0"));
    gpus = json_object_get(result, "gpus");
    assert_string_equal(text_of(json_array_get(gpus, 0), "state"), "missing");
    assert_true(json_is_null(json_object_get(json_array_get(gpus, 0), "index")));
    assert_string_equal(text_of(json_array_get(gpus, 1), "uuid"), "new");
    assert_int_equal(integer_of(json_array_get(gpus, 1), "gpu_id"), 1);
    assert_int_equal(json_array_size(json_object_get(result, "missing")), 1);
}

static void test_gpu_missing_one_returns_with_its_id_and_pools(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *result = NULL;
    const json_t *gpu;

    create_pool(store, "A");
    json_decref(scan(store, GPU(0, "g0", "p0")));
    test_ok(store, "{'command': 'assign-gpu', 'args': {'gpu_id': 0, 'pool': 'A'}}");
    json_decref(scan(store, ""));
    result = scan(store, GPU(0, "g0", "p9"));
    gpu = json_array_get(json_object_get(result, "gpus"), 0);
    assert_int_equal(json_array_size(json_object_get(result, "returned")), 1);
    assert_int_equal(json_array_size(json_object_get(result, "moved")), 1);
    assert_int_equal(json_array_size(json_object_get(result, "added")), 0);
    assert_int_equal(integer_of(gpu, "gpu_id"), 0);
    assert_string_equal(text_of(gpu, "state"), "present");
    assert_int_equal(json_array_size(json_object_get(gpu, "pools")), 1);
}

static void test_gpu_scan_refuses_a_uuid_twice(void **state)
{
    test_refuse(store_of(state), EINVAL, "the scan has the UUID 'g0' twice",
                "{'command': 'record-gpus', 'args': {'gpus': [%s]}}",
                GPU(0, "g0", "p0") "," GPU(1, "g0", "p1"));
}

static void test_gpu_scan_refuses_whole_on_one_bad(void **state)
{
    test_refuse(store_of(state), EINVAL, "memory_bytes -1 is out of range",
                "{'command': 'record-gpus', 'args': {'gpus': [%s, {'index': 1, 'uuid': 'g1', "
                "'pci': 'p', 'model': 'M', 'memory_bytes': -1}]}}",
                GPU(0, "g0", "p0"));
}

static void test_gpu_scan_refuses_what_is_no_array(void **state)
{
    test_refuse(store_of(state), EINVAL, "'gpus' is not an array",
                "{'command': 'record-gpus', 'args': {'gpus': {}}}");
    test_refuse(store_of(state), EINVAL, "is not an object",
                "{'command': 'record-gpus', 'args': {'gpus': [7]}}");
}

/* Scans of count GPUs whose UUIDs start with prefix. */
static json_t *many_gpus(const char *prefix, int count)
{
    json_t *gpus = json_array();
    char uuid[32];

    for (int i = 0; i < count; i++) {
        snprintf(uuid, sizeof(uuid), "%s%d", prefix, i);
        json_array_append_new(gpus, json_pack("{s:i, s:s, s:s, s:s, s:i}", "index", i, "uuid", uuid,
                                              "pci", "p", "model", "M", "memory_bytes", 1));
    }
    return gpus;
}

static int record(struct store *store, json_t *gpus, struct vgpu_err *err)
{
    _cleanup_json_ json_t *request =
        json_pack("{s:s, s:{s:o}}", "command", "record-gpus", "args", "gpus", gpus);
    _cleanup_json_ json_t *reply = NULL;

    return store_execute(store, request, "tester", &reply, err);
}

static void test_gpu_scan_limit(void **state)
{
    struct vgpu_err err;

    assert_int_equal(record(store_of(state), many_gpus("a", STORE_GPUS_MAX + 1), &err), -ENOSPC);
    assert_int_equal(record(store_of(state), many_gpus("a", STORE_GPUS_MAX), &err), 0);
}

static void test_gpu_history_limit(void **state)
{
    struct vgpu_err err;

    assert_int_equal(record(store_of(state), many_gpus("a", STORE_GPUS_MAX), &err), 0);
    assert_int_equal(record(store_of(state), many_gpus("b", 1), &err), -ENOSPC);
    assert_int_equal(test_count(store_of(state), "SELECT count(*) FROM gpus"), STORE_GPUS_MAX);
    assert_int_equal(
        test_count(store_of(state), "SELECT count(*) FROM gpus WHERE state = 'missing'"), 0);
}

static void test_gpu_text_limits(void **state)
{
    static const char form[] = "{'command': 'record-gpus', 'args': {'gpus': [{'index': 0, "
                               "'uuid': '%s', 'pci': '%s', 'model': '%s', 'memory_bytes': 1}]}}";
    _cleanup_free_ char *uuid = test_repeat('u', STORE_GPU_UUID_BYTES + 1);
    _cleanup_free_ char *pci = test_repeat('p', STORE_PCI_BYTES + 1);
    _cleanup_free_ char *model = test_repeat('m', STORE_NAME_BYTES + 1);

    test_refuse(store_of(state), EINVAL, "UUID of the GPU has 65 bytes", form, uuid, "p", "m");
    test_refuse(store_of(state), EINVAL, "PCI address has 33 bytes", form, "u", pci, "m");
    test_refuse(store_of(state), EINVAL, "model has 65 bytes", form, "u", "p", model);
    test_ok(store_of(state), form, uuid + 1, pci + 1, model + 1);
}

/* pool_gpus */

static void test_pool_gpu_assigns_several_to_several(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *result = NULL;

    create_pool(store, "A");
    create_pool(store, "B");
    json_decref(scan(store, GPU(0, "g0", "p0") "," GPU(1, "g1", "p1")));
    test_ok(store, "{'command': 'assign-gpu', 'args': {'gpu_id': 0, 'pool': 'A'}}");
    test_ok(store, "{'command': 'assign-gpu', 'args': {'gpu_id': 0, 'pool': 'B'}}");
    result = test_do(store, "{'command': 'assign-gpu', 'args': {'gpu_id': 1, 'pool': 'B'}}");
    assert_int_equal(test_count(store, "SELECT count(*) FROM pool_gpus"), 3);
    assert_int_equal(integer_of(json_object_get(result, "gpu"), "gpu_id"), 1);
}

static void test_pool_gpu_assign_again_changes_nothing(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *result = NULL;

    create_pool(store, "A");
    json_decref(scan(store, GPU(0, "g0", "p0")));
    test_ok(store, "{'command': 'assign-gpu', 'args': {'gpu_id': 0, 'pool': 'A'}}");
    result = test_do(store, "{'command': 'assign-gpu', 'args': {'gpu_id': 0, 'pool': 'A'}}");
    assert_false(changed(result));
}

static void test_pool_gpu_assign_refuses_an_unknown_gpu(void **state)
{
    create_pool(store_of(state), "A");
    json_decref(scan(store_of(state), GPU(0, "g0", "p0")));
    test_refuse(store_of(state), ENOENT, "GPU 1 does not exist (have: 0)",
                "{'command': 'assign-gpu', 'args': {'gpu_id': 1, 'pool': 'A'}}");
}

static void test_pool_gpu_assign_refuses_an_unknown_pool(void **state)
{
    json_decref(scan(store_of(state), GPU(0, "g0", "p0")));
    test_refuse(store_of(state), ENOENT, "pool 'A' does not exist (have: none)",
                "{'command': 'assign-gpu', 'args': {'gpu_id': 0, 'pool': 'A'}}");
}

static void test_pool_gpu_assign_id_limit(void **state)
{
    test_refuse(store_of(state), EINVAL, "gpu_id 64 is out of range: 0 to 63",
                "{'command': 'assign-gpu', 'args': {'gpu_id': 64, 'pool': 'A'}}");
}

static void test_pool_gpu_unassign_from_one_or_all(void **state)
{
    struct store *store = store_of(state);

    create_pool(store, "A");
    create_pool(store, "B");
    create_pool(store, "C");
    json_decref(scan(store, GPU(0, "g0", "p0")));
    for (const char *pool = "ABC"; *pool; pool++)
        test_ok(store, "{'command': 'assign-gpu', 'args': {'gpu_id': 0, 'pool': '%c'}}", *pool);
    test_ok(store, "{'command': 'unassign-gpu', 'args': {'gpu_id': 0, 'pool': 'B'}}");
    assert_int_equal(test_count(store, "SELECT count(*) FROM pool_gpus"), 2);
    test_ok(store, "{'command': 'unassign-gpu', 'args': {'gpu_id': 0}}");
    assert_int_equal(test_count(store, "SELECT count(*) FROM pool_gpus"), 0);
}

/* vms */

static void test_vm_register_reports_the_vm(void **state)
{
    _cleanup_json_ json_t *result = NULL;
    const json_t *vm;

    create_pool(store_of(state), "A");
    result = test_do(store_of(state),
                     "{'command': 'register-vm', 'args': {'vm_id': 1, 'pool': 'A', 'priority': "
                     "'high', 'uuid': '" UUID_2 "', 'name': 'web', 'weight': 33.333}}");
    vm = json_object_get(result, "vm");
    assert_int_equal(integer_of(vm, "vm_id"), 1);
    assert_string_equal(text_of(vm, "uuid"), "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee");
    assert_string_equal(text_of(vm, "name"), "web");
    assert_string_equal(text_of(vm, "priority"), "high");
    assert_true(json_real_value(json_object_get(vm, "weight")) == 33.33);
}

static void test_vm_register_has_defaults(void **state)
{
    _cleanup_json_ json_t *result = NULL;
    const json_t *vm;

    create_pool(store_of(state), "A");
    result =
        test_do(store_of(state), "{'command': 'register-vm', 'args': {'vm_id': 1, 'pool': 'A'}}");
    vm = json_object_get(result, "vm");
    assert_string_equal(text_of(vm, "priority"), "medium");
    assert_true(json_real_value(json_object_get(vm, "weight")) == 50.0);
    assert_true(json_is_null(json_object_get(vm, "name")));
    assert_true(json_is_null(json_object_get(vm, "uuid")));
}

static void test_vm_register_refuses_a_taken_id(void **state)
{
    create_pool(store_of(state), "A");
    register_vm(store_of(state), 1, "A", "web");
    test_refuse(store_of(state), EEXIST, "VM 1 exists already, in pool 'A'",
                "{'command': 'register-vm', 'args': {'vm_id': 1, 'pool': 'A'}}");
}

static void test_vm_register_refuses_a_taken_uuid(void **state)
{
    create_pool(store_of(state), "A");
    test_ok(store_of(state), "{'command': 'register-vm', 'args': {'vm_id': 1, 'pool': 'A', "
                             "'uuid': 'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee'}}");
    test_refuse(store_of(state), EEXIST, "belongs to VM 1 already",
                "{'command': 'register-vm', 'args': {'vm_id': 2, 'pool': 'A', 'uuid': '" UUID_2
                "'}}");
}

static void test_vm_register_refuses_an_unknown_pool(void **state)
{
    test_refuse(store_of(state), ENOENT, "pool 'B' does not exist",
                "{'command': 'register-vm', 'args': {'vm_id': 1, 'pool': 'B'}}");
}

static void test_vm_id_limits(void **state)
{
    create_pool(store_of(state), "A");
    test_refuse(store_of(state), EINVAL, "vm_id 0 is out of range: 1 to 2147483647",
                "{'command': 'register-vm', 'args': {'vm_id': 0, 'pool': 'A'}}");
    test_refuse(store_of(state), EINVAL, "vm_id 2147483648 is out of range",
                "{'command': 'register-vm', 'args': {'vm_id': 2147483648, 'pool': 'A'}}");
    test_ok(store_of(state),
            "{'command': 'register-vm', 'args': {'vm_id': 2147483647, 'pool': 'A'}}");
}

static void test_vm_uuid_must_be_one(void **state)
{
    static const char *const uuids[] = {"",
                                        "x",
                                        "11111111-2222-3333-4444-55555555555",
                                        "11111111-2222-3333-4444-5555555555555",
                                        "11111111-2222-3333-4444-55555555555g",
                                        "11111111x2222-3333-4444-555555555555"};

    create_pool(store_of(state), "A");
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(uuids); i++)
        test_refuse(store_of(state), EINVAL, "is not a UUID",
                    "{'command': 'register-vm', 'args': {'vm_id': 1, 'pool': 'A', 'uuid': '%s'}}",
                    uuids[i]);
}

static void test_vm_name_limit(void **state)
{
    _cleanup_free_ char *over = test_repeat('n', STORE_NAME_BYTES + 1);

    create_pool(store_of(state), "A");
    test_refuse(store_of(state), EINVAL, "the name has 65 bytes",
                "{'command': 'register-vm', 'args': {'vm_id': 1, 'pool': 'A', 'name': '%s'}}",
                over);
    register_vm(store_of(state), 1, "A", over + 1);
}

static void test_vm_count_limit(void **state)
{
    create_pool(store_of(state), "A");
    for (int i = 1; i <= STORE_VMS_MAX; i++)
        assert_int_equal(database_run(store_of(state)->db, NULL,
                                      "INSERT INTO vms (vm_id, pool, created, updated)"
                                      " VALUES (?1, 'A', 0, 0)",
                                      "i", (int64_t)i + 1),
                         0);
    test_refuse(store_of(state), ENOSPC, "there are 1024 VMs already, and 1024 are allowed",
                "{'command': 'register-vm', 'args': {'vm_id': 1, 'pool': 'A'}}");
    test_ok(store_of(state), "{'command': 'remove-vm', 'args': {'vm_id': 2}}");
    register_vm(store_of(state), 1, "A", "fits");
}

static void test_vm_weight_limits(void **state)
{
    static const char *const bad[] = {"0.999", "100.001", "0", "-50", "1e300"};
    static const char *const good[] = {"1", "1.0", "100", "99.99"};

    create_pool(store_of(state), "A");
    register_vm(store_of(state), 1, "A", "web");
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(bad); i++)
        test_refuse(store_of(state), EINVAL, "is out of range: 1.0 to 100.0",
                    "{'command': 'set-weight', 'args': {'vm_id': 1, 'weight': %s}}", bad[i]);
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(good); i++)
        test_ok(store_of(state), "{'command': 'set-weight', 'args': {'vm_id': 1, 'weight': %s}}",
                good[i]);
    test_refuse(store_of(state), EINVAL, "'weight' is not a number",
                "{'command': 'set-weight', 'args': {'vm_id': 1, 'weight': '50'}}");
}

static void test_vm_priority_must_be_known(void **state)
{
    create_pool(store_of(state), "A");
    register_vm(store_of(state), 1, "A", "web");
    test_refuse(store_of(state), EINVAL, "priority 'urgent' is not one of: low, medium, high",
                "{'command': 'set-priority', 'args': {'vm_id': 1, 'priority': 'urgent'}}");
    test_refuse(store_of(state), EINVAL, "'priority' is not a text",
                "{'command': 'set-priority', 'args': {'vm_id': 1, 'priority': 2}}");
}

static void test_vm_set_reports_and_logs_the_change(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *request = json_pack("{s:s, s:{s:i, s:s}}", "command", "set-priority",
                                               "args", "vm_id", 1, "priority", "high");
    _cleanup_json_ json_t *reply = NULL;
    const json_t *change;

    create_pool(store, "A");
    register_vm(store, 1, "A", "web");
    assert_int_equal(store_execute(store, request, "uid=7", &reply, NULL), 0);
    change = json_array_get(json_object_get(json_object_get(reply, "result"), "changes"), 0);
    assert_string_equal(text_of(change, "object"), "vm");
    assert_string_equal(text_of(change, "key"), "1");
    assert_string_equal(text_of(json_object_get(change, "from"), "priority"), "medium");
    assert_string_equal(text_of(json_object_get(change, "to"), "priority"), "high");
    assert_int_equal(test_count(store, "SELECT count(*) FROM audit_log WHERE who = 'uid=7' AND"
                                       " command = 'set-priority' AND object = 'vm' AND"
                                       " object_key = '1' AND before LIKE '%medium%' AND"
                                       " after LIKE '%high%' AND time = 1700000000"),
                     1);
}

static void test_vm_set_to_the_same_changes_nothing(void **state)
{
    struct store *store = store_of(state);
    static const char *const same[] = {"set-priority', 'args': {'priority': 'medium'",
                                       "set-weight', 'args': {'weight': 50.001",
                                       "set-pool', 'args': {'pool': 'A'"};

    create_pool(store, "A");
    register_vm(store, 1, "A", "web");
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(same); i++) {
        _cleanup_json_ json_t *result = test_do(store, "{'command': '%s, 'vm_id': 1}}", same[i]);

        assert_false(changed(result));
    }
    assert_int_equal(test_count(store, "SELECT count(*) FROM audit_log"), 2);
}

static void test_vm_set_pool_moves(void **state)
{
    _cleanup_json_ json_t *result = NULL;

    create_pool(store_of(state), "A");
    create_pool(store_of(state), "B");
    register_vm(store_of(state), 1, "A", "web");
    test_ok(store_of(state), "{'command': 'set-pool', 'args': {'vm': 'web', 'pool': 'B'}}");
    result = test_do(store_of(state), "{'command': 'list-vms', 'args': {'pool': 'B'}}");
    assert_int_equal(json_array_size(json_object_get(result, "vms")), 1);
}

static void test_vm_is_found_by_id_uuid_and_name(void **state)
{
    static const char *const ways[] = {
        "'vm': 1",    "'vm': '1'",     "'vm': 'web'",         "'vm': '" UUID_1 "'",
        "'vm_id': 1", "'name': 'web'", "'uuid': '" UUID_1 "'"};
    struct store *store = store_of(state);

    create_pool(store, "A");
    test_ok(store, "{'command': 'register-vm', 'args': {'vm_id': 1, 'pool': 'A', 'name': 'web', "
                   "'uuid': '" UUID_1 "'}}");
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(ways); i++)
        test_ok(store, "{'command': 'set-priority', 'args': {%s, 'priority': 'low'}}", ways[i]);
}

static void test_vm_name_of_two_is_ambiguous(void **state)
{
    create_pool(store_of(state), "A");
    register_vm(store_of(state), 1, "A", "web");
    register_vm(store_of(state), 2, "A", "web");
    test_refuse(store_of(state), ENOTUNIQ, "'web' fits 2 VMs: 1 ('web'), 2 ('web'); choose one",
                "{'command': 'remove-vm', 'args': {'vm': 'web'}}");
    test_refuse(store_of(state), ENOTUNIQ, "'web' fits 2 VMs",
                "{'command': 'remove-vm', 'args': {'name': 'web'}}");
}

static void test_vm_name_of_many_lists_some(void **state)
{
    create_pool(store_of(state), "A");
    for (int i = 1; i <= 100; i++)
        register_vm(store_of(state), i, "A", "web");
    test_refuse(store_of(state), ENOTUNIQ, "'web' fits 100 VMs: 1 ('web'), 2 ('web'), ",
                "{'command': 'remove-vm', 'args': {'vm': 'web'}}");
    test_refuse(store_of(state), ENOTUNIQ, " more; choose one with --vm-id",
                "{'command': 'remove-vm', 'args': {'vm': 'web'}}");
}

static void test_vm_name_that_is_anothers_id_is_ambiguous(void **state)
{
    create_pool(store_of(state), "A");
    register_vm(store_of(state), 1, "A", "2");
    register_vm(store_of(state), 2, "A", "web");
    test_refuse(store_of(state), ENOTUNIQ, "'2' fits 2 VMs: 1 ('2'), 2 ('web')",
                "{'command': 'remove-vm', 'args': {'vm': '2'}}");
    test_ok(store_of(state), "{'command': 'remove-vm', 'args': {'vm_id': 2}}");
}

static void test_vm_name_that_is_anothers_uuid_is_ambiguous(void **state)
{
    create_pool(store_of(state), "A");
    register_vm(store_of(state), 1, "A", UUID_1);
    test_ok(store_of(state),
            "{'command': 'register-vm', 'args': {'vm_id': 2, 'pool': 'A', 'uuid': '" UUID_1 "'}}");
    test_refuse(store_of(state), ENOTUNIQ, "fits 2 VMs",
                "{'command': 'remove-vm', 'args': {'vm': '" UUID_1 "'}}");
}

static void test_vm_name_that_is_its_own_id_is_clear(void **state)
{
    create_pool(store_of(state), "A");
    register_vm(store_of(state), 2, "A", "2");
    test_ok(store_of(state), "{'command': 'remove-vm', 'args': {'vm': '2'}}");
}

static void test_vm_unknown_is_refused(void **state)
{
    test_refuse(store_of(state), ENOENT, "VM 'web' does not exist",
                "{'command': 'remove-vm', 'args': {'vm': 'web'}}");
}

static void test_vm_must_be_named_once(void **state)
{
    test_refuse(store_of(state), EINVAL, "which VM is missing",
                "{'command': 'remove-vm', 'args': {}}");
    test_refuse(store_of(state), EINVAL, "which VM is missing",
                "{'command': 'remove-vm', 'args': {'uuid': null, 'vm': null}}");
    test_refuse(store_of(state), EINVAL, "named more than once",
                "{'command': 'remove-vm', 'args': {'vm_id': 1, 'name': 'web'}}");
}

static void test_vm_names_are_never_sql(void **state)
{
    static const char name[] = "x\\\"; DROP TABLE vms; --";
    struct store *store = store_of(state);
    _cleanup_json_ json_t *result = NULL;

    create_pool(store, name);
    register_vm(store, 1, name, name);
    test_refuse(store, ENOENT, "does not exist",
                "{'command': 'remove-vm', 'args': {'vm': 'x\\\" OR 1=1; --'}}");
    result = test_do(store, "{'command': 'list-vms'}");
    assert_string_equal(text_of(json_array_get(json_object_get(result, "vms"), 0), "name"),
                        "x\"; DROP TABLE vms; --");
}

/* requests in general */

static void test_request_unknown_command(void **state)
{
    test_refuse(store_of(state), EOPNOTSUPP, "there is no command 'drop'", "{'command': 'drop'}");
}

static void test_request_without_command(void **state)
{
    test_refuse(store_of(state), EINVAL, "has no command", "{}");
    test_refuse(store_of(state), EINVAL, "has no command", "{'command': 7}");
    test_refuse(store_of(state), EINVAL, "has no command", "[]");
}

static void test_request_unknown_argument(void **state)
{
    test_refuse(store_of(state), EINVAL, "there is no argument 'wieght' here",
                "{'command': 'register-vm', 'args': {'vm_id': 1, 'pool': 'A', 'wieght': 3}}");
    test_refuse(store_of(state), EINVAL, "'args' is not an object",
                "{'command': 'list-vms', 'args': []}");
}

static void test_request_missing_argument(void **state)
{
    test_refuse(store_of(state), EINVAL, "'pool' is missing",
                "{'command': 'register-vm', 'args': {'vm_id': 1}}");
    test_refuse(store_of(state), EINVAL, "'vm_id' is missing",
                "{'command': 'register-vm', 'args': {'vm_id': null, 'pool': 'A'}}");
}

static void test_request_each_command_is_there(void **state)
{
    assert_true(store_has_command("register-vm"));
    assert_true(store_has_command("snapshot"));
    assert_false(store_has_command("status"));
}

static void test_error_with_a_cut_character_is_still_json(void **state)
{
    struct vgpu_err err = {.code = ENOTUNIQ, .text = "caf\xc3"};
    _cleanup_json_ json_t *json = store_error_json(&err);

    assert_string_equal(text_of(json, "text"), "caf?");
    assert_string_equal(text_of(json, "code"), "ambiguous");
    assert_int_equal(integer_of(json, "errno"), ENOTUNIQ);
}

static void test_error_of_another_kind_has_the_general_code(void **state)
{
    struct vgpu_err err = {.code = EXDEV, .text = "x"};
    _cleanup_json_ json_t *json = store_error_json(&err);

    assert_string_equal(text_of(json, "code"), "failed");
}

static void test_audit_log_limit(void **state)
{
    struct store *store = store_of(state);

    assert_int_equal(database_run(store->db, NULL,
                                  "INSERT INTO audit_log (seq, time, who, command, object,"
                                  " object_key) VALUES (?1, 0, 'w', 'c', 'o', 'k')",
                                  "i", (int64_t)1),
                     0);
    assert_int_equal(database_run(store->db, NULL,
                                  "INSERT INTO audit_log (seq, time, who, command, object,"
                                  " object_key) VALUES (?1, 0, 'w', 'c', 'o', 'k')",
                                  "i", (int64_t)STORE_AUDIT_ROWS_MAX),
                     0);
    create_pool(store, "A");
    assert_int_equal(test_count(store, "SELECT count(*) FROM audit_log"), 2);
    assert_int_equal(test_count(store, "SELECT min(seq) FROM audit_log"), STORE_AUDIT_ROWS_MAX);
}

static void test_audit_who_is_cut(void **state)
{
    _cleanup_free_ char *who = test_repeat('w', STORE_WHO_BYTES + 1);
    _cleanup_json_ json_t *request =
        json_pack("{s:s, s:{s:s}}", "command", "create-pool", "args", "pool", "A");
    _cleanup_json_ json_t *reply = NULL;

    assert_int_equal(store_execute(store_of(state), request, who, &reply, NULL), 0);
    assert_int_equal(test_count(store_of(state), "SELECT length(who) FROM audit_log"),
                     STORE_WHO_BYTES);
}

static void test_changes_survive_reopening(void **state)
{
    struct fixture *fixture = *state;
    _cleanup_json_ json_t *before = NULL;
    _cleanup_json_ json_t *after = NULL;

    create_pool(fixture->store, "A");
    register_vm(fixture->store, 1, "A", "web");
    json_decref(scan(fixture->store, GPU(0, "g0", "p0")));
    before = test_do(fixture->store, "{'command': 'snapshot'}");
    store_close(fixture->store);
    fixture->store = NULL;
    assert_int_equal(test_open(fixture, false, NULL), 0);
    after = test_do(fixture->store, "{'command': 'snapshot'}");
    assert_true(json_equal(before, after));
}

#define INTO_POOLS "INSERT INTO pools (pool, policy, description, created, updated) VALUES "
#define INTO_VMS                                                                                   \
    "INSERT INTO vms (vm_id, uuid, name, pool, priority, weight_hundredths, created, updated)"     \
    " VALUES "

#define INTO_GPUS                                                                                  \
    "INSERT INTO gpus (gpu_id, uuid, pci, model, memory_bytes, device_index, state, first_seen,"   \
    " last_seen) VALUES "

/* The schema's own checks, behind those of the commands. */
static void test_schema_refuses_bad_values(void **state)
{
    static const char *const statements[] = {
        INTO_GPUS "(64, 'u', 'p', 'm', 1, 0, 'present', 0, 0)",
        INTO_GPUS "(0, 'u', 'p', 'm', -1, 0, 'present', 0, 0)",
        INTO_GPUS "(0, 'u', 'p', 'm', 1, 0, 'broken', 0, 0)",
        INTO_GPUS "(0, '', 'p', 'm', 1, 0, 'present', 0, 0)",
        INTO_POOLS "('B', 'fair', '', 0, 0)",
        INTO_POOLS "(NULL, 'wfq', '', 0, 0)",
        INTO_POOLS "('', 'wfq', '', 0, 0)",
        "INSERT INTO pool_gpus VALUES ('A', 7)",
        INTO_VMS "(0, NULL, NULL, 'A', 'low', 100, 0, 0)",
        INTO_VMS "(1, NULL, NULL, 'Z', 'low', 100, 0, 0)",
        INTO_VMS "(1, NULL, NULL, 'A', 'top', 100, 0, 0)",
        INTO_VMS "(1, NULL, NULL, 'A', 'low', 99, 0, 0)",
        INTO_VMS "(1, NULL, NULL, 'A', 'low', 10001, 0, 0)",
        INTO_VMS "(1, NULL, NULL, 'A', 'low', 100.5, 0, 0)",
        INTO_VMS "(1, 'short', NULL, 'A', 'low', 100, 0, 0)",
        "DELETE FROM pools",
        "UPDATE gpus SET revision = 0",
        "UPDATE gpus SET numa_node = 65536",
        "UPDATE gpus SET numa_node = -1",
        "UPDATE gpus SET mig_mode = 'on'",
        "UPDATE gpus SET driver = ''",
        "UPDATE gpus SET source = 'guess'",
        "UPDATE gpus SET drained = 2",
        "UPDATE gpus SET drain_reason = 'why'",
        "UPDATE gpus SET drained = 1, drain_reason = ''",
        "UPDATE pools SET revision = 0",
        "UPDATE vms SET revision = NULL",
        "INSERT INTO thresholds (name, value, action) VALUES ('', 1, 'warn')",
        "INSERT INTO thresholds (name, value, action) VALUES (NULL, 1, 'warn')",
        "INSERT INTO thresholds (name, value, action) VALUES ('t', 'hot', 'warn')",
        "INSERT INTO thresholds (name, value, action) VALUES ('t', 1, 'explode')",
        "INSERT INTO thresholds (name, value, action) VALUES ('t', 1, NULL)",
        "INSERT INTO thresholds VALUES ('t', 1, 'warn', 0)",
    };
    struct store *store = store_of(state);

    create_pool(store, "A");
    register_vm(store, 9, "A", "web");
    json_decref(scan(store, GPU(0, "g0", "p0")));
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(statements); i++)
        if (sqlite3_exec(store->db, statements[i], NULL, NULL, NULL) != SQLITE_CONSTRAINT)
            fail_msg("accepted: %s", statements[i]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_setup_store, test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_pool_create_reports_the_pool),
        TEST(test_pool_create_defaults_to_wfq),
        TEST(test_pool_create_refuses_a_second),
        TEST(test_pool_create_refuses_an_unknown_policy),
        TEST(test_pool_name_limit),
        TEST(test_pool_description_limit),
        TEST(test_pool_name_refuses_control_characters),
        TEST(test_pool_name_refuses_empty),
        TEST(test_pool_name_may_be_any_script),
        TEST(test_pool_count_limit),
        TEST(test_pool_remove_takes_its_gpus_off),
        TEST(test_pool_remove_refuses_one_with_vms),
        TEST(test_pool_unknown_lists_those_there_are),
        TEST(test_pool_list_has_members),
        TEST(test_gpu_scan_numbers_by_index),
        TEST(test_gpu_scan_again_changes_nothing),
        TEST(test_gpu_other_card_in_the_slot_gets_its_own_id),
        TEST(test_gpu_missing_one_returns_with_its_id_and_pools),
        TEST(test_gpu_scan_refuses_a_uuid_twice),
        TEST(test_gpu_scan_refuses_whole_on_one_bad),
        TEST(test_gpu_scan_refuses_what_is_no_array),
        TEST(test_gpu_scan_limit),
        TEST(test_gpu_history_limit),
        TEST(test_gpu_text_limits),
        TEST(test_pool_gpu_assigns_several_to_several),
        TEST(test_pool_gpu_assign_again_changes_nothing),
        TEST(test_pool_gpu_assign_refuses_an_unknown_gpu),
        TEST(test_pool_gpu_assign_refuses_an_unknown_pool),
        TEST(test_pool_gpu_assign_id_limit),
        TEST(test_pool_gpu_unassign_from_one_or_all),
        TEST(test_vm_register_reports_the_vm),
        TEST(test_vm_register_has_defaults),
        TEST(test_vm_register_refuses_a_taken_id),
        TEST(test_vm_register_refuses_a_taken_uuid),
        TEST(test_vm_register_refuses_an_unknown_pool),
        TEST(test_vm_id_limits),
        TEST(test_vm_uuid_must_be_one),
        TEST(test_vm_name_limit),
        TEST(test_vm_count_limit),
        TEST(test_vm_weight_limits),
        TEST(test_vm_priority_must_be_known),
        TEST(test_vm_set_reports_and_logs_the_change),
        TEST(test_vm_set_to_the_same_changes_nothing),
        TEST(test_vm_set_pool_moves),
        TEST(test_vm_is_found_by_id_uuid_and_name),
        TEST(test_vm_name_of_two_is_ambiguous),
        TEST(test_vm_name_of_many_lists_some),
        TEST(test_vm_name_that_is_anothers_id_is_ambiguous),
        TEST(test_vm_name_that_is_anothers_uuid_is_ambiguous),
        TEST(test_vm_name_that_is_its_own_id_is_clear),
        TEST(test_vm_unknown_is_refused),
        TEST(test_vm_must_be_named_once),
        TEST(test_vm_names_are_never_sql),
        TEST(test_request_unknown_command),
        TEST(test_request_without_command),
        TEST(test_request_unknown_argument),
        TEST(test_request_missing_argument),
        TEST(test_request_each_command_is_there),
        TEST(test_error_with_a_cut_character_is_still_json),
        TEST(test_error_of_another_kind_has_the_general_code),
        TEST(test_audit_log_limit),
        TEST(test_audit_who_is_cut),
        TEST(test_changes_survive_reopening),
        TEST(test_schema_refuses_bad_values),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
