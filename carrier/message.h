/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves a message that arrived on a VM's socket (<vgpu/wire.h>) before anything else reads it:
 * type, size, reserved fields, terminated strings. For the guest's side, so it knows the messages
 * that a mediator sends.
 */
#ifndef VGPU_CARRIER_MESSAGE_H
#define VGPU_CARRIER_MESSAGE_H

#include <stddef.h>
#include <vgpu/wire.h>

/* Any message of the mediator; access by head.type after message_check. */
union message {
    struct vgpu_msg head;
    struct vgpu_msg_welcome welcome;
    struct vgpu_msg_refused refused;
    struct vgpu_msg_opened opened;
    struct vgpu_msg_channel channel;
    struct vgpu_msg_gone gone;
    struct vgpu_msg_state state;
    struct vgpu_msg_monitored monitored;
    struct vgpu_msg_promised promised;
    uint8_t bytes[VGPU_MSG_MAX_BYTES];
};

/* The size that a message with this head must have, or -EPROTO. */
int message_size(const struct vgpu_msg *head);

/* 0, or -EPROTO if the whole message is not one that a mediator may send. */
int message_check(const union message *message);

/* 0, or -EPROTO if no host tells that of a GPU. */
int message_check_monitor(const struct vgpu_monitor *monitor);

#endif
