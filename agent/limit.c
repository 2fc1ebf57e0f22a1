/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/limit.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"

void limit_init(struct limit *limit, double rate_per_s, double burst)
{
    memset(limit, 0, sizeof(*limit));
    limit->rate_per_s = rate_per_s;
    limit->burst = burst;
}

/* The row of the key, made anew in the place of the oldest if there is none. */
static struct limit_row *find(struct limit *limit, const char *key, uint64_t now_ns)
{
    struct limit_row *oldest = &limit->rows[0];

    for (unsigned i = 0; i < LIMIT_ROWS; i++) {
        struct limit_row *row = &limit->rows[i];

        if (row->key[0] && strncmp(row->key, key, LIMIT_KEY_BYTES - 1) == 0)
            return row;
        if (row->last_ns < oldest->last_ns)
            oldest = row;
    }
    snprintf(oldest->key, sizeof(oldest->key), "%s", key);
    oldest->left = limit->burst;
    oldest->last_ns = now_ns;
    return oldest;
}

bool limit_take(struct limit *limit, const char *key, uint64_t now_ns, unsigned *ret_wait_s)
{
    struct limit_row *row = find(limit, key, now_ns);

    if (now_ns > row->last_ns)
        row->left += limit->rate_per_s * (double)(now_ns - row->last_ns) / (double)VGPU_NS_PER_S;
    if (row->left > limit->burst)
        row->left = limit->burst;
    row->last_ns = now_ns;
    if (row->left < 1.0) {
        *ret_wait_s = 1 + (unsigned)((1.0 - row->left) / limit->rate_per_s);
        return false;
    }
    row->left -= 1.0;
    return true;
}
