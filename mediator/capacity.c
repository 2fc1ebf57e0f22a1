/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/capacity.h"

static unsigned count_healthy(const struct mediator *mediator, const struct config_pool *pool)
{
    unsigned healthy = 0;

    for (unsigned id = 0; id < CONFIG_GPUS_MAX; id++) {
        bool serves = (pool->gpus >> id & 1) && config_gpu(mediator->config, id);

        healthy += serves && health_takes_channels(mediator->health[id].state);
    }
    return healthy;
}

void capacity_fill(const struct mediator *mediator, json_t *result)
{
    json_t *row;
    size_t i;

    json_array_foreach (json_object_get(result, "pools"), i, row) {
        const char *name = json_string_value(json_object_get(row, "pool"));
        const struct config_pool *pool = name ? config_pool(mediator->config, name) : NULL;
        unsigned healthy;

        if (!pool)
            continue;
        healthy = count_healthy(mediator, pool);
        json_object_set_new(row, "gpus_healthy", json_integer(healthy));
        if (healthy == 0 && json_is_true(json_object_get(row, "admits"))) {
            json_object_set_new(row, "admits", json_false());
            json_object_set_new(row, "reason", json_string("none of its GPUs is healthy"));
        }
    }
}
