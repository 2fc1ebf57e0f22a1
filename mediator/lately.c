/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/lately.h"

#include <hdr_histogram.h>
#include <string.h>
#include <vgpu/times.h>

#define LOWEST_NS (INT64_C(1) << VGPU_TIMES_UNIT_SHIFT)

void lately_release(struct lately *lately)
{
    if (lately->counts)
        hdr_close(lately->counts);
    *lately = (struct lately){.counts = NULL};
}

static const struct lately_quantiles *quantiles_now(struct lately *lately)
{
    static const double percentiles[METRIC_QUANTILES] = {50.0, 95.0, 99.0};

    /* One by one: the library's call for several at once goes through its slow iterator. */
    for (int i = 0; i < METRIC_QUANTILES && !lately->now.known; i++)
        lately->now.ns[i] = (uint64_t)hdr_value_at_percentile(lately->counts, percentiles[i]);
    lately->now.known = true;
    return &lately->now;
}

/* Minutes that are over. */
static void turn(struct lately *lately, uint64_t now_ns)
{
    if (!lately->counts || now_ns - lately->began_ns < LATELY_TURN_NS)
        return;
    if (now_ns - lately->began_ns >= 2 * LATELY_TURN_NS || lately->counts->total_count == 0) {
        lately_release(lately);
        return;
    }
    lately->before = *quantiles_now(lately);
    lately->now.known = false;
    hdr_reset(lately->counts);
    lately->began_ns += LATELY_TURN_NS;
}

void lately_count(struct lately *lately, uint64_t now_ns, uint64_t value_ns, uint64_t times)
{
    int64_t value = (int64_t)(value_ns < VGPU_TIMES_HIGHEST_NS ? value_ns : VGPU_TIMES_HIGHEST_NS);

    turn(lately, now_ns);
    if (!lately->counts) {
        if (hdr_init(LOWEST_NS, (int64_t)VGPU_TIMES_HIGHEST_NS, LATELY_DIGITS, &lately->counts) !=
            0)
            return;
        lately->began_ns = now_ns;
    }
    hdr_record_values(lately->counts, value, (int64_t)times);
    lately->now.known = false;
}

bool lately_read(struct lately *lately, uint64_t now_ns, uint64_t ret[METRIC_QUANTILES])
{
    const struct lately_quantiles *read = &lately->before;

    turn(lately, now_ns);
    if (lately->counts && lately->counts->total_count > 0 &&
        (!lately->before.known || now_ns - lately->began_ns >= LATELY_TURN_NS / 2))
        read = quantiles_now(lately);
    if (!read->known)
        return false;
    memcpy(ret, read->ns, sizeof(read->ns));
    return true;
}
