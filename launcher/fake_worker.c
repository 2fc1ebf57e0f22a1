/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker program for the launcher's tests: writes what it was given into its report page, kicks,
 * and then does what the test asks for through the submission kick. Loads no driver.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <vgpu/launch.h>
#include <vgpu/lease.h>

#include "launcher/fake_worker.h"

extern char **environ;

static int count_fds_above(int first)
{
    int n = 0;

    for (int fd = first; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* Without the handler of a sanitizer, which would exit. */
static void abort_hard(void)
{
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
}

static void *map(int fd, int prot)
{
    void *page = mmap(NULL, 4096, prot, MAP_SHARED, fd, 0);

    return page == MAP_FAILED ? NULL : page;
}

static void fill(struct fake_report *report, int argc, char **argv)
{
    struct vgpu_channel_page *page = map(3 + VGPU_FD_MEMORY, PROT_READ | PROT_WRITE);
    size_t used = 0;
    int death = 0;

    report->fds_above = count_fds_above(11);
    report->uid = getuid();
    report->gid = getgid();
    report->groups = getgroups(0, NULL);
    report->memory_magic = page ? page->magic : 0;
    report->lease_readable = map(3 + VGPU_FD_LEASE, PROT_READ) != NULL;
    report->lease_writable = map(3 + VGPU_FD_LEASE, PROT_READ | PROT_WRITE) != NULL;
    report->lease_reopened = open("/proc/self/fd/6", O_RDWR) >= 0;
    report->session = getsid(0) == getpid();
    report->no_new_privs = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
    prctl(PR_GET_PDEATHSIG, &death);
    report->death_signal = death;
    for (int i = 1; i < argc; i++)
        used += (size_t)snprintf(report->text + used, sizeof(report->text) - used, "%s\n", argv[i]);
    for (char **env = environ; *env; env++)
        used += (size_t)snprintf(report->text + used, sizeof(report->text) - used, "%s\n", *env);
}

int main(int argc, char **argv)
{
    struct fake_report *report = map(3 + VGPU_FD_REPORT, PROT_READ | PROT_WRITE);
    uint64_t one = 1, command = 0;

    if (!report)
        return 99;
    fill(report, argc, argv);
    if (write(3 + VGPU_FD_REPORT_KICK, &one, sizeof(one)) != sizeof(one) ||
        read(3 + VGPU_FD_SUBMIT_KICK, &command, sizeof(command)) != sizeof(command))
        return 98;
    if (command == FAKE_CRASH)
        abort_hard();
    if (command == FAKE_CLOSE_SOCKET)
        close(10);
    if (command == FAKE_CLOSE_SOCKET || command == FAKE_HANG)
        for (;;)
            pause();
    return (int)command;
}
