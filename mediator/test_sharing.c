/* SPDX-License-Identifier: Apache-2.0 */
/* Leases and restarts end to end: fake workers obey or misbehave, VMs share, mediators die. */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "mediator/test_support.h"

static void test_lone_vm_runs(void **state)
{
    struct guest guest = guest_hello(*state, 1);
    struct guest_channel channel;

    guest_open(&guest, &channel);
    channel_order(&channel, FAKE_OBEY, 200, 100);
    AWAIT(channel_done(&channel) == 200);
    assert_int_equal(channel.orders->granted, 1); /* one turn for all: nobody else waits */
    AWAIT(vm_number(*state, 1, "jobs_done") == 200);
    assert_true(vm_number(*state, 1, "gpu_time_ns") >= 200 * 100e3);
    assert_true(vm_number(*state, 1, "gpu_time_ns") < 5e9);
    channel_forget(&channel);
    guest_close(&guest);
}

/* What the kernel counts as voluntary switches: each wake-up is one. */
static long switches(pid_t pid)
{
    char path[64], line[128];
    long n = -1;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file))
        if (sscanf(line, "voluntary_ctxt_switches: %ld", &n) == 1)
            break;
    fclose(file);
    return n;
}

/* Its looks at NVML, seconds apart, may fall into this time once or twice, but not for ever. */
static bool sleeps(pid_t pid)
{
    long before = switches(pid);

    pause_ms(300); /* what is measured is this time */
    return switches(pid) == before;
}

static void test_idle_and_lone_need_no_wakeups(void **state)
{
    struct host *host = *state;
    struct guest guest = guest_hello(host, 1), other = guest_hello(host, 2);
    struct guest_channel channel, idle;

    guest_open(&guest, &channel);
    guest_open(&other, &idle);
    channel_order(&channel, FAKE_OBEY, 1000000, 1000);
    AWAIT(channel_done(&channel) > 0);
    AWAIT(sleeps(host->mediator));
    channel_forget(&channel);
    channel_forget(&idle);
    guest_close(&guest);
    guest_close(&other);
}

static void test_two_vms_share_by_weight(void **state)
{
    struct guest one, two;
    struct guest_channel fast, slow;
    double ratio;

    json_decref(admin_ok(*state, "\"set-priority\", \"args\": {\"vm_id\": 1, "
                                 "\"priority\": \"high\"}"));
    json_decref(admin_ok(*state, "\"set-priority\", \"args\": {\"vm_id\": 2, "
                                 "\"priority\": \"low\"}"));
    one = guest_hello(*state, 1);
    two = guest_hello(*state, 2);
    guest_open(&one, &fast);
    guest_open(&two, &slow);
    channel_order(&fast, FAKE_OBEY, UINT64_MAX, 1000);
    channel_order(&slow, FAKE_OBEY, UINT64_MAX, 1000);
    AWAIT(channel_done(&slow) >= 150);
    /* Shares are of time, 4 : 1 by priority; jobs only follow, as far as the machine lets them. */
    ratio = (double)channel_done(&fast) / (double)channel_done(&slow);
    assert_true(ratio > 2.0 && ratio < 8.0);
    assert_true(vm_number(*state, 1, "entitlement") > 0.65);
    AWAIT(vm_number(*state, 1, "share") > 0.65 && vm_number(*state, 2, "share") < 0.35);
    channel_forget(&fast);
    channel_forget(&slow);
    guest_close(&one);
    guest_close(&two);
}

static void test_channels_of_a_vm_take_turns(void **state)
{
    struct guest guest = guest_hello(*state, 1);
    struct guest_channel channels[3];

    for (int i = 0; i < 3; i++)
        guest_open(&guest, &channels[i]);
    for (int i = 0; i < 3; i++)
        channel_order(&channels[i], FAKE_OBEY, UINT64_MAX, 500);
    for (int i = 0; i < 3; i++)
        AWAIT(channels[i].orders->granted >= 4 && channel_done(&channels[i]) >= 20);
    for (int i = 0; i < 3; i++)
        channel_forget(&channels[i]);
    guest_close(&guest);
}

static void test_lease_moves_on_when_idle(void **state)
{
    struct guest one = guest_hello(*state, 1), two = guest_hello(*state, 2);
    struct guest_channel a, b;

    guest_open(&one, &a);
    guest_open(&two, &b);
    for (uint64_t round = 1; round <= 20; round++) {
        channel_order(&a, FAKE_OBEY, round, 100);
        AWAIT(channel_done(&a) == round);
        channel_order(&b, FAKE_OBEY, round, 100);
        AWAIT(channel_done(&b) == round);
    }
    channel_forget(&a);
    channel_forget(&b);
    guest_close(&one);
    guest_close(&two);
}

static void test_kept_turn_ends_in_a_kill(void **state)
{
    struct guest one = guest_hello(*state, 1), two = guest_hello(*state, 2);
    struct guest_channel greedy, victim;
    union message message;

    guest_open(&one, &greedy);
    guest_open(&two, &victim);
    channel_order(&greedy, FAKE_KEEP, 1, 10);
    AWAIT(greedy.orders->granted == 1);
    channel_order(&victim, FAKE_OBEY, 100, 100);
    guest_expect(&one, VGPU_MSG_GONE, &message);
    assert_int_equal(message.gone.status, VGPU_KILLED);
    assert_non_null(strstr(message.gone.text, "give back"));
    AWAIT(channel_done(&victim) == 100);
    channel_forget(&greedy);
    channel_forget(&victim);
    guest_close(&one);
    guest_close(&two);
}

static void test_endless_job_times_out(void **state)
{
    static const char *const quick[] = {"--job-timeout-ms", "400", NULL};
    struct host *host = *state;
    struct guest guest, other;
    struct guest_channel channel, next;
    union message message;

    host_kill(&host->mediator, SIGTERM);
    host_start_mediator(host, quick);
    guest = guest_hello(host, 1);
    other = guest_hello(host, 2);
    guest_open(&guest, &channel);
    guest_open(&other, &next);
    channel_order(&channel, FAKE_HANG, 1, 10);
    guest_expect(&guest, VGPU_MSG_GONE, &message);
    assert_int_equal(message.gone.status, VGPU_TIMEOUT);
    channel_order(&next, FAKE_OBEY, 10, 10);
    AWAIT(channel_done(&next) == 10);
    channel_forget(&channel);
    channel_forget(&next);
    guest_close(&guest);
    guest_close(&other);
}

static void test_endless_job_beside_others_times_out(void **state)
{
    static const char *const quick[] = {"--job-timeout-ms", "400", NULL};
    struct host *host = *state;
    struct guest guest, other;
    struct guest_channel channel, next;
    union message message;

    host_kill(&host->mediator, SIGTERM);
    host_start_mediator(host, quick);
    guest = guest_hello(host, 1);
    other = guest_hello(host, 2);
    guest_open(&guest, &channel);
    guest_open(&other, &next);
    channel_order(&channel, FAKE_HANG, 1, 10);
    AWAIT(channel.orders->granted == 1);
    channel_order(&next, FAKE_OBEY, 50, 1000);
    AWAIT(channel_done(&next) == 50); /* beside the overrunner, long before the timeout */
    guest_expect(&guest, VGPU_MSG_GONE, &message);
    assert_int_equal(message.gone.status, VGPU_TIMEOUT);
    channel_forget(&channel);
    channel_forget(&next);
    guest_close(&guest);
    guest_close(&other);
}

static void resume(struct guest *guest, const struct guest_channel *channel)
{
    struct vgpu_msg_resume request = {
        .head = {sizeof(request), VGPU_MSG_RESUME, 0, ++guest->tag, 0}, .channel = channel->number};

    memcpy(request.token, channel->token, sizeof(request.token));
    guest_send(guest, &request, sizeof(request));
}

/* Kills the mediator that both guests are connected to. How long it took until another served. */
static uint64_t replace_mediator(struct host *host, struct guest *one, struct guest *two)
{
    uint64_t start;

    host_kill(&host->mediator, SIGKILL);
    guest_expect_end(one);
    guest_expect_end(two);
    guest_close(one);
    guest_close(two);
    start = now_ms();
    host_start_mediator(host, NULL);
    *one = guest_hello(host, 1);
    *two = guest_hello(host, 2);
    return now_ms() - start;
}

static void test_killed_mediator_is_replaced_under_load(void **state)
{
    struct host *host = *state;
    struct guest one = guest_hello(host, 1), two = guest_hello(host, 2);
    struct guest_channel a, b;
    union message message;
    uint64_t before;

    guest_open(&one, &a);
    guest_open(&two, &b);
    channel_order(&a, FAKE_OBEY, UINT64_MAX, 500);
    channel_order(&b, FAKE_OBEY, UINT64_MAX, 500);
    AWAIT(channel_done(&a) > 50 && channel_done(&b) > 50);
    /* Within a second; a machine that others keep busy has several tries. */
    for (int tries = 5; replace_mediator(host, &one, &two) >= 1000; tries--)
        assert_true(tries > 1);
    resume(&one, &a);
    guest_expect(&one, VGPU_MSG_RESUMED, &message);
    assert_int_equal(message.channel.channel, a.number);
    resume(&two, &b);
    guest_expect(&two, VGPU_MSG_RESUMED, &message);
    before = channel_done(&b);
    AWAIT(channel_done(&b) > before + 100);
    before = channel_done(&a);
    AWAIT(channel_done(&a) > before + 100);
    AWAIT(vm_number(host, 1, "jobs_done") >= (double)before);
    assert_int_equal(workers(host), 2);
    channel_forget(&a);
    channel_forget(&b);
    guest_close(&one);
    guest_close(&two);
}

static void test_accounts_outlive_the_mediator(void **state)
{
    struct host *host = *state;
    struct guest guest = guest_hello(host, 1);
    struct vgpu_msg_channel request = {{sizeof(request), VGPU_MSG_CLOSE, 0, 9, 0}, 0, 0};
    struct guest_channel channel;
    union message message;
    double charged;

    guest_open(&guest, &channel);
    channel_order(&channel, FAKE_OBEY, 30, 1000);
    AWAIT(channel_done(&channel) == 30);
    request.channel = channel.number;
    guest_send(&guest, &request, sizeof(request));
    guest_expect(&guest, VGPU_MSG_CLOSED, &message);
    channel_forget(&channel);
    charged = vm_number(host, 1, "gpu_time_ns");
    assert_true(charged >= 30e6);
    host_kill(&host->mediator, SIGKILL);
    guest_close(&guest);
    host_start_mediator(host, NULL);
    guest = guest_hello(host, 1);
    guest_open(&guest, &channel); /* seats are made when they are used */
    assert_int_equal(vm_number(host, 1, "jobs_done"), 30);
    assert_true(vm_number(host, 1, "gpu_time_ns") >= charged);
    channel_forget(&channel);
    guest_close(&guest);
}

static void test_resume_needs_the_token(void **state)
{
    struct host *host = *state;
    struct guest guest = guest_hello(host, 1), other;
    struct guest_channel channel, wrong;
    union message message;

    guest_open(&guest, &channel);
    host_kill(&host->mediator, SIGKILL);
    guest_close(&guest);
    host_start_mediator(host, NULL);
    guest = guest_hello(host, 1);
    wrong = channel;
    wrong.token[15] ^= 1;
    resume(&guest, &wrong);
    guest_expect_refused(&guest, guest.tag, VGPU_GONE, &message);
    other = guest_hello(host, 2);
    resume(&other, &channel); /* the right token, the wrong VM */
    guest_expect_refused(&other, other.tag, VGPU_GONE, &message);
    resume(&guest, &channel);
    guest_expect(&guest, VGPU_MSG_RESUMED, &message);
    channel_forget(&channel);
    guest_close(&guest);
    guest_close(&other);
}

static void test_guest_that_stays_away_loses_its_worker(void **state)
{
    static const char *const quick[] = {"--resume-ms", "100", NULL};
    struct host *host = *state;
    struct guest guest = guest_hello(host, 1);
    struct guest_channel channel;
    union message message;

    guest_open(&guest, &channel);
    host_kill(&host->mediator, SIGKILL);
    guest_close(&guest);
    host_start_mediator(host, quick);
    /* The VM's socket is there once all is adopted; before that no worker is known. */
    guest = guest_hello(host, 1);
    AWAIT(workers(host) == 0);
    resume(&guest, &channel);
    guest_expect_refused(&guest, guest.tag, VGPU_GONE, &message);
    channel_forget(&channel);
    guest_close(&guest);
}

static void test_death_while_nobody_looked_is_told(void **state)
{
    struct host *host = *state;
    struct guest guest = guest_hello(host, 1);
    struct guest_channel channel;
    union message message;

    guest_open(&guest, &channel);
    host_kill(&host->mediator, SIGKILL);
    guest_close(&guest);
    channel_order(&channel, FAKE_ABORT, 0, 0);
    host_start_mediator(host, NULL);
    /* The VM's socket is there once all is adopted; before that no worker is known. */
    guest = guest_hello(host, 1);
    AWAIT(workers(host) == 0);
    resume(&guest, &channel);
    guest_expect_refused(&guest, guest.tag, VGPU_BAD_RECORD, &message);
    channel_forget(&channel);
    guest_close(&guest);
}

static void test_hangup_leaves_workers(void **state)
{
    struct host *host = *state;
    struct guest guest = guest_hello(host, 1);
    struct guest_channel channel;
    union message message;
    uint64_t before;

    guest_open(&guest, &channel);
    channel_order(&channel, FAKE_OBEY, UINT64_MAX, 200);
    AWAIT(channel_done(&channel) > 5);
    host_kill(&host->mediator, SIGHUP);
    assert_int_equal(access(host->run, F_OK), 0);
    assert_int_equal(rmdir(host->run), 0); /* nothing is left in it */
    guest_close(&guest);
    before = channel_done(&channel);
    AWAIT(channel_done(&channel) > before); /* with its lease, without a mediator */
    host_start_mediator(host, NULL);
    guest = guest_hello(host, 1);
    resume(&guest, &channel);
    guest_expect(&guest, VGPU_MSG_RESUMED, &message);
    channel_forget(&channel);
    guest_close(&guest);
}

static void test_restart_again_and_again(void **state)
{
    struct host *host = *state;
    struct guest one = guest_hello(host, 1), two = guest_hello(host, 2);
    struct guest_channel a, b;
    union message message;

    guest_open(&one, &a);
    guest_open(&two, &b);
    channel_order(&a, FAKE_OBEY, UINT64_MAX, 300);
    channel_order(&b, FAKE_OBEY, UINT64_MAX, 300);
    for (int i = 0; i < 8; i++) {
        uint64_t done_a, done_b;

        host_kill(&host->mediator, SIGKILL);
        guest_close(&one);
        guest_close(&two);
        host_start_mediator(host, NULL);
        one = guest_hello(host, 1);
        two = guest_hello(host, 2);
        resume(&one, &a);
        guest_expect(&one, VGPU_MSG_RESUMED, &message);
        resume(&two, &b);
        guest_expect(&two, VGPU_MSG_RESUMED, &message);
        done_a = channel_done(&a);
        done_b = channel_done(&b);
        AWAIT(channel_done(&a) > done_a + 10 && channel_done(&b) > done_b + 10);
    }
    channel_forget(&a);
    channel_forget(&b);
    guest_close(&one);
    guest_close(&two);
}

static void test_sigterm_leaves_nothing(void **state)
{
    struct host *host = *state;
    struct guest guest = guest_hello(host, 1);
    struct guest_channel channel;
    union message message;
    char path[64];
    FILE *file;

    guest_open(&guest, &channel);
    channel_order(&channel, FAKE_DEAF, UINT64_MAX, 100);
    kill(host->mediator, SIGTERM);
    guest_expect(&guest, VGPU_MSG_GONE, &message);
    assert_int_equal(message.gone.status, VGPU_KILLED);
    assert_int_equal(wait_exit(host->mediator), 0);
    host->mediator = 0;
    assert_int_equal(rmdir(host->run), 0);
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)host->launcher,
             (int)host->launcher);
    file = fopen(path, "r");
    assert_int_equal(fgetc(file), EOF); /* no worker is left */
    fclose(file);
    channel_forget(&channel);
    guest_close(&guest);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, host_setup_2, host_teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CASE(test_lone_vm_runs),
        CASE(test_idle_and_lone_need_no_wakeups),
        CASE(test_two_vms_share_by_weight),
        CASE(test_channels_of_a_vm_take_turns),
        CASE(test_lease_moves_on_when_idle),
        CASE(test_kept_turn_ends_in_a_kill),
        CASE(test_endless_job_times_out),
        CASE(test_endless_job_beside_others_times_out),
        CASE(test_killed_mediator_is_replaced_under_load),
        CASE(test_accounts_outlive_the_mediator),
        CASE(test_resume_needs_the_token),
        CASE(test_guest_that_stays_away_loses_its_worker),
        CASE(test_death_while_nobody_looked_is_told),
        CASE(test_hangup_leaves_workers),
        CASE(test_restart_again_and_again),
        CASE(test_sigterm_leaves_nothing),
    };

    support_init(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
