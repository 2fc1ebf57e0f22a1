/* SPDX-License-Identifier: Apache-2.0 */
#include "common/fdpass.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union fd_space {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(VGPU_FDPASS_MAX * sizeof(int))];
};

ssize_t vgpu_fdpass_send(int sock, const void *data, size_t size, const int *fds, size_t n_fds)
{
    union fd_space space;
    struct iovec iov = {(void *)(uintptr_t)data, size};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t sent;

    if (n_fds > VGPU_FDPASS_MAX)
        return -EINVAL;
    if (n_fds > 0) {
        struct cmsghdr *head;

        memset(&space, 0, sizeof(space));
        msg.msg_control = space.bytes;
        msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        head = CMSG_FIRSTHDR(&msg);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(head), fds, n_fds * sizeof(int));
    }
    do {
        sent = sendmsg(sock, &msg, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : sent;
}

static void close_all(const int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        close(fds[i]);
}

/* Collects the descriptors of msg into got, which holds VGPU_FDPASS_MAX. Returns their number. */
static size_t collect(struct msghdr *msg, int *got)
{
    size_t n = 0;

    for (struct cmsghdr *head = CMSG_FIRSTHDR(msg); head; head = CMSG_NXTHDR(msg, head)) {
        size_t count;

        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
            continue;
        count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        if (count > VGPU_FDPASS_MAX - n)
            count = VGPU_FDPASS_MAX - n;
        memcpy(got + n, CMSG_DATA(head), count * sizeof(int));
        n += count;
    }
    return n;
}

ssize_t vgpu_fdpass_recv(int sock, void *data, size_t size, int *fds, size_t max_fds,
                         size_t *ret_n_fds)
{
    union fd_space space;
    int got[VGPU_FDPASS_MAX];
    struct iovec iov = {data, size};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = space.bytes,
                         .msg_controllen = sizeof(space.bytes)};
    size_t n;
    ssize_t received;

    *ret_n_fds = 0;
    do {
        received = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    } while (received < 0 && errno == EINTR);
    if (received < 0)
        return -errno;
    n = collect(&msg, got);
    if (n > max_fds || (msg.msg_flags & MSG_CTRUNC)) {
        close_all(got, n);
        return -EPROTO;
    }
    for (size_t i = 0; i < n; i++)
        fds[i] = got[i];
    *ret_n_fds = n;
    return received;
}
