/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/blob.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "worker/channel.h"

#define PAGE_BYTES 4096u

static void own(struct item *item, void *copy, uint64_t mapped_bytes)
{
    item->blob_bytes[item->call.owned] = mapped_bytes;
    item->call.blobs[item->call.owned++] = copy;
}

/* Pages for size bytes and a NUL, and one behind them that may not be touched. */
static void *map_guarded(size_t size, uint64_t *ret_mapped)
{
    size_t pages = (size + 1 + PAGE_BYTES - 1) / PAGE_BYTES;
    size_t mapped = (pages + 1) * PAGE_BYTES;
    uint8_t *copy = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (copy == MAP_FAILED)
        return NULL;
    if (mprotect(copy + pages * PAGE_BYTES, PAGE_BYTES, PROT_NONE) < 0) {
        munmap(copy, mapped);
        return NULL;
    }
    *ret_mapped = mapped;
    return copy;
}

static void *find_small(struct item *item, size_t size)
{
    size_t used = (item->small_used + 15u) & ~(size_t)15u;

    if (size >= sizeof(item->small) || used > sizeof(item->small) - size - 1)
        return NULL;
    item->small_used = (uint32_t)(used + size + 1);
    return item->small + used;
}

int blob_copy(struct channel *channel, struct item *item, const void *bytes, size_t size,
              bool guarded, const void **ret_copy)
{
    uint64_t mapped = 0;
    uint8_t *copy = guarded ? NULL : find_small(item, size);

    if (!copy) {
        if (size > WORKER_MAX_BLOB_BYTES - channel->blob_bytes)
            return -ENOMEM;
        copy = guarded ? map_guarded(size, &mapped) : malloc(size + 1);
        if (!copy)
            return -ENOMEM;
        own(item, copy, mapped);
        item->owned_bytes += size;
        channel->blob_bytes += size;
    }
    memcpy(copy, bytes, size);
    copy[size] = 0;
    *ret_copy = copy;
    return 0;
}

/* Little-endian words at any alignment; the caller has checked that they are there. */
static uint64_t word(const uint8_t *bytes, unsigned size)
{
    uint64_t value = 0;

    memcpy(&value, bytes, size);
    return value;
}

static bool table_within(uint64_t offset, uint64_t count, uint64_t entry, size_t size)
{
    return offset <= size && (count == 0 || (entry > 0 && count <= (size - offset) / entry));
}

#define ELF_HEAD_BYTES    64u
#define ELF_SECTION_BYTES 64u
#define ELF_SEGMENT_BYTES 56u
#define ELF_NOBITS        8u

/* 64-bit little-endian ELF: header, both tables, and what they point at. */
static bool elf_within(const uint8_t *elf, size_t size)
{
    uint64_t segments, sections, n_segments, n_sections, string_index;

    if (size < ELF_HEAD_BYTES || elf[4] != 2 || elf[5] != 1)
        return false;
    segments = word(elf + 32, 8);
    sections = word(elf + 40, 8);
    n_segments = word(elf + 56, 2);
    n_sections = word(elf + 60, 2);
    string_index = word(elf + 62, 2);
    if (word(elf + 52, 2) != ELF_HEAD_BYTES ||
        (n_segments && word(elf + 54, 2) != ELF_SEGMENT_BYTES) ||
        (n_sections && word(elf + 58, 2) != ELF_SECTION_BYTES) ||
        (n_sections ? string_index >= n_sections : string_index != 0) ||
        !table_within(segments, n_segments, ELF_SEGMENT_BYTES, size) ||
        !table_within(sections, n_sections, ELF_SECTION_BYTES, size))
        return false;
    for (uint64_t i = 0; i < n_segments; i++) {
        const uint8_t *segment = elf + segments + i * ELF_SEGMENT_BYTES;

        if (!table_within(word(segment + 8, 8), word(segment + 32, 8), 1, size))
            return false;
    }
    for (uint64_t i = 0; i < n_sections; i++) {
        const uint8_t *section = elf + sections + i * ELF_SECTION_BYTES;

        if (word(section + 4, 4) != ELF_NOBITS &&
            !table_within(word(section + 24, 8), word(section + 32, 8), 1, size))
            return false;
    }
    return true;
}

#define FATBIN_MAGIC         0xba55ed50u
#define FATBIN_WRAPPER_MAGIC 0x466243b1u /* holds a pointer: never given to the driver */
#define FATBIN_HEAD_BYTES    16u
#define FATBIN_ENTRY_BYTES   64u

/* Head, then entries of their own head and payload, which fill the size that the head claims. */
static bool fatbin_within(const uint8_t *fatbin, size_t size)
{
    uint64_t head, total, at;

    if (size < FATBIN_HEAD_BYTES)
        return false;
    head = word(fatbin + 6, 2);
    total = word(fatbin + 8, 8);
    if (head < FATBIN_HEAD_BYTES || head > size || total > size - head)
        return false;
    for (at = head; at < head + total;) {
        uint64_t left = head + total - at;
        uint64_t entry_head, payload;

        if (left < FATBIN_ENTRY_BYTES)
            return false;
        entry_head = word(fatbin + at + 4, 4);
        payload = word(fatbin + at + 8, 8);
        if (entry_head < FATBIN_ENTRY_BYTES || entry_head > left || payload > left - entry_head)
            return false;
        at += entry_head + payload;
    }
    return true;
}

enum image_kind image_check(const void *image, size_t size)
{
    const uint8_t *bytes = image;
    uint64_t magic = size >= 4 ? word(bytes, 4) : 0;

    if (size == 0 || magic == FATBIN_WRAPPER_MAGIC)
        return IMAGE_BAD;
    if (magic == 0x464c457fu)
        return elf_within(bytes, size) ? IMAGE_ELF : IMAGE_BAD;
    if (magic == FATBIN_MAGIC)
        return fatbin_within(bytes, size) ? IMAGE_FATBIN : IMAGE_BAD;
    /* Text. A NUL may end it early; one lies behind it in any case. */
    return bytes[0] == 0 || bytes[0] >= 0x7f ? IMAGE_BAD : IMAGE_PTX;
}

bool image_may_print(const void *image, size_t size, enum image_kind kind)
{
    return kind == IMAGE_FATBIN || memmem(image, size, "vprintf", 7) != NULL;
}
