/* SPDX-License-Identifier: Apache-2.0 */
/* The subcommands, each defined in the file that is named after it, or in settings.c. */
#ifndef VGPU_ADMIN_COMMANDS_H
#define VGPU_ADMIN_COMMANDS_H

#include "admin/command.h"

/* By name, with _ for -. */
/* clang-format off */
#define ADMIN_COMMANDS(X) \
    X(assign_gpu) \
    X(assign_vms) \
    X(audit) \
    X(capacity) \
    X(clear_faults) \
    X(completion) \
    X(create_pool) \
    X(doctor) \
    X(drain_gpu) \
    X(events) \
    X(export) \
    X(health) \
    X(import) \
    X(list_gpus) \
    X(list_pools) \
    X(list_thresholds) \
    X(list_vms) \
    X(metrics) \
    X(quarantine) \
    X(register_vm) \
    X(reload_config) \
    X(remove_pool) \
    X(remove_vm) \
    X(reset_gpu) \
    X(resume_gpu) \
    X(scan_gpus) \
    X(set_bytes) \
    X(set_depth) \
    X(set_faults) \
    X(set_max_vms) \
    X(set_memory) \
    X(set_policy) \
    X(set_pool) \
    X(set_pool_weight) \
    X(set_priority) \
    X(set_rate) \
    X(set_slice) \
    X(set_threshold) \
    X(set_timeout) \
    X(set_weight) \
    X(show_vm) \
    X(simulate) \
    X(status) \
    X(top) \
    X(unassign_gpu) \
    X(unquarantine)
/* clang-format on */

#define DECLARE_COMMAND(name) extern const struct command command_##name;
ADMIN_COMMANDS(DECLARE_COMMAND)
#undef DECLARE_COMMAND

/* Those of docs/spec/admin.md; NULL ends it. Of events.c. */
extern const char *const event_kinds[];

#endif
