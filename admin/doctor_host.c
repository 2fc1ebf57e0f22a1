/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of vgpu-admin doctor: the host itself. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/doctor.h"

/* XCP-ng's dom0, the oldest that is built for. */
#define KERNEL_MAJOR 4
#define KERNEL_MINOR 19
#define CORES_LEAST  2
/* The mediator and its helpers take some 100 MiB, each worker on an H200 another 100. */
#define AVAILABLE_LEAST_KIB (1024 * 1024)

void doctor_kernel(struct doctor *doctor, struct finding *finding)
{
    unsigned major = 0, minor = 0;
    char release[128];

    if (!doctor_read(doctor, "/proc/sys/kernel/osrelease", release, sizeof(release)) ||
        sscanf(release, "%u.%u", &major, &minor) != 2)
        doctor_find(finding, OUTCOME_SKIPPED, "the kernel's release is not known");
    else if (major < KERNEL_MAJOR || (major == KERNEL_MAJOR && minor < KERNEL_MINOR))
        doctor_find(finding, OUTCOME_FAILED, "Linux %s is older than %d.%d", release, KERNEL_MAJOR,
                    KERNEL_MINOR);
    else
        doctor_find(finding, OUTCOME_OK, "Linux %s", release);
}

/* How many a list such as "0-3,8" names. */
static unsigned long count_list(const char *list)
{
    unsigned long count = 0;

    while (*list) {
        char *end;
        unsigned long first = strtoul(list, &end, 10), last = first;

        if (*end == '-')
            last = strtoul(end + 1, &end, 10);
        if (end == list || last < first)
            return count;
        count += last - first + 1;
        list = *end == ',' ? end + 1 : end;
        if (*end && *end != ',')
            return count;
    }
    return count;
}

void doctor_cores(struct doctor *doctor, struct finding *finding)
{
    char list[1024];
    unsigned long count;

    if (!doctor_read(doctor, "/sys/devices/system/cpu/online", list, sizeof(list))) {
        doctor_find(finding, OUTCOME_SKIPPED, "how many there are is not known");
        return;
    }
    count = count_list(list);
    doctor_find(finding, count < CORES_LEAST ? OUTCOME_WARNING : OUTCOME_OK, "%lu online", count);
}

static unsigned long long memory_kib(const char *text, const char *key)
{
    const char *line = strstr(text, key);

    return line ? strtoull(line + strlen(key), NULL, 10) : 0;
}

void doctor_memory(struct doctor *doctor, struct finding *finding)
{
    char text[4096];
    unsigned long long total, available;

    if (!doctor_read(doctor, "/proc/meminfo", text, sizeof(text)) ||
        (total = memory_kib(text, "MemTotal:")) == 0) {
        doctor_find(finding, OUTCOME_SKIPPED, "how much there is is not known");
        return;
    }
    available = memory_kib(text, "MemAvailable:");
    doctor_find(finding, available < AVAILABLE_LEAST_KIB ? OUTCOME_WARNING : OUTCOME_OK,
                "%.1f of %.1f GiB available", (double)available / (1024 * 1024),
                (double)total / (1024 * 1024));
}

void doctor_cgroup(struct doctor *doctor, struct finding *finding)
{
    char controllers[512];
    struct stat st;

    if (doctor_read(doctor, "/sys/fs/cgroup/cgroup.controllers", controllers,
                    sizeof(controllers))) {
        bool memory = strstr(controllers, "memory") != NULL;

        doctor_find(finding, memory ? OUTCOME_OK : OUTCOME_WARNING, "version 2, %s",
                    memory ? "with the memory controller"
                           : "without the memory controller: workers have no limit");
    } else if (doctor_exists(doctor, "/sys/fs/cgroup/memory", &st)) {
        doctor_find(finding, OUTCOME_WARNING,
                    "version 1; workers have limits, and version 2 is what is tested");
    } else {
        doctor_find(finding, OUTCOME_WARNING, "none: workers have no limit of memory");
    }
}

void doctor_kvm(struct doctor *doctor, struct finding *finding)
{
    char path[512], mode[64];
    struct stat st;

    doctor_path(doctor, "/dev/kvm", path, sizeof(path));
    if (doctor_exists(doctor, "/proc/xen/capabilities", &st)) {
        doctor_find(finding, OUTCOME_SKIPPED, "this is Xen");
    } else if (!doctor_exists(doctor, "/dev/kvm", &st)) {
        doctor_find(finding, OUTCOME_WARNING,
                    "there is no /dev/kvm: guests run by interpretation, slowly");
    } else if (!S_ISCHR(st.st_mode)) {
        doctor_find(finding, OUTCOME_FAILED, "/dev/kvm is no device");
    } else if (access(path, R_OK | W_OK) < 0) {
        doctor_show_mode(&st, mode, sizeof(mode));
        doctor_find(finding, OUTCOME_WARNING, "/dev/kvm (%s) cannot be opened by this user", mode);
    } else {
        doctor_find(finding, OUTCOME_OK, "/dev/kvm can be opened");
    }
}
