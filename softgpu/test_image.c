/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Module images and containers. The directory given as argument holds containers that NVIDIA's
 * fatbinary 13.0 made of one kernel source for sm_75, sm_90 and sm_100, with its compression modes
 * size (zstd), speed (LZ4) and none.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "softgpu/image.h"

#define TEXT ".version 7.5\n.target sm_75\n.address_size 64\n.visible .entry a() { ret; }\n"

static const char *directory;

static char *read_sample(const char *name, size_t *ret_size)
{
    char path[4096];
    char *data;

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    assert_int_equal(image_read_file(path, &data, ret_size), CUDA_SUCCESS);
    return data;
}

static void test_image_real_containers_are_read(void **state)
{
    static const char *const names[] = {"size.fatbin", "speed.fatbin", "none.fatbin"};
    char first[65536] = "";

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct image image = {0};
        size_t size;
        char *data = read_sample(names[i], &size);

        assert_int_equal(fatbin_size(data, size), size);
        assert_int_equal(image_read(&image, data, size), CUDA_SUCCESS);
        assert_int_equal(image.n_sources, 1);
        assert_int_equal(image.sm, 90); /* the newest that the device can run */
        assert_non_null(memmem(image.sources[0].text, image.sources[0].size_bytes, "scale", 5));
        if (i == 0)
            memcpy(first, image.sources[0].text, image.sources[0].size_bytes);
        assert_memory_equal(first, image.sources[0].text, image.sources[0].size_bytes);
        image_release(&image);
        free(data);
    }
}

static void test_image_cut_containers_are_refused(void **state)
{
    size_t size;
    char *data = read_sample("size.fatbin", &size);

    (void)state;
    for (size_t cut = 16; cut < size; cut += 7) {
        struct image image = {0};
        char *copy = malloc(cut); /* so that a sanitizer sees a read beyond it */

        memcpy(copy, data, cut);
        assert_int_equal(image_read(&image, copy, cut), CUDA_ERROR_INVALID_IMAGE);
        image_release(&image);
        free(copy);
    }
    free(data);
}

static void test_image_damaged_payload_is_refused(void **state)
{
    static const char *const names[] = {"size.fatbin", "speed.fatbin"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct image image = {0};
        uint64_t length;
        size_t size;
        char *data = read_sample(names[i], &size);
        uint64_t entry = 16;

        for (int skip = 0; skip < 1; skip++) { /* the second entry is that for sm_90 */
            memcpy(&length, data + entry + 8, 8);
            entry += 80 + length;
        }
        memset(data + entry + 80 + 8, 0xff, 32);
        assert_int_equal(image_read(&image, data, size), CUDA_ERROR_INVALID_IMAGE);
        image_release(&image);
        free(data);
    }
}

static void test_image_oversized_text_is_refused_before_it_is_unpacked(void **state)
{
    struct fatbin fatbin;
    struct fatbin_entry entry;
    size_t size, bytes;
    char *data = read_sample("size.fatbin", &size), *text;

    (void)state;
    assert_true(fatbin_open(data, size, &fatbin));
    assert_int_equal(fatbin_read(&fatbin, &entry), 1);
    entry.text_bytes = FATBIN_MAX_TEXT + 1;
    assert_int_equal(fatbin_text(&entry, &text, &bytes), -E2BIG);
    free(data);
}

static void test_image_linked_entries_are_taken_all(void **state)
{
    struct fatbin_writer writer = {0};
    struct image image = {0};

    (void)state;
    assert_int_equal(fatbin_write(&writer, 75, TEXT, strlen(TEXT)), 0);
    assert_int_equal(fatbin_write(&writer, 75, TEXT, strlen(TEXT)), 0);
    assert_int_equal(fatbin_size(writer.data, writer.size_bytes), writer.size_bytes);
    assert_int_equal(image_read(&image, writer.data, SIZE_MAX), CUDA_SUCCESS);
    assert_int_equal(image.n_sources, 2);
    assert_int_equal(image.sources[1].size_bytes, strlen(TEXT));
    image_release(&image);
    free(writer.data);
}

static void test_image_too_many_texts_are_refused(void **state)
{
    struct fatbin_writer writer = {0};
    struct image image = {0};

    (void)state;
    for (int i = 0; i < PTX_MAX_SOURCES; i++)
        assert_int_equal(fatbin_write(&writer, 75, TEXT, strlen(TEXT)), 0);
    assert_int_equal(image_read(&image, writer.data, SIZE_MAX), CUDA_SUCCESS);
    image_release(&image);
    assert_int_equal(fatbin_write(&writer, 75, TEXT, strlen(TEXT)), 0);
    assert_int_equal(image_read(&image, writer.data, SIZE_MAX), CUDA_ERROR_INVALID_IMAGE);
    image_release(&image);
    free(writer.data);
}

static void test_image_container_size_is_bounded(void **state)
{
    uint8_t header[16] = {0x50, 0xed, 0x55, 0xba, 1, 0, 16, 0};
    uint64_t entries = FATBIN_MAX_BYTES - 16;

    (void)state;
    memcpy(header + 8, &entries, 8);
    assert_int_equal(fatbin_size(header, SIZE_MAX), FATBIN_MAX_BYTES);
    entries++;
    memcpy(header + 8, &entries, 8);
    assert_int_equal(fatbin_size(header, SIZE_MAX), 0);
    entries = UINT64_MAX;
    memcpy(header + 8, &entries, 8);
    assert_int_equal(fatbin_size(header, SIZE_MAX), 0);
}

static void test_image_without_suitable_ptx_is_no_binary(void **state)
{
    uint8_t header[16] = {0x50, 0xed, 0x55, 0xba, 1, 0, 16, 0};
    struct image image = {0};

    (void)state;
    assert_int_equal(image_read(&image, header, sizeof(header)), CUDA_ERROR_NO_BINARY_FOR_GPU);
    assert_true(image.problem[0] != '\0');
    image_release(&image);
}

static void test_image_short_texts_are_not_read_beyond(void **state)
{
    static const char *const texts[] = {"",
                                        "\x50",
                                        "\x50\xed",
                                        "\x7f",
                                        "\x7f"
                                        "EL",
                                        "\xb1\x43"};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char *copy = strdup(texts[i]);
        struct image image = {0};

        assert_int_equal(image_read(&image, image_unwrap(copy), SIZE_MAX),
                         CUDA_ERROR_INVALID_IMAGE);
        image_release(&image);
        free(copy);
    }
}

static void test_image_wrapper_leads_to_its_container(void **state)
{
    int target;
    struct {
        uint32_t magic, version;
        const void *data;
        void *unused;
    } wrapper = {0x466243b1, 1, &target, NULL};

    (void)state;
    assert_ptr_equal(image_unwrap(&wrapper), &target);
    assert_ptr_equal(image_unwrap(TEXT), TEXT);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_image_real_containers_are_read),
        cmocka_unit_test(test_image_cut_containers_are_refused),
        cmocka_unit_test(test_image_damaged_payload_is_refused),
        cmocka_unit_test(test_image_oversized_text_is_refused_before_it_is_unpacked),
        cmocka_unit_test(test_image_linked_entries_are_taken_all),
        cmocka_unit_test(test_image_too_many_texts_are_refused),
        cmocka_unit_test(test_image_container_size_is_bounded),
        cmocka_unit_test(test_image_without_suitable_ptx_is_no_binary),
        cmocka_unit_test(test_image_short_texts_are_not_read_beyond),
        cmocka_unit_test(test_image_wrapper_leads_to_its_container),
    };

    directory = argc > 1 ? argv[1] : ".";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
