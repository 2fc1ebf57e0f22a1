/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Token buckets by name (an address, a token): how many requests a second somebody may make. The
 * table has a fixed size; who was seen longest ago makes room, and starts full when it comes back.
 */
#ifndef VGPU_AGENT_LIMIT_H
#define VGPU_AGENT_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#define LIMIT_ROWS      256
#define LIMIT_KEY_BYTES 64

struct limit_row {
    char key[LIMIT_KEY_BYTES];
    uint64_t last_ns;
    double left;
};

struct limit {
    double rate_per_s, burst;
    struct limit_row rows[LIMIT_ROWS];
};

void limit_init(struct limit *limit, double rate_per_s, double burst);

/* False: too many by now; *ret_wait_s is then how long to wait, at least 1. */
bool limit_take(struct limit *limit, const char *key, uint64_t now_ns, unsigned *ret_wait_s);

#endif
