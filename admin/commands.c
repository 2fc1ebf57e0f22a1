/* SPDX-License-Identifier: Apache-2.0 */
/* The table of subcommands. */
#include "admin/commands.h"

const struct command *const commands[] = {
    &command_assign_gpu,   &command_assign_vms,   &command_audit,        &command_capacity,
    &command_clear_faults, &command_create_pool,  &command_doctor,       &command_drain_gpu,
    &command_health,       &command_list_gpus,    &command_list_pools,   &command_list_thresholds,
    &command_list_vms,     &command_quarantine,   &command_register_vm,  &command_remove_pool,
    &command_remove_vm,    &command_reset_gpu,    &command_resume_gpu,   &command_scan_gpus,
    &command_set_bytes,    &command_set_depth,    &command_set_faults,   &command_set_max_vms,
    &command_set_memory,   &command_set_policy,   &command_set_pool,     &command_set_pool_weight,
    &command_set_priority, &command_set_rate,     &command_set_slice,    &command_set_threshold,
    &command_set_timeout,  &command_set_weight,   &command_show_vm,      &command_simulate,
    &command_status,       &command_unassign_gpu, &command_unquarantine, NULL,
};
