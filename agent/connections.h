/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connections of one listener, to end those that take too long: to send a request, or to take
 * an answer. Where nearly all places are taken, those that have sent nothing whole for longest make
 * room, so that slow clients keep nobody else out.
 */
#ifndef VGPU_AGENT_CONNECTIONS_H
#define VGPU_AGENT_CONNECTIONS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define CONNECTION_PEER_BYTES 64

enum connection_phase {
    CONNECTION_RECEIVING, /* a request is awaited, or not yet whole */
    CONNECTION_WORKING,
    CONNECTION_SENDING,
    CONNECTION_STREAMING
};

struct connection {
    struct connection *next, *previous;
    int fd;
    enum connection_phase phase;
    uint64_t since_ns;                /* in this phase */
    bool ended;                       /* it was shut down, and is about to go */
    char peer[CONNECTION_PEER_BYTES]; /* whom limits count */
};

struct connections {
    pthread_mutex_t lock;
    struct connection *first;
    unsigned n, max;
    uint64_t receive_ns, send_ns;
};

void connections_init(struct connections *connections, unsigned max, unsigned receive_s,
                      unsigned send_s);
void connections_release(struct connections *connections);

/* NULL: out of memory. The descriptor stays open until connections_remove() has returned. */
struct connection *connections_add(struct connections *connections, int fd, const char *peer,
                                   uint64_t now_ns);
void connections_remove(struct connections *connections, struct connection *connection);
void connections_enter(struct connections *connections, struct connection *connection,
                       enum connection_phase phase, uint64_t now_ns);

/* Ends those that took too long. */
void connections_sweep(struct connections *connections, uint64_t now_ns);

#endif
