/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/libvgpu/callback.h"

#include <signal.h>
#include <stdlib.h>

#include "common/flag.h"
#include "cuda/cuda_send.h"
#include "guest/libvgpu/receive.h"
#include "guest/libvgpu/thread.h"

struct entry {
    struct entry *next;
    uint64_t token;
    struct callback callback;
    CUresult result;
};

/* All guarded by the sender's wait_lock. */
struct callback_queue {
    pthread_t thread;
    pthread_cond_t added;         /* something to wait for, or stopping */
    struct entry *waiting;        /* their streams have not got there */
    struct entry *due, **due_end; /* in the order of their completions */
    bool running, stopping;
    uint64_t last_token;
};

static struct entry *take_entry_locked(struct callback_queue *queue, uint64_t token)
{
    for (struct entry **at = &queue->waiting; *at; at = &(*at)->next) {
        struct entry *entry = *at;

        if (entry->token == token) {
            *at = entry->next;
            return entry;
        }
    }
    return NULL;
}

static void append_due_locked(struct callback_queue *queue, struct entry *entry)
{
    entry->next = NULL;
    *queue->due_end = entry;
    queue->due_end = &entry->next;
}

void callback_due_locked(struct sender *sender, uint64_t token, CUresult result)
{
    struct entry *entry = sender->callbacks ? take_entry_locked(sender->callbacks, token) : NULL;

    if (!entry)
        return;
    entry->result = result;
    append_due_locked(sender->callbacks, entry);
}

/* Those that are told of errors run; the others never do, as CUDA has it. */
void callback_fail_locked(struct sender *sender, CUresult result)
{
    struct callback_queue *queue = sender->callbacks;

    while (queue && queue->waiting) {
        struct entry *entry = queue->waiting;

        queue->waiting = entry->next;
        entry->result = result;
        append_due_locked(queue, entry);
    }
}

/* Without callbacks the thread sleeps apart, and leaves the completions to those who wait. */
static void sleep_until_added(struct sender *sender, struct callback_queue *queue)
{
    pthread_mutex_lock(&sender->wait_lock);
    while (!queue->waiting && !queue->due && !queue->stopping)
        pthread_cond_wait(&queue->added, &sender->wait_lock);
    pthread_mutex_unlock(&sender->wait_lock);
}

/*
 * While there are some it waits like any other thread, and reads the completions where no other
 * does: a program may wait for its host function by any means.
 */
static bool due_or_stopping(struct sender *sender, void *argument)
{
    const struct callback_queue *queue = argument;

    return queue->due || queue->stopping;
}

static struct entry *take_due(struct sender *sender, struct callback_queue *queue)
{
    struct entry *entry;

    pthread_mutex_lock(&sender->wait_lock);
    entry = queue->due;
    if (entry) {
        queue->due = entry->next;
        if (!queue->due)
            queue->due_end = &queue->due;
        queue->running = true;
    }
    pthread_mutex_unlock(&sender->wait_lock);
    return entry;
}

static void run_entry(struct sender *sender, struct guest_thread *self, const struct entry *entry)
{
    const struct callback *callback = &entry->callback;

    self->in_callback = true;
    if (callback->with_status)
        callback->with_status(callback->stream, entry->result, callback->user_data);
    else if (entry->result == CUDA_SUCCESS)
        callback->function(callback->user_data);
    self->in_callback = false;
    if (!vgpu_flag_get(&sender->gone))
        cuda_send_host_function_done(sender,
                                     &(struct cuda_args_host_function_done){.token = entry->token});
}

static void *callback_main(void *argument)
{
    struct sender *sender = argument;
    struct callback_queue *queue = sender->callbacks;
    struct guest_thread *self = thread_self();

    while (self) {
        struct entry *entry;
        bool stopping;

        sleep_until_added(sender, queue);
        receive_until(sender, due_or_stopping, queue, true, RECEIVE_FOREVER);
        entry = take_due(sender, queue);
        if (entry) {
            run_entry(sender, self, entry);
            free(entry);
        }
        pthread_mutex_lock(&sender->wait_lock);
        queue->running = false;
        stopping = queue->stopping;
        pthread_mutex_unlock(&sender->wait_lock);
        if (stopping)
            break;
    }
    return NULL;
}

static int start_thread(struct sender *sender, struct callback_queue *queue)
{
    sigset_t all, before;
    int status;

    /* The program's signals are not for this thread. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    status = pthread_create(&queue->thread, NULL, callback_main, sender);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}

/* With wait_lock held: two threads may come first. */
static struct callback_queue *queue_locked(struct sender *sender)
{
    struct callback_queue *queue = sender->callbacks;

    if (queue)
        return queue;
    queue = calloc(1, sizeof(*queue));
    if (!queue)
        return NULL;
    queue->due_end = &queue->due;
    pthread_cond_init(&queue->added, NULL);
    sender->callbacks = queue;
    if (start_thread(sender, queue) != 0) {
        sender->callbacks = NULL;
        free(queue);
        return NULL;
    }
    return queue;
}

CUresult callback_add(struct sender *sender, const struct callback *callback, uint64_t *ret_token)
{
    struct entry *entry = calloc(1, sizeof(*entry));
    struct callback_queue *queue;

    if (!entry)
        return CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_lock(&sender->wait_lock);
    queue = queue_locked(sender);
    if (queue) {
        entry->callback = *callback;
        entry->token = ++queue->last_token;
        entry->next = queue->waiting;
        queue->waiting = entry;
        *ret_token = entry->token;
        pthread_cond_signal(&queue->added);
    }
    pthread_mutex_unlock(&sender->wait_lock);
    if (queue)
        return CUDA_SUCCESS;
    free(entry);
    return CUDA_ERROR_OUT_OF_MEMORY;
}

static void free_entries(struct entry *entry)
{
    while (entry) {
        struct entry *next = entry->next;

        if (entry->callback.drop)
            entry->callback.drop(entry->callback.user_data);
        free(entry);
        entry = next;
    }
}

void callback_drop(struct sender *sender, uint64_t token)
{
    struct entry *entry;

    pthread_mutex_lock(&sender->wait_lock);
    entry = take_entry_locked(sender->callbacks, token);
    pthread_mutex_unlock(&sender->wait_lock);
    if (entry)
        entry->next = NULL;
    free_entries(entry);
}

bool callback_any(struct sender *sender)
{
    const struct callback_queue *queue;
    bool any;

    pthread_mutex_lock(&sender->wait_lock);
    queue = sender->callbacks;
    any = queue && (queue->waiting || queue->due || queue->running);
    pthread_mutex_unlock(&sender->wait_lock);
    return any;
}

void callback_stop(struct sender *sender)
{
    struct callback_queue *queue = sender->callbacks;

    if (!queue)
        return;
    pthread_mutex_lock(&sender->wait_lock);
    queue->stopping = true;
    pthread_cond_signal(&queue->added);
    pthread_mutex_unlock(&sender->wait_lock);
    receive_note_progress(sender);
    pthread_join(queue->thread, NULL);
    sender->callbacks = NULL;
    free_entries(queue->waiting);
    free_entries(queue->due);
    pthread_cond_destroy(&queue->added);
    free(queue);
}
