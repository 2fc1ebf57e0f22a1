/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The first connection to the mediator, in realize: where there is one, its answer is
 * waited for, for at most 5 s, without running anything else of QEMU. Called by link.c.
 */
#include "qemu/osdep.h"
#include "link_parts.h"

static gboolean expire(void *opaque)
{
    *(bool *)opaque = true;
    return FALSE;
}

typedef enum Greeting {
    GREETING_WELCOME,
    GREETING_REFUSED,
    GREETING_STALE, /* the mediator had given this connection up */
    GREETING_NONSENSE,
    GREETING_SILENT,
    GREETING_NOBODY /* there was no connection */
} Greeting;

static Greeting greeting(const VGPULink *link, bool expired)
{
    if (link->phase == LINK_UP) {
        return GREETING_WELCOME;
    }
    if (link->phase == LINK_REFUSED) {
        return link->state.error == VGPU_TIMEOUT ? GREETING_STALE : GREETING_REFUSED;
    }
    if (link->drop) {
        return GREETING_NONSENSE;
    }
    return expired ? GREETING_SILENT : GREETING_STALE;
}

/*
 * Greets the mediator and waits for its answer, without running anything else of QEMU:
 * the chardev is in a context of its own for as long. A connection without a welcome is
 * ended.
 */
static Greeting greet(VGPULink *link)
{
    GMainContext *context = g_main_context_new();
    GSource *limit = g_timeout_source_new(HANDSHAKE_MS);
    bool expired = false;
    Greeting result;

    g_source_set_callback(limit, expire, &expired, NULL);
    g_source_attach(limit, context);
    link->in_realize = true;
    vgpu_link_set_handlers(link, context);
    while (link->phase == LINK_HELLO && !link->drop && !expired) {
        g_main_context_iteration(context, TRUE);
    }
    result = greeting(link, expired);
    vgpu_link_set_handlers(link, NULL);
    if (result != GREETING_WELCOME) {
        qemu_chr_fe_disconnect(link->chr);
    }
    if (result == GREETING_STALE) {
        vgpu_link_set_state(link, VGPU_DEVICE_DISCONNECTED, VGPU_STARTING,
                            "there is no mediator");
    }
    link->in_realize = false;
    g_source_destroy(limit);
    g_source_unref(limit);
    g_main_context_unref(context);
    return result;
}

/* 1: it is, 0: nobody is there to connect to, -1: it failed. */
static int connect_now(VGPULink *link, Chardev *chr, Error **errp)
{
    if (qemu_chr_fe_backend_open(link->chr)) {
        return 1;
    }
    if (!vgpu_peer_listens(chr)) {
        return 0;
    }
    return qemu_chr_fe_wait_connected(link->chr, errp) < 0 ? -1 : 1;
}

/*
 * At start the chardev may have been connected for so long that the mediator has lost its
 * patience: the second time the connection is fresh.
 */
bool vgpu_link_begin(VGPULink *link, Chardev *chr, Error **errp)
{
    Greeting result = GREETING_NOBODY;
    int connected;

    for (int tries = 0; tries < 2; tries++) {
        connected = connect_now(link, chr, errp);
        if (connected < 0) {
            return false;
        }
        if (!connected) {
            break;
        }
        result = greet(link);
        if (result != GREETING_STALE) {
            break;
        }
    }
    switch (result) {
    case GREETING_REFUSED:
        error_setg(errp, "vgpu-stub: the mediator refuses this VM: %s",
                   link->state.error_text);
        return false;
    case GREETING_NONSENSE:
        error_setg(
            errp,
            "vgpu-stub: what listens at the chardev is no mediator of this version");
        return false;
    case GREETING_STALE:
        /* Its timer for reconnecting is lost with the context that it was in. */
        if (!vgpu_peer_is_client(chr)) {
            error_setg(errp,
                       "vgpu-stub: the mediator closes the connection without an answer");
            return false;
        }
        return true;
    case GREETING_SILENT:
        warn_report(
            "vgpu-stub: the mediator does not answer; going on without it for now");
        return true;
    case GREETING_NOBODY:
        vgpu_link_set_handlers(link, NULL);
        return true;
    default:
        return true;
    }
}
