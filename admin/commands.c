/* SPDX-License-Identifier: Apache-2.0 */
/* The table of subcommands. */
#include "admin/commands.h"

#define COMMAND_ROW(name) &command_##name,

const struct command *const commands[] = {ADMIN_COMMANDS(COMMAND_ROW) NULL};
