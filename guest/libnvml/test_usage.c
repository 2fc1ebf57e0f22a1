/* SPDX-License-Identifier: Apache-2.0 */
/* NVML in the guest: memory, utilisation and processes of the VM. */
#include "guest/libnvml/test_nvml.h"

#include "common/clock.h"
#include "common/pid_namespace.h"

#define GIB (UINT64_C(1) << 30)

/* Memory */

static void test_usage_memory_of_the_device(void **state)
{
    nvmlDevice_t device = first_device();
    nvmlMemory_t memory;

    assert_ok(nvmlDeviceGetMemoryInfo(device, &memory));
    assert_int_equal(memory.total, 16 * GIB);
    assert_int_equal(memory.used, 3 * GIB);
    assert_int_equal(memory.free, 13 * GIB);
    assert_int_equal(nvmlDeviceGetMemoryInfo(device, NULL), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlDeviceGetMemoryInfo(NULL, &memory), NVML_ERROR_INVALID_ARGUMENT);
}

static void test_usage_quota_is_the_total(void **state)
{
    nvmlDevice_t device = first_device();
    nvmlMemory_t memory;

    host.gpu[0].memory_quota_bytes = 4 * GIB;
    assert_ok(nvmlDeviceGetMemoryInfo(device, &memory));
    assert_int_equal(memory.total, 4 * GIB);
    assert_int_equal(memory.free, GIB);
    host.gpu[0].memory_quota_bytes = 17 * GIB; /* more than there is */
    assert_ok(nvmlDeviceGetMemoryInfo(device, &memory));
    assert_int_equal(memory.total, 16 * GIB);
    host.gpu[0].memory_total_bytes = 0; /* not known */
    assert_ok(nvmlDeviceGetMemoryInfo(device, &memory));
    assert_int_equal(memory.total, 17 * GIB);
    host.gpu[0].memory_quota_bytes = 0;
    assert_int_equal(nvmlDeviceGetMemoryInfo(device, &memory), NVML_ERROR_NOT_SUPPORTED);
}

static void test_usage_more_than_the_total_is_full(void **state)
{
    nvmlDevice_t device = first_device();
    nvmlMemory_t memory;

    host.gpu[0].memory_used_bytes = 16 * GIB + 1;
    assert_ok(nvmlDeviceGetMemoryInfo(device, &memory));
    assert_int_equal(memory.used, 16 * GIB);
    assert_int_equal(memory.free, 0);
}

static void test_usage_memory_second_version(void **state)
{
    nvmlDevice_t device = first_device();
    nvmlMemory_v2_t memory = {.version = NVML_MEMORY_V2};

    assert_ok(nvmlDeviceGetMemoryInfo_v2(device, &memory));
    assert_int_equal(memory.total, 16 * GIB);
    assert_int_equal(memory.reserved, 0);
    assert_int_equal(memory.used + memory.free, memory.total);
    memory.version++;
    assert_int_equal(nvmlDeviceGetMemoryInfo_v2(device, &memory),
                     NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    assert_int_equal(nvmlDeviceGetMemoryInfo_v2(device, NULL), NVML_ERROR_INVALID_ARGUMENT);
}

/* A GPU that the VM's pool has lost, or has under another number. */
static void test_usage_device_that_moved(void **state)
{
    nvmlDevice_t device;
    nvmlMemory_t memory;
    struct vgpu_monitor kept;

    host.n_gpus = 2;
    first_device();
    assert_ok(nvmlDeviceGetHandleByIndex_v2(1, &device));
    host.gpu[1].memory_used_bytes = 5 * GIB;
    kept = host.gpu[0];
    host.gpu[0] = host.gpu[1];
    host.gpu[1] = kept;
    assert_ok(nvmlDeviceGetMemoryInfo(device, &memory));
    assert_int_equal(memory.used, 5 * GIB);
    host.gpu[0] = kept;
    host.n_gpus = 1;
    assert_int_equal(nvmlDeviceGetMemoryInfo(device, &memory), NVML_ERROR_GPU_IS_LOST);
}

static void test_usage_host_gone_for_good(void **state)
{
    nvmlDevice_t device = first_device();
    nvmlMemory_t memory = {.used = 7};

    host.refusals = 1;
    host.refusal = VGPU_GONE;
    assert_int_equal(nvmlDeviceGetMemoryInfo(device, &memory), NVML_ERROR_GPU_IS_LOST);
    host.malformed = true;
    assert_int_equal(nvmlDeviceGetMemoryInfo(device, &memory), NVML_ERROR_UNKNOWN);
    assert_int_equal(memory.used, 7);
}

/* Utilisation */

static void test_usage_first_question_is_of_the_window(void **state)
{
    nvmlDevice_t device = first_device();
    nvmlUtilization_t utilization;

    host.gpu[0].busy_ns = UINT64_C(1) << 60;
    host.gpu[0].busy_window_ns = host.gpu[0].window_ns / 4;
    assert_ok(nvmlDeviceGetUtilizationRates(device, &utilization));
    assert_int_equal(utilization.gpu, 25);
    assert_int_equal(utilization.memory, 0);
    assert_int_equal(nvmlDeviceGetUtilizationRates(device, NULL), NVML_ERROR_INVALID_ARGUMENT);
}

/* Too soon for a measurement of its own. */
static void test_usage_next_question_at_once_is_the_same(void **state)
{
    nvmlDevice_t device = first_device();
    nvmlUtilization_t utilization;

    host.gpu[0].busy_window_ns = host.gpu[0].window_ns / 2;
    assert_ok(nvmlDeviceGetUtilizationRates(device, &utilization));
    host.gpu[0].busy_window_ns = 0;
    host.gpu[0].busy_ns = 1;
    device->measured_ns = vgpu_clock_ns();
    assert_ok(nvmlDeviceGetUtilizationRates(device, &utilization));
    assert_int_equal(utilization.gpu, 50);
}

/* As if the last question had been so long ago, the VM having been busy for a part of it. */
static unsigned after(nvmlDevice_t device, uint64_t passed_ms, uint64_t busy_ms)
{
    nvmlUtilization_t utilization;

    device->measured_ns -= passed_ms * UINT64_C(1000000);
    host.gpu[0].busy_ns = device->busy_ns + busy_ms * UINT64_C(1000000);
    assert_ok(nvmlDeviceGetUtilizationRates(device, &utilization));
    return utilization.gpu;
}

static void test_usage_later_questions_are_of_the_time_between(void **state)
{
    nvmlDevice_t device = first_device();
    nvmlUtilization_t utilization;

    host.gpu[0].busy_window_ns = host.gpu[0].window_ns / 10;
    assert_ok(nvmlDeviceGetUtilizationRates(device, &utilization));
    assert_in_range(after(device, 4000, 2000), 40, 50); /* some time has passed besides */
    assert_int_equal(after(device, 200, 60000), 100);
    assert_int_equal(after(device, 10001, 9000), 10); /* so long ago: the window again */
    host.gpu[0].busy_ns = 5;
    device->busy_ns = 6; /* an account that began anew */
    device->measured_ns -= UINT64_C(1000000000);
    assert_ok(nvmlDeviceGetUtilizationRates(device, &utilization));
    assert_int_equal(utilization.gpu, 10);
}

static void test_usage_utilisation_is_no_more_than_all(void **state)
{
    nvmlDevice_t device = first_device();
    nvmlUtilization_t utilization;

    host.gpu[0].busy_window_ns = UINT64_MAX;
    assert_ok(nvmlDeviceGetUtilizationRates(device, &utilization));
    assert_int_equal(utilization.gpu, 100);
    device->measured_ns = 0;
    host.gpu[0].window_ns = 0;
    assert_ok(nvmlDeviceGetUtilizationRates(device, &utilization));
    assert_int_equal(utilization.gpu, 0);
}

/* Processes */

static void add_processes(unsigned count)
{
    host.n_processes = count;
    for (unsigned i = 0; i < count; i++)
        host.process[i] = (struct vgpu_monitor_process){
            .pid = 100 + i, .pid_namespace = vgpu_pid_namespace(), .memory_bytes = i * GIB};
}

static void test_usage_processes(void **state)
{
    nvmlDevice_t device = first_device();
    nvmlProcessInfo_t infos[4];
    unsigned count = 4;

    add_processes(2);
    assert_ok(nvmlDeviceGetComputeRunningProcesses_v3(device, &count, infos));
    assert_int_equal(count, 2);
    assert_int_equal(infos[1].pid, 101);
    assert_int_equal(infos[1].usedGpuMemory, GIB);
    assert_int_equal(infos[1].gpuInstanceId, NVML_NO_INSTANCE);
    count = 2;
    assert_ok(nvmlDeviceGetComputeRunningProcesses_v2(device, &count, infos));
    assert_int_equal(count, 2);
    assert_int_equal(nvmlDeviceGetComputeRunningProcesses_v3(device, NULL, infos),
                     NVML_ERROR_INVALID_ARGUMENT);
}

static void test_usage_processes_first_version(void **state)
{
    nvmlDevice_t device = first_device();
    nvmlProcessInfo_v1_t infos[3] = {{.pid = 0}};
    unsigned count = 3;

    add_processes(3);
    assert_ok(nvmlDeviceGetComputeRunningProcesses(device, &count, infos));
    assert_int_equal(count, 3);
    assert_int_equal(infos[2].pid, 102);
    assert_int_equal(infos[2].usedGpuMemory, 2 * GIB);
}

static void test_usage_processes_without_room(void **state)
{
    nvmlDevice_t device = first_device();
    nvmlProcessInfo_t infos[3] = {{.pid = 0}};
    unsigned count = 0;

    assert_ok(nvmlDeviceGetComputeRunningProcesses_v3(device, &count, NULL));
    assert_int_equal(count, 0);
    add_processes(3);
    assert_int_equal(nvmlDeviceGetComputeRunningProcesses_v3(device, &count, NULL),
                     NVML_ERROR_INSUFFICIENT_SIZE);
    assert_int_equal(count, 3);
    count = 2;
    assert_int_equal(nvmlDeviceGetComputeRunningProcesses_v3(device, &count, infos),
                     NVML_ERROR_INSUFFICIENT_SIZE);
    assert_int_equal(count, 3);
    assert_int_equal(infos[2].pid, 0);
}

static void test_usage_more_processes_than_one_answer_holds(void **state)
{
    nvmlDevice_t device = first_device();
    nvmlProcessInfo_t infos[FAKE_MONITOR_PROCESSES];
    unsigned count = FAKE_MONITOR_PROCESSES;

    add_processes(FAKE_MONITOR_PROCESSES);
    assert_ok(nvmlDeviceGetComputeRunningProcesses_v3(device, &count, infos));
    assert_int_equal(count, FAKE_MONITOR_PROCESSES);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(infos[i].pid, 100 + i);
}

/* A number of processes that cannot be is not counted for ever. */
static void test_usage_process_count_that_cannot_be(void **state)
{
    nvmlDevice_t device = first_device();
    unsigned count = 0, before = fake_monitor_count(&host.questions);

    host.claimed_processes = UINT32_MAX;
    assert_ok(nvmlDeviceGetComputeRunningProcesses_v3(device, &count, NULL));
    assert_true(fake_monitor_count(&host.questions) - before <= 16);
}

static void test_usage_processes_of_other_namespaces_are_not_listed(void **state)
{
    nvmlDevice_t device = first_device();
    nvmlProcessInfo_t infos[3];
    unsigned count = 3;

    add_processes(3);
    host.process[0].pid_namespace++;
    host.process[1].pid = 0;
    assert_ok(nvmlDeviceGetComputeRunningProcesses_v3(device, &count, infos));
    assert_int_equal(count, 1);
    assert_int_equal(infos[0].pid, 102);
}

static void test_usage_no_graphics_and_no_mps(void **state)
{
    nvmlDevice_t device = first_device();
    unsigned count = 5;

    add_processes(2);
    assert_ok(nvmlDeviceGetGraphicsRunningProcesses_v3(device, &count, NULL));
    assert_int_equal(count, 0);
    count = 5;
    assert_ok(nvmlDeviceGetMPSComputeRunningProcesses_v2(device, &count, NULL));
    assert_int_equal(count, 0);
    assert_int_equal(nvmlDeviceGetGraphicsRunningProcesses(device, NULL, NULL),
                     NVML_ERROR_INVALID_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_usage_memory_of_the_device),
        CASE(test_usage_quota_is_the_total),
        CASE(test_usage_more_than_the_total_is_full),
        CASE(test_usage_memory_second_version),
        CASE(test_usage_device_that_moved),
        CASE(test_usage_host_gone_for_good),
        CASE(test_usage_first_question_is_of_the_window),
        CASE(test_usage_next_question_at_once_is_the_same),
        CASE(test_usage_later_questions_are_of_the_time_between),
        CASE(test_usage_utilisation_is_no_more_than_all),
        CASE(test_usage_processes),
        CASE(test_usage_processes_first_version),
        CASE(test_usage_processes_without_room),
        CASE(test_usage_more_processes_than_one_answer_holds),
        CASE(test_usage_process_count_that_cannot_be),
        CASE(test_usage_processes_of_other_namespaces_are_not_listed),
        CASE(test_usage_no_graphics_and_no_mps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
