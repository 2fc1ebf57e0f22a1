/* SPDX-License-Identifier: Apache-2.0 */
#include "xenbus/fake_store.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Is path, or does it lie below, of? */
static bool is_below(const char *path, const char *of)
{
    size_t length = strlen(of);

    return strncmp(path, of, length) == 0 && (path[length] == '\0' || path[length] == '/');
}

static struct fake_node *find(struct store *store, const char *path)
{
    for (int i = 0; i < FAKE_STORE_NODES; i++)
        if (store->nodes[i].path[0] && strcmp(store->nodes[i].path, path) == 0)
            return &store->nodes[i];
    return NULL;
}

const struct fake_node *fake_store_node(const struct store *store, const char *path)
{
    for (int i = 0; i < FAKE_STORE_NODES; i++)
        if (store->nodes[i].path[0] && strcmp(store->nodes[i].path, path) == 0)
            return &store->nodes[i];
    return NULL;
}

static void note(struct store *store, const char *path)
{
    const uint64_t one = 1;

    if (store->n_changes == FAKE_STORE_CHANGES)
        return;
    snprintf(store->changes[(store->first + store->n_changes++) % FAKE_STORE_CHANGES],
             STORE_PATH_BYTES, "%s", path);
    (void)!write(store->event, &one, sizeof(one));
}

void fake_store_fire(struct store *store, const char *path)
{
    for (int i = 0; i < FAKE_STORE_WATCHES; i++)
        if (store->watches[i][0] && is_below(path, store->watches[i]))
            note(store, path);
}

static int read_value(struct store *store, const char *path, char value[STORE_VALUE_BYTES])
{
    const struct fake_node *node = find(store, path);

    if (!node)
        return -ENOENT;
    if (strlen(node->value) >= STORE_VALUE_BYTES)
        return -E2BIG;
    memset(value, 0, STORE_VALUE_BYTES);
    memcpy(value, node->value, strlen(node->value));
    return 0;
}

static struct fake_node *make(struct store *store, const char *path)
{
    struct fake_node *node = find(store, path);

    for (int i = 0; i < FAKE_STORE_NODES && !node; i++)
        if (!store->nodes[i].path[0]) {
            node = &store->nodes[i];
            snprintf(node->path, sizeof(node->path), "%s", path);
        }
    return node;
}

static int write_value(struct store *store, const char *path, const char *value)
{
    struct fake_node *node = make(store, path);

    if (!node)
        return -ENOSPC;
    snprintf(node->value, sizeof(node->value), "%s", value);
    fake_store_fire(store, path);
    return 0;
}

static int remove_node(struct store *store, const char *path)
{
    bool any = false;

    for (int i = 0; i < FAKE_STORE_NODES; i++)
        if (store->nodes[i].path[0] && is_below(store->nodes[i].path, path)) {
            memset(&store->nodes[i], 0, sizeof(store->nodes[i]));
            any = true;
        }
    if (any)
        fake_store_fire(store, path);
    return any ? 0 : -ENOENT;
}

static int own(struct store *store, const char *path, uint32_t owner, uint32_t reader)
{
    struct fake_node *node = make(store, path);

    if (!node)
        return -ENOSPC;
    node->owner = owner;
    node->reader = reader;
    return 0;
}

static bool has(const uint32_t *numbers, unsigned n, uint32_t number)
{
    for (unsigned i = 0; i < n; i++)
        if (numbers[i] == number)
            return true;
    return false;
}

static int list_numbers(struct store *store, const char *path, uint32_t *ret, unsigned most)
{
    unsigned found = 0;

    for (int i = 0; i < FAKE_STORE_NODES && found < most; i++) {
        char name[STORE_PATH_BYTES];
        uint32_t number;

        if (!store->nodes[i].path[0] || !is_below(store->nodes[i].path, path) ||
            strlen(store->nodes[i].path) == strlen(path))
            continue;
        snprintf(name, sizeof(name), "%s", store->nodes[i].path + strlen(path) + 1);
        name[strcspn(name, "/")] = '\0';
        if (store_number(name, UINT32_MAX, &number) && !has(ret, found, number))
            ret[found++] = number;
    }
    return (int)found;
}

/* A watch fires once when it is set, as Xen's do. */
static int watch(struct store *store, const char *path)
{
    for (int i = 0; i < FAKE_STORE_WATCHES; i++)
        if (!store->watches[i][0]) {
            snprintf(store->watches[i], STORE_PATH_BYTES, "%s", path);
            note(store, path);
            return 0;
        }
    return -ENOSPC;
}

static void unwatch(struct store *store, const char *path)
{
    for (int i = 0; i < FAKE_STORE_WATCHES; i++)
        if (strcmp(store->watches[i], path) == 0)
            store->watches[i][0] = '\0';
}

static bool changed(struct store *store, char path[STORE_PATH_BYTES])
{
    uint64_t count;

    if (store->n_changes == 0) {
        (void)!read(store->event, &count, sizeof(count));
        return false;
    }
    memcpy(path, store->changes[store->first], STORE_PATH_BYTES);
    store->first = (store->first + 1) % FAKE_STORE_CHANGES;
    store->n_changes--;
    return true;
}

static int fd(struct store *store)
{
    return store->event;
}

static int lives(struct store *store, uint32_t domid)
{
    return store->tells_nobody ? -EACCES : domid != store->dead;
}

const struct store_ops fake_store_ops = {
    .read = read_value,
    .write = write_value,
    .remove = remove_node,
    .own = own,
    .numbers = list_numbers,
    .watch = watch,
    .unwatch = unwatch,
    .changed = changed,
    .fd = fd,
    .lives = lives,
};

void fake_store_init(struct store *store)
{
    memset(store, 0, sizeof(*store));
    store->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

void fake_store_release(struct store *store)
{
    close(store->event);
}
