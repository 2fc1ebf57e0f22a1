/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Binds the relay's turns (relay_core.c) to QEMU: turns run in a bottom half, which
 * doorbells and the worker's kicks schedule, and which schedules itself while there is
 * more. Called by slots.c.
 */
#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "relay_core.h"
#include "vgpu.h"

struct VGPURelay {
    VGPUStub *device;
    VGPUChannel *channel;
    const VGPURelayOps *ops;
    void *opaque;
    QEMUBH *turn;
    bool over; /* broken or ended: no turn follows */
    VGPURelayCore core;
};

static bool relay_read(void *opaque, uint64_t addr, void *buf, uint32_t len)
{
    VGPURelay *relay = opaque;

    return vgpu_dma_read(relay->device, addr, buf, len);
}

static bool relay_write(void *opaque, uint64_t addr, const void *buf, uint32_t len)
{
    VGPURelay *relay = opaque;

    return vgpu_dma_write(relay->device, addr, buf, len);
}

/* Acquire: pairs with the guest's release of the same word. */
static bool relay_load32(void *opaque, uint64_t addr, uint32_t *ret)
{
    VGPURelay *relay = opaque;
    bool ok = vgpu_dma_load32(relay->device, addr, ret);

    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return ok;
}

/* Release: pairs with the guest's acquire of the same word. */
static bool relay_store32(void *opaque, uint64_t addr, uint32_t value)
{
    VGPURelay *relay = opaque;

    __atomic_thread_fence(__ATOMIC_RELEASE);
    return vgpu_dma_store32(relay->device, addr, value);
}

static bool relay_store64(void *opaque, uint64_t addr, uint64_t value)
{
    VGPURelay *relay = opaque;

    __atomic_thread_fence(__ATOMIC_RELEASE);
    return vgpu_dma_store64(relay->device, addr, value);
}

static void relay_kick(void *opaque)
{
    VGPURelay *relay = opaque;

    vgpu_channel_kick(relay->channel);
}

static void relay_interrupt(void *opaque)
{
    VGPURelay *relay = opaque;

    relay->ops->interrupt(relay->opaque);
}

static void relay_count(void *opaque, enum vgpu_device_counter counter, uint64_t n)
{
    VGPURelay *relay = opaque;

    vgpu_count(relay->device, counter, n);
}

static const VGPURelayBackend relay_backend = {
    .read = relay_read,
    .write = relay_write,
    .load32 = relay_load32,
    .store32 = relay_store32,
    .store64 = relay_store64,
    .kick = relay_kick,
    .interrupt = relay_interrupt,
    .count = relay_count,
};

static void relay_stop(VGPURelay *relay)
{
    relay->over = true;
    qemu_bh_cancel(relay->turn);
    qemu_set_fd_handler(relay->channel->completion_kick, NULL, NULL, NULL);
}

static void relay_turn(void *opaque)
{
    VGPURelay *relay = opaque;

    if (relay->over || !relay->core.attached) {
        return;
    }
    switch (vgpu_relay_core_turn(&relay->core)) {
    case VGPU_TURN_AGAIN:
        qemu_bh_schedule(relay->turn);
        break;
    case VGPU_TURN_BROKEN:
        /* The reason first, so that a guest that sees ENDED finds it. */
        relay_stop(relay);
        relay->ops->broken(relay->opaque, VGPU_BAD_RECORD, relay->core.why);
        vgpu_relay_core_say_ended(&relay->core);
        break;
    case VGPU_TURN_ENDED:
        relay_stop(relay);
        break;
    case VGPU_TURN_SLEEP:
        break;
    }
}

static void relay_kicked(void *opaque)
{
    VGPURelay *relay = opaque;

    if (vgpu_channel_take_kick(relay->channel)) {
        vgpu_count(relay->device, VGPU_COUNT_WORKER_WAKES, 1);
        qemu_bh_schedule(relay->turn);
    }
}

VGPURelay *vgpu_relay_new(VGPUStub *s, VGPUChannel *channel, const VGPURelayOps *ops,
                          void *opaque)
{
    VGPURelay *relay = g_new0(VGPURelay, 1);

    relay->device = s;
    relay->channel = channel;
    relay->ops = ops;
    relay->opaque = opaque;
    relay->turn = qemu_bh_new(relay_turn, relay);
    vgpu_relay_core_init(&relay->core, channel, &relay_backend, relay, 0);
    return relay;
}

uint32_t vgpu_relay_attach(VGPURelay *relay, uint64_t directory, const char **ret_why)
{
    uint32_t status = vgpu_relay_core_attach(&relay->core, directory, ret_why);

    if (status == VGPU_OK && !relay->over) {
        qemu_set_fd_handler(relay->channel->completion_kick, relay_kicked, NULL, relay);
        qemu_bh_schedule(relay->turn);
    }
    return status;
}

void vgpu_relay_doorbell(VGPURelay *relay)
{
    if (!relay->over && relay->core.attached) {
        vgpu_relay_core_wake(&relay->core);
        qemu_bh_schedule(relay->turn);
    }
}

void vgpu_relay_gone(VGPURelay *relay)
{
    vgpu_relay_core_gone(&relay->core);
    vgpu_relay_doorbell(relay);
}

void vgpu_relay_free(VGPURelay *relay)
{
    if (!relay) {
        return;
    }
    relay_stop(relay);
    qemu_bh_delete(relay->turn);
    vgpu_channel_free(relay->channel);
    g_free(relay);
}
