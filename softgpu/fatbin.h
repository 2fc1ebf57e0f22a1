/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container that nvcc's fatbinary writes: a header, then entries, each with a header of its
 * own and a payload (PTX text or an ELF for one architecture), which may be compressed.
 * The layout is not documented by NVIDIA; it is known from public descriptions and from files.
 *
 * softgpu uses the same framing for what cuLinkComplete returns, with entries of a kind of its own
 * (FATBIN_KIND_LINKED): all of them together are the program. So whoever carries images can derive
 * their size in the same way.
 */
#ifndef SOFTGPU_FATBIN_H
#define SOFTGPU_FATBIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FATBIN_MAGIC       0xba55ed50u
#define FATBIN_KIND_PTX    1
#define FATBIN_KIND_LINKED 0x5347
#define FATBIN_MAX_BYTES   (256u << 20)
#define FATBIN_MAX_TEXT    (64u << 20) /* of one payload, uncompressed */

struct fatbin {
    const uint8_t *next; /* header of the entry that comes next */
    const uint8_t *end;
};

struct fatbin_entry {
    uint16_t kind;
    uint32_t sm; /* for example 75 */
    const uint8_t *payload;
    size_t payload_bytes;
    uint64_t flags;
    uint64_t text_bytes; /* uncompressed; meaningless if the payload is not compressed */
};

/* Opens a container of at most limit bytes. False: not one, or larger than limit. */
bool fatbin_open(const void *data, size_t limit, struct fatbin *ret);

/* Size in bytes of the container at data, whose header is within limit; 0 if it is none. */
size_t fatbin_size(const void *data, size_t limit);

/* The next entry. Returns 1, 0 at the end, or -EBADMSG. */
int fatbin_read(struct fatbin *fatbin, struct fatbin_entry *ret);

/*
 * The payload of an entry, uncompressed, in memory that the caller frees; a NUL follows it.
 * Returns 0, -EBADMSG, -ENOTSUP (compressed in an unknown way), -E2BIG or -ENOMEM.
 */
int fatbin_text(const struct fatbin_entry *entry, char **ret_text, size_t *ret_bytes);

/* A growing container of FATBIN_KIND_LINKED entries. */
struct fatbin_writer {
    uint8_t *data; /* from malloc; the caller's */
    size_t size_bytes;
};

/* Appends an entry. Returns 0, -ENOMEM, or -E2BIG beyond FATBIN_MAX_BYTES. */
int fatbin_write(struct fatbin_writer *writer, uint32_t sm, const char *text, size_t size_bytes);

#endif
