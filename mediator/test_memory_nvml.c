/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What NVML shows of workers, held against a VM's memory quota: a whole mediator with its helper, a
 * stand-in for NVML, and workers that say that they hold nothing.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mediator/test_support.h"

#define MIB UINT64_C(1048576)

static const char *const watchful[] = {"--memory-grace-ms=100", "--memory-margin-mib=2", NULL};

/* The file is replaced whole: the stand-in never reads a part of it. */
static void nvml_shows(const struct host *host, int pid, uint64_t bytes)
{
    char name[96], fresh[100];
    FILE *file;

    snprintf(name, sizeof(name), "%s/processes", host->dir);
    snprintf(fresh, sizeof(fresh), "%s.new", name);
    file = fopen(fresh, "we");
    assert_non_null(file);
    fprintf(file, "1 12345\n%d %llu\n", pid, (unsigned long long)bytes);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(rename(fresh, name), 0);
}

static int setup(void **state)
{
    char name[96];
    struct host *host;

    host_setup_1(state);
    host = *state;
    snprintf(name, sizeof(name), "%s/processes", host->dir);
    setenv("FAKE_NVML_PROCESSES", name, 1);
    host_kill(&host->mediator, SIGTERM);
    host_start_mediator(host, watchful);
    return 0;
}

static int teardown(void **state)
{
    const struct host *host = *state;
    char name[96];

    snprintf(name, sizeof(name), "%s/processes", host->dir);
    unlink(name);
    return host_teardown(state);
}

static void set_quota(const struct host *host, uint64_t bytes)
{
    json_decref(admin_ok(host, "\"set-memory\", \"args\": {\"vm_id\": 1, \"memory_bytes\": %llu}",
                         (unsigned long long)bytes));
}

/* A member of "memory" of the VM in status; -1: null. */
static int64_t memory_of(const struct host *host, const char *key)
{
    json_t *status = admin_ok(host, "\"status\"");
    json_t *vm = json_array_get(json_object_get(status, "vms"), 0);
    json_t *value = json_object_get(json_object_get(vm, "memory"), key);
    int64_t number = json_is_integer(value) ? json_integer_value(value) : -1;

    assert_non_null(value);
    json_decref(status);
    return number;
}

static int64_t faults_of(const struct host *host)
{
    json_t *vms = admin_ok(host, "\"list-vms\"");
    json_t *vm = json_array_get(json_object_get(vms, "vms"), 0);
    int64_t number = json_integer_value(json_object_get(vm, "faults_total"));

    json_decref(vms);
    return number;
}

static void test_memory_nvml_ends_who_holds_too_much(void **state)
{
    struct host *host = *state;
    struct guest guest = guest_hello(host, 1);
    struct guest_channel channel;
    union message message;

    set_quota(host, 16 * MIB);
    guest_open(&guest, &channel);
    nvml_shows(host, host_worker(host), 40 * MIB);
    guest_expect(&guest, VGPU_MSG_GONE, &message);
    assert_int_equal(message.gone.status, VGPU_KILLED);
    assert_non_null(strstr(message.gone.text, "GPU memory"));
    channel_forget(&channel);
    AWAIT(faults_of(host) == 1);
    /* The VM may go on. */
    guest_open(&guest, &channel);
    channel_forget(&channel);
    guest_close(&guest);
}

static void test_memory_nvml_is_told_beside_the_ledger(void **state)
{
    struct host *host = *state;
    struct guest guest = guest_hello(host, 1);
    struct guest_channel channel;

    set_quota(host, 64 * MIB);
    guest_open(&guest, &channel);
    channel.orders->memory_bytes = 3 * MIB;
    channel_order(&channel, FAKE_OBEY, 0, 0);
    nvml_shows(host, host_worker(host), 5 * MIB);
    AWAIT(memory_of(host, "nvml_bytes") == (int64_t)(5 * MIB));
    AWAIT(memory_of(host, "held_bytes") == (int64_t)(3 * MIB));
    assert_int_equal(memory_of(host, "unexplained_bytes"), 2 * MIB);
    assert_int_equal(memory_of(host, "quota_bytes"), 64 * MIB);
    assert_true(memory_of(host, "granted_bytes") <= (int64_t)(64 * MIB));
    assert_int_equal(faults_of(host), 0);
    channel_forget(&channel);
    guest_close(&guest);
}

static void test_memory_nvml_without_a_quota_ends_nobody(void **state)
{
    struct host *host = *state;
    struct guest guest = guest_hello(host, 1);
    struct guest_channel channel;

    guest_open(&guest, &channel);
    nvml_shows(host, host_worker(host), 40 * MIB);
    AWAIT(memory_of(host, "nvml_bytes") == (int64_t)(40 * MIB)); /* status has asked for it */
    assert_int_equal(memory_of(host, "granted_bytes"), -1);
    assert_int_equal(memory_of(host, "quota_bytes"), 0);
    channel_order(&channel, FAKE_OBEY, 5, 10);
    AWAIT(channel_done(&channel) == 5);
    assert_int_equal(faults_of(host), 0);
    channel_forget(&channel);
    guest_close(&guest);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_memory_nvml_ends_who_holds_too_much, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory_nvml_is_told_beside_the_ledger, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_memory_nvml_without_a_quota_ends_nobody, setup,
                                        teardown),
    };

    support_init(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
