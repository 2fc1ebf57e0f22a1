/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/work.h"

#include <errno.h>
#include <string.h>

#define ANSWER_S 15

static struct work_item *next_item(struct work *work)
{
    struct work_item *item;

    pthread_mutex_lock(&work->lock);
    while (!work->first && !work->stopping)
        pthread_cond_wait(&work->filled, &work->lock);
    item = work->first;
    if (item) {
        work->first = item->next;
        if (!work->first)
            work->last = &work->first;
        work->n--;
    }
    pthread_mutex_unlock(&work->lock);
    return item;
}

static void *serve(void *context)
{
    struct work *work = context;
    struct work_item *item;
    struct backend backend;

    backend_init(&backend, work->admin_socket, ANSWER_S);
    while ((item = next_item(work)))
        item->run(item, &backend);
    backend_release(&backend);
    return NULL;
}

int work_start(struct work *work, const char *admin_socket, struct vgpu_err *err)
{
    *work = (struct work){.admin_socket = admin_socket};
    work->last = &work->first;
    pthread_mutex_init(&work->lock, NULL);
    pthread_cond_init(&work->filled, NULL);
    while (work->n_threads < WORK_THREADS) {
        int rc = pthread_create(&work->threads[work->n_threads], NULL, serve, work);

        if (rc)
            return vgpu_err_set(err, rc, "cannot start a thread: %s", strerror(rc));
        work->n_threads++;
    }
    return 0;
}

void work_stop(struct work *work)
{
    pthread_mutex_lock(&work->lock);
    work->stopping = true;
    pthread_cond_broadcast(&work->filled);
    pthread_mutex_unlock(&work->lock);
    for (unsigned i = 0; i < work->n_threads; i++)
        pthread_join(work->threads[i], NULL);
    pthread_cond_destroy(&work->filled);
    pthread_mutex_destroy(&work->lock);
}

bool work_submit(struct work *work, struct work_item *item)
{
    bool room;

    pthread_mutex_lock(&work->lock);
    room = work->n < WORK_QUEUE_MAX && !work->stopping;
    if (room) {
        item->next = NULL;
        *work->last = item;
        work->last = &item->next;
        work->n++;
        pthread_cond_signal(&work->filled);
    }
    pthread_mutex_unlock(&work->lock);
    return room;
}
