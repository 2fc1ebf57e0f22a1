/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What kernels print. The driver writes it to this process's standard output, which is a memory
 * file; after a synchronisation it goes to the guest as completions, in bounded amounts.
 */
#ifndef VGPU_WORKER_PRINT_H
#define VGPU_WORKER_PRINT_H

#include <stdint.h>

struct channel;
struct context;
struct stream;

struct print {
    int file; /* -1: not captured */
    uint64_t dropped_bytes;
};

/* Redirects standard output; before the sandbox. Returns 0 or -errno. */
int print_capture(struct print *print);

/* Makes the driver write what an idle stream's or context's kernels printed, and forwards it. */
void print_flush(struct channel *channel, struct context *context, struct stream *stream);

#endif
