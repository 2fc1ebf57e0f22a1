/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher/test_mediator.h"

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
#include <vgpu/times.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "common/fdpass.h"

const char *launcher_path, *worker_path, *driver_path;

pid_t start_launcher(const struct fixture *f, const char *const *extra)
{
    const char *argv[24] = {launcher_path, "--socket",      f->socket,   "--worker",
                            worker_path,   "--driver",      driver_path, "--env",
                            "SOFTGPU_X=1", "--max-workers", MAX_WORKERS};
    int n = 11;
    pid_t pid;

    while (extra && *extra)
        argv[n++] = *extra++;
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        setenv("LEAKED", "1", 1);
        if (!getenv("LAUNCHER_TEST_LOG"))
            dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
        execv(launcher_path, (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    return pid;
}

int try_connect(const struct fixture *f)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", f->socket);
    if (connect(sock, (struct sockaddr *)&address, sizeof(address)) == 0)
        return sock;
    close(sock);
    return -1;
}

int connect_launcher(const struct fixture *f)
{
    for (int i = 0; i < TIMEOUT_MS / 5; i++) {
        int sock = try_connect(f);

        if (sock >= 0)
            return sock;
        poll(NULL, 0, 5); /* until its socket is there */
    }
    fail_msg("the launcher does not listen");
    return -1;
}

ssize_t receive(int sock, union packet *packet, int *fds, size_t *n_fds)
{
    struct pollfd wait = {.fd = sock, .events = POLLIN};
    int got[VGPU_FDPASS_MAX];
    size_t n;
    ssize_t size;

    assert_int_equal(poll(&wait, 1, TIMEOUT_MS), 1);
    size = vgpu_fdpass_recv(sock, packet, sizeof(*packet), got, VGPU_FDPASS_MAX, &n);
    for (size_t i = 0; i < n && !fds; i++)
        close(got[i]);
    if (fds)
        memcpy(fds, got, n * sizeof(int));
    if (n_fds)
        *n_fds = n;
    return size;
}

void expect(int sock, uint32_t type, union packet *packet)
{
    assert_true(receive(sock, packet, NULL, NULL) > 0);
    assert_int_equal(packet->head.type, type);
}

void send_packet(int sock, const void *packet, size_t size, const int *fds, size_t n)
{
    assert_int_equal(vgpu_fdpass_send(sock, packet, size, fds, n), (ssize_t)size);
}

void send_hello(int sock)
{
    struct vgpu_launch_hello hello = {{sizeof(hello), VGPU_LAUNCH_HELLO}, VGPU_MAGIC, 1, 0};

    send_packet(sock, &hello, sizeof(hello), NULL, 0);
}

void greet(int sock)
{
    union packet packet;
    int fds[VGPU_FDPASS_MAX];
    struct stat status;
    size_t n;

    send_hello(sock);
    assert_int_equal(receive(sock, &packet, fds, &n), sizeof(packet.hello));
    assert_int_equal(packet.head.type, VGPU_LAUNCH_WELCOME);
    assert_int_equal(n, 1);
    assert_int_equal(fstat(fds[0], &status), 0);
    assert_int_equal(status.st_size, VGPU_ACCOUNTS_BYTES);
    close(fds[0]);
}

int make_memory(uint64_t bytes, int seals, mode_t mode)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_true(fd >= 0);
    assert_int_equal(fchmod(fd, mode), 0);
    assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

void close_fds(struct fixture *f)
{
    for (int i = 0; i < VGPU_CHANNEL_FDS; i++)
        vgpu_close(&f->fds[i]);
    if (f->report)
        munmap(f->report, 4096);
    f->report = NULL;
}

void make_fds(struct fixture *f)
{
    struct vgpu_channel_page *page;

    close_fds(f);
    for (int i = 0; i < VGPU_CHANNEL_FDS; i++)
        f->fds[i] = i == VGPU_FD_MEMORY   ? make_memory(TOTAL_BYTES, SEALS, 0600)
                    : i == VGPU_FD_LEASE  ? make_memory(VGPU_LEASE_BYTES, SEALS, 0600)
                    : i == VGPU_FD_REPORT ? make_memory(VGPU_REPORT_BYTES, SEALS, 0600)
                                          : eventfd(0, EFD_CLOEXEC);
    f->report = mmap(NULL, 4096, PROT_READ, MAP_SHARED, f->fds[VGPU_FD_REPORT], 0);
    page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, f->fds[VGPU_FD_MEMORY], 0);
    page->magic = VGPU_MAGIC;
    munmap(page, 4096);
}

struct vgpu_launch_spawn good_spawn(uint32_t channel)
{
    struct vgpu_launch_spawn spawn = {
        .head = {sizeof(spawn), VGPU_LAUNCH_SPAWN},
        .channel = channel,
        .geometry = {.sub_granules = 64,
                     .comp_granules = 64,
                     .sub_offset = 4096,
                     .comp_offset = 8192,
                     .data_offset = 12288,
                     .data_bytes = 8192,
                     .total_bytes = TOTAL_BYTES},
        .keep = {.vm_id = 7, .gpu_id = 3, .token = {1, 2, 3}, .process = "program"},
        .gpu_uuid = "GPU-0123-abcd",
    };
    return spawn;
}

int spawn_result(struct fixture *f, const struct vgpu_launch_spawn *spawn)
{
    union packet packet;

    send_packet(f->sock, spawn, sizeof(*spawn), f->fds, VGPU_CHANNEL_FDS);
    expect(f->sock, VGPU_LAUNCH_SPAWNED, &packet);
    assert_int_equal(packet.answer.channel, spawn->channel);
    assert_true(packet.answer.result != 0 || packet.answer.pid > 0);
    assert_true(packet.answer.result == 0 || packet.answer.text[0] != '\0');
    f->worker = packet.answer.pid;
    return packet.answer.result;
}

void spawn_ready(struct fixture *f, uint32_t channel)
{
    struct vgpu_launch_spawn spawn = good_spawn(channel);
    struct pollfd wait;
    uint64_t count;

    make_fds(f);
    assert_int_equal(spawn_result(f, &spawn), 0);
    wait = (struct pollfd){.fd = f->fds[VGPU_FD_REPORT_KICK], .events = POLLIN};
    assert_int_equal(poll(&wait, 1, TIMEOUT_MS), 1);
    assert_int_equal(read(wait.fd, &count, sizeof(count)), sizeof(count));
}

void command(const struct fixture *f, uint64_t value)
{
    assert_int_equal(write(f->fds[VGPU_FD_SUBMIT_KICK], &value, sizeof(value)), sizeof(value));
}

void send_channel(int sock, uint32_t type, uint32_t channel)
{
    struct vgpu_launch_channel body = {{sizeof(body), type}, channel, 0};

    send_packet(sock, &body, sizeof(body), NULL, 0);
}

void expect_exit(struct fixture *f, uint32_t channel, int code, int sig, bool killed)
{
    union packet packet;

    expect(f->sock, VGPU_LAUNCH_EXITED, &packet);
    assert_int_equal(packet.exited.channel, channel);
    assert_int_equal(packet.exited.exit_code, code);
    assert_int_equal(packet.exited.signal, sig);
    assert_int_equal(packet.exited.killed, killed);
}

void expect_closed(int sock)
{
    union packet packet;
    ssize_t got;

    do
        got = receive(sock, &packet, NULL, NULL);
    while (got > 0 && packet.head.type == VGPU_LAUNCH_REFUSED);
    assert_true(got <= 0);
}

const char *const same_uid[] = {"--same-uid", NULL};

int set_up_with(void **state, const char *const *extra)
{
    struct fixture *f = calloc(1, sizeof(*f));

    snprintf(f->dir, sizeof(f->dir), "/tmp/vgpu-launcher-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->socket, sizeof(f->socket), "%s/launcher.sock", f->dir);
    for (int i = 0; i < VGPU_CHANNEL_FDS; i++)
        f->fds[i] = -1;
    f->launcher = start_launcher(f, extra);
    f->sock = connect_launcher(f);
    greet(f->sock);
    *state = f;
    return 0;
}

int set_up(void **state)
{
    return set_up_with(state, same_uid);
}

int wait_status(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

int tear_down(void **state)
{
    struct fixture *f = *state;

    if (f->launcher > 0) {
        kill(f->launcher, SIGTERM);
        assert_int_equal(wait_status(f->launcher), 0);
    }
    close_fds(f);
    vgpu_close(&f->sock);
    assert_int_equal(rmdir(f->dir), 0); /* nothing is left in it */
    free(f);
    return 0;
}
