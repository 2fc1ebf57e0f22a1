/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVML's events: XID errors, which a test appends as decimal numbers, one a line, to
 * SOFTGPU_STATE_DIR/gpu<INDEX>.xid. A set reports the lines that come after its registration.
 * Waiting sleeps in the kernel until a file of the directory changes.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "softgpu/nvml_api.h"

#define MAX_LINE_BYTES 32
#define INOTIFY_BYTES  4096
#define ALL_EVENTS     NVML_EVENT_XID_CRITICAL

struct nvmlEventSet_st {
    struct nvmlEventSet_st *next; /* in the list of all */
    int notify_fd;                /* -1 without a state directory */
    bool watched[SOFTGPU_MAX_DEVICES];
    off_t offset[SOFTGPU_MAX_DEVICES]; /* of the first line that was not reported */
};

static struct nvmlEventSet_st *sets; /* nvml.lock */

static bool is_set(const struct nvmlEventSet_st *set)
{
    for (const struct nvmlEventSet_st *s = sets; s; s = s->next) {
        if (s == set)
            return true;
    }
    return false;
}

nvmlReturn_t nvmlEventSetCreate(nvmlEventSet_t *set)
{
    nvmlReturn_t result = set ? nvml_enter() : NVML_ERROR_INVALID_ARGUMENT;
    struct nvmlEventSet_st *new;

    if (result != NVML_SUCCESS)
        return result;
    new = calloc(1, sizeof(*new));
    if (new) {
        new->notify_fd = nvml.dir ? inotify_init1(IN_CLOEXEC | IN_NONBLOCK) : -1;
        if (new->notify_fd >= 0)
            inotify_add_watch(new->notify_fd, nvml.dir, IN_MODIFY | IN_CREATE | IN_MOVED_TO);
        new->next = sets;
        sets = new;
        *set = new;
    }
    nvml_leave();
    return new ? NVML_SUCCESS : NVML_ERROR_MEMORY;
}

nvmlReturn_t nvmlEventSetFree(nvmlEventSet_t set)
{
    nvmlReturn_t result = nvml_enter();

    if (result != NVML_SUCCESS)
        return result;
    result = NVML_ERROR_INVALID_ARGUMENT;
    for (struct nvmlEventSet_st **link = &sets; *link; link = &(*link)->next) {
        if (*link != set)
            continue;
        *link = set->next;
        vgpu_close(&set->notify_fd);
        free(set);
        result = NVML_SUCCESS;
        break;
    }
    nvml_leave();
    return result;
}

static int open_xids(unsigned index)
{
    _cleanup_free_ char *path = NULL;

    if (!nvml.dir || asprintf(&path, "%s/gpu%u.xid", nvml.dir, index) < 0)
        return -1;
    return open(path, O_RDONLY | O_CLOEXEC);
}

nvmlReturn_t nvmlDeviceRegisterEvents(nvmlDevice_t device, unsigned long long event_types,
                                      nvmlEventSet_t set)
{
    nvmlReturn_t result = nvml_enter_device(device, set, NULL);
    struct stat stat;
    int fd;

    if (result != NVML_SUCCESS)
        return result;
    if (!is_set(set)) {
        result = NVML_ERROR_INVALID_ARGUMENT;
    } else if (event_types & ~ALL_EVENTS) {
        result = NVML_ERROR_NOT_SUPPORTED;
    } else if (event_types) {
        fd = open_xids(device->index);
        set->offset[device->index] = fd >= 0 && fstat(fd, &stat) == 0 ? stat.st_size : 0;
        set->watched[device->index] = true;
        vgpu_close(&fd);
    }
    nvml_leave();
    return result;
}

nvmlReturn_t nvmlDeviceGetSupportedEventTypes(nvmlDevice_t device, unsigned long long *event_types)
{
    nvmlReturn_t result = nvml_enter_device(device, event_types, NULL);

    if (result != NVML_SUCCESS)
        return result;
    *event_types = ALL_EVENTS;
    nvml_leave();
    return NVML_SUCCESS;
}

/* Takes the next whole line of a device's file; false if there is none. Lock held. */
static bool next_xid(struct nvmlEventSet_st *set, unsigned index, unsigned long long *ret_xid)
{
    _cleanup_close_ int fd = open_xids(index);
    char line[MAX_LINE_BYTES + 1], *newline;
    ssize_t n;

    if (fd < 0)
        return false;
    n = pread(fd, line, MAX_LINE_BYTES, set->offset[index]);
    if (n <= 0)
        return false;
    line[n] = '\0';
    newline = memchr(line, '\n', (size_t)n);
    if (!newline && n < MAX_LINE_BYTES)
        return false;
    set->offset[index] += newline ? newline - line + 1 : n;
    *ret_xid = strtoull(line, NULL, 10);
    return true;
}

/* Fills *data with an event that is there now. Lock held. */
static bool take_event(struct nvmlEventSet_st *set, nvmlEventData_t *data)
{
    for (unsigned i = 0; i < nvml.config.devices; i++) {
        unsigned long long xid;

        if (!set->watched[i] || !next_xid(set, i, &xid))
            continue;
        *data = (nvmlEventData_t){
            .device = &nvml.devices[i],
            .eventType = NVML_EVENT_XID_CRITICAL,
            .eventData = xid,
            .gpuInstanceId = NVML_NO_INSTANCE,
            .computeInstanceId = NVML_NO_INSTANCE,
        };
        return true;
    }
    return false;
}

nvmlReturn_t nvmlEventSetWait_v2(nvmlEventSet_t set, nvmlEventData_t *data, unsigned int timeout_ms)
{
    uint64_t end_ns = vgpu_clock_ns() + timeout_ms * VGPU_NS_PER_MS;
    nvmlReturn_t result = data ? nvml_enter() : NVML_ERROR_INVALID_ARGUMENT;

    while (result == NVML_SUCCESS) {
        struct pollfd poll_fd = {.events = POLLIN};
        char ignored[INOTIFY_BYTES];
        uint64_t now_ns, wait_ms;
        bool found;

        if (!is_set(set)) {
            nvml_leave();
            return NVML_ERROR_INVALID_ARGUMENT;
        }
        poll_fd.fd = set->notify_fd;
        while (poll_fd.fd >= 0 && read(poll_fd.fd, ignored, sizeof(ignored)) > 0)
            ; /* before looking, so that what comes later wakes the poll below */
        found = take_event(set, data);
        nvml_leave();
        if (found)
            return NVML_SUCCESS;
        now_ns = vgpu_clock_ns();
        if (now_ns >= end_ns)
            return NVML_ERROR_TIMEOUT;
        wait_ms = (end_ns - now_ns + VGPU_NS_PER_MS - 1) / VGPU_NS_PER_MS;
        poll(&poll_fd, 1, wait_ms < INT_MAX ? (int)wait_ms : INT_MAX);
        result = nvml_enter();
    }
    return result;
}

nvmlReturn_t nvmlEventSetWait(nvmlEventSet_t set, nvmlEventData_t *data, unsigned int timeout_ms)
{
    return nvmlEventSetWait_v2(set, data, timeout_ms);
}
