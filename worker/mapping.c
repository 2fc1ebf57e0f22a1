/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/mapping.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/overflow.h"

/* Whole huge pages, and how often another address is tried. */
#define BAND_ALIGN_BYTES (2ull << 20)
#define BAND_TRIES       8

/*
 * Linux puts a program's mappings within a tebibyte below its stack, at random, and this is one
 * more. The thread sanitizer takes no mappings below.
 */
#ifdef __SANITIZE_THREAD__
#define TOP_FLOOR UINT64_MAX
#else
#define TOP_FLOOR UINT64_C(0x7e0000000000)
#endif
#define TOP_FIRST_BYTES (16ull << 30)

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

static bool good_ring(uint32_t granules)
{
    return granules >= VGPU_RING_MIN_GRANULES && granules <= VGPU_RING_MAX_GRANULES &&
           (granules & (granules - 1)) == 0;
}

/* A part that starts on a cache line, behind the page, within the whole. */
static bool good_part(const struct vgpu_channel_geometry *geometry, uint64_t offset, uint64_t bytes)
{
    return offset >= VGPU_CHANNEL_PAGE_BYTES && offset % VGPU_GRANULE_BYTES == 0 &&
           vgpu_range_within(offset, bytes, geometry->total_bytes);
}

static bool apart(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes)
{
    return a + a_bytes <= b || b + b_bytes <= a;
}

int mapping_check_geometry(const struct vgpu_channel_geometry *geometry, struct vgpu_err *err)
{
    uint64_t sub_bytes = (uint64_t)geometry->sub_granules * VGPU_GRANULE_BYTES;
    uint64_t comp_bytes = (uint64_t)geometry->comp_granules * VGPU_GRANULE_BYTES;
    uint64_t data = geometry->data_offset;

    if (!good_ring(geometry->sub_granules) || !good_ring(geometry->comp_granules))
        return vgpu_err_set(err, EINVAL, "ring sizes %u and %u: not powers of two from %u to %u",
                            geometry->sub_granules, geometry->comp_granules, VGPU_RING_MIN_GRANULES,
                            VGPU_RING_MAX_GRANULES);
    if (geometry->data_bytes > VGPU_DATA_MAX_BYTES || geometry->data_bytes % 4096 || data % 4096)
        return vgpu_err_set(err, EINVAL, "data area: not whole pages, or over %llu bytes",
                            VGPU_DATA_MAX_BYTES);
    if (!good_part(geometry, geometry->sub_offset, sub_bytes) ||
        !good_part(geometry, geometry->comp_offset, comp_bytes) ||
        !good_part(geometry, data, geometry->data_bytes))
        return vgpu_err_set(err, EINVAL, "a part of the channel lies outside of its memory");
    if (!apart(geometry->sub_offset, sub_bytes, geometry->comp_offset, comp_bytes) ||
        !apart(geometry->sub_offset, sub_bytes, data, geometry->data_bytes) ||
        !apart(geometry->comp_offset, comp_bytes, data, geometry->data_bytes))
        return vgpu_err_set(err, EINVAL, "parts of the channel overlap");
    return 0;
}

static int check_object(int fd, uint64_t bytes, const char *what, struct vgpu_err *err)
{
    const int wanted = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    struct stat status;
    int seals = fcntl(fd, F_GET_SEALS);

    if (seals < 0 || (seals & wanted) != wanted)
        return vgpu_err_set(err, EPERM, "%s is not sealed against a change of its size", what);
    if (fstat(fd, &status) < 0)
        return vgpu_err_set(err, errno, "cannot look at %s: %m", what);
    if (status.st_size < 0 || (uint64_t)status.st_size < bytes)
        return vgpu_err_set(err, EINVAL, "%s is smaller than %llu bytes", what,
                            (unsigned long long)bytes);
    return 0;
}

static int map_object(int fd, uint64_t bytes, int protection, const char *what, void **ret_map,
                      struct vgpu_err *err)
{
    int status = check_object(fd, bytes, what, err);
    void *map;

    if (status < 0)
        return status;
    map = mmap(NULL, bytes, protection, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return vgpu_err_set(err, errno, "cannot map %s: %m", what);
    *ret_map = map;
    return 0;
}

/*
 * Where programs have nothing: memory without access, `head` bytes in front of an address in the
 * band and `bytes` from there on. The guest puts its data area under the same address; it is
 * another in each worker, because a guest's own addresses tell nothing either. NULL: none is free.
 */
static uint8_t *take_band(uint64_t head, uint64_t bytes)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
    const uint64_t first = (head + BAND_ALIGN_BYTES - 1) / BAND_ALIGN_BYTES;
    uint64_t room = VGPU_BAND_END - VGPU_BAND_START - first * BAND_ALIGN_BYTES;
    uint64_t slots, random;

    if (bytes == 0 || bytes > room)
        return NULL;
    slots = (room - bytes) / BAND_ALIGN_BYTES + 1;
    for (int i = 0; i < BAND_TRIES; i++) {
        uint8_t *wanted, *map;

        if (syscall(SYS_getrandom, &random, sizeof(random), 0) != sizeof(random))
            return NULL;
        wanted =
            (uint8_t *)(uintptr_t)(VGPU_BAND_START + (first + random % slots) * BAND_ALIGN_BYTES) -
            head;
        map = mmap(wanted, head + bytes, PROT_NONE, flags, -1, 0);
        if (map == wanted)
            return wanted;
        if (map != MAP_FAILED)
            munmap(map, head + bytes);
    }
    return NULL;
}

/* A second mapping of the data area. */
static void place_data(struct mapping *mapping, int fd)
{
    uint64_t bytes = mapping->geometry.data_bytes;
    uint8_t *wanted = take_band(0, bytes);

    if (!wanted)
        return;
    if (mmap(wanted, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
             (off_t)mapping->geometry.data_offset) == MAP_FAILED) {
        munmap(wanted, bytes);
        return;
    }
    mapping->data = wanted;
    mapping->placed = true;
}

/* The whole lies so that the data area comes to the band: each grant is mapped once. */
static int map_granted(struct mapping *mapping, const struct vgpu_channel_geometry *geometry,
                       const struct granted *granted, int memory, void **ret_base,
                       struct vgpu_err *err)
{
    uint8_t *at = take_band(geometry->data_offset, geometry->total_bytes - geometry->data_offset);
    int rc = granted_map(granted, memory, geometry->total_bytes, at, ret_base, err);

    if (rc < 0 && at)
        munmap(at, geometry->total_bytes);
    mapping->placed = rc == 0 && at;
    return rc;
}

void mapping_leave_top(void)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    /* Larger than what is left between libraries: below all that is there. */
    void *first = mmap(NULL, TOP_FIRST_BYTES, PROT_NONE, flags, -1, 0);
    uint64_t end = (uint64_t)(uintptr_t)first;
    void *floor = (void *)(uintptr_t)TOP_FLOOR;
    void *rest;

    if (first == MAP_FAILED || end <= TOP_FLOOR)
        return;
    rest = mmap(floor, end - TOP_FLOOR, PROT_NONE, flags | MAP_FIXED_NOREPLACE, -1, 0);
    if (rest != MAP_FAILED && rest != floor)
        munmap(rest, end - TOP_FLOOR);
}

int mapping_open(struct mapping *mapping, const struct vgpu_channel_geometry *geometry,
                 const int *fds, const struct granted *granted, struct vgpu_err *err)
{
    void *base = NULL;
    void *lease = NULL;
    void *report = NULL;
    int status;

    memset(mapping, 0, sizeof(*mapping));
    status = mapping_check_geometry(geometry, err);
    if (status == 0 && granted->ops)
        status = map_granted(mapping, geometry, granted, fds[VGPU_FD_MEMORY], &base, err);
    else if (status == 0)
        status = map_object(fds[VGPU_FD_MEMORY], geometry->total_bytes, PROT_READ | PROT_WRITE,
                            "the channel's memory", &base, err);
    if (status == 0) {
        mapping->base = base;
        mapping->geometry = *geometry;
        status = map_object(fds[VGPU_FD_LEASE], VGPU_LEASE_BYTES, PROT_READ, "the lease page",
                            &lease, err);
    }
    if (status == 0) {
        mapping->lease = lease;
        status = map_object(fds[VGPU_FD_REPORT], VGPU_REPORT_BYTES, PROT_READ | PROT_WRITE,
                            "the report page", &report, err);
    }
    if (status == 0) {
        mapping->report = report;
        mapping->times = (struct vgpu_times_page *)((uint8_t *)report + VGPU_TIMES_OFFSET);
        if (mapping->lease->magic != VGPU_MAGIC || mapping->lease->layout != VGPU_LEASE_LAYOUT)
            status = vgpu_err_set(err, EPROTO, "the lease page has another layout than %u",
                                  VGPU_LEASE_LAYOUT);
    }
    if (status < 0) {
        mapping_close(mapping);
        return status;
    }
    mapping->page = (struct vgpu_channel_page *)(void *)mapping->base;
    mapping->data = mapping->base + geometry->data_offset;
    if (!granted->ops)
        place_data(mapping, fds[VGPU_FD_MEMORY]);
    return 0;
}

bool mapping_is_placed(const struct mapping *mapping)
{
    return mapping->placed;
}

void mapping_close(struct mapping *mapping)
{
    if (mapping->data && mapping->data != mapping->base + mapping->geometry.data_offset)
        munmap(mapping->data, mapping->geometry.data_bytes);
    if (mapping->base)
        munmap(mapping->base, mapping->geometry.total_bytes);
    if (mapping->lease)
        munmap((void *)(uintptr_t)mapping->lease, VGPU_LEASE_BYTES);
    if (mapping->report)
        munmap(mapping->report, VGPU_REPORT_BYTES);
    memset(mapping, 0, sizeof(*mapping));
}
