/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device behind test_driver.h: its state, and what the parts of the driver double
 * (test_driver*.c) do to it. Its lock guards it; what needs the lock says so, LOCKED takes it.
 */
#ifndef VGPU_WORKER_TEST_GPU_H
#define VGPU_WORKER_TEST_GPU_H

#include <pthread.h>

#include "worker/test_driver.h"

#define JOURNAL_MAX 4096
#define NAME_BYTES  32

enum work_kind { WORK_UNIT, WORK_RECORD, WORK_AWAIT, WORK_FREE };

struct work {
    struct work *next;
    enum work_kind kind;
    uint64_t order; /* among units */
    CUevent event;
    uint64_t ticket; /* of the record, or the one that is waited for */
    /* A unit: */
    void *target;
    const void *source;
    void *stage; /* what a copy from memory that is not page-locked has read */
    size_t bytes, rows, target_pitch, source_pitch;
    uint32_t element_bytes, value; /* a fill, if element_bytes */
    bool add;
    uint32_t count;
};

struct CUctx_st {
    CUresult broken;
    bool primary;
};

struct CUstream_st {
    struct CUstream_st *next;
    struct work *first, **last;
    CUcontext context;
    bool dead;
};

struct CUevent_st {
    uint64_t recorded, done; /* tickets */
    CUcontext context;
};

struct CUmod_st {
    struct CUfunc_st *functions;
    unsigned listed; /* functions that it enumerates */
    char global[64];
};

struct CUfunc_st {
    struct CUfunc_st *next;
    char name[NAME_BYTES];
    size_t params;
};

struct CUlinkState_st {
    char image[16];
};

struct CUmemPoolHandle_st {
    struct CUmemPoolHandle_st *next;
    uint64_t used, unused; /* bytes, in whole grains */
    uint64_t unseen;       /* unused too, but no synchronisation has seen it: not given back */
    uint64_t threshold;
    unsigned blocks;
    bool destroyed;
};

struct allocation {
    struct allocation *next;
    CUmemoryPool pool; /* or NULL */
    CUcontext owner;
    uint8_t *base;
    size_t bytes;
};

#define LOCKED_MAX 256

struct test_gpu {
    pthread_mutex_t lock;
    pthread_cond_t free_allowed;
    bool held, free_blocked;
    uint64_t units_issued, units_allowed, tickets;
    CUresult break_next, refuse_next;
    struct CUctx_st primary;
    struct CUstream_st *streams;
    struct allocation *allocations;
    size_t allocation_count, largest_copy, journal_count;
    struct {
        uint64_t start, bytes;
    } locked[LOCKED_MAX]; /* the latest */
    size_t locked_count;
    struct CUmemPoolHandle_st default_pool;
    struct CUmemPoolHandle_st *pools;
    unsigned long long memories;
    size_t memories_live;
    size_t pool_grain;
    char journal[JOURNAL_MAX][NAME_BYTES];
};

extern struct test_gpu test_gpu;
extern __thread CUcontext test_gpu_current;

#define LOCKED(statements)                                                                         \
    do {                                                                                           \
        pthread_mutex_lock(&test_gpu.lock);                                                        \
        statements pthread_mutex_unlock(&test_gpu.lock);                                           \
    } while (0)

/* What the driver makes for its user and owns: gone with the current context at the latest. */
void *test_gpu_make(size_t bytes);
void test_gpu_unmake(void *body);

/* The rest needs the lock. */

/* A line of the journal. */
void test_gpu_note(const char *name);

struct CUstream_st *test_gpu_new_stream(CUcontext context);

/* The context's own for NULL: made once, found by its being the only one without a handle. */
struct CUstream_st *test_gpu_stream(CUstream stream);

/* Work at the end of a stream; for the caller to fill in, and to settle. */
struct work *test_gpu_push(CUstream stream, enum work_kind kind);

/* Streams go as far as they may. */
void test_gpu_settle(void);

/* What the test asked for as the answer of the next call, or what is wrong with the context. */
CUresult test_gpu_refusal(void);

/* All that belongs to a context; owner NULL: everything. */
void test_gpu_forget(CUcontext owner);

/* Takes an allocation out; false if there is none at that address. */
bool test_gpu_drop(uintptr_t address);

/* Bytes as pools take them, and what was freed in a pool since the last synchronisation. */
uint64_t test_gpu_grains(uint64_t bytes);
void test_gpu_see_frees(struct CUmemPoolHandle_st *pool);

/* The parts put their calls into a table. */
void test_driver_modules(struct cuda_driver *driver);
void test_driver_memory(struct cuda_driver *driver);
void test_driver_work(struct cuda_driver *driver);

#endif
