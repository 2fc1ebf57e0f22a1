/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a message of the mediator, and as the geometry of a channel. */
#include <string.h>

#include "carrier/mapping.h"
#include "carrier/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    union message message;

    memset(&message, 0, sizeof(message));
    memcpy(message.bytes, data, size < sizeof(message) ? size : sizeof(message));
    if (message_check(&message) < 0)
        return 0;
    if (message.head.type == VGPU_MSG_OPENED &&
        channel_geometry_check(&message.opened.geometry, NULL) == 0) {
        const struct vgpu_channel_geometry *g = &message.opened.geometry;

        if (g->data_offset + g->data_bytes > g->total_bytes)
            __builtin_trap();
    }
    if (message.head.type == VGPU_MSG_GONE && strlen(message.gone.text) >= 192)
        __builtin_trap();
    return 0;
}
