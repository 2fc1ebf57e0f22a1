/* SPDX-License-Identifier: Apache-2.0 */
#include "cuda/image_measure.h"

#include <elf.h>
#include <stdbool.h>
#include <string.h>

#include "common/overflow.h"

/* The layout that nvcc's fatbinary tool writes, as its output shows it. */
#define FATBIN_MAGIC         0xba55ed50u
#define FATBIN_WRAPPER_MAGIC 0x466243b1u

struct fatbin_head {
    uint32_t magic;
    uint16_t version;
    uint16_t head_bytes;
    uint64_t body_bytes;
};

struct fatbin_wrapper {
    uint32_t magic;
    uint32_t version;
    const void *data;
    const void *unused;
};

static bool extend(uint64_t offset, uint64_t bytes, size_t most, uint64_t *end)
{
    if (!vgpu_range_within(offset, bytes, most))
        return false;
    if (offset + bytes > *end)
        *end = offset + bytes;
    return true;
}

static CUresult measure_elf(const uint8_t *image, size_t most, size_t *ret_bytes)
{
    Elf64_Ehdr head;
    uint64_t end = sizeof(head);

    if (most < sizeof(head))
        return CUDA_ERROR_INVALID_IMAGE;
    memcpy(&head, image, sizeof(head));
    if (head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_ident[EI_DATA] != ELFDATA2LSB ||
        (head.e_shnum && head.e_shentsize != sizeof(Elf64_Shdr)))
        return CUDA_ERROR_INVALID_IMAGE;
    if (!extend(head.e_shoff, (uint64_t)head.e_shnum * head.e_shentsize, most, &end) ||
        !extend(head.e_phoff, (uint64_t)head.e_phnum * head.e_phentsize, most, &end))
        return CUDA_ERROR_INVALID_IMAGE;
    for (unsigned i = 0; i < head.e_shnum; i++) {
        Elf64_Shdr section;

        memcpy(&section, image + head.e_shoff + i * sizeof(section), sizeof(section));
        if (section.sh_type != SHT_NOBITS &&
            !extend(section.sh_offset, section.sh_size, most, &end))
            return CUDA_ERROR_INVALID_IMAGE;
    }
    *ret_bytes = end;
    return CUDA_SUCCESS;
}

static CUresult measure_fatbin(const void *image, size_t most, size_t *ret_bytes)
{
    struct fatbin_head head;

    if (most < sizeof(head))
        return CUDA_ERROR_INVALID_IMAGE;
    memcpy(&head, image, sizeof(head));
    if (head.head_bytes < sizeof(head) || head.head_bytes > most ||
        head.body_bytes > most - head.head_bytes)
        return CUDA_ERROR_INVALID_IMAGE;
    *ret_bytes = head.head_bytes + head.body_bytes;
    return CUDA_SUCCESS;
}

static CUresult measure_text(const char *text, size_t most, size_t *ret_bytes)
{
    size_t length = strnlen(text, most);

    if (length == 0 || length == most)
        return CUDA_ERROR_INVALID_IMAGE;
    *ret_bytes = length + 1;
    return CUDA_SUCCESS;
}

/* The magic number, of as many bytes as are there before a NUL: text may be shorter than four. */
static uint32_t magic_of(const uint8_t *image, size_t most)
{
    uint32_t magic = 0;

    for (size_t i = 0; i < sizeof(magic) && i < most && image[i]; i++)
        magic |= (uint32_t)image[i] << (8 * i);
    return magic;
}

CUresult image_measure(const void *image, size_t most, const void **ret_data, size_t *ret_bytes)
{
    uint32_t magic = magic_of(image, most);

    if (magic == FATBIN_WRAPPER_MAGIC && most >= sizeof(struct fatbin_wrapper)) {
        struct fatbin_wrapper wrapper;

        memcpy(&wrapper, image, sizeof(wrapper));
        if (!wrapper.data || magic_of(wrapper.data, IMAGE_MAX_BYTES) != FATBIN_MAGIC)
            return CUDA_ERROR_INVALID_IMAGE;
        *ret_data = wrapper.data;
        return measure_fatbin(wrapper.data, IMAGE_MAX_BYTES, ret_bytes);
    }
    *ret_data = image;
    if (magic == FATBIN_MAGIC)
        return measure_fatbin(image, most, ret_bytes);
    if (most >= SELFMAG && memcmp(&magic, ELFMAG, SELFMAG) == 0)
        return measure_elf(image, most, ret_bytes);
    return measure_text(image, most, ret_bytes);
}
