/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk in trouble: preloaded into vgpu-store (LD_PRELOAD), it has each fsync take its time, or no
 * room left for what is written. $VGPU_TEST_DISK names a file that says so at each moment: "slow
 * MS", "full", or nothing. tests/e2e/test_trouble.py writes it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT int fsync(int fd);
EXPORT int fdatasync(int fd);
EXPORT ssize_t pwrite(int fd, const void *data, size_t size, off_t offset);
EXPORT ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset);

static void look(char *text, size_t size)
{
    const char *path = getenv("VGPU_TEST_DISK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t used = fd >= 0 ? read(fd, text, size - 1) : 0;

    text[used > 0 ? used : 0] = '\0';
    if (fd >= 0)
        close(fd);
}

static int sync_by(long number, int fd)
{
    char text[32];
    int ms = 0;

    look(text, sizeof(text));
    if (sscanf(text, "slow %d", &ms) == 1) {
        const struct timespec pause = {ms / 1000, ms % 1000 * 1000000L};

        nanosleep(&pause, NULL);
    }
    return (int)syscall(number, fd);
}

int fsync(int fd)
{
    return sync_by(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return sync_by(SYS_fdatasync, fd);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
    char text[32];

    look(text, sizeof(text));
    if (strcmp(text, "full") != 0)
        return syscall(SYS_pwrite64, fd, data, size, offset);
    errno = ENOSPC;
    return -1;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    return pwrite64(fd, data, size, offset);
}
