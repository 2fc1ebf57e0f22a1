/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/listen.h"

#define BACKLOG 128

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static bool is_loopback(const union address *address)
{
    if (address->any.sa_family == AF_INET)
        return ntohl(address->v4.sin_addr.s_addr) >> 24 == 127;
    return IN6_IS_ADDR_LOOPBACK(&address->v6.sin6_addr);
}

static int resolve(const char *text, union address *address, socklen_t *ret_size,
                   struct vgpu_err *err)
{
    const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                                   .ai_socktype = SOCK_STREAM};
    const char *colon = strrchr(text, ':');
    char host[64] = "";
    struct addrinfo *found = NULL;
    size_t length = colon ? (size_t)(colon - text) : 0;
    bool bracketed = length > 2 && text[0] == '[' && text[length - 1] == ']';

    if (bracketed) {
        text++;
        length -= 2;
    }
    if (colon && length < sizeof(host))
        memcpy(host, text, length);
    if (!*host || strspn(colon + 1, "0123456789") != strlen(colon + 1) || !colon[1] ||
        strlen(colon + 1) > 5 || atoi(colon + 1) > 65535 || (strchr(host, ':') && !bracketed) ||
        getaddrinfo(host, colon + 1, &hints, &found) != 0)
        return vgpu_err_set(err, EINVAL, "'%s' is no ADDRESS:PORT", text);
    memcpy(address, found->ai_addr, found->ai_addrlen);
    *ret_size = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

int listener_parse(const char *text, bool *ret_loopback, struct vgpu_err *err)
{
    union address address = {.any = {0}};
    socklen_t size;
    int rc = resolve(text, &address, &size, err);

    if (rc == 0)
        *ret_loopback = is_loopback(&address);
    return rc;
}

/* The port that the system chose, where 0 was asked for. */
static void set_name(struct listener *listener, const char *host)
{
    size_t used = strlen(host);
    union address address = {.any = {0}};
    socklen_t size = sizeof(address);

    getsockname(listener->fd, &address.any, &size);
    if (used + sizeof(":65535") > sizeof(listener->name))
        return;
    memcpy(listener->name, host, used);
    sprintf(listener->name + used, ":%u",
            ntohs(address.any.sa_family == AF_INET ? address.v4.sin_port : address.v6.sin6_port));
}

static void add_names(struct listener *listener, const char *text)
{
    char host[HOST_NAME_BYTES];

    snprintf(host, sizeof(host), "%.*s", (int)(strrchr(text, ':') - text), text);
    host_names_add(&listener->names, host);
    if (listener->loopback) {
        host_names_add(&listener->names, "localhost");
        host_names_add(&listener->names, "127.0.0.1");
        host_names_add(&listener->names, "[::1]");
    }
    set_name(listener, host);
}

int listener_open_inet(struct listener *listener, const char *text, struct vgpu_err *err)
{
    union address address = {.any = {0}};
    _cleanup_close_ int fd = -1;
    socklen_t size = 0;
    int on = 1, rc = resolve(text, &address, &size, err);

    if (rc < 0)
        return rc;
    fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        (address.any.sa_family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0) ||
        bind(fd, &address.any, size) < 0 || listen(fd, BACKLOG) < 0)
        return vgpu_err_set(err, errno, "cannot listen on %s: %s", text, strerror(errno));
    *listener = (struct listener){.fd = vgpu_steal_fd(&fd), .loopback = is_loopback(&address)};
    add_names(listener, text);
    return 0;
}

int listener_open_unix(struct listener *listener, const char *path, struct vgpu_err *err)
{
    *listener = (struct listener){.fd = -1, .local = true, .loopback = true};
    snprintf(listener->name, sizeof(listener->name), "%s", path);
    return vgpu_listen(path, SOCK_STREAM, 0660, &listener->fd, err);
}

void listener_peer(const struct listener *listener, int fd, char *peer, unsigned size)
{
    union address address = {.any = {0}};
    socklen_t length = sizeof(address);
    struct ucred who = {.uid = (uid_t)-1};
    char text[INET6_ADDRSTRLEN] = "?";

    if (listener->local) {
        length = sizeof(who);
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &length);
        snprintf(peer, size, "uid=%u", (unsigned)who.uid);
        return;
    }
    getpeername(fd, &address.any, &length);
    if (address.any.sa_family == AF_INET6) {
        memset(address.v6.sin6_addr.s6_addr + 8, 0, 8);
        inet_ntop(AF_INET6, &address.v6.sin6_addr, text, sizeof(text));
    } else if (address.any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &address.v4.sin_addr, text, sizeof(text));
    }
    snprintf(peer, size, "%s", text);
}
