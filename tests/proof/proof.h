/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proofs about order, waiting and data that hold for every CUDA driver: softgpu, NVIDIA's, or the
 * guest library over a worker. A part runs in main's thread with a context current; a check that
 * fails ends the program with the part's name and the seed, and so does a part that takes too long.
 */
#ifndef VGPU_TESTS_PROOF_H
#define VGPU_TESTS_PROOF_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/cleanup.h"
#include "cuda/cuda_driver.h"

struct proof {
    const struct cuda_driver *cu;
    CUcontext context;
    uint64_t seed;
    unsigned rounds;  /* of parts that repeat */
    unsigned seconds; /* of parts that go on for a time */
    bool pageable;    /* no page-locked memory: there may be no room for it */
};

/* What a run is made on. */
struct proof_target {
    const char *path; /* of a driver; for proof-channel, of a VM's socket or a device */
    uint64_t data_bytes;
    uint32_t granules; /* of the channel's rings; 0, as data_bytes: the default */
};

/* Opens it, with a context current. proof_driver.c and proof_channel.c, one for each program. */
int proof_open(struct cuda_driver *cu, const struct proof_target *target, struct vgpu_err *err);

/* Memory of the host: page-locked, or not. */
void *proof_host_new(struct proof *proof, size_t bytes);
void proof_host_free(struct proof *proof, void *memory);

struct proof_part {
    const char *name;
    void (*run)(struct proof *proof);
    unsigned deadline_s; /* 0: PROOF_DEADLINE_S */
};

#define PROOF_DEADLINE_S 60

/* Each ends with a part whose name is NULL. */
extern const struct proof_part proof_order_parts[], proof_wait_parts[], proof_bulk_parts[];

/* Says what went wrong, with the part and the seed, and ends the program. Any thread. */
void proof_fail(const char *file, int line, const char *what, CUresult result)
    __attribute__((noreturn));

/* xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators". */
uint64_t proof_random(uint64_t *state);

/* A state for the generator that differs for each `number`; never 0. */
uint64_t proof_seed(const struct proof *proof, unsigned number);

uint64_t proof_now_ns(void);

/* Loads proof's kernels: step(p, to, from, digit): p[to] = 31 * p[to] + p[from] + digit, words. */
CUfunction proof_step_kernel(struct proof *proof, CUmodule *ret_module);

#define CHECK(what)                                                                                \
    do {                                                                                           \
        if (!(what))                                                                               \
            proof_fail(__FILE__, __LINE__, #what, CUDA_SUCCESS);                                   \
    } while (0)

#define OK(proof, call)                                                                            \
    do {                                                                                           \
        CUresult result_ = (proof)->cu->call;                                                      \
                                                                                                   \
        if (result_ != CUDA_SUCCESS)                                                               \
            proof_fail(__FILE__, __LINE__, #call, result_);                                        \
    } while (0)

#endif
