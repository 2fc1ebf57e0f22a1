/* SPDX-License-Identifier: Apache-2.0 */
#include "xenbus/store_xen.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xenstore.h>

#include "common/cleanup.h"

/* Newest first: Xen 4.15 and later, so XCP-ng 8.3; those before, so XCP-ng 8.2. What is called here
 * is the same in both. */
static const char *const sonames[] = {"libxenstore.so.4", "libxenstore.so.3.0"};

#define CALLS(CALL)                                                                                \
    CALL(xs_open)                                                                                  \
    CALL(xs_close)                                                                                 \
    CALL(xs_fileno)                                                                                \
    CALL(xs_read)                                                                                  \
    CALL(xs_write)                                                                                 \
    CALL(xs_rm)                                                                                    \
    CALL(xs_mkdir)                                                                                 \
    CALL(xs_set_permissions)                                                                       \
    CALL(xs_directory)                                                                             \
    CALL(xs_watch)                                                                                 \
    CALL(xs_unwatch)                                                                               \
    CALL(xs_check_watch)                                                                           \
    CALL(xs_is_domain_introduced)

static struct {
#define CALL(name) __typeof__(name) *name;
    CALLS(CALL)
#undef CALL
} xen;

static struct xs_handle *handle(struct store *store)
{
    return (struct xs_handle *)(void *)store;
}

static int outcome(bool ok)
{
    return ok ? 0 : -(errno ? errno : EIO);
}

static int read_value(struct store *store, const char *path, char value[STORE_VALUE_BYTES])
{
    unsigned size;
    _cleanup_free_ char *text = xen.xs_read(handle(store), XBT_NULL, path, &size);

    if (!text)
        return outcome(false);
    if (size >= STORE_VALUE_BYTES || memchr(text, '\0', size))
        return -E2BIG;
    memset(value, 0, STORE_VALUE_BYTES);
    memcpy(value, text, size);
    return 0;
}

static int write_value(struct store *store, const char *path, const char *value)
{
    return outcome(xen.xs_write(handle(store), XBT_NULL, path, value, (unsigned)strlen(value)));
}

static int remove_node(struct store *store, const char *path)
{
    return outcome(xen.xs_rm(handle(store), XBT_NULL, path));
}

static int own(struct store *store, const char *path, uint32_t owner, uint32_t reader)
{
    struct xs_permissions permissions[2] = {{.id = owner, .perms = XS_PERM_NONE},
                                            {.id = reader, .perms = XS_PERM_READ}};

    if (!xen.xs_mkdir(handle(store), XBT_NULL, path))
        return outcome(false);
    return outcome(xen.xs_set_permissions(handle(store), XBT_NULL, path, permissions, 2));
}

static int numbers(struct store *store, const char *path, uint32_t *ret, unsigned most)
{
    unsigned n = 0, found = 0;
    _cleanup_free_ char **names = xen.xs_directory(handle(store), XBT_NULL, path, &n);

    if (!names)
        return outcome(false);
    for (unsigned i = 0; i < n && found < most; i++)
        if (store_number(names[i], UINT32_MAX, &ret[found]))
            found++;
    return (int)found;
}

static int watch(struct store *store, const char *path)
{
    return outcome(xen.xs_watch(handle(store), path, path));
}

static void unwatch(struct store *store, const char *path)
{
    xen.xs_unwatch(handle(store), path, path);
}

static bool changed(struct store *store, char path[STORE_PATH_BYTES])
{
    _cleanup_free_ char **fired = xen.xs_check_watch(handle(store));

    if (!fired)
        return false;
    snprintf(path, STORE_PATH_BYTES, "%s", fired[XS_WATCH_PATH]);
    return true;
}

static int fd(struct store *store)
{
    return xen.xs_fileno(handle(store));
}

/* The library's answer is false as well where it was not told. */
static int lives(struct store *store, uint32_t domid)
{
    errno = 0;
    if (xen.xs_is_domain_introduced(handle(store), domid))
        return true;
    return -errno;
}

const struct store_ops store_xen_ops = {
    .read = read_value,
    .write = write_value,
    .remove = remove_node,
    .own = own,
    .numbers = numbers,
    .watch = watch,
    .unwatch = unwatch,
    .changed = changed,
    .fd = fd,
    .lives = lives,
};

/* At run time: it is the host's own Xen that says which version of the library speaks to it. */
static void *find_library(const char **ret_name, struct vgpu_err *err)
{
    const size_t n = sizeof(sonames) / sizeof(sonames[0]);
    void *library = dlopen(sonames[0], RTLD_NOW | RTLD_LOCAL);

    *ret_name = sonames[0];
    if (!library)
        vgpu_err_set(err, ENOENT, "cannot load libxenstore, a part of Xen's tools: %s", dlerror());
    for (size_t i = 1; !library && i < n; i++)
        library = dlopen(*ret_name = sonames[i], RTLD_NOW | RTLD_LOCAL);
    return library;
}

static int load(struct vgpu_err *err)
{
    const char *name;
    void *library = find_library(&name, err);

    if (!library)
        return -ENOENT;
#define CALL(call)                                                                                 \
    *(void **)&xen.call = dlsym(library, #call);                                                   \
    if (!xen.call) {                                                                               \
        dlclose(library);                                                                          \
        return vgpu_err_set(err, ELIBBAD, "%s lacks %s", name, #call);                             \
    }
    CALLS(CALL)
#undef CALL
    return 0;
}

int store_xen_open(struct store **ret_store, struct vgpu_err *err)
{
    struct xs_handle *xs;
    int rc = load(err);

    if (rc < 0)
        return rc;
    xs = xen.xs_open(0);
    if (!xs)
        return vgpu_err_set(err, errno, "cannot open xenstore: %s", strerror(errno));
    xen.xs_fileno(xs); /* makes its pipe at the first call: not in the sandbox */
    *ret_store = (struct store *)(void *)xs;
    return 0;
}

void store_xen_close(struct store *store)
{
    xen.xs_close(handle(store));
}
