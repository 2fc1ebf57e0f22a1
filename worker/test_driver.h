/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A driver for tests whose streams go only as far as the test lets them. It keeps a journal of what
 * was handed to it, in order. One for the whole process; test_driver_reset() before each test.
 */
#ifndef VGPU_WORKER_TEST_DRIVER_H
#define VGPU_WORKER_TEST_DRIVER_H

#include <stdbool.h>
#include <stddef.h>

#include "cuda/cuda_driver.h"

#define TEST_DRIVER_GRANULARITY ((size_t)64 << 10)

void test_driver_reset(void);
void test_driver_table(struct cuda_driver *driver);

/* From now on units (launches, copies, fills) stay where they are until they are let go. */
void test_driver_hold(void);

/* Lets that many units of all streams together complete, oldest first; what follows them too. */
void test_driver_step(unsigned units);

/* Everything runs by itself again. */
void test_driver_release(void);

/* The next unit that completes breaks its context with this error. */
void test_driver_break(CUresult result);

/* The next call that takes a unit answers this at once. */
void test_driver_refuse(CUresult result);

/* cuMemFree blocks until it is switched off. */
void test_driver_block_free(bool block);

/* Pools take from the device in multiples of this: 512 at first. */
void test_driver_pool_grain(size_t bytes);

/* Takes the calls of pools out of a table. */
void test_driver_without_pools(struct cuda_driver *driver);

/* What was handed to the driver: names of functions, "copy", "fill", "destroy-stream"... */
size_t test_driver_journal_count(void);
const char *test_driver_journal(size_t index);

/* How often a call was made: "copy-out-of-range" counts copies whose ends no allocation holds. */
size_t test_driver_count(const char *name);

/* Parts of the data area that were page-locked. */
size_t test_driver_locked(void);

/* Bytes of the largest piece of a copy, and allocations that live. */
size_t test_driver_largest_copy(void);
size_t test_driver_allocations(void);

/* Handles of cuMemCreate that live. */
size_t test_driver_memories(void);
/* Puts a piece of work into a stream, and notes it in the journal. */
CUresult test_driver_unit(CUstream stream, const char *name);
void test_driver_note(const char *name);

/* Graphs: test_driver_graph.c. Each launch is one unit, "graph" in the journal. */
void test_driver_graphs(struct cuda_driver *driver);

#endif
