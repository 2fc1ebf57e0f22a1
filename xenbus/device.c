/* SPDX-License-Identifier: Apache-2.0 */
#include "xenbus/device.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "xenbus/slots.h"

#define MESSAGES_PER_TURN 64
#define REFERENCE_MAX     UINT32_MAX
#define LOG_BURST         20
#define LOG_INTERVAL_NS   VGPU_NS_PER_S
#define STEPS_MAX         8 /* more moves than any walk through the states has */

/* xenstore */

void device_backend_path(const struct device *device, const char *key, char path[STORE_PATH_BYTES])
{
    snprintf(path, STORE_PATH_BYTES,
             "/local/domain/%" PRIu32 "/backend/vgpu/%" PRIu32 "/%" PRIu32 "%s%s",
             device->backend->domid, device->domid, device->devid, key[0] ? "/" : "", key);
}

void device_frontend_path(const struct device *device, const char *key, char path[STORE_PATH_BYTES])
{
    snprintf(path, STORE_PATH_BYTES, "/local/domain/%" PRIu32 "/device/vgpu/%" PRIu32 "%s%s",
             device->domid, device->devid, key[0] ? "/" : "", key);
}

static bool read_ours(const struct device *device, const char *key, char value[STORE_VALUE_BYTES])
{
    char path[STORE_PATH_BYTES];

    device_backend_path(device, key, path);
    return device->backend->store_ops->read(device->backend->store, path, value) == 0;
}

/* A number that the guest wrote. */
static bool read_theirs(const struct device *device, const char *key, uint32_t most, uint32_t *ret)
{
    char path[STORE_PATH_BYTES], value[STORE_VALUE_BYTES];

    device_frontend_path(device, key, path);
    return device->backend->store_ops->read(device->backend->store, path, value) == 0 &&
           store_number(value, most, ret);
}

static void write_ours(const struct device *device, const char *key, const char *value)
{
    char path[STORE_PATH_BYTES];

    device_backend_path(device, key, path);
    device->backend->store_ops->write(device->backend->store, path, value);
}

static void write_number(const struct device *device, const char *key, uint32_t value)
{
    char text[16];

    snprintf(text, sizeof(text), "%" PRIu32, value);
    write_ours(device, key, text);
}

static enum xenbus_state their_state(const struct device *device)
{
    uint32_t state;

    return read_theirs(device, "state", XENBUS_N_STATES - 1, &state) ? (enum xenbus_state)state
                                                                     : XENBUS_UNKNOWN;
}

/* The control page */

static void put(char *to, size_t size, const char *text)
{
    memset(to, 0, size);
    snprintf(to, size, "%s", text);
}

static uint32_t status_word(const struct device *device)
{
    uint32_t state = device->link.welcomed    ? VGPU_DEVICE_READY
                     : device->error          ? VGPU_DEVICE_REFUSED
                     : device->link.sock >= 0 ? VGPU_DEVICE_CONNECTING
                                              : VGPU_DEVICE_DISCONNECTED;

    return state | (device->facts.quarantined ? VGPU_STATUS_QUARANTINED : 0);
}

/* The guest may read at any time: an odd generation says that it must read again. */
static void show(struct device *device)
{
    struct vgpu_xen_control *page = (struct vgpu_xen_control *)(void *)device->pages.at;
    const struct vgpu_msg_welcome *facts = &device->facts;
    static uint32_t generation; /* never from the page, which the guest can write */

    if (!page)
        return;
    generation += 2;
    __atomic_store_n(&page->generation, generation - 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    page->status = status_word(device);
    page->error = device->link.welcomed ? VGPU_OK : device->error;
    page->features = VGPU_DEVICE_GRANT | VGPU_DEVICE_MONITOR;
    page->vm_id = facts->vm_id;
    page->priority = facts->priority;
    page->weight = facts->weight_hundredths;
    page->max_channels = facts->max_channels;
    page->max_data = (uint32_t)(facts->max_data_bytes / 4096);
    page->backend_domid = device->backend->domid;
    put(page->pool, sizeof(page->pool), facts->pool);
    put(page->name, sizeof(page->name), facts->name);
    put(page->error_text, sizeof(page->error_text), device->error_text);
    __atomic_store_n(&page->generation, generation, __ATOMIC_RELEASE);
    if (device->port)
        device->backend->grants->notify(device->backend->events, device->port);
}

/* Pages and port */

static void detach(struct device *device)
{
    const struct backend *backend = device->backend;

    if (device->port)
        backend->grants->unbind(backend->events, device->port);
    device->port = 0;
    backend->grants->unmap(backend->memory, &device->pages);
}

static int attach(struct device *device, struct vgpu_err *err)
{
    const struct backend *backend = device->backend;
    struct grant_set set = {
        .memory = backend->memory, .domid = device->domid, .pages = VGPU_XEN_PAGES};
    const struct vgpu_xen_control *page;
    uint32_t port, magic;
    int rc;

    if (!read_theirs(device, "ring-ref", REFERENCE_MAX, &set.directory) || set.directory == 0 ||
        !read_theirs(device, "event-channel", REFERENCE_MAX, &port) || port == 0)
        return vgpu_err_set(err, EPROTO, "ring-ref or event-channel is missing, or no number");
    rc = grant_map_set(backend->grants, &set, NULL, &device->pages, err);
    if (rc < 0)
        return rc;
    page = (const struct vgpu_xen_control *)(const void *)device->pages.at;
    magic = __atomic_load_n(&page->magic, __ATOMIC_ACQUIRE);
    if (magic != VGPU_GRANT_MAGIC ||
        __atomic_load_n(&page->version, __ATOMIC_RELAXED) != VGPU_GRANT_VERSION)
        rc = vgpu_err_set(err, EPROTO, "the control page has another magic or version");
    else if ((rc = backend->grants->bind(backend->events, device->domid, port, &device->port)) < 0)
        vgpu_err_set(err, -rc, "cannot bind event channel %" PRIu32 ": %s", port, strerror(-rc));
    if (rc < 0) {
        device->port = 0;
        detach(device);
    }
    return rc;
}

/* States */

/* How often a device comes and goes is up to its guest; the log is not. */
static bool may_log(struct device *device)
{
    uint32_t held_back = 0;

    if (!vgpu_log_allowed(&device->log, vgpu_clock_ns(), LOG_BURST, LOG_INTERVAL_NS, &held_back))
        return false;
    if (held_back)
        vgpu_log(VGPU_LOG_INFO, "log-held-back", "domid=%" PRIu32 " lines=%" PRIu32, device->domid,
                 held_back);
    return true;
}

static void fail(struct device *device, const char *text)
{
    char quoted[VGPU_ERR_TEXT_BYTES];

    if (may_log(device))
        vgpu_log(VGPU_LOG_WARN, "device-refused", "domid=%" PRIu32 " devid=%" PRIu32 " reason=%s",
                 device->domid, device->devid, vgpu_log_quote(quoted, sizeof(quoted), text));
    write_ours(device, "error", text);
}

static void enter(struct device *device, enum xenbus_state state)
{
    if (may_log(device))
        vgpu_log(VGPU_LOG_INFO, "device-state", "domid=%" PRIu32 " devid=%" PRIu32 " from=%d to=%d",
                 device->domid, device->devid, (int)device->state, (int)state);
    device->state = state;
    write_number(device, "state", state);
}

/* -errno: the mediator took no request; the connection is dropped then. */
static int carry_out(struct device *device, enum xenbus_state next)
{
    struct vgpu_err err;

    switch (next) {
    case XENBUS_INIT_WAIT:
        write_number(device, "version", VGPU_GRANT_VERSION);
        write_number(device, "max-pages", VGPU_GRANT_MAX_PAGES);
        enter(device, next);
        return 0;
    case XENBUS_CONNECTED:
        if (attach(device, &err) < 0) {
            fail(device, err.text);
            enter(device, XENBUS_CLOSING);
            return 0;
        }
        slots_begin(device, device->inherited);
        device->inherited = false;
        enter(device, next);
        show(device);
        device_link_try(device);
        return slots_serve(device);
    case XENBUS_CLOSING:
        enter(device, next);
        return slots_end(device);
    default:
        link_close(&device->link);
        detach(device);
        enter(device, next);
        return 0;
    }
}

static void lose(struct device *device)
{
    link_close(&device->link);
    slots_lost(device);
    show(device);
}

static void check(struct device *device, int rc)
{
    if (rc < 0)
        lose(device);
}

void device_look(struct device *device)
{
    char value[STORE_VALUE_BYTES], path[STORE_PATH_BYTES];
    enum xenbus_state theirs, next;
    uint32_t online;

    device->dirty = false;
    device->online =
        read_ours(device, "online", value) && store_number(value, 1, &online) && online;
    if (read_ours(device, "vm", value))
        memcpy(device->vm, value, sizeof(device->vm));
    if (!device->watched) {
        device_frontend_path(device, "state", path);
        device->watched = device->backend->store_ops->watch(device->backend->store, path) == 0;
    }
    theirs = their_state(device);
    for (int i = 0; i < STEPS_MAX; i++) {
        next = xenbus_next(device->state, theirs, device->online, slots_drained(device));
        if (next == device->state)
            return;
        check(device, carry_out(device, next));
    }
}

struct device *device_new(const struct backend *backend, uint32_t domid, uint32_t devid)
{
    const struct device place = {.backend = backend, .domid = domid, .devid = devid};
    struct device *device;
    char value[STORE_VALUE_BYTES];
    uint32_t state;

    if (!read_ours(&place, "state", value) || !(device = calloc(1, sizeof(*device))))
        return NULL;
    *device = place;
    device->link.sock = -1;
    device->state = XENBUS_INITIALISING;
    device->dirty = true;
    /* As another process left it: what that had mapped and bound went with it, its workers not. */
    if (store_number(value, XENBUS_N_STATES - 1, &state)) {
        device->inherited = state == XENBUS_CONNECTED;
        if (state == XENBUS_CLOSED || state == XENBUS_CLOSING)
            device->state = (enum xenbus_state)state;
        if (state == XENBUS_CLOSING)
            slots_inherit(device);
    }
    return device;
}

void device_free(struct device *device)
{
    char path[STORE_PATH_BYTES];

    if (device->watched) {
        device_frontend_path(device, "state", path);
        device->backend->store_ops->unwatch(device->backend->store, path);
    }
    link_close(&device->link);
    detach(device);
    free(device);
}

/* No VM is this domain, and so no worker has pages of it. */
static void is_nobody(struct device *device, const char *text)
{
    if (strcmp(device->error_text, text) != 0)
        fail(device, text);
    device->error = VGPU_NOT_CONFIGURED;
    put(device->error_text, sizeof(device->error_text), text);
    device->vm_id = 0;
    if (device->link.sock < 0) {
        slots_disown(device);
        slots_drain_done(device);
    }
}

static void is_vm(struct device *device, uint32_t vm_id)
{
    if (vm_id != device->vm_id) {
        device->error = VGPU_OK;
        device->error_text[0] = '\0';
    }
    if (device->facts.vm_id && device->facts.vm_id != vm_id) { /* it was somebody else */
        device->facts.vm_id = 0;
        lose(device);
        slots_disown(device);
    }
    device->vm_id = vm_id;
    device_link_try(device);
}

void device_identify(struct device *device, const struct vgpu_domain_is *is)
{
    if (is->status == VGPU_STARTING)
        return; /* it is asked again */
    if (is->status == VGPU_OK)
        is_vm(device, is->vm_id);
    else
        is_nobody(device, is->text);
    if (device->state == XENBUS_CLOSING)
        device->dirty = true; /* what it waited for may be so now */
    show(device);
}

void device_event(struct device *device)
{
    if (device->state == XENBUS_CONNECTED)
        check(device, slots_serve(device));
}

/* The connection */

void device_link_try(struct device *device)
{
    char path[128];

    if (device->link.sock >= 0 || device->vm_id == 0 ||
        (device->state != XENBUS_CONNECTED && device->state != XENBUS_CLOSING))
        return;
    if (snprintf(path, sizeof(path), "%s/vm/%" PRIu32 ".sock", device->backend->run_dir,
                 device->vm_id) >= (int)sizeof(path))
        return;
    if (link_connect(&device->link, path) < 0)
        link_close(&device->link);
    else
        show(device);
}

static int hear(struct device *device, const union message *message)
{
    switch (message->head.type) {
    case VGPU_MSG_WELCOME:
        device->facts = message->welcome;
        device->link.welcomed = true;
        device->error = VGPU_OK;
        device->error_text[0] = '\0';
        show(device);
        return slots_welcomed(device);
    case VGPU_MSG_STATE:
        device->facts.priority = message->state.priority;
        device->facts.weight_hundredths = message->state.weight_hundredths;
        device->facts.quarantined = message->state.quarantined;
        memcpy(device->facts.pool, message->state.pool, sizeof(device->facts.pool));
        show(device);
        return 0;
    default:
        break;
    }
    if (message->head.type == VGPU_MSG_REFUSED && !device->link.welcomed) {
        device->error = message->refused.status;
        put(device->error_text, sizeof(device->error_text), message->refused.text);
        return -ECONNREFUSED;
    }
    return slots_hear(device, message);
}

void device_link_ready(struct device *device)
{
    union message message;
    int rc = 0;

    for (int i = 0; i < MESSAGES_PER_TURN && device->link.sock >= 0; i++) {
        rc = link_receive(&device->link, &message);
        if (rc == 1)
            rc = hear(device, &message) < 0 ? -EPROTO : 1;
        if (rc <= 0)
            break;
    }
    check(device, rc);
    if (device->state == XENBUS_CLOSING)
        device->dirty = true; /* the last channel may have ended */
    if (device->state == XENBUS_CONNECTED && device->link.sock >= 0)
        check(device, slots_serve(device)); /* a question may have waited for its turn */
}
