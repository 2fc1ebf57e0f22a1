/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/granted.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* One port is bound, and it is masked while its event waits: more cannot come at once. */
#define EVENTS_AT_ONCE 8

int granted_map(const struct granted *granted, int memory, uint64_t total_bytes, void *at,
                void **ret_base, struct vgpu_err *err)
{
    struct grant_set set = {.memory = memory,
                            .domid = granted->from.domid,
                            .directory = granted->from.directory,
                            .pages = (uint32_t)(total_bytes / VGPU_GRANT_PAGE_BYTES)};
    struct grant_map map;
    int rc;

    if (total_bytes % VGPU_GRANT_PAGE_BYTES ||
        total_bytes > (uint64_t)VGPU_GRANT_MAX_PAGES * VGPU_GRANT_PAGE_BYTES) {
        close(memory);
        return vgpu_err_set(err, EINVAL, "the channel is too large to be granted");
    }
    rc = grant_map_set(granted->ops, &set, at, &map, err);
    close(memory);
    if (rc == 0)
        *ret_base = map.at;
    return rc;
}

int granted_bind(struct granted *granted, int events, struct vgpu_err *err)
{
    const struct vgpu_launch_grant *from = &granted->from;
    int rc = granted->ops->bind(events, from->domid, from->event_port, &granted->port);

    if (rc < 0)
        return vgpu_err_set(err, -rc, "cannot bind event channel %u of domain %u: %s",
                            from->event_port, from->domid, strerror(-rc));
    granted->events = events;
    return 0;
}

void granted_kick(const struct granted *granted)
{
    granted->ops->notify(granted->events, granted->port);
}

void granted_take(const struct granted *granted)
{
    uint32_t ports[EVENTS_AT_ONCE];
    int n = granted->ops->pending(granted->events, ports, EVENTS_AT_ONCE);

    for (int i = 0; i < n; i++)
        granted->ops->unmask(granted->events, ports[i]);
}
