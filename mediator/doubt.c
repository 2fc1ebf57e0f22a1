/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/doubt.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "mediator/mediator.h"

struct doubt {
    struct doubt *next;
    bool is_asked; /* the sample under way was begun after it */
    bool is_gpus;  /* a sample that came since found something wrong with the GPU */
    uint32_t vm_id, gpu_id;
    enum fault_kind kind;
    char text[VGPU_STATUS_TEXT_BYTES];
};

static void judge(struct vm *vm, uint32_t gpu_id, enum fault_kind kind, const char *text,
                  bool is_gpus)
{
    if (!is_gpus)
        fault_note(vm, kind, text);
    else if (mediator_may_log(vm->mediator))
        vgpu_log(VGPU_LOG_INFO, "fault-of-gpu", "vm=%" PRIu32 " gpu=%" PRIu32 " kind=%s",
                 vm->config.id, gpu_id, fault_kind_name(kind));
}

static void judge_doubt(struct mediator *mediator, const struct doubt *doubt)
{
    struct vm *vm = vm_find(mediator, doubt->vm_id);

    if (vm)
        judge(vm, doubt->gpu_id, doubt->kind, doubt->text,
              doubt->is_gpus || !mediator_gpu_ok(mediator, doubt->gpu_id));
}

/* Takes those out that the sample was for, or all. */
static struct doubt *take(struct mediator *mediator, bool all)
{
    struct doubt **at = &mediator->doubts, *taken = NULL, *doubt;

    while ((doubt = *at)) {
        if (!all && !doubt->is_asked) {
            at = &doubt->next;
            continue;
        }
        *at = doubt->next;
        doubt->next = taken;
        taken = doubt;
    }
    return taken;
}

static void judge_all(struct mediator *mediator, struct doubt *doubt)
{
    while (doubt) {
        struct doubt *next = doubt->next;

        judge_doubt(mediator, doubt);
        free(doubt);
        doubt = next;
    }
}

static void answered(void *context, json_t *reply);

/* One sample for all that wait. */
static void ask(struct mediator *mediator)
{
    if (helper_ask(&mediator->nvml, json_pack("{s:s}", "command", "sample"), answered,
                   &mediator->doubts) < 0) {
        judge_all(mediator, take(mediator, true));
        return;
    }
    for (struct doubt *doubt = mediator->doubts; doubt; doubt = doubt->next)
        doubt->is_asked = true;
}

static void ask_if_idle(struct mediator *mediator)
{
    for (const struct doubt *doubt = mediator->doubts; doubt; doubt = doubt->next)
        if (doubt->is_asked)
            return;
    if (mediator->doubts)
        ask(mediator);
}

/* What NVML said has been taken in on its way here. Of those that came meanwhile it may know
 * nothing yet. */
static void answered(void *context, json_t *reply)
{
    struct mediator *mediator = (void *)((char *)context - offsetof(struct mediator, doubts));

    judge_all(mediator, take(mediator, false));
    ask_if_idle(mediator);
}

void doubt_note(struct vm *vm, uint32_t gpu_id, enum fault_kind kind, const char *text)
{
    struct mediator *mediator = vm->mediator;
    bool gpu_ok = mediator_gpu_ok(mediator, gpu_id);
    struct doubt *doubt = NULL;

    if (mediator->has_nvml && gpu_ok)
        doubt = calloc(1, sizeof(*doubt));
    if (!doubt) {
        judge(vm, gpu_id, kind, text, !gpu_ok);
        return;
    }
    *doubt = (struct doubt){
        .next = mediator->doubts, .vm_id = vm->config.id, .gpu_id = gpu_id, .kind = kind};
    snprintf(doubt->text, sizeof(doubt->text), "%s", text);
    mediator->doubts = doubt;
    ask_if_idle(mediator);
}

void doubt_sampled(struct mediator *mediator)
{
    for (struct doubt *doubt = mediator->doubts; doubt; doubt = doubt->next)
        doubt->is_gpus |= !mediator_gpu_ok(mediator, doubt->gpu_id);
}

void doubt_release(struct mediator *mediator)
{
    helper_forget(&mediator->nvml, &mediator->doubts);
    while (mediator->doubts) {
        struct doubt *doubt = mediator->doubts;

        mediator->doubts = doubt->next;
        free(doubt);
    }
}
