/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Grants and events by Linux' /dev/xen/gntdev and /dev/xen/evtchn. libxengnttab and libxenevtchn
 * are not used, since they open the devices by path, which a worker may not.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/types.h>
/* gntdev.h names these for a structure that is not used here. */
typedef __u32 grant_ref_t;
typedef __u16 domid_t;
#include <xen/evtchn.h>
#include <xen/gntdev.h>

#include "carrier/grant_ops.h"
#include "common/cleanup.h"

#define PAGE_BYTES 4096u

/* Of Linux 4.8; its header does not always come with the system's. */
#ifndef IOCTL_EVTCHN_RESTRICT_DOMID
#define IOCTL_EVTCHN_RESTRICT_DOMID                                                                \
    _IOC(_IOC_NONE, 'E', 6, sizeof(struct ioctl_evtchn_restrict_domid))
struct ioctl_evtchn_restrict_domid {
    domid_t domid;
};
#endif

static int open_memory(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

static int open_events(const char *path, uint32_t domid)
{
    struct ioctl_evtchn_restrict_domid restriction = {.domid = (domid_t)domid};
    _cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0 || (domid != 0 && ioctl(fd, IOCTL_EVTCHN_RESTRICT_DOMID, &restriction) < 0))
        return -errno;
    return vgpu_steal_fd(&fd);
}

/* Before Linux 5.5, under PV, only the process that opened the device can map by it. */
static int own_memory(int memory)
{
    char path[40];
    int fd;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", memory);
    fd = open(path, O_RDWR | O_CLOEXEC);
    return fd < 0 ? memory : fd;
}

static int release(int memory, uint64_t index, uint32_t n)
{
    struct ioctl_gntdev_unmap_grant_ref request = {.index = index, .count = n};

    return ioctl(memory, IOCTL_GNTDEV_UNMAP_GRANT_REF, &request) < 0 ? -errno : 0;
}

static int map(int memory, uint32_t domid, const uint32_t *refs, uint32_t n, bool write, void *at,
               struct grant_map *ret)
{
    size_t bytes = sizeof(struct ioctl_gntdev_map_grant_ref) + n * sizeof(*refs) * 2;
    _cleanup_free_ struct ioctl_gntdev_map_grant_ref *request = calloc(1, bytes);
    void *mapped;
    int error;

    if (!request)
        return -ENOMEM;
    request->count = n;
    for (uint32_t i = 0; i < n; i++)
        request->refs[i] = (struct ioctl_gntdev_grant_ref){.domid = domid, .ref = refs[i]};
    if (ioctl(memory, IOCTL_GNTDEV_MAP_GRANT_REF, request) < 0)
        return -errno;
    mapped = mmap(at, (size_t)n * PAGE_BYTES, write ? PROT_READ | PROT_WRITE : PROT_READ,
                  at ? MAP_SHARED | MAP_FIXED : MAP_SHARED, memory, (off_t)request->index);
    if (mapped == MAP_FAILED) {
        error = errno;
        release(memory, request->index, n);
        return -error;
    }
    *ret = (struct grant_map){.at = mapped, .pages = n, .index = request->index};
    return 0;
}

/* Both are needed: the device keeps a grant until it is told, or closed by everyone. */
static void unmap(int memory, struct grant_map *grants)
{
    if (!grants->at)
        return;
    munmap(grants->at, (size_t)grants->pages * PAGE_BYTES);
    release(memory, grants->index, grants->pages);
    *grants = (struct grant_map){0};
}

static int bind_port(int events, uint32_t domid, uint32_t port, uint32_t *ret_port)
{
    struct ioctl_evtchn_bind_interdomain request = {.remote_domain = domid, .remote_port = port};
    int bound = ioctl(events, IOCTL_EVTCHN_BIND_INTERDOMAIN, &request);

    if (bound < 0)
        return -errno;
    *ret_port = (uint32_t)bound;
    return 0;
}

static int unbind(int events, uint32_t port)
{
    struct ioctl_evtchn_unbind request = {.port = port};

    return ioctl(events, IOCTL_EVTCHN_UNBIND, &request) < 0 ? -errno : 0;
}

static int notify(int events, uint32_t port)
{
    struct ioctl_evtchn_notify request = {.port = port};

    return ioctl(events, IOCTL_EVTCHN_NOTIFY, &request) < 0 ? -errno : 0;
}

/* EFBIG: more events than the device can keep for us; from then on it gives none. */
static int pending(int events, uint32_t *ret_ports, uint32_t most)
{
    ssize_t got = read(events, ret_ports, most * sizeof(*ret_ports));

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    return got < 0 ? -errno : (int)((size_t)got / sizeof(*ret_ports));
}

static int unmask(int events, uint32_t port)
{
    return write(events, &port, sizeof(port)) < 0 ? -errno : 0;
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
    .notify_request = IOCTL_EVTCHN_NOTIFY,
};
