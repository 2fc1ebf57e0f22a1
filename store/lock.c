/* SPDX-License-Identifier: Apache-2.0 */
#include "store/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"

/* flock() has no timeout, so a lock that is held is tried again at this interval. */
#define TRY_INTERVAL_MS 10

static int open_lock_file(const char *path, const char *database_path, struct vgpu_err *err)
{
    struct stat database, file;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return vgpu_err_set(err, errno, "cannot open the lock file %s: %s", path, strerror(errno));
    /* Root must not leave behind a lock that the owner of the database cannot open. */
    if (geteuid() == 0 && stat(database_path, &database) == 0 && fstat(fd, &file) == 0 &&
        (file.st_uid != database.st_uid || file.st_gid != database.st_gid) &&
        fchown(fd, database.st_uid, database.st_gid) < 0) {
        int code = errno;

        close(fd);
        return vgpu_err_set(err, code,
                            "cannot give the lock file %s to the owner of the database: %s", path,
                            strerror(code));
    }
    return fd;
}

static void read_holder(int fd, char holder[STORE_LOCK_HOLDER_BYTES])
{
    ssize_t size = pread(fd, holder, STORE_LOCK_HOLDER_BYTES - 1, 0);

    holder[size > 0 ? size : 0] = '\0';
    holder[strcspn(holder, "\n")] = '\0';
    if (!holder[0])
        strcpy(holder, "another program");
}

static int busy(int fd, const char *database_path, struct vgpu_err *err)
{
    char holder[STORE_LOCK_HOLDER_BYTES];

    read_holder(fd, holder);
    return vgpu_err_set(err, EBUSY, "the database %s is in use by %s", database_path, holder);
}

static int acquire(int fd, unsigned wait_ms)
{
    const struct timespec interval = {.tv_nsec = TRY_INTERVAL_MS * (long)VGPU_NS_PER_MS};
    uint64_t end = vgpu_clock_ns() + wait_ms * VGPU_NS_PER_MS;

    for (;;) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return 0;
        if (errno != EWOULDBLOCK && errno != EINTR)
            return -errno;
        if (vgpu_clock_ns() >= end)
            return -EBUSY;
        nanosleep(&interval, NULL);
    }
}

int store_lock_take(struct store_lock *lock, const char *database_path, const char *holder,
                    unsigned wait_ms, struct vgpu_err *err)
{
    _cleanup_free_ char *path = NULL;
    _cleanup_close_ int fd = -1;
    int rc;

    if (asprintf(&path, "%s.lock", database_path) < 0) {
        path = NULL;
        return vgpu_err_set(err, ENOMEM, "out of memory");
    }
    fd = open_lock_file(path, database_path, err);
    if (fd < 0)
        return fd;
    rc = acquire(fd, wait_ms);
    if (rc == -EBUSY)
        return busy(fd, database_path, err);
    if (rc < 0)
        return vgpu_err_set(err, -rc, "cannot lock %s: %s", path, strerror(-rc));
    /* Only a help for the next one who asks: that it could not be written does no harm. */
    if (ftruncate(fd, 0) == 0)
        dprintf(fd, "%s (pid %ld)\n", holder, (long)getpid());
    lock->fd = vgpu_steal_fd(&fd);
    return 0;
}

int store_lock_holder(const char *database_path, char ret_holder[STORE_LOCK_HOLDER_BYTES],
                      struct vgpu_err *err)
{
    _cleanup_free_ char *path = NULL;
    _cleanup_close_ int fd = -1;

    ret_holder[0] = '\0';
    if (asprintf(&path, "%s.lock", database_path) < 0) {
        path = NULL;
        return vgpu_err_set(err, ENOMEM, "out of memory");
    }
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? 0
                               : vgpu_err_set(err, errno, "cannot open the lock file %s: %s", path,
                                              strerror(errno));
    /* Shared, so that two who look do not see each other; it is given up with the descriptor. */
    if (flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK)
        read_holder(fd, ret_holder);
    return 0;
}

void store_lock_release(struct store_lock *lock)
{
    if (lock->fd < 0)
        return;
    /* Emptied first: the text must never name somebody who is gone. */
    if (ftruncate(lock->fd, 0) < 0)
        errno = 0;
    vgpu_close(&lock->fd);
}
