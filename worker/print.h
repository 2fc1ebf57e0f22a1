/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What kernels print, and what their failed assertions say. The driver writes it to this process's
 * standard output and standard error, which are memory files; after a synchronisation it goes to
 * the guest as completions, in bounded amounts. The worker's own log goes where standard error was.
 */
#ifndef VGPU_WORKER_PRINT_H
#define VGPU_WORKER_PRINT_H

#include <stdint.h>

struct channel;
struct context;
struct stream;

struct print {
    int file;       /* standard output; -1: not captured */
    int error_file; /* standard error, likewise */
    uint64_t dropped_bytes;
};

/* Redirects both; before the sandbox. Returns 0 or -errno. */
int print_capture(struct print *print);

/* Makes the driver write what an idle stream's or context's kernels printed, and forwards it. */
void print_flush(struct channel *channel, struct context *context, struct stream *stream);

/* The context's work has failed: forwards what was written to standard error. */
void print_failed(struct channel *channel, struct context *context);

#endif
