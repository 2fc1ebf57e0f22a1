/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON objects on lines of limited length, over blocking descriptors: the framing of
 * docs/spec/admin.md, for vgpu-store and vgpu-admin.
 */
#ifndef VGPU_STORE_LINE_H
#define VGPU_STORE_LINE_H

#include <stddef.h>

#include <jansson.h>

struct line_reader {
    int fd; /* the caller's */
    size_t max_bytes;
    char *buffer;
    size_t size, used;
    size_t taken; /* bytes at the start of the buffer that the last line had */
};

void line_reader_init(struct line_reader *reader, int fd, size_t max_bytes);
void line_reader_release(struct line_reader *reader);

/*
 * 1: *ret_line is the next line without its newline, valid until the next call; 0: end of file
 * between lines; -E2BIG: the line is longer than max_bytes; -EPROTO: end of file within a line, or
 * a NUL byte; or -errno of read().
 */
int line_read(struct line_reader *reader, const char **ret_line);

/* Writes json and a newline whole; -E2BIG if that is more than max_bytes, and nothing is written.
 */
int line_write(int fd, const json_t *json, size_t max_bytes);

#endif
