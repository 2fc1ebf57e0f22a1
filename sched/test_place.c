/* SPDX-License-Identifier: Apache-2.0 */
/* Placement of channels: each rule, and the refusals. */
#include "sched/place.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static uint32_t place(const struct place_gpu *gpus, uint32_t n, uint64_t need)
{
    uint32_t index = 99;

    assert_int_equal(place_channel(gpus, n, need, &index), 0);
    return index;
}

static void test_place_least_loaded(void **state)
{
    const struct place_gpu gpus[] = {{true, 500000, 1, 1, 100}, {true, 100000, 9, 9, 10}};

    assert_int_equal(place(gpus, 2, 10), 1);
}

static void test_place_memory_comes_first(void **state)
{
    const struct place_gpu gpus[] = {{true, 500000, 1, 1, 100}, {true, 100000, 9, 9, 10}};

    assert_int_equal(place(gpus, 2, 11), 0);
    assert_int_equal(place(gpus, 2, 100), 0);
}

static void test_place_equal_loads_by_weight_then_memory_then_channels(void **state)
{
    struct place_gpu gpus[] = {{true, 140000, 5, 1, 100}, {true, 100000, 6, 1, 100}};

    assert_int_equal(place(gpus, 2, 1), 0);
    gpus[0].weight = 6;
    gpus[1].free_bytes = 101;
    assert_int_equal(place(gpus, 2, 1), 1);
    gpus[0].free_bytes = 101;
    gpus[1].channels = 0;
    assert_int_equal(place(gpus, 2, 1), 1);
    gpus[0].channels = 0;
    assert_int_equal(place(gpus, 2, 1), 0);
}

static void test_place_load_just_outside_of_equal(void **state)
{
    const struct place_gpu gpus[] = {{true, 150001, 1, 0, 100}, {true, 100000, 6, 9, 100}};

    assert_int_equal(place(gpus, 2, 1), 1);
}

static void test_place_refusals(void **state)
{
    const struct place_gpu gpus[] = {{true, 0, 0, 0, 100}, {false, 0, 0, 0, 1000}};
    uint32_t index = 99;

    assert_int_equal(place_channel(gpus, 2, 101, &index), -ENOSPC);
    assert_int_equal(place_channel(gpus + 1, 1, 1, &index), -ENODEV);
    assert_int_equal(place_channel(NULL, 0, 1, &index), -ENODEV);
    assert_int_equal(index, 99);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_place_least_loaded),
        cmocka_unit_test(test_place_memory_comes_first),
        cmocka_unit_test(test_place_equal_loads_by_weight_then_memory_then_channels),
        cmocka_unit_test(test_place_load_just_outside_of_equal),
        cmocka_unit_test(test_place_refusals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
