/* SPDX-License-Identifier: Apache-2.0 */
/* State of each thread that calls the driver API; see thread.h. */
#include "softgpu/thread.h"

#include <stdlib.h>

#include "cuda/exports.h"
#include "softgpu/stream.h"

static pthread_key_t key;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static _Thread_local struct thread *self;

/* At a thread's end: its default streams finish what they hold, and go. */
static void thread_end(void *arg)
{
    struct thread *thread = arg;
    struct thread_stream *entry;

    pthread_mutex_lock(&gpu.lock);
    while ((entry = thread->streams)) {
        thread->streams = entry->next;
        stream_retire(entry->stream);
        stream_unref(entry->stream);
        free(entry);
    }
    pthread_mutex_unlock(&gpu.lock);
    self = NULL;
    free(thread);
}

static void make_key(void)
{
    pthread_key_create(&key, thread_end);
}

struct thread *thread_self(void)
{
    if (self)
        return self;
    pthread_once(&key_once, make_key);
    self = calloc(1, sizeof(*self));
    if (self)
        pthread_setspecific(key, self);
    return self;
}

bool thread_in_host_function(void)
{
    return self && self->in_host_function;
}

CUcontext thread_current(void)
{
    return self && self->n_contexts ? self->contexts[self->n_contexts - 1] : NULL;
}

void cuda_per_thread_enter(void)
{
    struct thread *thread = thread_self();

    if (thread)
        thread->per_thread = true;
}

void cuda_per_thread_leave(void)
{
    if (self)
        self->per_thread = false;
}
