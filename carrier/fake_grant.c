/* SPDX-License-Identifier: Apache-2.0 */
#include "carrier/fake_grant.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "carrier/grant_ops.h"
#include "common/cleanup.h"

#define PAGE_BYTES  4096u
#define PATIENCE_MS 10000

static int send_message(int events, uint32_t what, uint32_t domid, uint32_t port)
{
    const struct fake_grant_message message = {what, domid, port};

    return write(events, &message, sizeof(message)) < 0 ? -errno : 0;
}

/* Whoever opens the device owns it, whoever else gets the descriptor. */
static int open_memory(const char *path)
{
    _cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC);

    if (fd < 0 || fcntl(fd, F_SETOWN, getpid()) < 0)
        return -errno;
    return vgpu_steal_fd(&fd);
}

static int open_events(const char *path, uint32_t domid)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int rc;

    strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return -errno;
    rc = send_message(fd, FAKE_GRANT_OPEN, 0, domid);
    return rc < 0 ? rc : vgpu_steal_fd(&fd);
}

static int own_memory(int memory)
{
    char path[40];
    int own;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", memory);
    own = open_memory(path);
    return own < 0 ? memory : own;
}

static int map(int memory, uint32_t domid, const uint32_t *refs, uint32_t n, bool write, void *at,
               struct grant_map *ret)
{
    int access = write ? PROT_READ | PROT_WRITE : PROT_READ;
    uint8_t *base = at;
    struct stat status;

    if (fstat(memory, &status) < 0)
        return -errno;
    if (fcntl(memory, F_GETOWN) != getpid())
        return -EINVAL;
    for (uint32_t i = 0; i < n; i++)
        if (refs[i] == 0 || (uint64_t)status.st_size / PAGE_BYTES <= refs[i])
            return -EINVAL;
    if (!base)
        base = mmap(NULL, (size_t)n * PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (uint32_t i = 0; i < n; i++)
        if (mmap(base + (size_t)i * PAGE_BYTES, PAGE_BYTES, access, MAP_SHARED | MAP_FIXED, memory,
                 (off_t)refs[i] * PAGE_BYTES) == MAP_FAILED)
            return -errno;
    *ret = (struct grant_map){.at = base, .pages = n};
    return 0;
}

static void unmap(int memory, struct grant_map *grants)
{
    if (grants->at)
        munmap(grants->at, (size_t)grants->pages * PAGE_BYTES);
    *grants = (struct grant_map){0};
}

static int bind_port(int events, uint32_t domid, uint32_t port, uint32_t *ret_port)
{
    struct pollfd answer = {.fd = events, .events = POLLIN};
    struct fake_grant_message message;
    int rc = send_message(events, FAKE_GRANT_BIND, domid, port);

    if (rc < 0)
        return rc;
    if (poll(&answer, 1, PATIENCE_MS) != 1 ||
        read(events, &message, sizeof(message)) != sizeof(message) ||
        message.what != FAKE_GRANT_BIND || message.port == 0)
        return -EINVAL;
    *ret_port = message.port;
    return 0;
}

static int unbind(int events, uint32_t port)
{
    return send_message(events, FAKE_GRANT_UNBIND, 0, port);
}

static int notify(int events, uint32_t port)
{
    return send_message(events, FAKE_GRANT_NOTIFY, 0, port);
}

static int pending(int events, uint32_t *ret_ports, uint32_t most)
{
    struct fake_grant_message message;
    uint32_t n = 0;

    while (n < most && read(events, &message, sizeof(message)) == sizeof(message))
        if (message.what == FAKE_GRANT_EVENT)
            ret_ports[n++] = message.port;
    return (int)n;
}

static int unmask(int events, uint32_t port)
{
    return send_message(events, FAKE_GRANT_UNMASK, 0, port);
}

const struct grant_ops grant_ops = {
    .open_memory = open_memory,
    .open_events = open_events,
    .own_memory = own_memory,
    .map = map,
    .unmap = unmap,
    .bind = bind_port,
    .unbind = unbind,
    .notify = notify,
    .pending = pending,
    .unmask = unmask,
    .notify_request = 0,
};
