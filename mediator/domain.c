/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/domain.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/listen.h"
#include "common/log.h"
#include "common/status.h"
#include "mediator/drain.h"
#include "mediator/mediator.h"

#define PACKETS_PER_TURN 64

union packet {
    struct vgpu_domain head;
    struct vgpu_domain_hello hello;
    struct vgpu_domain_set set;
    uint8_t bytes[sizeof(struct vgpu_domain_set) + 8]; /* so that what is too long shows */
};

static int malformed(struct vgpu_err *err, const char *what)
{
    return vgpu_err_set(err, EPROTO, "malformed message: %s", what);
}

static int check_hello(const struct vgpu_domain_hello *hello, struct vgpu_err *err)
{
    if (hello->magic != VGPU_MAGIC)
        return malformed(err, "magic");
    if (hello->version_major != VGPU_VERSION_MAJOR)
        return malformed(err, "version");
    if (hello->reserved != 0 || hello->backend_domid >= VGPU_DOMAIN_FIRST_RESERVED)
        return malformed(err, "backend_domid");
    return 0;
}

static int check_set(const struct vgpu_domain_set *set, struct vgpu_err *err)
{
    size_t length = strnlen(set->vm, sizeof(set->vm));

    if (set->gone > 1)
        return malformed(err, "gone");
    if (length == sizeof(set->vm) || (length == 0) != set->gone)
        return malformed(err, "vm");
    return 0;
}

int domain_check(const void *packet, size_t size, struct vgpu_err *err)
{
    union packet copy;
    size_t wanted;

    if (size < sizeof(copy.head) || size > sizeof(copy))
        return malformed(err, "size");
    memcpy(&copy, packet, size);
    if (copy.head.type == VGPU_DOMAIN_HELLO)
        wanted = sizeof(copy.hello);
    else if (copy.head.type == VGPU_DOMAIN_SET)
        wanted = sizeof(copy.set);
    else if (copy.head.type == VGPU_DOMAIN_LISTED)
        wanted = sizeof(copy.head);
    else
        return malformed(err, "type");
    if (size != wanted || copy.head.size_bytes != wanted)
        return malformed(err, "size");
    if (copy.head.type == VGPU_DOMAIN_HELLO)
        return check_hello(&copy.hello, err);
    return copy.head.type == VGPU_DOMAIN_SET ? check_set(&copy.set, err) : 0;
}

/* What a domain is */

static struct vm *find_domain(struct mediator *mediator, uint32_t domid)
{
    for (struct vm *vm = mediator->vms; vm; vm = vm->next)
        if (vm->domid == domid)
            return vm;
    return NULL;
}

/* By UUID first: a name may look like a number, but hardly like somebody's UUID. */
static struct vm *find_vm(struct mediator *mediator, const char *text)
{
    struct vm *named = NULL;
    char *end;
    unsigned long id;

    for (struct vm *vm = mediator->vms; vm; vm = vm->next) {
        if (vm->state == VM_REMOVED)
            continue;
        if (vm->config.uuid[0] && strcasecmp(vm->config.uuid, text) == 0)
            return vm;
        if (strcmp(vm->config.name, text) == 0)
            named = vm;
    }
    if (named || text[0] < '0' || text[0] > '9')
        return named;
    errno = 0;
    id = strtoul(text, &end, 10);
    return errno || *end || id > UINT32_MAX ? NULL : vm_find(mediator, (uint32_t)id);
}

static void forget(struct vm *vm)
{
    vgpu_log(VGPU_LOG_INFO, "domain-gone", "vm=%" PRIu32 " domid=%" PRIu32, vm->config.id,
             vm->domid);
    vm->domid = 0;
    drain_domain(vm);
}

static enum vgpu_status set_domain(struct mediator *mediator, const struct vgpu_domain_set *set,
                                   struct vm **ret_vm)
{
    struct vm *before = find_domain(mediator, set->domid);
    struct vm *vm = set->gone ? NULL : find_vm(mediator, set->vm);

    if (set->domid == 0 || set->domid >= VGPU_DOMAIN_FIRST_RESERVED)
        return VGPU_LIMIT;
    if (before && before != vm)
        forget(before);
    if (set->gone)
        return VGPU_OK;
    if (!vm)
        return VGPU_NOT_CONFIGURED;
    if (vm->domid != 0 && vm->domid != set->domid && vm->domain_confirmed)
        return VGPU_LIMIT;
    if (vm->domid != set->domid) {
        if (vm->domid != 0)
            forget(vm);
        vgpu_log(VGPU_LOG_INFO, "domain", "vm=%" PRIu32 " domid=%" PRIu32, vm->config.id,
                 set->domid);
    }
    vm->domid = set->domid;
    vm->domain_confirmed = true;
    *ret_vm = vm;
    return VGPU_OK;
}

/* What was not said again is no more; and so are channels of domains that nobody knows. */
static void listed(struct mediator *mediator)
{
    for (struct vm *vm = mediator->vms; vm; vm = vm->next) {
        if (vm->domid != 0 && !vm->domain_confirmed)
            forget(vm);
        else
            drain_domain(vm);
    }
}

static void greet(struct mediator *mediator)
{
    for (struct vm *vm = mediator->vms; vm; vm = vm->next)
        vm->domain_confirmed = false;
}

/* The connection */

static void hang_up(struct domains *domains)
{
    if (domains->sock < 0)
        return;
    loop_watch_remove(domains->mediator->loop, &domains->reading);
    vgpu_close(&domains->sock);
    domains->greeted = false;
}

static bool answer(struct domains *domains, const void *packet, size_t size)
{
    return send(domains->sock, packet, size, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)size;
}

static bool answer_set(struct domains *domains, const struct vgpu_domain_set *set)
{
    struct vm *vm = NULL;
    struct vgpu_domain_is is = {.head = {sizeof(is), VGPU_DOMAIN_IS}, .domid = set->domid};

    is.status = set_domain(domains->mediator, set, &vm);
    /* Whoever hears that it is nobody takes it that none of its pages is mapped. */
    if (is.status != VGPU_OK && drain_domain_lives(domains->mediator, set->domid))
        is.status = VGPU_STARTING;
    is.vm_id = vm ? vm->config.id : 0;
    if (is.status == VGPU_LIMIT)
        snprintf(is.text, sizeof(is.text), "no domain has this number, or the VM is another one");
    else if (is.status != VGPU_OK)
        snprintf(is.text, sizeof(is.text), "%s", vgpu_status_text((enum vgpu_status)is.status));
    return answer(domains, &is, sizeof(is));
}

static bool answer_hello(struct domains *domains, const struct vgpu_domain_hello *hello)
{
    struct vgpu_domain_hello welcome = *hello;

    welcome.head.type = VGPU_DOMAIN_WELCOME;
    welcome.version_minor = VGPU_VERSION_MINOR;
    domains->backend_domid = hello->backend_domid;
    domains->greeted = true;
    greet(domains->mediator);
    return answer(domains, &welcome, sizeof(welcome));
}

/* False: the connection is to be ended. */
static bool handle(struct domains *domains, const union packet *packet)
{
    if (domains->greeted == (packet->head.type == VGPU_DOMAIN_HELLO))
        return false;
    switch (packet->head.type) {
    case VGPU_DOMAIN_HELLO:
        return answer_hello(domains, &packet->hello);
    case VGPU_DOMAIN_SET:
        return answer_set(domains, &packet->set);
    default: /* LISTED: nothing else passes the check */
        listed(domains->mediator);
        return true;
    }
}

static void readable(void *context, uint32_t events)
{
    struct domains *domains = context;
    union packet packet;
    struct vgpu_err err;

    for (int i = 0; i < PACKETS_PER_TURN; i++) {
        ssize_t got = recv(domains->sock, &packet, sizeof(packet), MSG_DONTWAIT);

        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (got <= 0 || domain_check(&packet, (size_t)got, &err) < 0 || !handle(domains, &packet)) {
            vgpu_log(VGPU_LOG_INFO, "xenbus-disconnect", "reason=%s",
                     got > 0 ? "malformed" : "end");
            hang_up(domains);
            return;
        }
    }
}

static bool user_allowed(const struct mediator_settings *settings, uid_t uid)
{
    return uid == 0 || uid == geteuid() ||
           (settings->has_xenbus_uid && uid == settings->xenbus_uid);
}

/* One that was killed may be followed by the next before its end was seen: the new one counts. */
static void acceptable(void *context, uint32_t events)
{
    struct domains *domains = context;
    _cleanup_close_ int sock = accept4(domains->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct ucred who = {0};
    socklen_t size = sizeof(who);

    if (sock < 0 || getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0)
        return;
    if (!user_allowed(domains->mediator->settings, who.uid)) {
        if (mediator_may_log(domains->mediator))
            vgpu_log(VGPU_LOG_WARN, "xenbus-stranger", "peer_uid=%d peer_pid=%d", (int)who.uid,
                     (int)who.pid);
        return;
    }
    vgpu_log(VGPU_LOG_INFO, "xenbus-connect", "peer_uid=%d peer_pid=%d", (int)who.uid,
             (int)who.pid);
    hang_up(domains);
    if (loop_watch_add(domains->mediator->loop, &domains->reading, sock, EPOLLIN, readable,
                       domains) == 0)
        domains->sock = vgpu_steal_fd(&sock);
}

int domains_init(struct domains *domains, struct mediator *mediator, struct vgpu_err *err)
{
    int rc;

    domains->mediator = mediator;
    if (snprintf(domains->path, sizeof(domains->path), "%s/xenbus.sock",
                 mediator->settings->run_dir) >= (int)sizeof(domains->path))
        return vgpu_err_set(err, ENAMETOOLONG, "--run-dir is too long for a socket path");
    /* user_allowed() decides, not the file: vgpu-xenbus is to be in no group that opens other
     * sockets of this directory. */
    rc = vgpu_listen(domains->path, SOCK_SEQPACKET, 0666, &domains->listener, err);
    if (rc < 0)
        return rc;
    rc = loop_watch_add(mediator->loop, &domains->listening, domains->listener, EPOLLIN, acceptable,
                        domains);
    return rc < 0 ? vgpu_err_set(err, -rc, "cannot watch a socket: %s", strerror(-rc)) : 0;
}

void domains_release(struct domains *domains)
{
    if (domains->listener < 0)
        return;
    hang_up(domains);
    loop_watch_remove(domains->mediator->loop, &domains->listening);
    vgpu_close(&domains->listener);
    unlink(domains->path);
}
