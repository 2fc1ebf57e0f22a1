/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vgpu-worker: serves one channel, then exits. Started by vgpu-launcher only, which has put the
 * channel's descriptors at 3 to 9 (enum vgpu_channel_fd) and its own socket at 10. A spare gets
 * them by that socket later, when its driver is up. Of a channel by grants 3 to 5 are Xen's
 * devices.
 *
 * Exit status: 0 stopped, 1 not started, 2 usage, 3 the guest's record ended the channel, 4 other,
 * 5 (VGPU_EXIT_NOT_ADOPTED) a spare could not become its channel's worker.
 */
#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common/log.h"
#include "ring/pages.h"
#include "worker/adopt.h"
#include "worker/channel.h"
#include "worker/consumer.h"
#include "worker/sandbox.h"

#define FIRST_FD    3
#define LIFELINE_FD (FIRST_FD + VGPU_CHANNEL_FDS)

/* Timers fire this late at most; the default of 50 us would double a short wait. */
#define TIMER_SLACK_NS 1000ul

enum exit_status {
    EXIT_STOPPED = 0,
    EXIT_NOT_STARTED = 1,
    EXIT_USAGE = 2,
    EXIT_BAD_RECORD = 3,
    EXIT_OTHER = 4,
    EXIT_NOT_ADOPTED = VGPU_EXIT_NOT_ADOPTED
};

struct options {
    uint64_t channel;
    const char *gpu;
    const char *driver;
    struct vgpu_channel_geometry geometry;
    struct vgpu_launch_grant grant; /* domid 0: its memory is an object */
    uint32_t user;                  /* to become, with grant; 0: none */
    enum sandbox_mode sandbox;
    bool spare;
};

enum option_key {
    KEY_CHANNEL = 1,
    KEY_GPU,
    KEY_DRIVER,
    KEY_SUB_GRANULES,
    KEY_COMP_GRANULES,
    KEY_SUB_OFFSET,
    KEY_COMP_OFFSET,
    KEY_DATA_OFFSET,
    KEY_DATA_BYTES,
    KEY_TOTAL_BYTES,
    KEY_GRANT_DOMID,
    KEY_GRANT_DIRECTORY,
    KEY_GRANT_PORT,
    KEY_GRANT_USER,
    KEY_SANDBOX,
    KEY_SPARE
};

static const struct option long_options[] = {
    {"channel", required_argument, NULL, KEY_CHANNEL},
    {"gpu", required_argument, NULL, KEY_GPU},
    {"driver", required_argument, NULL, KEY_DRIVER},
    {"sub-granules", required_argument, NULL, KEY_SUB_GRANULES},
    {"comp-granules", required_argument, NULL, KEY_COMP_GRANULES},
    {"sub-offset", required_argument, NULL, KEY_SUB_OFFSET},
    {"comp-offset", required_argument, NULL, KEY_COMP_OFFSET},
    {"data-offset", required_argument, NULL, KEY_DATA_OFFSET},
    {"data-bytes", required_argument, NULL, KEY_DATA_BYTES},
    {"total-bytes", required_argument, NULL, KEY_TOTAL_BYTES},
    {"grant-domid", required_argument, NULL, KEY_GRANT_DOMID},
    {"grant-directory", required_argument, NULL, KEY_GRANT_DIRECTORY},
    {"grant-port", required_argument, NULL, KEY_GRANT_PORT},
    {"grant-user", required_argument, NULL, KEY_GRANT_USER},
    {"sandbox", required_argument, NULL, KEY_SANDBOX},
    {"spare", no_argument, NULL, KEY_SPARE},
    {NULL, 0, NULL, 0},
};

static bool parse_number(const char *text, uint64_t most, uint64_t *ret_value)
{
    char *end;
    unsigned long long value;

    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno || *end || value > most)
        return false;
    *ret_value = value;
    return true;
}

static bool parse_small(const char *text, uint32_t *ret_value)
{
    uint64_t value;

    if (!parse_number(text, UINT32_MAX, &value))
        return false;
    *ret_value = (uint32_t)value;
    return true;
}

static bool parse_sandbox(const char *text, enum sandbox_mode *ret_mode)
{
    static const char *const names[] = {"off", "log", "on"};

    for (unsigned i = 0; i < 3; i++) {
        if (strcmp(text, names[i]) == 0) {
            *ret_mode = (enum sandbox_mode)i;
            return true;
        }
    }
    return false;
}

static bool parse_option(struct options *options, int key, const char *text)
{
    struct vgpu_channel_geometry *geometry = &options->geometry;

    switch ((enum option_key)key) {
    case KEY_CHANNEL:
        return parse_number(text, UINT32_MAX, &options->channel);
    case KEY_GPU:
        options->gpu = text;
        return true;
    case KEY_DRIVER:
        options->driver = text;
        return true;
    case KEY_SUB_GRANULES:
        return parse_small(text, &geometry->sub_granules);
    case KEY_COMP_GRANULES:
        return parse_small(text, &geometry->comp_granules);
    case KEY_SUB_OFFSET:
        return parse_number(text, UINT64_MAX, &geometry->sub_offset);
    case KEY_COMP_OFFSET:
        return parse_number(text, UINT64_MAX, &geometry->comp_offset);
    case KEY_DATA_OFFSET:
        return parse_number(text, UINT64_MAX, &geometry->data_offset);
    case KEY_DATA_BYTES:
        return parse_number(text, UINT64_MAX, &geometry->data_bytes);
    case KEY_TOTAL_BYTES:
        return parse_number(text, UINT64_MAX, &geometry->total_bytes);
    case KEY_GRANT_DOMID:
        return parse_small(text, &options->grant.domid);
    case KEY_GRANT_DIRECTORY:
        return parse_small(text, &options->grant.directory);
    case KEY_GRANT_PORT:
        return parse_small(text, &options->grant.event_port);
    case KEY_GRANT_USER:
        return parse_small(text, &options->user);
    case KEY_SANDBOX:
        return parse_sandbox(text, &options->sandbox);
    case KEY_SPARE:
        options->spare = true;
        return true;
    }
    return false;
}

static bool parse_options(struct options *options, int argc, char **argv)
{
    int key;

    while ((key = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (key == '?')
            return false;
        if (!parse_option(options, key, optarg)) {
            fprintf(stderr, "vgpu-worker: not a value for this option: '%s'\n", optarg);
            return false;
        }
    }
    if (optind != argc || !options->driver ||
        options->spare != (options->geometry.total_bytes == 0)) {
        fprintf(stderr, "vgpu-worker: started by vgpu-launcher; --driver and the channel's "
                        "geometry are needed\n");
        return false;
    }
    return true;
}

/* The driver, up to its first kernel. */
static int warm_up(struct channel *channel, struct vgpu_err *err)
{
    int status = print_capture(&channel->print);

    if (status < 0)
        return vgpu_err_set(err, -status, "cannot capture what kernels print");
    status = channel_start(channel, err);
    /* What the driver's compiler took for the first kernel goes back; it keeps megabytes otherwise.
     */
    malloc_trim(0);
    return status;
}

static int close_sandbox(struct channel *channel, const struct options *options,
                         struct vgpu_err *err)
{
    const char *applied = "";
    int status = sandbox_enter(options->sandbox,
                               options->grant.domid ? grant_ops.notify_request : 0, &applied, err);

    if (status < 0)
        return status;
    vgpu_log(VGPU_LOG_INFO, "worker-ready", "channel=%llu sandbox=%s spare=%d",
             (unsigned long long)options->channel, applied, options->spare);
    channel_announce(channel);
    return 0;
}

static int serve(struct channel *channel, const struct options *options)
{
    char quoted[256];

    consumer_run(channel);
    vgpu_log(VGPU_LOG_INFO, "worker-end", "channel=%llu reason=%u text=%s",
             (unsigned long long)options->channel, channel->end_status,
             vgpu_log_quote(quoted, sizeof(quoted), channel->end_text));
    if (channel->end_status == VGPU_OK)
        return EXIT_STOPPED;
    return channel->end_status == VGPU_BAD_RECORD ? EXIT_BAD_RECORD : EXIT_OTHER;
}

static void list_fds(int fds[VGPU_CHANNEL_FDS])
{
    for (int i = 0; i < VGPU_CHANNEL_FDS; i++)
        fds[i] = FIRST_FD + i;
}

static int attach(struct channel *channel, const struct options *options, struct vgpu_err *err)
{
    int fds[VGPU_CHANNEL_FDS];
    const struct channel_config config = {.geometry = options->geometry,
                                          .fds = fds,
                                          .grants = options->grant.domid ? &grant_ops : NULL,
                                          .grant = options->grant,
                                          .lifeline = LIFELINE_FD};

    list_fds(fds);
    return channel_attach(channel, &config, err);
}

static int not_started(const struct options *options, const struct vgpu_err *err)
{
    char quoted[256];

    vgpu_log(VGPU_LOG_ERROR, "worker-start", "channel=%llu error=%s",
             (unsigned long long)options->channel,
             vgpu_log_quote(quoted, sizeof(quoted), err->text));
    return EXIT_NOT_STARTED;
}

/* What the guest named and Xen does not give is its own doing; what else goes wrong is ours. */
static enum vgpu_status attach_status(const struct options *options, const struct vgpu_err *err)
{
    if (err->code == ENOMEM || err->code == ENOSPC)
        return VGPU_NO_MEMORY;
    if (options->grant.domid && (err->code == EPROTO || err->code == EINVAL))
        return VGPU_BAD_MESSAGE;
    return VGPU_INTERNAL;
}

/* The mediator is told by the report page, and the guest by the mediator. */
static int tell_not_attached(const struct options *options, const struct vgpu_err *err)
{
    int fds[VGPU_CHANNEL_FDS];

    list_fds(fds);
    channel_tell_not_attached(fds, attach_status(options, err), err->text);
    return not_started(options, err);
}

/* As above, where the channel's pages are mapped. */
static int tell_not_started(struct channel *channel, const struct options *options,
                            const struct vgpu_err *err)
{
    channel_end(channel, VGPU_DRIVER, "%s", err->text);
    channel_tell_end(channel);
    return not_started(options, err);
}

/* The device of grants becomes this process's own, with rights that are given up for good. */
static int take_grants(const struct options *options, struct vgpu_err *err)
{
    const struct vgpu_launch_adopt adopt = {.own_user = options->user != 0, .uid = options->user};
    int status = adopt_prepare(err);

    return status < 0 ? status : adopt_user(&adopt, &grant_ops, FIRST_FD + VGPU_FD_MEMORY, err);
}

/* A worker of a channel that is there already. */
static int run_worker(struct channel *channel, struct cuda_driver *driver,
                      const struct options *options)
{
    struct vgpu_err err = {0};

    if ((options->grant.domid && take_grants(options, &err) < 0) ||
        attach(channel, options, &err) < 0)
        return tell_not_attached(options, &err);
    if (cuda_driver_load(driver, options->driver, &err) < 0 || warm_up(channel, &err) < 0 ||
        close_sandbox(channel, options, &err) < 0)
        return tell_not_started(channel, options, &err);
    return serve(channel, options);
}

static int run_spare(struct channel *channel, struct cuda_driver *driver, struct options *options)
{
    struct vgpu_launch_adopt adopt;
    struct vgpu_err err = {0};
    int status;

    if (adopt_prepare(&err) < 0 || cuda_driver_load(driver, options->driver, &err) < 0 ||
        warm_up(channel, &err) < 0)
        return not_started(options, &err);
    status = adopt_wait(LIFELINE_FD, FIRST_FD, &adopt, &err);
    if (status < 0)
        return status == -ENOTCONN ? EXIT_STOPPED : not_started(options, &err);
    options->channel = adopt.channel;
    options->geometry = adopt.geometry;
    options->grant = adopt.grant;
    /* Nothing of the guest is mapped before it is the right user's. */
    if (adopt_user(&adopt, adopt.grant.domid ? &grant_ops : NULL, FIRST_FD + VGPU_FD_MEMORY, &err) <
        0) {
        tell_not_attached(options, &err);
        return EXIT_NOT_ADOPTED;
    }
    if (attach(channel, options, &err) < 0)
        return tell_not_attached(options, &err);
    if (close_sandbox(channel, options, &err) < 0)
        return tell_not_started(channel, options, &err);
    return serve(channel, options);
}

int main(int argc, char **argv)
{
    struct options options = {.sandbox = SANDBOX_ON};
    struct cuda_driver driver;
    struct vgpu_err err = {0};
    struct channel *channel;
    int status;

    vgpu_log_open("vgpu-worker", VGPU_LOG_INFO);
    if (!parse_options(&options, argc, argv))
        return EXIT_USAGE;
    mapping_leave_top();
    sandbox_close_from(LIFELINE_FD + 1);
    prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS, 0, 0, 0);
    /* Compiled kernels in a shared directory would tell one VM about another. */
    setenv("CUDA_CACHE_DISABLE", "1", 1);
    channel = channel_prepare(&driver, &err);
    if (!channel)
        return not_started(&options, &err);
    status = options.spare ? run_spare(channel, &driver, &options)
                           : run_worker(channel, &driver, &options);
    /* The kernel takes back what the driver holds; an orderly end could hang in it. */
    fflush(NULL);
    _exit(status);
}
