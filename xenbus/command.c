/* SPDX-License-Identifier: Apache-2.0 */
#include "xenbus/command.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static bool granules_ok(uint32_t granules)
{
    return granules >= VGPU_RING_MIN_GRANULES && granules <= VGPU_RING_MAX_GRANULES &&
           (granules & (granules - 1)) == 0;
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i])
            return false;
    return true;
}

static void copy(void *to, const volatile void *from, size_t size)
{
    uint8_t *bytes = to;

    for (size_t i = 0; i < size; i++)
        bytes[i] = ((const volatile uint8_t *)from)[i];
}

static enum vgpu_status bad(const char **ret_text, const char *text)
{
    *ret_text = text;
    return VGPU_BAD_MESSAGE;
}

static enum vgpu_status take_open(const struct vgpu_device_command *from, struct command *ret,
                                  const char **ret_text)
{
    if (from->flags != VGPU_OPEN_GRANT)
        return bad(ret_text, "there are channels by grants only");
    if (!memchr(from->process, '\0', sizeof(from->process)) || from->directory || from->vector)
        return bad(ret_text, "a field is not as it must be");
    *ret_text = "a ring or the data area has a wrong size";
    if (!granules_ok(from->sub_granules) || !granules_ok(from->comp_granules) ||
        from->data_bytes % 4096 || from->data_bytes > VGPU_GRANT_MAX_DATA_BYTES)
        return VGPU_LIMIT;
    ret->open = (struct vgpu_msg_open){
        .head = {sizeof(ret->open), VGPU_MSG_OPEN, VGPU_MSG_OPEN_GRANT, 0, 0},
        .sub_granules = from->sub_granules,
        .comp_granules = from->comp_granules,
        .data_bytes = from->data_bytes,
    };
    memcpy(ret->open.process, from->process, sizeof(ret->open.process));
    return VGPU_OK;
}

static enum vgpu_status take_attach(const struct vgpu_device_command *from, struct command *ret,
                                    const char **ret_text)
{
    if (from->flags || from->vector)
        return bad(ret_text, "a field is not as it must be");
    ret->grant = (struct vgpu_msg_grant){
        .head = {sizeof(ret->grant), VGPU_MSG_GRANT, 0, 0, 0},
        .directory = (uint32_t)from->directory,
        .event_port = (uint32_t)(from->directory >> 32),
    };
    return VGPU_OK;
}

static enum vgpu_status take_slot(const volatile void *page, struct command *ret,
                                  const char **ret_text)
{
    struct vgpu_device_command from;

    copy(&from, page, offsetof(struct vgpu_device_command, done));
    ret->op = from.op;
    ret->tag = from.tag;
    if (!is_zero(from.reserved1, sizeof(from.reserved1)))
        return bad(ret_text, "a reserved field is not zero");
    switch (from.op) {
    case VGPU_COMMAND_OPEN:
        return take_open(&from, ret, ret_text);
    case VGPU_COMMAND_ATTACH:
        return take_attach(&from, ret, ret_text);
    case VGPU_COMMAND_CLOSE:
        return from.flags ? bad(ret_text, "a flag is not known") : VGPU_OK;
    default:
        return bad(ret_text, "no command of a slot");
    }
}

static enum vgpu_status take_monitor(const volatile void *page, struct command *ret,
                                     const char **ret_text)
{
    struct vgpu_monitor_command from;

    copy(&from, page, offsetof(struct vgpu_monitor_command, done));
    ret->op = from.op;
    ret->tag = from.tag;
    if (from.op != VGPU_COMMAND_MONITOR || !is_zero(from.reserved0, sizeof(from.reserved0)))
        return bad(ret_text, "no question about GPUs");
    ret->monitor = (struct vgpu_msg_monitor){
        .head = {sizeof(ret->monitor), VGPU_MSG_MONITOR, 0, 0, 0},
        .gpu = from.gpu,
        .first = from.first,
    };
    return VGPU_OK;
}

enum vgpu_status command_take(uint32_t slot, const volatile void *page, struct command *ret,
                              const char **ret_text)
{
    memset(ret, 0, sizeof(*ret));
    *ret_text = "";
    return slot == VGPU_MONITOR_SLOT ? take_monitor(page, ret, ret_text)
                                     : take_slot(page, ret, ret_text);
}
