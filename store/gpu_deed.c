/* SPDX-License-Identifier: Apache-2.0 */
#include "store/gpu_deed.h"

#include <stdio.h>

#include "store/args.h"
#include "store/audit.h"
#include "store/gpu.h"
#include "store/text.h"

/* The row's command is the one that the administrator gave. */
int gpu_deed_command_record(struct store_call *call, struct vgpu_err *err)
{
    static const char *const known[] = {"gpu_id", "command", "outcome", NULL};
    static const char *const commands[] = {"reset-gpu", "resume-gpu", NULL};
    _cleanup_json_ json_t *gpu = NULL;
    _cleanup_json_ json_t *before = json_object();
    _cleanup_json_ json_t *after = NULL;
    char clean[STORE_REASON_BYTES + 1], key[24];
    const char *outcome = NULL, *command = NULL;
    int64_t gpu_id = 0;
    int rc;

    if ((rc = args_known(call->args, known, err)) < 0 ||
        (rc = args_integer(call->args, "gpu_id", true, 0, STORE_GPUS_MAX - 1, &gpu_id, err)) < 0 ||
        (rc = args_word(call->args, "command", true, commands, &command, err)) < 0 ||
        (rc = args_text(call->args, "outcome", true, &outcome, err)) < 0 ||
        (rc = gpu_load(call->store, gpu_id, &gpu, err)) < 0)
        return rc;
    text_clean(outcome, clean, sizeof(clean));
    after = json_pack("{s:s}", "outcome", clean);
    if (!before || !after)
        return database_no_memory(err);
    call->command = command;
    call->is_history = true;
    snprintf(key, sizeof(key), "%lld", (long long)gpu_id);
    return audit_record(call, "gpu", key, before, after, err);
}
