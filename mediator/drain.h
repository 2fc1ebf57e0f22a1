/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of channels by grants, as who must not be told too early sees it: a guest takes its pages
 * back when it hears that a channel is gone. connection.c asks on DRAIN, domain.c for a domain that
 * is nobody, vm.c says when a worker is dead.
 */
#ifndef VGPU_MEDIATOR_DRAIN_H
#define VGPU_MEDIATOR_DRAIN_H

#include <stdbool.h>
#include <stdint.h>

struct channel;
struct connection;
struct mediator;
struct vm;

/* DRAIN: ends what no connection has, and answers at once or when drain_ended() finds it so. */
void drain_ask(struct connection *connection, uint32_t tag);
/* The channel is being ended, and its guest must not hear of that before it has. */
bool drain_holds(const struct channel *channel);
/* The channel has no worker any more. */
void drain_ended(const struct channel *channel);

/* Ends the channels by grants of a domain that the VM is not any more. */
void drain_domain(struct vm *vm);
/* May a worker have pages of this domain? Also true until it is known which workers there are. */
bool drain_domain_lives(const struct mediator *mediator, uint32_t domid);

#endif
