/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's commands: OPEN, ATTACH and CLOSE of each channel slot, and word of channels
 * that are gone. vgpu_stub.c tells of doorbells and of writes to VGPU_REG_COMMAND.
 *
 * A slot is free, opening, open or closing. Its link channel lives from OPEN until the
 * mediator has confirmed the end, so there is never more than one of a slot; the relay,
 * or the channel in the window, lives from OPENED to CLOSE. Guest memory is touched from
 * the bottom half only: what the link or a relay tells is noted, and written there.
 */
#include "qemu/osdep.h"
#include "channel.h"
#include "window.h"

typedef struct Slot {
    VGPUSlots *slots;
    uint32_t index;
    VGPULinkChannel *channel;  /* from OPEN to closed() */
    VGPURelay *relay;          /* this, */
    VGPUWindowChannel *window; /* or this, or neither */
    uint32_t vector;
    uint32_t tag;       /* of the OPEN under way, or the ATTACH by grants */
    bool opening;       /* an OPEN is to be answered */
    bool open_waits;    /* for the end of the channel before */
    bool granted;       /* the channel is by grants: */
    bool attached;      /* ATTACH was given */
    bool attaching;     /* and is to be answered */
    bool close_waits;   /* CLOSE is to be answered when no worker is left, */
    bool close_due;     /* which is now */
    uint32_t close_tag; /* of the CLOSE */
    bool in_use;        /* OPEN was answered with OK, CLOSE not yet given */
    bool closing;       /* given up; closed() has yet to come */
    bool ended;         /* gone or broken: nothing to attach */
    bool commanded;     /* VGPU_REG_COMMAND was written */
    bool answer_due;    /* `answer` is to be written, with `tag` */
    bool answer_opened; /* it is OPEN's */
    bool gone_due;      /* so is `gone_*` */
    bool broken;        /* the relay is to be freed */
    VGPUOpen open;
    struct vgpu_device_command answer; /* from `status` to `text` */
    uint32_t gone_status;
    char gone_text[VGPU_STATUS_TEXT_BYTES];
} Slot;

struct VGPUSlots {
    VGPUStub *s;
    VGPULink *link;
    QEMUBH *bh;
    Slot slot[VGPU_SLOTS];
};

#define COMMAND_ASK_BYTES offsetof(struct vgpu_device_command, done)
#define ANSWER_OFFSET     offsetof(struct vgpu_device_command, status)
#define ANSWER_BYTES      (offsetof(struct vgpu_device_command, reserved3) - ANSWER_OFFSET)
#define GONE_OFFSET       offsetof(struct vgpu_device_command, gone_status)
#define GONE_BYTES        (offsetof(struct vgpu_device_command, reserved4) - GONE_OFFSET)

static uint64_t field(const Slot *slot, size_t offset)
{
    uint64_t base = vgpu_commands_address(slot->slots->s);

    return base + slot->index * sizeof(struct vgpu_device_command) + offset;
}

static void work_later(Slot *slot)
{
    qemu_bh_schedule(slot->slots->bh);
}

/* Answers; the tag last, so that who sees it sees the rest. */
static void write_answer(Slot *slot, uint32_t tag, struct vgpu_device_command *answer,
                         bool opened)
{
    VGPUStub *s = slot->slots->s;

    if (!vgpu_commands_address(s)) {
        return;
    }
    if (opened) {
        vgpu_dma_store32(s, field(slot, offsetof(struct vgpu_device_command, gone)), 0);
    }
    if (vgpu_dma_write(s, field(slot, ANSWER_OFFSET), (uint8_t *)answer + ANSWER_OFFSET,
                       ANSWER_BYTES) &&
        vgpu_dma_store32(s, field(slot, offsetof(struct vgpu_device_command, done)),
                         tag)) {
        vgpu_interrupt(s, VGPU_IRQ_COMMAND);
    }
}

static void answer(Slot *slot, uint32_t tag, uint32_t status, const char *text)
{
    struct vgpu_device_command reply = {.status = status};

    pstrcpy(reply.text, sizeof(reply.text), text);
    write_answer(slot, tag, &reply, false);
}

/* An answer to be written by the bottom half. */
static void answer_later(Slot *slot, uint32_t status, uint64_t retry_ns, const char *text)
{
    memset(&slot->answer, 0, sizeof(slot->answer));
    slot->answer.status = status;
    slot->answer.retry_ns = retry_ns;
    pstrcpy(slot->answer.text, sizeof(slot->answer.text), text);
    slot->answer_opened = false;
    slot->answer_due = true;
    work_later(slot);
}

/* The same to OPEN. */
static void answer_open(Slot *slot, uint32_t status, uint64_t retry_ns, const char *text)
{
    answer_later(slot, status, retry_ns, text);
    slot->answer_opened = true;
    slot->opening = false;
    slot->in_use = status == VGPU_OK;
}

static void write_gone(Slot *slot)
{
    VGPUStub *s = slot->slots->s;
    struct vgpu_device_command gone = {.gone_status = slot->gone_status};

    if (!vgpu_commands_address(s)) {
        return;
    }
    memcpy(gone.gone_text, slot->gone_text, sizeof(gone.gone_text));
    if (vgpu_dma_write(s, field(slot, GONE_OFFSET), (uint8_t *)&gone + GONE_OFFSET,
                       GONE_BYTES) &&
        vgpu_dma_store32(s, field(slot, offsetof(struct vgpu_device_command, gone)), 1)) {
        vgpu_interrupt(s, VGPU_IRQ_COMMAND);
    }
}

/* The slot's channel ends, and the device leaves its memory alone from here on. */
static void give_up(Slot *slot)
{
    vgpu_relay_free(slot->relay);
    slot->relay = NULL;
    vgpu_window_channel_free(slot->window);
    slot->window = NULL;
    if (slot->channel && !slot->closing) {
        slot->closing = true;
        vgpu_link_close(slot->channel);
    }
}

static void forget(Slot *slot)
{
    give_up(slot);
    slot->granted = false;
    slot->attached = false;
    slot->attaching = false;
    slot->close_waits = false;
    slot->close_due = false;
    slot->opening = false;
    slot->open_waits = false;
    slot->in_use = false;
    slot->ended = false;
    slot->answer_due = false;
    slot->gone_due = false;
    slot->broken = false;
}

/* From the relay */

static void relay_interrupts(void *opaque)
{
    Slot *slot = opaque;

    vgpu_interrupt_channel(slot->slots->s, slot->index, slot->vector);
}

static bool note_gone(Slot *slot, uint32_t status, const char *text)
{
    if (slot->ended) {
        return false;
    }
    slot->ended = true;
    slot->gone_status = status;
    pstrcpy(slot->gone_text, sizeof(slot->gone_text), text);
    return true;
}

/* Comes in a bottom half, before the relay says ENDED: who sees that finds the reason. */
static void relay_broke(void *opaque, uint32_t status, const char *text)
{
    Slot *slot = opaque;

    if (note_gone(slot, status, text)) {
        write_gone(slot);
    }
    slot->broken = true;
    work_later(slot);
}

static const VGPURelayOps relay_ops = {
    .interrupt = relay_interrupts,
    .broken = relay_broke,
};

/* From the link */

static bool wants_window(const Slot *slot)
{
    return slot->open.ask.head.flags & VGPU_MSG_OPEN_WINDOW;
}

static bool make_relay(Slot *slot, const struct vgpu_msg_opened *msg, int fds[3],
                       const char **ret_why)
{
    VGPUChannel *channel = vgpu_channel_new(&msg->geometry, fds, ret_why);

    if (!channel) {
        return false;
    }
    if (msg->geometry.data_bytes > VGPU_RELAY_MAX_DATA_BYTES) {
        vgpu_channel_free(channel);
        *ret_why = "the data area is too large for a relayed channel";
        return false;
    }
    slot->relay = vgpu_relay_new(slot->slots->s, channel, &relay_ops, slot);
    return true;
}

/*
 * The mediator forgets which places are held by channels that are gone if it is started
 * anew before the guest closes them: then the channel is opened once more, to be relayed.
 */
static bool open_relayed(Slot *slot)
{
    if (slot->open.ask.data_bytes > VGPU_RELAY_MAX_DATA_BYTES) {
        return false;
    }
    slot->open.ask.head.flags = 0;
    slot->open_waits = true;
    give_up(slot);
    return true;
}

static void link_opened(void *opaque, const struct vgpu_msg_opened *msg, int fds[3])
{
    Slot *slot = opaque;
    const char *why = "";
    bool made;

    if (msg->window && wants_window(slot)) {
        slot->window = vgpu_window_channel_new(slot->slots->s, slot->index, msg, fds,
                                               &relay_ops, slot, &why);
        made = slot->window != NULL;
        if (!why && open_relayed(slot)) {
            return;
        }
    } else {
        made = make_relay(slot, msg, fds, &why);
    }
    if (!made) {
        give_up(slot);
        answer_open(slot, VGPU_INTERNAL, 0,
                    why ? why : "its place in the window is held");
        return;
    }
    slot->ended = false;
    answer_open(slot, VGPU_OK, 0, "");
    slot->answer.channel = msg->channel;
    slot->answer.window = slot->window ? msg->window : 0;
    slot->answer.geometry = msg->geometry;
}

static void link_promised(void *opaque, const struct vgpu_msg_promised *msg)
{
    Slot *slot = opaque;

    slot->ended = false;
    slot->granted = true;
    answer_open(slot, VGPU_OK, 0, "");
    slot->answer.channel = msg->channel;
    slot->answer.backend_domid = msg->backend_domid;
    slot->answer.geometry = msg->geometry;
}

static void link_granted(void *opaque)
{
    Slot *slot = opaque;

    slot->attaching = false;
    answer_later(slot, VGPU_OK, 0, "");
}

static void link_ungranted(void *opaque, uint32_t status, uint64_t retry_ns,
                           const char *text)
{
    Slot *slot = opaque;

    slot->attaching = false;
    slot->ended = true;
    answer_later(slot, status, retry_ns, text);
}

static void link_refused(void *opaque, uint32_t status, uint64_t retry_ns,
                         const char *text)
{
    Slot *slot = opaque;

    slot->channel = NULL;
    answer_open(slot, status, retry_ns, text);
}

static void link_gone(void *opaque, uint32_t status, const char *text)
{
    Slot *slot = opaque;

    slot->gone_due = note_gone(slot, status, text);
    work_later(slot);
}

static void link_closed(void *opaque)
{
    Slot *slot = opaque;

    slot->channel = NULL;
    slot->closing = false;
    if (slot->close_waits) {
        slot->close_waits = false;
        slot->close_due = true;
        work_later(slot);
    }
    if (slot->open_waits) {
        slot->open_waits = false;
        slot->channel = vgpu_link_open(slot->slots->link, &slot->open);
    }
}

/* Commands */

static bool ring_size_ok(uint32_t granules)
{
    return granules >= VGPU_RING_MIN_GRANULES && granules <= VGPU_RING_MAX_GRANULES &&
           (granules & (granules - 1)) == 0;
}

/*
 * With the window the mediator decides whether an area too large for a relay has room,
 * and by grants it decides anyway.
 */
static bool data_size_ok(Slot *slot, const struct vgpu_device_command *ask)
{
    uint64_t window = vgpu_window_bytes(vgpu_window(slot->slots->s));

    if (ask->data_bytes % 4096) {
        return false;
    }
    if (ask->flags & VGPU_OPEN_GRANT) {
        return true;
    }
    if (ask->flags & VGPU_OPEN_WINDOW) {
        return ask->data_bytes <= MAX(window, VGPU_RELAY_MAX_DATA_BYTES);
    }
    return ask->data_bytes && ask->data_bytes <= VGPU_RELAY_MAX_DATA_BYTES;
}

static uint16_t message_flags(uint32_t flags)
{
    return (flags & VGPU_OPEN_WINDOW ? VGPU_MSG_OPEN_WINDOW : 0) |
           (flags & VGPU_OPEN_GRANT ? VGPU_MSG_OPEN_GRANT : 0);
}

static void command_open(Slot *slot, const struct vgpu_device_command *ask)
{
    if (slot->in_use) {
        answer(slot, ask->tag, VGPU_BAD_MESSAGE, "the slot is in use");
        return;
    }
    slot->tag = ask->tag;
    if (!ring_size_ok(ask->sub_granules) || !ring_size_ok(ask->comp_granules)) {
        answer_open(slot, VGPU_LIMIT, 0,
                    "a ring has 2 to 65536 granules, a power of two");
        return;
    }
    if (!data_size_ok(slot, ask)) {
        answer_open(slot, VGPU_LIMIT, 0,
                    "the data area is a multiple of 4096 bytes, in bounds");
        return;
    }
    slot->opening = true;
    slot->open = (VGPUOpen){
        .ask = {.head.flags = message_flags(ask->flags),
                .sub_granules = ask->sub_granules,
                .comp_granules = ask->comp_granules,
                .data_bytes = ask->data_bytes},
        .opened = link_opened,
        .promised = link_promised,
        .granted = link_granted,
        .ungranted = link_ungranted,
        .refused = link_refused,
        .gone = link_gone,
        .closed = link_closed,
        .opaque = slot,
    };
    pstrcpy(slot->open.ask.process, sizeof(slot->open.ask.process), ask->process);
    if (slot->closing) {
        slot->open_waits = true;
    } else {
        slot->channel = vgpu_link_open(slot->slots->link, &slot->open);
    }
}

/* Two numbers, which are the mediator's to judge; answered when a worker has the pages.
 */
static void attach_granted(Slot *slot, const struct vgpu_device_command *ask)
{
    uint32_t directory = ask->directory, event_port = ask->directory >> 32;

    if (ask->vector || !directory || !event_port || slot->attached) {
        answer(slot, ask->tag, VGPU_BAD_MESSAGE,
               "directory, port or vector is out of range, or was given before");
        return;
    }
    slot->attached = true;
    slot->attaching = true;
    slot->tag = ask->tag;
    vgpu_link_grant(slot->channel, directory, event_port);
}

static void command_attach(Slot *slot, const struct vgpu_device_command *ask)
{
    const char *why = "";
    uint32_t status;

    if (slot->in_use && slot->granted && !slot->ended) {
        attach_granted(slot, ask);
        return;
    }
    if (!slot->in_use || slot->ended || (!slot->relay && !slot->window)) {
        answer(slot, ask->tag, VGPU_GONE, "the slot has no channel");
        return;
    }
    if (ask->vector >= VGPU_MSIX_VECTORS || ask->directory % 4096 ||
        (slot->window && ask->directory)) {
        answer(slot, ask->tag, VGPU_BAD_MESSAGE, "vector or directory is out of range");
        return;
    }
    slot->vector = ask->vector;
    status = slot->window ? vgpu_window_channel_attach(slot->window, ask->vector, &why)
                          : vgpu_relay_attach(slot->relay, ask->directory, &why);
    answer(slot, ask->tag, status, status == VGPU_OK ? "" : why);
}

static void command_close(Slot *slot, const struct vgpu_device_command *ask)
{
    /* By grants the guest's pages are the worker's until the link has heard of its end.
     */
    bool granted = slot->granted || slot->close_waits;

    forget(slot);
    if (granted && slot->channel) {
        slot->close_waits = true;
        slot->close_tag = ask->tag;
        return;
    }
    answer(slot, ask->tag, VGPU_OK, "");
}

/* Whether a command may have these flags; each only where there is what it asks for. */
static bool flags_ok(Slot *slot, uint32_t op, uint32_t flags)
{
    VGPUStub *s = slot->slots->s;

    return !flags ||
           (op == VGPU_COMMAND_OPEN && ((flags == VGPU_OPEN_WINDOW && vgpu_window(s)) ||
                                        (flags == VGPU_OPEN_GRANT && vgpu_grants(s))));
}

static bool well_formed(Slot *slot, const struct vgpu_device_command *ask)
{
    static const uint8_t zeros[sizeof(ask->reserved1)];

    return flags_ok(slot, ask->op, ask->flags) &&
           !memcmp(ask->reserved1, zeros, sizeof(zeros)) &&
           memchr(ask->process, '\0', sizeof(ask->process));
}

/* What is under way can only be called off: one command of a slot at a time. */
static void take_command(Slot *slot)
{
    VGPUStub *s = slot->slots->s;
    struct vgpu_device_command ask;

    slot->commanded = false;
    if (!vgpu_commands_address(s) ||
        !vgpu_dma_read(s, field(slot, 0), &ask, COMMAND_ASK_BYTES) || !ask.tag) {
        return;
    }
    if (!well_formed(slot, &ask) ||
        ((slot->opening || slot->attaching) && ask.op != VGPU_COMMAND_CLOSE)) {
        answer(slot, ask.tag, VGPU_BAD_MESSAGE,
               "the command is malformed or out of turn");
        return;
    }
    switch (ask.op) {
    case VGPU_COMMAND_OPEN:
        command_open(slot, &ask);
        break;
    case VGPU_COMMAND_ATTACH:
        command_attach(slot, &ask);
        break;
    case VGPU_COMMAND_CLOSE:
        command_close(slot, &ask);
        break;
    default:
        answer(slot, ask.tag, VGPU_BAD_MESSAGE, "there is no such command");
        break;
    }
}

static void slot_work(Slot *slot)
{
    if (slot->broken) {
        slot->broken = false;
        give_up(slot);
    }
    if (slot->answer_due) {
        slot->answer_due = false;
        write_answer(slot, slot->tag, &slot->answer, slot->answer_opened);
    }
    if (slot->close_due) {
        slot->close_due = false;
        answer(slot, slot->close_tag, VGPU_OK, "");
    }
    if (slot->gone_due) {
        slot->gone_due = false;
        write_gone(slot);
        if (slot->relay) {
            vgpu_relay_gone(slot->relay);
        }
        if (slot->window) {
            vgpu_window_channel_gone(slot->window);
        }
    }
    if (slot->commanded) {
        take_command(slot);
    }
}

static void slots_work(void *opaque)
{
    VGPUSlots *slots = opaque;

    for (uint32_t i = 0; i < VGPU_SLOTS; i++) {
        slot_work(&slots->slot[i]);
    }
}

void vgpu_slots_command(VGPUSlots *slots, uint32_t slot)
{
    if (slot < VGPU_SLOTS) {
        slots->slot[slot].commanded = true;
        qemu_bh_schedule(slots->bh);
    }
}

void vgpu_slots_doorbell(VGPUSlots *slots, uint32_t slot)
{
    if (slot >= VGPU_SLOTS) {
        return;
    }
    if (slots->slot[slot].relay) {
        vgpu_relay_doorbell(slots->slot[slot].relay);
    } else if (slots->slot[slot].window) {
        vgpu_window_channel_doorbell(slots->slot[slot].window);
    }
}

void vgpu_slots_reset(VGPUSlots *slots)
{
    for (uint32_t i = 0; i < VGPU_SLOTS; i++) {
        forget(&slots->slot[i]);
        slots->slot[i].commanded = false;
    }
}

VGPUSlots *vgpu_slots_new(VGPUStub *s, VGPULink *link)
{
    VGPUSlots *slots = g_new0(VGPUSlots, 1);

    slots->s = s;
    slots->link = link;
    slots->bh = qemu_bh_new(slots_work, slots);
    for (uint32_t i = 0; i < VGPU_SLOTS; i++) {
        slots->slot[i].slots = slots;
        slots->slot[i].index = i;
    }
    return slots;
}

void vgpu_slots_free(VGPUSlots *slots)
{
    if (slots) {
        vgpu_slots_reset(slots);
        qemu_bh_delete(slots->bh);
        g_free(slots);
    }
}
