/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Spare workers from outside, with the real worker on softgpu: what a channel gets that starts on
 * one must be what it would have got otherwise. Arguments: launcher, worker, driver.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vgpu/lease.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "launcher/test_mediator.h"

/* softgpu's first two. */
#define GPU           "GPU-50f76900-1d7c-4e0a-9b33-736f66746700"
#define OTHER_GPU     "GPU-50f76900-1d7c-4e0a-9b33-736f66746701"
#define PROFILE_BYTES 16384

static void ask(struct fixture *f, unsigned spares, const char *gpu)
{
    struct vgpu_launch_spares wish = {
        .head = {sizeof(wish), VGPU_LAUNCH_SPARES}, .spares = spares, .n_gpus = 1};

    snprintf(wish.gpu_uuid[0], VGPU_GPU_UUID_BYTES, "%s", gpu);
    send_packet(f->sock, &wish, sizeof(wish), NULL, 0);
}

static void expect_state(struct fixture *f, struct vgpu_launch_spare_state *ret)
{
    union packet packet;

    expect(f->sock, VGPU_LAUNCH_SPARE_STATE, &packet);
    *ret = packet.spare_state;
}

/* Until that many can be adopted; the last state. */
static struct vgpu_launch_spare_state await_ready(struct fixture *f, unsigned ready)
{
    struct vgpu_launch_spare_state state;

    do
        expect_state(f, &state);
    while (state.ready != ready || state.starting != 0);
    return state;
}

/* The launcher's children, at most max; returns their number. */
static int children(const struct fixture *f, pid_t *pids, int max)
{
    char path[64];
    int n = 0, pid;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)f->launcher, (int)f->launcher);
    file = fopen(path, "r");
    assert_non_null(file);
    while (n < max && fscanf(file, "%d", &pid) == 1)
        pids[n++] = pid;
    fclose(file);
    return n;
}

static pid_t only_child(const struct fixture *f)
{
    pid_t pids[2] = {0};

    assert_int_equal(children(f, pids, 2), 1);
    return pids[0];
}

static void lay_out_pages(struct fixture *f, const struct vgpu_channel_geometry *geometry)
{
    struct vgpu_channel_page *page =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, f->fds[VGPU_FD_MEMORY], 0);
    struct vgpu_lease_page *lease =
        mmap(NULL, VGPU_LEASE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, f->fds[VGPU_FD_LEASE], 0);

    page->magic = VGPU_MAGIC;
    page->layout = VGPU_LAYOUT_VERSION;
    page->geometry = *geometry;
    lease->magic = VGPU_MAGIC;
    lease->layout = VGPU_LEASE_LAYOUT;
    munmap(page, 4096);
    munmap(lease, VGPU_LEASE_BYTES);
}

static uint32_t worker_state(const struct fixture *f)
{
    const struct vgpu_report_page *report = (const void *)f->report;

    return __atomic_load_n(&report->state, __ATOMIC_ACQUIRE);
}

/* Starts the channel's worker, and waits until it takes records. While SPARE_STATEs come too. */
static void open_channel(struct fixture *f, uint32_t number, uint64_t host_memory_bytes)
{
    struct vgpu_launch_spawn spawn = good_spawn(number);
    struct pollfd wait;
    union packet packet;
    uint64_t count;

    spawn.host_memory_bytes = host_memory_bytes;
    snprintf(spawn.gpu_uuid, sizeof(spawn.gpu_uuid), "%s", GPU);
    make_fds(f);
    lay_out_pages(f, &spawn.geometry);
    send_packet(f->sock, &spawn, sizeof(spawn), f->fds, VGPU_CHANNEL_FDS);
    do
        assert_true(receive(f->sock, &packet, NULL, NULL) > 0);
    while (packet.head.type == VGPU_LAUNCH_SPARE_STATE);
    assert_int_equal(packet.head.type, VGPU_LAUNCH_SPAWNED);
    assert_int_equal(packet.answer.result, 0);
    f->worker = packet.answer.pid;
    wait = (struct pollfd){.fd = f->fds[VGPU_FD_REPORT_KICK], .events = POLLIN};
    assert_int_equal(poll(&wait, 1, TIMEOUT_MS), 1);
    assert_int_equal(read(wait.fd, &count, sizeof(count)), sizeof(count));
    assert_int_equal(worker_state(f), VGPU_WORKER_READY);
}

static void test_spare_serves_the_next_channel(void **state)
{
    struct fixture *f = *state;
    struct vgpu_launch_spare_state said;
    pid_t spare;

    ask(f, 1, GPU);
    said = await_ready(f, 1);
    assert_string_equal(said.gpu_uuid, GPU);
    assert_int_equal(said.adopted, 0);
    spare = only_child(f);
    open_channel(f, 1, 0);
    assert_int_equal(f->worker, spare);
    said = await_ready(f, 1); /* another one took its place */
    assert_int_equal(said.adopted, 1);
    assert_int_equal(said.failures, 0);
    send_channel(f->sock, VGPU_LAUNCH_KILL, 1);
    expect_exit(f, 1, -1, SIGKILL, true);
}

static void test_spare_of_another_gpu_is_not_taken(void **state)
{
    struct fixture *f = *state;
    pid_t spare;

    ask(f, 1, OTHER_GPU);
    await_ready(f, 1);
    spare = only_child(f);
    open_channel(f, 1, 0);
    assert_int_not_equal(f->worker, spare);
}

static void test_spare_serves_one_channel_only(void **state)
{
    struct fixture *f = *state;
    pid_t first;

    ask(f, 1, GPU);
    await_ready(f, 1);
    open_channel(f, 1, 0);
    first = f->worker;
    open_channel(f, 2, 0); /* a spare or not: another process */
    assert_int_not_equal(f->worker, first);
}

static void test_spare_that_dies_is_replaced(void **state)
{
    struct fixture *f = *state;
    struct vgpu_launch_spare_state said;
    pid_t spare;

    ask(f, 1, GPU);
    await_ready(f, 1);
    spare = only_child(f);
    assert_int_equal(kill(spare, SIGKILL), 0);
    do
        expect_state(f, &said);
    while (said.ready != 0);
    assert_int_equal(said.failures, 1);
    open_channel(f, 1, 0); /* nothing is lost but time */
    assert_int_not_equal(f->worker, spare);
    said = await_ready(f, 1);
    assert_int_equal(said.failures, 1);
    assert_int_equal(said.adopted, 0);
}

static void test_spare_that_cannot_start_is_told(void **state)
{
    struct fixture *f = *state;
    struct vgpu_launch_spare_state said;

    ask(f, 1, GPU);
    do
        expect_state(f, &said);
    while (said.failures < 2);
    assert_int_equal(said.ready, 0);
}

static void test_spares_end_when_unwanted(void **state)
{
    struct fixture *f = *state;
    pid_t pids[3];

    ask(f, 2, GPU);
    await_ready(f, 2);
    assert_int_equal(children(f, pids, 3), 2);
    ask(f, 0, GPU);
    await_ready(f, 0);
    while (children(f, pids, 3) > 0)
        poll(NULL, 0, 5); /* until they are reaped; the test's timeout is the limit */
}

static void test_spares_outlive_the_mediator(void **state)
{
    struct fixture *f = *state;
    pid_t spare;

    ask(f, 1, GPU);
    await_ready(f, 1);
    spare = only_child(f);
    vgpu_close(&f->sock);
    f->sock = connect_launcher(f);
    greet(f->sock);
    ask(f, 1, GPU);
    await_ready(f, 1);
    assert_int_equal(only_child(f), spare);
}

static void await_gone(pid_t pid)
{
    while (kill(pid, 0) == 0)
        poll(NULL, 0, 5); /* until it is dead and reaped; the test's timeout is the limit */
    assert_int_equal(errno, ESRCH);
}

static void test_spare_dies_with_the_launcher(void **state)
{
    struct fixture *f = *state;
    pid_t spare;

    ask(f, 1, GPU);
    await_ready(f, 1);
    spare = only_child(f);
    open_channel(f, 1, 0);
    assert_int_equal(kill(f->launcher, SIGKILL), 0);
    wait_status(f->launcher);
    f->launcher = 0;
    await_gone(spare);
    unlink(f->socket);
}

static void add(char *profile, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(char *profile, const char *format, ...)
{
    size_t used = strlen(profile);
    va_list args;

    va_start(args, format);
    assert_true(vsnprintf(profile + used, PROFILE_BYTES - used, format, args) <
                (int)(PROFILE_BYTES - used));
    va_end(args);
}

static void add_lines(char *profile, const char *path, const char *const *names)
{
    char line[4096];
    FILE *file = fopen(path, "r");

    assert_non_null(file);
    while (fgets(line, sizeof(line), file))
        for (const char *const *name = names; *name; name++)
            if (strncmp(line, *name, strlen(*name)) == 0)
                add(profile, "%s", line);
    fclose(file);
}

/* What a thread may do, one text for all of them or the test fails. */
static void add_threads(char *profile, pid_t pid)
{
    static const char *const names[] = {
        "Uid:",    "Gid:",    "Groups:",     "CapInh:",  "CapPrm:", "CapEff:",
        "CapBnd:", "CapAmb:", "NoNewPrivs:", "Seccomp:", NULL};
    static char first[PROFILE_BYTES], next[PROFILE_BYTES];
    char path[320];
    struct dirent *entry;
    DIR *tasks;

    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    assert_non_null(tasks = opendir(path));
    first[0] = 0;
    while ((entry = readdir(tasks))) {
        if (entry->d_name[0] == '.')
            continue;
        next[0] = 0;
        snprintf(path, sizeof(path), "/proc/%d/task/%s/status", (int)pid, entry->d_name);
        add_lines(next, path, names);
        if (geteuid() != 0 || !strstr(next, "Uid:\t0\t"))
            assert_true(first[0] == 0 || strcmp(first, next) == 0);
        if (first[0] == 0)
            memcpy(first, next, sizeof(first));
    }
    closedir(tasks);
    add(profile, "%s", first);
}

/* The kind, without inode numbers and names that differ by chance; false: none. */
static bool kind_of(pid_t pid, int fd, char kind[128])
{
    char path[64];
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, fd);
    n = readlink(path, kind, 127);
    if (n < 0)
        return false;
    kind[n] = 0;
    kind[strcspn(kind, "[(")] = 0;
    return true;
}

/* The worker's own come in another order in a spare. */
static void add_descriptors(char *profile, pid_t pid)
{
    int events = 0, objects = 0;
    char kind[128];

    for (int fd = 0; fd < 256; fd++) {
        if (!kind_of(pid, fd, kind))
            continue;
        if (fd <= 10)
            add(profile, "fd %d %s\n", fd, fd == 2 ? "stderr" : kind);
        else if (strncmp(kind, "anon_inode", 10) == 0)
            events++;
        else if (strncmp(kind, "/memfd:vgpu-print", 17) == 0)
            objects++;
        else
            add(profile, "fd %s\n", kind);
    }
    add(profile, "events %d objects %d\n", events, objects);
}

static void add_limit(char *profile, const struct fixture *f, pid_t pid)
{
    static const char *const names[] = {"memory.limit_in_bytes", "memory.max"};
    char path[320], line[256], text[64];
    FILE *file;

    if (!f->cgroup[0])
        return;
    snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
    assert_non_null(file = fopen(path, "r"));
    while (fgets(line, sizeof(line), file)) {
        char *name = strrchr(line, '/');

        line[strcspn(line, "\n")] = 0;
        for (int i = 0; i < 2 && name && strstr(line, "vgpu-test"); i++) {
            _cleanup_close_ int fd = -1;

            snprintf(path, sizeof(path), "%s%s/%s", f->cgroup, name, names[i]);
            fd = open(path, O_RDONLY | O_CLOEXEC);
            memset(text, 0, sizeof(text));
            if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0)
                add(profile, "limit %s", text);
        }
    }
    fclose(file);
}

static void add_network(char *profile, pid_t pid)
{
    char path[64], theirs[64] = "", ours[64] = "";

    snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
    assert_true(readlink(path, theirs, sizeof(theirs) - 1) > 0);
    assert_true(readlink("/proc/self/ns/net", ours, sizeof(ours) - 1) > 0);
    add(profile, "own network %d\n", strcmp(theirs, ours) != 0);
}

/* All that the kernel says of the confinement of a worker. */
static char *profile_of(const struct fixture *f, pid_t pid)
{
    static const char *const limits[] = {"Max open files", "Max core", "Max address", NULL};
    char *profile = calloc(1, PROFILE_BYTES), path[64];

    add_threads(profile, pid);
    snprintf(path, sizeof(path), "/proc/%d/limits", (int)pid);
    add_lines(profile, path, limits);
    add_descriptors(profile, pid);
    add_limit(profile, f, pid);
    add_network(profile, pid);
    add(profile, "own session %d\n", getsid(pid) == pid);
    return profile;
}

static void compare_with_cold(struct fixture *f)
{
    char *cold, *warm;
    pid_t pids[3], spare;

    open_channel(f, 1, 96 << 20);
    cold = profile_of(f, f->worker);
    ask(f, 1, GPU);
    await_ready(f, 1);
    assert_int_equal(children(f, pids, 3), 2);
    spare = pids[0] == f->worker ? pids[1] : pids[0];
    open_channel(f, 2, 96 << 20);
    assert_int_equal(f->worker, spare);
    warm = profile_of(f, spare);
    assert_string_equal(cold, warm);
    assert_non_null(strstr(warm, "NoNewPrivs:\t1"));
    assert_non_null(strstr(warm, "Seccomp:\t2"));
    free(cold);
    free(warm);
}

static void test_spare_is_as_confined_as_any_worker(void **state)
{
    compare_with_cold(*state);
}

static const char *cgroup_root(void)
{
    return access("/sys/fs/cgroup/memory/memory.limit_in_bytes", W_OK) == 0
               ? "/sys/fs/cgroup/memory"
           : access("/sys/fs/cgroup/cgroup.subtree_control", W_OK) == 0 ? "/sys/fs/cgroup"
                                                                        : NULL;
}

static bool others_may_run(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 && (status.st_mode & S_IXOTH) && access(path, X_OK) == 0;
}

static int set_up_root(void **state)
{
    static char path[96];
    const char *extra[] = {"--base-uid", "70000", "--gpu-gid", "71234", "--cgroup", path, NULL};

    *state = NULL;
    if (geteuid() != 0 || !others_may_run(worker_path))
        return 0;
    if (!cgroup_root())
        extra[4] = NULL;
    else
        snprintf(path, sizeof(path), "%s/vgpu-test-%d", cgroup_root(), (int)getpid());
    set_up_with(state, extra);
    if (cgroup_root())
        snprintf(((struct fixture *)*state)->cgroup, sizeof(path), "%s", path);
    return 0;
}

static int tear_down_root(void **state)
{
    return *state ? tear_down(state) : 0;
}

static void skip_unless_root(const struct fixture *f)
{
    if (f)
        return;
    print_message("skipped: not root, or other users cannot run the worker\n");
    skip();
}

static void test_root_spare_is_as_confined_as_any_worker(void **state)
{
    skip_unless_root(*state);
    if (*state)
        compare_with_cold(*state);
}

static void user_of(pid_t pid, unsigned *ret_uid, char *ret_capabilities)
{
    static const char *const names[] = {"Uid:", NULL}, *const kept[] = {"CapPrm:", NULL};
    char path[64], text[PROFILE_BYTES] = "";

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    add_lines(text, path, names);
    assert_int_equal(sscanf(text, "Uid: %u", ret_uid), 1);
    text[0] = 0;
    add_lines(text, path, kept);
    assert_int_equal(sscanf(text, "CapPrm: %31s", ret_capabilities), 1);
}

/* Two spares are two users, and neither is a VM's or root. */
static void test_root_spares_have_users_of_their_own(void **state)
{
    struct fixture *f = *state;
    unsigned first = 0, second = 0;
    char capabilities[32];
    pid_t pids[3];

    skip_unless_root(f);
    if (!f)
        return;
    ask(f, 2, GPU);
    await_ready(f, 2);
    assert_int_equal(children(f, pids, 3), 2);
    user_of(pids[0], &first, capabilities);
    assert_string_equal(capabilities, "00000000000000c0"); /* setgid and setuid */
    user_of(pids[1], &second, capabilities);
    assert_int_not_equal(first, second);
    assert_true(first >= 0xfffe0000u && second >= 0xfffe0000u);
}

static void test_root_spare_dies_with_the_launcher(void **state)
{
    struct fixture *f = *state;

    skip_unless_root(f);
    if (!f)
        return;
    test_spare_dies_with_the_launcher(state);
    for (int i = 0; f->cgroup[0] && i < 4; i++) {
        char path[160];

        snprintf(path, sizeof(path), "%s/spare-%d", f->cgroup, i);
        rmdir(path);
    }
    if (f->cgroup[0])
        rmdir(f->cgroup);
}

static int set_up_two(void **state)
{
    static const char *const extra[] = {"--same-uid", "--env", "SOFTGPU_DEVICES=2", NULL};

    return set_up_with(state, extra);
}

static int set_up_broken(void **state)
{
    const char *worker = worker_path;
    int rc;

    worker_path = "/bin/false";
    rc = set_up(state);
    worker_path = worker;
    return rc;
}

#define CASE(name)      cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define ROOT_CASE(name) cmocka_unit_test_setup_teardown(name, set_up_root, tear_down_root)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CASE(test_spare_serves_the_next_channel),
        cmocka_unit_test_setup_teardown(test_spare_of_another_gpu_is_not_taken, set_up_two,
                                        tear_down),
        CASE(test_spare_serves_one_channel_only),
        CASE(test_spare_that_dies_is_replaced),
        cmocka_unit_test_setup_teardown(test_spare_that_cannot_start_is_told, set_up_broken,
                                        tear_down),
        CASE(test_spares_end_when_unwanted),
        CASE(test_spares_outlive_the_mediator),
        CASE(test_spare_dies_with_the_launcher),
        CASE(test_spare_is_as_confined_as_any_worker),
        ROOT_CASE(test_root_spare_is_as_confined_as_any_worker),
        ROOT_CASE(test_root_spares_have_users_of_their_own),
        ROOT_CASE(test_root_spare_dies_with_the_launcher),
    };

    if (argc != 4)
        return 2;
    launcher_path = argv[1];
    worker_path = argv[2];
    driver_path = argv[3];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
