/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reset of a GPU: a program of the administrator's choice (nvidia-smi), run as the launcher's
 * user with fixed arguments, one at a time. The mediator names the GPU and nothing else; whether
 * the GPU is in use is for that program to find. Called by server.c.
 */
#ifndef VGPU_LAUNCHER_RESET_H
#define VGPU_LAUNCHER_RESET_H

#include <stdbool.h>
#include <sys/types.h>
#include <vgpu/launch.h>

#define RESET_LIMIT_NS (UINT64_C(50) * 1000000000) /* then the program is killed */

struct reset {
    pid_t pid;  /* 0: none runs */
    int output; /* what it says: a memfd, -1: none */
    uint64_t due_ns;
    char gpu_uuid[VGPU_GPU_UUID_BYTES]; /* of what runs */
    bool told;                          /* the answer was sent, or there is none */
    struct vgpu_launch_reset_done done;
};

void reset_init(struct reset *reset);
/* Ends what runs. */
void reset_release(struct reset *reset);

/*
 * Starts it. program NULL: there is none. Where it cannot be started, or one runs, `done` says so
 * at once, and `told` is false.
 */
void reset_start(struct reset *reset, const char *program, const struct vgpu_launch_reset *ask,
                 uint64_t now_ns);
/* The program has ended. */
void reset_ended(struct reset *reset, int status);
/* Kills it if it is over its time. Returns when to call again; UINT64_MAX: never. */
uint64_t reset_tend(const struct reset *reset, uint64_t now_ns);

#endif
