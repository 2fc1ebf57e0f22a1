/* SPDX-License-Identifier: Apache-2.0 */
#include "store/backup.h"

#include <fcntl.h>
#include <libgen.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "store/database.h"

#define BACKUPS_MAX 1000

/* Creates a new empty file beside the database with its owner and mode. */
static int reserve(const char *path, int version, char **ret_path, struct vgpu_err *err)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return vgpu_err_set(err, errno, "cannot look at %s: %s", path, strerror(errno));
    for (int i = 0; i < BACKUPS_MAX; i++) {
        _cleanup_free_ char *name = NULL;
        _cleanup_close_ int fd = -1;
        int rc = i ? asprintf(&name, "%s.v%d.bak.%d", path, version, i)
                   : asprintf(&name, "%s.v%d.bak", path, version);

        if (rc < 0) {
            name = NULL;
            return vgpu_err_set(err, ENOMEM, "out of memory");
        }
        fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, st.st_mode & 0777);
        if (fd < 0 && errno == EEXIST)
            continue;
        if (fd < 0 || (geteuid() == 0 && fchown(fd, st.st_uid, st.st_gid) < 0))
            return vgpu_err_set(err, errno, "cannot create the backup %s: %s", name,
                                strerror(errno));
        *ret_path = vgpu_steal_ptr(&name);
        return 0;
    }
    return vgpu_err_set(err, EEXIST, "there are %d backups of %s already", BACKUPS_MAX, path);
}

static int copy(const char *from, const char *to, struct vgpu_err *err)
{
    sqlite3 *source = NULL, *target = NULL;
    sqlite3_backup *backup;
    int rc = 0;

    if (sqlite3_open_v2(from, &source, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK)
        rc = database_error(source, "open the database for its backup", err);
    else if (sqlite3_open_v2(to, &target, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
        rc = database_error(target, "open the backup", err);
    else if (!(backup = sqlite3_backup_init(target, "main", source, "main")))
        rc = database_error(target, "start the backup", err);
    else {
        int step = sqlite3_backup_step(backup, -1);
        int finish = sqlite3_backup_finish(backup);

        if (step != SQLITE_DONE || finish != SQLITE_OK)
            rc = vgpu_err_set(err, EIO, "cannot write the backup %s: %s", to,
                              sqlite3_errstr(step != SQLITE_DONE ? step : finish));
    }
    sqlite3_close(target);
    sqlite3_close(source);
    return rc;
}

/* Syncs the file and the directory that names it. */
static int sync_to_disk(const char *path, struct vgpu_err *err)
{
    _cleanup_free_ char *copy_of_path = strdup(path);
    _cleanup_close_ int file = -1;
    _cleanup_close_ int directory = -1;

    if (!copy_of_path)
        return vgpu_err_set(err, ENOMEM, "out of memory");
    file = open(path, O_RDONLY | O_CLOEXEC);
    directory = open(dirname(copy_of_path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file < 0 || directory < 0 || fsync(file) < 0 || fsync(directory) < 0)
        return vgpu_err_set(err, errno, "cannot sync the backup %s: %s", path, strerror(errno));
    return 0;
}

int backup_make(const char *path, int version, char **ret_path, struct vgpu_err *err)
{
    _cleanup_free_ char *name = NULL;
    int rc = reserve(path, version, &name, err);

    if (rc < 0)
        return rc;
    if ((rc = copy(path, name, err)) < 0 || (rc = sync_to_disk(name, err)) < 0) {
        unlink(name);
        return rc;
    }
    *ret_path = vgpu_steal_ptr(&name);
    return 0;
}
