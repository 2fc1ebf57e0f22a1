/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher/devices.h"

#include <inttypes.h>
#include <string.h>

#include "common/cleanup.h"

int devices_open(const struct devices *devices, uint32_t domid, int *fds, struct vgpu_err *err)
{
    _cleanup_close_ int memory = devices->ops->open_memory(devices->memory_path);
    int events;

    if (memory < 0)
        return vgpu_err_set(err, -memory, "cannot open the grant device '%s': %s",
                            devices->memory_path, strerror(-memory));
    events = devices->ops->open_events(devices->events_path, domid);
    if (events < 0)
        return vgpu_err_set(err, -events,
                            "cannot open the event device '%s' for domain %" PRIu32 ": %s",
                            devices->events_path, domid, strerror(-events));
    fds[VGPU_FD_MEMORY] = vgpu_steal_fd(&memory);
    fds[VGPU_FD_SUBMIT_KICK] = fds[VGPU_FD_COMPLETE_KICK] = events;
    return 0;
}

void devices_close(int *fds)
{
    fds[VGPU_FD_COMPLETE_KICK] = -1;
    vgpu_close(&fds[VGPU_FD_SUBMIT_KICK]);
    vgpu_close(&fds[VGPU_FD_MEMORY]);
}
