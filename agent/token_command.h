/* SPDX-License-Identifier: Apache-2.0 */
/* `vgpu-agent token add|list|remove`: run by an administrator, while the agent runs or not. */
#ifndef VGPU_AGENT_TOKEN_COMMAND_H
#define VGPU_AGENT_TOKEN_COMMAND_H

/* argv[0] is "token". The exit status. path: the token file unless --tokens names another. */
int token_command(int argc, char **argv, const char *path);

#endif
