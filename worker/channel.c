/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/channel.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "ring/pages.h"
#include "worker/beside.h"

void channel_kick(int fd)
{
    const uint64_t one = 1;
    ssize_t n = write(fd, &one, sizeof(one));

    (void)n; /* a counter that is full wakes its reader as well */
}

void channel_kick_guest(const struct channel *channel)
{
    if (channel->granted.ops)
        granted_kick(&channel->granted);
    else
        channel_kick(channel->fds[VGPU_FD_COMPLETE_KICK]);
}

/* Edge-triggered: the counters need no reading, and nobody can make that block. */
static int watch(struct channel *channel, int fd)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data = {.fd = fd}};

    return epoll_ctl(channel->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int watch_all(struct channel *channel)
{
    int status;

    channel->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (channel->epoll < 0)
        return -errno;
    status = watch(channel, channel->fds[VGPU_FD_SUBMIT_KICK]);
    if (status == 0)
        status = watch(channel, channel->fds[VGPU_FD_LEASE_KICK]);
    if (status == 0)
        status = watch(channel, channel->helper.event);
    if (status == 0 && channel->lifeline >= 0)
        status = watch(channel, channel->lifeline);
    return status;
}

/*
 * The page is nobody else's yet, but it will be: its flags are read here, and once. One that a
 * guest granted is its own already, and says nothing.
 */
static int read_flags(struct channel *channel, struct vgpu_err *err)
{
    const struct mapping *map = &channel->map;
    uint32_t flags = channel->granted.ops ? 0 : page_load_u32(&map->page->flags);
    size_t needed = sizeof(struct vgpu_completion) + sizeof(struct vgpu_written);

    if (flags & ~VGPU_CHANNEL_MIRRORED)
        return vgpu_err_set(err, EPROTO, "the channel has unknown flags 0x%x", flags);
    written_init(&channel->written, flags & VGPU_CHANNEL_MIRRORED);
    channel->snapshot.off = channel->written.mirrored;
    if (channel->written.mirrored && ring_entry_max(map->geometry.comp_granules) < needed)
        return vgpu_err_set(err, EINVAL, "comp_granules: too few for a mirrored channel");
    return 0;
}

struct channel *channel_prepare(const struct cuda_driver *driver, struct vgpu_err *err)
{
    struct channel *channel = calloc(1, sizeof(*channel));

    if (!channel) {
        vgpu_err_set(err, ENOMEM, "no memory for a channel");
        return NULL;
    }
    channel->epoll = -1;
    channel->print.file = channel->print.error_file = -1;
    channel->helper.event = -1;
    channel->lifeline = -1;
    channel->cu = driver;
    channel->next_seq = 1;
    hold_init(&channel->hold);
    context_init(&channel->primary, true);
    replies_init(&channel->replies, NULL, NULL, VGPU_RING_MIN_GRANULES);
    written_init(&channel->written, false);
    return channel;
}

/* What needs no mapping to be undone. */
static int set_up(struct channel *channel, struct vgpu_err *err)
{
    const struct mapping *map = &channel->map;
    int status;

    ring_consumer_init(&channel->submission, &map->page->submission,
                       map->base + map->geometry.sub_offset, map->geometry.sub_granules, 0);
    ring_producer_init(&channel->replies.ring, &map->page->completion,
                       map->base + map->geometry.comp_offset, map->geometry.comp_granules, 0);
    status = backlog_init(&channel->backlog);
    if (status == 0)
        status = early_init(&channel->early);
    if (status == 0)
        status = data_init(channel);
    if (status == 0)
        status = helper_init(&channel->helper);
    if (status == 0)
        status = watch_all(channel);
    if (status < 0)
        return vgpu_err_set(err, -status, "cannot set the channel up: %s", strerror(-status));
    return 0;
}

int channel_attach(struct channel *channel, const struct channel_config *config,
                   struct vgpu_err *err)
{
    int status;

    channel->lifeline = config->lifeline;
    memcpy(channel->fds, config->fds, sizeof(channel->fds));
    channel->granted = (struct granted){.ops = config->grants, .from = config->grant};
    status = mapping_open(&channel->map, &config->geometry, config->fds, &channel->granted, err);
    if (status == 0 && config->grants)
        status = granted_bind(&channel->granted, config->fds[VGPU_FD_SUBMIT_KICK], err);
    if (status == 0)
        status = read_flags(channel, err);
    if (status == 0)
        status = set_up(channel, err);
    if (status < 0) {
        free(channel->backlog.buffer);
        mapping_close(&channel->map);
        return status;
    }
    channel->now_ns = vgpu_clock_ns();
    turn_init(channel);
    quota_init(channel);
    return 0;
}

struct channel *channel_new(const struct channel_config *config, struct vgpu_err *err)
{
    struct channel *channel = channel_prepare(config->driver, err);

    if (channel && channel_attach(channel, config, err) < 0) {
        free(channel);
        return NULL;
    }
    return channel;
}

static int failed(CUresult result, const char *call, struct vgpu_err *err)
{
    if (result == CUDA_SUCCESS)
        return 0;
    return vgpu_err_set(err, EIO, "the CUDA driver's %s failed with error %d", call, result);
}

int channel_start(struct channel *channel, struct vgpu_err *err)
{
    const struct cuda_driver *cu = channel->cu;
    int status = failed(cu->cuInit(0), "cuInit", err);

    if (status == 0)
        status = failed(cu->cuDeviceGet(&channel->device, 0), "cuDeviceGet", err);
    if (status == 0)
        status = failed(context_wake_primary(channel), "cuDevicePrimaryCtxRetain", err);
    if (status == 0)
        status = failed(context_enter(channel, &channel->primary), "cuCtxSetCurrent", err);
    if (status == 0)
        status = failed(vector_add_warm_up(channel), "first kernel", err);
    if (status == 0)
        data_prepare(channel);
    return status;
}

void channel_announce(struct channel *channel)
{
    turn_tell_credit(channel);
    turn_publish(channel, true);
    page_store_u32(&channel->map.report->state, VGPU_WORKER_READY);
    page_store_u32(&channel->map.page->notice.state, VGPU_CHANNEL_READY);
    channel_kick(channel->fds[VGPU_FD_REPORT_KICK]);
    channel_kick_guest(channel);
}

void channel_end(struct channel *channel, enum vgpu_status status, const char *format, ...)
{
    va_list args;

    if (channel->ended)
        return;
    channel->ended = true;
    channel->end_status = status;
    va_start(args, format);
    vsnprintf(channel->end_text, sizeof(channel->end_text), format, args);
    va_end(args);
}

static void report_end(struct vgpu_report_page *report, enum vgpu_status status, const char *text)
{
    snprintf(report->text, sizeof(report->text), "%s", text);
    page_store_u32(&report->need, VGPU_NEED_NOTHING);
    page_store_u32(&report->reason, status);
    page_store_u32(&report->state, VGPU_WORKER_ENDED);
}

void channel_tell_not_attached(const int *fds, enum vgpu_status status, const char *text)
{
    struct vgpu_report_page *report =
        mmap(NULL, VGPU_REPORT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fds[VGPU_FD_REPORT], 0);

    if (report == MAP_FAILED)
        return;
    report_end(report, status, text);
    munmap(report, VGPU_REPORT_BYTES);
    channel_kick(fds[VGPU_FD_REPORT_KICK]);
}

void channel_tell_end(struct channel *channel)
{
    report_end(channel->map.report, channel->end_status, channel->end_text);
    page_store_u32(&channel->map.page->notice.state, VGPU_CHANNEL_ENDED);
    channel_kick(channel->fds[VGPU_FD_REPORT_KICK]);
    channel_kick_guest(channel);
}

void channel_add_memory(struct channel *channel, int64_t bytes)
{
    channel->memory_bytes += (uint64_t)bytes;
    page_store_u64(&channel->map.report->memory_bytes, channel->memory_bytes);
}

static void drop_items(struct item *item)
{
    while (item) {
        struct item *next = item->next;

        free(item);
        item = next;
    }
}

/* Lets go of what is the worker's own; the driver's objects go with the process or the contexts. */
void channel_free(struct channel *channel)
{
    struct item *item;

    if (!channel)
        return;
    helper_stop(&channel->helper);
    while ((item = helper_collect(channel)))
        beside_settle(channel, item);
    helper_free(&channel->helper);
    channel_release_items(channel);
    graphs_end(channel, NULL); /* while the driver still has their contexts */
    while (channel->contexts) {
        struct context *context = channel->contexts;

        if (context->cu)
            channel->cu->cuCtxDestroy(context->cu);
        context->cu = NULL;
        context_condemn(channel, context);
        context_forget(channel, context);
    }
    if (channel->primary.cu)
        channel->cu->cuDevicePrimaryCtxReset(channel->device);
    channel->primary.cu = NULL;
    context_condemn(channel, &channel->primary);
    context_forget(channel, &channel->primary);
    drop_items(channel->spare_items);
    free(channel->spare_out);
    while (channel->spare_links) {
        struct wait_link *next = channel->spare_links->next;

        free(channel->spare_links);
        channel->spare_links = next;
    }
    replies_free(&channel->replies);
    backlog_free(&channel->backlog);
    early_free(&channel->early);
    handles_free(channel->handles);
    ledger_free(&channel->ledger);
    pools_free(channel);
    virtual_free(channel);
    data_free(channel);
    mapping_close(&channel->map);
    if (channel->print.file >= 0)
        close(channel->print.file);
    if (channel->print.error_file >= 0)
        close(channel->print.error_file);
    close(channel->epoll);
    free(channel);
}
