/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The map of all allocations of this process, by address: device memory, module variables, and
 * host memory that devices may use. Host memory has the same address on both sides; device memory
 * has its bytes elsewhere (arena.h).
 *
 * The map has a lock of its own (taken after gpu.lock), because running kernels look into it.
 * memory_find and memory_engine may be called without gpu.lock; all else needs it.
 */
#ifndef SOFTGPU_MEMORY_H
#define SOFTGPU_MEMORY_H

#include "softgpu/gpu.h"

struct block;

enum memory_kind {
    MEMORY_DEVICE,
    MEMORY_MAPPED,     /* cuMemMap; of no context */
    MEMORY_VARIABLE,   /* of a module */
    MEMORY_HOST,       /* cuMemHostAlloc, cuMemAllocHost */
    MEMORY_REGISTERED, /* cuMemHostRegister */
    MEMORY_MANAGED,    /* cuMemAllocManaged: the host's, and the device's to look at */
};

struct allocation {
    uint64_t base;
    uint64_t size_bytes;
    void *host;
    enum memory_kind kind;
    struct context *context; /* that made it; not a reference: the allocation ends with it */
    unsigned flags;          /* of cuMemHostAlloc or cuMemHostRegister; access of MEMORY_MAPPED */
    bool read_only;          /* for kernels */
    unsigned advice;         /* of managed memory: CUDA_MANAGED_* */
    uint64_t id;
    struct pool *pool;   /* that a stream-ordered allocation came from, or NULL */
    bool doomed;         /* a free of it is in a stream */
    struct block *block; /* of MEMORY_MAPPED (virtual.h) */
};

/* Copies out the allocation that holds address; false if there is none. */
bool memory_find(uint64_t address, struct allocation *ret);

/* What the engine needs to reach memory as kernels of this context may. */
struct ptx_memory memory_engine(struct context *context);

/* New device memory, or a module's variable. align: a power of two. */
CUresult memory_new_device(struct context *context, enum memory_kind kind, uint64_t size_bytes,
                           uint64_t align, bool read_only, struct allocation *ret);

/* New device memory from a pool. */
CUresult memory_new_pooled(struct context *context, struct pool *pool, uint64_t size_bytes,
                           struct allocation *ret);

/* From now on no call takes the allocation at base; what is under way still does. */
void memory_doom(uint64_t base);

/* Enters mapped memory, without access. */
CUresult memory_add_mapped(struct block *block, uint64_t base, void *host, uint64_t size_bytes);

/* True if the range is made of whole mappings, or has any allocation in it. */
bool memory_mapped_wholly(uint64_t base, uint64_t size_bytes);
bool memory_touches(uint64_t base, uint64_t size_bytes);

/* True if a mapping of that device's memory holds address. */
bool memory_is_mapped_of(uint64_t address, const struct device *device);

/* Sets the access of all mappings in a range. */
void memory_set_access(uint64_t base, uint64_t size_bytes, unsigned flags);

/* Takes one mapping in the range out; NULL: there is none. */
struct block *memory_remove_mapped(uint64_t base, uint64_t size_bytes);

/* Enters host memory. ALREADY_REGISTERED if any byte of it is in the map. */
CUresult memory_add_host(struct context *context, enum memory_kind kind, void *host,
                         uint64_t size_bytes, unsigned flags);

/* Takes out the allocation at base and frees what the library allocated for it. */
void memory_remove(uint64_t base);

/* Removes all that belongs to a context. */
void memory_end_all(struct context *context);

/* How the bytes of a range may be reached. */
enum memory_place {
    MEMORY_AT_DEVICE, /* device memory */
    MEMORY_AT_PINNED, /* host memory that devices may use */
    MEMORY_AT_HOST,   /* any other host memory, which cannot be checked */
};

/*
 * Where the bytes of [address, address + size_bytes) are. False if the range begins in an
 * allocation and leaves it, or is a device address without an allocation.
 */
bool memory_resolve(uint64_t address, uint64_t size_bytes, void **ret_host,
                    enum memory_place *ret_place);

#endif
