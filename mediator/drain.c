/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/drain.h"

#include "mediator/mediator.h"

static bool has_pages(const struct channel *channel)
{
    return channel->granted.domid != 0 && channel_has_worker(channel);
}

/* Is the end of the channel what this connection waits for? Its own ones are not. */
static bool waits_for(const struct connection *connection, const struct channel *channel)
{
    const struct vm *vm = connection->vm;

    if (!has_pages(channel))
        return false;
    if (channel->vm == vm)
        return !channel->connection;
    return vm->domid != 0 && channel->granted.domid == vm->domid;
}

static void answer_if_drained(struct connection *connection)
{
    struct vgpu_msg_channel drained = {
        .head = {sizeof(drained), VGPU_MSG_DRAINED, 0, connection->drain_tag, 0}};

    for (const struct vm *vm = connection->vm->mediator->vms; vm; vm = vm->next)
        for (const struct channel *c = vm->channels; c; c = c->next)
            if (waits_for(connection, c))
                return;
    connection->drain_tag = 0;
    connection_send(connection, &drained, sizeof(drained), NULL, 0);
}

void drain_ask(struct connection *connection, uint32_t tag)
{
    if (connection->drain_tag || connection->carrier != VGPU_CARRIER_GRANT ||
        !(connection->features & VGPU_FEATURE_DRAIN)) {
        connection_refuse(connection, tag, VGPU_BAD_MESSAGE,
                          connection->drain_tag ? "that was asked already"
                                                : "this connection cannot ask that");
        return;
    }
    connection->drain_tag = tag;
    for (struct channel *c = connection->vm->channels; c; c = c->next)
        if (waits_for(connection, c))
            vm_end_channel(c, VGPU_GONE, "its process was started anew");
    answer_if_drained(connection);
}

bool drain_holds(const struct channel *channel)
{
    return has_pages(channel) && channel->state != CHANNEL_ORPHAN;
}

void drain_ended(const struct channel *channel)
{
    if (!channel->granted.domid)
        return;
    for (const struct vm *vm = channel->vm->mediator->vms; vm; vm = vm->next)
        for (struct connection *c = vm->connections; c; c = c->next)
            if (c->drain_tag)
                answer_if_drained(c);
}

void drain_domain(struct vm *vm)
{
    for (struct channel *c = vm->channels; c; c = c->next)
        if (c->granted.domid && c->granted.domid != vm->domid)
            vm_end_channel(c, VGPU_GONE, "the guest's domain is gone");
}

bool drain_domain_lives(const struct mediator *mediator, uint32_t domid)
{
    if (!mediator->in_charge)
        return true;
    for (const struct vm *vm = mediator->vms; vm; vm = vm->next)
        for (const struct channel *c = vm->channels; c; c = c->next)
            if (has_pages(c) && c->granted.domid == domid)
                return true;
    return false;
}
