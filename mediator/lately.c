/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/lately.h"

#include <hdr_histogram.h>
#include <vgpu/times.h>

#include <string.h>

#define LOWEST_NS (INT64_C(1) << VGPU_TIMES_UNIT_SHIFT)

void lately_release(struct lately *lately)
{
    if (lately->older)
        hdr_close(lately->older);
    if (lately->younger)
        hdr_close(lately->younger);
    *lately = (struct lately){.older = NULL};
}

static bool make(struct lately *lately, uint64_t now_ns)
{
    if (lately->older)
        return true;
    if (hdr_init(LOWEST_NS, (int64_t)VGPU_TIMES_HIGHEST_NS, LATELY_DIGITS, &lately->older) != 0 ||
        hdr_init(LOWEST_NS, (int64_t)VGPU_TIMES_HIGHEST_NS, LATELY_DIGITS, &lately->younger) != 0) {
        lately_release(lately);
        return false;
    }
    lately->turn_ns = now_ns + LATELY_TURN_NS;
    return true;
}

static void turn(struct lately *lately, uint64_t now_ns)
{
    struct hdr_histogram *older = lately->older;

    if (!older || now_ns < lately->turn_ns)
        return;
    if (now_ns - lately->turn_ns >= LATELY_TURN_NS || lately->younger->total_count == 0) {
        lately_release(lately);
        return;
    }
    hdr_reset(older);
    lately->older = lately->younger;
    lately->younger = older;
    lately->turn_ns += LATELY_TURN_NS;
    lately->fresh = false;
}

void lately_count(struct lately *lately, uint64_t now_ns, uint64_t value_ns, uint64_t times)
{
    int64_t value = (int64_t)(value_ns < VGPU_TIMES_HIGHEST_NS ? value_ns : VGPU_TIMES_HIGHEST_NS);

    turn(lately, now_ns);
    if (!make(lately, now_ns))
        return;
    hdr_record_values(lately->older, value, (int64_t)times);
    hdr_record_values(lately->younger, value, (int64_t)times);
    lately->fresh = false;
}

bool lately_read(struct lately *lately, uint64_t now_ns, uint64_t ret[METRIC_QUANTILES])
{
    static const double percentiles[METRIC_QUANTILES] = {50.0, 95.0, 99.0};

    turn(lately, now_ns);
    if (!lately->older || lately->older->total_count == 0)
        return false;
    if (!lately->fresh) {
        /* One by one: the call for several at once goes through its slow iterator. */
        for (int i = 0; i < METRIC_QUANTILES; i++)
            lately->quantiles[i] = (uint64_t)hdr_value_at_percentile(lately->older, percentiles[i]);
        lately->fresh = true;
    }
    memcpy(ret, lately->quantiles, sizeof(lately->quantiles));
    return true;
}
