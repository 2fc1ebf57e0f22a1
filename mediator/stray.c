/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/stray.h"

#include <inttypes.h>

#include "common/clock.h"
#include "common/log.h"
#include "mediator/mediator.h"

/* NVML's numbers are means over up to a second, and may be late: what is younger is not counted. */
#define SETTLE_NS (3 * VGPU_NS_PER_S)
/* Samples count once in so long. */
#define COUNT_NS (900 * VGPU_NS_PER_MS)
/* Less is noise: a context's own upkeep. */
#define PERCENT_MIN 10

#define LOOK_NS        (10 * VGPU_NS_PER_S)
#define LOOK_CLOSER_NS VGPU_NS_PER_S

static bool is_on_gpu(const struct channel *channel)
{
    return channel->seat && channel->seat->turn == channel;
}

/* -1: NVML says nothing of it. */
static json_int_t percent_of(const json_t *processes, int32_t pid)
{
    const json_t *process;
    size_t i;

    json_array_foreach (processes, i, process) {
        const json_t *percent = json_object_get(process, "sm_percent");

        if (json_integer_value(json_object_get(process, "pid")) == pid && json_is_integer(percent))
            return json_integer_value(percent);
    }
    return -1;
}

static void judge(struct channel *channel, json_int_t percent)
{
    uint64_t now_ns = loop_now(channel->vm->mediator->loop);
    struct stray *stray = &channel->stray;

    if (channel->state != CHANNEL_OPEN || is_on_gpu(channel) || percent < PERCENT_MIN ||
        now_ns - stray->off_ns < SETTLE_NS) {
        stray->times = 0;
        return;
    }
    if (stray->times > 0 && now_ns - stray->counted_ns < COUNT_NS)
        return;
    stray->counted_ns = now_ns;
    if (++stray->times < channel->vm->mediator->settings->stray_samples)
        return;
    vgpu_log(VGPU_LOG_WARN, "gpu-stray", "vm=%" PRIu32 " channel=%" PRIu32 " percent=%d",
             channel->vm->config.id, channel->number, (int)percent);
    vm_fault_channel(channel, FAULT_STRAY, VGPU_KILLED,
                     "the worker was killed: it used the GPU without its turn");
}

void stray_sampled(struct mediator *mediator, uint32_t gpu_id, const json_t *gpu)
{
    const json_t *processes = json_object_get(gpu, "processes");

    if (mediator->settings->stray_samples == 0)
        return;
    for (struct vm *vm = mediator->vms; vm; vm = vm->next)
        for (struct channel *c = vm->channels; c; c = c->next)
            if (c->gpu_id == gpu_id && channel_has_worker(c) && c->pid > 0)
                judge(c, percent_of(processes, c->pid));
}

/* How soon to look at a GPU again; UINT64_MAX: no need, one VM at most is there. */
static uint64_t look_after(const struct gpu *gpu)
{
    unsigned vms = 0, busy = 0;
    bool suspect = false;

    for (const struct seat *seat = gpu->seats; seat; seat = seat->next) {
        vms += seat->channels != NULL;
        busy += seat->has_work;
        for (const struct channel *c = seat->channels; c; c = c->seat_next)
            suspect |= c->stray.times > 0;
    }
    if (vms < 2)
        return UINT64_MAX;
    return suspect || busy > 1 ? LOOK_CLOSER_NS : LOOK_NS;
}

void stray_watch(struct mediator *mediator)
{
    uint64_t after_ns = UINT64_MAX;

    if (!mediator->has_nvml || mediator->settings->stray_samples == 0 ||
        mediator->stray_timer.place)
        return;
    for (unsigned i = 0; i < MEDIATOR_GPUS_MAX; i++) {
        uint64_t ns = mediator->gpus[i] ? look_after(mediator->gpus[i]) : UINT64_MAX;

        after_ns = ns < after_ns ? ns : after_ns;
    }
    if (after_ns != UINT64_MAX)
        loop_timer_set(mediator->loop, &mediator->stray_timer, loop_now(mediator->loop) + after_ns);
}

/* The answer goes to status.c, and from there to stray_sampled(), before this. */
static void sampled(void *context, json_t *reply)
{
    stray_watch(context);
}

static void look(void *context)
{
    struct mediator *mediator = context;

    if (helper_ask(&mediator->nvml, json_pack("{s:s}", "command", "sample"), sampled, mediator) < 0)
        stray_watch(mediator);
}

void stray_init(struct mediator *mediator)
{
    mediator->stray_timer = (struct loop_timer){.fire = look, .context = mediator};
}

void stray_release(struct mediator *mediator)
{
    loop_timer_clear(mediator->loop, &mediator->stray_timer);
}
