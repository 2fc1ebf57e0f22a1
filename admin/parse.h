/* SPDX-License-Identifier: Apache-2.0 */
/* Parses vgpu-admin's command line by the tables of the subcommands, and prints its help. */
#ifndef VGPU_ADMIN_PARSE_H
#define VGPU_ADMIN_PARSE_H

#include "admin/command.h"

/*
 * Fills invocation, whose args and local are empty objects and whose paths have their defaults. All
 * its texts point into argv. On error err has what is wrong; invocation->command may be set.
 */
int parse_command_line(int argc, char **argv, struct invocation *invocation, struct vgpu_err *err);

/* An option that commands of an effect share. */
struct parse_shared {
    const char *name;
    const char *metavar; /* NULL: it has no value */
    const char *help;
    enum command_effect effect; /* commands of this one, and of those after it, have the option */
};

/* The i-th of them; false: there are no more. */
bool parse_shared_option(size_t i, struct parse_shared *ret);

/* Help for the subcommand, or (NULL) for the program. */
void parse_print_help(const struct command *command);

#endif
