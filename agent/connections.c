/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/connections.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "common/clock.h"

#define ROOM_PART 8 /* one place in so many is kept free */

void connections_init(struct connections *connections, unsigned max, unsigned receive_s,
                      unsigned send_s)
{
    *connections = (struct connections){
        .max = max, .receive_ns = receive_s * VGPU_NS_PER_S, .send_ns = send_s * VGPU_NS_PER_S};
    pthread_mutex_init(&connections->lock, NULL);
}

void connections_release(struct connections *connections)
{
    pthread_mutex_destroy(&connections->lock);
}

/* The server sees the end of the stream, and closes. */
static void end(struct connection *connection)
{
    connection->ended = true;
    shutdown(connection->fd, SHUT_RDWR);
}

/* Under the lock. */
static void make_room(struct connections *connections)
{
    struct connection *oldest = NULL;
    unsigned living = 0;

    for (struct connection *at = connections->first; at; at = at->next) {
        living += !at->ended;
        if (!at->ended && at->phase == CONNECTION_RECEIVING &&
            (!oldest || at->since_ns < oldest->since_ns))
            oldest = at;
    }
    if (oldest && living >= connections->max - connections->max / ROOM_PART)
        end(oldest);
}

struct connection *connections_add(struct connections *connections, int fd, const char *peer,
                                   uint64_t now_ns)
{
    struct connection *connection = calloc(1, sizeof(*connection));

    if (!connection)
        return NULL;
    connection->fd = fd;
    connection->since_ns = now_ns;
    snprintf(connection->peer, sizeof(connection->peer), "%s", peer);
    pthread_mutex_lock(&connections->lock);
    make_room(connections);
    connection->next = connections->first;
    if (connection->next)
        connection->next->previous = connection;
    connections->first = connection;
    connections->n++;
    pthread_mutex_unlock(&connections->lock);
    return connection;
}

void connections_remove(struct connections *connections, struct connection *connection)
{
    pthread_mutex_lock(&connections->lock);
    if (connection->previous)
        connection->previous->next = connection->next;
    else
        connections->first = connection->next;
    if (connection->next)
        connection->next->previous = connection->previous;
    connections->n--;
    pthread_mutex_unlock(&connections->lock);
    free(connection);
}

void connections_enter(struct connections *connections, struct connection *connection,
                       enum connection_phase phase, uint64_t now_ns)
{
    pthread_mutex_lock(&connections->lock);
    connection->phase = phase;
    connection->since_ns = now_ns;
    pthread_mutex_unlock(&connections->lock);
}

static bool is_late(const struct connections *connections, const struct connection *connection,
                    uint64_t now_ns)
{
    uint64_t ns = now_ns > connection->since_ns ? now_ns - connection->since_ns : 0;

    return (connection->phase == CONNECTION_RECEIVING && ns > connections->receive_ns) ||
           (connection->phase == CONNECTION_SENDING && ns > connections->send_ns);
}

void connections_sweep(struct connections *connections, uint64_t now_ns)
{
    pthread_mutex_lock(&connections->lock);
    for (struct connection *at = connections->first; at; at = at->next)
        if (!at->ended && is_late(connections, at, now_ns))
            end(at);
    pthread_mutex_unlock(&connections->lock);
}
