/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests: the library's system calls, led to a fake relay where they are meant for the driver,
 * and to the kernel else. Linked with --wrap (meson.build), both names of those that have two.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/flag.h"
#include "guest/libvgpu/fake_host.h"
#include "guest/libvgpu/fake_relay.h"

/* The linker's names. */
int __real_open64(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);
void *__real_mmap64(void *at, size_t bytes, int access, int flags, int fd, off64_t offset);
void *__wrap_mmap(void *at, size_t bytes, int access, int flags, int fd, off64_t offset);
void *__wrap_mmap64(void *at, size_t bytes, int access, int flags, int fd, off64_t offset);
int __real_poll(struct pollfd *fds, nfds_t count, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout);
ssize_t __real_write(int fd, const void *from, size_t bytes);
ssize_t __wrap_write(int fd, const void *from, size_t bytes);

/* The kick by grants: what an eventfd takes, to a file that is none. */
ssize_t __wrap_write(int fd, const void *from, size_t bytes)
{
    struct fake_relay *relay = fake_relay_at(fd);

    if (!relay)
        return __real_write(fd, from, bytes);
    if (bytes != sizeof(uint64_t)) {
        errno = EINVAL;
        return -1;
    }
    fake_relay_ring(relay);
    return (ssize_t)bytes;
}

/* Nobody here makes a file: no mode. */
int __wrap_open64(const char *path, int flags, ...)
{
    struct fake_relay *relay = fake_relay_now();

    return relay && strcmp(path, FAKE_RELAY_PATH) == 0 ? fake_relay_open(relay)
                                                       : __real_open64(path, flags);
}

int __wrap_open(const char *path, int flags, ...)
{
    return __wrap_open64(path, flags);
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
    struct fake_relay *relay = fake_relay_at(fd);
    va_list args;
    void *argument;

    va_start(args, request);
    argument = va_arg(args, void *);
    va_end(args);
    return relay ? fake_relay_control(relay, request, argument)
                 : __real_ioctl(fd, request, argument);
}

/* The channel's memory, the transfers behind it, and behind these, or elsewhere, the doorbell. */
void *__wrap_mmap64(void *at, size_t bytes, int access, int flags, int fd, off64_t offset)
{
    struct fake_relay *relay = fake_relay_at(fd);

    if (!relay)
        return __real_mmap64(at, bytes, access, flags, fd, offset);
    if (vgpu_flag_get(&relay->out_of_memory)) {
        /* The kernel asks the driver when it has cleared the place. */
        if (flags & MAP_FIXED)
            munmap(at, bytes);
        errno = ENOMEM;
        return MAP_FAILED;
    }
    if ((uint64_t)offset == VGPU_MMAP_DOORBELL && relay->granted) {
        errno = EINVAL;
        return MAP_FAILED;
    }
    if ((uint64_t)offset == VGPU_MMAP_DOORBELL)
        return __real_mmap64(at, bytes, access, flags, relay->memory, (off64_t)relay->doorbell_at);
    fd = relay->window ? relay->host->memory : relay->memory;
    return __real_mmap64(at, bytes, access, flags, fd, offset);
}

void *__wrap_mmap(void *at, size_t bytes, int access, int flags, int fd, off64_t offset)
{
    return __wrap_mmap64(at, bytes, access, flags, fd, offset);
}

/* The library's file is an eventfd, which has no POLLPRI: that comes from the other one. */
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout)
{
    struct fake_relay *relay = NULL;
    nfds_t which = 0;
    int status;

    for (nfds_t i = 0; i < count; i++) {
        if ((fds[i].events & POLLPRI) && fake_relay_at(fds[i].fd)) {
            relay = fake_relay_at(fds[i].fd);
            which = i;
        }
    }
    if (!relay)
        return __real_poll(fds, count, timeout);
    fds[which].fd = relay->news;
    fds[which].events = POLLIN;
    status = __real_poll(fds, count, timeout);
    fds[which].fd = relay->file;
    fds[which].events = POLLPRI;
    fds[which].revents = fds[which].revents ? POLLPRI : 0;
    return status;
}
