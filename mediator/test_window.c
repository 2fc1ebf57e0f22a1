/* SPDX-License-Identifier: Apache-2.0 */
/* Places in a window: first fit, steps, edges, numbers near the ends; and default sizes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>
#include <vgpu/pci_regs.h>

#include "mediator/window.h"

#define MIB (UINT64_C(1) << 20)

static void test_window_first_place_is_the_start(void **state)
{
    uint64_t offset = 1;

    assert_true(window_place(8 * MIB, NULL, 0, 8 * MIB, &offset));
    assert_int_equal(offset, 0);
}

static void test_window_too_small_has_no_place(void **state)
{
    uint64_t offset = 7;

    assert_false(window_place(8 * MIB, NULL, 0, 8 * MIB + 1, &offset));
    assert_false(window_place(8 * MIB, NULL, 0, UINT64_MAX, &offset));
    assert_false(window_place(8 * MIB, NULL, 0, 0, &offset));
    assert_int_equal(offset, 7);
}

static void test_window_takes_the_first_gap(void **state)
{
    /* Not in order. Gaps: 2-4, 6-10 and 12-16 MiB. */
    const struct window_part taken[] = {{10 * MIB, 4096}, {0, MIB + 4096}, {4 * MIB, 2 * MIB}};
    uint64_t offset;

    assert_true(window_place(16 * MIB, taken, 3, 2 * MIB, &offset));
    assert_int_equal(offset, 2 * MIB);
    assert_true(window_place(16 * MIB, taken, 3, 2 * MIB + 1, &offset));
    assert_int_equal(offset, 6 * MIB);
    assert_true(window_place(16 * MIB, taken, 3, 4 * MIB, &offset));
    assert_int_equal(offset, 6 * MIB);
    assert_false(window_place(16 * MIB, taken, 3, 4 * MIB + 1, &offset));
}

static void test_window_last_byte_counts(void **state)
{
    const struct window_part taken[] = {{0, 6 * MIB}};
    uint64_t offset;

    assert_true(window_place(8 * MIB, taken, 1, 2 * MIB, &offset));
    assert_int_equal(offset, 6 * MIB);
    assert_false(window_place(8 * MIB, taken, 1, 2 * MIB + 1, &offset));
}

static bool overlaps(const struct window_part *taken, unsigned n, uint64_t offset, uint64_t bytes)
{
    for (unsigned i = 0; i < n; i++)
        if (taken[i].offset < offset + bytes && offset < taken[i].offset + taken[i].bytes)
            return true;
    return false;
}

/* The first place by trying each step. */
static bool model(uint64_t window, const struct window_part *taken, unsigned n, uint64_t bytes,
                  uint64_t *ret)
{
    for (*ret = 0; *ret + bytes <= window; *ret += WINDOW_STEP_BYTES)
        if (!overlaps(taken, n, *ret, bytes))
            return true;
    return false;
}

static void test_window_agrees_with_a_model(void **state)
{
    struct window_part taken[64];
    unsigned n = 0, seed = 5;

    for (int round = 0; round < 20000; round++) {
        uint64_t bytes = 4096 * (1 + (uint64_t)rand_r(&seed) % 4000), offset, expected;
        bool fits = model(64 * MIB, taken, n, bytes, &expected);

        assert_int_equal(window_place(64 * MIB, taken, n, bytes, &offset), fits);
        if (fits && n < 64) {
            assert_int_equal(offset, expected);
            taken[n++] = (struct window_part){offset, bytes};
        } else {
            n--;
            taken[(unsigned)rand_r(&seed) % (n + 1)] = taken[n];
        }
    }
}

static void test_window_default_is_an_eighth(void **state)
{
    assert_int_equal(window_default_data_bytes(8192 * MIB, 4096, 4096 * MIB), 1024 * MIB - 4096);
    assert_int_equal(window_default_data_bytes(65536 * MIB, 4096, 4096 * MIB), 4096 * MIB);
}

static void test_window_default_is_not_too_small(void **state)
{
    assert_int_equal(window_default_data_bytes(8 * MIB, 644 << 10, 4096 * MIB),
                     2 * MIB - (644 << 10));
    /* Rings of the largest size. */
    assert_int_equal(window_default_data_bytes(8 * MIB, 8 * MIB + 4096, 4096 * MIB),
                     2 * MIB - 4096);
}

static void test_window_places_have_numbers(void **state)
{
    const uint64_t last = VGPU_WINDOW_MAX_BYTES - WINDOW_STEP_BYTES;

    assert_int_equal(window_encode(0), 1);
    assert_int_equal(window_decode(window_encode(last)), last);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_window_first_place_is_the_start),
        cmocka_unit_test(test_window_too_small_has_no_place),
        cmocka_unit_test(test_window_takes_the_first_gap),
        cmocka_unit_test(test_window_last_byte_counts),
        cmocka_unit_test(test_window_agrees_with_a_model),
        cmocka_unit_test(test_window_default_is_an_eighth),
        cmocka_unit_test(test_window_default_is_not_too_small),
        cmocka_unit_test(test_window_places_have_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
