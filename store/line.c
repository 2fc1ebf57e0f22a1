/* SPDX-License-Identifier: Apache-2.0 */
#include "store/line.h"

#include <errno.h>
#include <string.h>

#include "common/cleanup.h"
#include "store/json.h"

#define FIRST_BYTES 4096

void line_reader_init(struct line_reader *reader, int fd, size_t max_bytes)
{
    *reader = (struct line_reader){.fd = fd, .max_bytes = max_bytes};
}

void line_reader_release(struct line_reader *reader)
{
    free(reader->buffer);
    reader->buffer = NULL;
}

/* Makes room for at least one more byte. */
static int grow(struct line_reader *reader)
{
    size_t size = reader->size ? reader->size * 2 : FIRST_BYTES;
    char *buffer;

    if (reader->used < reader->size)
        return 0;
    if (size > reader->max_bytes)
        size = reader->max_bytes;
    if (reader->used >= size)
        return -E2BIG;
    buffer = realloc(reader->buffer, size);
    if (!buffer)
        return -ENOMEM;
    reader->buffer = buffer;
    reader->size = size;
    return 0;
}

/* The number of bytes read, 0 at end of file. */
static ssize_t fill(struct line_reader *reader)
{
    int rc = grow(reader);
    ssize_t got;

    if (rc < 0)
        return rc;
    do
        got = read(reader->fd, reader->buffer + reader->used, reader->size - reader->used);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return -errno;
    reader->used += (size_t)got;
    return got;
}

int line_read(struct line_reader *reader, const char **ret_line)
{
    size_t scanned = 0;
    char *end;

    if (reader->taken > 0) {
        reader->used -= reader->taken;
        memmove(reader->buffer, reader->buffer + reader->taken, reader->used);
        reader->taken = 0;
    }
    while (reader->used == scanned ||
           !(end = memchr(reader->buffer + scanned, '\n', reader->used - scanned))) {
        ssize_t got;

        scanned = reader->used;
        got = fill(reader);
        if (got < 0)
            return (int)got;
        if (got == 0)
            return reader->used ? -EPROTO : 0;
    }
    reader->taken = (size_t)(end - reader->buffer) + 1;
    if (memchr(reader->buffer, '\0', reader->taken))
        return -EPROTO;
    *end = '\0';
    *ret_line = reader->buffer;
    return 1;
}

static int write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t done = write(fd, data, size);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return -errno;
        data += done;
        size -= (size_t)done;
    }
    return 0;
}

int line_write(int fd, const json_t *json, size_t max_bytes)
{
    _cleanup_free_ char *text = json_dumps(json, STORE_JSON_FLAGS);
    size_t size;

    if (!text)
        return -ENOMEM;
    size = strlen(text);
    if (size + 1 > max_bytes)
        return -E2BIG;
    text[size] = '\n';
    return write_all(fd, text, size + 1);
}
