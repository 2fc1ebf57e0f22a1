/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The other end of a chardev, before there is a connection. link.c asks in realize.
 */
#include "qemu/osdep.h"
#include "link.h"
#include <sys/socket.h>
#include <sys/un.h>

bool vgpu_peer_is_client(Chardev *chr)
{
    return strstr(chr->filename, ",server") != NULL;
}

/*
 * Would the chardev, which is not connected, connect at once? Waiting for it to do so has
 * no end where nobody listens. It tells its path in its name: "disconnected:unix:PATH".
 */
bool vgpu_peer_listens(Chardev *chr)
{
    static const char prefix[] = "disconnected:unix:";
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = chr->filename + strlen(prefix);
    bool connected;
    int sock;

    if (vgpu_peer_is_client(chr) || strncmp(chr->filename, prefix, strlen(prefix)) != 0 ||
        strlen(path) >= sizeof(address.sun_path)) {
        return false;
    }
    pstrcpy(address.sun_path, sizeof(address.sun_path), path);
    sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (sock < 0) {
        return false;
    }
    connected = connect(sock, (struct sockaddr *)&address, sizeof(address)) == 0;
    close(sock);
    return connected;
}
