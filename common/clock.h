/* SPDX-License-Identifier: Apache-2.0 */
/* CLOCK_MONOTONIC in nanoseconds. Policy code takes time as an argument; only programs call this.
 */
#ifndef VGPU_COMMON_CLOCK_H
#define VGPU_COMMON_CLOCK_H

#include <stdint.h>
#include <time.h>

#define VGPU_NS_PER_US UINT64_C(1000)
#define VGPU_NS_PER_MS UINT64_C(1000000)
#define VGPU_NS_PER_S  UINT64_C(1000000000)

static inline uint64_t vgpu_clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * VGPU_NS_PER_S + (uint64_t)now.tv_nsec;
}

#endif
