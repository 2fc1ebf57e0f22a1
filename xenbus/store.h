/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xenstore, as far as vgpu-xenbus needs it: store_xen.c is libxenstore, fake_store.c a tree in
 * memory, for tests. Values that come from a guest are bounded, ended by NUL, and judged by the
 * caller. 0 or -errno.
 */
#ifndef VGPU_XENBUS_STORE_H
#define VGPU_XENBUS_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STORE_PATH_BYTES  128
#define STORE_VALUE_BYTES 80 /* longer ones are refused */

struct store;

struct store_ops {
    /* -E2BIG: longer than STORE_VALUE_BYTES - 1, or with a NUL. */
    int (*read)(struct store *store, const char *path, char value[STORE_VALUE_BYTES]);
    int (*write)(struct store *store, const char *path, const char *value);
    int (*remove)(struct store *store, const char *path);
    /* Whose the node is, and who may read it besides. It is made where it is not there. */
    int (*own)(struct store *store, const char *path, uint32_t owner, uint32_t reader);
    /* The numbers among the node's children, at most `most`. Returns how many. */
    int (*numbers)(struct store *store, const char *path, uint32_t *ret, unsigned most);
    int (*watch)(struct store *store, const char *path);
    void (*unwatch)(struct store *store, const char *path);
    /* True: something below *path, a path that is watched, has changed. False: nothing more. */
    bool (*changed)(struct store *store, char path[STORE_PATH_BYTES]);
    /* Readable when something has changed. */
    int (*fd)(struct store *store);
    /* Does this domain live? -EACCES: xenstore does not tell us, who are neither dom0 nor
     * privileged otherwise. */
    int (*lives)(struct store *store, uint32_t domid);
};

/* A decimal number of at most `most`, without anything else. */
bool store_number(const char *text, uint32_t most, uint32_t *ret);

#endif
