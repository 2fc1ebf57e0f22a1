/* SPDX-License-Identifier: Apache-2.0 */
#include "carrier/device.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/status.h"

#define PAGE_BYTES 4096u

bool device_is_path(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 && S_ISCHR(status.st_mode);
}

__attribute__((format(printf, 4, 5))) static int refuse(struct local_refusal *refusal, int code,
                                                        uint32_t status, const char *format, ...)
{
    va_list args;

    *refusal = (struct local_refusal){.status = status};
    va_start(args, format);
    vsnprintf(refusal->text, sizeof(refusal->text), format, args);
    va_end(args);
    return -code;
}

int device_open_file(const char *path, struct local_refusal *refusal)
{
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);

    if (fd >= 0)
        return fd;
    return refuse(refusal, errno, VGPU_NOT_CONFIGURED, "cannot open %.200s: %s", path,
                  strerror(errno));
}

static int open_channel(int fd, const struct vgpu_msg_open *ask, struct vgpu_ioc_open *open,
                        struct local_refusal *refusal)
{
    *open = (struct vgpu_ioc_open){.sub_granules = ask->sub_granules,
                                   .comp_granules = ask->comp_granules,
                                   .data_bytes = ask->data_bytes};
    memcpy(open->process, ask->process, sizeof(open->process));
    if (ioctl(fd, VGPU_IOC_OPEN, open) < 0)
        return refuse(refusal, errno, errno == ENOMEM ? VGPU_NO_MEMORY : VGPU_INTERNAL,
                      "the driver cannot open a channel: %s", strerror(errno));
    open->text[sizeof(open->text) - 1] = '\0';
    if (open->status == VGPU_OK)
        return 0;
    refuse(refusal, EACCES, open->status, "%s",
           open->text[0] ? open->text : vgpu_status_text(open->status));
    refusal->retry_ns = open->retry_ns;
    return -EACCES;
}

/* The driver and the channel's own page say the same of who copies. */
static bool agrees(const struct device_channel *channel, bool relayed)
{
    return !(channel->map.page->flags & VGPU_CHANNEL_MIRRORED) == !relayed;
}

static int map_memory(int fd, const struct vgpu_ioc_open *open, struct device_channel *ret,
                      struct local_refusal *refusal)
{
    bool relayed = !(open->flags & (VGPU_OPENED_WINDOW | VGPU_OPENED_GRANT));
    struct vgpu_err err = {0};

    if (channel_mapping_init_device(&ret->map, fd, VGPU_MMAP_CHANNEL, &open->geometry,
                                    relayed ? PAGE_BYTES : 0, &err) < 0)
        return refuse(refusal, EPROTO, VGPU_INTERNAL, "cannot use the channel: %.300s", err.text);
    if (!agrees(ret, relayed)) {
        channel_mapping_release(&ret->map);
        return refuse(refusal, EPROTO, VGPU_INTERNAL,
                      "cannot use the channel: driver and host disagree on who copies");
    }
    ret->transfers =
        relayed ? (struct vgpu_transfer_page *)(void *)(ret->map.base + open->geometry.total_bytes)
                : NULL;
    return 0;
}

static int map_channel(int fd, const struct vgpu_ioc_open *open, struct device_channel *ret,
                       struct local_refusal *refusal)
{
    int status = map_memory(fd, open, ret, refusal);
    void *doorbell;

    ret->doorbell = NULL;
    if (status < 0 || (open->flags & VGPU_OPENED_GRANT))
        return status;
    doorbell = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, VGPU_MMAP_DOORBELL);
    if (doorbell == MAP_FAILED) {
        refuse(refusal, errno, VGPU_INTERNAL, "cannot map the doorbell: %s", strerror(errno));
        channel_mapping_release(&ret->map);
        return -ENODEV;
    }
    madvise(doorbell, PAGE_BYTES, MADV_DONTFORK);
    ret->doorbell = doorbell;
    return 0;
}

int device_open(struct device_channel *ret, const char *path, const struct vgpu_msg_open *ask,
                struct local_refusal *refusal)
{
    _cleanup_close_ int fd = device_open_file(path, refusal);
    struct vgpu_ioc_open open;
    int status;

    if (fd < 0)
        return fd;
    status = open_channel(fd, ask, &open, refusal);
    if (status == 0)
        status = map_channel(fd, &open, ret, refusal);
    if (status < 0)
        return status;
    ret->channel = open.channel;
    ret->fd = vgpu_steal_fd(&fd);
    return 0;
}

int device_state(int fd, struct vgpu_ioc_state *ret)
{
    if (ioctl(fd, VGPU_IOC_STATE, ret) < 0)
        return -errno;
    ret->pool[sizeof(ret->pool) - 1] = '\0';
    ret->name[sizeof(ret->name) - 1] = '\0';
    ret->error_text[sizeof(ret->error_text) - 1] = '\0';
    ret->gone_text[sizeof(ret->gone_text) - 1] = '\0';
    return 0;
}

int device_populate(int fd, const struct vgpu_channel_geometry *geometry, uint64_t offset,
                    uint64_t bytes)
{
    struct vgpu_ioc_populate ask = {.offset = geometry->data_offset + offset, .bytes = bytes};

    return ioctl(fd, VGPU_IOC_POPULATE, &ask) < 0 ? -errno : 0;
}

int device_monitor(int fd, uint32_t gpu, uint32_t first, struct vgpu_monitor *ret,
                   struct local_refusal *refusal)
{
    struct vgpu_ioc_monitor ask = {.gpu = gpu, .first = first};

    if (ioctl(fd, VGPU_IOC_MONITOR, &ask) < 0) {
        bool old = errno == ENOTTY || errno == EOPNOTSUPP;

        return refuse(refusal, errno, old ? VGPU_VERSION : VGPU_GONE,
                      "the driver cannot ask what the VM's GPUs are: %s", strerror(errno));
    }
    ask.text[sizeof(ask.text) - 1] = '\0';
    if (ask.status != VGPU_OK) {
        refuse(refusal, EACCES, ask.status, "%s",
               ask.text[0] ? ask.text : vgpu_status_text(ask.status));
        refusal->retry_ns = ask.retry_ns;
        return -EACCES;
    }
    if (message_check_monitor(&ask.monitor) < 0)
        return refuse(refusal, EPROTO, VGPU_BAD_MESSAGE,
                      "the device told what cannot be of the VM's GPUs");
    *ret = ask.monitor;
    return 0;
}

void device_release_doorbell(uint32_t *doorbell)
{
    if (doorbell)
        munmap(doorbell, PAGE_BYTES);
}
