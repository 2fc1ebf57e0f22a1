/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The threads that run streams: as many as there are streams with work, up to EXECUTOR_MAX_THREADS,
 * and they stay. All functions are called with gpu.lock held.
 */
#ifndef SOFTGPU_EXECUTOR_H
#define SOFTGPU_EXECUTOR_H

#include "softgpu/stream.h"

#define EXECUTOR_MAX_THREADS 64

/* Starts the first thread, so that a later failure to make more only costs time. */
CUresult executor_start(void);

/* A stream in state STREAM_READY: some thread will run it, the highest priority first. */
void executor_add(struct stream *stream);

#endif
