/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/doubt.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "mediator/mediator.h"

struct doubt {
    struct doubt *next;
    struct mediator *mediator;
    uint32_t vm_id, gpu_id;
    enum fault_kind kind;
    char text[VGPU_STATUS_TEXT_BYTES];
};

static void judge(struct vm *vm, uint32_t gpu_id, enum fault_kind kind, const char *text)
{
    if (mediator_gpu_ok(vm->mediator, gpu_id))
        fault_note(vm, kind, text);
    else if (mediator_may_log(vm->mediator))
        vgpu_log(VGPU_LOG_INFO, "fault-of-gpu", "vm=%" PRIu32 " gpu=%" PRIu32 " kind=%s",
                 vm->config.id, gpu_id, fault_kind_name(kind));
}

/* What NVML said has been taken in on its way here. */
static void answered(void *context, json_t *reply)
{
    struct doubt *doubt = context;
    struct mediator *mediator = doubt->mediator;
    struct doubt **at = &mediator->doubts;
    struct vm *vm = vm_find(mediator, doubt->vm_id);

    while (*at != doubt)
        at = &(*at)->next;
    *at = doubt->next;
    if (vm)
        judge(vm, doubt->gpu_id, doubt->kind, doubt->text);
    free(doubt);
}

void doubt_note(struct vm *vm, uint32_t gpu_id, enum fault_kind kind, const char *text)
{
    struct mediator *mediator = vm->mediator;
    struct doubt *doubt = NULL;

    if (mediator->has_nvml && mediator_gpu_ok(mediator, gpu_id))
        doubt = calloc(1, sizeof(*doubt));
    if (!doubt ||
        helper_ask(&mediator->nvml, json_pack("{s:s}", "command", "sample"), answered, doubt) < 0) {
        free(doubt);
        judge(vm, gpu_id, kind, text);
        return;
    }
    *doubt = (struct doubt){.next = mediator->doubts,
                            .mediator = mediator,
                            .vm_id = vm->config.id,
                            .gpu_id = gpu_id,
                            .kind = kind};
    snprintf(doubt->text, sizeof(doubt->text), "%s", text);
    mediator->doubts = doubt;
}

void doubt_release(struct mediator *mediator)
{
    while (mediator->doubts) {
        struct doubt *doubt = mediator->doubts;

        mediator->doubts = doubt->next;
        helper_forget(&mediator->nvml, doubt);
        free(doubt);
    }
}
