/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/libvgpu/thread.h"

#include <stdlib.h>
#include <time.h>

#include "cuda/cuda_send.h"
#include "guest/libvgpu/guest.h"

static __thread struct guest_thread *self;
static pthread_key_t key;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static bool key_made;

/* Numbers that ended threads gave back, under numbers_lock; they are reused so that they stay
 * small. */
static pthread_mutex_t numbers_lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t *free_numbers;
static size_t free_count, free_room;
static uint32_t last_number;

static void give_number(uint32_t number)
{
    pthread_mutex_lock(&numbers_lock);
    if (free_count == free_room) {
        size_t room = free_room ? free_room * 2 : 16;
        uint32_t *larger = reallocarray(free_numbers, room, sizeof(*larger));

        if (!larger) {
            pthread_mutex_unlock(&numbers_lock);
            return; /* the number is lost, which costs nothing */
        }
        free_numbers = larger;
        free_room = room;
    }
    free_numbers[free_count++] = number;
    pthread_mutex_unlock(&numbers_lock);
}

void thread_number(struct guest_thread *thread)
{
    if (thread->number)
        return;
    pthread_mutex_lock(&numbers_lock);
    thread->number = free_count > 0 ? free_numbers[--free_count] : ++last_number;
    pthread_mutex_unlock(&numbers_lock);
}

static void thread_end(void *argument)
{
    struct guest_thread *thread = argument;
    struct sender *sender = guest_sender();

    if (thread->number && sender) {
        thread->context_count = 0;
        cuda_send_thread_exit(sender);
        give_number(thread->number);
    }
    self = NULL;
    pthread_cond_destroy(&thread->waiter.cond);
    free(thread->contexts);
    free(thread->answer);
    free(thread);
}

static void make_key(void)
{
    key_made = pthread_key_create(&key, thread_end) == 0;
}

static struct guest_thread *thread_new(void)
{
    struct guest_thread *thread = calloc(1, sizeof(*thread));
    pthread_condattr_t attributes;

    if (!thread)
        return NULL;
    thread->answer = aligned_alloc(8, VGPU_RECORD_MAX_BYTES);
    if (!thread->answer) {
        free(thread);
        return NULL;
    }
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&thread->waiter.cond, &attributes);
    pthread_condattr_destroy(&attributes);
    return thread;
}

struct guest_thread *thread_self(void)
{
    if (self)
        return self;
    pthread_once(&key_once, make_key);
    if (!key_made)
        return NULL;
    self = thread_new();
    if (self)
        pthread_setspecific(key, self);
    return self;
}

struct guest_thread *thread_peek(void)
{
    return self;
}

uint32_t thread_context(const struct guest_thread *thread)
{
    return thread->context_count > 0 ? thread->contexts[thread->context_count - 1] : 0;
}

bool thread_push(struct guest_thread *thread, uint32_t context)
{
    if (thread->context_count == thread->context_room) {
        size_t room = thread->context_room ? thread->context_room * 2 : 4;
        uint32_t *larger = reallocarray(thread->contexts, room, sizeof(*larger));

        if (!larger)
            return false;
        thread->contexts = larger;
        thread->context_room = room;
    }
    thread->contexts[thread->context_count++] = context;
    return true;
}
