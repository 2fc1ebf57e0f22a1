/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/test_support.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fdpass.h"
#include "ring/pages.h"

static const char *launcher_path, *worker_path, *mediator_path, *store_path, *nvml_path,
    *nvml_library;

void support_init(int argc, char **argv)
{
    if (argc != 7) {
        fprintf(stderr, "usage: %s LAUNCHER WORKER MEDIATOR STORE NVML NVML-LIBRARY\n", argv[0]);
        exit(2);
    }
    launcher_path = argv[1];
    worker_path = argv[2];
    mediator_path = argv[3];
    store_path = realpath(argv[4], NULL);
    nvml_path = realpath(argv[5], NULL);
    nvml_library = realpath(argv[6], NULL);
    signal(SIGPIPE, SIG_IGN);
}

static const char *const *launcher_options;

void support_launcher_options(const char *const *options)
{
    launcher_options = options;
}

uint64_t now_ms(void)
{
    return vgpu_clock_ns() / VGPU_NS_PER_MS;
}

void pause_ms(int ms)
{
    poll(NULL, 0, ms);
}

static pid_t run(const char *const *argv)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        if (!getenv("MEDIATOR_TEST_LOG"))
            dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
        execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    return pid;
}

static bool own_users(void)
{
    for (const char *const *at = launcher_options; at && *at; at++)
        if (strcmp(*at, "--base-uid") == 0)
            return true;
    return false;
}

void host_start_launcher(struct host *host, const char *env)
{
    const char *argv[24] = {launcher_path, "--socket",  host->launcher_socket,
                            "--worker",    worker_path, "--driver",
                            worker_path};
    const char *reset_program = getenv("MEDIATOR_TEST_RESET");
    int n = 7;

    if (!own_users())
        argv[n++] = "--same-uid";
    if (reset_program) {
        argv[n++] = "--reset-program";
        argv[n++] = reset_program;
    }
    if (env) {
        argv[n++] = "--env";
        argv[n++] = env;
    }
    for (const char *const *at = launcher_options; at && *at; at++)
        argv[n++] = *at;
    host->launcher = run(argv);
    AWAIT(access(host->launcher_socket, F_OK) == 0);
}

pid_t host_spawn_mediator(const struct host *host, const char *const *extra)
{
    const char *argv[40] = {mediator_path, "--run-dir", host->run, "--database", host->database,
                            "--launcher-socket", host->launcher_socket, "--helper-dir", host->bin,
                            "--nvml", nvml_library, "--create-database", "--driver-name", "fake",
                            "--drain-ms", "300", "--stop-ms", "300",
                            /* The fake worker is no spare. */
                            "--spares", "0"};
    int n = 20;

    while (extra && *extra)
        argv[n++] = *extra++;
    return run(argv);
}

void host_start_mediator(struct host *host, const char *const *extra)
{
    int sock = -1;

    host->mediator = host_spawn_mediator(host, extra);
    AWAIT((sock = admin_connect(host)) >= 0);
    close(sock);
}

static void link_helper(const struct host *host, const char *name, const char *target)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/%s", host->bin, name);
    assert_int_equal(symlink(target, path), 0);
}

static void await_vm_socket(const struct host *host, unsigned vm_id)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/vm/%u.sock", host->run, vm_id);
    AWAIT(access(path, F_OK) == 0);
}

void host_start(struct host *host, unsigned n_vms)
{
    memset(host, 0, sizeof(*host));
    snprintf(host->dir, sizeof(host->dir), "/tmp/vgpu-mediator-XXXXXX");
    assert_non_null(mkdtemp(host->dir));
    snprintf(host->run, sizeof(host->run), "%s/run", host->dir);
    snprintf(host->bin, sizeof(host->bin), "%s/bin", host->dir);
    snprintf(host->database, sizeof(host->database), "%s/vgpu.db", host->dir);
    snprintf(host->launcher_socket, sizeof(host->launcher_socket), "%s/launcher.sock", host->dir);
    assert_int_equal(mkdir(host->bin, 0755), 0);
    link_helper(host, "vgpu-store", store_path);
    link_helper(host, "vgpu-nvml", nvml_path);
    host_start_launcher(host, NULL);
    host_start_mediator(host, NULL);
    json_decref(admin_ok(host, "\"create-pool\", \"args\": {\"pool\": \"A\"}"));
    json_decref(admin_ok(host, "\"scan-gpus\""));
    json_decref(admin_ok(host, "\"assign-gpu\", \"args\": {\"gpu_id\": 0, \"pool\": \"A\"}"));
    for (unsigned i = 1; i <= n_vms; i++)
        json_decref(
            admin_ok(host, "\"register-vm\", \"args\": {\"pool\": \"A\", \"vm_id\": %u}", i));
    /* Only a mediator that the launcher has taken listens to VMs; until then it may refuse it. */
    for (unsigned i = 1; i <= n_vms; i++)
        await_vm_socket(host, i);
}

int wait_exit(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

pid_t host_worker(const struct host *host)
{
    char path[64];
    FILE *file;
    int pid = 0;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)host->launcher,
             (int)host->launcher);
    file = fopen(path, "re");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%d", &pid), 1);
    fclose(file);
    return pid;
}

void host_kill(pid_t *pid, int signal)
{
    kill(*pid, signal);
    wait_exit(*pid);
    *pid = 0;
}

void host_stop(struct host *host)
{
    char command[128];

    if (host->mediator) {
        kill(host->mediator, SIGTERM);
        assert_int_equal(wait_exit(host->mediator), 0);
        /* Nothing is left of it: rmdir takes empty directories only. */
        assert_int_equal(rmdir(host->run), 0);
    }
    if (host->launcher) {
        kill(host->launcher, SIGTERM);
        assert_int_equal(wait_exit(host->launcher), 0);
        assert_int_equal(access(host->launcher_socket, F_OK), -1);
    }
    snprintf(command, sizeof(command), "rm -rf '%s'", host->dir);
    assert_int_equal(system(command), 0);
}

static int setup(void **state, unsigned n)
{
    struct host *host = calloc(1, sizeof(*host));

    host_start(host, n);
    *state = host;
    return 0;
}

int host_setup_1(void **state)
{
    return setup(state, 1);
}

int host_setup_2(void **state)
{
    return setup(state, 2);
}

int host_teardown(void **state)
{
    host_stop(*state);
    free(*state);
    return 0;
}

static int connect_path(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    if (connect(sock, (struct sockaddr *)&address, sizeof(address)) == 0)
        return sock;
    close(sock);
    return -1;
}

/* The admin socket */

int admin_connect(const struct host *host)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/admin.sock", host->run);
    return connect_path(path);
}

static void await_readable(int fd)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};

    assert_int_equal(poll(&wait, 1, TIMEOUT_MS), 1);
}

char *read_line(int fd)
{
    size_t used = 0, size = 1 << 20;
    char *line = malloc(size);

    for (;;) {
        await_readable(fd);
        if (read(fd, line + used, 1) != 1) {
            free(line);
            return NULL;
        }
        if (line[used] == '\n')
            break;
        assert_true(++used < size);
    }
    line[used] = '\0';
    return line;
}

static json_t *admin_va(const struct host *host, const char *format, va_list args)
{
    char request[1024];
    int used = snprintf(request, sizeof(request), "{\"id\": 1, \"command\": ");
    int sock = admin_connect(host);
    char *line;
    json_t *reply;

    assert_true(sock >= 0);
    used += vsnprintf(request + used, sizeof(request) - (size_t)used, format, args);
    used += snprintf(request + used, sizeof(request) - (size_t)used, "}\n");
    assert_int_equal(write(sock, request, (size_t)used), used);
    line = read_line(sock);
    assert_non_null(line);
    reply = json_loads(line, 0, NULL);
    assert_non_null(reply);
    free(line);
    close(sock);
    return reply;
}

json_t *admin(const struct host *host, const char *format, ...)
{
    va_list args;
    json_t *reply;

    va_start(args, format);
    reply = admin_va(host, format, args);
    va_end(args);
    return reply;
}

json_t *admin_ok(const struct host *host, const char *format, ...)
{
    va_list args;
    json_t *reply, *result;

    va_start(args, format);
    reply = admin_va(host, format, args);
    va_end(args);
    if (!json_is_true(json_object_get(reply, "ok")))
        fail_msg("%s: %s", format, json_dumps(reply, 0));
    result = json_incref(json_object_get(reply, "result"));
    json_decref(reply);
    return result;
}

double vm_number(const struct host *host, uint32_t vm_id, const char *key)
{
    json_t *status = admin_ok(host, "\"status\""), *vm;
    double number = -1;
    size_t i;

    json_array_foreach (json_object_get(status, "vms"), i, vm)
        if (json_integer_value(json_object_get(vm, "vm_id")) == vm_id)
            number = json_number_value(json_object_get(vm, key));
    json_decref(status);
    return number;
}

unsigned workers(const struct host *host)
{
    json_t *status = admin_ok(host, "\"status\"");
    json_int_t n =
        json_integer_value(json_object_get(json_object_get(status, "mediator"), "workers"));

    json_decref(status);
    return (unsigned)n;
}

/* A guest */

struct guest guest_connect(const struct host *host, uint32_t vm_id)
{
    struct guest guest = {.sock = -1};
    char path[128];

    snprintf(path, sizeof(path), "%s/vm/%u.sock", host->run, vm_id);
    AWAIT((guest.sock = connect_path(path)) >= 0);
    return guest;
}

void guest_close(struct guest *guest)
{
    vgpu_close(&guest->sock);
}

void guest_send(struct guest *guest, const void *message, size_t size)
{
    assert_int_equal(send(guest->sock, message, size, MSG_NOSIGNAL), (ssize_t)size);
}

static size_t receive_exactly(int sock, void *data, size_t size, int *fds)
{
    size_t used = 0, n_fds;
    int got_fds[VGPU_FDPASS_MAX];

    while (used < size) {
        ssize_t got;

        await_readable(sock);
        got = vgpu_fdpass_recv(sock, (uint8_t *)data + used, size - used, got_fds, VGPU_FDPASS_MAX,
                               &n_fds);
        if (got <= 0)
            return used;
        if (fds && n_fds == 3)
            memcpy(fds, got_fds, 3 * sizeof(int));
        else
            assert_int_equal(n_fds, 0);
        used += (size_t)got;
    }
    return used;
}

size_t guest_receive(struct guest *guest, union message *message, int *fds)
{
    size_t head = receive_exactly(guest->sock, message, sizeof(message->head), fds);

    if (head == 0)
        return 0;
    assert_int_equal(head, sizeof(message->head));
    assert_in_range(message->head.size_bytes, head, sizeof(*message));
    assert_int_equal(
        receive_exactly(guest->sock, message->bytes + head, message->head.size_bytes - head, NULL),
        message->head.size_bytes - head);
    return message->head.size_bytes;
}

void guest_expect(struct guest *guest, uint16_t type, union message *message)
{
    assert_true(guest_receive(guest, message, NULL) > 0);
    if (message->head.type == VGPU_MSG_REFUSED && type != VGPU_MSG_REFUSED)
        fail_msg("refused: %s", message->refused.text);
    assert_int_equal(message->head.type, type);
}

void guest_expect_refused(struct guest *guest, uint32_t tag, uint32_t status,
                          union message *message)
{
    guest_expect(guest, VGPU_MSG_REFUSED, message);
    assert_int_equal(message->head.size_bytes, sizeof(message->refused));
    assert_int_equal(message->refused.status, status);
    assert_int_equal(message->head.tag, tag);
    assert_true(message->refused.text[0] != '\0');
}

void guest_expect_end(struct guest *guest)
{
    union message message;

    assert_int_equal(guest_receive(guest, &message, NULL), 0);
}

struct vgpu_msg_hello good_hello(struct guest *guest)
{
    return (struct vgpu_msg_hello){
        .head = {sizeof(struct vgpu_msg_hello), VGPU_MSG_HELLO, 0, ++guest->tag, 0},
        .magic = VGPU_MAGIC,
        .version_major = VGPU_VERSION_MAJOR,
        .version_minor = VGPU_VERSION_MINOR,
        .features = UINT64_MAX,
        .carrier = VGPU_CARRIER_LOCAL,
    };
}

struct vgpu_msg_open good_open(struct guest *guest)
{
    return (struct vgpu_msg_open){
        .head = {sizeof(struct vgpu_msg_open), VGPU_MSG_OPEN, 0, ++guest->tag, 0},
        .sub_granules = 64,
        .comp_granules = 32,
        .data_bytes = 8192,
        .process = "test",
    };
}

struct guest guest_hello(const struct host *host, uint32_t vm_id)
{
    return guest_hello_over(host, vm_id, VGPU_CARRIER_LOCAL);
}

struct guest guest_hello_over(const struct host *host, uint32_t vm_id, uint32_t carrier)
{
    struct guest guest = guest_connect(host, vm_id);
    struct vgpu_msg_hello hello = good_hello(&guest);
    union message message;

    hello.carrier = carrier;
    guest_send(&guest, &hello, sizeof(hello));
    guest_expect(&guest, VGPU_MSG_WELCOME, &message);
    return guest;
}

void guest_take_opened(const union message *message, const int *fds, struct guest_channel *channel)
{
    void *orders;

    assert_int_equal(message->head.size_bytes, sizeof(message->opened));
    channel->number = message->opened.channel;
    channel->window = message->opened.window;
    memcpy(channel->token, message->opened.token, sizeof(channel->token));
    memcpy(channel->fds, fds, sizeof(channel->fds));
    channel->geometry = message->opened.geometry;
    orders = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0],
                  (off_t)channel->geometry.data_offset);
    assert_true(orders != MAP_FAILED);
    channel->orders = orders;
}

void guest_open(struct guest *guest, struct guest_channel *channel)
{
    struct vgpu_msg_open open = good_open(guest);
    int fds[3] = {-1, -1, -1};
    union message message;

    guest_send(guest, &open, sizeof(open));
    assert_true(guest_receive(guest, &message, fds) > 0);
    if (message.head.type == VGPU_MSG_REFUSED)
        fail_msg("refused: %s", message.refused.text);
    assert_int_equal(message.head.type, VGPU_MSG_OPENED);
    assert_int_equal(message.head.tag, guest->tag);
    assert_true(fds[0] >= 0);
    guest_take_opened(&message, fds, channel);
}

uint32_t channel_flags(const struct guest_channel *channel)
{
    struct vgpu_channel_page *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, channel->fds[0], 0);
    uint32_t flags;

    assert_true(page != MAP_FAILED);
    flags = page->flags;
    munmap(page, 4096);
    return flags;
}

void channel_forget(struct guest_channel *channel)
{
    munmap(channel->orders, 4096);
    for (int i = 0; i < 3; i++)
        vgpu_close(&channel->fds[i]);
}

void channel_order(struct guest_channel *channel, uint32_t mode, uint64_t jobs, uint32_t job_us)
{
    const uint64_t one = 1;

    channel->orders->job_us = job_us;
    page_store_u32(&channel->orders->mode, mode);
    page_store_u64(&channel->orders->jobs, jobs);
    assert_int_equal(write(channel->fds[1], &one, sizeof(one)), sizeof(one));
}

uint64_t channel_done(const struct guest_channel *channel)
{
    return page_load_u64(&channel->orders->done);
}
