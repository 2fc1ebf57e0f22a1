/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The steps of calls that run beside the consumer (beside.h), each in the file of its executions
 * (exec_*.c). prepare_* answer a CUresult that ends the call if it is an error; settle_* see
 * item->result and may change it.
 */
#ifndef VGPU_WORKER_EXEC_H
#define VGPU_WORKER_EXEC_H

#include "cuda/cuda_abi.h"

struct channel;
struct item;

CUresult prepare_context_release(struct channel *channel, struct item *item);
CUresult prepare_context_create(struct channel *channel, struct item *item);
CUresult prepare_context_destroy(struct channel *channel, struct item *item);
CUresult prepare_context_reset(struct channel *channel, struct item *item);
CUresult prepare_context_set_limit(struct channel *channel, struct item *item);
CUresult prepare_module_load(struct channel *channel, struct item *item);
CUresult prepare_module_unload(struct channel *channel, struct item *item);
CUresult prepare_link(struct channel *channel, struct item *item);
CUresult prepare_memory_free(struct channel *channel, struct item *item);
CUresult prepare_memory_unmap(struct channel *channel, struct item *item);
CUresult prepare_memory_set_access(struct channel *channel, struct item *item);
CUresult prepare_host_unregister(struct channel *channel, struct item *item);

void settle_context_create(struct channel *channel, struct item *item);
void settle_context_end(struct channel *channel, struct item *item);
void settle_context_set_limit(struct channel *channel, struct item *item);
void settle_context_reset(struct channel *channel, struct item *item);
void settle_module_load(struct channel *channel, struct item *item);
void settle_module_unload(struct channel *channel, struct item *item);
void settle_link(struct channel *channel, struct item *item);
void settle_memory_free(struct channel *channel, struct item *item);
void settle_memory_unmap(struct channel *channel, struct item *item);
void settle_memory_set_access(struct channel *channel, struct item *item);

/* A plain free of what a pool gave. */
void settle_pool_memory_free(struct channel *channel, struct item *item);

void settle_host_register(struct channel *channel, struct item *item);

#endif
