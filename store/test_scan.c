/* SPDX-License-Identifier: Apache-2.0 */
/* What record-gpus makes of scans: cards of NVML's and of the PCI bus that come, go and move. */
#include "store/test_support.h"

#include <string.h>

#define A0   "00000000:10:00.0"
#define A1   "00000000:11:00.0"
#define PCI0 "PCI-10de:2335-" A0

/* As vgpu-nvml describes them. */
#define NVML(index, uuid, pci)                                                                     \
    "{'index': " #index ", 'uuid': '" uuid "', 'pci': '" pci "', 'model': 'NVIDIA H200', "         \
    "'memory_bytes': 42, 'numa_node': 1, 'mig_mode': 'disabled', 'driver': 'nvidia', 'source': "   \
    "'nvml', 'temperature': 40}"
#define PCI(pci, driver)                                                                           \
    "{'index': null, 'uuid': 'PCI-10de:2335-" pci "', 'pci': '" pci "', 'model': 'NVIDIA GH100', " \
    "'memory_bytes': 0, 'numa_node': 0, 'mig_mode': null, 'driver': " driver ", 'source': 'pci'}"
#define NO_NVML ", 'nvml_error': 'cannot load NVML'"
#define NO_PCI  ", 'pci_error': 'no bus'"

static struct store *store_of(void **state)
{
    return ((struct fixture *)*state)->store;
}

static json_t *scan(struct store *store, const char *gpus, const char *more)
{
    return test_do(store, "{'command': 'record-gpus', 'args': {'gpus': [%s]%s}}", gpus, more);
}

static void record(struct store *store, const char *gpus, const char *more)
{
    json_decref(scan(store, gpus, more));
}

static json_t *gpu_in(const json_t *result, size_t gpu_id)
{
    return json_array_get(json_object_get(result, "gpus"), gpu_id);
}

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static json_int_t integer_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static bool is_null(const json_t *object, const char *key)
{
    return json_is_null(json_object_get(object, key));
}

/* ids: of a list of the result, as JSON. */
static void assert_list(const json_t *result, const char *list, const char *ids)
{
    char *text = json_dumps(json_object_get(result, list), JSON_COMPACT);

    assert_string_equal(text, ids);
    free(text);
}

static void test_scan_records_what_nvml_and_the_bus_say(void **state)
{
    _cleanup_json_ json_t *result =
        scan(store_of(state), PCI(A1, "'vfio-pci'") "," NVML(0, "GPU-0", A0),
             ", 'driver_version': '580.1'");
    const json_t *gpu = gpu_in(result, 0);

    assert_string_equal(text_of(gpu, "uuid"), "GPU-0"); /* NVML's come first */
    assert_int_equal(integer_of(gpu, "numa_node"), 1);
    assert_string_equal(text_of(gpu, "mig_mode"), "disabled");
    assert_string_equal(text_of(gpu, "driver"), "nvidia");
    assert_string_equal(text_of(gpu, "source"), "nvml");
    gpu = gpu_in(result, 1);
    assert_string_equal(text_of(gpu, "source"), "pci");
    assert_string_equal(text_of(gpu, "driver"), "vfio-pci");
    assert_int_equal(integer_of(gpu, "memory_bytes"), 0);
    assert_true(is_null(gpu, "index"));
    assert_true(is_null(gpu, "mig_mode"));
    assert_string_equal(text_of(result, "driver_version"), "580.1");
    assert_true(is_null(result, "nvml_error"));
    assert_true(is_null(result, "pci_error"));
}

static void test_scan_that_finds_the_same_changes_nothing(void **state)
{
    _cleanup_json_ json_t *result = NULL;
    const char *gpus = NVML(0, "GPU-0", A0) "," PCI(A1, "null");

    record(store_of(state), gpus, "");
    result = scan(store_of(state), gpus, "");
    assert_true(json_is_false(json_object_get(result, "changed")));
    assert_int_equal(integer_of(gpu_in(result, 0), "revision"), 1);
    assert_int_equal(integer_of(gpu_in(result, 1), "revision"), 1);
}

static void test_scan_notices_a_change_of_driver(void **state)
{
    _cleanup_json_ json_t *result = NULL;

    record(store_of(state), PCI(A0, "'nouveau'"), "");
    result = scan(store_of(state), PCI(A0, "null"), "");
    assert_true(is_null(gpu_in(result, 0), "driver"));
    assert_int_equal(integer_of(gpu_in(result, 0), "revision"), 2);
    assert_int_equal(test_count(store_of(state), "SELECT count(*) FROM audit_log"), 2);
}

static void test_scan_keeps_what_a_lost_gpu_cannot_tell(void **state)
{
    _cleanup_json_ json_t *result = NULL;

    record(store_of(state), NVML(0, "GPU-0", A0), "");
    result = scan(store_of(state),
                  "{'index': 0, 'uuid': 'GPU-0', 'pci': '" A0 "', 'model': 'NVIDIA H200', "
                  "'memory_bytes': null, 'mig_mode': null, 'driver': null}",
                  "");
    assert_true(json_is_false(json_object_get(result, "changed")));
    assert_int_equal(integer_of(gpu_in(result, 0), "memory_bytes"), 42);
    assert_string_equal(text_of(gpu_in(result, 0), "driver"), "nvidia");
}

static void test_scan_tells_of_a_replaced_card(void **state)
{
    _cleanup_json_ json_t *result = NULL;

    test_ok(store_of(state), "{'command': 'create-pool', 'args': {'pool': 'A'}}");
    record(store_of(state), NVML(0, "GPU-old", A0), "");
    test_ok(store_of(state), "{'command': 'assign-gpu', 'args': {'gpu_id': 0, 'pool': 'A'}}");
    result = scan(store_of(state), NVML(0, "GPU-new", A0), "");
    assert_list(result, "replaced", "[{\"gpu_id\":0,\"by\":1}]");
    assert_list(result, "missing", "[0]");
    assert_list(result, "added", "[1]");
    assert_int_equal(json_array_size(json_object_get(gpu_in(result, 0), "pools")), 1);
    assert_int_equal(json_array_size(json_object_get(gpu_in(result, 1), "pools")), 0);
    assert_list(result, "affected_pools", "[{\"pool\":\"A\",\"gpus\":1,\"present\":0}]");
}

static void test_scan_lists_pools_that_miss_a_gpu(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *result = NULL;

    record(store, NVML(0, "GPU-0", A0) "," NVML(1, "GPU-1", A1), "");
    for (const char *pool = "ABC"; *pool; pool++)
        test_ok(store, "{'command': 'create-pool', 'args': {'pool': '%c'}}", *pool);
    test_ok(store, "{'command': 'assign-gpu', 'args': {'gpu_id': 0, 'pool': 'A'}}");
    test_ok(store, "{'command': 'assign-gpu', 'args': {'gpu_id': 1, 'pool': 'A'}}");
    test_ok(store, "{'command': 'assign-gpu', 'args': {'gpu_id': 0, 'pool': 'B'}}");
    record(store, NVML(0, "GPU-0", A0), "");
    result = test_do(store, "{'command': 'list-gpus'}");
    assert_list(result, "affected_pools", "[{\"pool\":\"A\",\"gpus\":2,\"present\":1}]");
}

static void test_scan_card_that_lost_its_driver_gets_a_row_of_its_own(void **state)
{
    struct store *store = store_of(state);
    _cleanup_json_ json_t *lost = NULL, *back = NULL;

    record(store, NVML(0, "GPU-0", A0), "");
    lost = scan(store, PCI(A0, "'vfio-pci'"), "");
    assert_list(lost, "missing", "[0]");
    assert_list(lost, "added", "[1]");
    assert_list(lost, "replaced", "[]");
    back = scan(store, NVML(0, "GPU-0", A0), "");
    assert_list(back, "missing", "[1]");
    assert_list(back, "returned", "[0]");
    assert_string_equal(text_of(gpu_in(back, 1), "uuid"), PCI0);
    assert_string_equal(text_of(gpu_in(back, 1), "state"), "missing");
}

static void test_scan_gpu_of_the_bus_serves_no_pool(void **state)
{
    static const struct {
        const char *gpus, *text;
    } cases[] = {
        {PCI(A0, "'vfio-pci'"), "the kernel driver vfio-pci has it"},
        {PCI(A0, "null"), "no kernel driver has it: load NVIDIA's (modprobe nvidia)"},
        {PCI(A0, "'nvidia'"), "NVIDIA's driver has it, and NVML does not show it"},
    };

    test_ok(store_of(state), "{'command': 'create-pool', 'args': {'pool': 'A'}}");
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(cases); i++) {
        record(store_of(state), cases[i].gpus, "");
        test_refuse(store_of(state), EINVAL, cases[i].text,
                    "{'command': 'assign-gpu', 'args': {'gpu_id': 0, 'pool': 'A'}}");
    }
}

static void test_scan_without_nvml_leaves_its_gpus(void **state)
{
    _cleanup_json_ json_t *result = NULL;

    record(store_of(state), NVML(0, "GPU-0", A0) "," NVML(1, "GPU-1", A1), "");
    result = scan(store_of(state), PCI(A0, "'nvidia'"), NO_NVML);
    assert_true(json_is_false(json_object_get(result, "changed")));
    assert_string_equal(text_of(gpu_in(result, 0), "state"), "present");
    assert_string_equal(text_of(gpu_in(result, 1), "state"), "present");
    assert_string_equal(text_of(result, "nvml_error"), "cannot load NVML");
}

static void test_scan_without_nvml_believes_the_bus_about_another_driver(void **state)
{
    _cleanup_json_ json_t *result = NULL;

    record(store_of(state), NVML(0, "GPU-0", A0) "," NVML(1, "GPU-1", A1), "");
    result = scan(store_of(state), PCI(A1, "'vfio-pci'") "," PCI(A0, "'nvidia'"), NO_NVML);
    assert_list(result, "missing", "[1]");
    assert_list(result, "added", "[2]");
    assert_string_equal(text_of(gpu_in(result, 2), "pci"), A1);
}

static void test_scan_without_the_bus_leaves_its_gpus(void **state)
{
    _cleanup_json_ json_t *kept = NULL, *seen = NULL;

    record(store_of(state), PCI(A0, "null"), "");
    kept = scan(store_of(state), NVML(0, "GPU-1", A1), NO_PCI);
    assert_list(kept, "missing", "[]");
    seen = scan(store_of(state), NVML(0, "GPU-0", A0) "," NVML(1, "GPU-1", A1), NO_PCI);
    assert_list(seen, "missing", "[0]");
}

static void test_scan_errors_are_shown_clean(void **state)
{
    _cleanup_free_ char *text = test_repeat('x', 1000);
    _cleanup_json_ json_t *result =
        test_do(store_of(state),
                "{'command': 'record-gpus', 'args': {'gpus': [], 'nvml_error': "
                "'a\\u001b%s'}}",
                text);

    assert_true(strlen(text_of(result, "nvml_error")) < 256);
    assert_memory_equal(text_of(result, "nvml_error"), "a?xx", 4);
}

static void test_scan_refuses_what_no_scan_finds(void **state)
{
    static const struct {
        const char *gpu, *text;
    } cases[] = {
        {"'index': 0, 'uuid': 'PCI-1'", "are those of GPUs that only the PCI bus shows"},
        {"'uuid': 'GPU-1', 'source': 'pci'", "are those of GPUs that only the PCI bus shows"},
        {"'uuid': 'GPU-1'", "the argument 'index' is missing"},
        {"'index': 0, 'uuid': 'GPU-1', 'source': 'usb'", "source 'usb' is not one of: nvml, pci"},
        {"'index': 0, 'uuid': 'GPU-1', 'mig_mode': 'on'", "is not one of: disabled, enabled"},
        {"'index': 0, 'uuid': 'GPU-1', 'numa_node': 65536", "out of range"},
        {"'index': 0, 'uuid': 'GPU-1', 'driver': 'a\\nb'", "control character"},
    };

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(cases); i++)
        test_refuse(store_of(state), EINVAL, cases[i].text,
                    "{'command': 'record-gpus', 'args': {'gpus': [{%s, 'pci': 'p', 'model': 'M', "
                    "'memory_bytes': 1}]}}",
                    cases[i].gpu);
}

static void test_scan_driver_name_limit(void **state)
{
    _cleanup_free_ char *most = test_repeat('x', STORE_NAME_BYTES);
    _cleanup_free_ char *over = test_repeat('x', STORE_NAME_BYTES + 1);
    static const char form[] =
        "{'command': 'record-gpus', 'args': {'gpus': [{'index': 0, 'uuid': 'GPU-1', 'pci': 'p', "
        "'model': 'M', 'memory_bytes': 1, 'numa_node': 65535, 'driver': '%s'}]}}";

    test_ok(store_of(state), form, most);
    test_refuse(store_of(state), EINVAL, "has 65 bytes; at most 64", form, over);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_setup_store, test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_scan_records_what_nvml_and_the_bus_say),
        TEST(test_scan_that_finds_the_same_changes_nothing),
        TEST(test_scan_notices_a_change_of_driver),
        TEST(test_scan_keeps_what_a_lost_gpu_cannot_tell),
        TEST(test_scan_tells_of_a_replaced_card),
        TEST(test_scan_lists_pools_that_miss_a_gpu),
        TEST(test_scan_card_that_lost_its_driver_gets_a_row_of_its_own),
        TEST(test_scan_gpu_of_the_bus_serves_no_pool),
        TEST(test_scan_without_nvml_leaves_its_gpus),
        TEST(test_scan_without_nvml_believes_the_bus_about_another_driver),
        TEST(test_scan_without_the_bus_leaves_its_gpus),
        TEST(test_scan_errors_are_shown_clean),
        TEST(test_scan_refuses_what_no_scan_finds),
        TEST(test_scan_driver_name_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
