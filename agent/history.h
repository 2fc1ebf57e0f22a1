/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last hour, in memory: a sample of `status` each 5 s. Its size is bounded by the store's
 * maxima: 20 bytes a VM and sample, 15 MB with 1024 VMs. Whoever calls holds a lock (live.c).
 */
#ifndef VGPU_AGENT_HISTORY_H
#define VGPU_AGENT_HISTORY_H

#include <stdint.h>

#include <jansson.h>

#define HISTORY_STEP_S    5
#define HISTORY_SAMPLES   720
#define HISTORY_VALUES    4
#define HISTORY_POOLS_MAX 256 /* names, in one life of the agent; further ones are left out */

enum history_kind { HISTORY_GPUS, HISTORY_POOLS, HISTORY_VMS, HISTORY_KINDS };

struct history_row {
    uint32_t id;                  /* of a GPU or VM; of a pool its place among the names */
    float values[HISTORY_VALUES]; /* NAN: not known */
};

struct history_sample {
    int64_t time_s;
    unsigned n[HISTORY_KINDS];
    struct history_row *rows[HISTORY_KINDS]; /* by id, ascending */
};

struct history {
    struct history_sample samples[HISTORY_SAMPLES];
    unsigned first, n;
    char *pools[HISTORY_POOLS_MAX];
    unsigned n_pools;
};

void history_release(struct history *history);

/* time_s: seconds since 1970; times do not go back, a sample that does is dropped. */
void history_add(struct history *history, int64_t time_s, const json_t *status);

/*
 * The JSON of /history: points of step_s seconds (a multiple of HISTORY_STEP_S), for the last
 * minutes before now_s. vm_id 0: all VMs. The caller's; NULL: out of memory.
 */
char *history_text(const struct history *history, int64_t now_s, unsigned minutes, unsigned step_s,
                   uint32_t vm_id, size_t *ret_size);

#endif
