/* SPDX-License-Identifier: Apache-2.0 */
#include "carrier/monitor.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "carrier/device.h"
#include "common/cleanup.h"
#include "common/status.h"

int monitor_init(struct monitor *monitor, const char *path)
{
    *monitor = (struct monitor){.link = {.sock = -1}, .device = -1};
    if (strlen(path) >= sizeof(monitor->path))
        return -ENAMETOOLONG;
    strcpy(monitor->path, path);
    return 0;
}

void monitor_release(struct monitor *monitor)
{
    local_release(&monitor->link);
    vgpu_close(&monitor->device);
}

static int connect_socket(struct monitor *monitor, struct local_refusal *refusal)
{
    struct vgpu_msg_welcome welcome;
    int status = local_connect(&monitor->link, monitor->path, &welcome, refusal);

    if (status < 0 || (welcome.features & VGPU_FEATURE_MONITOR))
        return status;
    local_release(&monitor->link);
    *refusal = (struct local_refusal){.status = VGPU_VERSION};
    strcpy(refusal->text, "the host does not tell VMs of their GPUs");
    return -EOPNOTSUPP;
}

/* 1: there was a way; 0: there is a new one; else -errno. */
static int find_way(struct monitor *monitor, struct local_refusal *refusal)
{
    if (monitor->owner != getpid())
        monitor_release(monitor);
    monitor->owner = getpid();
    if (monitor->link.sock >= 0 || monitor->device >= 0)
        return 1;
    if (!device_is_path(monitor->path))
        return connect_socket(monitor, refusal);
    monitor->device = device_open_file(monitor->path, refusal);
    return monitor->device < 0 ? monitor->device : 0;
}

static int ask_once(struct monitor *monitor, uint32_t gpu, uint32_t first, struct vgpu_monitor *ret,
                    struct local_refusal *refusal)
{
    int status = monitor->device >= 0 ? device_monitor(monitor->device, gpu, first, ret, refusal)
                                      : local_monitor(&monitor->link, gpu, first, ret, refusal);

    /* Refused, a way is still good; where the answer failed, it is not. */
    if (status < 0 && status != -ECONNREFUSED && status != -EACCES)
        monitor_release(monitor);
    return status;
}

int monitor_ask(struct monitor *monitor, uint32_t gpu, uint32_t first, struct vgpu_monitor *ret,
                struct local_refusal *refusal)
{
    int way = find_way(monitor, refusal);
    int status;

    if (way < 0)
        return way;
    status = ask_once(monitor, gpu, first, ret, refusal);
    /* A way that has been there for long may have ended in silence: once more by a new one. */
    if (status < 0 && way == 1 && monitor->link.sock < 0 && monitor->device < 0 &&
        find_way(monitor, refusal) == 0)
        status = ask_once(monitor, gpu, first, ret, refusal);
    return status;
}
