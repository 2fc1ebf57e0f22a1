/* SPDX-License-Identifier: Apache-2.0 */
/* Pseudo-random inputs by SplitMix64 (Steele, Lea and Flood 2014): the same for a seed everywhere.
 */
#ifndef VGPU_GUEST_CLIENT_WORKLOAD_RANDOM_H
#define VGPU_GUEST_CLIENT_WORKLOAD_RANDOM_H

#include <stdint.h>

struct workload_random {
    uint64_t state;
};

static inline uint64_t workload_random_u64(struct workload_random *random)
{
    uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* Never zero, so that memory which nobody wrote cannot pass for data. */
static inline uint32_t workload_random_u32(struct workload_random *random)
{
    return (uint32_t)(workload_random_u64(random) >> 32) | 1u << (workload_random_u64(random) & 31);
}

/* In [low, high). */
static inline double workload_random_f64(struct workload_random *random, double low, double high)
{
    return low + (high - low) * ((double)(workload_random_u64(random) >> 11) * 0x1p-53);
}

static inline float workload_random_f32(struct workload_random *random, double low, double high)
{
    return (float)workload_random_f64(random, low, high);
}

#endif
