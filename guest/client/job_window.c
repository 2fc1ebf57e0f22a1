/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/client/job_window.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <vgpu/pci_regs.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/status.h"

#define PATH_BYTES   512
#define LOOK_FIRST   (100 * VGPU_NS_PER_US)
#define LOOK_MOST    (10 * VGPU_NS_PER_MS)
#define JOB_LIMIT_NS (120 * VGPU_NS_PER_S)

__attribute__((format(printf, 3, 4))) static enum vgpu_status fail(struct vgpu_failure *failure,
                                                                   enum vgpu_status status,
                                                                   const char *format, ...)
{
    va_list args;

    *failure = (struct vgpu_failure){.status = status, .retryable = vgpu_status_retryable(status)};
    va_start(args, format);
    vsnprintf(failure->text, sizeof(failure->text), format, args);
    va_end(args);
    return status;
}

/* The number in a file of sysfs, in any base; -1 if it cannot be read. */
static long read_number(const char *folder, const char *name)
{
    _cleanup_fclose_ FILE *file = NULL;
    char path[PATH_BYTES + 32], text[32];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "re");
    if (!file || !fgets(text, sizeof(text), file))
        return -1;
    return strtol(text, NULL, 0);
}

bool job_window_find(const char *devices, char *ret_path, size_t size)
{
    DIR *folder = opendir(devices);
    const struct dirent *entry;
    bool found = false;

    while (folder && !found && (entry = readdir(folder))) {
        if (entry->d_name[0] == '.' ||
            snprintf(ret_path, size, "%s/%s", devices, entry->d_name) >= (int)size)
            continue;
        found = read_number(ret_path, "vendor") == VGPU_PCI_VENDOR &&
                read_number(ret_path, "device") == VGPU_PCI_DEVICE;
    }
    if (folder)
        closedir(folder);
    return found;
}

static uint32_t get(const struct job_window *window, uint32_t offset)
{
    return window->registers[offset / 4];
}

static void set(struct job_window *window, uint32_t offset, uint32_t value)
{
    window->registers[offset / 4] = value;
}

/* The device answers on its bus only when it is enabled; a driver would have done it. */
static bool enable(const char *path)
{
    _cleanup_close_ int fd = -1;
    char name[PATH_BYTES + 32];

    if (read_number(path, "enable") > 0)
        return true;
    snprintf(name, sizeof(name), "%s/enable", path);
    fd = open(name, O_WRONLY | O_CLOEXEC);
    return fd >= 0 && write(fd, "1", 1) == 1;
}

static enum vgpu_status check_version(const struct job_window *window, struct vgpu_failure *failure)
{
    uint32_t version = get(window, VGPU_REG_VERSION);

    if (get(window, VGPU_REG_MAGIC) != VGPU_MAGIC)
        return fail(failure, VGPU_VERSION, "the device's registers do not answer");
    if (version >> 16 != VGPU_VERSION_MAJOR)
        return fail(failure, VGPU_VERSION,
                    "the device has version %" PRIu32 ".%" PRIu32 ", this program %u",
                    version >> 16, version & 0xffff, VGPU_VERSION_MAJOR);
    if (!(get(window, VGPU_REG_FEATURES) & VGPU_DEVICE_JOB))
        return fail(failure, VGPU_VERSION, "the device has no job window");
    return VGPU_OK;
}

static enum vgpu_status map_registers(struct job_window *window, const char *path,
                                      struct vgpu_failure *failure)
{
    char name[PATH_BYTES + 32];
    void *registers;

    snprintf(name, sizeof(name), "%s/resource%u", path, VGPU_BAR_REGISTERS);
    window->fd = open(name, O_RDWR | O_CLOEXEC | O_SYNC);
    if (window->fd < 0)
        return fail(failure, VGPU_NOT_CONFIGURED, "cannot open %.150s: %s%s", name, strerror(errno),
                    errno == EACCES ? "; the job window is for root" : "");
    if (flock(window->fd, LOCK_EX) < 0)
        return fail(failure, VGPU_INTERNAL, "cannot lock %.150s: %s", name, strerror(errno));
    registers = mmap(NULL, VGPU_REGISTERS_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, window->fd, 0);
    if (registers == MAP_FAILED)
        return fail(failure, VGPU_NOT_CONFIGURED, "cannot map %.150s: %s", name, strerror(errno));
    window->registers = registers;
    return check_version(window, failure);
}

enum vgpu_status job_window_open(struct job_window *window, const char *path,
                                 struct vgpu_failure *failure)
{
    char driver[PATH_BYTES + 32];
    enum vgpu_status status;

    *window = (struct job_window){.fd = -1, .limit_ns = JOB_LIMIT_NS};
    snprintf(driver, sizeof(driver), "%.500s/driver", path);
    if (access(driver, F_OK) == 0)
        return fail(failure, VGPU_NOT_CONFIGURED,
                    "a driver has the device %.100s; use " VGPU_DEFAULT_DEVICE, path);
    if (!enable(path))
        return fail(failure, VGPU_NOT_CONFIGURED,
                    "cannot enable the device %.100s: %s; the job window is for root", path,
                    strerror(errno));
    status = map_registers(window, path, failure);
    if (status != VGPU_OK)
        job_window_close(window);
    return status;
}

void job_window_close(struct job_window *window)
{
    if (window->registers)
        munmap((void *)(uintptr_t)window->registers, VGPU_REGISTERS_BYTES);
    window->registers = NULL;
    vgpu_close(&window->fd);
}

/* False: it did not get there in time. */
static bool await_done(const struct job_window *window)
{
    uint64_t deadline = vgpu_clock_ns() + window->limit_ns;
    uint64_t pause = LOOK_FIRST;

    while (get(window, VGPU_REG_JOB_STATE) != VGPU_JOB_DONE) {
        struct timespec nap = {.tv_nsec = (long)pause};

        if (vgpu_clock_ns() > deadline)
            return false;
        nanosleep(&nap, NULL);
        pause = pause * 2 < LOOK_MOST ? pause * 2 : LOOK_MOST;
    }
    return true;
}

static enum vgpu_status take_result(const struct job_window *window, int32_t *sum, uint32_t count,
                                    struct vgpu_failure *failure)
{
    uint32_t status = get(window, VGPU_REG_JOB_STATUS);
    uint32_t result = get(window, VGPU_REG_JOB_RESULT);

    if (status != VGPU_OK) {
        if (status >= VGPU_STATUS_COUNT)
            return fail(failure, VGPU_INTERNAL, "the device answers with unknown status %" PRIu32,
                        status);
        fail(failure, (enum vgpu_status)status, "%s", vgpu_status_text(status));
        failure->retry_ns = (uint64_t)get(window, VGPU_REG_JOB_RETRY_US) * VGPU_NS_PER_US;
        return (enum vgpu_status)status;
    }
    if (result != 0)
        return fail(failure, VGPU_FAILED, "the job failed with CUDA error %" PRIu32, result);
    for (uint32_t i = 0; i < count; i++)
        sum[i] = (int32_t)get(window, VGPU_REG_JOB_SUM + 4 * i);
    return VGPU_OK;
}

enum vgpu_status job_window_vector_add(struct job_window *window, const int32_t *a,
                                       const int32_t *b, int32_t *sum, uint32_t count,
                                       struct vgpu_failure *failure)
{
    if (count == 0 || count > VGPU_JOB_ELEMENTS)
        return fail(failure, VGPU_LIMIT, "the job window takes 1 to %u elements, not %" PRIu32,
                    VGPU_JOB_ELEMENTS, count);
    /* One that an earlier process left behind. */
    if (get(window, VGPU_REG_JOB_STATE) == VGPU_JOB_RUNNING && !await_done(window))
        return fail(failure, VGPU_TIMEOUT, "the device is busy with a job that does not end");
    for (uint32_t i = 0; i < count; i++) {
        set(window, VGPU_REG_JOB_A + 4 * i, (uint32_t)a[i]);
        set(window, VGPU_REG_JOB_B + 4 * i, (uint32_t)b[i]);
    }
    set(window, VGPU_REG_JOB_OP, VGPU_JOB_VECTOR_ADD);
    set(window, VGPU_REG_JOB_COUNT, count);
    set(window, VGPU_REG_JOB_GO, 1);
    if (!await_done(window))
        return fail(failure, VGPU_TIMEOUT, "the device does not answer");
    return take_result(window, sum, count, failure);
}
