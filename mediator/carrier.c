/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/carrier.h"

#include <errno.h>
#include <inttypes.h>
#include <vgpu/grant.h>

#include "mediator/mediator.h"
#include "mediator/window.h"

#define DEFAULT_MIRRORED_BYTES (UINT64_C(256) << 20)
#define LEAST_GRANTED_BYTES    (UINT64_C(1) << 20)

/*
 * The memory is sparse, and only what is used of it costs anything; but a mirrored channel's is
 * there twice, and the guest's driver keeps a list of its pages.
 */
static void fill_data_bytes(const struct vgpu_msg_open *open, const struct vm *vm,
                            struct channel_ask *ask)
{
    uint64_t bytes = vm->mediator->settings->default_data_bytes;

    if (ask->mirrored && bytes > DEFAULT_MIRRORED_BYTES)
        bytes = DEFAULT_MIRRORED_BYTES;
    ask->data_bytes = open->data_bytes ? open->data_bytes : bytes;
}

/*
 * Does the channel hold a place in this connection's window? Until the guest has closed it, also
 * when its worker has ended; and so does one that waits for its guest after a restart.
 */
static bool holds_place(const struct channel *channel, const struct connection *connection)
{
    if (channel->window == 0)
        return false;
    if (channel->connection)
        return channel->connection == connection;
    return channel->state == CHANNEL_ORPHAN || channel->state == CHANNEL_ENDED;
}

/* Gives the channel a place in the window. False: there is no room. */
static bool place(const struct vm *vm, const struct connection *connection,
                  const struct vgpu_msg_open *open, struct channel_ask *ask)
{
    struct window_part taken[2 * VGPU_VM_MAX_CHANNELS];
    struct vgpu_channel_geometry geometry;
    uint64_t offset;
    unsigned n = 0;

    for (const struct channel *c = vm->channels; c; c = c->next) {
        if (!holds_place(c, connection))
            continue;
        if (n == sizeof(taken) / sizeof(taken[0]))
            return false;
        taken[n++] = (struct window_part){window_decode(c->window), c->geometry.total_bytes};
    }
    if (!channel_lay_out(ask, &geometry))
        return false;
    if (open->data_bytes == 0) {
        ask->data_bytes = window_default_data_bytes(connection->window_bytes, geometry.data_offset,
                                                    vm->mediator->settings->default_data_bytes);
        if (!channel_lay_out(ask, &geometry))
            return false;
    }
    if (!window_place(connection->window_bytes, taken, n, geometry.total_bytes, &offset))
        return false;
    ask->window = window_encode(offset);
    return true;
}

/*
 * What the backend domain maps for a channel: its pages, and while they are looked up the directory
 * and the tables that lead to them.
 */
static uint64_t granted_pages(const struct vgpu_channel_geometry *geometry)
{
    uint64_t pages = geometry->total_bytes / VGPU_GRANT_PAGE_BYTES;

    return pages + (pages + VGPU_GRANT_TABLE_ENTRIES - 1) / VGPU_GRANT_TABLE_ENTRIES + 1;
}

/* How many more pages this VM may have mapped by the backend domain. */
static uint64_t grant_pages_left(const struct vm *vm)
{
    uint64_t most = vm->mediator->settings->grant_pages, held = 0;

    for (const struct channel *c = vm->channels; c; c = c->next)
        if (c->granted.domid && channel_has_worker(c))
            held += granted_pages(&c->geometry);
    return most > held ? most - held : 0;
}

/* For a channel that asks for no size: no more than half of what is left, so that others fit too.
 */
static uint64_t default_granted_bytes(const struct channel_ask *ask, uint64_t pages_left)
{
    struct channel_ask trial = *ask;
    struct vgpu_channel_geometry geometry;

    trial.data_bytes = VGPU_GRANT_DEFAULT_DATA_BYTES;
    while (trial.data_bytes > LEAST_GRANTED_BYTES && channel_lay_out(&trial, &geometry) &&
           granted_pages(&geometry) > pages_left / 2)
        trial.data_bytes /= 2;
    return trial.data_bytes;
}

/*
 * The memory is the guest's own; but mapping it takes room in a table of the backend domain, which
 * all guests share, disks and networks too, and a guest can grant one page any number of times.
 */
static enum vgpu_status choose_grants(const struct vm *vm, const struct vgpu_msg_open *open,
                                      struct channel_ask *ask, struct vgpu_err *err)
{
    uint64_t left = grant_pages_left(vm);
    struct vgpu_channel_geometry geometry;

    vgpu_err_set(err, ENXIO, "it is not known which domain this VM is; see vgpu-xenbus");
    if (vm->domid == 0)
        return VGPU_NOT_CONFIGURED;
    ask->domid = vm->domid;
    ask->data_bytes = open->data_bytes ? open->data_bytes : default_granted_bytes(ask, left);
    vgpu_err_set(err, ERANGE, "a data area by grants has up to %" PRIu64 " bytes",
                 VGPU_GRANT_MAX_DATA_BYTES);
    if (ask->data_bytes > VGPU_GRANT_MAX_DATA_BYTES || !channel_lay_out(ask, &geometry))
        return VGPU_LIMIT;
    vgpu_err_set(err, ENOSPC,
                 "this channel would take %" PRIu64 " granted pages, and this VM may have %" PRIu64
                 " more mapped (--grant-pages)",
                 granted_pages(&geometry), left);
    return granted_pages(&geometry) > left ? VGPU_LIMIT : VGPU_OK;
}

enum vgpu_status carrier_choose(const struct vm *vm, const struct connection *connection,
                                const struct vgpu_msg_open *open, struct channel_ask *ask,
                                struct vgpu_err *err)
{
    bool window = (open->head.flags & VGPU_MSG_OPEN_WINDOW) != 0;

    if (open->head.flags & VGPU_MSG_OPEN_GRANT)
        return choose_grants(vm, open, ask, err);
    ask->data_bytes = open->data_bytes;
    if (window && place(vm, connection, open, ask))
        return VGPU_OK;
    ask->mirrored =
        connection->carrier == VGPU_CARRIER_RELAY || connection->carrier == VGPU_CARRIER_WINDOW;
    fill_data_bytes(open, vm, ask);
    vgpu_err_set(err, ERANGE, "a mirrored channel has at least %u granules for completions",
                 VGPU_MIRRORED_MIN_GRANULES);
    if (ask->mirrored && ask->comp_granules < VGPU_MIRRORED_MIN_GRANULES)
        return VGPU_LIMIT;
    vgpu_err_set(err, ENOSPC,
                 "the window has no room for this data area, which is too large without it");
    return window && ask->data_bytes > VGPU_RELAY_MAX_DATA_BYTES ? VGPU_LIMIT : VGPU_OK;
}
