/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/metrics.h"

#include "mediator/mediator.h"
#include "mediator/sum.h"

/* the loop */

static void turned(void *context, uint64_t took_ns)
{
    struct mediator *mediator = context;
    struct mediator_metrics *metrics = &mediator->metrics;

    metrics->turns++;
    metrics->busy_ns += took_ns;
    lately_count(&metrics->lag, loop_now(mediator->loop), took_ns, 1);
}

void metrics_init(struct mediator *mediator)
{
    loop_measure(mediator->loop, turned, mediator);
}

void metrics_release(struct mediator *mediator)
{
    loop_measure(mediator->loop, NULL, NULL);
    lately_release(&mediator->metrics.lag);
}

/* VMs */

/* Those that are over, those that are not, those that never will be. */
uint64_t metrics_taken(const struct vm *vm, const struct vm_sum *sum)
{
    return sum->totals.jobs_done + sum->totals.jobs_failed + sum->totals.jobs_pending +
           vm->metrics.lost;
}

static uint64_t over(const struct vm_sum *sum)
{
    return sum->totals.jobs_done + sum->totals.jobs_failed;
}

static void take_sample(struct vm *vm, uint64_t now_ns)
{
    struct vm_metrics *metrics = &vm->metrics;
    struct vm_sum sum;

    vm_sum(vm->mediator, vm->config.id, &sum);
    metrics->samples[metrics->next] = (struct vm_sample){.at_ns = now_ns,
                                                         .taken = metrics_taken(vm, &sum),
                                                         .over = over(&sum),
                                                         .gpu_ns = sum.charged_ns};
    metrics->next = (metrics->next + 1) % METRICS_SAMPLES;
}

void metrics_look(struct vm *vm)
{
    uint64_t now_ns = loop_now(vm->mediator->loop);

    for (struct channel *c = vm->channels; c; c = c->next)
        if (c->times_seen)
            times_add_sums(&vm->metrics.times, c->times_seen, c->times, now_ns);
}

static void add_counts(struct vm *vm, uint64_t now_ns)
{
    for (struct channel *c = vm->channels; c; c = c->next)
        if (c->times_seen)
            times_add_counts(&vm->metrics.times, c->times_seen, c->times, now_ns);
}

static void look(void *context)
{
    struct vm *vm = context;
    uint64_t now_ns = loop_now(vm->mediator->loop);

    take_sample(vm, now_ns);
    metrics_look(vm);
    add_counts(vm, now_ns);
    if (vm_living(vm) > 0)
        loop_timer_set(vm->mediator->loop, &vm->metrics.timer, now_ns + METRICS_SAMPLE_NS);
}

void metrics_init_vm(struct vm *vm)
{
    vm->metrics.timer = (struct loop_timer){.fire = look, .context = vm};
}

void metrics_release_vm(struct vm *vm)
{
    loop_timer_clear(vm->mediator->loop, &vm->metrics.timer);
    times_release(&vm->metrics.times);
}

static void watch(struct vm *vm)
{
    if (!vm->metrics.timer.place)
        look(vm);
}

void metrics_channel_started(struct channel *channel)
{
    channel->times_seen = times_seen_new(loop_now(channel->vm->mediator->loop));
    channel->vm->metrics.starts++;
    watch(channel->vm);
}

/* What it did before is no part of what this mediator counts. */
void metrics_channel_adopted(struct channel *channel)
{
    uint64_t now_ns = loop_now(channel->vm->mediator->loop);

    channel->times_seen = times_seen_new(now_ns);
    if (channel->times_seen) {
        times_add_sums(NULL, channel->times_seen, channel->times, now_ns);
        times_add_counts(NULL, channel->times_seen, channel->times, now_ns);
    }
    watch(channel->vm);
}

static enum worker_end end_of(enum vgpu_status status)
{
    switch (status) {
    case VGPU_OK:
    case VGPU_GONE:
    case VGPU_REMOVED:
        return WORKER_CLOSED;
    case VGPU_KILLED:
    case VGPU_TIMEOUT:
    case VGPU_BAD_RECORD:
    case VGPU_QUARANTINED:
        return WORKER_KILLED;
    default:
        return WORKER_FAILED;
    }
}

void metrics_channel_ended(struct channel *channel)
{
    uint64_t now_ns = loop_now(channel->vm->mediator->loop);
    struct vm_metrics *metrics = &channel->vm->metrics;
    struct channel_counts counts;
    struct channel_queue queue;

    if (!channel->times_seen) /* it never began */
        return;
    channel_counts(channel, &counts);
    channel_queue(channel, &queue);
    channel_counts_add(&metrics->ended, &counts);
    metrics->lost += queue.taken > queue.over ? queue.taken - queue.over : 0;
    metrics->ends[end_of(channel->end_status)]++;
    times_add_sums(&metrics->times, channel->times_seen, channel->times, now_ns);
    times_add_counts(&metrics->times, channel->times_seen, channel->times, now_ns);
    times_seen_free(channel->times_seen);
    channel->times_seen = NULL;
}

/* The oldest sample that is within the window, or a little older. NULL: there is none. */
static const struct vm_sample *oldest(const struct vm_metrics *metrics, uint64_t now_ns)
{
    for (unsigned i = 0; i < METRICS_SAMPLES; i++) {
        const struct vm_sample *sample = &metrics->samples[(metrics->next + i) % METRICS_SAMPLES];

        if (sample->at_ns && now_ns > sample->at_ns &&
            now_ns - sample->at_ns <= METRICS_WINDOW_NS + METRICS_SAMPLE_NS)
            return sample;
    }
    return NULL;
}

static uint64_t grown(uint64_t now, uint64_t then)
{
    return now > then ? now - then : 0; /* a worker's word may go back */
}

void metrics_rate(const struct vm *vm, const struct vm_sum *sum, struct vm_rate *ret)
{
    uint64_t now_ns = loop_now(vm->mediator->loop), jobs;
    const struct vm_sample *then = oldest(&vm->metrics, now_ns);

    *ret = (struct vm_rate){.jobs_per_s = 0};
    if (!then)
        return;
    jobs = grown(over(sum), then->over);
    ret->jobs_per_s = (double)grown(metrics_taken(vm, sum), then->taken) * (double)VGPU_NS_PER_S /
                      (double)(now_ns - then->at_ns);
    ret->mean_known = jobs > 0;
    if (jobs > 0)
        ret->mean_job_ns = grown(sum->charged_ns, then->gpu_ns) / jobs;
}
