/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/libvgpu/move.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "common/cleanup.h"

#define PAGE_BYTES UINT64_C(4096)

/* True if a line of /proc/self/maps is private, writable, anonymous memory other than the stack. */
static bool is_private(const char *line, uint64_t *ret_start, uint64_t *ret_end)
{
    char access[5], path[16] = "";
    uint64_t inode;

    if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*x %*x:%*x %" SCNu64 " %15s", ret_start, ret_end,
               access, &inode, path) < 4)
        return false;
    return strncmp(access, "rw-p", 4) == 0 && inode == 0 &&
           (path[0] == '\0' || strcmp(path, "[heap]") == 0);
}

bool move_allowed(uint64_t start, uint64_t bytes)
{
    _cleanup_fclose_ FILE *maps = NULL;
    uint64_t at = start, end = start + bytes;
    char line[512];

    if (bytes == 0 || (start | bytes) % PAGE_BYTES != 0)
        return false;
    maps = fopen("/proc/self/maps", "re");
    if (!maps)
        return false;
    while (at < end && fgets(line, sizeof(line), maps)) {
        uint64_t from, to;
        bool may = is_private(line, &from, &to);

        if (!may || to <= at)
            continue;
        if (from > at)
            return false;
        at = to;
    }
    return at >= end;
}

/* A mapping takes the place of what lies at start; it is gone if it cannot. */
static int replace(void *fresh, uint64_t start, uint64_t bytes)
{
    int error;

    if (mremap(fresh, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)(uintptr_t)start) !=
        MAP_FAILED)
        return 0;
    error = errno;
    munmap(fresh, bytes);
    return -error;
}

int move_in(uint64_t start, uint64_t bytes, void *area, const struct move_file *file)
{
    void *target = (void *)(uintptr_t)start;
    void *fresh;

    memcpy(area, target, bytes);
    if (file->fd < 0) {
        /* An old size of 0 maps the same shared pages once more. */
        fresh = mremap(area, 0, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, target);
        return fresh == MAP_FAILED ? -errno : 0;
    }
    /* Elsewhere first: what the driver refuses does not cost the program its memory. */
    fresh = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file->fd, (off_t)file->offset);
    return fresh == MAP_FAILED ? -errno : replace(fresh, start, bytes);
}

int move_out(uint64_t start, uint64_t bytes)
{
    void *fresh = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (fresh == MAP_FAILED)
        return -errno;
    memcpy(fresh, (const void *)(uintptr_t)start, bytes);
    return replace(fresh, start, bytes);
}
