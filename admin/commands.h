/* SPDX-License-Identifier: Apache-2.0 */
/* The subcommands, each defined in the file that is named after it, or in settings.c. */
#ifndef VGPU_ADMIN_COMMANDS_H
#define VGPU_ADMIN_COMMANDS_H

#include "admin/command.h"

extern const struct command command_assign_gpu;
extern const struct command command_assign_vms;
extern const struct command command_audit;
extern const struct command command_capacity;
extern const struct command command_clear_faults;
extern const struct command command_create_pool;
extern const struct command command_export;
extern const struct command command_import;
extern const struct command command_list_gpus;
extern const struct command command_list_pools;
extern const struct command command_list_vms;
extern const struct command command_quarantine;
extern const struct command command_register_vm;
extern const struct command command_remove_pool;
extern const struct command command_remove_vm;
extern const struct command command_scan_gpus;
extern const struct command command_set_bytes;
extern const struct command command_set_depth;
extern const struct command command_set_faults;
extern const struct command command_set_max_vms;
extern const struct command command_set_memory;
extern const struct command command_set_policy;
extern const struct command command_set_pool;
extern const struct command command_set_pool_weight;
extern const struct command command_set_priority;
extern const struct command command_set_rate;
extern const struct command command_set_slice;
extern const struct command command_set_timeout;
extern const struct command command_set_weight;
extern const struct command command_show_vm;
extern const struct command command_simulate;
extern const struct command command_status;
extern const struct command command_unassign_gpu;
extern const struct command command_unquarantine;

#endif
