/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and writing of fatbinary containers; see fatbin.h. All fields are little-endian. */
#include "softgpu/fatbin.h"

#include <errno.h>
#include <lz4.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "common/overflow.h"

#define HEADER_BYTES     16
#define ENTRY_MIN_BYTES  64
#define FLAG_LZ4         0x2000u
#define FLAG_ZSTD        0x8000u
#define FLAG_64BIT_LINUX 0x11u
#define PAYLOAD_ALIGN    8

/* Offsets in the container's header. */
#define HEADER_MAGIC       0
#define HEADER_VERSION     4
#define HEADER_SIZE        6 /* of this header, 16 bits */
#define HEADER_ENTRY_BYTES 8 /* of all entries */

/* Offsets in an entry's header. */
#define ENTRY_KIND         0
#define ENTRY_VERSION      2
#define ENTRY_HEADER_BYTES 4
#define ENTRY_PADDED_BYTES 8
#define ENTRY_PACKED_BYTES 16 /* 0 unless compressed */
#define ENTRY_SM           28
#define ENTRY_FLAGS        40
#define ENTRY_TEXT_BYTES   56

static uint16_t get16(const uint8_t *p)
{
    uint16_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

static uint32_t get32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

static uint64_t get64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

size_t fatbin_size(const void *data, size_t limit)
{
    const uint8_t *p = data;
    uint64_t size;

    /* Stops at the first byte that differs: a short PTX text may end there. */
    if (limit < HEADER_BYTES || strncmp(data, "\x50\xed\x55\xba", 4) != 0 ||
        get16(p + HEADER_SIZE) < HEADER_BYTES)
        return 0;
    if (!vgpu_add_u64(get64(p + HEADER_ENTRY_BYTES), get16(p + HEADER_SIZE), &size) ||
        size > FATBIN_MAX_BYTES)
        return 0;
    return size;
}

bool fatbin_open(const void *data, size_t limit, struct fatbin *ret)
{
    const uint8_t *p = data;
    size_t size = fatbin_size(data, limit);

    if (size == 0 || size > limit)
        return false;
    ret->next = p + get16(p + HEADER_SIZE);
    ret->end = p + size;
    return true;
}

int fatbin_read(struct fatbin *fatbin, struct fatbin_entry *ret)
{
    const uint8_t *p = fatbin->next;
    uint64_t left = (uint64_t)(fatbin->end - p);
    uint64_t header, padded;
    uint32_t packed;

    if (left == 0)
        return 0;
    if (left < ENTRY_MIN_BYTES)
        return -EBADMSG;
    header = get32(p + ENTRY_HEADER_BYTES);
    padded = get64(p + ENTRY_PADDED_BYTES);
    packed = get32(p + ENTRY_PACKED_BYTES);
    if (header < ENTRY_MIN_BYTES || header > left || padded > left - header || packed > padded)
        return -EBADMSG;
    *ret = (struct fatbin_entry){
        .kind = get16(p + ENTRY_KIND),
        .sm = get32(p + ENTRY_SM),
        .payload = p + header,
        .payload_bytes = packed ? packed : padded,
        .flags = get64(p + ENTRY_FLAGS),
        .text_bytes = get64(p + ENTRY_TEXT_BYTES),
    };
    fatbin->next = p + header + padded;
    return 1;
}

static int unpack(const struct fatbin_entry *entry, char *text)
{
    if (entry->flags & FLAG_ZSTD) {
        size_t n = ZSTD_decompress(text, entry->text_bytes, entry->payload, entry->payload_bytes);

        return !ZSTD_isError(n) && n == entry->text_bytes ? 0 : -EBADMSG;
    }
    return LZ4_decompress_safe((const char *)entry->payload, text, (int)entry->payload_bytes,
                               (int)entry->text_bytes) == (int)entry->text_bytes
               ? 0
               : -EBADMSG;
}

int fatbin_text(const struct fatbin_entry *entry, char **ret_text, size_t *ret_bytes)
{
    bool packed = entry->flags & (FLAG_LZ4 | FLAG_ZSTD);
    uint64_t size = packed ? entry->text_bytes : entry->payload_bytes;
    char *text;

    if (size > FATBIN_MAX_TEXT)
        return -E2BIG;
    text = malloc(size + 1);
    if (!text)
        return -ENOMEM;
    if (!packed)
        memcpy(text, entry->payload, size);
    else if (unpack(entry, text) < 0) {
        free(text);
        return -EBADMSG;
    }
    text[size] = '\0';
    *ret_text = text;
    *ret_bytes = size;
    return 0;
}

static void put(uint8_t *p, const void *value, size_t size)
{
    memcpy(p, value, size);
}

static void write_header(struct fatbin_writer *writer)
{
    uint32_t magic = FATBIN_MAGIC;
    uint16_t version = 1, header = HEADER_BYTES;
    uint64_t entries = writer->size_bytes - HEADER_BYTES;

    put(writer->data + HEADER_MAGIC, &magic, sizeof(magic));
    put(writer->data + HEADER_VERSION, &version, sizeof(version));
    put(writer->data + HEADER_SIZE, &header, sizeof(header));
    put(writer->data + HEADER_ENTRY_BYTES, &entries, sizeof(entries));
}

int fatbin_write(struct fatbin_writer *writer, uint32_t sm, const char *text, size_t size_bytes)
{
    size_t start = writer->size_bytes ? writer->size_bytes : HEADER_BYTES;
    uint64_t padded = (size_bytes + PAYLOAD_ALIGN) & ~(uint64_t)(PAYLOAD_ALIGN - 1);
    uint16_t kind = FATBIN_KIND_LINKED, version = 0x101;
    uint32_t header = ENTRY_MIN_BYTES;
    uint64_t flags = FLAG_64BIT_LINUX;
    size_t size = start + ENTRY_MIN_BYTES + padded;
    uint8_t *data, *entry;

    if (size_bytes > FATBIN_MAX_TEXT || size > FATBIN_MAX_BYTES)
        return -E2BIG;
    data = realloc(writer->data, size);
    if (!data)
        return -ENOMEM;
    entry = data + start;
    memset(entry, 0, ENTRY_MIN_BYTES + padded); /* at least one NUL follows the text */
    put(entry + ENTRY_KIND, &kind, sizeof(kind));
    put(entry + ENTRY_VERSION, &version, sizeof(version));
    put(entry + ENTRY_HEADER_BYTES, &header, sizeof(header));
    put(entry + ENTRY_PADDED_BYTES, &padded, sizeof(padded));
    put(entry + ENTRY_SM, &sm, sizeof(sm));
    put(entry + ENTRY_FLAGS, &flags, sizeof(flags));
    memcpy(entry + ENTRY_MIN_BYTES, text, size_bytes);
    writer->data = data;
    writer->size_bytes = size;
    write_header(writer);
    return 0;
}
