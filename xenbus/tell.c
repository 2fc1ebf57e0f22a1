/* SPDX-License-Identifier: Apache-2.0 */
#include "xenbus/tell.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/cleanup.h"

static int send_packet(struct tell *tell, const void *packet, size_t size)
{
    return send(tell->sock, packet, size, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

int tell_connect(struct tell *tell, const char *path, uint32_t backend_domid)
{
    const struct vgpu_domain_hello hello = {
        .head = {sizeof(hello), VGPU_DOMAIN_HELLO},
        .magic = VGPU_MAGIC,
        .version_major = VGPU_VERSION_MAJOR,
        .version_minor = VGPU_VERSION_MINOR,
        .backend_domid = backend_domid,
    };
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    _cleanup_close_ int sock = -1;

    *tell = (struct tell){.sock = -1};
    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path));
    sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (sock < 0 || connect(sock, (struct sockaddr *)&address, sizeof(address)) < 0)
        return -errno;
    tell->sock = vgpu_steal_fd(&sock);
    return send_packet(tell, &hello, sizeof(hello));
}

void tell_close(struct tell *tell)
{
    vgpu_close(&tell->sock);
    tell->welcomed = false;
}

int tell_set(struct tell *tell, uint32_t domid, const char *vm)
{
    struct vgpu_domain_set set = {
        .head = {sizeof(set), VGPU_DOMAIN_SET}, .domid = domid, .gone = !vm};

    if (vm && snprintf(set.vm, sizeof(set.vm), "%s", vm) >= (int)sizeof(set.vm))
        return 0; /* no VM has such a name: nothing is told of it */
    return send_packet(tell, &set, sizeof(set));
}

int tell_listed(struct tell *tell)
{
    const struct vgpu_domain listed = {sizeof(listed), VGPU_DOMAIN_LISTED};

    return send_packet(tell, &listed, sizeof(listed));
}

int tell_receive(struct tell *tell, struct vgpu_domain_is *ret)
{
    union {
        struct vgpu_domain head;
        struct vgpu_domain_hello welcome;
        struct vgpu_domain_is is;
    } packet;
    ssize_t got = recv(tell->sock, &packet, sizeof(packet), MSG_DONTWAIT);

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (got <= 0)
        return got < 0 ? -errno : -ECONNRESET;
    if (got == sizeof(packet.welcome) && packet.head.type == VGPU_DOMAIN_WELCOME) {
        tell->welcomed = true;
        return 2;
    }
    if (got != sizeof(packet.is) || packet.head.type != VGPU_DOMAIN_IS ||
        !memchr(packet.is.text, '\0', sizeof(packet.is.text)))
        return -EPROTO;
    *ret = packet.is;
    return 1;
}
