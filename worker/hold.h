/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls that must not reach the driver yet: those behind a host function that the guest has not
 * answered, in its stream, in streams that order with it, and in streams that wait for its events.
 * So draining always ends, and nothing runs without the turn once the guest opens the gate.
 *
 * Held calls lie in one list in the order of submission. hold_pump() goes through it with the gates
 * closed and marks what lies behind each call that stays (epochs in streams, events and contexts
 * say so); whatever is not marked is issued. A new call is looked at in the same way. That is
 * conservative: an event that is recorded anew orders behind its earlier, held record.
 */
#ifndef VGPU_WORKER_HOLD_H
#define VGPU_WORKER_HOLD_H

#include <stdbool.h>
#include <stdint.h>

#include "cuda/cuda_abi.h"

struct channel;
struct item;
struct stream;

struct hold {
    struct item *items, **items_end;
    uint32_t count;
    struct stream *gates; /* streams with an unanswered host function */
    uint64_t epoch;
    bool dirty;      /* a gate opened, or the limits changed: pump again */
    bool wants_turn; /* a held call could go if the turn were here */
};

void hold_init(struct hold *hold);

/* True if anything is held or may have to be. */
bool hold_active(const struct hold *hold);
bool hold_full(const struct hold *hold);

/* True if the item must wait; for a query, if the answer is "not ready". */
bool hold_blocks(const struct channel *channel, const struct item *item);

/* Appends an item that is blocked. */
void hold_push(struct channel *channel, struct item *item);

/* Issues what can go; true if anything went. */
bool hold_pump(struct channel *channel);

/* Closes the stream's gate, behind all that it holds in the driver. */
void hold_close_gate(struct channel *channel, struct stream *stream, uint64_t token);

/* The guest answered. False if no gate has that token. */
bool hold_open_gate(struct channel *channel, uint64_t token);

/*
 * A context, stream or function goes: held calls that name it are not issued any more, but end with
 * the result. Only calls that were submitted behind its end can still be there.
 */
void hold_lose(struct channel *channel, const void *object, CUresult result);

/* A stream goes, with its gate. */
void hold_forget_stream(struct channel *channel, struct stream *stream);

#endif
