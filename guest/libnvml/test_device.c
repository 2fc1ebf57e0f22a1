/* SPDX-License-Identifier: Apache-2.0 */
/* NVML in the guest: its life, which devices there are, and what they are. */
#include "guest/libnvml/test_nvml.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"

#define UUID   "GPU-0a1b2c3d-0000-4000-8000-000000000000"
#define BUS_ID "00000000:0A:1F.0"

/* Life */

static void test_device_nothing_before_init(void **state)
{
    unsigned number = 7;

    assert_int_equal(nvmlShutdown(), NVML_ERROR_UNINITIALIZED);
    assert_int_equal(nvmlDeviceGetCount_v2(&number), NVML_ERROR_UNINITIALIZED);
    assert_int_equal(nvmlDeviceGetCount_v2(NULL), NVML_ERROR_UNINITIALIZED);
    assert_int_equal(nvmlUnitGetCount(NULL), NVML_ERROR_UNINITIALIZED);
    assert_int_equal(nvmlSystemGetProcessName(1, NULL, 0), NVML_ERROR_UNINITIALIZED);
    assert_int_equal(nvmlDeviceGetName(NULL, NULL, 0), NVML_ERROR_UNINITIALIZED);
    assert_int_equal(library_unsupported(), NVML_ERROR_UNINITIALIZED);
    assert_int_equal(number, 7);
    assert_int_equal(fake_monitor_count(&host.connections), 0);
}

static void test_device_init_is_counted(void **state)
{
    unsigned count = 0;

    assert_ok(nvmlInit());
    assert_ok(nvmlInitWithFlags(NVML_INIT_FLAG_NO_GPUS | NVML_INIT_FLAG_NO_ATTACH));
    assert_ok(nvmlShutdown());
    assert_ok(nvmlDeviceGetCount(&count));
    assert_int_equal(count, 1);
    assert_int_equal(library_unsupported(), NVML_ERROR_NOT_SUPPORTED);
    assert_ok(nvmlShutdown());
    assert_int_equal(nvmlDeviceGetCount(&count), NVML_ERROR_UNINITIALIZED);
    assert_int_equal(nvmlShutdown(), NVML_ERROR_UNINITIALIZED);
    assert_ok(nvmlInit());
    assert_int_equal(fake_monitor_count(&host.connections), 2);
}

static void test_device_unknown_flag_is_refused(void **state)
{
    assert_int_equal(nvmlInitWithFlags(4), NVML_ERROR_INVALID_ARGUMENT);
}

static void test_device_no_host_is_no_driver(void **state)
{
    char kept = host.path[0];

    host.path[0] = '\0';
    assert_int_equal(nvmlInit_v2(), NVML_ERROR_DRIVER_NOT_LOADED);
    strcpy(host.path, "/nonexistent/vgpu.sock");
    assert_int_equal(nvmlInit_v2(), NVML_ERROR_DRIVER_NOT_LOADED);
    assert_int_equal(library_unsupported(), NVML_ERROR_UNINITIALIZED);
    host.path[0] = kept;
    snprintf(host.path, sizeof(host.path), "%s/vm", host.dir);
}

static void test_device_old_host_is_a_mismatch(void **state)
{
    host.features = VGPU_FEATURE_RESUME;
    assert_int_equal(nvmlInit_v2(), NVML_ERROR_LIB_RM_VERSION_MISMATCH);
}

static void test_device_nonsense_is_unknown(void **state)
{
    host.malformed = true;
    assert_int_equal(nvmlInit_v2(), NVML_ERROR_UNKNOWN);
    host.malformed = false;
    host.gpu[0].uuid[0] = '\0';
    assert_int_equal(nvmlInit_v2(), NVML_ERROR_UNKNOWN);
}

static void test_device_waits_for_a_host_that_starts(void **state)
{
    host.refusals = 2;
    host.refusal = VGPU_STARTING;
    assert_ok(nvmlInit_v2());
    assert_int_equal(fake_monitor_count(&host.questions), 3);
}

static void test_device_refusal_for_good_is_told_at_once(void **state)
{
    host.refusals = 1;
    host.refusal = VGPU_NO_MEMORY;
    assert_int_equal(nvmlInit_v2(), NVML_ERROR_MEMORY);
    assert_int_equal(fake_monitor_count(&host.questions), 1);
}

static void test_device_host_that_hung_up_is_met_again(void **state)
{
    nvmlDevice_t device = first_device();
    nvmlMemory_t memory;

    host.hang_up = true;
    assert_ok(nvmlDeviceGetMemoryInfo(device, &memory));
    assert_int_equal(fake_monitor_count(&host.connections), 2);
}

static void test_device_child_may_go_on(void **state)
{
    nvmlDevice_t device = first_device();
    nvmlMemory_t memory;
    int status = -1;
    pid_t child = fork();

    if (child == 0)
        _exit(nvmlDeviceGetMemoryInfo(device, &memory) == NVML_SUCCESS ? 0 : 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_ok(nvmlDeviceGetMemoryInfo(device, &memory));
}

/* Handles */

static void test_device_none(void **state)
{
    nvmlDevice_t device;
    unsigned count = 7;
    int version;
    char text[80];

    host.n_gpus = 0;
    assert_ok(nvmlInit_v2());
    assert_ok(nvmlDeviceGetCount_v2(&count));
    assert_int_equal(count, 0);
    assert_int_equal(nvmlDeviceGetHandleByIndex_v2(0, &device), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlSystemGetCudaDriverVersion(&version), NVML_ERROR_NOT_SUPPORTED);
    assert_int_equal(nvmlSystemGetDriverVersion(text, sizeof(text)), NVML_ERROR_NOT_SUPPORTED);
}

static void test_device_by_index(void **state)
{
    nvmlDevice_t device = NULL;
    unsigned index = 7;

    host.n_gpus = FAKE_MONITOR_GPUS;
    assert_ok(nvmlInit_v2());
    assert_ok(nvmlDeviceGetHandleByIndex(FAKE_MONITOR_GPUS - 1, &device));
    assert_ok(nvmlDeviceGetIndex(device, &index));
    assert_int_equal(index, FAKE_MONITOR_GPUS - 1);
    assert_int_equal(nvmlDeviceGetHandleByIndex_v2(FAKE_MONITOR_GPUS, &device),
                     NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlDeviceGetHandleByIndex_v2(0, NULL), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlDeviceGetCount_v2(NULL), NVML_ERROR_INVALID_ARGUMENT);
}

static void test_device_bad_handles_are_refused(void **state)
{
    nvmlDevice_t device = first_device();
    unsigned index;

    assert_int_equal(nvmlDeviceGetIndex(NULL, &index), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlDeviceGetIndex(device, NULL), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlDeviceGetIndex(device + 1, &index), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlDeviceGetIndex((nvmlDevice_t)(void *)&index, &index),
                     NVML_ERROR_INVALID_ARGUMENT);
}

static void test_device_by_uuid(void **state)
{
    nvmlDevice_t device = first_device(), found = NULL;

    assert_ok(nvmlDeviceGetHandleByUUID(UUID, &found));
    assert_ptr_equal(found, device);
    assert_ok(nvmlDeviceGetHandleByUUID("gpu-0A1B2C3D-0000-4000-8000-000000000000", &found));
    assert_int_equal(nvmlDeviceGetHandleByUUID("GPU-0a1b2c3d-0000-4000-8000-000000000001", &found),
                     NVML_ERROR_NOT_FOUND);
    assert_int_equal(nvmlDeviceGetHandleByUUID("", &found), NVML_ERROR_NOT_FOUND);
    assert_int_equal(nvmlDeviceGetHandleByUUID(NULL, &found), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlDeviceGetHandleByUUID(UUID, NULL), NVML_ERROR_INVALID_ARGUMENT);
}

static void test_device_by_versioned_uuid(void **state)
{
    nvmlDevice_t device = first_device(), found = NULL;
    nvmlUUID_t uuid = {.version = NVML_UUID_V1, .type = NVML_UUID_TYPE_ASCII};

    memcpy(uuid.value.str, UUID, sizeof(UUID));
    assert_ok(nvmlDeviceGetHandleByUUIDV(&uuid, &found));
    assert_ptr_equal(found, device);
    memset(uuid.value.str, 'x', sizeof(uuid.value.str)); /* without an end */
    assert_int_equal(nvmlDeviceGetHandleByUUIDV(&uuid, &found), NVML_ERROR_NOT_FOUND);
    uuid.type = NVML_UUID_TYPE_BINARY;
    memcpy(uuid.value.bytes, "\x0a\x1b\x2c\x3d\0\0\x40\0\x80\0\0\0\0\0\0\0", 16);
    found = NULL;
    assert_ok(nvmlDeviceGetHandleByUUIDV(&uuid, &found));
    assert_ptr_equal(found, device);
    uuid.type = 3;
    assert_int_equal(nvmlDeviceGetHandleByUUIDV(&uuid, &found), NVML_ERROR_INVALID_ARGUMENT);
    uuid.version++;
    assert_int_equal(nvmlDeviceGetHandleByUUIDV(&uuid, &found),
                     NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
}

static void test_device_by_bus_id(void **state)
{
    static const char *const good[] = {BUS_ID, "0000:0a:1f.0", "0:a:1f", "0A:1F.0", "0a:1f"};
    static const char *const other[] = {"00000001:0A:1F.0", "0B:1F.0", "0A:1E.0"};
    static const char *const bad[] = {"", "GPU", "0A", "0A:1F.1", "0A:1F.00", "0A:1F.0x", "0A:1F."};
    nvmlDevice_t device = first_device(), found;

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(good); i++) {
        found = NULL;
        assert_ok(nvmlDeviceGetHandleByPciBusId(good[i], &found));
        assert_ptr_equal(found, device);
    }
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(other); i++)
        assert_int_equal(nvmlDeviceGetHandleByPciBusId_v2(other[i], &found), NVML_ERROR_NOT_FOUND);
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(bad); i++)
        assert_int_equal(nvmlDeviceGetHandleByPciBusId_v2(bad[i], &found),
                         NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlDeviceGetHandleByPciBusId_v2(NULL, &found), NVML_ERROR_INVALID_ARGUMENT);
}

static void test_device_by_serial_is_never_found(void **state)
{
    nvmlDevice_t found;

    first_device();
    assert_int_equal(nvmlDeviceGetHandleBySerial("0", &found), NVML_ERROR_NOT_FOUND);
    assert_int_equal(nvmlDeviceGetHandleBySerial(NULL, &found), NVML_ERROR_INVALID_ARGUMENT);
}

/* What they are */

static void test_device_texts_need_their_room(void **state)
{
    nvmlDevice_t device = first_device();
    char text[96];

    assert_ok(nvmlDeviceGetName(device, text, sizeof("Fake GPU")));
    assert_string_equal(text, "Fake GPU");
    assert_int_equal(nvmlDeviceGetName(device, text, sizeof("Fake GPU") - 1),
                     NVML_ERROR_INSUFFICIENT_SIZE);
    assert_ok(nvmlDeviceGetUUID(device, text, sizeof(UUID)));
    assert_string_equal(text, UUID);
    assert_int_equal(nvmlDeviceGetUUID(device, text, sizeof(UUID) - 1),
                     NVML_ERROR_INSUFFICIENT_SIZE);
    assert_ok(nvmlSystemGetDriverVersion(text, sizeof("580.65.06")));
    assert_string_equal(text, "580.65.06");
    assert_int_equal(nvmlSystemGetDriverVersion(text, 0), NVML_ERROR_INSUFFICIENT_SIZE);
    assert_int_equal(nvmlSystemGetDriverVersion(NULL, 80), NVML_ERROR_INVALID_ARGUMENT);
    assert_ok(nvmlSystemGetNVMLVersion(text, sizeof(text)));
    assert_string_equal(text, "13.580.65.06");
}

static void test_device_longest_driver_name_fits(void **state)
{
    char text[NVML_SYSTEM_NVML_VERSION_BUFFER_SIZE];

    memset(host.gpu[0].driver, 'x', sizeof(host.gpu[0].driver) - 1);
    first_device();
    assert_ok(nvmlSystemGetDriverVersion(text, NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE));
    assert_ok(nvmlSystemGetNVMLVersion(text, sizeof(text)));
}

static void test_device_cuda_version_is_libcudas(void **state)
{
    int version = 0;

    host.gpu[0].cuda_version = 13020; /* newer than our libcuda.so.1 */
    first_device();
    assert_ok(nvmlSystemGetCudaDriverVersion(&version));
    assert_int_equal(version, 13000);
    nvmlShutdown();
    host.gpu[0].cuda_version = 12080;
    first_device();
    assert_ok(nvmlSystemGetCudaDriverVersion_v2(&version));
    assert_int_equal(version, 12080);
    assert_int_equal(nvmlSystemGetCudaDriverVersion_v2(NULL), NVML_ERROR_INVALID_ARGUMENT);
}

static void test_device_pci_info(void **state)
{
    nvmlDevice_t device = first_device();
    nvmlPciInfoExt_t ext = {.version = NVML_PCI_INFO_EXT_V1};
    nvmlPciInfo_t pci;
    nvmlPciInfo_v2_t v2;
    nvmlPciInfo_v1_t v1;

    assert_ok(nvmlDeviceGetPciInfo_v3(device, &pci));
    assert_string_equal(pci.busId, BUS_ID);
    assert_string_equal(pci.busIdLegacy, "0000:0A:1F.0");
    assert_int_equal(pci.bus, 0x0a);
    assert_int_equal(pci.device, 0x1f);
    assert_int_equal(pci.pciDeviceId, 0x233010de);
    assert_int_equal(pci.pciSubSystemId, 0x16c110de);
    assert_ok(nvmlDeviceGetPciInfo_v2(device, &v2));
    assert_string_equal(v2.busId, "0000:0A:1F.0");
    assert_ok(nvmlDeviceGetPciInfo(device, &v1));
    assert_int_equal(v1.pciDeviceId, 0x233010de);
    assert_ok(nvmlDeviceGetPciInfoExt(device, &ext));
    assert_string_equal(ext.busId, BUS_ID);
    ext.version++;
    assert_int_equal(nvmlDeviceGetPciInfoExt(device, &ext), NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    assert_int_equal(nvmlDeviceGetPciInfo_v3(device, NULL), NVML_ERROR_INVALID_ARGUMENT);
}

static void test_device_unknown_facts_are_not_supported(void **state)
{
    nvmlDevice_t device;
    nvmlEnableState_t one, two;
    nvmlPciInfo_t pci;
    unsigned number;
    int major, minor, version;
    char text[80];

    host.gpu[0].known = 0;
    device = first_device();
    assert_int_equal(nvmlDeviceGetPciInfo_v3(device, &pci), NVML_ERROR_NOT_SUPPORTED);
    assert_int_equal(nvmlDeviceGetHandleByPciBusId_v2(BUS_ID, &device), NVML_ERROR_NOT_FOUND);
    assert_int_equal(nvmlDeviceGetCudaComputeCapability(device, &major, &minor),
                     NVML_ERROR_NOT_SUPPORTED);
    assert_int_equal(nvmlDeviceGetArchitecture(device, &number), NVML_ERROR_NOT_SUPPORTED);
    assert_int_equal(nvmlDeviceGetMaxClockInfo(device, NVML_CLOCK_SM, &number),
                     NVML_ERROR_NOT_SUPPORTED);
    assert_int_equal(nvmlDeviceGetEccMode(device, &one, &two), NVML_ERROR_NOT_SUPPORTED);
    assert_int_equal(nvmlSystemGetDriverVersion(text, 80), NVML_ERROR_NOT_SUPPORTED);
    assert_int_equal(nvmlSystemGetCudaDriverVersion(&version), NVML_ERROR_NOT_SUPPORTED);
    assert_ok(nvmlSystemGetNVMLVersion(text, sizeof(text)));
    assert_string_equal(text, "13.0");
}

static void test_device_pci_that_is_none_is_not_supported(void **state)
{
    nvmlDevice_t device;
    nvmlPciInfo_t pci;

    strcpy(host.gpu[0].pci, "slot 7");
    device = first_device();
    assert_int_equal(nvmlDeviceGetPciInfo_v3(device, &pci), NVML_ERROR_NOT_SUPPORTED);
}

static void test_device_architectures(void **state)
{
    static const struct {
        unsigned major, minor, architecture;
    } rows[] = {{7, 0, NVML_DEVICE_ARCH_VOLTA},      {7, 5, NVML_DEVICE_ARCH_TURING},
                {8, 6, NVML_DEVICE_ARCH_AMPERE},     {8, 9, NVML_DEVICE_ARCH_ADA},
                {9, 0, NVML_DEVICE_ARCH_HOPPER},     {10, 0, NVML_DEVICE_ARCH_BLACKWELL},
                {12, 0, NVML_DEVICE_ARCH_BLACKWELL}, {13, 0, NVML_DEVICE_ARCH_UNKNOWN}};
    unsigned got;

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(rows); i++) {
        host.gpu[0].compute_major = rows[i].major;
        host.gpu[0].compute_minor = rows[i].minor;
        assert_ok(nvmlDeviceGetArchitecture(first_device(), &got));
        assert_int_equal(got, rows[i].architecture);
        nvmlShutdown();
    }
}

static void test_device_facts(void **state)
{
    nvmlDevice_t device = first_device();
    nvmlEnableState_t current, pending;
    nvmlComputeMode_t mode;
    unsigned number;
    int major, minor;

    assert_ok(nvmlDeviceGetCudaComputeCapability(device, &major, &minor));
    assert_int_equal(major, 9);
    assert_int_equal(minor, 0);
    assert_int_equal(nvmlDeviceGetCudaComputeCapability(device, &major, NULL),
                     NVML_ERROR_INVALID_ARGUMENT);
    assert_ok(nvmlDeviceGetMaxClockInfo(device, NVML_CLOCK_GRAPHICS, &number));
    assert_int_equal(number, 1980);
    assert_ok(nvmlDeviceGetMaxClockInfo(device, NVML_CLOCK_MEM, &number));
    assert_int_equal(number, 2619);
    assert_int_equal(nvmlDeviceGetMaxClockInfo(device, NVML_CLOCK_VIDEO, &number),
                     NVML_ERROR_NOT_SUPPORTED);
    assert_int_equal(nvmlDeviceGetMaxClockInfo(device, (nvmlClockType_t)4, &number),
                     NVML_ERROR_INVALID_ARGUMENT);
    assert_ok(nvmlDeviceGetEccMode(device, &current, &pending));
    assert_int_equal(current, NVML_FEATURE_ENABLED);
    assert_ok(nvmlDeviceGetComputeMode(device, &mode));
    assert_int_equal(mode, NVML_COMPUTEMODE_DEFAULT);
    assert_ok(nvmlDeviceIsMigDeviceHandle(device, &number));
    assert_int_equal(number, 0);
}

/* The system */

static void test_device_error_strings(void **state)
{
    assert_string_equal(nvmlErrorString(NVML_SUCCESS), "Success");
    assert_string_equal(nvmlErrorString(NVML_ERROR_NOT_SUPPORTED), "Not Supported");
    assert_string_equal(nvmlErrorString(NVML_ERROR_UNKNOWN), "Unknown Error");
    assert_string_equal(nvmlErrorString((nvmlReturn_t)31), "Unknown Error");
}

static void test_device_names_of_processes(void **state)
{
    char name[256], cropped[5];

    first_device();
    assert_ok(nvmlSystemGetProcessName((unsigned)getpid(), name, sizeof(name)));
    assert_non_null(strstr(name, "libnvml"));
    assert_ok(nvmlSystemGetProcessName((unsigned)getpid(), cropped, sizeof(cropped)));
    assert_int_equal(strlen(cropped), sizeof(cropped) - 1);
    assert_int_equal(nvmlSystemGetProcessName(UINT32_MAX, name, sizeof(name)),
                     NVML_ERROR_NOT_FOUND);
    assert_int_equal(nvmlSystemGetProcessName(1, name, 0), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlSystemGetProcessName(1, NULL, 9), NVML_ERROR_INVALID_ARGUMENT);
}

static void test_device_what_there_is_none_of(void **state)
{
    unsigned count = 7;

    first_device();
    assert_ok(nvmlUnitGetCount(&count));
    assert_int_equal(count, 0);
    count = 7;
    assert_ok(nvmlGetBlacklistDeviceCount(&count));
    assert_int_equal(count, 0);
    assert_int_equal(nvmlGetExcludedDeviceCount(NULL), NVML_ERROR_INVALID_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_device_nothing_before_init),
        CASE(test_device_init_is_counted),
        CASE(test_device_unknown_flag_is_refused),
        CASE(test_device_no_host_is_no_driver),
        CASE(test_device_old_host_is_a_mismatch),
        CASE(test_device_nonsense_is_unknown),
        CASE(test_device_waits_for_a_host_that_starts),
        CASE(test_device_refusal_for_good_is_told_at_once),
        CASE(test_device_host_that_hung_up_is_met_again),
        CASE(test_device_child_may_go_on),
        CASE(test_device_none),
        CASE(test_device_by_index),
        CASE(test_device_bad_handles_are_refused),
        CASE(test_device_by_uuid),
        CASE(test_device_by_versioned_uuid),
        CASE(test_device_by_bus_id),
        CASE(test_device_by_serial_is_never_found),
        CASE(test_device_texts_need_their_room),
        CASE(test_device_longest_driver_name_fits),
        CASE(test_device_cuda_version_is_libcudas),
        CASE(test_device_pci_info),
        CASE(test_device_unknown_facts_are_not_supported),
        CASE(test_device_pci_that_is_none_is_not_supported),
        CASE(test_device_architectures),
        CASE(test_device_facts),
        CASE(test_device_error_strings),
        CASE(test_device_names_of_processes),
        CASE(test_device_what_there_is_none_of),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
