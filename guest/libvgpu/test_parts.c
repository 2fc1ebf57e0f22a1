/* SPDX-License-Identifier: Apache-2.0 */
/* libvgpu's parts that need no host: the data area's allocator, ranges, images. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <elf.h>
#include <errno.h>

#include "guest/libvgpu/area.h"
#include "guest/libvgpu/image.h"
#include "guest/libvgpu/ranges.h"

#define PARTS 64

/* Random takes and gives against a byte map: parts never overlap, and nothing is lost. */
static void test_area_model(void **state)
{
    static uint8_t map[1 << 16];
    uint64_t offsets[PARTS] = {0}, sizes[PARTS] = {0};
    struct area area;
    uint32_t seed = 7;

    memset(map, 0, sizeof(map));
    assert_int_equal(area_init(&area, sizeof(map)), 0);
    for (int step = 0; step < 20000; step++) {
        unsigned i = (seed = seed * 1664525u + 1013904223u) >> 26;

        if (sizes[i]) {
            area_give(&area, offsets[i], sizes[i]);
            memset(map + offsets[i], 0, sizes[i]);
            sizes[i] = 0;
            continue;
        }
        sizes[i] = 1 + (seed >> 8) % 5000;
        if (area_take(&area, sizes[i], 64u << (seed >> 8) % 7, &offsets[i]) < 0) {
            sizes[i] = 0;
            continue;
        }
        assert_int_equal(offsets[i] % (64u << (seed >> 8) % 7), 0);
        assert_true(offsets[i] + sizes[i] <= sizeof(map));
        for (uint64_t k = 0; k < sizes[i]; k++)
            assert_int_equal(map[offsets[i] + k], 0);
        memset(map + offsets[i], 1, sizes[i]);
    }
    for (unsigned i = 0; i < PARTS; i++)
        if (sizes[i])
            area_give(&area, offsets[i], sizes[i]);
    assert_int_equal(area.count, 1);
    assert_int_equal(area.free[0].bytes, sizeof(map));
    area_release(&area);
}

static void test_area_limit(void **state)
{
    struct area area;
    uint64_t offset;

    assert_int_equal(area_init(&area, 4096), 0);
    assert_int_equal(area_take(&area, 4097, 64, &offset), -ENOSPC);
    assert_int_equal(area_take(&area, UINT64_MAX, 64, &offset), -ENOSPC);
    assert_int_equal(area_take(&area, 4096, 64, &offset), 0);
    assert_int_equal(area_take(&area, 1, 64, &offset), -ENOSPC);
    area_release(&area);
}

static void add(struct ranges *ranges, uint64_t start, uint64_t bytes)
{
    assert_true(ranges_add(ranges, &(struct range){.start = start, .bytes = bytes}));
}

static void test_ranges_edges(void **state)
{
    struct ranges ranges = {0};

    add(&ranges, 300, 100);
    add(&ranges, 100, 100);
    add(&ranges, 200, 100);
    assert_null(ranges_find(&ranges, 99));
    assert_int_equal(ranges_find(&ranges, 199)->start, 100);
    assert_int_equal(ranges_find(&ranges, 200)->start, 200);
    assert_null(ranges_find(&ranges, 400));
    assert_non_null(ranges_cover(&ranges, 150, 50));
    assert_null(ranges_cover(&ranges, 150, 51));
    assert_null(ranges_cover(&ranges, 150, UINT64_MAX));
    assert_true(ranges_touch(&ranges, 0, 101));
    assert_false(ranges_touch(&ranges, 0, 100));
    ranges_drop(&ranges, 200);
    assert_null(ranges_find(&ranges, 250));
    assert_int_equal(ranges.count, 2);
    ranges_release(&ranges);
}

static void test_image_text_needs_its_nul(void **state)
{
    const void *data;
    size_t bytes;

    assert_int_equal(image_measure("abc", 4, &data, &bytes), CUDA_SUCCESS);
    assert_int_equal(bytes, 4);
    assert_int_equal(image_measure("abc", 3, &data, &bytes), CUDA_ERROR_INVALID_IMAGE);
    assert_int_equal(image_measure("", 1, &data, &bytes), CUDA_ERROR_INVALID_IMAGE);
}

static void test_image_elf_ends_with_its_last_part(void **state)
{
    _Alignas(8) uint8_t image[512] = {0};
    Elf64_Ehdr head = {.e_shoff = 128, .e_shnum = 2, .e_shentsize = sizeof(Elf64_Shdr)};
    Elf64_Shdr section = {.sh_type = SHT_PROGBITS, .sh_offset = 300, .sh_size = 100};
    const void *data;
    size_t bytes;

    memcpy(head.e_ident, ELFMAG, SELFMAG);
    head.e_ident[EI_CLASS] = ELFCLASS64;
    head.e_ident[EI_DATA] = ELFDATA2LSB;
    memcpy(image, &head, sizeof(head));
    memcpy(image + 128 + sizeof(section), &section, sizeof(section));
    assert_int_equal(image_measure(image, sizeof(image), &data, &bytes), CUDA_SUCCESS);
    assert_int_equal(bytes, 400);
    assert_int_equal(image_measure(image, 399, &data, &bytes), CUDA_ERROR_INVALID_IMAGE);
    section.sh_size = UINT64_MAX;
    memcpy(image + 128 + sizeof(section), &section, sizeof(section));
    assert_int_equal(image_measure(image, sizeof(image), &data, &bytes), CUDA_ERROR_INVALID_IMAGE);
}

static void test_image_fatbin_and_its_wrapper(void **state)
{
    _Alignas(8) uint8_t fatbin[40] = {0x50, 0xed, 0x55, 0xba, 1, 0, 16, 0, 24};
    struct {
        uint32_t magic, version;
        const void *data, *unused;
    } wrapper = {.magic = 0x466243b1, .version = 1, .data = fatbin};
    const void *data;
    size_t bytes;

    assert_int_equal(image_measure(fatbin, 40, &data, &bytes), CUDA_SUCCESS);
    assert_int_equal(bytes, 40);
    assert_int_equal(image_measure(fatbin, 39, &data, &bytes), CUDA_ERROR_INVALID_IMAGE);
    assert_int_equal(image_measure(&wrapper, sizeof(wrapper), &data, &bytes), CUDA_SUCCESS);
    assert_ptr_equal(data, fatbin);
    wrapper.data = NULL;
    assert_int_equal(image_measure(&wrapper, sizeof(wrapper), &data, &bytes),
                     CUDA_ERROR_INVALID_IMAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_area_model),
        cmocka_unit_test(test_area_limit),
        cmocka_unit_test(test_ranges_edges),
        cmocka_unit_test(test_image_text_needs_its_nul),
        cmocka_unit_test(test_image_elf_ends_with_its_last_part),
        cmocka_unit_test(test_image_fatbin_and_its_wrapper),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
