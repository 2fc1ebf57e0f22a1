/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way back: completions are taken from their ring by whichever waiting thread leads, and handed
 * to the tickets that they answer. The others sleep, each on its own condition.
 */
#ifndef VGPU_LIBVGPU_RECEIVE_H
#define VGPU_LIBVGPU_RECEIVE_H

#include "guest/libvgpu/channel.h"

#define RECEIVE_FOREVER UINT64_MAX

/* Opens a ticket for the record `seq`, before that is published. answer may be NULL. */
void receive_open(struct sender *sender, struct ticket *ticket, uint64_t seq, uint8_t *answer,
                  bool posted);

/* False while as many wait as a channel may have; asked with submit_lock held. */
bool receive_may_open(struct sender *sender);

/* Waits until the ticket is done. kind: its op, or PATIENCE_*: waits of one kind take alike. */
void receive_await(struct sender *sender, struct ticket *ticket, uint16_t kind);

/* True once the ticket is done. */
bool receive_is_done(struct sender *sender, const struct ticket *ticket);

/* To wait for whatever may help: take the count, look, then wait for it to grow (or limit_ns). */
uint64_t receive_progress(struct sender *sender);
void receive_await_progress(struct sender *sender, uint64_t seen, uint64_t limit_ns);
void receive_note_progress(struct sender *sender);

/* Waits until met(argument) is true, which is asked under wait_lock; or limit_ns have passed. */
void receive_until(struct sender *sender, bool (*met)(struct sender *sender, void *argument),
                   void *argument, bool on_progress, uint64_t limit_ns);

/* Takes what is there, without waiting, unless another thread leads. */
void receive_poll(struct sender *sender);

/*
 * True if every completion that the worker had sent when this was called has been dispatched: what
 * it told before is complete. False: another thread is at it.
 */
bool receive_caught_up(struct sender *sender);

/* The channel has ended: every ticket, open or to come, is answered with result. Once. */
void receive_fail(struct sender *sender, CUresult result);

/* The error of a posted ticket, told once; CUDA_SUCCESS if there is none. */
CUresult receive_late_error(struct sender *sender);

#endif
