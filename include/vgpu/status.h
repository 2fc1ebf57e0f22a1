/* SPDX-License-Identifier: GPL-2.0-or-later OR Apache-2.0 */
/*
 * The outcome of a request or a job, as it stands on the wire. Not errno and not CUresult: one
 * function maps each (common/status.c).
 */
#ifndef VGPU_STATUS_H
#define VGPU_STATUS_H

#include "types.h"

/* X(name, value, retryable, text) */
#define VGPU_STATUSES(X)                                                                           \
    X(OK, 0, 0, "done")                                                                            \
    X(BUSY, 1, 1, "over a limit for now; try again")                                               \
    X(QUARANTINED, 2, 0, "this VM is quarantined until an administrator clears it")                \
    X(GONE, 3, 0, "the worker of this channel is gone; open a new channel")                        \
    X(NO_GPU, 4, 0, "no healthy GPU serves this VM's pool")                                        \
    X(NOT_CONFIGURED, 5, 0, "this VM is not registered; see vgpu-admin register-vm")               \
    X(VERSION, 6, 0, "the two sides speak different versions")                                     \
    X(BAD_MESSAGE, 7, 0, "a message was malformed")                                                \
    X(BAD_RECORD, 8, 0, "a record was malformed; the channel was ended")                           \
    X(LIMIT, 9, 0, "a size or count is over its limit")                                            \
    X(FAILED, 10, 0, "the job failed on the GPU")                                                  \
    X(TIMEOUT, 11, 0, "the job ran over its time limit and was killed")                            \
    X(KILLED, 12, 0, "the worker was killed")                                                      \
    X(NO_MEMORY, 13, 0, "out of memory on the host")                                               \
    X(STARTING, 14, 1, "the host is starting; try again")                                          \
    X(DRIVER, 15, 0, "the host's CUDA driver did not start")                                       \
    X(REMOVED, 16, 0, "this VM was removed by an administrator")                                   \
    X(INTERNAL, 17, 0, "an error of the host; its log says which")

enum vgpu_status {
#define VGPU_STATUS_ENUM(name, value, retryable, text) VGPU_##name = value,
    VGPU_STATUSES(VGPU_STATUS_ENUM)
#undef VGPU_STATUS_ENUM
        VGPU_STATUS_COUNT
};

/* Longest text that goes with a status on the wire, NUL included. */
#define VGPU_STATUS_TEXT_BYTES 192

#endif
