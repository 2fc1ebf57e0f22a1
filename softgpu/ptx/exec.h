/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The running state: a grid's blocks, their warps, and the splits that a diverged warp is in.
 *
 * A warp's registers are columns of 32 lanes in frames, one frame per call of a function. Lanes
 * that have diverged are splits: sets of lanes with a position and a frame. One split runs at a
 * time, under its mask; which one is chosen in warp.c. A block belongs to one OS thread at a time.
 */
#ifndef SOFTGPU_PTX_EXEC_H
#define SOFTGPU_PTX_EXEC_H

#include "softgpu/ptx/codes.h"
#include "softgpu/ptx/ir.h"
#include "softgpu/ptx/opcode.h"

#define LANES      PTX_WARP_LANES
#define FULL_MASK  UINT32_MAX
#define MAX_WARPS  (PTX_MAX_BLOCK_THREADS / PTX_WARP_LANES)
#define N_BARRIERS 16

/* Warp instructions that a warp may run before others get their turn. */
#define QUANTUM 4096
/* Ranges that a thread of the pool remembers, by memory instruction. */
#define RANGE_SLOTS 64
/* Frames of a warp, beyond which a call is a stack overflow. */
#define WARP_FRAMES_BYTES_MAX (256u << 20)

struct warp;

typedef const struct op *(*handler)(struct warp *w, const struct op *op);

struct frame {
    struct frame *parent;
    struct frame *older, *newer; /* all frames of the warp */
    const struct ptx_function *function;
    const struct op *call; /* in the parent: where to return behind */
    uint32_t live;         /* lanes that have not left it */
    uint32_t local_base;   /* of its local memory, in each lane's */
    uint32_t depth;
    size_t bytes;
    uint8_t *registers; /* aligned to 64 */
};

enum split_state { SPLIT_READY, SPLIT_SYNC, SPLIT_BARRIER };

struct split {
    uint32_t mask;
    uint8_t state;
    uint8_t barrier;
    uint32_t member; /* lanes awaited by a .sync instruction */
    struct frame *frame;
    const struct op *at;
    uint64_t ran; /* when it last ran, for fairness */
};

struct block;
struct grid;
struct run;

/* What one OS thread keeps between blocks. */
struct worker {
    struct ptx_range ranges[RANGE_SLOTS];
    struct frame *free_frames[32]; /* by log2 of their bytes */
    uint32_t index;
};

enum warp_event { EVENT_NONE, EVENT_YIELD, EVENT_WAIT, EVENT_DONE, EVENT_FAULT };

struct warp {
    uint8_t *base[2]; /* registers of the frame; constants of the function */
    uint32_t mask;    /* lanes that the current op is for */
    uint32_t free;    /* lanes whose registers in this frame nobody needs */
    int32_t budget;
    uint32_t n_splits;
    const handler *table;
    struct frame *frame;
    struct frame *frames; /* all, the newest first */
    struct block *block;
    const struct grid *grid;
    struct worker *worker;
    uint8_t *local;        /* interleaved: word i of lane l at (i * 32 + l) * 4 */
    uint64_t instructions; /* of threads */
    uint32_t cc;           /* carry flags */
    uint32_t live;         /* lanes that have not exited */
    uint32_t index;
    uint32_t current; /* split */
    bool forced;      /* the current split keeps running, for fairness */
    bool spins;       /* saw atomics in this quantum */
    uint8_t event;
    uint32_t quanta;
    uint64_t clock;
    size_t frames_bytes;
    uint32_t arrived[N_BARRIERS]; /* lanes */
    struct split splits[LANES];
    uint32_t tid[3][LANES] __attribute__((aligned(64)));
};

struct barrier {
    uint32_t expected; /* threads; 0: all that live */
    uint32_t arrived;
    uint32_t popc;
    bool all, any;
    bool used;
};

struct block {
    const struct grid *grid;
    uint32_t id[3];
    uint32_t n_warps;
    uint8_t *shared;
    uint8_t *local;
    struct barrier barriers[N_BARRIERS];
    struct warp *warps;
    struct ptx_fault fault;
};

struct grid {
    struct ptx_launch launch;
    const struct ptx_program *program;
    const struct ptx_function *function;
    const handler *table;
    uint8_t *params;
    uint32_t *shared_offsets; /* by shared variable */
    uint32_t shared_bytes;
    uint32_t stack_bytes; /* of each thread */
    uint32_t block_threads;
    uint32_t n_warps;
    uint32_t n_processors;
    struct run *run;
};

/* tables.c: the fastest handlers that this CPU has. */
const handler *exec_table(void);

/* fault.c: records the first fault of the block, for the first lane of mask; returns NULL. */
const struct op *fault_raise(struct warp *w, const struct op *op, uint32_t mask,
                             enum ptx_fault_kind kind, uint64_t address, uint32_t size,
                             const char *format, ...) __attribute__((format(printf, 7, 8)));

/* access.c: one lane's access through a generic address, or one within a space. False: fault. */
bool access_read(struct warp *w, enum space space, unsigned lane, uint64_t address, uint32_t size,
                 void *data, enum ptx_fault_kind *ret_kind);
bool access_write(struct warp *w, enum space space, unsigned lane, uint64_t address, uint32_t size,
                  const void *data, enum ptx_fault_kind *ret_kind);
/* Host address of up to 8 aligned bytes, for atomics; NULL is a fault, or local memory. */
void *access_pointer(struct warp *w, enum space space, unsigned lane, uint64_t address,
                     uint32_t size, enum ptx_fault_kind *ret_kind);
/* The range that holds address, by the worker's memory or the caller's. */
const struct ptx_range *access_range(struct warp *w, unsigned slot, uint64_t address);

/* warp.c */
bool warp_start(struct warp *w);
enum warp_event warp_run(struct warp *w);
/* The current split goes on at next, unless others come first or the quantum is over. */
const struct op *warp_reschedule(struct warp *w, const struct op *next);
/* The current split waits or is gone: the op of another, or NULL. */
const struct op *warp_next(struct warp *w);
/* The current split waits at op until the lanes of member are there. */
const struct op *warp_wait_sync(struct warp *w, const struct op *op, uint32_t member);
/* Some lanes of the current split go their own way, to be run later. */
void warp_split(struct warp *w, uint32_t lanes, const struct op *at);
void warp_remove(struct warp *w, uint32_t split);
void warp_merge(struct warp *w);
void warp_enter(struct warp *w, struct frame *frame);

/* frame.c */
struct frame *frame_new(struct warp *w, const struct ptx_function *function, struct frame *parent,
                        const struct op *call, uint32_t live, uint32_t local_base);
void frame_leave(struct warp *w, struct frame *frame, uint32_t lanes); /* frees it when empty */
void frame_free_all(struct warp *w);
void worker_release(struct worker *worker);
/* Copies within the lanes' local memory. */
void frame_copy(struct warp *w, uint32_t lanes, uint32_t to, uint32_t from, uint32_t bytes);

/* block.c */
enum block_state { BLOCK_RUNNING, BLOCK_DONE, BLOCK_FAULT };
struct block *block_new(const struct grid *grid);
void block_free(struct block *block);
bool block_start(struct block *block, struct worker *worker, const uint32_t id[3]);
enum block_state block_run(struct block *block, uint64_t *instructions);
void block_abandon(struct block *block);

/* flow_call.c */
const struct op *flow_call(struct warp *w, const struct op *op,
                           const struct ptx_function *function);

/* printf.c: the built-in functions; places are those of the results, then the arguments. */
const struct op *builtin_vprintf(struct warp *w, const struct op *op, const uint32_t *places);
const struct op *builtin_assertfail(struct warp *w, const struct op *op, const uint32_t *places);

/* pool.c: prints for a run, one at a time. */
void run_print(struct run *run, const char *text, size_t size_bytes);

/* Without the instruction, the builtin is a call. */
static inline uint32_t count_lanes(uint32_t mask)
{
    mask = mask - (mask >> 1 & 0x55555555u);
    mask = (mask & 0x33333333u) + (mask >> 2 & 0x33333333u);
    return ((mask + (mask >> 4)) & 0x0f0f0f0fu) * 0x01010101u >> 24;
}

static inline void *reg(const struct warp *w, uint32_t ref)
{
    return w->base[ref & 1] + (ref & ~UINT32_C(1));
}

static inline uint32_t pred(const struct warp *w, uint32_t ref)
{
    return *(const uint32_t *)reg(w, ref);
}

static inline void set_pred(struct warp *w, uint32_t ref, uint32_t value)
{
    uint32_t *to = reg(w, ref);

    *to = (*to & ~w->mask) | (value & w->mask);
}

#endif
