/* SPDX-License-Identifier: Apache-2.0 */
#include "xenbus/server.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"

#define CHANGES_PER_TURN 64
#define EVENTS_PER_TURN  64
#define ANSWERS_PER_TURN 64
#define GUESTS_MAX       SERVER_DEVICES_MAX
#define DEVICES_OF_GUEST 8
#define RETRY_NS         (200 * VGPU_NS_PER_MS)
#define REPEAT_NS        (5 * VGPU_NS_PER_S) /* a VM may be registered later than its guest starts */

static const char *const release_domain = "@releaseDomain";

static struct device *find(struct server *server, uint32_t domid, uint32_t devid)
{
    for (struct device *d = server->devices; d; d = d->next)
        if (d->domid == domid && d->devid == devid)
            return d;
    return NULL;
}

static void tree_path(const struct server *server, char path[STORE_PATH_BYTES])
{
    snprintf(path, STORE_PATH_BYTES, "/local/domain/%" PRIu32 "/backend/vgpu",
             server->backend.domid);
}

/* What is there */

static void drop(struct server *server, struct device *device)
{
    struct device **at = &server->devices;
    uint32_t domid = device->domid;
    bool other = false;

    while (*at != device)
        at = &(*at)->next;
    *at = device->next;
    vgpu_log(VGPU_LOG_INFO, "device-gone", "domid=%" PRIu32 " devid=%" PRIu32, domid,
             device->devid);
    device_free(device);
    server->n_devices--;
    for (struct device *d = server->devices; d; d = d->next)
        other = other || d->domid == domid;
    if (!other && server->tell.welcomed && tell_set(&server->tell, domid, NULL) < 0)
        tell_close(&server->tell);
}

static void add(struct server *server, uint32_t domid, uint32_t devid)
{
    struct device *device;

    if (server->n_devices == SERVER_DEVICES_MAX ||
        !(device = device_new(&server->backend, domid, devid)))
        return;
    device->seen = true;
    device->next = server->devices;
    server->devices = device;
    server->n_devices++;
    server->repeat_ns = 0;
    vgpu_log(VGPU_LOG_INFO, "device", "domid=%" PRIu32 " devid=%" PRIu32, domid, devid);
}

static void scan_guest(struct server *server, const char *tree, uint32_t domid)
{
    const struct store_ops *ops = server->backend.store_ops;
    uint32_t devids[DEVICES_OF_GUEST];
    char path[STORE_PATH_BYTES];
    int n;

    if (snprintf(path, sizeof(path), "%.100s/%" PRIu32, tree, domid) >= (int)sizeof(path))
        return;
    n = ops->numbers(server->backend.store, path, devids, DEVICES_OF_GUEST);
    for (int i = 0; i < n; i++) {
        struct device *device = find(server, domid, devids[i]);

        if (device)
            device->seen = true;
        else if (devids[i] < VGPU_XEN_CONTROL_MAX)
            add(server, domid, devids[i]);
    }
}

/* Its end of the device is the guest's to read and to write, and goes with it. */
static bool has_frontend(const struct server *server, uint32_t domid, uint32_t devid)
{
    const struct device place = {.backend = &server->backend, .domid = domid, .devid = devid};
    char path[STORE_PATH_BYTES], value[STORE_VALUE_BYTES];
    int rc;

    device_frontend_path(&place, "", path);
    rc = server->backend.store_ops->read(server->backend.store, path, value);
    return rc == 0 || rc == -E2BIG;
}

/*
 * A driver domain is not told which domains live, nor, unless dom0 lets it hear of that, when one
 * ends: there a guest lives as long as an end of one of its devices does, and is looked for now and
 * then.
 */
static bool lives(struct server *server, const char *tree, uint32_t domid)
{
    const struct store_ops *ops = server->backend.store_ops;
    int told = ops->lives(server->backend.store, domid), n;
    uint32_t devids[DEVICES_OF_GUEST];
    char path[STORE_PATH_BYTES];

    server->untold = told < 0;
    if (told >= 0)
        return told;
    if (snprintf(path, sizeof(path), "%.100s/%" PRIu32, tree, domid) >= (int)sizeof(path))
        return false;
    n = ops->numbers(server->backend.store, path, devids, DEVICES_OF_GUEST);
    for (int i = 0; i < n; i++)
        if (has_frontend(server, domid, devids[i]))
            return true;
    return false;
}

/* A domain that is dead takes its devices along, keys and all: nobody else may. */
static void bury(struct server *server, uint32_t domid)
{
    char tree[STORE_PATH_BYTES], path[STORE_PATH_BYTES];

    tree_path(server, tree);
    if (snprintf(path, sizeof(path), "%.100s/%" PRIu32, tree, domid) < (int)sizeof(path))
        server->backend.store_ops->remove(server->backend.store, path);
}

static void scan(struct server *server)
{
    const struct store_ops *ops = server->backend.store_ops;
    uint32_t domids[GUESTS_MAX];
    char tree[STORE_PATH_BYTES];
    struct device *next;
    int n;

    server->scan = false;
    server->scanned = true;
    tree_path(server, tree);
    for (struct device *d = server->devices; d; d = d->next)
        d->seen = false;
    n = ops->numbers(server->backend.store, tree, domids, GUESTS_MAX);
    for (int i = 0; i < n; i++) {
        if (domids[i] == 0 || domids[i] >= VGPU_DOMAIN_FIRST_RESERVED)
            continue;
        if (lives(server, tree, domids[i]))
            scan_guest(server, tree, domids[i]);
        else
            bury(server, domids[i]);
    }
    for (struct device *d = server->devices; d; d = next) {
        next = d->next;
        if (!d->seen)
            drop(server, d);
    }
}

/*
 * Which device a path is of: all of the backend's tree are looked at where it does not say. A key
 * of a device that is known is looked at alone: our own writes come back as such, and how many
 * there are is up to its guest.
 */
static void note_change(struct server *server, const char *path)
{
    struct device *device = NULL;
    uint32_t domid, devid;
    char tree[STORE_PATH_BYTES];
    bool within = false;
    size_t length;
    int end = 0;

    tree_path(server, tree);
    length = strlen(tree);
    if (sscanf(path, "/local/domain/%" SCNu32 "/device/vgpu/%" SCNu32 "/", &domid, &devid) == 2) {
        device = find(server, domid, devid);
        within = true;
    } else if (strncmp(path, tree, length) == 0 &&
               sscanf(path + length, "/%" SCNu32 "/%" SCNu32 "%n", &domid, &devid, &end) == 2) {
        device = find(server, domid, devid);
        within = device && path[length + (size_t)end] == '/';
    }
    if (device)
        device->dirty = true;
    if (!within)
        server->scan = true;
}

static void take_changes(struct server *server)
{
    char path[STORE_PATH_BYTES];

    for (int i = 0;
         i < CHANGES_PER_TURN && server->backend.store_ops->changed(server->backend.store, path);
         i++)
        note_change(server, path);
    if (server->scan)
        scan(server);
    for (struct device *d = server->devices; d; d = d->next)
        if (d->dirty)
            device_look(d);
}

/* Events */

/* Unmasked before it is looked at: what comes after the look makes another event. */
static int take_events(struct server *server)
{
    const struct backend *backend = &server->backend;
    uint32_t ports[EVENTS_PER_TURN];
    int n = backend->grants->pending(backend->events, ports, EVENTS_PER_TURN);

    for (int i = 0; i < n; i++) {
        backend->grants->unmask(backend->events, ports[i]);
        for (struct device *d = server->devices; d; d = d->next)
            if (d->port == ports[i])
                device_event(d);
    }
    return n < 0 ? n : 0;
}

/* The mediator */

static void tell_all(struct server *server)
{
    for (struct device *d = server->devices; d && server->tell.welcomed; d = d->next)
        if (d->vm[0] && tell_set(&server->tell, d->domid, d->vm) < 0)
            tell_close(&server->tell);
}

static void identify(struct server *server, const struct vgpu_domain_is *is)
{
    for (struct device *d = server->devices; d; d = d->next)
        if (d->domid == is->domid && d->vm[0])
            device_identify(d, is);
    if (is->status == VGPU_STARTING)
        server->repeat_ns = vgpu_clock_ns() + RETRY_NS;
}

static void hear(struct server *server)
{
    struct vgpu_domain_is is;
    int rc = 0;

    for (int i = 0; i < ANSWERS_PER_TURN && server->tell.sock >= 0; i++) {
        rc = tell_receive(&server->tell, &is);
        if (rc <= 0)
            break;
        if (rc == 1) {
            identify(server, &is);
            continue;
        }
        tell_all(server);
        if (server->tell.welcomed && (rc = tell_listed(&server->tell)) < 0)
            break;
    }
    if (rc < 0)
        tell_close(&server->tell);
}

/* What time alone brings: connections are tried, and who VMs are is said again. */
static void tick(struct server *server)
{
    uint64_t now_ns = vgpu_clock_ns();

    if (now_ns >= server->retry_ns) {
        server->retry_ns = now_ns + RETRY_NS;
        if (server->tell.sock < 0 && server->scanned &&
            tell_connect(&server->tell, server->tell_path, server->backend.domid) < 0)
            tell_close(&server->tell);
        for (struct device *d = server->devices; d; d = d->next)
            device_link_try(d);
    }
    if (now_ns >= server->repeat_ns) {
        server->repeat_ns = now_ns + REPEAT_NS;
        server->scan = server->scan || server->untold;
        tell_all(server);
    }
}

int server_turn(struct server *server, int timeout_ms)
{
    const struct backend *backend = &server->backend;
    struct pollfd fds[3 + SERVER_DEVICES_MAX] = {
        {.fd = backend->store_ops->fd(backend->store), .events = POLLIN},
        {.fd = backend->events, .events = POLLIN},
        {.fd = server->tell.sock, .events = POLLIN},
    };
    unsigned n = 3;

    for (struct device *d = server->devices; d; d = d->next)
        fds[n++] = (struct pollfd){.fd = d->link.sock, .events = POLLIN};
    if (poll(fds, n, timeout_ms) < 0)
        return errno == EINTR ? 0 : -errno;
    n = 3;
    /* Before anything that could make or drop a device. */
    for (struct device *d = server->devices; d; d = d->next)
        if (fds[n++].revents)
            device_link_ready(d);
    if (fds[1].revents && take_events(server) < 0)
        return -EIO;
    if (fds[2].revents)
        hear(server);
    take_changes(server);
    tick(server);
    return 0;
}

int server_init(struct server *server, const struct backend *backend, struct vgpu_err *err)
{
    char tree[STORE_PATH_BYTES];
    int rc;

    *server = (struct server){.backend = *backend, .tell = {.sock = -1}, .scan = true};
    if (snprintf(server->tell_path, sizeof(server->tell_path), "%s/xenbus.sock",
                 backend->run_dir) >= (int)sizeof(server->tell_path))
        return vgpu_err_set(err, ENAMETOOLONG, "--run-dir is too long for a socket path");
    tree_path(server, tree);
    rc = backend->store_ops->watch(backend->store, tree);
    if (rc == 0)
        rc = backend->store_ops->watch(backend->store, release_domain);
    if (rc < 0)
        return vgpu_err_set(err, -rc, "cannot watch xenstore: %s", strerror(-rc));
    return 0;
}

void server_release(struct server *server)
{
    while (server->devices) {
        struct device *device = server->devices;

        server->devices = device->next;
        device_free(device);
    }
    tell_close(&server->tell);
}
