/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/sum.h"

static void add_totals(struct seat_totals *sum, const struct seat_totals *more)
{
    sum->channels += more->channels;
    sum->depth += more->depth;
    sum->jobs_pending += more->jobs_pending;
    sum->jobs_done += more->jobs_done;
    sum->jobs_failed += more->jobs_failed;
    sum->jobs_refused += more->jobs_refused;
    sum->wait_ns += more->wait_ns;
}

static void add_seat(struct vm_sum *sum, struct seat *seat, uint64_t now_ns)
{
    struct sched_vm_stats stats;
    struct sched_stats all;
    struct seat_totals totals;

    seat_charge(seat);
    if (sched_vm_stats(seat->gpu->sched, seat->handle, now_ns, &stats) < 0)
        return;
    sched_stats(seat->gpu->sched, now_ns, &all);
    seat_totals(seat, &totals);
    sum->has_seat = true;
    add_totals(&sum->totals, &totals);
    sum->switches += seat->switches;
    sum->charged_ns += stats.charged_ns;
    sum->window_ns += stats.window_ns;
    if (totals.channels || stats.window_ns) /* not a GPU that it has left */
        sum->all_ns += all.window_ns;
    sum->entitled_ns += (double)stats.entitled_ppm * (double)all.window_ns / 1e6;
    if (!stats.has_work)
        return;
    sum->gpu_id = (int)seat->gpu->id;
    sum->running |= seat->leased;
    sum->waiting |= !seat->leased;
}

void vm_sum(struct mediator *mediator, uint32_t vm_id, struct vm_sum *ret)
{
    *ret = (struct vm_sum){.gpu_id = -1};
    for (unsigned i = 0; i < MEDIATOR_GPUS_MAX; i++) {
        struct gpu *gpu = mediator->gpus[i];
        struct seat *seat = gpu ? gpu_find_seat(gpu, vm_id) : NULL;

        if (seat)
            add_seat(ret, seat, loop_now(mediator->loop));
    }
}

static double part(double some, double all)
{
    return all > 0 ? (some < all ? some / all : 1.0) : 0.0;
}

double vm_sum_share(const struct vm_sum *sum)
{
    return part((double)sum->window_ns, (double)sum->all_ns);
}

double vm_sum_entitlement(const struct vm_sum *sum)
{
    return part(sum->entitled_ns, (double)sum->all_ns);
}
