/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher/message.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <vgpu/domain.h>
#include <vgpu/grant.h>

#include "carrier/mapping.h"

struct shape {
    uint32_t type;
    size_t size, n_fds; /* SPAWN: by what it says */
};

static const struct shape shapes[] = {
    {VGPU_LAUNCH_HELLO, sizeof(struct vgpu_launch_hello), 0},
    {VGPU_LAUNCH_SPAWN, sizeof(struct vgpu_launch_spawn), VGPU_CHANNEL_FDS},
    {VGPU_LAUNCH_KILL, sizeof(struct vgpu_launch_channel), 0},
    {VGPU_LAUNCH_LIST, sizeof(struct vgpu_launch_channel), 0},
    {VGPU_LAUNCH_SPARES, sizeof(struct vgpu_launch_spares), 0},
    {VGPU_LAUNCH_RESET, sizeof(struct vgpu_launch_reset), 0},
};

static int malformed(struct vgpu_err *err, const char *what)
{
    return vgpu_err_set(err, EPROTO, "malformed message: %s", what);
}

static const struct shape *find_shape(uint32_t type)
{
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        if (shapes[i].type == type)
            return &shapes[i];
    return NULL;
}

static int parse_hello(const void *packet, struct vgpu_err *err)
{
    struct vgpu_launch_hello hello;

    memcpy(&hello, packet, sizeof(hello));
    if (hello.magic != VGPU_MAGIC)
        return malformed(err, "magic");
    if (hello.version_major != VGPU_VERSION_MAJOR)
        return vgpu_err_set(err, EPROTONOSUPPORT,
                            "the mediator speaks version %u, this launcher version %u",
                            hello.version_major, VGPU_VERSION_MAJOR);
    return 0;
}

/* Letters, digits and '-', at least one, then NULs to the end. */
static bool uuid_ok(const char uuid[VGPU_GPU_UUID_BYTES])
{
    size_t length = strnlen(uuid, VGPU_GPU_UUID_BYTES);

    if (length == 0 || length == VGPU_GPU_UUID_BYTES)
        return false;
    for (size_t i = 0; i < length; i++) {
        char c = uuid[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '-'))
            return false;
    }
    for (size_t i = length; i < VGPU_GPU_UUID_BYTES; i++)
        if (uuid[i] != '\0')
            return false;
    return true;
}

/* All of it, or nothing. */
static bool grant_ok(const struct vgpu_launch_spawn *spawn)
{
    const struct vgpu_launch_grant *grant = &spawn->grant;

    if (grant->reserved != 0 || grant->domid != spawn->keep.domid)
        return false;
    if (grant->domid == 0)
        return grant->directory == 0 && grant->event_port == 0;
    return grant->domid < VGPU_DOMAIN_FIRST_RESERVED && grant->directory != 0 &&
           grant->event_port != 0 && spawn->keep.window == 0 &&
           spawn->geometry.total_bytes <= (uint64_t)VGPU_GRANT_MAX_PAGES * VGPU_GRANT_PAGE_BYTES;
}

static int check_spawn(const struct vgpu_launch_spawn *spawn, struct vgpu_err *err)
{
    if (spawn->channel == 0)
        return malformed(err, "channel 0");
    if (spawn->reserved != 0)
        return malformed(err, "reserved field");
    if (channel_geometry_check(&spawn->geometry, err) < 0)
        return -EPROTO;
    if (!grant_ok(spawn))
        return malformed(err, "grant");
    if (spawn->keep.vm_id == 0 || spawn->keep.vm_id > MESSAGE_VM_ID_MAX)
        return malformed(err, "vm_id");
    if (!memchr(spawn->keep.process, '\0', sizeof(spawn->keep.process)))
        return malformed(err, "process name");
    if (!uuid_ok(spawn->gpu_uuid))
        return malformed(err, "GPU UUID");
    if (spawn->host_memory_bytes > MESSAGE_HOST_MEMORY_BYTES)
        return malformed(err, "host_memory_bytes");
    return 0;
}

static int parse_channel(const void *packet, struct message *message, struct vgpu_err *err)
{
    struct vgpu_launch_channel body;

    memcpy(&body, packet, sizeof(body));
    if (body.reserved != 0)
        return malformed(err, "reserved field");
    if ((message->type == VGPU_LAUNCH_LIST) != (body.channel == 0))
        return malformed(err, "channel");
    message->channel = body.channel;
    return 0;
}

static int parse_spawn(const void *packet, size_t n_fds, struct message *message,
                       struct vgpu_err *err)
{
    memcpy(&message->spawn, packet, sizeof(message->spawn));
    message->channel = message->spawn.channel;
    if (n_fds != (message->spawn.keep.domid ? VGPU_CHANNEL_GRANT_FDS : VGPU_CHANNEL_FDS))
        return malformed(err, "number of descriptors");
    return check_spawn(&message->spawn, err);
}

static int check_spares(const struct vgpu_launch_spares *spares, struct vgpu_err *err)
{
    static const char none[VGPU_GPU_UUID_BYTES];

    if (spares->spares > VGPU_LAUNCH_MAX_SPARES)
        return malformed(err, "spares");
    if (spares->n_gpus > VGPU_LAUNCH_MAX_GPUS)
        return malformed(err, "n_gpus");
    for (uint32_t i = 0; i < VGPU_LAUNCH_MAX_GPUS; i++)
        if (i < spares->n_gpus ? !uuid_ok(spares->gpu_uuid[i])
                               : memcmp(spares->gpu_uuid[i], none, sizeof(none)) != 0)
            return malformed(err, "GPU UUID");
    return 0;
}

static int parse_spares(const void *packet, struct message *message, struct vgpu_err *err)
{
    memcpy(&message->spares, packet, sizeof(message->spares));
    return check_spares(&message->spares, err);
}

static int parse_reset(const void *packet, struct message *message, struct vgpu_err *err)
{
    memcpy(&message->reset, packet, sizeof(message->reset));
    return uuid_ok(message->reset.gpu_uuid) ? 0 : malformed(err, "GPU UUID");
}

int message_parse(const void *packet, size_t size, size_t n_fds, struct message *ret,
                  struct vgpu_err *err)
{
    const struct shape *shape;
    struct vgpu_launch head;
    struct message message;
    int rc;

    if (size < sizeof(head))
        return malformed(err, "shorter than its head");
    memcpy(&head, packet, sizeof(head));
    shape = find_shape(head.type);
    if (!shape)
        return malformed(err, "type");
    if (size != shape->size || head.size_bytes != size)
        return malformed(err, "size");
    if (n_fds != shape->n_fds && head.type != VGPU_LAUNCH_SPAWN)
        return malformed(err, "number of descriptors");
    message.type = (enum vgpu_launch_type)head.type;
    message.channel = 0;
    if (head.type == VGPU_LAUNCH_HELLO)
        rc = parse_hello(packet, err);
    else if (head.type == VGPU_LAUNCH_SPAWN)
        rc = parse_spawn(packet, n_fds, &message, err);
    else if (head.type == VGPU_LAUNCH_SPARES)
        rc = parse_spares(packet, &message, err);
    else if (head.type == VGPU_LAUNCH_RESET)
        rc = parse_reset(packet, &message, err);
    else
        rc = parse_channel(packet, &message, err);
    if (rc == 0)
        *ret = message;
    return rc;
}
