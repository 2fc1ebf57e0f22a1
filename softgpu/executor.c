/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that run streams; see executor.h. */
#include "softgpu/executor.h"

#include <signal.h>

static struct stream *ready; /* by priority, then by arrival */
static unsigned n_ready, n_idle, n_threads;
static pthread_cond_t work = PTHREAD_COND_INITIALIZER;

static struct stream *take(void)
{
    struct stream *stream = ready;

    ready = stream->next_queued;
    n_ready--;
    stream->state = STREAM_RUNNING;
    return stream;
}

/* Runs a stream until it is empty or blocked, or others wait and no thread is left for them. */
static void run(struct stream *stream)
{
    stream_ref(stream);
    do {
        stream_run_first(stream);
    } while (stream_can_run(stream) && (!ready || n_idle >= n_ready));
    stream_settle(stream);
    stream_unref(stream);
}

static void *executor(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&gpu.lock);
    for (;;) {
        while (!ready) {
            n_idle++;
            pthread_cond_wait(&work, &gpu.lock);
            n_idle--;
        }
        run(take());
    }
    return NULL;
}

static bool start_thread(void)
{
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, saved;
    bool started;

    if (n_threads == EXECUTOR_MAX_THREADS || pthread_attr_init(&attributes) != 0)
        return false;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &saved);
    started = pthread_create(&thread, &attributes, executor, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &saved, NULL);
    pthread_attr_destroy(&attributes);
    n_threads += started;
    return started;
}

CUresult executor_start(void)
{
    return n_threads > 0 || start_thread() ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

void executor_add(struct stream *stream)
{
    struct stream **link = &ready;

    while (*link && (*link)->priority <= stream->priority)
        link = &(*link)->next_queued;
    stream->next_queued = *link;
    *link = stream;
    n_ready++;
    if (n_ready > n_idle)
        start_thread();
    pthread_cond_signal(&work);
}
