/* SPDX-License-Identifier: Apache-2.0 */
/* The shared account of device use; see usage.h. */
#include "softgpu/usage.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "common/cleanup.h"

#define NO_SLOT UINT32_MAX

struct usage {
    int fd;
    uint32_t slot;
    struct usage_file *file;
};

/* Byte `slot` of the file is the lock of that slot; the byte behind all slots guards changes of
 * who holds which. */
static bool lock_byte(int fd, uint32_t byte, short type, int command)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

    return fcntl(fd, command, &lock) == 0;
}

static void clear(struct usage_file *file, uint32_t slot)
{
    struct usage_slot *dead = &file->slots[slot];

    for (unsigned i = 0; i < SOFTGPU_MAX_DEVICES; i++) {
        __atomic_fetch_add(&file->ended_busy_ns[i], dead->busy_ns[i], __ATOMIC_RELAXED);
        dead->busy_ns[i] = dead->memory_bytes[i] = 0;
    }
    __atomic_store_n(&dead->pid, 0, __ATOMIC_RELEASE);
}

void usage_sweep(struct usage *usage)
{
    if (!usage || !lock_byte(usage->fd, USAGE_SLOTS, F_WRLCK, F_OFD_SETLKW))
        return;
    for (uint32_t slot = 0; slot < USAGE_SLOTS; slot++) {
        if (slot == usage->slot ||
            !__atomic_load_n(&usage->file->slots[slot].pid, __ATOMIC_ACQUIRE))
            continue;
        if (!lock_byte(usage->fd, slot, F_WRLCK, F_OFD_SETLK))
            continue; /* its process lives */
        clear(usage->file, slot);
        lock_byte(usage->fd, slot, F_UNLCK, F_OFD_SETLK);
    }
    lock_byte(usage->fd, USAGE_SLOTS, F_UNLCK, F_OFD_SETLK);
}

static bool take_slot(struct usage *usage)
{
    bool taken = false;

    if (!lock_byte(usage->fd, USAGE_SLOTS, F_WRLCK, F_OFD_SETLKW))
        return false;
    for (uint32_t slot = 0; slot < USAGE_SLOTS && !taken; slot++) {
        struct usage_slot *candidate = &usage->file->slots[slot];

        if (__atomic_load_n(&candidate->pid, __ATOMIC_ACQUIRE) ||
            !lock_byte(usage->fd, slot, F_WRLCK, F_OFD_SETLK))
            continue;
        usage->slot = slot;
        __atomic_store_n(&candidate->pid, (uint32_t)getpid(), __ATOMIC_RELEASE);
        taken = true;
    }
    lock_byte(usage->fd, USAGE_SLOTS, F_UNLCK, F_OFD_SETLK);
    return taken;
}

/* Opens and maps; a new file is given its size and its first fields. */
static bool map_file(struct usage *usage, const char *path)
{
    struct stat stat;

    usage->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (usage->fd < 0 || !lock_byte(usage->fd, USAGE_SLOTS, F_WRLCK, F_OFD_SETLKW) ||
        fstat(usage->fd, &stat) < 0 || !S_ISREG(stat.st_mode))
        return false;
    if (stat.st_size == 0 && ftruncate(usage->fd, sizeof(*usage->file)) == 0)
        stat.st_size = sizeof(*usage->file);
    if (stat.st_size != sizeof(*usage->file))
        return false;
    usage->file =
        mmap(NULL, sizeof(*usage->file), PROT_READ | PROT_WRITE, MAP_SHARED, usage->fd, 0);
    if (usage->file == MAP_FAILED)
        usage->file = NULL;
    if (usage->file && usage->file->magic == 0) {
        usage->file->n_slots = USAGE_SLOTS;
        usage->file->magic = USAGE_MAGIC;
    }
    lock_byte(usage->fd, USAGE_SLOTS, F_UNLCK, F_OFD_SETLK);
    return usage->file && usage->file->magic == USAGE_MAGIC && usage->file->n_slots == USAGE_SLOTS;
}

void usage_close(struct usage *usage)
{
    if (!usage)
        return;
    if (usage->file && usage->slot != NO_SLOT)
        clear(usage->file, usage->slot);
    if (usage->file)
        munmap(usage->file, sizeof(*usage->file));
    vgpu_close(&usage->fd);
    free(usage);
}

struct usage *usage_open_reader(const char *dir)
{
    _cleanup_free_ char *path = NULL;
    struct usage *usage;

    if (!dir || asprintf(&path, "%s/usage", dir) < 0)
        return NULL;
    usage = calloc(1, sizeof(*usage));
    if (!usage)
        return NULL;
    usage->fd = -1;
    usage->slot = NO_SLOT;
    if (!map_file(usage, path)) {
        usage_close(usage);
        return NULL;
    }
    usage_sweep(usage);
    return usage;
}

struct usage *usage_open(const char *dir)
{
    struct usage *usage = usage_open_reader(dir);

    if (usage && !take_slot(usage)) {
        usage_close(usage);
        return NULL;
    }
    return usage;
}

void usage_set(struct usage *usage, unsigned device, uint64_t memory_bytes)
{
    if (usage)
        __atomic_store_n(&usage->file->slots[usage->slot].memory_bytes[device], memory_bytes,
                         __ATOMIC_RELAXED);
}

void usage_add_busy(struct usage *usage, unsigned device, uint64_t busy_ns)
{
    if (usage)
        __atomic_fetch_add(&usage->file->slots[usage->slot].busy_ns[device], busy_ns,
                           __ATOMIC_RELAXED);
}

uint64_t usage_of_others(const struct usage *usage, unsigned device)
{
    uint64_t sum = 0;

    if (!usage)
        return 0;
    for (uint32_t slot = 0; slot < USAGE_SLOTS; slot++) {
        if (slot != usage->slot)
            sum +=
                __atomic_load_n(&usage->file->slots[slot].memory_bytes[device], __ATOMIC_RELAXED);
    }
    return sum;
}

const struct usage_file *usage_contents(const struct usage *usage)
{
    return usage ? usage->file : NULL;
}
