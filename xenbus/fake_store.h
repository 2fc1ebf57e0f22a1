/* SPDX-License-Identifier: Apache-2.0 */
/* A xenstore in memory, for tests: one caller, no permissions but what `own` was told. */
#ifndef VGPU_XENBUS_FAKE_STORE_H
#define VGPU_XENBUS_FAKE_STORE_H

#include "xenbus/store.h"

#define FAKE_STORE_NODES   256
#define FAKE_STORE_WATCHES 64
#define FAKE_STORE_CHANGES 1024

struct fake_node {
    char path[STORE_PATH_BYTES], value[256];
    uint32_t owner, reader;
};

struct store {
    struct fake_node nodes[FAKE_STORE_NODES]; /* path empty: none */
    char watches[FAKE_STORE_WATCHES][STORE_PATH_BYTES];
    char changes[FAKE_STORE_CHANGES][STORE_PATH_BYTES];
    unsigned first, n_changes;
    uint32_t dead;     /* a domain that does not live; 0: all do */
    bool tells_nobody; /* who lives, as in a driver domain */
    int event;
};

extern const struct store_ops fake_store_ops;

void fake_store_init(struct store *store);
void fake_store_release(struct store *store);
/* What is there; NULL: nothing. */
const struct fake_node *fake_store_node(const struct store *store, const char *path);
/* Something that is no value. */
void fake_store_fire(struct store *store, const char *path);

#endif
