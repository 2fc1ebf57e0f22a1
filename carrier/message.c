/* SPDX-License-Identifier: Apache-2.0 */
#include "carrier/message.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

int message_size(const struct vgpu_msg *head)
{
    static const uint32_t sizes[] = {
        [VGPU_MSG_WELCOME] = sizeof(struct vgpu_msg_welcome),
        [VGPU_MSG_REFUSED] = sizeof(struct vgpu_msg_refused),
        [VGPU_MSG_OPENED] = sizeof(struct vgpu_msg_opened),
        [VGPU_MSG_CLOSED] = sizeof(struct vgpu_msg_channel),
        [VGPU_MSG_RESUMED] = sizeof(struct vgpu_msg_channel),
        [VGPU_MSG_GONE] = sizeof(struct vgpu_msg_gone),
        [VGPU_MSG_STATE] = sizeof(struct vgpu_msg_state),
        [VGPU_MSG_MONITORED] = sizeof(struct vgpu_msg_monitored),
        [VGPU_MSG_PROMISED] = sizeof(struct vgpu_msg_promised),
        [VGPU_MSG_GRANTED] = sizeof(struct vgpu_msg_channel),
        [VGPU_MSG_DRAINED] = sizeof(struct vgpu_msg_channel),
    };

    if (head->type >= sizeof(sizes) / sizeof(sizes[0]) || sizes[head->type] == 0)
        return -EPROTO;
    if (head->size_bytes != sizes[head->type] || head->flags || head->reserved)
        return -EPROTO;
    return (int)head->size_bytes;
}

static bool ends(const char *text, size_t size)
{
    return memchr(text, '\0', size) != NULL;
}

int message_check_monitor(const struct vgpu_monitor *m)
{
    bool good = m->gpus <= VGPU_MONITOR_GPUS && !(m->known & ~VGPU_MONITOR_KNOWN) && !m->reserved &&
                ends(m->uuid, sizeof(m->uuid)) && ends(m->name, sizeof(m->name)) &&
                ends(m->driver, sizeof(m->driver)) && ends(m->pci, sizeof(m->pci));

    for (unsigned i = 0; i < VGPU_MONITOR_PROCESSES; i++)
        good = good && !m->process[i].reserved;
    return good ? 0 : -EPROTO;
}

int message_check(const union message *m)
{
    bool good = message_size(&m->head) > 0;

    if (!good)
        return -EPROTO;
    switch (m->head.type) {
    case VGPU_MSG_WELCOME:
        good = !m->welcome.reserved && ends(m->welcome.pool, sizeof(m->welcome.pool)) &&
               ends(m->welcome.name, sizeof(m->welcome.name));
        break;
    case VGPU_MSG_REFUSED:
        good = !m->refused.reserved && m->refused.status != VGPU_OK &&
               ends(m->refused.text, sizeof(m->refused.text));
        break;
    case VGPU_MSG_OPENED:
        good = !m->opened.window; /* there is none over this carrier */
        break;
    case VGPU_MSG_GONE:
        good = m->gone.status != VGPU_OK && ends(m->gone.text, sizeof(m->gone.text));
        break;
    case VGPU_MSG_STATE:
        good = !m->state.reserved && ends(m->state.pool, sizeof(m->state.pool));
        break;
    case VGPU_MSG_PROMISED:
        break;
    case VGPU_MSG_MONITORED:
        return message_check_monitor(&m->monitored.monitor);
    default:
        good = !m->channel.reserved;
        break;
    }
    return good ? 0 : -EPROTO;
}
