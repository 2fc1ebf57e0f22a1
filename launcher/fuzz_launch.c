/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes the launcher's message parser: first byte the number of descriptors, then the packet. */
#include <stdint.h>
#include <stdlib.h>

#include "launcher/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct message message;
    struct vgpu_err err;

    if (size == 0)
        return 0;
    if (message_parse(data + 1, size - 1, data[0], &message, &err) == 0 &&
        message.type == VGPU_LAUNCH_SPAWN &&
        message.spawn.geometry.total_bytes <
            message.spawn.geometry.data_offset + message.spawn.geometry.data_bytes)
        abort();
    return 0;
}
