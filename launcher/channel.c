/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vgpu/times.h>

#include "common/cleanup.h"
#include "common/clock.h"

#define SEALS_NEEDED (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static const char *const fd_names[VGPU_CHANNEL_FDS] = {
    [VGPU_FD_MEMORY] = "channel memory",         [VGPU_FD_SUBMIT_KICK] = "submission kick",
    [VGPU_FD_COMPLETE_KICK] = "completion kick", [VGPU_FD_LEASE] = "lease page",
    [VGPU_FD_LEASE_KICK] = "lease kick",         [VGPU_FD_REPORT] = "report page",
    [VGPU_FD_REPORT_KICK] = "report kick",
};

static int check_memory(int fd, const char *name, uint64_t bytes, struct vgpu_err *err)
{
    int seals = fcntl(fd, F_GET_SEALS);
    struct stat status;

    if (seals < 0 || (seals & SEALS_NEEDED) != SEALS_NEEDED)
        return vgpu_err_set(err, EINVAL, "the %s is not a sealed memory object", name);
    if (fstat(fd, &status) < 0 || (uint64_t)status.st_size != bytes)
        return vgpu_err_set(err, EINVAL, "the %s has a wrong size", name);
    /* Otherwise a worker could open it anew, through /proc, with more rights than it was given. */
    if (status.st_mode & (S_IRWXG | S_IRWXO))
        return vgpu_err_set(err, EINVAL, "the %s is open to other users", name);
    return 0;
}

static int check_eventfd(int fd, const char *name, struct vgpu_err *err)
{
    static const char kind[] = "anon_inode:[eventfd]";
    char path[40], target[64];
    ssize_t length;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    length = readlink(path, target, sizeof(target));
    if (length != (ssize_t)sizeof(kind) - 1 || memcmp(target, kind, sizeof(kind) - 1) != 0)
        return vgpu_err_set(err, EINVAL, "the %s is not an eventfd", name);
    return 0;
}

int channel_check_fds(const int *fds, const struct vgpu_channel_geometry *geometry,
                      struct vgpu_err *err)
{
    int rc = 0;

    for (int i = 0; i < VGPU_CHANNEL_FDS && rc == 0; i++) {
        if (fds[i] < 0)
            continue;
        if (i == VGPU_FD_MEMORY)
            rc = check_memory(fds[i], fd_names[i], geometry->total_bytes, err);
        else if (i == VGPU_FD_LEASE)
            rc = check_memory(fds[i], fd_names[i], VGPU_LEASE_BYTES, err);
        else if (i == VGPU_FD_REPORT)
            rc = check_memory(fds[i], fd_names[i], VGPU_REPORT_BYTES, err);
        else
            rc = check_eventfd(fds[i], fd_names[i], err);
    }
    return rc;
}

struct channel *channel_new(const struct vgpu_launch_spawn *spawn, const int *fds)
{
    struct channel *channel = calloc(1, sizeof(*channel));

    if (!channel)
        return NULL;
    channel->number = spawn->channel;
    channel->sock = -1;
    channel->geometry = spawn->geometry;
    channel->keep = spawn->keep;
    memcpy(channel->fds, fds, sizeof(channel->fds));
    return channel;
}

void channel_free(struct channel *channel)
{
    if (!channel)
        return;
    for (int i = 0; i < VGPU_CHANNEL_FDS; i++)
        vgpu_close(&channel->fds[i]);
    vgpu_close(&channel->sock);
    free(channel);
}

static uint64_t cpu_ns(const struct rusage *usage)
{
    return ((uint64_t)usage->ru_utime.tv_sec + (uint64_t)usage->ru_stime.tv_sec) * VGPU_NS_PER_S +
           ((uint64_t)usage->ru_utime.tv_usec + (uint64_t)usage->ru_stime.tv_usec) * VGPU_NS_PER_US;
}

void channel_ended(struct channel *channel, int status, const struct rusage *usage)
{
    channel->exited = true;
    channel->end = (struct vgpu_launch_exited){
        .head = {sizeof(channel->end), VGPU_LAUNCH_EXITED},
        .channel = channel->number,
        .exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1,
        .signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0,
        .killed = channel->kill_asked,
        .cpu_ns = cpu_ns(usage),
        .peak_rss_bytes = (uint64_t)usage->ru_maxrss * 1024,
    };
}

struct channel *channel_find(struct channel_table *table, uint32_t number)
{
    for (unsigned i = 0; i < table->count; i++)
        if (table->items[i]->number == number)
            return table->items[i];
    return NULL;
}

struct channel *channel_find_pid(struct channel_table *table, pid_t pid)
{
    for (unsigned i = 0; i < table->count; i++)
        if (!table->items[i]->exited && table->items[i]->pid == pid)
            return table->items[i];
    return NULL;
}

bool channel_add(struct channel_table *table, struct channel *channel)
{
    if (table->count >= table->max)
        return false;
    table->items[table->count++] = channel;
    return true;
}

void channel_drop(struct channel_table *table, struct channel *channel)
{
    for (unsigned i = 0; i < table->count; i++) {
        if (table->items[i] != channel)
            continue;
        table->items[i] = table->items[--table->count];
        break;
    }
    channel_free(channel);
}
