/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may stand where the cursor is: the scripts that `vgpu-admin completion` prints ask this at
 * each Tab, so that commands and options come from the tables, and names from the mediator.
 */
#ifndef VGPU_ADMIN_COMPLETE_H
#define VGPU_ADMIN_COMPLETE_H

#define COMPLETE_WORD  "__complete" /* instead of a command */
#define COMPLETE_FILES 10           /* exit status: a file's name */

/*
 * words: "bash" or "zsh", the index of the word with the cursor, and the words of the line from the
 * program's name on. bash: as COMP_WORDS has them, split at '=' and ':', quotes included; what is
 * printed, a line each, replaces the last piece. zsh: whole and without quotes, as is what is
 * printed, each with a tab and what it is behind it. Returns the exit status.
 */
int complete(int n_words, char **words);

#endif
