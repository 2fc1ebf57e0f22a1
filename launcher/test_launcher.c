/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vgpu-launcher from outside: a raw mediator and a fake worker. Arguments: the launcher and the
 * fake worker program.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vgpu/launch.h>
#include <vgpu/lease.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "common/fdpass.h"
#include "launcher/fake_worker.h"
#include "launcher/test_mediator.h"

static void test_spawn_hands_over(void **state)
{
    static const char arguments[] =
        "--channel=5\n--gpu=GPU-0123-abcd\n--sub-granules=64\n--comp-granules=64\n"
        "--sub-offset=4096\n--comp-offset=8192\n--data-offset=12288\n--data-bytes=8192\n"
        "--total-bytes=20480\n--driver=";
    struct fixture *f = *state;

    spawn_ready(f, 5);
    assert_int_equal(f->report->memory_magic, VGPU_MAGIC);
    assert_int_equal(f->report->lease_readable, 1);
    assert_int_equal(f->report->lease_writable, 0);
    assert_int_equal(f->report->fds_above, 0);
    assert_int_equal(f->report->session, 1);
    assert_int_equal(f->report->no_new_privs, 1);
    assert_int_equal(f->report->death_signal, SIGKILL);
    assert_ptr_equal(strstr(f->report->text, arguments), f->report->text);
}

static void test_spawn_builds_environment(void **state)
{
    struct fixture *f = *state;

    spawn_ready(f, 5);
    assert_non_null(strstr(f->report->text, "\nCUDA_VISIBLE_DEVICES=GPU-0123-abcd\n"));
    assert_non_null(strstr(f->report->text, "\nSOFTGPU_X=1\n"));
    assert_null(strstr(f->report->text, "LEAKED"));
    assert_null(strstr(f->report->text, "HOME="));
}

static void test_exit_is_told(void **state)
{
    struct fixture *f = *state;

    spawn_ready(f, 1);
    command(f, 7);
    expect_exit(f, 1, 7, 0, false);
}

static void test_crash_is_told(void **state)
{
    struct fixture *f = *state;

    spawn_ready(f, 1);
    command(f, FAKE_CRASH);
    expect_exit(f, 1, -1, SIGSEGV, false);
}

static void test_kill_ends_one(void **state)
{
    struct fixture *f = *state;

    spawn_ready(f, 1);
    spawn_ready(f, 2);
    send_channel(f->sock, VGPU_LAUNCH_KILL, 1);
    expect_exit(f, 1, -1, SIGKILL, true);
    command(f, 9); /* the second one lives */
    expect_exit(f, 2, 9, 0, false);
}

static void test_kill_unknown_is_ignored(void **state)
{
    struct fixture *f = *state;

    send_channel(f->sock, VGPU_LAUNCH_KILL, 77);
    spawn_ready(f, 1);
}

static void test_closed_socket_ends_worker(void **state)
{
    struct fixture *f = *state;

    spawn_ready(f, 1);
    command(f, FAKE_CLOSE_SOCKET);
    expect_exit(f, 1, -1, SIGKILL, false);
}

static void test_spawn_twice_is_refused(void **state)
{
    struct fixture *f = *state;
    struct vgpu_launch_spawn spawn = good_spawn(1);

    spawn_ready(f, 1);
    assert_int_equal(spawn_result(f, &spawn), EEXIST);
    command(f, 3);
    expect_exit(f, 1, 3, 0, false);
}

static void test_spawn_over_limit_is_refused(void **state)
{
    struct fixture *f = *state;
    struct vgpu_launch_spawn spawn = good_spawn(4);

    for (uint32_t i = 1; i <= 3; i++)
        spawn_ready(f, i);
    assert_int_equal(spawn_result(f, &spawn), ENOSPC);
}

/* Replaces one descriptor of a good SPAWN and expects the answer EINVAL. */
static void refuse_fd(struct fixture *f, int index, int fd)
{
    struct vgpu_launch_spawn spawn = good_spawn(1);

    make_fds(f);
    close(f->fds[index]);
    f->fds[index] = fd;
    assert_int_equal(spawn_result(f, &spawn), EINVAL);
}

static void test_unsealed_memory_is_refused(void **state)
{
    refuse_fd(*state, VGPU_FD_MEMORY, make_memory(TOTAL_BYTES, F_SEAL_SHRINK | F_SEAL_GROW, 0600));
    refuse_fd(*state, VGPU_FD_LEASE, make_memory(VGPU_LEASE_BYTES, F_SEAL_SEAL, 0600));
    refuse_fd(*state, VGPU_FD_REPORT, eventfd(0, EFD_CLOEXEC));
}

static void test_wrong_size_memory_is_refused(void **state)
{
    refuse_fd(*state, VGPU_FD_MEMORY, make_memory(TOTAL_BYTES + 4096, SEALS, 0600));
    refuse_fd(*state, VGPU_FD_LEASE, make_memory(VGPU_LEASE_BYTES - 1, SEALS, 0600));
}

static void test_open_lease_is_refused(void **state)
{
    refuse_fd(*state, VGPU_FD_LEASE, make_memory(VGPU_LEASE_BYTES, SEALS, 0666));
}

static void test_non_eventfd_is_refused(void **state)
{
    refuse_fd(*state, VGPU_FD_SUBMIT_KICK, open("/dev/null", O_RDWR | O_CLOEXEC));
}

static void test_second_mediator_is_refused(void **state)
{
    struct fixture *f = *state;
    int second = connect_launcher(f);
    union packet packet;

    expect(second, VGPU_LAUNCH_REFUSED, &packet);
    assert_int_equal(packet.answer.result, EBUSY);
    assert_non_null(strstr(packet.answer.text, "another mediator"));
    expect_closed(second);
    close(second);
    spawn_ready(f, 1); /* the first is still served */
}

static void reconnect(struct fixture *f)
{
    vgpu_close(&f->sock);
    f->sock = connect_launcher(f);
    greet(f->sock);
}

static void test_list_after_reconnect(void **state)
{
    struct fixture *f = *state;
    struct vgpu_launch_spawn spawn = good_spawn(6);
    int fds[VGPU_FDPASS_MAX];
    union packet packet;
    struct stat a, b;
    size_t n;

    spawn_ready(f, 6);
    reconnect(f);
    send_channel(f->sock, VGPU_LAUNCH_LIST, 0);
    assert_int_equal(receive(f->sock, &packet, fds, &n), sizeof(packet.entry));
    assert_int_equal(packet.head.type, VGPU_LAUNCH_ENTRY);
    assert_int_equal(packet.entry.channel, 6);
    assert_memory_equal(&packet.entry.keep, &spawn.keep, sizeof(spawn.keep));
    assert_memory_equal(&packet.entry.geometry, &spawn.geometry, sizeof(spawn.geometry));
    assert_int_equal(n, VGPU_CHANNEL_FDS);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(fstat(fds[i], &a), 0);
        assert_int_equal(fstat(f->fds[i], &b), 0);
        assert_true(a.st_ino == b.st_ino);
        close(fds[i]);
    }
    expect(f->sock, VGPU_LAUNCH_LIST_END, &packet);
    assert_int_equal(packet.channel.channel, 1);
}

/* False if it lives on, or if nobody reaps it. */
static bool gone_soon(pid_t pid)
{
    for (int i = 0; i < TIMEOUT_MS / 5; i++) {
        if (kill(pid, 0) < 0)
            return true;
        poll(NULL, 0, 5);
    }
    return false;
}

static void test_exit_without_mediator_is_kept(void **state)
{
    struct fixture *f = *state;
    union packet packet;

    spawn_ready(f, 6);
    vgpu_close(&f->sock);
    command(f, 11);
    assert_true(gone_soon(f->worker));
    f->sock = connect_launcher(f);
    greet(f->sock);
    send_channel(f->sock, VGPU_LAUNCH_LIST, 0);
    expect(f->sock, VGPU_LAUNCH_ENTRY, &packet);
    assert_int_equal(packet.entry.channel, 6);
    expect(f->sock, VGPU_LAUNCH_LIST_END, &packet);
    expect_exit(f, 6, 11, 0, false);
}

static void test_malformed_drops_connection_only(void **state)
{
    struct fixture *f = *state;
    uint32_t junk[3] = {12, 99, 0};

    spawn_ready(f, 1);
    send_packet(f->sock, junk, sizeof(junk), NULL, 0);
    expect_closed(f->sock);
    reconnect(f);
    send_channel(f->sock, VGPU_LAUNCH_LIST, 0);
    expect(f->sock, VGPU_LAUNCH_ENTRY, &(union packet){.bytes = {0}});
    expect(f->sock, VGPU_LAUNCH_LIST_END, &(union packet){.bytes = {0}});
    command(f, 4);
    expect_exit(f, 1, 4, 0, false);
}

static void drops(struct fixture *f, const void *packet, size_t size, size_t n_fds)
{
    make_fds(f);
    send_packet(f->sock, packet, size, f->fds, n_fds);
    expect_closed(f->sock);
    reconnect(f);
}

static void test_wrong_descriptor_counts_drop(void **state)
{
    struct fixture *f = *state;
    struct vgpu_launch_spawn spawn = good_spawn(1);
    struct vgpu_launch_channel kill_one = {{sizeof(kill_one), VGPU_LAUNCH_KILL}, 1, 0};

    drops(f, &spawn, sizeof(spawn), VGPU_CHANNEL_FDS - 1);
    drops(f, &spawn, sizeof(spawn), 0);
    drops(f, &kill_one, sizeof(kill_one), 1);
}

static void test_too_long_packet_drops(void **state)
{
    struct fixture *f = *state;
    union packet packet = {.spawn = good_spawn(1)};

    drops(f, &packet, sizeof(packet.spawn) + 1, VGPU_CHANNEL_FDS);
    drops(f, &packet, sizeof(packet), VGPU_CHANNEL_FDS);
}

static void test_hello_comes_first(void **state)
{
    struct fixture *f = *state;

    vgpu_close(&f->sock);
    f->sock = connect_launcher(f);
    send_channel(f->sock, VGPU_LAUNCH_LIST, 0);
    expect_closed(f->sock);
    reconnect(f);
    send_hello(f->sock); /* and not a second time */
    expect_closed(f->sock);
}

static void test_version_from_the_future_is_refused(void **state)
{
    struct fixture *f = *state;
    struct vgpu_launch_hello hello = {{sizeof(hello), VGPU_LAUNCH_HELLO}, VGPU_MAGIC, 2, 0};
    union packet packet;

    vgpu_close(&f->sock);
    f->sock = connect_launcher(f);
    send_packet(f->sock, &hello, sizeof(hello), NULL, 0);
    expect(f->sock, VGPU_LAUNCH_REFUSED, &packet);
    assert_int_equal(packet.answer.result, EPROTONOSUPPORT);
    assert_non_null(strstr(packet.answer.text, "version 2"));
}

static void test_socket_in_use_is_refused(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(WEXITSTATUS(wait_status(start_launcher(f, same_uid))), 1);
    spawn_ready(f, 1);
}

static void test_stale_socket_is_replaced(void **state)
{
    struct fixture *f = *state;

    kill(f->launcher, SIGKILL);
    wait_status(f->launcher);
    vgpu_close(&f->sock);
    f->launcher = start_launcher(f, same_uid);
    f->sock = connect_launcher(f);
    greet(f->sock);
}

static void test_launcher_death_ends_workers(void **state)
{
    struct fixture *f = *state;

    spawn_ready(f, 1);
    kill(f->launcher, SIGKILL);
    wait_status(f->launcher);
    f->launcher = 0;
    unlink(f->socket);
    assert_true(gone_soon(f->worker));
}

static void test_sigterm_ends_workers(void **state)
{
    struct fixture *f = *state;

    spawn_ready(f, 1);
    kill(f->launcher, SIGTERM);
    assert_int_equal(wait_status(f->launcher), 0);
    f->launcher = 0;
    assert_int_equal(kill(f->worker, 0), -1);
    assert_int_equal(access(f->socket, F_OK), -1);
}

static void test_missing_worker_is_refused(void **state)
{
    static const char *const extra[] = {"--same-uid", "--worker", "/nonexistent/worker", NULL};
    struct fixture *f = *state;

    assert_int_equal(WEXITSTATUS(wait_status(start_launcher(f, extra))), 1);
}

static void test_root_needs_base_uid(void **state)
{
    struct fixture *f = *state;

    if (geteuid() != 0) {
        print_message("skipped: not root\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(wait_status(start_launcher(f, NULL))), 1);
}

static int set_up_faults(void **state)
{
    const char *extra[] = {"--same-uid", "--testing-faults", "/dev/null", NULL};

    return set_up_with(state, extra);
}

static void test_faults_are_passed_on_with_the_vm(void **state)
{
    struct fixture *f = *state;

    spawn_ready(f, 5);
    assert_non_null(strstr(f->report->text, "\nVGPU_FAULT_PLAN=/dev/null\nVGPU_FAULT_VM=7\n"));
}

static void test_faults_are_asked_for_by_their_option_only(void **state)
{
    static const char *const by_env[] = {"--same-uid", "--env", "VGPU_FAULT_PLAN=/tmp/x", NULL};
    static const char *const relative[] = {"--same-uid", "--testing-faults", "plan", NULL};
    static const char *const missing[] = {"--same-uid", "--testing-faults", "/nonexistent/plan",
                                          NULL};
    struct fixture *f = *state;

    spawn_ready(f, 5);
    assert_null(strstr(f->report->text, "VGPU_FAULT"));
    assert_int_equal(WEXITSTATUS(wait_status(start_launcher(f, by_env))), 2);
    assert_int_equal(WEXITSTATUS(wait_status(start_launcher(f, relative))), 1);
    assert_int_equal(WEXITSTATUS(wait_status(start_launcher(f, missing))), 1);
}

static const char *cgroup_root(void)
{
    return access("/sys/fs/cgroup/memory/memory.limit_in_bytes", W_OK) == 0
               ? "/sys/fs/cgroup/memory"
           : access("/sys/fs/cgroup/cgroup.subtree_control", W_OK) == 0 ? "/sys/fs/cgroup"
                                                                        : NULL;
}

static int set_up_root(void **state)
{
    static char path[96];
    static const char *extra[] = {"--base-uid", "70000", "--gpu-gid", "71234",
                                  "--cgroup",   path,    NULL};

    if (geteuid() != 0) {
        *state = NULL;
        return 0;
    }
    snprintf(path, sizeof(path), "%s/vgpu-test-%d", cgroup_root() ? cgroup_root() : "/nonexistent",
             (int)getpid());
    set_up_with(state, extra);
    snprintf(((struct fixture *)*state)->cgroup, sizeof(path), "%s", path);
    return 0;
}

static int tear_down_root(void **state)
{
    char path[96] = "";

    if (!*state)
        return 0;
    snprintf(path, sizeof(path), "%s", ((struct fixture *)*state)->cgroup);
    tear_down(state);
    assert_int_equal(access(path, F_OK), -1);
    return 0;
}

static void test_root_gives_own_user(void **state)
{
    struct fixture *f = *state;
    struct stat status;

    if (!f) {
        print_message("skipped: not root\n");
        skip();
        return;
    }
    if (stat(worker_path, &status) < 0 || !(status.st_mode & S_IXOTH)) {
        print_message("skipped: other users cannot run the fake worker\n");
        skip();
    }
    spawn_ready(f, 1);
    assert_int_equal(f->report->uid, BASE_UID + 7);
    assert_int_equal(f->report->gid, BASE_UID + 7);
    assert_int_equal(f->report->groups, 1);
    assert_int_equal(f->report->lease_reopened, 0);
}

static void test_root_limits_memory(void **state)
{
    char path[160], text[64] = "";
    struct fixture *f = *state;
    struct vgpu_launch_spawn spawn = good_spawn(2);
    FILE *file;

    if (!f || !cgroup_root()) {
        print_message("skipped: no memory cgroup to write to\n");
        skip();
        return;
    }
    make_fds(f);
    spawn.host_memory_bytes = 64 << 20;
    assert_int_equal(spawn_result(f, &spawn), 0);
    snprintf(path, sizeof(path), "%s/channel-2/memory.limit_in_bytes", f->cgroup);
    file = fopen(path, "r");
    if (!file) {
        snprintf(path, sizeof(path), "%s/channel-2/memory.max", f->cgroup);
        file = fopen(path, "r");
    }
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof(text), file));
    assert_string_equal(text, "67108864\n");
    fclose(file);
}

/* A program that resets nothing: by the GPU's name it ends well, badly, or not at all. */
static int set_up_reset(void **state)
{
    static const char script[] =
        "#!/bin/sh\n"
        "test \"$1 $2\" = '--gpu-reset -i' || exit 9\n"
        "test -z \"$LEAKED\" || exit 8\n"
        "case $3 in GPU-good) echo \"reset $3\";; GPU-slow) exec sleep 60;;\n"
        "*) echo 'in use'; echo more; exit 3;; esac\n";
    char path[64] = "/tmp/vgpu-reset-XXXXXX";
    const char *const extra[] = {"--same-uid", "--reset-program", path, NULL};
    int fd = mkstemp(path), rc;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, script, strlen(script)), (ssize_t)strlen(script));
    assert_int_equal(fchmod(fd, 0700), 0);
    close(fd);
    rc = set_up_with(state, extra);
    strcpy(((struct fixture *)*state)->program, path);
    return rc;
}

static int tear_down_reset(void **state)
{
    unlink(((struct fixture *)*state)->program);
    return tear_down(state);
}

static void ask_reset(const struct fixture *f, const char *uuid)
{
    struct vgpu_launch_reset reset = {.head = {sizeof(reset), VGPU_LAUNCH_RESET}};

    snprintf(reset.gpu_uuid, sizeof(reset.gpu_uuid), "%s", uuid);
    send_packet(f->sock, &reset, sizeof(reset), NULL, 0);
}

static void expect_reset(const struct fixture *f, const char *uuid, int result, const char *text)
{
    union packet packet;

    expect(f->sock, VGPU_LAUNCH_RESET_DONE, &packet);
    assert_string_equal(packet.reset_done.gpu_uuid, uuid);
    assert_int_equal(packet.reset_done.result, result);
    assert_string_equal(packet.reset_done.text, text);
}

static void test_reset_runs_the_program(void **state)
{
    struct fixture *f = *state;

    ask_reset(f, "GPU-good");
    expect_reset(f, "GPU-good", 0, "reset GPU-good");
    ask_reset(f, "GPU-bad");
    expect_reset(f, "GPU-bad", EIO, "it ended with 3: in use");
}

static void test_reset_is_one_at_a_time(void **state)
{
    struct fixture *f = *state;

    ask_reset(f, "GPU-slow");
    ask_reset(f, "GPU-good");
    expect_reset(f, "GPU-good", EBUSY, "another GPU is being reset");
    /* The launcher's end ends it: tear_down() waits for nothing. */
}

static void test_reset_without_a_program_is_refused(void **state)
{
    struct fixture *f = *state;

    ask_reset(f, "GPU-good");
    expect_reset(f, "GPU-good", EOPNOTSUPP, "vgpu-launcher has no --reset-program");
}

#define CASE(name)      cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define ROOT_CASE(name) cmocka_unit_test_setup_teardown(name, set_up_root, tear_down_root)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CASE(test_spawn_hands_over),
        CASE(test_spawn_builds_environment),
        CASE(test_exit_is_told),
        CASE(test_crash_is_told),
        CASE(test_kill_ends_one),
        CASE(test_kill_unknown_is_ignored),
        CASE(test_closed_socket_ends_worker),
        CASE(test_spawn_twice_is_refused),
        CASE(test_spawn_over_limit_is_refused),
        CASE(test_unsealed_memory_is_refused),
        CASE(test_wrong_size_memory_is_refused),
        CASE(test_open_lease_is_refused),
        CASE(test_non_eventfd_is_refused),
        CASE(test_second_mediator_is_refused),
        CASE(test_list_after_reconnect),
        CASE(test_exit_without_mediator_is_kept),
        CASE(test_malformed_drops_connection_only),
        CASE(test_wrong_descriptor_counts_drop),
        CASE(test_too_long_packet_drops),
        CASE(test_hello_comes_first),
        CASE(test_version_from_the_future_is_refused),
        CASE(test_socket_in_use_is_refused),
        CASE(test_stale_socket_is_replaced),
        CASE(test_launcher_death_ends_workers),
        CASE(test_sigterm_ends_workers),
        CASE(test_missing_worker_is_refused),
        CASE(test_root_needs_base_uid),
        cmocka_unit_test_setup_teardown(test_faults_are_passed_on_with_the_vm, set_up_faults,
                                        tear_down),
        CASE(test_faults_are_asked_for_by_their_option_only),
        cmocka_unit_test_setup_teardown(test_reset_runs_the_program, set_up_reset, tear_down_reset),
        cmocka_unit_test_setup_teardown(test_reset_is_one_at_a_time, set_up_reset, tear_down_reset),
        CASE(test_reset_without_a_program_is_refused),
        ROOT_CASE(test_root_gives_own_user),
        ROOT_CASE(test_root_limits_memory),
    };

    if (argc != 3)
        return 2;
    launcher_path = argv[1];
    worker_path = driver_path = argv[2];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
