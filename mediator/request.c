/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/request.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <vgpu/pci_regs.h>

struct shape {
    uint16_t type, flags; /* flags: those that it may have */
    uint32_t size;
};

static const struct shape shapes[] = {
    {VGPU_MSG_HELLO, 0, sizeof(struct vgpu_msg_hello)},
    {VGPU_MSG_OPEN, VGPU_MSG_OPEN_WINDOW | VGPU_MSG_OPEN_GRANT, sizeof(struct vgpu_msg_open)},
    {VGPU_MSG_CLOSE, 0, sizeof(struct vgpu_msg_channel)},
    {VGPU_MSG_RESUME, 0, sizeof(struct vgpu_msg_resume)},
    {VGPU_MSG_MONITOR, 0, sizeof(struct vgpu_msg_monitor)},
    {VGPU_MSG_GRANT, 0, sizeof(struct vgpu_msg_grant)},
    {VGPU_MSG_DRAIN, 0, sizeof(struct vgpu_msg_channel)},
};

static int malformed(struct vgpu_err *err, const char *what)
{
    return vgpu_err_set(err, EPROTO, "malformed message: %s", what);
}

static int check_head(const struct vgpu_msg *head, struct vgpu_err *err)
{
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        if (shapes[i].type != head->type)
            continue;
        if (shapes[i].size != head->size_bytes)
            return malformed(err, "size");
        if ((head->flags & ~shapes[i].flags) != 0)
            return malformed(err, "flags");
        if (head->reserved != 0)
            return malformed(err, "reserved field");
        if (head->tag == 0)
            return malformed(err, "tag 0");
        return 0;
    }
    return malformed(err, "type");
}

/* Over the window's carrier its size; over others none. */
static bool window_ok(const struct vgpu_msg_hello *hello)
{
    uint64_t bytes = (uint64_t)hello->window_mib << 20;

    if (hello->carrier != VGPU_CARRIER_WINDOW)
        return bytes == 0;
    return bytes >= VGPU_WINDOW_MIN_BYTES && bytes <= VGPU_WINDOW_MAX_BYTES &&
           (bytes & (bytes - 1)) == 0;
}

static int check_hello(const struct vgpu_msg_hello *hello, struct vgpu_err *err)
{
    if (hello->magic != VGPU_MAGIC)
        return malformed(err, "magic");
    if (hello->version_major != VGPU_VERSION_MAJOR)
        return vgpu_err_set(
            err, EPROTONOSUPPORT, "the guest speaks version %u.%u, this host version %u.%u",
            hello->version_major, hello->version_minor, VGPU_VERSION_MAJOR, VGPU_VERSION_MINOR);
    if (hello->carrier < VGPU_CARRIER_LOCAL || hello->carrier > VGPU_CARRIER_GRANT)
        return malformed(err, "carrier");
    if (!window_ok(hello))
        return malformed(err, "window_mib");
    if (!memchr(hello->claimed_pool, '\0', sizeof(hello->claimed_pool)))
        return malformed(err, "claimed_pool");
    return 0;
}

static int check_open(const struct vgpu_msg_open *open, struct vgpu_err *err)
{
    if (!memchr(open->process, '\0', sizeof(open->process)))
        return malformed(err, "process");
    if (open->head.flags == (VGPU_MSG_OPEN_WINDOW | VGPU_MSG_OPEN_GRANT))
        return malformed(err, "flags");
    return 0;
}

static int check_body(const union request *request, struct vgpu_err *err)
{
    switch (request->head.type) {
    case VGPU_MSG_HELLO:
        return check_hello(&request->hello, err);
    case VGPU_MSG_OPEN:
        return check_open(&request->open, err);
    case VGPU_MSG_CLOSE:
        return request->channel.reserved ? malformed(err, "reserved field") : 0;
    case VGPU_MSG_DRAIN:
        return request->channel.channel || request->channel.reserved
                   ? malformed(err, "reserved field")
                   : 0;
    case VGPU_MSG_MONITOR:
        return 0; /* any number may be asked for */
    case VGPU_MSG_GRANT:
        return 0; /* they mean something in the guest only */
    default:
        return request->resume.reserved ? malformed(err, "reserved field") : 0;
    }
}

int request_parse(const void *data, size_t size, union request *ret, uint32_t *ret_tag,
                  struct vgpu_err *err)
{
    union request request;
    int rc;

    *ret_tag = 0;
    if (size < sizeof(request.head))
        return 0;
    memcpy(&request.head, data, sizeof(request.head));
    *ret_tag = request.head.tag;
    rc = check_head(&request.head, err);
    if (rc < 0)
        return rc;
    if (size < request.head.size_bytes)
        return 0;
    memcpy(&request, data, request.head.size_bytes);
    rc = check_body(&request, err);
    if (rc < 0)
        return rc;
    *ret = request;
    return (int)request.head.size_bytes;
}
