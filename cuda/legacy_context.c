/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver API: contexts that count their users, as before cuCtxSetCurrent, part of every library
 * that implements it. A context starts with one user; only more than that are kept here. The lock
 * is never held while another function of the driver API is called.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "cuda/cuda_api.h"

#define MOST_CONTEXTS 64u /* handles of contexts, see cuda.spec */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct attached {
    CUcontext context; /* NULL: free */
    unsigned users;    /* beside the first */
} table[MOST_CONTEXTS];

/* The context's entry, or (NULL) a free one; NULL if there is none. Needs the lock. */
static struct attached *find(CUcontext context)
{
    for (size_t i = 0; i < MOST_CONTEXTS; i++)
        if (table[i].context == context)
            return &table[i];
    return NULL;
}

static CUcontext context_at(size_t index)
{
    CUcontext context;

    pthread_mutex_lock(&lock);
    context = table[index].context;
    pthread_mutex_unlock(&lock);
    return context;
}

/* Contexts that were destroyed with users left give their entries back. */
static void sweep(void)
{
    for (size_t i = 0; i < MOST_CONTEXTS; i++) {
        CUcontext context = context_at(i);
        unsigned version;

        if (!context || cuCtxGetApiVersion(context, &version) == CUDA_SUCCESS)
            continue;
        pthread_mutex_lock(&lock);
        if (table[i].context == context)
            table[i] = (struct attached){0};
        pthread_mutex_unlock(&lock);
    }
}

static CUresult attach(CUcontext context)
{
    struct attached *entry;

    pthread_mutex_lock(&lock);
    entry = find(context);
    if (!entry)
        entry = find(NULL);
    if (entry) {
        entry->context = context;
        entry->users++;
    }
    pthread_mutex_unlock(&lock);
    return entry ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuCtxAttach(CUcontext *pctx, unsigned int flags)
{
    CUcontext current = NULL;
    CUresult result = cuCtxGetCurrent(&current);

    if (result != CUDA_SUCCESS)
        return result;
    if (!pctx || flags != 0)
        return CUDA_ERROR_INVALID_VALUE;
    if (!current)
        return CUDA_ERROR_INVALID_CONTEXT;
    result = attach(current);
    if (result == CUDA_ERROR_OUT_OF_MEMORY) {
        sweep();
        result = attach(current);
    }
    if (result == CUDA_SUCCESS)
        *pctx = current;
    return result;
}

/* False if it was the last user. */
static bool leave(CUcontext context)
{
    struct attached *entry;

    pthread_mutex_lock(&lock);
    entry = find(context);
    if (entry && --entry->users == 0)
        *entry = (struct attached){0};
    pthread_mutex_unlock(&lock);
    return entry != NULL;
}

CUresult cuCtxDetach(CUcontext ctx)
{
    CUcontext current = NULL;
    CUresult result = cuCtxGetCurrent(&current);

    if (result != CUDA_SUCCESS)
        return result;
    if (!ctx || ctx != current)
        return CUDA_ERROR_INVALID_CONTEXT;
    return leave(ctx) ? CUDA_SUCCESS : cuCtxDestroy_v2(ctx);
}
