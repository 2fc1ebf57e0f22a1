/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as what a guest without the PCI device can write: its keys in xenstore, then its
 * control page and commands. The first byte says how long the value of ring-ref is, the second that
 * of event-channel, the third that of state; the rest is pages.
 */
#include <stdlib.h>
#include <string.h>

#include "xenbus/command.h"
#include "xenbus/fake_store.h"
#include "xenbus/slots.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct store store;
static _Alignas(4096) uint8_t pages[VGPU_XEN_PAGES * VGPU_GRANT_PAGE_BYTES];
static int mapped, bound;

static int map(int fd, uint32_t domid, const uint32_t *refs, uint32_t n, bool write, void *at,
               struct grant_map *ret)
{
    static struct vgpu_grant_directory directory = {.magic = VGPU_GRANT_MAGIC,
                                                    .version = VGPU_GRANT_VERSION,
                                                    .pages = VGPU_XEN_PAGES,
                                                    .tables = 1,
                                                    .table = {UINT32_MAX}};
    static struct vgpu_grant_table table;

    for (uint32_t i = 0; i < VGPU_XEN_PAGES; i++)
        table.ref[i] = i + 1;
    *ret = (struct grant_map){.at = write                   ? pages
                                    : refs[0] == UINT32_MAX ? (uint8_t *)&table
                                                            : (uint8_t *)&directory,
                              .pages = n};
    mapped += write;
    return 0;
}

static void unmap(int fd, struct grant_map *grants)
{
    mapped -= grants->at == pages;
    *grants = (struct grant_map){0};
}

static int bind_port(int events, uint32_t domid, uint32_t port, uint32_t *ret_port)
{
    bound++;
    *ret_port = 1;
    return 0;
}

static int unbind(int events, uint32_t port)
{
    bound--;
    return 0;
}

static int notify(int events, uint32_t port)
{
    return 0;
}

/* The bytes of one key. */
static const uint8_t *put(const char *path, const uint8_t *data, const uint8_t *end, uint8_t length)
{
    char value[256] = {0};

    if (length > end - data)
        length = (uint8_t)(end - data);
    memcpy(value, data, length);
    fake_store_ops.write(&store, path, value);
    return data + length;
}

static void check_command(uint32_t slot)
{
    struct command command;
    const char *text;

    if (command_take(slot, pages + 4096 + slot * 1024, &command, &text) != VGPU_OK)
        return;
    if (command.op == VGPU_COMMAND_OPEN &&
        (!memchr(command.open.process, '\0', 40) || command.open.head.flags != VGPU_MSG_OPEN_GRANT))
        __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct grant_ops ops = {
        .map = map, .unmap = unmap, .bind = bind_port, .unbind = unbind, .notify = notify};
    const struct backend backend = {
        .store = &store, .store_ops = &fake_store_ops, .grants = &ops, .run_dir = "/nonexistent"};
    const uint8_t *end = data + size;
    struct device *device;

    if (size < 3)
        return 0;
    vgpu_log_to(-1); /* nobody reads it */
    fake_store_init(&store);
    memset(pages, 0, sizeof(pages));
    fake_store_ops.write(&store, "/local/domain/0/backend/vgpu/5/0/online", "1");
    fake_store_ops.write(&store, "/local/domain/0/backend/vgpu/5/0/state", "1");
    device = device_new(&backend, 5, 0);
    data = put("/local/domain/5/device/vgpu/0/ring-ref", data + 3, end, data[0] & 31);
    data = put("/local/domain/5/device/vgpu/0/event-channel", data, end, 4);
    data = put("/local/domain/5/device/vgpu/0/state", data, end, 1);
    memcpy(pages, data,
           (size_t)(end - data) < sizeof(pages) ? (size_t)(end - data) : sizeof(pages));
    device_look(device);
    device_event(device);
    device_event(device);
    for (uint32_t i = 0; i < VGPU_XEN_COMMANDS; i++)
        check_command(i);
    fake_store_ops.write(&store, "/local/domain/5/device/vgpu/0/state", "6");
    device_look(device);
    if (device->state == XENBUS_CLOSED && (mapped || bound))
        __builtin_trap();
    device_free(device);
    if (mapped || bound)
        __builtin_trap();
    fake_store_release(&store);
    return 0;
}
