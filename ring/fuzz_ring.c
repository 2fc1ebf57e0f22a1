/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring whose producer is hostile: the first bytes choose size, start and published head, the rest
 * is what the slots hold. Every answer must be an entry within its bounds, nothing, or -EPROTO.
 */
#include <stdlib.h>
#include <string.h>

#include "ring/ring.h"

#define MOST_GRANULES 64u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vgpu_ring_state state = {0};
    struct ring_consumer consumer;
    uint32_t head[3] = {0};
    uint32_t granules;
    uint8_t *slots, *buffer;

    if (size < sizeof(head))
        return 0;
    memcpy(head, data, sizeof(head));
    granules = 2u << head[0] % 6;
    slots = calloc(granules, VGPU_GRANULE_BYTES);
    buffer = malloc(VGPU_RECORD_MAX_BYTES);
    if (!slots || !buffer)
        abort();
    size -= sizeof(head);
    if (size > (size_t)granules * VGPU_GRANULE_BYTES)
        size = (size_t)granules * VGPU_GRANULE_BYTES;
    memcpy(slots, data + sizeof(head), size);
    ring_consumer_init(&consumer, &state, slots, granules, head[1]);
    state.producer.head = head[1] + head[2] % (granules + 2);
    for (unsigned i = 0; i <= granules; i++) {
        size_t bytes = 0;
        bool kick;
        int status = ring_consume(&consumer, buffer, VGPU_RECORD_MAX_BYTES, &bytes, &kick);

        if (status <= 0)
            break;
        if (bytes < 8 || bytes % 8 || bytes > (size_t)granules * VGPU_GRANULE_BYTES ||
            i == granules)
            __builtin_trap();
    }
    free(slots);
    free(buffer);
    return 0;
}
