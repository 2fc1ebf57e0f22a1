/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vgpu-admin top: a live screen of GPUs, pools and VMs. The model (top_model.c) is fetched by a
 * thread (top_feed.c), drawn by top_view.c, and put on a terminal by top_screen.c; with --once it
 * is printed, and with --json the model itself is.
 */
#include <langinfo.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>

#include "admin/commands.h"
#include "admin/top_feed.h"
#include "admin/top_screen.h"
#include "admin/top_view.h"

#define INTERVAL_LEAST_S 0.1
#define INTERVAL_MOST_S  3600.0
#define WHOLE_WIDTH      260 /* all columns, for what is no terminal */

static const struct command_option options[] = {
    {.name = "interval",
     .kind = OPTION_NUMBER,
     .metavar = "SECONDS",
     .key = "interval",
     .help = "look so often (1 s)",
     .local = true},
    {.name = "once",
     .kind = OPTION_FLAG,
     .key = "once",
     .help = "print one screen and end",
     .local = true},
    {.name = "sort",
     .kind = OPTION_TEXT,
     .metavar = "COLUMN",
     .key = "sort",
     .help = "sort VMs by this column; -COLUMN: the other way round",
     .local = true},
    {.name = "filter",
     .kind = OPTION_TEXT,
     .metavar = "WORDS",
     .key = "filter",
     .help = "only VMs that have these words in id, name, pool or state",
     .local = true},
    {.name = NULL},
};

static size_t output_width(void)
{
    struct winsize size;

    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col
                                                                           : WHOLE_WIDTH;
}

static int draw(struct top_view *view, const json_t *model, size_t most,
                void (*show)(const struct top_canvas *canvas), struct vgpu_err *err)
{
    struct top_canvas canvas;

    if (top_canvas_init(&canvas, most, view->ascii) < 0)
        return vgpu_err_set(err, ENOMEM, "out of memory");
    top_view_draw(view, model, &canvas);
    show(&canvas);
    top_canvas_release(&canvas);
    return 0;
}

static void print_canvas(const struct top_canvas *canvas)
{
    top_canvas_print(canvas, stdout);
}

static int show_once(const struct invocation *invocation, struct top_view *view,
                     struct top_feed *feed, struct vgpu_err *err)
{
    char note[TOP_NOTE_BYTES];
    _cleanup_json_ json_t *model = top_feed_take(feed, note);

    if (!json_is_object(json_object_get(model, "mediator")))
        client_say_offline(model);
    if (invocation->json) {
        client_print_json(model);
        return 0;
    }
    view->width = output_width();
    return draw(view, model, TOP_HEIGHT_MAX, print_canvas, err);
}

/* What the screen waits for. */
enum { WAIT_KEYS, WAIT_NEWS, WAIT_SIGNALS, WAITS };

static int refresh_screen(struct top_view *view, struct top_feed *feed, json_t **model,
                          struct vgpu_err *err)
{
    char note[TOP_NOTE_BYTES];
    json_t *latest = top_feed_take(feed, note);
    int rc;

    if (latest && (!view->paused || !*model)) {
        json_decref(*model);
        *model = latest;
    } else
        json_decref(latest);
    top_screen_measure(&view->width, &view->height);
    view->note = note[0] ? note : NULL;
    rc = draw(view, *model, view->height, top_screen_show, err);
    view->note = NULL;
    return rc;
}

/* A new size needs no more than another picture; other signals end it. */
static void take_signals(struct top_view *view, int fd)
{
    struct signalfd_siginfo info;

    while (read(fd, &info, sizeof(info)) == sizeof(info))
        if (info.ssi_signo != SIGWINCH)
            view->quit = true;
}

static void take_keys(struct top_view *view, struct top_feed *feed)
{
    double interval_s = view->interval_s;
    unsigned key;

    while (!view->quit && (key = top_screen_key()) != TOP_KEY_NONE)
        top_view_key(view, key);
    if (view->interval_s != interval_s)
        top_feed_set_interval(feed, view->interval_s);
}

static int show_live(struct top_view *view, struct top_feed *feed, int signals,
                     struct vgpu_err *err)
{
    struct pollfd waits[WAITS] = {[WAIT_KEYS] = {.fd = STDIN_FILENO, .events = POLLIN},
                                  [WAIT_NEWS] = {.fd = feed->event, .events = POLLIN},
                                  [WAIT_SIGNALS] = {.fd = signals, .events = POLLIN}};
    _cleanup_json_ json_t *model = NULL;
    int rc = 0;

    while (rc == 0 && !view->quit) {
        rc = refresh_screen(view, feed, &model, err);
        /* A late answer is to be said while there is no news. */
        if (poll(waits, WAITS, 1000) < 0)
            continue;
        take_signals(view, signals);
        take_keys(view, feed);
        if (waits[WAIT_KEYS].revents & (POLLHUP | POLLERR | POLLNVAL))
            view->quit = true;
    }
    return rc;
}

static int run_live(struct top_view *view, struct top_feed *feed, struct vgpu_err *err)
{
    _cleanup_close_ int signals = -1;
    sigset_t set;
    int rc;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGWINCH);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0)
        return vgpu_err_set(err, errno, "cannot watch signals: %s", strerror(errno));
    if ((rc = top_screen_open(colour_on(), err)) < 0)
        return rc;
    rc = top_feed_start(feed, err);
    if (rc == 0)
        rc = show_live(view, feed, signals, err);
    top_screen_close();
    return rc;
}

static int read_options(const struct invocation *invocation, struct top_view *view,
                        struct vgpu_err *err)
{
    const json_t *interval = json_object_get(invocation->local, "interval");
    const char *sort = json_string_value(json_object_get(invocation->local, "sort"));
    const char *filter = json_string_value(json_object_get(invocation->local, "filter"));

    top_view_init(view);
    view->ascii = strcmp(nl_langinfo(CODESET), "UTF-8") != 0;
    if (interval)
        view->interval_s = json_number_value(interval);
    if (!(view->interval_s >= INTERVAL_LEAST_S && view->interval_s <= INTERVAL_MOST_S))
        return vgpu_err_set(err, EINVAL, "--interval=%g is out of range: %g to %g",
                            view->interval_s, INTERVAL_LEAST_S, INTERVAL_MOST_S);
    if (filter && strlen(filter) >= TOP_FILTER_BYTES)
        return vgpu_err_set(err, EINVAL, "--filter is longer than %d bytes", TOP_FILTER_BYTES - 1);
    snprintf(view->sections[TOP_VMS].filter, TOP_FILTER_BYTES, "%s", filter ? filter : "");
    return sort ? top_view_sort(view, sort, err) : 0;
}

static int run(const struct invocation *invocation, struct vgpu_err *err)
{
    bool once = invocation->json || json_object_get(invocation->local, "once");
    struct top_view view;
    struct top_feed feed;
    int rc = read_options(invocation, &view, err);

    if (rc < 0 || (rc = top_feed_init(&feed, invocation, view.interval_s, err)) < 0)
        return rc;
    rc = top_feed_look(&feed, err);
    if (rc == 0)
        rc = once ? show_once(invocation, &view, &feed, err) : run_live(&view, &feed, err);
    top_feed_release(&feed);
    return rc;
}

const struct command command_top = {
    .name = "top",
    .summary = "watch GPUs, pools and VMs on a live screen",
    .options = options,
    .run = run,
};
