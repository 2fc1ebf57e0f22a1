/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection to a VM's socket: bytes to messages and back, the handshake, and what is refused
 * before it reaches vm.c. A guest that does not read what it is sent loses its connection.
 */
#ifndef VGPU_MEDIATOR_CONNECTION_H
#define VGPU_MEDIATOR_CONNECTION_H

#include <stdbool.h>
#include <sys/types.h>
#include <vgpu/wire.h>

#include "mediator/loop.h"

struct vm;

struct connection {
    struct connection *next;
    struct vm *vm;
    int sock;
    struct loop_watch watch;
    struct loop_timer handshake;
    bool dialled; /* the mediator has connected to a device that listens */
    bool greeted;
    bool refused;      /* something was; before greeted it is the last that this connection hears */
    uint32_t carrier;  /* enum vgpu_carrier, once greeted */
    uint64_t features; /* VGPU_FEATURE_*, likewise */
    uint64_t window_bytes; /* of the guest's window; 0: it has none */
    pid_t pid;
    uint32_t drain_tag; /* of DRAIN while it waits; 0: none */
    uint32_t used;
    uint8_t buffer[VGPU_MSG_MAX_BYTES];
};

/* Accepts what waits at the VM's listener. */
void connection_accept(struct vm *vm);
/* Takes over a socket that dial.c has connected; the peer is checked as one that came by itself. */
void connection_dialled(struct vm *vm, int sock);
/* Tells the VM, closes, frees. */
void connection_end(struct connection *connection);

/*
 * Sends one message, with n descriptors. False if the guest does not take it: the connection will
 * end from the loop, not from here.
 */
bool connection_send(struct connection *connection, const void *message, uint32_t size,
                     const int *fds, size_t n);
void connection_refuse(struct connection *connection, uint32_t tag, enum vgpu_status status,
                       const char *text);
void connection_send_state(struct connection *connection);

#endif
