/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests: a mediator's socket that answers HELLO and MONITOR only. Used by carrier/ and
 * guest/libnvml. A test sets fields while nobody asks; questions are answered by a thread.
 */
#ifndef VGPU_CARRIER_FAKE_MONITOR_H
#define VGPU_CARRIER_FAKE_MONITOR_H

#include <pthread.h>
#include <stdbool.h>
#include <vgpu/wire.h>

#define FAKE_MONITOR_GPUS      3
#define FAKE_MONITOR_PROCESSES 40
#define FAKE_MONITOR_PEERS     8

struct fake_monitor {
    /* What it answers; gpus, gpu, first and the processes of each are filled in. */
    unsigned n_gpus, n_processes;
    struct vgpu_monitor gpu[FAKE_MONITOR_GPUS];
    struct vgpu_monitor_process process[FAKE_MONITOR_PROCESSES]; /* of the first GPU */
    unsigned claimed_processes; /* if not 0: their number as the first GPU tells it */
    uint64_t features;
    unsigned refusals; /* so many questions are refused first */
    uint32_t refusal;  /* with this status */
    bool malformed;    /* answers that no host may give */
    bool hang_up;      /* once: before the next answer */

    unsigned connections, questions; /* so far: fake_monitor_count() */
    char dir[64], path[80];
    int listener, stop, peers[FAKE_MONITOR_PEERS];
    pthread_t thread;
};

static inline unsigned fake_monitor_count(const unsigned *count)
{
    return __atomic_load_n(count, __ATOMIC_SEQ_CST);
}

/* One GPU with all facts, without processes. */
void fake_monitor_start(struct fake_monitor *fake);
void fake_monitor_stop(struct fake_monitor *fake);

#endif
