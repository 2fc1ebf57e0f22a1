/* SPDX-License-Identifier: Apache-2.0 */
/* The table of subcommands. */
#include "admin/commands.h"

const struct command *const commands[] = {
    &command_assign_gpu, &command_create_pool, &command_list_gpus,    &command_list_pools,
    &command_list_vms,   &command_register_vm, &command_remove_pool,  &command_remove_vm,
    &command_scan_gpus,  &command_set_pool,    &command_set_priority, &command_set_weight,
    &command_simulate,   &command_status,      &command_unassign_gpu, NULL,
};
