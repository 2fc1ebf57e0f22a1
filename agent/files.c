/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gnutls/crypto.h>

#include "common/cleanup.h"

static const struct {
    const char *suffix, *type;
} types[] = {
    {".html", "text/html; charset=utf-8"},
    {".css", "text/css; charset=utf-8"},
    {".js", "text/javascript; charset=utf-8"},
    {".mjs", "text/javascript; charset=utf-8"},
    {".json", "application/json"},
    {".map", "application/json"},
    {".webmanifest", "application/manifest+json"},
    {".svg", "image/svg+xml"},
    {".png", "image/png"},
    {".ico", "image/x-icon"},
    {".woff2", "font/woff2"},
    {".txt", "text/plain; charset=utf-8"},
};

static const char *type_of(const char *name)
{
    const char *suffix = strrchr(name, '.');

    for (size_t i = 0; suffix && i < VGPU_ARRAY_SIZE(types); i++)
        if (strcmp(types[i].suffix, suffix) == 0)
            return types[i].type;
    return "application/octet-stream";
}

static void set_tag(struct file *file)
{
    unsigned char hash[32];

    if (gnutls_hash_fast(GNUTLS_DIG_SHA256, file->data, file->size, hash) < 0)
        memset(hash, 0, sizeof(hash));
    for (size_t i = 0; i < FILES_HASH_DIGITS / 2; i++)
        sprintf(file->tag + 2 * i, "%02x", hash[i]);
}

static int read_whole(int fd, char *data, size_t size)
{
    size_t used = 0;

    while (used < size) {
        ssize_t got = read(fd, data + used, size - used);

        if (got <= 0)
            return got < 0 ? -errno : -EIO;
        used += (size_t)got;
    }
    return 0;
}

static int load_file(struct files *files, int fd, const char *name, size_t size,
                     struct vgpu_err *err)
{
    struct file *file = &files->rows[files->n];
    int rc;

    if (files->n == FILES_MAX || size > FILES_BYTES_MAX - files->bytes)
        return vgpu_err_set(err, E2BIG, "more than %d files or %d bytes", FILES_MAX,
                            FILES_BYTES_MAX);
    file->data = malloc(size + 1);
    if (!file->data)
        return vgpu_err_set(err, ENOMEM, "out of memory");
    rc = read_whole(fd, file->data, size);
    if (rc < 0) {
        free(file->data);
        return vgpu_err_set(err, -rc, "cannot read '%s': %s", name, strerror(-rc));
    }
    snprintf(file->name, sizeof(file->name), "%s", name);
    file->size = size;
    file->type = type_of(name);
    set_tag(file);
    files->bytes += size;
    files->n++;
    return 0;
}

static int load_directory(struct files *files, int fd, const char *prefix, int depth,
                          struct vgpu_err *err);

static int load_entry(struct files *files, int directory, const char *prefix, const char *entry,
                      int depth, struct vgpu_err *err)
{
    _cleanup_close_ int fd =
        openat(directory, entry, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
    char name[FILES_NAME_BYTES];
    struct stat status;

    if (fd < 0 && errno == ELOOP)
        return 0;
    if (fd < 0 || fstat(fd, &status) < 0)
        return vgpu_err_set(err, errno, "cannot open '%s': %s", entry, strerror(errno));
    if (snprintf(name, sizeof(name), "%s%s%s", prefix, *prefix ? "/" : "", entry) >=
        (int)sizeof(name))
        return vgpu_err_set(err, ENAMETOOLONG, "'%s' is too long a name", entry);
    if (S_ISREG(status.st_mode))
        return load_file(files, fd, name, (size_t)status.st_size, err);
    if (S_ISDIR(status.st_mode) && depth < FILES_DEPTH_MAX)
        return load_directory(files, vgpu_steal_fd(&fd), name, depth + 1, err);
    return 0;
}

/* Takes fd. */
static int load_directory(struct files *files, int fd, const char *prefix, int depth,
                          struct vgpu_err *err)
{
    DIR *directory = fdopendir(fd);
    struct dirent *entry;
    int rc = 0;

    if (!directory) {
        close(fd);
        return vgpu_err_set(err, ENOMEM, "out of memory");
    }
    while (rc == 0 && (entry = readdir(directory)))
        if (entry->d_name[0] != '.')
            rc = load_entry(files, dirfd(directory), prefix, entry->d_name, depth, err);
    closedir(directory);
    return rc;
}

int files_load(struct files *files, const char *directory, struct vgpu_err *err)
{
    int rc, fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return vgpu_err_set(err, errno, "cannot open '%s': %s", directory, strerror(errno));
    rc = load_directory(files, fd, "", 0, err);
    return rc < 0 ? vgpu_err_prefix(err, "the panel in '%s'", directory) : 0;
}

void files_release(struct files *files)
{
    for (unsigned i = 0; i < files->n; i++)
        free(files->rows[i].data);
    files->n = 0;
    files->bytes = 0;
}

const struct file *files_find(const struct files *files, const struct request *request)
{
    char name[FILES_NAME_BYTES] = "";
    size_t used = 0;

    for (unsigned i = 0; i < request->n_segments; i++) {
        int n =
            snprintf(name + used, sizeof(name) - used, "%s%s", i ? "/" : "", request->segments[i]);

        if (n < 0 || (size_t)n >= sizeof(name) - used)
            return NULL;
        used += (size_t)n;
    }
    if (request->n_segments == 0)
        strcpy(name, "index.html");
    else if (request->directory)
        return NULL;
    for (unsigned i = 0; i < files->n; i++)
        if (strcmp(files->rows[i].name, name) == 0)
            return &files->rows[i];
    return NULL;
}

bool file_is_known(const struct file *file, const char *if_none_match)
{
    char tag[FILES_HASH_DIGITS + 3];

    if (!if_none_match)
        return false;
    snprintf(tag, sizeof(tag), "\"%s\"", file->tag);
    return strcmp(if_none_match, "*") == 0 || strstr(if_none_match, tag) != NULL;
}
