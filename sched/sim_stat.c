/* SPDX-License-Identifier: Apache-2.0 */
/* Generator and histogram of the simulator; see sim_stat.h. */
#include "sched/sim_stat.h"

/* Values below 64 have a bucket each; above, each power of two has 64. */
static unsigned bucket_of(uint64_t value)
{
    unsigned top;

    if (value < SIM_HISTOGRAM_STEPS)
        return (unsigned)value;
    top = 63 - (unsigned)__builtin_clzll(value);
    return (top - 5) * SIM_HISTOGRAM_STEPS + (unsigned)(value >> (top - 6)) - SIM_HISTOGRAM_STEPS;
}

/* The middle of a bucket. */
static uint64_t value_of(unsigned bucket)
{
    unsigned top;

    if (bucket < SIM_HISTOGRAM_STEPS)
        return bucket;
    top = bucket / SIM_HISTOGRAM_STEPS + 5;
    return ((uint64_t)(bucket % SIM_HISTOGRAM_STEPS + SIM_HISTOGRAM_STEPS) << (top - 6)) +
           ((UINT64_C(1) << (top - 6)) / 2);
}

void sim_histogram_add(struct sim_histogram *histogram, uint64_t value)
{
    histogram->counts[bucket_of(value)]++;
    histogram->total++;
}

uint64_t sim_histogram_quantile(const struct sim_histogram *histogram, double q)
{
    uint64_t rank = (uint64_t)(q * (double)histogram->total), seen = 0;

    if (!histogram->total)
        return 0;
    for (unsigned i = 0; i < sizeof(histogram->counts) / sizeof(histogram->counts[0]); i++) {
        seen += histogram->counts[i];
        if (seen > rank || seen == histogram->total)
            return value_of(i);
    }
    return 0;
}

uint64_t sim_random_next(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t sim_random_seed(uint64_t seed, const char *name)
{
    uint64_t state = seed;

    for (; *name; name++)
        state = sim_random_next(&state) ^ (unsigned char)*name;
    return sim_random_next(&state);
}

double sim_random_unit(uint64_t *state)
{
    return ((double)(sim_random_next(state) >> 11) + 1) / 9007199254740992.0;
}
