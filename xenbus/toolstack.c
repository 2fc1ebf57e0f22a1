/* SPDX-License-Identifier: Apache-2.0 */
#include "xenbus/toolstack.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define LOOK_MS 50

struct key {
    const char *name, *value;
};

static int write_keys(const struct backend *backend, const char *dir, const struct key *keys, int n)
{
    char path[STORE_PATH_BYTES + 32];
    int rc = 0;

    for (int i = 0; i < n && rc == 0; i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, keys[i].name);
        rc = backend->store_ops->write(backend->store, path, keys[i].value);
    }
    return rc;
}

static struct device place(const struct backend *backend, uint32_t domid, uint32_t devid)
{
    return (struct device){.backend = backend, .domid = domid, .devid = devid};
}

/* The frontend's first: what sees the backend's keys may look at once. `state` comes last. What is
 * above the device's keys is the backend's too, which removes it when the guest is dead; not alone
 * at any time, which would look to a driver domain as if the guest were. */
int toolstack_attach(const struct backend *backend, uint32_t domid, uint32_t devid, const char *vm,
                     struct vgpu_err *err)
{
    const struct store_ops *ops = backend->store_ops;
    const struct device device = place(backend, domid, devid);
    char front[STORE_PATH_BYTES], back[STORE_PATH_BYTES], guest[16], host[16];
    char value[STORE_VALUE_BYTES], state[STORE_PATH_BYTES], guest_dir[STORE_PATH_BYTES];
    const struct key fronts[] = {{"backend", back}, {"backend-id", host}, {"state", "1"}};
    const struct key backs[] = {
        {"frontend", front}, {"frontend-id", guest}, {"vm", vm}, {"online", "1"}, {"state", "1"}};
    int rc;

    if (vm[0] == '\0' || strlen(vm) >= STORE_VALUE_BYTES)
        return vgpu_err_set(err, EINVAL, "a VM has a name of 1 to %d bytes", STORE_VALUE_BYTES - 1);
    if (ops->lives(backend->store, domid) == 0)
        return vgpu_err_set(err, ENOENT, "there is no domain %" PRIu32, domid);
    device_frontend_path(&device, "", front);
    device_backend_path(&device, "", back);
    device_backend_path(&device, "state", state);
    snprintf(guest_dir, sizeof(guest_dir), "%.*s", (int)(strrchr(back, '/') - back), back);
    if (ops->read(backend->store, state, value) == 0)
        return vgpu_err_set(err, EEXIST, "domain %" PRIu32 " has a device %" PRIu32, domid, devid);
    snprintf(guest, sizeof(guest), "%" PRIu32, domid);
    snprintf(host, sizeof(host), "%" PRIu32, backend->domid);
    rc = ops->own(backend->store, front, domid, backend->domid);
    if (rc == 0)
        rc = ops->own(backend->store, back, backend->domid, domid);
    if (rc == 0)
        rc = ops->own(backend->store, guest_dir, backend->domid, domid);
    if (rc == 0)
        rc = write_keys(backend, front, fronts, 3);
    if (rc == 0)
        rc = write_keys(backend, back, backs, 5);
    return rc < 0 ? vgpu_err_set(err, -rc, "cannot write to xenstore: %s", strerror(-rc)) : 0;
}

/* A driver domain that is no more has taken its keys along; the guest's are there. */
static int detach_orphan(const struct device *device, struct vgpu_err *err)
{
    const struct backend *backend = device->backend;
    char path[STORE_PATH_BYTES], back[STORE_PATH_BYTES], value[STORE_VALUE_BYTES];

    device_backend_path(device, "", back);
    device_frontend_path(device, "backend", path);
    if (backend->store_ops->read(backend->store, path, value) < 0 || strcmp(value, back) != 0)
        return vgpu_err_set(err, ENOENT, "domain %" PRIu32 " has no device %" PRIu32, device->domid,
                            device->devid);
    device_frontend_path(device, "", path);
    backend->store_ops->remove(backend->store, path);
    return 0;
}

int toolstack_detach(const struct backend *backend, uint32_t domid, uint32_t devid, int wait_ms,
                     struct vgpu_err *err)
{
    const struct store_ops *ops = backend->store_ops;
    const struct device device = place(backend, domid, devid);
    char path[STORE_PATH_BYTES], value[STORE_VALUE_BYTES];
    uint32_t state;

    device_backend_path(&device, "online", path);
    if (ops->read(backend->store, path, value) < 0)
        return detach_orphan(&device, err);
    ops->write(backend->store, path, "0");
    device_backend_path(&device, "state", path);
    for (int waited = 0;; waited += LOOK_MS) {
        if (ops->read(backend->store, path, value) < 0 || ops->lives(backend->store, domid) == 0 ||
            (store_number(value, XENBUS_N_STATES, &state) && state == XENBUS_CLOSED))
            break;
        if (waited >= wait_ms)
            return vgpu_err_set(err, ETIMEDOUT, "the device is still in state %s", value);
        poll(NULL, 0, LOOK_MS);
    }
    device_backend_path(&device, "", path);
    ops->remove(backend->store, path);
    device_frontend_path(&device, "", path);
    ops->remove(backend->store, path);
    return 0;
}
