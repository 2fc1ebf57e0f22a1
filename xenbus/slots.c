/* SPDX-License-Identifier: Apache-2.0 */
#include "xenbus/slots.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "xenbus/command.h"

/* The guest's pages */

static struct vgpu_xen_control *control(const struct device *device)
{
    return (struct vgpu_xen_control *)(void *)device->pages.at;
}

static uint8_t *command_page(const struct device *device, uint32_t slot)
{
    return device->pages.at + VGPU_GRANT_PAGE_BYTES + (size_t)slot * 1024;
}

static struct vgpu_device_command *command_of(const struct device *device, const struct slot *slot)
{
    uint32_t index = (uint32_t)(slot - device->slots);

    return (struct vgpu_device_command *)(void *)command_page(device, index);
}

static void kick(const struct device *device)
{
    if (device->port)
        device->backend->grants->notify(device->backend->events, device->port);
}

/* After the rest of the answer: pairs with the guest's acquire of `done`, or of `gone`. */
static void store_last(uint32_t *word, uint32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

static void put_text(char *to, const char *text)
{
    char bytes[VGPU_STATUS_TEXT_BYTES] = {0};

    snprintf(bytes, sizeof(bytes), "%s", text);
    memcpy(to, bytes, sizeof(bytes));
}

static void answer_command(const struct device *device, struct slot *slot, uint32_t status,
                           uint64_t retry_ns, const char *text)
{
    struct vgpu_device_command *command;

    if (!device->pages.at || slot->command == 0)
        return;
    command = command_of(device, slot);
    command->status = status;
    command->retry_ns = retry_ns;
    put_text(command->text, text);
    store_last(&command->done, slot->command);
    slot->command = 0;
    kick(device);
}

static void answer_monitor(const struct device *device, struct slot *slot, uint32_t status,
                           uint64_t retry_ns, const struct vgpu_monitor *monitor, const char *text)
{
    struct vgpu_monitor_command *command =
        (struct vgpu_monitor_command *)(void *)command_page(device, VGPU_MONITOR_SLOT);

    slot->wire_tag = 0;
    if (!device->pages.at || slot->command == 0)
        return;
    command->status = status;
    command->retry_ns = retry_ns;
    if (monitor)
        command->monitor = *monitor;
    put_text(command->text, text);
    store_last(&command->done, slot->command);
    slot->command = 0;
    kick(device);
}

static void answer(const struct device *device, struct slot *slot, uint32_t status,
                   uint64_t retry_ns, const char *text)
{
    if (slot == &device->slots[VGPU_MONITOR_SLOT])
        answer_monitor(device, slot, status, retry_ns, NULL, text);
    else
        answer_command(device, slot, status, retry_ns, text);
}

static void tell_gone(const struct device *device, struct slot *slot, uint32_t status,
                      const char *text)
{
    struct vgpu_device_command *command;

    slot->state = SLOT_GONE;
    slot->wire_tag = 0;
    if (!device->pages.at)
        return;
    command = command_of(device, slot);
    command->gone_status = status;
    put_text(command->gone_text, text);
    store_last(&command->gone, 1);
    kick(device);
}

/* Requests */

static uint32_t new_tag(struct device *device)
{
    if (++device->last_tag < 2) /* 1 is HELLO's */
        device->last_tag = 2;
    return device->last_tag;
}

static int request(struct device *device, struct slot *slot, void *message)
{
    struct vgpu_msg *head = message;

    head->tag = slot->wire_tag = new_tag(device);
    return link_send(&device->link, message);
}

static int request_channel(struct device *device, struct slot *slot, uint16_t type)
{
    struct vgpu_msg_channel message = {.head = {sizeof(message), type, 0, 0, 0},
                                       .channel = slot->channel};

    return request(device, slot, &message);
}

static int request_close(struct device *device, struct slot *slot)
{
    slot->state = SLOT_CLOSING;
    return device->link.welcomed ? request_channel(device, slot, VGPU_MSG_CLOSE) : 0;
}

/* Is there a mediator that answers? Says what it is, if not. */
static bool can_ask(struct device *device, struct slot *slot)
{
    if (device->link.welcomed)
        return true;
    if (device->error)
        answer(device, slot, device->error, 0, device->error_text);
    else
        answer(device, slot, VGPU_STARTING, UINT64_C(100000000), "the host's mediator is away");
    return false;
}

static int take_open(struct device *device, struct slot *slot, struct command *command)
{
    if (slot->state == SLOT_LOST) {
        answer(device, slot, VGPU_STARTING, UINT64_C(100000000),
               "the host ends what was in this slot before");
        return 0;
    }
    if (slot->state != SLOT_FREE) {
        answer(device, slot, VGPU_BAD_MESSAGE, 0, "the slot is in use");
        return 0;
    }
    if (!can_ask(device, slot))
        return 0;
    slot->state = SLOT_OPENING;
    return request(device, slot, &command->open);
}

static int take_attach(struct device *device, struct slot *slot, struct command *command)
{
    if (slot->state == SLOT_LOST)
        return 0; /* its pages may be mapped: answered when they are not */
    if (slot->state != SLOT_PROMISED) {
        answer(device, slot, VGPU_GONE, 0, "there is no channel that waits for its pages");
        return 0;
    }
    slot->state = SLOT_GRANTING;
    command->grant.channel = slot->channel;
    command->grant.pages = slot->pages;
    return request(device, slot, &command->grant);
}

static int take_close(struct device *device, struct slot *slot)
{
    switch (slot->state) {
    case SLOT_OPENING:
    case SLOT_LOST:
        slot->called_off = true;
        return 0;
    case SLOT_PROMISED:
    case SLOT_GRANTING:
    case SLOT_OPEN:
        return request_close(device, slot);
    case SLOT_CLOSING:
        return 0; /* this one is answered in place of the one before */
    default:
        slot->state = SLOT_FREE;
        answer(device, slot, VGPU_OK, 0, "");
        return 0;
    }
}

static int take_monitor(struct device *device, struct slot *slot, struct command *command)
{
    return can_ask(device, slot) ? request(device, slot, &command->monitor) : 0;
}

/* One command, if there is one. */
static int serve(struct device *device, uint32_t index)
{
    uint32_t doorbell = __atomic_load_n(&control(device)->doorbell[index], __ATOMIC_ACQUIRE);
    struct slot *slot = &device->slots[index];
    struct command command;
    enum vgpu_status status;
    const char *text;

    if (doorbell == slot->taken || doorbell == 0)
        return 0;
    if (index == VGPU_MONITOR_SLOT && slot->wire_tag)
        return 0; /* when the one before is answered */
    slot->taken = doorbell;
    status = command_take(index, command_page(device, index), &command, &text);
    if (command.tag == 0)
        return 0;
    if (slot->command && command.op != VGPU_COMMAND_CLOSE) {
        status = VGPU_BAD_MESSAGE;
        text = "another command of the slot waits";
    }
    slot->command = command.tag;
    if (status != VGPU_OK) {
        answer(device, slot, status, 0, text);
        return 0;
    }
    switch (command.op) {
    case VGPU_COMMAND_OPEN:
        return take_open(device, slot, &command);
    case VGPU_COMMAND_ATTACH:
        return take_attach(device, slot, &command);
    case VGPU_COMMAND_MONITOR:
        return take_monitor(device, slot, &command);
    default:
        return take_close(device, slot);
    }
}

int slots_serve(struct device *device)
{
    int rc = 0;

    for (uint32_t i = 0; i < VGPU_XEN_COMMANDS && rc == 0; i++)
        rc = serve(device, i);
    return rc;
}

/* The mediator's answers */

static struct slot *asked(struct device *device, uint32_t tag)
{
    for (uint32_t i = 0; i < VGPU_XEN_COMMANDS && tag; i++)
        if (device->slots[i].wire_tag == tag)
            return &device->slots[i];
    return NULL;
}

static int hear_promised(struct device *device, struct slot *slot,
                         const struct vgpu_msg_promised *promised)
{
    struct vgpu_device_command *command = command_of(device, slot);

    if (slot->state != SLOT_OPENING)
        return -EPROTO;
    slot->channel = promised->channel;
    slot->pages = (uint32_t)(promised->geometry.total_bytes / VGPU_GRANT_PAGE_BYTES);
    memcpy(slot->token, promised->token, sizeof(slot->token));
    if (slot->called_off) {
        slot->called_off = false;
        return request_close(device, slot);
    }
    slot->state = SLOT_PROMISED;
    if (!device->pages.at)
        return 0;
    command->channel = promised->channel;
    command->window = 0;
    command->geometry = promised->geometry;
    command->backend_domid = promised->backend_domid;
    command->gone = 0;
    answer(device, slot, VGPU_OK, 0, "");
    return 0;
}

/* To OPEN or GRANT: the answer; to RESUME: the channel has ended; to CLOSE: it had. */
static void hear_refused(struct device *device, struct slot *slot,
                         const struct vgpu_msg_refused *refused)
{
    enum slot_state state = slot->state;

    if (slot == &device->slots[VGPU_MONITOR_SLOT]) {
        answer(device, slot, refused->status, refused->retry_ns, refused->text);
        return;
    }
    if (state == SLOT_OPEN) {
        tell_gone(device, slot, refused->status, refused->text);
        return;
    }
    slot->state = SLOT_FREE;
    if (state == SLOT_CLOSING || slot->called_off)
        answer(device, slot, VGPU_OK, 0, "");
    else
        answer(device, slot, refused->status, refused->retry_ns, refused->text);
    slot->called_off = false;
}

static int hear_resumed(struct device *device, struct slot *slot)
{
    if (slot->state == SLOT_CLOSING)
        return request_close(device, slot);
    if (slot->state == SLOT_GRANTING)
        answer(device, slot, VGPU_OK, 0, "");
    slot->state = SLOT_OPEN;
    return 0;
}

static void hear_gone(struct device *device, const struct vgpu_msg_gone *gone)
{
    for (uint32_t i = 0; i < VGPU_SLOTS; i++) {
        struct slot *slot = &device->slots[i];

        if (slot->channel == gone->channel &&
            (slot->state == SLOT_PROMISED || slot->state == SLOT_OPEN))
            tell_gone(device, slot, gone->status, gone->text);
    }
}

void slots_drain_done(struct device *device)
{
    device->drain_tag = 0;
    for (uint32_t i = 0; i < VGPU_SLOTS; i++) {
        struct slot *slot = &device->slots[i];
        bool closed = slot->called_off;

        if (slot->state != SLOT_LOST)
            continue;
        tell_gone(device, slot, VGPU_GONE, "vgpu-xenbus has it no more");
        slot->state = SLOT_FREE;
        slot->called_off = false;
        answer(device, slot, closed ? VGPU_OK : VGPU_GONE, 0, closed ? "" : "its channel is gone");
    }
}

int slots_hear(struct device *device, const union message *message)
{
    struct slot *slot = asked(device, message->head.tag);

    if (device->drain_tag && message->head.tag == device->drain_tag) {
        if (message->head.type != VGPU_MSG_DRAINED)
            return -EPROTO;
        slots_drain_done(device);
        return 0;
    }
    if (message->head.type == VGPU_MSG_GONE) {
        hear_gone(device, &message->gone);
        return 0;
    }
    if (!slot)
        return 0; /* of what was given up since */
    slot->wire_tag = 0;
    switch (message->head.type) {
    case VGPU_MSG_PROMISED:
        return hear_promised(device, slot, &message->promised);
    case VGPU_MSG_REFUSED:
        hear_refused(device, slot, &message->refused);
        return 0;
    case VGPU_MSG_GRANTED:
        slot->state = SLOT_OPEN;
        answer(device, slot, VGPU_OK, 0, "");
        return 0;
    case VGPU_MSG_RESUMED:
        return hear_resumed(device, slot);
    case VGPU_MSG_CLOSED:
        slot->state = SLOT_FREE;
        answer(device, slot, VGPU_OK, 0, "");
        return 0;
    case VGPU_MSG_MONITORED:
        answer_monitor(device, slot, VGPU_OK, 0, &message->monitored.monitor, "");
        return 0;
    default:
        return -EPROTO;
    }
}

/* Who has lost channels waits until they have ended; an older mediator cannot say when. */
static int ask_drain(struct device *device)
{
    struct vgpu_msg_channel drain = {
        .head = {sizeof(drain), VGPU_MSG_DRAIN, 0, device->drain_tag = new_tag(device), 0}};

    if (device->facts.features & VGPU_FEATURE_DRAIN)
        return link_send(&device->link, &drain);
    slots_drain_done(device);
    return 0;
}

int slots_welcomed(struct device *device)
{
    bool lost = false;
    int rc = 0;

    for (uint32_t i = 0; i < VGPU_SLOTS && rc == 0; i++) {
        struct slot *slot = &device->slots[i];
        struct vgpu_msg_resume resume = {.head = {sizeof(resume), VGPU_MSG_RESUME, 0, 0, 0},
                                         .channel = slot->channel};

        lost = lost || slot->state == SLOT_LOST;
        if (slot->state != SLOT_OPEN && slot->state != SLOT_GRANTING && slot->state != SLOT_CLOSING)
            continue;
        memcpy(resume.token, slot->token, sizeof(resume.token));
        rc = request(device, slot, &resume);
    }
    return rc == 0 && lost ? ask_drain(device) : rc;
}

void slots_lost(struct device *device)
{
    device->drain_tag = 0;
    for (uint32_t i = 0; i < VGPU_XEN_COMMANDS; i++) {
        struct slot *slot = &device->slots[i];
        bool closing = slot->called_off;

        slot->wire_tag = 0;
        if (slot->state == SLOT_OPENING) {
            slot->state = SLOT_FREE;
            slot->called_off = false;
            answer(device, slot, closing ? VGPU_OK : VGPU_STARTING, 0, "");
        } else if (slot->state == SLOT_PROMISED) {
            tell_gone(device, slot, VGPU_GONE, "the mediator went away");
        } else if (i == VGPU_MONITOR_SLOT) {
            answer(device, slot, VGPU_STARTING, 0, "the mediator went away");
        }
    }
}

int slots_end(struct device *device)
{
    int rc = 0;

    for (uint32_t i = 0; i < VGPU_SLOTS && rc == 0; i++) {
        struct slot *slot = &device->slots[i];

        if (slot->state == SLOT_OPENING)
            slot->called_off = true;
        else if (slot->state == SLOT_PROMISED || slot->state == SLOT_GRANTING ||
                 slot->state == SLOT_OPEN)
            rc = request_close(device, slot);
    }
    return rc;
}

bool slots_drained(const struct device *device)
{
    for (uint32_t i = 0; i < VGPU_SLOTS; i++)
        if (device->slots[i].state != SLOT_FREE && device->slots[i].state != SLOT_GONE)
            return false;
    return true;
}

void slots_inherit(struct device *device)
{
    for (uint32_t i = 0; i < VGPU_SLOTS; i++)
        device->slots[i].state = SLOT_LOST;
}

void slots_disown(struct device *device)
{
    for (uint32_t i = 0; i < VGPU_SLOTS; i++) {
        struct slot *slot = &device->slots[i];

        if (slot->state != SLOT_GRANTING && slot->state != SLOT_OPEN && slot->state != SLOT_CLOSING)
            continue;
        slot->called_off = slot->state == SLOT_CLOSING;
        slot->state = SLOT_LOST;
    }
}

/* A command that is answered already is not taken; one that came while nobody was there is. */
void slots_begin(struct device *device, bool inherited)
{
    memset(device->slots, 0, sizeof(device->slots));
    for (uint32_t i = 0; i < VGPU_XEN_COMMANDS; i++) {
        uint32_t doorbell = __atomic_load_n(&control(device)->doorbell[i], __ATOMIC_ACQUIRE);
        size_t at = i == VGPU_MONITOR_SLOT ? offsetof(struct vgpu_monitor_command, done)
                                           : offsetof(struct vgpu_device_command, done);
        uint32_t done;

        memcpy(&done, command_page(device, i) + at, sizeof(done));
        if (done == doorbell)
            device->slots[i].taken = doorbell;
    }
    if (inherited)
        slots_inherit(device);
}
