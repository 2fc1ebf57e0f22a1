/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a VM's workers do wrong, end to end: found from outside, ended, counted, quarantined; and
 * what is not its fault. The limits of a VM reach its workers, live.
 */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vgpu/lease.h>

#include "common/clock.h"
#include "mediator/test_support.h"
#include "ring/pages.h"

static void set(const struct host *host, const char *command, uint32_t vm_id, const char *args)
{
    json_decref(
        admin_ok(host, "\"%s\", \"args\": {\"vm_id\": %u%s}", command, (unsigned)vm_id, args));
}

/* A value of `show-vm`; the caller's. */
static json_t *shown(const struct host *host, uint32_t vm_id, const char *key)
{
    json_t *result = admin_ok(host, "\"show-vm\", \"args\": {\"vm_id\": %u}", (unsigned)vm_id);
    json_t *value = json_incref(json_object_get(json_object_get(result, "vm"), key));

    json_decref(result);
    assert_non_null(value);
    return value;
}

static json_int_t shown_number(const struct host *host, uint32_t vm_id, const char *key)
{
    json_t *value = shown(host, vm_id, key);
    json_int_t number = json_integer_value(value);

    json_decref(value);
    return number;
}

static bool quarantined_in_store(const struct host *host, uint32_t vm_id)
{
    json_t *value = shown(host, vm_id, "quarantined");
    bool quarantined = json_is_true(value);

    json_decref(value);
    return quarantined;
}

static bool state_is(const struct host *host, uint32_t vm_id, const char *state)
{
    json_t *status = admin_ok(host, "\"status\""), *vm;
    bool is = false;
    size_t i;

    json_array_foreach (json_object_get(status, "vms"), i, vm)
        if (json_integer_value(json_object_get(vm, "vm_id")) == vm_id)
            is = strcmp(json_string_value(json_object_get(vm, "state")), state) == 0;
    json_decref(status);
    return is;
}

/* Opens one for a guest that may have been told of a change of its VM before. */
static void open_channel(struct guest *guest, struct guest_channel *channel)
{
    struct vgpu_msg_open open = good_open(guest);
    int fds[3] = {-1, -1, -1};
    union message message;

    guest_send(guest, &open, sizeof(open));
    do
        assert_true(guest_receive(guest, &message, fds) > 0);
    while (message.head.type == VGPU_MSG_STATE);
    assert_int_equal(message.head.type, VGPU_MSG_OPENED);
    guest_take_opened(&message, fds, channel);
}

/* Opens a channel, lets its worker do that, and waits for its end. */
static uint32_t end_by(struct guest *guest, enum fake_mode mode)
{
    struct guest_channel channel;
    union message message;

    open_channel(guest, &channel);
    channel_order(&channel, mode, 1, 10);
    do
        assert_true(guest_receive(guest, &message, NULL) > 0);
    while (message.head.type == VGPU_MSG_STATE);
    assert_int_equal(message.head.type, VGPU_MSG_GONE);
    channel_forget(&channel);
    return message.gone.status;
}

/* The next message that is no STATE. */
static void expect_refused(struct guest *guest, uint32_t status)
{
    struct vgpu_msg_open open = good_open(guest);
    union message message;

    guest_send(guest, &open, sizeof(open));
    do
        assert_true(guest_receive(guest, &message, NULL) > 0);
    while (message.head.type == VGPU_MSG_STATE);
    assert_int_equal(message.head.type, VGPU_MSG_REFUSED);
    assert_int_equal(message.refused.status, status);
}

/* A child of a process by its program's name, as the kernel keeps it. 0: none. */
static pid_t child_of(pid_t parent, const char *name)
{
    DIR *dir = opendir("/proc");
    struct dirent *entry;
    pid_t found = 0;

    while (!found && (entry = readdir(dir))) {
        char path[300], comm[64];
        int pid, ppid;
        FILE *file;

        snprintf(path, sizeof(path), "/proc/%s/stat", entry->d_name);
        file = fopen(path, "r");
        if (file && fscanf(file, "%d (%63[^)]) %*c %d", &pid, comm, &ppid) == 3 && ppid == parent &&
            strncmp(comm, name, 15) == 0)
            found = pid;
        if (file)
            fclose(file);
    }
    closedir(dir);
    return found;
}

static void test_faults_quarantine_at_the_threshold(void **state)
{
    struct host *host = *state;
    struct guest guest = guest_hello(host, 1), other = guest_hello(host, 2);
    struct guest_channel channel;

    set(host, "set-faults", 1, ", \"fault_threshold\": 3");
    for (int i = 1; i <= 2; i++) {
        end_by(&guest, FAKE_CRASH);
        AWAIT(shown_number(host, 1, "faults") == i);
        assert_true(state_is(host, 1, "disconnected"));
    }
    end_by(&guest, FAKE_CRASH);
    AWAIT(quarantined_in_store(host, 1));
    assert_true(state_is(host, 1, "quarantined"));
    assert_int_equal(shown_number(host, 1, "faults_total"), 3);
    expect_refused(&guest, VGPU_QUARANTINED);
    guest_open(&other, &channel);
    channel_order(&channel, FAKE_OBEY, 5, 10);
    AWAIT(channel_done(&channel) == 5);
    assert_int_equal(shown_number(host, 2, "faults_total"), 0);
    channel_forget(&channel);
    guest_close(&guest);
    guest_close(&other);
}

static void test_faults_released_vm_works_at_once(void **state)
{
    struct host *host = *state;
    struct guest guest = guest_hello(host, 1), second = guest_hello(host, 1);
    struct guest_channel channel;

    guest_open(&second, &channel);
    channel_order(&channel, FAKE_OBEY, 5, 10);
    AWAIT(channel_done(&channel) == 5);
    set(host, "set-faults", 1, ", \"fault_threshold\": 1");
    end_by(&guest, FAKE_CRASH);
    /* Its connections stay, and so do its other channels; but not one job. */
    AWAIT(page_load_u32(&channel.orders->flags) & VGPU_LEASE_QUARANTINED);
    channel_order(&channel, FAKE_OBEY, 10, 10);
    expect_refused(&guest, VGPU_QUARANTINED);
    AWAIT(quarantined_in_store(host, 1));
    assert_int_equal(channel_done(&channel), 5);
    set(host, "unquarantine", 1, "");
    AWAIT(channel_done(&channel) == 10);
    /* What was forgiven does not count again: one below the threshold. */
    set(host, "set-faults", 1, ", \"fault_threshold\": 2");
    end_by(&guest, FAKE_CRASH);
    AWAIT(shown_number(host, 1, "faults") == 1);
    assert_false(state_is(host, 1, "quarantined"));
    channel_forget(&channel);
    guest_close(&guest);
    guest_close(&second);
}

static void test_faults_age(void **state)
{
    struct host *host = *state;
    struct guest guest = guest_hello(host, 1);

    set(host, "set-faults", 1, ", \"fault_threshold\": 2, \"fault_window_s\": 1");
    end_by(&guest, FAKE_CRASH);
    pause_ms(2100); /* what is tested is that time passes */
    end_by(&guest, FAKE_CRASH);
    AWAIT(shown_number(host, 1, "faults_total") == 2);
    assert_false(state_is(host, 1, "quarantined"));
    guest_close(&guest);
}

static void test_faults_outlive_the_mediator(void **state)
{
    struct host *host = *state;
    struct guest guest = guest_hello(host, 1);

    set(host, "set-faults", 1, ", \"fault_threshold\": 2");
    end_by(&guest, FAKE_CRASH);
    AWAIT(shown_number(host, 1, "faults") == 1);
    host_kill(&host->mediator, SIGKILL);
    guest_close(&guest);
    host_start_mediator(host, NULL);
    guest = guest_hello(host, 1);
    end_by(&guest, FAKE_CRASH);
    AWAIT(quarantined_in_store(host, 1));
    guest_close(&guest);
}

/* A worker that told its faults to one mediator has not done them again for the next. */
static void test_faults_are_counted_once(void **state)
{
    struct host *host = *state;
    struct guest guest = guest_hello(host, 1);
    struct guest_channel channel;
    struct vgpu_msg_resume resume = {.head = {sizeof(resume), VGPU_MSG_RESUME, 0, 99, 0}};
    union message message;

    guest_open(&guest, &channel);
    channel_order(&channel, FAKE_FAULT, 2, 100);
    AWAIT(shown_number(host, 1, "faults") == 2);
    host_kill(&host->mediator, SIGKILL);
    guest_close(&guest);
    host_start_mediator(host, NULL);
    guest = guest_hello(host, 1);
    resume.channel = channel.number;
    memcpy(resume.token, channel.token, sizeof(resume.token));
    guest_send(&guest, &resume, sizeof(resume));
    guest_expect(&guest, VGPU_MSG_RESUMED, &message);
    channel_order(&channel, FAKE_FAULT, 3, 100); /* one more, behind which all has been heard */
    AWAIT(shown_number(host, 1, "faults") >= 3);
    assert_int_equal(shown_number(host, 1, "faults_total"), 3);
    assert_int_equal(vm_number(host, 1, "faults"), 3);
    channel_forget(&channel);
    guest_close(&guest);
}

/* The store hangs, and the mediator dies before it has answered. */
static void test_faults_quarantine_needs_no_store(void **state)
{
    struct host *host = *state;
    struct guest guest = guest_hello(host, 1);
    pid_t store;

    set(host, "set-faults", 1, ", \"fault_threshold\": 1");
    store = child_of(host->mediator, "vgpu-store");
    assert_true(store > 0);
    kill(store, SIGSTOP);
    end_by(&guest, FAKE_CRASH);
    AWAIT(state_is(host, 1, "quarantined"));
    expect_refused(&guest, VGPU_QUARANTINED);
    kill(host->mediator, SIGKILL);
    kill(store, SIGKILL);
    wait_exit(host->mediator);
    guest_close(&guest);
    host_start_mediator(host, NULL);
    guest = guest_hello(host, 1);
    expect_refused(&guest, VGPU_QUARANTINED);
    AWAIT(quarantined_in_store(host, 1));
    assert_int_equal(shown_number(host, 1, "faults_total"), 1);
    /* Nothing is left over that would bring it back after it was cleared. */
    set(host, "unquarantine", 1, "");
    host_kill(&host->mediator, SIGKILL);
    guest_close(&guest);
    host_start_mediator(host, NULL);
    guest = guest_hello(host, 1);
    end_by(&guest, FAKE_ABORT); /* a channel was opened */
    guest_close(&guest);
}

static json_int_t faults_of(struct host *host, struct guest *guest, enum fake_mode mode,
                            uint32_t status)
{
    json_int_t before = shown_number(host, 1, "faults_total");

    assert_int_equal(end_by(guest, mode), status);
    AWAIT(shown_number(host, 1, "faults_total") > before);
    return shown_number(host, 1, "faults_total") - before;
}

static void test_faults_of_workers_that_misbehave(void **state)
{
    struct host *host = *state;
    struct guest guest = guest_hello(host, 1);

    set(host, "set-faults", 1, ", \"fault_threshold\": 100");
    assert_int_equal(faults_of(host, &guest, FAKE_ABORT, VGPU_BAD_RECORD), 1);
    assert_int_equal(faults_of(host, &guest, FAKE_LIAR, VGPU_KILLED), 1);
    set(host, "set-depth", 1, ", \"depth\": 10");
    assert_int_equal(faults_of(host, &guest, FAKE_DEEP, VGPU_KILLED), 1);
    guest_close(&guest);
}

static void test_faults_of_a_worker_that_ignores_its_rate(void **state)
{
    struct host *host = *state;
    struct guest guest = guest_hello(host, 1);
    struct guest_channel channel;
    union message message;

    set(host, "set-rate", 1, ", \"rate_per_s\": 1, \"burst\": 10");
    guest_open(&guest, &channel);
    channel_order(&channel, FAKE_GREEDY, 1000000, 100);
    guest_expect(&guest, VGPU_MSG_GONE, &message);
    assert_int_equal(message.gone.status, VGPU_KILLED);
    assert_non_null(strstr(message.gone.text, "more jobs than it was granted"));
    AWAIT(shown_number(host, 1, "faults") == 1);
    channel_forget(&channel);
    guest_close(&guest);
}

static void test_faults_of_kernels_are_counted(void **state)
{
    struct host *host = *state;
    struct guest guest = guest_hello(host, 1);
    struct guest_channel channel;

    set(host, "set-faults", 1, ", \"fault_threshold\": 3");
    guest_open(&guest, &channel);
    channel_order(&channel, FAKE_FAULT, 2, 100);
    AWAIT(shown_number(host, 1, "faults") == 2);
    assert_false(state_is(host, 1, "quarantined"));
    channel_order(&channel, FAKE_FAULT, 3, 100);
    AWAIT(state_is(host, 1, "quarantined"));
    channel_forget(&channel);
    guest_close(&guest);
}

/* Somebody on the host kills a worker; a guest closes its channel, or goes away. */
static void test_faults_are_not_what_the_host_does(void **state)
{
    struct host *host = *state;
    struct guest guest = guest_hello(host, 1), gone = guest_hello(host, 1);
    struct guest_channel killed, closed, left;
    union message message;
    struct vgpu_msg_channel close = {{sizeof(close), VGPU_MSG_CLOSE, 0, 77, 0}, 0, 0};

    guest_open(&guest, &killed);
    kill(child_of(host->launcher, "mediator-fake-w"), SIGKILL);
    guest_expect(&guest, VGPU_MSG_GONE, &message);
    assert_int_equal(message.gone.status, VGPU_KILLED);
    guest_open(&guest, &closed);
    channel_order(&closed, FAKE_DEAF, 0, 10);
    close.channel = closed.number;
    guest_send(&guest, &close, sizeof(close));
    guest_expect(&guest, VGPU_MSG_CLOSED, &message);
    guest_open(&gone, &left);
    guest_close(&gone);
    AWAIT(workers(host) == 0);
    assert_int_equal(vm_number(host, 1, "faults"), 0);
    assert_int_equal(shown_number(host, 1, "faults_total"), 0);
    channel_forget(&killed);
    channel_forget(&closed);
    channel_forget(&left);
    guest_close(&guest);
}

static void write_line(const char *path, int pid, int number)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fprintf(file, "%d %d\n", pid, number);
    fclose(file);
}

static bool gpu_is(const struct host *host, const char *state)
{
    json_t *status = admin_ok(host, "\"status\"");
    const json_t *gpu = json_array_get(json_object_get(status, "gpus"), 0);
    bool is = strcmp(json_string_value(json_object_get(gpu, "state")), state) == 0;

    json_decref(status);
    return is;
}

/* Whether pool A takes one more VM, and in healthy how many of its GPUs are so. */
static bool admits(struct host *host, json_int_t healthy)
{
    json_t *result = admin_ok(host, "\"capacity\", \"args\": {\"pool\": \"A\"}");
    const json_t *pool = json_array_get(json_object_get(result, "pools"), 0);
    bool admits = json_is_true(json_object_get(pool, "admits"));

    assert_int_equal(json_integer_value(json_object_get(pool, "gpus_healthy")), healthy);
    assert_int_equal(json_is_null(json_object_get(pool, "reason")), admits);
    json_decref(result);
    return admits;
}

/* Whose work goes with the GPU is told so, and nobody is charged for that. */
static void test_faults_are_not_those_of_a_lost_gpu(void **state)
{
    struct host *host = *state;
    struct guest guest;
    struct guest_channel busy, idle;
    union message message;
    char lost[96];

    snprintf(lost, sizeof(lost), "%s/lost", host->dir);
    setenv("FAKE_NVML_LOST", lost, 1);
    host_kill(&host->mediator, SIGTERM);
    host_start_mediator(host, NULL);
    unsetenv("FAKE_NVML_LOST");
    guest = guest_hello(host, 1);
    guest_open(&guest, &busy);
    guest_open(&guest, &idle);
    channel_order(&busy, FAKE_HANG, 1, 10);
    AWAIT(busy.orders->granted == 1);
    write_line(lost, 0, 0);
    for (int i = 0; i < 2; i++) {
        guest_expect(&guest, VGPU_MSG_GONE, &message);
        assert_int_equal(message.gone.status, VGPU_NO_GPU);
        assert_non_null(strstr(message.gone.text, "GPU 0 is unhealthy: it is lost"));
    }
    channel_forget(&busy);
    channel_forget(&idle);
    assert_true(gpu_is(host, "unhealthy"));
    assert_false(admits(host, 0));
    expect_refused(&guest, VGPU_NO_GPU);
    assert_int_equal(vm_number(host, 1, "faults"), 0);
    assert_int_equal(unlink(lost), 0);
    AWAIT(gpu_is(host, "ok"));
    assert_true(admits(host, 1));
    end_by(&guest, FAKE_CRASH);
    AWAIT(shown_number(host, 1, "faults") == 1);
    guest_close(&guest);
}

/* Answers come in order: what the mediator asked NVML when it started has been answered too. */
static void await_nvml(const struct host *host)
{
    json_decref(admin_ok(host, "\"scan-gpus\""));
}

/* A mediator that asks NVML for the GPUs' health only when something is wrong. */
static void restart_without_looks(struct host *host, const char *variable, const char *path)
{
    static const char *const never[] = {"--health-ms=0", NULL};

    setenv(variable, path, 1);
    host_kill(&host->mediator, SIGTERM);
    host_start_mediator(host, never);
    unsetenv(variable);
    await_nvml(host);
}

/* The GPU is lost, and nobody knows it yet. */
static void test_faults_are_judged_after_a_look_at_the_gpu(void **state)
{
    struct host *host = *state;
    struct guest guest;
    char lost[96];

    snprintf(lost, sizeof(lost), "%s/lost", host->dir);
    restart_without_looks(host, "FAKE_NVML_LOST", lost);
    guest = guest_hello(host, 1);
    write_line(lost, 0, 0);
    end_by(&guest, FAKE_CRASH);
    AWAIT(gpu_is(host, "unhealthy"));
    assert_int_equal(shown_number(host, 1, "faults"), 0);
    assert_int_equal(unlink(lost), 0);
    AWAIT(gpu_is(host, "ok"));
    end_by(&guest, FAKE_CRASH);
    AWAIT(shown_number(host, 1, "faults") == 1);
    guest_close(&guest);
}

/* The look that was under way when the second worker died finds it lost, the next one does not. */
static void test_faults_of_a_gpu_lost_for_a_moment_are_not_the_vms(void **state)
{
    struct host *host = *state;
    struct guest guest;
    struct guest_channel channels[2];
    union message message;
    char once[96];
    pid_t nvml;

    snprintf(once, sizeof(once), "%s/once", host->dir);
    restart_without_looks(host, "FAKE_NVML_LOST_ONCE", once);
    nvml = child_of(host->mediator, "vgpu-nvml");
    assert_true(nvml > 0);
    guest = guest_hello(host, 1);
    for (int i = 0; i < 2; i++)
        guest_open(&guest, &channels[i]);
    kill(nvml, SIGSTOP);
    write_line(once, 0, 0);
    for (int i = 0; i < 2; i++) {
        channel_order(&channels[i], FAKE_CRASH, 1, 10);
        guest_expect(&guest, VGPU_MSG_GONE, &message);
        channel_forget(&channels[i]);
    }
    kill(nvml, SIGCONT);
    await_nvml(host); /* the first look is over, and so the second is asked for */
    await_nvml(host);
    assert_int_equal(access(once, F_OK), -1);
    assert_int_equal(vm_number(host, 1, "faults"), 0);
    assert_true(gpu_is(host, "ok"));
    guest_close(&guest);
}

static void test_faults_job_timeout_is_the_vms_own(void **state)
{
    struct host *host = *state;
    struct guest guest = guest_hello(host, 1), other = guest_hello(host, 2);
    struct guest_channel slow;
    uint64_t start;

    set(host, "set-timeout", 1, ", \"job_timeout_ms\": 300");
    guest_open(&other, &slow);
    channel_order(&slow, FAKE_HANG, 1, 10); /* VM 2 has its 30 s; it overruns soon */
    AWAIT(slow.orders->granted == 1);
    start = now_ms();
    assert_int_equal(end_by(&guest, FAKE_HANG), VGPU_TIMEOUT);
    /* Beside the other it has half of the GPU, and so twice the time; it waits for its turn. */
    assert_in_range(now_ms() - start, 300, 10000);
    AWAIT(shown_number(host, 1, "faults") == 1);
    assert_int_equal(shown_number(host, 2, "faults"), 0);
    /* Live, and for the job that runs. */
    set(host, "set-timeout", 2, ", \"job_timeout_ms\": 10");
    AWAIT(shown_number(host, 2, "faults") == 1);
    channel_forget(&slow);
    guest_close(&guest);
    guest_close(&other);
}

/* It keeps saying that a new job has begun: by the mediator's clock twice the timeout is the end.
 */
static void test_faults_hostile_clock_ends_by_ours(void **state)
{
    struct host *host = *state;
    struct guest guest = guest_hello(host, 1), other = guest_hello(host, 2);
    struct guest_channel fresh, victim;
    union message message;

    set(host, "set-timeout", 1, ", \"job_timeout_ms\": 200");
    guest_open(&guest, &fresh);
    guest_open(&other, &victim);
    channel_order(&fresh, FAKE_FRESH, 1, 10);
    AWAIT(fresh.orders->granted == 1);
    channel_order(&victim, FAKE_OBEY, 100000000, 100);
    guest_expect(&guest, VGPU_MSG_GONE, &message);
    assert_int_equal(message.gone.status, VGPU_TIMEOUT);
    assert_true(channel_done(&victim) > 0);
    channel_forget(&fresh);
    channel_forget(&victim);
    guest_close(&guest);
    guest_close(&other);
}

static void test_faults_limits_reach_workers_live(void **state)
{
    struct host *host = *state;
    struct guest guest = guest_hello(host, 1);
    struct guest_channel channel;
    uint64_t before, start;

    guest_open(&guest, &channel);
    channel_order(&channel, FAKE_OBEY, 100, 10);
    AWAIT(channel_done(&channel) == 100);
    assert_true(page_load_u64(&channel.orders->allowed) == UINT64_MAX);
    set(host, "set-rate", 1, ", \"rate_per_s\": 20, \"burst\": 5");
    start = vgpu_clock_ns();
    AWAIT(page_load_u64(&channel.orders->allowed) == 105);
    /* 10 ms on a machine of its own. */
    assert_true(page_load_u64(&channel.orders->taken_at_ns) < start + 500 * VGPU_NS_PER_MS);
    channel_order(&channel, FAKE_OBEY, UINT64_MAX, 10);
    AWAIT(channel_done(&channel) >= 105);
    before = channel_done(&channel);
    start = vgpu_clock_ns();
    AWAIT(channel_done(&channel) >= before + 10);
    assert_true(vgpu_clock_ns() - start >= 400 * VGPU_NS_PER_MS); /* 10 at 20 a second */
    set(host, "set-rate", 1, ", \"rate_per_s\": 0, \"burst\": 0");
    before = channel_done(&channel);
    AWAIT(channel_done(&channel) >= before + 1000);
    channel_forget(&channel);
    guest_close(&guest);
}

/* A VM that is limited and hammers: its neighbour's worker and the mediator do not notice. */
static void test_faults_limited_vm_does_not_wake_the_mediator(void **state)
{
    struct host *host = *state;
    struct guest guest = guest_hello(host, 1), other = guest_hello(host, 2);
    struct guest_channel limited, neighbour;
    uint64_t kicks, turns;

    set(host, "set-rate", 1, ", \"rate_per_s\": 1, \"burst\": 1");
    guest_open(&guest, &limited);
    guest_open(&other, &neighbour);
    channel_order(&neighbour, FAKE_OBEY, UINT64_MAX, 100);
    channel_order(&limited, FAKE_OBEY, UINT64_MAX, 10);
    AWAIT(channel_done(&limited) == 1);
    AWAIT(channel_done(&neighbour) > 100);
    kicks = limited.orders->kicks;
    turns = neighbour.orders->granted;
    for (int i = 0; i < 1000; i++) /* its guest rings without end */
        channel_order(&limited, FAKE_OBEY, UINT64_MAX, 10);
    assert_true(limited.orders->kicks - kicks <= 8);
    assert_true(neighbour.orders->granted - turns <= 3);
    channel_forget(&limited);
    channel_forget(&neighbour);
    guest_close(&guest);
    guest_close(&other);
}

/* It has no turn, and its process is busy on the GPU all the same. */
static void test_faults_of_a_worker_that_ignores_its_lease(void **state)
{
    struct host *host = *state;
    struct guest guest, other;
    struct guest_channel stray, honest;
    char processes[96], utilization[96];
    union message message;

    snprintf(processes, sizeof(processes), "%s/processes", host->dir);
    snprintf(utilization, sizeof(utilization), "%s/utilization", host->dir);
    setenv("FAKE_NVML_PROCESSES", processes, 1);
    setenv("FAKE_NVML_UTILIZATION", utilization, 1);
    host_kill(&host->mediator, SIGTERM);
    host_start_mediator(host, NULL);
    unsetenv("FAKE_NVML_PROCESSES");
    unsetenv("FAKE_NVML_UTILIZATION");
    guest = guest_hello(host, 1);
    guest_open(&guest, &stray);
    write_line(processes, child_of(host->launcher, "mediator-fake-w"), 1000);
    write_line(utilization, child_of(host->launcher, "mediator-fake-w"), 90);
    other = guest_hello(host, 2);
    guest_open(&other, &honest);
    channel_order(&honest, FAKE_OBEY, UINT64_MAX, 1000);
    AWAIT(vm_number(host, 1, "faults") == 1);
    guest_expect(&guest, VGPU_MSG_GONE, &message);
    assert_int_equal(message.gone.status, VGPU_KILLED);
    assert_non_null(strstr(message.gone.text, "without its turn"));
    assert_int_equal(vm_number(host, 2, "faults"), 0);
    channel_forget(&stray);
    channel_forget(&honest);
    guest_close(&guest);
    guest_close(&other);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, host_setup_2, host_teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CASE(test_faults_quarantine_at_the_threshold),
        CASE(test_faults_released_vm_works_at_once),
        CASE(test_faults_age),
        CASE(test_faults_outlive_the_mediator),
        CASE(test_faults_are_counted_once),
        CASE(test_faults_quarantine_needs_no_store),
        CASE(test_faults_of_workers_that_misbehave),
        CASE(test_faults_of_a_worker_that_ignores_its_rate),
        CASE(test_faults_of_a_worker_that_ignores_its_lease),
        CASE(test_faults_of_kernels_are_counted),
        CASE(test_faults_are_not_what_the_host_does),
        CASE(test_faults_are_not_those_of_a_lost_gpu),
        CASE(test_faults_are_judged_after_a_look_at_the_gpu),
        CASE(test_faults_of_a_gpu_lost_for_a_moment_are_not_the_vms),
        CASE(test_faults_job_timeout_is_the_vms_own),
        CASE(test_faults_hostile_clock_ends_by_ours),
        CASE(test_faults_limits_reach_workers_live),
        CASE(test_faults_limited_vm_does_not_wake_the_mediator),
    };

    support_init(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
