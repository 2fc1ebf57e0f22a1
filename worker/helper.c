/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/helper.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "worker/channel.h"

int helper_init(struct helper *helper)
{
    helper->todo_end = &helper->todo;
    helper->done_end = &helper->done;
    pthread_mutex_init(&helper->lock, NULL);
    pthread_cond_init(&helper->wake, NULL);
    helper->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return helper->event < 0 ? -errno : 0;
}

void helper_execute(struct channel *channel, struct item *item)
{
    item->result = item->call.row->execute(channel, &item->call, &item->in, item->out);
}

static struct item *take_todo(struct helper *helper)
{
    struct item *item;

    helper->idle++;
    while (!helper->todo && !helper->stop)
        pthread_cond_wait(&helper->wake, &helper->lock);
    helper->idle--;
    item = helper->todo;
    if (item) {
        helper->todo = item->next;
        if (!helper->todo)
            helper->todo_end = &helper->todo;
    }
    return item;
}

static void put_done(struct helper *helper, struct item *item)
{
    item->next = NULL;
    *helper->done_end = item;
    helper->done_end = &item->next;
}

static void run_one(struct channel *channel, struct item *item)
{
    CUresult result = CUDA_SUCCESS;

    if (item->context && item->context->cu)
        result = channel->cu->cuCtxSetCurrent(item->context->cu);
    if (result == CUDA_SUCCESS)
        helper_execute(channel, item);
    else
        item->result = result;
}

static void *helper_main(void *argument)
{
    struct channel *channel = argument;
    struct helper *helper = &channel->helper;
    struct item *item;

    pthread_mutex_lock(&helper->lock);
    while ((item = take_todo(helper))) {
        pthread_mutex_unlock(&helper->lock);
        run_one(channel, item);
        pthread_mutex_lock(&helper->lock);
        put_done(helper, item);
        channel_kick(helper->event);
    }
    pthread_mutex_unlock(&helper->lock);
    return NULL;
}

int helper_submit(struct channel *channel, struct item *item)
{
    struct helper *helper = &channel->helper;
    int status = 0;

    pthread_mutex_lock(&helper->lock);
    item->next = NULL;
    *helper->todo_end = item;
    helper->todo_end = &item->next;
    if (helper->idle == 0 && helper->count < WORKER_MAX_HELPERS) {
        status = -pthread_create(&helper->threads[helper->count], NULL, helper_main, channel);
        if (status == 0)
            helper->count++;
        else if (helper->count > 0)
            status = 0; /* one of those that there are will take it */
    }
    pthread_cond_signal(&helper->wake);
    if (status < 0) {
        helper->todo = NULL;
        helper->todo_end = &helper->todo;
    }
    pthread_mutex_unlock(&helper->lock);
    return status;
}

struct item *helper_collect(struct channel *channel)
{
    struct helper *helper = &channel->helper;
    struct item *item;

    pthread_mutex_lock(&helper->lock);
    item = helper->done;
    if (item) {
        helper->done = item->next;
        if (!helper->done)
            helper->done_end = &helper->done;
    }
    pthread_mutex_unlock(&helper->lock);
    return item;
}

void helper_free(struct channel *channel)
{
    struct helper *helper = &channel->helper;

    pthread_mutex_lock(&helper->lock);
    helper->stop = true;
    pthread_cond_broadcast(&helper->wake);
    pthread_mutex_unlock(&helper->lock);
    for (uint32_t i = 0; i < helper->count; i++)
        pthread_join(helper->threads[i], NULL);
    pthread_mutex_destroy(&helper->lock);
    pthread_cond_destroy(&helper->wake);
    close(helper->event);
}
