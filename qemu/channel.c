/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The object must be sealed against shrinking: whoever could truncate it could end QEMU
 * by SIGBUS.
 */
#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vgpu/version.h>

/* Of Linux 3.17; the C library of XCP-ng's dom0 does not have the names. */
#ifndef F_GET_SEALS
#define F_GET_SEALS   1034
#define F_SEAL_SHRINK 0x0002
#endif

/* Behind the data area's maximum: page and rings of the largest size, with room to align
 * them. */
#define EXTRA_MAX_BYTES (64u << 20)

static bool within(uint64_t offset, uint64_t bytes, uint64_t total)
{
    return offset <= total && bytes <= total - offset;
}

static bool granules_ok(uint32_t granules)
{
    return granules >= VGPU_RING_MIN_GRANULES && granules <= VGPU_RING_MAX_GRANULES &&
           (granules & (granules - 1)) == 0;
}

/* NULL if the parts lie one behind the other in the object; else which one does not. */
static const char *check_geometry(const struct vgpu_channel_geometry *g)
{
    uint64_t sub_bytes = (uint64_t)g->sub_granules * VGPU_GRANULE_BYTES;
    uint64_t comp_bytes = (uint64_t)g->comp_granules * VGPU_GRANULE_BYTES;

    if (!granules_ok(g->sub_granules) || !granules_ok(g->comp_granules)) {
        return "a ring of the channel has a wrong size";
    }
    if (g->total_bytes > VGPU_DATA_MAX_BYTES + EXTRA_MAX_BYTES ||
        g->total_bytes % VGPU_CHANNEL_PAGE_BYTES) {
        return "the channel's size is wrong";
    }
    if (g->sub_offset < VGPU_CHANNEL_PAGE_BYTES || g->sub_offset % VGPU_GRANULE_BYTES ||
        !within(g->sub_offset, sub_bytes, g->total_bytes)) {
        return "the channel's submission ring lies wrong";
    }
    if (g->comp_offset < g->sub_offset + sub_bytes ||
        g->comp_offset % VGPU_GRANULE_BYTES ||
        !within(g->comp_offset, comp_bytes, g->total_bytes)) {
        return "the channel's completion ring lies wrong";
    }
    if (g->data_bytes > VGPU_DATA_MAX_BYTES || g->data_bytes % VGPU_CHANNEL_PAGE_BYTES ||
        g->data_offset < g->comp_offset + comp_bytes ||
        g->data_offset % VGPU_CHANNEL_PAGE_BYTES ||
        !within(g->data_offset, g->data_bytes, g->total_bytes)) {
        return "the channel's data area lies wrong";
    }
    return NULL;
}

static const char *check_object(int fd, uint64_t total_bytes)
{
    int seals = fcntl(fd, F_GET_SEALS);
    struct stat status;

    if (seals < 0 || !(seals & F_SEAL_SHRINK)) {
        return "the channel's memory is not sealed";
    }
    if (fstat(fd, &status) < 0 || status.st_size < 0 ||
        (uint64_t)status.st_size < total_bytes) {
        return "the channel's memory is smaller than it should be";
    }
    return NULL;
}

static const char *check_page(const VGPUChannel *channel)
{
    if (channel->page->magic != VGPU_MAGIC) {
        return "the channel's page has no magic number";
    }
    if (channel->page->layout != VGPU_LAYOUT_VERSION) {
        return "the channel's page has another layout version";
    }
    if (memcmp(&channel->page->geometry, &channel->geometry, sizeof(channel->geometry))) {
        return "the channel's page has another geometry";
    }
    return NULL;
}

static bool make_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

static const char *map(VGPUChannel *channel, int memory, void *at)
{
    const struct vgpu_channel_geometry *g = &channel->geometry;
    const char *why = check_geometry(g);
    void *base;

    if (!why) {
        why = check_object(memory, g->total_bytes);
    }
    if (why) {
        return why;
    }
    if (!make_nonblocking(channel->submit_kick) ||
        !make_nonblocking(channel->completion_kick)) {
        return "the channel's kicks are no file descriptors";
    }
    base = mmap(at, g->total_bytes, PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_NORESERVE | (at ? MAP_FIXED : 0), memory, 0);
    if (base == MAP_FAILED) {
        return "the channel's memory cannot be mapped";
    }
    channel->placed = at != NULL;
    channel->base = base;
    channel->page = base;
    channel->submission = channel->base + g->sub_offset;
    channel->completion = channel->base + g->comp_offset;
    channel->data = channel->base + g->data_offset;
    return check_page(channel);
}

VGPUChannel *vgpu_channel_new(const struct vgpu_channel_geometry *geometry,
                              const int fds[3], const char **ret_why)
{
    return vgpu_channel_new_at(geometry, fds, NULL, ret_why);
}

VGPUChannel *vgpu_channel_new_at(const struct vgpu_channel_geometry *geometry,
                                 const int fds[3], void *at, const char **ret_why)
{
    VGPUChannel *channel = calloc(1, sizeof(*channel));
    const char *why;

    if (!channel) {
        *ret_why = "no memory";
        for (int i = 0; i < 3; i++) {
            close(fds[i]);
        }
        return NULL;
    }
    channel->geometry = *geometry;
    channel->submit_kick = fds[1];
    channel->completion_kick = fds[2];
    why = map(channel, fds[0], at);
    close(fds[0]);
    if (why) {
        *ret_why = why;
        vgpu_channel_free(channel);
        return NULL;
    }
    return channel;
}

/*
 * A virtual CPU may use a place for a moment after it was hidden, so there is memory in
 * it afterwards. If that fails the channel's stays, which nobody but this guest has had.
 */
static void unmap(VGPUChannel *channel)
{
    if (channel->placed) {
        mmap(channel->base, channel->geometry.total_bytes, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    } else if (channel->base) {
        munmap(channel->base, channel->geometry.total_bytes);
    }
}

void vgpu_channel_free(VGPUChannel *channel)
{
    if (!channel) {
        return;
    }
    unmap(channel);
    close(channel->submit_kick);
    close(channel->completion_kick);
    free(channel);
}

/*
 * The worker shares the open file and could make it block again, or fill its counter:
 * asking first keeps that from holding up more than a write that is under way.
 */
static bool ready(int fd, short events)
{
    struct pollfd event = {.fd = fd, .events = events};

    return poll(&event, 1, 0) == 1 && (event.revents & events);
}

void vgpu_channel_kick(VGPUChannel *channel)
{
    uint64_t one = 1;
    ssize_t written;

    if (!ready(channel->submit_kick, POLLOUT)) {
        return; /* full: the worker has kicks enough to wake up by */
    }
    do {
        written = write(channel->submit_kick, &one, sizeof(one));
    } while (written < 0 && errno == EINTR);
}

bool vgpu_channel_take_kick(VGPUChannel *channel)
{
    uint64_t count;

    return ready(channel->completion_kick, POLLIN) &&
           read(channel->completion_kick, &count, sizeof(count)) == sizeof(count);
}
