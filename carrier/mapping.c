/* SPDX-License-Identifier: Apache-2.0 */
#include "carrier/mapping.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "common/overflow.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

static bool ring_granules_ok(uint32_t granules)
{
    return granules >= VGPU_RING_MIN_GRANULES && granules <= VGPU_RING_MAX_GRANULES &&
           (granules & (granules - 1)) == 0;
}

static int wrong(struct vgpu_err *err, const char *field)
{
    return vgpu_err_set(err, EPROTO, "the channel's geometry is wrong: %s", field);
}

int channel_geometry_check(const struct vgpu_channel_geometry *g, struct vgpu_err *err)
{
    uint64_t sub_bytes = (uint64_t)g->sub_granules * VGPU_GRANULE_BYTES;
    uint64_t comp_bytes = (uint64_t)g->comp_granules * VGPU_GRANULE_BYTES;

    if (!ring_granules_ok(g->sub_granules))
        return wrong(err, "sub_granules");
    if (!ring_granules_ok(g->comp_granules))
        return wrong(err, "comp_granules");
    if (g->total_bytes > VGPU_DATA_MAX_BYTES + (64u << 20) || g->total_bytes % 4096)
        return wrong(err, "total_bytes");
    if (g->sub_offset < VGPU_CHANNEL_PAGE_BYTES || g->sub_offset % VGPU_GRANULE_BYTES ||
        !vgpu_range_within(g->sub_offset, sub_bytes, g->total_bytes))
        return wrong(err, "sub_offset");
    if (g->comp_offset < g->sub_offset + sub_bytes || g->comp_offset % VGPU_GRANULE_BYTES ||
        !vgpu_range_within(g->comp_offset, comp_bytes, g->total_bytes))
        return wrong(err, "comp_offset");
    if (g->data_bytes > VGPU_DATA_MAX_BYTES || g->data_bytes % 4096)
        return wrong(err, "data_bytes");
    if (g->data_offset < g->comp_offset + comp_bytes || g->data_offset % 4096 ||
        !vgpu_range_within(g->data_offset, g->data_bytes, g->total_bytes))
        return wrong(err, "data_offset");
    return 0;
}

/* A peer that could shrink the object could end this process with SIGBUS. */
static int check_object(int fd, uint64_t total_bytes, struct vgpu_err *err)
{
    int seals = fcntl(fd, F_GET_SEALS);
    struct stat status;

    if (seals < 0 || !(seals & F_SEAL_SHRINK))
        return vgpu_err_set(err, EPROTO, "the channel's memory is not sealed");
    if (fstat(fd, &status) < 0)
        return vgpu_err_set(err, errno, "cannot stat the channel's memory: %s", strerror(errno));
    if (status.st_size < 0 || (uint64_t)status.st_size < total_bytes)
        return wrong(err, "the memory is smaller than total_bytes");
    return 0;
}

static int check_page(const struct channel_mapping *mapping, struct vgpu_err *err)
{
    if (mapping->page->magic != VGPU_MAGIC)
        return wrong(err, "magic");
    if (mapping->page->layout != VGPU_LAYOUT_VERSION)
        return wrong(err, "layout version");
    if (memcmp(&mapping->page->geometry, &mapping->geometry, sizeof(mapping->geometry)) != 0)
        return wrong(err, "the page's copy differs");
    return 0;
}

static int map(struct channel_mapping *mapping, int fd, uint64_t at,
               const struct vgpu_channel_geometry *geometry, uint64_t extra_bytes,
               struct vgpu_err *err)
{
    uint64_t bytes = geometry->total_bytes + extra_bytes; /* far below 2^64: checked */
    void *base =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, (off_t)at);
    int status;

    if (base == MAP_FAILED)
        return vgpu_err_set(err, errno, "cannot map the channel's memory: %s", strerror(errno));
    *mapping = (struct channel_mapping){
        .base = base,
        .bytes = bytes,
        .geometry = *geometry,
        .page = base,
        .submission = (uint8_t *)base + geometry->sub_offset,
        .completion = (uint8_t *)base + geometry->comp_offset,
        .data = (uint8_t *)base + geometry->data_offset,
    };
    status = check_page(mapping, err);
    if (status < 0)
        channel_mapping_release(mapping);
    return status;
}

int channel_mapping_init(struct channel_mapping *mapping, int fd,
                         const struct vgpu_channel_geometry *geometry, struct vgpu_err *err)
{
    int status = channel_geometry_check(geometry, err);

    if (status == 0)
        status = check_object(fd, geometry->total_bytes, err);
    return status < 0 ? status : map(mapping, fd, 0, geometry, 0, err);
}

int channel_mapping_init_device(struct channel_mapping *mapping, int fd, uint64_t at,
                                const struct vgpu_channel_geometry *geometry, uint64_t extra_bytes,
                                struct vgpu_err *err)
{
    int status = channel_geometry_check(geometry, err);

    return status < 0 ? status : map(mapping, fd, at, geometry, extra_bytes, err);
}

bool mapping_take_free(uint64_t address, uint64_t bytes)
{
    void *wanted = (void *)(uintptr_t)address;
    void *taken = mmap(wanted, bytes, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

    /* Before Linux 4.17 the address is only a hint. */
    if (taken != MAP_FAILED && taken != wanted)
        munmap(taken, bytes);
    return taken == wanted;
}

static uint8_t *data_at_first(const struct channel_mapping *mapping)
{
    return mapping->base + mapping->geometry.data_offset;
}

int channel_mapping_move_data(struct channel_mapping *mapping, uint64_t address)
{
    uint64_t bytes = mapping->geometry.data_bytes;
    void *moved;
    int error;

    if (bytes == 0 || mapping->data != data_at_first(mapping))
        return -EINVAL;
    if (!mapping_take_free(address, bytes))
        return -EEXIST;
    moved = mremap(mapping->data, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED,
                   (void *)(uintptr_t)address);
    if (moved == MAP_FAILED) {
        error = errno;
        munmap((void *)(uintptr_t)address, bytes);
        return -error;
    }
    mapping->data = moved;
    return 0;
}

/* What lies now where the data area was is not the mapping's. */
static void release_around(const struct channel_mapping *mapping)
{
    uint8_t *behind = data_at_first(mapping) + mapping->geometry.data_bytes;
    uint8_t *end = mapping->base + mapping->bytes;

    munmap(mapping->data, mapping->geometry.data_bytes);
    munmap(mapping->base, mapping->geometry.data_offset);
    if (behind < end)
        munmap(behind, (size_t)(end - behind));
}

void channel_mapping_release(struct channel_mapping *mapping)
{
    if (mapping->base && mapping->data != data_at_first(mapping))
        release_around(mapping);
    else if (mapping->base)
        munmap(mapping->base, mapping->bytes);
    *mapping = (struct channel_mapping){0};
}
