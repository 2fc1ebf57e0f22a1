/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/libvgpu/crew.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "guest/libvgpu/stream_rows.h"

/* Measured: with three beside the caller memory is as busy as it gets; with eight, copies are
 * slower. */
#define THREADS_MAX 3u

/* Measured: to start a thread costs as much as to copy some 300 KiB. */
#define BYTES_A_THREAD (2u << 20)

struct crew {
    pthread_mutex_t lock;
    pthread_cond_t given, finished;
    struct crew_job *first, **end; /* not taken up yet */
    bool over;
    unsigned count;
    pthread_t threads[THREADS_MAX];
};

unsigned crew_size(uint64_t bytes)
{
    uint64_t most = bytes / BYTES_A_THREAD;
    cpu_set_t allowed;
    int processors;

    if (most < 2 || sched_getaffinity(0, sizeof(allowed), &allowed) < 0)
        return 0;
    processors = CPU_COUNT(&allowed);
    if (most > (uint64_t)processors - 1)
        most = (uint64_t)processors - 1;
    return most < THREADS_MAX ? (unsigned)most : THREADS_MAX;
}

static void copy(const struct crew_job *job)
{
    if (job->past_cache)
        stream_rows(job->target, job->target_pitch, job->source, job->source_pitch, job->width,
                    job->rows);
    else
        copy_rows(job->target, job->target_pitch, job->source, job->source_pitch, job->width,
                  job->rows);
}

static struct crew_job *take_locked(struct crew *crew)
{
    struct crew_job *job = crew->first;

    if (job) {
        crew->first = job->next;
        if (!crew->first)
            crew->end = &crew->first;
    }
    return job;
}

/* With the lock held, which is given back meanwhile. */
static void copy_locked(struct crew *crew, struct crew_job *job)
{
    pthread_mutex_unlock(&crew->lock);
    copy(job);
    pthread_mutex_lock(&crew->lock);
    job->done = true;
}

static void *thread_main(void *argument)
{
    struct crew *crew = argument;

    pthread_mutex_lock(&crew->lock);
    while (!crew->over) {
        struct crew_job *job = take_locked(crew);

        if (!job) {
            pthread_cond_wait(&crew->given, &crew->lock);
            continue;
        }
        copy_locked(crew, job);
        pthread_cond_signal(&crew->finished);
    }
    pthread_mutex_unlock(&crew->lock);
    return NULL;
}

/* The program's signals are for its own threads, but for those that a bad address raises. */
static void start_threads(struct crew *crew, unsigned threads)
{
    sigset_t blocked, before;

    sigfillset(&blocked);
    sigdelset(&blocked, SIGSEGV);
    sigdelset(&blocked, SIGBUS);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    while (crew->count < threads &&
           pthread_create(&crew->threads[crew->count], NULL, thread_main, crew) == 0)
        crew->count++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

struct crew *crew_new(unsigned threads)
{
    struct crew *crew = threads > 0 ? calloc(1, sizeof(*crew)) : NULL;

    if (!crew)
        return NULL;
    pthread_mutex_init(&crew->lock, NULL);
    pthread_cond_init(&crew->given, NULL);
    pthread_cond_init(&crew->finished, NULL);
    crew->end = &crew->first;
    start_threads(crew, threads < THREADS_MAX ? threads : THREADS_MAX);
    return crew;
}

void crew_free(struct crew *crew)
{
    if (!crew)
        return;
    pthread_mutex_lock(&crew->lock);
    crew->over = true;
    pthread_cond_broadcast(&crew->given);
    pthread_mutex_unlock(&crew->lock);
    for (unsigned i = 0; i < crew->count; i++)
        pthread_join(crew->threads[i], NULL);
    pthread_cond_destroy(&crew->given);
    pthread_cond_destroy(&crew->finished);
    pthread_mutex_destroy(&crew->lock);
    free(crew);
}

void crew_give(struct crew *crew, struct crew_job *job)
{
    job->next = NULL;
    job->done = !crew;
    if (!crew) {
        copy(job);
        return;
    }
    pthread_mutex_lock(&crew->lock);
    *crew->end = job;
    crew->end = &job->next;
    pthread_cond_signal(&crew->given);
    pthread_mutex_unlock(&crew->lock);
}

bool crew_is_done(struct crew *crew, const struct crew_job *job)
{
    bool done;

    if (!crew)
        return job->done;
    pthread_mutex_lock(&crew->lock);
    done = job->done;
    pthread_mutex_unlock(&crew->lock);
    return done;
}

bool crew_help(struct crew *crew)
{
    struct crew_job *job;

    if (!crew)
        return false;
    pthread_mutex_lock(&crew->lock);
    job = take_locked(crew);
    if (job)
        copy_locked(crew, job);
    pthread_mutex_unlock(&crew->lock);
    return job;
}

void crew_await(struct crew *crew, struct crew_job *job)
{
    while (!crew_is_done(crew, job)) {
        if (crew_help(crew))
            continue;
        pthread_mutex_lock(&crew->lock);
        while (!job->done)
            pthread_cond_wait(&crew->finished, &crew->lock);
        pthread_mutex_unlock(&crew->lock);
    }
}
