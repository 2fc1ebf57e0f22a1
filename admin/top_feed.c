/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/top_feed.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>

#include "admin/status.h"
#include "admin/top_latency.h"
#include "admin/top_model.h"

#define PATIENCE_S 2.0 /* beyond three intervals; then an answer counts as late */

static double seconds_of(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int top_feed_init(struct top_feed *feed, const struct invocation *invocation, double interval_s,
                  struct vgpu_err *err)
{
    pthread_condattr_t attributes;

    *feed = (struct top_feed){.invocation = invocation, .interval_s = interval_s};
    feed->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (feed->event < 0)
        return vgpu_err_set(err, errno, "cannot make an eventfd: %s", strerror(errno));
    pthread_mutex_init(&feed->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&feed->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    return 0;
}

static void disconnect(struct top_feed *feed)
{
    pthread_mutex_lock(&feed->mutex);
    if (feed->connected)
        client_close(&feed->client);
    feed->connected = false;
    pthread_mutex_unlock(&feed->mutex);
}

static int connect_feed(struct top_feed *feed, struct vgpu_err *err)
{
    struct client client;
    int rc;

    if (feed->connected)
        return 0;
    rc = client_open(&client, feed->invocation, err);
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&feed->mutex);
    feed->client = client;
    feed->connected = true;
    feed->has_health = feed->has_metrics = !client_is_offline(&client);
    pthread_mutex_unlock(&feed->mutex);
    return 0;
}

/* What older mediators do not have is not asked for again. */
static json_t *ask(struct top_feed *feed, const char *command, bool *has)
{
    _cleanup_json_ json_t *none = json_object();
    struct vgpu_err err = {.code = 0};
    json_t *result = NULL;

    if (*has && client_call(&feed->client, command, none, &result, &err) == -EOPNOTSUPP)
        *has = false;
    return result;
}

static json_t *ask_latency(struct top_feed *feed)
{
    struct vgpu_err err = {.code = 0};
    json_t *latency = NULL;

    if (feed->has_metrics && top_latency_ask(&feed->client, &latency, &err) == -EOPNOTSUPP)
        feed->has_metrics = false;
    return latency;
}

static int collect(struct top_feed *feed, json_t **ret_model, struct vgpu_err *err)
{
    _cleanup_json_ json_t *status = NULL;
    _cleanup_json_ json_t *health = NULL;
    _cleanup_json_ json_t *latency = NULL;
    struct top_answers answers = {.time = seconds_of(CLOCK_REALTIME)};
    int rc = status_get(&feed->client, &status, err);

    if (rc < 0)
        return rc;
    health = ask(feed, "health", &feed->has_health);
    latency = ask_latency(feed);
    answers.status = status;
    answers.latency = latency;
    answers.health = health;
    *ret_model = top_model(&answers, feed->earlier);
    return *ret_model ? 0 : vgpu_err_set(err, ENOMEM, "out of memory");
}

static void show_clock(double time, char text[16])
{
    time_t seconds = (time_t)time;
    struct tm local;

    if (!localtime_r(&seconds, &local) || strftime(text, 16, "%H:%M:%S", &local) == 0)
        snprintf(text, 16, "-");
}

static void say_offline(struct top_feed *feed, char note[TOP_NOTE_BYTES])
{
    char since[16];

    if (feed->offline_since == 0)
        feed->offline_since = seconds_of(CLOCK_REALTIME);
    show_clock(feed->offline_since, since);
    snprintf(note, TOP_NOTE_BYTES, "no mediator at %s since %s: waiting for it",
             feed->invocation->socket_path, since);
}

/*
 * Gives model, unless it is NULL, and note to the other thread. What is kept for the next model is
 * a copy: not every jansson counts references so that two threads may.
 */
static void publish(struct top_feed *feed, json_t *model, const char *note)
{
    const uint64_t one = 1;

    if (model) {
        json_decref(feed->earlier);
        feed->earlier = json_deep_copy(model);
    }
    pthread_mutex_lock(&feed->mutex);
    if (model) {
        json_decref(feed->model);
        feed->model = model;
        feed->answered_s = seconds_of(CLOCK_MONOTONIC);
    }
    snprintf(feed->note, sizeof(feed->note), "%s", note);
    pthread_mutex_unlock(&feed->mutex);
    if (write(feed->event, &one, sizeof(one)) < 0)
        return; /* full: there is news already */
}

int top_feed_look(struct top_feed *feed, struct vgpu_err *err)
{
    char note[TOP_NOTE_BYTES] = "";
    json_t *model = NULL;
    bool offline = false;
    int rc = connect_feed(feed, err);

    if (rc == 0) {
        offline = client_is_offline(&feed->client);
        rc = collect(feed, &model, err);
    }
    if (rc == 0 && offline)
        say_offline(feed, note);
    else if (rc == 0)
        feed->offline_since = 0;
    else
        snprintf(note, sizeof(note), "not up to date: %s", err->text);
    /* The database is left to a mediator that starts; a broken connection is made anew. */
    if (rc < 0 || offline)
        disconnect(feed);
    publish(feed, model, note);
    return rc;
}

/* Its end may be moved meanwhile. False: the thread is to end. */
static bool wait_interval(struct top_feed *feed)
{
    double start = seconds_of(CLOCK_MONOTONIC);
    bool stop;

    pthread_mutex_lock(&feed->mutex);
    while (!feed->stop && start + feed->interval_s > seconds_of(CLOCK_MONOTONIC)) {
        double end = start + feed->interval_s, whole = floor(end);
        struct timespec until = {.tv_sec = (time_t)whole, .tv_nsec = (long)((end - whole) * 1e9)};

        pthread_cond_timedwait(&feed->wake, &feed->mutex, &until);
    }
    stop = feed->stop;
    pthread_mutex_unlock(&feed->mutex);
    return !stop;
}

static void *look_on(void *context)
{
    struct top_feed *feed = context;
    struct vgpu_err err = {.code = 0};

    while (wait_interval(feed))
        top_feed_look(feed, &err);
    return NULL;
}

int top_feed_start(struct top_feed *feed, struct vgpu_err *err)
{
    int rc = pthread_create(&feed->thread, NULL, look_on, feed);

    if (rc != 0)
        return vgpu_err_set(err, rc, "cannot start a thread: %s", strerror(rc));
    feed->started = true;
    return 0;
}

void top_feed_set_interval(struct top_feed *feed, double interval_s)
{
    pthread_mutex_lock(&feed->mutex);
    feed->interval_s = interval_s;
    pthread_cond_signal(&feed->wake);
    pthread_mutex_unlock(&feed->mutex);
}

json_t *top_feed_take(struct top_feed *feed, char note[TOP_NOTE_BYTES])
{
    uint64_t news;
    json_t *model;
    double late;

    if (read(feed->event, &news, sizeof(news)) < 0 && errno != EAGAIN)
        return NULL;
    pthread_mutex_lock(&feed->mutex);
    model = vgpu_steal_ptr(&feed->model);
    snprintf(note, TOP_NOTE_BYTES, "%s", feed->note);
    late = seconds_of(CLOCK_MONOTONIC) - feed->answered_s;
    if (!note[0] && late > 3 * feed->interval_s + PATIENCE_S)
        snprintf(note, TOP_NOTE_BYTES, "the mediator has not answered for %.0f s", late);
    pthread_mutex_unlock(&feed->mutex);
    return model;
}

void top_feed_release(struct top_feed *feed)
{
    pthread_mutex_lock(&feed->mutex);
    feed->stop = true;
    if (feed->connected && feed->client.fd >= 0)
        shutdown(feed->client.fd, SHUT_RDWR);
    pthread_cond_signal(&feed->wake);
    pthread_mutex_unlock(&feed->mutex);
    if (feed->started)
        pthread_join(feed->thread, NULL);
    disconnect(feed);
    json_decref(feed->model);
    json_decref(feed->earlier);
    pthread_cond_destroy(&feed->wake);
    pthread_mutex_destroy(&feed->mutex);
    vgpu_close(&feed->event);
}
