/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host of the test's own for the driver's device on xenbus: it answers commands as grant.md says,
 * and is the worker of each channel. Runs in dom0, for one device; the test itself does what
 * concerns xenstore (test_xen_driver.py).
 *
 *   grant_host DOMID RING-REF PORT
 *
 * When there are new records, whatever they are, it inverts the first bytes of the data area, and
 * kicks back; an event without any (Xen makes one when a port is bound) does nothing. On standard
 * output: "ready", then a line for each command. From standard input, a line each: "gone SLOT",
 * "state N" (the device's), "refuse STATUS" (each OPEN from now on; 0: none), "silent" (no answer
 * from now on), "quit".
 */
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vgpu/ring.h>

#include "carrier/grant.h"

#define INVERTED_BYTES 4096u

struct channel {
    bool open, attached;
    struct vgpu_channel_geometry geometry;
    struct grant_map map;
    uint32_t port;
};

static const struct grant_ops *const ops = &grant_ops;
static int memory, events;
static uint32_t domid, control_port;
static struct vgpu_xen_control *control;
static uint32_t taken[VGPU_XEN_COMMANDS];
static struct channel channels[VGPU_SLOTS];
static uint32_t refuse_with;
static bool silent;

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

static void must(bool fine, const char *what)
{
    if (!fine) {
        say("failed: %s", what);
        exit(1);
    }
}

static struct vgpu_device_command *command_of(uint32_t slot)
{
    return (struct vgpu_device_command *)(void *)((uint8_t *)(control + 1) + 1024 * slot);
}

static void tell(void)
{
    must(ops->notify(events, control_port) == 0, "notify");
}

static void set_state(uint32_t state)
{
    uint32_t generation = control->generation;

    __atomic_store_n(&control->generation, generation | 1u, __ATOMIC_SEQ_CST);
    control->status = state;
    control->error = state == VGPU_DEVICE_READY ? VGPU_OK : VGPU_STARTING;
    control->features = VGPU_DEVICE_GRANT | VGPU_DEVICE_MONITOR;
    control->vm_id = 7;
    control->priority = 2;
    control->weight = 2500;
    control->max_channels = VGPU_SLOTS;
    control->max_data = VGPU_GRANT_MAX_DATA_BYTES >> 12;
    snprintf(control->pool, sizeof(control->pool), "A");
    snprintf(control->name, sizeof(control->name), "by grants");
    snprintf(control->error_text, sizeof(control->error_text), "%s",
             state == VGPU_DEVICE_READY ? "" : "as the test wants it");
    __atomic_store_n(&control->generation, (generation | 1u) + 1u, __ATOMIC_SEQ_CST);
    tell();
}

static void answer(uint32_t slot, uint32_t tag, uint32_t status, const char *text)
{
    struct vgpu_device_command *command = command_of(slot);

    command->status = status;
    command->retry_ns = 0;
    snprintf(command->text, sizeof(command->text), "%s", text);
    __atomic_store_n(&command->done, tag, __ATOMIC_RELEASE);
    tell();
}

static struct vgpu_channel_geometry geometry_of(const struct vgpu_device_command *ask)
{
    struct vgpu_channel_geometry g = {.sub_granules = ask->sub_granules,
                                      .comp_granules = ask->comp_granules,
                                      .sub_offset = VGPU_CHANNEL_PAGE_BYTES};

    g.comp_offset = g.sub_offset + g.sub_granules * VGPU_GRANULE_BYTES;
    g.data_offset = (g.comp_offset + g.comp_granules * VGPU_GRANULE_BYTES + 4095) & ~4095ull;
    g.data_bytes = ask->data_bytes ? ask->data_bytes : VGPU_GRANT_DEFAULT_DATA_BYTES;
    g.total_bytes = g.data_offset + g.data_bytes;
    return g;
}

static void take_open(uint32_t slot, const struct vgpu_device_command *ask)
{
    struct vgpu_device_command *command = command_of(slot);

    must(ask->flags == VGPU_OPEN_GRANT && !channels[slot].open, "an OPEN out of turn");
    must(!ask->directory && !ask->vector, "what is no field of OPEN's");
    if (refuse_with) {
        say("refused %u", slot);
        answer(slot, ask->tag, refuse_with, "refused by the test");
        return;
    }
    channels[slot] = (struct channel){.open = true, .geometry = geometry_of(ask)};
    command->gone = 0;
    command->channel = slot + 1;
    command->window = 0;
    command->geometry = channels[slot].geometry;
    command->backend_domid = 0;
    say("opened %u by %.40s", slot, ask->process);
    answer(slot, ask->tag, VGPU_OK, "");
}

static void take_attach(uint32_t slot, const struct vgpu_device_command *ask)
{
    struct channel *channel = &channels[slot];
    struct grant_set set = {.memory = memory,
                            .domid = domid,
                            .directory = (uint32_t)ask->directory,
                            .pages = (uint32_t)(channel->geometry.total_bytes >> 12)};
    const struct vgpu_channel_page *page;
    struct vgpu_err err = {0};

    must(channel->open && !channel->attached && !ask->vector, "an ATTACH out of turn");
    if (grant_map_set(ops, &set, NULL, &channel->map, &err) < 0) {
        say("unmapped %u: %s", slot, err.text);
        answer(slot, ask->tag, VGPU_FAILED, err.text);
        return;
    }
    must(ops->bind(events, domid, (uint32_t)(ask->directory >> 32), &channel->port) == 0, "bind");
    page = (const void *)channel->map.at;
    must(page->magic == VGPU_MAGIC && page->layout == VGPU_LAYOUT_VERSION && !page->flags &&
             !memcmp(&page->geometry, &channel->geometry, sizeof(page->geometry)),
         "the channel's page");
    channel->attached = true;
    say("attached %u with %u pages", slot, channel->map.pages);
    answer(slot, ask->tag, VGPU_OK, "");
}

static void end_channel(uint32_t slot)
{
    struct channel *channel = &channels[slot];

    if (channel->attached) {
        ops->unbind(events, channel->port);
        ops->unmap(memory, &channel->map);
    }
    *channel = (struct channel){0};
}

static void take_close(uint32_t slot, const struct vgpu_device_command *ask)
{
    end_channel(slot);
    say("closed %u", slot);
    answer(slot, ask->tag, VGPU_OK, "");
}

static void take_monitor(uint32_t tag)
{
    struct vgpu_monitor_command *command = (void *)command_of(VGPU_MONITOR_SLOT);

    command->status = VGPU_VERSION;
    snprintf(command->text, sizeof(command->text), "%s", "not here");
    __atomic_store_n(&command->done, tag, __ATOMIC_RELEASE);
    tell();
}

static void take_command(uint32_t slot)
{
    struct vgpu_device_command ask = *command_of(slot);

    if (slot == VGPU_MONITOR_SLOT)
        take_monitor(ask.tag);
    else if (ask.op == VGPU_COMMAND_OPEN)
        take_open(slot, &ask);
    else if (ask.op == VGPU_COMMAND_ATTACH)
        take_attach(slot, &ask);
    else if (ask.op == VGPU_COMMAND_CLOSE)
        take_close(slot, &ask);
    else
        must(false, "an unknown command");
}

static void take_commands(void)
{
    for (uint32_t slot = 0; slot < VGPU_XEN_COMMANDS && !silent; slot++) {
        uint32_t tag = __atomic_load_n(&control->doorbell[slot], __ATOMIC_ACQUIRE);

        if (tag && tag != taken[slot]) {
            taken[slot] = tag;
            take_command(slot);
        }
    }
}

static void work(struct channel *channel)
{
    struct vgpu_channel_page *page = (void *)channel->map.at;
    uint8_t *data = channel->map.at + channel->geometry.data_offset;

    if (page->submission.consumer.tail == page->submission.producer.head)
        return;
    page->submission.consumer.tail = page->submission.producer.head;
    for (uint32_t i = 0; i < INVERTED_BYTES && i < channel->geometry.data_bytes; i++)
        data[i] = (uint8_t)~data[i];
    __atomic_thread_fence(__ATOMIC_RELEASE);
    must(ops->notify(events, channel->port) == 0, "notify a channel");
}

static void take_event(uint32_t port)
{
    must(ops->unmask(events, port) == 0, "unmask");
    if (port == control_port)
        take_commands();
    for (uint32_t slot = 0; slot < VGPU_SLOTS; slot++)
        if (channels[slot].attached && channels[slot].port == port)
            work(&channels[slot]);
}

static void say_gone(uint32_t slot)
{
    struct vgpu_device_command *command = command_of(slot);

    end_channel(slot);
    command->gone_status = VGPU_KILLED;
    snprintf(command->gone_text, sizeof(command->gone_text), "killed by the test");
    __atomic_store_n(&command->gone, 1, __ATOMIC_RELEASE);
    tell();
}

static bool take_line(const char *line)
{
    unsigned number = 0;

    if (sscanf(line, "gone %u", &number) == 1 && number < VGPU_SLOTS)
        say_gone(number);
    else if (sscanf(line, "state %u", &number) == 1)
        set_state(number);
    else if (sscanf(line, "refuse %u", &number) == 1)
        refuse_with = number;
    else if (strncmp(line, "silent", 6) == 0)
        silent = true;
    else
        return false;
    return true;
}

static void serve(void)
{
    struct pollfd fds[] = {{.fd = events, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
    uint32_t ports[64];
    char line[64];

    while (poll(fds, 2, -1) > 0) {
        int n = fds[0].revents ? ops->pending(events, ports, 64) : 0;

        must(n >= 0, "pending");
        for (int i = 0; i < n; i++)
            take_event(ports[i]);
        if (fds[1].revents && (!fgets(line, sizeof(line), stdin) || !take_line(line)))
            return;
    }
}

int main(int argc, char **argv)
{
    struct grant_map map = {0};
    struct grant_set set;
    struct vgpu_err err = {0};

    if (argc != 4)
        return 2;
    domid = (uint32_t)atoi(argv[1]);
    memory = ops->open_memory("/dev/xen/gntdev");
    events = ops->open_events("/dev/xen/evtchn", domid);
    must(memory >= 0 && events >= 0, "the devices");
    set = (struct grant_set){.memory = memory,
                             .domid = domid,
                             .directory = (uint32_t)strtoul(argv[2], NULL, 10),
                             .pages = VGPU_XEN_PAGES};
    if (grant_map_set(ops, &set, NULL, &map, &err) < 0)
        must(false, err.text);
    control = (void *)map.at;
    must(control->magic == VGPU_GRANT_MAGIC && control->version == VGPU_GRANT_VERSION, "control");
    must(ops->bind(events, domid, (uint32_t)strtoul(argv[3], NULL, 10), &control_port) == 0,
         "bind");
    setvbuf(stdin, NULL, _IONBF, 0);
    set_state(VGPU_DEVICE_READY);
    say("ready");
    take_commands();
    serve();
    for (uint32_t slot = 0; slot < VGPU_SLOTS; slot++)
        end_channel(slot);
    ops->unbind(events, control_port);
    ops->unmap(memory, &map);
    say("done");
    return 0;
}
