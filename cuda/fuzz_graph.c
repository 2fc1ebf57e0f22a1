/* SPDX-License-Identifier: Apache-2.0 */
/* The parser of graph nodes: every pointer that it gives is read to its end. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/graph_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct graph_wire_cursor cursor = {0};
    struct graph_wire_node node;
    volatile uint32_t sum = 0;
    uint8_t *copy = malloc(size + 1);

    if (!copy)
        return 0;
    memcpy(copy, data, size);
    while (graph_wire_next(copy, size, &cursor, &node) == 1) {
        for (uint32_t i = 0; i < node.head->need_count; i++)
            sum += node.needs[i];
        if (node.head->type == VGPU_GRAPH_NODE_KERNEL)
            for (uint32_t i = 0; i < node.kernel->params_bytes; i++)
                sum += node.params[i];
    }
    free(copy);
    return 0;
}
