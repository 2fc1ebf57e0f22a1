/* SPDX-License-Identifier: Apache-2.0 */
/* NVML, linked in, with a state directory; and the account that it shares with the driver. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "softgpu/nvml_api.h"

struct fixture {
    char dir[64];
    nvmlDevice_t device;
};

static int open_fixture(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    strcpy(fixture->dir, "/tmp/softgpu-nvml-XXXXXX");
    if (!mkdtemp(fixture->dir))
        return -1;
    setenv("SOFTGPU_STATE_DIR", fixture->dir, 1);
    setenv("SOFTGPU_DEVICES", "2", 1);
    setenv("SOFTGPU_MEMORY_MB", "1024", 1);
    *state = fixture;
    return nvmlInit_v2() || nvmlDeviceGetHandleByIndex_v2(1, &fixture->device);
}

static int close_fixture(void **state)
{
    struct fixture *fixture = *state;
    char command[128];
    int r;

    nvmlShutdown();
    snprintf(command, sizeof(command), "rm -rf '%s'", fixture->dir);
    r = system(command);
    free(fixture);
    return r;
}

static void write_file(const struct fixture *fixture, const char *name, const char *mode,
                       const char *text)
{
    char path[128];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", fixture->dir, name);
    file = fopen(path, mode);
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void test_nvml_needs_init_first(void **state)
{
    unsigned count;

    (void)state;
    assert_int_equal(nvmlDeviceGetCount_v2(&count), NVML_ERROR_UNINITIALIZED);
    assert_int_equal(nvmlShutdown(), NVML_ERROR_UNINITIALIZED);
}

static void test_nvml_devices_are_found_by_every_name(void **state)
{
    struct fixture *fixture = *state;
    char uuid[NVML_DEVICE_UUID_BUFFER_SIZE];
    nvmlDevice_t device;
    nvmlPciInfo_v2_t older[2];
    nvmlPciInfo_t pci;
    unsigned count, index;

    assert_int_equal(nvmlDeviceGetCount_v2(&count), NVML_SUCCESS);
    assert_int_equal(count, 2);
    assert_int_equal(nvmlDeviceGetHandleByIndex_v2(2, &device), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlDeviceGetUUID(fixture->device, uuid, sizeof(uuid)), NVML_SUCCESS);
    assert_int_equal(nvmlDeviceGetHandleByUUID(uuid, &device), NVML_SUCCESS);
    assert_ptr_equal(device, fixture->device);
    assert_int_equal(nvmlDeviceGetPciInfo_v3(device, &pci), NVML_SUCCESS);
    assert_int_equal(nvmlDeviceGetHandleByPciBusId_v2(pci.busId, &device), NVML_SUCCESS);
    assert_ptr_equal(device, fixture->device);
    assert_int_equal(nvmlDeviceGetHandleByPciBusId_v2("0000:ff:00.0", &device),
                     NVML_ERROR_NOT_FOUND);
    memset(older, 0xaa, sizeof(older));
    assert_int_equal(nvmlDeviceGetPciInfo_v2(device, older), NVML_SUCCESS);
    assert_int_equal(older[0].bus, pci.bus);
    assert_int_equal(older[1].domain, 0xaaaaaaaa); /* the older form is smaller */
    assert_int_equal(nvmlDeviceGetIndex(fixture->device, &index), NVML_SUCCESS);
    assert_int_equal(index, 1);
}

static void test_nvml_bad_arguments_are_refused(void **state)
{
    struct fixture *fixture = *state;
    nvmlMemory_v2_t memory = {.version = 1};
    char name[4];
    unsigned value;

    assert_int_equal(nvmlDeviceGetPowerUsage((nvmlDevice_t)&value, &value),
                     NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlDeviceGetPowerUsage(fixture->device, NULL), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlDeviceGetName(fixture->device, name, sizeof(name)),
                     NVML_ERROR_INSUFFICIENT_SIZE);
    assert_int_equal(nvmlDeviceGetMemoryInfo_v2(fixture->device, &memory),
                     NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    assert_int_equal(nvmlEventSetFree((nvmlEventSet_t)&value), NVML_ERROR_INVALID_ARGUMENT);
}

static void test_nvml_state_file_is_reported(void **state)
{
    struct fixture *fixture = *state;
    nvmlUtilization_t utilization;
    unsigned long long count;
    unsigned value;

    assert_int_equal(nvmlDeviceGetTemperature(fixture->device, NVML_TEMPERATURE_GPU, &value),
                     NVML_SUCCESS);
    assert_int_equal(value, 40);
    write_file(fixture, "gpu1.state", "w",
               "# a hot one\ntemperature_celsius 91\npower_milliwatts 650000\n"
               "utilization_percent 77\necc_uncorrected 3\nnonsense\nsm_clock_mhz many\n");
    assert_int_equal(nvmlDeviceGetTemperature(fixture->device, NVML_TEMPERATURE_GPU, &value),
                     NVML_SUCCESS);
    assert_int_equal(value, 91);
    assert_int_equal(nvmlDeviceGetPowerUsage(fixture->device, &value), NVML_SUCCESS);
    assert_int_equal(value, 650000);
    assert_int_equal(nvmlDeviceGetUtilizationRates(fixture->device, &utilization), NVML_SUCCESS);
    assert_int_equal(utilization.gpu, 77);
    assert_int_equal(nvmlDeviceGetTotalEccErrors(fixture->device, NVML_MEMORY_ERROR_UNCORRECTED,
                                                 NVML_VOLATILE_ECC, &count),
                     NVML_SUCCESS);
    assert_int_equal(count, 3);
    assert_int_equal(nvmlDeviceGetClockInfo(fixture->device, NVML_CLOCK_SM, &value), NVML_SUCCESS);
    assert_int_equal(value, 1980);
}

static void test_nvml_lost_device_answers_so(void **state)
{
    struct fixture *fixture = *state;
    unsigned value;

    write_file(fixture, "gpu1.state", "w", "lost 1\n");
    assert_int_equal(nvmlDeviceGetPowerUsage(fixture->device, &value), NVML_ERROR_GPU_IS_LOST);
    write_file(fixture, "gpu1.state", "w", "");
    assert_int_equal(nvmlDeviceGetPowerUsage(fixture->device, &value), NVML_SUCCESS);
}

static void start_again(void)
{
    assert_int_equal(nvmlShutdown(), NVML_SUCCESS);
    assert_int_equal(nvmlInit_v2(), NVML_SUCCESS);
}

static void test_nvml_absent_device_is_not_found_by_the_next_init(void **state)
{
    struct fixture *fixture = *state;
    char uuid[NVML_DEVICE_UUID_BUFFER_SIZE];
    nvmlDevice_t device;
    unsigned value;

    assert_int_equal(nvmlDeviceGetUUID(fixture->device, uuid, sizeof(uuid)), NVML_SUCCESS);
    write_file(fixture, "gpu0.state", "w", "absent 1\n");
    assert_int_equal(nvmlDeviceGetCount_v2(&value), NVML_SUCCESS);
    assert_int_equal(value, 2);
    start_again();
    assert_int_equal(nvmlDeviceGetCount_v2(&value), NVML_SUCCESS);
    assert_int_equal(value, 1);
    assert_int_equal(nvmlDeviceGetHandleByIndex_v2(1, &device), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlDeviceGetHandleByPciBusId_v2("0000:10:00.0", &device),
                     NVML_ERROR_NOT_FOUND);
    assert_int_equal(nvmlDeviceGetHandleByUUID(uuid, &device), NVML_SUCCESS);
    assert_int_equal(nvmlDeviceGetIndex(device, &value), NVML_SUCCESS);
    assert_int_equal(value, 0);
    assert_int_equal(nvmlDeviceGetMinorNumber(device, &value), NVML_SUCCESS);
    assert_int_equal(value, 1);
}

static void test_nvml_device_can_be_in_another_slot(void **state)
{
    struct fixture *fixture = *state;
    nvmlDevice_t device;
    nvmlPciInfo_t pci;

    write_file(fixture, "gpu1.state", "w", "pci_bus 175\n");
    start_again();
    assert_int_equal(nvmlDeviceGetHandleByPciBusId_v2("0000:af:00.0", &device), NVML_SUCCESS);
    assert_int_equal(nvmlDeviceGetHandleByPciBusId_v2("0000:11:00.0", &device),
                     NVML_ERROR_NOT_FOUND);
    assert_int_equal(nvmlDeviceGetHandleByIndex_v2(1, &device), NVML_SUCCESS);
    assert_int_equal(nvmlDeviceGetPciInfo_v3(device, &pci), NVML_SUCCESS);
    assert_string_equal(pci.busId, "00000000:AF:00.0");
    write_file(fixture, "gpu1.state", "w", "pci_bus 256\n"); /* there is no such bus */
    start_again();
    assert_int_equal(nvmlDeviceGetPciInfo_v3(device, &pci), NVML_SUCCESS);
    assert_string_equal(pci.busId, "00000000:11:00.0");
}

static void test_nvml_numa_node_and_mig_mode_are_reported(void **state)
{
    struct fixture *fixture = *state;
    unsigned value, pending;

    assert_int_equal(nvmlDeviceGetNumaNodeId(fixture->device, &value), NVML_ERROR_NOT_SUPPORTED);
    assert_int_equal(nvmlDeviceGetMigMode(fixture->device, &value, &pending), NVML_SUCCESS);
    assert_int_equal(value, NVML_DEVICE_MIG_DISABLE);
    write_file(fixture, "gpu1.state", "w", "numa_node 3\nmig_mode 1\n");
    assert_int_equal(nvmlDeviceGetNumaNodeId(fixture->device, &value), NVML_SUCCESS);
    assert_int_equal(value, 3);
    assert_int_equal(nvmlDeviceGetMigMode(fixture->device, &value, &pending), NVML_SUCCESS);
    assert_int_equal(value, NVML_DEVICE_MIG_ENABLE);
}

static void test_nvml_device_that_needs_a_reset_answers_so(void **state)
{
    struct fixture *fixture = *state;
    unsigned value;

    write_file(fixture, "gpu1.state", "w", "reset_required 1\n");
    assert_int_equal(nvmlDeviceGetTemperature(fixture->device, NVML_TEMPERATURE_GPU, &value),
                     NVML_ERROR_RESET_REQUIRED);
}

static void test_nvml_remapped_rows_are_reported(void **state)
{
    struct fixture *fixture = *state;
    unsigned corrected, uncorrected, pending, failure;

    write_file(fixture, "gpu1.state", "w",
               "remapped_corrected 2\nremapped_uncorrected 3\nremap_pending 1\n");
    assert_int_equal(
        nvmlDeviceGetRemappedRows(fixture->device, &corrected, &uncorrected, &pending, &failure),
        NVML_SUCCESS);
    assert_int_equal(corrected, 2);
    assert_int_equal(uncorrected, 3);
    assert_int_equal(pending, 1);
    assert_int_equal(failure, 0);
    assert_int_equal(
        nvmlDeviceGetRemappedRows(fixture->device, &corrected, NULL, &pending, &failure),
        NVML_ERROR_INVALID_ARGUMENT);
}

static void test_nvml_reasons_for_low_clocks_are_reported(void **state)
{
    struct fixture *fixture = *state;
    unsigned long long reasons;

    write_file(fixture, "gpu1.state", "w", "throttle_reasons 72\n");
    assert_int_equal(nvmlDeviceGetCurrentClocksEventReasons(fixture->device, &reasons),
                     NVML_SUCCESS);
    assert_int_equal(reasons, NVML_CLOCKS_HW_SLOWDOWN | NVML_CLOCKS_HW_THERMAL);
}

static void test_nvml_fields_are_answered_each(void **state)
{
    struct fixture *fixture = *state;
    nvmlFieldValue_t values[3] = {{.fieldId = NVML_FI_DEV_MEMORY_TEMP},
                                  {.fieldId = 1},
                                  {.fieldId = NVML_FI_DEV_GET_GPU_RECOVERY_ACTION}};

    write_file(fixture, "gpu1.state", "w", "memory_temperature_celsius 97\nrecovery_action 1\n");
    assert_int_equal(nvmlDeviceGetFieldValues(fixture->device, 3, values), NVML_SUCCESS);
    assert_int_equal(values[0].nvmlReturn, NVML_SUCCESS);
    assert_int_equal(values[0].value.uiVal, 97);
    assert_int_equal(values[1].nvmlReturn, NVML_ERROR_NOT_SUPPORTED);
    assert_int_equal(values[2].value.uiVal, NVML_GPU_RECOVERY_ACTION_GPU_RESET);
    assert_int_equal(nvmlDeviceGetFieldValues(fixture->device, 257, values),
                     NVML_ERROR_INVALID_ARGUMENT);
}

static void test_nvml_xid_events_come_once(void **state)
{
    struct fixture *fixture = *state;
    nvmlEventData_t data;
    nvmlEventSet_t set;

    write_file(fixture, "gpu1.xid", "a", "13\n"); /* before registration: not reported */
    assert_int_equal(nvmlEventSetCreate(&set), NVML_SUCCESS);
    assert_int_equal(nvmlDeviceRegisterEvents(fixture->device, NVML_EVENT_XID_CRITICAL, set),
                     NVML_SUCCESS);
    assert_int_equal(nvmlEventSetWait_v2(set, &data, 0), NVML_ERROR_TIMEOUT);
    write_file(fixture, "gpu1.xid", "a", "79\n48\n");
    assert_int_equal(nvmlEventSetWait_v2(set, &data, 10000), NVML_SUCCESS);
    assert_ptr_equal(data.device, fixture->device);
    assert_int_equal(data.eventType, NVML_EVENT_XID_CRITICAL);
    assert_int_equal(data.eventData, 79);
    assert_int_equal(nvmlEventSetWait_v2(set, &data, 10000), NVML_SUCCESS);
    assert_int_equal(data.eventData, 48);
    assert_int_equal(nvmlEventSetWait_v2(set, &data, 0), NVML_ERROR_TIMEOUT);
    assert_int_equal(nvmlEventSetFree(set), NVML_SUCCESS);
}

static void *append_later(void *arg)
{
    write_file(arg, "gpu1.xid", "a", "31\n");
    return NULL;
}

static void test_nvml_waiting_is_woken_by_an_event(void **state)
{
    struct fixture *fixture = *state;
    nvmlEventData_t data;
    nvmlEventSet_t set;
    pthread_t thread;

    assert_int_equal(nvmlEventSetCreate(&set), NVML_SUCCESS);
    assert_int_equal(nvmlDeviceRegisterEvents(fixture->device, NVML_EVENT_XID_CRITICAL, set),
                     NVML_SUCCESS);
    pthread_create(&thread, NULL, append_later, fixture);
    assert_int_equal(nvmlEventSetWait_v2(set, &data, 60000), NVML_SUCCESS);
    assert_int_equal(data.eventData, 31);
    pthread_join(thread, NULL);
    assert_int_equal(nvmlEventSetFree(set), NVML_SUCCESS);
}

/* A child that uses memory of device 1 until it is killed. */
static pid_t start_user(const struct fixture *fixture, uint64_t bytes)
{
    int ready[2];
    char byte;
    pid_t pid;

    assert_int_equal(pipe(ready), 0);
    pid = fork();
    if (pid == 0) {
        struct usage *usage = usage_open(fixture->dir);

        usage_set(usage, 1, bytes);
        _exit(write(ready[1], "", usage ? 1 : 0) == 1 ? pause() : 1);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    return pid;
}

static void test_nvml_processes_are_seen_until_they_die(void **state)
{
    struct fixture *fixture = *state;
    pid_t pid = start_user(fixture, 3 << 20);
    nvmlProcessInfo_t infos[8];
    unsigned count = 8;
    nvmlMemory_t memory;

    assert_int_equal(nvmlDeviceGetMemoryInfo(fixture->device, &memory), NVML_SUCCESS);
    assert_int_equal(memory.used, 3 << 20);
    assert_int_equal(memory.total, UINT64_C(1) << 30);
    assert_int_equal(nvmlDeviceGetComputeRunningProcesses_v3(fixture->device, &count, infos),
                     NVML_SUCCESS);
    assert_int_equal(count, 1);
    assert_int_equal(infos[0].pid, pid);
    assert_int_equal(infos[0].usedGpuMemory, 3 << 20);
    count = 0;
    assert_int_equal(nvmlDeviceGetComputeRunningProcesses_v3(fixture->device, &count, NULL),
                     NVML_ERROR_INSUFFICIENT_SIZE);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_int_equal(nvmlDeviceGetMemoryInfo(fixture->device, &memory), NVML_SUCCESS);
    assert_int_equal(memory.used, 0);
}

static void test_nvml_reset_ends_what_a_reset_ends(void **state)
{
    struct fixture *fixture = *state;
    unsigned corrected, uncorrected, pending, failure, value;
    unsigned long long count;

    write_file(fixture, "gpu1.state", "w",
               "temperature_celsius 91\nlost 1\n ecc_uncorrected 3\necc_uncorrected_total 9\n"
               "remap_pending 1\nremap_failure 1");
    assert_int_equal(softgpuDeviceReset(fixture->device), NVML_SUCCESS);
    assert_int_equal(nvmlDeviceGetTemperature(fixture->device, NVML_TEMPERATURE_GPU, &value),
                     NVML_SUCCESS);
    assert_int_equal(value, 91);
    assert_int_equal(nvmlDeviceGetTotalEccErrors(fixture->device, NVML_MEMORY_ERROR_UNCORRECTED,
                                                 NVML_VOLATILE_ECC, &count),
                     NVML_SUCCESS);
    assert_int_equal(count, 0);
    assert_int_equal(nvmlDeviceGetTotalEccErrors(fixture->device, NVML_MEMORY_ERROR_UNCORRECTED,
                                                 NVML_AGGREGATE_ECC, &count),
                     NVML_SUCCESS);
    assert_int_equal(count, 9);
    assert_int_equal(
        nvmlDeviceGetRemappedRows(fixture->device, &corrected, &uncorrected, &pending, &failure),
        NVML_SUCCESS);
    assert_int_equal(pending, 0);
    assert_int_equal(failure, 1);
}

static void test_nvml_reset_of_what_is_in_use_is_refused(void **state)
{
    struct fixture *fixture = *state;
    pid_t pid = start_user(fixture, 4096);
    unsigned value;

    write_file(fixture, "gpu1.state", "w", "lost 1\n");
    assert_int_equal(softgpuDeviceReset(fixture->device), NVML_ERROR_IN_USE);
    assert_int_equal(nvmlDeviceGetTemperature(fixture->device, NVML_TEMPERATURE_GPU, &value),
                     NVML_ERROR_GPU_IS_LOST);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_int_equal(softgpuDeviceReset(fixture->device), NVML_SUCCESS);
    assert_int_equal(nvmlDeviceGetTemperature(fixture->device, NVML_TEMPERATURE_GPU, &value),
                     NVML_SUCCESS);
}

static void test_nvml_processes_can_be_invented(void **state)
{
    struct fixture *fixture = *state;
    nvmlProcessInfo_t infos[8];
    unsigned count = 8;

    write_file(fixture, "gpu1.state", "w", "process 4711 1048576\nmemory_used_bytes 2097152\n");
    assert_int_equal(nvmlDeviceGetComputeRunningProcesses_v3(fixture->device, &count, infos),
                     NVML_SUCCESS);
    assert_int_equal(count, 1);
    assert_int_equal(infos[0].pid, 4711);
}

static void test_nvml_state_processes_are_bounded(void **state)
{
    char text[HEALTH_MAX_PROCESSES * 16 + 16] = "";
    struct health health;

    (void)state;
    health_default(&health);
    for (int i = 0; i < HEALTH_MAX_PROCESSES; i++)
        strcat(text, "process 1 2\n");
    assert_int_equal(health_parse(&health, text, strlen(text)), 0);
    strcat(text, "process 1 2\n");
    health_default(&health);
    assert_int_equal(health_parse(&health, text, strlen(text)), 1);
    assert_int_equal(health.n_processes, HEALTH_MAX_PROCESSES);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_nvml_##name, open_fixture, close_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nvml_needs_init_first),
        TEST(devices_are_found_by_every_name),
        TEST(bad_arguments_are_refused),
        TEST(state_file_is_reported),
        TEST(lost_device_answers_so),
        TEST(absent_device_is_not_found_by_the_next_init),
        TEST(device_can_be_in_another_slot),
        TEST(numa_node_and_mig_mode_are_reported),
        TEST(device_that_needs_a_reset_answers_so),
        TEST(remapped_rows_are_reported),
        TEST(reasons_for_low_clocks_are_reported),
        TEST(fields_are_answered_each),
        TEST(reset_ends_what_a_reset_ends),
        TEST(reset_of_what_is_in_use_is_refused),
        TEST(xid_events_come_once),
        TEST(waiting_is_woken_by_an_event),
        TEST(processes_are_seen_until_they_die),
        TEST(processes_can_be_invented),
        cmocka_unit_test(test_nvml_state_processes_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
