/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a thread waits for an answer that takes longer than a first short spin: by what waits of its
 * kind took before, it sleeps until shortly before the answer should come, and polls then, since
 * being woken costs tens of microseconds. Pure functions, called by receive.c.
 */
#ifndef VGPU_LIBVGPU_PATIENCE_H
#define VGPU_LIBVGPU_PATIENCE_H

#include <stdint.h>

#define PATIENCE_FOREVER UINT64_MAX

struct patience {
    uint64_t mean_ns; /* moving; 0: nothing is known */
    unsigned misses;  /* waits in a row that outlasted their polling */
};

/* What to do after so long: 0: poll; else sleep for at most that; PATIENCE_FOREVER: until woken. */
uint64_t patience_rest_ns(const struct patience *patience, uint64_t elapsed_ns);

/* A wait of this kind took so long. */
void patience_learn(struct patience *patience, uint64_t waited_ns);

#endif
