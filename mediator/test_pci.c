/* SPDX-License-Identifier: Apache-2.0 */
/* NVIDIA's GPUs on a PCI bus: real libpci on a directory that is laid out as sysfs has it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "mediator/pci.h"

struct bus {
    char path[64];
    struct pci_gpu gpus[PCI_GPUS_MAX];
    unsigned n;
};

static int open_bus(void **state)
{
    struct bus *bus = calloc(1, sizeof(*bus));
    char path[96];

    strcpy(bus->path, "/tmp/vgpu-pci-XXXXXX");
    if (!mkdtemp(bus->path))
        return -1;
    snprintf(path, sizeof(path), "%s/devices", bus->path);
    *state = bus;
    return mkdir(path, 0700);
}

static int close_bus(void **state)
{
    struct bus *bus = *state;
    char command[96];
    int rc;

    snprintf(command, sizeof(command), "rm -rf '%s'", bus->path);
    rc = system(command);
    free(bus);
    return rc;
}

static void write_attribute(const struct bus *bus, const char *address, const char *name,
                            const char *text)
{
    char path[160];
    FILE *file;

    snprintf(path, sizeof(path), "%s/devices/%s/%s", bus->path, address, name);
    file = fopen(path, "we");
    assert_non_null(file);
    fprintf(file, "%s\n", text);
    fclose(file);
}

static void link_attribute(const struct bus *bus, const char *address, const char *name,
                           const char *target)
{
    char path[160];

    snprintf(path, sizeof(path), "%s/devices/%s/%s", bus->path, address, name);
    assert_int_equal(symlink(target, path), 0);
}

static void plug(const struct bus *bus, const char *address, const char *vendor, const char *device,
                 const char *class)
{
    char path[160];

    snprintf(path, sizeof(path), "%s/devices/%s", bus->path, address);
    assert_int_equal(mkdir(path, 0700), 0);
    write_attribute(bus, address, "vendor", vendor);
    write_attribute(bus, address, "device", device);
    write_attribute(bus, address, "class", class);
    write_attribute(bus, address, "numa_node", "-1");
    write_attribute(bus, address, "irq", "0");
}

static void find(struct bus *bus)
{
    struct vgpu_err err = {.code = 0};

    if (pci_gpu_find(bus->path, bus->gpus, &bus->n, &err) < 0)
        fail_msg("%s", err.text);
}

static void test_pci_gpu_is_described(void **state)
{
    struct bus *bus = *state;

    plug(bus, "0001:65:00.0", "0x10de", "0x2335", "0x030200");
    write_attribute(bus, "0001:65:00.0", "numa_node", "1");
    link_attribute(bus, "0001:65:00.0", "driver", "../../../bus/pci/drivers/vfio-pci");
    find(bus);
    assert_int_equal(bus->n, 1);
    assert_string_equal(bus->gpus[0].address, "00000001:65:00.0");
    assert_int_equal(bus->gpus[0].vendor, 0x10de);
    assert_int_equal(bus->gpus[0].device, 0x2335);
    assert_int_equal(bus->gpus[0].numa_node, 1);
    assert_string_equal(bus->gpus[0].driver, "vfio-pci");
    assert_memory_equal(bus->gpus[0].model, "NVIDIA ", 7);
}

static void test_pci_gpu_without_driver_or_node(void **state)
{
    struct bus *bus = *state;

    plug(bus, "0000:65:00.0", "0x10de", "0xfffe", "0x030000");
    find(bus);
    assert_int_equal(bus->n, 1);
    assert_string_equal(bus->gpus[0].driver, "");
    assert_int_equal(bus->gpus[0].numa_node, -1);
    assert_string_equal(bus->gpus[0].model, "NVIDIA device fffe");
}

static void test_pci_takes_display_controllers_of_nvidia_only(void **state)
{
    static const struct {
        const char *vendor, *class;
        unsigned taken;
    } cases[] = {
        {"0x10de", "0x030000", 1}, {"0x10de", "0x030100", 1}, {"0x10de", "0x030200", 1},
        {"0x10de", "0x038000", 1}, {"0x10de", "0x040300", 0}, {"0x10de", "0x060400", 0},
        {"0x10de", "0x068000", 0}, {"0x10de", "0x0c0330", 0}, {"0x10de", "0x0c8000", 0},
        {"0x8086", "0x030000", 0}, {"0x1002", "0x030200", 0}, {"0x1af4", "0x120000", 0},
    };
    struct bus *bus = *state;
    char address[32];
    unsigned taken = 0;

    for (unsigned i = 0; i < VGPU_ARRAY_SIZE(cases); i++) {
        snprintf(address, sizeof(address), "0000:%02x:00.0", i);
        plug(bus, address, cases[i].vendor, "0x1234", cases[i].class);
        taken += cases[i].taken;
        find(bus);
        assert_int_equal(bus->n, taken);
    }
}

static void test_pci_virtual_functions_are_no_gpus(void **state)
{
    struct bus *bus = *state;

    plug(bus, "0000:65:00.0", "0x10de", "0x2335", "0x030200");
    plug(bus, "0000:65:00.4", "0x10de", "0x2335", "0x030200");
    link_attribute(bus, "0000:65:00.4", "physfn", "../0000:65:00.0");
    find(bus);
    assert_int_equal(bus->n, 1);
    assert_string_equal(bus->gpus[0].address, "00000000:65:00.0");
}

static void test_pci_empty_bus_has_none(void **state)
{
    struct bus *bus = *state;

    find(bus);
    assert_int_equal(bus->n, 0);
}

static void test_pci_failures_are_told(void **state)
{
    struct bus *bus = *state;
    struct vgpu_err err = {.code = 0};
    char path[160];

    assert_int_equal(pci_gpu_find("/nonexistent", bus->gpus, &bus->n, &err), -EIO);
    assert_non_null(strstr(err.text, "/nonexistent"));
    plug(bus, "0000:65:00.0", "0x10de", "0x2335", "0x030200");
    snprintf(path, sizeof(path), "%s/devices/0000:65:00.0/vendor", bus->path);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(pci_gpu_find(bus->path, bus->gpus, &bus->n, &err), -EIO);
    write_attribute(bus, "0000:65:00.0", "vendor", "0x10de");
    find(bus); /* a failure leaves nothing behind that a later scan would trip over */
    assert_int_equal(bus->n, 1);
}

static void test_pci_gpus_limit(void **state)
{
    struct bus *bus = *state;
    struct vgpu_err err = {.code = 0};
    char address[32];

    for (unsigned i = 0; i < PCI_GPUS_MAX; i++) {
        snprintf(address, sizeof(address), "0000:%02x:00.0", i);
        plug(bus, address, "0x10de", "0x2335", "0x030200");
    }
    find(bus);
    assert_int_equal(bus->n, PCI_GPUS_MAX);
    plug(bus, "0001:00:00.0", "0x10de", "0x2335", "0x030200");
    assert_int_equal(pci_gpu_find(bus->path, bus->gpus, &bus->n, &err), -E2BIG);
}

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static void test_pci_merge_adds_to_what_nvml_sees(void **state)
{
    static const struct pci_gpu found[] = {
        {"00000000:AF:00.0", 0x10de, 0x2335, 1, "nvidia", "NVIDIA x"},
        {"00000000:B0:00.0", 0x10de, 0x2335, -1, "", "NVIDIA y"},
    };
    json_t *gpus =
        json_pack("[{s:s, s:s, s:i}, {s:s, s:s, s:i}]", "uuid", "GPU-1", "pci", "00000000:af:00.0",
                  "numa_node", 7, "uuid", "GPU-2", "pci", "00000000:10:00.0", "numa_node", 5);
    const json_t *gpu;

    (void)state;
    assert_int_equal(pci_gpu_merge(gpus, found, 2, NULL), 0);
    assert_int_equal(json_array_size(gpus), 3);
    gpu = json_array_get(gpus, 0);
    assert_string_equal(text_of(gpu, "driver"), "nvidia");
    assert_int_equal(json_integer_value(json_object_get(gpu, "numa_node")), 1);
    gpu = json_array_get(gpus, 1); /* is not on the bus: as NVML has it */
    assert_null(json_object_get(gpu, "driver"));
    assert_int_equal(json_integer_value(json_object_get(gpu, "numa_node")), 5);
    gpu = json_array_get(gpus, 2);
    assert_string_equal(text_of(gpu, "source"), "pci");
    assert_string_equal(text_of(gpu, "uuid"), "PCI-10de:2335-00000000:B0:00.0");
    assert_true(json_is_null(json_object_get(gpu, "driver")));
    assert_true(json_is_null(json_object_get(gpu, "index")));
    assert_true(json_is_null(json_object_get(gpu, "numa_node")));
    json_decref(gpus);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_pci_##name, open_bus, close_bus)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(gpu_is_described),
        TEST(gpu_without_driver_or_node),
        TEST(takes_display_controllers_of_nvidia_only),
        TEST(virtual_functions_are_no_gpus),
        TEST(empty_bus_has_none),
        TEST(failures_are_told),
        TEST(gpus_limit),
        cmocka_unit_test(test_pci_merge_adds_to_what_nvml_sees),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
