/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtual memory management: address ranges that a program reserves, and memory that it maps there.
 * A reservation is a range without access, and a shadow of it where the bytes are: memory is a
 * shared mapping, which is mapped once more into the shadow, so that neighbours in a reservation
 * are neighbours in the host's memory too. What is mapped is in the map of allocations (memory.h).
 * All functions need gpu.lock.
 */
#ifndef SOFTGPU_VIRTUAL_H
#define SOFTGPU_VIRTUAL_H

#include "softgpu/gpu.h"

#define VIRTUAL_GRANULARITY (UINT64_C(2) << 20)

/* Memory of cuMemCreate. It lives while it has references or is mapped. */
struct block {
    CUmemGenericAllocationHandle handle;
    struct device *device;
    uint64_t size_bytes;
    void *host;
    unsigned refs; /* of the program */
    unsigned maps;
};

/* True if address lies in a reservation, mapped or not. */
bool virtual_holds(uint64_t address);

#endif
