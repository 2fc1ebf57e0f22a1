/* SPDX-License-Identifier: Apache-2.0 */
/* Checks texts that come from outside, and shows them in messages. */
#ifndef VGPU_STORE_TEXT_H
#define VGPU_STORE_TEXT_H

#include <stddef.h>

#include "common/err.h"
#include "store/store.h"

#define TEXT_SHOWN_BYTES 80

/*
 * -EINVAL unless value is UTF-8 of 1 to max_bytes bytes without control characters (C0, C1, line
 * separators, and those that change the direction of writing: all can forge what a terminal shows).
 * what: "the name".
 */
int text_check(const char *what, const char *value, size_t max_bytes, struct vgpu_err *err);

/* Writes value into shown in quotes, control characters as '?', cut to fit. Returns shown. */
const char *text_show(char shown[TEXT_SHOWN_BYTES], const char *value);

/*
 * Writes value into text, whose size is at least 8, cut to fit between characters, with '?' for
 * what text_check() refuses; an empty one becomes "?". For what programs say, and must not be lost.
 */
void text_clean(const char *value, char *text, size_t size);

/* Checks a UUID (8-4-4-4-12 hexadecimal digits) and writes it in lower case. */
int text_uuid(const char *value, char ret_uuid[STORE_UUID_BYTES + 1], struct vgpu_err *err);

/* Reads a whole decimal number without sign or leading zeros; false if value is anything else. */
bool text_decimal(const char *value, int64_t *ret_number);

/* A text of limited size that lists are appended to, for messages. */
struct text_list {
    char text[352];
    size_t used;
    size_t items;
    size_t hidden;
};

/* Appends ", item"; what no longer fits is counted. */
void text_list_add(struct text_list *list, const char *item);

/* Closes the list with "and N more" where items did not fit; "none" if it is empty. */
const char *text_list_end(struct text_list *list);

#endif
