/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/stages.h"

#include "ring/pages.h"

void stages_round(struct stages *stages, uint64_t now_ns, uint32_t granules)
{
    if (stages->rest_ns)
        stages->sum.poll_ns += now_ns - stages->rest_ns;
    /* Between two looks the ring held about as much as at both; a sleep ends with a wake-up. */
    if (stages->round_ns)
        stages->sum.ring_granule_ns +=
            (now_ns - stages->round_ns) * ((uint64_t)stages->left + granules) / 2;
    stages->round_ns = now_ns;
    stages->rest_ns = 0;
}

void stages_round_end(struct stages *stages, uint32_t granules)
{
    stages->left = granules;
}

void stages_rest(struct stages *stages, uint64_t now_ns)
{
    stages->rest_ns = now_ns;
}

void stages_slept(struct stages *stages, uint64_t now_ns)
{
    stages->sum.sleep_ns += now_ns - stages->rest_ns;
    stages->rest_ns = 0;
    stages->round_ns = 0;
}

void stages_tell(struct stages *stages, struct vgpu_channel_page *page)
{
    const uint64_t *from = (const uint64_t *)&stages->sum;
    uint64_t *to = (uint64_t *)&page->stages;

    for (size_t i = 0; i < sizeof(stages->sum) / sizeof(*from); i++)
        page_store_u64(&to[i], from[i]);
    stages->changed = false;
}
