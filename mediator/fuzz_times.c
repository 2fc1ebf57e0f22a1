/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes what the mediator makes of a worker's times: twelve bytes each say which word of the page
 * becomes what, and how much later it is looked at. Nothing goes back, and no more is believed than
 * there was time for.
 */
#include <stdlib.h>
#include <string.h>

#include "mediator/times.h"

#define STEP_BYTES 12

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct vgpu_times_page page;

static uint64_t all_jobs(const struct times *times)
{
    uint64_t sum = 0;

    for (int kind = 0; kind < VGPU_JOB_KINDS; kind++)
        sum += times->jobs[kind];
    return sum;
}

static void read_all(struct times *times, uint64_t now_ns)
{
    uint64_t quantiles[METRIC_QUANTILES];

    for (int kind = 0; kind < VGPU_JOB_KINDS; kind++)
        for (int what = 0; what < VGPU_TIMES; what++)
            if (lately_read(&times->lately[kind][what], now_ns, quantiles) &&
                (quantiles[0] > quantiles[1] || quantiles[1] > quantiles[2] ||
                 quantiles[2] > VGPU_TIMES_HIGHEST_NS))
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct times times = {.dropped = 0};
    uint64_t now_ns = VGPU_NS_PER_S, began_ns = now_ns, looks = 0, jobs = 0;
    struct times_seen *seen = times_seen_new(now_ns);

    memset(&page, 0, sizeof(page));
    for (; size >= STEP_BYTES && seen; data += STEP_BYTES, size -= STEP_BYTES) {
        uint32_t step[3];

        memcpy(step, data, sizeof(step));
        memcpy((uint8_t *)&page + step[0] % (sizeof(page) / 4) * 4, &step[1], sizeof(step[1]));
        now_ns += (uint64_t)(step[2] >> 8) << (step[2] & 0x0f);
        times_add_sums(&times, seen, &page, now_ns);
        if (step[2] & 0x80)
            times_add_counts(&times, seen, &page, now_ns);
        if (step[2] & 0x40)
            read_all(&times, now_ns);
        looks++;
        if (all_jobs(&times) < jobs ||
            all_jobs(&times) >
                VGPU_JOB_KINDS * ((now_ns - began_ns) / TIMES_JOB_NS + looks * TIMES_SLACK))
            abort();
        jobs = all_jobs(&times);
    }
    times_seen_free(seen);
    times_release(&times);
    return 0;
}
