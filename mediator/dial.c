/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/dial.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "mediator/mediator.h"

/*
 * A connection to the socket of that name, or -errno. The file is held by an O_PATH descriptor
 * while it is looked at and connected to, so that it cannot become another one in between.
 */
static int connect_in(int directory, const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat status;
    _cleanup_close_ int file = openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    _cleanup_close_ int sock = -1;

    if (file < 0)
        return -errno;
    if (fstat(file, &status) < 0)
        return -errno;
    if (!S_ISSOCK(status.st_mode))
        return -ENOTSOCK;
    sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (sock < 0)
        return -errno;
    snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d", file);
    /* Of a listener whose queue is full this is EAGAIN: the next turn tries again. */
    if (connect(sock, (struct sockaddr *)&address, sizeof(address)) < 0)
        return -errno;
    return vgpu_steal_fd(&sock);
}

static bool has_dialled(const struct vm *vm)
{
    for (const struct connection *c = vm->connections; c; c = c->next)
        if (c->dialled)
            return true;
    return false;
}

static void dial_vm(const struct dial *dial, struct vm *vm)
{
    char name[24];
    int sock;

    if (vm->state == VM_REMOVED || has_dialled(vm))
        return;
    snprintf(name, sizeof(name), "%" PRIu32 ".sock", vm->config.id);
    sock = connect_in(dial->directory, name);
    if (sock >= 0)
        connection_dialled(vm, sock);
}

static void turn(void *context)
{
    struct dial *dial = context;

    if (dial->mediator->stopping)
        return;
    for (struct vm *vm = dial->mediator->vms; vm; vm = vm->next)
        dial_vm(dial, vm);
    loop_timer_set(dial->mediator->loop, &dial->timer, loop_now(dial->mediator->loop) + DIAL_NS);
}

int dial_init(struct dial *dial, struct mediator *mediator, const char *path, struct vgpu_err *err)
{
    *dial = (struct dial){
        .mediator = mediator, .directory = -1, .timer = {.fire = turn, .context = dial}};
    if (!path)
        return 0;
    dial->directory = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dial->directory < 0)
        return vgpu_err_set(err, errno, "cannot open --device-dir '%s': %s", path, strerror(errno));
    return 0;
}

void dial_start(struct dial *dial)
{
    if (dial->directory >= 0)
        turn(dial);
}

void dial_release(struct dial *dial)
{
    loop_timer_clear(dial->mediator->loop, &dial->timer);
    if (dial->directory >= 0)
        vgpu_close(&dial->directory);
}
