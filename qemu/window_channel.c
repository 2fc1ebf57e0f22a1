/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A channel in the window: guest and worker share its memory, and the device is not on
 * the path. Called by slots.c.
 *
 * The doorbell wakes the worker: by an ioeventfd where KVM has them, so that no exit goes
 * to QEMU, else from vgpu_stub.c's handler. The worker's kick is the channel's interrupt:
 * by an irqfd where KVM takes it (vectors.c), else by a handler here.
 * The guest and the worker may write the memory at any time; the device reads none of it,
 * and writes one word: that the channel has ended.
 */
#include "qemu/osdep.h"
#include "vectors.h"
#include "window.h"

struct VGPUWindowChannel {
    VGPUStub *device;
    VGPUChannel *channel;
    VGPUPlace *place;
    const VGPURelayOps *ops;
    void *opaque;
    uint32_t slot;
    EventNotifier doorbell; /* the channel's submit kick */
    VGPUKick kick;          /* its completion kick */
    bool attached;
    bool bound; /* an ioeventfd takes the doorbell */
};

static void kicked(void *opaque)
{
    VGPUWindowChannel *w = opaque;

    if (vgpu_channel_take_kick(w->channel)) {
        vgpu_count(w->device, VGPU_COUNT_WORKER_WAKES, 1);
        w->ops->interrupt(w->opaque);
    }
}

static void watch_kick(void *opaque, bool watch)
{
    VGPUWindowChannel *w = opaque;

    qemu_set_fd_handler(w->channel->completion_kick, watch ? kicked : NULL, NULL, w);
}

VGPUWindowChannel *vgpu_window_channel_new(VGPUStub *s, uint32_t slot,
                                           const struct vgpu_msg_opened *msg,
                                           const int fds[3], const VGPURelayOps *ops,
                                           void *opaque, const char **ret_why)
{
    uint64_t offset = (uint64_t)(msg->window - 1) << 12;
    VGPUWindowChannel *w;
    VGPUChannel *channel;
    VGPUPlace *place;
    bool taken;

    place = vgpu_place_new(vgpu_window(s), offset, msg->geometry.total_bytes, &taken);
    if (!place) {
        *ret_why = taken ? NULL : "the channel is not within the window";
        for (int i = 0; i < 3; i++) {
            close(fds[i]);
        }
        return NULL;
    }
    channel =
        vgpu_channel_new_at(&msg->geometry, fds, vgpu_place_address(place), ret_why);
    if (!channel) {
        vgpu_place_free(place);
        return NULL;
    }
    w = g_new0(VGPUWindowChannel, 1);
    w->device = s;
    w->channel = channel;
    w->place = place;
    w->ops = ops;
    w->opaque = opaque;
    w->slot = slot;
    event_notifier_init_fd(&w->doorbell, channel->submit_kick);
    event_notifier_init_fd(&w->kick.event, channel->completion_kick);
    w->kick.watch = watch_kick;
    w->kick.opaque = w;
    return w;
}

/* QEMU ends if KVM does not take what it was given. Without /proc nobody can tell. */
static bool is_eventfd(int fd)
{
    static const char want[] = "anon_inode:[eventfd]";
    g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", fd);
    char is[sizeof(want)];
    ssize_t got = readlink(link, is, sizeof(is));

    return got < 0 || (got == sizeof(want) - 1 && memcmp(is, want, got) == 0);
}

static void bind_doorbell(VGPUWindowChannel *w, bool bind)
{
    MemoryRegion *doorbells = vgpu_doorbells(w->device);
    hwaddr at = (hwaddr)w->slot * VGPU_DOORBELL_PAGE_BYTES;

    if (bind == w->bound) {
        return;
    }
    w->bound = bind;
    if (bind) {
        memory_region_add_eventfd(doorbells, at, sizeof(uint32_t), false, 0,
                                  &w->doorbell);
    } else {
        memory_region_del_eventfd(doorbells, at, sizeof(uint32_t), false, 0,
                                  &w->doorbell);
    }
}

uint32_t vgpu_window_channel_attach(VGPUWindowChannel *w, uint32_t vector,
                                    const char **ret_why)
{
    if (w->attached) {
        *ret_why = "the channel is attached";
        return VGPU_BAD_MESSAGE;
    }
    w->attached = true;
    memory_region_transaction_begin();
    vgpu_place_show(w->place);
    bind_doorbell(w,
                  vgpu_use_ioeventfd(w->device) && is_eventfd(w->channel->submit_kick));
    memory_region_transaction_commit();
    w->kick.vector = vector;
    vgpu_vectors_add(vgpu_vectors(w->device), &w->kick);
    return VGPU_OK;
}

void vgpu_window_channel_doorbell(VGPUWindowChannel *w)
{
    if (w->attached) {
        vgpu_count(w->device, VGPU_COUNT_WORKER_KICKS, 1);
        vgpu_channel_kick(w->channel);
    }
}

void vgpu_window_channel_gone(VGPUWindowChannel *w)
{
    /* Release: what the worker left is seen first. */
    __atomic_store_n(&w->channel->page->notice.state, cpu_to_le32(VGPU_CHANNEL_ENDED),
                     __ATOMIC_RELEASE);
    if (w->attached) {
        w->ops->interrupt(w->opaque);
    }
}

void vgpu_window_channel_free(VGPUWindowChannel *w)
{
    if (!w) {
        return;
    }
    memory_region_transaction_begin();
    if (w->attached) {
        bind_doorbell(w, false);
        vgpu_vectors_remove(vgpu_vectors(w->device), &w->kick);
    }
    vgpu_place_hide(w->place);
    memory_region_transaction_commit();
    vgpu_channel_free(w->channel);
    vgpu_place_free(w->place);
    g_free(w);
}
