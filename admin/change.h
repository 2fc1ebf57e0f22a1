/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of the configuration in words: for dry runs, import and audit. */
#ifndef VGPU_ADMIN_CHANGE_H
#define VGPU_ADMIN_CHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#define CHANGE_NAME_BYTES 128
#define CHANGE_BYTES      512

/*
 * "VM 3 (web)", "pool A", "GPU 0", "GPU 0 in pool A": what the change is of, as a reply's changes
 * and the audit log name it; from or to may be NULL. Returns text.
 */
const char *change_name(const char *object, const char *key, const json_t *from, const json_t *to,
                        char text[CHANGE_NAME_BYTES]);

/*
 * "priority medium -> high, weight 50 -> 60"; "new: ...", with what is not its default, where from
 * is null, "removed" where to is. Cut with "..." if it does not fit. Returns text.
 */
const char *change_describe(const json_t *from, const json_t *to, char text[CHANGE_BYTES]);

/* Prints a result's changes, one a line, indented. */
void changes_print(const json_t *result);

#endif
