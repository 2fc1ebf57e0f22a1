/* SPDX-License-Identifier: Apache-2.0 */
/* libvgpu's parts that need no host: the data area's allocator, the crew, ranges, images. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <elf.h>
#include <errno.h>
#include <sched.h>

#include "guest/libvgpu/area.h"
#include "guest/libvgpu/crew.h"
#include "cuda/image_measure.h"
#include "guest/libvgpu/patience.h"
#include "guest/libvgpu/ranges.h"
#include "guest/libvgpu/stream_rows.h"

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
        if (area_take(&area, sizes[i], 64u << (seed >> 8) % 7,
                      (seed >> 16) % 2 ? AREA_FIRST : AREA_LAST, &offsets[i]) < 0) {
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
    assert_int_equal(area_take(&area, 4097, 64, AREA_FIRST, &offset), -ENOSPC);
    assert_int_equal(area_take(&area, UINT64_MAX, 64, AREA_FIRST, &offset), -ENOSPC);
    assert_int_equal(area_take(&area, 4096, 64, AREA_FIRST, &offset), 0);
    assert_int_equal(area_take(&area, 1, 64, AREA_FIRST, &offset), -ENOSPC);
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

/* What comes and goes lies in front, what stays behind, and they meet in the middle. */
static void test_area_from_both_ends(void **state)
{
    struct area area;
    uint64_t offset;

    assert_int_equal(area_init(&area, 65536 + 64), 0);
    assert_int_equal(area_take(&area, 4096, 4096, AREA_LAST, &offset), 0);
    assert_int_equal(offset, 61440);
    assert_int_equal(area_take(&area, 64, 64, AREA_LAST, &offset), 0);
    assert_int_equal(offset, 65536);
    assert_int_equal(area_take(&area, 61440, 64, AREA_FIRST, &offset), 0);
    assert_int_equal(offset, 0);
    assert_int_equal(area_take(&area, 1, 64, AREA_LAST, &offset), -ENOSPC);
    area_release(&area);
}

/* Rows of every size and place around the lines that the processor stores, against a byte loop. */
static void test_stream_rows_model(void **state)
{
    static uint8_t source[8192], target[8192], model[8192];
    uint32_t seed = 11;

    for (size_t i = 0; i < sizeof(source); i++)
        source[i] = (uint8_t)(i * 29 + i / 256);
    for (int step = 0; step < 3000; step++) {
        uint64_t width, rows, from, to;

        seed = seed * 1664525u + 1013904223u;
        width = (seed >> 8) % 700;
        rows = 1 + (seed >> 18) % 4;
        from = (seed >> 20) % 97;
        to = (seed >> 24) % 131;
        memset(target, 0xee, sizeof(target));
        memset(model, 0xee, sizeof(model));
        for (uint64_t y = 0; y < rows; y++)
            for (uint64_t x = 0; x < width; x++)
                model[to + y * 1003 + x] = source[from + y * 777 + x];
        stream_rows(target + to, 1003, source + from, 777, width, rows);
        assert_memory_equal(target, model, sizeof(model));
    }
}

/* Jobs of a crew of each size, none included, are all done, whoever takes them up. */
static void test_crew_does_all_jobs(void **state)
{
    enum { JOBS = 64, BYTES = 3000 };
    static uint8_t source[JOBS * BYTES], target[JOBS * BYTES];

    for (size_t i = 0; i < sizeof(source); i++)
        source[i] = (uint8_t)(i * 31 + i / 999);
    for (unsigned threads = 0; threads < 6; threads++) {
        struct crew *crew = crew_new(threads);
        struct crew_job jobs[JOBS];

        memset(target, 0, sizeof(target));
        for (size_t i = 0; i < JOBS; i++) {
            jobs[i] = (struct crew_job){.target = target + i * BYTES,
                                        .source = source + i * BYTES,
                                        .width = BYTES,
                                        .rows = 1,
                                        .past_cache = i % 2};
            crew_give(crew, &jobs[i]);
            if (i % 5 == 4)
                crew_help(crew);
        }
        for (size_t i = 0; i < JOBS; i++) {
            crew_await(crew, &jobs[i]);
            assert_true(crew_is_done(crew, &jobs[i]));
        }
        crew_free(crew);
        assert_memory_equal(source, target, sizeof(source));
    }
}

/* Small copies start no thread, and no copy more than there are processors beside the caller's. */
static void test_crew_size_limits(void **state)
{
    cpu_set_t before, one;

    assert_int_equal(crew_size(1u << 20), 0);
    assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
    assert_true(crew_size(UINT64_MAX) < (unsigned)CPU_COUNT(&before));
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
        if (CPU_ISSET(i, &before))
            CPU_SET(i, &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    assert_int_equal(crew_size(UINT64_MAX), 0);
    assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
}

#define US UINT64_C(1000)

static void test_patience_knows_nothing_at_first(void **state)
{
    const struct patience fresh = {0};

    assert_int_equal(patience_rest_ns(&fresh, 0), PATIENCE_FOREVER);
    assert_int_equal(patience_rest_ns(&fresh, 1000000 * US), PATIENCE_FOREVER);
}

/* Sleep until shortly before, poll around it, sleep when it does not come. */
static void test_patience_polls_around_the_mean(void **state)
{
    struct patience patience = {0};

    for (int i = 0; i < 20; i++)
        patience_learn(&patience, 1000 * US);
    assert_in_range(patience_rest_ns(&patience, 20 * US), 800 * US, 850 * US);
    assert_int_equal(patience_rest_ns(&patience, 860 * US), 0);
    assert_int_equal(patience_rest_ns(&patience, 1100 * US), 0);
    assert_int_equal(patience_rest_ns(&patience, 1200 * US), PATIENCE_FOREVER);
}

static void test_patience_polls_short_waits_from_the_start(void **state)
{
    struct patience patience = {0};

    patience_learn(&patience, 60 * US);
    assert_int_equal(patience_rest_ns(&patience, 20 * US), 0);
    assert_int_equal(patience_rest_ns(&patience, 200 * US), 0);
    assert_int_equal(patience_rest_ns(&patience, 220 * US), PATIENCE_FOREVER);
}

/* Polling is given up for waits that outlast it, four in a row, until one is met again. */
static void test_patience_gives_up_on_what_varies(void **state)
{
    struct patience patience = {0};
    uint64_t longer = 100 * US;

    patience_learn(&patience, longer);
    for (int i = 0; i < 3; i++)
        patience_learn(&patience, longer *= 8);
    assert_true(patience_rest_ns(&patience, 20 * US) != PATIENCE_FOREVER);
    patience_learn(&patience, longer *= 8);
    assert_int_equal(patience_rest_ns(&patience, 20 * US), PATIENCE_FOREVER);
    patience_learn(&patience, patience.mean_ns);
    assert_true(patience_rest_ns(&patience, 20 * US) != PATIENCE_FOREVER);
}

/* An answer that came early cost no polling, and does not count. */
static void test_patience_is_not_lost_on_early_answers(void **state)
{
    struct patience patience = {0};

    patience_learn(&patience, 100000 * US);
    for (int i = 0; i < 10; i++)
        patience_learn(&patience, 1 * US);
    assert_int_equal(patience.misses, 0);
    assert_true(patience.mean_ns < 10000 * US);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_area_model),
        cmocka_unit_test(test_area_limit),
        cmocka_unit_test(test_area_from_both_ends),
        cmocka_unit_test(test_stream_rows_model),
        cmocka_unit_test(test_crew_does_all_jobs),
        cmocka_unit_test(test_crew_size_limits),
        cmocka_unit_test(test_ranges_edges),
        cmocka_unit_test(test_patience_knows_nothing_at_first),
        cmocka_unit_test(test_patience_polls_around_the_mean),
        cmocka_unit_test(test_patience_polls_short_waits_from_the_start),
        cmocka_unit_test(test_patience_gives_up_on_what_varies),
        cmocka_unit_test(test_patience_is_not_lost_on_early_answers),
        cmocka_unit_test(test_image_text_needs_its_nul),
        cmocka_unit_test(test_image_elf_ends_with_its_last_part),
        cmocka_unit_test(test_image_fatbin_and_its_wrapper),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
