/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls that may block inside the driver. Each has up to three steps: prepare (in the consumer:
 * what the guest must see at once, such as a handle that is dead), the execution (in a helper:
 * driver calls only), settle (in the consumer: tables and ledger).
 */
#ifndef VGPU_WORKER_BESIDE_H
#define VGPU_WORKER_BESIDE_H

#include <stdbool.h>

struct channel;
struct item;

void beside_start(struct channel *channel, struct item *item);
void beside_settle(struct channel *channel, struct item *item);

/* Starts calls whose context has become idle; true if any was. */
bool beside_poll(struct channel *channel);

#endif
